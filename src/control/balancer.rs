//! Keeps the sessions spread over the nodes: tells the gateway how full the others are, and asks some sessions to move when this
//! node is much fuller than they are, or has all of the people who run a wedding.

use crate::base::clock;
use crate::consensus::{Handle, NodeStatus, Role};
use crate::gateway::Gateway;
use crate::gateway::frame::Seats;
use crate::metrics::METRICS;
use crate::model::{NodeId, Priority};
use crate::scaling::balance::{self, CREW_REST, Crew};
use roaring::RoaringBitmap;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How often it is looked at how full the nodes are.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How many of those looks are also for where the staff of weddings are.
const CREWS_EVERY: u32 = 5;

pub struct Balancer {
    pub node: NodeId,
    pub handle: Handle,
    pub gateway: Arc<Gateway>,
    /// The nodes' addresses for clients, this one's among them.
    pub nodes: Vec<(NodeId, String)>,
    /// Sessions that are asked to move in a second.
    pub moved_per_second: usize,
    /// Weddings whose staff were asked to move, and when.
    pub asked: BTreeMap<String, Instant>,
}

impl Balancer {
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut looks = 0u32;
        loop {
            tokio::select! {
                _ = stop.changed() => return,
                _ = look.tick() => {}
            }
            self.look().await;
            looks = looks.wrapping_add(1);
            if looks.is_multiple_of(CREWS_EVERY) {
                self.look_at_crews().await;
            }
        }
    }

    async fn look(&self) {
        let counts: Vec<(NodeId, u64)> = self.handle.read(|state| {
            let presence = state.presence();
            let count = |(node, _): &(NodeId, String)| (*node, presence.connected_at(*node));
            self.nodes.iter().map(count).collect()
        });
        let others = counts
            .iter()
            .zip(&self.nodes)
            .filter(|((node, _), _)| *node != self.node);
        let seats = others.map(|((_, sessions), (_, url))| Seats {
            url: url.clone(),
            sessions: *sessions,
        });
        self.gateway.set_load(seats.collect());
        let everywhere: Vec<NodeId> = self.nodes.iter().map(|(node, _)| *node).collect();
        // The leader is asked only where all nodes together would say that there is something to do.
        if self.leaving(&counts, &everywhere) > 0 {
            let count = self.leaving(&counts, &self.answering().await);
            if count > 0 {
                let asked = self.gateway.send_away(count);
                METRICS.moves_asked.with_label_values(&["fuller"]).inc_by(asked as u64);
                tracing::info!(
                    asked,
                    "this node is much fuller than the others: sessions are asked to move"
                );
            }
        }
    }

    /// The nodes that sessions may be sent to, this one among them.
    async fn answering(&self) -> Vec<NodeId> {
        self.handle.nodes_of_leader().await.iter().filter_map(answers).collect()
    }

    /// A wedding whose staff are all here: some are asked to move, so that this node's failure is not that of all of them.
    async fn look_at_crews(&mut self) {
        let now = clock::now();
        self.asked
            .retain(|_, at| now.saturating_duration_since(*at) < CREW_REST);
        let alone = self.crews_alone();
        if alone.is_empty() {
            return;
        }
        let others = self.answering().await.iter().filter(|node| **node != self.node).count();
        for (wedding, here) in alone {
            let crew = Crew {
                here: here.len(),
                elsewhere: 0,
                asked: self.asked.get(&wedding).map(|at| now.saturating_duration_since(*at)),
            };
            let critical = self.gateway.pressure().waiting[Priority::Critical.index()];
            let count = balance::crew_leaving(crew, others, critical, self.moved_per_second);
            if count > 0 {
                let some: RoaringBitmap = here.iter().take(count).collect();
                self.gateway.send_users_away(&some);
                METRICS.moves_asked.with_label_values(&["crew"]).inc_by(count as u64);
                tracing::info!(
                    wedding,
                    asked = count,
                    of = crew.here,
                    "all of a wedding's staff are on this node: some are asked to move"
                );
                self.asked.insert(wedding, now);
            }
        }
    }

    /// Weddings whose staff have their sessions on this node and nowhere else, and those people.
    fn crews_alone(&self) -> Vec<(String, RoaringBitmap)> {
        let at = self.handle.log_time();
        self.handle.read(|state| {
            let presence = state.presence();
            let alone = state.directory().crews(at).filter_map(|(wedding, staff)| {
                let here = presence.connected_there(self.node, &staff);
                let mut others = self.nodes.iter().filter(|(node, _)| *node != self.node);
                let is_alone = others.all(|(node, _)| presence.connected_there(*node, &staff).is_empty());
                (is_alone && !here.is_empty()).then(|| (wedding.to_owned(), here))
            });
            alone.collect()
        })
    }

    fn leaving(&self, counts: &[(NodeId, u64)], answering: &[NodeId]) -> usize {
        let own = counts
            .iter()
            .find(|(node, _)| *node == self.node)
            .map_or(0, |(_, count)| *count);
        let others: Vec<u64> = counts
            .iter()
            .filter(|(node, _)| *node != self.node && answering.contains(node))
            .map(|(_, count)| *count)
            .collect();
        let critical = self.gateway.pressure().waiting[Priority::Critical.index()];
        balance::leaving(own, &others, critical, self.moved_per_second)
    }
}

/// A node that sessions may be sent to.
fn answers(status: &NodeStatus) -> Option<NodeId> {
    let is_there = match status.role {
        Role::Leader | Role::Follower => status.applied.is_some(),
        Role::Unreachable | Role::Unknown => false,
    };
    is_there.then_some(status.node)
}
