//! What was released before: from memory while it is hot, else from the journal in sled.
//!
//! Answers the gateway (what did this user miss?) and the API (show me this broadcast). What is forgotten is not there, even while
//! some of its rows still are.

use super::cold;
use crate::consensus::Handle;
use crate::gateway::backlog::{Backlog, Read, Start};
use crate::model::{Millis, Number, PerPriority, Position, Priority, Step, UserNumber};
use crate::state::broadcasts::{BLOCK, Behind, Hot};
use crate::state::{Release, State};
use crate::storage::{StorageError, Store};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Journal rows read at a time.
const ROWS_MAX: usize = 16;
/// Broadcasts in memory that are looked at while the state is held: apply waits for it.
const LOOKED_AT_MAX: usize = 4096;
/// Blocks with something for a user that a returning cursor is compared with.
const CONFIRM_BLOCKS_MAX: usize = 16;
/// After so many of them in a row without anything to confirm there is none to be expected: older ones were confirmed when the
/// user came back before.
const CONFIRM_IN_VAIN_MAX: usize = 2;

#[derive(Clone)]
pub struct History {
    handle: Handle,
    store: Arc<dyn Fn() -> Store + Send + Sync>,
}

impl History {
    /// `store` names the folder in use: a snapshot that is installed puts a new one in its place.
    pub fn new(handle: Handle, store: Arc<dyn Fn() -> Store + Send + Sync>) -> Self {
        Self { handle, store }
    }

    /// A broadcast with recipients and ledger, wherever it is.
    pub fn broadcast(&self, number: Number) -> Option<Hot> {
        let found = self.handle.read(|state| match state.broadcasts().get(number) {
            Some(hot) => Ok(hot.clone()),
            None => Err(state.place(number)),
        });
        match found {
            Ok(hot) => Some(hot),
            Err(Some(position)) => logged(cold::broadcast(&(self.store)(), position))
                .flatten()
                .filter(|hot| hot.broadcast.number == number),
            Err(None) => None,
        }
    }

    /// All broadcasts of one block of positions that are meant for `user`, with what is known of them, oldest first.
    fn block(&self, first: Position, user: UserNumber) -> Vec<Hot> {
        let end = first + BLOCK;
        let (first, hot_from, mut found) = self.handle.read(|state| {
            let first = first.max(state.forgotten() + 1);
            let hot = state.broadcasts().from(first).take_while(|hot| place(hot) < end);
            let mine = hot
                .filter(|hot| hot.recipients.contains(user))
                .map(|hot| (place(hot), hot.clone()));
            let found: BTreeMap<Position, Hot> = mine.collect();
            (first, state.broadcasts().hot_from().unwrap_or(Position::MAX), found)
        });
        if hot_from > first {
            let cold = self.cold(first..end.min(hot_from), Some(user));
            found.extend(cold.into_iter().flatten().map(|hot| (place(&hot), hot)));
        }
        found.into_values().collect()
    }

    /// All broadcasts of a block, oldest first; `None` when some of them cannot be read.
    pub fn whole_block(&self, block: u64) -> Option<Vec<Hot>> {
        let end = (block + 1) * BLOCK;
        let (first, hot_from, mut found) = self.handle.read(|state| {
            let first = (block * BLOCK).max(state.forgotten() + 1);
            let hot = state.broadcasts().from(first).take_while(|hot| place(hot) < end);
            (first, hot_from(state), hot.cloned().collect::<Vec<Hot>>())
        });
        if hot_from > first {
            let mut cold = self.cold(first..end.min(hot_from), None)?;
            cold.append(&mut found);
            found = cold;
        }
        Some(found)
    }

    /// Those at these positions that are on disk, oldest first; what must not leave memory is further there, and taken from it.
    fn cold(&self, positions: Range<Position>, user: Option<UserNumber>) -> Option<Vec<Hot>> {
        let mut found = logged(cold::among(&(self.store)(), positions, user))?;
        self.handle.read(|state| {
            for hot in &mut found {
                if let Some(further) = state.broadcasts().get(hot.broadcast.number) {
                    *hot = further.clone();
                }
            }
        });
        Some(found)
    }

    /// Everything kept for a user, newest first, until `look` has seen enough.
    pub fn inbox(&self, user: UserNumber, mut look: impl FnMut(Hot) -> bool) {
        let blocks: Vec<Position> = self
            .handle
            .read(|state| state.broadcasts().blocks().with(user).collect());
        for first in blocks {
            for hot in self.block(first, user).into_iter().rev() {
                if !look(hot) {
                    return;
                }
            }
        }
    }

