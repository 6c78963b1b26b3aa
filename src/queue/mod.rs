//! # Queue
//!
//! What: who is written next, and how much at a time.
//! Why: a decision that is a pure function can be tried with a table of cases.
//! Never: a socket, a thread, a clock.
//! Start: [`turn`].

pub mod slice;
pub mod turn;

pub use turn::Turns;
