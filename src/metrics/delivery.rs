//! What is counted on the hottest road, from a release to the sockets. Finding a series by its name, or sharing it between threads,
//! would cost more than what it counts: each thread has a [`Tally`] of its own and hands it over when it rests.

use super::METRICS;
use super::make::{Maker, seconds};
use prometheus::local::LocalHistogram;
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Labels by priority, the most urgent first. `gateway` proves that these are the priorities.
pub const PRIORITIES: [&str; 4] = ["critical", "high", "normal", "low"];

static IS_PAUSED: AtomicBool = AtomicBool::new(false);

/// From now on nothing is measured on the road of deliveries: only for whoever compares what measuring costs.
pub fn pause() {
    IS_PAUSED.store(true, Relaxed);
}

/// As always.
pub fn resume() {
    IS_PAUSED.store(false, Relaxed);
}

#[inline]
pub fn is_on() -> bool {
    !IS_PAUSED.load(Relaxed)
}

/// The series of one priority.
pub struct OfPriority {
    pub released: IntCounter,
    pub targeted: IntCounter,
    pub written: IntCounter,
    pub waited: Histogram,
}

impl OfPriority {
    pub(super) fn all(maker: &Maker, written: &IntCounterVec) -> [Self; 4] {
        let released = maker.counters(
            "released_total",
            "Releases handed to this node's sessions: broadcasts, those that come later or again, retractions.",
            &["priority"],
        );
        let targeted = maker.counters(
            "targeted_total",
            "Recipients of broadcasts at their first release, of the whole cluster.",
            &["priority"],
        );
        let waited: HistogramVec = maker.histograms(
            seconds(
                "queue_seconds",
                "Accepted (applied here, which is when a publish is answered) to given to the sockets of a group of sessions that keep up.",
            ),
            &["priority"],
        );
        PRIORITIES.map(|priority| Self {
            released: released.with_label_values(&[priority]),
            targeted: targeted.with_label_values(&[priority]),
            written: written.with_label_values(&[priority]),
            waited: waited.with_label_values(&[priority]),
        })
    }
}

/// What one thread has measured and not handed over yet.
pub struct Tally {
    waited: [LocalHistogram; 4],
    delivered: LocalHistogram,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            waited: METRICS.of_priority.each_ref().map(|series| series.waited.local()),
            delivered: METRICS.delivery_seconds.local(),
        }
    }
}

impl Tally {
    /// A release of this priority (its index) was given to a group of sessions.
    pub fn waited(&self, priority: usize, seconds: f64) {
        if let Some(series) = self.waited.get(priority) {
            series.observe(seconds);
        }
    }

    /// A group of sessions was given all that waited.
    pub fn delivered(&self, seconds: f64) {
        self.delivered.observe(seconds);
    }

    pub fn hand_over(&self) {
        self.waited.iter().for_each(LocalHistogram::flush);
        self.delivered.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;
    use crate::metrics::METRICS;

    #[test]
    fn what_a_thread_measured_counts_once_it_is_handed_over() {
        let series = &METRICS.of_priority[3].waited;
        let before = series.get_sample_count();
        let tally = Tally::default();
        tally.waited(3, 0.001);
        tally.waited(3, 0.002);
        tally.waited(9, 0.002);
        assert_eq!(series.get_sample_count(), before);
        tally.hand_over();
        tally.hand_over();
        assert_eq!(series.get_sample_count(), before + 2);
    }
}
