//! All metrics of the node. One struct, one page; `METRICS` is the process's.

use super::delivery::OfPriority;
use super::figures::Figures;
use super::make::{Maker, seconds};
use super::sheet::Family;
use crate::base::clock;
use prometheus::{
    Encoder, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
    TextEncoder,
};
use std::sync::LazyLock;

pub static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

pub struct Metrics {
    pub(super) registry: Registry,
    families: Vec<Family>,
    /// What stands elsewhere and is read when somebody asks.
    pub figures: Figures,
    /// On the road of deliveries, by priority.
    pub of_priority: [OfPriority; 4],
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
    /// Sessions whose socket refused a write.
    pub write_errors: IntCounter,
    /// Recipients who did not get a broadcast at its first release, by why.
    pub set_aside: IntCounterVec,
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
    /// On the leader: an entry proposed until it is applied here.
    pub commit_seconds: Histogram,
    /// One entry, with the wait for whoever reads the state.
    pub apply_seconds: Histogram,
    /// fdatasync of the log.
    pub log_sync_seconds: Histogram,
    /// Commands per log entry.
    pub pack_commands: Histogram,
    pub write_behind_rows: IntCounter,
    pub write_behind_seconds: Histogram,
    pub store_sync_seconds: Histogram,
    pub stored_index: IntGauge,
    pub snapshots: IntCounter,
    pub window_bytes: IntGauge,
    /// Connections to a port with TLS, by how their handshake went.
    pub tls_handshakes: IntCounterVec,
    pub tls_certificate_ends: IntGauge,
    /// Looks at the certificate's files that found them changed, or of no use.
    pub tls_reloads: IntCounterVec,
    /// Requests refused because of who asked (401 and 403), by code.
    pub denied: IntCounterVec,
    /// Refusals by the name of the limit that was hit.
    pub limits_hit: IntCounterVec,
    /// Calls to outputs, by the output's name and how they ended.
    pub output_calls: IntCounterVec,
    /// Name to the answer's head, for calls that were made.
    pub output_call_seconds: Histogram,
    /// Pushes to a collector, by what was pushed and how they ended.
    pub pushes: IntCounterVec,
    /// Spans that did not fit the queue, or were not taken.
    pub spans_dropped: IntCounter,
    /// Reads of the cache, by namespace and the tier that answered.
    pub cache_reads: IntCounterVec,
    /// Values that the directory should go by and cannot, by namespace.
    pub cache_unfit: IntCounterVec,
    pub cache_local_bytes: IntGauge,
    pub cache_local_capacity: IntGauge,
    /// Alerts by rule: 1 while it fires on any node that this one knows of.
    pub alert_firing: IntGaugeVec,
    /// Probes by what came of them.
    pub probes: IntCounterVec,
    pub probe_seconds: Histogram,
    /// Share of the probes that were answered in time, by how far back.
    pub uptime: GaugeVec,
}

/// The counters of one namespace of the cache: finding them by name each time would cost more than what they count.
pub struct CacheCounters {
    /// In the order of the tiers that were named.
    pub reads: [IntCounter; 4],
}

