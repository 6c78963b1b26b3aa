//! Calling a named output. Start at [`Outputs::call`].

use super::breaker::{Breaker, Rules, State};
use super::load::{self, OutputsError, Words};
use super::message::Message;
use super::settings::{Config, Shape};
use super::verdict::{self, Failure, Verdict};
use super::{pagerduty, slack, webhook};
use crate::base::clock::{self, Millis};
use crate::metrics::METRICS;
use crate::model::Trace;
use crate::net::{Endpoint, Outbound, Roots};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

const AGENT: &str = concat!("campanile/", env!("CARGO_PKG_VERSION"));
const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// All outputs of this node.
pub struct Outputs {
    all: BTreeMap<String, Output>,
    outbound: Outbound,
    timeout: Duration,
    in_flight_max: u32,
    retry_most: Duration,
}

struct Output {
    endpoint: Endpoint,
    words: Words,
    turns: Semaphore,
    health: Mutex<Health>,
}

/// How an output has been lately, as this node knows it.
struct Health {
    breaker: Breaker,
    /// In a row.
    failures: u32,
    last_error: Option<String>,
    last_success_at: Option<Millis>,
}

/// An output for people: its host, never its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputStatus {
    pub name: String,
    pub shape: Shape,
    /// With the port, where it is not the usual one.
    pub host: String,
    pub breaker: State,
    /// Attempts that failed since the last that did not.
    pub failures: u32,
    pub last_error: Option<String>,
    pub last_success_at: Option<Millis>,
}

impl Outputs {
    /// Reads the files that the settings name.
    pub fn new(config: &Config) -> Result<Self, OutputsError> {
        let faults = config.faults();
        if !faults.is_empty() {
            return Err(OutputsError::Settings(faults));
        }
        let rules = Rules {
            failures: config.breaker_failures,
            open: config.breaker_open.0,
            trial: config.timeout.0,
        };
        let mut all = BTreeMap::new();
        for target in &config.targets {
            let (endpoint, words) = load::target(target)?;
            let in_flight_max = usize::try_from(config.in_flight_max).unwrap_or(Semaphore::MAX_PERMITS);
            let output = Output {
                endpoint,
                words,
                turns: Semaphore::new(in_flight_max.min(Semaphore::MAX_PERMITS)),
                health: Mutex::new(Health {
                    breaker: Breaker::new(rules),
                    failures: 0,
                    last_error: None,
                    last_success_at: None,
                }),
            };
            all.insert(target.name.clone(), output);
        }
        let encrypted = all.iter().find(|(_, output)| output.endpoint.is_encrypted());
        let outbound = load::outbound(config, encrypted.map(|(name, _)| name.as_str()), Roots::of_machine)?;
        Ok(Self {
            all,
            outbound,
            timeout: config.timeout.0,
            in_flight_max: config.in_flight_max,
            retry_most: config.retry_most.0,
        })
    }

    /// What can be called, in the order of the alphabet.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.all.keys().map(String::as_str)
    }

    /// Whether there is one of this name.
    pub fn has(&self, name: &str) -> bool {
        self.all.contains_key(name)
    }

    /// Makes one attempt. It waits for its turn `outputs.timeout` at most, and takes as long again at most.
    ///
    /// `Ok`: the output has taken the message. A [`Failure`] says whether another attempt makes sense and when; it may be that the
    /// message has arrived all the same.
    pub async fn call(&self, name: &str, message: &Message) -> Result<(), Failure> {
        self.call_within(name, message, None).await
    }

    /// The same as part of a trace: a webhook is told of it in the header `traceparent`.
    pub async fn call_within(&self, name: &str, message: &Message, trace: Option<Trace>) -> Result<(), Failure> {
        let Some(output) = self.all.get(name) else {
            // Another node may know it, or this one after its next start.
            return Err(Failure::again(format!("this node has no output {name:?}"), None));
        };
        let count = |result: &str| METRICS.output_calls.with_label_values(&[name, result]).inc();
        output.look(clock::now()).inspect_err(|_| count("open"))?;
        let turn = tokio::time::timeout(self.timeout, output.turns.acquire()).await;
        let Ok(Ok(_turn)) = turn else {
            count("busy");
            let detail = format!("{} calls to it are under way already", self.in_flight_max);
            return Err(Failure::again(detail, None));
        };
        let request = request(&output.words, message, clock::wall());
        let (mut headers, body) = request.inspect_err(|_| count("unsendable"))?;
        headers.extend(output.words.traceparent(trace));
        output.admit(clock::now()).inspect_err(|_| count("open"))?;
        let begun = clock::now();
        let verdict = match self.outbound.post(&output.endpoint, headers, body).await {
            Ok(reply) => verdict::judge(&reply, clock::wall(), self.retry_most),
            Err(error) => verdict::judge_error(&error),
        };
        METRICS.output_call_seconds.observe(begun.elapsed().as_secs_f64());
        count(verdict.result);
        output.note(&verdict, clock::now(), clock::wall());
        verdict.outcome
    }

    /// How each output is doing, in the order of the alphabet.
    pub fn status(&self) -> Vec<OutputStatus> {
        let now = clock::now();
        let each = |(name, output): (&String, &Output)| output.status(name, now);
        self.all.iter().map(each).collect()
    }
}

