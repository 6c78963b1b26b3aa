//! # Faults
//!
//! What: what the machine under the nodes may do to them: the power cut of all three at once (P2), disks that go away under a
//! sync, disks that fill up (D1).
//! Why: a kill leaves the kernel's page cache alive; only a cut shows what was really on disk.
//! Never: a pass where the tools are missing: such a run says `skipped` and why.
//! Start: [`power_cut`], [`gone`], [`disk_full`].
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test says no by panicking
#![allow(clippy::disallowed_methods)] // deadlines of the tests; the product's clock is not theirs

#[path = "../harness/mod.rs"]
mod harness;

mod disk;
mod disk_full;
mod evidence;
mod gone;
mod power_cut;
