//! Being asked to end: what was begun is left where it stands, and whoever asked still gets what was made put away.

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Heard from when this exists; what comes while nobody waits is kept.
pub struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    pub fn listen() -> Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).context("listen for SIGINT")?,
            terminate: signal(SignalKind::terminate()).context("listen for SIGTERM")?,
        })
    }

    /// What comes of the road, unless this process is asked to end first.
    pub async fn unless<T>(&mut self, road: impl Future<Output = T>) -> Result<T> {
        tokio::select! {
            done = road => Ok(done),
            _ = self.interrupt.recv() => bail!("interrupted"),
            _ = self.terminate.recv() => bail!("terminated"),
        }
    }
}
