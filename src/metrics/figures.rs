//! Figures that stand somewhere else and are read when somebody asks for the metrics: nobody pays for them in between.

use super::make::Maker;
use super::process::Process;
use parking_lot::Mutex;
use prometheus::{Counter, Gauge, GaugeVec, IntGauge, IntGaugeVec};
use std::collections::BTreeMap;
use std::time::Duration;

pub struct Figures {
    // queues
    pub queue_recipients: IntGaugeVec,
    pub queue_releases: IntGaugeVec,
    pub queue_oldest: GaugeVec,
    pub dead_letters: IntGaugeVec,
    // sessions
    pub sessions_max: IntGauge,
    pub users: IntGauge,
    pub users_connected: IntGauge,
    // consensus
    pub term: IntGauge,
    pub has_leader: IntGauge,
    pub last_index: IntGauge,
    pub uncommitted: IntGauge,
    pub unapplied: IntGauge,
    pub replication_lag: IntGaugeVec,
    pub commands_waiting: IntGauge,
    pub clock_offset: Gauge,
    // storage
    pub rows_waiting: IntGauge,
    pub log_bytes: IntGauge,
    pub state_bytes: IntGauge,
    pub snapshot_bytes: IntGauge,
    pub disk_size: IntGauge,
    pub disk_free: IntGauge,
    pub disk_left: IntGauge,
    pub reserve: IntGauge,
    // cache
    pub cache_local_entries: IntGauge,
    pub cache_entries: IntGaugeVec,
    pub cache_bytes: IntGaugeVec,
    // weddings
    pub weddings_open: IntGauge,
    pub weddings_soon: IntGauge,
    pub critical_last_hour: IntGauge,
    pub emergencies: IntGauge,
    pub is_season: IntGauge,
    pub is_weekend: IntGauge,
    pub expected_sessions: Gauge,
    pub expected_sessions_peak: Gauge,
    // this process
    busy: Grown,
    cpu: Grown,
    resident: IntGauge,
    descriptors: IntGauge,
    descriptors_max: IntGauge,
}

/// A counter of what others count: it grows by what has come since the last look.
struct Grown {
    counter: Counter,
    seen: Mutex<BTreeMap<String, Duration>>,
}

impl Grown {
    fn new(counter: Counter) -> Self {
        Self {
            counter,
            seen: Mutex::default(),
        }
    }

    fn see(&self, all: impl IntoIterator<Item = (String, Duration)>) {
        let mut seen = self.seen.lock();
        for (name, now) in all {
            let before = seen.insert(name, now).unwrap_or_default();
            self.counter.inc_by(now.saturating_sub(before).as_secs_f64());
        }
    }
}

