//! Reading and changing what is cached: the local tier, then the replicated one.

use super::counts::{Counted, Counts, Tier};
use super::local::{Held, Kept, Loading, Local, Turn};
use super::settings::{Config, Namespace};
use crate::consensus::{Handle, ProposeError};
use crate::model::Millis;
use crate::state::cache::{CacheChange, CacheEffect, CacheKey, Digest, Entry, Lifetime, Put, Value, Warm};
use crate::state::{Command, RowKey, State};
use crate::storage::StorageError;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

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
    #[error("the value was not there in time")]
    TimedOut,
    #[error("the value cannot be read: {0}")]
    Unreadable(String),
}

/// A namespace for people.
#[derive(Clone, Debug, PartialEq)]
pub struct NamespaceStatus {
    pub settings: Namespace,
    pub entries: u64,
    pub bytes: u64,
    pub reads: Counted,
}

/// Both tiers on this node.
pub struct Cache {
    handle: Handle,
    config: Config,
    spaces: BTreeMap<String, Space>,
    local: Local,
}

struct Space {
    settings: Namespace,
    counts: Counts,
}

impl Cache {
    pub fn new(config: &Config, handle: Handle) -> Self {
        let spaces = config.namespaces.iter().map(|settings| {
            let space = Space {
                settings: settings.clone(),
                counts: Counts::new(&settings.name),
            };
            (settings.name.clone(), space)
        });
        Self {
            handle,
            spaces: spaces.collect(),
            local: Local::new(config),
            config: config.clone(),
        }
    }

    fn space(&self, namespace: &str) -> Result<&Space, CacheError> {
        let space = self.spaces.get(namespace);
        space.ok_or_else(|| CacheError::UnknownNamespace(namespace.to_owned()))
    }

    /// What is under a key; `None` when there is nothing. Before it says so it asks how far the log is: it may just have been put
    /// elsewhere.
    pub async fn get(&self, namespace: &str, key: &str, deadline: Instant) -> Result<Option<Found>, CacheError> {
        let space = self.space(namespace)?;
        let found = match self.held(namespace, key) {
            Some(kept) => Some(Found {
                kept,
                tier: Tier::Local,
            }),
            None => self.find(&CacheKey::new(namespace, key), deadline).await?,
        };
        space.counts.add(found.as_ref().map_or(Tier::Miss, |found| found.tier));
        Ok(found)
    }

    /// From the local tier, and nothing else.
    pub fn held(&self, namespace: &str, key: &str) -> Option<Kept> {
        let held = self.local.get(namespace, key, self.handle.log_time())?;
        held.kept
    }

    async fn find(&self, at: &CacheKey, deadline: Instant) -> Result<Option<Found>, CacheError> {
        if !self.is_known(at) {
            self.handle.linearizable(deadline).await?;
            if !self.is_known(at) {
                return Ok(None);
            }
        }
        let found = tokio::time::timeout_at(deadline.into(), self.replicated(at));
        found.await.unwrap_or(Err(CacheError::TimedOut))
    }

    fn is_known(&self, at: &CacheKey) -> bool {
        let now = self.handle.log_time();
        self.look(at).is_some_and(|(entry, _)| entry.is_fresh(now))
    }

    fn look(&self, at: &CacheKey) -> Option<(Arc<Entry>, Option<Arc<Value>>)> {
        self.handle.read(|state| {
            let slot = state.cache().get(&at.namespace, &at.key)?;
            Some((slot.entry.clone(), slot.value.clone()))
        })
    }

    /// One reader per key goes on to the state and the disk; the others wait for what it brings.
    async fn replicated(&self, at: &CacheKey) -> Result<Option<Found>, CacheError> {
        let now = self.handle.log_time();
        match self.local.turn(at, now).await {
            Turn::Held(Held { kept, .. }) => Ok(kept.map(|kept| Found {
                kept,
                tier: Tier::Local,
            })),
            Turn::Load(loading) => {
                let kept = self.read(at).await?;
                if let Some(kept) = &kept {
                    self.keep(loading, at, kept, now);
                }
                Ok(kept.map(|kept| Found {
                    kept,
                    tier: Tier::Replicated,
                }))
            }
        }
    }

