//! The thread that owns sled: a batch per tick, snapshots in slices between batches.
//!
//! The first write or sync that fails ends the process: what the page cache holds after that is anybody's guess, and the log
//! has everything.

use super::Config;
use super::frozen::{Frozen, Reply, Wanted};
use super::snapshot_file::Origin;
use super::store::{StorageError, Store};
use super::sweep::Swept;
use crate::base::clock;
use crate::metrics::METRICS;
use crate::model::Position;
use crate::state::Row;
use bytes::Bytes;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// What changed since the last batch, and the log position it stands at.
pub struct Batch {
    pub applied: u64,
    /// The applied index (u64, little-endian), then what `consensus` needs to go on from here: opaque to storage.
    pub meta: Bytes,
    pub rows: Vec<Row>,
    /// Broadcasts at or below this are gone: what is left of them here is removed little by little.
    pub forgotten: Position,
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
    Sync(SyncSender<u64>),
    Snapshot(Wanted, Reply),
    /// A restored store takes the place of this one; what was dirty belongs to the state before.
    Replace(Store, u64, SyncSender<()>),
    Stop(SyncSender<()>),
}

/// Orders that may wait for the thread.
const ORDERS_MAX: usize = 16;
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
    orders: SyncSender<Order>,
    stored: Arc<AtomicU64>,
    rounds: Arc<AtomicU64>,
    thread: Arc<parking_lot::Mutex<Option<JoinHandle<()>>>>,
}

type Take = Box<dyn FnMut() -> Option<Batch> + Send>;
type Committed = Box<dyn FnMut(u64) + Send>;

impl WriteBehind {
    /// `take` is called once per tick; `None` when nothing changed. `committed` is told each batch's applied index.
    pub fn start(store: Store, config: &Config, take: Take, committed: Committed) -> Result<Self, StorageError> {
        let (orders, waiting) = sync_channel(ORDERS_MAX);
        // A snapshot before the first batch says where the store stands too.
        let meta = store.meta()?.unwrap_or_default();
        let stored = Arc::new(AtomicU64::new(store.applied()?));
        let rounds = Arc::new(AtomicU64::new(0));
        let folder = store.folder().to_owned();
        let every = config.write_behind_every.0;
        let writer = Loop {
            store,
            take,
            committed,
            stored: stored.clone(),
            rounds: rounds.clone(),
            meta,
            frozen: None,
            forgotten: 0,
            swept: 0,
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
            rounds,
            thread: Arc::new(parking_lot::Mutex::new(Some(thread))),
        })
    }

    /// The applied index of the last batch in sled (not yet fdatasynced).
    pub fn stored(&self) -> u64 {
        self.stored.load(Ordering::Acquire)
    }

    /// How often the thread has looked for work: it stands still when this does.
    pub fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }

    fn order<T>(&self, order: impl FnOnce(SyncSender<T>) -> Order) -> Option<T> {
        let (reply, answer) = sync_channel(1);
        self.orders.send(order(reply)).ok()?;
        answer.recv().ok()
    }

    /// Writes what is dirty now, then fdatasyncs sled; returns the index that is durable. Blocks.
    pub fn sync(&self) -> Result<u64, StorageError> {
        self.order(Order::Sync).ok_or_else(stopped)
    }

    /// Builds a durable snapshot file in `folder` from a frozen view of sled. Blocks for as long as it takes; batches go on meanwhile.
    pub fn snapshot(&self, folder: &Path, origin: Origin) -> Result<SnapshotInfo, StorageError> {
        let folder = folder.to_owned();
        self.order(|reply| Order::Snapshot(Wanted { folder, origin }, reply))
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
    rounds: Arc<AtomicU64>,
    /// What the last batch carried, for the header of a snapshot.
    meta: Bytes,
    frozen: Option<Frozen>,
    /// Broadcasts at or below this are gone, and those at or below `swept` have left no rows here.
    forgotten: Position,
    swept: Position,
}

