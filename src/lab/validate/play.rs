//! One run: the checks in their turn, the load behind them, and what was made put away, however it ends.

use super::Options;
use super::checks::{self, ALL, Check, Name};
use super::interrupts::Interrupts;
use super::looked::{Looked, Run};
use super::performance;
use super::proof::Proof;
use super::stage::Stage;
use super::verdict::Ending;
use crate::base::clock;
use crate::lab::load::run::progress;
use crate::lab::load::stage::Where;
use crate::lab::results::Report;
use anyhow::{Result, anyhow};
use futures_util::FutureExt;
use indicatif::ProgressBar;
use std::panic::AssertUnwindSafe;
use std::time::Duration;
use tokio::time::timeout;

const TICK: Duration = Duration::from_millis(200);

/// All that was looked at, and the report of the load.
pub async fn play(options: &Options) -> Result<(Run, Option<Report>)> {
    let mut interrupts = Interrupts::listen()?;
    let bar = checks_bar(options);
    let mut run = Run::default();
    // Nodes of others are looked at before anything is done to them, the load, too.
    if ALL.iter().any(|check| is_on_stage(check, options)) || matches!(options.place, Where::There { .. }) {
        bar.set_message("the stage is set");
        let mut stage = interrupts.unless(Stage::set(&options.place, options.seed)).await??;
        run.served = stage.served.clone();
        let done = interrupts.unless(on_stage(&mut stage, options, &bar)).await;
        bar.set_message("what was made is put away");
        let (left, is_heard) = put_away(stage, &mut interrupts).await;
        run.left = left;
        run.checks = and_left(done.and_then(|checks| is_heard.map(|()| checks)), &run.left)?;
    }
    let behind = Box::pin(interrupts.unless(behind(options, &bar))).await;
    let (behind, load) = and_left(behind, &run.left)?;
    bar.finish_and_clear();
    run.checks.extend(behind);
    run.checks
        .sort_by_key(|looked| ALL.iter().position(|check| check.name == looked.check.name));
    Ok((run, load))
}

fn checks_bar(options: &Options) -> ProgressBar {
    let bar = progress(!options.json);
    bar.set_length(ALL.len() as u64);
    bar.enable_steady_tick(TICK);
    bar
}

fn is_chosen(check: &Check, options: &Options) -> bool {
    options.only.is_empty() || options.only.iter().any(|one| one.name == check.name)
}

/// The load has nodes, or at least people, of its own.
fn is_on_stage(check: &Check, options: &Options) -> bool {
    is_chosen(check, options) && check.name != Name::Performance
}

async fn on_stage(stage: &mut Stage, options: &Options, bar: &ProgressBar) -> Vec<Looked> {
    let chosen = || ALL.iter().filter(|check| is_on_stage(check, options));
    if chosen().any(|check| check.name == Name::Preferences) {
        stage.hold().await;
    }
    let mut looked = Vec::new();
    for check in chosen() {
        bar.set_message(check.word);
        looked.push(attempt(check, stage).await);
        bar.inc(1);
    }
    looked
}

/// Gives what could not be put away. Whoever asks meanwhile to end does not wait for it.
async fn put_away(stage: Stage, interrupts: &mut Interrupts) -> (Vec<String>, Result<()>) {
    let (names, is_own) = (stage.name(""), stage.is_own());
    after_end(interrupts.unless(stage.end()).await, &names, is_own)
}

/// What stays, and whether something may be begun behind it: not when it was cut off.
fn after_end(ended: Result<Vec<String>>, names: &str, is_own: bool) -> (Vec<String>, Result<()>) {
    match ended {
        Ok(left) => (left, Ok(())),
        // What ends with its nodes is gone.
        Err(error) if is_own => (Vec::new(), Err(error)),
        Err(error) => {
            let left = format!("{error:#} before all was: something named {names}... may be left");
            (vec![left], Err(error))
        }
    }
}

/// Who ended it early is told what could not be put away; else the report does.
fn and_left<T>(done: Result<T>, left: &[String]) -> Result<T> {
    done.map_err(|error| {
        if left.is_empty() {
            error
        } else {
            anyhow!("{error:#}; not all was put away: {}", left.join("; "))
        }
    })
}

/// The load, and the checks that are left out.
async fn behind(options: &Options, bar: &ProgressBar) -> (Vec<Looked>, Option<Report>) {
    let (mut looked, mut load) = (Vec::new(), None);
    for check in ALL.iter().filter(|check| !is_on_stage(check, options)) {
        looked.push(if is_chosen(check, options) {
            bar.set_message(check.word);
            let (own, report) = under_load(check, options).await;
            load = report;
            own
        } else {
            Looked::skipped(check, "left out by --only")
        });
        bar.inc(1);
    }
    (looked, load)
}

/// Does it in its time. A node of its own that ended meanwhile was not asked to.
async fn attempt(check: &'static Check, stage: &mut Stage) -> Looked {
    if let Some(why) = check.own_only.filter(|_| !stage.is_own()) {
        return Looked::skipped(check, why);
    }
    let begun = clock::now();
    let mut proof = Proof::default();
    let ending = ending(check.limit, checks::look(check.name, stage, &mut proof)).await;
    for words in stage.ended() {
        proof.wrong(words);
    }
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
    use super::{after_end, ending};
    use crate::lab::validate::proof::Proof;
    use crate::lab::validate::verdict::{Ending, Outcome, outcome};
    use anyhow::{Result, anyhow, bail};
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

    #[test]
    fn nothing_is_begun_when_the_putting_away_was_cut_off() {
        let (left, goes_on) = after_end(Ok(vec!["/v1/users/u stays".into()]), "validate-1-", false);
        assert_eq!(
            (left.len(), goes_on.is_ok()),
            (1, true),
            "what stays is told, and the rest is done"
        );
        let cut = || Err(anyhow!("interrupted"));
        let (left, goes_on) = after_end(cut(), "validate-1-", false);
        assert!(
            left[0].starts_with("interrupted before all was") && left[0].contains("validate-1-"),
            "{left:?}"
        );
        assert_eq!(goes_on.unwrap_err().to_string(), "interrupted");
        let (left, goes_on) = after_end(cut(), "validate-1-", true);
        assert_eq!(
            (left.len(), goes_on.is_err()),
            (0, true),
            "its own nodes are gone with all of it"
        );
    }
}