impl Metrics {
    fn new() -> Self {
        let make = Maker::new();
        let counter = |name: &str, help: &str| make.counter(name, help);
        let counters_by = |name: &str, help: &str, labels: &[&str]| make.counters(name, help, labels);
        let counters = |name: &str, help: &str, label: &str| make.counters(name, help, &[label]);
        let gauge = |name: &str, help: &str| make.gauge(name, help);
        let histogram = |opts: HistogramOpts| make.histogram(opts);
        let written = counters("written_total", "Frames given to sockets.", "priority");
        let build = make.gauges("build_info", "1: the version that runs.", &["version"]);
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let started = gauge("start_time_seconds", "When this process began to count, since 1970.");
        started.set(clock::wall() / 1_000);
        Self {
            figures: Figures::new(&make),
            of_priority: OfPriority::all(&make, &written),
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
            written,
            retries: counters(
                "retries_total",
                "Recipients released to once more for want of a receipt, over the whole cluster.",
                "priority",
            ),
            delivery_seconds: histogram(seconds(
                "delivery_seconds",
                "Released to given to the sockets of a group of sessions that keep up, the last of what waited together.",
            )),
            sessions: gauge("sessions", "Open subscriber sessions."),
            write_errors: counter(
                "write_errors_total",
                "Sessions that ended because their socket refused a write.",
            ),
            set_aside: counters(
                "set_aside_total",
                "Recipients who did not get a broadcast at its first release, of the whole cluster: held or skipped.",
                "reason",
            ),
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
            commit_seconds: histogram(seconds(
                "commit_seconds",
                "On the leader: an entry proposed until a majority has it on disk and it is applied here.",
            )),
            apply_seconds: histogram(seconds("apply_seconds", "Applying one entry to the state.")),
            log_sync_seconds: histogram(seconds(
                "log_sync_seconds",
                "fdatasync of the log: entries written until they are on disk.",
            )),
            pack_commands: histogram(
                HistogramOpts::new("pack_commands", "Commands per log entry.")
                    .buckets((0..10).map(|step| f64::from(1u32 << step)).collect()),
            ),
            write_behind_rows: counter("write_behind_rows_total", "Rows written behind."),
            write_behind_seconds: histogram(seconds("write_behind_seconds", "One write-behind batch.")),
            store_sync_seconds: histogram(seconds("store_sync_seconds", "fdatasync of the state's rows.")),
            stored_index: gauge("stored_index", "Applied index of the rows in sled."),
            snapshots: counter("snapshots_total", "Snapshots built."),
            window_bytes: gauge("window_bytes", "Bytes of releases and frames in memory."),
            tls_handshakes: counters(
                "tls_handshakes_total",
                "Connections to a port with TLS: whole or resumed, plain when they came without it, failed, slow (not done in time, or in others' way), or left.",
                "result",
            ),
            tls_certificate_ends: gauge(
                "tls_certificate_ends_seconds",
                "When the certificate in use ends, since 1970; 0 where that is not known.",
            ),
            tls_reloads: counters(
                "tls_reloads_total",
                "Looks at the certificate's files that found them changed, or of no use.",
                "result",
            ),
            denied: counters("denied_total", "Requests refused because of who asked.", "code"),
            limits_hit: counters("limits_hit_total", "Refusals by limit.", "limit"),
            output_calls: counters_by("output_calls_total", "Calls to outputs.", &["output", "result"]),
            output_call_seconds: histogram(seconds("output_call_seconds", "A call to an output until its answer.")),
            cache_unfit: counters(
                "cache_unfit_total",
                "Values that the directory cannot go by.",
                "namespace",
            ),
            pushes: counters_by("otlp_pushes_total", "Pushes to the collector.", &["signal", "result"]),
            spans_dropped: counter(
                "otlp_spans_dropped_total",
                "Spans that did not fit the queue, or that the collector did not take.",
            ),
            cache_local_bytes: gauge("cache_local_bytes", "What the local tier of the cache holds."),
            cache_local_capacity: gauge(
                "cache_local_capacity_bytes",
                "What the local tier of the cache may hold now.",
            ),
            cache_reads: counters_by("cache_reads_total", "Reads of the cache.", &["namespace", "tier"]),
            alert_firing: make.gauges(
                "alert_firing",
                "1 while a rule fires on any node that this one knows of.",
                &["rule"],
            ),
            probes: counters("probes_total", "Tries whether a publish would work.", "result"),
            probe_seconds: histogram(seconds("probe_seconds", "One such try.")),
            uptime: make.levels(
                "uptime_ratio",
                "Share of this node's probes that were answered in time, within so long.",
                &["within"],
            ),
            // last: everything is in them by now
            registry: make.registry(),
            families: make.families(),
        }
    }

    /// Every metric there is, by name.
    pub fn families(&self) -> &[Family] {
        &self.families
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
