//! What only the leader does, as loops that ask who leads: naming the history, giving up on lost nodes, moving log time on,
//! renewing the tables of zones.

use crate::base::clock;
use crate::consensus::Handle;
use crate::control::zones;
use crate::model::{NodeId, Retry};
use crate::state::Command;
use crate::state::command::{Found, NodeStarted, Tick};
use rand::Rng;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How often duties are looked at.
const EVERY: Duration = Duration::from_millis(500);
/// One duty's command waits this long.
const WITHIN: Duration = Duration::from_secs(2);
/// Log time moves on at least this often, so that expiry and retention go on in a quiet cluster.
const TICK_EVERY: Duration = Duration::from_secs(10);
/// How often the tables of zones are compared with the zone database. They last for months, and new ones come with what names them.
const ZONES_EVERY: Duration = Duration::from_secs(60);
/// So many ticks at least while a broadcast is kept: a short retention is kept to as well as a long one.
const TICKS_WHILE_KEPT: u32 = 4;

pub struct Duties {
    pub handle: Handle,
    pub node_lost_after: Duration,
    /// Broadcasts are kept this long.
    pub kept: Duration,
    /// A scheduled broadcast that is this late has been missed.
    pub missed_after: Duration,
    pub retry: Retry,
}

impl Duties {
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut tick = tokio::time::interval(EVERY);
        let mut absent: BTreeMap<NodeId, Instant> = BTreeMap::new();
        let mut ticked = clock::now();
        let mut zones_looked: Option<Instant> = None;
        let tick_every = TICK_EVERY.min(self.kept / TICKS_WHILE_KEPT);
        let mut leadership = self.handle.watch_leadership();
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = tokio::time::sleep(self.until_due()) => {}
                _ = leadership.changed() => {}
                _ = stop.changed() => return,
            }
            if !self.handle.leadership().is_leader {
                absent.clear();
                zones_looked = None;
                continue;
            }
            self.found().await;
            self.close_lost(&mut absent).await;
            if zones_looked.is_none_or(|at| at.elapsed() >= ZONES_EVERY) {
                zones_looked = Some(clock::now());
                self.renew_zones().await;
            }
            if ticked.elapsed() >= tick_every || self.until_due().is_zero() {
                ticked = clock::now();
                self.propose(Command::Tick(Tick {
                    kept_ms: self.kept.as_millis() as u64,
                    missed_after_ms: self.missed_after.as_millis() as u64,
                    retry: self.retry,
                }))
                .await;
            }
        }
    }

    /// How long until something is due by log time, as far as duties look ahead. A follower waits for its turn.
    fn until_due(&self) -> Duration {
        if !self.handle.leadership().is_leader {
            return EVERY;
        }
        let due = self.handle.read(crate::state::State::next_due);
        let wait = due.map(|due| due.saturating_sub(self.handle.log_time()).max(0));
        wait.map_or(EVERY, |wait| Duration::from_millis(wait.unsigned_abs()).min(EVERY))
    }

    async fn propose(&self, command: Command) {
        if let Err(error) = self.handle.propose(command, clock::now() + WITHIN).await {
            tracing::debug!(%error, "a duty waits for the next round");
        }
    }

    /// A new history gets its name before anything is published in it.
    async fn found(&self) {
        if self.handle.read(crate::state::State::epoch) == 0 {
            let (epoch, salt) = {
                let mut random = rand::rng();
                (random.random_range(1..=u32::MAX), random.random())
            };
            self.propose(Command::Found(Found { epoch, salt })).await;
        }
    }

    /// What the clocks of places will show is told long before it is needed.
    async fn renew_zones(&self) {
        let known = self.handle.read(|state| zones::known(state.directory()));
        let due = zones::due(&known, clock::wall());
        if !due.is_empty() {
            self.propose(Command::Zones(due)).await;
        }
    }

    /// A node that has not been heard of for a while has no sessions: its people are counted as gone.
    async fn close_lost(&self, absent: &mut BTreeMap<NodeId, Instant>) {
        let heard = self.handle.nodes();
        for status in &heard {
            if status.lag.is_some() {
                absent.remove(&status.node);
                continue;
            }
            let since = *absent.entry(status.node).or_insert_with(clock::now);
            let known = self.handle.read(|state| {
                let connected = state.presence().connected_at(status.node) > 0;
                state
                    .nodes()
                    .get(status.node)
                    .filter(|_| connected)
                    .map(|record| record.incarnation)
            });
            if let Some(incarnation) = known
                && since.elapsed() >= self.node_lost_after
            {
                self.propose(Command::NodeLost {
                    node: status.node,
                    incarnation,
                })
                .await;
            }
        }
    }
}

/// Tells the log that this node has started, until the log has it.
pub async fn announce(handle: Handle, started: NodeStarted, mut stop: watch::Receiver<bool>) {
    loop {
        let told = handle
            .propose(Command::NodeStarted(started.clone()), clock::now() + WITHIN)
            .await;
        if told.is_ok() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = stop.changed() => return,
        }
    }
}
