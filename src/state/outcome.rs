//! What a command came to. A refusal is an outcome, not an error: every node agrees on it.

use super::redeliver::Revived;
use crate::base::size::Span;
use crate::model::Number;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The broadcast's number; its row has the rest. `replayed`: the key was known, nothing new happened.
    Published {
        number: Number,
        replayed: bool,
    },
    /// `repeated`: it was off already.
    Cancelled {
        repeated: bool,
    },
    Redelivered {
        revived: Revived,
        replayed: bool,
    },
    /// Whether the call, or the fetch, is the asking node's for now; of what a fetch brings: whether it still was.
    Claimed(bool),
    /// One for each change, in order.
    Changed(Vec<Did>),
    /// Nothing of the list was applied: index of each faulty change, and why.
    NotChanged(Vec<(u32, Refused)>),
    /// One for each answer, in order.
    Acknowledged(Vec<Result<Acknowledgement, Refused>>),
    Done,
    Refused(Refused),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Did {
    Created,
    Replaced,
    Deleted,
    /// There was nothing to delete.
    Absent,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    pub late: bool,
    /// The same person had confirmed before; the first answer stands.
    pub repeated: bool,
    /// The answer that stands.
    pub answer: String,
}

/// Why the state said no.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refused {
    #[error("no wedding has the id {0:?}")]
    UnknownWedding(String),
    #[error("no venue has the id {0:?}")]
    UnknownVenue(String),
    #[error("no segment has the name {0:?}")]
    UnknownSegment(String),
    #[error("no user has the id {0:?}")]
    UnknownUser(String),
    #[error("no broadcast has this id")]
    UnknownBroadcast,
    #[error("this user was not among the recipients")]
    NotARecipient,
    #[error("this answer is not among those the broadcast asks for: {0}")]
    UnknownAnswer(String),
    #[error("the key was used with another body")]
    KeyReused,
    #[error("the table of idempotency keys is full; it holds {0} bytes at most")]
    KeysFull(u64),
    #[error("expires_at is not after the release")]
    ExpiresBeforeRelease,
    #[error("expires_at is not after the time at which it goes out to the last recipient")]
    ExpiresBeforeDelivery,
    #[error("must be within {} of now in the zone where it comes last", Span::millis(*.0))]
    ScheduleTooFar(u64),
    #[error("so many broadcasts wait for their time already: {0}")]
    ScheduleFull(usize),
    #[error("the broadcast has expired")]
    Expired,
    #[error("the broadcast is not released yet")]
    NotReleased,
    #[error("the broadcast was called off")]
    IsCancelled,
    #[error("the broadcast was delivered again {0} times already")]
    RedeliveredTooOften(usize),
    #[error("the broadcast has left memory")]
    LeftMemory,
    #[error("the venue {0:?} still has weddings")]
    VenueInUse(String),
    #[error("no token has the id {0:?}")]
    UnknownToken(String),
    #[error("another token has the id {0:?}")]
    TokenExists(String),
    #[error("so many fetches are under way already: {0}")]
    FetchesFull(usize),
    #[error("there are as many tokens as auth.tokens_max allows: {0}")]
    TokensFull(u64),
    #[error("this sender may publish {max} within {} min; the next goes in {} s", within_ms / 60_000, retry_after_ms.div_ceil(1000))]
    RateLimited {
        max: u32,
        within_ms: u64,
        retry_after_ms: u64,
    },
    #[error("the role {role:?} is not held at {place}, or its rights have ended there")]
    NoSuchRole { role: String, place: String },
    #[error("another broadcast has taken its place")]
    Superseded,
}
