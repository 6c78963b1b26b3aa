//! Escalation: nobody of those who are needed confirms, so the step is taken once, alerts who has not confirmed and who is called in, and
//! calls its output.

use super::nouns::draft;
use super::proof::Proof;
use super::stage::{SIREN, SOON, Stage};
use crate::base::clock;
use crate::lab::stream::Transport;
use anyhow::{Result, bail};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::sleep;

const AFTER_MS: f64 = 1_500.0;
const AFTER: &str = "1500ms";
/// Ticks of the log and a way through it.
const LATE_MS: f64 = 2_000.0;
/// A second step would come within this.
const ONCE: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(50);

pub async fn look(stage: &mut Stage, proof: &mut Proof) -> Result<()> {
    let people = stage
        .people(&["escalation-ana", "escalation-ben", "escalation-cal", "escalation-dan"])
        .await?;
    let [ana, ben, cal, _] = &people[..] else {
        bail!("{} people were made", people.len())
    };
    let mut listeners = Vec::new();
    for (at, user) in people.iter().enumerate() {
        listeners.push(stage.listen(at, Transport::WebSocket, user).await?);
    }
    let mut draft = draft("high", &json!({"users": [ana, ben]}), "Who is there?");
    let mut step = json!({"after": AFTER, "to": {"users": [cal]}, "priority": "critical"});
    if stage.is_own() {
        step["outputs"] = json!([SIREN]);
    }
    draft["type"] = json!("medical.assist");
    draft["acknowledge"] = json!({"within": "1s", "escalate": [step]});
    let published = stage.publish(0, &draft).await?;
    let id = published.id;
    let confirmed = stage
        .post(
            1,
            &format!("/v1/broadcasts/{id}/acknowledge?user={ana}"),
            &json!({"answer": "ok"}),
        )
        .await?;
    if confirmed.status != 200 {
        proof.wrong(format!(
            "a confirmation was answered {} {}",
            confirmed.status,
            confirmed.code()
        ));
    }
    let limit = Duration::from_secs_f64(AFTER_MS / 1e3) + SOON;
    for at in [1, 2] {
        listeners[at]
            .until(limit, |heard| {
                heard.of(&id).iter().any(|(frame, _)| frame["escalated"] == true)
            })
            .await;
    }
    sleep(ONCE).await;
    let alerts: Vec<usize> = listeners
        .iter()
        .map(|listener| {
            listener.look(|heard| {
                let all = heard.of(&id).into_iter();
                all.filter(|(frame, _)| frame["escalated"] == true).count()
            })
        })
        .collect();
    proof.exactly("alerts at who had confirmed", 0, alerts[0]);
    proof.exactly("alerts at who had not", 1, alerts[1]);
    proof.exactly("alerts at who was called in", 1, alerts[2]);
    proof.none("frames at who was never meant", listeners[3].ids().len());
    let waited = listeners[1].look(|heard| {
        let alert = heard
            .of(&id)
            .into_iter()
            .find(|(frame, _)| frame["escalated"] == true)?;
        Some(alert.1.duration_since(published.accepted).as_secs_f64() * 1e3)
    });
    // The times of the log and of this process begin a request apart.
    proof.at_least("from accepted to alerted", AFTER_MS - 500.0, "ms", waited);
    proof.below("from accepted to alerted", AFTER_MS + LATE_MS, "ms", waited);
    taken(stage, &id, proof).await?;
    called(stage, &id, proof).await;
    Ok(())
}

async fn taken(stage: &Stage, id: &str, proof: &mut Proof) -> Result<()> {
    let mut once = 0;
    for at in 0..stage.nodes.len() {
        let shown = stage
            .get(at, &format!("/v1/broadcasts/{id}?consistency=strong"))
            .await?;
        let steps = shown["escalations"].as_array().map_or(&[][..], Vec::as_slice);
        let is_right = steps.len() == 1 && steps[0]["alerted"] == 2 && steps[0]["widened"] == 1;
        once += usize::from(is_right);
        if !is_right {
            proof.wrong(format!("node {} says {}", at + 1, shown["escalations"]));
        }
    }
    proof.exactly(
        "nodes that say: one step, two alerted, one called in",
        stage.nodes.len(),
        once,
    );
    Ok(())
}

/// The output leads here; it verifies the signature.
async fn called(stage: &Stage, id: &str, proof: &mut Proof) {
    let Some(sink) = stage.sink() else {
        proof.not_run("calling an output: those of --url are not this program's");
        return;
    };
    let is_it = |call: &crate::lab::called::Call| {
        call.output == SIREN && call.told.as_ref().is_some_and(|told| told.broadcast == id)
    };
    let end = clock::now() + SOON;
    while clock::now() < end && !sink.heard().iter().any(is_it) {
        sleep(POLL).await;
    }
    let calls: Vec<_> = sink.heard().into_iter().filter(is_it).collect();
    let ids: BTreeSet<&str> = calls.iter().map(|call| call.id.as_str()).collect();
    proof.exactly("calls of the output, each id once", 1, ids.len());
    proof.none(
        "calls without a signature that holds",
        calls.iter().filter(|call| !call.is_signed).count(),
    );
}
