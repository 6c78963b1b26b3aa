//! What commands do to the cache.

use super::claims::{CLAIMS_MAX, Claim, Fetch, Missed, Why};
use super::index::Slot;
use super::{CacheChange, CacheEffect, CacheKey, ENTRY_BYTES, Entry, Index, Lifetime, Put, PutSource, Renew};
use crate::model::Millis;
use crate::state::{Effect, Outcome, Refused, RowKey, State};
use std::sync::Arc;

/// Entries that have ended that one tick drops at most.
pub(super) const ENDED_MAX: usize = 1_024;
/// Versions that one log entry may give: they are made of its index, so that none comes again after a restart.
const VERSION_BITS: u32 = 20;

impl Lifetime {
    fn from(self, now: Millis) -> (Millis, Millis) {
        let fresh_until = now.saturating_add_unsigned(self.fresh_ms);
        (fresh_until, fresh_until.saturating_add_unsigned(self.stale_ms))
    }
}

impl State {
    pub fn cache(&self) -> &Index {
        &self.cache
    }

    pub(in crate::state) fn cache_change(&mut self, change: CacheChange, effects: &mut Vec<Effect>) -> Outcome {
        match change {
            CacheChange::Put(put) => self.cache_put(put, effects),
            CacheChange::Renew(renew) => self.cache_renew(&renew, effects),
            CacheChange::Invalidate(at) => {
                if self.cache.remove(&at).is_some() {
                    self.forget_cached(&at);
                }
                self.drop_claim(&at);
                // a node may also hold that there is nothing
                effects.push(Effect::Cache(CacheEffect::Dropped(at)));
                Outcome::Done
            }
            CacheChange::Empty(namespace) => self.cache_empty(namespace, effects),
            CacheChange::Fetch(fetch) => self.cache_fetch(fetch),
            CacheChange::Missed(missed) => self.cache_missed(missed, effects),
            CacheChange::PutSource(put) => self.cache_put_source(*put, effects),
            CacheChange::Sweep(namespace) => {
                self.cache_sweep(&namespace);
                Outcome::Done
            }
        }
    }

    fn cache_put_source(&mut self, put: PutSource, effects: &mut Vec<Effect>) -> Outcome {
        let PutSource { put, sourced } = put;
        let at = put.at.clone();
        let outcome = self.cache_put(put, effects);
        if outcome == Outcome::Done {
            self.directory.take_source(&at, sourced, &mut self.changed);
        }
        outcome
    }

    fn cache_put(&mut self, put: Put, effects: &mut Vec<Effect>) -> Outcome {
        if put.claim.is_some_and(|claim| !self.has_claim(&put.at, claim)) {
            return Outcome::Claimed(false);
        }
        let (fresh_until, ends_at) = put.life.from(self.counters.log_time);
        let named = put.at.namespace.len() + put.at.key.len() + put.value.content_type.len();
        let entry = Arc::new(Entry {
            version: self.next_cache_version(),
            digest: put.digest,
            bytes: ENTRY_BYTES + (named + put.value.body.len()) as u64,
            put_at: self.counters.log_time,
            fresh_until,
            ends_at,
            validator: put.validator,
        });
        let value = Arc::new(put.value);
        let slot = Slot {
            entry: entry.clone(),
            value: Some(value.clone()),
        };
        self.drop_claim(&put.at);
        self.cache.set(&put.at, slot);
        self.forget_cached(&put.at);
        while let Some(surplus) = self.cache.surplus(&put.at, &put.limits) {
            self.cache_drop(&surplus, effects);
        }
        effects.push(Effect::Cache(CacheEffect::Put {
            at: put.at,
            entry,
            value,
            warm: put.warm,
        }));
        Outcome::Done
    }

    fn cache_renew(&mut self, renew: &Renew, effects: &mut Vec<Effect>) -> Outcome {
        let Renew {
            at,
            version,
            life,
            claim,
        } = renew;
        let known = self.cache.get(&at.namespace, &at.key).cloned();
        let known = known.filter(|slot| slot.entry.version == *version);
        let (true, Some(mut slot)) = (self.has_claim(at, *claim), known) else {
            return Outcome::Claimed(false);
        };
        let (fresh_until, ends_at) = life.from(self.counters.log_time);
        let entry = Arc::new(Entry {
            put_at: self.counters.log_time,
            fresh_until,
            ends_at,
            ..(*slot.entry).clone()
        });
        slot.entry = entry.clone();
        self.drop_claim(at);
        effects.push(Effect::Cache(CacheEffect::Renewed { at: at.clone(), entry }));
        self.cache.set(at, slot);
        self.changed.insert(entry_row(at));
        Outcome::Done
    }

    /// What is in force is no longer what the upstream said: it has to say it again, and not only that nothing is new.
    pub(in crate::state) fn cache_doubt(&mut self, at: &CacheKey, effects: &mut Vec<Effect>) {
        let known = self.cache.get(&at.namespace, &at.key).cloned();
        let Some(mut slot) = known.filter(|slot| slot.entry.validator.is_some()) else {
            return;
        };
        let entry = Arc::new(Entry {
            validator: None,
            ..(*slot.entry).clone()
        });
        slot.entry = entry.clone();
        effects.push(Effect::Cache(CacheEffect::Renewed { at: at.clone(), entry }));
        self.cache.set(at, slot);
        self.changed.insert(entry_row(at));
    }

