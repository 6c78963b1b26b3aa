//! How this node stands in the log, and what its files take: read when somebody asks for metrics.

use super::handle::{Handle, NodeStatus};
use crate::storage::free::Volume;
use crate::storage::sizes::Sizes;
use openraft::async_runtime::WatchReceiver;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Where the log and this node stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    pub term: u64,
    pub has_leader: bool,
    pub is_leader: bool,
    /// Of this node's log.
    pub last: u64,
    /// As far as this node knows.
    pub committed: u64,
    pub applied: u64,
    /// Commands that wait to be packed, or to be passed on.
    pub waiting: usize,
    /// Changed rows that wait for sled.
    pub rows: usize,
    /// All voters, as this node sees them.
    pub nodes: Vec<NodeStatus>,
}

impl Standing {
    /// Entries in the log that are not known to be committed.
    pub fn uncommitted(&self) -> u64 {
        self.last.saturating_sub(self.committed)
    }

    /// Entries that are committed and not applied here.
    pub fn unapplied(&self) -> u64 {
        self.committed.saturating_sub(self.applied)
    }
}

/// What the data folder takes, and what its volume has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    pub sizes: Sizes,
    /// `None` when the volume cannot be asked.
    pub volume: Option<Volume>,
    /// What may be taken before publishes are refused.
    pub left: u64,
    pub reserve: u64,
}

/// How apply goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub applied: u64,
    /// There is nothing that it could do.
    pub is_at_rest: bool,
}

impl Handle {
    pub fn standing(&self) -> Standing {
        let (term, last, committed) = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            let committed = metrics.local_committed.as_ref().map_or(0, |id| id.index);
            (metrics.current_term, metrics.last_log_index.unwrap_or(0), committed)
        };
        let leadership = self.leadership();
        Standing {
            term,
            has_leader: leadership.leader.is_some(),
            is_leader: leadership.is_leader,
            last,
            committed,
            applied: self.applied(),
            waiting: self.line.waiting(),
            rows: self.shared.dirty(),
            nodes: self.nodes(),
        }
    }

    /// Looks at the data folder. Blocks as long as its file system takes.
    pub fn disk(&self) -> Disk {
        let (layout, config) = (&self.shared.layout, &self.shared.storage);
        let (volume, reserve) = (Volume::of(&layout.folder), layout.reserve.held());
        Disk {
            sizes: layout.sizes(),
            left: volume.map_or(0, |volume| volume.left(config, reserve)),
            volume,
            reserve,
        }
    }

    /// Where apply stands: it rests when all that is committed is applied, and while a snapshot takes the state's place.
    pub fn progress(&self) -> Progress {
        let applied = self.applied();
        let committed = self
            .raft
            .metrics()
            .borrow_watched()
            .local_committed
            .as_ref()
            .map_or(0, |id| id.index);
        Progress {
            applied,
            is_at_rest: committed <= applied || self.shared.installing.load(Ordering::Relaxed),
        }
    }

    /// Whether raft's own loop answers within this time.
    pub async fn raft_moves(&self, within: Duration) -> bool {
        let asked = self.raft.with_raft_state(|_| ());
        matches!(tokio::time::timeout(within, asked).await, Ok(Ok(())))
    }

    /// Rounds of the thread that writes rows behind: it makes one every `storage.write_behind_every`.
    pub fn write_behind_rounds(&self) -> u64 {
        self.shared
            .write_behind()
            .map_or(0, crate::storage::WriteBehind::rounds)
    }
}

#[cfg(test)]
mod tests {
    use super::Standing;

    #[test]
    fn lags_are_never_below_nothing() {
        let standing = |last, committed, applied| {
            let standing = Standing {
                last,
                committed,
                applied,
                ..Standing::default()
            };
            (standing.uncommitted(), standing.unapplied())
        };
        assert_eq!(standing(9, 7, 4), (2, 3));
        // what a majority has may be applied before it is in this node's log, and figures are not read at one moment
        assert_eq!(standing(5, 7, 8), (0, 0));
    }
}
