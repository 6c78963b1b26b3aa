//! Resuming: a subscriber moves from node to node with nothing but a cursor, while broadcasts go on.

use super::listener::Promise;
use super::nouns::draft;
use super::proof::Proof;
use super::stage::{SOON, Stage};
use crate::lab::stream::Transport;
use crate::model::Priority;
use anyhow::{Context, Result};
use serde_json::json;
use std::collections::BTreeSet;

/// Moves, each to the next node.
const MOVES: usize = 6;
/// Published while somebody listens, and while nobody does.
const THERE: usize = 5;
const AWAY: usize = 10;

pub async fn look(stage: &mut Stage, proof: &mut Proof) -> Result<()> {
    if stage.nodes.len() < 2 {
        proof.not_run("another node: only one was named");
    }
    for (transport, word) in [(Transport::WebSocket, "resume-ws"), (Transport::Sse, "resume-sse")] {
        moves(stage, transport, word, proof).await?;
    }
    Ok(())
}

async fn moves(stage: &mut Stage, transport: Transport, word: &str, proof: &mut Proof) -> Result<()> {
    let people = stage.people(&[word]).await?;
    let Some(user) = people.first() else { return Ok(()) };
    let audience = json!({"users": people});
    let (mut published, mut read) = (Vec::new(), Vec::new());
    let mut cursor: Option<String> = None;
    let (mut gaps, mut late) = (0, 0);
    for step in 0..=MOVES {
        let seat = (user.as_str(), cursor.as_deref());
        let listener = stage.listen_from(step, transport, seat, Promise::Nothing).await?;
        for number in 0..THERE {
            let priority = Priority::ALL[(step + number) % Priority::ALL.len()];
            let draft = draft(priority.name(), &audience, "While somebody listens");
            published.push(stage.publish(step + number, &draft).await?.id);
        }
        let owed: BTreeSet<&String> = published.iter().filter(|id| !read.contains(*id)).collect();
        // The cursor that ends the write with the last of them; one before it would bring some again.
        let has_all = listener
            .until(SOON, |heard| {
                let found: BTreeSet<String> = heard.ids().into_iter().collect();
                heard.is_covered && owed.iter().all(|id| found.contains(*id))
            })
            .await;
        late += usize::from(!has_all);
        gaps += listener.count("gap");
        let (ids, end) = listener.look(|heard| (heard.ids(), heard.cursor.clone()));
        read.extend(ids);
        cursor = Some(end.context("a stream without a cursor")?);
        drop(listener);
        if step < MOVES {
            for number in 0..AWAY {
                let draft = draft("normal", &audience, "While nobody listens");
                published.push(stage.publish(number, &draft).await?.id);
            }
        }
    }
    let each: BTreeSet<&String> = read.iter().collect();
    let missing = published.iter().filter(|id| !each.contains(id)).count();
    let kind = if transport == Transport::Sse {
        "events"
    } else {
        "WebSocket"
    };
    proof.none(&format!("missing over {MOVES} moves, {kind}"), missing);
    proof.none(&format!("repeated, {kind}"), read.len() - each.len());
    proof.none(&format!("gaps told, {kind}"), gaps);
    proof.none(&format!("nodes that were late, {kind}"), late);
    proof.saw(format!(
        "{kind}: {} broadcasts, {} of them while nobody was connected, read on {} connections",
        published.len(),
        MOVES * AWAY,
        MOVES + 1
    ));
    Ok(())
}
