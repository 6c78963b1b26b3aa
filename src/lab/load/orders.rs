//! What a run and the processes that hold its subscribers say to each other: a line of JSON each, over the pipes of the child.

use super::stamp::Phase;
use crate::lab::door::Way;
use crate::lab::results::Buckets;
use crate::model::{PerPriority, Priority};
use serde::{Deserialize, Serialize};

/// From the run to a crowd.
#[derive(Debug, Serialize, Deserialize)]
pub enum Order {
    Begin(Box<Setup>),
    /// What became of publishes.
    Told(Vec<Told>),
    /// All connections end now; each comes back at a random moment within so many milliseconds.
    Drop {
        spread_ms: u64,
        seed: u64,
    },
    /// Everything has been said: judge, tell, and leave.
    Finish,
}

/// A crowd: users `first` to `first + count` of the scenario, each with a subscription.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Setup {
    pub run: u32,
    pub first: u32,
    pub count: u32,
    pub groups: u32,
    pub recipients: u32,
    /// User n is called this and n.
    pub prefix: String,
    /// The `Authorization` of each; empty where none is asked for.
    pub bearers: Vec<String>,
    pub way: Way,
    /// Of a hundred.
    pub websocket_percent: u32,
    pub receipts: Receipts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Receipts {
    None,
    /// WebSocket subscribers promise to confirm, and do.
    Promised,
}

/// What became of one publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    pub number: u32,
    pub group: u16,
    pub ordinal: u32,
    pub priority: Priority,
    pub phase: Phase,
    pub fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fate {
    /// When its 201 was read, on the monotonic clock.
    Accepted(u64),
    Refused,
    /// Nobody can say: its deliveries are neither missing nor wrong.
    Unknown,
}

/// From a crowd to the run.
#[derive(Debug, Serialize, Deserialize)]
pub enum Word {
    Progress(Progress),
    Finished(Box<Finished>),
    /// It can't go on.
    Failed(String),
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Greeted by a node, and not gone since.
    pub connected: u32,
    /// First deliveries so far.
    pub delivered: u64,
    /// Connections that ended without being told to.
    pub lost: u64,
    /// Attempts to connect that failed.
    pub failed: u64,
    pub trouble: Option<String>,
    /// Accepted to read since the last word, in µs.
    pub recent: Buckets,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Finished {
    pub counts: PerPriority<Counts>,
    /// Broadcasts of others.
    pub foreign: u64,
    /// Frames that said that something can't be replayed.
    pub gaps: u64,
    pub lost: u64,
    pub failed: u64,
    pub trouble: Option<String>,
    /// Accepted to read in µs, of what is measured.
    pub accepted: PerPriority<Buckets>,
    /// Due to read.
    pub due: PerPriority<Buckets>,
    /// Accepted to read, of the warm-up.
    pub warm_up: Buckets,
    /// Read before the publisher had its answer: these count as 0 in `accepted`.
    pub early: u64,
    /// When the last of the deliveries was read, on the monotonic clock.
    pub last_read: u64,
    /// Of each broadcast to everybody: accepted to read in µs, sorted.
    pub everybody: Vec<Vec<u64>>,
    /// From the order to drop until each was greeted again, in ms, sorted.
    pub back_ms: Vec<u64>,
    /// The first of what is wrong, in words.
    pub findings: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub expected: u64,
    /// Read for the first time by one whom it was for.
    pub made: u64,
    pub missing: u64,
    /// Read again on the same connection, or without a break between.
    pub repeated: u64,
    /// Read again after coming back: the contract allows for what was in flight.
    pub resent: u64,
    /// Read by one whom it was not for, or though it was refused.
    pub wrong: u64,
    /// Read after a later one of the same priority, on one connection.
    pub disordered: u64,
}

impl Counts {
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            expected: self.expected + other.expected,
            made: self.made + other.made,
            missing: self.missing + other.missing,
            repeated: self.repeated + other.repeated,
            resent: self.resent + other.resent,
            wrong: self.wrong + other.wrong,
            disordered: self.disordered + other.disordered,
        }
    }
}
