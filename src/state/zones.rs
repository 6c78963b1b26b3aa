//! The offsets of time zones, as the log has told them: apply reads the wall clock of a place from here and from nowhere else.
//!
//! Whoever proposes something that names a zone sends its table along in the same command, and the leader renews tables long
//! before they run out. A table is never forgotten, so a zone that one node has seen known stays known for all of them; there
//! are at most as many as the zone database has names, because the API takes no others.

use super::rows::RowKey;
use crate::model::Millis;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Seconds to add to UTC.
pub type Offset = i32;

/// What the clocks of one zone show from about now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneTable {
    /// IANA name, spelled as the database spells it.
    pub name: String,
    /// The offset before the first change.
    pub offset: Offset,
    /// From each instant on, this offset; in order.
    pub changes: Vec<(Millis, Offset)>,
    /// Changes after this instant are not in here: the last offset goes on until somebody knows better.
    pub until: Millis,
}

impl ZoneTable {
    /// The offset at an instant.
    pub fn offset_at(&self, at: Millis) -> Offset {
        let passed = self.changes.partition_point(|(from, _)| *from <= at);
        passed
            .checked_sub(1)
            .and_then(|last| self.changes.get(last))
            .map_or(self.offset, |(_, offset)| *offset)
    }

    /// The first change after an instant.
    pub fn next_change(&self, at: Millis) -> Option<Millis> {
        let passed = self.changes.partition_point(|(from, _)| *from <= at);
        self.changes.get(passed).map(|(from, _)| *from)
    }

    /// Whether both tables show the same clocks from `from` on, as far as both reach.
    pub fn agrees(&self, other: &Self, from: Millis) -> bool {
        let until = self.until.min(other.until);
        let ahead = |table: &'_ Self| -> Vec<(Millis, Offset)> {
            let changes = table.changes.iter().filter(|(at, _)| *at > from && *at <= until);
            changes.copied().collect()
        };
        self.offset_at(from) == other.offset_at(from) && ahead(self) == ahead(other)
    }
}

static UTC: ZoneTable = ZoneTable {
    name: String::new(),
    offset: 0,
    changes: Vec::new(),
    until: Millis::MAX,
};

/// Every table by its zone's name.
#[derive(Debug, Default)]
pub struct Zones {
    tables: BTreeMap<String, ZoneTable>,
}

impl Zones {
    pub fn get(&self, name: &str) -> Option<&ZoneTable> {
        self.tables.get(name)
    }

    /// A zone's table, or one that shows UTC.
    pub fn get_or_utc(&self, name: &str) -> &ZoneTable {
        self.get(name).unwrap_or(&UTC)
    }

    pub fn iter(&self) -> impl Iterator<Item = &ZoneTable> {
        self.tables.values()
    }

    pub(super) fn set(&mut self, table: ZoneTable) {
        self.tables.insert(table.name.clone(), table);
    }

    /// Replaces what was known of some zones.
    pub(super) fn replace(&mut self, tables: Vec<ZoneTable>, rows: &mut BTreeSet<RowKey>) {
        for table in tables {
            rows.insert(RowKey::Zone(table.name.clone()));
            self.set(table);
        }
    }

    /// Keeps what is known: tables that came along with a change only fill gaps. `true` when one did.
    pub(super) fn fill(&mut self, mut tables: Vec<ZoneTable>, rows: &mut BTreeSet<RowKey>) -> bool {
        tables.retain(|table| self.get(&table.name).is_none());
        let filled = !tables.is_empty();
        self.replace(tables, rows);
        filled
    }
}

#[cfg(test)]
mod tests {
    use super::{ZoneTable, Zones};
    use std::collections::BTreeSet;

    fn table(offset: i32, changes: &[(i64, i32)], until: i64) -> ZoneTable {
        ZoneTable {
            name: "Test/Zone".into(),
            offset,
            changes: changes.to_vec(),
            until,
        }
    }

    #[test]
    fn an_offset_holds_from_its_instant_on() {
        let table = table(3_600, &[(1_000, 7_200), (2_000, 3_600)], 3_000);
        for (at, offset) in [
            (-5, 3_600),
            (999, 3_600),
            (1_000, 7_200),
            (1_999, 7_200),
            (2_000, 3_600),
            (9_000, 3_600),
        ] {
            assert_eq!(table.offset_at(at), offset, "at {at}");
        }
        for (at, next) in [(0, Some(1_000)), (1_000, Some(2_000)), (2_000, None)] {
            assert_eq!(table.next_change(at), next, "at {at}");
        }
    }

    #[test]
    fn tables_agree_as_far_as_both_reach() {
        let known = table(3_600, &[(1_000, 7_200), (2_000, 3_600)], 2_500);
        let check = |other: ZoneTable, from: i64, expected: bool| {
            assert_eq!(known.agrees(&other, from), expected, "{other:?} from {from}");
        };
        // a later table starts behind the first change and reaches further
        check(table(7_200, &[(2_000, 3_600), (4_000, 7_200)], 5_000), 1_500, true);
        check(table(7_200, &[(2_100, 3_600)], 5_000), 1_500, false);
        check(table(7_200, &[], 5_000), 1_500, false);
        check(table(3_600, &[(2_000, 3_600)], 5_000), 1_500, false);
        // what a short one does not reach is no disagreement
        check(table(7_200, &[], 1_900), 1_500, true);
    }

    #[test]
    fn what_is_known_is_replaced_only_on_purpose() {
        let (mut zones, mut rows) = (Zones::default(), BTreeSet::new());
        assert!(zones.fill(vec![table(1, &[], 1)], &mut rows));
        assert_eq!(std::mem::take(&mut rows).len(), 1);
        assert!(!zones.fill(vec![table(2, &[], 2)], &mut rows));
        assert_eq!((zones.get("Test/Zone").unwrap().offset, rows.len()), (1, 0));
        zones.replace(vec![table(3, &[], 0)], &mut rows);
        assert_eq!(rows.len(), 1);
        assert_eq!(zones.iter().map(|table| table.offset).collect::<Vec<_>>(), [3]);
    }
}
