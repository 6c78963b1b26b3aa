//! Idempotency keys: what was published under a key, for as long as the key is kept.

use super::command::Key;
use super::rows::{Broken, RowKey};
use crate::model::{Millis, Number};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, VecDeque};

/// What one key costs in memory, for the limit on the table.
pub const KEY_BYTES: u64 = 64;
/// Keys forgotten per log entry at most, so that no entry pays for a whole day.
const FORGOTTEN_MAX: usize = 1024;

#[derive(Clone, Copy, Debug)]
struct Entry {
    body: u64,
    number: Number,
    until: Millis,
    counted: bool,
}

/// One key as it stands in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Taken {
    fingerprint: [u8; 16],
    body: u64,
    number: Number,
    until: Millis,
    counted: bool,
}

#[derive(Debug, Default)]
pub struct Keys {
    /// Looked up, never walked: its order is not the same on all nodes.
    entries: HashMap<[u8; 16], Entry>,
    /// In the order they were taken; the node's own short-lived keys apart from the clients'.
    short: VecDeque<(Millis, [u8; 16])>,
    long: VecDeque<(Millis, [u8; 16])>,
    counted: u64,
    new: Vec<Taken>,
    /// Rows on disk and when the last key in each ends.
    rows: VecDeque<(u64, Millis)>,
}

pub enum Known {
    No,
    Same(Number),
    OtherBody,
}

impl Keys {
    pub fn look(&self, key: &Key) -> Known {
        match self.entries.get(&key.fingerprint) {
            None => Known::No,
            Some(entry) if entry.body == key.body => Known::Same(entry.number),
            Some(_) => Known::OtherBody,
        }
    }

    /// Would a client's key still fit?
    pub fn fits(&self, key: &Key) -> bool {
        key.table_bytes_max == 0 || (self.counted + 1) * KEY_BYTES <= key.table_bytes_max
    }

    pub fn take(&mut self, key: &Key, number: Number, at: Millis) {
        let taken = Taken {
            fingerprint: key.fingerprint,
            body: key.body,
            number,
            until: at.saturating_add_unsigned(key.kept_ms),
            counted: key.table_bytes_max != 0,
        };
        self.insert(taken);
        self.new.push(taken);
    }

    fn insert(&mut self, taken: Taken) {
        let Taken {
            fingerprint,
            body,
            number,
            until,
            counted,
        } = taken;
        self.entries.insert(
            fingerprint,
            Entry {
                body,
                number,
                until,
                counted,
            },
        );
        if counted {
            self.counted += 1;
            self.long.push_back((until, fingerprint));
        } else {
            self.short.push_back((until, fingerprint));
        }
    }

    /// Forgets keys that have ended by `at`, a bounded number of them; `gone` is told each row that nobody needs any more.
    pub fn forget(&mut self, at: Millis, mut gone: impl FnMut(RowKey)) {
        for queue in [&mut self.short, &mut self.long] {
            for _ in 0..FORGOTTEN_MAX {
                if queue.front().is_none_or(|(until, _)| *until > at) {
                    break;
                }
                let Some((until, fingerprint)) = queue.pop_front() else {
                    break;
                };
                if self.entries.get(&fingerprint).is_some_and(|entry| entry.until == until) {
                    let entry = self.entries.remove(&fingerprint);
                    self.counted -= u64::from(entry.is_some_and(|entry| entry.counted));
                }
            }
        }
        while let Some((index, until)) = self.rows.front() {
            if *until > at {
                break;
            }
            gone(RowKey::Keys(*index));
            self.rows.pop_front();
        }
    }

    pub fn changed(&self) -> bool {
        !self.new.is_empty()
    }

    /// The keys taken since the last row, as a row's value.
    pub fn take_row(&mut self, index: u64) -> Vec<u8> {
        let until = self.new.iter().map(|taken| taken.until).max().unwrap_or(0);
        self.rows.push_back((index, until));
        bincode::serialize(&std::mem::take(&mut self.new)).unwrap_or_default()
    }

    pub fn load_row(&mut self, index: u64, value: &[u8]) -> Result<(), Broken> {
        let list: Vec<Taken> = bincode::deserialize(value).map_err(|error| Broken {
            key: format!("{:?}", RowKey::Keys(index)),
            detail: error.to_string(),
        })?;
        self.rows
            .push_back((index, list.iter().map(|taken| taken.until).max().unwrap_or(0)));
        list.into_iter().for_each(|taken| self.insert(taken));
        Ok(())
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::{Key, Keys, Known};

    fn key(name: u8, body: u64, kept_ms: u64, table_bytes_max: u64) -> Key {
        Key {
            fingerprint: [name; 16],
            body,
            kept_ms,
            table_bytes_max,
        }
    }

    #[test]
    fn a_key_is_known_until_it_ends() {
        let mut keys = Keys::default();
        keys.take(&key(1, 7, 1000, 640), 42, 0);
        assert!(matches!(keys.look(&key(1, 7, 0, 0)), Known::Same(42)));
        assert!(matches!(keys.look(&key(1, 8, 0, 0)), Known::OtherBody));
        keys.forget(999, |_| {});
        assert!(matches!(keys.look(&key(1, 7, 0, 0)), Known::Same(42)));
        keys.forget(1000, |_| {});
        assert!(matches!(keys.look(&key(1, 7, 0, 0)), Known::No));
    }

    #[test]
    fn only_clients_keys_count_towards_the_limit() {
        let mut keys = Keys::default();
        keys.take(&key(1, 0, 60, 0), 1, 0);
        keys.take(&key(2, 0, 60, 64), 2, 0);
        assert!(!keys.fits(&key(3, 0, 60, 64)));
        assert!(keys.fits(&key(3, 0, 60, 128)));
        assert!(keys.fits(&key(3, 0, 60, 0)));
    }

    #[test]
    fn rows_bring_the_keys_back_and_go_when_all_have_ended() {
        let mut keys = Keys::default();
        keys.take(&key(1, 7, 1000, 640), 42, 0);
        keys.take(&key(2, 7, 60, 0), 43, 0);
        let row = keys.take_row(9);
        assert!(!keys.changed());
        let mut again = Keys::default();
        again.load_row(9, &row).unwrap();
        assert_eq!(again.len(), 2);
        let mut gone = Vec::new();
        again.forget(500, |row| gone.push(row));
        assert_eq!((again.len(), gone.len()), (1, 0));
        again.forget(1000, |row| gone.push(row));
        assert_eq!((again.len(), gone.len()), (0, 1));
    }
}
