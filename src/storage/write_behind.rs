//! The thread that owns sled: a batch per tick, snapshots in slices between batches.

use super::Config;
use super::store::{StorageError, Store};
use crate::state::Row;
use bytes::Bytes;
use std::path::{Path, PathBuf};

/// What changed since the last batch, and the log position it stands at.
pub struct Batch {
    pub applied: u64,
    /// Opaque to storage: what `consensus` needs to go on from here (log id, membership).
    pub meta: Bytes,
    pub rows: Vec<Row>,
}

/// A finished snapshot file.
#[derive(Clone, Debug)]
pub struct SnapshotInfo {
    pub path: PathBuf,
    pub applied: u64,
    pub meta: Bytes,
    pub bytes: u64,
}

/// The running thread; clones share it.
#[derive(Clone)]
pub struct WriteBehind {}

impl WriteBehind {
    /// `take` is called once per tick; `None` when nothing changed. `committed` is told each batch's applied index.
    pub fn start(
        _store: Store,
        _config: &Config,
        _take: Box<dyn FnMut() -> Option<Batch> + Send>,
        _committed: Box<dyn FnMut(u64) + Send>,
    ) -> Result<Self, StorageError> {
        Ok(Self {})
    }

    /// The applied index of the last batch in sled (not yet fdatasynced).
    pub fn stored(&self) -> u64 {
        0
    }

    /// Writes what is dirty now, then fdatasyncs sled; returns the index that is durable. Blocks.
    pub fn sync(&self) -> Result<u64, StorageError> {
        Ok(0)
    }

    /// Builds a durable snapshot file in `folder` from a frozen view of sled. Blocks for as long as it takes; batches go on meanwhile.
    pub fn snapshot(&self, _folder: &Path) -> Result<SnapshotInfo, StorageError> {
        Err(StorageError::Damaged {
            path: String::new(),
            detail: "not built".into(),
        })
    }

    /// Writes a last batch, fdatasyncs, ends the thread.
    pub fn stop(&self) {}
}
