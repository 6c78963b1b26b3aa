//! Broadcasts that have left memory, read from their rows. These functions block.

use crate::model::{Position, Priority, UserNumber};
use crate::state::broadcasts::Hot;
use crate::state::journal::JournalEntry;
use crate::state::ledger::Ledger;
use crate::state::{ReleaseKind, RowKey, State};
use crate::storage::{StorageError, Store};
use std::ops::Range;
use std::sync::Arc;

/// Rows of the journal read at a time: the one that may hold a position, and the one behind it.
const ROWS_MAX: usize = 2;

/// The broadcast whose first release stands at a position, with its ledger.
pub fn broadcast(store: &Store, position: Position) -> Result<Option<Hot>, StorageError> {
    for priority in Priority::ALL {
        let rows = store.journal(priority, position, 1)?;
        let entries = rows
            .into_iter()
            .flat_map(|(first, value)| entries(priority, first, &value));
        if let Some(entry) = entries.into_iter().find(|entry| entry.position == position) {
            return with_ledger(store, &entry);
        }
    }
    Ok(None)
}

/// Every broadcast that was first released among these positions, in their order; with `user`, only those meant for that user.
pub fn among(store: &Store, positions: Range<Position>, user: Option<UserNumber>) -> Result<Vec<Hot>, StorageError> {
    let mut found = Vec::new();
    for priority in Priority::ALL {
        of_priority(store, priority, positions.clone(), user, &mut found)?;
    }
    found.sort_unstable_by_key(|hot: &Hot| hot.broadcast.position);
    Ok(found)
}

fn of_priority(
    store: &Store,
    priority: Priority,
    positions: Range<Position>,
    user: Option<UserNumber>,
    found: &mut Vec<Hot>,
) -> Result<(), StorageError> {
    let mut from = positions.start;
    while from < positions.end {
        let mut last = None;
        for (row, value) in store.journal(priority, from, ROWS_MAX)? {
            for entry in entries(priority, row, &value) {
                last = Some(entry.position);
                let is_among = from <= entry.position && entry.position < positions.end;
                if is_among && user.is_none_or(|user| may_be_for(&entry, user)) {
                    let hot = with_ledger(store, &entry)?;
                    found.extend(hot.filter(|hot| user.is_none_or(|user| hot.recipients.contains(user))));
                }
            }
        }
        match last {
            Some(last) if last >= from => from = last + 1,
            _ => break,
        }
    }
    Ok(())
}

/// Whom an escalation has added, the ledger says.
fn may_be_for(entry: &JournalEntry, user: UserNumber) -> bool {
    entry.broadcast.draft.escalates() || entry.recipients.contains(user) || entry.beside.contains(user)
}

/// The entries of a row of the journal.
pub fn entries(priority: Priority, first: Position, value: &[u8]) -> Vec<JournalEntry> {
    State::read_journal(&RowKey::Journal(priority, first), value)
        .inspect_err(|error| tracing::error!(%error, "a journal row cannot be read"))
        .unwrap_or_default()
}

fn with_ledger(store: &Store, entry: &JournalEntry) -> Result<Option<Hot>, StorageError> {
    if entry.kind != ReleaseKind::Broadcast {
        return Ok(None);
    }
    let ledger = ledger(store, entry.position)?;
    Ok(Some(Hot::of(entry, Arc::new(ledger))))
}

fn ledger(store: &Store, position: Position) -> Result<Ledger, StorageError> {
    let key = RowKey::Ledger(position);
    let read = |key: &RowKey, value: &[u8]| State::read_ledger(key, value).unwrap_or_default();
    let mut ledger = store.get(&key)?.map(|value| read(&key, &value)).unwrap_or_default();
    for (key, value) in store.ledger_late(position)? {
        ledger.merge(&read(&key, &value));
    }
    Ok(ledger)
}
