//! Who is asking the upstream for what. Only one node at a time asks for a key; the others wait for what it brings, or for word
//! that it got nothing. Invalidating a key takes the claim away, so that what was fetched before cannot come in after.

use super::{CacheKey, Index};
use crate::model::{Millis, NodeId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Claims that stand at the same time.
pub const CLAIMS_MAX: usize = 10_000;
/// Claims whose time is up that one tick forgets at most.
pub(super) const FORGOTTEN_MAX: usize = 1_024;

/// A node wants to ask the upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetch {
    pub at: CacheKey,
    pub node: NodeId,
    /// Random: a claim that is proposed twice is the same claim.
    pub claim: u64,
    /// Nobody else asks for so long.
    pub for_ms: u64,
    /// There is nothing to ask while what is kept stays fresh for longer than this.
    pub ahead_ms: u64,
}

/// A node has asked and has nothing to keep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missed {
    pub at: CacheKey,
    pub claim: u64,
    pub why: Why,
    /// Nobody asks again for so long.
    pub rest_ms: u64,
}

/// Why an upstream gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
pub enum Why {
    /// It has no such thing: what was kept is gone too.
    #[error("it has nothing under this key")]
    Absent,
    #[error("it cannot be reached")]
    Unreachable,
    #[error("it did not answer in time")]
    TooSlow,
    #[error("it answered with status {0}")]
    Status(u16),
    #[error("its answer is too large")]
    TooLarge,
    /// What is kept stays.
    #[error("its answer is not what the directory could go by")]
    Unfit,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Claim {
    pub node: NodeId,
    pub claim: u64,
    /// Until then nobody else asks.
    pub until: Millis,
    /// What it came to, when it came to nothing.
    pub missed: Option<Why>,
}

#[derive(Debug, Default)]
pub struct Claims {
    claims: BTreeMap<CacheKey, Claim>,
    ends: BTreeSet<(Millis, CacheKey)>,
}

impl Claims {
    /// The claim that stands now.
    pub fn get(&self, at: &CacheKey, now: Millis) -> Option<&Claim> {
        self.claims.get(at).filter(|claim| now < claim.until)
    }

    pub fn len(&self) -> usize {
        self.claims.len()
    }

    pub fn is_empty(&self) -> bool {
        self.claims.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&CacheKey, &Claim)> {
        self.claims.iter()
    }

    pub(super) fn kept(&self, at: &CacheKey) -> Option<&Claim> {
        self.claims.get(at)
    }

    pub(super) fn set(&mut self, at: CacheKey, claim: Claim) {
        self.remove(&at);
        self.ends.insert((claim.until, at.clone()));
        self.claims.insert(at, claim);
    }

    pub(super) fn remove(&mut self, at: &CacheKey) -> Option<Claim> {
        let claim = self.claims.remove(at)?;
        self.ends.remove(&(claim.until, at.clone()));
        Some(claim)
    }

    pub(super) fn of(&self, namespace: &Arc<str>) -> Vec<CacheKey> {
        let first = CacheKey {
            namespace: namespace.clone(),
            key: "".into(),
        };
        let from = self.claims.range(first..).map(|(at, _)| at);
        from.take_while(|at| at.namespace == *namespace).cloned().collect()
    }

    pub(super) fn ended(&self, now: Millis) -> Vec<CacheKey> {
        let over = self.ends.iter().take_while(|(until, _)| *until <= now);
        over.take(FORGOTTEN_MAX).map(|(_, at)| at.clone()).collect()
    }
}

impl Index {
    pub fn claims(&self) -> &Claims {
        &self.claims
    }
}
