//! The Raft log on disk: entries, vote and commit index in one write-ahead log (`raft-log`), in the order they were given.
//!
//! Nothing is acknowledged before fdatasync. Entries of the open file and the last [`CACHE_BYTES`] stay in memory.

use super::log_sync::{Synced, Waiter};
use super::record::{Key, LogTypes, Payload, VoteRecord};
use super::types::{LogEntry, LogId, RaftVote, Types};
use crate::base::clock;
use crate::storage::durable;
use crate::storage::free::is_full;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader};
use parking_lot::{Mutex, RwLock};
use raft_log::RaftLog;
use raft_log::api::raft_log_writer::RaftLogWriter;
use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;

/// Entries kept in memory beyond those of the open file.
const CACHE_BYTES: usize = 16 << 20;
/// One read for replication stops after this many bytes, so that a follower that lags never asks for much memory.
const READ_BYTES_MAX: usize = 1 << 20;
/// A read that starts further back than this may have to go to disk and leaves the async threads.
const NEAR_ENTRIES: u64 = 256;
/// The file by which `raft-log` keeps other processes away: it is always there, and never written.
const LOCK: &str = "LOCK";
/// Replaying a file reads it in pieces of this size.
const REPLAY_BUFFER_BYTES: usize = 1 << 20;

/// What to do when the disk fails: the process must stop, the sync is never tried again.
pub type OnFailure = Box<dyn Fn(&io::Error) + Send + Sync>;

/// An open log; clones share it. The files close when the last clone is gone.
#[derive(Clone)]
pub struct LogStore {
    owner: Arc<Owner>,
}

/// Closes the log on the thread of its last user: the log's own thread, which holds [`Shared`] too, could not wait for itself.
struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.close();
    }
}

pub struct Shared {
    log: RwLock<Option<RaftLog<LogTypes>>>,
    flush: Mutex<Flush>,
    durable: AtomicU64,
    /// See [`LogStore::appended`].
    appended: AtomicU64,
    pub(super) on_failure: OnFailure,
    /// A file beside the log's, to ask whether they are still there.
    witness: File,
}

#[derive(Default)]
struct Flush {
    running: bool,
    waiters: Vec<Waiter>,
}

/// A process that was killed may have left entries in the page cache that it never said to have. This one says so at once.
fn sync_all(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            durable::sync_data(&File::open(entry.path())?)?;
        }
    }
    Ok(())
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the log is closed")
}

