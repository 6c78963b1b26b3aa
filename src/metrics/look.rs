//! What happened between two looks at counters that only grow.

use super::{METRICS, Metrics};
use prometheus::core::Collector;

/// Counters as they stand; the difference of two says what happened between them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Look {
    /// Upper bound in seconds, and how many were at or below it.
    delivery: Vec<(f64, u64)>,
    requests: u64,
    failed: u64,
}

impl Metrics {
    pub fn look(&self) -> Look {
        let mut look = Look::default();
        for family in self.delivery_seconds.collect() {
            for metric in family.get_metric() {
                let buckets = metric.get_histogram().get_bucket();
                look.delivery.extend(
                    buckets
                        .iter()
                        .map(|bucket| (bucket.upper_bound(), bucket.cumulative_count())),
                );
            }
        }
        for family in self.http_requests.collect() {
            for metric in family.get_metric() {
                let count = metric.get_counter().get_value() as u64;
                let is_failed = |value: &str| value.starts_with('5');
                look.requests += count;
                look.failed += if metric.get_label().iter().any(|label| is_failed(label.value())) {
                    count
                } else {
                    0
                };
            }
        }
        look
    }
}

impl Look {
    pub fn now() -> Self {
        METRICS.look()
    }

    /// Seconds within which this share of the deliveries since `before` was made, as the upper bound of a bucket; `None` when
    /// there was none.
    pub fn delivery_quantile(&self, before: &Self, share: f64) -> Option<f64> {
        let count = |at: usize| {
            let earlier = before.delivery.get(at).map_or(0, |(_, count)| *count);
            self.delivery
                .get(at)
                .map_or(0, |(_, count)| count.saturating_sub(earlier))
        };
        let all = count(self.delivery.len().checked_sub(1)?);
        let wanted = (all as f64 * share).ceil() as u64;
        let found = (0..self.delivery.len()).find(|at| count(*at) >= wanted);
        let bound = found.and_then(|at| self.delivery.get(at)).map(|(bound, _)| *bound);
        bound.filter(|_| all > 0)
    }

    /// Share of the requests since `before` that failed on our side; `None` for fewer than `least` requests.
    pub fn failed_share(&self, before: &Self, least: u64) -> Option<f64> {
        let all = self.requests.saturating_sub(before.requests);
        let failed = self.failed.saturating_sub(before.failed);
        (all >= least.max(1)).then(|| failed as f64 / all as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::Look;

    fn look(counts: [u64; 3], requests: u64, failed: u64) -> Look {
        Look {
            delivery: [0.01, 0.1, 1.0].into_iter().zip(counts).collect(),
            requests,
            failed,
        }
    }

    #[test]
    fn a_quantile_is_of_what_happened_in_between() {
        let before = look([100, 100, 100], 0, 0);
        assert_eq!(before.delivery_quantile(&before, 0.95), None);
        assert_eq!(look([195, 200, 200], 0, 0).delivery_quantile(&before, 0.95), Some(0.01));
        assert_eq!(look([194, 200, 200], 0, 0).delivery_quantile(&before, 0.95), Some(0.1));
        assert_eq!(look([100, 100, 101], 0, 0).delivery_quantile(&before, 0.95), Some(1.0));
        assert_eq!(
            look([7, 9, 9], 0, 0).delivery_quantile(&Look::default(), 0.5),
            Some(0.01)
        );
    }

    #[test]
    fn a_share_of_few_requests_says_nothing() {
        let before = look([0; 3], 100, 10);
        assert_eq!(look([0; 3], 119, 29).failed_share(&before, 20), None);
        assert_eq!(look([0; 3], 120, 15).failed_share(&before, 20), Some(0.25));
    }

    #[test]
    fn the_processs_own_counters_are_looked_at() {
        let before = Look::now();
        super::METRICS.delivery_seconds.observe(0.001);
        super::METRICS.http_requests.with_label_values(&["503"]).inc();
        let after = Look::now();
        assert!(after.delivery_quantile(&before, 1.0).is_some());
        assert!(after.failed_share(&before, 1).is_some_and(|share| share > 0.0));
    }
}
