//! What log time makes due: broadcasts that were scheduled, and a later time for some of their recipients (the end of quiet hours,
//! a local time in their own zone).
//!
//! A tick does what is due by its log time and takes it off the list in the same step, so that a change of leader neither skips
//! nor doubles anything.

use super::audiences::known_only;
use super::broadcasts::{Hot, Moves};
use super::command::Tick;
use super::preferences::Sorted;
use super::publish::{Later, Meant};
use super::{Effect, Refused, ReleaseKind, RowKey, State};
use crate::model::broadcast::{Late, OnMissed};
use crate::model::{Broadcast, BroadcastId, Draft, Millis, Number};
use roaring::RoaringBitmap;
use std::sync::Arc;

/// Broadcasts that wait for their time at once.
pub const SCHEDULED_MAX: usize = 100_000;
/// Released broadcasts that wait at once for something: the end of somebody's quiet hours, a receipt, the next step of an escalation.
/// Each stays in memory until then.
pub const WAITING_MAX: usize = 100_000;
/// Releases that a tick makes at most; the next one comes at once.
const DUE_PER_TICK: usize = 256;

impl State {
    /// When the next thing is due.
    pub fn next_due(&self) -> Option<Millis> {
        let broadcasts = self.due.first().map(|(at, _)| *at);
        // a namespace that was emptied goes on leaving, whoever asked for it
        let leaving = self.cache.first_leaving().map(|_| self.counters.log_time);
        broadcasts
            .into_iter()
            .chain(self.alerts.next_due())
            .chain(leaving)
            .min()
    }

    pub(super) fn check_schedule(&self) -> Result<(), Refused> {
        fits(self.broadcasts.scheduled.len(), SCHEDULED_MAX)
    }

    /// Those that wait for something after their release have a bound of their own.
    pub(super) fn check_waiting(&self) -> Result<(), Refused> {
        fits(self.waits.len(), WAITING_MAX)
    }

    /// Whether it may wait for something, because it does already or there are not too many.
    pub(super) fn has_room_for(&self, number: Number) -> bool {
        self.waits.contains_key(&number) || self.check_waiting().is_ok()
    }

    pub(super) fn schedule(&mut self, broadcast: Broadcast, due: Millis) {
        let number = broadcast.number;
        self.due.insert((due, number));
        self.broadcasts.schedule(Arc::new(broadcast), due);
        self.changed.insert(RowKey::Scheduled(number));
    }

    /// Does what is due.
    pub(super) fn fall_due(&mut self, tick: Tick, effects: &mut Vec<Effect>) {
        let now = self.counters.log_time;
        for _ in 0..DUE_PER_TICK {
            let Some((at, number)) = self.due.first().copied().filter(|(at, _)| *at <= now) else {
                return;
            };
            self.due.pop_first();
            if self.broadcasts.place(number).is_some() {
                self.waits.remove(&number);
                self.release_held(number, effects);
                self.try_again(number, &tick.retry, effects);
                self.escalate(number, effects);
                self.wait_for(number);
                continue;
            }
            self.come_due(number, at, tick, effects);
        }
    }

    /// The time `at` of a scheduled one has come: it goes out, unless it is over or missed. One with a local time waits on while
    /// it is due for nobody.
    fn come_due(&mut self, number: Number, at: Millis, tick: Tick, effects: &mut Vec<Effect>) {
        let now = self.counters.log_time;
        let Some(hot) = self.broadcasts.get(number) else {
            return;
        };
        let expires_at = hot.broadcast.expires_at;
        if expires_at <= now {
            return self.call_off(number, effects);
        }
        // A place that is gone by now has nobody any more; the others have.
        let mut draft = hot.broadcast.draft.clone();
        draft.audience = known_only(&self.directory, draft.audience);
        let meant = self.meant(&draft, now).unwrap_or_default();
        let (mut since, mut next) = (at, None);
        if let Some(local) = draft.deliver_at_local {
            let groups = self.directory.groups(&draft, local, &meant.all.recipients);
            since = groups.keys().next().map_or(at, |first| at.max(*first));
            next = self.next_look(&draft, local, &meant.sorted);
        }
        let is_missed = since.saturating_add_unsigned(tick.missed_after_ms) < now;
        if is_missed && draft.on_missed == OnMissed::Skip {
            self.call_off(number, effects);
        } else if let Some(next) = next.filter(|next| *next < expires_at) {
            self.look_at(number, next);
        } else {
            self.release_scheduled(number, meant, effects);
        }
    }

    /// A scheduled one is looked at at another time.
    pub(super) fn look_at(&mut self, number: Number, at: Millis) {
        if let Some(scheduled) = self.broadcasts.scheduled.get_mut(&number) {
            self.due.remove(&(scheduled.at, number));
            scheduled.at = at;
            self.due.insert((at, number));
            self.changed.insert(RowKey::Scheduled(number));
        }
    }

