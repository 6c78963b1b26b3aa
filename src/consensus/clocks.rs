//! How far the clocks of the other nodes are from this one's.

use super::handle::Handle;
use super::rpc;
use crate::base::clock;
use crate::model::{Millis, NodeId};
use futures_util::future::join_all;
use std::time::Duration;

/// An answer that takes longer says too little.
const ASKED_WITHIN: Duration = Duration::from_millis(500);

/// One clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClockOffset {
    pub node: NodeId,
    /// Ahead of this node's clock by so much.
    pub ahead_ms: f64,
}

impl Handle {
    /// Asks every other node what time it is; those that answer soon.
    pub async fn clocks(&self) -> Vec<ClockOffset> {
        let others = self.peers.iter().filter(|(node, _)| *node != self.node);
        let asked = others.map(|(node, ways)| {
            let ways = ways.clone();
            async move {
                let begun = (clock::wall(), clock::now());
                let deadline = begun.1 + ASKED_WITHIN;
                let cluster = self.peers.cluster();
                let answer = ways.forward.call::<(), Millis>(rpc::CLOCK, cluster, &(), deadline);
                let told = answer.await.ok()?;
                // it was told in the middle of the time that this took
                let middle = begun.0 as f64 + begun.1.elapsed().as_secs_f64() * 500.0;
                Some(ClockOffset {
                    node,
                    ahead_ms: told as f64 - middle,
                })
            }
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// What may still be written to this node's disk before publishes are refused; `None` where the disk cannot be asked.
    pub fn disk_left(&self) -> Option<u64> {
        self.room.left()
    }
}
