//! The way out: a body to the collector, and what became of it. When it fails, metrics come again with the next push, since they
//! count from the start; spans do not.

use super::encode::{self, Resource};
use super::span::Span;
use crate::base::clock;
use crate::metrics::METRICS;
use crate::net::{Endpoint, Outbound};
use http::HeaderMap;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

/// Spans of one push.
const BATCH: usize = 512;

/// What is pushed, by its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    Metrics,
    Traces,
}

impl Signal {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Traces => "traces",
        }
    }
}

/// Pushes what there is when it is told to.
pub struct Pusher {
    pub(super) outbound: Outbound,
    pub(super) metrics: Option<Endpoint>,
    pub(super) traces: Endpoint,
    pub(super) headers: HeaderMap,
    pub(super) resource: Resource,
    pub(super) waiting: mpsc::Receiver<Span>,
    pub(super) filling: Arc<Notify>,
    pub every: Duration,
    /// The last push of these failed: that is told once.
    pub(super) complained: [bool; 2],
}

impl Pusher {
    /// Returns when so many spans wait that they should not wait for the next round.
    pub async fn filling(&self) {
        self.filling.notified().await;
    }

    /// The metrics as they stand now: whoever calls has brought them up to date.
    pub async fn push_metrics(&mut self) {
        if let Some(endpoint) = self.metrics.clone() {
            let body = encode::metrics(&self.resource, &METRICS.snapshot(), clock::wall_nanos());
            self.post(Signal::Metrics, &endpoint, &body).await;
        }
    }

    /// Whether metrics are pushed at all.
    pub fn has_metrics(&self) -> bool {
        self.metrics.is_some()
    }

    /// The spans that wait.
    pub async fn push_spans(&mut self) {
        let mut batch = Vec::new();
        // What comes meanwhile waits for the next round: this one ends.
        for _ in 0..self.waiting.max_capacity().div_ceil(BATCH) {
            while batch.len() < BATCH
                && let Ok(span) = self.waiting.try_recv()
            {
                batch.push(span);
            }
            if batch.is_empty() {
                return;
            }
            let (endpoint, body) = (self.traces.clone(), encode::spans(&self.resource, &batch));
            if !self.post(Signal::Traces, &endpoint, &body).await {
                METRICS.spans_dropped.inc_by(batch.len() as u64);
            }
            batch.clear();
        }
    }

    /// Whether it was taken.
    async fn post(&mut self, signal: Signal, endpoint: &Endpoint, body: &Value) -> bool {
        let posted = self
            .outbound
            .post(endpoint, self.headers.clone(), body.to_string().into())
            .await;
        let failed = match posted {
            Ok(reply) if (200..300).contains(&reply.status) => None,
            Ok(reply) => Some(format!("{} answered with {}", endpoint.host(), reply.status)),
            Err(error) => Some(error.to_string()),
        };
        let result = if failed.is_none() { "taken" } else { "failed" };
        METRICS.pushes.with_label_values(&[signal.name(), result]).inc();
        let complained = &mut self.complained[match signal {
            Signal::Metrics => 0,
            Signal::Traces => 1,
        }];
        match failed {
            None => *complained = false,
            Some(why) if *complained => tracing::debug!(signal = signal.name(), why, "a push failed"),
            Some(why) => {
                *complained = true;
                tracing::warn!(
                    signal = signal.name(),
                    why,
                    "a push failed; the next ones are told only when one is taken again"
                );
            }
        }
        result == "taken"
    }
}

#[cfg(test)]
mod tests {
    use crate::metrics::METRICS;
    use crate::model::Trace;
    use crate::net::outbound::server::{Play, Server};
    use crate::telemetry::span::{Kind, Outcome};
    use crate::telemetry::{Config, start};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn spans_and_metrics_are_pushed_and_what_is_not_taken_is_counted() {
        let said = |status: &str| Play::Say(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n"));
        let mut server = Server::plain(&[said("200 OK"), said("200 OK"), said("503 Busy")]).await;
        let config = Config {
            url: server.url("/otlp/"),
            traces: true,
            allow: serde_json::from_str(r#"["127.0.0.0/8"]"#).unwrap(),
            ..Config::default()
        };
        let (tracer, pusher) = start(&config, 7).unwrap();
        let mut pusher = pusher.unwrap();
        let trace = Trace::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        let record = || {
            let began = tracer.within(trace, "a step", Kind::Client);
            tracer.end(began, Outcome::Well, vec![("a", "b".into())]);
        };
        pusher.push_spans().await;
        record();
        pusher.push_spans().await;
        let spans = server.request().await;
        assert!(
            spans.head.starts_with("POST /otlp/v1/traces HTTP/1.1"),
            "{}",
            spans.head
        );
        assert_eq!(spans.header("content-type"), Some("application/json"));
        let body = String::from_utf8(spans.body).unwrap();
        assert!(
            body.contains("\"traceId\":\"4bf92f3577b34da6a3ce929d0e0e4736\""),
            "{body}"
        );
        pusher.push_metrics().await;
        let metrics = server.request().await;
        assert!(
            metrics.head.starts_with("POST /otlp/v1/metrics HTTP/1.1"),
            "{}",
            metrics.head
        );
        let body: serde_json::Value = serde_json::from_slice(&metrics.body).unwrap();
        let all = &body["resourceMetrics"][0]["scopeMetrics"][0]["metrics"];
        assert!(
            all.as_array()
                .unwrap()
                .iter()
                .any(|one| one["name"] == "campanile_is_leader")
        );
        let dropped = METRICS.spans_dropped.get();
        record();
        pusher.push_spans().await;
        assert!(METRICS.spans_dropped.get() > dropped);
        assert_eq!(server.connections(), 3, "nothing waits: nothing is pushed");
    }
}
