//! What the next round brings: some releases in the order in which they are written, and up to where that scans.

use super::Transport;
use super::members::Members;
use super::window::{Below, Entry, Window};
use crate::model::{Cursor, Millis, PerPriority, Position, Priority};
use crate::queue::Turns;
use bytes::Bytes;
use std::sync::Arc;

/// Releases in a round: as many as a mask has bits.
pub const RELEASES_MAX: usize = 64;

/// A cell has two kinds of rounds, so that critical never waits for the end of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Urgent,
    Ordinary,
}

impl Kind {
    pub const ALL: [Self; 2] = [Self::Urgent, Self::Ordinary];

    pub const fn priorities(self) -> &'static [Priority] {
        match self {
            Self::Urgent => &[Priority::Critical],
            Self::Ordinary => &[Priority::High, Priority::Normal, Priority::Low],
        }
    }

    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Shared by all cells of a worker that stand at the same positions.
#[derive(Debug)]
pub struct Batch {
    pub kind: Kind,
    from: PerPriority<Position>,
    turns_from: Turns,
    pub turns: Turns,
    pub entries: Vec<Arc<Entry>>,
    /// Of each entry.
    pub members: Vec<Members>,
    /// The bits of each priority's releases.
    pub bits: PerPriority<u64>,
    /// Scanned up to here once it is written; other kinds' priorities are as they were.
    up_to: PerPriority<Position>,
}

impl Batch {
    /// The releases after `from`, in turns, about `bytes_max` of them.
    pub fn take(
        window: &Window,
        kind: Kind,
        from: PerPriority<Position>,
        turns_from: Turns,
        bytes_max: usize,
        now: Millis,
    ) -> Result<Self, (Priority, Below)> {
        let mut found: PerPriority<Vec<Arc<Entry>>> = Default::default();
        let mut scanned = from;
        for priority in kind.priorities() {
            let index = priority.index();
            if window.tail(*priority) > from[index] {
                scanned[index] = window
                    .take(*priority, from[index], RELEASES_MAX, &mut found[index])
                    .map_err(|below| (*priority, below))?;
            }
        }
        let mut batch = Self {
            kind,
            from,
            turns_from,
            turns: turns_from,
            entries: Vec::new(),
            members: Vec::new(),
            bits: [0; 4],
            up_to: from,
        };
        batch.order(found, scanned, bytes_max, now);
        Ok(batch)
    }

    fn order(
        &mut self,
        found: PerPriority<Vec<Arc<Entry>>>,
        scanned: PerPriority<Position>,
        bytes_max: usize,
        now: Millis,
    ) {
        let mut found = found.map(|entries| entries.into_iter().peekable());
        let mut bytes = 0;
        while self.entries.len() < RELEASES_MAX && bytes < bytes_max {
            let waits = found.each_mut().map(|entries| entries.peek().is_some());
            let Some(next) = self.turns.next(waits) else { break };
            let Some(entry) = found[next.index()].next() else { break };
            self.up_to[next.index()] = entry.position();
            if !entry.is_over(now) {
                bytes += entry.size();
                self.bits[next.index()] |= 1 << self.entries.len();
                self.members.push(Members::new(&entry.release.recipients));
                self.entries.push(entry);
            }
        }
        for (index, entries) in found.iter_mut().enumerate() {
            if entries.peek().is_none() {
                self.up_to[index] = scanned[index];
            }
        }
    }

    /// A cell at these positions would get the same.
    pub fn starts_at(&self, positions: PerPriority<Position>, turns: Turns) -> bool {
        let same = |priority: &Priority| self.from[priority.index()] == positions[priority.index()];
        self.turns_from == turns && self.kind.priorities().iter().all(same)
    }

    /// The positions of a session that stood at `positions` and has got all of it.
    pub fn end(&self, mut positions: PerPriority<Position>) -> PerPriority<Position> {
        for priority in self.kind.priorities() {
            positions[priority.index()] = self.up_to[priority.index()];
        }
        positions
    }
}

/// One frame on its way to one session.
#[derive(Clone, Debug)]
pub struct Piece {
    pub entry: Arc<Entry>,
    pub frame: Bytes,
}

/// The frames of a mask, in order.
pub fn pieces(batch: &Batch, mask: u64, transport: Transport) -> Vec<Piece> {
    let chosen = batch
        .entries
        .iter()
        .enumerate()
        .filter(|(index, _)| mask >> index & 1 == 1);
    chosen
        .map(|(_, entry)| Piece {
            entry: entry.clone(),
            frame: entry.frame(transport).clone(),
        })
        .collect()
}

/// The same bytes for all sessions that get the same: frames and the cursor that ends the write.
#[derive(Debug, Default)]
pub struct Joiner {
    kept: Vec<Joined>,
    next: usize,
}

#[derive(Debug)]
struct Joined {
    batch: Arc<Batch>,
    mask: u64,
    transport: Transport,
    cursor: Cursor,
    bytes: Vec<u8>,
}

/// Different writes of one round that are kept; more than that are joined anew.
const KEPT_MAX: usize = 4;

impl Joiner {
    pub fn join(&mut self, batch: &Arc<Batch>, mask: u64, transport: Transport, cursor: Cursor) -> &[u8] {
        let same = |joined: &Joined| {
            joined.mask == mask
                && joined.transport == transport
                && Arc::ptr_eq(&joined.batch, batch)
                && joined.cursor == cursor
        };
        let at = self.kept.iter().position(same).unwrap_or_else(|| {
            let at = self.slot();
            let joined = Joined {
                batch: batch.clone(),
                mask,
                transport,
                cursor,
                bytes: self.reuse(at),
            };
            self.put(at, joined);
            at
        });
        &self.kept[at].bytes
    }

    fn slot(&mut self) -> usize {
        self.next = (self.next + 1) % KEPT_MAX;
        self.next.min(self.kept.len())
    }

    /// The buffer that is replaced is used again.
    fn reuse(&mut self, at: usize) -> Vec<u8> {
        let mut bytes = self
            .kept
            .get_mut(at)
            .map(|old| std::mem::take(&mut old.bytes))
            .unwrap_or_default();
        bytes.clear();
        bytes
    }

    fn put(&mut self, at: usize, mut joined: Joined) {
        let mut mask = joined.mask;
        while mask != 0 {
            let entry = &joined.batch.entries[mask.trailing_zeros() as usize];
            joined.bytes.extend_from_slice(entry.frame(joined.transport));
            mask &= mask - 1;
        }
        joined.transport.cursor(&mut joined.bytes, joined.cursor);
        match self.kept.get_mut(at) {
            Some(old) => *old = joined,
            None => self.kept.push(joined),
        }
    }

    /// Lets go of what an idle thread does not need.
    pub fn clear(&mut self) {
        self.kept.clear();
        self.next = 0;
    }
}
