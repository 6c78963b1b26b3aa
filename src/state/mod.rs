//! # State
//!
//! What: the replicated state machine: commands in; outcomes, effects and changed rows out.
//! Why: every node applies the same commands in the same order, so apply is a plain synchronous function.
//! Never: a clock, randomness, settings, iteration over hash maps, I/O.
//! Start: [`command`], then [`apply`].

pub mod alerts;
pub mod apply;
pub mod aside;
pub mod audiences;
pub mod audit;
pub mod blocks;
pub mod broadcasts;
pub mod cache;
pub mod cluster;
pub mod command;
pub mod dead;
pub mod directory;
pub mod drill;
pub mod effect;
pub mod escalation;
mod hot;
pub mod journal;
pub mod keys;
pub mod ledger;
pub mod local;
pub mod names;
pub mod needs;
pub mod outbox;
pub mod outcome;
mod places;
pub mod preferences;
pub mod presence;
mod publish;
pub mod quiet;
pub mod rates;
mod receive;
pub mod redeliver;
mod retention;
pub mod rights;
pub mod rows;
mod schedule;
pub mod sources;
pub mod staffing;
pub mod tokens;
pub mod tries;
pub mod urgent;
pub mod zones;

pub use apply::State;
pub use command::Command;
pub use effect::{Effect, Release, ReleaseKind};
pub use outcome::{Outcome, Refused};
pub use rows::{Row, RowKey};

#[cfg(test)]
mod tests;
