//! Metrics and alerts: every documented metric is there and counts, the rules are there, and one that is provoked fires on all nodes, is told
//! once, clears, and is told once more.

use super::metrics::{self, Told};
use super::nouns::draft;
use super::proof::Proof;
use super::stage::{DESK, SOON, Stage};
use crate::base::clock;
use crate::lab::sink::Sink;
use crate::lab::stream::Transport;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// What the origin's eight rules measure, its bounds in the API's units, and on which side it is bad.
const EIGHT: [(&str, f64, &str); 8] = [
    ("error_rate", 0.05, "above"),
    ("processing", 1_000.0, "above"),
    ("queue_size", 5_000.0, "above"),
    ("cache_hit_rate", 0.8, "below"),
    ("cache_memory", 45.0 * 1_048_576.0, "above"),
    ("response_time", 500.0, "above"),
    ("connections", 8_000.0, "above"),
    ("emergencies", 0.0, "above"),
];
const RULE: &str = "emergency";
/// Nodes look every 5 s on ordinary days; then it goes through the log.
const FIRES_WITHIN_MS: f64 = 10_000.0;
const CLEARS_WITHIN_MS: f64 = 15_000.0;
const WAIT_MAX: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);
/// What is told twice comes within this.
const ONCE: Duration = Duration::from_secs(2);
/// Of the lowest priority: what other checks hold back or have tried again is more urgent.
const LOW: usize = 5;

pub async fn look(stage: &mut Stage, proof: &mut Proof) -> Result<()> {
    counted(stage, proof).await?;
    rules(stage, proof).await?;
    if stage.is_own() {
        provoked(stage, proof).await
    } else {
        proof.not_run("provoking an alert: nodes of --url would call people about it");
        Ok(())
    }
}

async fn told(stage: &Stage, at: usize) -> Result<Told> {
    let answer = stage.ask(at, ("GET", "/metrics"), &[], b"").await?;
    Ok(metrics::read(std::str::from_utf8(&answer.body)?))
}

/// All names are there; and what is published in between is what is counted.
async fn counted(stage: &mut Stage, proof: &mut Proof) -> Result<()> {
    let people = stage.people(&["alerts-meter"]).await?;
    let documented = metrics::documented();
    let mut before = Vec::new();
    let (mut missing, mut undocumented, mut unreadable, mut silent) = (0, 0, 0, 0);
    for at in 0..stage.nodes.len() {
        let told = told(stage, at).await?;
        for name in told.missing(&documented) {
            missing += 1;
            proof.wrong(format!("node {} does not tell {name} as documented", at + 1));
        }
        for name in told.undocumented(&documented) {
            undocumented += 1;
            proof.wrong(format!("node {} tells {name}, which no page has", at + 1));
        }
        for name in told.silent() {
            silent += 1;
            proof.wrong(format!("node {} names {name} and tells no value", at + 1));
        }
        unreadable += told.unreadable.len();
        before.push(told);
    }
    proof.none("documented metrics that are not told", missing);
    proof.none("metrics that are told and not documented", undocumented);
    proof.none("lines that are no metric", unreadable);
    proof.none("metrics without a value", silent);
    let draft = draft("low", &json!({"users": people}), "Counted");
    for number in 0..LOW {
        let published = stage.publish(number, &draft).await?;
        stage.everywhere(published.log_index).await?;
    }
    let (mut least, mut still): (Option<f64>, usize) = (None, 0);
    for (at, before) in before.iter().enumerate() {
        let told = told(stage, at).await?;
        for name in told.still(before) {
            still += 1;
            proof.wrong(format!("node {}: {name} stood still", at + 1));
        }
        let now = released(&told).context("no campanile_released_total of low")?;
        least = Some(least.unwrap_or(f64::MAX).min(now - released(before).unwrap_or(0.0)));
    }
    proof.none("metrics that stood still and must move", still);
    let name = "low broadcasts that every node has counted";
    if stage.is_own() {
        proof.exactly(name, LOW, least.unwrap_or(0.0).round() as usize);
    } else {
        proof.at_least(name, LOW as f64, "", least);
    }
    proof.saw(format!("{} metrics are documented", documented.len()));
    Ok(())
}

