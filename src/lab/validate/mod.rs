//! # Validate
//!
//! What: `campanile validate`: what the origin claimed to have validated, and what the README promises, each looked at on running nodes and
//! held against its bound.
//! Why: the origin's validation ran on mocks and printed constants. A promise that anybody can try on the spot says more.
//! Never: a figure that was not measured; a check that passes because it did not run.
//! Start: [`checks`], then [`play`] (one run), [`verdict`] (what counts as passed) and [`stage`] (what they stand on); a file for each check.

mod alerts;
mod audience;
mod cache;
pub mod checks;
mod confirming;
mod dashboard;
mod durability;
mod escalation;
mod hits;
mod house;
mod interrupts;
mod keys;
mod links;
mod listener;
mod looked;
mod metrics;
mod nouns;
pub mod performance;
mod play;
mod preferences;
mod proof;
mod queue;
mod refusals;
mod resume;
mod rules;
mod scaling;
mod schedule;
mod screen;
mod seasons;
pub mod stage;
mod tokens;
mod told;
pub mod verdict;

use super::load::crowd::sockets_max;
use super::load::stage::Where;
use super::results::folder;
use crate::base::clock;
use crate::config::effective::masked_pair;
use anyhow::Result;
use checks::Check;
use performance::Load;
use serde_json::json;
use std::path::PathBuf;
use verdict::Whole;

pub struct Options {
    pub place: Where,
    /// Empty: all.
    pub only: Vec<&'static Check>,
    pub load: Load,
    pub seed: u64,
    pub out: Option<PathBuf>,
    /// As it was typed, without secrets.
    pub command: String,
    pub json: bool,
}

/// Looks at everything, keeps the report and prints it.
pub fn run(options: &Options) -> Result<Whole> {
    performance::scenario(&options.load)?;
    // Nodes of its own inherit what this process may open.
    sockets_max();
    let (at, begun) = (clock::rfc3339(clock::wall()), clock::now());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let played = runtime.block_on(play::play(options));
    // Listeners may be in the middle of a read; nothing is owed to them.
    runtime.shutdown_background();
    let (run, load) = played?;
    let frame = told::Frame {
        command: options.command.clone(),
        seed: options.seed,
        at,
        took_s: (clock::now() - begun).as_secs_f64(),
        settings: settings(options),
        notes: notes(options),
        load: load.as_ref(),
    };
    let report = told::report(&run, name(&options.place), frame);
    let whole = told::json(&run, &report);
    let place = options.out.clone().unwrap_or_else(|| folder::usual(&report));
    let page = folder::write_with(&report, &whole, &place)?;
    if options.json {
        println!("{whole}");
    } else {
        anstream::println!("{}\nreport: {}", screen::text(&run, &report), page.display());
    }
    Ok(run.verdict())
}

const fn name(place: &Where) -> &'static str {
    match place {
        Where::Own { .. } => "own-nodes",
        Where::There { .. } => "given-nodes",
    }
}

fn settings(options: &Options) -> serde_json::Value {
    let (urls, set) = match &options.place {
        Where::Own { set, .. } => (&[][..], set.iter().map(|set| masked_pair(set)).collect()),
        Where::There { urls, .. } => (&urls[..], Vec::new()),
    };
    json!({
        "url": urls,
        "set": set,
        "only": options.only.iter().map(|check| check.word).collect::<Vec<_>>(),
        "load_for_s": options.load.length.as_secs_f64(),
        "load_scale": options.load.scale,
        "connections": options.load.connections,
    })
}

fn notes(options: &Options) -> Vec<String> {
    let mut notes = vec![
        "Not looked at here, since it takes root and loop devices: a power cut of all nodes, disks that fail or fill up. \
         `cargo test --test faults` does."
            .to_owned(),
    ];
    match options.place {
        Where::Own { .. } => notes.push(
            "Three processes of its own with their defaults, tokens asked for; the load ran on three new ones without, its rate caps off. \
             Generator and nodes shared this machine."
                .to_owned(),
        ),
        Where::There { .. } => notes.push(
            "On nodes of others all but what tries a rate cap is a drill to people of its own; those of the checks are removed at the end, \
             those of the load stay. Nothing is killed, filled up or alarmed, and what needs that is not run."
                .to_owned(),
        ),
    }
    notes
}
