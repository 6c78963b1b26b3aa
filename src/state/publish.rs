//! Taking a broadcast on, releasing it, and calling it off.

use super::aside::Aside;
use super::audiences::Resolved;
use super::broadcasts::{BLOCK, Hot};
use super::command::{Cancel, Cold, Publish};
use super::journal::JournalEntry;
use super::keys::Known;
use super::ledger::Ledger;
use super::local::Times;
use super::preferences::Sorted;
use super::rights::{self, Grant};
use super::{Effect, Outcome, Refused, ReleaseKind, RowKey, State};
use crate::model::{Broadcast, BroadcastId, Draft, Millis, Number, Position, Priority, Step};
use roaring::RoaringBitmap;
use std::sync::Arc;

/// Whom a broadcast is for, and what they want of it.
#[derive(Default)]
pub(super) struct Meant {
    pub all: Resolved,
    pub sorted: Sorted,
}

/// How a release comes that is not the first of its broadcast.
pub(super) struct Later {
    pub kind: ReleaseKind,
    /// The broadcast's own where there is none.
    pub priority: Option<Priority>,
    pub escalated: bool,
}

impl Later {
    pub(super) const fn of(kind: ReleaseKind) -> Self {
        Self {
            kind,
            priority: None,
            escalated: false,
        }
    }
}

impl State {
    pub(super) fn meant(&mut self, draft: &Draft, at: Millis) -> Result<Meant, Refused> {
        let all = self.remembered.resolve(&self.directory, &draft.audience, at)?;
        let sorted = self.sort_first(draft, &all.recipients);
        Ok(Meant { all, sorted })
    }

    pub(super) fn publish(&mut self, publish: Publish, effects: &mut Vec<Effect>) -> Result<Outcome, Refused> {
        match self.keys.look(&publish.key) {
            Known::Same(number) => return Ok(Outcome::Published { number, replayed: true }),
            Known::OtherBody => return Err(Refused::KeyReused),
            Known::No if !self.keys.fits(&publish.key) => return Err(Refused::KeysFull(publish.key.table_bytes_max)),
            Known::No => {}
        }
        let at = self.counters.log_time;
        self.still_granted(&publish.grant)?;
        let meant = self.meant(&publish.draft, at)?;
        let Times { next: due, expires_at } = self.times(&publish.draft, &meant.sorted, publish.spans)?;
        let waits = !(meant.sorted.held.is_empty() && meant.sorted.waiting.is_empty());
        match due {
            Some(_) => self.check_schedule()?,
            None if publish.draft.escalates() || waits => self.check_waiting()?,
            None => {}
        }
        self.check_escalations(&publish.draft)?;
        let superseded = self.superseded(&publish)?;
        self.count(&publish.grant);
        let number = self.counters.next;
        self.counters.next += 1;
        self.keys.take(&publish.key, number, at);
        let broadcast = Broadcast {
            number,
            id: BroadcastId::new(at, self.counters.salt, number),
            sender: publish.sender,
            accepted_at: at,
            expires_at,
            position: None,
            late: None,
            log_index: self.applied,
            targeted: meant.all.recipients.len() as u32,
            connected: self.presence.connected_among(&meant.all.recipients) as u32,
            held: 0, // and nobody is skipped, before it is released
            skipped: 0,
            unknown: meant.all.unknown,
            draft: publish.draft,
        };
        match due {
            Some(due) => self.schedule(broadcast, due),
            None => self.release(broadcast, number, meant, superseded, effects),
        }
        Ok(Outcome::Published {
            number,
            replayed: false,
        })
    }

    /// The rules were asked before; only what may have changed since is looked at again.
    fn still_granted(&self, grant: &Grant) -> Result<(), Refused> {
        let at = self.counters.log_time;
        grant.rate.iter().try_for_each(|rate| self.rates.check(rate, at))?;
        let mut claims = grant.claim.iter();
        claims.try_for_each(|claim| rights::holds(&self.directory, claim, at))
    }

