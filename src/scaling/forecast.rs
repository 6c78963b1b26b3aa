//! What the weddings in the directory let expect: sessions and broadcasts over the coming days, against what this machine was
//! measured to do.

use super::rule::ForecastRules;
use crate::model::Millis;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Changes of the expected load that a forecast lists.
pub const STEPS_MAX: usize = 100;

/// A wedding that is not cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    pub starts_at: Millis,
    pub ends_at: Millis,
    /// Members who work there.
    pub team: u64,
    /// Expected guests, or those who are members if they are more.
    pub guests: u64,
}

/// What a machine was measured to do, as the bench writes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capacity {
    /// With as many threads as did best.
    pub deliveries_per_second: f64,
    pub threads: usize,
    /// Where, by what, and when.
    pub machine: String,
    pub commit: String,
    pub measured_at: String,
}

/// What weddings need together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Need {
    pub weddings: usize,
    pub connections: f64,
    pub broadcasts_per_hour: f64,
    /// So that everybody is written to within `reach`.
    pub deliveries_per_second: f64,
}

/// From `at` on, until the next one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outlook {
    pub at: Millis,
    pub need: Need,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    pub now: Need,
    /// From now on, each change of the need until the horizon; the first [`STEPS_MAX`].
    pub steps: Vec<Outlook>,
    /// The most that is needed at any time until the horizon.
    pub peak: Need,
    pub peak_at: Option<Millis>,
    /// Of the measured capacity that is counted on; `None`: not measured.
    pub share: Option<f64>,
    /// Threads for what is near now; 0 when nothing is.
    pub threads: usize,
    pub warning: Option<String>,
}

/// Looks from `now` to `until`. `start` is how many threads are asked for when nothing was measured.
pub fn forecast(
    weddings: &[Expected],
    rules: &ForecastRules,
    capacity: Option<&Capacity>,
    (now, until): (Millis, Millis),
    start: usize,
) -> Forecast {
    let changes: BTreeSet<Millis> = weddings
        .iter()
        .flat_map(|wedding| {
            let (from, to) = span(wedding, rules);
            [from, to]
        })
        .filter(|at| (now..until).contains(at))
        .chain([now])
        .collect();
    let all: Vec<Outlook> = changes
        .into_iter()
        .map(|at| Outlook {
            at,
            need: need(weddings, rules, at),
        })
        .collect();
    let most = all.iter().copied().reduce(|most, next| {
        if next.need.deliveries_per_second > most.need.deliveries_per_second {
            next
        } else {
            most
        }
    });
    let most = most.filter(|most| most.need.weddings > 0);
    let peak = most.map_or_else(Need::default, |most| most.need);
    let current = need(weddings, rules, now);
    let counted = capacity.map(|capacity| capacity.deliveries_per_second * rules.headroom);
    let share = counted
        .filter(|counted| *counted > 0.0)
        .map(|counted| peak.deliveries_per_second / counted);
    Forecast {
        now: current,
        threads: threads(&current, capacity, rules, start),
        steps: all.into_iter().take(STEPS_MAX).collect(),
        peak,
        peak_at: most.map(|most| most.at),
        share,
        warning: share.filter(|share| *share > 1.0).map(|share| {
            format!(
                "{:.0} sessions are expected, which is {:.0} % of what this machine was measured to reach in time",
                peak.connections,
                share * 100.0
            )
        }),
    }
}

/// When a wedding counts: from some hours before to some hours after.
fn span(wedding: &Expected, rules: &ForecastRules) -> (Millis, Millis) {
    let millis = |span: crate::base::size::Span| Millis::try_from(span.0.as_millis()).unwrap_or(Millis::MAX);
    (
        wedding.starts_at.saturating_sub(millis(rules.ahead)),
        wedding.ends_at.saturating_add(millis(rules.after)),
    )
}

fn need(weddings: &[Expected], rules: &ForecastRules, at: Millis) -> Need {
    let near = weddings.iter().filter(|wedding| {
        let (from, to) = span(wedding, rules);
        (from..to).contains(&at)
    });
    let mut need = Need::default();
    for wedding in near {
        need.weddings += 1;
        need.connections += wedding.team as f64 * rules.per_team + wedding.guests as f64 * rules.per_guest;
        need.broadcasts_per_hour += rules.broadcasts_per_hour;
    }
    need.deliveries_per_second = need.connections / rules.reach.0.as_secs_f64().max(0.001);
    need
}

fn threads(need: &Need, capacity: Option<&Capacity>, rules: &ForecastRules, start: usize) -> usize {
    if need.weddings == 0 {
        return 0;
    }
    let Some(capacity) = capacity else { return start };
    let of_one = capacity.deliveries_per_second / capacity.threads.max(1) as f64 * rules.headroom;
    if of_one > 0.0 {
        ((need.deliveries_per_second / of_one).ceil() as usize).max(1)
    } else {
        start
    }
}
