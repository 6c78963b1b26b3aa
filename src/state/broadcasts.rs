//! Broadcasts that may still change: their recipients and receipt ladders, and the blocks that lead back to older ones.
//!
//! Each stands at its first release's position. What has left memory is read from its rows. Which broadcasts are *hot* follows
//! from the log alone (their sizes add up to at most [`HOT_BYTES`]), so that every node decides alike. What still has something
//! due when its turn to leave comes is *pinned*: it stays until that is done. So is a critical one that not everybody has confirmed:
//! the screen shows it for as long as it is open.

pub use super::blocks::{BLOCK, Block, Blocks};
use super::effect::ReleaseKind;
pub use super::hot::{Hot, Placed};
use super::journal::{self, JournalEntry};
use super::ledger::Ledger;
use crate::model::{Broadcast, Millis, Number, Position, Priority};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Newest broadcasts whose ledgers stay in memory: about this many bytes of them. Unit tests get by with little, so that they meet
/// what has left memory; the nodes of a cluster are of one build.
pub const HOT_BYTES: u64 = if cfg!(test) { 1 << 20 } else { 96 << 20 };

/// Open critical broadcasts that stay in memory beside the newest; beyond it the oldest are let go with every tick, and whenever as many
/// more are pinned.
pub const OPEN_KEPT_MAX: usize = if cfg!(test) { 4 } else { 256 };

/// Where a list of broadcasts goes on: what is scheduled comes first, newest first, then what was released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    Nothing,
    /// Behind this one, which was scheduled when the list came to it.
    Scheduled(Number),
    Released(Number),
}

/// One that is not released yet.
#[derive(Debug)]
pub struct Scheduled {
    /// When it goes out, or is looked at again.
    pub(super) at: Millis,
    pub(super) hot: Hot,
}

/// What changes when something leaves memory, or is kept in it.
#[derive(Default)]
pub(super) struct Moves {
    /// Where those stood that are pinned now, or no longer.
    pub pinned: Vec<Position>,
    pub left: Vec<(Position, Arc<Ledger>)>,
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
    pub(super) scheduled: BTreeMap<Number, Scheduled>,
    /// First positions of those that do not stand at their number: they were scheduled.
    pub(super) moved: BTreeMap<Number, Position>,
    /// Those that something scheduled will supersede, and how often: they stay in memory until then.
    pub(super) awaited: BTreeMap<Number, u32>,
    /// Called off and not yet expired, and when they will be.
    pub(super) cancelled: BTreeMap<Number, Millis>,
    pub(super) blocks: Blocks,
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
            None => self.scheduled.get(&number).map(|scheduled| &scheduled.hot),
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

    /// Those that would have left memory, newest first.
    pub fn pinned(&self) -> impl Iterator<Item = &Hot> {
        self.pinned.values().rev()
    }

    pub(super) fn schedule(&mut self, broadcast: Arc<Broadcast>, at: Millis) {
        if let Some(old) = broadcast.draft.supersedes {
            *self.awaited.entry(old.number()).or_default() += 1;
        }
        let (number, hot) = (broadcast.number, Hot::scheduled(broadcast));
        self.scheduled.insert(number, Scheduled { at, hot });
    }

    /// Takes it off the list; says when its time was.
    pub(super) fn unschedule(&mut self, number: Number) -> Option<(Millis, Broadcast)> {
        let Scheduled { at, hot } = self.scheduled.remove(&number)?;
        if let Some(old) = hot.broadcast.draft.supersedes
            && let Some(count) = self.awaited.get_mut(&old.number())
        {
            *count -= 1;
            if *count == 0 {
                self.awaited.remove(&old.number());
            }
        }
        Some((at, Arc::unwrap_or_clone(hot.broadcast)))
    }

    /// Not released yet, with a number below this one, newest first.
    pub fn scheduled_below(&self, number: Number) -> impl Iterator<Item = &Hot> {
        self.scheduled
            .range(..number)
            .rev()
            .map(|(_, scheduled)| &scheduled.hot)
    }