    /// Nothing can refuse the publish any more: it counts.
    fn count(&mut self, grant: &Grant) {
        if let Some(rate) = &grant.rate {
            let changed = &mut self.changed;
            self.rates.count(rate, self.counters.log_time, |row| {
                changed.insert(row);
            });
        }
    }

    /// The broadcast that a draft supersedes, in memory.
    fn superseded(&mut self, publish: &Publish) -> Result<Option<Number>, Refused> {
        let Some(id) = publish.draft.supersedes else {
            return Ok(None);
        };
        let number = id.number();
        self.call_back(number, publish.superseded.as_deref())?;
        let known = self.broadcasts.get(number).map(|hot| hot.broadcast.id);
        if known == Some(id) {
            Ok(Some(number))
        } else {
            Err(Refused::UnknownBroadcast)
        }
    }

    /// Sees to it that a broadcast is in memory.
    pub(super) fn call_back(&mut self, number: Number, cold: Option<&Cold>) -> Result<(), Refused> {
        if !self.is_kept(number) {
            return Err(Refused::UnknownBroadcast);
        }
        if self.broadcasts.get(number).is_some() {
            return Ok(());
        }
        let cold = cold
            .filter(|cold| cold.entry.number() == number)
            .ok_or(Refused::LeftMemory)?;
        let hot = Hot::of(&cold.entry, Arc::new(cold.ledger.clone()));
        self.broadcasts.pinned.insert(cold.entry.position, hot);
        self.changed.insert(RowKey::Pinned(cold.entry.position));
        Ok(())
    }

    /// A broadcast's first release, at `position`.
    pub(super) fn release(
        &mut self,
        broadcast: Broadcast,
        position: Position,
        meant: Meant,
        superseded: Option<Number>,
        effects: &mut Vec<Effect>,
    ) {
        let Meant {
            all:
                Resolved {
                    recipients: meant,
                    excluded,
                    unknown,
                },
            sorted,
        } = meant;
        let ledger = sorted.ledger();
        let aside = ledger.aside.as_deref();
        let broadcast = Arc::new(Broadcast {
            position: Some(position),
            targeted: meant.len() as u32,
            connected: self.presence.connected_among(&meant) as u32,
            held: aside.map_or(0, Aside::held) as u32,
            skipped: aside.map_or(0, Aside::skipped) as u32,
            unknown,
            ..broadcast
        });
        let number = broadcast.number;
        let (recipients, beside) = match aside {
            None => (meant.clone(), Arc::default()),
            Some(_) => (Arc::new(sorted.now.clone()), Arc::new(&*meant - &sorted.now)),
        };
        let entry = JournalEntry {
            position,
            priority: broadcast.draft.priority,
            kind: ReleaseKind::Broadcast,
            escalated: false,
            released_at: broadcast.released_at(),
            broadcast,
            recipients,
            beside,
            excluded,
        };
        if aside.is_some() {
            self.changed.insert(RowKey::Ledger(position));
        }
        self.put(entry, ledger, effects);
        self.wait_for(number);
        if let Some(old) = superseded {
            self.replace(old, &meant, effects);
        }
    }

    /// Puts a release at its position.
    pub(super) fn put(&mut self, entry: JournalEntry, ledger: Ledger, effects: &mut Vec<Effect>) {
        let release = entry.release();
        self.changed.insert(RowKey::Block(entry.position / BLOCK));
        self.broadcasts.add(entry, ledger);
        effects.push(Effect::Released(Arc::new(release)));
    }

