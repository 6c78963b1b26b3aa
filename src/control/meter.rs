//! The load of this node between two looks.

use super::cores::Cores;
use crate::base::clock;
use crate::gateway::Gateway;
use crate::gateway::pressure::Pressure;
use crate::metrics::Look;
use crate::model::Priority;
use crate::scaling::Load;
use std::time::{Duration, Instant};

/// Fewer requests say nothing about the share that fails.
const REQUESTS_MIN: u64 = 20;
/// The latency that counts: 95 of 100 deliveries are no later.
const QUANTILE: f64 = 0.95;

/// Remembers the last look.
#[derive(Default)]
pub struct Meter {
    seen: Option<(Instant, Pressure, Look)>,
    cores: Cores,
}

impl Meter {
    /// What waits now, and what happened since the last call; the first knows of nothing before it.
    pub fn read(&mut self, gateway: &Gateway) -> Load {
        let (at, pressure, look) = (clock::now(), gateway.pressure(), Look::now());
        let mut load = waiting(&pressure);
        (load.free, load.crowded) = self.cores.read(&pressure.numbers);
        if let Some((since, before, look_before)) = &self.seen {
            load.busy = busy(&pressure, before, at - *since);
            let latency = look.delivery_quantile(look_before, QUANTILE);
            load.latency_ms = latency.map_or(0.0, |seconds| seconds * 1_000.0);
            load.errors = look.failed_share(look_before, REQUESTS_MIN).unwrap_or(0.0);
        }
        self.seen = Some((at, pressure, look));
        load
    }
}

fn waiting(pressure: &Pressure) -> Load {
    let critical = Priority::Critical.index();
    let millis = |age: &Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    Load {
        backlog: pressure.waiting.iter().sum(),
        oldest_ms: pressure.oldest.iter().map(millis).max().unwrap_or(0),
        critical: pressure.waiting[critical],
        critical_oldest_ms: millis(&pressure.oldest[critical]),
        connections: pressure.sessions as u64,
        ..Load::default()
    }
}

/// Share of the threads' time between two looks that was not spent asleep.
fn busy(now: &Pressure, before: &Pressure, between: Duration) -> f64 {
    let earlier = before.busy.iter().copied().chain(std::iter::repeat(Duration::ZERO));
    let spent: Duration = now
        .busy
        .iter()
        .zip(earlier)
        .map(|(now, before)| now.saturating_sub(before))
        .sum();
    let all = between.as_secs_f64() * now.threads.max(1) as f64;
    if all > 0.0 {
        (spent.as_secs_f64() / all).min(1.0)
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::{Pressure, busy};
    use std::time::Duration;

    #[test]
    fn busy_is_of_all_threads_and_of_the_time_between() {
        let seconds = |all: &[u64]| Pressure {
            busy: all.iter().copied().map(Duration::from_secs).collect(),
            threads: all.len(),
            ..Pressure::default()
        };
        let is = |share: f64, expected: f64| assert!((share - expected).abs() < 1e-9, "{share}, not {expected}");
        let between = Duration::from_secs(10);
        is(busy(&seconds(&[15, 105]), &seconds(&[10, 100]), between), 0.5);
        is(busy(&seconds(&[20]), &seconds(&[10, 100]), between), 1.0);
        is(busy(&seconds(&[10, 5]), &seconds(&[10]), between), 0.25);
        is(busy(&seconds(&[10]), &seconds(&[10]), Duration::ZERO), 0.0);
    }
}
