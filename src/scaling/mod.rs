//! # Scaling
//!
//! What: how many threads the load needs, what the coming days need, and which cells move.
//! Why: a decision that is a pure function can be tried with a table of cases, and says its reason.
//! Never: a socket, a thread, a clock; doing what it decides.
//! Start: [`decide()`], then [`rule`].

pub mod balance;
pub mod calendar;
pub mod decide;
pub mod forecast;
pub mod load;
pub mod rule;
pub mod spread;
#[cfg(test)]
mod tests;

pub use decide::{Decision, History, Moment, decide};
pub use forecast::{Capacity, Expected, Forecast};
pub use load::{Load, Measure};
pub use rule::{Profile, Rules};
