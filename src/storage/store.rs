//! The sled folder of one node: rows by key.
//!
//! sled is state that snapshot and log can rebuild. It may hang, panic or refuse on damage, so it is opened in a thread of its
//! own with a deadline; and its `flush()` is no fsync, so durability is fdatasync of its file.

use super::{Config, schema};
use crate::model::{Number, Position, Priority};
use crate::state::{Row, RowKey};
use bytes::Bytes;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error("{path}: {source}")]
    Io { path: String, source: io::Error },
    #[error("the store in {path} is damaged: {detail}")]
    Damaged { path: String, detail: String },
    #[error("{0}")]
    Sled(#[from] sled::Error),
}

impl StorageError {
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Io {
            path: path.display().to_string(),
            source,
        }
    }

    pub(super) fn damaged(path: &Path, detail: impl Into<String>) -> Self {
        Self::Damaged {
            path: path.display().to_string(),
            detail: detail.into(),
        }
    }
}

/// Values up to here are one row of sled: larger pages would go to files that sled never syncs.
const PART_BYTES: usize = 64 << 10;
/// The first byte of a stored value: the whole, or a count of parts that follow under longer keys.
const WHOLE: u8 = 0;
const PARTS: u8 = 1;

/// An open sled folder; clones share it.
#[derive(Clone)]
pub struct Store {
    tree: sled::Tree,
    db: sled::Db,
    file: Arc<File>,
    folder: Arc<PathBuf>,
}

