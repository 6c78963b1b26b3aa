//! How large the local tier may be: it gives way when memory is short, and grows back later. What decides is told everything.

use super::lookup::Cache;
use super::memory::Memory;
use crate::base::clock;
use crate::base::size::Size;
use crate::metrics::METRICS;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// From here on memory is short ...
const SHORT: f64 = 0.90;
/// ... and below this there is enough again. Between the two nothing changes.
const ENOUGH: f64 = 0.80;
/// Waiting for memory for this share of the time is being short of it, whatever the limits say.
const STALLED_PERCENT: f64 = 10.0;
const CALM_PERCENT: f64 = 1.0;
/// A step down leaves this share, as the origin's rule has it.
const LEFT_PERCENT: u64 = 80;
/// A step up is this share of the full size.
const GROWTH_PERCENT: u64 = 10;
/// Growing waits for this long after any change: what was let go takes a while to show.
const SETTLES: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What the settings allow, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub least: u64,
    pub full: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Shrink,
    Hold,
    Grow,
}

impl Step {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Shrink => "shrink",
            Self::Hold => "hold",
            Self::Grow => "grow",
        }
    }
}

/// What was decided, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    pub step: Step,
    pub capacity: u64,
    pub reason: String,
    pub memory: Memory,
}

/// The next size. `settled`: how long it has been as it is.
pub fn decide(memory: Memory, capacity: u64, bounds: Bounds, settled: Duration) -> Decision {
    let share = memory.fullest().map_or(0.0, super::memory::Filled::share);
    let reason = reason(&memory);
    let (step, next) = if share >= SHORT || memory.stalled_percent >= STALLED_PERCENT {
        (Step::Shrink, capacity / 100 * LEFT_PERCENT)
    } else if share < ENOUGH && memory.stalled_percent < CALM_PERCENT && settled >= SETTLES {
        (Step::Grow, capacity.saturating_add(bounds.full / 100 * GROWTH_PERCENT))
    } else {
        (Step::Hold, capacity)
    };
    let next = next.clamp(bounds.least, bounds.full);
    Decision {
        step: if next == capacity { Step::Hold } else { step },
        capacity: next,
        reason,
        memory,
    }
}

fn reason(memory: &Memory) -> String {
    let stalled = memory.stalled_percent;
    match memory.fullest() {
        Some(filled) => format!(
            "the {} uses {:.0} % of {}; {stalled:.2} % of the time something waited for memory",
            filled.of.name(),
            filled.share() * 100.0,
            Size(filled.limit >> 20 << 20),
        ),
        None => "nothing is known of memory".to_owned(),
    }
}

/// Looks and decides for as long as the node runs.
pub async fn run(cache: Arc<Cache>, mut stop: watch::Receiver<bool>) {
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut changed: Instant = clock::now();
    loop {
        tokio::select! {
            _ = stop.changed() => return,
            _ = look.tick() => {}
        }
        let process_max = cache.config().memory_max.0;
        let Ok(memory) = tokio::task::spawn_blocking(move || Memory::read(Path::new("/"), process_max)).await else {
            continue;
        };
        if cache.adjust(memory, changed.elapsed()) != Step::Hold {
            changed = clock::now();
        }
    }
}

impl Cache {
    /// Takes one look into account.
    pub fn adjust(&self, memory: Memory, settled: Duration) -> Step {
        let bounds = Bounds {
            least: self.config().local_bytes_min.0,
            full: self.config().local_bytes.0,
        };
        let decision = decide(memory, self.local().capacity(), bounds, settled);
        let step = decision.step;
        if step != Step::Hold {
            self.local().set_capacity(decision.capacity);
            tracing::info!(
                capacity = decision.capacity,
                reason = decision.reason,
                "the cache's local tier: {}",
                step.name()
            );
        }
        METRICS.cache_local_capacity.set(signed(decision.capacity));
        METRICS.cache_local_bytes.set(signed(self.local().size().1));
        *self.decision.lock() = Some(decision);
        step
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{Bounds, Decision, Step, decide};
    use crate::cache::memory::{Filled, Memory, Of};
    use std::time::Duration;

    const BOUNDS: Bounds = Bounds {
        least: 200,
        full: 1_000,
    };
    const LONG: Duration = Duration::from_secs(60);

    fn at(percent: u64, stalled_percent: f64) -> Memory {
        Memory {
            filled: vec![Filled {
                of: Of::Cgroup,
                used: percent << 20,
                limit: 100 << 20,
            }],
            stalled_percent,
        }
    }

    fn check(memory: Memory, capacity: u64, settled: Duration, step: Step, next: u64) {
        let Decision {
            step: found,
            capacity: to,
            reason,
            ..
        } = decide(memory, capacity, BOUNDS, settled);
        assert_eq!((found, to), (step, next), "{reason}");
    }

    #[test]
    fn it_gives_way_when_memory_is_short_and_grows_back_when_there_is_enough() {
        check(at(95, 0.0), 1_000, LONG, Step::Shrink, 800);
        check(at(50, 25.0), 1_000, LONG, Step::Shrink, 800);
        check(at(95, 0.0), 210, Duration::ZERO, Step::Shrink, 200);
        check(at(99, 0.0), 200, LONG, Step::Hold, 200);
        check(at(85, 0.0), 500, LONG, Step::Hold, 500);
        check(at(50, 5.0), 500, LONG, Step::Hold, 500);
        check(at(50, 0.0), 500, Duration::from_secs(9), Step::Hold, 500);
        check(at(50, 0.0), 500, LONG, Step::Grow, 600);
        check(at(50, 0.0), 950, LONG, Step::Grow, 1_000);
        check(at(50, 0.0), 1_000, LONG, Step::Hold, 1_000);
        check(Memory::default(), 500, LONG, Step::Grow, 600);
    }

    #[test]
    fn the_reason_names_what_is_nearest_to_its_limit() {
        let mut memory = at(95, 2.5);
        memory.filled.push(Filled {
            of: Of::Machine,
            used: 1,
            limit: 2,
        });
        let decision = decide(memory, 1_000, BOUNDS, LONG);
        let expected = "the cgroup uses 95 % of 100 MiB; 2.50 % of the time something waited for memory";
        assert_eq!(decision.reason, expected);
    }
}
