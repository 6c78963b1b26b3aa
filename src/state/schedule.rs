//! What log time makes due: broadcasts that were scheduled.
//!
//! A tick does what is due by its log time and takes it off the list in the same step, so that a change of leader neither skips
//! nor doubles anything.

use super::audiences::Resolved;
use super::broadcasts::Hot;
use super::ledger::Ledger;
use super::{Effect, Refused, ReleaseKind, RowKey, State};
use crate::model::broadcast::OnMissed;
use crate::model::{Broadcast, Millis, Number};
use std::sync::Arc;

/// Broadcasts that wait for their time at once.
pub const SCHEDULED_MAX: usize = 100_000;
/// Releases that a tick makes at most; the next one comes at once.
const DUE_PER_TICK: usize = 256;

impl State {
    /// When the next thing is due.
    pub fn next_due(&self) -> Option<Millis> {
        self.due.first().map(|(at, _)| *at)
    }

    pub(super) fn check_schedule(&self) -> Result<(), Refused> {
        if self.broadcasts.scheduled.len() < SCHEDULED_MAX {
            Ok(())
        } else {
            Err(Refused::ScheduleFull(SCHEDULED_MAX))
        }
    }

    pub(super) fn schedule(&mut self, broadcast: Broadcast, due: Millis) {
        let number = broadcast.number;
        self.due.insert((due, number));
        self.broadcasts
            .scheduled
            .insert(number, Hot::scheduled(Arc::new(broadcast)));
        self.changed.insert(RowKey::Scheduled(number));
    }

    /// Does what is due.
    pub(super) fn fall_due(&mut self, missed_after_ms: u64, effects: &mut Vec<Effect>) {
        let now = self.counters.log_time;
        for _ in 0..DUE_PER_TICK {
            let Some((at, number)) = self.due.first().copied().filter(|(at, _)| *at <= now) else {
                return;
            };
            self.due.pop_first();
            let Some(hot) = self.broadcasts.scheduled.get(&number) else {
                continue;
            };
            let is_missed = at.saturating_add_unsigned(missed_after_ms) < now;
            let is_over = hot.broadcast.expires_at <= now;
            if is_over || is_missed && hot.broadcast.draft.on_missed == OnMissed::Skip {
                self.call_off(number, effects);
            } else {
                self.release_scheduled(number, effects);
            }
        }
    }

    fn release_scheduled(&mut self, number: Number, effects: &mut Vec<Effect>) {
        let now = self.counters.log_time;
        let Some(broadcast) = self.take_scheduled(number) else {
            return;
        };
        // A place that is gone by now has nobody any more.
        let resolved = self
            .remembered
            .resolve(&self.directory, &broadcast.draft.audience, now)
            .unwrap_or_default();
        let superseded = broadcast.draft.supersedes.map(|id| id.number());
        let position = self.move_to_next(number);
        let broadcast = Broadcast {
            released_late_at: Some(now),
            ..broadcast
        };
        self.release(broadcast, position, resolved, superseded, effects);
    }

    /// A scheduled broadcast never goes out: it gets its place, with nobody meant.
    pub(super) fn call_off(&mut self, number: Number, effects: &mut Vec<Effect>) {
        let now = self.counters.log_time;
        let Some(broadcast) = self.take_scheduled(number) else {
            return;
        };
        let position = self.move_to_next(number);
        let broadcast = Broadcast {
            released_late_at: Some(now),
            ..broadcast
        };
        self.release(broadcast, position, Resolved::default(), None, effects);
        if let Some(hot) = self.broadcasts.get_mut(number) {
            Arc::make_mut(&mut hot.ledger).aside_mut().cancelled_at = Some(now);
        }
        self.changed_ledger(number);
    }

    fn take_scheduled(&mut self, number: Number) -> Option<Broadcast> {
        let hot = self.broadcasts.scheduled.remove(&number)?;
        self.changed.insert(RowKey::Scheduled(number));
        if let Some(due) = hot.broadcast.draft.deliver_at {
            self.due.remove(&(due, number));
        }
        Some(Arc::unwrap_or_clone(hot.broadcast))
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
        for (number, _) in self
            .broadcasts
            .cancelled
            .extract_if(.., |_, expires_at| *expires_at <= now)
        {
            changed.insert(RowKey::Cancelled(number));
        }
        let cooled = &mut self.cooled;
        self.broadcasts.unpin(now, |position, ledger: Arc<Ledger>| {
            changed.insert(RowKey::Pinned(position));
            if changed.remove(&RowKey::Ledger(position)) {
                cooled.push((position, ledger));
            }
        });
    }
}

/// Later releases count as the broadcast itself where somebody is meant by it.
impl ReleaseKind {
    pub fn is_broadcast(self) -> bool {
        match self {
            Self::Broadcast | Self::Again => true,
            Self::Retracted => false,
        }
    }
}
