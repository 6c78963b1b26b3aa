//! # Metrics
//!
//! What: every counter, gauge and histogram of the node, on one page.
//! Why: base units, native names, no user ids.
//! Never: a decision.
//! Start: [`registry`].

pub mod registry;
pub use prometheus::IntCounter;
pub use registry::{CacheCounters, METRICS, Metrics};
