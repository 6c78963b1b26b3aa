//! What happens when a flush of the log is on disk: tell whoever waited, and start the next flush if more came meanwhile.
//!
//! One flush is under way at most; whatever is appended during it shares the next one (group commit without a timer). An idle
//! log starts a flush at once.

use super::log_store::Shared;
use super::types::Types;
use crate::base::clock;
use crate::metrics::METRICS;
use openraft::storage::IOFlushed;
use std::io;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::oneshot;

/// Who waits for a flush.
pub enum Waiter {
    Append(IOFlushed<Types>),
    Other(oneshot::Sender<()>),
}

/// Called by the log's own thread after its fdatasync.
pub struct Synced {
    pub(super) shared: Arc<Shared>,
    pub(super) waiters: Vec<Waiter>,
    /// The last entry that this flush made durable.
    pub(super) last: u64,
    pub(super) started: Instant,
    /// Whether the log's thread has said what became of the flush.
    pub(super) told: bool,
}

/// The log's thread ends without a word when what it writes between flushes fails. Nobody would be answered ever again.
impl Drop for Synced {
    fn drop(&mut self) {
        if !self.told {
            (self.shared.on_failure)(&io::Error::other("the log's thread has ended"));
        }
    }
}

impl raft_log::Callback for Synced {
    fn send(mut self, result: io::Result<()>) {
        self.told = true;
        if let Err(error) = result.and_then(|()| self.shared.is_believable()) {
            // The page cache no longer says what is on disk: trying again would lie. The waiters are never answered.
            (self.shared.on_failure)(&error);
            return;
        }
        let took = clock::now().saturating_duration_since(self.started);
        METRICS.log_sync_seconds.observe(took.as_secs_f64());
        self.shared.note_durable(self.last);
        tracing::debug!(last = self.last, micros = took.as_micros() as u64, "log synced");
        for waiter in std::mem::take(&mut self.waiters) {
            match waiter {
                Waiter::Append(flushed) => flushed.io_completed(Ok(())),
                Waiter::Other(done) => {
                    let _ = done.send(());
                }
            }
        }
        if let Err(error) = self.shared.flush_next() {
            (self.shared.on_failure)(&error);
        }
    }
}
