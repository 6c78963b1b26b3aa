//! Bringing what is not kept, or not fresh any more: one node asks the upstream for a key, whoever else wants it waits for what
//! that brings. The claim on it stands in the log, so it is one in the whole cluster.

use super::CacheError;
use super::local::Kept;
use super::lookup::{Cache, Space};
use super::settings::millis;
use super::source;
use super::upstream::{Said, Upstream};
use crate::base::clock;
use crate::consensus::ProposeError;
use crate::state::cache::{CacheChange, CacheKey, Claim, Digest, Entry, Fetch, Missed, Put, Renew, Value, Warm, Why};
use crate::state::{Command, Outcome};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::OwnedSemaphorePermit;

/// Questions to one upstream at the same time; others wait for their turn.
pub(super) const IN_FLIGHT_MAX: usize = 16;
/// A claim outlasts its question by this much: what was brought goes through the log.
const MARGIN: Duration = Duration::from_secs(1);
/// The log has this long to take a claim, or what was brought.
const WITHIN: Duration = Duration::from_secs(2);

/// What is wanted of the upstream.
#[derive(Clone)]
pub(super) struct Wanted {
    pub at: CacheKey,
    /// What is kept, if anything is.
    pub known: Option<Arc<Entry>>,
    /// What stays fresh for longer than this is not asked for.
    pub ahead: Duration,
    pub warm: Warm,
}

/// What came of it.
pub(super) enum Fetched {
    /// The state may have it now.
    Look,
    Brought(Kept),
    /// The upstream has nothing under this key.
    Absent,
    Failed(CacheError),
}

/// The last time an upstream was out of reach, and why.
pub(super) type Rest = Option<(Instant, Why)>;

impl Space {
    /// Why the upstream is left alone for now, and for how long.
    pub(super) fn rests(&self, now: Instant, rest: Duration) -> Option<(Why, Duration)> {
        let (since, why) = (*self.rest.lock())?;
        let left = (since + rest).saturating_duration_since(now);
        (!left.is_zero()).then_some((why, left))
    }

    fn note(&self, said: &Said) {
        let failed = match said {
            Said::Nothing(why @ (Why::Unreachable | Why::TooSlow)) => Some((clock::now(), *why)),
            Said::Nothing(Why::Absent | Why::Status(_) | Why::TooLarge | Why::Unfit)
            | Said::Here { .. }
            | Said::Same => None,
        };
        *self.rest.lock() = failed;
    }
}

impl Cache {
    pub(super) async fn fetch(self: &Arc<Self>, space: &Arc<Space>, wanted: Wanted, deadline: Instant) -> Fetched {
        let Some(upstream) = space.upstream.clone() else {
            return Fetched::Absent;
        };
        if let Some((why, rest)) = space.rests(clock::now(), self.config.upstream_rest.0) {
            return Fetched::Failed(CacheError::Upstream { why, rest });
        }
        if let Some(claim) = self.claim_on(&wanted.at) {
            return self.wait_for(&claim, deadline).await;
        }
        let Ok(turn) = space.turns.clone().acquire_owned().await else {
            return Fetched::Failed(CacheError::TimedOut);
        };
        let claim = rand::random();
        match self.claim(&wanted, claim, deadline).await {
            Ok(true) => {
                // It goes on when whoever asked has gone: the claim wants an answer.
                let work = self.clone().bring(space.clone(), upstream, wanted, claim, turn);
                tokio::spawn(work)
                    .await
                    .unwrap_or(Fetched::Failed(CacheError::TimedOut))
            }
            Ok(false) => Fetched::Look,
            Err(error) => Fetched::Failed(error),
        }
    }

    fn claim_on(&self, at: &CacheKey) -> Option<Claim> {
        let now = self.handle.log_time();
        self.handle.read(|state| state.cache().claims().get(at, now).cloned())
    }

    async fn claim(&self, wanted: &Wanted, claim: u64, deadline: Instant) -> Result<bool, CacheError> {
        if self.handle.leadership().leader.is_none() {
            return Err(CacheError::NotProposed(ProposeError::NoLeader { retry_after: MARGIN }));
        }
        let fetch = Fetch {
            at: wanted.at.clone(),
            node: self.node,
            claim,
            for_ms: millis(self.config.upstream_timeout).saturating_add(MARGIN.as_millis() as u64),
            ahead_ms: wanted.ahead.as_millis() as u64,
        };
        match self
            .outcome(CacheChange::Fetch(fetch), deadline.min(clock::now() + WITHIN))
            .await?
        {
            Outcome::Claimed(is_ours) => Ok(is_ours),
            _ => Err(CacheError::NotProposed(ProposeError::Overloaded {
                retry_after: MARGIN,
            })),
        }
    }

