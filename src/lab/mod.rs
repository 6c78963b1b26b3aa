//! # Lab
//!
//! What: a cluster of three processes on this machine (`dev`), a scripted day played through it (`rehearse`), load with thousands of
//! subscribers (`load`), a year of weddings drawn and decided (`season`), every promise tried on the spot (`validate`), and what is kept
//! of a run (`results`).
//! Why: what the product promises is looked at from outside, with real processes and real sockets, against an oracle of its own.
//! Never: the inside of a node. The lab knows the settings, the HTTP API and the frames, nothing else; a season and a validation
//! ask the deciders of scaling besides, which are pure.
//! Start: [`rehearse`], then [`scenario`], [`oracle`], [`ledger`] (what was delivered) and [`sequel`] (what followed).
//!
//! ```text
//! scenario ── oracle ──────────────► ledger, sequel ──► report
//! cluster  ── sender, faults ──────►   ▲
//!          ── devices ─────────────────┤
//!          ── sink, afterwards ────────┘
//! ```

pub mod afterwards;
pub mod alerts;
pub mod cache;
pub mod called;
pub mod cluster;
pub mod confirmed;
pub mod course;
pub mod crowd;
pub mod dev;
pub mod device;
pub mod door;
pub mod faults;
mod findings;
#[cfg(test)]
mod fixture;
mod folder;
pub mod http;
pub mod ledger;
pub mod load;
pub mod machine;
pub mod oracle;
pub mod publisher;
pub mod rehearse;
pub mod report;
pub mod results;
pub mod scenario;
pub mod season;
pub mod sender;
pub mod sequel;
pub mod served;
pub mod sink;
pub mod stream;
mod tokens;
pub mod uptime;
pub mod validate;

pub use cluster::Cluster;