    fn release_scheduled(&mut self, number: Number, meant: Meant, effects: &mut Vec<Effect>) {
        let now = self.counters.log_time;
        let Some(broadcast) = self.take_scheduled(number) else {
            return;
        };
        let superseded = broadcast.draft.supersedes.map(BroadcastId::number);
        let position = self.move_to_next(number);
        let broadcast = released(broadcast, now);
        self.release(broadcast, position, meant, superseded, effects);
    }

    /// A scheduled broadcast never goes out: it gets its place, with nobody meant.
    pub(super) fn call_off(&mut self, number: Number, effects: &mut Vec<Effect>) {
        let now = self.counters.log_time;
        let Some(broadcast) = self.take_scheduled(number) else {
            return;
        };
        let position = self.move_to_next(number);
        let broadcast = released(broadcast, now);
        self.release(broadcast, position, Meant::default(), None, effects);
        if let Some(hot) = self.broadcasts.get_mut(number) {
            Arc::make_mut(&mut hot.ledger).aside_mut().cancelled_at = Some(now);
        }
        self.wait_for(number);
        self.changed_ledger(number);
    }

    /// What preferences make of a draft's recipients now.
    pub fn sort(&self, draft: &Draft, recipients: &RoaringBitmap) -> Sorted {
        let (directory, now) = (&self.directory, self.counters.log_time);
        let preferred = directory.preferred();
        preferred.sort(directory.zones(), draft.category(), draft.priority, recipients, now)
    }

    /// Notes when the next thing is due for a released broadcast. Of one that is over nothing is done any more: what came due in
    /// vain while nobody led must not stand before everything else for ever.
    pub(super) fn wait_for(&mut self, number: Number) {
        let now = self.counters.log_time;
        let hot = self.broadcasts.get(number).filter(|hot| !hot.is_over(now));
        let next = hot.and_then(Hot::next_due);
        let before = match next {
            Some(at) => self.waits.insert(number, at),
            None => self.waits.remove(&number),
        };
        before.map(|before| self.due.remove(&(before, number)));
        self.due.extend(next.map(|at| (at, number)));
    }

    /// The time of some has come: they are asked again what they want, since it may have changed.
    fn release_held(&mut self, number: Number, effects: &mut Vec<Effect>) {
        let now = self.counters.log_time;
        let Some(hot) = self.broadcasts.get(number).filter(|hot| !hot.is_over(now)) else {
            return;
        };
        let held = hot.ledger.aside.iter().flat_map(|aside| &aside.held);
        let mut users = RoaringBitmap::new();
        held.filter(|held| held.until <= now)
            .for_each(|held| users |= &held.users);
        hot.ledger.aside.iter().for_each(|aside| users -= &aside.retracted);
        if hot.held_times().all(|until| until > now) {
            return;
        }
        let sorted = self.sort(&hot.broadcast.draft, &users);
        self.change_aside(number, |aside| {
            aside.held.retain(|held| held.until > now);
            aside.hold(&sorted);
            aside.note_came(now, sorted.now.clone());
        });
        self.put_later(number, Later::of(ReleaseKind::Again), sorted.now, effects);
    }

    fn take_scheduled(&mut self, number: Number) -> Option<Broadcast> {
        let (at, broadcast) = self.broadcasts.unschedule(number)?;
        self.changed.insert(RowKey::Scheduled(number));
        self.due.remove(&(at, number));
        Some(broadcast)
    }

    fn move_to_next(&mut self, number: Number) -> u64 {
        let position = self.counters.next;
        self.counters.next += 1;
        self.broadcasts.moved.insert(number, position);
        self.changed.insert(RowKey::Moved(number));
        position
    }

    /// What is over needs no notes any more.
    pub(super) fn tidy(&mut self) {
        let now = self.counters.log_time;
        let changed = &mut self.changed;
        self.broadcasts.cancelled.retain(|number, expires_at| {
            let kept = *expires_at > now;
            if !kept {
                changed.insert(RowKey::Cancelled(*number));
            }
            kept
        });
        let mut moves = Moves::default();
        self.broadcasts.unpin(now, &mut moves);
        self.note_moves(moves);
    }
}

const fn fits(count: usize, max: usize) -> Result<(), Refused> {
    if count < max {
        Ok(())
    } else {
        Err(Refused::ScheduleFull(max))
    }
}

fn released(broadcast: Broadcast, at: Millis) -> Broadcast {
    let late = Late {
        at,
        targeted: broadcast.targeted,
        connected: broadcast.connected,
        unknown: broadcast.unknown,
    };
    Broadcast {
        late: Some(late),
        ..broadcast
    }
}

/// Later releases count as the broadcast itself where somebody is meant by it.
impl ReleaseKind {
    pub fn is_broadcast(self) -> bool {
        match self {
            Self::Broadcast | Self::Again | Self::Retry => true,
            Self::Retracted => false,
        }
    }
}
