//! # Metrics
//!
//! What: every counter, gauge and histogram of the node, on one page.
//! Why: base units, native names, no user ids.
//! Never: a decision.
//! Start: [`registry`], then [`history`].

pub mod history;
pub mod lately;
pub mod look;
pub mod registry;

pub use history::History;
pub use look::Look;
pub use prometheus::IntCounter;
pub use registry::{CacheCounters, METRICS, Metrics};