impl Output {
    /// Fails where the breaker would let nothing through: whoever waits for a turn then waits for nothing.
    fn look(&self, now: Instant) -> Result<(), Failure> {
        let health = self.health.lock();
        health
            .breaker
            .wait(now)
            .map_or(Ok(()), |left| Err(health.left_alone(left)))
    }

    fn admit(&self, now: Instant) -> Result<(), Failure> {
        let mut health = self.health.lock();
        let admitted = health.breaker.admit(now);
        admitted.map_err(|left| health.left_alone(left))
    }

    fn note(&self, verdict: &Verdict, now: Instant, at: Millis) {
        let mut health = self.health.lock();
        health.breaker.ended(verdict.end, now);
        match &verdict.outcome {
            Ok(()) => {
                health.failures = 0;
                health.last_success_at = Some(at);
            }
            Err(failure) => {
                health.failures = health.failures.saturating_add(1);
                health.last_error = Some(failure.detail.clone());
            }
        }
    }

    fn status(&self, name: &str, now: Instant) -> OutputStatus {
        let health = self.health.lock();
        OutputStatus {
            name: name.to_owned(),
            shape: self.words.shape(),
            host: self.endpoint.host().to_owned(),
            breaker: health.breaker.state(now),
            failures: health.failures,
            last_error: health.last_error.clone(),
            last_success_at: health.last_success_at,
        }
    }
}

impl Health {
    fn left_alone(&self, left: Duration) -> Failure {
        let last = self.last_error.as_deref().unwrap_or("unknown");
        let detail = format!(
            "it failed {} times in a row and is left alone for now; last: {last}",
            self.failures
        );
        Failure::again(detail, Some(left))
    }
}

impl Words {
    /// Chats and pagers have no use for it.
    fn traceparent(&self, trace: Option<Trace>) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::Webhook(_) => {
                let value = HeaderValue::try_from(trace?.to_string()).ok()?;
                Some((TRACEPARENT, value))
            }
            Self::Slack | Self::PagerDuty { .. } => None,
        }
    }
}

/// What goes out, as of `now`: the body in the output's words, and the headers of this attempt.
fn request(words: &Words, message: &Message, now: Millis) -> Result<(HeaderMap, Bytes), Failure> {
    let body = match words {
        Words::Webhook(_) => webhook::body(message),
        Words::Slack => slack::body(message),
        Words::PagerDuty { routing_key } => pagerduty::body(message, routing_key),
    };
    let body = body.map_err(|error| Failure::never(format!("the message cannot be written as JSON: {error}")))?;
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    if let Words::Webhook(keys) = words {
        let seconds = now.div_euclid(1000);
        let signature = keys.signature(&message.id, seconds, &body);
        headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from(seconds));
        for (name, text) in [
            (WEBHOOK_ID, message.id.as_str()),
            (WEBHOOK_SIGNATURE, signature.as_str()),
        ] {
            let value = HeaderValue::from_str(text);
            let value = value.map_err(|_| Failure::never(format!("the id {:?} fits no header", message.id)))?;
            headers.insert(name, value);
        }
    }
    Ok((headers, body.into()))
}
