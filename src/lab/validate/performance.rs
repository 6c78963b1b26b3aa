//! The performance requirements: the standard load, with as many more connected as it takes to come to 10,000, measured and accounted for by
//! the same engine as `campanile load`. Nodes of its own are new ones: nothing of the other checks is in them.

use super::proof::Proof;
use crate::lab::load::crowd::sockets_max;
use crate::lab::load::judged::{self, Frame};
use crate::lab::load::run::{self, Played};
use crate::lab::load::scenario::{self, Scenario};
use crate::lab::load::stage::Where;
use crate::lab::results::{Report, shown};
use anyhow::Result;
use indicatif::ProgressBar;
use serde::Serialize;
use std::time::Duration;

const SCENARIO: &str = "standard";
/// The origin's requirement.
pub const CONNECTIONS: u32 = 10_000;
/// What the origin claimed to have reached: each must have been looked at.
const REQUIRED: [&str; 5] = [
    "mean, due to read",
    "p95, due to read",
    "slowest critical",
    "errors",
    "cache hit rate",
];
const NODES: u64 = 3;
/// Files that a node needs besides its subscribers' sockets.
const FILES_SPARE: u64 = 1_000;

/// How much load, and for how long. The bounds are the same for any.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Load {
    pub length: Duration,
    /// Groups and broadcasts a second times this.
    pub scale: f64,
    pub connections: u32,
}

/// What is played, or why it is no scenario.
pub fn scenario(load: &Load) -> Result<Scenario> {
    let mut scenario = scenario::open(SCENARIO)?.lasting(load.length).scaled(load.scale);
    let members = scenario.groups * scenario.recipients;
    scenario.bystanders = load.connections.saturating_sub(members);
    Ok(scenario.checked()?)
}

/// Gives the load's own report, too.
pub async fn look(load: &Load, place: &Where, seed: u64, proof: &mut Proof, bar: &ProgressBar) -> Result<Report> {
    let asked = *load;
    let mut load = asked;
    let files = sockets_max();
    if matches!(place, Where::Own { .. }) {
        let room = NODES * files.saturating_sub(FILES_SPARE);
        load.connections = load.connections.min(u32::try_from(room).unwrap_or(u32::MAX));
    }
    let mut scenario = scenario(&load)?;
    // On nodes of others nobody may be called, and no cap of theirs lifted, for a load.
    scenario.drill = matches!(place, Where::There { .. });
    let played = run::play(&scenario, place, seed, bar).await?;
    let frame = Frame {
        command: String::new(),
        seed,
        at: String::new(),
        took_s: 0.0,
    };
    let report = judged::report(&scenario, &played, frame);
    judge(&report, &played, proof);
    let held = lowest(&played);
    if scenario.subscribers() < CONNECTIONS {
        let (here, why) = (scenario.subscribers(), why(&asked, &load, files));
        proof.not_run(format!("{CONNECTIONS} connections: {here} were tried, {why}"));
        proof.at_least("connected all the time", f64::from(here), "", held);
    } else {
        proof.at_least("connected all the time", f64::from(CONNECTIONS), "", held);
    }
    proof.saw(format!(
        "measured for {} s at {} broadcasts a second, each to {} people, {} connected",
        shown(scenario.length.0.as_secs_f64()),
        shown(scenario.broadcasts_per_second),
        scenario.recipients,
        scenario.subscribers()
    ));
    Ok(report)
}

fn why(asked: &Load, load: &Load, files: u64) -> String {
    if load.connections < asked.connections {
        format!("since a process may open {files} files")
    } else {
        "as was asked".to_owned()
    }
}

/// The load's own bounds and findings, and that nothing was lost.
fn judge(report: &Report, played: &Played, proof: &mut Proof) {
    for wanted in REQUIRED {
        if !report.targets.iter().any(|target| target.name == wanted) {
            proof.not_run(format!("{wanted}: the scenario has no bound for it"));
        }
    }
    for target in &report.targets {
        proof.take(target.clone());
    }
    for finding in &report.findings {
        proof.wrong(finding.clone());
    }
    for (key, name) in [
        ("deliveries.missing", "deliveries missing"),
        ("deliveries.wrong", "deliveries to the wrong people"),
        ("deliveries.repeated", "deliveries repeated on one connection"),
        ("deliveries.disordered", "deliveries out of order"),
        ("connections.lost", "connections lost"),
        ("connections.gaps", "streams with a gap"),
    ] {
        let value = report.figure(key).and_then(|figure| figure.value);
        match value {
            Some(value) => proof.none(name, value as usize),
            None => proof.not_run(format!("{name}: not counted")),
        }
    }
    let value = |key: &str| {
        report
            .figure(key)
            .and_then(|figure| figure.value)
            .map_or_else(|| "?".into(), shown)
    };
    proof.saw(format!(
        "{} deliveries of {} expected; {} a second",
        value("deliveries.made"),
        value("deliveries.expected"),
        value("deliveries.per_second")
    ));
    for note in report
        .notes
        .iter()
        .filter(|note| note.starts_with("It was") || note.starts_with("Other programs"))
    {
        proof.saw(note.clone());
    }
    for decision in played.decisions.iter().filter(|decision| decision.rule != "steady") {
        proof.saw(format!(
            "scaling on node {}: {} threads, {}: {}",
            decision.node, decision.threads, decision.rule, decision.reason
        ));
    }
}

/// The fewest that were connected at any second of the run; `None` when nobody looked.
fn lowest(played: &Played) -> Option<f64> {
    let connected = played.seconds.iter().map(|second| f64::from(second.connected));
    connected.reduce(f64::min)
}

#[cfg(test)]
mod tests {
    use super::{CONNECTIONS, Load, scenario};
    use std::time::Duration;

    #[test]
    fn bounds_stay_however_short_and_small_it_is() {
        let load = |scale, connections| Load {
            length: Duration::from_secs(5),
            scale,
            connections,
        };
        let whole = scenario(&load(1.0, CONNECTIONS)).unwrap();
        assert_eq!(
            (whole.users(), whole.groups, whole.bystanders),
            (CONNECTIONS, 25, 5_000)
        );
        let small = scenario(&load(0.04, CONNECTIONS)).unwrap();
        assert_eq!((small.users(), small.groups), (CONNECTIONS, 1));
        assert_eq!(
            format!("{:?}", small.targets),
            format!("{:?}", whole.targets),
            "and they are the origin's: {:?}",
            whole.targets
        );
        assert_eq!(small.targets.p95_ms, Some(200.0));
        assert_eq!(scenario(&load(1.0, 1)).unwrap().users(), 5_000);
    }
}
