//! What is wrong somewhere, as the nodes tell it; and when somebody is told of it.
//!
//! A node measures and decides for itself whether a rule is broken there; only a change of that comes here. A rule that is broken on
//! several nodes is one alert. While it is, there is a notice every cooldown of the whole cluster; when it is over everywhere, one
//! more, if anybody was told. A notice is a call of each output in the outbox, made in the same step as it is noted here: so a
//! change of leader neither loses nor doubles one.

mod notice;
#[cfg(test)]
mod tests;

pub use notice::{Event, Notice};

use super::{Outcome, RowKey, State};
use crate::model::alert::{Severity, Side, Unit};
use crate::model::{Millis, NodeId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Alerts that are known at once, those too that are over and still in their cooldown.
pub const ALERTS_MAX: usize = 256;
/// Alerts that are over and remembered.
pub const RECENT_MAX: usize = 100;
/// Letters of a reason that are kept.
const REASON_LETTERS_MAX: usize = 200;

/// A rule, as far as it matters to who is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Broken {
    pub name: String,
    pub severity: Severity,
    pub unit: Unit,
    pub side: Side,
    pub bound: f64,
    pub cooldown_ms: u64,
    pub outputs: Vec<String>,
}

/// What one node saw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sighting {
    pub since: Millis,
    pub value: f64,
    /// For people.
    pub reason: String,
}

/// What a node tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Report {
    Raised {
        node: NodeId,
        rule: Broken,
        seen: Sighting,
    },
    /// It is over on this node.
    Cleared {
        node: NodeId,
        rule: String,
    },
    /// It could not be told while it lasted.
    Passed {
        node: NodeId,
        rule: Broken,
        seen: Sighting,
        until: Millis,
    },
    /// Nobody hears of this node: what it raised counts as over.
    Lost(NodeId),
}

/// A rule that is broken on some nodes; on none: it is over, and its cooldown is not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    pub rule: Broken,
    /// When the first node saw it.
    pub since: Millis,
    /// Where it is so, with what was seen when it began there.
    pub nodes: BTreeMap<NodeId, Sighting>,
    /// Where it was so since it began.
    seen_by: BTreeSet<NodeId>,
    pub last_notice: Option<Millis>,
    /// Somebody was told that it has begun.
    pub is_told: bool,
}

impl Alert {
    fn new(rule: Broken) -> Self {
        Self {
            rule,
            since: 0,
            nodes: BTreeMap::new(),
            seen_by: BTreeSet::new(),
            last_notice: None,
            is_told: false,
        }
    }

    pub fn is_open(&self) -> bool {
        !self.nodes.is_empty()
    }

    /// When the next notice may go out.
    pub fn next_notice_after(&self) -> Option<Millis> {
        self.last_notice
            .map(|at| at.saturating_add_unsigned(self.rule.cooldown_ms))
    }

    /// When the next notice is due.
    fn due(&self) -> Option<Millis> {
        let after = self.next_notice_after();
        self.is_open().then(|| after.unwrap_or(self.since))
    }

    /// What is worst of what was seen.
    pub fn worst(&self) -> Option<&Sighting> {
        let mut seen = self.nodes.values();
        let first = seen.next()?;
        Some(seen.fold(first, |worst, other| {
            if self.rule.side.is_beyond(other.value, worst.value) {
                other
            } else {
                worst
            }
        }))
    }
}

/// An alert that is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Past {
    pub rule: Broken,
    pub since: Millis,
    pub until: Millis,
    pub nodes: BTreeSet<NodeId>,
    pub value: f64,
    pub reason: String,
    /// Somebody was told of it.
    pub is_told: bool,
    /// It is over because the last node that had it is lost.
    pub is_lost: bool,
}

#[derive(Debug, Default)]
pub struct Alerts {
    all: BTreeMap<String, Alert>,
    /// The newest first.
    recent: VecDeque<Past>,
}

impl Alerts {
    pub fn get(&self, rule: &str) -> Option<&Alert> {
        self.all.get(rule)
    }

