//! Looks at the nodes while the load runs: once a second, and at the moments between which something is counted.

use super::process::{self, Cores};
use crate::base::clock;
use crate::lab::door::Door;
use crate::lab::http::{self, Call};
use crate::lab::served::Served;
use parking_lot::Mutex;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

const EVERY: Duration = Duration::from_secs(1);
/// A node that takes longer is left out this time.
const ASK_MAX: Duration = Duration::from_millis(900);
const DECISIONS_MAX: usize = 40;
const SECOND: f64 = 1e9;

/// Whom to ask.
#[derive(Clone, Debug)]
pub struct Nodes {
    pub doors: Vec<Door>,
    pub bearer: String,
    /// Their processes, when they are on this machine and ours.
    pub processes: Vec<u32>,
    /// Their data, likewise.
    pub folders: Vec<PathBuf>,
}

/// One look; what a node did not say is not there.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// Seconds since the beginning.
    pub at: f64,
    /// Over all nodes.
    pub waiting: Option<u64>,
    /// Of each node.
    pub threads: Vec<Option<u64>>,
    pub cpu_seconds: Vec<Option<f64>>,
    /// In bytes.
    pub resident: Vec<Option<u64>>,
    pub disk: Vec<Option<u64>>,
}

/// A decision of the scaling of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub node: usize,
    pub from: String,
    pub threads: String,
    pub rule: String,
    pub reason: String,
}

/// The figures at one moment.
#[derive(Clone, Debug)]
pub struct Mark {
    pub at: u64,
    pub delivered: u64,
    /// Of all nodes; `None` unless all are known.
    pub server_cpu: Option<f64>,
    /// Memory and disk of all nodes in bytes, likewise.
    pub resident: Option<u64>,
    pub disk: Option<u64>,
    /// Of the run's own process and of each process of subscribers.
    pub generator_cpu: Vec<Option<f64>>,
    pub cores: Option<Cores>,
    pub cache: Option<CacheReads>,
}

/// Reads that the nodes have counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheReads {
    pub hits: u64,
    pub all: u64,
}

impl Nodes {
    pub async fn mark(&self, generator: &[u32], delivered: u64) -> Mark {
        let server: Option<Vec<f64>> = self
            .processes
            .iter()
            .map(|process| process::cpu_seconds(*process))
            .collect();
        Mark {
            at: clock::monotonic(),
            delivered,
            server_cpu: server.filter(|each| !each.is_empty()).map(|each| each.iter().sum()),
            resident: self.resident(),
            disk: sum(self.disk()),
            generator_cpu: generator.iter().map(|process| process::cpu_seconds(*process)).collect(),
            cores: process::cores(),
            cache: self.cache().await,
        }
    }

    /// Memory of all nodes in bytes.
    pub fn resident(&self) -> Option<u64> {
        sum(self.residents())
    }

    fn residents(&self) -> Vec<Option<u64>> {
        let each = self.processes.iter();
        each.map(|process| process::resident_bytes(*process)).collect()
    }

    fn disk(&self) -> Vec<Option<u64>> {
        let each = self.folders.iter();
        each.map(|folder| process::disk_bytes(folder)).collect()
    }

    async fn ask(&self, node: &Door, path: &str) -> Option<Value> {
        let headers = [("Authorization", self.bearer.as_str())];
        let call = Call {
            headers: if self.bearer.is_empty() { &[] } else { &headers },
            ..Call::get(path)
        };
        let answer = http::call(node.clone(), &call, ASK_MAX).await.ok()?;
        answer.json().ok().filter(|_| answer.status == 200)
    }

    async fn cache(&self) -> Option<CacheReads> {
        let mut sum = CacheReads::default();
        for node in &self.doors {
            let reads = reads_of(&self.ask(node, "/v1/cache").await?)?;
            sum.hits += reads.hits;
            sum.all += reads.all;
        }
        Some(sum)
    }

    async fn sample(&self, at: f64) -> Sample {
        let mut waiting = Some(0);
        let mut threads = Vec::new();
        for node in &self.doors {
            let queues = self.ask(node, "/v1/queues").await;
            waiting = waiting.and_then(|sum| Some(sum + waiting_of(&queues?)?));
            threads.push(
                self.ask(node, "/v1/scaling")
                    .await
                    .and_then(|scaling| scaling["threads"].as_u64()),
            );
        }
        Sample {
            at,
            waiting,
            threads,
            cpu_seconds: self
                .processes
                .iter()
                .map(|process| process::cpu_seconds(*process))
                .collect(),
            resident: self.residents(),
            disk: self.disk(),
        }
    }

