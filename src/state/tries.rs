//! Attempts: writes to a live session that promised receipts and gave none. Who is away is not one: the broadcast waits for them.
//!
//! A node tells whom it wrote to. Whoever has not confirmed when the wait is over is written to again, by a release of their own;
//! after the last attempt they count as failed, until they confirm after all.

use super::aside::Aside;
use super::broadcasts::Hot;
use super::publish::Later;
use super::{Effect, ReleaseKind, State};
use crate::model::{Millis, Number, Retry, Step, UserNumber};
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Waits of one broadcast at a time; who comes when there are so many is waited for as long as the last of them.
const OPEN_MAX: usize = 64;

/// Waits end at whole steps of this, so that one tick takes many of them.
const ROUNDED_TO: Millis = 50;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tries {
    /// Who was written to once at least, twice at least, and so on.
    made: Vec<RoaringBitmap>,
    /// Whose receipt is waited for, and until when.
    open: Vec<Open>,
    /// They were written to as often as it is allowed, and said nothing.
    failed: RoaringBitmap,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Open {
    until: Millis,
    users: RoaringBitmap,
}

/// Whose wait is over.
#[derive(Debug, Default, PartialEq)]
struct Over {
    again: RoaringBitmap,
    failed: RoaringBitmap,
}

impl Tries {
    /// When the first wait is over.
    pub fn next(&self) -> Option<Millis> {
        self.open.iter().map(|open| open.until).min()
    }

    /// How often somebody was written to; `0` for who never promised a receipt.
    pub fn made(&self, user: UserNumber) -> usize {
        self.made.iter().take_while(|users| users.contains(user)).count()
    }

    pub fn failed(&self) -> &RoaringBitmap {
        &self.failed
    }

    pub fn waiting(&self) -> RoaringBitmap {
        let mut users = RoaringBitmap::new();
        self.open.iter().for_each(|open| users |= &open.users);
        users
    }

    /// These were written to just now; their receipts are waited for.
    fn note(&mut self, mut users: RoaringBitmap, at: Millis, retry: &Retry, seed: u64) {
        users -= self.waiting();
        users -= &self.failed;
        // from those with the most writes to those with none, so that nobody moves on twice
        for writes in (1..=self.made.len() + 1).rev() {
            let group = match writes.checked_sub(2) {
                None => users.clone(),
                Some(before) => &users & &self.made[before],
            };
            users -= &group;
            if group.is_empty() {
                continue;
            }
            if self.made.len() < writes {
                self.made.push(RoaringBitmap::new());
            }
            self.made[writes - 1] |= &group;
            let until = at.saturating_add(retry.wait(writes, seed));
            let until = until.saturating_add(ROUNDED_TO - 1) / ROUNDED_TO * ROUNDED_TO;
            self.wait(until, group);
        }
    }

    fn wait(&mut self, until: Millis, users: RoaringBitmap) {
        let is_full = self.open.len() == OPEN_MAX;
        let latest = self.open.iter().map(|open| open.until).max().filter(|_| is_full);
        let until = latest.unwrap_or(until);
        match self.open.iter_mut().find(|open| open.until == until) {
            Some(open) => open.users |= users,
            None => self.open.push(Open { until, users }),
        }
    }

    /// Those whose wait is over and who have not confirmed.
    fn take_over(&mut self, now: Millis, confirmed: &RoaringBitmap, attempts: usize) -> Over {
        let mut over = Over::default();
        self.open.retain(|open| {
            let waits = open.until > now;
            if !waits {
                over.again |= &open.users - confirmed;
            }
            waits
        });
        if let Some(most) = self.made.get(attempts - 1) {
            over.failed = &over.again & most;
            over.again -= &over.failed;
            self.failed |= &over.failed;
        }
        over
    }

    /// They have confirmed, or begin anew: says whether anybody of them was waited for.
    pub(super) fn forget(&mut self, users: &RoaringBitmap) -> bool {
        let waits = self.open.len();
        self.made.iter_mut().for_each(|made| *made -= users);
        while self.made.pop_if(|made| made.is_empty()).is_some() {}
        self.open.iter_mut().for_each(|open| open.users -= users);
        self.open.retain(|open| !open.users.is_empty());
        self.failed -= users;
        self.open.len() < waits
    }

    pub(super) fn stop(&mut self) {
        self.open.clear();
    }
}

impl State {
    /// Nobody waits for their receipts any more.
    pub(super) fn heard(&mut self, number: Number, users: &RoaringBitmap) {
        let tried = |hot: &Hot| hot.tries().is_some_and(|tries| *tries != Tries::default());
        let Some(hot) = self.broadcasts.get_mut(number).filter(|hot| tried(hot)) else {
            return;
        };
        let ledger = Arc::make_mut(&mut hot.ledger);
        let waits = ledger.aside_mut().tries.forget(users);
        if ledger.aside.as_deref() == Some(&Aside::default()) {
            ledger.aside = None;
        }
        if waits {
            self.wait_for(number);
        }
    }

    /// A node has written it to sessions of these users that promised receipts.
    pub(super) fn promised(&mut self, number: Number, users: &RoaringBitmap, retry: &Retry) {
        let now = self.counters.log_time;
        let has_room = self.has_room_for(number);
        let Some(hot) = self.broadcasts.get_mut(number) else {
            return; // it has left memory: whoever comes back gets it, and nobody is waited for
        };
        if !has_room || hot.is_over(now) {
            return;
        }
        let mut users = users & &*hot.recipients;
        users -= &hot.ledger.steps[Step::Received.index()];
        if let Some(aside) = &hot.ledger.aside {
            users -= &aside.retracted;
            users -= aside.users(); // no release is for them yet
        }
        if users.is_empty() {
            return;
        }
        let tries = &mut Arc::make_mut(&mut hot.ledger).aside_mut().tries;
        tries.note(users, now, retry, number);
        self.changed_ledger(number);
        self.wait_for(number);
    }

    /// Writes again to those who are there and have not confirmed in time.
    pub(super) fn try_again(&mut self, number: Number, retry: &Retry, effects: &mut Vec<Effect>) {
        let now = self.counters.log_time;
        let due = |hot: &Hot| {
            hot.tries()
                .is_some_and(|tries| tries.next().is_some_and(|at| at <= now))
        };
        let Some(hot) = self.broadcasts.get_mut(number).filter(|hot| due(hot)) else {
            return;
        };
        let is_over = hot.is_over(now);
        let attempts = retry.attempts(hot.broadcast.draft.priority);
        let ledger = Arc::make_mut(&mut hot.ledger);
        let confirmed = ledger.steps[Step::Received.index()].clone();
        let aside = ledger.aside_mut();
        if is_over {
            aside.tries.stop();
            return self.changed_ledger(number);
        }
        let mut over = aside.tries.take_over(now, &confirmed, attempts);
        over.again -= &aside.retracted;
        self.changed_ledger(number);
        let there = self.presence.connected_of(&over.again);
        self.put_later(number, Later::of(ReleaseKind::Retry), there, effects);
    }
}

#[cfg(test)]
mod tests {
    use super::{Over, Tries};
    use crate::model::Retry;
    use roaring::RoaringBitmap;

    const RETRY: Retry = Retry::DEFAULT;

    fn users(users: &[u32]) -> RoaringBitmap {
        users.iter().collect()
    }

    /// After the wait of those who were written to: who is written to again, and who has failed.
    fn check_over(tries: &mut Tries, confirmed: &[u32], again: &[u32], failed: &[u32]) {
        let now = tries.next().unwrap();
        let over = tries.take_over(now, &users(confirmed), 3);
        let expected = Over {
            again: users(again),
            failed: users(failed),
        };
        assert_eq!(over, expected);
    }

    #[test]
    fn who_says_nothing_is_written_to_three_times_and_then_has_failed() {
        let mut tries = Tries::default();
        tries.note(users(&[1, 2, 3]), 0, &RETRY, 7);
        assert_eq!(tries.waiting(), users(&[1, 2, 3]));
        check_over(&mut tries, &[2], &[1, 3], &[]);
        tries.note(users(&[1]), 5_000, &RETRY, 7); // the other one was away
        check_over(&mut tries, &[2], &[1], &[]);
        tries.note(users(&[1, 3]), 10_000, &RETRY, 7);
        assert_eq!(
            (tries.made(1), tries.made(3), tries.made(2), tries.made(9)),
            (3, 2, 1, 0)
        );
        check_over(&mut tries, &[2], &[3], &[]);
        check_over(&mut tries, &[2], &[], &[1]);
        assert_eq!((tries.next(), tries.failed()), (None, &users(&[1])));
        tries.note(users(&[1]), 20_000, &RETRY, 7);
        assert_eq!(tries.next(), None, "who has failed is not tried again");
        tries.forget(&users(&[1]));
        tries.note(users(&[1]), 20_000, &RETRY, 7);
        assert_eq!((tries.made(1), tries.failed().len()), (1, 0));
    }

    #[test]
    fn a_second_session_of_somebody_is_the_same_attempt() {
        let mut tries = Tries::default();
        tries.note(users(&[1]), 0, &RETRY, 7);
        tries.note(users(&[1]), 10, &RETRY, 7);
        assert_eq!(tries.made(1), 1);
        assert_eq!(tries.open.len(), 1);
    }
}
