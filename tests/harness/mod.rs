//! # Harness
//!
//! What: three real nodes as processes, a client written for the tests alone, histories, and the oracle that judges them.
//! Why: the tests know the promises (`API.md`), never the machinery; sharing code with the product would share its mistakes.
//! Never: a product type; a pause outside [`wait`].
//! Start: [`cluster`], then [`oracle`].
#![allow(dead_code, unused_imports)] // each test binary uses its share
#![allow(clippy::format_push_string, clippy::format_collect)] // requests are a few lines of text

pub mod cluster;
pub mod directory;
pub mod http;
pub mod load;
pub mod oracle;
pub mod sink;
pub mod stream;
pub mod tamper;
pub mod terminal;
pub mod tls;
pub mod upstream;
pub mod wait;

pub use cluster::Cluster;
pub use http::{Answer, Client};
pub use stream::{Start, Subscriber, Transport};
pub use wait::until;

/// The four priorities, most urgent first.
pub const PRIORITIES: [&str; 4] = ["critical", "high", "normal", "low"];