    /// Those that are broken somewhere, by name.
    pub fn open(&self) -> impl Iterator<Item = &Alert> {
        self.all.values().filter(|alert| alert.is_open())
    }

    /// Those that are over, the newest first.
    pub fn recent(&self) -> &VecDeque<Past> {
        &self.recent
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Alert> {
        self.all.values()
    }

    pub(super) fn load(&mut self, alert: Alert) {
        self.all.insert(alert.rule.name.clone(), alert);
    }

    pub(super) fn load_recent(&mut self, recent: VecDeque<Past>) {
        self.recent = recent;
    }

    pub(super) fn next_due(&self) -> Option<Millis> {
        self.all.values().filter_map(Alert::due).min()
    }

    fn due(&self, now: Millis) -> Vec<String> {
        let due = self
            .all
            .values()
            .filter(|alert| alert.due().is_some_and(|at| at <= now));
        due.map(|alert| alert.rule.name.clone()).collect()
    }

    fn remember(&mut self, past: Past) {
        self.recent.push_front(past);
        self.recent.truncate(RECENT_MAX);
    }
}

impl State {
    pub fn alerts(&self) -> &Alerts {
        &self.alerts
    }

    pub(super) fn take_report(&mut self, report: Report) -> Outcome {
        match report {
            Report::Raised { node, rule, seen } => self.raise(node, rule, seen),
            Report::Cleared { node, rule } => self.clear(&rule, node, Ending::Better),
            Report::Passed {
                node,
                rule,
                seen,
                until,
            } => self.note_passed(node, rule, seen, until),
            Report::Lost(node) => {
                let had = self.alerts.open().filter(|alert| alert.nodes.contains_key(&node));
                let names: Vec<String> = had.map(|alert| alert.rule.name.clone()).collect();
                names.iter().for_each(|name| self.clear(name, node, Ending::Lost));
            }
        }
        Outcome::Done
    }

    /// Whether there is room for this rule; where there is not, one that is over makes it.
    fn has_room_for_alert(&mut self, rule: &str) -> bool {
        let all = &mut self.alerts.all;
        if all.contains_key(rule) || all.len() < ALERTS_MAX {
            return true;
        }
        let closed = all.values().find(|alert| !alert.is_open());
        let Some(name) = closed.map(|alert| alert.rule.name.clone()) else {
            return false;
        };
        all.remove(&name);
        self.changed.insert(RowKey::Alert(name));
        true
    }

    fn raise(&mut self, node: NodeId, rule: Broken, seen: Sighting) {
        let now = self.counters.log_time;
        let (name, seen) = (rule.name.clone(), shortened(seen, now));
        if !self.has_room_for_alert(&name) {
            return;
        }
        let alert = self
            .alerts
            .all
            .entry(name.clone())
            .or_insert_with(|| Alert::new(rule.clone()));
        alert.rule = rule;
        if !alert.is_open() {
            alert.since = seen.since;
            alert.seen_by.clear();
            alert.is_told = false;
        }
        alert.since = alert.since.min(seen.since);
        alert.seen_by.insert(node);
        alert.nodes.entry(node).or_insert(seen);
        let is_due = alert.due().is_some_and(|at| at <= now);
        self.changed.insert(RowKey::Alert(name.clone()));
        if is_due {
            self.tell(&name);
        }
    }

    /// A notice of one that is open.
    fn tell(&mut self, rule: &str) {
        let now = self.counters.log_time;
        let Some(alert) = self.alerts.all.get_mut(rule) else {
            return;
        };
        let event = if alert.is_told { Event::Lasting } else { Event::Raised };
        alert.last_notice = Some(now);
        let notice = Notice::of(alert, event, now);
        let outputs = alert.rule.outputs.clone();
        self.changed.insert(RowKey::Alert(rule.to_owned()));
        let is_told = self.call_all(outputs, notice);
        if let Some(alert) = self.alerts.all.get_mut(rule) {
            alert.is_told |= is_told;
        }
    }