fn released(told: &Told) -> Option<f64> {
    told.values.get(r#"campanile_released_total{priority="low"}"#).copied()
}

/// The origin's eight are there, each at least as strict: inside an event window bounds are tighter.
async fn rules(stage: &Stage, proof: &mut Proof) -> Result<()> {
    let mut fewest = EIGHT.len();
    for at in 0..stage.nodes.len() {
        let alerts = stage.get(at, "/v1/alerts").await?;
        let rules = alerts["rules"].as_array().map_or(&[][..], Vec::as_slice);
        let found = EIGHT.iter().filter(|(measure, bound, side)| {
            rules.iter().any(|rule| {
                let own = rule["bound"].as_f64();
                let is_strict = own.is_some_and(|own| if *side == "above" { own <= *bound } else { own >= *bound });
                rule["measure"] == *measure && rule["side"] == *side && is_strict
            })
        });
        fewest = fewest.min(found.count());
        proof.saw(format!("node {} looks at {} rules", at + 1, rules.len()));
    }
    proof.exactly("of the origin's eight rules, on every node", EIGHT.len(), fewest);
    Ok(())
}

/// A critical that is not confirmed raises the rule on every node; confirming it clears the rule.
async fn provoked(stage: &mut Stage, proof: &mut Proof) -> Result<()> {
    let people = stage.people(&["alerts-ana"]).await?;
    let Some(ana) = people.first() else { return Ok(()) };
    let listener = stage.listen(1, Transport::WebSocket, ana).await?;
    if !all_say(stage, Firing::No, clock::now() + SOON).await? {
        proof.not_run(format!("{RULE} fires before it is provoked"));
        return Ok(());
    }
    let mut draft = draft("critical", &json!({"users": people}), "Go inside now");
    draft["drill"] = json!(false);
    draft["acknowledge"] = json!({"within": "1m"});
    let published = stage.publish(0, &draft).await?;
    let fired = all_say(stage, Firing::Yes, clock::now() + WAIT_MAX).await?;
    let fired = fired.then(|| since(published.accepted));
    proof.below("until it fires on all nodes", FIRES_WITHIN_MS, "ms", fired);
    if !listener.gets(&published.id, SOON).await {
        proof.wrong("the critical that raised it did not come");
    }
    let path = format!("/v1/broadcasts/{}/acknowledge?user={ana}", published.id);
    let confirmed = stage.post(2, &path, &json!({"answer": "ok"})).await?.at;
    let cleared = all_say(stage, Firing::No, clock::now() + WAIT_MAX).await?;
    let cleared = cleared.then(|| since(confirmed));
    proof.below(
        "until it is clear on all nodes, once confirmed",
        CLEARS_WITHIN_MS,
        "ms",
        cleared,
    );
    let end = clock::now() + SOON;
    while clock::now() < end && notices(stage, "alert.cleared") == 0 {
        sleep(POLL).await;
    }
    sleep(ONCE).await;
    proof.exactly("notices that it began", 1, notices(stage, "alert.raised"));
    proof.exactly("notices that it is over", 1, notices(stage, "alert.cleared"));
    Ok(())
}

fn since(begun: Instant) -> f64 {
    (clock::now() - begun).as_secs_f64() * 1e3
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Firing {
    Yes,
    No,
}

/// Whether every node comes to say so until then.
async fn all_say(stage: &Stage, wanted: Firing, end: Instant) -> Result<bool> {
    for at in 0..stage.nodes.len() {
        loop {
            let alerts = stage.get(at, "/v1/alerts").await?;
            let items = alerts["items"].as_array().map_or(&[][..], Vec::as_slice);
            let fires = items
                .iter()
                .any(|item| item["rule"] == RULE && item["state"] != "pending");
            if fires == (wanted == Firing::Yes) {
                break;
            }
            if clock::now() >= end {
                return Ok(false);
            }
            sleep(POLL).await;
        }
    }
    Ok(true)
}

/// Signed calls of the desk about the rule, each id once.
fn notices(stage: &Stage, kind: &str) -> usize {
    let bodies = stage.sink().map(Sink::bodies).unwrap_or_default();
    let is_it = |body: &Value| body["type"] == kind && body["data"]["details"]["rule"] == RULE;
    let ids: BTreeSet<String> = bodies
        .into_iter()
        .filter(|(call, body)| call.output == DESK && call.is_signed && is_it(body))
        .map(|(call, _)| call.id)
        .collect();
    ids.len()
}
