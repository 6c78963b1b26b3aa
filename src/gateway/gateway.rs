//! The gateway as the rest of the node sees it.

use super::Config;
use super::backlog::Backlog;
use crate::model::{BroadcastId, Cursor, NodeId, Number, PerPriority, Position, Step, UserNumber};
use crate::state::Release;
use bytes::Bytes;
use roaring::RoaringBitmap;
use std::sync::Arc;
use std::time::Duration;

/// How bytes go to a subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    WebSocket,
    Sse,
    /// A line of JSON per frame, after the response head.
    Lines,
}

/// A subscriber's socket, non-blocking.
#[derive(Debug)]
pub enum Socket {
    Tcp(std::net::TcpStream),
    /// One end of a pair whose other end feeds an HTTP body (kept connections, HTTP/2).
    Unix(std::os::unix::net::UnixStream),
}

/// Where a stream starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// What of the user's is neither expired nor received, then live.
    Backlog,
    Cursor(Cursor),
    Now,
    Earliest,
}

/// A subscriber whose request was accepted.
#[derive(Debug)]
pub struct Subscriber {
    pub socket: Socket,
    /// Bytes already read behind the request's head.
    pub read: Bytes,
    /// Written first: the HTTP response head (empty when it has been sent).
    pub head: Bytes,
    pub transport: Transport,
    pub user: UserNumber,
    pub from: From,
}

/// A client's message that needs the log; answered through [`Gateway::answer`].
#[derive(Clone, Debug)]
pub struct Request {
    pub session: SessionRef,
    pub user: UserNumber,
    /// The client's own reference, if it wants an answer.
    pub reference: Option<String>,
    pub acknowledge: Vec<(BroadcastId, String)>,
}

/// Names a session of this node for an answer; stale ones are ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionRef(pub u64);

/// What the sessions of this node did since the last call.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub deltas: Vec<(Number, Step, RoaringBitmap)>,
    pub watermarks: PerPriority<Position>,
    pub came: RoaringBitmap,
    pub went: RoaringBitmap,
}

/// What `GET /v1/queues` shows of one priority.
#[derive(Clone, Copy, Debug, Default)]
pub struct QueueStatus {
    /// Recipients connected here and not yet written to.
    pub waiting: u64,
    /// Age of the oldest release not yet written to all its recipients here.
    pub oldest: Duration,
    /// Writes under way.
    pub in_flight: u64,
    pub written: u64,
}

#[derive(Clone, Debug, Default)]
pub struct WorkerStatus {
    pub name: String,
    pub cells: usize,
    pub sessions: usize,
    pub written: u64,
    pub busy_share: f64,
    pub panics: u64,
}

pub struct Gateway {}

impl Gateway {
    /// Starts the threads. `requests` takes clients' messages that need the log (bounded; a full one answers "try again").
    pub fn start(
        _config: &Config,
        _workers: &crate::workers::Config,
        _node: NodeId,
        _epoch: u32,
        _backlog: Arc<dyn Backlog>,
        _requests: tokio::sync::mpsc::Sender<Request>,
    ) -> std::io::Result<Arc<Self>> {
        Ok(Arc::new(Self {}))
    }

    /// A release was applied: never blocks, never fails.
    pub fn release(&self, _release: Arc<Release>) {}

    /// Rows up to here are in sled: the window may forget them when it is full.
    pub fn stored(&self, _position: Position) {}

    /// The state was replaced: the window starts anew with `releases`, all sessions look again.
    pub fn reset(&self, _epoch: u32, _releases: Vec<Arc<Release>>) {}

    /// Hands a socket to a worker. Refused (and given back) when `sessions_max` is reached or the node drains.
    pub fn accept(&self, subscriber: Subscriber) -> Result<(), Subscriber> {
        Err(subscriber)
    }

    pub fn answer(&self, _session: SessionRef, _message: String) {}

    /// The user is gone: their sessions end with 4003.
    pub fn erase(&self, _user: UserNumber) {}

    /// Tells all sessions that this node has no leader (or has one again).
    pub fn set_degraded(&self, _degraded: bool) {}

    /// The other nodes' addresses for clients.
    pub fn set_others(&self, _urls: Vec<String>) {}

    /// Receipts and presence since the last call.
    pub fn take_report(&self) -> Report {
        Report::default()
    }

    /// Puts a report back that could not be proposed; it is merged into the next.
    pub fn return_report(&self, _report: Report) {}

    /// Receipts that came in over HTTP.
    pub fn receipt(&self, _number: Number, _step: Step, _user: UserNumber) {}

    /// Everybody with a session here.
    pub fn present(&self) -> RoaringBitmap {
        RoaringBitmap::new()
    }

    pub fn sessions(&self) -> usize {
        0
    }

    pub fn queues(&self) -> PerPriority<QueueStatus> {
        PerPriority::default()
    }

    pub fn workers(&self) -> Vec<WorkerStatus> {
        Vec::new()
    }

    /// Moves a cell to another worker while both run.
    pub fn move_cell(&self, _cell: usize, _worker: usize) {}

    /// Says goodbye (1012, with a pause) to all sessions and ends the threads; waits `within` for what is owed.
    pub fn drain(&self, _within: Duration) {}
}
