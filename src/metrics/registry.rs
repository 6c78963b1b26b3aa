//! All metrics of the node. One struct, one page; `METRICS` is the process's.

use prometheus::{Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};
use std::sync::LazyLock;

pub static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

pub struct Metrics {
    registry: Registry,
    /// Requests by route and status.
    pub http_requests: IntCounterVec,
    pub http_request_seconds: Histogram,
    /// Requests under `/v1`, and those of them that were answered with a status of 500 or more: probes and pages are no work.
    pub api_requests: IntCounter,
    pub api_failed: IntCounter,
    /// Broadcasts accepted, by priority.
    pub published: IntCounterVec,
    /// Broadcasts refused, by the problem's code.
    pub refused: IntCounterVec,
    /// Publish accepted to answered.
    pub publish_seconds: Histogram,
    /// Frames given to sockets, by priority.
    pub written: IntCounterVec,
    /// Recipients that a broadcast was released to once more for want of a receipt, over the whole cluster, by priority.
    pub retries: IntCounterVec,
    /// Released to written, per session.
    pub delivery_seconds: Histogram,
    pub sessions: IntGauge,
    /// Sessions told goodbye, by code.
    pub goodbyes: IntCounterVec,
    /// Sessions asked to move to another node, by the reason.
    pub moves_asked: IntCounterVec,
    pub receipts: IntCounterVec,
    pub worker_panics: IntCounter,
    /// Wake-ups that found a lane full.
    pub lane_full: IntCounter,
    /// Threads that write to subscribers.
    pub worker_threads: IntGauge,
    /// Changes of their number, by the rule that decided.
    pub scaling_decisions: IntCounterVec,
    /// Publishes that were refused for want of room, by priority.
    pub shed: IntCounterVec,
    pub leader_changes: IntCounter,
    pub applied_index: IntGauge,
    pub is_leader: IntGauge,
    /// fdatasync of the log.
    pub log_sync_seconds: Histogram,
    /// Commands per log entry.
    pub pack_commands: Histogram,
    pub write_behind_rows: IntCounter,
    pub write_behind_seconds: Histogram,
    pub stored_index: IntGauge,
    pub snapshots: IntCounter,
    pub window_bytes: IntGauge,
    /// Requests refused because of who asked (401 and 403), by code.
    pub denied: IntCounterVec,
    /// Refusals by the name of the limit that was hit.
    pub limits_hit: IntCounterVec,
    /// Calls to outputs, by the output's name and how they ended.
    pub output_calls: IntCounterVec,
    /// Name to the answer's head, for calls that were made.
    pub output_call_seconds: Histogram,
    /// Reads of the cache, by namespace and the tier that answered.
    pub cache_reads: IntCounterVec,
    /// Values that the directory should go by and cannot, by namespace.
    pub cache_unfit: IntCounterVec,
    pub cache_local_bytes: IntGauge,
    pub cache_local_capacity: IntGauge,
}

/// The counters of one namespace of the cache: finding them by name each time would cost more than what they count.
pub struct CacheCounters {
    /// In the order of the tiers that were named.
    pub reads: [IntCounter; 4],
}

/// From 50 µs to 26 s in doubling steps.
fn seconds(name: &str, help: &str) -> HistogramOpts {
    let buckets = (0..20).map(|step| 0.000_05 * f64::from(1u32 << step)).collect();
    HistogramOpts::new(name, help).buckets(buckets)
}

