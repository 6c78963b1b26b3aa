//! The index: every name with what is known of its value, by namespace; and what goes first when there is no room.

use super::leaving::Leaving;
use super::{CacheKey, Claims, Entry, Limits, Value};
use crate::model::Millis;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// One name.
#[derive(Clone, Debug)]
pub struct Slot {
    pub entry: Arc<Entry>,
    /// Until its row is on disk.
    pub value: Option<Arc<Value>>,
}

#[derive(Debug, Default)]
pub(super) struct Namespace {
    pub slots: BTreeMap<Arc<str>, Slot>,
    /// By when they end.
    ends: BTreeSet<(Millis, Arc<str>)>,
    pub bytes: u64,
}

/// What all nodes know of the cache.
#[derive(Debug, Default)]
pub struct Index {
    pub(super) namespaces: BTreeMap<Arc<str>, Namespace>,
    pub(super) claims: Claims,
    /// The last version that was given.
    pub(super) version: u64,
    /// Values that the last batch of rows carried, and their versions.
    pub(super) written: Vec<(CacheKey, u64)>,
    /// What was emptied and is not gone for good yet.
    pub(super) leaving: BTreeMap<Arc<str>, Leaving>,
    pub(super) entries: u64,
    pub(super) bytes: u64,
}

impl Index {
    pub fn get(&self, namespace: &str, key: &str) -> Option<&Slot> {
        self.namespaces.get(namespace)?.slots.get(key)
    }

    /// Entries and bytes of a namespace.
    pub fn size_of(&self, namespace: &str) -> (u64, u64) {
        let found = self.namespaces.get(namespace);
        found.map_or((0, 0), |found| (found.slots.len() as u64, found.bytes))
    }

    /// Entries and bytes of all namespaces.
    pub fn size(&self) -> (u64, u64) {
        (self.entries, self.bytes)
    }

    /// Values that are still in memory: those whose rows are not known to be on disk.
    pub fn values_in_memory(&self) -> usize {
        let slots = self.namespaces.values().flat_map(|names| names.slots.values());
        slots.filter(|slot| slot.value.is_some()).count()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str, &Slot)> {
        let all = self.namespaces.iter();
        all.flat_map(|(namespace, names)| {
            let slots = names.slots.iter();
            slots.map(move |(key, slot)| (&**namespace, &**key, slot))
        })
    }

    pub(super) fn set(&mut self, at: &CacheKey, slot: Slot) {
        self.remove(at);
        self.stay(at);
        self.bytes += slot.entry.bytes;
        self.entries += 1;
        let names = self.namespaces.entry(at.namespace.clone()).or_default();
        names.put(at.key.clone(), slot);
    }

    pub(super) fn remove(&mut self, at: &CacheKey) -> Option<Slot> {
        let names = self.namespaces.get_mut(&at.namespace)?;
        let slot = names.take(&at.key)?;
        if names.slots.is_empty() {
            self.namespaces.remove(&at.namespace);
        }
        self.bytes -= slot.entry.bytes;
        self.entries -= 1;
        Some(slot)
    }

    /// Names that have ended, `max` at most.
    pub(super) fn ended(&self, now: Millis, max: usize) -> Vec<CacheKey> {
        let all = self.namespaces.iter();
        let ended = all.flat_map(|(namespace, names)| {
            let over = names.ends.iter().take_while(|(end, _)| *end <= now);
            over.map(|(_, key)| CacheKey {
                namespace: namespace.clone(),
                key: key.clone(),
            })
        });
        ended.take(max).collect()
    }

    /// What has to go so that the limits hold after `new` has come: first from its own namespace, then from all. What has just
    /// come stays.
    pub(super) fn surplus(&self, new: &CacheKey, limits: &Limits) -> Option<CacheKey> {
        let (entries, bytes) = self.size_of(&new.namespace);
        if entries > limits.entries || bytes > limits.bytes {
            let names = self.namespaces.get(&new.namespace)?;
            return names.first_to_end(&new.namespace, new).map(|(_, at)| at);
        }
        if self.entries > limits.all_entries || self.bytes > limits.all_bytes {
            let all = self.namespaces.iter();
            let first = all.filter_map(|(namespace, names)| names.first_to_end(namespace, new));
            return first.min().map(|(_, at)| at);
        }
        None
    }
}

impl Namespace {
    pub fn put(&mut self, key: Arc<str>, slot: Slot) {
        self.ends.insert((slot.entry.ends_at, key.clone()));
        self.bytes += slot.entry.bytes;
        self.slots.insert(key, slot);
    }

    pub fn take(&mut self, key: &Arc<str>) -> Option<Slot> {
        let slot = self.slots.remove(key)?;
        self.ends.remove(&(slot.entry.ends_at, key.clone()));
        self.bytes -= slot.entry.bytes;
        Some(slot)
    }

    fn first_to_end(&self, namespace: &Arc<str>, but: &CacheKey) -> Option<(Millis, CacheKey)> {
        let is_other = |key: &Arc<str>| *key != but.key || *namespace != but.namespace;
        let (end, key) = self.ends.iter().find(|(_, key)| is_other(key))?;
        let at = CacheKey {
            namespace: namespace.clone(),
            key: key.clone(),
        };
        Some((*end, at))
    }
}
