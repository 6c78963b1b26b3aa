//! What an output is told of an alert: fixed when it is decided, so that every attempt says the same.

use super::{Alert, Broken, Past};
use crate::model::alert::{Severity, Side, Unit};
use crate::model::{Millis, NodeId};
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    Raised,
    /// It still is so, a cooldown later.
    Lasting,
    /// It is over everywhere.
    Cleared,
    /// It was so, and is over: nobody could be told meanwhile.
    Passed,
}

impl Event {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raised => "raised",
            Self::Lasting => "lasting",
            Self::Cleared => "cleared",
            Self::Passed => "passed",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    pub event: Event,
    pub rule: String,
    pub severity: Severity,
    pub unit: Unit,
    pub side: Side,
    pub bound: f64,
    pub value: f64,
    pub reason: String,
    pub at: Millis,
    pub since: Millis,
    /// Of what is over.
    pub until: Option<Millis>,
    /// Where it is so, or was.
    pub nodes: Vec<NodeId>,
    /// It is over only because the last node that had it is lost.
    pub is_lost: bool,
}

impl Notice {
    pub(super) fn of(alert: &Alert, event: Event, at: Millis) -> Self {
        let worst = alert.worst().cloned();
        Self {
            value: worst.as_ref().map_or(alert.rule.bound, |worst| worst.value),
            reason: worst.map(|worst| worst.reason).unwrap_or_default(),
            since: alert.since,
            nodes: alert.nodes.keys().copied().collect(),
            ..Self::bare(&alert.rule, event, at)
        }
    }

    pub(super) fn of_past(past: &Past, event: Event, at: Millis) -> Self {
        Self {
            value: past.value,
            reason: past.reason.clone(),
            since: past.since,
            until: Some(past.until),
            nodes: past.nodes.iter().copied().collect(),
            is_lost: past.is_lost,
            ..Self::bare(&past.rule, event, at)
        }
    }

    fn bare(rule: &Broken, event: Event, at: Millis) -> Self {
        Self {
            event,
            rule: rule.name.clone(),
            severity: rule.severity,
            unit: rule.unit,
            side: rule.side,
            bound: rule.bound,
            value: rule.bound,
            reason: String::new(),
            at,
            since: at,
            until: None,
            nodes: Vec::new(),
            is_lost: false,
        }
    }
}
