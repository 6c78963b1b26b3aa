//! # Scaling
//!
//! What: which cells move when the number of threads changes.
//! Why: a decision that is a pure function can be tried with a table of cases.
//! Never: a socket, a thread, a clock; doing what it decides.
//! Start: [`spread`].

pub mod spread;
