//! Durability: publishers at work, the leader killed in the middle of it. What was acknowledged is there, once, on every node, the killed
//! one too; and the others answer again soon.

use super::listener::text;
use super::nouns::draft;
use super::proof::Proof;
use super::stage::{SOON, Stage};
use crate::base::clock;
use crate::lab::publisher::{Post, post};
use crate::lab::stream::Transport;
use anyhow::{Context, Result, bail};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// Times that a leader is killed.
const KILLS: usize = 2;
const PUBLISHERS: usize = 4;
/// Acknowledged before the kill, and behind it.
const BEFORE: usize = 40;
const BEHIND: usize = 40;
const GAP_MAX_MS: f64 = 3_000.0;
const WAIT_MAX: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(2);

/// One publish that was acknowledged.
struct Acknowledged {
    key: String,
    id: String,
    at: Instant,
}

pub async fn look(stage: &mut Stage, proof: &mut Proof) -> Result<()> {
    let people = stage.people(&["durability-ana", "durability-ben"]).await?;
    let [ana, ben] = &people[..] else {
        bail!("{} people were made", people.len())
    };
    let mut gap: Option<f64> = None;
    for kill in 0..KILLS {
        let leader = stage.leader().await.context("nobody leads")?;
        // Both listen on nodes that stay.
        let listeners = [
            stage.listen(leader + 1, Transport::WebSocket, ana).await?,
            stage.listen(leader + 2, Transport::Sse, ben).await?,
        ];
        let (all, killed) = publish_over(stage, leader, &people, kill).await?;
        let own = longest_gap(&all, killed);
        gap = gap.into_iter().chain(own).reduce(f64::max);
        let mut missing = 0;
        for one in &all {
            for listener in &listeners {
                missing += usize::from(!listener.gets(&one.id, SOON).await);
            }
        }
        proof.none(&format!("acknowledged and not delivered, kill {}", kill + 1), missing);
        let titles = listeners[0].look(|heard| {
            let each = heard
                .broadcasts()
                .map(|(frame, _)| (text(frame, "id"), text(frame, "title")));
            each.collect::<BTreeMap<String, String>>()
        });
        let keys: BTreeSet<&String> = titles.values().collect();
        proof.none(
            &format!("published twice under one key, kill {}", kill + 1),
            titles.len() - keys.len(),
        );
        let number = leader as u64 + 1;
        stage.cluster()?.restart(number)?;
        stage.cluster()?.ready_node(number).await?;
        proof.none(
            &format!("acknowledged and lost on any node, kill {}", kill + 1),
            lost(stage, &all).await?,
        );
        proof.saw(format!(
            "kill {}: node {number} led; {} acknowledged by {PUBLISHERS} publishers, {:.0} ms without an acknowledgement",
            kill + 1,
            all.len(),
            own.unwrap_or(f64::NAN)
        ));
    }
    proof.below("longest time without an acknowledgement", GAP_MAX_MS, "ms", gap);
    Ok(())
}

/// Publishers go on over the death of the leader; gives what was acknowledged, by time, and when the leader was killed.
async fn publish_over(
    stage: &mut Stage,
    leader: usize,
    people: &[String],
    kill: usize,
) -> Result<(Vec<Acknowledged>, Instant)> {
    let is_over = Arc::new(AtomicBool::new(false));
    let count = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<JoinHandle<Result<Vec<Acknowledged>>>> = (0..PUBLISHERS)
        .map(|number| {
            let publisher = Publisher {
                nodes: stage.nodes.iter().map(|door| door.address).collect(),
                bearer: stage.bearer.clone(),
                name: stage.name(&format!("durability-{kill}-{number}")),
                draft: draft("normal", &json!({"users": people}), ""),
                first: leader + number,
            };
            tokio::spawn(publisher.run(is_over.clone(), count.clone()))
        })
        .collect();
    reaches(&count, BEFORE).await?;
    stage.cluster()?.kill(leader as u64 + 1)?;
    let killed = clock::now();
    let behind = reaches(&count, count.load(Ordering::Relaxed) + BEHIND).await;
    is_over.store(true, Ordering::Relaxed);
    behind.context("after the leader's death")?;
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await??);
    }
    all.sort_by_key(|one| one.at);
    if all.last().is_none_or(|last| last.at < killed) {
        bail!("nothing was acknowledged within {WAIT_MAX:?} of the leader's death");
    }
    Ok((all, killed))
}

async fn reaches(count: &AtomicUsize, wanted: usize) -> Result<()> {
    let end = clock::now() + WAIT_MAX;
    while count.load(Ordering::Relaxed) < wanted {
        if clock::now() > end {
            bail!(
                "{} of {wanted} were acknowledged within {WAIT_MAX:?}",
                count.load(Ordering::Relaxed)
            );
        }
        sleep(POLL).await;
    }
    Ok(())
}

struct Publisher {
    nodes: Vec<std::net::SocketAddr>,
    bearer: String,
    name: String,
    draft: serde_json::Value,
    first: usize,
}

impl Publisher {
    /// One after the other, each with its key until it is answered.
    async fn run(mut self, is_over: Arc<AtomicBool>, count: Arc<AtomicUsize>) -> Result<Vec<Acknowledged>> {
        let mut done = Vec::new();
        while !is_over.load(Ordering::Relaxed) {
            let key = format!("{}-{}", self.name, done.len());
            self.draft["title"] = json!(key);
            let body = self.draft.to_string();
            let sent = Post {
                bearer: &self.bearer,
                key: &key,
                body: body.as_bytes(),
            };
            let told = post(&self.nodes, self.first + done.len(), sent).await;
            let answer = told.answer.with_context(|| format!("{key} had no answer"))?;
            if answer.status != 201 {
                bail!("{key} was answered {} {}", answer.status, answer.code());
            }
            let answer = answer.json()?;
            done.push(Acknowledged {
                key,
                id: text(&answer, "id"),
                at: told.at,
            });
            count.fetch_add(1, Ordering::Relaxed);
        }
        Ok(done)
    }
}

/// Around the kill, in ms.
fn longest_gap(all: &[Acknowledged], killed: Instant) -> Option<f64> {
    let before = all.iter().rfind(|one| one.at < killed).map_or(killed, |one| one.at);
    let times: Vec<Instant> = all.iter().map(|one| one.at).filter(|at| *at >= killed).collect();
    let from = std::iter::once(before).chain(times.iter().copied());
    let gaps = from
        .zip(&times)
        .map(|(from, to)| to.duration_since(from).as_secs_f64() * 1e3);
    gaps.reduce(f64::max)
}

/// Acknowledged ones that some node does not have, or has as something else.
async fn lost(stage: &Stage, all: &[Acknowledged]) -> Result<usize> {
    let mut lost = 0;
    for at in 0..stage.nodes.len() {
        for one in all {
            let path = format!("/v1/broadcasts/{}?consistency=strong", one.id);
            let answer = stage.ask(at, ("GET", &path), &[], b"").await?;
            let is_there = answer.status == 200 && text(&answer.json()?, "title") == one.key;
            lost += usize::from(!is_there);
        }
    }
    Ok(lost)
}
