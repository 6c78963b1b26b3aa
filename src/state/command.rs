//! Everything that can change the cluster. Time and ids travel in here; `apply` has neither clock nor dice.

use super::alerts::Report;
use super::cache::CacheChange;
use super::dead::Settle;
use super::journal::JournalEntry;
use super::ledger::Ledger;
use super::outbox::{Called, Claim};
use super::rights::Grant;
use super::zones::ZoneTable;
use crate::model::directory::{Preferences, Segment, User, Venue, Wedding};
use crate::model::{Caller, Draft, Millis, NodeId, Number, PerPriority, Place, Position, Retry, Step, UserNumber};
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// The first command of a history names it; later ones change nothing.
    Found(Found),
    Publish(Box<Publish>),
    Cancel(Box<Cancel>),
    Redeliver(Box<Redeliver>),
    /// The dead letters of a block of broadcasts.
    Settle(Box<Settle>),
    /// All of them or none.
    Directory(Vec<Change>),
    Acknowledge(Acknowledged),
    Receipts(Receipts),
    Presence(Presence),
    /// A node has started: its address for clients, and the incarnation that its sessions belong to.
    NodeStarted(NodeStarted),
    /// The leader has given up on a node: its sessions are closed.
    NodeLost {
        node: NodeId,
        incarnation: u64,
    },
    /// The leader's clock has moved on: what is due by log time happens (schedules, the end of quiet hours, expiry, pruning).
    Tick(Tick),
    /// The leader's word on what the clocks of some zones show; it replaces what was known of them.
    Zones(Vec<ZoneTable>),
    CreateToken(Box<NewToken>),
    /// By its id.
    RevokeToken(String),
    /// A node is about to call an output.
    Claim(Claim),
    /// What that came to.
    Called(Called),
    /// Who was refused what, and who changed what, as one node gathered it.
    Audit(Vec<super::audit::Entry>),
    Cache(Box<CacheChange>),
    /// What a node found wrong, or right again.
    Alert(Box<Report>),
    /// A node tries whether a publish would work: nothing comes of it.
    Probe(NodeId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Random, not zero.
    pub epoch: u32,
    pub salt: u16,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Publish {
    pub draft: Draft,
    /// Who sends, for the record.
    pub sender: String,
    pub key: Key,
    pub spans: Spans,
    /// The broadcast that the draft supersedes, when it has left memory.
    pub superseded: Option<Box<Cold>>,
    /// What the rules let it rest on.
    pub grant: Grant,
}

/// What the settings say about times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spans {
    /// Where a draft names no expiry: this long after it has gone out to all.
    pub expires_after_ms: u64,
    /// A local time that comes later than this for somebody is refused.
    pub schedule_max_ms: u64,
}

/// A broadcast is off: a scheduled one never goes out, a released one stops.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cancel {
    pub number: Number,
    /// Where it has left memory.
    pub cold: Option<Box<Cold>>,
}

/// A broadcast goes once more to those who have not got it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Redeliver {
    pub number: Number,
    /// To whom; else to all dead letters, and to all whom no attempt has reached.
    pub users: Option<RoaringBitmap>,
    pub key: Key,
    /// Where it has left memory.
    pub cold: Option<Box<Cold>>,
}

/// A broadcast that has left memory, as whoever proposes about it has read it: apply reads no disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cold {
    pub entry: JournalEntry,
    pub ledger: Ledger,
}

/// What makes a publish safe to repeat. Without a client's key, the node makes one that lives a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Hash of caller and key.
    pub fingerprint: [u8; 16],
    /// Hash of the request's body: the same key with another body is refused.
    pub body: u64,
    pub kept_ms: u64,
    /// When a client's key would take the table past this, it is refused; `0` for the node's own keys, which are not counted.
    pub table_bytes_max: u64,
}

/// One change of the directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    PutUser(User),
    DeleteUser(String),
    PutWedding(Wedding),
    DeleteWedding(String),
    PutVenue(Venue),
    DeleteVenue(String),
    PutSegment(Segment),
    DeleteSegment(String),
    /// Replaces all members of a place: user id and role.
    PutMembers(Place, Vec<(String, String)>),
    PutMember(Place, String, String),
    DeleteMember(Place, String),
    PutPreferences(String, Preferences),
    /// The zones that the other changes of a command name, for those of which nothing is known yet. Stands last in a list.
    KnowZones(Vec<ZoneTable>),
}

impl Change {
    /// The user who is gone once this is done.
    pub fn erases(&self) -> Option<&str> {
        match self {
            Self::DeleteUser(id) => Some(id),
            Self::PutUser(_)
            | Self::PutWedding(_)
            | Self::DeleteWedding(_)
            | Self::PutVenue(_)
            | Self::DeleteVenue(_)
            | Self::PutSegment(_)
            | Self::DeleteSegment(_)
            | Self::PutMembers(..)
            | Self::PutMember(..)
            | Self::DeleteMember(..)
            | Self::PutPreferences(..)
            | Self::KnowZones(_) => None,
        }
    }
}

/// A person confirmed, up to 50 broadcasts at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    pub user: UserNumber,
    pub node: NodeId,
    /// Broadcast and answer.
    pub answers: Vec<(Number, String)>,
}

/// What one node's sessions did since its last report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Receipts {
    pub node: NodeId,
    pub deltas: Vec<(Number, Step, RoaringBitmap)>,
    pub promised: Option<Promised>,
    /// All releases up to here are written to, or given up for, every session of this node.
    pub watermarks: PerPriority<Position>,
}

/// Who was written to by a session that promised receipts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Promised {
    pub users: Vec<(Number, RoaringBitmap)>,
    /// How patiently these are waited for.
    pub retry: Retry,
}

/// Who came to and went from one node since its last report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Presence {
    pub node: NodeId,
    pub incarnation: u64,
    /// This is everybody: what was known of the node before is forgotten.
    pub all: bool,
    pub came: RoaringBitmap,
    pub went: RoaringBitmap,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStarted {
    pub node: NodeId,
    pub incarnation: u64,
    /// Where clients reach it.
    pub url: String,
    pub version: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tick {
    /// Broadcasts are kept this long after release, and until they have expired.
    pub kept_ms: u64,
    /// A scheduled broadcast that is this late has been missed.
    pub missed_after_ms: u64,
    pub retry: Retry,
}

/// A token as the log has it: never the secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewToken {
    pub id: String,
    pub hash: super::tokens::TokenHash,
    pub caller: Caller,
    pub expires_at: Option<Millis>,
    /// Beyond this many tokens it is refused.
    pub tokens_max: u64,
}

/// What one log entry carries: commands that waited together, and the leader's log time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pack {
    pub at: Millis,
    pub commands: Vec<Command>,
}