impl Figures {
    pub(super) fn new(make: &Maker) -> Self {
        let gauge = |name: &str, help: &str| make.gauge(name, help);
        let by_priority = |name: &str, help: &str| make.gauges(name, help, &["priority"]);
        Self {
            queue_recipients: by_priority("queue_recipients", "Recipients connected here and not yet written to."),
            queue_releases: by_priority(
                "queue_releases",
                "Releases not yet written to everybody here who keeps up; 8192 stands for more.",
            ),
            queue_oldest: make.levels(
                "queue_oldest_seconds",
                "Age of the oldest release not yet written to all its recipients here; 0 when nothing waits.",
                &["priority"],
            ),
            dead_letters: by_priority(
                "dead_letters",
                "Recipients who never got what has expired, of the whole cluster, as far as it is kept.",
            ),
            sessions_max: gauge("sessions_max", "Open subscriber sessions that this node takes."),
            users: gauge("users", "Users in the directory, of the whole cluster."),
            users_connected: gauge(
                "users_connected",
                "Users with a session somewhere, of the whole cluster.",
            ),
            term: gauge("term", "Raft's current term."),
            has_leader: gauge("has_leader", "1 where this node knows a leader."),
            last_index: gauge("log_last_index", "Last index of this node's log."),
            uncommitted: gauge(
                "log_uncommitted_entries",
                "Commit lag: entries in this node's log that are not known to be committed.",
            ),
            unapplied: gauge(
                "log_unapplied_entries",
                "Apply lag: entries known to be committed that this node has not applied.",
            ),
            replication_lag: make.gauges(
                "replication_lag_entries",
                "On the leader: entries that a node is behind; no series for a node that is not heard.",
                &["node"],
            ),
            commands_waiting: gauge(
                "commands_waiting",
                "Commands that wait for an entry of the log, or for the leader.",
            ),
            clock_offset: make.level(
                "clock_offset_seconds",
                "Log time less this machine's clock: far from 0, one of the nodes' clocks is wrong.",
            ),
            rows_waiting: gauge("write_behind_waiting_rows", "Changed rows not yet written behind."),
            log_bytes: gauge("log_bytes", "Bytes on disk of the log."),
            state_bytes: gauge("state_bytes", "Bytes on disk of the state's rows."),
            snapshot_bytes: gauge("snapshot_bytes", "Bytes on disk of the snapshots."),
            disk_size: gauge("disk_size_bytes", "Size of the volume with the data folder."),
            disk_free: gauge("disk_free_bytes", "What is free on the volume with the data folder."),
            disk_left: gauge(
                "disk_left_bytes",
                "What may be taken of that volume before publishes are refused.",
            ),
            reserve: gauge(
                "disk_reserve_bytes",
                "What the reserve holds, for a start on a full disk.",
            ),
            cache_local_entries: gauge("cache_local_entries", "Values in the local tier of the cache."),
            cache_entries: make.gauges(
                "cache_entries",
                "Values in the replicated tier of the cache, of the whole cluster.",
                &["namespace"],
            ),
            cache_bytes: make.gauges(
                "cache_bytes",
                "Bytes of the replicated tier of the cache with the names, of the whole cluster.",
                &["namespace"],
            ),
            weddings_open: gauge(
                "weddings_open",
                "Weddings whose event window is open, of the whole cluster.",
            ),
            weddings_soon: gauge(
                "weddings_soon",
                "Weddings whose event window is open or opens within 7 days, of the whole cluster.",
            ),
            critical_last_hour: gauge(
                "critical_last_hour",
                "Critical broadcasts released within the last hour, drills not counted, of the whole cluster.",
            ),
            emergencies: gauge(
                "emergencies",
                "Critical broadcasts that are out and not yet confirmed by everybody, of the whole cluster.",
            ),
            is_season: gauge(
                "is_season",
                "1 while it is the season at some venue, by the rules of scaling.",
            ),
            is_weekend: gauge(
                "is_weekend",
                "1 while it is the weekend at some venue, by the rules of scaling.",
            ),
            expected_sessions: make.level(
                "expected_sessions",
                "Seasonal load: sessions that the directory's weddings let expect now, of the whole cluster.",
            ),
            expected_sessions_peak: make.level(
                "expected_sessions_peak",
                "The most sessions to expect within the coming 7 days, of the whole cluster.",
            ),
            busy: Grown::new(make.sum(
                "worker_busy_seconds_total",
                "Time that threads which write to subscribers did not sleep.",
            )),
            cpu: Grown::new(make.sum("process_cpu_seconds_total", "CPU time of this process.")),
            resident: gauge(
                "process_resident_memory_bytes",
                "Memory of this process that is in RAM.",
            ),
            descriptors: gauge("process_open_fds", "File descriptors that are open."),
            descriptors_max: gauge("process_max_fds", "File descriptors that may be open."),
        }
    }

    /// Time that each thread has not slept since its first start, by its name.
    pub fn see_busy(&self, threads: impl IntoIterator<Item = (String, Duration)>) {
        self.busy.see(threads);
    }

    pub fn see_process(&self, process: &Process) {
        self.cpu.see([(String::new(), process.cpu)]);
        for (gauge, figure) in [
            (&self.resident, process.resident_bytes),
            (&self.descriptors, process.descriptors),
            (&self.descriptors_max, process.descriptors_max),
        ] {
            set(gauge, figure.unwrap_or(0));
        }
    }
}

/// Figures beyond what a gauge holds are none that a machine has.
pub fn set(gauge: &IntGauge, figure: u64) {
    gauge.set(i64::try_from(figure).unwrap_or(i64::MAX));
}

#[cfg(test)]
mod tests {
    use super::Grown;
    use prometheus::Counter;
    use std::time::Duration;

    #[test]
    fn a_counter_grows_by_what_came_since_the_last_look() {
        let grown = Grown::new(Counter::new("a", "b").unwrap());
        let see = |all: &[(&str, u64)]| {
            grown.see(
                all.iter()
                    .map(|(name, at)| ((*name).to_owned(), Duration::from_secs(*at))),
            );
            grown.counter.get()
        };
        let is = |value: f64, expected: f64| assert!((value - expected).abs() < 1e-9, "{value}, not {expected}");
        is(see(&[("a", 2)]), 2.0);
        is(see(&[("a", 5), ("b", 1)]), 6.0);
        // one that has ended keeps what it counted, and goes on from there when it starts again
        is(see(&[("a", 5)]), 6.0);
        is(see(&[("a", 5), ("b", 3)]), 8.0);
    }
}
