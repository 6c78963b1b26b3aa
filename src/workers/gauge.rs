//! What a worker shows of itself.

use std::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// Written by the worker's thread, read by anybody.
#[derive(Debug, Default)]
pub struct Gauge {
    pub cells: AtomicUsize,
    pub sessions: AtomicUsize,
    pub written: AtomicU64,
    pub panics: AtomicU64,
    /// The kernel's number of its thread, by which the kernel tells what it did with it; 0: none runs.
    thread: AtomicI32,
    /// Rounds of the thread's loop.
    pub rounds: AtomicU64,
    busy_nanos: AtomicU64,
    all_nanos: AtomicU64,
    /// Since the start: whoever looks twice knows of the time between.
    busy_total: AtomicU64,
}

#[derive(Clone, Debug, Default)]
pub struct WorkerStatus {
    pub name: String,
    pub cells: usize,
    pub sessions: usize,
    pub written: u64,
    /// Share of the last seconds that was not spent asleep.
    pub busy_share: f64,
    pub panics: u64,
}

/// Older time counts for less: the sums are halved when they reach this.
const SPAN_NANOS: u64 = 8_000_000_000;

impl Gauge {
    /// Also what scaling goes by: it is never left out.
    pub fn add_time(&self, asleep: Duration, busy: Duration) {
        let busy = busy.as_nanos() as u64;
        self.busy_total.fetch_add(busy, Relaxed);
        let mut busy_sum = self.busy_nanos.load(Relaxed) + busy;
        let mut all_sum = self.all_nanos.load(Relaxed) + busy + asleep.as_nanos() as u64;
        while all_sum > SPAN_NANOS {
            busy_sum /= 2;
            all_sum /= 2;
        }
        self.busy_nanos.store(busy_sum, Relaxed);
        self.all_nanos.store(all_sum, Relaxed);
    }

    /// Time not spent asleep since the start.
    pub fn busy(&self) -> Duration {
        Duration::from_nanos(self.busy_total.load(Relaxed))
    }

    /// Called by its thread when it begins.
    pub fn occupy(&self) {
        let number = rustix::thread::gettid().as_raw_nonzero().get();
        self.thread.store(number, Relaxed);
    }

    /// The kernel's number of the thread that runs here.
    pub fn thread(&self) -> Option<i32> {
        Some(self.thread.load(Relaxed)).filter(|number| *number != 0)
    }

    /// Its thread has ended: what it held is elsewhere. What was counted stays counted.
    pub fn vacate(&self) {
        self.cells.store(0, Relaxed);
        self.sessions.store(0, Relaxed);
        self.thread.store(0, Relaxed);
        self.busy_nanos.store(0, Relaxed);
        self.all_nanos.store(0, Relaxed);
    }

    pub fn status(&self, name: String) -> WorkerStatus {
        let all = self.all_nanos.load(Relaxed).max(1);
        WorkerStatus {
            name,
            cells: self.cells.load(Relaxed),
            sessions: self.sessions.load(Relaxed),
            written: self.written.load(Relaxed),
            busy_share: self.busy_nanos.load(Relaxed) as f64 / all as f64,
            panics: self.panics.load(Relaxed),
        }
    }
}
