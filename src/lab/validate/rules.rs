//! Scaling's deciders, given every rule of the origin at its limit and past it. Pure.

use super::proof::Proof;
use super::seasons::profile;
use crate::scaling::{History, Load, Moment, Profile, decide};
use anyhow::Result;

const CORES: usize = 32;
const THREADS: usize = 8;
const HOUR_MS: u64 = 3_600_000;

type Change = fn(&mut Load);

/// One decision: the profile, whether it is the season, the load, and which rule must come to how many of [`THREADS`].
struct Case {
    profile: &'static str,
    is_season: bool,
    what: &'static str,
    change: Change,
    expected: (&'static str, usize),
}

const fn case(
    (profile, is_season): (&'static str, bool),
    what: &'static str,
    change: Change,
    expected: (&'static str, usize),
) -> Case {
    Case {
        profile,
        is_season,
        what,
        change,
        expected,
    }
}

const SEASON: (&str, bool) = ("origin", true);
const NORMAL: (&str, bool) = ("origin", false);

/// Every rule of the origin at its limit and just past it, the emergency, and the way in that the origin did not have.
const CASES: [Case; 15] = [
    case(
        SEASON,
        "5,000 connections",
        |load| load.connections = 5_000,
        ("steady", 8),
    ),
    case(
        SEASON,
        "5,001 connections",
        |load| load.connections = 5_001,
        ("season connections", 16),
    ),
    case(SEASON, "1,000 queued", |load| load.backlog = 1_000, ("steady", 8)),
    case(
        SEASON,
        "1,001 queued",
        |load| load.backlog = 1_001,
        ("season queued", 16),
    ),
    case(SEASON, "500 ms", |load| load.latency_ms = 500.0, ("steady", 8)),
    case(SEASON, "501 ms", |load| load.latency_ms = 501.0, ("season latency", 16)),
    case(SEASON, "2 % errors", |load| load.errors = 0.02, ("steady", 8)),
    case(
        SEASON,
        "2.1 % errors",
        |load| load.errors = 0.021,
        ("season errors", 16),
    ),
    case(
        SEASON,
        "nobody there: no way in",
        |load| load.connections = 0,
        ("steady", 8),
    ),
    case(
        NORMAL,
        "10,001 connections",
        |load| load.connections = 10_001,
        ("connections", 16),
    ),
    case(
        NORMAL,
        "5,001 connections",
        |load| load.connections = 5_001,
        ("steady", 8),
    ),
    case(
        NORMAL,
        "2,000 connections",
        |load| load.connections = 2_000,
        ("steady", 8),
    ),
    case(
        NORMAL,
        "1,999 connections",
        |load| load.connections = 1_999,
        ("few connections", 4),
    ),
    case(
        NORMAL,
        "16 criticals wait",
        |load| load.critical = 16,
        ("emergency", 50),
    ),
    case(
        ("default", true),
        "idle: ours has a way in",
        |load| load.busy = 0.0,
        ("idle in season", 4),
    ),
];

pub fn rules(proof: &mut Proof) -> Result<()> {
    let mut right = 0;
    for case in &CASES {
        let profile = profile(case.profile)?;
        let (rule, threads, reason) = decided(&profile, case);
        if (rule.as_str(), threads) == case.expected && !reason.is_empty() {
            right += 1;
            proof.saw(format!(
                "{}{}: {} → {threads} of {THREADS} threads, {rule}: {reason}",
                case.profile,
                if case.is_season { " in season" } else { "" },
                case.what
            ));
        } else {
            proof.wrong(format!(
                "{}, {}: {rule} and {threads} threads, not {:?}",
                case.profile, case.what, case.expected
            ));
        }
    }
    proof.exactly("rules that decide as they are written", CASES.len(), right);
    proof.none("rules that act again within their cooldown", hasty()?);
    Ok(())
}

/// A load at which no rule has anything to say.
fn quiet() -> Load {
    Load {
        connections: 4_000,
        busy: 0.3,
        ..Load::default()
    }
}

fn moment(now: u64, is_season: bool, threads: usize) -> Moment {
    Moment {
        now,
        cores: CORES,
        threads,
        is_season,
        is_weekend: false,
        forecast: 0,
    }
}

/// What is decided when the load has been so for an hour.
fn decided(profile: &Profile, case: &Case) -> (String, usize, String) {
    let mut load = quiet();
    (case.change)(&mut load);
    let mut history = History::default();
    history.see(profile, &load, &moment(0, case.is_season, THREADS));
    let later = moment(HOUR_MS, case.is_season, THREADS);
    history.see(profile, &load, &later);
    let decision = decide(profile, &load, &history, &later);
    (decision.rule, decision.threads, decision.reason)
}

/// How many of the origin's rules in season act a second time a second before their cooldown is over.
fn hasty() -> Result<usize> {
    let profile = profile("origin")?;
    let mut hasty = 0;
    for (case, cooldown_s) in CASES
        .iter()
        .filter(|case| case.is_season && case.expected.1 > THREADS && case.profile == "origin")
        .zip([300, 180, 300, 600])
    {
        let mut load = quiet();
        (case.change)(&mut load);
        let mut history = History::default();
        let first = moment(0, true, THREADS);
        history.see(&profile, &load, &first);
        history.keep(&decide(&profile, &load, &history, &first), &first);
        let before = moment(cooldown_s * 1_000 - 1_000, true, THREADS * 2);
        history.see(&profile, &load, &before);
        hasty += usize::from(decide(&profile, &load, &history, &before).threads != THREADS * 2);
        let after = moment(cooldown_s * 1_000, true, THREADS * 2);
        // One that never acts again is no better.
        hasty += usize::from(decide(&profile, &load, &history, &after).threads != THREADS * 4);
    }
    Ok(hasty)
}

#[cfg(test)]
mod tests {
    use super::rules;
    use crate::lab::validate::proof::Proof;
    use crate::lab::validate::verdict::{Ending, Outcome, outcome};

    #[test]
    fn the_rules_that_are_built_in_decide_as_the_domain_has_them() {
        let mut proof = Proof::default();
        rules(&mut proof).unwrap();
        assert_eq!(outcome(&Ending::Ran, &proof), Outcome::Passed, "{:?}", proof.findings());
    }
}
