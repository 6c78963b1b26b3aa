//! What all workers of the gateway share, and what each has for itself.

use super::backlog::Backlog;
use super::batch::{Batch, Joiner, Kind};
use super::collect::{Collector, Tally};
use super::frame::Seats;
use super::goodbye::Goodbye;
use super::pass::Passes;
use super::reader::Asks;
use super::window::Window;
use super::{Config, Request};
use crate::base::clock;
use crate::metrics::{self, METRICS};
use crate::model::{Cursor, Millis, NodeId, Number, PerPriority, Position, Step, UserNumber};
use crate::workers::Gauge;
use crate::workers::pool::TICK;
use parking_lot::Mutex;
use roaring::RoaringBitmap;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize};
use std::time::Instant;

/// No release was seen yet: any salt will do.
pub const NO_SALT: u32 = u32::MAX;

pub struct Shared {
    pub config: Config,
    pub node: NodeId,
    pub slice_min: usize,
    pub slice_max: usize,
    pub window: Window,
    pub collector: Collector,
    /// Which worker has a cell, or will have it.
    pub owners: Vec<AtomicUsize>,
    /// Sessions of each cell, as of its worker's last rest.
    pub sizes: Vec<AtomicUsize>,
    pub epoch: AtomicU32,
    /// The cluster's mark in the ids of broadcasts.
    pub salt: AtomicU32,
    /// Open sessions, and those on their way to a worker.
    pub sessions: AtomicUsize,
    pub draining: AtomicBool,
    /// Counts the times that sessions were asked to move.
    pub sent_away: AtomicUsize,
    /// Log time less the wall clock of this machine.
    pub clock_offset: AtomicI64,
    pub passes: Passes,
    pub bulletin: Mutex<Bulletin>,
    /// Counts the changes of the bulletin.
    pub version: AtomicU64,
    pub asks: Asks,
    pub requests: tokio::sync::mpsc::Sender<Request>,
    pub backlog: Arc<dyn Backlog>,
    pub started: Instant,
}

/// What is told to all sessions.
#[derive(Clone, Debug, Default)]
pub struct Bulletin {
    pub degraded: bool,
    /// Other nodes' addresses.
    pub others: Arc<Vec<String>>,
    /// How full they are.
    pub load: Arc<Vec<Seats>>,
    pub erased: RoaringBitmap,
    pub goodbye: Option<Goodbye>,
    pub epoch: u32,
}

impl Shared {
    pub fn cell_of(&self, user: u32) -> usize {
        user as usize % self.owners.len()
    }

    pub fn owner(&self, cell: usize) -> usize {
        self.owners[cell].load(Acquire)
    }

    /// Ticks since the start: the same on all workers.
    pub fn tick(&self, now: Instant) -> u32 {
        (now.saturating_duration_since(self.started).as_millis() / TICK.as_millis()) as u32
    }

    pub fn cursor(&self, positions: PerPriority<Position>) -> Cursor {
        Cursor {
            epoch: self.epoch.load(Relaxed),
            positions,
        }
    }

    pub fn others(&self) -> Arc<Vec<String>> {
        self.bulletin.lock().others.clone()
    }

    pub fn load(&self) -> Arc<Vec<Seats>> {
        self.bulletin.lock().load.clone()
    }

    /// Log time, as far as this node knows it.
    pub fn log_time(&self) -> Millis {
        clock::wall() + self.clock_offset.load(Relaxed)
    }
}

/// What a worker's cells need while they work. Everything that grows here is emptied when the thread rests.
pub struct Context {
    pub shared: Arc<Shared>,
    pub registry: mio::Registry,
    pub gauge: Arc<Gauge>,
    pub now: Instant,
    pub tally: Tally,
    /// What was measured and is not shared yet.
    pub measured: metrics::Tally,
    pub joiner: Joiner,
    /// The last batch of each kind: cells that stand where it starts share it.
    pub batches: [Option<Arc<Batch>>; 2],
    /// One buffer for what any session says.
    pub read_buffer: Vec<u8>,
    /// One buffer for what only one session is written.
    pub scratch: Vec<u8>,
    /// The cell and the session that are worked on, for after a panic.
    pub current: Option<(usize, Option<u32>)>,
}

/// Bytes read from a socket at a time.
const READ_BUFFER: usize = 64 << 10;
/// Buffers above this are given back when the thread rests.
const SCRATCH_KEPT: usize = 64 << 10;

impl Context {
    pub fn new(shared: Arc<Shared>, registry: mio::Registry, gauge: Arc<Gauge>) -> Self {
        Self {
            shared,
            registry,
            gauge,
            now: clock::now(),
            tally: Tally::default(),
            measured: metrics::Tally::default(),
            joiner: Joiner::default(),
            batches: [None, None],
            read_buffer: vec![0; READ_BUFFER],
            scratch: Vec::new(),
            current: None,
        }
    }

    /// The batch after these positions, shared with the cells before.
    pub fn batch(&mut self, kind: Kind) -> Option<&Arc<Batch>> {
        self.batches[kind.index()].as_ref()
    }

    /// Frames that were given to sockets.
    pub fn count(&self, counts: PerPriority<u64>) {
        if metrics::delivery::is_on() {
            for (count, series) in counts.into_iter().zip(&METRICS.of_priority) {
                if count > 0 {
                    series.written.inc_by(count);
                }
            }
        }
        self.gauge.written.fetch_add(counts.iter().sum(), Relaxed);
    }

    /// The end of a frame was given to a session's socket.
    pub fn sent(&mut self, number: Number, user: UserNumber, promises: bool) {
        self.tally.step(number, Step::Sent).push(user);
        if promises {
            self.tally.promised(number).push(user);
        }
    }

    /// Hands over what was gathered, and lets go of what stands in memory only for speed.
    pub fn rest(&mut self) {
        self.shared.collector.hand_over(&mut self.tally);
        self.measured.hand_over();
        self.joiner.clear();
        self.batches = [None, None];
        if self.scratch.capacity() > SCRATCH_KEPT {
            self.scratch = Vec::new();
        }
    }
}
