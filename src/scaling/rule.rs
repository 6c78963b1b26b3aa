//! The rules as a file has them: profiles with bounds, named rules, a season, a weekend.

use super::calendar::{Local, Minute};
use super::load::{Load, Measure};
use crate::base::size::Span;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Threads that a node can have at most.
pub const THREADS_MAX: usize = 50;
/// Rules of one profile.
pub const RULES_MAX: usize = 64;

/// The file: profiles by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    pub profile: BTreeMap<String, Profile>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    pub threads_min: usize,
    pub threads_max: usize,
    /// More threads than this for each core are never run: without it only `threads_max` counts.
    pub per_core_max: Option<f64>,
    /// Threads at the start, by priority as the origin had them; ours serve all, so it is their sum that counts. Without any:
    /// one for each core.
    #[serde(default)]
    pub start: Vec<usize>,
    pub season: Season,
    pub weekend: Weekend,
    pub emergency: Emergency,
    /// Without it threads never give way to what else runs on the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crowd: Option<Crowd>,
    /// No way in within this after a way out, nor after the start.
    pub settle: Span,
    /// No way in when those that stay would be busier than this: they would soon be called back.
    pub busy_after_max: f64,
    pub forecast: ForecastRules,
    #[serde(default)]
    pub rule: Vec<Rule>,
}

/// Months (1 to 12) by the venues' clocks: one venue in season is enough.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Season {
    pub months: Vec<u8>,
}

/// More threads from the start, from `from` through the minute `to` by the venues' clocks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weekend {
    pub factor: f64,
    pub from: Minute,
    pub to: Minute,
}

/// All threads at once, past any cooldown, when so many criticals wait, or one waits this long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Emergency {
    pub critical: u64,
    pub oldest: Span,
}

/// More threads than free cores only wait for each other. Half of them give way, past any cooldown, when they are busier than `busy`,
/// wait for a core in more than `waiting` of the time that they want to run, and less than `free_min` of the machine is free; they may
/// come back once more than `free_again` of it has been free for `rest`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Crowd {
    pub busy: f64,
    pub waiting: f64,
    pub free_min: f64,
    pub free_again: f64,
    pub rest: Span,
}

/// What a wedding in the directory lets expect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForecastRules {
    /// Raised this long before a wedding's start, and released this long after its end.
    pub ahead: Span,
    pub after: Span,
    /// Sessions for each member of the team, and for each expected guest.
    pub per_team: f64,
    pub per_guest: f64,
    /// Broadcasts an hour for each wedding.
    pub broadcasts_per_hour: f64,
    /// Everybody should be written to within this.
    pub reach: Span,
    /// Share of the measured capacity that is counted on.
    pub headroom: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    pub name: String,
    pub when: When,
    /// All of them must hold ...
    pub r#if: Vec<Condition>,
    /// ... for this long.
    #[serde(default = "at_once")]
    pub held: Span,
    pub step: Step,
    /// After this rule has acted it rests for so long.
    pub cooldown: Span,
}

fn at_once() -> Span {
    Span::millis(0)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    Always,
    Season,
    Normal,
}

/// Out doubles the threads, in halves them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    Out,
    In,
}

/// A figure above or below a limit; the limit itself is neither.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    pub measure: Measure,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub above: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub below: Option<f64>,
}

impl Condition {
    pub fn holds(&self, load: &Load) -> bool {
        let Some(value) = load.of(self.measure) else {
            return false; // nothing is concluded from what nobody knows
        };
        self.above.is_none_or(|limit| value > limit) && self.below.is_none_or(|limit| value < limit)
    }

    /// `busy 93.1 % (above 80)`: what was seen, and the limit.
    pub fn shown(&self, load: &Load) -> String {
        let seen = load.of(self.measure).map_or_else(
            || format!("{} unknown", self.measure),
            |value| self.measure.shown(value),
        );
        let side = |name: &str, limit: Option<f64>| limit.map(|limit| format!("{name} {limit}"));
        let limits = [side("above", self.above), side("below", self.below)];
        format!(
            "{seen} ({})",
            limits.into_iter().flatten().collect::<Vec<_>>().join(", ")
        )
    }
}

