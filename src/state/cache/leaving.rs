//! A namespace that was emptied: its entries are out of the index at once, however many there are, and leave little by little.
//!
//! What decides is one number: at a start, whatever has a version up to the floor is on its way out. So a reader never finds what
//! was there before, and no log entry has more than a slice of it to do.

use super::index::{Index, Namespace, Slot};
use super::{CacheKey, Entry};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Entries of a namespace that one log entry takes away for good.
pub const SLICE: usize = 1_024;

#[derive(Debug, Default)]
pub(super) struct Leaving {
    /// The last version that was given before the namespace was emptied.
    pub floor: u64,
    /// One for each time it was emptied before all of the last one were gone.
    parts: Vec<Namespace>,
}

impl Leaving {
    fn len(&self) -> usize {
        self.parts.iter().map(|part| part.slots.len()).sum()
    }

    /// The first key of all: nodes that have these in one part or in several go by the same order.
    fn pop(&mut self) -> Option<Arc<str>> {
        let first = |part: &Namespace| part.slots.first_key_value().map(|(key, _)| key.clone());
        let firsts = self.parts.iter().enumerate();
        let firsts = firsts.filter_map(|(at, part)| Some((first(part)?, at)));
        let (key, at) = firsts.min()?;
        self.parts.get_mut(at)?.take(&key);
        Some(key)
    }
}

impl Index {
    /// Entries of a namespace that it was emptied of, and that are not gone for good yet.
    pub fn leaving(&self, namespace: &str) -> usize {
        self.leaving.get(namespace).map_or(0, Leaving::len)
    }

    /// All of a namespace is out.
    pub(super) fn leave_all(&mut self, namespace: &Arc<str>, floor: u64) {
        let leaving = self.leaving.entry(namespace.clone()).or_default();
        leaving.floor = floor;
        if let Some(names) = self.namespaces.remove(namespace) {
            self.entries -= names.slots.len() as u64;
            self.bytes -= names.bytes;
            leaving.parts.push(names);
        }
    }

    /// Takes up to a slice of those away. `true`: that was all.
    pub(super) fn leave(&mut self, namespace: &Arc<str>, gone: &mut Vec<CacheKey>) -> bool {
        let Some(leaving) = self.leaving.get_mut(namespace) else {
            return false;
        };
        while gone.len() < SLICE
            && let Some(key) = leaving.pop()
        {
            let namespace = namespace.clone();
            gone.push(CacheKey { namespace, key });
        }
        leaving.parts.retain(|part| !part.slots.is_empty());
        let is_over = leaving.parts.is_empty();
        if is_over {
            self.leaving.remove(namespace);
        }
        is_over
    }

    /// The first namespace that something has to leave.
    pub(in crate::state) fn first_leaving(&self) -> Option<Arc<str>> {
        self.leaving.keys().next().cloned()
    }

    /// It comes in again: its row is this one from now on.
    pub(super) fn stay(&mut self, at: &CacheKey) {
        if let Some(leaving) = self.leaving.get_mut(&at.namespace) {
            leaving.parts.iter_mut().for_each(|part| drop(part.take(&at.key)));
        }
    }

    /// What its row says until it is gone.
    pub(super) fn leaving_entry(&self, namespace: &str, key: &str) -> Option<&Arc<Entry>> {
        let parts = &self.leaving.get(namespace)?.parts;
        let mut slots = parts.iter().filter_map(|part| part.slots.get(key));
        slots.next().map(|slot: &Slot| &slot.entry)
    }

    pub(super) fn floor(&self, namespace: &str) -> Option<u64> {
        self.leaving.get(namespace).map(|leaving| leaving.floor)
    }

    pub(in crate::state) fn load_floor(&mut self, namespace: &str, floor: u64) {
        self.version = self.version.max(floor);
        self.leaving.entry(namespace.into()).or_default().floor = floor;
    }

    /// A start: all rows are in. What was on its way out is so again.
    pub(in crate::state) fn loaded(&mut self) {
        let floors: BTreeMap<Arc<str>, u64> = self.leaving.iter().map(|(name, it)| (name.clone(), it.floor)).collect();
        for (namespace, floor) in floors {
            let slots = self
                .namespaces
                .get(&namespace)
                .into_iter()
                .flat_map(|names| &names.slots);
            let old = slots.filter(|(_, slot)| slot.entry.version <= floor);
            let old: Vec<Arc<str>> = old.map(|(key, _)| key.clone()).collect();
            let mut part = Namespace::default();
            for key in old {
                let namespace = namespace.clone();
                let at = CacheKey { namespace, key };
                if let Some(slot) = self.remove(&at) {
                    part.put(at.key, slot);
                }
            }
            if let Some(leaving) = self.leaving.get_mut(&namespace) {
                leaving.parts = vec![part];
            }
        }
    }
}
