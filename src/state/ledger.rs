//! Who got how far with a broadcast, and who is not on the way at all.

use super::aside::Aside;
use super::dead::Dead;
use super::preferences::Sorted;
use super::rows::Broken;
use crate::model::{Millis, NodeId, Step, UserNumber};
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What happened to some recipients at one time on one node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub at: Millis,
    pub node: NodeId,
    pub step: Step,
    pub users: RoaringBitmap,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    pub answer: String,
    pub at: Millis,
    pub node: NodeId,
    pub late: bool,
}

/// Who got how far. Each step's bitmap holds those of the later steps too.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    pub steps: [RoaringBitmap; 4],
    /// First and last time of each step.
    pub times: [Option<(Millis, Millis)>; 4],
    /// Per recipient, for critical and high: times and nodes.
    pub events: Vec<Event>,
    pub answers: BTreeMap<UserNumber, Answer>,
    /// Only where there is something to say: most broadcasts have nobody aside.
    pub aside: Option<Box<Aside>>,
}

impl Sorted {
    /// The ledger that a broadcast begins with.
    pub(super) fn ledger(&self) -> Ledger {
        let mut ledger = Ledger::default();
        let is_whole = self.held.is_empty() && self.waiting.is_empty();
        if !(is_whole && self.muted.is_empty() && self.critical_only.is_empty()) {
            ledger.aside_mut().hold(self);
        }
        ledger
    }
}

impl Ledger {
    pub fn is_cancelled(&self) -> bool {
        self.cancelled_at().is_some()
    }

    pub fn cancelled_at(&self) -> Option<Millis> {
        self.aside.as_ref()?.cancelled_at
    }

    /// Held, skipped, or waiting for their own time: no release so far is for them.
    pub fn is_aside(&self, user: UserNumber) -> bool {
        self.aside.as_ref().is_some_and(|aside| aside.contains(user))
    }

    pub(super) fn aside_mut(&mut self) -> &mut Aside {
        self.aside.get_or_insert_default()
    }

    /// Takes a step for `users` and the steps that it implies. Says whether anything is new.
    pub fn advance(&mut self, step: Step, users: &RoaringBitmap, at: Millis, node: NodeId, detailed: bool) -> bool {
        let mut changed = false;
        for implied in Step::ALL.into_iter().take(step.index() + 1) {
            let fresh = users - &self.steps[implied.index()];
            if fresh.is_empty() {
                continue;
            }
            changed = true;
            self.steps[implied.index()] |= &fresh;
            let times = self.times[implied.index()].get_or_insert((at, at));
            *times = (times.0.min(at), times.1.max(at));
            if detailed {
                self.events.push(Event {
                    at,
                    node,
                    step: implied,
                    users: fresh,
                });
            }
        }
        changed
    }

    pub fn count(&self, step: Step) -> u64 {
        self.steps[step.index()].len()
    }

    /// The last step somebody took.
    pub fn step(&self, user: UserNumber) -> Option<Step> {
        Step::ALL
            .into_iter()
            .rev()
            .find(|step| self.steps[step.index()].contains(user))
    }

    /// When and where somebody took a step, where that is kept.
    pub fn detail(&self, user: UserNumber, step: Step) -> Option<(Millis, NodeId)> {
        if step == Step::Acknowledged {
            return self.answers.get(&user).map(|answer| (answer.at, answer.node));
        }
        let event = self
            .events
            .iter()
            .find(|event| event.step == step && event.users.contains(user))?;
        Some((event.at, event.node))
    }

    /// Merges what came after the ledger had left memory.
    pub fn merge(&mut self, late: &Self) {
        for step in Step::ALL {
            let index = step.index();
            self.steps[index] |= &late.steps[index];
            self.times[index] = match (self.times[index], late.times[index]) {
                (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
                (a, b) => a.or(b),
            };
        }
        if let Some(dead) = late.aside.as_ref().and_then(|aside| aside.dead.as_ref()) {
            self.bury(dead);
        }
        self.events.extend(late.events.iter().cloned());
        for (user, answer) in &late.answers {
            self.answers.entry(*user).or_insert_with(|| answer.clone());
        }
    }

    /// Dead letters of before it was delivered again are dead letters no more.
    fn bury(&mut self, dead: &Dead) {
        let aside = self.aside_mut();
        let is_past = |at: Millis| at >= dead.at;
        let is_known = aside.dead.as_ref().is_some_and(|known| is_past(known.at));
        if !is_known && !aside.revived.last().is_some_and(|revived| is_past(revived.at)) {
            aside.dead = Some(dead.clone());
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        bincode::serialize(self).unwrap_or_default()
    }

    pub fn decode(value: &[u8]) -> Result<Self, Broken> {
        bincode::deserialize(value).map_err(|error| Broken {
            key: "ledger".into(),
            detail: error.to_string(),
        })
    }
}
