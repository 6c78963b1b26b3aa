//! Idempotency: the same key with the same body is one broadcast, whichever nodes it comes to and however close together.

use super::listener::text;
use super::nouns::draft;
use super::proof::Proof;
use super::stage::{SOON, Stage};
use crate::base::clock;
use crate::lab::http::Answer;
use crate::lab::stream::Transport;
use anyhow::{Result, bail};
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::sleep;

const KEYS: usize = 10;
const POLL: Duration = Duration::from_millis(10);

pub async fn look(stage: &mut Stage, proof: &mut Proof) -> Result<()> {
    if stage.nodes.len() < 2 {
        proof.not_run("keys over nodes: only one was named");
    }
    let people = stage.people(&["keys-ana"]).await?;
    let Some(ana) = people.first() else { return Ok(()) };
    let listener = stage.listen(0, Transport::WebSocket, ana).await?;
    let audience = json!({"users": people});
    let mut accepted = BTreeSet::new();
    in_turn(stage, &audience, &mut accepted, proof).await?;
    let mut split = 0;
    for number in 0..KEYS {
        let ids = together(stage, &audience, number).await?;
        split += ids.len().saturating_sub(1);
        accepted.extend(ids);
    }
    proof.none("second broadcasts of a key that came to all nodes at once", split);
    // What is published last comes behind all that was to come.
    let last = stage.publish(0, &draft("normal", &audience, "The last")).await?;
    accepted.insert(last.id.clone());
    if !listener.gets(&last.id, SOON).await {
        proof.wrong("the last broadcast did not come");
    }
    let read = listener.ids();
    let each: BTreeSet<String> = read.iter().cloned().collect();
    proof.exactly("broadcasts that came, of one for each key", accepted.len(), each.len());
    proof.none("that came twice", read.len() - each.len());
    proof.none("that came under no key", each.difference(&accepted).count());
    proof.saw(format!(
        "a key to each node in turn, {KEYS} keys to {} nodes at the same time each",
        stage.nodes.len()
    ));
    Ok(())
}

async fn keyed(stage: &Stage, at: usize, key: &str, draft: &Value) -> Result<Answer> {
    let body = draft.to_string();
    let headers = [("Content-Type", "application/json"), ("Idempotency-Key", key)];
    stage
        .ask(at, ("POST", "/v1/broadcasts"), &headers, body.as_bytes())
        .await
}

/// The first answer again on every other node, and another body refused.
async fn in_turn(stage: &Stage, audience: &Value, accepted: &mut BTreeSet<String>, proof: &mut Proof) -> Result<()> {
    let key = stage.name("key");
    let draft = draft("high", audience, "Once");
    let first = keyed(stage, 0, &key, &draft).await?;
    let id = text(&first.json()?, "id");
    if first.status != 201 || id.is_empty() {
        bail!("a keyed publish was answered {} {}", first.status, first.code());
    }
    let (mut again, mut all) = (0, 0);
    for at in 1..stage.nodes.len().max(2) {
        let answer = keyed(stage, at, &key, &draft).await?;
        let is_same = answer.status == 201 && text(&answer.json()?, "id") == id;
        all += 1;
        again += usize::from(is_same && answer.header("idempotent-replayed") == Some("true"));
    }
    proof.exactly("other nodes that found the first answer", all, again);
    let mut other = draft.clone();
    other["title"] = json!("Something else");
    let answer = keyed(stage, 1, &key, &other).await?;
    proof.exactly(
        "other bodies under that key that are refused",
        1,
        usize::from(answer.status == 422 && answer.code() == "KEY_REUSED"),
    );
    accepted.insert(id);
    Ok(())
}

/// All nodes get it at once; who is told that it is still running asks again.
async fn together(stage: &Stage, audience: &Value, number: usize) -> Result<BTreeSet<String>> {
    let key = stage.name(&format!("key-{number}"));
    let draft = draft("normal", audience, "At once");
    let insist = async |at: usize| {
        let end = clock::now() + SOON;
        loop {
            let answer = keyed(stage, at, &key, &draft).await?;
            match answer.status {
                201 => return anyhow::Ok(text(&answer.json()?, "id")),
                409 if clock::now() < end => sleep(POLL).await,
                other => bail!("a keyed publish was answered {other} {}", answer.code()),
            }
        }
    };
    let ids = try_join_all((0..stage.nodes.len()).map(insist)).await?;
    Ok(ids.into_iter().collect())
}
