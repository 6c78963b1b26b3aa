//! Reading what is cached: the local tier, then the replicated one, then the upstream if there is one.

use super::counts::{Counts, Tier};
use super::fetch::{Fetched, IN_FLIGHT_MAX, Rest, Wanted};
use super::local::{Held, Kept, Loading, Local, Turn};
use super::pressure::Decision;
use super::settings::{Config, Namespace};
use super::source::Readers;
use super::upstream::{self, SetUpError, Upstream};
use crate::consensus::{Handle, ProposeError};
use crate::model::{Millis, NodeId};
use crate::net::{Outbound, Roots};
use crate::state::cache::{CacheKey, Entry, Value, Warm, Why};
use crate::state::{RowKey, State};
use crate::storage::StorageError;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// A value that is replaced again and again while it is read is read from disk so often at most.
const READS_MAX: usize = 16;

/// What a read found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    pub kept: Kept,
    pub tier: Tier,
}

/// Why a read or a change has no answer.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    #[error("no namespace has the name {0:?}")]
    UnknownNamespace(String),
    #[error(transparent)]
    NotProposed(#[from] ProposeError),
    /// Nothing is kept that could stand in for it, and nobody asks again before `rest` is over.
    #[error("the upstream gave nothing: {why}")]
    Upstream { why: Why, rest: Duration },
    /// The directory goes by the values of this namespace, and could not go by this one.
    #[error("the value cannot be gone by: {0}")]
    Unfit(String),
    #[error("the value was not there in time")]
    TimedOut,
    #[error("the value cannot be read: {0}")]
    Unreadable(String),
}

/// Both tiers on this node.
pub struct Cache {
    pub(super) node: NodeId,
    pub(super) handle: Handle,
    pub(super) config: Config,
    pub(super) spaces: BTreeMap<String, Arc<Space>>,
    pub(super) outbound: Outbound,
    pub(super) readers: Readers,
    pub(super) decision: Mutex<Option<Decision>>,
    pub(super) local: Local,
}

/// One namespace on this node.
pub(super) struct Space {
    pub settings: Namespace,
    pub upstream: Option<Upstream>,
    /// For questions to the upstream.
    pub turns: Arc<Semaphore>,
    pub rest: Mutex<Rest>,
    pub(super) counts: Counts,
}

impl Space {
    fn new(settings: &Namespace) -> Result<Self, SetUpError> {
        let upstream = settings.upstream.as_deref().map(Upstream::parse).transpose();
        let upstream = upstream.map_err(|source| SetUpError::Upstream {
            name: settings.name.clone(),
            source,
        })?;
        Ok(Self {
            upstream,
            turns: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
            rest: Mutex::default(),
            counts: Counts::new(&settings.name),
            settings: settings.clone(),
        })
    }
}

impl Cache {
    pub fn new(config: &Config, node: NodeId, handle: Handle, readers: Readers) -> Result<Self, SetUpError> {
        let mut spaces = BTreeMap::new();
        for settings in &config.namespaces {
            spaces.insert(settings.name.clone(), Arc::new(Space::new(settings)?));
        }
        let is_encrypted = |space: &&Arc<Space>| space.upstream.as_ref().is_some_and(Upstream::is_encrypted);
        let encrypted = spaces.values().find(is_encrypted);
        let encrypted = encrypted.map(|space| space.settings.name.as_str());
        Ok(Self {
            node,
            outbound: upstream::outbound(config, encrypted, Roots::of_machine)?,
            readers,
            decision: Mutex::default(),
            handle,
            spaces,
            local: Local::new(config),
            config: config.clone(),
        })
    }

    pub(super) fn space(&self, namespace: &str) -> Result<&Arc<Space>, CacheError> {
        let space = self.spaces.get(namespace);
        space.ok_or_else(|| CacheError::UnknownNamespace(namespace.to_owned()))
    }

    /// What is under a key; `None` when there is nothing. Before it says so it asks how far the log is: it may just have been put
    /// elsewhere.
    pub async fn get(
        self: &Arc<Self>,
        namespace: &str,
        key: &str,
        deadline: Instant,
    ) -> Result<Option<Found>, CacheError> {
        let space = self.space(namespace)?;
        let found = if let Some(held) = self.local.get(namespace, key, self.handle.log_time()) {
            Ok(local(held))
        } else {
            let at = CacheKey::new(namespace, key);
            let found = self.find(space, &at, deadline);
            let found = tokio::time::timeout_at(deadline.into(), found).await;
            found.unwrap_or(Err(CacheError::TimedOut))
        };
        let found = found.inspect_err(|_| space.counts.add(Tier::Miss))?;
        space.counts.add(found.as_ref().map_or(Tier::Miss, |found| found.tier));
        Ok(found)
    }

