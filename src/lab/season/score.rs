//! What a replayed day is worth: by the origin's formula, by the same with one rule more, and by weights of what was measured. Pure.

use super::model::{Weight, Weights};

/// A replayed day, as far as a score asks. Everything in it was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Day {
    /// Percent of the probes that were taken in time.
    pub uptime: f64,
    /// Accepted to read.
    pub mean_ms: f64,
    /// Times in which no probe was taken: the origin's "incidents" were the system's, not the weddings'.
    pub outages: u64,
    pub lost: u64,
    pub wrong: u64,
}

/// What has a weight besides; `None` was not measured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Weighed {
    pub critical_p99_ms: Option<f64>,
    pub high_p99_ms: Option<f64>,
    /// Of 1.
    pub availability_writes: Option<f64>,
    pub ack_recorded_share: Option<f64>,
    pub reconnect_catchup_p99_s: Option<f64>,
}

/// 100 - 10 x (99.9 - uptime) when below - (mean - 100) / 10 when above - 5 for each outage; 0 to 100.
pub fn origin(day: &Day) -> f64 {
    let down = (99.9 - day.uptime).max(0.0) * 10.0;
    let slow = (day.mean_ms - 100.0).max(0.0) / 10.0;
    (100.0 - down - slow - 5.0 * day.outages as f64).clamp(0.0, 100.0)
}

/// One accepted broadcast that was lost, or one wrong recipient, makes it 0 whatever the rest.
pub fn ours(day: &Day) -> f64 {
    if day.lost + day.wrong > 0 { 0.0 } else { origin(day) }
}

pub const fn grade(score: f64) -> &'static str {
    match score {
        95.0.. => "excellent",
        85.0.. => "good",
        70.0.. => "acceptable",
        _ => "poor",
    }
}

/// The score of 100 by what was measured, and how much of the whole weight that is; `None` when nothing of it was.
pub fn weighted(weights: &Weights, weighed: &Weighed, day: &Day) -> Option<(f64, f64)> {
    let each = [
        (weights.critical_p99_ms, weighed.critical_p99_ms),
        (weights.high_p99_ms, weighed.high_p99_ms),
        (weights.availability_writes, weighed.availability_writes),
        (weights.ack_recorded_share, weighed.ack_recorded_share),
        (weights.reconnect_catchup_p99_s, weighed.reconnect_catchup_p99_s),
    ];
    let measured = || each.iter().filter_map(|(weight, value)| Some((weight, (*value)?)));
    let all: f64 = each.iter().map(|(weight, _)| weight.weight).sum();
    let counted: f64 = measured().map(|(weight, _)| weight.weight).sum();
    if counted <= 0.0 || all <= 0.0 {
        return None;
    }
    let reached: f64 = measured()
        .map(|(weight, value)| share(weight, value) * weight.weight)
        .sum();
    let score = if day.lost + day.wrong > 0 {
        0.0
    } else {
        100.0 * reached / counted
    };
    Some((score, counted / all))
}

/// 1 at `full` and beyond, 0 at `zero` and beyond.
fn share(weight: &Weight, value: f64) -> f64 {
    let wide = weight.full - weight.zero;
    if wide == 0.0 {
        return f64::from(u8::from(value >= weight.full));
    }
    ((value - weight.zero) / wide).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::{Day, Weighed, grade, origin, ours, weighted};
    use crate::lab::season::figures::{Profile, open};

    const DAY: Day = Day {
        uptime: 100.0,
        mean_ms: 20.0,
        outages: 0,
        lost: 0,
        wrong: 0,
    };

    #[track_caller]
    fn check(day: Day, by_origin: f64, by_ours: f64) {
        assert!((origin(&day) - by_origin).abs() < 1e-9, "{}", origin(&day));
        assert!((ours(&day) - by_ours).abs() < 1e-9, "{}", ours(&day));
    }

    #[test]
    fn the_score_is_the_origins_and_nothing_outweighs_a_loss() {
        check(DAY, 100.0, 100.0);
        check(Day { uptime: 99.9, ..DAY }, 100.0, 100.0);
        check(Day { uptime: 99.4, ..DAY }, 95.0, 95.0);
        check(Day { mean_ms: 100.0, ..DAY }, 100.0, 100.0);
        check(Day { mean_ms: 150.0, ..DAY }, 95.0, 95.0);
        check(Day { outages: 2, ..DAY }, 90.0, 90.0);
        let bad = Day {
            uptime: 99.4,
            mean_ms: 150.0,
            outages: 1,
            ..DAY
        };
        check(bad, 85.0, 85.0);
        check(Day { uptime: 0.0, ..DAY }, 0.0, 0.0);
        check(Day { lost: 1, ..DAY }, 100.0, 0.0);
        check(Day { wrong: 1, ..DAY }, 100.0, 0.0);
    }

    #[test]
    fn grades_begin_at_their_limits() {
        let grades = [100.0, 95.0, 94.9, 85.0, 84.9, 70.0, 69.9, 0.0].map(grade);
        assert_eq!(
            grades,
            [
                "excellent",
                "excellent",
                "good",
                "good",
                "acceptable",
                "acceptable",
                "poor",
                "poor"
            ]
        );
    }

    #[test]
    fn weights_count_where_something_was_measured() {
        let weights = open(Profile::Published).unwrap().score;
        let score = |weighed: Weighed, day: Day| weighted(&weights, &weighed, &day);
        assert_eq!(score(Weighed::default(), DAY), None);
        let fast = Weighed {
            critical_p99_ms: Some(250.0),
            ..Weighed::default()
        };
        assert_eq!(score(fast, DAY), Some((100.0, 0.3)));
        let half = Weighed {
            critical_p99_ms: Some(2_625.0),
            high_p99_ms: Some(9_000.0),
            availability_writes: Some(1.0),
            ..Weighed::default()
        };
        let (points, of) = score(half, DAY).unwrap();
        assert!(
            (points - 100.0 * 35.0 / 65.0).abs() < 1e-9 && (of - 0.65).abs() < 1e-9,
            "{points} {of}"
        );
        assert_eq!(score(fast, Day { lost: 1, ..DAY }), Some((0.0, 0.3)));
    }
}
