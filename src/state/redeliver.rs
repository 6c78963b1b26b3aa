//! Delivering again: dead letters, and those whom no attempt has reached, get a release of their own. What has expired lives anew for
//! as long as it was to live.

use super::aside::Awaits;
use super::broadcasts::{BLOCK, Hot};
use super::command::Redeliver;
use super::dead::Dead;
use super::keys::Known;
use super::preferences::Sorted;
use super::publish::Later;
use super::{Effect, Outcome, Refused, ReleaseKind, RowKey, State};
use crate::model::{Millis, Number, Step};
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// One broadcast is delivered again so often.
pub const REDELIVERIES_MAX: usize = 100;

/// What a redelivery came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revived {
    pub at: Millis,
    /// When the broadcast expires now.
    pub expires_at: Millis,
    /// How long it lives after a release.
    pub life: Millis,
    /// To how many it goes.
    pub again: u32,
    /// Those of them who are held by quiet hours once more.
    pub held: u32,
    /// The request, so that its repetition is told the same.
    pub key: [u8; 16],
}

impl State {
    pub(super) fn redeliver(&mut self, redeliver: &Redeliver, effects: &mut Vec<Effect>) -> Result<Outcome, Refused> {
        let number = redeliver.number;
        match self.keys.look(&redeliver.key) {
            Known::Same(_) | Known::No => {}
            Known::OtherBody => return Err(Refused::KeyReused),
        }
        self.call_back(number, redeliver.cold.as_deref())?;
        let hot = self.broadcasts.get(number).ok_or(Refused::UnknownBroadcast)?;
        let before = hot.ledger.aside.iter().flat_map(|aside| &aside.revived);
        if let Some(first) = before.clone().find(|revived| revived.key == redeliver.key.fingerprint) {
            return Ok(Outcome::Redelivered {
                revived: *first,
                replayed: true,
            });
        }
        if before.count() >= REDELIVERIES_MAX {
            return Err(Refused::RedeliveredTooOften(REDELIVERIES_MAX));
        }
        if !self.keys.fits(&redeliver.key) {
            return Err(Refused::KeysFull(redeliver.key.table_bytes_max));
        }
        if hot.broadcast.position.is_none() {
            return Err(Refused::NotReleased);
        }
        if hot.ledger.is_cancelled() {
            return Err(Refused::IsCancelled);
        }
        // It would come after what has taken its place, and be read as the newer word.
        if hot
            .ledger
            .aside
            .as_ref()
            .is_some_and(|aside| aside.superseded_at.is_some())
        {
            return Err(Refused::Superseded);
        }
        let wanted = wanted(hot, redeliver.users.as_ref()) & &*self.directory.everyone;
        let life = hot.life();
        Ok(self.revive(redeliver, wanted, life, effects))
    }

    fn revive(
        &mut self,
        redeliver: &Redeliver,
        wanted: RoaringBitmap,
        life: Millis,
        effects: &mut Vec<Effect>,
    ) -> Outcome {
        let (number, now) = (redeliver.number, self.counters.log_time);
        let known = self.broadcasts.get(number).map(|hot| {
            let sent = hot.ledger.steps[Step::Sent.index()].clone();
            (hot.broadcast.draft.clone(), sent, hot.broadcast.expires_at)
        });
        let (sorted, sent, before) = known.map_or_else(Default::default, |(draft, sent, before)| {
            (self.sort(&draft, &wanted), sent, before)
        });
        // Whoever was written to before is not held now: who wants none at this time is left as they are.
        let wanted = &wanted - (&sent - &sorted.now);
        let sorted = sorted.among(&wanted);
        let goes_out = !(sorted.now.is_empty() && sorted.held.is_empty());
        let revived = Revived {
            at: now,
            // what goes to nobody lives no longer for it
            expires_at: if goes_out && before <= now {
                now.saturating_add(life)
            } else {
                before
            },
            life,
            again: sorted.now.len() as u32,
            held: sorted.held.iter().map(|(_, users)| users.len() as u32).sum(),
            key: redeliver.key.fingerprint,
        };
        self.change_aside(number, |aside| aside.revived.push(revived));
        self.keys.take(&redeliver.key, number, now);
        if goes_out {
            self.send_again(number, &wanted, sorted, effects);
        }
        Outcome::Redelivered {
            revived,
            replayed: false,
        }
    }

    fn send_again(&mut self, number: Number, wanted: &RoaringBitmap, sorted: Sorted, effects: &mut Vec<Effect>) {
        let now = self.counters.log_time;
        self.exhume(number, wanted);
        self.change_aside(number, |aside| {
            aside.tries.forget(wanted);
            aside.hold_anew(&sorted);
            aside.note_came(now, sorted.now.clone());
        });
        if let Some(hot) = self.broadcasts.get_mut(number) {
            hot.prolong();
            let expires_at = hot.broadcast.expires_at;
            if let Some(position) = self.broadcasts.place(number) {
                self.broadcasts.blocks.prolong(position, expires_at);
                self.changed.insert(RowKey::Block(position / BLOCK));
            }
        }
        self.put_later(number, Later::of(ReleaseKind::Again), sorted.now, effects);
        self.wait_for(number);
    }

    /// These are dead letters no more.
    fn exhume(&mut self, number: Number, users: &RoaringBitmap) {
        let Some(position) = self.broadcasts.place(number) else {
            return;
        };
        let Some(hot) = self.broadcasts.get_mut(number) else {
            return;
        };
        let priority = hot.broadcast.draft.priority;
        let Some(dead) = &mut Arc::make_mut(&mut hot.ledger).aside_mut().dead else {
            return;
        };
        let mut fewer = Vec::new();
        for letters in &mut dead.letters {
            let before = letters.users.len();
            letters.users -= users;
            fewer.push((letters.reason, before - letters.users.len()));
        }
        for (reason, count) in fewer {
            let difference = -i64::try_from(count).unwrap_or(i64::MAX);
            self.broadcasts
                .blocks
                .count_dead(position, priority, reason, difference);
        }
    }
}

/// Who is to get it again: those who were named, else all dead letters and all whom no attempt has reached; never who has it.
fn wanted(hot: &Hot, named: Option<&RoaringBitmap>) -> RoaringBitmap {
    let aside = hot.ledger.aside.as_deref();
    let dead = hot.dead().map(Dead::users).unwrap_or_default();
    let mut users = match named {
        Some(named) => named & &*hot.recipients,
        None => aside.map_or_else(RoaringBitmap::new, |aside| &dead | aside.tries.failed()),
    };
    users -= &hot.ledger.steps[Step::Received.index()];
    if let Some(aside) = aside {
        users -= &aside.retracted;
        users -= aside.who_awaits(Awaits::LocalTime) - &dead; // their own time is still to come
    }
    users
}
