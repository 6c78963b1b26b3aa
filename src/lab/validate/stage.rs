//! What the checks stand on: nodes of their own or somebody's, and people who are there for the checks alone.
//!
//! Every broadcast of a check is to people of the check, and a drill but where it must not be one: nobody else ever sees one, and no
//! alarm is raised by it.

use super::listener::{Listener, Promise, Seat, text};
use super::nouns::{address, draft, user};
use super::preferences::{self, Held};
use crate::base::clock;
use crate::lab::cluster::{Cluster, Settings};
use crate::lab::door::{Door, Way};
use crate::lab::http::{self, Answer, Call};
use crate::lab::load::stage::{Where, way};
use crate::lab::sink::Sink;
use crate::lab::stream::Transport;
use crate::lab::tokens::bearer;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// What must come comes within this, or it is missing.
pub const SOON: Duration = Duration::from_secs(10);
/// One request; a node answers within 5 s, or says that it cannot.
const ASK_MAX: Duration = Duration::from_secs(6);
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
    pub seed: u64,
    /// Begins the name of everything that is made.
    prefix: String,
    made: Vec<String>,
    cluster: Option<Cluster>,
    sink: Option<Sink>,
    held: Option<Held>,
}

/// What a publish was answered.
pub struct Published {
    pub id: String,
    pub position: Option<u64>,
    pub log_index: u64,
    /// When it was sent, and when its answer was read.
    pub sent: Instant,
    pub accepted: Instant,
    pub whole: Value,
}

impl Stage {
    pub async fn set(place: &Where, seed: u64) -> Result<Self> {
        let mut stage = Self {
            nodes: Vec::new(),
            bearer: String::new(),
            has_tokens: true,
            seed,
            prefix: format!("validate-{:08x}-", rand::random::<u32>()),
            made: Vec::new(),
            cluster: None,
            sink: None,
            held: None,
        };
        match place {
            Where::Own { set, .. } => stage.start(set).await?,
            Where::There { urls, token, authority } => stage.find(urls, token.as_deref(), authority).await?,
        }
        Ok(stage)
    }

    /// Three nodes whose outputs lead here; every request needs a token.
    async fn start(&mut self, set: &[String]) -> Result<()> {
        let sink = Sink::start([DESK, SIREN].map(String::from).into()).await?;
        let mut all = sink.settings();
        all.push(format!("alerts.outputs=[\"{DESK}\"]"));
        all.extend_from_slice(set);
        let mut cluster = Cluster::start(Settings {
            program: None,
            port: None,
            data: None,
            set: all,
            auth: true,
            tls: false,
        })?;
        cluster.ready().await?;
        self.nodes = cluster.way()?.doors()?;
        self.bearer = cluster.admin_token().map(bearer).unwrap_or_default();
        (self.cluster, self.sink) = (Some(cluster), Some(sink));
        Ok(())
    }

    async fn find(&mut self, urls: &[String], token: Option<&str>, authority: &str) -> Result<()> {
        let way = Way {
            authority: authority.to_owned(),
            ..way(urls).await?
        };
        self.nodes = way.doors()?;
        for (node, url) in self.nodes.iter().zip(urls) {
            let unreachable = |why: String| Unreachable { url: url.clone(), why };
            let ready = http::call(node.clone(), &Call::get("/readyz?write=1"), ASK_MAX).await;
            let ready = ready.map_err(|error| unreachable(error.to_string()))?;
            if ready.status != 200 {
                bail!("{url} takes no writes: {} {}", ready.status, ready.code());
            }
        }
        let first = self.nodes.first().context("no node")?.clone();
        let asked = http::call(first, &Call::get("/v1/cluster"), ASK_MAX).await?;
        self.has_tokens = asked.status == 401;
        if self.has_tokens {
            let token = token.context("the nodes ask for a token: give an administrator's with --token")?;
            self.bearer = bearer(token);
        }
        Ok(())
    }

    pub fn is_own(&self) -> bool {
        self.cluster.is_some()
    }

    pub fn sink(&self) -> Option<&Sink> {
        self.sink.as_ref()
    }