    /// Somebody else asks, or has asked in vain a moment ago.
    async fn wait_for(&self, claim: &Claim, deadline: Instant) -> Fetched {
        let left = claim.until.saturating_sub(self.handle.log_time()).max(0).unsigned_abs();
        let left = Duration::from_millis(left);
        match claim.missed {
            Some(Why::Absent) => Fetched::Absent,
            Some(why) => Fetched::Failed(CacheError::Upstream { why, rest: left }),
            None => {
                let until = deadline.min(clock::now() + left);
                self.handle.wait_applied(self.handle.applied() + 1, until).await;
                Fetched::Look
            }
        }
    }

    /// Asks the upstream, and has what it says taken in by the log.
    async fn bring(
        self: Arc<Self>,
        space: Arc<Space>,
        upstream: Upstream,
        wanted: Wanted,
        claim: u64,
        _turn: OwnedSemaphorePermit,
    ) -> Fetched {
        let known = self.revalidated(&space, &wanted);
        let validator = known.as_ref().and_then(|entry| entry.validator.as_deref());
        let said = upstream.ask(&self.outbound, &wanted.at.key, validator).await;
        space.note(&said);
        match (said, known) {
            (Said::Here { value, validator }, _) => self.take_in(&space, wanted, value, validator, claim).await,
            (Said::Same, Some(known)) => self.renew(&space, wanted, known.version, claim).await,
            (Said::Same, None) => self.miss(wanted, Why::Status(304), claim).await,
            (Said::Nothing(why), _) => self.miss(wanted, why, claim).await,
        }
    }

    /// What the upstream may say to be still the same. What the directory should go by and does not, since it is from before the
    /// settings said so, has to come once more.
    fn revalidated(&self, space: &Space, wanted: &Wanted) -> Option<Arc<Entry>> {
        let is_gone_by = || self.handle.read(|state| state.directory().has_source(&wanted.at));
        let known = wanted.known.clone();
        known.filter(|_| space.settings.source_of.is_none() || is_gone_by())
    }

    async fn take_in(
        &self,
        space: &Space,
        wanted: Wanted,
        value: Value,
        validator: Option<String>,
        claim: u64,
    ) -> Fetched {
        let digest = value.digest();
        let put = Put {
            at: wanted.at.clone(),
            value: value.clone(),
            digest,
            life: space.settings.life(),
            validator,
            warm: wanted.warm,
            limits: space.settings.limits(&self.config),
            claim: Some(claim),
        };
        let Ok(change) = source::change(space, &self.readers, put, self.handle.log_time()) else {
            return self.miss(wanted, Why::Unfit, claim).await;
        };
        let value = Arc::new(value);
        match self.outcome(change, clock::now() + WITHIN).await {
            Ok(Outcome::Done) => {}
            // It was changed since the claim: what was brought may be from before.
            Ok(_) => return Fetched::Look,
            Err(error) => {
                // whoever asks gets it all the same: a full disk stops writing, not reading
                tracing::warn!(%error, namespace = &*wanted.at.namespace, "what an upstream gave is not kept");
                let entry = Arc::new(self.unkept(digest));
                return Fetched::Brought(Kept { entry, value });
            }
        }
        let entry = self.look(&wanted.at).map(|(entry, _)| entry);
        match entry.filter(|entry| entry.digest == digest) {
            Some(entry) => Fetched::Brought(Kept { entry, value }),
            None => Fetched::Look,
        }
    }

    /// What is known of a value that is in no tier: it is good for this one answer.
    fn unkept(&self, digest: Digest) -> Entry {
        let now = self.handle.log_time();
        Entry {
            version: 0,
            digest,
            bytes: 0,
            put_at: now,
            fresh_until: now,
            ends_at: now,
            validator: None,
        }
    }

    async fn renew(&self, space: &Space, wanted: Wanted, version: u64, claim: u64) -> Fetched {
        let renew = Renew {
            at: wanted.at,
            version,
            life: space.settings.life(),
            claim,
        };
        match self.outcome(CacheChange::Renew(renew), clock::now() + WITHIN).await {
            Ok(_) => Fetched::Look,
            Err(error) => Fetched::Failed(error),
        }
    }

    async fn miss(&self, wanted: Wanted, why: Why, claim: u64) -> Fetched {
        let rest = self.config.upstream_rest;
        let missed = Missed {
            at: wanted.at.clone(),
            claim,
            why,
            rest_ms: millis(rest),
        };
        tracing::info!(namespace = &*wanted.at.namespace, %why, "an upstream gave nothing");
        match (
            self.outcome(CacheChange::Missed(missed), clock::now() + WITHIN).await,
            why,
        ) {
            // It was invalidated meanwhile, which changes nothing about a failure, but may about what is not there.
            (Ok(Outcome::Claimed(false)), Why::Absent) => Fetched::Look,
            (Err(error), _) => Fetched::Failed(error),
            (Ok(_), Why::Absent) => Fetched::Absent,
            (Ok(_), why) => Fetched::Failed(CacheError::Upstream { why, rest: rest.0 }),
        }
    }

    pub(super) async fn outcome(&self, change: CacheChange, deadline: Instant) -> Result<Outcome, CacheError> {
        let command = Command::Cache(Box::new(change));
        Ok(self.handle.propose(command, deadline).await?.outcome)
    }
}
