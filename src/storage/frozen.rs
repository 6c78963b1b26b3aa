//! A snapshot being built: a frozen view of sled, written in slices between batches.
//!
//! sled's own iterators see rows change under them, so what a batch is about to change is kept aside as it was, unless the
//! snapshot is past it already.

use super::free::is_full;
use super::schema;
use super::snapshot_file::{FORMAT, Header, Origin, Writer};
use super::store::{StorageError, Store};
use super::write_behind::SnapshotInfo;
use crate::metrics::METRICS;
use crate::state::{Row, RowKey};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::SyncSender;

/// Rows of one slice.
const SLICE_ROWS: usize = 2_000;
const SLICE_BYTES: usize = 4 << 20;
/// Rows kept aside; beyond, batches wait until the snapshot is further on.
const ASIDE_BYTES_MAX: usize = 64 << 20;

/// The folder for a snapshot, and whose rows it will hold.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub folder: PathBuf,
    pub origin: Origin,
}

/// Where a snapshot's asker waits.
pub type Reply = SyncSender<Result<SnapshotInfo, StorageError>>;

/// Rows from `next` on are still to come.
pub struct Frozen {
    writer: Writer,
    applied: u64,
    meta: Bytes,
    next: Vec<u8>,
    aside: Aside,
    reply: Reply,
}

/// Rows that changed since a snapshot began and are not in it yet, as they were then; none for what is new.
#[derive(Default)]
struct Aside {
    rows: BTreeMap<Vec<u8>, Option<Bytes>>,
    bytes: usize,
}

impl Aside {
    fn insert(&mut self, key: Vec<u8>, before: Option<Bytes>) {
        self.bytes += before.as_ref().map_or(0, Bytes::len);
        self.rows.insert(key, before);
    }

    /// What stood under this key, given what stands there now: none if it is new.
    fn before(&mut self, key: &[u8], now: Bytes) -> Option<Bytes> {
        let Some(before) = self.rows.remove(key) else {
            return Some(now);
        };
        self.bytes -= before.as_ref().map_or(0, Bytes::len);
        before
    }

    /// Writes the rows before `key` (all, if there is none): sled has them no more.
    fn write_removed(&mut self, writer: &mut Writer, key: Option<&[u8]>) -> Result<(), StorageError> {
        while let Some(first) = self.rows.first_entry()
            && key.is_none_or(|key| first.key().as_slice() < key)
        {
            let (key, before) = first.remove_entry();
            let Some(before) = before else { continue };
            self.bytes -= before.len();
            writer.row(&key, &before)?;
        }
        Ok(())
    }
}

impl Frozen {
    /// Begins a snapshot of what `store` holds now. Whoever asked is told when it is done, or why it is not.
    pub fn begin(wanted: &Wanted, applied: u64, meta: Bytes, reply: Reply) -> Option<Self> {
        let header = Header {
            format: FORMAT,
            origin: wanted.origin,
            applied,
            meta: meta.clone(),
        };
        match Writer::create(&wanted.folder, &header) {
            Ok(writer) => Some(Self {
                writer,
                applied,
                meta,
                next: schema::encode(&RowKey::Counters),
                aside: Aside::default(),
                reply,
            }),
            Err(error) => {
                tell(&reply, Err(error));
                None
            }
        }
    }

    /// Keeps the view: rows that are about to change and are not written yet.
    pub fn keep_aside(&mut self, store: &Store, rows: &[Row]) -> Result<(), StorageError> {
        for row in rows {
            let key = schema::encode(&row.key);
            if key >= self.next && !self.aside.rows.contains_key(&key) {
                self.aside.insert(key, store.get(&row.key)?);
            }
        }
        Ok(())
    }

    /// Writes the next slice, or so many that what is kept aside stays within its bound; `None` when it has ended.
    pub fn advance(mut self, store: &Store) -> Option<Self> {
        loop {
            match self.slice(store) {
                Ok(false) if self.aside.bytes > ASIDE_BYTES_MAX => {}
                Ok(false) => return Some(self),
                Ok(true) => {
                    self.finish();
                    return None;
                }
                Err(error) => {
                    self.writer.abandon();
                    tell(&self.reply, Err(error));
                    return None;
                }
            }
        }
    }

    /// The store it was of is no longer in use.
    pub fn abandon(self) {
        self.writer.abandon();
        let why = "the state was replaced while it was written".to_owned();
        tell(&self.reply, Err(StorageError::NotNow(why)));
    }

    /// Writes some rows; `true` when all are written.
    fn slice(&mut self, store: &Store) -> Result<bool, StorageError> {
        let (writer, aside) = (&mut self.writer, &mut self.aside);
        let (mut rows, mut bytes) = (0, 0);
        let mut last = None;
        let is_whole = store.scan_some(&self.next, |key, value| {
            aside.write_removed(writer, Some(key))?;
            rows += 1;
            bytes += value.len();
            if let Some(before) = aside.before(key, value) {
                writer.row(key, &before)?;
            }
            last = Some(schema::behind(key));
            Ok(rows < SLICE_ROWS && bytes < SLICE_BYTES)
        })?;
        if let Some(next) = last {
            self.next = next;
        }
        if is_whole {
            self.aside.write_removed(&mut self.writer, None)?;
            self.writer.row(schema::META, &self.meta)?;
        }
        Ok(is_whole)
    }

    fn finish(self) {
        let Self {
            writer,
            applied,
            meta,
            reply,
            ..
        } = self;
        let finished = writer.finish().map(|(path, bytes)| SnapshotInfo {
            path,
            applied,
            meta,
            bytes,
        });
        METRICS.snapshots.inc_by(u64::from(finished.is_ok()));
        tell(&reply, finished);
    }
}

/// A snapshot that does not fit the disk is no sign of damage: what is there goes on.
fn tell(reply: &Reply, outcome: Result<SnapshotInfo, StorageError>) {
    let outcome = outcome.map_err(|error| match error {
        full if is_full(&full) => StorageError::NotNow(full.to_string()),
        other => other,
    });
    // Whoever asked may have gone.
    let _ = reply.send(outcome);
}

#[cfg(test)]
mod tests {
    use super::{Frozen, Wanted, tell};
    use crate::storage::StorageError;
    use crate::storage::snapshot_file::Origin;
    use std::io::{self, ErrorKind};
    use std::path::Path;
    use std::sync::mpsc::sync_channel;

    #[test]
    fn one_that_is_given_up_leaves_no_file_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let (reply, answer) = sync_channel(1);
        let wanted = Wanted {
            folder: folder.path().join("snapshots"),
            origin: Origin::default(),
        };
        let frozen = Frozen::begin(&wanted, 7, "meta".into(), reply).unwrap();
        assert_eq!(std::fs::read_dir(&wanted.folder).unwrap().count(), 1);
        frozen.abandon();
        assert_eq!(std::fs::read_dir(&wanted.folder).unwrap().count(), 0);
        assert!(matches!(answer.recv().unwrap(), Err(StorageError::NotNow(_))));
    }

    #[test]
    fn only_a_full_disk_is_no_damage() {
        for (kind, not_now) in [(ErrorKind::StorageFull, true), (ErrorKind::InvalidData, false)] {
            let (reply, answer) = sync_channel(1);
            let error = StorageError::io(Path::new("x"))(io::Error::from(kind));
            tell(&reply, Err(error));
            let told = answer.recv().unwrap();
            assert_eq!(matches!(told, Err(StorageError::NotNow(_))), not_now, "{told:?}");
        }
    }
}