    async fn find(
        self: &Arc<Self>,
        space: &Arc<Space>,
        at: &CacheKey,
        deadline: Instant,
    ) -> Result<Option<Found>, CacheError> {
        if space.upstream.is_none() && !self.is_known(at) {
            self.handle.linearizable(deadline).await?;
            if !self.is_known(at) {
                return Ok(None);
            }
        }
        // One reader per key goes on to the state, the disk and the upstream; the others wait for what it brings.
        match self.local.turn(at, self.handle.log_time()).await {
            Turn::Held(held) => Ok(local(held)),
            Turn::Load(loading) => self.load(space, at, loading, deadline).await,
        }
    }

    fn is_known(&self, at: &CacheKey) -> bool {
        let now = self.handle.log_time();
        self.look(at).is_some_and(|(entry, _)| entry.is_fresh(now))
    }

    pub(super) fn look(&self, at: &CacheKey) -> Option<(Arc<Entry>, Option<Arc<Value>>)> {
        self.handle.read(|state| {
            let slot = state.cache().get(&at.namespace, &at.key)?;
            Some((slot.entry.clone(), slot.value.clone()))
        })
    }

    async fn load(
        self: &Arc<Self>,
        space: &Arc<Space>,
        at: &CacheKey,
        loading: Loading<'_>,
        deadline: Instant,
    ) -> Result<Option<Found>, CacheError> {
        loop {
            if let Some(kept) = self.read(at, Entry::is_fresh).await? {
                self.keep(loading, at, &kept);
                let tier = Tier::Replicated;
                return Ok(Some(Found { kept, tier }));
            }
            let wanted = Wanted {
                at: at.clone(),
                known: self.look(at).map(|(entry, _)| entry),
                ahead: Duration::ZERO,
                warm: Warm::WhereKnown,
            };
            match self.fetch(space, wanted, deadline).await {
                Fetched::Look => {}
                Fetched::Brought(kept) => {
                    self.keep(loading, at, &kept);
                    let tier = Tier::Miss;
                    return Ok(Some(Found { kept, tier }));
                }
                Fetched::Absent => {
                    self.keep_absent(loading, at);
                    return Ok(None);
                }
                Fetched::Failed(error) => return self.stale(at).await?.map(Some).ok_or(error),
            }
        }
    }

    /// What is past its time and may still be served.
    async fn stale(&self, at: &CacheKey) -> Result<Option<Found>, CacheError> {
        let kept = self.read(at, |entry, now| !entry.has_ended(now)).await?;
        Ok(kept.map(|kept| Found {
            kept,
            tier: Tier::Stale,
        }))
    }

    /// The upstream has nothing: it is not asked again for a moment, unless somebody puts something there.
    fn keep_absent(&self, loading: Loading<'_>, at: &CacheKey) {
        let now = self.handle.log_time();
        let rest = self.config.upstream_rest.0.as_millis() as u64;
        let held = self.local.held(None, now, now.saturating_add_unsigned(rest));
        self.handle.read(|state| {
            if state.cache().get(&at.namespace, &at.key).is_none() {
                loading.keep(held);
            }
        });
    }

    /// Into the local tier, while the state stands still and if this is what it has.
    fn keep(&self, loading: Loading<'_>, at: &CacheKey, kept: &Kept) {
        let now = self.handle.log_time();
        let held = self.local.held(Some(kept.clone()), now, kept.entry.fresh_until);
        self.handle.read(|state| {
            let slot = state.cache().get(&at.namespace, &at.key);
            if slot.is_some_and(|slot| slot.entry == kept.entry) {
                loading.keep(held);
            }
        });
    }

    /// The entry and its value as the state has them now, if the entry is good enough.
    async fn read(&self, at: &CacheKey, is_good: impl Fn(&Entry, Millis) -> bool) -> Result<Option<Kept>, CacheError> {
        for _ in 0..READS_MAX {
            let now = self.handle.log_time();
            let Some((entry, value)) = self.look(at).filter(|(entry, _)| is_good(entry, now)) else {
                return Ok(None);
            };
            let value = match value {
                Some(value) => Some(value),
                None => self.stored(at, entry.version).await?,
            };
            if let Some(value) = value {
                return Ok(Some(Kept { entry, value }));
            }
            // It was changed between the look and the read: there is another one, or none.
        }
        Err(CacheError::TimedOut)
    }

    /// A value's row, if it is still of this version.
    async fn stored(&self, at: &CacheKey, version: u64) -> Result<Option<Arc<Value>>, CacheError> {
        let store = self.handle.store();
        let key = RowKey::CacheValue(at.namespace.to_string(), at.key.to_string());
        let read = move || -> Result<Option<Value>, StorageError> {
            let Some(row) = store.get(&key)? else { return Ok(None) };
            let value = State::read_cached(&key, &row, version);
            value.map_err(|broken| StorageError::NotNow(broken.to_string()))
        };
        let read = tokio::task::spawn_blocking(read).await;
        let read = read.map_err(|gone| CacheError::Unreadable(gone.to_string()))?;
        let value = read.map_err(|error| CacheError::Unreadable(error.to_string()))?;
        Ok(value.map(Arc::new))
    }
}

fn local(held: Held) -> Option<Found> {
    let tier = Tier::Local;
    held.kept.map(|kept| Found { kept, tier })
}
