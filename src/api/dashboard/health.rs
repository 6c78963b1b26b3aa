//! What the figures are worth: a score from 100 down with its parts, and what wants somebody's attention. Pure.

use crate::metrics::history::{Lookups, Point, share};
use crate::model::NodeId;
use serde::Serialize;

/// A part of the score.
#[derive(Debug, PartialEq, Serialize)]
pub struct Part {
    part: &'static str,
    /// `share`, `ms`.
    unit: &'static str,
    /// Null where nothing happened that could be measured.
    value: Option<f64>,
    /// Points off.
    lost: u32,
}

#[derive(Debug, PartialEq, Serialize)]
pub struct Health {
    pub score: u32,
    /// What the figures are of; null before there are two samples.
    over_seconds: Option<f64>,
    parts: Vec<Part>,
    /// Parts of the score that nothing happened to be measured by: they take nothing off.
    not_measured: Vec<&'static str>,
    /// `ok`, `attention` or `trouble`.
    pub state: &'static str,
    pub concerns: Vec<Concern>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Critical,
    Warning,
}

/// Something that wants somebody's attention.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Concern {
    pub code: &'static str,
    pub severity: Severity,
    pub detail: String,
}

/// A score below this is a reason to look.
const LOOK_BELOW: u32 = 85;

/// A bound, and the points that are lost above it; the first that is passed counts.
type Steps = &'static [(f64, u32)];

const ERROR_SHARE: Steps = &[(0.05, 30)];
const QUEUE_MS: Steps = &[(500.0, 15)];
/// Reads that no tier answered: 70 % and 85 % are the hit rates that are asked for.
const CACHE_MISSES: Steps = &[(0.30, 25), (0.15, 10)];
/// A rate of fewer reads says nothing: the first of all is a miss.
const CACHE_READS_MIN: u64 = 20;
const RESPONSE_MS: Steps = &[(1_000.0, 25), (500.0, 10)];

fn lost(value: Option<f64>, steps: Steps) -> u32 {
    let passed = |bound: f64| value.is_some_and(|value| value > bound);
    let found = steps.iter().find(|(bound, _)| passed(*bound));
    found.map_or(0, |(_, points)| *points)
}

/// The score of what happened lately. Time in the queue takes nothing off beside its errors: both have the same cause.
pub fn health(lately: Option<&Point>, concerns: Vec<Concern>) -> Health {
    let millis = |seconds: Option<f64>| seconds.map(|seconds| seconds * 1e3);
    let errors = lately.and_then(|point| share(point.not_taken, point.published));
    let queue = millis(lately.and_then(|point| point.delivery.mean));
    let response = millis(lately.and_then(|point| point.publish.mean));
    let cache = lately
        .map(|point| point.cache)
        .filter(|cache| cache.all >= CACHE_READS_MIN);
    let misses = cache.and_then(|cache| share(cache.all.saturating_sub(cache.found), cache.found));
    let lost_by_errors = lost(errors, ERROR_SHARE);
    let lost_by_time = if lost_by_errors > 0 { 0 } else { lost(queue, QUEUE_MS) };
    let part = |part, unit, value, lost| Part {
        part,
        unit,
        value,
        lost,
    };
    let parts = vec![
        part("queue_errors", "share", errors, lost_by_errors),
        part("queue_time", "ms", queue, lost_by_time),
        part(
            "cache",
            "share",
            cache.and_then(Lookups::hit_rate),
            lost(misses, CACHE_MISSES),
        ),
        part("response", "ms", response, lost(response, RESPONSE_MS)),
    ];
    let not_measured = parts.iter().filter(|part| part.value.is_none());
    let not_measured = not_measured.map(|part| part.part).collect();
    let score = 100u32.saturating_sub(parts.iter().map(|part| part.lost).sum());
    Health {
        state: state(score, &concerns),
        score,
        over_seconds: lately.map(|point| point.over.as_secs_f64()),
        parts,
        not_measured,
        concerns,
    }
}

fn state(score: u32, concerns: &[Concern]) -> &'static str {
    let worst = concerns.iter().map(|concern| concern.severity).min();
    match worst {
        Some(Severity::Critical) => "trouble",
        Some(Severity::Warning) => "attention",
        None if score < LOOK_BELOW => "attention",
        None => "ok",
    }
}

/// What is known of the cluster and what it calls, as far as somebody may have to do something about it.
#[derive(Debug, Default)]
pub struct Known<'a> {
    pub has_leader: bool,
    /// This node takes no part.
    pub left_out: Option<String>,
    pub is_draining: bool,
    pub unreachable: Vec<NodeId>,
    /// Critical ones that are out and not confirmed by everybody.
    pub emergencies: usize,
    pub outputs_left_alone: Vec<&'a str>,
}

