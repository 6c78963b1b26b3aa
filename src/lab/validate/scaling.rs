//! Scaling: the real deciders are given the [calendar](super::seasons) and every [rule](super::rules); the nodes are asked what they decide
//! now, and why.

use super::nouns::{member, user, venue, wedding};
use super::proof::Proof;
use super::rules::rules;
use super::seasons::{calendar, is_season};
use super::stage::{SOON, Stage};
use crate::base::clock;
use anyhow::Result;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::sleep;

const GUESTS: u64 = 40;
const POLL: Duration = Duration::from_millis(100);

pub async fn look(stage: &mut Stage, proof: &mut Proof) -> Result<()> {
    calendar(proof)?;
    rules(proof)?;
    live(stage, proof).await
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
    let expected = month.is_some_and(is_season);
    if scaling["season"] != expected {
        proof.wrong(format!("at {now} a node says that season is {}", scaling["season"]));
    }
}
