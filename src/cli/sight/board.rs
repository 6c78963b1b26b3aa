//! `GET /v1/dashboard` as the command line reads it: what is shown, and nothing else. What is not there counts as nothing, so that
//! nodes of other versions can be looked at.

use super::node::Queues;
use crate::base::clock::{Millis, parse_rfc3339};
use serde::Deserialize;

/// The whole of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Board {
    pub at: String,
    pub version: String,
    pub up_seconds: f64,
    pub health: Health,
    pub cluster: Cluster,
    pub queues: Queues,
    pub performance: Option<Performance>,
    pub capacity: Capacity,
    pub urgent: Urgent,
    pub broadcasts: Vec<Row>,
    pub scheduled: Scheduled,
    pub dead_letters: DeadLetters,
    /// A node of an older version knows none.
    pub alerts: Option<Alerts>,
    pub uptime: Uptime,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Health {
    pub score: u64,
    pub parts: Vec<Part>,
    pub not_measured: Vec<String>,
    pub state: String,
    pub concerns: Vec<Concern>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Part {
    pub part: String,
    pub unit: String,
    pub value: Option<f64>,
    pub lost: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Concern {
    pub code: String,
    pub severity: String,
    pub detail: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Cluster {
    pub leader: Option<u64>,
    pub term: u64,
    /// The node that answers.
    pub node: u64,
    pub nodes: Vec<Node>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Node {
    pub node: u64,
    pub role: String,
    pub url: Option<String>,
    pub applied: Option<u64>,
    pub lag: Option<u64>,
    pub version: Option<String>,
    pub sessions: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Performance {
    pub over_seconds: f64,
    pub latency: Latency,
    pub throughput: Throughput,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Latency {
    pub publish: Timing,
    pub delivery: Timing,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Timing {
    pub count: u64,
    pub mean_ms: Option<f64>,
    pub p95_at_most_ms: Option<f64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Throughput {
    pub broadcasts: f64,
    pub writes: f64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Capacity {
    pub connected: u64,
    pub users: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Urgent {
    pub critical_last_hour: u64,
    pub critical_last_hour_is_at_least: bool,
    pub emergencies: u64,
    pub items: Vec<Row>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Scheduled {
    pub count: u64,
    pub items: Vec<Row>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct DeadLetters {
    pub total: u64,
}

/// How many of the probes of the node that answers were answered in time.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Uptime {
    pub hour: Probes,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Probes {
    /// From 0 to 1; `None` where there was no probe.
    pub share: Option<f64>,
}

/// The most urgent first.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Alerts {
    pub items: Vec<AlertItem>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct AlertItem {
    pub rule: String,
    pub severity: String,
    /// `firing`, `clearing`, `pending`.
    pub state: String,
    pub reason: String,
    pub since: String,
}

/// A broadcast.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Row {
    pub id: String,
    pub status: String,
    pub priority: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub drill: bool,
    pub accepted_at: String,
    pub released_at: Option<String>,
    pub deliver_at: Option<String>,
    pub counts: Counts,
    pub not_confirmed: Option<u64>,
    pub not_received: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Counts {
    pub targeted: u64,
    pub sent: u64,
    pub received: u64,
    pub read: u64,
    pub acknowledged: u64,
    pub held: u64,
    pub skipped: u64,
    pub expired: u64,
    pub failed: u64,
}

impl Row {
    /// For how many it is: all but those whom their preferences skip.
    pub fn meant(&self) -> u64 {
        self.counts.targeted.saturating_sub(self.counts.skipped)
    }

    /// Who has not confirmed; where nobody is asked to, who has not received it.
    pub fn missing(&self) -> u64 {
        self.not_confirmed.unwrap_or(self.not_received)
    }

    /// When it went out, or else was taken.
    pub fn since(&self) -> Option<Millis> {
        parse_rfc3339(self.released_at.as_deref().unwrap_or(&self.accepted_at))
    }
}

impl Board {
    /// When it was put together, by the node's clock.
    pub fn now(&self) -> Millis {
        parse_rfc3339(&self.at).unwrap_or_default()
    }

    /// All broadcasts that it names, each once: those that are out, newest first, then the scheduled ones.
    pub fn rows(&self) -> Vec<&Row> {
        let mut rows: Vec<&Row> = Vec::new();
        let out = self.broadcasts.iter().chain(&self.urgent.items);
        for row in out {
            if rows.iter().all(|known| known.id != row.id) {
                rows.push(row);
            }
        }
        rows.sort_by_key(|row| std::cmp::Reverse(row.since()));
        rows.extend(&self.scheduled.items);
        rows
    }
}