impl Store {
    /// Opens or creates the folder; gives up after `config.open_deadline`.
    pub fn open(folder: &Path, config: &Config) -> Result<Self, StorageError> {
        let (done, opened) = crossbeam_channel::bounded(1);
        let (path, cache) = (folder.to_owned(), config.sled_cache.0);
        let open = move || {
            let result = std::panic::catch_unwind(|| {
                sled::Config::new()
                    .path(&path)
                    .segment_size(16 << 20)
                    .cache_capacity(cache)
                    .flush_every_ms(None)
                    .open()
                    .and_then(|db| Ok((db.open_tree("rows")?, db)))
            });
            // Nobody may be waiting any more: then the folder has been given up.
            let _ = done.send(result);
        };
        std::thread::Builder::new()
            .name("store-open".into())
            .spawn(open)
            .map_err(StorageError::io(folder))?;
        let (tree, db) = match opened.recv_timeout(config.open_deadline.0) {
            Ok(Ok(opened)) => opened.map_err(|error| StorageError::damaged(folder, error.to_string()))?,
            Ok(Err(_)) => return Err(StorageError::damaged(folder, "opening it panicked")),
            Err(_) => {
                let detail = format!("opening it takes longer than {}", config.open_deadline);
                return Err(StorageError::damaged(folder, detail));
            }
        };
        let file_path = folder.join("db");
        let file = File::options()
            .read(true)
            .write(true)
            .open(&file_path)
            .map_err(StorageError::io(&file_path))?;
        let store = Self {
            tree,
            db,
            file: Arc::new(file),
            folder: Arc::new(folder.to_owned()),
        };
        store.sync_names()?;
        Ok(store)
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// sled never syncs its settings and the folder's names: without this, a power cut can leave an empty store.
    fn sync_names(&self) -> Result<(), StorageError> {
        self.db.flush()?;
        let conf = self.folder.join("conf");
        let parent = self.folder.parent().unwrap_or(&self.folder);
        for path in [&conf, &*self.folder, parent] {
            File::open(path)
                .and_then(|file| file.sync_all())
                .map_err(StorageError::io(path))?;
        }
        self.sync()
    }

    /// Everything written so far is on disk.
    pub fn sync(&self) -> Result<(), StorageError> {
        self.db.flush()?;
        self.file.sync_data().map_err(StorageError::io(&self.folder))
    }

    /// What the last batch carried beside its rows.
    pub fn meta(&self) -> Result<Option<Bytes>, StorageError> {
        self.value(schema::META)
    }

    /// All rows in the order of their keys.
    pub fn scan(&self, mut each: impl FnMut(RowKey, Bytes) -> Result<(), StorageError>) -> Result<(), StorageError> {
        self.scan_raw(&[], |key, value| {
            if key == schema::META {
                return Ok(());
            }
            let row = schema::decode(key);
            each(
                row.ok_or_else(|| StorageError::damaged(&self.folder, format!("unknown key {key:02x?}")))?,
                value,
            )
        })
    }

    fn scan_raw(
        &self,
        from: &[u8],
        mut each: impl FnMut(&[u8], Bytes) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        self.scan_some(from, |key, value| each(key, value).map(|()| true))
            .map(drop)
    }

    /// Rows from `from` on, parts joined, for as long as `each` wants more; `true` when there are no more.
    pub(super) fn scan_some(
        &self,
        from: &[u8],
        mut each: impl FnMut(&[u8], Bytes) -> Result<bool, StorageError>,
    ) -> Result<bool, StorageError> {
        let mut rows = self.tree.range(from.to_vec()..);
        while let Some(row) = rows.next() {
            let (key, value) = row?;
            let value = self.join(&key, &value, || rows.next().map(|part| part.map(|(_, value)| value)))?;
            if !each(&key, value)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A stored value: whole, or joined from the parts that `next` gives in order.
    fn join(
        &self,
        key: &[u8],
        value: &[u8],
        mut next: impl FnMut() -> Option<sled::Result<sled::IVec>>,
    ) -> Result<Bytes, StorageError> {
        let damaged = || StorageError::damaged(&self.folder, format!("the value of key {key:02x?} is not whole"));
        match value.split_first().ok_or_else(damaged)? {
            (&WHOLE, rest) => Ok(Bytes::copy_from_slice(rest)),
            (&PARTS, count) => {
                let count = u32::from_be_bytes(count.try_into().map_err(|_| damaged())?);
                let mut joined = Vec::new();
                for _ in 0..count {
                    joined.extend_from_slice(&next().ok_or_else(damaged)??);
                }
                Ok(joined.into())
            }
            _ => Err(damaged()),
        }
    }

    fn value(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        let Some(value) = self.tree.get(key)? else {
            return Ok(None);
        };
        let mut part = 0;
        let next = || {
            let found = self.tree.get(part_key(key, part)).transpose();
            part += 1;
            found
        };
        self.join(key, &value, next).map(Some)
    }

    pub fn get(&self, key: &RowKey) -> Result<Option<Bytes>, StorageError> {
        self.value(&schema::encode(key))
    }

    /// Journal rows of one priority in order: the one that may hold `position` and those after it, `rows_max` at most.
    pub fn journal(
        &self,
        priority: Priority,
        position: Position,
        rows_max: usize,
    ) -> Result<Vec<(Position, Bytes)>, StorageError> {
        let key = |position| schema::encode(&RowKey::Journal(priority, position));
        let mut before = self.tree.range(key(0)..=key(position)).rev();
        let first = loop {
            let Some(row) = before.next() else { break position };
            // Parts of a large row stand behind it.
            if let Some(RowKey::Journal(_, first)) = schema::decode(&row?.0) {
                break first;
            }
        };
        let mut found = Vec::new();
        let mut rows = self.tree.range(key(first)..=key(Position::MAX));
        while found.len() < rows_max
            && let Some(row) = rows.next()
        {
            let (key, value) = row?;
            let Some(RowKey::Journal(_, first)) = schema::decode(&key) else {
                continue;
            };
            found.push((
                first,
                self.join(&key, &value, || rows.next().map(|part| part.map(|(_, value)| value)))?,
            ));
        }
        Ok(found)
    }

    /// Late receipts of one broadcast, oldest first.
    pub fn ledger_late(&self, number: Number) -> Result<Vec<(RowKey, Bytes)>, StorageError> {
        let mut found = Vec::new();
        for row in self.tree.scan_prefix(schema::late_of(number)) {
            let (key, _) = row?;
            if let (Some(row), Some(value)) = (schema::decode(&key), self.value(&key)?) {
                found.push((row, value));
            }
        }
        Ok(found)
    }

    /// Writes rows and what goes with them in one batch: all of it or nothing survives a crash.
    pub(super) fn write(&self, rows: &[Row], meta: &[u8]) -> Result<(), StorageError> {
        let mut batch = sled::Batch::default();
        for row in rows {
            self.put(&mut batch, &schema::encode(&row.key), row.value.as_deref())?;
        }
        self.put(&mut batch, schema::META, Some(meta))?;
        self.tree.apply_batch(batch)?;
        Ok(())
    }

    /// A restored row: its key as the snapshot has it.
    pub(super) fn write_raw<'a>(&self, rows: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Result<(), StorageError> {
        let mut batch = sled::Batch::default();
        for (key, value) in rows {
            self.put(&mut batch, key, Some(value))?;
        }
        self.tree.apply_batch(batch)?;
        Ok(())
    }

    fn put(&self, batch: &mut sled::Batch, key: &[u8], value: Option<&[u8]>) -> Result<(), StorageError> {
        let parts = value.map_or(0, |value| {
            if value.len() > PART_BYTES {
                value.len().div_ceil(PART_BYTES)
            } else {
                0
            }
        });
        if may_have_parts(key) {
            self.remove_parts(batch, key, parts)?;
        }
        match value {
            None => batch.remove(key),
            Some(value) if parts == 0 => {
                let mut whole = Vec::with_capacity(value.len() + 1);
                whole.push(WHOLE);
                whole.extend_from_slice(value);
                batch.insert(key, whole);
            }
            Some(value) => {
                let mut head = vec![PARTS];
                head.extend((parts as u32).to_be_bytes());
                batch.insert(key, head);
                for (part, bytes) in value.chunks(PART_BYTES).enumerate() {
                    batch.insert(part_key(key, part as u32), bytes);
                }
            }
        }
        Ok(())
    }

    /// Parts of the value before that the new one does not overwrite.
    fn remove_parts(&self, batch: &mut sled::Batch, key: &[u8], from: usize) -> Result<(), StorageError> {
        let Some(known) = self.tree.get(key)? else {
            return Ok(());
        };
        if let Some((&PARTS, count)) = known.split_first()
            && let Ok(count) = count.try_into().map(u32::from_be_bytes)
        {
            (from as u32..count).for_each(|part| batch.remove(part_key(key, part)));
        }
        Ok(())
    }
}

/// Rows that are written once, or never grow large, need no look at what was there before.
fn may_have_parts(key: &[u8]) -> bool {
    !matches!(
        key.first(),
        Some(&(schema::JOURNAL | 0x01 | 0x05..=0x0A | 0x0E | 0x0F)) | None
    )
}

/// Parts stand right behind their row: its key, `FF`, and the part's number. No row's key is another's with `FF` behind it,
/// since texts are UTF-8 and numbers have a fixed length.
fn part_key(key: &[u8], part: u32) -> Vec<u8> {
    let mut name = key.to_vec();
    name.push(0xFF);
    name.extend(part.to_be_bytes());
    name
}

#[cfg(test)]
mod tests {
    use super::{Config, PART_BYTES, Store};
    use crate::model::Priority;
    use crate::state::{Row, RowKey};
    use bytes::Bytes;

    fn row(key: RowKey, bytes: usize) -> Row {
        Row {
            key,
            value: Some(Bytes::from(vec![7; bytes])),
        }
    }

    #[test]
    fn large_values_are_split_and_joined_and_shrink_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("s"), &Config::default()).unwrap();
        for bytes in [0, 1, PART_BYTES, PART_BYTES + 1, 5 * PART_BYTES, 10, 3 * PART_BYTES + 7] {
            let rows = [
                row(RowKey::Presence(1), bytes),
                row(RowKey::Venue("barn".into()), 3),
                row(RowKey::Presence(2), 9),
            ];
            store.write(&rows, b"meta").unwrap();
            assert_eq!(store.get(&RowKey::Presence(1)).unwrap().unwrap().len(), bytes);
            let mut seen = Vec::new();
            store
                .scan(|key, value| {
                    let _: () = seen.push((key, value.len()));
                    Ok(())
                })
                .unwrap();
            let expected = [
                (RowKey::Presence(1), bytes),
                (RowKey::Presence(2), 9),
                (RowKey::Venue("barn".into()), 3),
            ];
            assert_eq!(seen, expected);
        }
        store
            .write(
                &[Row {
                    key: RowKey::Presence(1),
                    value: None,
                }],
                b"meta",
            )
            .unwrap();
        assert_eq!(store.get(&RowKey::Presence(1)).unwrap(), None);
        assert_eq!(store.tree.len(), 3);
    }

