//! The sled folder of one node: rows by key.
//!
//! sled is state that snapshot and log can rebuild. It may hang, panic or refuse on damage, so it is opened in a thread of its
//! own with a deadline; and its `flush()` is no fsync, so durability is fdatasync of its file.

use super::{Config, durable, schema};
use crate::model::{Number, Position, Priority};
use crate::state::RowKey;
use bytes::Bytes;
use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error("{path}: {source}")]
    Io { path: String, source: io::Error },
    #[error("the store in {path} is damaged: {detail}")]
    Damaged { path: String, detail: String },
    #[error("the data folder {path} is in use by another process: is this node running already?")]
    InUse { path: String },
    #[error("{0}")]
    Sled(#[from] sled::Error),
    /// Nothing is wrong with what is stored; it can be tried again later.
    #[error("{0}")]
    NotNow(String),
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

/// Values up to here are one row of sled. It keeps up to 17 rows on a page, and at least one page in each of the 256 shards of its
/// cache, whatever its capacity: with rows of 64 KiB that was 370 MiB here, with these 110.
pub(super) const PART_BYTES: usize = 16 << 10;
/// A page larger than a quarter of this would go to a file that sled never syncs.
const SEGMENT_BYTES: usize = 4 << 20;
/// The first byte of a stored value: the whole, or a count (u32) of parts that follow under longer keys.
pub(super) const WHOLE: u8 = 0;
pub(super) const PARTS: u8 = 1;
/// The same, packed: the length of the value (u32) stands last before its bytes or its parts.
pub(super) const PACKED: u8 = 2;
pub(super) const PACKED_PARTS: u8 = 3;
/// No value is longer; a damaged length is refused before memory is asked for.
const VALUE_BYTES_MAX: usize = 256 << 20;

thread_local! {
    /// Making a context for zstd costs more than unpacking a row, so each thread that reads keeps one.
    static UNPACKER: RefCell<io::Result<zstd::bulk::Decompressor<'static>>> = RefCell::new(zstd::bulk::Decompressor::new());
}

/// An open sled folder; clones share it.
#[derive(Clone)]
pub struct Store {
    pub(super) tree: sled::Tree,
    db: sled::Db,
    file: Arc<File>,
    folder: Arc<PathBuf>,
}

impl Store {
    /// Opens or creates the folder; gives up after `config.open_deadline`.
    pub fn open(folder: &Path, config: &Config) -> Result<Self, StorageError> {
        let (done, opened) = mpsc::sync_channel(1);
        let (path, cache) = (folder.to_owned(), config.sled_cache.0);
        let open = move || {
            let result = std::panic::catch_unwind(|| {
                sled::Config::new()
                    .path(&path)
                    .segment_size(SEGMENT_BYTES)
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
        if store.guarded(|| Ok(store.tree.contains_key(schema::TORN)?))? {
            return Err(StorageError::damaged(folder, "the node stopped within a large batch"));
        }
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
        durable::sync_data(&self.file).map_err(StorageError::io(&self.folder))
    }

    /// What the last batch carried beside its rows.
    pub fn meta(&self) -> Result<Option<Bytes>, StorageError> {
        self.guarded(|| self.value(schema::META))
    }

    /// The index that the rows stand at: whoever writes `meta` puts it first, as a little-endian u64. 0 before the first batch.
    pub fn applied(&self) -> Result<u64, StorageError> {
        let Some(meta) = self.meta()? else { return Ok(0) };
        let index = meta.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
        index.ok_or_else(|| StorageError::damaged(&self.folder, "the last batch names no index"))
    }

    /// All rows in the order of their keys.
    pub fn scan(&self, mut each: impl FnMut(RowKey, Bytes) -> Result<(), StorageError>) -> Result<(), StorageError> {
        let scan = || {
            self.scan_some(&[], |key, value| {
                if key == schema::META {
                    return Ok(true);
                }
                let row = schema::decode(key);
                let row = row.ok_or_else(|| StorageError::damaged(&self.folder, format!("unknown key {key:02x?}")))?;
                each(row, value).map(|()| true)
            })
        };
        self.guarded(scan).map(drop)
    }

    /// sled may panic on damage that it meets while reading.
    fn guarded<T>(&self, read: impl FnOnce() -> Result<T, StorageError>) -> Result<T, StorageError> {
        let caught = std::panic::catch_unwind(AssertUnwindSafe(read));
        caught.unwrap_or_else(|_| Err(StorageError::damaged(&self.folder, "reading it panicked")))
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
            let value = self.join(&key, &value, || rows.next())?;
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
        mut next: impl FnMut() -> Option<sled::Result<(sled::IVec, sled::IVec)>>,
    ) -> Result<Bytes, StorageError> {
        let damaged = || StorageError::damaged(&self.folder, format!("the value of key {key:02x?} is not whole"));
        let long = |rest: &[u8], at: usize| {
            let bytes = rest.get(at..).and_then(<[u8]>::first_chunk);
            bytes
                .map(|bytes| u32::from_be_bytes(*bytes) as usize)
                .ok_or_else(damaged)
        };
        let mut parts = |count: usize| {
            let mut joined = Vec::new();
            for number in 0..count as u32 {
                let (name, part) = next().ok_or_else(damaged)??;
                if name != schema::part(key, number) {
                    return Err(damaged());
                }
                joined.extend_from_slice(&part);
            }
            Ok(joined)
        };
        let unpack = |packed: &[u8], length: usize| {
            let length = Some(length)
                .filter(|length| *length <= VALUE_BYTES_MAX)
                .ok_or_else(damaged)?;
            let whole = UNPACKER.with_borrow_mut(|unpacker| match unpacker {
                Ok(unpacker) => unpacker.decompress(packed, length).map_err(|_| damaged()),
                Err(error) => Err(StorageError::io(&self.folder)(io::Error::from(error.kind()))),
            })?;
            Some(whole).filter(|whole| whole.len() == length).ok_or_else(damaged)
        };
        match value.split_first().ok_or_else(damaged)? {
            (&WHOLE, rest) => Ok(Bytes::copy_from_slice(rest)),
            (&PARTS, rest) => parts(long(rest, 0)?).map(Bytes::from),
            (&PACKED, rest) => unpack(&rest[4.min(rest.len())..], long(rest, 0)?).map(Bytes::from),
            (&PACKED_PARTS, rest) => unpack(&parts(long(rest, 0)?)?, long(rest, 4)?).map(Bytes::from),
            _ => Err(damaged()),
        }
    }

    fn value(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        let Some(value) = self.tree.get(key)? else {
            return Ok(None);
        };
        let mut parts = self.tree.range(schema::part(key, 0)..);
        self.join(key, &value, || parts.next()).map(Some)
    }

    pub fn get(&self, key: &RowKey) -> Result<Option<Bytes>, StorageError> {
        self.guarded(|| self.value(&schema::encode(key)))
    }

    /// Journal rows of one priority in order: the one that may hold `position` and those after it, `rows_max` at most.
    pub fn journal(
        &self,
        priority: Priority,
        position: Position,
        rows_max: usize,
    ) -> Result<Vec<(Position, Bytes)>, StorageError> {
        let key = |position| schema::encode(&RowKey::Journal(priority, position));
        self.guarded(|| {
            let mut before = self.tree.range(key(0)..=key(position)).rev();
            let from = match before.next() {
                // The last part of a large row stands in for it.
                Some(row) => journal_row(&row?.0).to_vec(),
                None => key(position),
            };
            let mut found = Vec::new();
            let mut rows = self.tree.range(from..=key(Position::MAX));
            while found.len() < rows_max
                && let Some(row) = rows.next()
            {
                let (key, value) = row?;
                found.push((self.first_of(&key)?, self.join(&key, &value, || rows.next())?));
            }
            Ok(found)
        })
    }

    fn first_of(&self, key: &[u8]) -> Result<Position, StorageError> {
        match schema::decode(key) {
            Some(RowKey::Journal(_, first)) => Ok(first),
            _ => Err(StorageError::damaged(
                &self.folder,
                format!("{key:02x?} is no key of the journal"),
            )),
        }
    }

    /// Late receipts of one broadcast, oldest first.
    pub fn ledger_late(&self, number: Number) -> Result<Vec<(RowKey, Bytes)>, StorageError> {
        let prefix = schema::late_of(number);
        let mut found = Vec::new();
        let collect = |key: &[u8], value| {
            let row = schema::decode(key).filter(|_| key.starts_with(&prefix));
            let is_one = row.is_some();
            found.extend(row.map(|row| (row, value)));
            Ok(is_one)
        };
        self.guarded(|| self.scan_some(&prefix, collect))?;
        Ok(found)
    }
}

/// The row of a key of the journal that may be that of a part.
fn journal_row(key: &[u8]) -> &[u8] {
    schema::row_of_part(key, schema::JOURNAL_KEY_BYTES).unwrap_or(key)
}

#[cfg(test)]
pub(super) mod tests {
    use super::{Config, PART_BYTES, Store, schema};
    use crate::model::Priority;
    use crate::state::{Row, RowKey};
    use bytes::Bytes;

    /// Bytes that cannot be packed.
    pub fn noise(bytes: usize) -> Bytes {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        std::iter::repeat_with(next).take(bytes).collect()
    }

    fn row(key: RowKey, bytes: usize) -> Row {
        Row {
            key,
            value: Some(noise(bytes)),
        }
    }

    #[test]
    fn what_repeats_itself_is_packed_and_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("s"), &Config::default()).unwrap();
        let texts = "Please be in place ten minutes before. ".repeat(2_000);
        let mixed = [&noise(3 * PART_BYTES)[..], texts.as_bytes()].concat();
        for value in [texts.into_bytes(), mixed, b"short".to_vec()] {
            let row = Row {
                key: RowKey::Presence(1),
                value: Some(value.clone().into()),
            };
            store.write(&[row], b"meta").unwrap();
            assert_eq!(store.get(&RowKey::Presence(1)).unwrap().unwrap(), value);
        }
        assert_eq!(store.tree.len(), 2);
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
            let scan = store.scan(|key, value| {
                seen.push((key, value.len()));
                Ok(())
            });
            scan.unwrap();
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
    fn a_large_row_keeps_its_parts_from_a_neighbour_whose_id_begins_alike() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("s"), &Config::default()).unwrap();
        let (short, long) = (RowKey::Segment("s".into()), RowKey::Segment("s1".into()));
        store
            .write(&[row(short.clone(), 2 * PART_BYTES), row(long.clone(), 5)], b"")
            .unwrap();
        let mut seen = Vec::new();
        let scan = store.scan(|key, value| {
            seen.push((key, value.len()));
            Ok(())
        });
        scan.unwrap();
        assert_eq!(seen, [(short.clone(), 2 * PART_BYTES), (long, 5)]);
        store.write(&[row(short.clone(), 1)], b"").unwrap();
        assert_eq!(store.get(&short).unwrap().unwrap().len(), 1);
        assert_eq!(store.tree.len(), 3);
    }

    #[test]
    fn a_row_without_all_of_its_parts_is_damage() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("s"), &Config::default()).unwrap();
        store.write(&[row(RowKey::Presence(1), 3 * PART_BYTES)], b"").unwrap();
        let part = schema::part(&schema::encode(&RowKey::Presence(1)), 1);
        store.tree.remove(part).unwrap();
        assert!(store.get(&RowKey::Presence(1)).is_err());
        assert!(store.scan(|_, _| Ok(())).is_err());
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
