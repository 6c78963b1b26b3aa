//! A broadcast with its recipients and receipt ladder, and what stands at a position.

use super::aside::Aside;
use super::dead::Dead;
use super::effect::{Release, ReleaseKind};
use super::journal::JournalEntry;
use super::ledger::Ledger;
use super::outcome::Refused;
use super::tries::Tries;
use crate::model::broadcast::Status;
use crate::model::{Broadcast, Millis, Priority, Step, UserNumber};
use roaring::RoaringBitmap;
use std::sync::Arc;

/// A broadcast with its recipients and how far they are.
#[derive(Clone, Debug)]
pub struct Hot {
    pub broadcast: Arc<Broadcast>,
    /// Everybody it is meant for, held and skipped ones too.
    pub recipients: Arc<RoaringBitmap>,
    /// Whom its first release was for.
    pub first: Arc<RoaringBitmap>,
    /// In the audience, taken out again by `exclude`.
    pub excluded: Arc<RoaringBitmap>,
    pub ledger: Arc<Ledger>,
}

impl Hot {
    /// What a first release says, with a ledger known from elsewhere.
    pub fn of(entry: &JournalEntry, ledger: Arc<Ledger>) -> Self {
        let recipients = if entry.beside.is_empty() {
            entry.recipients.clone()
        } else {
            Arc::new(&*entry.recipients | &*entry.beside)
        };
        let mut hot = Self {
            broadcast: entry.broadcast.clone(),
            recipients,
            first: entry.recipients.clone(),
            excluded: entry.excluded.clone(),
            ledger: Arc::default(),
        };
        hot.load(ledger);
        hot
    }

    /// Takes on a ledger; whom it was widened to, and how long it lives, stand there.
    pub(super) fn load(&mut self, ledger: Arc<Ledger>) {
        if let Some(aside) = &ledger.aside
            && !aside.escalation.added.is_empty()
        {
            *Arc::make_mut(&mut self.recipients) |= &aside.escalation.added;
        }
        self.ledger = ledger;
        self.prolong();
    }

    /// It expires when its last redelivery says.
    pub(super) fn prolong(&mut self) {
        let aside = self.ledger.aside.iter();
        let expires_at = aside
            .flat_map(|aside| &aside.revived)
            .map(|revived| revived.expires_at)
            .max();
        if let Some(expires_at) = expires_at.filter(|at| *at > self.broadcast.expires_at) {
            Arc::make_mut(&mut self.broadcast).expires_at = expires_at;
        }
    }

    /// How long it lives after a release.
    pub(super) fn life(&self) -> Millis {
        let mut revived = self.ledger.aside.iter().flat_map(|aside| &aside.revived);
        let first = self.broadcast.expires_at.saturating_sub(self.broadcast.released_at());
        revived.next().map_or(first, |revived| revived.life).max(1)
    }

    /// Taken on, and not released yet: nobody is meant so far.
    pub fn scheduled(broadcast: Arc<Broadcast>) -> Self {
        Self {
            broadcast,
            recipients: Arc::default(),
            first: Arc::default(),
            excluded: Arc::default(),
            ledger: Arc::default(),
        }
    }

    /// The entry of its first release; `None` while it is scheduled.
    pub fn entry(&self) -> Option<JournalEntry> {
        Some(JournalEntry {
            position: self.broadcast.position?,
            priority: self.broadcast.draft.priority,
            kind: ReleaseKind::Broadcast,
            escalated: false,
            released_at: self.broadcast.released_at(),
            broadcast: self.broadcast.clone(),
            recipients: self.first.clone(),
            beside: Arc::new(&*self.recipients - &*self.first),
            excluded: self.excluded.clone(),
        })
    }

    /// The broadcast's first release; `None` while it is scheduled.
    pub fn release(&self) -> Option<Release> {
        let broadcast = &self.broadcast;
        Some(Release {
            position: broadcast.position?,
            priority: broadcast.draft.priority,
            kind: ReleaseKind::Broadcast,
            escalated: false,
            released_at: broadcast.released_at(),
            broadcast: broadcast.clone(),
            recipients: self.first.clone(),
        })
    }

    /// What somebody who comes without a cursor is given: the broadcast as it went out to them, or as they were last asked to confirm it.
    pub fn release_for(&self, user: UserNumber) -> Option<Release> {
        let mut release = self.release()?;
        release.released_at = self.out_at(user);
        let is_alerted = self
            .ledger
            .aside
            .as_ref()
            .is_some_and(|aside| !aside.escalation.taken.is_empty());
        if is_alerted && !self.done().contains(user) {
            release.escalated = true;
            release.priority = self.raised();
        }
        Some(release)
    }

    /// Whether a release was for somebody: meant, and neither held nor skipped nor waiting for their own time.
    pub fn is_out_to(&self, user: UserNumber) -> bool {
        self.recipients.contains(user) && !self.ledger.is_aside(user)
    }

    /// When it went out to somebody: for who was held or had to wait, later than for the others.
    pub fn out_at(&self, user: UserNumber) -> Millis {
        let came = self.ledger.aside.iter().flat_map(|aside| &aside.came);
        let mut later = came.filter(|came| came.users.contains(user));
        later.next_back().map_or(self.broadcast.released_at(), |came| came.at)
    }

    /// Whether somebody is to get it now: it is out to them, and still on.
    pub fn is_for(&self, user: UserNumber) -> bool {
        let aside = self.ledger.aside.as_ref();
        let is_off = aside.is_some_and(|aside| aside.cancelled_at.is_some() || aside.retracted.contains(user));
        self.is_out_to(user) && !is_off
    }