    fn clear(&mut self, rule: &str, node: NodeId, ending: Ending) {
        let now = self.counters.log_time;
        let Some(alert) = self.alerts.all.get_mut(rule) else {
            return;
        };
        let worst = alert.worst().cloned();
        let (Some(worst), Some(_)) = (worst, alert.nodes.remove(&node)) else {
            return;
        };
        self.changed.insert(RowKey::Alert(rule.to_owned()));
        if alert.is_open() {
            return;
        }
        let past = Past {
            rule: alert.rule.clone(),
            since: alert.since,
            until: now,
            nodes: std::mem::take(&mut alert.seen_by),
            value: worst.value,
            reason: worst.reason,
            is_told: std::mem::take(&mut alert.is_told),
            is_lost: ending == Ending::Lost,
        };
        self.end(past, Event::Cleared);
    }

    /// Remembers one that is over, and tells those who know that it had begun, or have to.
    fn end(&mut self, mut past: Past, event: Event) {
        if past.is_told {
            let notice = Notice::of_past(&past, event, self.counters.log_time);
            let has_heard = self.call_all(past.rule.outputs.clone(), notice);
            past.is_told = has_heard || event == Event::Cleared;
        }
        self.alerts.remember(past);
        self.changed.insert(RowKey::AlertsPast);
    }

    fn note_passed(&mut self, node: NodeId, rule: Broken, seen: Sighting, until: Millis) {
        let now = self.counters.log_time;
        let seen = shortened(seen, now);
        let is_open = self.alerts.get(&rule.name).is_some_and(Alert::is_open);
        if is_open || self.merge_passed(node, &rule.name, seen.since, until) {
            return;
        }
        let has_room = self.has_room_for_alert(&rule.name);
        let mut is_told = false;
        if has_room {
            let entry = self.alerts.all.entry(rule.name.clone());
            let alert = entry.or_insert_with(|| Alert::new(rule.clone()));
            is_told = alert.next_notice_after().is_none_or(|after| after <= now);
            if is_told {
                alert.rule = rule.clone();
                alert.last_notice = Some(now);
            }
            self.changed.insert(RowKey::Alert(rule.name.clone()));
        }
        let past = Past {
            rule,
            since: seen.since,
            until: until.min(now),
            nodes: BTreeSet::from([node]),
            value: seen.value,
            reason: seen.reason,
            is_told,
            is_lost: false,
        };
        self.end(past, Event::Passed);
    }

    /// What several nodes went through at the same time is one. `false`: nothing of it is remembered yet.
    fn merge_passed(&mut self, node: NodeId, rule: &str, since: Millis, until: Millis) -> bool {
        let is_same = |past: &&mut Past| past.rule.name == rule && past.since <= until && past.until >= since;
        let Some(past) = self.alerts.recent.iter_mut().find(is_same) else {
            return false;
        };
        past.since = past.since.min(since);
        past.until = past.until.max(until.min(self.counters.log_time));
        past.nodes.insert(node);
        self.changed.insert(RowKey::AlertsPast);
        true
    }

    /// What log time makes due: notices of what still lasts, and the end of cooldowns.
    pub(super) fn alerts_due(&mut self) {
        let now = self.counters.log_time;
        for rule in self.alerts.due(now) {
            self.tell(&rule);
        }
        let changed = &mut self.changed;
        self.alerts.all.retain(|name, alert| {
            let is_done = !alert.is_open() && alert.next_notice_after().is_none_or(|after| after <= now);
            if is_done {
                changed.insert(RowKey::Alert(name.clone()));
            }
            !is_done
        });
    }

    /// Whether there is anybody who will be told.
    fn call_all(&mut self, outputs: Vec<String>, notice: Notice) -> bool {
        let calls = outputs
            .into_iter()
            .filter_map(|output| self.call_notice(&output, notice.clone()));
        calls.count() > 0
    }
}

/// Why a node does not have it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Better,
    Lost,
}

/// A node's clock may be ahead of the log's.
fn shortened(seen: Sighting, now: Millis) -> Sighting {
    Sighting {
        since: seen.since.min(now),
        value: seen.value,
        reason: seen.reason.chars().take(REASON_LETTERS_MAX).collect(),
    }
}
