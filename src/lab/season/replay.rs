//! One drawn day for real: on three nodes of its own, with a device for each of its people, probed every second.

use super::score::{Day, Weighed};
use crate::base::clock;
use crate::lab::rehearse::{self, Options};
use crate::lab::report;
use crate::lab::results::Buckets;
use crate::lab::scenario::Scenario;
use crate::lab::uptime::Probing;
use crate::model::Priority;
use anyhow::Result;
use hdrhistogram::Histogram;

/// What it came to.
pub struct Replayed {
    pub date: String,
    pub weddings: usize,
    pub people: usize,
    pub broadcasts: usize,
    pub scale: f64,
    pub report: report::Report,
}

/// Plays the day now; its pauses are as much shorter.
pub async fn play(mut scenario: Scenario, speed: f64) -> Result<report::Report> {
    scenario.move_to(clock::wall());
    let options = Options {
        scenario: scenario.name.clone(),
        speed,
        faults: true,
        probing: Probing::EverySecond,
        json: true,
    };
    rehearse::play(&scenario, &options).await
}

impl Replayed {
    /// What a score asks for; `None` when nothing was delivered or probed.
    pub fn day(&self) -> Option<Day> {
        let uptime = self.report.uptime.as_ref()?;
        let deliveries = self.report.judgement.deliveries;
        Some(Day {
            uptime: uptime.share()? * 100.0,
            mean_ms: self.mean_ms()?,
            outages: uptime.outages,
            lost: deliveries.missing,
            wrong: deliveries.wrong,
        })
    }

    /// Accepted to read, of all priorities.
    pub fn mean_ms(&self) -> Option<f64> {
        let all = &self.report.judgement.latency;
        let count: u64 = all.iter().map(Histogram::len).sum();
        let sum: f64 = all.iter().map(|one| one.mean() * one.len() as f64).sum();
        (count > 0).then(|| sum / count as f64 / 1_000.0)
    }

    pub fn weighed(&self) -> Weighed {
        let confirmed = &self.report.sequel.confirmed;
        let share = confirmed.made as f64 / confirmed.expected as f64;
        Weighed {
            critical_p99_ms: self.p99_ms(Priority::Critical),
            high_p99_ms: self.p99_ms(Priority::High),
            availability_writes: self.report.uptime.as_ref().and_then(crate::lab::uptime::Uptime::share),
            ack_recorded_share: (confirmed.expected > 0).then_some(share),
            // who comes back is not timed one by one in a rehearsal
            reconnect_catchup_p99_s: None,
        }
    }

    pub fn p99_ms(&self, priority: Priority) -> Option<f64> {
        let histogram = &self.report.judgement.latency[priority.index()];
        (!histogram.is_empty()).then(|| histogram.value_at_quantile(0.99) as f64 / 1_000.0)
    }

    /// By priority, as they are kept.
    pub fn latency(&self) -> Vec<(Priority, Buckets)> {
        let all = Priority::ALL.into_iter().zip(&self.report.judgement.latency);
        all.map(|(priority, histogram)| (priority, Buckets::of(histogram)))
            .collect()
    }
}
