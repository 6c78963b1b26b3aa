//! The last samples of what the node counts, in a ring: a figure is what happened between two of them.
//!
//! Nothing here reads a clock: whoever samples says when.

use super::Metrics;
use crate::base::clock::Millis;
use prometheus::Histogram;
use prometheus::core::Metric;
use std::collections::VecDeque;
use std::time::Duration;

/// Points of a series.
pub const POINTS_MAX: usize = 48;
/// The share of what was timed that is not slower than the bound a [`Timing`] names.
const MOST: f64 = 0.95;

/// What a histogram has seen since the start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spread {
    pub count: u64,
    /// Seconds.
    pub sum: f64,
    /// Upper bounds in seconds, and how many were not above each.
    pub buckets: Vec<(f64, u64)>,
}

impl Spread {
    fn of(histogram: &Histogram) -> Self {
        Self::of_metric(&histogram.metric())
    }

    pub(super) fn of_metric(metric: &prometheus::proto::Metric) -> Self {
        let seen = metric.get_histogram();
        let buckets = seen.get_bucket().iter();
        Self {
            count: seen.get_sample_count(),
            sum: seen.get_sample_sum(),
            buckets: buckets
                .map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()))
                .collect(),
        }
    }

    fn since(&self, before: &Self) -> Timing {
        let count = self.count.saturating_sub(before.count);
        if count == 0 {
            return Timing::default();
        }
        let wanted = (count as f64 * MOST).ceil() as u64;
        let mut grown = self.buckets.iter().enumerate().map(|(at, (bound, seen))| {
            let earlier = before.buckets.get(at).map_or(0, |(_, seen)| *seen);
            (*bound, seen.saturating_sub(earlier))
        });
        Timing {
            count,
            mean: Some((self.sum - before.sum).max(0.0) / count as f64),
            most_within: grown.find(|(_, seen)| *seen >= wanted).map(|(bound, _)| bound),
        }
    }
}

/// Reads of what is cached, and who answered them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lookups {
    pub all: u64,
    /// Answered by one of the tiers ...
    pub found: u64,
    /// ... and those of them by the local one.
    pub local: u64,
}

impl Lookups {
    fn since(self, before: Self) -> Self {
        Self {
            all: self.all.saturating_sub(before.all),
            found: self.found.saturating_sub(before.found),
            local: self.local.saturating_sub(before.local),
        }
    }

    /// The share that a tier answered; `None` where nobody read.
    pub fn hit_rate(self) -> Option<f64> {
        share(self.found, self.all.saturating_sub(self.found))
    }

    pub fn local_hit_rate(self) -> Option<f64> {
        share(self.local, self.all.saturating_sub(self.local))
    }
}

/// What a node has counted since its start, at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// Broadcasts that this node answered for with yes ...
    pub published: u64,
    /// ... and those that it could not take, though nothing was wrong with them.
    pub not_taken: u64,
    /// Frames given to sockets.
    pub written: u64,
    pub publish: Spread,
    pub delivery: Spread,
    /// Under `/v1`.
    pub requests: u64,
    /// Those of them answered with a status of 500 or more.
    pub failed: u64,
    pub sessions: u64,
    /// Told by who has the cache; nothing here counts it.
    pub cache: Lookups,
}

impl Metrics {
    /// What is counted now. The codes of refusals that are the node's fault are told by who knows them.
    pub fn totals(&self, sessions: u64, priorities: &[&str], codes: &[&str]) -> Totals {
        let sum = |counters: &prometheus::IntCounterVec, labels: &[&str]| -> u64 {
            labels
                .iter()
                .map(|label| counters.with_label_values(&[label]).get())
                .sum()
        };
        Totals {
            published: sum(&self.published, priorities),
            not_taken: sum(&self.refused, codes),
            written: sum(&self.written, priorities),
            publish: Spread::of(&self.publish_seconds),
            delivery: Spread::of(&self.delivery_seconds),
            requests: self.api_requests.get(),
            failed: self.api_failed.get(),
            sessions,
            cache: Lookups::default(),
        }
    }
}

/// How long something took, between two samples.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timing {
    pub count: u64,
    /// Seconds; `None` where nothing was timed.
    pub mean: Option<f64>,
    /// 95 of 100 took no longer than so many seconds; `None` where nothing was timed, or beyond every bound.
    pub most_within: Option<f64>,
}

/// What happened between two samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// When the later one was taken.
    pub at: Millis,
    pub over: Duration,
    /// At `at`.
    pub sessions: u64,
    pub published: u64,
    pub not_taken: u64,
    pub written: u64,
    pub publish: Timing,
    pub delivery: Timing,
    pub requests: u64,
    pub failed: u64,
    pub cache: Lookups,
}

impl Point {
    fn between(before: &Sample, after: &Sample) -> Self {
        let (then, now) = (&before.totals, &after.totals);
        Self {
            at: after.at,
            over: after.since_start.saturating_sub(before.since_start),
            sessions: now.sessions,
            published: now.published.saturating_sub(then.published),
            not_taken: now.not_taken.saturating_sub(then.not_taken),
            written: now.written.saturating_sub(then.written),
            publish: now.publish.since(&then.publish),
            delivery: now.delivery.since(&then.delivery),
            requests: now.requests.saturating_sub(then.requests),
            failed: now.failed.saturating_sub(then.failed),
            cache: now.cache.since(then.cache),
        }
    }