    /// What quiet hours hold until a minute is over; to be looked for at the end.
    pub async fn hold(&mut self) {
        // What goes wrong here goes wrong again, and is told, when the check itself begins.
        self.held = preferences::prepare(self).await.ok();
    }

    pub fn take_held(&mut self) -> Option<Held> {
        self.held.take()
    }

    pub fn cluster(&mut self) -> Result<&mut Cluster> {
        self.cluster.as_mut().context("there are no nodes of its own")
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
            sent,
            accepted: answer.at,
            whole,
        })
    }

    /// Tells the nodes of people and places, and waits until all know them.
    pub async fn import(&mut self, lines: &[Value]) -> Result<()> {
        for line in lines {
            self.made.extend(address(line));
        }
        let body = lines.iter().fold(String::new(), |mut body, line| {
            let _ = writeln!(body, "{line}");
            body
        });
        let headers = [("Content-Type", "application/x-ndjson")];
        let answer = self.ask(0, ("POST", "/v1/import"), &headers, body.as_bytes()).await?;
        let told = answer.json().unwrap_or_default();
        if answer.status != 200 || told["faults_total"].as_u64().is_some_and(|faults| faults > 0) {
            bail!("the import was answered {} {told}", answer.status);
        }
        self.everywhere(applied(&answer)?).await
    }

    /// Users of these names, each without a place.
    pub async fn people(&mut self, words: &[&str]) -> Result<Vec<String>> {
        let names: Vec<String> = words.iter().map(|word| self.name(word)).collect();
        let lines: Vec<Value> = names.iter().map(|name| user(name, "guest")).collect();
        self.import(&lines).await?;
        Ok(names)
    }

    /// Waits until every node has applied that much.
    pub async fn everywhere(&self, index: u64) -> Result<()> {
        for at in 0..self.nodes.len() {
            self.get(at, &format!("/v1/users?limit=1&at_least={index}")).await?;
        }
        Ok(())
    }

    pub async fn listen(&self, at: usize, transport: Transport, user: &str) -> Result<Listener> {
        self.listen_from(at, transport, (user, None), Promise::Nothing).await
    }

    pub async fn listen_from(
        &self,
        at: usize,
        transport: Transport,
        (user, cursor): (&str, Option<&str>),
        promise: Promise,
    ) -> Result<Listener> {
        let seat = Seat {
            node: self.node(at),
            transport,
            bearer: &self.bearer,
            user: Some(user),
            cursor,
            promise,
        };
        Listener::start(seat).await
    }

    /// Waits until every node knows that so many of these people have a session.
    pub async fn connected(&self, users: &[String], wanted: u64) -> Result<()> {
        let draft = draft("normal", &json!({"users": users}), "Is anybody there?");
        let end = clock::now() + SOON;
        for at in 0..self.nodes.len() {
            loop {
                let answer = self.post(at, "/v1/broadcasts?dry_run=true", &draft).await?;
                let found = answer.json()?["connected"].as_u64();
                if found == Some(wanted) {
                    break;
                }
                if clock::now() >= end {
                    bail!("node {} says that {found:?} of {wanted} are connected", at + 1);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }

    /// Takes back what was made where nodes live on, and stops those of its own.
    pub async fn end(self) -> Result<()> {
        if self.cluster.is_none() {
            // Users come before the places where they are, and weddings before their venues.
            let order = ["/v1/users/", "/v1/weddings/", "/v1/venues/", "/v1/segments/"];
            let made: BTreeSet<&String> = self.made.iter().collect();
            for kind in order {
                for path in made.iter().filter(|path| path.starts_with(kind)) {
                    self.ask(0, ("DELETE", path), &[], b"").await?;
                }
            }
        }
        match self.cluster {
            Some(cluster) => cluster.stop().await,
            None => Ok(()),
        }
    }
}

/// The log entry that holds what was just answered.
pub fn applied(answer: &Answer) -> Result<u64> {
    let index = answer.header("campanile-applied").and_then(|text| text.parse().ok());
    index.context("an answer without Campanile-Applied")
}
