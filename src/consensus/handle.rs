//! The one door to the replicated state: propose a command, read what is applied, ask who leads.

use super::admission::{RETRY_AFTER, Standing, fullness};
use super::line::{Item, Line, NotTaken, Progress, Waiting};
use super::network::Peers;
use super::room::{Room, grows};
use super::rpc;
use super::server::LEFT_OUT;
use super::state_machine::Shared;
use super::types::Raft;
use crate::base::clock;
use crate::metrics::METRICS;
use crate::model::{Millis, NodeId, Position, Priority};
use crate::queue::admission::Fullness;
use crate::state::{Command, Effect, Outcome, State};
use crate::storage::Store;
use bytes::Bytes;
use openraft::Instant as _;
use openraft::ReadPolicy;
use openraft::async_runtime::WatchReceiver;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

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
    /// It was never proposed: so much waits that the room left is for what is more urgent.
    #[error("too much waits for broadcasts of priority {}", .priority.name())]
    Shed { priority: Priority, retry_after: Duration },
    /// It was never proposed: the disk's reserve is reached.
    #[error("the disk is nearly full")]
    DiskFull,
    /// The deadline passed. `proposed`: it may still be applied; else it never will be.
    #[error("no answer in time")]
    TimedOut { proposed: bool },
    #[error("this node is stopping")]
    Stopping,
}

impl ProposeError {
    /// Above critical there is nothing that the room could be kept for.
    pub(super) const fn of_shed(priority: Priority, retry_after: Duration) -> Self {
        match priority {
            Priority::Critical => Self::Overloaded { retry_after },
            Priority::High | Priority::Normal | Priority::Low => Self::Shed { priority, retry_after },
        }
    }
}

/// Told of every applied entry; implemented by `node`. Must be quick and must not block.
pub trait Applied: Send + Sync + 'static {
    fn applied(&self, index: u64, effects: Vec<Effect>);
    /// A snapshot replaced the state: windows are rebuilt, all sessions woken.
    fn installed(&self);
    /// Releases up to this position are in sled.
    fn stored(&self, position: Position);
}

/// Who leads, as this node knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    pub leader: Option<NodeId>,
    pub term: u64,
    pub is_leader: bool,
}

/// What a node is to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    Leader,
    Follower,
    /// It does not answer.
    Unreachable,
    /// Only a leader knows of the others.
    Unknown,
}

impl Role {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Follower => "follower",
            Self::Unreachable => "unreachable",
            Self::Unknown => "unknown",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    pub node: NodeId,
    pub role: Role,
    /// `None` where it is not known, or has not been heard of for a while.
    pub applied: Option<u64>,
    /// Entries behind the leader's log; `None` like `applied`.
    pub lag: Option<u64>,
}

/// A peer that has not answered the leader for this long is not counted as heard.
const HEARD_WITHIN: Duration = Duration::from_secs(2);
/// The leader says within this how the others are.
const ASKED_WITHIN: Duration = Duration::from_secs(1);
#[derive(Clone)]
pub struct Handle {
    pub(super) node: NodeId,
    pub(super) shared: Arc<Shared>,
    pub(super) raft: Raft,
    pub(super) peers: Arc<Peers>,
    pub(super) line: Line,
    pub(super) leadership: watch::Receiver<Leadership>,
    pub(super) room: Arc<Room>,
}

