//! The cache's rows: entries and values apart, so that a renewal writes no value, and a start reads none into memory.

use super::index::Slot;
use super::{CacheKey, Claim, Digest, Entry, Index, Value};
use crate::state::rows::{Broken, decode, encode};
use crate::state::{RowKey, State};
use bytes::Bytes;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

impl Index {
    pub(in crate::state) fn entry_row(&self, namespace: &str, key: &str) -> Option<Bytes> {
        let entry = self.get(namespace, key).map(|slot| &slot.entry);
        let entry = entry.or_else(|| self.leaving_entry(namespace, key));
        entry.map(|entry| encode(&**entry))
    }

    /// The value's version stands before it: whoever reads the row knows whether it is the one that the index means.
    pub(in crate::state) fn value_row(&self, namespace: &str, key: &str) -> Option<Bytes> {
        let slot = self.get(namespace, key)?;
        let value = slot.value.as_ref()?;
        Some(encode(&(slot.entry.version, &**value)))
    }

    pub(in crate::state) fn claim_row(&self, namespace: &str, key: &str) -> Option<Bytes> {
        self.claims.kept(&CacheKey::new(namespace, key)).map(encode)
    }

    pub(in crate::state) fn floor_row(&self, namespace: &str) -> Option<Bytes> {
        self.floor(namespace).map(|floor| encode(&floor))
    }

    pub(in crate::state) fn load_entry(&mut self, namespace: &str, key: &str, entry: Entry) {
        self.version = self.version.max(entry.version);
        let entry = Arc::new(entry);
        self.set(&CacheKey::new(namespace, key), Slot { entry, value: None });
    }

    pub(in crate::state) fn load_claim(&mut self, namespace: &str, key: &str, claim: Claim) {
        self.claims.set(CacheKey::new(namespace, key), claim);
    }

    /// Rows are about to be taken, so those taken before are on disk: one thread takes and writes them in turn.
    pub(in crate::state) fn forget_values<'a>(&mut self, taken: impl Iterator<Item = &'a RowKey>) {
        for (at, version) in std::mem::take(&mut self.written) {
            let names = self.namespaces.get_mut(&at.namespace);
            let slot = names.and_then(|names| names.slots.get_mut(&at.key));
            if let Some(slot) = slot.filter(|slot| slot.entry.version == version) {
                slot.value = None;
            }
        }
        for key in taken {
            if let RowKey::CacheValue(namespace, key) = key
                && let Some(slot) = self.get(namespace, key)
            {
                let version = slot.entry.version;
                self.written.push((CacheKey::new(namespace, key), version));
            }
        }
    }

    pub(in crate::state) fn hash_into(&self, hasher: &mut impl Hasher) {
        for (namespace, key, slot) in self.iter() {
            (namespace, key, &slot.entry).hash(hasher);
        }
        for (at, claim) in self.claims.iter() {
            (at, claim).hash(hasher);
        }
        for namespace in self.leaving.keys() {
            self.leaving(namespace).hash(hasher);
        }
    }
}

/// Reads an entry's row.
pub fn read_entry(key: &RowKey, value: &[u8]) -> Result<Entry, Broken> {
    decode(key, value)
}

/// Reads a value's row: its version, and the value.
pub fn read_value(key: &RowKey, value: &[u8]) -> Result<(u64, Value), Broken> {
    decode(key, value)
}

impl Value {
    /// What its `ETag` is made of.
    pub fn digest(&self) -> Digest {
        use sha2::Digest as _;
        let mut hasher = sha2::Sha256::new();
        hasher.update((self.content_type.len() as u64).to_le_bytes());
        hasher.update(self.content_type.as_bytes());
        hasher.update(&self.body);
        let whole: [u8; 32] = hasher.finalize().into();
        let mut half = Digest::default();
        half.iter_mut().zip(whole).for_each(|(to, from)| *to = from);
        half
    }
}

impl State {
    /// Reads a value's row, if it is of this version.
    pub fn read_cached(key: &RowKey, row: &[u8], version: u64) -> Result<Option<Value>, Broken> {
        let (found, value) = read_value(key, row)?;
        Ok((found == version).then_some(value))
    }
}
