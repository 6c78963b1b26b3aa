//! # Consensus
//!
//! What: openraft over raft-log, peers over HTTP/2, and the handle through which everything proposes and reads.
//! Why: one order for every change, on disk at a majority before anybody is answered.
//! Never: what a command means; names of openraft outside this folder.
//! Start: [`handle`].

mod admission;
mod clocks;
mod exchange;
pub mod figures;
pub mod handle;
mod leadership;
mod line;
pub mod log_store;
mod log_sync;
mod network;
mod packer;
mod record;
mod road;
mod room;
mod rpc;
mod server;
mod snapshot;
mod start;
mod state_machine;
#[cfg(test)]
mod suite;
pub mod types;
mod upkeep;

pub use clocks::ClockOffset;
pub use handle::{Applied, Handle, Leadership, NodeStatus, ProposeError, Proposed, Role};
pub use start::{ConsensusError, Running, start};

use crate::base::size::{Size, Span};
use crate::model::NodeId;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where peers reach this node.
    pub listen: String,
    /// All voters, this node among them. Empty: a cluster of one.
    pub peers: Vec<Peer>,
    pub election_timeout_min: Span,
    pub election_timeout_max: Span,
    pub heartbeat: Span,
    /// How long the log writer waits for more entries before it syncs, in microseconds. Entries that come during a sync share the
    /// next one without any wait; measured here, 100 µs only made each publish later.
    pub log_flush_wait_us: u64,
    /// Size of one file of the log.
    pub log_chunk: Size,
    /// Commands of one log entry.
    pub pack_commands_max: usize,
    /// Bytes of one log entry; a larger command goes alone.
    pub pack_bytes_max: Size,
    /// Entries proposed and not yet committed; on a follower, requests to the leader not yet answered. As many again for what is
    /// critical.
    pub packs_in_flight_max: usize,
    /// Commands that may wait to be packed; each priority has a share of it, and all of it is critical's.
    pub waiting_max: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    pub node: NodeId,
    /// `host:port` for peers.
    pub peer: String,
    /// URL for clients.
    pub url: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8206".into(),
            peers: Vec::new(),
            election_timeout_min: Span::millis(300),
            election_timeout_max: Span::millis(600),
            heartbeat: Span::millis(100),
            log_flush_wait_us: 0,
            log_chunk: Size::mib(64),
            pack_commands_max: 512,
            pack_bytes_max: Size::kib(256),
            packs_in_flight_max: 2,
            waiting_max: 16_384,
        }
    }
}
