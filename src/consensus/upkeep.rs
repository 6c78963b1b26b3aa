//! What a node does for its own files now and then: makes rows durable, takes snapshots, lets the log go.

use super::log_store::LogStore;
use super::room::Room;
use super::state_machine::Shared;
use super::types::Raft;
use std::io;
use std::sync::Arc;
use std::time::Duration;

const EVERY: Duration = Duration::from_secs(1);
/// Rows and identity are made durable once in so many rounds.
const CHECKPOINT_ROUNDS: u32 = 5;
/// A snapshot is compressed, about sixfold, and the log is not. By letting the log take this many times the last snapshot's bytes,
/// what is written again for each entry stays the same however much is kept.
const LOG_PER_SNAPSHOT: u64 = 6;

pub struct Upkeep {
    shared: Arc<Shared>,
    log: LogStore,
    raft: Raft,
    room: Arc<Room>,
    /// What the log had taken when the last snapshot was ordered.
    ordered_at: u64,
    /// What it had taken when a snapshot was due and did not fit the disk.
    deferred_at: u64,
    /// The newest snapshot, and the one before it.
    newest: u64,
    before: u64,
}

impl Upkeep {
    pub fn new(shared: Arc<Shared>, log: LogStore, raft: Raft, room: Arc<Room>) -> Self {
        let newest = newest(&shared);
        Self {
            shared,
            log,
            raft,
            room,
            ordered_at: 0,
            deferred_at: 0,
            newest,
            before: 0,
        }
    }

    /// Runs until raft has ended.
    pub async fn run(mut self) {
        let mut every = tokio::time::interval(EVERY);
        for round in (0..CHECKPOINT_ROUNDS).cycle() {
            every.tick().await;
            if round == 0
                && let Err(error) = self.checkpoint().await
            {
                tracing::error!(%error, "checkpoint");
            }
            let ended = self.snapshot().await.is_err() || self.purge().await.is_err();
            if ended {
                return;
            }
        }
    }

    async fn checkpoint(&self) -> io::Result<()> {
        let (shared, log) = (self.shared.clone(), self.log.clone());
        let work = move || {
            let known = shared.layout.identity.get().stored;
            let moved = known < shared.replica.read().state.applied();
            if moved {
                shared.sync()?;
            }
            shared.mark(log.durable());
            Ok(())
        };
        tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
    }

    /// Orders a snapshot when the log has taken more than the setting says, or about as much as the last snapshot holds.
    async fn snapshot(&mut self) -> Result<(), impl std::error::Error + use<>> {
        let last = self.shared.snapshot.lock().as_ref().map(|file| file.bytes);
        let taken = self.log.appended();
        let since = taken.saturating_sub(self.ordered_at);
        let held = last.unwrap_or(0).saturating_mul(LOG_PER_SNAPSHOT);
        if since <= self.shared.storage.snapshot_log_bytes.0.max(held) {
            return Ok(());
        }
        // While it is written it must not take the room that the log needs. It holds what the last one held and what came since,
        // or what the store holds.
        let bytes = last.map_or_else(|| self.shared.layout.state_bytes(), |last| last.saturating_add(since));
        if !self.room.fits(bytes) {
            if self.deferred_at <= self.ordered_at {
                tracing::warn!(bytes, "a snapshot is due, but may not fit the disk: the log grows on");
                self.deferred_at = taken;
            }
            return Ok(());
        }
        self.ordered_at = taken;
        self.raft.trigger().snapshot().await
    }

    /// Once there is a new snapshot, the log goes up to the one before it: a node that was away for a while, or takes long over
    /// receiving one, still finds the entries behind it.
    async fn purge(&mut self) -> Result<(), impl std::error::Error + use<>> {
        let newest = newest(&self.shared);
        if newest > self.newest {
            (self.before, self.newest) = (self.newest, newest);
        }
        // Building the snapshot has made the rows durable too; the identity file says how far.
        let upto = self.before.min(self.shared.layout.identity.get().stored);
        if upto <= self.log.purged().unwrap_or(0) {
            return Ok(());
        }
        self.raft.trigger().purge_log(upto).await
    }
}

fn newest(shared: &Shared) -> u64 {
    shared.snapshot.lock().as_ref().map_or(0, |file| file.header.applied)
}
