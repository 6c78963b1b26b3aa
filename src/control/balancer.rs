//! Keeps the sessions spread over the nodes: tells the gateway how full the others are, and asks some sessions to move when this
//! node is much fuller than they are.

use crate::consensus::{Handle, NodeStatus, Role};
use crate::gateway::Gateway;
use crate::gateway::frame::Seats;
use crate::model::{NodeId, Priority};
use crate::scaling::balance;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often it is looked at how full the nodes are.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub struct Balancer {
    pub node: NodeId,
    pub handle: Handle,
    pub gateway: Arc<Gateway>,
    /// The nodes' addresses for clients, this one's among them.
    pub nodes: Vec<(NodeId, String)>,
    /// Sessions that are asked to move in a second.
    pub moved_per_second: usize,
}

impl Balancer {
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = stop.changed() => return,
                _ = look.tick() => {}
            }
            self.look().await;
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
            let answering: Vec<NodeId> = self.handle.nodes_of_leader().await.iter().filter_map(answers).collect();
            let count = self.leaving(&counts, &answering);
            if count > 0 {
                let asked = self.gateway.send_away(count);
                tracing::info!(
                    asked,
                    "this node is much fuller than the others: sessions are asked to move"
                );
            }
        }
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