impl Handle {
    /// Proposes on the leader, wherever it is, retrying over changes of leader until the deadline, and returns when this
    /// node has applied the entry. Safe to repeat: publishes carry a key, all other commands are idempotent.
    pub async fn propose(&self, command: Command, deadline: Instant) -> Result<Proposed, ProposeError> {
        let standing = Standing::of(&command);
        if !standing.fits(self.fullness()) {
            return Err(standing.turned_away());
        }
        let grows = grows(&command);
        if grows && !self.is_founded(deadline).await {
            return Err(ProposeError::NoLeader {
                retry_after: RETRY_AFTER,
            });
        }
        let command: Bytes = bincode::serialize(&command).map_err(|_| ProposeError::Stopping)?.into();
        if grows && !self.room.admit(command.len()) {
            return Err(ProposeError::DiskFull);
        }
        let progress = Arc::new(Progress::default());
        let (reply, answer) = oneshot::channel();
        let waiting = Waiting {
            command,
            deadline,
            standing,
            progress: progress.clone(),
            reply,
        };
        self.line.try_push(Item::One(waiting)).map_err(|error| match error {
            NotTaken::Full => {
                METRICS.limits_hit.with_label_values(&["cluster.waiting_max"]).inc();
                ProposeError::Overloaded {
                    retry_after: RETRY_AFTER,
                }
            }
            NotTaken::Closed => ProposeError::Stopping,
        })?;
        match tokio::time::timeout_at(deadline.into(), answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) | Err(_) => Err(self.not_answered(&progress)),
        }
    }

    /// How full the way into the log is, on this node.
    pub fn fullness(&self) -> Fullness {
        fullness(&self.line, &self.shared, &self.raft)
    }

    /// Why this node takes no part in its cluster although it runs.
    pub fn left_out(&self) -> Option<String> {
        self.peers
            .is_left_out()
            .then(|| format!("node {} {LEFT_OUT}", self.node))
    }

    /// A new history gets its name from its first leader; ids of broadcasts carry it.
    pub async fn is_founded(&self, deadline: Instant) -> bool {
        if self.read(State::epoch) != 0 {
            return true;
        }
        let mut applied = self.shared.applied.subscribe();
        let named = applied.wait_for(|_| self.read(State::epoch) != 0);
        matches!(tokio::time::timeout_at(deadline.into(), named).await, Ok(Ok(_)))
    }

    fn not_answered(&self, progress: &Progress) -> ProposeError {
        match (progress.abandon(), self.leadership.borrow().leader) {
            (true, None) => ProposeError::NoLeader {
                retry_after: RETRY_AFTER,
            },
            (never, _) => ProposeError::TimedOut { proposed: !never },
        }
    }

    /// Reads the applied state. The closure must be quick: apply waits for it.
    pub fn read<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(&self.shared.replica.read().state)
    }

    /// The store in use; another one after a snapshot was installed.
    pub fn store(&self) -> Store {
        self.shared.store.read().clone()
    }

    pub fn applied(&self) -> u64 {
        *self.shared.applied.borrow()
    }

    /// The applied index whose rows are in sled.
    pub fn stored(&self) -> u64 {
        self.shared
            .write_behind()
            .map_or(0, crate::storage::WriteBehind::stored)
    }

    /// Releases up to this position are in sled.
    pub fn stored_position(&self) -> Position {
        self.shared.stored_position.load(Ordering::Acquire)
    }

    /// Waits until this node has applied `index`; `false` when the deadline came first.
    pub async fn wait_applied(&self, index: u64, deadline: Instant) -> bool {
        let mut applied = self.shared.applied.subscribe();
        let reached = applied.wait_for(|applied| *applied >= index);
        matches!(tokio::time::timeout_at(deadline.into(), reached).await, Ok(Ok(_)))
    }

    /// `ReadIndex`: after this, local reads see every write answered before the call. Returns the index.
    pub async fn linearizable(&self, deadline: Instant) -> Result<u64, ProposeError> {
        let index = loop {
            let leadership = self.leadership.borrow().clone();
            let found = match leadership.leader {
                None => None,
                Some(_) if leadership.is_leader => self.read_index(deadline).await,
                Some(leader) => self.read_index_of(leader, deadline).await,
            };
            if let Some(index) = found {
                break index;
            }
            if clock::left(deadline).is_zero() {
                return Err(ProposeError::NoLeader {
                    retry_after: RETRY_AFTER,
                });
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        if self.wait_applied(index, deadline).await {
            Ok(index)
        } else {
            Err(ProposeError::TimedOut { proposed: false })
        }
    }

    /// On the leader, confirmed by a majority.
    pub(super) async fn read_index(&self, deadline: Instant) -> Option<u64> {
        let confirmed = self.raft.ensure_linearizable(ReadPolicy::ReadIndex);
        // It returns when this node has applied what the read must see.
        tokio::time::timeout_at(deadline.into(), confirmed).await.ok()?.ok()?;
        Some(self.applied())
    }

    async fn read_index_of(&self, leader: NodeId, deadline: Instant) -> Option<u64> {
        let ways = self.peers.get(leader)?;
        let cluster = self.peers.cluster();
        ways.forward
            .call::<(), Option<u64>>(rpc::READ_INDEX, cluster, &(), deadline)
            .await
            .ok()?
    }

    pub fn leadership(&self) -> Leadership {
        self.leadership.borrow().clone()
    }

    /// Changes of [`Leadership`].
    pub fn watch_leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    /// All voters as the leader sees them; where it cannot be asked, as far as this node knows.
    pub async fn nodes_of_leader(&self) -> Vec<NodeStatus> {
        let leadership = self.leadership();
        let mut own = self.nodes();
        let Some(leader) = leadership.leader.filter(|_| !leadership.is_leader) else {
            return own;
        };
        let Some(mut told) = self.ask_nodes(leader).await else {
            let leaders = own.iter_mut().filter(|status| status.node == leader);
            leaders.for_each(|status| status.role = Role::Unreachable);
            return own;
        };
        // the leader knows what this node holds, not what it has applied
        let mine = told.iter_mut().filter(|status| status.node == self.node);
        mine.for_each(|status| status.applied = Some(self.applied()));
        told
    }

    async fn ask_nodes(&self, leader: NodeId) -> Option<Vec<NodeStatus>> {
        let ways = self.peers.get(leader)?;
        let (cluster, deadline) = (self.peers.cluster(), clock::now() + ASKED_WITHIN);
        let asked = ways
            .forward
            .call::<(), Option<Vec<NodeStatus>>>(rpc::NODES, cluster, &(), deadline);
        asked.await.ok()?
    }

    /// All voters as this node sees them: of the others only a leader knows.
    pub fn nodes(&self) -> Vec<NodeStatus> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let Leadership { leader, is_leader, .. } = self.leadership();
        let last = metrics.last_log_index.unwrap_or(0);
        let of = |node: NodeId| {
            let leads = leader == Some(node);
            if node == self.node {
                return NodeStatus {
                    node,
                    role: if leads { Role::Leader } else { Role::Follower },
                    applied: Some(self.applied()),
                    lag: leader.map(|_| last.saturating_sub(self.applied())),
                };
            }
            let replicated = metrics.replication.as_ref();
            let replicated = replicated.and_then(|all| all.get(&node)).copied().flatten();
            let heard = metrics.heartbeat.as_ref();
            let heard = heard.and_then(|all| all.get(&node)).copied().flatten();
            let heard = heard.is_some_and(|at| at.elapsed() < HEARD_WITHIN);
            let matched = heard.then(|| replicated.map_or(0, |id| id.index));
            NodeStatus {
                node,
                role: match (leads, is_leader) {
                    (true, _) => Role::Leader,
                    (false, true) if heard => Role::Follower,
                    (false, true) => Role::Unreachable,
                    (false, false) => Role::Unknown,
                },
                applied: matched,
                lag: matched.map(|matched| last.saturating_sub(matched)),
            }
        };
        let mut nodes: Vec<NodeId> = self.peers.iter().map(|(node, _)| node).collect();
        if !nodes.contains(&self.node) {
            nodes.push(self.node);
        }
        nodes.sort_unstable();
        nodes.into_iter().map(of).collect()
    }

    /// The cluster's log time as this node can best tell: the last applied entry's, moved on by the monotonic clock.
    pub fn log_time(&self) -> Millis {
        let (at, since) = *self.shared.log_time.lock();
        at.saturating_add(since.elapsed().as_millis() as Millis)
    }
}