    /// What the nodes say they are.
    pub async fn served(&self) -> Served {
        let answer = match self.doors.first() {
            Some(first) => self.ask(first, "/v1/cluster").await,
            None => None,
        };
        Served::of(&answer.unwrap_or_default())
    }

    /// What the nodes decided since `since`, the oldest first.
    pub async fn decisions(&self, since: &str) -> Vec<Decision> {
        let mut all = Vec::new();
        for (number, node) in self.doors.iter().enumerate() {
            let scaling = self.ask(node, "/v1/scaling").await.unwrap_or_default();
            all.extend(
                decisions_of(number + 1, &scaling)
                    .into_iter()
                    .filter(|decision| decision.from.as_str() >= since),
            );
        }
        all.sort_by(|one, other| (&one.from, one.node).cmp(&(&other.from, other.node)));
        all.truncate(DECISIONS_MAX);
        all
    }

    /// Looks until it is ended.
    pub fn watch(&self, begin: u64) -> Watch {
        let samples = Arc::new(Mutex::new(Vec::new()));
        let (nodes, kept) = (self.clone(), samples.clone());
        let task = tokio::spawn(async move {
            let mut every = tokio::time::interval(EVERY);
            every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                every.tick().await;
                let at = clock::monotonic().saturating_sub(begin) as f64 / SECOND;
                let sample = nodes.sample(at).await;
                kept.lock().push(sample);
            }
        });
        Watch { task, samples }
    }
}

/// Samples under way; dropping it ends them.
pub struct Watch {
    task: JoinHandle<()>,
    samples: Arc<Mutex<Vec<Sample>>>,
}

impl Watch {
    pub fn end(self) -> Vec<Sample> {
        std::mem::take(&mut self.samples.lock())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// `None` unless all are known, and there are any.
fn sum(each: Vec<Option<u64>>) -> Option<u64> {
    let each: Option<Vec<u64>> = each.into_iter().collect();
    each.filter(|each| !each.is_empty()).map(|each| each.iter().sum())
}

fn waiting_of(queues: &Value) -> Option<u64> {
    let each: Option<Vec<u64>> = queues
        .as_object()?
        .values()
        .map(|queue| queue["waiting"].as_u64())
        .collect();
    each.map(|each| each.iter().sum())
}

fn reads_of(cache: &Value) -> Option<CacheReads> {
    let count = |name: &str| cache["reads"][name].as_u64();
    let hits = count("local")? + count("replicated")?;
    Some(CacheReads {
        hits,
        all: hits + count("stale")? + count("miss")?,
    })
}

fn decisions_of(node: usize, scaling: &Value) -> Vec<Decision> {
    let decisions = scaling["decisions"].as_array().map_or(&[][..], Vec::as_slice);
    let text = |decision: &Value, name: &str| decision[name].as_str().unwrap_or_default().to_owned();
    let one = |decision: &Value| Decision {
        node,
        from: text(decision, "from"),
        threads: format!("{} to {}", decision["threads_before"], decision["threads"]),
        rule: text(decision, "rule"),
        reason: text(decision, "reason"),
    };
    decisions.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::{CacheReads, decisions_of, reads_of, waiting_of};
    use serde_json::json;

    #[test]
    fn what_nodes_say_is_read_and_what_they_do_not_say_is_nothing() {
        let queues = json!({"critical": {"waiting": 2}, "low": {"waiting": 5}});
        assert_eq!(
            (
                waiting_of(&queues),
                waiting_of(&json!({"low": {}})),
                waiting_of(&json!(7))
            ),
            (Some(7), None, None)
        );
        let cache = json!({"reads": {"local": 6, "replicated": 3, "stale": 0, "miss": 1}});
        assert_eq!(
            (reads_of(&cache), reads_of(&json!({}))),
            (Some(CacheReads { hits: 9, all: 10 }), None)
        );
        let scaling =
            json!({"decisions": [{"from": "a", "threads_before": 1, "threads": 2, "rule": "busy", "reason": "why"}]});
        let decisions = decisions_of(3, &scaling);
        assert_eq!(
            (
                decisions[0].node,
                decisions[0].threads.as_str(),
                decisions_of(1, &json!(null)).len()
            ),
            (3, "1 to 2", 0)
        );
    }
}
