//! Broadcasts that may still change: their recipients and receipt ladders, and the blocks that lead back to older ones.
//!
//! Each stands at its first release's position. What has left memory is read from its rows. Which broadcasts are *hot* follows
//! from the log alone (their sizes add up to at most [`HOT_BYTES`]), so that every node decides alike. What still has something
//! due when its turn to leave comes is *pinned*: it stays until that is done.

use super::effect::{Release, ReleaseKind};
use super::journal::{self, JournalEntry};
use super::ledger::Ledger;
use super::outcome::Refused;
use crate::model::broadcast::Status;
use crate::model::{Broadcast, Millis, Number, Position, Priority, Step, UserNumber};
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Newest broadcasts whose ledgers stay in memory: about this many bytes of them. Unit tests get by with little, so that they meet
/// what has left memory; the nodes of a cluster are of one build.
pub const HOT_BYTES: u64 = if cfg!(test) { 1 << 20 } else { 96 << 20 };
/// Positions of one block.
pub const BLOCK: u64 = 256;

/// Where a list of broadcasts goes on: what is scheduled comes first, newest first, then what was released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    Nothing,
    /// Behind this one, which was scheduled when the list came to it.
    Scheduled(Number),
    Released(Number),
}

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
        Self {
            broadcast: entry.broadcast.clone(),
            recipients,
            first: entry.recipients.clone(),
            excluded: entry.excluded.clone(),
            ledger,
        }
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

    /// Whether a release was for somebody: meant, and neither held nor skipped.
    pub fn is_out_to(&self, user: UserNumber) -> bool {
        self.recipients.contains(user) && !self.ledger.is_aside(user)
    }

    /// When it went out to somebody: for who was held, later than for the others.
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
        let skipped = self.ledger.aside.as_ref().map_or(0, |aside| aside.skipped());
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

    /// When somebody who is held has their time before it is over.
    pub(super) fn held_times(&self) -> impl Iterator<Item = Millis> {
        let held = self.ledger.aside.iter().flat_map(|aside| &aside.held);
        held.map(|held| held.until)
            .filter(|until| *until < self.broadcast.expires_at)
    }

    /// Something is still due for it at a time of its own.
    pub(super) fn is_pending(&self) -> bool {
        let aside = self.ledger.aside.as_ref();
        aside.is_some_and(|aside| aside.cancelled_at.is_none() && !aside.held.is_empty())
    }

    /// Per-recipient times are kept for these.
    pub fn detailed(broadcast: &Broadcast) -> bool {
        broadcast.draft.acknowledge.is_some() || broadcast.draft.priority <= Priority::High
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

    fn first_mut(&mut self) -> Option<&mut Hot> {
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

/// The people of 256 positions, and until when the last of these broadcasts is of interest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Block {
    pub union: RoaringBitmap,
    /// When the last of them has expired.
    pub expires_at: Millis,
    /// When the newest of them was released.
    pub newest_at: Millis,
}

#[derive(Debug, Default)]
pub struct Broadcasts {
    /// By position, newest last.
    pub(super) hot: BTreeMap<Position, Placed>,
    pub(super) hot_bytes: u64,
    /// Costs in the order of positions, so that the oldest can be let go.
    pub(super) costs: VecDeque<(Position, u64)>,
    /// Older ones that must not leave memory yet, or were called back into it.
    pub(super) pinned: BTreeMap<Position, Hot>,
    /// Not released yet, by number.
    pub(super) scheduled: BTreeMap<Number, Hot>,
    /// First positions of those that do not stand at their number: they were scheduled.
    pub(super) moved: BTreeMap<Number, Position>,
    /// Those that something scheduled will supersede, and how often: they stay in memory until then.
    pub(super) awaited: BTreeMap<Number, u32>,
    /// Called off and not yet expired, and when they will be.
    pub(super) cancelled: BTreeMap<Number, Millis>,
    pub(super) blocks: BTreeMap<u64, Block>,
    /// Entries not yet given to the journal, by priority.
    new: [Vec<Arc<JournalEntry>>; 4],
}

impl Broadcasts {
    /// Where a broadcast stands; `None` while it is scheduled.
    pub fn place(&self, number: Number) -> Option<Position> {
        if self.scheduled.contains_key(&number) {
            return None;
        }
        Some(self.moved.get(&number).copied().unwrap_or(number))
    }

    pub fn get(&self, number: Number) -> Option<&Hot> {
        match self.place(number) {
            None => self.scheduled.get(&number),
            Some(position) => self.at(position).filter(|hot| hot.broadcast.number == number),
        }
    }

    fn at(&self, position: Position) -> Option<&Hot> {
        let placed = self.hot.get(&position).and_then(Placed::first);
        placed.or_else(|| self.pinned.get(&position))
    }

    /// A released one that is in memory.
    pub(super) fn get_mut(&mut self, number: Number) -> Option<&mut Hot> {
        let position = self.place(number)?;
        let placed = self.hot.get_mut(&position).and_then(Placed::first_mut);
        let found = placed.or_else(|| self.pinned.get_mut(&position));
        found.filter(|hot| hot.broadcast.number == number)
    }

    /// The ledger at a position, where it is in memory.
    pub(super) fn ledger_at(&self, position: Position) -> Option<&Ledger> {
        self.at(position).map(|hot| &*hot.ledger)
    }

    /// In memory, from this position on, oldest first.
    pub fn from(&self, position: Position) -> impl Iterator<Item = &Hot> {
        self.hot.range(position..).filter_map(|(_, placed)| placed.first())
    }

    /// Every release in memory from this position on, oldest first.
    pub fn placed_from(&self, position: Position) -> impl DoubleEndedIterator<Item = (Position, &Placed)> {
        self.hot.range(position..).map(|(position, placed)| (*position, placed))
    }

    /// Newest first.
    pub fn newest(&self) -> impl Iterator<Item = &Hot> {
        self.hot.values().rev().filter_map(Placed::first)
    }

    /// In memory, below this position, newest first.
    pub fn below(&self, position: Position) -> impl Iterator<Item = &Hot> {
        self.hot
            .range(..position)
            .rev()
            .filter_map(|(_, placed)| placed.first())
    }

    pub(super) fn schedule(&mut self, broadcast: Arc<Broadcast>) {
        if let Some(old) = broadcast.draft.supersedes {
            *self.awaited.entry(old.number()).or_default() += 1;
        }
        self.scheduled.insert(broadcast.number, Hot::scheduled(broadcast));
    }

    pub(super) fn unschedule(&mut self, number: Number) -> Option<Broadcast> {
        let hot = self.scheduled.remove(&number)?;
        if let Some(old) = hot.broadcast.draft.supersedes
            && let Some(count) = self.awaited.get_mut(&old.number())
        {
            *count -= 1;
            if *count == 0 {
                self.awaited.remove(&old.number());
            }
        }
        Some(Arc::unwrap_or_clone(hot.broadcast))
    }

    /// Not released yet, with a number below this one, newest first.
    pub fn scheduled_below(&self, number: Number) -> impl Iterator<Item = &Hot> {
        self.scheduled.range(..number).rev().map(|(_, hot)| hot)
    }

    pub fn is_cancelled(&self, number: Number) -> bool {
        self.cancelled.contains_key(&number)
    }

    /// All that are off and have not expired.
    pub fn cancelled(&self) -> impl Iterator<Item = Number> {
        self.cancelled.keys().copied()
    }

    /// Everything from here on is in memory.
    pub fn hot_from(&self) -> Option<Position> {
        self.costs.front().map(|(position, _)| *position)
    }

    /// Blocks with something for a user that has not expired, newest first: the numbers of their first positions.
    pub fn blocks_for(&self, user: UserNumber, now: Millis) -> impl Iterator<Item = Position> + '_ {
        let found = self.blocks.iter().rev();
        found
            .filter(move |(_, block)| block.expires_at > now && block.union.contains(user))
            .map(|(first, _)| first * BLOCK)
    }

    /// The first position of the newest block that begins below a position.
    pub fn block_below(&self, position: Position) -> Option<Position> {
        let last = position.checked_sub(1)? / BLOCK;
        let (block, _) = self.blocks.range(..=last).next_back()?;
        Some(block * BLOCK)
    }

    /// All blocks with something for a user, newest first.
    pub fn blocks_with(&self, user: UserNumber) -> impl Iterator<Item = Position> + '_ {
        self.blocks
            .iter()
            .rev()
            .filter(move |(_, block)| block.union.contains(user))
            .map(|(first, _)| first * BLOCK)
    }

    /// Takes on the release at the next position.
    pub(super) fn add(&mut self, entry: JournalEntry, ledger: Ledger) -> Arc<JournalEntry> {
        let entry = Arc::new(entry);
        self.keep(&entry, ledger);
        let block = self.blocks.entry(entry.position / BLOCK).or_default();
        block.union |= &*entry.recipients;
        block.union |= &*entry.beside;
        block.expires_at = block.expires_at.max(entry.broadcast.expires_at);
        block.newest_at = block.newest_at.max(entry.released_at);
        self.new[entry.priority.index()].push(entry.clone());
        entry
    }

    fn keep(&mut self, entry: &Arc<JournalEntry>, ledger: Ledger) {
        let cost = entry.bytes();
        let placed = match entry.kind {
            ReleaseKind::Broadcast => Placed::First(Hot::of(entry, Arc::new(ledger))),
            ReleaseKind::Again | ReleaseKind::Retracted => Placed::Later(entry.clone()),
        };
        self.hot.insert(entry.position, placed);
        self.costs.push_back((entry.position, cost));
        self.hot_bytes += cost;
    }

    /// Lets the oldest go until the rest fits: `pinned` is told where those stood that stay in memory, `left` those that do not.
    pub(super) fn cool(&mut self, mut pinned: impl FnMut(Position), mut left: impl FnMut(Position, Arc<Ledger>)) {
        while self.hot_bytes > HOT_BYTES
            && let Some((position, cost)) = self.costs.pop_front()
        {
            self.hot_bytes -= cost;
            match self.hot.remove(&position) {
                Some(Placed::First(hot)) if hot.is_pending() || self.awaited.contains_key(&hot.broadcast.number) => {
                    self.pinned.insert(position, hot);
                    pinned(position);
                }
                Some(Placed::First(hot)) => left(position, hot.ledger),
                Some(Placed::Later(_)) | None => {}
            }
        }
    }

    /// Lets those go that nothing is due for any more.
    pub(super) fn unpin(&mut self, now: Millis, mut left: impl FnMut(Position, Arc<Ledger>)) {
        let awaited = &self.awaited;
        let is_wanted = |hot: &Hot| hot.is_pending() || awaited.contains_key(&hot.broadcast.number);
        let over = |hot: &Hot| hot.broadcast.expires_at <= now || !is_wanted(hot);
        self.pinned.retain(|position, hot| {
            let over = over(hot);
            if over {
                left(*position, hot.ledger.clone());
            }
            !over
        });
    }

    pub(super) fn waiting(&self) -> usize {
        self.new.iter().map(Vec::len).sum()
    }

    /// Journal rows of what is new: first position and value, in blocks.
    pub(super) fn take_journal(&mut self) -> Vec<(Priority, Position, Vec<u8>)> {
        let mut taken = Vec::new();
        for priority in Priority::ALL {
            let entries = std::mem::take(&mut self.new[priority.index()]);
            journal::rows(&entries, |position, row| taken.push((priority, position, row)));
        }
        taken
    }

    /// Start-up: a journal row's entries that are still in memory.
    pub(super) fn load(&mut self, entries: Vec<JournalEntry>, hot_from: Position) {
        for entry in entries {
            if entry.position >= hot_from {
                self.keep(&Arc::new(entry), Ledger::default());
            }
        }
    }

    /// Start-up: the ledger of what is in memory.
    pub(super) fn load_ledger(&mut self, position: Position, ledger: Ledger) {
        let placed = self.hot.get_mut(&position).and_then(Placed::first_mut);
        if let Some(hot) = placed.or_else(|| self.pinned.get_mut(&position)) {
            hot.ledger = Arc::new(ledger);
        }
    }

    /// What of those in memory is due, and when.
    pub(super) fn held_times(&self) -> Vec<(Millis, Number)> {
        let hot = self.hot.values().filter_map(Placed::first).chain(self.pinned.values());
        let pending = hot.filter(|hot| hot.is_pending());
        pending
            .filter_map(|hot| Some((hot.held_times().min()?, hot.broadcast.number)))
            .collect()
    }

    /// Start-up: rows come by priority, costs are wanted by position.
    pub(super) fn loaded(&mut self) {
        self.costs.make_contiguous().sort_unstable();
    }
}
