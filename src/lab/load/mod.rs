//! # Load
//!
//! What: `campanile load`: thousands of subscribers on real sockets, publishers that keep their times, and every delivery accounted for.
//! Why: how fast and how whole delivery is under load is a promise, and a promise is measured from outside.
//! Never: a figure that was not measured; a broadcast to anybody whom the load did not bring along.
//! Start: [`scenario`], [`plan`], then [`run()`], [`crowd`] and [`tally`]; [`judged`] makes the report.
//!
//! ```text
//! scenario ─ plan ─► press (one thread: all publishers) ──► nodes ──► crowd (processes: all subscribers)
//!                      │ what was accepted, and when                    │ stamp, position, time
//!                      └────────────────► run ────────────► tally ◄─────┘      then judged ─► results
//! ```

mod charts;
pub mod crowd;
pub mod crowds;
mod figures;
pub mod judged;
mod line;
pub mod orders;
pub mod plan;
pub mod press;
pub mod process;
mod published;
mod reading;
mod request;
pub mod run;
pub mod scenario;
mod scenes;
mod session;
pub mod stage;
pub mod stamp;
mod sums;
pub mod tally;
mod watch;

use crate::base::clock;
use crate::lab::results::folder::{self, Shown};
use anyhow::{Result, bail};
use scenario::Scenario;
use stage::Where;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

pub struct Options {
    pub scenario: Scenario,
    pub place: Where,
    pub seed: u64,
    /// Where the report goes; `None` is a folder of its own.
    pub out: Option<PathBuf>,
    /// As it was typed, without secrets.
    pub command: String,
    pub json: bool,
}

/// Runs it, keeps the report and prints it; fails when anything was missing, wrong or repeated.
pub fn run(options: &Options) -> Result<ExitCode> {
    let bar = run::progress(!options.json);
    bar.enable_steady_tick(Duration::from_millis(200));
    let (at, begun) = (clock::rfc3339(clock::wall()), clock::now());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let played = runtime.block_on(async {
        tokio::select! {
            played = run::play(&options.scenario, &options.place, options.seed, &bar) => played,
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        }
    });
    // The publishers may be in the middle of a request; nothing is owed to them.
    runtime.shutdown_background();
    let played = played?;
    bar.finish_and_clear();
    let frame = judged::Frame {
        command: options.command.clone(),
        seed: options.seed,
        at,
        took_s: (clock::now() - begun).as_secs_f64(),
    };
    let mut report = judged::report(&options.scenario, &played, frame);
    report.settings["on"] = options.place.settings();
    let shown = if options.json { Shown::Json } else { Shown::Text };
    folder::hand_over(&report, options.out.as_deref(), shown)
}
