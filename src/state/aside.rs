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
    /// Until when, and who: a release of their own is due then. Those whose time has come are here no more.
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
    pub users: RoaringBitmap,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Came {
    pub at: Millis,
    pub users: RoaringBitmap,
}

impl Aside {
    pub fn held_until(&self, user: UserNumber) -> Option<Millis> {
        let held = self.held.iter().find(|held| held.users.contains(user))?;
        Some(held.until)
    }

    /// Takes in what preferences say of some recipients.
    pub(super) fn hold(&mut self, sorted: &Sorted) {
        let held = sorted.held.iter().map(|(until, users)| Held {
            until: *until,
            users: users.clone(),
        });
        self.held.extend(held);
        self.muted |= &sorted.muted;
        self.critical_only |= &sorted.critical_only;
    }

    /// Some recipients are asked anew what they want: what was known of that is forgotten.
    pub(super) fn hold_anew(&mut self, sorted: &Sorted) {
        let mut users = sorted.now.clone();
        users |= &sorted.muted;
        users |= &sorted.critical_only;
        sorted.held.iter().for_each(|(_, held)| users |= held);
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

    pub fn held(&self) -> u64 {
        self.held.iter().map(|held| held.users.len()).sum()
    }

    pub fn skipped(&self) -> u64 {
        self.muted.len() + self.critical_only.len()
    }

    /// All who are held or skipped.
    pub fn users(&self) -> RoaringBitmap {
        let mut users = &self.muted | &self.critical_only;
        self.held.iter().for_each(|held| users |= &held.users);
        users
    }

    /// Why somebody is held or skipped.
    pub fn reason(&self, user: UserNumber) -> Option<Reason> {
        if self.held_until(user).is_some() {
            Some(Reason::QuietHours)
        } else if self.muted.contains(user) {
            Some(Reason::MutedCategory)
        } else {
            self.critical_only.contains(user).then_some(Reason::CriticalOnly)
        }
    }
}
