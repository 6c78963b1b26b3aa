//! What happens when nobody confirms: at its time each step asks whether what is needed is there, and if not, reaches out to more
//! people, more urgently, and calls outputs. A step is taken once, by the tick in which it is due, whoever leads by then.

use super::aside::Awaits;
use super::audiences::{known_only, resolve};
use super::broadcasts::{BLOCK, Hot};
use super::needs::{self, Need};
use super::outbox::{CallId, Cause};
use super::publish::Later;
use super::{Effect, ReleaseKind, RowKey, State};
use crate::model::{Acknowledge, Audience, Draft, Millis, Number, Priority, Step};
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Escalation {
    /// Steps that were taken, in their order.
    pub taken: Vec<Taken>,
    /// When a step was due and all that is needed had confirmed: there are no more.
    pub met_at: Option<Millis>,
    /// Recipients whom the steps have added.
    pub added: RoaringBitmap,
}

/// A step that was taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Taken {
    /// Its place in the sender's list.
    pub step: u32,
    pub at: Millis,
    pub priority: Priority,
    /// What was there when it was taken: recipients, those of them who had confirmed, and what was needed by role.
    pub targeted: u32,
    pub confirmed: u32,
    pub needs: Vec<Need>,
    /// Who had not confirmed and was alerted, again or for the first time.
    pub alerted: u32,
    /// Those who were no recipients before.
    pub widened: u32,
    /// Output and call; none where the list of calls was full.
    pub calls: Vec<(String, Option<CallId>)>,
}

/// The places of the steps in the sender's list, in the order in which they are due.
fn order(asked: &Acknowledge) -> Vec<usize> {
    let mut order: Vec<usize> = (0..asked.escalate.len()).collect();
    order.sort_by_key(|step| asked.escalate[*step].after_ms);
    order
}

impl Hot {
    /// The next step, and when it is due.
    pub fn next_step(&self) -> Option<(Millis, usize)> {
        let asked = self.broadcast.draft.acknowledge.as_ref()?;
        if asked.escalate.is_empty() || self.broadcast.position.is_none() {
            return None;
        }
        let aside = self.ledger.aside.as_deref();
        let is_over = |aside: &super::aside::Aside| aside.superseded_at.is_some() || aside.escalation.met_at.is_some();
        if aside.is_some_and(is_over) {
            return None;
        }
        // what is delivered again after its end reaches out to nobody else
        let end = self.broadcast.released_at().saturating_add(self.life());
        let mut revived = aside.iter().flat_map(|aside| &aside.revived);
        if revived.any(|revived| revived.at >= end) {
            return None;
        }
        let taken = aside.map_or(0, |aside| aside.escalation.taken.len());
        let step = *order(asked).get(taken)?;
        let after = asked.escalate[step].after_ms;
        let at = self.broadcast.released_at().saturating_add_unsigned(after);
        (at < self.broadcast.expires_at).then_some((at, step))
    }

    /// The most urgent priority that a step has raised it to.
    pub(super) fn raised(&self) -> Priority {
        let aside = self.ledger.aside.iter();
        let taken = aside.flat_map(|aside| &aside.escalation.taken);
        taken
            .map(|taken| taken.priority)
            .fold(self.broadcast.draft.priority, Priority::min)
    }
}

/// What a step comes to.
struct Alert {
    draft: Draft,
    /// Who has not confirmed, and is to be alerted if they want to be.
    people: RoaringBitmap,
    widened: RoaringBitmap,
    targeted: u32,
    confirmed: u32,
    needs: Vec<Need>,
}

impl State {
    /// What the sender needs by way of confirmations, and how much of it is there.
    pub fn needs(&self, hot: &Hot) -> Vec<Need> {
        needs::needs(&self.directory, hot, self.counters.log_time)
    }

