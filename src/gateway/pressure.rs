//! What waits on this node and how busy its threads are: cheap enough to be looked at every second, whatever the load.

use super::Gateway;
use crate::base::clock;
use crate::model::{PerPriority, Priority};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// The most releases that are counted in each priority: more than any rule asks for.
const COUNT_MAX: usize = 8192;

/// As [`Gateway::pressure`] saw it.
#[derive(Clone, Debug, Default)]
pub struct Pressure {
    /// Releases not yet written to everybody here who keeps up; 8,192 stands for more.
    pub waiting: PerPriority<u64>,
    /// Age of the oldest of them.
    pub oldest: PerPriority<Duration>,
    /// Time that each thread has not slept since the start.
    pub busy: Vec<Duration>,
    /// The kernel's numbers of them.
    pub numbers: Vec<i32>,
    pub threads: usize,
    pub sessions: usize,
}

impl Gateway {
    /// Looks at marks and counts, never at recipients. Who reads too slowly to keep up does not count: no thread could help.
    pub fn pressure(&self) -> Pressure {
        let (window, now) = (&self.shared.window, clock::now());
        let rounds = self.shared.collector.lowest_rounds(window.head());
        let mut pressure = Pressure {
            busy: self.pool.gauges().map(|(_, gauge)| gauge.busy()).collect(),
            numbers: self.pool.gauges().filter_map(|(_, gauge)| gauge.thread()).collect(),
            threads: self.threads(),
            sessions: self.shared.sessions.load(Relaxed),
            ..Pressure::default()
        };
        for priority in Priority::ALL {
            let index = priority.index();
            window.each_after(priority, rounds[index], COUNT_MAX, |entry| {
                pressure.waiting[index] += 1;
                let age = now.saturating_duration_since(entry.since);
                pressure.oldest[index] = pressure.oldest[index].max(age);
            });
        }
        pressure
    }
}
