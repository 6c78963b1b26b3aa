//! The hand that sends the day's broadcasts: in their order, each at its time, with the token of whoever sends it.

use super::{
    faults::Tempo,
    ledger::{self, Entry, Verdict},
    oracle::{Recipients, plan::Plan},
    publisher::{self, Post, Told},
    scenario::{Expect, Scenario, Scripted},
    tokens::Tokens,
};
use crate::base::clock;
use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use serde_json::Value;
use std::{collections::BTreeMap, net::SocketAddr, time::Duration};
use tokio::time::sleep_until;

/// Sends the day's broadcasts in their order.
pub struct Sender<'a> {
    scenario: &'a Scenario,
    nodes: Vec<SocketAddr>,
    /// Makes the keys of this run its own.
    run: String,
    recipients: Vec<Recipients>,
    plans: Vec<Plan>,
    tokens: Tokens,
}

pub struct Sent {
    pub entries: Vec<Entry>,
    /// What the sender waited for each answer, in µs.
    pub publish: Histogram<u64>,
    /// The longest of these: nothing was taken meanwhile.
    pub gap_max: Duration,
}

impl<'a> Sender<'a> {
    /// `recipients` and `plans` are what the oracle says, in the order of the script.
    pub fn new(
        scenario: &'a Scenario,
        recipients: Vec<Recipients>,
        plans: Vec<Plan>,
        nodes: Vec<SocketAddr>,
        tokens: Tokens,
    ) -> Self {
        Self {
            scenario,
            nodes,
            run: format!("rehearse-{:08x}", rand::random::<u32>()),
            recipients,
            plans,
            tokens,
        }
    }

    /// Calls `say` after each.
    pub async fn play(self, tempo: Tempo, say: impl Fn()) -> Result<Sent> {
        let mut sent = Sent {
            entries: Vec::new(),
            publish: ledger::histogram(),
            gap_max: Duration::ZERO,
        };
        let mut ids = BTreeMap::new();
        for (number, scripted) in self.scenario.broadcasts.iter().enumerate() {
            let mut entry = self.entry(number, scripted);
            sleep_until(tempo.at(scripted.at).into()).await;
            if let Some(told) = self.send(number, scripted, &ids).await? {
                ledger::record(&mut sent.publish, told.took);
                sent.gap_max = sent.gap_max.max(told.took);
                entry.verdict = verdict(told)?;
            }
            if let Verdict::Accepted { id, .. } = &entry.verdict {
                ids.insert(scripted.reference.clone(), id.clone());
            }
            sent.entries.push(entry);
            say();
        }
        Ok(sent)
    }

    fn entry(&self, number: usize, scripted: &Scripted) -> Entry {
        let (targeted, refusal) = match &scripted.expect {
            Expect::Accept { targeted } => (*targeted, None),
            Expect::Refuse { code, .. } => (0, Some(code.clone())),
        };
        Entry {
            reference: scripted.reference.clone(),
            priority: scripted.priority,
            title: scripted
                .publish
                .get("title")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
            recipients: self.recipients[number].clone(),
            acknowledge: scripted.is_to_be_accepted() && scripted.publish.contains_key("acknowledge"),
            plan: self.plans[number].clone(),
            lives: scripted.lives(),
            targeted,
            refusal,
            verdict: Verdict::NotSent,
        }
    }

    /// `None` when it supersedes one that was never accepted.
    async fn send(&self, number: usize, scripted: &Scripted, ids: &BTreeMap<String, String>) -> Result<Option<Told>> {
        let Some(body) = scripted.body(clock::wall(), |reference| ids.get(reference).cloned()) else {
            return Ok(None);
        };
        let post = Post {
            bearer: self.tokens.senders.get(&scripted.sender).map_or("", String::as_str),
            key: &format!("{}-{}", self.run, scripted.reference),
            body: &serde_json::to_vec(&body)?,
        };
        Ok(Some(publisher::post(&self.nodes, number, post).await))
    }
}

fn verdict(Told { answer, at, .. }: Told) -> Result<Verdict> {
    let Some(answer) = answer else {
        return Ok(Verdict::NoAnswer);
    };
    if answer.status != 201 {
        return Ok(Verdict::Refused {
            status: answer.status,
            code: answer.code(),
        });
    }
    let json = answer.json()?;
    Ok(Verdict::Accepted {
        id: json["id"].as_str().context("a 201 without an id")?.to_owned(),
        targeted: json["targeted"].as_u64().context("a 201 without targeted")?,
        at,
    })
}
