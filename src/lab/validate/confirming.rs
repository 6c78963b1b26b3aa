//! Who has not confirmed, and why: seven people who went differently far, as every node tells it.

use super::listener::{Promise, text};
use super::nouns::draft;
use super::proof::Proof;
use super::stage::{SOON, Stage};
use crate::base::clock;
use crate::lab::stream::Transport;
use anyhow::{Result, bail};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::sleep;

const POLL: Duration = Duration::from_millis(50);

/// Each person, and the state and reason that everybody must be told.
const EXPECTED: [(&str, &str, Option<&str>); 6] = [
    ("confirming-ana", "acknowledged", None),
    ("confirming-ben", "read", Some("not_acknowledged")),
    ("confirming-cal", "received", Some("not_acknowledged")),
    ("confirming-dan", "sent", Some("sent_not_received")),
    ("confirming-eve", "targeted", Some("no_session")),
    ("confirming-fay", "skipped", Some("muted_category")),
];

pub async fn look(stage: &mut Stage, proof: &mut Proof) -> Result<()> {
    let words: Vec<&str> = EXPECTED.iter().map(|(word, ..)| *word).collect();
    let people = stage.people(&words).await?;
    let [ana, ben, cal, dan, _, fay] = &people[..] else {
        bail!("{} people were made", people.len())
    };
    let muted = json!({"kind": "preferences", "user": fay, "muted_categories": ["venue"]});
    stage.import(&[muted]).await?;
    let mut listeners = Vec::new();
    for (at, user) in [ana, ben, cal, dan].into_iter().enumerate() {
        let seat = (user.as_str(), None);
        listeners.push(stage.listen_from(at, Transport::Sse, seat, Promise::Nothing).await?);
    }
    stage.connected(&people, 4).await?;
    let mut draft = draft("high", &json!({"users": people}), "Please confirm");
    draft["acknowledge"] = json!({"within": "5m", "answers": ["ok", "need_help"]});
    let published = stage.publish(0, &draft).await?;
    let id = published.id;
    for listener in &listeners {
        if !listener.gets(&id, SOON).await {
            proof.wrong("somebody who listens did not get it");
        }
    }
    for (at, user, list) in [(1, ben, "read"), (2, cal, "received")] {
        let answer = stage
            .post(at, &format!("/v1/receipts?user={user}"), &json!({list: [id]}))
            .await?;
        if answer.status != 200 {
            proof.wrong(format!("a receipt was answered {} {}", answer.status, answer.code()));
        }
    }
    let path = format!("/v1/broadcasts/{id}/acknowledge?user={ana}");
    let answer = stage.post(1, &path, &json!({"answer": "need_help"})).await?;
    if answer.status != 200 {
        proof.wrong(format!(
            "a confirmation was answered {} {}",
            answer.status,
            answer.code()
        ));
    }
    let (mut right, mut answers) = (0, 0);
    for at in 0..stage.nodes.len() {
        let found = settled(stage, at, &id, &people).await?;
        for ((_, state, reason), person) in EXPECTED.iter().zip(&people) {
            let own = found.get(person).cloned().unwrap_or_default();
            if own["state"] == *state && own["reason"].as_str() == *reason {
                right += 1;
            } else {
                proof.wrong(format!(
                    "node {} says {} {} of who is {state} {reason:?}",
                    at + 1,
                    own["state"],
                    own["reason"]
                ));
            }
        }
        answers += usize::from(found.get(ana).is_some_and(|own| own["answer"] == "need_help"));
    }
    let nodes = stage.nodes.len();
    proof.exactly(
        "people told as far as they are, on all nodes",
        EXPECTED.len() * nodes,
        right,
    );
    proof.exactly("nodes that have the answer that was given", nodes, answers);
    proof.saw("one confirmed, one read it, one received it, one was sent it, one was never there, one has muted it");
    Ok(())
}

/// What a node says once it is as expected, or when it should have been.
async fn settled(stage: &Stage, at: usize, id: &str, people: &[String]) -> Result<BTreeMap<String, Value>> {
    let end = clock::now() + SOON;
    loop {
        let page = stage.get(at, &format!("/v1/broadcasts/{id}/recipients")).await?;
        let items = page["items"].as_array().map_or(&[][..], Vec::as_slice);
        let found: BTreeMap<String, Value> = items.iter().map(|item| (text(item, "user"), item.clone())).collect();
        let is_right = EXPECTED.iter().zip(people).all(|((_, state, reason), person)| {
            let own = found.get(person);
            own.is_some_and(|own| own["state"] == *state && own["reason"].as_str() == *reason)
        });
        if is_right || clock::now() >= end {
            return Ok(found);
        }
        sleep(POLL).await;
    }
}
