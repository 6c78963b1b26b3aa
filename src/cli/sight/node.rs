//! What a node is asked beside its dashboard: queues, threads, scaling and cache, in the same way.

use serde::Deserialize;

/// `GET /v1/queues`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Queues {
    critical: Queue,
    high: Queue,
    normal: Queue,
    low: Queue,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Queue {
    pub waiting: u64,
    pub oldest_seconds: f64,
    /// Written a second.
    pub rate: f64,
    pub in_flight: u64,
    pub retries: u64,
}

impl Queues {
    /// By the priority's name; any other is the lowest.
    pub fn of(&self, name: &str) -> &Queue {
        match name {
            "critical" => &self.critical,
            "high" => &self.high,
            "normal" => &self.normal,
            _ => &self.low,
        }
    }
}

/// An item of `GET /v1/workers`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Worker {
    pub name: String,
    pub cells: u64,
    pub sessions: u64,
    pub written: u64,
    pub busy_share: f64,
    pub panics: u64,
}

/// `GET /v1/scaling`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Scaling {
    #[serde(default)]
    pub profile: String,
    #[serde(default)]
    pub fixed: bool,
    pub threads: u64,
    #[serde(default)]
    pub threads_min: u64,
    #[serde(default)]
    pub threads_max: u64,
    #[serde(default)]
    pub forecast: Option<Forecast>,
    #[serde(default)]
    pub decisions: Vec<Decision>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Forecast {
    pub warning: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Decision {
    pub until: String,
    pub threads_before: u64,
    pub threads: u64,
    pub rule: String,
    pub reason: String,
}

/// `GET /v1/cache`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Cache {
    pub reads: Reads,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Reads {
    pub local: u64,
    pub replicated: u64,
    pub stale: u64,
    pub miss: u64,
    pub local_hit_rate: Option<f64>,
    pub hit_rate: Option<f64>,
}

impl Reads {
    pub const fn all(&self) -> u64 {
        self.local + self.replicated + self.stale + self.miss
    }
}
