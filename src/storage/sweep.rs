//! What forgotten broadcasts leave on disk, removed in small batches.
//!
//! Which rows of the journal there are differs between nodes, so the state names only the position up to which everything is
//! gone. Until a row is removed nobody reads it; a node that stops in between begins again at the first row.

use super::schema;
use super::store::{StorageError, Store};
use crate::model::{Number, Position, Priority};
use crate::state::{Row, RowKey};

/// Rows removed at a time: a batch of sled holds up everybody else's.
const SWEPT_MAX: usize = 256;

/// What one go has removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swept {
    All,
    /// There may be more.
    Some,
}

impl Store {
    /// Removes some rows of broadcasts at or below `position`. `meta` is what the last batch carried, and stays.
    pub(super) fn sweep(&self, position: Position, meta: &[u8]) -> Result<Swept, StorageError> {
        let keys = self.forgotten_rows(position)?;
        let swept = if keys.len() < SWEPT_MAX {
            Swept::All
        } else {
            Swept::Some
        };
        if !keys.is_empty() {
            let rows: Vec<Row> = keys.into_iter().map(|key| Row { key, value: None }).collect();
            self.write(&rows, meta)?;
        }
        Ok(swept)
    }

    /// Rows of which everything is at or below `position`, [`SWEPT_MAX`] at most.
    fn forgotten_rows(&self, position: Position) -> Result<Vec<RowKey>, StorageError> {
        let mut found = Vec::new();
        for priority in Priority::ALL {
            let key = |first| RowKey::Journal(priority, first);
            let begun = position.saturating_add(1);
            let mut rows = self.keys(&key(0), &key(begun), SWEPT_MAX + 1 - found.len())?;
            // A row has ended where the next one begins; where the last one ends is not known here, so it stays.
            rows.pop();
            found.append(&mut rows);
        }
        let ledgers = (RowKey::Ledger(0), RowKey::Ledger(position));
        let late = (RowKey::LedgerLate(0, 0), RowKey::LedgerLate(position, Number::MAX));
        for (from, to) in [ledgers, late] {
            found.append(&mut self.keys(&from, &to, SWEPT_MAX - found.len())?);
        }
        Ok(found)
    }

    /// The keys of rows from one to another, `max` at most.
    fn keys(&self, from: &RowKey, to: &RowKey, max: usize) -> Result<Vec<RowKey>, StorageError> {
        let mut found = Vec::new();
        let mut keys = self.tree.range(schema::encode(from)..=schema::encode(to)).keys();
        while found.len() < max
            && let Some(key) = keys.next()
        {
            // Parts of a large value are no rows of their own; they go with theirs.
            found.extend(schema::decode(&key?));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::{SWEPT_MAX, Store, Swept};
    use crate::model::Priority::{High, Low};
    use crate::state::{Row, RowKey};
    use crate::storage::Config;
    use crate::storage::store::PART_BYTES;
    use std::collections::BTreeSet;

    fn filled(keys: impl IntoIterator<Item = RowKey>, bytes: usize) -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("s"), &Config::default()).unwrap();
        let row = |key| Row {
            key,
            value: Some(crate::storage::store::tests::noise(bytes)),
        };
        let rows: Vec<Row> = keys.into_iter().map(row).collect();
        store.write(&rows, b"meta").unwrap();
        (folder, store)
    }

    fn keys(store: &Store) -> BTreeSet<RowKey> {
        let mut keys = BTreeSet::new();
        let scan = store.scan(|key, _| {
            keys.insert(key);
            Ok(())
        });
        scan.unwrap();
        keys
    }

    #[test]
    fn what_ends_at_or_below_the_position_goes_with_its_parts_and_nothing_else() {
        let gone = [
            RowKey::Journal(High, 10),
            RowKey::Journal(High, 20),
            RowKey::Ledger(11),
            RowKey::Ledger(39),
            RowKey::LedgerLate(11, 7),
            RowKey::LedgerLate(39, u64::MAX),
        ];
        let kept = [
            RowKey::Counters,
            RowKey::Journal(High, 30), // may reach beyond 39
            RowKey::Journal(High, 41),
            RowKey::Journal(Low, 5), // the last of its priority
            RowKey::Block(0),
            RowKey::Ledger(40),
            RowKey::LedgerLate(40, 0),
            RowKey::Keys(3),
        ];
        let (_folder, store) = filled(gone.into_iter().chain(kept.clone()), 3 * PART_BYTES);
        assert_eq!(store.sweep(39, b"meta").unwrap(), Swept::All);
        assert_eq!(keys(&store), BTreeSet::from(kept.clone()));
        assert_eq!(store.tree.len(), 1 + 4 * kept.len());
        assert_eq!(store.meta().unwrap().unwrap(), "meta");
        // Where the next row begins right behind the position, the row before it has ended.
        store.sweep(40, b"meta").unwrap();
        let left = keys(&store);
        assert!(!left.contains(&RowKey::Journal(High, 30)) && left.contains(&RowKey::Journal(High, 41)));
    }

    #[test]
    fn a_go_is_bounded_and_the_next_one_goes_on() {
        let count = 3 * SWEPT_MAX as u64;
        let rows = (1..=count).flat_map(|number| [RowKey::Journal(Low, number), RowKey::Ledger(number)]);
        let (_folder, store) = filled(rows, 9);
        let mut left = keys(&store).len();
        let mut gos = 0;
        while store.sweep(count - 1, b"").unwrap() == Swept::Some {
            let now = keys(&store).len();
            assert_eq!(left - now, SWEPT_MAX);
            (left, gos) = (now, gos + 1);
        }
        assert_eq!(gos, 5);
        assert_eq!(
            keys(&store),
            BTreeSet::from([RowKey::Journal(Low, count), RowKey::Ledger(count)])
        );
        assert_eq!(store.sweep(count - 1, b"").unwrap(), Swept::All);
    }
}
