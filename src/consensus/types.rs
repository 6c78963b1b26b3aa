//! The names of openraft, fitted to this program: what an entry carries, what applying one answers, who leads.
//!
//! One leader per term (standard Raft), nodes without metadata (addresses are settings), and a responder that is a closure,
//! so that the outcome of an entry goes straight from apply to the callers without a task between.

use crate::model::NodeId;
use crate::state::Outcome;
use bytes::Bytes;
use openraft::alias::{EntryOf, LogIdOf, SnapshotMetaOf, StoredMembershipOf, VoteOf};
use openraft::impls::{BoxedErrorSource, EmptyNode, Entry, EntryPayload, InlineBatch, Vote, leader_id_std};
use openraft::raft::responder::Responder;
use openraft::{OptionalSend, RaftTypeConfig};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The type configuration of this cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Types;

impl RaftTypeConfig for Types {
    type D = Packed;
    type R = Answer;
    type NodeId = NodeId;
    type Node = EmptyNode;
    type Term = u64;
    type LeaderId = leader_id_std::LeaderId<u64, NodeId>;
    type Vote = Vote<Self::LeaderId>;
    type Payload = EntryPayload<Packed, NodeId, EmptyNode>;
    type Entry = Entry<<Self::LeaderId as openraft::vote::RaftLeaderId>::Committed, Self::Payload>;
    type AsyncRuntime = openraft_rt_tokio::TokioRuntime;
    type Responder<T>
        = Completion<T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = BoxedErrorSource;
}

pub type LogEntry = EntryOf<Types>;
pub type LogId = LogIdOf<Types>;
pub type RaftVote = VoteOf<Types>;
pub type Members = StoredMembershipOf<Types>;
pub type SnapshotMeta = SnapshotMetaOf<Types>;
pub type Raft = openraft::Raft<Types, super::state_machine::Machine>;

/// The commands of one entry, encoded once by whoever proposed them: a version byte, then bincode of `state::command::Pack`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packed(pub Bytes);

impl fmt::Debug for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pack of {} bytes", self.0.len())
    }
}

impl fmt::Display for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// One outcome for each command of the entry; none for entries without commands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Answer(pub Vec<Outcome>);

/// A closure that is called with the result, on whichever task has it.
pub struct Completion<T>(Box<dyn FnOnce(T) + Send>);

impl<T> Completion<T> {
    pub fn new(then: impl FnOnce(T) + Send + 'static) -> Self {
        Self(Box::new(then))
    }
}

impl<T: OptionalSend + 'static> Responder<Types, T> for Completion<T> {
    fn on_complete(self, result: T) {
        (self.0)(result);
    }
}