    /// There are only so many claims that they can all go at once, as they must: nothing that was asked before may come in.
    fn cache_empty(&mut self, namespace: Arc<str>, effects: &mut Vec<Effect>) -> Outcome {
        let floor = self.next_cache_version();
        self.cache.leave_all(&namespace, floor);
        self.changed.insert(RowKey::Emptied(namespace.to_string()));
        for at in self.cache.claims.of(&namespace) {
            self.drop_claim(&at);
        }
        self.cache_sweep(&namespace);
        effects.push(Effect::Cache(CacheEffect::Emptied(namespace)));
        Outcome::Done
    }

    fn cache_sweep(&mut self, namespace: &Arc<str>) {
        let mut gone = Vec::new();
        if self.cache.leave(namespace, &mut gone) {
            self.changed.insert(RowKey::Emptied(namespace.to_string()));
        }
        gone.iter().for_each(|at| self.forget_cached(at));
    }

    /// A claim is had by who asks first, until it runs out or is answered; nobody gets one for what is fresh.
    fn cache_fetch(&mut self, fetch: Fetch) -> Outcome {
        let now = self.counters.log_time;
        if let Some(claim) = self.cache.claims.get(&fetch.at, now) {
            return Outcome::Claimed(claim.claim == fetch.claim && claim.missed.is_none());
        }
        let needed_until = now.saturating_add_unsigned(fetch.ahead_ms);
        let known = self.cache.get(&fetch.at.namespace, &fetch.at.key);
        if known.is_some_and(|slot| slot.entry.is_fresh(needed_until)) {
            return Outcome::Claimed(false);
        }
        if self.cache.claims.len() >= CLAIMS_MAX {
            return Outcome::Refused(Refused::FetchesFull(CLAIMS_MAX));
        }
        self.changed.insert(claim_row(&fetch.at));
        let claim = Claim {
            node: fetch.node,
            claim: fetch.claim,
            until: now.saturating_add_unsigned(fetch.for_ms),
            missed: None,
        };
        self.cache.claims.set(fetch.at, claim);
        Outcome::Claimed(true)
    }

    fn cache_missed(&mut self, missed: Missed, effects: &mut Vec<Effect>) -> Outcome {
        let Missed {
            at,
            claim,
            why,
            rest_ms,
        } = missed;
        if !self.has_claim(&at, claim) {
            return Outcome::Claimed(false);
        }
        if why == Why::Absent {
            self.cache_drop(&at, effects);
        }
        let until = self.counters.log_time.saturating_add_unsigned(rest_ms);
        if let Some(known) = self.cache.claims.remove(&at) {
            self.changed.insert(claim_row(&at));
            let missed = Some(why);
            self.cache.claims.set(at, Claim { until, missed, ..known });
        }
        Outcome::Done
    }

    /// Whether what was fetched under this claim may come in: nothing has changed the key since.
    fn has_claim(&self, at: &CacheKey, claim: u64) -> bool {
        let known = self.cache.claims.kept(at);
        known.is_some_and(|known| known.claim == claim && known.missed.is_none())
    }

    fn drop_claim(&mut self, at: &CacheKey) {
        if self.cache.claims.remove(at).is_some() {
            self.changed.insert(claim_row(at));
        }
    }

    pub(in crate::state) fn cache_drop(&mut self, at: &CacheKey, effects: &mut Vec<Effect>) {
        if self.cache.remove(at).is_some() {
            self.forget_cached(at);
            effects.push(Effect::Cache(CacheEffect::Dropped(at.clone())));
        }
    }

    /// What was there is no more, in the rows and in what the directory has from it.
    fn forget_cached(&mut self, at: &CacheKey) {
        self.directory.drop_source(at, &mut self.changed);
        self.changed.insert(entry_row(at));
        self.changed
            .insert(RowKey::CacheValue(at.namespace.to_string(), at.key.to_string()));
    }

    fn next_cache_version(&mut self) -> u64 {
        let first = self.applied << VERSION_BITS;
        self.cache.version = first.max(self.cache.version + 1);
        self.cache.version
    }

    /// What has ended goes, little by little: whoever reads looks at the end by itself.
    pub(in crate::state) fn end_cached(&mut self, effects: &mut Vec<Effect>) {
        let now = self.counters.log_time;
        for at in self.cache.ended(now, ENDED_MAX) {
            self.cache_drop(&at, effects);
        }
        for at in self.cache.claims.ended(now) {
            self.drop_claim(&at);
        }
        // whoever emptied a namespace may not have stayed to the end
        if let Some(namespace) = self.cache.first_leaving() {
            self.cache_sweep(&namespace);
        }
    }
}

fn entry_row(at: &CacheKey) -> RowKey {
    RowKey::Cache(at.namespace.to_string(), at.key.to_string())
}

fn claim_row(at: &CacheKey) -> RowKey {
    RowKey::Fetch(at.namespace.to_string(), at.key.to_string())
}
