//! What a cluster looks like at one moment, for `status` and `top`: one node's dashboard, and what each node says of itself.
//!
//! A dashboard knows the whole cluster but counts queues, threads and reads of its own node only. So every node is asked for those,
//! and whoever does not answer within a second is shown as silent.

pub mod alerts;
pub mod ask;
pub mod board;
pub mod grid;
pub mod line;
pub mod node;
#[cfg(test)]
pub mod sample;
pub mod words;

use super::failure::Failure;
use board::Board;
use node::{Cache, Queue, Queues, Scaling, Worker};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The priorities, the most urgent first.
pub const PRIORITIES: [&str; 4] = ["critical", "high", "normal", "low"];

/// What a node says when it is asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Heard {
    /// `ready`, the code of why not, or `no answer`.
    pub says: String,
    pub queues: Option<Queues>,
    pub workers: Vec<Worker>,
}

pub const READY: &str = "ready";

/// Everything that was found out.
#[derive(Clone, Debug, Default)]
pub struct Sight {
    /// The node that told most of it.
    pub url: String,
    pub board: Board,
    /// By node.
    pub heard: BTreeMap<u64, Heard>,
    /// A node of an older version does not know these.
    pub scaling: Option<Scaling>,
    pub cache: Option<Cache>,
    /// The answers as they came, for programs.
    raw: Raw,
}

/// Answers as they came.
#[derive(Clone, Debug, Default)]
pub struct Raw {
    pub board: Value,
    pub scaling: Value,
    pub cache: Value,
}

impl Sight {
    /// Reads the answers. What has another shape than this version knows is a failure for the board, and missing for the rest.
    pub fn of(url: &str, raw: Raw, heard: BTreeMap<u64, Heard>) -> Result<Self, Failure> {
        let board = serde_json::from_value(raw.board.clone());
        let board =
            board.map_err(|error| Failure::failed(format!("the dashboard of {url} cannot be read: {error}")))?;
        Ok(Self {
            url: url.to_owned(),
            board,
            heard,
            scaling: serde_json::from_value(raw.scaling.clone()).ok(),
            cache: serde_json::from_value(raw.cache.clone()).ok(),
            raw,
        })
    }

    /// One value for programs: the dashboard, with what was asked beside it.
    pub fn json(&self) -> Value {
        let mut shown = self.raw.board.clone();
        if let Some(members) = shown.as_object_mut() {
            members.insert("scaling".into(), self.raw.scaling.clone());
            members.insert("cache".into(), self.raw.cache.clone());
        }
        let nodes = shown.pointer_mut("/cluster/nodes").and_then(Value::as_array_mut);
        for node in nodes.into_iter().flatten() {
            let number = node.get("node").and_then(Value::as_u64).unwrap_or_default();
            node["says"] = json!(self.says(number));
            let waiting = self.waiting_at(number);
            node["waiting"] = waiting.map_or(Value::Null, Value::from);
        }
        shown
    }

    /// What a node says to "are you ready?".
    pub fn says(&self, node: u64) -> &str {
        self.heard.get(&node).map_or("not asked", |heard| &heard.says)
    }

    pub fn is_ready(&self, node: u64) -> bool {
        self.says(node) == READY
    }

    /// What waits at a node, of all priorities; `None` where it did not say.
    pub fn waiting_at(&self, node: u64) -> Option<u64> {
        let queues = self.heard.get(&node)?.queues.as_ref()?;
        Some(PRIORITIES.iter().map(|name| queues.of(name).waiting).sum())
    }

    /// How many nodes told their queues, and how many there are.
    pub fn counted(&self) -> (usize, usize) {
        let told = self.heard.values().filter(|heard| heard.queues.is_some());
        (told.count(), self.board.cluster.nodes.len())
    }

    /// A priority over all nodes that told theirs: sums, and the oldest of all. Where none did, the dashboard's own.
    pub fn queue(&self, name: &str) -> Queue {
        let told = self.heard.values().filter_map(|heard| heard.queues.as_ref());
        let each: Vec<&Queue> = told.map(|queues| queues.of(name)).collect();
        if each.is_empty() {
            return self.board.queues.of(name).clone();
        }
        each.into_iter().fold(Queue::default(), |sum, one| Queue {
            waiting: sum.waiting + one.waiting,
            oldest_seconds: sum.oldest_seconds.max(one.oldest_seconds),
            rate: sum.rate + one.rate,
            in_flight: sum.in_flight + one.in_flight,
            retries: sum.retries + one.retries,
        })
    }

    /// Nodes that do not say that they are ready, by number.
    pub fn not_ready(&self) -> Vec<u64> {
        let nodes = self.board.cluster.nodes.iter().map(|node| node.node);
        nodes.filter(|node| !self.is_ready(*node)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::sample;

    #[test]
    fn queues_are_summed_over_the_nodes_that_told_theirs() {
        let sight = sample::busy();
        let critical = sight.queue("critical");
        assert_eq!((critical.waiting, critical.in_flight, critical.retries), (4, 2, 3));
        assert!((critical.oldest_seconds - 2.5).abs() < 1e-9 && (critical.rate - 30.0).abs() < 1e-9);
        assert_eq!(sight.counted(), (2, 3));
        assert_eq!(sight.not_ready(), [3]);
        assert_eq!((sight.waiting_at(1), sight.waiting_at(3)), (Some(13), None));
    }

    #[test]
    fn programs_get_the_dashboard_and_what_the_nodes_say() {
        let shown = sample::busy().json();
        assert_eq!(shown["cluster"]["nodes"][2]["says"], "no answer");
        assert_eq!(shown["cluster"]["nodes"][0]["waiting"], 13);
        assert_eq!(shown["scaling"]["threads"], 2);
        assert_eq!(shown["health"]["score"], 85);
    }

    #[test]
    fn what_a_node_does_not_know_is_missing_and_no_fault() {
        let sight = sample::calm();
        assert!(sight.scaling.is_none() && sight.cache.is_none());
        assert!(sight.board.alerts.is_none());
    }
}
