//! The journal: every release with its broadcast, in blocks, as it stands on disk.

use super::effect::{Release, ReleaseKind};
use super::rows::Broken;
use crate::model::{Broadcast, Millis, Number, Position, Priority};
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What a broadcast costs beside its texts and recipients.
const BASE_BYTES: u64 = 512;
/// A journal row holds about this much, below the size at which the store splits values.
const JOURNAL_ROW_BYTES: u64 = 48 << 10;

/// One release. Later ones repeat their broadcast, so that each can be read alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JournalEntry {
    pub position: Position,
    pub priority: Priority,
    pub kind: ReleaseKind,
    pub escalated: bool,
    pub released_at: Millis,
    pub broadcast: Arc<Broadcast>,
    /// Whom it is for.
    pub recipients: Arc<RoaringBitmap>,
    /// Of a first release: in the audience, and held or skipped.
    pub beside: Arc<RoaringBitmap>,
    /// Of a first release: in the audience, taken out again by `exclude`.
    pub excluded: Arc<RoaringBitmap>,
}

impl JournalEntry {
    pub fn number(&self) -> Number {
        self.broadcast.number
    }

    pub fn release(&self) -> Release {
        Release {
            position: self.position,
            priority: self.priority,
            kind: self.kind,
            escalated: self.escalated,
            released_at: self.released_at,
            broadcast: self.broadcast.clone(),
            recipients: self.recipients.clone(),
        }
    }

    /// About what it takes in memory.
    pub(super) fn bytes(&self) -> u64 {
        size_of_broadcast(&self.broadcast) + self.recipients.serialized_size() as u64
    }
}

fn size_of_broadcast(broadcast: &Broadcast) -> u64 {
    let draft = &broadcast.draft;
    let texts: usize = draft
        .texts
        .iter()
        .map(|(_, text)| text.title.len() + text.body.len())
        .sum();
    let data = draft.data.as_ref().map_or(0, String::len);
    BASE_BYTES + (draft.title.len() + draft.body.len() + texts + data) as u64
}

/// Rows of one priority's new entries, in their order: first position and value.
pub(super) fn rows(entries: &[Arc<JournalEntry>], mut row: impl FnMut(Position, Vec<u8>)) {
    let mut from = 0;
    let mut bytes = 0;
    for (at, entry) in entries.iter().enumerate() {
        bytes += entry.bytes();
        if bytes >= JOURNAL_ROW_BYTES || at + 1 == entries.len() {
            let block = &entries[from..=at];
            row(block[0].position, bincode::serialize(block).unwrap_or_default());
            (from, bytes) = (at + 1, 0);
        }
    }
}

/// Reads a journal row.
pub fn decode(value: &[u8]) -> Result<Vec<JournalEntry>, Broken> {
    bincode::deserialize(value).map_err(|error| Broken {
        key: "journal".into(),
        detail: error.to_string(),
    })
}
