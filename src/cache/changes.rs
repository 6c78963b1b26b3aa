//! Changing what is cached, hearing of changes, and telling people how full it is.

use super::CacheError;
use super::counts::Counted;
use super::local::{Kept, Local};
use super::lookup::{Cache, Space};
use super::pressure::Decision;
use super::settings::{Config, Namespace};
use super::source::{self, SourceOf};
use crate::base::clock;
use crate::state::Command;
use crate::state::cache::{CacheChange, CacheEffect, CacheKey, Digest, Lifetime, Put, Value, Warm, Why};
use std::time::{Duration, Instant};

/// A namespace for people.
#[derive(Clone, Debug, PartialEq)]
pub struct NamespaceStatus {
    pub settings: Namespace,
    pub entries: u64,
    pub bytes: u64,
    pub reads: Counted,
    /// `None` where a namespace has no upstream.
    pub upstream: Option<UpstreamStatus>,
}

/// How this node found an upstream when it last asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum UpstreamStatus {
    /// Nothing speaks against asking it.
    Ready,
    /// It was out of reach, and is left alone for so long.
    Resting { why: Why, left: Duration },
}

impl Cache {
    /// From the local tier, and nothing else.
    pub fn held(&self, namespace: &str, key: &str) -> Option<Kept> {
        self.local.get(namespace, key, self.handle.log_time())?.kept
    }

    /// Keeps a value; the log entry that did, and the value's digest.
    pub async fn put(
        &self,
        at: CacheKey,
        value: Value,
        life: impl FnOnce(Lifetime) -> Lifetime,
        deadline: Instant,
    ) -> Result<(u64, Digest), CacheError> {
        let space = self.space(&at.namespace)?;
        let settings = &space.settings;
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
        let change = source::change(space, &self.readers, put, self.handle.log_time())?;
        Ok((self.propose(change, deadline).await?, digest))
    }

    pub async fn invalidate(&self, at: CacheKey, deadline: Instant) -> Result<u64, CacheError> {
        self.space(&at.namespace)?;
        self.propose(CacheChange::Invalidate(at), deadline).await
    }

    /// Invalidates all of a namespace. Nobody reads what was there once the first entry is applied; when this returns, no row of
    /// it is left, and nothing that the directory had from it.
    pub async fn empty(&self, namespace: &str, deadline: Instant) -> Result<u64, CacheError> {
        self.space(namespace)?;
        let mut index = self.propose(CacheChange::Empty(namespace.into()), deadline).await?;
        while self.handle.read(|state| state.cache().leaving(namespace)) > 0 {
            index = self.propose(CacheChange::Sweep(namespace.into()), deadline).await?;
        }
        Ok(index)
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

    /// How large the local tier may be, and why; `None` before the first look.
    pub fn decision(&self) -> Option<Decision> {
        self.decision.lock().clone()
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The namespace that the directory has something from.
    pub fn source_of(&self, of: SourceOf) -> Option<&str> {
        source::namespace_of(&self.config.namespaces, of)
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
            upstream: space.upstream.as_ref().map(|_| self.upstream_of(space)),
        })
        .collect()
    }

    fn upstream_of(&self, space: &Space) -> UpstreamStatus {
        match space.rests(clock::now(), self.config.upstream_rest.0) {
            None => UpstreamStatus::Ready,
            Some((why, left)) => UpstreamStatus::Resting { why, left },
        }
    }

    /// Reads of all namespaces since the node started.
    pub fn reads(&self) -> Counted {
        let each = self.spaces.values().map(|space| space.counts.read());
        each.fold(Counted::default(), |all, one| all.plus(&one))
    }
}