    /// Into the local tier, while the state stands still and if this is what it has.
    fn keep(&self, loading: Loading<'_>, at: &CacheKey, kept: &Kept, now: Millis) {
        let held = self.local.held(Some(kept.clone()), now, kept.entry.fresh_until);
        self.handle.read(|state| {
            let slot = state.cache().get(&at.namespace, &at.key);
            if slot.is_some_and(|slot| slot.entry == kept.entry) {
                loading.keep(held);
            }
        });
    }

    /// The entry and its value as the state has them now.
    async fn read(&self, at: &CacheKey) -> Result<Option<Kept>, CacheError> {
        for _ in 0..READS_MAX {
            let now = self.handle.log_time();
            let Some((entry, value)) = self.look(at).filter(|(entry, _)| entry.is_fresh(now)) else {
                return Ok(None);
            };
            let value = match value {
                Some(value) => Some(value),
                None => self.from_disk(at, entry.version).await?,
            };
            if let Some(value) = value {
                return Ok(Some(Kept { entry, value }));
            }
            // It was changed between the look and the read: there is another one, or none.
        }
        Err(CacheError::TimedOut)
    }

    /// A value's row, if it is still of this version.
    async fn from_disk(&self, at: &CacheKey, version: u64) -> Result<Option<Arc<Value>>, CacheError> {
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

    /// Keeps a value; the log entry that did, and the value's digest.
    pub async fn put(
        &self,
        at: CacheKey,
        value: Value,
        life: impl FnOnce(Lifetime) -> Lifetime,
        deadline: Instant,
    ) -> Result<(u64, Digest), CacheError> {
        let settings = &self.space(&at.namespace)?.settings;
        let digest = value.digest();
        let put = Put {
            at,
            value,
            digest,
            life: life(settings.life()),
            validator: None,
            warm: Warm::WhereKnown,
            limits: settings.limits(&self.config),
            claim: None,
        };
        Ok((self.propose(CacheChange::Put(put), deadline).await?, digest))
    }

    pub async fn invalidate(&self, at: CacheKey, deadline: Instant) -> Result<u64, CacheError> {
        self.space(&at.namespace)?;
        self.propose(CacheChange::Invalidate(at), deadline).await
    }

    /// Invalidates all of a namespace.
    pub async fn empty(&self, namespace: &str, deadline: Instant) -> Result<u64, CacheError> {
        self.space(namespace)?;
        self.propose(CacheChange::Empty(namespace.into()), deadline).await
    }

    async fn propose(&self, change: CacheChange, deadline: Instant) -> Result<u64, CacheError> {
        let command = Command::Cache(Box::new(change));
        Ok(self.handle.propose(command, deadline).await?.index)
    }

    /// An entry of the log has changed something; to be told in the log's order, before the entry is answered.
    pub fn note(&self, effect: &CacheEffect) {
        self.local.note(effect, self.handle.log_time());
    }

    /// Another state has taken the place of this one.
    pub fn forget(&self) {
        self.local.clear();
    }

    pub fn local(&self) -> &Local {
        &self.local
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// All namespaces of the settings, by name.
    pub fn namespaces(&self) -> Vec<NamespaceStatus> {
        let sizes = self.handle.read(|state| {
            let names = self.spaces.keys();
            names.map(|name| state.cache().size_of(name)).collect::<Vec<_>>()
        });
        let each = self.spaces.values().zip(sizes);
        each.map(|(space, (entries, bytes))| NamespaceStatus {
            settings: space.settings.clone(),
            entries,
            bytes,
            reads: space.counts.read(),
        })
        .collect()
    }
}
