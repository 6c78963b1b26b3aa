//! Who is there for the checks: people and places that the nodes are told of, and those of them who listen.

use super::{SOON, Stage, applied};
use crate::base::clock;
use crate::lab::stream::Transport;
use crate::lab::validate::listener::{Listener, Promise, Seat};
use crate::lab::validate::nouns::{address, draft, user};
use anyhow::{Result, bail};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::Duration;

const POLL: Duration = Duration::from_millis(20);

impl Stage {
    /// Tells the nodes of people and places, and waits until all know them.
    pub async fn import(&mut self, lines: &[Value]) -> Result<()> {
        self.owes(lines.iter().filter_map(address));
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
                tokio::time::sleep(POLL).await;
            }
        }
        Ok(())
    }
}
