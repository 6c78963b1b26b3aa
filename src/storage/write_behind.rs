//! The thread that owns sled: a batch per tick, snapshots in slices between batches.
//!
//! The first write or sync that fails ends the process: what the page cache holds after that is anybody's guess, and the log
//! has everything.

use super::snapshot_file::{FORMAT, Header, Writer};
use super::store::{StorageError, Store};
use super::{Config, schema};
use crate::base::clock;
use crate::metrics::METRICS;
use crate::state::Row;
use bytes::Bytes;
use crossbeam::{Receiver, RecvTimeoutError, Sender, bounded};
use crossbeam_channel as crossbeam;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// What changed since the last batch, and the log position it stands at.
pub struct Batch {
    pub applied: u64,
    /// The applied index (u64, little-endian), then what `consensus` needs to go on from here: opaque to storage.
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

enum Order {
    Sync(Sender<u64>),
    Snapshot(PathBuf, Sender<Result<SnapshotInfo, StorageError>>),
    /// A restored store takes the place of this one; what was dirty belongs to the state before.
    Replace(Store, u64, Sender<()>),
    Stop(Sender<()>),
}

/// Orders that may wait for the thread.
const ORDERS_MAX: usize = 16;
/// Rows of one slice of a snapshot.
const SLICE_ROWS: usize = 2_000;
const SLICE_BYTES: usize = 4 << 20;
/// Rows kept aside for a snapshot; beyond, batches wait until it is further on.
const ASIDE_BYTES_MAX: usize = 64 << 20;
/// The exit code when the disk fails (`EX_IOERR`).
pub const DISK_FAILED: i32 = 74;

/// Ends the process: the disk has failed, or sled has panicked over what it found there.
pub fn disk_failed(what: &str, error: &dyn std::error::Error) -> ! {
    tracing::error!(%error, "{what} failed: the node stops; what it acknowledged is in the log");
    std::process::exit(DISK_FAILED)
}

/// The running thread; clones share it.
#[derive(Clone)]
pub struct WriteBehind {
    orders: Sender<Order>,
    stored: Arc<AtomicU64>,
    thread: Arc<parking_lot::Mutex<Option<JoinHandle<()>>>>,
}

type Take = Box<dyn FnMut() -> Option<Batch> + Send>;
type Committed = Box<dyn FnMut(u64) + Send>;

impl WriteBehind {
    /// `take` is called once per tick; `None` when nothing changed. `committed` is told each batch's applied index.
    pub fn start(store: Store, config: &Config, take: Take, committed: Committed) -> Result<Self, StorageError> {
        let (orders, waiting) = bounded(ORDERS_MAX);
        // A snapshot before the first batch says where the store stands too.
        let meta = store.meta()?.unwrap_or_default();
        let stored = Arc::new(AtomicU64::new(store.applied()?));
        let folder = store.folder().to_owned();
        let every = config.write_behind_every.0;
        let writer = Loop {
            store,
            take,
            committed,
            stored: stored.clone(),
            meta,
            scan: None,
        };
        let thread = std::thread::Builder::new().name("write-behind".into()).spawn(move || {
            if std::panic::catch_unwind(AssertUnwindSafe(|| writer.run(&waiting, every))).is_err() {
                disk_failed("writing behind", &stopped());
            }
        });
        let thread = thread.map_err(StorageError::io(&folder))?;
        Ok(Self {
            orders,
            stored,
            thread: Arc::new(parking_lot::Mutex::new(Some(thread))),
        })
    }

    /// The applied index of the last batch in sled (not yet fdatasynced).
    pub fn stored(&self) -> u64 {
        self.stored.load(Ordering::Acquire)
    }

    fn order<T>(&self, order: impl FnOnce(Sender<T>) -> Order) -> Option<T> {
        let (reply, answer) = bounded(1);
        self.orders.send(order(reply)).ok()?;
        answer.recv().ok()
    }

    /// Writes what is dirty now, then fdatasyncs sled; returns the index that is durable. Blocks.
    pub fn sync(&self) -> Result<u64, StorageError> {
        self.order(Order::Sync).ok_or_else(stopped)
    }

