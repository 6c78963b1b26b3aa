//! The way back: receipts and presence of this node's sessions, merged per tick into one command each.

use super::Config;
use crate::base::clock;
use crate::consensus::{Handle, ProposeError};
use crate::gateway::{Gateway, Report};
use crate::model::{NodeId, PerPriority, Position, Retry};
use crate::state::Command;
use crate::state::command::{Presence, Promised, Receipts};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// A report waits this long for the log before it is put back and merged into the next.
const PROPOSE_WITHIN: Duration = Duration::from_secs(2);

/// Tells the log what the sessions did, until `stop` says so; then once more, so that a clean stop forgets nothing.
pub async fn report(
    config: Config,
    node: NodeId,
    incarnation: u64,
    handle: Handle,
    gateway: Arc<Gateway>,
    retry: Retry,
    mut stop: watch::Receiver<bool>,
) {
    let mut reporter = Reporter {
        node,
        incarnation,
        handle,
        gateway,
        retry,
        told: [0; 4],
        all: true,
    };
    let mut tick = tokio::time::interval(config.receipts_every.0);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            _ = stop.changed() => {}
        }
        reporter.round().await;
        if *stop.borrow() {
            return;
        }
    }
}

struct Reporter {
    node: NodeId,
    incarnation: u64,
    handle: Handle,
    gateway: Arc<Gateway>,
    /// How patiently receipts that were promised are waited for.
    retry: Retry,
    told: PerPriority<Position>,
    /// Presence starts with everybody: what the log knows of an earlier incarnation is forgotten.
    all: bool,
}

impl Reporter {
    async fn round(&mut self) {
        let report = self.gateway.take_report();
        if !self.has_receipts(&report) && report.came.is_empty() && report.went.is_empty() && !self.all {
            return;
        }
        let told = report.watermarks;
        match self.tell(&report).await {
            Ok(()) => {
                self.told = told;
                self.all = false;
            }
            Err(error) => {
                tracing::debug!(%error, "receipts wait for a leader");
                self.gateway.return_report(report);
            }
        }
    }

    /// A promise may come alone, after what it is for was told.
    fn has_receipts(&self, report: &Report) -> bool {
        !report.deltas.is_empty() || !report.promised.is_empty() || report.watermarks != self.told
    }

    /// Both commands are safe to repeat: bitmaps only grow, presence names its incarnation.
    async fn tell(&self, report: &Report) -> Result<(), ProposeError> {
        let deadline = clock::now() + PROPOSE_WITHIN;
        let Report {
            deltas,
            promised,
            watermarks,
            came,
            went,
        } = report;
        let presence = (self.all || !came.is_empty() || !went.is_empty()).then(|| {
            let came = if self.all { self.gateway.present() } else { came.clone() };
            Command::Presence(Presence {
                node: self.node,
                incarnation: self.incarnation,
                all: self.all,
                came,
                went: went.clone(),
            })
        });
        if let Some(presence) = presence {
            self.handle.propose(presence, deadline).await?;
        }
        if self.has_receipts(report) {
            let receipts = Receipts {
                node: self.node,
                deltas: deltas.clone(),
                promised: (!promised.is_empty()).then(|| Promised {
                    users: promised.clone(),
                    retry: self.retry,
                }),
                watermarks: *watermarks,
            };
            self.handle.propose(Command::Receipts(receipts), deadline).await?;
        }
        Ok(())
    }
}