    #[test]
    fn the_journal_is_found_by_any_position_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("s"), &Config::default()).unwrap();
        let first = |position| row(RowKey::Journal(Priority::High, position), PART_BYTES + 5);
        store
            .write(
                &[
                    first(10),
                    first(20),
                    first(30),
                    row(RowKey::Journal(Priority::Normal, 15), 4),
                ],
                b"",
            )
            .unwrap();
        let at = |position, rows| {
            let found = store.journal(Priority::High, position, rows).unwrap();
            found.into_iter().map(|(first, _)| first).collect::<Vec<_>>()
        };
        assert_eq!(at(5, 9), [10, 20, 30]);
        assert_eq!(at(10, 1), [10]);
        assert_eq!(at(19, 2), [10, 20]);
        assert_eq!(at(20, 9), [20, 30]);
        assert_eq!(at(99, 9), [30]);
        assert!(store.journal(Priority::Low, 1, 9).unwrap().is_empty());
    }

    #[test]
    fn a_reopened_store_has_the_last_batch() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let store = Store::open(&path, &Config::default()).unwrap();
        store.write(&[row(RowKey::Counters, 8)], b"at 7").unwrap();
        store.sync().unwrap();
        drop(store);
        let store = Store::open(&path, &Config::default()).unwrap();
        assert_eq!(store.meta().unwrap().unwrap(), "at 7");
        assert!(store.get(&RowKey::Counters).unwrap().is_some());
    }
}