    /// Why this answer of this user is not taken.
    pub fn refuses(&self, user: UserNumber, answer: &str) -> Option<Refused> {
        if !self.is_out_to(user) {
            return Some(Refused::NotARecipient);
        }
        let asked = self.broadcast.draft.acknowledge.as_ref()?;
        let is_known = asked.answers.is_empty() || asked.answers.iter().any(|known| known == answer);
        (!is_known).then(|| Refused::UnknownAnswer(asked.answers.join(", ")))
    }

    /// Done: acknowledged where that was asked for, else received.
    pub fn done(&self) -> &RoaringBitmap {
        &self.ledger.steps[self.done_step().index()]
    }

    fn done_step(&self) -> Step {
        if self.broadcast.draft.acknowledge.is_some() {
            Step::Acknowledged
        } else {
            Step::Received
        }
    }

    pub fn status(&self, now: Millis) -> Status {
        if self.ledger.is_cancelled() {
            return Status::Cancelled;
        }
        if self.broadcast.position.is_none() {
            return Status::Scheduled;
        }
        let skipped = self.ledger.aside.as_deref().map_or(0, Aside::skipped);
        let complete = self.done().len() + skipped >= self.recipients.len();
        let last = self.ledger.times[self.done_step().index()].map_or(self.broadcast.released_at(), |(_, last)| last);
        if complete && last <= self.broadcast.expires_at {
            Status::Completed
        } else if now >= self.broadcast.expires_at {
            Status::Expired
        } else {
            Status::Released
        }
    }

    /// It has expired, or is off.
    pub fn is_over(&self, now: Millis) -> bool {
        self.broadcast.expires_at <= now || self.ledger.is_cancelled()
    }

    pub fn tries(&self) -> Option<&Tries> {
        Some(&self.ledger.aside.as_ref()?.tries)
    }

    pub fn dead(&self) -> Option<&Dead> {
        self.ledger.aside.as_ref()?.dead.as_ref()
    }

    /// Writes that a session has promised receipts for, given none, and will not get any more of.
    pub fn has_failed(&self, user: UserNumber) -> bool {
        let is_failed = self.tries().is_some_and(|tries| tries.failed().contains(user));
        is_failed && !self.ledger.steps[Step::Received.index()].contains(user)
    }

    /// How many such there are.
    pub fn failed(&self) -> u64 {
        let received = &self.ledger.steps[Step::Received.index()];
        self.tries().map_or(0, |tries| tries.failed().difference_len(received))
    }

    /// When somebody who is held or waits has their time before it is over.
    pub(super) fn held_times(&self) -> impl Iterator<Item = Millis> {
        let held = self.ledger.aside.iter().flat_map(|aside| &aside.held);
        held.map(|held| held.until)
            .filter(|until| *until < self.broadcast.expires_at)
    }

    /// When the next thing is due for it by itself: somebody's own time, the end of their quiet hours or of a wait for a receipt,
    /// a step of its escalation.
    pub(super) fn next_due(&self) -> Option<Millis> {
        if self.ledger.is_cancelled() {
            return None;
        }
        let receipt = self.tries().and_then(Tries::next);
        let step = self.next_step().map(|(at, _)| at);
        self.held_times().chain(receipt).chain(step).min()
    }

    /// A critical one, no drill, that is out, not confirmed by everybody, and not taken over by a newer one.
    pub fn is_open(&self, now: Millis) -> bool {
        let draft = &self.broadcast.draft;
        let is_urgent = draft.priority == Priority::Critical && !draft.drill;
        let is_superseded = || {
            self.ledger
                .aside
                .as_ref()
                .is_some_and(|aside| aside.superseded_at.is_some())
        };
        is_urgent && self.status(now) == Status::Released && !is_superseded()
    }

    /// Something is still due for it at a time of its own.
    pub(super) fn is_pending(&self) -> bool {
        self.next_due().is_some()
    }

    /// Per-recipient times are kept for these; a drill is measured by them.
    pub fn detailed(broadcast: &Broadcast) -> bool {
        broadcast.draft.acknowledge.is_some() || broadcast.draft.drill || broadcast.draft.priority <= Priority::High
    }
}

/// What stands at a position.
#[derive(Debug)]
pub enum Placed {
    First(Hot),
    Later(Arc<JournalEntry>),
}

impl Placed {
    pub fn first(&self) -> Option<&Hot> {
        match self {
            Self::First(hot) => Some(hot),
            Self::Later(_) => None,
        }
    }

    pub(super) fn first_mut(&mut self) -> Option<&mut Hot> {
        match self {
            Self::First(hot) => Some(hot),
            Self::Later(_) => None,
        }
    }

    pub fn broadcast(&self) -> &Arc<Broadcast> {
        match self {
            Self::First(hot) => &hot.broadcast,
            Self::Later(entry) => &entry.broadcast,
        }
    }

    pub fn priority(&self) -> Priority {
        match self {
            Self::First(hot) => hot.broadcast.draft.priority,
            Self::Later(entry) => entry.priority,
        }
    }

    /// Whom the release at this position is for.
    pub fn recipients(&self) -> &RoaringBitmap {
        match self {
            Self::First(hot) => &hot.first,
            Self::Later(entry) => &entry.recipients,
        }
    }

    pub fn is_retraction(&self) -> bool {
        matches!(self, Self::Later(entry) if entry.kind == ReleaseKind::Retracted)
    }

    pub fn release(&self) -> Option<Release> {
        match self {
            Self::First(hot) => hot.release(),
            Self::Later(entry) => Some(entry.release()),
        }
    }
}
