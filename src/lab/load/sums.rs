//! All crowds and steps of a run together, and what can be read off them: each a count or a difference of two readings. Pure.

use super::judged::{BUSY_MAX, LATE_MAX_MS};
use super::orders::{Counts, Finished};
use super::run::{Played, Step};
use super::scenario::Scenario;
use super::tally::all_of;
use crate::lab::results::{Bound, Target, histogram, millis};
use crate::model::{PerPriority, Priority};
use hdrhistogram::Histogram;

const SECOND: f64 = 1e9;
const FINDINGS_MAX: usize = 12;

/// All crowds and steps together.
pub struct Sums<'a> {
    pub counts: Counts,
    pub foreign: u64,
    pub gaps: u64,
    pub lost: u64,
    pub failed: u64,
    pub early: u64,
    pub last_read: u64,
    pub accepted: PerPriority<Histogram<u64>>,
    pub due: PerPriority<Histogram<u64>>,
    pub warm_up: Histogram<u64>,
    /// The one that stands for all: the last.
    pub step: Option<&'a Step>,
    pub resident: [Option<u64>; 2],
    pub crowds: usize,
}

impl<'a> Sums<'a> {
    pub fn of(played: &'a Played) -> Self {
        let each = || std::array::from_fn(|_| histogram());
        let mut sums = Self {
            counts: Counts::default(),
            foreign: 0,
            gaps: 0,
            lost: 0,
            failed: 0,
            early: 0,
            last_read: 0,
            accepted: each(),
            due: each(),
            warm_up: histogram(),
            step: played.steps.last(),
            resident: played.resident,
            crowds: played.crowds,
        };
        for finished in &played.finished {
            sums.add(finished);
        }
        sums
    }

    fn add(&mut self, finished: &Finished) {
        self.counts = self.counts.plus(all_of(&finished.counts));
        self.foreign += finished.foreign;
        self.gaps += finished.gaps;
        self.lost += finished.lost;
        self.failed += finished.failed;
        self.early += finished.early;
        self.last_read = self.last_read.max(finished.last_read);
        for (own, buckets) in self.accepted.iter_mut().zip(&finished.accepted) {
            buckets.add_to(own);
        }
        for (own, buckets) in self.due.iter_mut().zip(&finished.due) {
            buckets.add_to(own);
        }
        finished.warm_up.add_to(&mut self.warm_up);
    }

    pub fn findings(&self, played: &Played) -> Vec<String> {
        let mut findings = Vec::new();
        let Counts {
            missing,
            wrong,
            repeated,
            disordered,
            ..
        } = self.counts;
        for (count, what) in [
            (missing, "deliveries are missing"),
            (wrong, "deliveries went to the wrong people"),
            (repeated, "deliveries were repeated on one connection"),
            (disordered, "deliveries came behind a later one of their priority"),
            (self.gaps, "streams said that something is gone"),
            (
                if played.served.is_own() { self.foreign } else { 0 },
                "broadcasts came that nobody published",
            ),
        ] {
            if count > 0 {
                findings.push(format!("{count} {what}"));
            }
        }
        findings.extend(
            played
                .finished
                .iter()
                .flat_map(|finished| finished.findings.iter().cloned()),
        );
        for step in &played.steps {
            findings.extend(step.published.findings.iter().cloned());
            if step.published.unknown > 0 {
                findings.push(format!(
                    "{} publishes had no answer that stands within a minute",
                    step.published.unknown
                ));
            }
        }
        findings.truncate(FINDINGS_MAX);
        findings
    }

    /// From the end of the warm-up to the last delivery, in seconds.
    pub fn window(&self) -> Option<f64> {
        let seconds = self.last_read.saturating_sub(self.step?.measured_from) as f64 / SECOND;
        Some(seconds).filter(|seconds| *seconds > 0.0)
    }

    /// Between the two marks, in seconds.
    pub fn marked(&self) -> Option<f64> {
        let step = self.step?;
        Some(step.until.at.saturating_sub(step.from.at) as f64 / SECOND).filter(|seconds| *seconds > 0.0)
    }

    pub fn server_cpu(&self) -> Option<f64> {
        let step = self.step?;
        Some(step.until.server_cpu? - step.from.server_cpu?)
    }

    pub fn delivered(&self) -> Option<f64> {
        let step = self.step?;
        Some(step.until.delivered.saturating_sub(step.from.delivered) as f64).filter(|delivered| *delivered > 0.0)
    }

    /// Of a core, by the process of the generator that used most.
    pub fn generator_share(&self) -> Option<f64> {
        let step = self.step?;
        let seconds = self.window().or(self.marked())?;
        let shares = step.from.generator_cpu.iter().zip(&step.until.generator_cpu);
        let shares = shares.filter_map(|(from, until)| Some(((*until)? - (*from)?) / seconds));
        shares.reduce(f64::max)
    }

