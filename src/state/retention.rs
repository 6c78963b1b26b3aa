//! What need not be kept any longer: broadcasts that have expired and are older than the retention, in the order of positions.
//!
//! How far everything is forgotten is one position, so that a cursor can be compared with it; something that is still of interest
//! keeps all that came after it. What is in memory is looked at one by one; of what has left it only blocks are known, and a
//! block goes once the last of its broadcasts may.

use super::RowKey;
use super::broadcasts::{BLOCK, Broadcasts};
use crate::model::{Millis, Position};

/// About how many positions a tick forgets at most, so that no log entry pays for a whole day.
const FORGOTTEN_MAX: u64 = 4096;

/// What is still of interest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    /// What expires later is.
    pub now: Millis,
    /// What was released later is.
    pub since: Millis,
}

impl Kept {
    const fn keeps(self, released_at: Millis, expires_at: Millis) -> bool {
        released_at > self.since || expires_at > self.now
    }
}

impl Broadcasts {
    /// Up to where everything may be forgotten, where everything up to `forgotten` is already and `next` is not taken yet.
    pub(super) fn forgettable(&self, forgotten: Position, next: Position, kept: Kept) -> Position {
        let hot_from = self.hot_from().unwrap_or(next);
        let mut first = forgotten + 1;
        let end = next.min(first + FORGOTTEN_MAX);
        while first < hot_from.min(end) {
            let number = first / BLOCK;
            let block = self.blocks.get(number);
            if block.is_some_and(|block| kept.keeps(block.newest_at, block.expires_at)) {
                return first - 1;
            }
            first = next.min((number + 1) * BLOCK);
        }
        let end = end.max(first);
        let mut hot = self.hot.range(first..end);
        let of_interest = hot.find(|(_, placed)| {
            let broadcast = placed.broadcast();
            kept.keeps(broadcast.released_at(), broadcast.expires_at)
        });
        of_interest.map_or(end, |(position, _)| *position) - 1
    }

    /// Lets everything at or below `position` go; `gone` is told the rows that nobody needs any more.
    pub(super) fn forget(&mut self, position: Position, next: Position, mut gone: impl FnMut(RowKey)) {
        while let Some(first) = self.hot.first_entry()
            && *first.key() <= position
        {
            first.remove();
        }
        while let Some((oldest, cost)) = self.costs.front()
            && *oldest <= position
        {
            self.hot_bytes -= cost;
            self.costs.pop_front();
        }
        while let Some(first) = self.pinned.first_entry()
            && *first.key() <= position
        {
            gone(RowKey::Pinned(first.remove_entry().0));
        }
        self.moved.retain(|number, place| {
            let kept = *place > position;
            if !kept {
                gone(RowKey::Moved(*number));
            }
            kept
        });
        // The last block may have room left: it begins anew with what comes.
        let is_over = |block: u64| (block + 1) * BLOCK <= position + 1 || position + 1 == next;
        self.blocks.forget(is_over, |block| gone(RowKey::Block(block)));
    }
}
