//! Takes all measures that alerts can look at, on the node that has them.

use super::prober::Prober;
use crate::alerting::{Measure, Sample, Samples};
use crate::base::clock;
use crate::consensus::{ClockOffset, Handle, Role};
use crate::gateway::Gateway;
use crate::metrics::METRICS;
use crate::metrics::lately::{Lately, Tally, Timed};
use crate::model::alert::millis;
use crate::state::State;
use crate::state::urgent::Urgent;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the other nodes are asked what time it is.
const CLOCKS_EVERY: Duration = Duration::from_secs(10);

/// How full the memory is, from 0 to 1; `None` where nobody knows yet.
pub type MemoryShare = Box<dyn Fn() -> Option<f64> + Send + Sync>;

/// Where measures come from.
pub struct Sources {
    pub handle: Handle,
    pub gateway: Arc<Gateway>,
    pub prober: Arc<Prober>,
    pub memory: MemoryShare,
    /// Codes of publishes that were refused though nothing was wrong with them.
    pub not_taken: Vec<&'static str>,
    /// Rates and means are of what happened within this.
    pub over: Duration,
}

/// What is remembered between two looks.
pub struct Measuring {
    started: Instant,
    lately: Lately,
    urgent: Urgent,
    alone_since: Option<Instant>,
    clocks: Option<(Instant, Option<Sample>)>,
    /// As a leader last said: while there is none, who was lost stays lost.
    nodes_lost: Option<Sample>,
}

impl Default for Measuring {
    fn default() -> Self {
        Self {
            started: clock::now(),
            lately: Lately::default(),
            urgent: Urgent::default(),
            alone_since: None,
            clocks: None,
            nodes_lost: None,
        }
    }
}

impl Measuring {
    /// Milliseconds of the clock that rules are held by.
    pub fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub async fn look(&mut self, sources: &Sources) -> Samples {
        let mut samples = Samples::default();
        let tally = METRICS.tally(&sources.not_taken);
        let lately = self.lately.push(self.started.elapsed(), tally, sources.over);
        happened(&lately, &mut samples);
        let pressure = sources.gateway.pressure();
        samples.set(Measure::QueueSize, pressure.waiting.iter().sum::<u64>() as f64);
        samples.set(Measure::Connections, pressure.sessions as f64);
        samples.set(Measure::CacheMemory, METRICS.cache_local_bytes.get() as f64);
        samples.set(Measure::Emergencies, self.emergencies(&sources.handle) as f64);
        if let Some(left) = sources.handle.disk_left() {
            samples.set(Measure::DiskLeft, left as f64);
        }
        if let Some(share) = (sources.memory)() {
            samples.set(Measure::Memory, share);
        }
        if let Some(failures) = sources.prober.failures_in_a_row() {
            samples.set(Measure::ProbeFailures, failures as f64);
        }
        self.cluster(&sources.handle, &mut samples).await;
        samples
    }

    fn emergencies(&mut self, handle: &Handle) -> usize {
        let (urgent, now) = (&mut self.urgent, handle.log_time());
        while handle.read(|state| urgent.look(state)) {}
        urgent.forget(now);
        handle.read(|state| urgent.open(state, now).count())
    }

    /// What can be known of the other nodes.
    async fn cluster(&mut self, handle: &Handle, samples: &mut Samples) {
        if self.clocks.as_ref().is_none_or(|(at, _)| at.elapsed() >= CLOCKS_EVERY) {
            self.clocks = Some((clock::now(), skew(&handle.clocks().await)));
        }
        if let Some((_, Some(sample))) = &self.clocks {
            samples.set(Measure::ClockSkew, sample.clone());
        }
        let is_founded = handle.read(State::epoch) != 0;
        if handle.leadership().leader.is_none() {
            let since = *self.alone_since.get_or_insert_with(clock::now);
            if is_founded {
                samples.set(Measure::NoLeader, millis(since.elapsed()));
            }
            if let Some(sample) = &self.nodes_lost {
                samples.set(Measure::NodesLost, sample.clone());
            }
            return;
        }
        self.alone_since = None;
        if is_founded {
            samples.set(Measure::NoLeader, 0.0);
        }
        let nodes = handle.nodes_of_leader().await;
        let lost = nodes.iter().filter(|status| status.role == Role::Unreachable);
        let lost: Vec<String> = lost.map(|status| format!("node {}", status.node)).collect();
        let sample = Sample {
            value: lost.len() as f64,
            of: None,
            detail: lost.join(", "),
        };
        samples.set(Measure::NodesLost, sample.clone());
        self.nodes_lost = Some(sample);
    }
}

