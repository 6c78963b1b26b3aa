//! Calls of outputs (a siren, a radio bridge) that are still to be made, and what became of those that were.
//!
//! The leader makes them. Before each attempt it claims the call in the log, for as long as the attempt may take: so one node at a
//! time owns it, whatever a leader that has been replaced believes. A call keeps its id over all attempts and nodes.

use super::alerts::Notice;
use super::{Outcome, RowKey, State};
use crate::model::{Millis, NodeId, Number};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

pub type CallId = u64;

/// Calls that are kept, finished ones too.
pub const CALLS_MAX: usize = 10_000;
/// A finished call is kept this long.
const KEPT: Millis = 7 * 86_400_000;
/// Calls forgotten by one tick at most.
const FORGOTTEN_MAX: usize = 256;
/// Characters of the last error that are kept.
const ERROR_MAX: usize = 300;

/// Why an output is called.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Cause {
    /// A step of an escalation was taken.
    Escalation { number: Number, step: u32 },
    /// Somebody has to know what is wrong, or right again.
    Alert(Box<Notice>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CallState {
    /// The next attempt is due at `next_at`.
    Waiting,
    /// This node is making an attempt; nobody else does before `next_at`.
    Claimed(NodeId),
    Delivered(Millis),
    GivenUp(Millis),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    pub output: String,
    pub cause: Cause,
    pub at: Millis,
    pub attempts: u32,
    pub next_at: Millis,
    pub state: CallState,
    pub error: Option<String>,
}

impl Call {
    pub const fn is_open(&self) -> bool {
        match self.state {
            CallState::Waiting | CallState::Claimed(_) => true,
            CallState::Delivered(_) | CallState::GivenUp(_) => false,
        }
    }

    /// The rule that it is a notice of.
    pub fn rule(&self) -> Option<&str> {
        match &self.cause {
            Cause::Alert(notice) => Some(&notice.rule),
            Cause::Escalation { .. } => None,
        }
    }

    fn finished_at(&self) -> Option<Millis> {
        match self.state {
            CallState::Waiting | CallState::Claimed(_) => None,
            CallState::Delivered(at) | CallState::GivenUp(at) => Some(at),
        }
    }
}

/// One node wants to make the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    pub call: CallId,
    pub node: NodeId,
    /// Attempts that it knows of.
    pub attempts: u32,
    /// Nobody else makes one for so long.
    pub for_ms: u64,
}

/// What an attempt came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Called {
    pub call: CallId,
    /// The attempt's number, from 1 on.
    pub attempt: u32,
    pub result: CallResult,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CallResult {
    Delivered,
    /// The next attempt is due in so long.
    Failed {
        error: String,
        wait_ms: u64,
    },
    GivenUp {
        error: String,
    },
}

#[derive(Debug, Default)]
pub struct Outbox {
    calls: BTreeMap<CallId, Call>,
    /// Open ones by output, and by when the next attempt is due: many for one that hangs must not stand before those of another.
    due: BTreeMap<String, BTreeSet<(Millis, CallId)>>,
}

impl Outbox {
    pub fn get(&self, call: CallId) -> Option<&Call> {
        self.calls.get(&call)
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (CallId, &Call)> {
        self.calls.iter().map(|(id, call)| (*id, call))
    }

    /// What is due of each output that has something due, oldest first.
    pub fn due(&self, now: Millis) -> impl Iterator<Item = (&str, impl Iterator<Item = (CallId, &Call)>)> {
        let has_due = move |calls: &BTreeSet<(Millis, CallId)>| calls.first().is_some_and(|(at, _)| *at <= now);
        let outputs = self.due.iter().filter(move |(_, calls)| has_due(calls));
        outputs.map(move |(output, calls)| {
            let due = calls.iter().take_while(move |(at, _)| *at <= now);
            let known = due.filter_map(|(_, id)| Some((*id, self.calls.get(id)?)));
            (output.as_str(), known)
        })
    }

    /// Open notices of one rule to one output.
    fn notices(&self, output: &str, rule: &str) -> Vec<CallId> {
        let open = self.due.get(output).into_iter().flatten().map(|(_, id)| *id);
        let is_of = |id: &CallId| self.get(*id).and_then(Call::rule) == Some(rule);
        open.filter(is_of).collect()
    }

    /// Whether it waits for another attempt although there is a later notice of the same.
    fn is_out_of_date(&self, id: CallId) -> bool {
        self.get(id).is_some_and(|call| call.state == CallState::Waiting) && self.has_later(id)
    }

    /// Whether there is a later notice of the same to the same output.
    fn has_later(&self, id: CallId) -> bool {
        let of = self.get(id).and_then(|call| Some((call.output.as_str(), call.rule()?)));
        of.is_some_and(|(output, rule)| self.notices(output, rule).iter().any(|other| *other > id))
    }

    /// Notices that waited only for the end of this one.
    fn held_up_by(&self, id: CallId) -> Vec<CallId> {
        let ended = self.get(id).filter(|call| !call.is_open());
        let Some((output, rule)) = ended.and_then(|call| Some((call.output.as_str(), call.rule()?))) else {
            return Vec::new();
        };
        let mut later = self.notices(output, rule);
        later.retain(|other| self.get(*other).is_some_and(|call| call.attempts == 0));
        later
    }

    pub fn open(&self) -> usize {
        self.due.values().map(BTreeSet::len).sum()
    }

    pub(super) fn load(&mut self, id: CallId, call: Call) {
        self.note(id, &call);
        self.calls.insert(id, call);
    }

    fn note(&mut self, id: CallId, call: &Call) {
        if call.is_open() {
            let output = self.due.entry(call.output.clone()).or_default();
            output.insert((call.next_at, id));
        }
    }

    fn change(&mut self, id: CallId, change: impl FnOnce(&mut Call)) {
        let Some(mut call) = self.calls.remove(&id) else {
            return;
        };
        if let Some(output) = self.due.get_mut(&call.output) {
            output.remove(&(call.next_at, id));
            if output.is_empty() {
                self.due.remove(&call.output);
            }
        }
        change(&mut call);
        self.load(id, call);
    }

    /// Lets go of what was finished long ago, or of the oldest finished one where room is needed.
    fn forget(&mut self, since: Millis) -> Vec<CallId> {
        let old = |call: &Call| call.finished_at().is_some_and(|at| at <= since);
        let gone: Vec<CallId> = self
            .iter()
            .filter(|(_, call)| old(call))
            .map(|(id, _)| id)
            .take(FORGOTTEN_MAX)
            .collect();
        gone.iter().for_each(|id| drop(self.calls.remove(id)));
        gone
    }

    fn make_room(&mut self) -> Option<CallId> {
        let (id, _) = self.iter().find(|(_, call)| !call.is_open())?;
        self.calls.remove(&id);
        Some(id)
    }
}

impl State {
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// An output is to be called; `None` when so many calls are open that there is no room for another.
    pub(super) fn call(&mut self, output: &str, cause: Cause) -> Option<CallId> {
        let at = self.counters.log_time;
        if self.outbox.calls.len() >= CALLS_MAX {
            let gone = self.outbox.make_room()?;
            self.changed.insert(RowKey::Call(gone));
        }
        self.counters.calls += 1;
        let id = self.counters.calls;
        let call = Call {
            output: output.to_owned(),
            cause,
            at,
            attempts: 0,
            next_at: at,
            state: CallState::Waiting,
            error: None,
        };
        self.outbox.load(id, call);
        self.changed.insert(RowKey::Call(id));
        Some(id)
    }

