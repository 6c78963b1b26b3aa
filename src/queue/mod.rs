//! # Queue
//!
//! What: who is written next, how much at a time, and who is let in when too much waits.
//! Why: a decision that is a pure function can be tried with a table of cases.
//! Never: a socket, a thread, a clock.
//! Start: [`turn`].

pub mod admission;
pub mod slice;
pub mod turn;

pub use turn::Turns;
