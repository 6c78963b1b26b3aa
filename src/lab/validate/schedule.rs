//! What has a time of its own, and what is called off: before it goes out, and after.

use super::listener::text;
use super::nouns::draft;
use super::proof::Proof;
use super::stage::{Published, SOON, Stage};
use crate::base::clock;
use crate::lab::stream::Transport;
use anyhow::{Context, Result, bail};
use serde_json::json;
use std::time::Duration;
use tokio::time::sleep;

const AHEAD_MS: i64 = 2_000;
/// Ticks of the log and a way through it.
const LATE_MAX_MS: f64 = 1_500.0;
const POLL: Duration = Duration::from_millis(20);

pub async fn look(stage: &mut Stage, proof: &mut Proof) -> Result<()> {
    let people = stage
        .people(&["schedule-ana", "schedule-ben", "schedule-cal", "schedule-dan"])
        .await?;
    let [ana, ben, cal, dan] = &people[..] else {
        bail!("{} people were made", people.len())
    };
    let there = [
        stage.listen(0, Transport::WebSocket, ana).await?,
        stage.listen(1, Transport::Sse, ben).await?,
    ];
    let stranger = stage.listen(2, Transport::WebSocket, dan).await?;
    let audience = json!({"users": [ana, ben, cal]});
    let due = stage.time().await? + AHEAD_MS;
    let mut later = draft("high", &audience, "In two seconds");
    later["deliver_at"] = json!(clock::rfc3339(due));
    let comes = stage.publish(0, &later).await?;
    let never = stage.publish(1, &later).await?;
    cancel(stage, 2, &never.id).await?;

    let off = stage.publish(0, &draft("high", &audience, "Called off")).await?;
    for listener in &there {
        listener.gets(&off.id, SOON).await;
    }
    sent_to(stage, &off, 2).await?;
    cancel(stage, 1, &off.id).await?;
    for listener in &there {
        listener.until(SOON, |heard| heard.retracted(&off.id) > 0).await;
    }
    for listener in &there {
        listener
            .gets(&comes.id, Duration::from_millis(AHEAD_MS as u64) + SOON)
            .await;
    }
    let last = stage
        .publish(2, &draft("high", &json!({"users": people}), "The last"))
        .await?;
    // Who comes late hears of neither.
    let late = stage.listen(2, Transport::WebSocket, cal).await?;
    for listener in there.iter().chain([&stranger, &late]) {
        if !listener.gets(&last.id, SOON).await {
            proof.wrong("the last broadcast did not come to everybody");
        }
    }
    let times = |id: &str| {
        there
            .iter()
            .map(|one| one.look(|heard| heard.of(id).len()))
            .collect::<Vec<_>>()
    };
    proof.exactly(
        "came at its time, at both who listen",
        2,
        times(&comes.id).iter().filter(|times| **times == 1).count(),
    );
    let released = there[0].look(|heard| {
        let frame = heard.of(&comes.id);
        let at = clock::parse_rfc3339(frame.first()?.0["released_at"].as_str()?)?;
        Some((at - due) as f64)
    });
    proof.at_least("after its time it went out", 0.0, "ms", released);
    proof.below("after its time it went out", LATE_MAX_MS, "ms", released);
    proof.none(
        "came although it was called off before its time",
        times(&never.id).iter().sum(),
    );
    let retracted: usize = there.iter().map(|one| one.look(|heard| heard.retracted(&off.id))).sum();
    proof.exactly("taken back from those who had it", 2, retracted);
    let others = late.look(|heard| heard.of(&off.id).len() + heard.retracted(&off.id))
        + stranger.look(|heard| heard.broadcasts().count() - heard.of(&last.id).len() + heard.retracted(&off.id));
    proof.none("frames about it at anybody else", others);
    Ok(())
}

async fn cancel(stage: &Stage, at: usize, id: &str) -> Result<()> {
    let answer = stage
        .ask(at, ("POST", &format!("/v1/broadcasts/{id}/cancel")), &[], b"")
        .await?;
    let shown = answer.json().unwrap_or_default();
    if answer.status != 200 || text(&shown, "status") != "cancelled" {
        bail!("a cancel was answered {} {}", answer.status, answer.code());
    }
    Ok(())
}

/// Waits until it is known that it was written to so many.
async fn sent_to(stage: &Stage, published: &Published, wanted: u64) -> Result<()> {
    let end = clock::now() + SOON;
    let path = format!("/v1/broadcasts/{}?consistency=strong", published.id);
    while clock::now() < end {
        let shown = stage.get(1, &path).await?;
        if shown["sent"].as_u64().context("a broadcast without sent")? >= wanted {
            return Ok(());
        }
        sleep(POLL).await;
    }
    bail!("it does not count as sent to {wanted} within {SOON:?}")
}
