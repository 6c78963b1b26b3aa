//! # Cluster
//!
//! What: the promises of the API and of `docs/ARCHITECTURE.md`, tried on real processes through their public doors.
//! Why: what holds inside one process says little about three that are killed.
//! Never: a product type; an assertion on a timing that no promise names.
//! Start: [`delivery`], then [`kills`]; the machinery is in `tests/harness`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test says no by panicking
#![allow(clippy::disallowed_methods)] // deadlines of the tests; the product's clock is not theirs

#[path = "../harness/mod.rs"]
mod harness;

mod alerts;
mod audiences;
mod bad_input;
mod batch;
mod cache;
mod crew;
mod delivery;
mod development;
mod drill;
mod dry_run;
mod escalation;
mod import;
mod judges;
mod keys;
mod kills;
mod load;
mod local;
mod metrics;
mod overload;
mod rehearsal;
mod resume;
mod retention;
mod retry;
mod schedule;
mod season;
mod service;
mod sources;
mod terminal;
mod tls;
mod tokens;
mod traces;
mod urgent;
mod validate;
mod who;

/// How often random checks are repeated: `CAMPANILE_CHECKS=N`, or what an ordinary run can afford.
fn checks(ordinary: usize) -> usize {
    let asked = std::env::var("CAMPANILE_CHECKS").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(ordinary)
}
