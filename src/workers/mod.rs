//! # Workers
//!
//! What: OS threads that each own an epoll and some cells of sessions, fed by crossbeam lanes, one per priority.
//! Why: serving a subscriber is a write(2); a thread that does nothing else does most of them.
//! Never: what a session or a frame is (a [`Job`] knows); waiting for apply.
//! Start: [`pool`], then [`worker`].

pub mod gauge;
pub mod job;
pub mod mailbox;
pub mod pool;
#[cfg(test)]
mod tests;
mod worker;

pub use gauge::{Gauge, WorkerStatus};
pub use job::{Job, Ready};
pub use mailbox::Unsent;
pub use pool::{Pool, THREADS_MAX};

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Threads that write to subscribers; 0 starts with half of the cores (at least 1) and follows the load from there.
    pub threads: usize,
    /// Cells of sessions, spread over the threads.
    pub cells: usize,
    /// Wake-ups that fit a lane; when it is full nothing is lost, the window has the release.
    pub lane_max: usize,
    /// Sessions written before a higher priority and reads are looked for.
    pub slice_min: usize,
    pub slice_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            threads: 0,
            cells: 64,
            lane_max: 1024,
            slice_min: 25,
            slice_max: 500,
        }
    }
}

impl Config {
    /// The number of threads that this machine gets.
    pub fn threads(&self) -> usize {
        match self.threads {
            0 => (cores() / 2).max(1),
            threads => threads,
        }
    }
}

/// What this process may run at once, cgroup and affinity counted.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
