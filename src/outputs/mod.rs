//! # Outputs
//!
//! What: calls from a node to what is no subscriber: a siren, a radio bridge, a modem, a chat, a pager. One message to one named
//! output is one request.
//! Why: when nobody confirms, something else must be heard; and whoever listens must be able to verify who calls.
//! Never: what is to be sent, to which output and when again (that is the cluster's outbox and its leader); a path or a secret in
//! an error, a log or a status.
//! Start: [`Outputs::call`], then [`settings`].
//!
//! The same message may be sent more than once: its id stays the same, and receivers drop what they have had.

pub mod breaker;
pub mod load;
pub mod message;
mod pagerduty;
pub mod settings;
pub mod sign;
mod slack;
#[cfg(test)]
mod tests;
pub mod verdict;
mod webhook;

mod calls;
pub use breaker::State as BreakerState;
pub use calls::{OutputStatus, Outputs};
pub use load::OutputsError;
pub use message::{Message, Turn};
pub use settings::{Config, Shape, Target};
pub use verdict::Failure;