    /// How many wait for their time.
    pub fn scheduled(&self) -> usize {
        self.scheduled.len()
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

    pub fn blocks(&self) -> &Blocks {
        &self.blocks
    }

    /// Takes on the release at the next position.
    pub(super) fn add(&mut self, entry: JournalEntry, ledger: Ledger) -> Arc<JournalEntry> {
        let entry = Arc::new(entry);
        self.keep(&entry, ledger);
        self.blocks.add(&entry);
        self.new[entry.priority.index()].push(entry.clone());
        entry
    }

    fn keep(&mut self, entry: &Arc<JournalEntry>, ledger: Ledger) {
        let cost = entry.bytes();
        let placed = match entry.kind {
            ReleaseKind::Broadcast => Placed::First(Hot::of(entry, Arc::new(ledger))),
            ReleaseKind::Again | ReleaseKind::Retry | ReleaseKind::Retracted => Placed::Later(entry.clone()),
        };
        self.hot.insert(entry.position, placed);
        self.costs.push_back((entry.position, cost));
        self.hot_bytes += cost;
    }

    /// Lets the oldest go until the rest fits.
    pub(super) fn cool(&mut self, now: Millis, moves: &mut Moves) {
        while self.hot_bytes > HOT_BYTES
            && let Some((position, cost)) = self.costs.pop_front()
        {
            self.hot_bytes -= cost;
            match self.hot.remove(&position) {
                Some(Placed::First(hot)) if is_wanted(&self.awaited, &hot) || hot.is_open(now) => {
                    self.pinned.insert(position, hot);
                    moves.pinned.push(position);
                    if self.pinned.len().is_multiple_of(OPEN_KEPT_MAX) {
                        self.unpin(now, moves);
                    }
                }
                Some(Placed::First(hot)) => moves.left.push((position, hot.ledger)),
                Some(Placed::Later(_)) | None => {}
            }
        }
    }

    /// Lets those go that nothing is due for any more and that are not open, and the oldest of too many that are only open.
    pub(super) fn unpin(&mut self, now: Millis, moves: &mut Moves) {
        let awaited = &self.awaited;
        let is_only_open = |hot: &Hot| hot.is_open(now) && !is_wanted(awaited, hot);
        let open = self.pinned.values().filter(|hot| is_only_open(hot)).count();
        let mut too_many = open.saturating_sub(OPEN_KEPT_MAX);
        self.pinned.retain(|position, hot| {
            let stays = if is_only_open(hot) {
                let is_kept = too_many == 0;
                too_many = too_many.saturating_sub(1);
                is_kept
            } else {
                hot.broadcast.expires_at > now && is_wanted(awaited, hot)
            };
            if !stays {
                moves.pinned.push(*position);
                moves.left.push((*position, hot.ledger.clone()));
            }
            stays
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
            hot.load(Arc::new(ledger));
        }
    }

    /// Start-up: a late receipt of what is in memory; it comes behind the ledger.
    pub(super) fn load_late(&mut self, position: Position, late: &Ledger) {
        let placed = self.hot.get_mut(&position).and_then(Placed::first_mut);
        if let Some(hot) = placed.or_else(|| self.pinned.get_mut(&position)) {
            let mut ledger = (*hot.ledger).clone();
            ledger.merge(late);
            hot.load(Arc::new(ledger));
        }
    }

    /// Those in memory for which something is due by itself.
    pub(super) fn pending(&self) -> Vec<Number> {
        let hot = self.hot.values().filter_map(Placed::first).chain(self.pinned.values());
        hot.filter(|hot| hot.is_pending())
            .map(|hot| hot.broadcast.number)
            .collect()
    }

    /// Start-up: rows come by priority, costs are wanted by position.
    pub(super) fn loaded(&mut self) {
        self.costs.make_contiguous().sort_unstable();
    }
}

/// Something is due for it by itself, or for what will supersede it.
fn is_wanted(awaited: &BTreeMap<Number, u32>, hot: &Hot) -> bool {
    hot.is_pending() || awaited.contains_key(&hot.broadcast.number)
}