    /// Everything kept, newest first, until `look` has seen enough: what is scheduled, then what was released.
    pub fn newest(&self, behind: Behind, mut look: impl FnMut(Hot) -> bool) {
        let (scheduled, mut below) = self.handle.read(|state| {
            let broadcasts = state.broadcasts();
            let number = match behind {
                Behind::Nothing => Number::MAX,
                Behind::Scheduled(number) => number,
                Behind::Released(number) => return (Vec::new(), broadcasts.place(number).unwrap_or(Position::MAX)),
            };
            let scheduled = broadcasts.scheduled_below(number).take(SCHEDULED_MAX);
            (scheduled.cloned().collect::<Vec<_>>(), Position::MAX)
        });
        if !scheduled.into_iter().all(&mut look) {
            return;
        }
        while let Some((first, found)) = self.before(below) {
            below = first;
            if !found.into_iter().all(&mut look) {
                return;
            }
        }
    }

    /// The newest below a position, newest first, and the position down to which these are all; `None` when there are no more.
    fn before(&self, below: Position) -> Option<(Position, Vec<Hot>)> {
        let (hot, end, block) = self.handle.read(|state| {
            let broadcasts = state.broadcasts();
            let hot: Vec<Hot> = broadcasts.below(below).take(BLOCK as usize).cloned().collect();
            let end = below.min(state.next_position());
            let block = broadcasts.blocks().below(end);
            (hot, end, block.map(|first| first.max(state.forgotten() + 1)))
        });
        if let Some(oldest) = hot.last() {
            return Some((place(oldest), hot));
        }
        let first = block.filter(|first| *first < end)?;
        let mut found = self.cold(first..end, None)?;
        found.reverse();
        Some((first, found))
    }

    /// One priority's releases for `user` after a position: found, and scanned up to where.
    fn after(
        &self,
        priority: Priority,
        after: Position,
        user: UserNumber,
        bytes_max: usize,
    ) -> (Vec<Arc<Release>>, Position) {
        let (after, hot_from, hot) = self.handle.read(|state| {
            let (after, hot_from) = (after.max(state.forgotten()), hot_from(state));
            let hot = hot_from <= after.saturating_add(1);
            (
                after,
                hot_from,
                hot.then(|| hot_after(state, priority, after, user, bytes_max)),
            )
        });
        if let Some(found) = hot {
            return found;
        }
        // What leaves memory before its row is on disk is in neither place for a moment: nobody goes past it meanwhile.
        let known = self.handle.stored_position().min(hot_from - 1);
        let store = (self.store)();
        // What cannot be read is not passed over: whoever asked is told to try elsewhere.
        let Some(rows) = logged(store.journal(priority, after + 1, ROWS_MAX)) else {
            return (Vec::new(), after);
        };
        let mut found = Vec::new();
        let (mut bytes, mut scanned) = (0, after);
        for (first, value) in rows {
            for entry in cold::entries(priority, first, &value) {
                if entry.position <= after {
                    continue;
                }
                if bytes >= bytes_max {
                    self.take_out_cancelled(&mut found);
                    return (found, scanned);
                }
                scanned = entry.position;
                if entry.recipients.contains(user) {
                    bytes += entry.broadcast.draft.body.len() + 512;
                    found.push(Arc::new(entry.release()));
                }
            }
        }
        self.take_out_cancelled(&mut found);
        if scanned == after {
            // Nothing of this priority is on disk beyond.
            return (found, after.max(known));
        }
        (found, scanned)
    }

    /// What is off is not sent any more; that it is off is.
    fn take_out_cancelled(&self, found: &mut Vec<Arc<Release>>) {
        self.handle.read(|state| {
            found.retain(|release| {
                !release.kind.is_broadcast() || !state.broadcasts().is_cancelled(release.broadcast.number)
            });
        });
    }
}

/// Scheduled broadcasts that a list looks at.
const SCHEDULED_MAX: usize = 10_000;

/// Where a broadcast stands that was released; 0 for one that was not.
fn place(hot: &Hot) -> Position {
    hot.broadcast.position.unwrap_or(0)
}

/// From here on everything is in memory.
fn hot_from(state: &State) -> Position {
    state.broadcasts().hot_from().unwrap_or(state.next_position())
}

