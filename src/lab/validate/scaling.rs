//! Scaling: the real deciders are given every month, the weekend's edges and every rule of the origin; the nodes are asked what they decide
//! now, and why.

use super::nouns::{member, user, venue, wedding};
use super::proof::Proof;
use super::stage::{SOON, Stage};
use crate::base::clock;
use crate::config::Config;
use crate::scaling::calendar::Local;
use crate::scaling::{History, Load, Moment, Profile, decide};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::sleep;

/// Each profile and its season, by the domain and not by the file.
const SEASONS: [(&str, &[u8]); 2] = [("origin", &[5, 6, 9, 10]), ("default", &[5, 6, 7, 8, 9, 10])];
/// In which the weekend is looked for: its edges, and days without one.
const MOMENTS: [(&str, bool); 6] = [
    ("2027-06-18T13:59:59Z", false),
    ("2027-06-18T14:00:00Z", true),
    ("2027-06-19T03:00:00Z", true),
    ("2027-06-20T20:59:59Z", true),
    ("2027-06-20T21:00:00Z", false),
    ("2027-06-23T12:00:00Z", false),
];
const CORES: usize = 32;
const THREADS: usize = 8;
const HOUR_MS: u64 = 3_600_000;
const GUESTS: u64 = 40;
const POLL: Duration = Duration::from_millis(100);

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

pub async fn look(stage: &mut Stage, proof: &mut Proof) -> Result<()> {
    calendar(proof)?;
    rules(proof)?;
    live(stage, proof).await
}

fn profile(name: &str) -> Result<Profile> {
    let mut config = Config::default();
    name.clone_into(&mut config.scaling.profile);
    config.scaling_profile().map_err(anyhow::Error::msg)
}

fn local(text: &str) -> Result<Local> {
    Ok(Local(clock::parse_rfc3339(text).with_context(|| text.to_owned())?))
}

fn calendar(proof: &mut Proof) -> Result<()> {
    let (mut right, mut all) = (0, 0);
    for (name, months) in SEASONS {
        let profile = profile(name)?;
        for month in 1..=12_u8 {
            for (day, hour) in [(1, "00:00:00"), (15, "12:00:00"), (28, "23:59:59")] {
                let at = local(&format!("2027-{month:02}-{day:02}T{hour}Z"))?;
                all += 1;
                if profile.is_season(&[at]) == months.contains(&month) {
                    right += 1;
                } else {
                    proof.wrong(format!("{name}: day {day} of month {month}"));
                }
            }
        }
        for (moment, is_weekend) in MOMENTS {
            all += 1;
            if profile.is_weekend(&[local(moment)?]) == is_weekend {
                right += 1;
            } else {
                proof.wrong(format!("{name}: {moment} and the weekend"));
            }
        }
    }
    proof.exactly("dates told as season and weekend as they are", all, right);
    proof.saw("seasons: May, June, September, October by the origin; with July and August by ours");
    Ok(())
}

fn rules(proof: &mut Proof) -> Result<()> {
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

async fn live(stage: &mut Stage, proof: &mut Proof) -> Result<()> {
    let (barn, own) = (stage.name("scaling-barn"), stage.name("scaling-wedding"));
    let dj = stage.name("scaling-dj");
    stage
        .import(&[
            venue(&barn),
            wedding(&own, &barn, -1, GUESTS),
            user(&dj, "dj"),
            member(&json!({"wedding": own}), &dj, "dj"),
        ])
        .await?;
    let expected = (GUESTS + 1) as f64;
    let (mut bounded, mut reasoned) = (0, 0);
    let mut foreseen: Option<f64> = None;
    for at in 0..stage.nodes.len() {
        let scaling = foreseen_on(stage, at, expected).await?;
        let sessions = scaling["forecast"]["now"]["connections"].as_f64();
        foreseen = Some(foreseen.unwrap_or(f64::MAX).min(sessions.unwrap_or(0.0)));
        let count = |name: &str| scaling[name].as_u64();
        let within = count("threads") >= count("threads_min") && count("threads") <= count("threads_max");
        bounded += usize::from(within && count("threads").is_some());
        let newest = &scaling["decisions"][0];
        let text = |name: &str| newest[name].as_str().unwrap_or_default();
        reasoned += usize::from(!text("rule").is_empty() && !text("reason").is_empty());
        proof.saw(format!(
            "node {}, profile {}: {} threads of {} to {}; {}: {}",
            at + 1,
            scaling["profile"].as_str().unwrap_or_default(),
            scaling["threads"],
            scaling["threads_min"],
            scaling["threads_max"],
            text("rule"),
            text("reason")
        ));
        if stage.is_own() {
            season_now(&scaling, proof);
        }
    }
    let nodes = stage.nodes.len();
    proof.exactly("nodes with threads within their bounds", nodes, bounded);
    proof.exactly("nodes whose newest decision has its reason", nodes, reasoned);
    proof.at_least("sessions foreseen for the wedding that is on", expected, "", foreseen);
    Ok(())
}

/// What a node says once its forecast has the wedding, or when it should have had it.
async fn foreseen_on(stage: &Stage, at: usize, expected: f64) -> Result<Value> {
    let end = clock::now() + SOON;
    loop {
        let scaling = stage.get(at, "/v1/scaling").await?;
        let sessions = scaling["forecast"]["now"]["connections"].as_f64();
        if sessions.is_some_and(|sessions| sessions >= expected) || clock::now() >= end {
            return Ok(scaling);
        }
        sleep(POLL).await;
    }
}

/// Venues of ours are in UTC.
fn season_now(scaling: &Value, proof: &mut Proof) {
    let now = clock::rfc3339(clock::wall());
    let month: Option<u8> = now.get(5..7).and_then(|month| month.parse().ok());
    let expected = month.is_some_and(|month| SEASONS[1].1.contains(&month));
    if scaling["season"] != expected {
        proof.wrong(format!("at {now} a node says that season is {}", scaling["season"]));
    }
}

#[cfg(test)]
mod tests {
    use super::{calendar, rules};
    use crate::lab::validate::proof::Proof;
    use crate::lab::validate::verdict::{Ending, Outcome, outcome};

    #[test]
    fn the_deciders_that_are_built_in_are_as_the_domain_has_them() {
        let mut proof = Proof::default();
        calendar(&mut proof).unwrap();
        rules(&mut proof).unwrap();
        assert_eq!(outcome(&Ending::Ran, &proof), Outcome::Passed, "{:?}", proof.findings());
    }
}
