//! What was released before: from memory while it is hot, else from the journal in sled.
//!
//! Answers the gateway (what did this user miss?) and the API (show me this broadcast).

use crate::consensus::Handle;
use crate::gateway::backlog::{Backlog, Read, Start};
use crate::model::{Broadcast, Millis, Number, PerPriority, Position, Priority, Step, UserNumber};
use crate::state::broadcasts::{BLOCK, Hot, JournalEntry, Ledger};
use crate::state::{Release, RowKey, State};
use crate::storage::{StorageError, Store};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Journal rows read at a time.
const ROWS_MAX: usize = 16;

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
            None => Err(number != 0 && number < state.next_position()),
        });
        match found {
            Ok(hot) => Some(hot),
            Err(true) => logged(self.cold(number)).flatten(),
            Err(false) => None,
        }
    }

    fn cold(&self, number: Number) -> Result<Option<Hot>, StorageError> {
        let store = (self.store)();
        for priority in Priority::ALL {
            let rows = store.journal(priority, number, 1)?;
            let entries = rows
                .into_iter()
                .flat_map(|(first, value)| entries(priority, first, &value));
            if let Some(entry) = entries.into_iter().find(|entry| entry.number == number) {
                return with_ledger(&store, &entry);
            }
        }
        Ok(None)
    }

    /// All releases of one block of positions that are for `user`, with what is known of them, oldest first.
    fn block(&self, first: Position, user: UserNumber) -> Vec<Hot> {
        let end = first + BLOCK;
        let (hot_from, mut found) = self.handle.read(|state| {
            let hot = state
                .broadcasts()
                .from(first)
                .take_while(|hot| hot.broadcast.number < end);
            let mine = hot
                .filter(|hot| hot.recipients.contains(user))
                .map(|hot| (hot.broadcast.number, hot.clone()));
            (
                state.broadcasts().oldest_hot().unwrap_or(Position::MAX),
                mine.collect::<BTreeMap<_, _>>(),
            )
        });
        if hot_from > first {
            let store = (self.store)();
            for priority in Priority::ALL {
                let cold = logged(cold_block(&store, priority, first, end.min(hot_from), user));
                found.extend(cold.into_iter().flatten().map(|hot| (hot.broadcast.number, hot)));
            }
        }
        found.into_values().collect()
    }

    /// Everything kept for a user, newest first, until `look` has seen enough.
    pub fn inbox(&self, user: UserNumber, mut look: impl FnMut(Hot) -> bool) {
        let blocks: Vec<Position> = self.handle.read(|state| state.broadcasts().blocks_with(user).collect());
        for first in blocks {
            for hot in self.block(first, user).into_iter().rev() {
                if !look(hot) {
                    return;
                }
            }
        }
    }

    /// One priority's releases for `user` after a position: found, and scanned up to where.
    fn after(
        &self,
        priority: Priority,
        after: Position,
        user: UserNumber,
        bytes_max: usize,
    ) -> (Vec<Arc<Release>>, Position) {
        let hot = self.handle.read(|state| {
            let hot_from = state.broadcasts().oldest_hot().unwrap_or(state.next_position());
            (hot_from <= after + 1).then(|| hot_after(state, priority, after, user, bytes_max))
        });
        if let Some(found) = hot {
            return found;
        }
        let store = (self.store)();
        let rows = logged(store.journal(priority, after + 1, ROWS_MAX)).unwrap_or_default();
        let mut found = Vec::new();
        let (mut bytes, mut scanned) = (0, after);
        for (first, value) in rows {
            for entry in entries(priority, first, &value) {
                if entry.position <= after {
                    continue;
                }
                if bytes >= bytes_max {
                    return (found, scanned);
                }
                scanned = entry.position;
                if entry.recipients.contains(user) {
                    let release = entry.release();
                    bytes += release
                        .as_ref()
                        .map_or(0, |release| release.broadcast.draft.body.len() + 512);
                    found.extend(release.map(Arc::new));
                }
            }
        }
        if scanned == after {
            // Nothing of this priority is on disk beyond: what is left is hot.
            let hot_from = self
                .handle
                .read(|state| state.broadcasts().oldest_hot().unwrap_or(state.next_position()));
            return (found, after.max(hot_from.saturating_sub(1)));
        }
        (found, scanned)
    }
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
    for hot in state.broadcasts().from(after + 1) {
        if hot.broadcast.draft.priority != priority || !hot.recipients.contains(user) {
            continue;
        }
        if bytes >= bytes_max {
            return (found, hot.broadcast.number - 1);
        }
        bytes += hot.broadcast.draft.body.len() + 512;
        found.extend(hot.release().map(Arc::new));
    }
    (found, state.next_position() - 1)
}