/// Rates and means of what happened lately; what did not happen has none.
fn happened(lately: &Tally, samples: &mut Samples) {
    let mut share = |measure, part: u64, all: u64| {
        let sample = Sample {
            value: part as f64 / all.max(1) as f64,
            of: Some(all),
            detail: format!("{part} of {all}"),
        };
        if all > 0 {
            samples.set(measure, sample);
        }
    };
    share(Measure::ErrorRate, lately.not_taken, lately.not_taken + lately.taken);
    let answered = lately.cache_reads.saturating_sub(lately.cache_missed);
    share(Measure::CacheHitRate, answered, lately.cache_reads);
    let mut mean = |measure, timed: Timed| {
        if let Some(value) = timed.mean_ms() {
            let sample = Sample {
                value,
                of: Some(timed.count),
                detail: format!("mean of {}", timed.count),
            };
            samples.set(measure, sample);
        }
    };
    mean(Measure::Processing, lately.delivery);
    mean(Measure::ResponseTime, lately.publish);
    mean(Measure::LogSync, lately.log_sync);
}

/// How far this node's clock is from the middle one of all that it knows, its own too: so it is known whose clock is wrong. With two
/// nodes nobody can know that, and both count as off. `None` where no other node answers.
fn skew(others: &[ClockOffset]) -> Option<Sample> {
    let mut all: Vec<f64> = others.iter().map(|other| other.ahead_ms).collect();
    if all.is_empty() {
        return None;
    }
    all.push(0.0);
    all.sort_by(f64::total_cmp);
    let (low, high) = (all.get((all.len() - 1) / 2)?, all.get(all.len() / 2)?);
    let middle = if low.abs() > high.abs() { low } else { high };
    let word = if *middle > 0.0 { "behind" } else { "ahead" };
    let detail = format!("it is {word}; {} other nodes were asked", others.len());
    Some(Sample {
        value: middle.abs(),
        of: None,
        detail: if *middle == 0.0 { String::new() } else { detail },
    })
}

#[cfg(test)]
mod tests {
    use super::{ClockOffset, Measure, Samples, Tally, Timed, happened, skew};

    #[test]
    fn the_clock_that_is_off_is_the_one_that_no_other_agrees_with() {
        let seen = |ahead: &[f64]| {
            let others: Vec<ClockOffset> = (2..)
                .zip(ahead)
                .map(|(node, ahead_ms)| ClockOffset {
                    node,
                    ahead_ms: *ahead_ms,
                })
                .collect();
            skew(&others).map(|sample| (sample.value.round() as i64, sample.detail))
        };
        let told = |value: i64, word: &str, nodes: usize| {
            Some((value, format!("it is {word}; {nodes} other nodes were asked")))
        };
        assert_eq!(seen(&[]), None);
        assert_eq!(
            seen(&[0.0, 10_000.0]),
            Some((0, String::new())),
            "the third is off, not this one"
        );
        assert_eq!(seen(&[-10_000.0, -10_001.0]), told(10_000, "ahead", 2));
        assert_eq!(seen(&[4_000.0]), told(4_000, "behind", 1));
        assert_eq!(seen(&[9_000.0, 9_001.0, 9_002.0]), told(9_001, "behind", 3));
    }

    #[test]
    fn what_did_not_happen_has_no_rate() {
        let mut samples = Samples::default();
        happened(&Tally::default(), &mut samples);
        assert_eq!(samples, Samples::default());
        let lately = Tally {
            taken: 90,
            not_taken: 10,
            cache_reads: 4,
            cache_missed: 1,
            log_sync: Timed { count: 4, seconds: 2.0 },
            ..Tally::default()
        };
        happened(&lately, &mut samples);
        let of = |measure| samples.get(measure).map(|sample| (sample.value, sample.of));
        assert_eq!(of(Measure::ErrorRate), Some((0.1, Some(100))));
        assert_eq!(of(Measure::CacheHitRate), Some((0.75, Some(4))));
        assert_eq!(of(Measure::LogSync), Some((500.0, Some(4))));
        assert_eq!(of(Measure::Processing), None);
    }
}
