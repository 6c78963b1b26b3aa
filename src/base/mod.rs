//! # Base
//!
//! What: the clock, backoff, durations and sizes as people write them, and which program this is.
//! Why: everything above takes time as an argument; only `clock` reads it.
//! Never: imports from any other part.
//! Start: [`clock`].

pub mod backoff;
#[cfg(test)]
pub mod checks;
pub mod clock;
pub mod size;
pub mod version;
