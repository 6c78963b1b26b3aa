//! When a rule fires: beyond its bound for as long as it says; and when that is over: no worse than its clear bound for as long.
//!
//! ```text
//!           beyond          held            no worse than clear
//!   quiet ─────────▶ pending ─────▶ firing ─────────────────────▶ clearing
//!     ▲                 │             ▲                            │    │
//!     └── not beyond ───┘             └──────── worse again ───────┘    │ held
//!     ▲                                                                 │
//!     └─────────────────────────────────────────────────────────────────┘
//! ```

use super::measure::{Sample, Samples};
use super::rule::{Bounds, Rule};
use std::collections::BTreeMap;

/// Milliseconds of a clock that never goes back.
type Ticks = u64;

/// Where a rule stands on this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    #[default]
    Quiet,
    /// Beyond the bound, not for long enough yet.
    Pending { since: Ticks },
    /// `since`: when it went beyond the bound.
    Firing { since: Ticks },
    /// It still counts as firing; `better` is when it came back.
    Clearing { since: Ticks, better: Ticks },
}

impl Phase {
    pub const QUIET: &str = "quiet";
    pub const PENDING: &str = "pending";
    pub const FIRING: &str = "firing";
    pub const CLEARING: &str = "clearing";

    pub const fn name(self) -> &'static str {
        match self {
            Self::Quiet => Self::QUIET,
            Self::Pending { .. } => Self::PENDING,
            Self::Firing { .. } => Self::FIRING,
            Self::Clearing { .. } => Self::CLEARING,
        }
    }

    /// Since when it fires, if it does.
    pub const fn fires_since(self) -> Option<Ticks> {
        match self {
            Self::Firing { since } | Self::Clearing { since, .. } => Some(since),
            Self::Quiet | Self::Pending { .. } => None,
        }
    }

    const fn better(self) -> Option<Ticks> {
        match self {
            Self::Clearing { better, .. } => Some(better),
            Self::Quiet | Self::Pending { .. } | Self::Firing { .. } => None,
        }
    }

    /// Since when something is wrong, if anything is.
    pub const fn since(self) -> Option<Ticks> {
        match self {
            Self::Pending { since } | Self::Firing { since } | Self::Clearing { since, .. } => Some(since),
            Self::Quiet => None,
        }
    }
}

/// What kind of day it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Day {
    #[default]
    Ordinary,
    /// The event window of some wedding is open.
    Event,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    pub now: Ticks,
    pub day: Day,
}

/// Where each rule stood at the last look, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History(BTreeMap<String, Phase>);

impl History {
    /// What was raised before this node started counts on, until it is known to be better.
    pub fn resume(&mut self, rule: &str, now: Ticks) {
        self.0.insert(rule.to_owned(), Phase::Firing { since: now });
    }
}

/// What was found of one rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    pub phase: Phase,
    /// Not there where it was not measured, or is of too little.
    pub value: Option<f64>,
    pub bounds: Bounds,
    /// For people.
    pub reason: String,
}

/// How a figure stands to the bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Beyond,
    Between,
    Better,
}

/// Looks at all rules: a finding for each, in their order. What was not measured is not beyond anything.
pub fn evaluate(rules: &[Rule], samples: &Samples, history: &mut History, moment: Moment) -> Vec<Finding> {
    let mut next = BTreeMap::new();
    let mut findings = Vec::with_capacity(rules.len());
    for rule in rules {
        let bounds = match moment.day {
            Day::Ordinary => rule.ordinary(),
            Day::Event => rule.on_event_days(),
        };
        let sample = samples.get(rule.measure).filter(|sample| counts(rule, sample));
        let before = history.0.get(&rule.name).copied().unwrap_or_default();
        let phase = step(rule, standing(rule, sample, bounds), before, moment.now);
        next.insert(rule.name.clone(), phase);
        findings.push(Finding {
            phase,
            value: sample.map(|sample| sample.value),
            bounds,
            reason: sample.map_or_else(String::new, |sample| sample.shown(rule.measure, bounds.bound)),
        });
    }
    history.0 = next;
    findings
}

fn counts(rule: &Rule, sample: &Sample) -> bool {
    sample.value.is_finite() && sample.of.is_none_or(|of| of >= rule.least)
}

fn standing(rule: &Rule, sample: Option<&Sample>, bounds: Bounds) -> Standing {
    let side = rule.measure.side();
    match sample {
        Some(sample) if side.is_beyond(sample.value, bounds.bound) => Standing::Beyond,
        Some(sample) if side.is_beyond(sample.value, bounds.clear) => Standing::Between,
        Some(_) | None => Standing::Better,
    }
}

fn step(rule: &Rule, standing: Standing, before: Phase, now: Ticks) -> Phase {
    let is_held = |since: Ticks| u128::from(now.saturating_sub(since)) >= rule.held.as_millis();
    match (before, standing) {
        (Phase::Quiet | Phase::Pending { .. }, Standing::Between | Standing::Better) => Phase::Quiet,
        (Phase::Quiet | Phase::Pending { .. }, Standing::Beyond) => {
            let since = before.since().unwrap_or(now);
            if is_held(since) {
                Phase::Firing { since }
            } else {
                Phase::Pending { since }
            }
        }
        (Phase::Firing { since } | Phase::Clearing { since, .. }, Standing::Beyond | Standing::Between) => {
            Phase::Firing { since }
        }
        (Phase::Firing { since } | Phase::Clearing { since, .. }, Standing::Better) => {
            let better = before.better().unwrap_or(now);
            if is_held(better) {
                Phase::Quiet
            } else {
                Phase::Clearing { since, better }
            }
        }
    }
}
