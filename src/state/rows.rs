//! What the state keeps on disk: one typed key per row. `storage::schema` turns keys into bytes, [`State`] makes and reads values.
//!
//! A value's first byte is its version; the rest is bincode of a struct that is frozen once released.

use crate::model::{NodeId, Number, PlaceKind, Position, Priority, UserNumber};
use bytes::Bytes;

/// A row's key. The order of variants and fields is the order on disk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RowKey {
    /// Counters, epoch and salt: one row.
    Counters,
    Node(NodeId),
    /// Who is connected to a node.
    Presence(NodeId),
    /// Since when users without a session are gone: users of one chunk of 1,024 numbers.
    Offline(u32),
    Venue(String),
    Wedding(String),
    Segment(String),
    User(UserNumber),
    Preferences(UserNumber),
    /// Kind, the place's id, and the member's number.
    Member(PlaceKind, String, UserNumber),
    /// Releases of one priority, in order, from this position on; a block holds what one write-behind round found.
    Journal(Priority, Position),
    /// Who is meant by 256 positions in a row: a start without a cursor opens only blocks with the user's bit.
    Block(u64),
    /// Who got how far with a broadcast.
    Ledger(Number),
    /// A late receipt of a broadcast whose ledger has left memory; merged when read.
    LedgerLate(Number, u64),
    /// Idempotency keys taken by the log entries up to this index since the last such row.
    Keys(u64),
}

/// A changed row; no value removes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub key: RowKey,
    pub value: Option<Bytes>,
}

/// A row on disk cannot be read: the store is damaged or from another version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("row {key} is broken: {detail}")]
pub struct Broken {
    pub key: String,
    pub detail: String,
}
