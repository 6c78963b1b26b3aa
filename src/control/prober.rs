//! Uptime, measured: every node tries again and again whether a publish would work.
//!
//! A probe is a command that goes the way of a publish: through the same doors, to the leader, to the disks of a majority, and back
//! when this node has applied it. It is for nobody and leaves nothing: no position, no row, no journal. Each node makes its own, since
//! what counts is what a client of that node gets; a leader that probed alone would never see that there is none.

use super::today::Today;
use crate::alerting::{Day, Probed, Uptime};
use crate::base::clock;
use crate::consensus::Handle;
use crate::metrics::METRICS;
use crate::model::NodeId;
use crate::state::Command;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often is looked whether probes are wanted by now, where they are turned off.
const IDLE: Duration = Duration::from_secs(5);
/// A node that starts does not count the time before it has first seen a leader; it looks this often.
const LOOK_EVERY: Duration = Duration::from_millis(250);

#[derive(Clone, Debug)]
pub struct Settings {
    /// Zero: none are made.
    pub interval: Duration,
    pub interval_enhanced: Duration,
    pub within: Duration,
}

pub struct Prober {
    node: NodeId,
    handle: Handle,
    today: Arc<Today>,
    settings: Settings,
    uptime: Mutex<Uptime>,
}

impl Prober {
    pub fn new(node: NodeId, handle: Handle, today: Arc<Today>, settings: Settings) -> Arc<Self> {
        Arc::new(Self {
            node,
            handle,
            today,
            settings,
            uptime: Mutex::default(),
        })
    }

    pub fn uptime(&self) -> Uptime {
        self.uptime.lock().clone()
    }

    /// `None`: not measured now.
    pub fn failures_in_a_row(&self) -> Option<u64> {
        self.interval()?;
        let uptime = self.uptime.lock();
        uptime.measured_since().map(|_| uptime.failures_in_a_row())
    }

    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        while self.handle.leadership().leader.is_none() || self.handle.read(crate::state::State::epoch) == 0 {
            tokio::select! {
                _ = stop.changed() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
        let mut probed = clock::now();
        loop {
            let interval = self.interval();
            let wait = interval.map_or(IDLE, |interval| interval.saturating_sub(probed.elapsed()).min(IDLE));
            tokio::select! {
                _ = stop.changed() => return,
                () = tokio::time::sleep(wait) => {}
            }
            if interval.is_some_and(|interval| probed.elapsed() >= interval) {
                probed = clock::now();
                self.probe().await;
            }
        }
    }

    /// `None`: no probes are made.
    fn interval(&self) -> Option<Duration> {
        let interval = match self.today.day() {
            Day::Ordinary => self.settings.interval,
            Day::Event => self.settings.interval_enhanced,
        };
        let has_failed = self.uptime.lock().failures_in_a_row() > 0;
        // who has failed is looked at again soon: an outage that is over must not look like one that lasts
        let interval = if has_failed { interval.min(IDLE) } else { interval };
        (!interval.is_zero()).then_some(interval)
    }

    /// One probe, and what came of it.
    pub async fn probe(&self) {
        let (at, begun) = (clock::wall(), clock::now());
        let answer = self
            .handle
            .propose(Command::Probe(self.node), begun + self.settings.within)
            .await;
        METRICS.probe_seconds.observe(begun.elapsed().as_secs_f64());
        let probed = match answer {
            Ok(_) => Probed::Answered,
            Err(error) => Probed::Failed(error.to_string()),
        };
        let result = if probed == Probed::Answered {
            "answered"
        } else {
            "failed"
        };
        METRICS.probes.with_label_values(&[result]).inc();
        let mut uptime = self.uptime.lock();
        uptime.note(at, probed);
        for (name, within) in [
            ("1h", crate::alerting::uptime::HOUR),
            ("24h", crate::alerting::uptime::DAY),
        ] {
            let share = uptime.share(at, within).unwrap_or(1.0);
            METRICS.uptime.with_label_values(&[name]).set(share);
        }
    }
}
