//! # Model
//!
//! What: the nouns of the domain, valid by construction.
//! Why: a `Draft` that exists has passed every check that needs no state.
//! Never: a clock, I/O, or a status code.
//! Start: [`broadcast`], then [`audience`].

pub mod alert;
pub mod audience;
pub mod broadcast;
pub mod caller;
pub mod cursor;
pub mod directory;
pub mod id;
pub mod kinds;
pub mod local_time;
pub mod priority;
pub mod receipt;
pub mod retry;
pub mod rules;
pub mod trace;

pub use audience::{Audience, Clause};
pub use broadcast::{Acknowledge, Action, Broadcast, Draft, Text};
pub use caller::{Caller, Scope, Scopes};
pub use cursor::Cursor;
pub use directory::{Place, PlaceKind};
pub use id::BroadcastId;
pub use kinds::Kinds;
pub use local_time::LocalTime;
pub use priority::{PerPriority, Priority};
pub use receipt::{Reason, Step};
pub use retry::Retry;
pub use rules::{Rate, Rules};
pub use trace::Trace;

/// A user's dense number: given once, never used again.
pub type UserNumber = u32;
/// A broadcast's number, from the same counter as positions.
pub type Number = u64;
/// A release's place in the one order of the cluster.
pub type Position = u64;
/// A node's id in the settings.
pub type NodeId = u64;
/// Milliseconds since 1970 (UTC).
pub type Millis = crate::base::clock::Millis;
