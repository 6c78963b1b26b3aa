//! Finds the dead letters of what has expired, a block of broadcasts at a time, and has them taken in by the log. Only the leader
//! does, and whoever leads next goes on where it stopped: the blocks themselves say what is still to be done.

use super::history::History;
use crate::base::clock;
use crate::consensus::Handle;
use crate::state::Command;
use crate::state::blocks::Open;
use crate::state::dead::{self, There};
use std::time::Duration;
use tokio::sync::watch;

/// How often it is looked whether something is due.
const EVERY: Duration = Duration::from_millis(500);
/// Blocks of one round; they are asked about the same moment's sessions.
const BLOCKS_MAX: usize = 16;
/// The log has this long to take a block in.
const WITHIN: Duration = Duration::from_secs(5);
/// How often it is looked whether rows are on disk, and how often at most.
const STORED_LOOK: Duration = Duration::from_millis(50);
const STORED_LOOKS_MAX: u32 = 100;

pub async fn run(handle: Handle, history: History, mut stop: watch::Receiver<bool>) {
    let mut look = tokio::time::interval(EVERY);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let settle = Settle { handle, history };
    loop {
        tokio::select! {
            _ = stop.changed() => return,
            _ = look.tick() => {}
        }
        if settle.handle.leadership().is_leader && settle.due().is_some() {
            settle.round().await;
        }
    }
}

struct Settle {
    handle: Handle,
    history: History,
}

impl Settle {
    fn due(&self) -> Option<(u64, Open, u64)> {
        let now = self.handle.log_time();
        self.handle.read(|state| state.settle_due(now))
    }

    async fn round(&self) {
        // What is read from disk has to be there as it is now: a row that is behind would make dead letters of who has it.
        if !self.is_stored(self.handle.applied()).await {
            return;
        }
        let there = self.handle.read(|state| state.presence().there());
        for _ in 0..BLOCKS_MAX {
            let Some((block, open, seen)) = self.due() else { return };
            if !self.one(block, open, seen, &there).await {
                return;
            }
        }
    }

    async fn one(&self, block: u64, open: Open, seen: u64, there: &There) -> bool {
        let (history, there, now) = (self.history.clone(), there.clone(), self.handle.log_time());
        let plan = move || {
            let hots = history.whole_block(block)?;
            dead::plan(block, open, seen, &hots, &there, now)
        };
        let Ok(Some(settle)) = tokio::task::spawn_blocking(plan).await else {
            return false;
        };
        let command = Command::Settle(Box::new(settle));
        let proposed = self.handle.propose(command, clock::now() + WITHIN).await;
        proposed
            .inspect_err(|error| tracing::debug!(%error, "dead letters wait for the next round"))
            .is_ok()
    }

    async fn is_stored(&self, applied: u64) -> bool {
        for _ in 0..STORED_LOOKS_MAX {
            if self.handle.stored() >= applied {
                return true;
            }
            tokio::time::sleep(STORED_LOOK).await;
        }
        false
    }
}
