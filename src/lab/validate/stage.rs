//! What the checks stand on: nodes of their own or somebody's, and people who are there for the checks alone.
//!
//! Every broadcast of a check is to people of the check, and a drill but where it must not be one: nobody else ever sees one, and no
//! alarm is raised by it.

mod away;
mod people;
mod setting;

use super::listener::text;
use super::nouns::draft;
use super::preferences::{self, Held};
use super::proof::Proof;
use crate::base::clock::{self, Millis};
use crate::lab::cluster::Cluster;
use crate::lab::door::Door;
use crate::lab::http::{self, Answer, Call};
use crate::lab::served::Served;
use crate::lab::sink::Sink;
use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// What must come comes within this, or it is missing.
pub const SOON: Duration = Duration::from_secs(10);
/// One request; a node answers within 5 s, or says that it cannot.
const ASK_MAX: Duration = Duration::from_secs(6);
/// What is held until the end is published within this.
const HOLD_MAX: Duration = Duration::from_secs(30);
/// The output that is called about alerts.
pub const DESK: &str = "desk";
/// The output that is called by an escalation.
pub const SIREN: &str = "siren";

/// None of the given nodes can be asked.
#[derive(Debug, thiserror::Error)]
#[error("{url} gives no answer: {why}")]
pub struct Unreachable {
    pub url: String,
    pub why: String,
}

pub struct Stage {
    pub nodes: Vec<Door>,
    /// The administrator's `Authorization`; empty where none is asked for.
    pub bearer: String,
    pub has_tokens: bool,
    pub served: Served,
    pub seed: u64,
    /// Begins the name of everything that is made.
    prefix: String,
    /// Where each thing is that has to be taken away.
    made: Vec<String>,
    cluster: Option<Cluster>,
    sink: Option<Sink>,
    held: Option<Begun>,
}

/// What was seen while something was to be held, and whether it is.
type Begun = (Proof, Result<Held>);

/// What a publish was answered.
pub struct Published {
    pub id: String,
    pub position: Option<u64>,
    pub log_index: u64,
    /// By the log's time, which is what decides on the nodes.
    pub at: Millis,
    /// When it was sent, and when its answer was read.
    pub sent: Instant,
    pub accepted: Instant,
    pub whole: Value,
}

impl Stage {
    pub fn is_own(&self) -> bool {
        self.cluster.is_some()
    }

    pub fn sink(&self) -> Option<&Sink> {
        self.sink.as_ref()
    }

    /// What quiet hours hold until a minute is over; to be looked for at the end.
    pub async fn hold(&mut self) {
        let mut proof = Proof::default();
        let held = timeout(HOLD_MAX, preferences::prepare(self, &mut proof)).await;
        let held = held.unwrap_or_else(|_| Err(anyhow!("it was not done within {HOLD_MAX:?}")));
        self.held = Some((proof, held));
    }

    pub fn take_held(&mut self) -> Option<Begun> {
        self.held.take()
    }

    pub fn cluster(&mut self) -> Result<&mut Cluster> {
        self.cluster.as_mut().context("there are no nodes of its own")
    }

    /// Nodes of its own that ended by themselves since the last look, with their last words.
    pub fn ended(&mut self) -> Vec<String> {
        let Some(cluster) = &mut self.cluster else {
            return Vec::new();
        };
        let ended = cluster.ended().into_iter();
        ended
            .map(|(node, _, status)| {
                format!(
                    "node {node} ended by itself ({status}); its last words:\n{}",
                    cluster.log_tail(node)
                )
            })
            .collect()
    }

    /// The node that leads, by its place; of nodes of its own.
    pub async fn leader(&self) -> Option<usize> {
        let number = self.cluster.as_ref()?.leader().await?;
        usize::try_from(number).ok()?.checked_sub(1)
    }

    pub fn node(&self, at: usize) -> Door {
        self.nodes[at % self.nodes.len()].clone()
    }

    /// A name of this run alone.
    pub fn name(&self, word: &str) -> String {
        format!("{}{word}", self.prefix)
    }

    pub async fn ask(
        &self,
        at: usize,
        (method, path): (&str, &str),
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer> {
        self.ask_as(at, (method, path), &self.bearer, (headers, body)).await
    }

    /// The same in the name of another bearer.
    pub async fn ask_as(
        &self,
        at: usize,
        (method, path): (&str, &str),
        bearer: &str,
        (headers, body): (&[(&str, &str)], &[u8]),
    ) -> Result<Answer> {
        let mut all = headers.to_vec();
        if !bearer.is_empty() {
            all.push(("Authorization", bearer));
        }
        let call = Call {
            method,
            path,
            headers: &all,
            body,
        };
        http::call(self.node(at), &call, ASK_MAX).await
    }

    /// What a node says; anything but 200 is an error.
    pub async fn get(&self, at: usize, path: &str) -> Result<Value> {
        let answer = self.ask(at, ("GET", path), &[], b"").await?;
        if answer.status != 200 {
            bail!("GET {path} was answered {} {}", answer.status, answer.code());
        }
        answer.json()
    }

    pub async fn post(&self, at: usize, path: &str, body: &Value) -> Result<Answer> {
        let body = body.to_string();
        let headers = [("Content-Type", "application/json")];
        self.ask(at, ("POST", path), &headers, body.as_bytes()).await
    }

    pub async fn publish(&self, at: usize, draft: &Value) -> Result<Published> {
        let sent = clock::now();
        let answer = self.post(at, "/v1/broadcasts", draft).await?;
        if answer.status != 201 {
            bail!("a publish was answered {} {}", answer.status, answer.code());
        }
        let whole = answer.json()?;
        Ok(Published {
            id: text(&whole, "id"),
            position: whole["position"].as_u64(),
            log_index: whole["log_index"].as_u64().context("an answer without log_index")?,
            at: clock::parse_rfc3339(&text(&whole, "accepted_at")).context("an answer without accepted_at")?,
            sent,
            accepted: answer.at,
            whole,
        })
    }

    /// The log's time, by the answer to a drill to nobody: this machine's clock may be another one.
    pub async fn time(&self) -> Result<Millis> {
        let nobody = json!({"users": [self.name("nobody")]});
        Ok(self.publish(0, &draft("low", &nobody, "What time is it?")).await?.at)
    }

    /// To be taken away at the end.
    pub fn owes(&mut self, paths: impl IntoIterator<Item = String>) {
        self.made.extend(paths);
    }

    /// Waits until every node has applied that much.
    pub async fn everywhere(&self, index: u64) -> Result<()> {
        for at in 0..self.nodes.len() {
            self.get(at, &format!("/v1/users?limit=1&at_least={index}")).await?;
        }
        Ok(())
    }
}

/// The log entry that holds what was just answered.
pub fn applied(answer: &Answer) -> Result<u64> {
    let index = answer.header("campanile-applied").and_then(|text| text.parse().ok());
    index.context("an answer without Campanile-Applied")
}
