//! What happened within the last while: sums that only grow, kept for as long, and the difference of the newest and the oldest.
//!
//! Nothing here reads a clock: whoever samples says when.

use super::Metrics;
use prometheus::core::Collector;
use prometheus::{Histogram, IntCounterVec};
use std::collections::VecDeque;
use std::time::Duration;

/// Samples that are kept, whatever the time between them.
const SAMPLES_MAX: usize = 1_200;
/// The tier of a read that the cache had no answer to.
const MISSED: &str = "miss";

/// Things that were timed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timed {
    pub count: u64,
    pub seconds: f64,
}

impl Timed {
    fn of(histogram: &Histogram) -> Self {
        Self {
            count: histogram.get_sample_count(),
            seconds: histogram.get_sample_sum(),
        }
    }

    fn since(self, before: Self) -> Self {
        Self {
            count: self.count.saturating_sub(before.count),
            seconds: (self.seconds - before.seconds).max(0.0),
        }
    }

    /// `None` where nothing was timed.
    pub fn mean_ms(self) -> Option<f64> {
        (self.count > 0).then(|| self.seconds * 1e3 / self.count as f64)
    }
}

/// Counted since the start, or between two samples.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    /// Broadcasts that the node answered for with yes ...
    pub taken: u64,
    /// ... and those that it could not take, though nothing was wrong with them.
    pub not_taken: u64,
    pub publish: Timed,
    pub delivery: Timed,
    pub log_sync: Timed,
    pub cache_reads: u64,
    pub cache_missed: u64,
}

impl Metrics {
    /// What is counted now. The codes of refusals that are the node's fault are told by who knows them.
    pub fn tally(&self, codes: &[&str]) -> Tally {
        Tally {
            taken: sum(&self.published, |_, _| true),
            not_taken: sum(&self.refused, |_, code| codes.contains(&code)),
            publish: Timed::of(&self.publish_seconds),
            delivery: Timed::of(&self.delivery_seconds),
            log_sync: Timed::of(&self.log_sync_seconds),
            cache_reads: sum(&self.cache_reads, |label, _| label == "tier"),
            cache_missed: sum(&self.cache_reads, |label, tier| label == "tier" && tier == MISSED),
        }
    }
}

/// Of the counters that have such a label.
fn sum(counters: &IntCounterVec, counts: impl Fn(&str, &str) -> bool) -> u64 {
    let mut sum = 0;
    for family in counters.collect() {
        for metric in family.get_metric() {
            let mut labels = metric.get_label().iter();
            if labels.any(|label| counts(label.name(), label.value())) {
                sum += metric.get_counter().get_value() as u64;
            }
        }
    }
    sum
}

impl Tally {
    fn since(&self, before: &Self) -> Self {
        Self {
            taken: self.taken.saturating_sub(before.taken),
            not_taken: self.not_taken.saturating_sub(before.not_taken),
            publish: self.publish.since(before.publish),
            delivery: self.delivery.since(before.delivery),
            log_sync: self.log_sync.since(before.log_sync),
            cache_reads: self.cache_reads.saturating_sub(before.cache_reads),
            cache_missed: self.cache_missed.saturating_sub(before.cache_missed),
        }
    }
}

/// The samples of the last while, the oldest first.
#[derive(Debug, Default)]
pub struct Lately(VecDeque<(Duration, Tally)>);

impl Lately {
    /// Adds a sample; what happened since the oldest that is not longer ago than `over`, or the one before it. Nothing, at first.
    pub fn push(&mut self, since_start: Duration, tally: Tally, over: Duration) -> Tally {
        self.0.push_back((since_start, tally));
        let is_past = |at: Duration| since_start.saturating_sub(at) >= over;
        while self.0.len() > SAMPLES_MAX || self.0.get(1).is_some_and(|(at, _)| is_past(*at)) {
            self.0.pop_front();
        }
        let before = self.0.front().map_or(tally, |(_, tally)| *tally);
        tally.since(&before)
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, Lately, SAMPLES_MAX, Tally, Timed};

    fn tally(taken: u64) -> Tally {
        Tally {
            taken,
            publish: Timed {
                count: taken,
                seconds: taken as f64 / 10.0,
            },
            ..Tally::default()
        }
    }

    #[test]
    fn lately_is_as_long_as_it_is_told() {
        let mut lately = Lately::default();
        let over = Duration::from_secs(10);
        let seen: Vec<u64> = (0..40)
            .map(|second| lately.push(Duration::from_secs(second), tally(second), over).taken)
            .collect();
        assert_eq!((seen[0], seen[1], seen[9]), (0, 1, 9));
        assert!(seen[10..].iter().all(|taken| *taken == 10), "{seen:?}");
    }

    #[test]
    fn a_mean_is_of_what_came_since() {
        let mut lately = Lately::default();
        let over = Duration::from_secs(10);
        assert_eq!(lately.push(Duration::ZERO, tally(100), over).publish.mean_ms(), None);
        let since = lately.push(Duration::from_secs(1), tally(120), over);
        assert_eq!(since.publish.count, 20);
        assert!((since.publish.mean_ms().unwrap() - 100.0).abs() < 1e-6);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut lately = Lately::default();
        for at in 0..5_000 {
            lately.push(Duration::from_millis(at), tally(at), Duration::from_secs(3_600));
        }
        assert_eq!(lately.0.len(), SAMPLES_MAX);
    }

    #[test]
    fn the_processs_own_counters_are_summed() {
        let metrics = &*crate::metrics::METRICS;
        let before = metrics.tally(&["NO_LEADER"]);
        metrics.published.with_label_values(&["low"]).inc();
        metrics.published.with_label_values(&["critical"]).inc();
        metrics.refused.with_label_values(&["NO_LEADER"]).inc();
        metrics.refused.with_label_values(&["INVALID_VALUE"]).inc();
        metrics.cache_reads.with_label_values(&["teams", "local"]).inc();
        metrics.cache_reads.with_label_values(&["teams", "miss"]).inc();
        metrics.log_sync_seconds.observe(0.5);
        let since = metrics.tally(&["NO_LEADER"]).since(&before);
        // other tests count too
        assert!(since.taken >= 2 && since.not_taken >= 1, "{since:?}");
        assert!(since.cache_reads >= 2 && since.cache_missed >= 1, "{since:?}");
        assert!(since.log_sync.count >= 1 && since.log_sync.seconds >= 0.49, "{since:?}");
    }
}