fn hot_after(
    state: &State,
    priority: Priority,
    after: Position,
    user: UserNumber,
    bytes_max: usize,
) -> (Vec<Arc<Release>>, Position) {
    let mut found = Vec::new();
    let mut bytes = 0;
    let placed = state.broadcasts().placed_from(after.saturating_add(1));
    for (looked_at, (position, placed)) in placed.enumerate() {
        if bytes >= bytes_max || looked_at == LOOKED_AT_MAX {
            return (found, position - 1);
        }
        let is_off = !placed.is_retraction() && state.broadcasts().is_cancelled(placed.broadcast().number);
        if placed.priority() == priority && !is_off && placed.recipients().contains(user) {
            bytes += placed.broadcast().draft.body.len() + 512;
            found.extend(placed.release().map(Arc::new));
        }
    }
    (found, state.next_position() - 1)
}

impl Backlog for History {
    fn start(&self, user: UserNumber, newest_max: usize) -> Start {
        let now = self.handle.log_time();
        let (head, blocks) = self.handle.read(|state| {
            let blocks: Vec<Position> = state.broadcasts().blocks().live_with(user, now).collect();
            (state.next_position() - 1, blocks)
        });
        let mut start = Start {
            scanned: [head; 4],
            ..Start::default()
        };
        for first in blocks {
            for hot in self.block(first, user).into_iter().rev() {
                if is_owed(&hot, user, now, head)
                    && let Some(release) = hot.release_for(user)
                {
                    owe(&mut start, release, newest_max);
                }
            }
        }
        start.owed.iter_mut().for_each(|owed| owed.reverse());
        start
    }

    fn read(&self, user: UserNumber, after: PerPriority<Position>, bytes_max: usize) -> Read {
        let mut read = Read::default();
        for priority in Priority::ALL {
            let at = priority.index();
            (read.releases[at], read.scanned[at]) = self.after(priority, after[at], user, bytes_max);
        }
        read
    }

    fn forgotten(&self) -> PerPriority<Position> {
        [self.handle.read(State::forgotten); 4]
    }

    fn unconfirmed(&self, user: UserNumber, up_to: PerPriority<Position>, max: usize) -> Vec<Number> {
        let now = self.handle.log_time();
        let last = up_to.into_iter().max().unwrap_or(0);
        let blocks: Vec<Position> = self.handle.read(|state| {
            let blocks = state.broadcasts().blocks().with(user);
            let reached = blocks.skip_while(|first| *first > last);
            reached.take(CONFIRM_BLOCKS_MAX).collect()
        });
        let mut found = Vec::new();
        let mut in_vain = 0;
        for first in blocks {
            let before = found.len();
            let block = self.block(first, user).into_iter().rev();
            found.extend(
                block
                    .filter(|hot| is_unconfirmed(hot, user, now, &up_to))
                    .map(|hot| hot.broadcast.number),
            );
            in_vain = if found.len() > before { 0 } else { in_vain + 1 };
            if found.len() >= max || in_vain == CONFIRM_IN_VAIN_MAX {
                break;
            }
        }
        found.truncate(max);
        found
    }
}

/// Meant for them now, neither expired nor received; what is newer than `head` comes live.
fn is_owed(hot: &Hot, user: UserNumber, now: Millis, head: Position) -> bool {
    hot.broadcast.expires_at > now
        && hot.is_for(user)
        && hot.broadcast.position.is_some_and(|position| position <= head)
        && !hot.ledger.steps[Step::Received.index()].contains(user)
}

/// Sent at or below the cursor, and neither expired nor received as far as is known.
fn is_unconfirmed(hot: &Hot, user: UserNumber, now: Millis, up_to: &PerPriority<Position>) -> bool {
    let cursor = up_to[hot.broadcast.draft.priority.index()];
    hot.broadcast.expires_at > now
        && hot.first.contains(user)
        && hot.broadcast.position.is_some_and(|position| position <= cursor)
        && hot.ledger.step(user) == Some(Step::Sent)
}

fn owe(start: &mut Start, release: Release, newest_max: usize) {
    let owed = &mut start.owed[release.priority.index()];
    if release.priority == Priority::Critical || owed.len() < newest_max {
        owed.push(Arc::new(release));
    } else {
        start.more_in_inbox += 1;
    }
}

fn logged<T>(result: Result<T, StorageError>) -> Option<T> {
    result
        .inspect_err(|error| tracing::error!(%error, "history cannot be read"))
        .ok()
}