/// The most urgent first.
pub fn concerns(known: Known) -> Vec<Concern> {
    use Severity::{Critical, Warning};
    let mut found = Vec::new();
    let mut add = |code, severity, detail: String| {
        found.push(Concern { code, severity, detail });
    };
    if let Some(why) = known.left_out {
        add("no_data", Critical, why);
    }
    if !known.has_leader {
        let detail = "no node leads: nothing can be published until one does; what is accepted is still delivered";
        add("no_leader", Critical, detail.into());
    }
    if known.emergencies > 0 {
        let count = known.emergencies;
        let detail = if count == 1 {
            "a critical broadcast is out that not everybody has confirmed".into()
        } else {
            format!("{count} critical broadcasts are out that not everybody has confirmed")
        };
        add("emergency", Critical, detail);
    }
    for node in known.unreachable {
        add("node_lost", Warning, format!("node {node} does not answer"));
    }
    for output in known.outputs_left_alone {
        let detail = format!("the output {output} fails and is left alone for now");
        add("output_failing", Warning, detail);
    }
    if known.is_draining {
        add("stopping", Warning, "this node is stopping".into());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{Concern, Known, Severity, concerns, health};
    use crate::metrics::history::{Lookups, Point, Timing};
    use std::time::Duration;

    /// Milliseconds in the queue and until the answer; publishes that were not taken, of 100.
    fn point(queue: f64, response: f64, not_taken: u64) -> Point {
        let timing = |millis: f64| Timing {
            count: 100,
            mean: Some(millis / 1e3),
            most_within: None,
        };
        Point {
            at: 0,
            over: Duration::from_secs(60),
            sessions: 0,
            published: 100 - not_taken,
            not_taken,
            written: 0,
            publish: timing(response),
            delivery: timing(queue),
            requests: 0,
            failed: 0,
            cache: Lookups::default(),
        }
    }

    #[test]
    fn the_score_falls_as_its_table_says() {
        let check = |queue: f64, response: f64, not_taken: u64, score: u32| {
            let found = health(Some(&point(queue, response, not_taken)), Vec::new());
            assert_eq!(found.score, score, "{queue} {response} {not_taken}");
        };
        check(500.0, 500.0, 5, 100);
        check(501.0, 0.0, 0, 85);
        check(0.0, 501.0, 0, 90);
        check(0.0, 1_001.0, 0, 75);
        check(0.0, 0.0, 6, 70);
        check(501.0, 0.0, 6, 70);
        check(501.0, 1_001.0, 6, 45);
    }

    #[test]
    fn a_cache_that_misses_takes_its_part_off() {
        let check = |all: u64, found: u64, score: u32, value: Option<f64>| {
            let cache = Lookups { all, found, local: 0 };
            let point = Point {
                cache,
                ..point(0.0, 0.0, 0)
            };
            let found = health(Some(&point), Vec::new());
            assert_eq!(found.score, score, "{cache:?}");
            assert_eq!(found.parts[2].value, value, "{cache:?}");
            assert_eq!(found.not_measured.contains(&"cache"), value.is_none());
        };
        check(100, 85, 100, Some(0.85));
        check(100, 84, 90, Some(0.84));
        check(100, 70, 90, Some(0.7));
        check(100, 69, 75, Some(0.69));
        check(20, 0, 75, Some(0.0));
        check(19, 0, 100, None);
    }

    #[test]
    fn what_was_not_measured_takes_nothing_off() {
        let quiet = Point {
            published: 0,
            publish: Timing::default(),
            delivery: Timing::default(),
            ..point(0.0, 0.0, 0)
        };
        for lately in [None, Some(&quiet)] {
            let found = health(lately, Vec::new());
            assert_eq!((found.score, found.state), (100, "ok"));
            assert!(found.parts.iter().all(|part| part.value.is_none()));
            assert_eq!(found.not_measured, ["queue_errors", "queue_time", "cache", "response"]);
        }
    }

    #[test]
    fn the_state_is_the_worst_that_is_known() {
        let check = |score_ms: f64, severities: &[Severity], expected: &str| {
            let concern = |severity: &Severity| Concern {
                code: "x",
                severity: *severity,
                detail: String::new(),
            };
            let concerns = severities.iter().map(concern).collect();
            let found = health(Some(&point(0.0, score_ms, 0)), concerns);
            assert_eq!(found.state, expected, "{score_ms} {severities:?}");
        };
        check(0.0, &[], "ok");
        check(600.0, &[], "ok");
        check(1_001.0, &[], "attention");
        check(0.0, &[Severity::Warning], "attention");
        check(0.0, &[Severity::Warning, Severity::Critical], "trouble");
    }

    #[test]
    fn concerns_come_by_urgency() {
        let known = Known {
            has_leader: false,
            emergencies: 2,
            unreachable: vec![3],
            outputs_left_alone: vec!["siren"],
            is_draining: true,
            left_out: None,
        };
        let codes: Vec<&str> = concerns(known).iter().map(|concern| concern.code).collect();
        assert_eq!(
            codes,
            ["no_leader", "emergency", "node_lost", "output_failing", "stopping"]
        );
        let well = Known {
            has_leader: true,
            ..Known::default()
        };
        assert_eq!(concerns(well), []);
    }
}