impl Loop {
    fn run(mut self, orders: &Receiver<Order>, every: Duration) {
        let mut due = clock::now() + every;
        loop {
            self.rounds.fetch_add(1, Ordering::Relaxed);
            let wait = if self.frozen.is_some() {
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
                Ok(Order::Snapshot(wanted, reply)) => self.begin(&wanted, reply),
                Ok(Order::Replace(store, applied, reply)) => {
                    if let Some(frozen) = self.frozen.take() {
                        frozen.abandon();
                    }
                    self.store = store;
                    self.swept = 0;
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
                self.sweep();
                due = clock::now() + every;
            }
            self.frozen = self.frozen.take().and_then(|frozen| frozen.advance(&self.store));
        }
    }

    fn sync(&mut self) {
        self.batch();
        let start = clock::now();
        if let Err(error) = self.store.sync() {
            disk_failed("fdatasync of the store", &error);
        }
        METRICS.store_sync_seconds.observe(start.elapsed().as_secs_f64());
    }

    fn batch(&mut self) {
        let Some(batch) = (self.take)() else {
            return;
        };
        let Batch {
            applied,
            meta,
            rows,
            forgotten,
        } = batch;
        let start = clock::now();
        let kept = match &mut self.frozen {
            Some(frozen) => frozen.keep_aside(&self.store, &rows),
            None => Ok(()),
        };
        if let Err(error) = kept.and_then(|()| self.store.write(&rows, &meta)) {
            disk_failed("writing to the store", &error);
        }
        self.meta = meta;
        self.forgotten = forgotten;
        self.stored.store(applied, Ordering::Release);
        METRICS.write_behind_rows.inc_by(rows.len() as u64);
        METRICS.write_behind_seconds.observe(start.elapsed().as_secs_f64());
        METRICS.stored_index.set(applied as i64);
        (self.committed)(applied);
    }

    /// Removes some rows of broadcasts that are gone. A snapshot would have to keep them aside: they wait until it is written.
    fn sweep(&mut self) {
        if self.swept >= self.forgotten || self.frozen.is_some() {
            return;
        }
        match self.store.sweep(self.forgotten, &self.meta) {
            Ok(Swept::All) => self.swept = self.forgotten,
            Ok(Swept::Some) => {}
            Err(error) => disk_failed("removing from the store", &error),
        }
    }

    fn begin(&mut self, wanted: &Wanted, reply: Reply) {
        if self.frozen.is_some() {
            // Whoever asked may have gone.
            let _ = reply.send(Err(StorageError::NotNow("another snapshot is being built".into())));
            return;
        }
        self.batch();
        self.frozen = Frozen::begin(wanted, self.stored.load(Ordering::Acquire), self.meta.clone(), reply);
    }
}

#[cfg(test)]
mod tests {
    use super::{Batch, WriteBehind};
    use crate::base::clock;
    use crate::state::{Row, RowKey};
    use crate::storage::snapshot_file::{Origin, restore, rows};
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
        let info = write_behind.snapshot(folder.path(), Origin::default()).unwrap();
        assert_eq!((info.applied, info.meta.as_ref()), (77, &77u64.to_le_bytes()[..]));
        write_behind.stop();
        assert!(write_behind.sync().is_err());
    }

    #[test]
    fn what_is_forgotten_goes_little_by_little_from_any_store_in_use() {
        const COUNT: u64 = 700;
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            write_behind_every: crate::base::size::Span::millis(1),
            ..Config::default()
        };
        let filled = |name: &str| {
            let store = Store::open(&folder.path().join(name), &config).unwrap();
            let ledger = |number| Row {
                key: RowKey::Ledger(number),
                value: Some(Bytes::from_static(b"x")),
            };
            let rows: Vec<Row> = (1..=COUNT).map(ledger).collect();
            store.write(&rows, &1u64.to_le_bytes()).unwrap();
            store
        };
        let first_left =
            |store: &Store| (1..=COUNT).find(|number| store.get(&RowKey::Ledger(*number)).unwrap().is_some());
        let check = |store: &Store| {
            let deadline = clock::now() + Duration::from_secs(30);
            while first_left(store) != Some(COUNT) {
                assert!(clock::now() < deadline, "rows from {:?} are left", first_left(store));
                std::thread::yield_now();
            }
            assert_eq!(store.meta().unwrap().unwrap(), 2u64.to_le_bytes().as_slice());
        };
        let (first, second) = (filled("a"), filled("b"));
        let take = || {
            Some(Batch {
                applied: 2,
                meta: Bytes::copy_from_slice(&2u64.to_le_bytes()),
                rows: Vec::new(),
                forgotten: COUNT - 1,
            })
        };
        let write_behind = WriteBehind::start(first.clone(), &config, Box::new(take), Box::new(|_| {})).unwrap();
        check(&first);
        write_behind.replace(second.clone(), 1).unwrap();
        check(&second);
        write_behind.stop();
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
                forgotten: 0,
            })
        };
        let write_behind = WriteBehind::start(store, &config, Box::new(take), Box::new(|_| {})).unwrap();
        let deadline = clock::now() + Duration::from_secs(30);
        while write_behind.stored() < 3 && clock::now() < deadline {
            std::thread::yield_now();
        }
        let info = write_behind
            .snapshot(&folder.path().join("snapshots"), Origin::default())
            .unwrap();
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