    /// So many a second.
    pub fn rate(&self, count: u64) -> f64 {
        count as f64 / self.over.max(Duration::from_millis(1)).as_secs_f64()
    }
}

/// The first as a share of both; `None` where there is neither.
pub fn share(part: u64, rest: u64) -> Option<f64> {
    let all = part + rest;
    (all > 0).then(|| part as f64 / all as f64)
}

#[derive(Debug)]
struct Sample {
    at: Millis,
    since_start: Duration,
    totals: Totals,
}

/// The ring: one sample more than there are points.
#[derive(Debug, Default)]
pub struct History(VecDeque<Sample>);

impl History {
    /// `since_start` never goes back, whatever the wall clock in `at` does.
    pub fn push(&mut self, at: Millis, since_start: Duration, totals: Totals) {
        if self.0.len() > POINTS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(Sample {
            at,
            since_start,
            totals,
        });
    }

    /// Oldest first.
    pub fn points(&self) -> Vec<Point> {
        let later = self.0.iter().skip(1);
        let pairs = self.0.iter().zip(later);
        pairs.map(|(before, after)| Point::between(before, after)).collect()
    }

    /// From the newest sample back to the oldest that is not longer ago than `longest`, or the one before it where that is older;
    /// `None` before there are two.
    pub fn lately(&self, longest: Duration) -> Option<Point> {
        let newest = self.0.back()?;
        let mut earlier = self.0.iter().rev().skip(1);
        let mut from = earlier.next()?;
        for sample in earlier {
            if newest.since_start.saturating_sub(sample.since_start) > longest {
                break;
            }
            from = sample;
        }
        Some(Point::between(from, newest))
    }
}

#[cfg(test)]
mod tests {
    use super::{History, Lookups, POINTS_MAX, Spread, Totals, share};
    use std::time::Duration;

    fn history(samples: u64) -> History {
        let mut history = History::default();
        for at in 0..samples {
            let totals = Totals {
                published: 10 * at,
                written: 100 * at,
                sessions: at,
                ..Totals::default()
            };
            history.push(1_000 * at as i64, Duration::from_secs(5 * at), totals);
        }
        history
    }

    #[test]
    fn a_point_is_what_happened_between_two_samples() {
        let points = history(3).points();
        assert_eq!(points.len(), 2);
        let point = points[1];
        assert_eq!((point.at, point.sessions, point.published), (2_000, 2, 10));
        assert!((point.rate(point.written) - 20.0).abs() < 1e-9);
        assert!(history(1).points().is_empty() && history(1).lately(Duration::MAX).is_none());
    }

    #[test]
    fn the_ring_is_bounded() {
        let points = history(500).points();
        assert_eq!(points.len(), POINTS_MAX);
        assert_eq!(points.last().unwrap().at, 499_000);
    }

    #[test]
    fn lately_goes_back_as_far_as_it_may() {
        let check = |longest: u64, published: u64| {
            let point = history(20).lately(Duration::from_secs(longest)).unwrap();
            assert_eq!(point.published, published, "{longest}");
        };
        check(0, 10);
        check(5, 10);
        check(30, 60);
        check(1_000, 190);
    }

    #[test]
    fn a_timing_is_of_what_came_since() {
        let buckets = |counts: [u64; 3]| [0.1, 0.2, 0.4].into_iter().zip(counts).collect();
        let before = Spread {
            count: 10,
            sum: 1.0,
            buckets: buckets([10, 10, 10]),
        };
        let after = Spread {
            count: 30,
            sum: 4.0,
            buckets: buckets([11, 29, 30]),
        };
        let timing = after.since(&before);
        assert_eq!(timing.count, 20);
        assert!((timing.mean.unwrap() - 0.15).abs() < 1e-9);
        assert_eq!(timing.most_within, Some(0.2), "19 of 20 took no longer");
        assert_eq!(before.since(&before).mean, None);
        let beyond = Spread {
            count: 12,
            sum: 100.0,
            buckets: buckets([10, 10, 10]),
        };
        assert_eq!(beyond.since(&before).most_within, None);
    }

    #[test]
    fn a_share_of_nothing_is_unknown() {
        assert_eq!(share(0, 0), None);
        assert_eq!(share(1, 3), Some(0.25));
    }

    #[test]
    fn a_hit_rate_is_of_what_was_read_since() {
        let mut history = History::default();
        let totals = |all, found, local| Totals {
            cache: Lookups { all, found, local },
            ..Totals::default()
        };
        for (second, totals) in [(0, totals(10, 1, 1)), (5, totals(20, 9, 6)), (10, totals(20, 9, 6))] {
            history.push(0, Duration::from_secs(second), totals);
        }
        let rates: Vec<_> = history
            .points()
            .iter()
            .map(|point| (point.cache.hit_rate(), point.cache.local_hit_rate()))
            .collect();
        assert_eq!(rates, [(Some(0.8), Some(0.5)), (None, None)]);
    }
}
