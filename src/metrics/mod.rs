//! # Metrics
//!
//! What: every counter, gauge and histogram of the node, on one page.
//! Why: base units, native names, no user ids.
//! Never: a decision.
//! Start: [`registry`] for what is counted where it happens, [`figures`] for what is read when somebody asks, then [`history`].

pub mod delivery;
pub mod figures;
pub mod history;
pub mod lately;
pub mod look;
mod make;
pub mod process;
pub mod registry;
pub mod sheet;
pub mod snapshot;

pub use delivery::Tally;
pub use history::History;
pub use look::Look;
pub use prometheus::IntCounter;
pub use registry::{CacheCounters, METRICS, Metrics};
