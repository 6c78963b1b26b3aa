//! # Storage
//!
//! What: rows in sled, the snapshot file, the identity file.
//! Why: sled holds what snapshot and log can rebuild; nothing is acknowledged because sled has it.
//! Never: a decision; a row's meaning.
//! Start: [`layout`] is the folder, [`schema`] every key in it.

mod batch;
pub mod durable;
pub mod free;
mod frozen;
pub mod identity;
pub mod layout;
pub mod reserve;
pub mod schema;
pub mod sizes;
pub mod snapshot_file;
pub mod store;
mod sweep;
pub mod write_behind;

pub use store::{StorageError, Store};
pub use write_behind::{Batch, SnapshotInfo, WriteBehind};

use crate::base::size::{Size, Span};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How often changed rows go to sled.
    pub write_behind_every: Span,
    /// Rows that may wait for sled; beyond, the leader answers 503 and a follower waits.
    pub write_behind_rows_max: usize,
    /// Memory for sled's pages.
    pub sled_cache: Size,
    /// Opening sled takes this long at most; then the folder is put aside and rebuilt.
    pub open_deadline: Span,
    /// The log may grow this far (or by what the last snapshot holds, if that is more) before a snapshot is taken.
    pub snapshot_log_bytes: Size,
    /// Writes are refused (507) below the smaller of this and 10 % of the disk.
    pub free_bytes_min: Size,
    /// Kept aside in a file, so that a node can start on a full disk: the smaller of this and 2 % of the disk.
    pub reserve_bytes: Size,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            write_behind_every: Span::millis(100),
            write_behind_rows_max: 400_000,
            sled_cache: Size::mib(16),
            open_deadline: Span::seconds(10),
            snapshot_log_bytes: Size::mib(64),
            free_bytes_min: Size::mib(512),
            reserve_bytes: Size::mib(64),
        }
    }
}