    /// A release of `number` at the next position for those whom an earlier one left out.
    pub(super) fn put_later(
        &mut self,
        number: Number,
        later: Later,
        recipients: RoaringBitmap,
        effects: &mut Vec<Effect>,
    ) {
        let Some(hot) = self.broadcasts.get(number).filter(|_| !recipients.is_empty()) else {
            return;
        };
        let position = self.counters.next;
        self.counters.next += 1;
        let entry = JournalEntry {
            position,
            priority: later.priority.unwrap_or(hot.broadcast.draft.priority),
            kind: later.kind,
            escalated: later.escalated,
            released_at: self.counters.log_time,
            broadcast: hot.broadcast.clone(),
            recipients: Arc::new(recipients),
            beside: Arc::default(),
            excluded: Arc::default(),
        };
        self.put(entry, Ledger::default(), effects);
    }

    /// Clients of the new one's recipients replace the old one by themselves; for the others of the old one it is off. Whoever has
    /// not got the old one yet, because it is scheduled or they are held, does not get it any more.
    fn replace(&mut self, old: Number, meant: &RoaringBitmap, effects: &mut Vec<Effect>) {
        let now = self.counters.log_time;
        if self.broadcasts.scheduled.contains_key(&old) {
            return self.call_off(old, effects);
        }
        let Some(hot) = self.broadcasts.get_mut(old) else {
            return;
        };
        if hot.broadcast.expires_at <= now || hot.ledger.is_cancelled() {
            return;
        }
        let mut others = &*hot.recipients - meant;
        {
            let aside = Arc::make_mut(&mut hot.ledger).aside_mut();
            let users = aside.users();
            aside.held.clear();
            aside.superseded_at = Some(now);
            aside.retracted |= &users;
            others -= users;
        }
        self.retract(old, &others, effects);
        self.wait_for(old);
    }

    /// Tells those of `users` who have not been told yet.
    pub(super) fn retract(&mut self, number: Number, users: &RoaringBitmap, effects: &mut Vec<Effect>) {
        let Some(hot) = self.broadcasts.get_mut(number) else {
            return;
        };
        let aside = Arc::make_mut(&mut hot.ledger).aside_mut();
        let fresh = users - &aside.retracted;
        aside.retracted |= &fresh;
        self.changed_ledger(number);
        self.put_later(number, Later::of(ReleaseKind::Retracted), fresh, effects);
    }

    /// What a ledger says beside the ladder changes.
    pub(super) fn change_aside(&mut self, number: Number, change: impl FnOnce(&mut Aside)) {
        if let Some(hot) = self.broadcasts.get_mut(number) {
            change(Arc::make_mut(&mut hot.ledger).aside_mut());
            self.changed_ledger(number);
        }
    }

    pub(super) fn changed_ledger(&mut self, number: Number) {
        if let Some(position) = self.broadcasts.place(number) {
            self.changed.insert(RowKey::Ledger(position));
        }
    }

    pub(super) fn cancel(&mut self, cancel: &Cancel, effects: &mut Vec<Effect>) -> Result<Outcome, Refused> {
        let (number, now) = (cancel.number, self.counters.log_time);
        self.call_back(number, cancel.cold.as_deref())?;
        let hot = self.broadcasts.get(number).ok_or(Refused::UnknownBroadcast)?;
        if hot.ledger.is_cancelled() {
            return Ok(Outcome::Cancelled { repeated: true });
        }
        if hot.broadcast.expires_at <= now {
            return Err(Refused::Expired);
        }
        if hot.broadcast.position.is_none() {
            self.call_off(number, effects);
            return Ok(Outcome::Cancelled { repeated: false });
        }
        let expires_at = hot.broadcast.expires_at;
        let sent = hot.ledger.steps[Step::Sent.index()].clone();
        if let Some(hot) = self.broadcasts.get_mut(number) {
            Arc::make_mut(&mut hot.ledger).aside_mut().cancelled_at = Some(now);
        }
        self.wait_for(number);
        self.changed_ledger(number);
        self.broadcasts.cancelled.insert(number, expires_at);
        self.changed.insert(RowKey::Cancelled(number));
        effects.push(Effect::Cancelled(number));
        self.retract(number, &sent, effects);
        Ok(Outcome::Cancelled { repeated: false })
    }
}
