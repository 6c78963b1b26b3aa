//! Who leads, as this node knows it, told to everybody who watches.
//!
//! A leader that no majority has answered for a while, and a follower that has heard of no leader for as long, know of no
//! leader, whatever raft still believes: with pre-vote, a node that is cut off stays in its old term for as long as that lasts.

use super::Config;
use super::handle::Leadership;
use super::types::Raft;
use crate::base::clock;
use crate::metrics::METRICS;
use openraft::async_runtime::WatchReceiver;
use openraft::{Instant as _, ServerState};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// When this node last heard from a leader.
pub struct Heard(Mutex<Instant>);

impl Default for Heard {
    fn default() -> Self {
        Self(Mutex::new(clock::now()))
    }
}

impl Heard {
    pub fn note(&self) {
        *self.0.lock() = clock::now();
    }

    fn since(&self) -> Duration {
        clock::now().saturating_duration_since(*self.0.lock())
    }
}

/// Looks at raft and tells everybody.
pub struct Watch {
    raft: Raft,
    heard: Arc<Heard>,
    /// After this long without a word nobody leads.
    silence: Duration,
    every: Duration,
    /// The term that this node leads in, and since when it does: until a majority has answered, silence counts from then.
    leads: Option<(u64, Instant)>,
    told: watch::Sender<Leadership>,
}

impl Watch {
    pub fn new(raft: Raft, heard: Arc<Heard>, config: &Config, told: watch::Sender<Leadership>) -> Self {
        Self {
            raft,
            heard,
            silence: config.election_timeout_max.0 * 2,
            every: config.heartbeat.0,
            leads: None,
            told,
        }
    }

    fn look(&mut self) -> Leadership {
        let metrics = self.raft.metrics().borrow_watched().clone();
        let leads = metrics.state == ServerState::Leader;
        let same = self.leads.filter(|(term, _)| *term == metrics.current_term);
        self.leads = leads.then(|| same.unwrap_or((metrics.current_term, clock::now())));
        let alone = metrics.membership_config.voter_ids().count() <= 1;
        let silent = match (metrics.last_quorum_acked, self.leads) {
            (Some(at), _) => at.elapsed(),
            (None, Some((_, since))) => clock::now().saturating_duration_since(since),
            (None, None) => Duration::ZERO,
        };
        let acknowledged = silent < self.silence;
        let in_touch = if leads {
            alone || acknowledged
        } else {
            self.heard.since() < self.silence
        };
        let leader = metrics.current_leader.filter(|_| in_touch);
        Leadership {
            leader,
            term: metrics.current_term,
            is_leader: leads && leader == Some(metrics.id),
        }
    }

    fn tell(&self, now: Leadership) {
        self.told.send_if_modified(|before| {
            if *before == now {
                return false;
            }
            METRICS.is_leader.set(i64::from(now.is_leader));
            if now.leader.is_some() && now.leader != before.leader {
                METRICS.leader_changes.inc();
                tracing::info!(leader = now.leader, term = now.term, "leader");
            }
            *before = now;
            true
        });
    }

    /// Runs until openraft has stopped.
    pub async fn run(mut self) {
        let mut changes = self.raft.server_metrics();
        loop {
            let now = self.look();
            self.tell(now);
            let news = tokio::time::timeout(self.every, changes.changed()).await;
            if let Ok(Err(_)) = news {
                return self.tell(Leadership::default());
            }
        }
    }
}
