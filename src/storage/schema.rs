//! Every key on disk, on one page: one sled tree, a prefix byte, then big-endian parts, so that the order of keys on disk is
//! the order of [`RowKey`].
//!
//! | prefix | row | rest of the key |
//! |---|---|---|
//! | `00` | what the last batch carried (applied index and what consensus needs) | |
//! | `01` | counters | |
//! | `02` | node | node u64 |
//! | `03` | presence | node u64 |
//! | `04` | offline | chunk u32 |
//! | `05` | venue | id |
//! | `06` | wedding | id |
//! | `07` | segment | name |
//! | `08` | user | number u32 |
//! | `09` | preferences | number u32 |
//! | `0A` | member | kind u8, id, 00, number u32 |
//! | `0B` | journal | priority u8, first position u64 |
//! | `0C` | block | block u64 |
//! | `0D` | ledger | number u64 |
//! | `0E` | late ledger | number u64, order u64 |
//! | `0F` | idempotency keys | log index u64 |
//!
//! Texts in the middle of a key end with `00`; ids hold no such character (the API refuses control characters).

use crate::model::{PlaceKind, Priority};
use crate::state::RowKey;

/// The key of what the last batch carried.
pub const META: &[u8] = &[0x00];
/// The first byte of all rows of the journal.
pub const JOURNAL: u8 = 0x0B;
const LATE: u8 = 0x0E;

struct Key(Vec<u8>);

impl Key {
    fn new(prefix: u8) -> Self {
        Self(vec![prefix])
    }
    fn byte(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }
    fn short(mut self, value: u32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }
    fn long(mut self, value: u64) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }
    fn text(mut self, value: &str) -> Self {
        self.0.extend(value.as_bytes());
        self
    }
}

pub fn encode(key: &RowKey) -> Vec<u8> {
    let key = match key {
        RowKey::Counters => Key::new(0x01),
        RowKey::Node(node) => Key::new(0x02).long(*node),
        RowKey::Presence(node) => Key::new(0x03).long(*node),
        RowKey::Offline(chunk) => Key::new(0x04).short(*chunk),
        RowKey::Venue(id) => Key::new(0x05).text(id),
        RowKey::Wedding(id) => Key::new(0x06).text(id),
        RowKey::Segment(name) => Key::new(0x07).text(name),
        RowKey::User(number) => Key::new(0x08).short(*number),
        RowKey::Preferences(number) => Key::new(0x09).short(*number),
        RowKey::Member(kind, id, user) => Key::new(0x0A).byte(*kind as u8).text(id).byte(0).short(*user),
        RowKey::Journal(priority, first) => Key::new(JOURNAL).byte(*priority as u8).long(*first),
        RowKey::Block(block) => Key::new(0x0C).long(*block),
        RowKey::Ledger(number) => Key::new(0x0D).long(*number),
        RowKey::LedgerLate(number, order) => Key::new(LATE).long(*number).long(*order),
        RowKey::Keys(index) => Key::new(0x0F).long(*index),
    };
    key.0
}

/// The prefix of all late receipts of one broadcast.
pub fn late_of(number: u64) -> Vec<u8> {
    Key::new(LATE).long(number).0
}

/// `None` for bytes that no row has as its key.
pub fn decode(key: &[u8]) -> Option<RowKey> {
    let (prefix, rest) = key.split_first()?;
    Some(match prefix {
        0x01 => RowKey::Counters,
        0x02 => RowKey::Node(long(rest)?),
        0x03 => RowKey::Presence(long(rest)?),
        0x04 => RowKey::Offline(short(rest)?),
        0x05 => RowKey::Venue(text(rest)?),
        0x06 => RowKey::Wedding(text(rest)?),
        0x07 => RowKey::Segment(text(rest)?),
        0x08 => RowKey::User(short(rest)?),
        0x09 => RowKey::Preferences(short(rest)?),
        0x0A => {
            let (kind, rest) = rest.split_first()?;
            let kind = [PlaceKind::Wedding, PlaceKind::Venue]
                .into_iter()
                .find(|known| *known as u8 == *kind)?;
            let (id, user) = rest.split_at_checked(rest.len().checked_sub(5)?)?;
            RowKey::Member(kind, text(id)?, short(user.strip_prefix(&[0])?)?)
        }
        0x0B => {
            let (priority, first) = rest.split_first()?;
            RowKey::Journal(*Priority::ALL.get(usize::from(*priority))?, long(first)?)
        }
        0x0C => RowKey::Block(long(rest)?),
        0x0D => RowKey::Ledger(long(rest)?),
        0x0E => {
            let (number, order) = rest.split_at_checked(8)?;
            RowKey::LedgerLate(long(number)?, long(order)?)
        }
        0x0F => RowKey::Keys(long(rest)?),
        _ => return None,
    })
}

fn short(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_be_bytes)
}

fn long(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_be_bytes)
}

fn text(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};
    use crate::model::{PlaceKind, Priority};
    use crate::state::RowKey;
    use proptest::prelude::*;

    fn key() -> impl Strategy<Value = RowKey> {
        let id = "[a-z0-9-]{1,12}";
        prop_oneof![
            Just(RowKey::Counters),
            any::<u64>().prop_map(RowKey::Node),
            any::<u32>().prop_map(RowKey::Offline),
            id.prop_map(RowKey::Venue),
            id.prop_map(RowKey::Wedding),
            id.prop_map(RowKey::Segment),
            any::<u32>().prop_map(RowKey::User),
            (any::<bool>(), id, any::<u32>()).prop_map(|(wedding, id, user)| {
                RowKey::Member(if wedding { PlaceKind::Wedding } else { PlaceKind::Venue }, id, user)
            }),
            (0..4usize, any::<u64>()).prop_map(|(at, first)| RowKey::Journal(Priority::ALL[at], first)),
            any::<u64>().prop_map(RowKey::Block),
            (any::<u64>(), any::<u64>()).prop_map(|(number, order)| RowKey::LedgerLate(number, order)),
            any::<u64>().prop_map(RowKey::Keys),
        ]
    }

    proptest! {
        #[test]
        fn keys_survive_the_trip_in_order(a in key(), b in key()) {
            prop_assert_eq!(decode(&encode(&a)), Some(a.clone()));
            prop_assert_eq!(encode(&a).cmp(&encode(&b)), a.cmp(&b));
        }

        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..24)) {
            if let Some(key) = decode(&bytes) {
                prop_assert!(decode(&encode(&key)).is_some());
            }
        }
    }
}
