//! Blocks of 256 positions: whose they are, until when they matter, and what still has to be asked of them. They lead back to what
//! has left memory, so they are all that is kept there of an old broadcast.

use super::effect::ReleaseKind;
use super::journal::JournalEntry;
use crate::model::{Millis, Position, Priority, Reason, UserNumber};
use roaring::{MultiOps, RoaringBitmap};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Positions of one block.
pub const BLOCK: u64 = 256;
/// Sets of people that wait to be united with those of their blocks: to unite each as it comes costs more than all the rest of its apply.
const NEW_MAX: usize = 256;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Block {
    /// The people of its positions, but for those of the newest.
    union: RoaringBitmap,
    /// When the last of its broadcasts has expired.
    pub expires_at: Millis,
    /// When the newest of them was released.
    pub newest_at: Millis,
    /// What is still to be asked of those that expire.
    pub open: Open,
    /// Dead letters of its broadcasts.
    pub dead: Vec<DeadCount>,
}

/// How far the dead letters of a block are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// When the first of its broadcasts expires whose dead letters are not known yet.
    pub at: Option<Millis>,
    /// Those of all that expired up to here are.
    pub settled_until: Millis,
    /// There were too many for one command.
    pub part: Option<Part>,
    /// How often one of its broadcasts was given a longer life: what was read before that is out of date.
    pub prolonged: u32,
}

/// Of what expired up to `until`, the dead letters up to a position are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub until: Millis,
    pub position: Position,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadCount {
    pub priority: Priority,
    pub reason: Reason,
    pub count: u64,
}

#[derive(Debug, Default)]
pub struct Blocks {
    all: BTreeMap<u64, Block>,
    /// Those that are open, by when.
    open: BTreeSet<(Millis, u64)>,
    /// The people of the newest releases, whom no block has yet.
    new: Vec<(u64, Arc<RoaringBitmap>)>,
}

impl Blocks {
    pub fn get(&self, block: u64) -> Option<&Block> {
        self.all.get(&block)
    }

    /// Start-up: a block as its row has it.
    pub(super) fn load(&mut self, number: u64, block: Block) {
        self.open.extend(block.open.at.map(|at| (at, number)));
        self.all.insert(number, block);
    }

    /// A release takes its place.
    pub(super) fn add(&mut self, entry: &JournalEntry) {
        let number = entry.position / BLOCK;
        let block = self.all.entry(number).or_default();
        block.expires_at = block.expires_at.max(entry.broadcast.expires_at);
        block.newest_at = block.newest_at.max(entry.released_at);
        let draft = &entry.broadcast.draft;
        let may_have_people = draft.escalates() || !(entry.recipients.is_empty() && entry.beside.is_empty());
        if entry.kind == ReleaseKind::Broadcast && may_have_people && !draft.drill {
            self.open_until(number, entry.broadcast.expires_at);
        }
        let sets = [&entry.recipients, &entry.beside]
            .into_iter()
            .filter(|users| !users.is_empty());
        self.new.extend(sets.map(|users| (number, users.clone())));
        if self.new.len() >= NEW_MAX {
            self.unite();
        }
    }

    /// Gives the blocks their newest people; before a row is made of one.
    pub(super) fn unite(&mut self) {
        let new = std::mem::take(&mut self.new);
        for sets in new.chunk_by(|one, other| one.0 == other.0) {
            if let Some(block) = sets.first().and_then(|(number, _)| self.all.get_mut(number)) {
                let sets = sets.iter().map(|(_, users)| &**users);
                block.union = std::iter::once(&block.union).chain(sets).union();
            }
        }
    }

    /// Some broadcast at this position is for more people than it was.
    pub(super) fn widen(&mut self, position: Position, users: &RoaringBitmap) {
        if let Some(block) = self.all.get_mut(&(position / BLOCK)) {
            block.union |= users;
        }
    }

    /// Some broadcast at this position matters for longer than it did.
    pub(super) fn prolong(&mut self, position: Position, expires_at: Millis) {
        let number = position / BLOCK;
        if let Some(block) = self.all.get_mut(&number) {
            block.expires_at = block.expires_at.max(expires_at);
            block.open.prolonged = block.open.prolonged.wrapping_add(1);
            self.open_until(number, expires_at);
        }
    }