#[allow(clippy::expect_used)] // names are constants: a test makes them all
impl Metrics {
    fn new() -> Self {
        let registry = Registry::new_custom(Some("campanile".into()), None).expect("a valid prefix");
        let counter = |name: &str, help: &str| {
            let metric = IntCounter::new(name, help).expect("a valid name");
            registry.register(Box::new(metric.clone())).expect("a new name");
            metric
        };
        let counters_by = |name: &str, help: &str, labels: &[&str]| {
            let metric = IntCounterVec::new(Opts::new(name, help), labels).expect("a valid name");
            registry.register(Box::new(metric.clone())).expect("a new name");
            metric
        };
        let counters = |name: &str, help: &str, label: &str| counters_by(name, help, &[label]);
        let gauge = |name: &str, help: &str| {
            let metric = IntGauge::new(name, help).expect("a valid name");
            registry.register(Box::new(metric.clone())).expect("a new name");
            metric
        };
        let histogram = |opts: HistogramOpts| {
            let metric = Histogram::with_opts(opts).expect("valid buckets");
            registry.register(Box::new(metric.clone())).expect("a new name");
            metric
        };
        Self {
            http_requests: counters("http_requests_total", "Requests by status.", "status"),
            http_request_seconds: histogram(seconds("http_request_seconds", "Time to answer a request.")),
            api_requests: counter("api_requests_total", "Requests under /v1."),
            api_failed: counter(
                "api_failed_total",
                "Requests under /v1 that were answered with a status of 500 or more.",
            ),
            published: counters("published_total", "Broadcasts accepted.", "priority"),
            refused: counters("publish_refused_total", "Broadcasts refused.", "code"),
            publish_seconds: histogram(seconds("publish_seconds", "Publish received to answered.")),
            written: counters("written_total", "Frames given to sockets.", "priority"),
            retries: counters(
                "retries_total",
                "Recipients released to once more for want of a receipt, over the whole cluster.",
                "priority",
            ),
            delivery_seconds: histogram(seconds("delivery_seconds", "Released to given to the socket.")),
            sessions: gauge("sessions", "Open subscriber sessions."),
            goodbyes: counters("goodbyes_total", "Sessions told goodbye.", "code"),
            moves_asked: counters("moves_asked_total", "Sessions asked to move to another node.", "reason"),
            receipts: counters("receipts_total", "Receipts merged, by step.", "step"),
            worker_panics: counter("worker_panics_total", "Panics caught in delivery jobs."),
            lane_full: counter("lane_full_total", "Wake-ups that found a lane full."),
            worker_threads: gauge("worker_threads", "Threads that write to subscribers."),
            scaling_decisions: counters("scaling_decisions_total", "Changes of the number of threads.", "rule"),
            shed: counters("shed_total", "Publishes refused because too much waits.", "priority"),
            leader_changes: counter("leader_changes_total", "Changes of leader seen by this node."),
            applied_index: gauge("applied_index", "Last applied log index."),
            is_leader: gauge("is_leader", "1 on the leader."),
            log_sync_seconds: histogram(seconds(
                "log_sync_seconds",
                "Append of log entries until they are on disk.",
            )),
            pack_commands: histogram(
                HistogramOpts::new("pack_commands", "Commands per log entry.")
                    .buckets((0..10).map(|step| f64::from(1u32 << step)).collect()),
            ),
            write_behind_rows: counter("write_behind_rows_total", "Rows written behind."),
            write_behind_seconds: histogram(seconds("write_behind_seconds", "One write-behind batch.")),
            stored_index: gauge("stored_index", "Applied index of the rows in sled."),
            snapshots: counter("snapshots_total", "Snapshots built."),
            window_bytes: gauge("window_bytes", "Bytes of releases and frames in memory."),
            denied: counters("denied_total", "Requests refused because of who asked.", "code"),
            limits_hit: counters("limits_hit_total", "Refusals by limit.", "limit"),
            output_calls: counters_by("output_calls_total", "Calls to outputs.", &["output", "result"]),
            output_call_seconds: histogram(seconds("output_call_seconds", "A call to an output until its answer.")),
            cache_unfit: counters(
                "cache_unfit_total",
                "Values that the directory cannot go by.",
                "namespace",
            ),
            cache_local_bytes: gauge("cache_local_bytes", "What the local tier of the cache holds."),
            cache_local_capacity: gauge("cache_local_capacity_bytes", "What it may hold now."),
            cache_reads: counters_by("cache_reads_total", "Reads of the cache.", &["namespace", "tier"]),
            registry,
        }
    }

    pub fn cache_counters(&self, namespace: &str, tiers: [&str; 4]) -> CacheCounters {
        let counter = |tier: &str| self.cache_reads.with_label_values(&[namespace, tier]);
        CacheCounters {
            reads: tiers.map(counter),
        }
    }

    /// The Prometheus text format.
    pub fn text(&self) -> String {
        let mut buffer = Vec::new();
        let families = self.registry.gather();
        match TextEncoder::new().encode(&families, &mut buffer) {
            Ok(()) => String::from_utf8_lossy(&buffer).into_owned(),
            Err(error) => format!("# {error}\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::METRICS;

    #[test]
    fn every_metric_is_made_and_prefixed() {
        METRICS.lane_full.inc();
        assert!(METRICS.text().contains("campanile_lane_full_total "));
    }
}