    /// Takes the steps that are due.
    pub(super) fn escalate(&mut self, number: Number, effects: &mut Vec<Effect>) {
        let now = self.counters.log_time;
        let due = |state: &Self| {
            let hot = state.broadcasts.get(number).filter(|hot| !hot.is_over(now))?;
            let (_, step) = hot.next_step().filter(|(at, _)| *at <= now)?;
            let needs = state.needs(hot);
            let is_met = needs::are_met(&state.directory, &needs, hot);
            Some((step, is_met, state.alert(hot, step, needs)))
        };
        while let Some((step, is_met, alert)) = due(self) {
            if is_met {
                self.change_aside(number, |aside| aside.escalation.met_at = Some(now));
            } else {
                self.take_step(number, step, alert, effects);
            }
        }
    }

    fn alert(&self, hot: &Hot, step: usize, needs: Vec<Need>) -> Alert {
        let now = self.counters.log_time;
        let mut draft = hot.broadcast.draft.clone();
        let asked = draft.acknowledge.as_ref();
        let (mut clauses, mut raised) = (Vec::new(), hot.raised());
        if let Some(step) = asked.and_then(|asked| asked.escalate.get(step)) {
            clauses.clone_from(&step.to.clauses);
            raised = step.priority.map_or(raised, |priority| priority.min(raised));
        }
        draft.priority = raised;
        let exclude = draft.audience.exclude.clone();
        let to = known_only(&self.directory, Audience { clauses, exclude });
        let to = resolve(&self.directory, &to, now)
            .map(|found| found.recipients)
            .unwrap_or_default();
        let mut people = (*hot.recipients).clone();
        if let Some(aside) = &hot.ledger.aside {
            people -= aside.who_awaits(Awaits::LocalTime); // nobody is asked why they have not confirmed what is still to come
        }
        people |= &*to;
        people &= &*self.directory.everyone;
        people -= &hot.ledger.steps[Step::Acknowledged.index()];
        if let Some(aside) = &hot.ledger.aside {
            people -= &aside.retracted;
        }
        let widened = &*to - &*hot.recipients;
        Alert {
            draft,
            people,
            widened,
            targeted: hot.recipients.len() as u32,
            confirmed: hot.ledger.count(Step::Acknowledged) as u32,
            needs,
        }
    }

    fn take_step(&mut self, number: Number, step: usize, alert: Alert, effects: &mut Vec<Effect>) {
        let now = self.counters.log_time;
        let Alert {
            draft,
            people,
            widened,
            targeted,
            confirmed,
            needs,
        } = alert;
        let sorted = self.sort(&draft, &people);
        let asked = draft.acknowledge.as_ref();
        let taken = asked.and_then(|asked| asked.escalate.get(step));
        let outputs = taken.map(|step| step.outputs.clone()).unwrap_or_default();
        let step = step as u32;
        let cause = Cause::Escalation { number, step };
        let calls = outputs.into_iter().map(|output| {
            let call = self.call(&output, cause.clone());
            (output, call)
        });
        let taken = Taken {
            step,
            at: now,
            priority: draft.priority,
            targeted,
            confirmed,
            needs,
            alerted: sorted.now.len() as u32,
            widened: widened.len() as u32,
            calls: calls.collect(),
        };
        if let Some(hot) = self.broadcasts.get_mut(number) {
            if !widened.is_empty() {
                *Arc::make_mut(&mut hot.recipients) |= &widened;
            }
            let ledger = Arc::make_mut(&mut hot.ledger);
            let unsent = &people - &ledger.steps[Step::Sent.index()];
            let aside = ledger.aside_mut();
            let mut came = aside.users() | &widened;
            came &= &sorted.now;
            // whoever has it is not held any more, only left in peace
            aside.hold_anew(&sorted.among(&unsent));
            aside.note_came(now, came);
            aside.escalation.added |= &widened;
            aside.escalation.taken.push(taken);
        }
        self.changed_ledger(number);
        if let Some(position) = self.broadcasts.place(number).filter(|_| !widened.is_empty()) {
            self.broadcasts.blocks.widen(position, &widened);
            self.changed.insert(RowKey::Block(position / BLOCK));
        }
        let later = Later {
            kind: ReleaseKind::Again,
            priority: Some(draft.priority),
            escalated: true,
        };
        self.put_later(number, later, sorted.now, effects);
    }
}
