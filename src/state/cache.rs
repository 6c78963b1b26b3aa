//! The replicated tier of the cache: what is kept under which name, until when, and how much of it there is.
//!
//! Every node has the same index in memory. A value stays in memory until its row is on disk and no longer, so the tier may be
//! larger than memory. What has to go for want of room is decided here, in the same entry that brings something in: the entries
//! that end soonest, so nodes need not agree on who read what.

mod changes;
mod claims;
mod index;
mod leaving;
mod rows;
#[cfg(test)]
mod tests;

pub use claims::{Claim, Claims, Fetch, Missed, Why};
pub use index::Index;
pub use leaving::SLICE;
pub use rows::{read_entry, read_value};

use super::sources::Sourced;
use crate::model::Millis;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The first half of SHA-256 over content type and body.
pub type Digest = [u8; 16];

/// What an entry counts beside its names and its value: its place in the index, and the rows' own bytes.
pub const ENTRY_BYTES: u64 = 256;

/// Where something is kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CacheKey {
    pub namespace: Arc<str>,
    pub key: Arc<str>,
}

impl CacheKey {
    pub fn new(namespace: &str, key: &str) -> Self {
        Self {
            namespace: namespace.into(),
            key: key.into(),
        }
    }
}

/// What is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Value {
    /// As it came; empty: nobody said.
    pub content_type: String,
    pub body: Bytes,
}

/// What the index knows of a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Entry {
    /// No two values ever have the same; a later one has a larger one.
    pub version: u64,
    pub digest: Digest,
    /// Names, value, and what goes with them.
    pub bytes: u64,
    pub put_at: Millis,
    pub fresh_until: Millis,
    /// From then on it is gone; between the two it is stale.
    pub ends_at: Millis,
    /// The upstream's `ETag`, word by word.
    pub validator: Option<String>,
}

impl Entry {
    pub fn is_fresh(&self, now: Millis) -> bool {
        now < self.fresh_until
    }

    pub fn has_ended(&self, now: Millis) -> bool {
        now >= self.ends_at
    }
}

/// How much may be kept. These numbers travel with what is put, from the settings of the node that puts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// In the namespace.
    pub entries: u64,
    pub bytes: u64,
    /// In all namespaces together.
    pub all_entries: u64,
    pub all_bytes: u64,
}

/// How long something is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifetime {
    pub fresh_ms: u64,
    /// It may be served for so long after that, when its source is out of reach.
    pub stale_ms: u64,
}

/// Which nodes take a value into their local tier at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Warm {
    /// Those that have another value of the key there.
    WhereKnown,
    Everywhere,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Put {
    pub at: CacheKey,
    pub value: Value,
    pub digest: Digest,
    pub life: Lifetime,
    pub validator: Option<String>,
    pub warm: Warm,
    pub limits: Limits,
    /// The claim that it was fetched under: it is kept only while that stands. `None`: a client brings it.
    pub claim: Option<u64>,
}

/// The upstream says that a value is still the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renew {
    pub at: CacheKey,
    pub version: u64,
    pub life: Lifetime,
    pub claim: u64,
}

/// A value that the directory goes by, too, and what it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutSource {
    pub put: Put,
    pub sourced: Sourced,
}

/// What can happen to the cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CacheChange {
    Put(Put),
    Renew(Renew),
    Invalidate(CacheKey),
    /// All of a namespace: from now on there is nothing. The entries themselves go in slices, the first one with this.
    Empty(Arc<str>),
    /// A node is about to ask the upstream.
    Fetch(Fetch),
    /// It got nothing that could be kept.
    Missed(Missed),
    PutSource(Box<PutSource>),
    /// The next slice of what a namespace was emptied of.
    Sweep(Arc<str>),
}

/// What of it the local tier of every node has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheEffect {
    Put {
        at: CacheKey,
        entry: Arc<Entry>,
        value: Arc<Value>,
        warm: Warm,
    },
    /// The value is the same, and good for longer.
    Renewed {
        at: CacheKey,
        entry: Arc<Entry>,
    },
    /// Invalidated, ended, or dropped for want of room.
    Dropped(CacheKey),
    Emptied(Arc<str>),
}