    /// An output is to be told of an alert. What it has not been told yet of the same rule is out of date: it would only arrive after
    /// this. Where an attempt is under way, this waits for its end.
    pub(super) fn call_notice(&mut self, output: &str, notice: Notice) -> Option<CallId> {
        let earlier = self.outbox.notices(output, &notice.rule);
        let call = self.call(output, Cause::Alert(Box::new(notice)))?;
        for id in earlier {
            let known = self.outbox.get(id).map(|call| (call.state, call.next_at));
            match known {
                Some((CallState::Claimed(_), until)) => {
                    self.outbox.change(call, |call| call.next_at = call.next_at.max(until));
                }
                Some((CallState::Waiting, _)) => self.supersede_call(id),
                Some((CallState::Delivered(_) | CallState::GivenUp(_), _)) | None => {}
            }
        }
        Some(call)
    }

    /// A later notice has taken its place.
    fn supersede_call(&mut self, id: CallId) {
        let now = self.counters.log_time;
        self.outbox.change(id, |call| {
            call.state = CallState::GivenUp(now);
            call.error = Some("a later notice took its place".into());
        });
        self.changed.insert(RowKey::Call(id));
    }

    pub(super) fn claim(&mut self, claim: Claim) -> Outcome {
        let now = self.counters.log_time;
        let known = self.outbox.get(claim.call);
        let is_due = known.is_some_and(|call| call.is_open() && call.next_at <= now && call.attempts == claim.attempts);
        if is_due && self.outbox.has_later(claim.call) {
            // whoever had claimed it has died meanwhile, and a later notice is due as well
            self.supersede_call(claim.call);
            return Outcome::Claimed(false);
        }
        if is_due {
            self.outbox.change(claim.call, |call| {
                call.attempts += 1;
                call.state = CallState::Claimed(claim.node);
                call.next_at = now.saturating_add_unsigned(claim.for_ms);
            });
            self.changed.insert(RowKey::Call(claim.call));
        }
        Outcome::Claimed(is_due)
    }

    pub(super) fn called(&mut self, called: Called) -> Outcome {
        let now = self.counters.log_time;
        let Called { call, attempt, result } = called;
        let is_it = |call: &Call| call.is_open() && call.attempts == attempt;
        if self.outbox.get(call).is_some_and(is_it) {
            self.outbox.change(call, |call| match result {
                CallResult::Delivered => call.state = CallState::Delivered(now),
                CallResult::Failed { error, wait_ms } => {
                    call.state = CallState::Waiting;
                    call.next_at = now.saturating_add_unsigned(wait_ms);
                    call.error = Some(shortened(error));
                }
                CallResult::GivenUp { error } => {
                    call.state = CallState::GivenUp(now);
                    call.error = Some(shortened(error));
                }
            });
            self.changed.insert(RowKey::Call(call));
            if self.outbox.is_out_of_date(call) {
                self.supersede_call(call);
            }
            for later in self.outbox.held_up_by(call) {
                self.outbox.change(later, |later| later.next_at = now);
                self.changed.insert(RowKey::Call(later));
            }
        }
        Outcome::Done
    }

    pub(super) fn forget_calls(&mut self) {
        let since = self.counters.log_time.saturating_sub(KEPT);
        let gone = self.outbox.forget(since);
        self.changed.extend(gone.into_iter().map(RowKey::Call));
    }
}

fn shortened(error: String) -> String {
    error.chars().take(ERROR_MAX).collect()
}