impl LogStore {
    /// Opens or creates the log in `folder`; `chunk_bytes` is the size of one file.
    pub fn open(folder: &Path, chunk_bytes: usize, flush_wait: Duration, on_failure: OnFailure) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let mut config = raft_log::Config::new(folder.display());
        config.log_cache_capacity = Some(CACHE_BYTES);
        config.wal.chunk_max_size = Some(chunk_bytes);
        config.wal.read_buffer_size = Some(REPLAY_BUFFER_BYTES);
        config.wal.flush_batch_wait = Some(flush_wait);
        // One flush is under way at most, and its callback starts the next: a limit would make the log's thread wait for itself.
        config.wal.flush_queue_max_bytes = Some(usize::MAX / 2);
        let log = RaftLog::<LogTypes>::open(Arc::new(config))?;
        sync_all(folder)?;
        let witness = File::open(folder.join(LOCK))?;
        let durable = log.log_state().last().map_or(0, |key| key.index);
        let bytes = log.on_disk_size();
        let shared = Shared {
            log: RwLock::new(Some(log)),
            flush: Mutex::default(),
            durable: AtomicU64::new(durable),
            appended: AtomicU64::new(bytes),
            on_failure,
            witness,
        };
        Ok(Self {
            owner: Arc::new(Owner(Arc::new(shared))),
        })
    }

    /// The index of the last entry known to be on disk.
    pub fn durable(&self) -> u64 {
        self.shared().durable.load(Ordering::Acquire)
    }

    /// Whether nothing was ever written: no vote and no entry.
    pub fn is_empty(&self) -> bool {
        self.with(|log| {
            let state = log.log_state();
            Ok(state.vote().is_none() && state.last().is_none())
        })
        .unwrap_or(false)
    }

    /// Bytes the log has taken: what its files held when it was opened, and every entry since.
    pub fn appended(&self) -> u64 {
        self.shared().appended.load(Ordering::Relaxed)
    }

    /// The index up to which entries were purged.
    pub fn purged(&self) -> Option<u64> {
        self.with(|log| Ok(log.log_state().purged().map(|key| key.index)))
            .ok()
            .flatten()
    }

    /// Writes and syncs what is left and closes the files. Blocks.
    pub fn close(&self) {
        self.shared().close();
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.owner.0
    }

    fn with<R>(&self, look: impl FnOnce(&RaftLog<LogTypes>) -> io::Result<R>) -> io::Result<R> {
        self.shared().log.read().as_ref().ok_or_else(closed).and_then(look)
    }

    fn change<R>(&self, act: impl FnOnce(&mut RaftLog<LogTypes>) -> io::Result<R>) -> io::Result<R> {
        let changed = self.shared().log.write().as_mut().ok_or_else(closed).and_then(act);
        changed.inspect_err(|error| self.shared().note_full(error))
    }

    /// Changes the log and waits until that is on disk.
    async fn change_durably(&self, act: impl FnOnce(&mut RaftLog<LogTypes>) -> io::Result<()>) -> io::Result<()> {
        let (done, wait) = oneshot::channel();
        self.shared().write(act, Waiter::Other(done))?;
        wait.await.map_err(|_| closed())
    }

    /// Entries from `from` to before `to`, until they exceed `bytes_max`; one at least.
    fn read(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<LogEntry>> {
        self.with(|log| {
            let mut entries = Vec::new();
            let mut bytes = 0;
            for item in log.read(from, to) {
                let (key, payload) = item?;
                bytes += payload.len();
                entries.push(payload.into_entry(&key)?);
                if bytes >= bytes_max {
                    break;
                }
            }
            Ok(entries)
        })
    }

    async fn read_anywhere(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<LogEntry>> {
        let last = self.with(|log| Ok(log.log_state().last().map_or(0, |key| key.index)))?;
        if from + NEAR_ENTRIES >= last {
            return self.read(from, to, bytes_max);
        }
        let store = self.clone();
        tokio::task::spawn_blocking(move || store.read(from, to, bytes_max))
            .await
            .map_err(io::Error::other)?
    }
}

impl Shared {
    fn write(
        self: &Arc<Self>,
        act: impl FnOnce(&mut RaftLog<LogTypes>) -> io::Result<()>,
        waiter: Waiter,
    ) -> io::Result<()> {
        let mut guard = self.log.write();
        let log = guard.as_mut().ok_or_else(closed)?;
        act(log).inspect_err(|error| self.note_full(error))?;
        let mut flush = self.flush.lock();
        flush.waiters.push(waiter);
        if flush.running {
            return Ok(());
        }
        flush.running = true;
        self.start_flush(log, &mut flush)
    }

    /// Where not even an empty file can be made, the disk has failed as much as with a write.
    fn note_full(&self, error: &io::Error) {
        if is_full(error) {
            (self.on_failure)(error);
        }
    }

    fn start_flush(self: &Arc<Self>, log: &mut RaftLog<LogTypes>, flush: &mut Flush) -> io::Result<()> {
        let synced = Synced {
            shared: self.clone(),
            waiters: std::mem::take(&mut flush.waiters),
            last: log.log_state().last().map_or(0, |key| key.index),
            started: clock::now(),
            told: false,
        };
        log.flush(true, Some(synced))
    }

    /// The flush before is done: starts one for what came meanwhile.
    pub(super) fn flush_next(self: &Arc<Self>) -> io::Result<()> {
        let mut guard = self.log.write();
        let mut flush = self.flush.lock();
        match guard.as_mut() {
            Some(log) if !flush.waiters.is_empty() => self.start_flush(log, &mut flush),
            _ => {
                flush.running = false;
                Ok(())
            }
        }
    }

    /// What was said of a sync a moment ago counts.
    pub(super) fn is_believable(&self) -> io::Result<()> {
        durable::still_there(&self.witness)
    }

    pub(super) fn note_durable(&self, last: u64) {
        self.durable.store(last, Ordering::Release);
    }

    fn close(&self) {
        let log = self.log.write().take();
        drop(log); // joins the log's thread, which takes the lock above: it must be free here
    }
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(index) => *index,
        Bound::Excluded(index) => index + 1,
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(index) => index + 1,
        Bound::Excluded(index) => *index,
        Bound::Unbounded => u64::MAX,
    };
    (from, to.max(from))
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<R>(&mut self, range: R) -> io::Result<Vec<LogEntry>>
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (from, to) = bounds(&range);
        self.read_anywhere(from, to, usize::MAX).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<LogEntry>> {
        self.read_anywhere(start, end, READ_BYTES_MAX).await
    }

    async fn entries_stream<R>(
        &mut self,
        range: R,
    ) -> impl futures_util::Stream<Item = io::Result<LogEntry>> + OptionalSend
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (from, to) = bounds(&range);
        let pieces = futures_util::stream::try_unfold((self.clone(), from), move |(store, from)| async move {
            if from >= to {
                return Ok(None);
            }
            let entries = store.read_anywhere(from, to, READ_BYTES_MAX).await?;
            let next = entries.last().map(|entry| entry.log_id.index + 1);
            Ok::<_, io::Error>(
                next.map(|next| (futures_util::stream::iter(entries.into_iter().map(Ok)), (store, next))),
            )
        });
        Box::pin(futures_util::TryStreamExt::try_flatten(pieces))
    }

    async fn read_vote(&mut self) -> io::Result<Option<RaftVote>> {
        self.with(|log| Ok(log.log_state().vote().map(RaftVote::from)))
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        self.with(|log| {
            let state = log.log_state();
            Ok(LogState {
                last_purged_log_id: state.purged().map(LogId::from),
                last_log_id: state.last().map(LogId::from),
            })
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &RaftVote) -> io::Result<()> {
        let vote = VoteRecord::from(vote);
        self.change_durably(|log| log.save_vote(vote).map(drop)).await
    }

    /// Rides with the next flush: after a crash an older commit index only means that the leader has to tell it again.
    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        let Some(committed) = committed.as_ref().map(Key::from) else {
            return Ok(());
        };
        self.change(|log| {
            let state = log.log_state();
            let news = Some(&committed) > state.committed() && Some(&committed) <= state.last();
            if news {
                log.commit(committed)?;
            }
            Ok(())
        })
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        self.with(|log| Ok(log.log_state().committed().map(LogId::from)))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = LogEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let records = entries.into_iter().map(Payload::new).collect::<io::Result<Vec<_>>>()?;
        let bytes: usize = records.iter().map(|(_, payload)| payload.len()).sum();
        self.shared().appended.fetch_add(bytes as u64, Ordering::Relaxed);
        self.shared()
            .write(|log| log.append(records).map(drop), Waiter::Append(callback))
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let from = last.map_or(0, |id| id.index + 1);
        let nothing_after = |log: &RaftLog<LogTypes>| Ok(log.log_state().last().is_none_or(|last| last.index < from));
        if self.with(nothing_after)? {
            return Ok(());
        }
        self.change_durably(|log| log.truncate(from).map(drop)).await
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        let upto = Key::from(&upto);
        self.change_durably(|log| log.purge(upto).map(drop)).await
    }
}