    fn open_until(&mut self, number: u64, at: Millis) {
        let Some(open) = self.all.get(&number).map(|block| block.open) else {
            return;
        };
        if open.at.is_none_or(|before| at < before) {
            self.set_open(number, Open { at: Some(at), ..open });
        }
    }

    pub(super) fn set_open(&mut self, number: u64, open: Open) {
        let Some(block) = self.all.get_mut(&number) else {
            return;
        };
        let before = std::mem::replace(&mut block.open, open);
        before.at.map(|before| self.open.remove(&(before, number)));
        self.open.extend(open.at.map(|at| (at, number)));
    }

    /// The block that has been open for longest, if it is since before `now`.
    pub fn open_since(&self, now: Millis) -> Option<u64> {
        let (at, number) = self.open.first()?;
        (*at <= now).then_some(*number)
    }

    /// The dead letters of a block's broadcasts have become more, or fewer.
    pub(super) fn count_dead(&mut self, position: Position, priority: Priority, reason: Reason, difference: i64) {
        let Some(block) = self.all.get_mut(&(position / BLOCK)) else {
            return;
        };
        let is_it = |known: &&mut DeadCount| known.priority == priority && known.reason == reason;
        match block.dead.iter_mut().find(is_it) {
            Some(known) => known.count = known.count.saturating_add_signed(difference),
            None => block.dead.push(DeadCount {
                priority,
                reason,
                count: 0_u64.saturating_add_signed(difference),
            }),
        }
        block.dead.retain(|known| known.count > 0);
    }

    /// How many dead letters there are, by priority and reason.
    pub fn dead_counts(&self) -> BTreeMap<(Priority, Reason), u64> {
        let mut counts = BTreeMap::new();
        for known in self.all.values().flat_map(|block| &block.dead) {
            *counts.entry((known.priority, known.reason)).or_default() += known.count;
        }
        counts
    }

    /// The newest block with such dead letters that begins below a position: its first position.
    pub fn dead_below(&self, position: Position, is_wanted: impl Fn(Priority, Reason) -> bool) -> Option<Position> {
        let last = position.checked_sub(1)? / BLOCK;
        let mut below = self.all.range(..=last).rev();
        let has_some = |block: &Block| block.dead.iter().any(|dead| is_wanted(dead.priority, dead.reason));
        below.find(|(_, block)| has_some(block)).map(|(block, _)| block * BLOCK)
    }

    /// Blocks with something for a user that has not expired, newest first: the numbers of their first positions.
    pub fn live_with(&self, user: UserNumber, now: Millis) -> impl Iterator<Item = Position> + '_ {
        let found = self.of(user).filter(move |(_, block)| block.expires_at > now);
        found.map(|(first, _)| first * BLOCK)
    }

    /// All blocks with something for a user, newest first.
    pub fn with(&self, user: UserNumber) -> impl Iterator<Item = Position> + '_ {
        self.of(user).map(|(first, _)| first * BLOCK)
    }

    fn of(&self, user: UserNumber) -> impl Iterator<Item = (u64, &Block)> + '_ {
        let new = self.new.iter().filter(move |(_, users)| users.contains(user));
        let new: BTreeSet<u64> = new.map(|(number, _)| *number).collect();
        let all = self.all.iter().rev().map(|(number, block)| (*number, block));
        all.filter(move |(number, block)| block.union.contains(user) || new.contains(number))
    }

    /// The first position of the newest block that begins below a position.
    pub fn below(&self, position: Position) -> Option<Position> {
        let last = position.checked_sub(1)? / BLOCK;
        let (block, _) = self.all.range(..=last).next_back()?;
        Some(block * BLOCK)
    }

    /// Lets the oldest go while `is_over` says so; `gone` is told which.
    pub(super) fn forget(&mut self, is_over: impl Fn(u64) -> bool, mut gone: impl FnMut(u64)) {
        while let Some(first) = self.all.first_entry()
            && is_over(*first.key())
        {
            let (number, block) = first.remove_entry();
            block.open.at.map(|at| self.open.remove(&(at, number)));
            gone(number);
        }
    }
}
