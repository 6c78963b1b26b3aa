//! What comes back: receipts of devices, and answers of people.

use super::broadcasts::Hot;
use super::command::{Acknowledged, Receipts};
use super::ledger::{Answer, Ledger};
use super::outcome::Acknowledgement;
use super::{Effect, Outcome, Refused, RowKey, State};
use crate::model::{NodeId, Number, Step, UserNumber};
use roaring::RoaringBitmap;
use std::sync::Arc;

impl State {
    pub(super) fn acknowledge(&mut self, acknowledged: Acknowledged) -> Outcome {
        let Acknowledged { user, node, answers } = acknowledged;
        let at = self.counters.log_time;
        let each = answers.into_iter().map(|(number, answer)| {
            let answer = Answer {
                answer,
                at,
                node,
                late: false,
            };
            self.acknowledge_one(number, user, answer)
        });
        Outcome::Acknowledged(each.collect())
    }

    fn acknowledge_one(
        &mut self,
        number: Number,
        user: UserNumber,
        answer: Answer,
    ) -> Result<Acknowledgement, Refused> {
        let position = self.place(number).ok_or(Refused::UnknownBroadcast)?;
        if let Some(hot) = self.broadcasts.get_mut(number) {
            let acknowledged = acknowledge_hot(hot, user, answer)?;
            self.heard(number, &[user].into_iter().collect());
            self.changed.insert(RowKey::Ledger(position));
            return Ok(acknowledged);
        }
        if self.broadcasts.hot_from().is_some_and(|from| from <= position) {
            return Err(Refused::UnknownBroadcast); // another kind of release stands there
        }
        // The broadcast has left memory: whoever proposed this has checked it against the row, which cannot change.
        let given = answer.answer.clone();
        let mut late = Ledger::default();
        late.advance(
            Step::Acknowledged,
            &[user].into_iter().collect(),
            answer.at,
            answer.node,
            true,
        );
        late.answers.insert(user, answer);
        self.late.push((position, late));
        Ok(Acknowledgement {
            late: false,
            repeated: false,
            answer: given,
        })
    }

    pub(super) fn receipts(&mut self, receipts: Receipts, effects: &mut Vec<Effect>) -> Outcome {
        let node = receipts.node;
        for (number, step, users) in receipts.deltas {
            if step != Step::Acknowledged {
                self.receipt(number, step, &users, node, effects);
            }
        }
        // most have confirmed by now
        if let Some(promised) = &receipts.promised {
            let retry = &promised.retry;
            promised
                .users
                .iter()
                .for_each(|(number, users)| self.promised(*number, users, retry));
        }
        if let Some(record) = self.nodes.nodes.get_mut(&node) {
            for (known, told) in record.watermarks.iter_mut().zip(receipts.watermarks) {
                *known = told.max(*known);
            }
            self.changed.insert(RowKey::Node(node));
        }
        Outcome::Done
    }

    fn receipt(&mut self, number: Number, step: Step, users: &RoaringBitmap, node: NodeId, effects: &mut Vec<Effect>) {
        let at = self.counters.log_time;
        let Some(position) = self.place(number) else { return };
        let Some(hot) = self.broadcasts.get_mut(number) else {
            let mut late = Ledger::default();
            late.advance(step, users, at, node, true);
            self.late.push((position, late));
            return;
        };
        if at >= hot.broadcast.expires_at && step > Step::Sent {
            return; // what was written before may be told after; nobody confirms what has expired
        }
        let mut users = users & &*hot.recipients;
        if let Some(aside) = &hot.ledger.aside {
            users -= aside.users(); // nobody confirms what is not out to them
        }
        let detailed = Hot::detailed(&hot.broadcast);
        let ledger = Arc::make_mut(&mut hot.ledger);
        if !ledger.advance(step, &users, at, node, detailed) {
            return;
        }
        let is_cancelled = ledger.is_cancelled();
        self.changed.insert(RowKey::Ledger(position));
        if step > Step::Sent {
            self.heard(number, &users);
        }
        if is_cancelled {
            // They had it on their way when it was called off.
            self.retract(number, &users, effects);
        }
    }
}

fn acknowledge_hot(hot: &mut Hot, user: UserNumber, mut answer: Answer) -> Result<Acknowledgement, Refused> {
    if let Some(refused) = hot.refuses(user, &answer.answer) {
        return Err(refused);
    }
    if let Some(first) = hot.ledger.answers.get(&user) {
        return Ok(Acknowledgement {
            late: first.late,
            repeated: true,
            answer: first.answer.clone(),
        });
    }
    let within = hot.broadcast.draft.acknowledge.as_ref().map(|asked| asked.within_ms);
    let due = within.map_or(hot.broadcast.expires_at, |within| {
        hot.out_at(user).saturating_add_unsigned(within)
    });
    answer.late = answer.at > due.min(hot.broadcast.expires_at);
    let (late, given) = (answer.late, answer.answer.clone());
    let ledger = Arc::make_mut(&mut hot.ledger);
    ledger.advance(
        Step::Acknowledged,
        &[user].into_iter().collect(),
        answer.at,
        answer.node,
        true,
    );
    ledger.answers.insert(user, answer);
    Ok(Acknowledgement {
        late,
        repeated: false,
        answer: given,
    })
}
