//! What a node does for its own files now and then: makes rows durable, watches the disk, takes snapshots, lets the log go.

use super::log_store::LogStore;
use super::state_machine::Shared;
use super::types::Raft;
use crate::storage::free;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

const EVERY: Duration = Duration::from_secs(1);
/// Rows and identity are made durable once in so many rounds.
const CHECKPOINT_ROUNDS: u32 = 5;

pub struct Upkeep {
    shared: Arc<Shared>,
    log: LogStore,
    raft: Raft,
    /// Told when the disk is nearly full, and when it no longer is.
    filling: watch::Sender<bool>,
    /// What the log had taken when the last snapshot was ordered.
    ordered_at: u64,
    /// The newest snapshot, and the one before it.
    newest: u64,
    before: u64,
}

impl Upkeep {
    pub fn new(shared: Arc<Shared>, log: LogStore, raft: Raft, filling: watch::Sender<bool>) -> Self {
        let newest = newest(&shared);
        Self {
            shared,
            log,
            raft,
            filling,
            ordered_at: 0,
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
            let full = free::below_reserve(&shared.layout.folder, shared.storage.free_bytes_min.0);
            let known = shared.layout.identity.get().stored;
            let moved = known < shared.replica.read().state.applied();
            if moved {
                shared.sync()?;
            }
            shared.mark(log.durable());
            Ok::<_, io::Error>(full)
        };
        let full = tokio::task::spawn_blocking(work).await.map_err(io::Error::other)??;
        self.filling
            .send_if_modified(|known| std::mem::replace(known, full) != full);
        Ok(())
    }

    /// Orders a snapshot when the log has taken more than the setting says, or than the last snapshot holds.
    async fn snapshot(&mut self) -> Result<(), impl std::error::Error + use<>> {
        let last = self.shared.snapshot.lock().as_ref().map_or(0, |file| file.bytes);
        let taken = self.log.appended();
        if taken.saturating_sub(self.ordered_at) <= self.shared.storage.snapshot_log_bytes.0.max(last) {
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
