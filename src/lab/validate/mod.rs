//! # Validate
//!
//! What: `campanile validate`: what the origin claimed to have validated, and what the README promises, each looked at on running nodes and
//! held against its bound.
//! Why: the origin's validation ran on mocks and printed constants. A promise that anybody can try on the spot says more.
//! Never: a figure that was not measured; a check that passes because it did not run.
//! Start: [`checks`], then [`verdict`] (what counts as passed) and [`stage`] (what they stand on); a file for each check.

mod alerts;
mod audience;
mod cache;
pub mod checks;
mod confirming;
mod dashboard;
mod durability;
mod escalation;
mod house;
mod keys;
mod links;
mod listener;
mod metrics;
mod nouns;
pub mod performance;
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
use super::load::run::progress;
use super::load::stage::Where;
use super::results::{Report, folder};
use crate::base::clock;
use crate::config::effective::masked_pair;
use anyhow::{Result, bail};
use checks::{ALL, Check, Name};
use futures_util::FutureExt;
use indicatif::ProgressBar;
use performance::Load;
use proof::Proof;
use serde_json::json;
use stage::Stage;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::timeout;
use told::Looked;
use verdict::{Ending, Whole};

const TICK: Duration = Duration::from_millis(200);
/// What is held until the end is published within this.
const HOLD_MAX: Duration = Duration::from_secs(30);

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
    let played = runtime.block_on(async {
        tokio::select! {
            played = play(options) => played,
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        }
    });
    // Listeners may be in the middle of a read; nothing is owed to them.
    runtime.shutdown_background();
    let (looked, load, trouble) = played?;
    let frame = told::Frame {
        command: options.command.clone(),
        seed: options.seed,
        at,
        took_s: (clock::now() - begun).as_secs_f64(),
        settings: settings(options),
        notes: notes(options).into_iter().chain(trouble).collect(),
        load: load.as_ref(),
    };
    let report = told::report(&looked, name(&options.place), frame);
    let whole = told::json(&looked, &report);
    let place = options.out.clone().unwrap_or_else(|| folder::usual(&report));
    let page = folder::write_with(&report, &whole, &place)?;
    if options.json {
        println!("{whole}");
    } else {
        anstream::println!("{}\nreport: {}", screen::text(&looked, &report), page.display());
    }
    Ok(told::verdict(&looked))
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

/// All checks in the order of the report, the report of the load, and what went wrong when all was put away.
async fn play(options: &Options) -> Result<(Vec<Looked>, Option<Report>, Option<String>)> {
    let bar = checks_bar(options);
    let is_chosen = |check: &Check| options.only.is_empty() || options.only.iter().any(|one| one.name == check.name);
    let on_stage = |check: &&Check| is_chosen(check) && check.name != Name::Performance;
    let (mut looked, mut trouble) = (Vec::new(), None);
    if ALL.iter().any(|check| on_stage(&check)) {
        bar.set_message("the stage is set");
        let mut stage = Stage::set(&options.place, options.seed).await?;
        if ALL
            .iter()
            .any(|check| is_chosen(check) && check.name == Name::Preferences)
        {
            // What goes wrong here goes wrong again, and is told, when the check itself begins.
            let _ = timeout(HOLD_MAX, stage.hold()).await;
        }
        for check in ALL.iter().filter(on_stage) {
            bar.set_message(check.word);
            looked.push(attempt(check, &mut stage).await);
            bar.inc(1);
        }
        bar.set_message("the nodes stop");
        // What was seen is told all the same.
        let left = stage.end().await.err();
        trouble = left.map(|error| format!("Not all was put away at the end: {error:#}."));
    }
    let mut load = None;
    for check in ALL.iter().filter(|check| !on_stage(check)) {
        looked.push(if is_chosen(check) {
            bar.set_message(check.word);
            let (own, report) = under_load(check, options).await;
            load = report;
            own
        } else {
            Looked::skipped(check, "left out by --only")
        });
        bar.inc(1);
    }
    bar.finish_and_clear();
    looked.sort_by_key(|looked| ALL.iter().position(|check| check.name == looked.check.name));
    Ok((looked, load, trouble))
}

fn checks_bar(options: &Options) -> ProgressBar {
    let bar = progress(!options.json);
    bar.set_length(ALL.len() as u64);
    bar.enable_steady_tick(TICK);
    bar
}

impl Looked {
    fn skipped(check: &'static Check, why: &str) -> Self {
        Self {
            check,
            ending: Ending::Skipped(why.to_owned()),
            proof: Proof::default(),
            took: Duration::ZERO,
        }
    }
}

async fn attempt(check: &'static Check, stage: &mut Stage) -> Looked {
    if let Some(why) = check.own_only.filter(|_| !stage.is_own()) {
        return Looked::skipped(check, why);
    }
    let begun = clock::now();
    let mut proof = Proof::default();
    let ending = ending(check.limit, checks::look(check.name, stage, &mut proof)).await;
    Looked {
        check,
        ending,
        proof,
        took: clock::now() - begun,
    }
}

/// The load has a bar of its own.
async fn under_load(check: &'static Check, options: &Options) -> (Looked, Option<Report>) {
    let begun = clock::now();
    let (mut proof, mut report) = (Proof::default(), None);
    let bar = progress(!options.json);
    bar.enable_steady_tick(TICK);
    let road = async {
        let look = performance::look(&options.load, &options.place, options.seed, &mut proof, &bar);
        report = Some(look.await?);
        Ok(())
    };
    let ending = ending(check.limit + options.load.length, road).await;
    bar.finish_and_clear();
    let looked = Looked {
        check,
        ending,
        proof,
        took: clock::now() - begun,
    };
    (looked, report)
}

/// How a check ends, whatever it does.
async fn ending(limit: Duration, road: impl Future<Output = Result<()>>) -> Ending {
    match timeout(limit, AssertUnwindSafe(road).catch_unwind()).await {
        Ok(Ok(Ok(()))) => Ending::Ran,
        Ok(Ok(Err(error))) => Ending::BrokeOff(format!("{error:#}")),
        Ok(Err(_)) => Ending::Panicked,
        Err(_) => Ending::TimedOut(limit),
    }
}

#[cfg(test)]
mod tests {
    use super::ending;
    use super::proof::Proof;
    use super::verdict::{Ending, Outcome, outcome};
    use anyhow::{Result, bail};
    use std::time::Duration;

    const LIMIT: Duration = Duration::from_millis(50);

    /// However a check ends before its end, it is not passed, though all that it measured was good.
    #[tokio::test]
    async fn what_panics_hangs_or_gives_up_is_not_passed() {
        let check = |ending: &Ending, proof: &Proof, expected: Outcome| {
            assert_eq!(outcome(ending, proof), expected, "{ending:?}");
        };
        let mut proof = Proof::default();
        let good = ending(LIMIT, async {
            proof.none("lost", 0);
            Ok(())
        });
        assert_eq!(good.await, Ending::Ran);
        check(&Ending::Ran, &proof, Outcome::Passed);

        let hangs = ending(LIMIT, std::future::pending::<Result<()>>()).await;
        assert_eq!(hangs, Ending::TimedOut(LIMIT));
        check(&hangs, &proof, Outcome::Failed);

        let panics = ending(LIMIT, async { panic!("on purpose") }).await;
        assert_eq!(panics, Ending::Panicked);
        check(&panics, &proof, Outcome::NotRun);

        let gives_up = ending(LIMIT, async { bail!("no answer") }).await;
        assert_eq!(gives_up, Ending::BrokeOff("no answer".into()));
        check(&gives_up, &proof, Outcome::Failed);
    }
}
