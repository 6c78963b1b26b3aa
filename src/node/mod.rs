//! # Node
//!
//! What: a running node: every part built in order, stopped in reverse.
//! Why: start-up reads as a script.
//! Never: a decision of the domain.
//! Start: [`lifecycle`].

mod calls;
mod certificate;
mod cold;
pub mod duties;
pub mod history;
mod notify;
mod pulse;
pub mod settle;
mod telemetry;
mod watcher;

pub mod lifecycle;
#[cfg(test)]
mod tests;

pub use lifecycle::run;