impl When {
    pub fn includes(self, is_season: bool) -> bool {
        match self {
            Self::Always => true,
            Self::Season => is_season,
            Self::Normal => !is_season,
        }
    }
}

impl Profile {
    pub fn is_season(&self, clocks: &[Local]) -> bool {
        clocks.iter().any(|local| self.season.months.contains(&local.month()))
    }

    pub fn is_weekend(&self, clocks: &[Local]) -> bool {
        clocks
            .iter()
            .any(|local| local.is_within(self.weekend.from, self.weekend.to))
    }

    /// The fewest and the most threads on a machine with so many cores.
    pub fn bounds(&self, cores: usize) -> (usize, usize) {
        let by_cores = self
            .per_core_max
            .map_or(THREADS_MAX, |share| (share * cores as f64).ceil() as usize);
        let most = self.threads_max.min(by_cores).clamp(1, THREADS_MAX);
        (self.threads_min.clamp(1, most), most)
    }

    /// Threads at the start.
    pub fn start(&self, cores: usize) -> usize {
        let (least, most) = self.bounds(cores);
        let stated: usize = self.start.iter().sum();
        let start = if stated == 0 { cores } else { stated };
        start.clamp(least, most)
    }

    /// What cannot be right, each as a sentence.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut must = |holds: bool, text: &str| {
            if !holds {
                faults.push(text.to_owned());
            }
        };
        must(
            1 <= self.threads_min && self.threads_min <= self.threads_max && self.threads_max <= THREADS_MAX,
            "threads_min and threads_max must stand in this order between 1 and 50",
        );
        must(
            self.per_core_max.is_none_or(|share| share > 0.0 && share <= 50.0),
            "per_core_max must be above 0, and 50 at most",
        );
        must(
            self.start.len() <= 4 && self.start.iter().all(|threads| *threads <= THREADS_MAX),
            "start must have a number of threads for each priority, or none",
        );
        must(
            self.season.months.iter().all(|month| (1..=12).contains(month)),
            "season.months must be between 1 and 12",
        );
        must(
            (1.0..=50.0).contains(&self.weekend.factor),
            "weekend.factor must be between 1 and 50",
        );
        must(
            self.weekend.from.is_valid() && self.weekend.to.is_valid(),
            "weekend.from and weekend.to must be times of a day",
        );
        must(
            (0.0..=1.0).contains(&self.busy_after_max),
            "busy_after_max must be between 0 and 1",
        );
        let is_share = |value: f64| (0.0..=1.0).contains(&value);
        must(
            self.crowd.as_ref().is_none_or(|crowd| {
                [crowd.busy, crowd.waiting, crowd.free_min, crowd.free_again]
                    .into_iter()
                    .all(is_share)
            }),
            "crowd.busy, waiting, free_min and free_again must be between 0 and 1",
        );
        let forecast = &self.forecast;
        let is_count = |value: f64| (0.0..=1e6).contains(&value);
        must(
            is_count(forecast.per_team) && is_count(forecast.per_guest) && is_count(forecast.broadcasts_per_hour),
            "forecast.per_team, per_guest and broadcasts_per_hour must be between 0 and 1000000",
        );
        must(
            !forecast.reach.0.is_zero(),
            "forecast.reach must be longer than nothing",
        );
        must(
            forecast.headroom > 0.0 && forecast.headroom <= 1.0,
            "forecast.headroom must be above 0, and 1 at most",
        );
        must(self.rule.len() <= RULES_MAX, "there must be 64 rules at most");
        let names: BTreeSet<&str> = self.rule.iter().map(|rule| rule.name.as_str()).collect();
        must(names.len() == self.rule.len(), "each rule must have a name of its own");
        let one_sided = |condition: &Condition| condition.above.is_some() != condition.below.is_some();
        must(
            self.rule
                .iter()
                .all(|rule| !rule.r#if.is_empty() && rule.r#if.iter().all(one_sided)),
            "each rule must have an \"if\", and each of its conditions one of above and below",
        );
        faults
    }
}
