//! Tokens: good on every node with the first request after their answer, for their scope and their user and no other, and worthless
//! everywhere once they are revoked.

use super::listener::{Listener, Promise, Seat, text};
use super::proof::Proof;
use super::stage::{SOON, Stage};
use crate::base::clock;
use crate::lab::stream::Transport;
use crate::lab::tokens::bearer;
use anyhow::{Result, bail};
use serde_json::json;
use std::time::Duration;
use tokio::time::sleep;

/// Wanted for a stream; no other address looks at it.
const STREAM: &str = "text/event-stream";
const ROUNDS: usize = 9;
/// A revocation reaches every node that is there within this.
const REVOKED_WITHIN: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);
/// What a stream is told whose token has ended.
const TOKEN_ENDED: u64 = 4001;

pub async fn look(stage: &mut Stage, proof: &mut Proof) -> Result<()> {
    if !stage.has_tokens {
        proof.not_run("the nodes ask for no tokens");
        return Ok(());
    }
    let people = stage.people(&["tokens-ana", "tokens-ben"]).await?;
    let [ana, ben] = &people[..] else {
        bail!("{} people were made", people.len())
    };
    let wanted = json!({"user": ana, "role": "guest", "scopes": ["read", "subscribe"], "ttl": "10m"});
    let nodes = stage.nodes.len();
    let (mut good, mut strict) = (0, 0);
    let mut last = None;
    for round in 0..ROUNDS {
        let made = stage.post(round, "/v1/tokens", &wanted).await?.json()?;
        let own = bearer(&text(&made, "token"));
        for at in 0..nodes {
            // The one that made it is asked last.
            let status = status(stage, round + at + 1, ("GET", "/v1/broadcasts?limit=1"), &own).await?;
            good += usize::from(status == 200);
        }
        strict += usize::from(status(stage, round, ("GET", "/v1/audit"), &own).await? == 403);
        if let Some((id, _)) = last.replace((text(&made, "id"), own)) {
            revoke(stage, round, &id).await?;
        }
    }
    proof.exactly("nodes at which a new token was good at once", ROUNDS * nodes, good);
    proof.exactly("looks beyond its scope, refused", ROUNDS, strict);
    let Some((id, own)) = last else { return Ok(()) };
    own_alone(stage, &own, ben, proof).await?;
    revoked(stage, &id, &own, proof).await?;
    let mut refused = 0;
    for wrong in [
        "",
        "Bearer nonsense",
        "Bearer cmp_0123456789abcdefghijklmnopqrstuvwxyz-0123456",
    ] {
        refused += usize::from(status(stage, 0, ("GET", "/v1/broadcasts?limit=1"), wrong).await? == 401);
    }
    proof.exactly("requests without a valid token, refused", 3, refused);
    Ok(())
}

async fn status(stage: &Stage, at: usize, what: (&str, &str), bearer: &str) -> Result<u16> {
    Ok(stage.ask_as(at, what, bearer, (&[], b"")).await?.status)
}

/// What is the user's own is there, and what is another's is refused, on every node.
async fn own_alone(stage: &Stage, own: &str, other: &str, proof: &mut Proof) -> Result<()> {
    let others = ["inbox", "subscribe"].map(|what| format!("/v1/{what}?user={other}"));
    let (mut good, mut refused) = (0, 0);
    for at in 0..stage.nodes.len() {
        good += usize::from(status(stage, at, ("GET", "/v1/inbox"), own).await? == 200);
        for path in &others {
            let answer = stage
                .ask_as(at, ("GET", path), own, (&[("Accept", STREAM)], b""))
                .await?;
            if answer.status == 403 && answer.code() == "OTHER_USER" {
                refused += 1;
            } else {
                proof.wrong(format!(
                    "node {} answered {} {} to {path} with another's token",
                    at + 1,
                    answer.status,
                    answer.code()
                ));
            }
        }
    }
    let nodes = stage.nodes.len();
    proof.exactly("nodes that gave the token's user their inbox", nodes, good);
    proof.exactly("requests for another user, refused", nodes * others.len(), refused);
    Ok(())
}

async fn revoke(stage: &Stage, at: usize, id: &str) -> Result<()> {
    let answer = stage.ask(at, ("DELETE", &format!("/v1/tokens/{id}")), &[], b"").await?;
    if answer.status != 204 {
        bail!("a revocation was answered {} {}", answer.status, answer.code());
    }
    Ok(())
}

async fn revoked(stage: &Stage, id: &str, own: &str, proof: &mut Proof) -> Result<()> {
    let seat = Seat {
        node: stage.node(1),
        transport: Transport::WebSocket,
        bearer: own,
        user: None,
        cursor: None,
        promise: Promise::Nothing,
    };
    let stream = Listener::start(seat).await?;
    let begun = clock::now();
    revoke(stage, 0, id).await?;
    let mut slowest = Duration::ZERO;
    for at in 0..stage.nodes.len() {
        while status(stage, at, ("GET", "/v1/broadcasts?limit=1"), own).await? != 401 {
            if clock::now() - begun > REVOKED_WITHIN {
                break;
            }
            sleep(POLL).await;
        }
        slowest = slowest.max(clock::now() - begun);
    }
    proof.below(
        "until it was worthless on every node",
        REVOKED_WITHIN.as_secs_f64() * 1e3,
        "ms",
        slowest.as_secs_f64() * 1e3,
    );
    let is_told = stream
        .until(SOON, |heard| {
            let mut all = heard.frames.iter();
            all.any(|(frame, _)| frame["event"] == "goodbye" && frame["code"] == TOKEN_ENDED)
        })
        .await;
    proof.exactly("open streams that ended with it", 1, usize::from(is_told));
    Ok(())
}
