//! # Gateway
//!
//! What: sessions as positions over the shared window; WebSocket, SSE and NDJSON as bytes.
//! Why: live delivery, a slow socket catching up and a resume are one road: write what is mine after my position.
//! Never: a task, a lock or a timer per session; consensus.
//! Start: [`session`], then [`window`].
//!
//! ```text
//! release ─► window ─► batch ─► round: one write for each session of a cell that is up to date
//!               └────────────► pump: a session that is behind, from its own positions ─► up to date again
//! backlog ─► reader ───────────┘
//! socket  ─► hear ─► message ─► collect ─► report        (receipts, presence, watermarks)
//! ```
//! `cell` holds sessions and the positions they share, `come_and_go` is how they get there and away, `plan` begins a round, `supply`
//! finds what is owed to one that is behind; `cells` are those of one worker's thread, `told` says what concerns all, `wire`,
//! `websocket` and `frame` are the bytes.

pub mod backlog;
mod batch;
mod cell;
mod cells;
mod collect;
mod come_and_go;
mod confirm;
mod crew;
pub mod frame;
mod fresh;
#[allow(clippy::module_inception)] // the part has one main noun
pub mod gateway;
pub mod goodbye;
mod hear;
mod members;
mod message;
mod pass;
mod plan;
pub mod poll;
pub mod pressure;
mod pump;
mod reader;
mod round;
mod session;
mod shared;
mod supply;
#[cfg(test)]
mod tests;
mod told;
mod websocket;
mod window;
mod wire;

pub use backlog::Backlog;
pub use gateway::{From, Gateway, Report, Request, SessionRef, Socket, Subscriber, Transport};
pub use hear::NoReceipt;
pub use pass::Pass;

use crate::base::size::{Size, Span};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Releases kept in memory, with their frames.
    pub window_bytes_max: Size,
    /// Sessions of this node.
    pub sessions_max: usize,
    /// A comment or ping after this long without a write.
    pub heartbeat: Span,
    /// A WebSocket peer that says nothing for this long is closed.
    pub silent_max: Span,
    /// A socket that takes no byte for this long is told goodbye.
    pub stall_max: Span,
    /// The kernel's send buffer per session.
    pub send_buffer: Size,
    /// Unsent bytes the kernel may hold per session.
    pub unsent_max: Size,
    /// Bytes given to one session's socket at a time when it is behind.
    pub catch_up_bytes: Size,
    /// Without a cursor: the newest of each priority (all of critical); the inbox has the rest.
    pub backlog_max: usize,
    /// One client message.
    pub message_bytes_max: Size,
    /// Sessions that are asked to move in a second when this node is much fuller than the others; 0 asks none.
    pub moved_per_second: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            window_bytes_max: Size::mib(64),
            sessions_max: 20_000,
            heartbeat: Span::seconds(15),
            silent_max: Span::seconds(45),
            stall_max: Span::seconds(10),
            send_buffer: Size::kib(64),
            unsent_max: Size::kib(16),
            catch_up_bytes: Size::kib(64),
            backlog_max: 200,
            message_bytes_max: Size::kib(16),
            moved_per_second: 20,
        }
    }
}