    /// Builds a durable snapshot file in `folder` from a frozen view of sled. Blocks for as long as it takes; batches go on meanwhile.
    pub fn snapshot(&self, folder: &Path) -> Result<SnapshotInfo, StorageError> {
        self.order(|reply| Order::Snapshot(folder.to_owned(), reply))
            .unwrap_or_else(|| Err(stopped()))
    }

    /// From now on batches go to `store`, which stands at `applied`. What the state has not given away yet must already be
    /// that of the new state. Blocks.
    pub fn replace(&self, store: Store, applied: u64) -> Result<(), StorageError> {
        self.order(|reply| Order::Replace(store, applied, reply))
            .ok_or_else(stopped)
    }

    /// Writes a last batch, fdatasyncs, ends the thread.
    pub fn stop(&self) {
        self.order(Order::Stop);
        if let Some(thread) = self.thread.lock().take() {
            // A panic there has been printed already.
            let _ = thread.join();
        }
    }
}

fn stopped() -> StorageError {
    StorageError::Damaged {
        path: "write-behind".into(),
        detail: "the thread has stopped".into(),
    }
}

struct Loop {
    store: Store,
    take: Take,
    committed: Committed,
    stored: Arc<AtomicU64>,
    /// What the last batch carried, for the header of a snapshot.
    meta: Bytes,
    scan: Option<Scan>,
}

/// A snapshot being built: rows from `next` on are still to come.
struct Scan {
    writer: Writer,
    applied: u64,
    meta: Bytes,
    next: Vec<u8>,
    aside: Aside,
    reply: Sender<Result<SnapshotInfo, StorageError>>,
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

impl Loop {
    fn run(mut self, orders: &Receiver<Order>, every: Duration) {
        let mut due = clock::now() + every;
        loop {
            let wait = if self.scan.is_some() {
                Duration::ZERO
            } else {
                clock::left(due)
            };
            match orders.recv_timeout(wait) {
                Ok(Order::Sync(reply)) => {
                    self.sync();
                    // Whoever asked may have gone.
                    let _ = reply.send(self.stored.load(Ordering::Acquire));
                }
                Ok(Order::Snapshot(folder, reply)) => self.begin(&folder, reply),
                Ok(Order::Replace(store, applied, reply)) => {
                    if let Some(scan) = self.scan.take() {
                        scan.writer.abandon();
                    }
                    self.store = store;
                    self.meta = self.store.meta().ok().flatten().unwrap_or_default();
                    self.stored.store(applied, Ordering::Release);
                    let _ = reply.send(());
                }
                Ok(Order::Stop(reply)) => {
                    self.sync();
                    let _ = reply.send(());
                    return;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.sync(),
            }
            if clock::now() >= due {
                self.batch();
                due = clock::now() + every;
            }
            self.slice();
        }
    }

    fn sync(&mut self) {
        self.batch();
        if let Err(error) = self.store.sync() {
            disk_failed("fdatasync of the store", &error);
        }
    }

    fn batch(&mut self) {
        let Some(Batch { applied, meta, rows }) = (self.take)() else {
            return;
        };
        let start = clock::now();
        if let Err(error) = self.set_aside(&rows).and_then(|()| self.store.write(&rows, &meta)) {
            disk_failed("writing to the store", &error);
        }
        self.meta = meta;
        self.stored.store(applied, Ordering::Release);
        METRICS.write_behind_rows.inc_by(rows.len() as u64);
        METRICS.write_behind_seconds.observe(start.elapsed().as_secs_f64());
        METRICS.stored_index.set(applied as i64);
        (self.committed)(applied);
    }

    /// Keeps the snapshot's view: rows that are about to change and have not been written to it yet.
    fn set_aside(&mut self, rows: &[Row]) -> Result<(), StorageError> {
        let Some(scan) = &mut self.scan else { return Ok(()) };
        for row in rows {
            let key = schema::encode(&row.key);
            if key >= scan.next && !scan.aside.rows.contains_key(&key) {
                let before = self.store.get(&row.key)?;
                scan.aside.insert(key, before);
            }
        }
        Ok(())
    }

    fn begin(&mut self, folder: &Path, reply: Sender<Result<SnapshotInfo, StorageError>>) {
        if self.scan.is_some() {
            let _ = reply.send(Err(StorageError::damaged(folder, "another snapshot is being built")));
            return;
        }
        self.batch();
        let applied = self.stored.load(Ordering::Acquire);
        let header = Header {
            format: FORMAT,
            applied,
            meta: self.meta.clone(),
        };
        match Writer::create(folder, &header) {
            Ok(writer) => {
                let (next, meta) = (schema::encode(&crate::state::RowKey::Counters), header.meta);
                self.scan = Some(Scan {
                    writer,
                    applied,
                    meta,
                    next,
                    aside: Aside::default(),
                    reply,
                });
            }
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    /// The next slice of a snapshot, or so many that what is kept aside for it stays within its bound.
    fn slice(&mut self) {
        while let Some(mut scan) = self.scan.take() {
            match scan.slice(&self.store) {
                Ok(false) => {
                    let is_within = scan.aside.bytes <= ASIDE_BYTES_MAX;
                    self.scan = Some(scan);
                    if is_within {
                        return;
                    }
                }
                Ok(true) => scan.finish(),
                Err(error) => {
                    scan.writer.abandon();
                    // Whoever asked may have gone.
                    let _ = scan.reply.send(Err(error));
                }
            }
        }
    }
}

impl Scan {
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
        // Whoever asked may have gone.
        let _ = reply.send(finished);
    }
}

#[cfg(test)]
mod tests {
    use super::{Batch, WriteBehind};
    use crate::base::clock;
    use crate::state::{Row, RowKey};
    use crate::storage::snapshot_file::{restore, rows};
    use crate::storage::{Config, Store, schema};
    use bytes::Bytes;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    fn row(number: u32, version: u64) -> Row {
        let gone = (u64::from(number) + version).is_multiple_of(11);
        Row {
            key: RowKey::User(number),
            value: (!gone).then(|| Bytes::from(vec![version as u8; 2_000])),
        }
    }

    #[test]
    fn a_reopened_store_is_known_to_stand_where_it_does() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config::default();
        let store = Store::open(&folder.path().join("state"), &config).unwrap();
        store.write(&[row(1, 1)], &77u64.to_le_bytes()).unwrap();
        let write_behind = WriteBehind::start(store, &config, Box::new(|| None), Box::new(|_| {})).unwrap();
        assert_eq!((write_behind.stored(), write_behind.sync().unwrap()), (77, 77));
        let info = write_behind.snapshot(folder.path()).unwrap();
        assert_eq!((info.applied, info.meta.as_ref()), (77, &77u64.to_le_bytes()[..]));
        write_behind.stop();
        assert!(write_behind.sync().is_err());
    }

    #[test]
    fn a_snapshot_is_a_frozen_view_while_batches_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            write_behind_every: crate::base::size::Span::millis(1),
            ..Config::default()
        };
        let store = Store::open(&folder.path().join("state"), &config).unwrap();
        let version = Arc::new(AtomicU64::new(0));
        let counter = version.clone();
        // Version v changes all rows: a view that mixes two of them shows.
        let take = move || {
            let applied = counter.fetch_add(1, Ordering::SeqCst) + 1;
            let rows = (0..5_000).map(|number| row(number, applied)).collect();
            (applied <= 60).then(|| Batch {
                applied,
                meta: Bytes::copy_from_slice(&applied.to_le_bytes()),
                rows,
            })
        };
        let write_behind = WriteBehind::start(store, &config, Box::new(take), Box::new(|_| {})).unwrap();
        let deadline = clock::now() + Duration::from_secs(30);
        while write_behind.stored() < 3 && clock::now() < deadline {
            std::thread::yield_now();
        }
        let info = write_behind.snapshot(&folder.path().join("snapshots")).unwrap();
        assert!(
            version.load(Ordering::SeqCst) > info.applied,
            "batches went on meanwhile"
        );
        write_behind.stop();
        let mut before = Vec::new();
        rows(&info.path, |key, _| {
            assert!(key == schema::META || key > before, "rows stand in order");
            before = key;
            Ok(())
        })
        .unwrap();
        let (restored, header) = restore(&info.path, &folder.path().join("again"), &config).unwrap();
        assert_eq!(header.meta, info.applied.to_le_bytes().as_slice());
        for number in 0..5_000 {
            let found = restored.get(&RowKey::User(number)).unwrap();
            assert_eq!(found, row(number, info.applied).value, "row {number}");
        }
    }
}