#[cfg(test)]
mod tests {
    use super::{LogStore, Synced, Waiter};
    use crate::base::clock;
    use std::fs::File;
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;
    use tokio::sync::oneshot;

    /// An open log, and how often its disk has failed.
    fn open(folder: &Path) -> (LogStore, Arc<AtomicU32>) {
        let failures = Arc::new(AtomicU32::new(0));
        let count = failures.clone();
        let on_failure = Box::new(move |_: &std::io::Error| {
            count.fetch_add(1, Ordering::SeqCst);
        });
        let log = LogStore::open(folder, 1 << 20, Duration::ZERO, on_failure).unwrap();
        (log, failures)
    }

    fn flush(log: &LogStore, waiters: Vec<Waiter>) -> Synced {
        Synced {
            shared: log.shared().clone(),
            waiters,
            last: 7,
            started: clock::now(),
            told: false,
        }
    }

    #[test]
    fn a_yes_from_a_disk_that_is_gone_is_not_passed_on() {
        let folder = tempfile::tempdir().unwrap();
        let (mut log, failures) = open(folder.path());
        // Nobody else holds it yet. A file that cannot be read stands for a file system that does not answer.
        let owner = Arc::get_mut(&mut log.owner).unwrap();
        let shared = Arc::get_mut(&mut owner.0).unwrap();
        shared.witness = File::create(folder.path().join("unreadable")).unwrap();
        let (done, mut waits) = oneshot::channel();
        raft_log::Callback::send(flush(&log, vec![Waiter::Other(done)]), Ok(()));
        assert_eq!(waits.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        assert_eq!((failures.load(Ordering::SeqCst), log.durable()), (1, 0));
    }

    #[test]
    fn a_flush_that_ends_without_a_word_is_a_disk_that_failed() {
        let folder = tempfile::tempdir().unwrap();
        let (log, failures) = open(folder.path());
        let flush = || flush(&log, Vec::new());
        raft_log::Callback::send(flush(), Ok(()));
        assert_eq!(failures.load(Ordering::SeqCst), 0);
        drop(flush());
        assert_eq!(failures.load(Ordering::SeqCst), 1);
        raft_log::Callback::send(flush(), Err(std::io::ErrorKind::StorageFull.into()));
        assert_eq!(failures.load(Ordering::SeqCst), 2);
        log.close();
        assert_eq!(failures.load(Ordering::SeqCst), 2);
    }
}
