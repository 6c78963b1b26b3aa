//! What a ledger says beside the ladder: who was not reached out to and why, what became of the broadcast since its first release,
//! and whom it was widened to.

use super::dead::Dead;
use super::escalation::Escalation;
use super::preferences::Sorted;
use super::redeliver::Revived;
use super::tries::Tries;
use crate::model::{Millis, Reason, UserNumber};
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};

/// Recipients whom the first release did not reach out to, and what became of the broadcast since.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Aside {
    /// Until when, why, and who: a release of their own is due then. Those whose time has come are here no more.
    pub held: Vec<Held>,
    /// To whom it went out after its first release, and when.
    pub came: Vec<Came>,
    /// They mute its category.
    pub muted: RoaringBitmap,
    /// They take nothing but critical ones.
    pub critical_only: RoaringBitmap,
    pub cancelled_at: Option<Millis>,
    /// Another one stands in its place: it still counts, and nobody is asked again to confirm it.
    pub superseded_at: Option<Millis>,
    /// It is off for them, and who had it was told.
    pub retracted: RoaringBitmap,
    /// Sessions that promised receipts and gave none.
    pub tries: Tries,
    /// Who never got it, once it has expired.
    pub dead: Option<Dead>,
    /// It was delivered again after it had expired, or to who had failed.
    pub revived: Vec<Revived>,
    pub escalation: Escalation,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Held {
    pub until: Millis,
    pub awaits: Awaits,
    pub users: RoaringBitmap,
}

/// What somebody's time comes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Awaits {
    /// The end of their quiet hours.
    QuietEnd,
    /// The local time that the sender wished, in their own zone: until then they are on the way like anybody else.
    LocalTime,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Came {
    pub at: Millis,
    pub users: RoaringBitmap,
}

impl Aside {
    fn group_of(&self, user: UserNumber) -> Option<&Held> {
        self.held.iter().find(|held| held.users.contains(user))
    }

    /// When somebody's time comes, whatever it waits for.
    pub fn until(&self, user: UserNumber) -> Option<Millis> {
        self.group_of(user).map(|held| held.until)
    }

    fn awaiting(&self, awaits: Awaits) -> impl Iterator<Item = &RoaringBitmap> {
        let held = self.held.iter().filter(move |held| held.awaits == awaits);
        held.map(|held| &held.users)
    }

    /// All who wait for one thing.
    pub fn who_awaits(&self, awaits: Awaits) -> RoaringBitmap {
        let mut users = RoaringBitmap::new();
        self.awaiting(awaits).for_each(|waiting| users |= waiting);
        users
    }

    /// Whether the local time has still to come for somebody.
    pub fn awaits_local_time(&self, user: UserNumber) -> bool {
        self.group_of(user).is_some_and(|held| held.awaits == Awaits::LocalTime)
    }

    /// Takes in what preferences say of some recipients.
    pub(super) fn hold(&mut self, sorted: &Sorted) {
        let groups = [(Awaits::QuietEnd, &sorted.held), (Awaits::LocalTime, &sorted.waiting)];
        for (awaits, groups) in groups {
            self.held.extend(groups.iter().map(|(until, users)| Held {
                until: *until,
                awaits,
                users: users.clone(),
            }));
        }
        self.muted |= &sorted.muted;
        self.critical_only |= &sorted.critical_only;
    }

    /// Some recipients are asked anew what they want: what was known of that is forgotten.
    pub(super) fn hold_anew(&mut self, sorted: &Sorted) {
        let mut users = sorted.now.clone();
        users |= &sorted.muted;
        users |= &sorted.critical_only;
        let groups = sorted.held.iter().chain(&sorted.waiting);
        groups.for_each(|(_, group)| users |= group);
        self.held.iter_mut().for_each(|held| held.users -= &users);
        self.held.retain(|held| !held.users.is_empty());
        self.muted -= &users;
        self.critical_only -= &users;
        self.hold(sorted);
    }

    /// It goes out to these now.
    pub(super) fn note_came(&mut self, at: Millis, users: RoaringBitmap) {
        if !users.is_empty() {
            self.came.push(Came { at, users });
        }
    }

    /// How many are held by their quiet hours.
    pub fn held(&self) -> u64 {
        self.awaiting(Awaits::QuietEnd).map(RoaringBitmap::len).sum()
    }

    pub fn skipped(&self) -> u64 {
        self.muted.len() + self.critical_only.len()
    }

    /// All whom no release has been for so far: held, skipped, or waiting for their own time.
    pub fn users(&self) -> RoaringBitmap {
        let mut users = &self.muted | &self.critical_only;
        self.held.iter().for_each(|held| users |= &held.users);
        users
    }

    /// Whether no release so far has been for somebody.
    pub fn contains(&self, user: UserNumber) -> bool {
        self.group_of(user).is_some() || self.muted.contains(user) || self.critical_only.contains(user)
    }

    /// Why somebody is held or skipped; who waits for their own time is neither.
    pub fn reason(&self, user: UserNumber) -> Option<Reason> {
        if let Some(held) = self.group_of(user) {
            match held.awaits {
                Awaits::QuietEnd => Some(Reason::QuietHours),
                Awaits::LocalTime => None,
            }
        } else if self.muted.contains(user) {
            Some(Reason::MutedCategory)
        } else {
            self.critical_only.contains(user).then_some(Reason::CriticalOnly)
        }
    }
}