impl Backlog for History {
    fn start(&self, user: UserNumber, newest_max: usize) -> Start {
        let now = self.handle.log_time();
        let (head, blocks) = self.handle.read(|state| {
            let blocks: Vec<Position> = state.broadcasts().blocks_for(user, now).collect();
            (state.next_position() - 1, blocks)
        });
        let mut start = Start {
            scanned: [head; 4],
            ..Start::default()
        };
        for first in blocks {
            for hot in self.block(first, user).into_iter().rev() {
                if is_owed(&hot, user, now, head) {
                    owe(&mut start, &hot, newest_max);
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
        [0; 4]
    }
}

/// Neither expired nor received; what is newer than `head` comes live.
fn is_owed(hot: &Hot, user: UserNumber, now: Millis, head: Position) -> bool {
    hot.broadcast.expires_at > now
        && hot.broadcast.position.is_some_and(|position| position <= head)
        && !hot.ledger.steps[Step::Received.index()].contains(user)
}

fn owe(start: &mut Start, hot: &Hot, newest_max: usize) {
    let owed = &mut start.owed[hot.broadcast.draft.priority.index()];
    if hot.broadcast.draft.priority == Priority::Critical || owed.len() < newest_max {
        owed.extend(hot.release().map(Arc::new));
    } else {
        start.more_in_inbox += 1;
    }
}

fn entries(priority: Priority, first: Position, value: &[u8]) -> Vec<JournalEntry> {
    State::read_journal(&RowKey::Journal(priority, first), value)
        .inspect_err(|error| tracing::error!(%error, "a journal row cannot be read"))
        .unwrap_or_default()
}

fn cold_block(
    store: &Store,
    priority: Priority,
    first: Position,
    end: Position,
    user: UserNumber,
) -> Result<Vec<Hot>, StorageError> {
    let mut found = Vec::new();
    let mut from = first;
    loop {
        let rows = store.journal(priority, from, ROWS_MAX)?;
        let mut last = None;
        for (row, value) in rows {
            for entry in entries(priority, row, &value) {
                last = Some(entry.position);
                let wanted = entry.position >= from && entry.position < end;
                if wanted && entry.recipients.contains(user) {
                    found.extend(with_ledger(store, &entry)?);
                }
            }
        }
        match last {
            Some(last) if last + 1 < end && last >= from => from = last + 1,
            _ => return Ok(found),
        }
    }
}

fn with_ledger(store: &Store, entry: &JournalEntry) -> Result<Option<Hot>, StorageError> {
    let Some(broadcast) = entry.broadcast.clone() else {
        return Ok(None);
    };
    let ledger = ledger(store, &broadcast)?;
    let (recipients, excluded) = (entry.recipients.clone(), entry.excluded.clone());
    Ok(Some(Hot {
        broadcast,
        recipients,
        excluded,
        ledger: Arc::new(ledger),
    }))
}

fn ledger(store: &Store, broadcast: &Broadcast) -> Result<Ledger, StorageError> {
    let key = RowKey::Ledger(broadcast.number);
    let read = |key: &RowKey, value: &[u8]| State::read_ledger(key, value).unwrap_or_default();
    let mut ledger = store.get(&key)?.map(|value| read(&key, &value)).unwrap_or_default();
    for (key, value) in store.ledger_late(broadcast.number)? {
        ledger.merge(&read(&key, &value));
    }
    Ok(ledger)
}

fn logged<T>(result: Result<T, StorageError>) -> Option<T> {
    result
        .inspect_err(|error| tracing::error!(%error, "history cannot be read"))
        .ok()
}
