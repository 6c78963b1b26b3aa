//! The one door to the replicated state: propose a command, read what is applied, ask who leads.

use crate::model::{Millis, NodeId};
use crate::state::{Command, Effect, Outcome, State};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// What a command came to, and the log entry that holds it. This node has applied that entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposed {
    pub index: u64,
    pub outcome: Outcome,
}

/// Why a command has no outcome.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// It was never proposed: retrying is safe.
    #[error("this node has no leader")]
    NoLeader { retry_after: Duration },
    /// It was never proposed: too much waits already.
    #[error("too many commands wait")]
    Overloaded { retry_after: Duration },
    /// It was never proposed: the disk's reserve is reached.
    #[error("the disk is nearly full")]
    DiskFull,
    /// The deadline passed. `proposed`: it may still be applied; else it never will be.
    #[error("no answer in time")]
    TimedOut { proposed: bool },
    #[error("this node is stopping")]
    Stopping,
}

/// Told of every applied entry; implemented by `node`. Must be quick and must not block.
pub trait Applied: Send + Sync + 'static {
    fn applied(&self, index: u64, effects: Vec<Effect>);
    /// A snapshot replaced the state: windows are rebuilt, all sessions woken.
    fn installed(&self);
}

/// Who leads, as this node knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    pub leader: Option<NodeId>,
    pub term: u64,
    pub is_leader: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeStatus {
    pub node: NodeId,
    /// "leader", "follower", "candidate" or "learner"; for other nodes as far as is known.
    pub role: &'static str,
    pub applied: u64,
    /// Entries behind the leader's log; `None` where this node cannot know.
    pub lag: Option<u64>,
}

#[derive(Clone)]
pub struct Handle {
    state: Arc<parking_lot::RwLock<State>>,
}

impl Handle {
    /// Proposes on the leader, wherever it is, retrying over changes of leader until the deadline, and returns when this
    /// node has applied the entry. Safe to repeat: publishes carry a key, all other commands are idempotent.
    pub async fn propose(&self, _command: Command, _deadline: Instant) -> Result<Proposed, ProposeError> {
        Err(ProposeError::Stopping)
    }

    /// Reads the applied state. The closure must be quick: apply waits for it.
    pub fn read<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(&self.state.read())
    }

    pub fn applied(&self) -> u64 {
        self.read(State::applied)
    }

    /// Waits until this node has applied `index`; `false` when the deadline came first.
    pub async fn wait_applied(&self, _index: u64, _deadline: Instant) -> bool {
        false
    }

    /// ReadIndex: after this, local reads see every write answered before the call. Returns the index.
    pub async fn linearizable(&self, _deadline: Instant) -> Result<u64, ProposeError> {
        Err(ProposeError::Stopping)
    }

    pub fn leadership(&self) -> Leadership {
        Leadership::default()
    }

    /// Changes of [`Leadership`].
    pub fn watch_leadership(&self) -> watch::Receiver<Leadership> {
        watch::channel(Leadership::default()).1
    }

    /// All voters as this node sees them.
    pub fn nodes(&self) -> Vec<NodeStatus> {
        Vec::new()
    }

    /// The cluster's log time as this node can best tell: the last applied entry's, moved on by the monotonic clock.
    pub fn log_time(&self) -> Millis {
        0
    }
}