    pub fn lateness_ms(&self) -> Option<f64> {
        let lateness = &self.step?.published.lateness;
        (!lateness.is_empty()).then(|| millis(lateness.value_at_quantile(0.99)))
    }

    pub fn bottlenecks(&self, scenario: &Scenario) -> Vec<String> {
        let mut why = Vec::new();
        if let Some(share) = self.generator_share().filter(|share| *share > BUSY_MAX) {
            why.push(format!("one of its processes used {:.0} % of a core", share * 100.0));
        }
        let is_open = scenario.publish.is_none();
        if let Some(late) = self.lateness_ms().filter(|late| is_open && *late > LATE_MAX_MS) {
            why.push(format!("1 % of its broadcasts went out more than {late} ms late"));
        }
        why
    }

    pub fn overall(&self) -> Option<Histogram<u64>> {
        whole(&self.accepted)
    }

    pub fn overall_due(&self) -> Option<Histogram<u64>> {
        whole(&self.due)
    }

    /// Cores that neither the nodes nor the generator used; `None` where the nodes are elsewhere.
    pub fn others(&self) -> Option<f64> {
        let (step, seconds) = (self.step?, self.marked()?);
        let busy = step.until.cores?.busy_since(step.from.cores?)?;
        let each = step.from.generator_cpu.iter().zip(&step.until.generator_cpu);
        let own: f64 = each.filter_map(|(from, until)| Some((*until)? - (*from)?)).sum();
        let cores = std::thread::available_parallelism().ok()?.get() as f64;
        Some((busy * cores - (self.server_cpu()? + own) / seconds).max(0.0))
    }

    pub fn hit_rate(&self) -> Option<f64> {
        let (from, until) = (self.step?.from.cache?, self.step?.until.cache?);
        let all = until.all.checked_sub(from.all).filter(|all| *all > 0)?;
        Some(100.0 * until.hits.saturating_sub(from.hits) as f64 / all as f64)
    }

    pub fn targets(&self, scenario: &Scenario, played: &Played) -> Vec<Target> {
        let wanted = scenario.targets;
        let critical = &self.accepted[Priority::Critical.index()];
        let (whole, due) = (self.overall(), self.overall_due());
        let errors = played
            .steps
            .iter()
            .filter_map(|step| step.published.errors_percent())
            .reduce(f64::max);
        let everybody = super::scenes::everybody(played)
            .into_iter()
            .map(|heard| heard.last_ms)
            .reduce(f64::max);
        let below = |bound: Option<f64>| bound.map(Bound::Below);
        let all = [
            (
                "mean, accepted to read",
                below(wanted.mean_ms),
                "ms",
                mean(whole.as_ref()),
            ),
            ("mean, due to read", below(wanted.mean_ms), "ms", mean(due.as_ref())),
            ("p95, accepted to read", below(wanted.p95_ms), "ms", p95(whole.as_ref())),
            ("p95, due to read", below(wanted.p95_ms), "ms", p95(due.as_ref())),
            (
                "slowest critical",
                wanted.critical_max_ms.map(Bound::Below),
                "ms",
                (!critical.is_empty()).then(|| millis(critical.max())),
            ),
            (
                "critical to everybody, last byte",
                wanted.everybody_ms.map(Bound::Below),
                "ms",
                everybody,
            ),
            ("errors", wanted.errors_percent.map(Bound::Below), "%", errors),
            (
                "cache hit rate",
                wanted.hit_rate_percent.map(Bound::Above),
                "%",
                self.hit_rate(),
            ),
        ];
        let target = |(name, bound, unit, measured): (&str, Option<Bound>, &str, Option<f64>)| {
            Some(Target {
                name: name.to_owned(),
                bound: bound?,
                unit: unit.to_owned(),
                measured,
            })
        };
        all.into_iter().filter_map(target).collect()
    }
}

/// All priorities together; `None` when there was nothing.
fn whole(each: &PerPriority<Histogram<u64>>) -> Option<Histogram<u64>> {
    let mut whole = histogram();
    for own in each {
        // All have the same bounds.
        let _ = whole.add(own);
    }
    (!whole.is_empty()).then_some(whole)
}

/// In ms.
pub fn mean(histogram: Option<&Histogram<u64>>) -> Option<f64> {
    histogram.map(|histogram| histogram.mean() / 1_000.0)
}

/// In ms.
pub fn p95(histogram: Option<&Histogram<u64>>) -> Option<f64> {
    histogram.map(|histogram| millis(histogram.value_at_quantile(0.95)))
}
