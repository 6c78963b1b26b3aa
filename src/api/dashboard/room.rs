//! How much more a node can take: each of its limits and how full it is, what scaling made of it, and what the calendar still brings.

use crate::api::context::Context;
use crate::api::publish::LATE_MAX_MS;
use crate::api::scaling::{self, Decided};
use crate::api::wire::At;
use crate::cache::memory::Filled;
use crate::control::autoscaler::Shown;
use crate::queue::admission::share;
use crate::scaling::forecast::Need;
use serde::Serialize;

/// The newest decisions that are shown; `GET /v1/scaling` has the others.
const DECISIONS_SHOWN: usize = 5;

/// How full the fullest limit leaves the node.
#[derive(Debug, PartialEq, Serialize)]
pub struct Headroom {
    /// The part of the fullest limit that is free, 0 to 1.
    left: f64,
    /// What is fullest.
    least: &'static str,
    parts: Vec<Part>,
}

#[derive(Debug, PartialEq, Serialize)]
pub struct Part {
    of: &'static str,
    /// 1 is at the limit; null: not measured.
    used: Option<f64>,
}

/// What is known of a node's limits.
struct Seen {
    sessions: f64,
    /// Commands that wait to be packed.
    commands: f64,
    /// Rows that wait for the disk.
    rows: f64,
    /// The oldest release that is not yet written to all.
    late: f64,
    memory: Option<f64>,
    /// The peak of the coming days, of what this machine was measured to do.
    expected: Option<f64>,
}

fn headroom(seen: &Seen) -> Headroom {
    let part = |of, used| Part { of, used };
    let parts = vec![
        part("sessions", Some(seen.sessions)),
        part("memory", seen.memory),
        part("commands_waiting", Some(seen.commands)),
        part("rows_waiting", Some(seen.rows)),
        part("lateness", Some(seen.late)),
        part("expected_peak", seen.expected),
    ];
    let most = parts
        .iter()
        .filter_map(|part| Some((part.of, part.used?)))
        .max_by(|(_, one), (_, other)| one.total_cmp(other));
    let (least, used) = most.unwrap_or(("sessions", 0.0));
    Headroom {
        left: (1.0 - used).clamp(0.0, 1.0),
        least,
        parts,
    }
}

pub fn of(context: &Context, shown: &Shown) -> Headroom {
    let fullness = context.handle.fullness();
    let late = usize::try_from(shown.load.oldest_ms).unwrap_or(usize::MAX);
    let memory = context.cache.decision();
    headroom(&Seen {
        sessions: share(context.gateway.sessions(), context.gateway.sessions_max()),
        commands: fullness.waiting,
        rows: fullness.rows,
        late: share(late, LATE_MAX_MS),
        memory: memory.and_then(|decision| decision.memory.fullest().map(Filled::share)),
        expected: shown.forecast.as_ref().and_then(|forecast| forecast.share),
    })
}

/// The threads of this node, and why there are so many.
#[derive(Serialize)]
pub struct Scaling {
    threads: usize,
    threads_min: usize,
    threads_max: usize,
    /// The newest first.
    decisions: Vec<Decided>,
}

pub fn scaling(context: &Context, shown: &Shown) -> Scaling {
    let (threads_min, threads_max) = scaling::bounds(&context.scaling.settings);
    let newest = shown.entries.iter().take(DECISIONS_SHOWN).cloned();
    Scaling {
        threads: shown.threads,
        threads_min,
        threads_max,
        decisions: newest.map(scaling::decided).collect(),
    }
}

/// What the calendar and the directory let expect.
#[derive(Serialize)]
pub struct Seasonal {
    /// Of the profile's calendar.
    season: bool,
    weekend: bool,
    /// Now; null before the first look at the directory.
    now: Option<Need>,
    /// The most within the coming 7 days.
    peak: Option<Need>,
    peak_at: Option<At>,
    /// What the peak needs of this machine; null: not measured.
    share: Option<f64>,
}

pub fn seasonal(shown: &Shown) -> Seasonal {
    let forecast = shown.forecast.as_ref();
    Seasonal {
        season: shown.is_season,
        weekend: shown.is_weekend,
        now: forecast.map(|forecast| forecast.now),
        peak: forecast.map(|forecast| forecast.peak),
        peak_at: forecast.and_then(|forecast| forecast.peak_at).map(At),
        share: forecast.and_then(|forecast| forecast.share),
    }
}

#[cfg(test)]
mod tests {
    use super::{Seen, headroom};

    const EMPTY: Seen = Seen {
        sessions: 0.0,
        commands: 0.0,
        rows: 0.0,
        late: 0.0,
        memory: None,
        expected: None,
    };

    #[test]
    fn the_fullest_limit_says_how_much_is_left() {
        let check = |seen: Seen, least: &str, left: f64| {
            let found = headroom(&seen);
            assert_eq!(found.least, least);
            assert!((found.left - left).abs() < 1e-9, "{least}: {}", found.left);
        };
        let memory = Some(0.75);
        check(Seen { memory, ..EMPTY }, "memory", 0.25);
        let sessions = 0.9;
        check(
            Seen {
                sessions,
                memory,
                ..EMPTY
            },
            "sessions",
            0.1,
        );
        let expected = Some(1.3);
        check(Seen { expected, ..EMPTY }, "expected_peak", 0.0);
        assert_eq!(
            headroom(&EMPTY).parts[5].used,
            None,
            "what nobody measured stays unknown"
        );
    }
}
