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
//! | `0A` | member | kind u8, id, number u32 |
//! | `0B` | scheduled | number u64 |
//! | `0C` | where a scheduled one stands | number u64 |
//! | `0D` | pinned | position u64 |
//! | `0E` | cancelled | number u64 |
//! | `0F` | journal | priority u8, first position u64 |
//! | `10` | block | block u64 |
//! | `11` | ledger | position u64 |
//! | `12` | late ledger | position u64, order u64 |
//! | `13` | idempotency keys | log index u64 |
//! | `14` | zone | name |
//! | `15` | token | id |
//! | `16` | rate of a sender | sender |
//! | `17` | audit | number u64 |
//! | `18` | call of an output | call u64 |
//! | `19` | cached: what is known of it | namespace, key |
//! | `1A` | cached: the value | namespace, key |
//! | `1B` | cached: who is fetching it | namespace, key |
//! | `1C` | cached: what the directory has from it | namespace, key |
//! | `1D` | cached: a namespace that was emptied | namespace |
//! | `1E` | alert | rule |
//! | `1F` | alerts that are over | |
//! | `FF` | there while a batch too large for one of sled's is being written | |
//!
//! Every text ends with `00 01`, and a `00` within it is written `00 FF`: so no key begins with another, whatever the ids, and
//! the parts of a large value stand right behind their row under [`part`] keys.

use crate::model::{PlaceKind, Priority};
use crate::state::RowKey;

/// The key of what the last batch carried.
pub const META: &[u8] = &[0x00];
/// A store with this key stands between two batches: it is not to be used.
pub const TORN: &[u8] = &[0xFF];
/// The first byte of all rows of the journal.
pub const JOURNAL: u8 = 0x0F;
pub const JOURNAL_KEY_BYTES: usize = 10;
const LATE: u8 = 0x12;
/// Behind a zero byte: the zero belongs to the text, or the text has ended.
const ESCAPED: u8 = 0xFF;
const END: u8 = 0x01;
/// Between a row's key and the number of a part of its value.
const PART: u8 = 0xFF;

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
        for byte in value.bytes() {
            self.0.push(byte);
            if byte == 0 {
                self.0.push(ESCAPED);
            }
        }
        self.0.extend([0, END]);
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
        RowKey::Member(kind, id, user) => Key::new(0x0A).byte(*kind as u8).text(id).short(*user),
        RowKey::Scheduled(number) => Key::new(0x0B).long(*number),
        RowKey::Moved(number) => Key::new(0x0C).long(*number),
        RowKey::Pinned(position) => Key::new(0x0D).long(*position),
        RowKey::Cancelled(number) => Key::new(0x0E).long(*number),
        RowKey::Journal(priority, first) => Key::new(JOURNAL).byte(*priority as u8).long(*first),
        RowKey::Block(block) => Key::new(0x10).long(*block),
        RowKey::Ledger(position) => Key::new(0x11).long(*position),
        RowKey::LedgerLate(position, order) => Key::new(LATE).long(*position).long(*order),
        RowKey::Keys(index) => Key::new(0x13).long(*index),
        RowKey::Zone(name) => Key::new(0x14).text(name),
        RowKey::Token(id) => Key::new(0x15).text(id),
        RowKey::Rate(sender) => Key::new(0x16).text(sender),
        RowKey::Audit(number) => Key::new(0x17).long(*number),
        RowKey::Call(call) => Key::new(0x18).long(*call),
        RowKey::Cache(namespace, key) => Key::new(0x19).text(namespace).text(key),
        RowKey::CacheValue(namespace, key) => Key::new(0x1A).text(namespace).text(key),
        RowKey::Fetch(namespace, key) => Key::new(0x1B).text(namespace).text(key),
        RowKey::Source(namespace, key) => Key::new(0x1C).text(namespace).text(key),
        RowKey::Emptied(namespace) => Key::new(0x1D).text(namespace),
        RowKey::Alert(rule) => Key::new(0x1E).text(rule),
        RowKey::AlertsPast => Key::new(0x1F),
    };
    key.0
}

/// The prefix of all late receipts of one broadcast.
pub fn late_of(position: u64) -> Vec<u8> {
    Key::new(LATE).long(position).0
}

/// The key of a part of a row's value: right behind the row, before any other.
pub fn part(key: &[u8], number: u32) -> Vec<u8> {
    let mut name = key.to_vec();
    name.push(PART);
    name.extend(number.to_be_bytes());
    name
}

/// The first key that can follow a row and all of its parts.
pub fn behind(key: &[u8]) -> Vec<u8> {
    let mut name = part(key, u32::MAX);
    name.push(0);
    name
}

/// The row's key if this is the key of a part. Only for keys whose row has a fixed length, like the journal's.
pub fn row_of_part(key: &[u8], row_bytes: usize) -> Option<&[u8]> {
    let (row, rest) = key.split_at_checked(row_bytes)?;
    (rest.len() == 5 && rest[0] == PART).then_some(row)
}

/// `None` for bytes that no row has as its key.
pub fn decode(key: &[u8]) -> Option<RowKey> {
    let (prefix, rest) = key.split_first()?;
    Some(match prefix {
        0x01 if rest.is_empty() => RowKey::Counters,
        0x02 => RowKey::Node(long(rest)?),
        0x03 => RowKey::Presence(long(rest)?),
        0x04 => RowKey::Offline(short(rest)?),
        0x05 => RowKey::Venue(only_text(rest)?),
        0x06 => RowKey::Wedding(only_text(rest)?),
        0x07 => RowKey::Segment(only_text(rest)?),
        0x08 => RowKey::User(short(rest)?),
        0x09 => RowKey::Preferences(short(rest)?),
        0x0A => {
            let (kind, rest) = rest.split_first()?;
            let kind = [PlaceKind::Wedding, PlaceKind::Venue]
                .into_iter()
                .find(|known| *known as u8 == *kind)?;
            let (id, user) = text(rest)?;
            RowKey::Member(kind, id, short(user)?)
        }
        0x0B => RowKey::Scheduled(long(rest)?),
        0x0C => RowKey::Moved(long(rest)?),
        0x0D => RowKey::Pinned(long(rest)?),
        0x0E => RowKey::Cancelled(long(rest)?),
        0x0F => {
            let (priority, first) = rest.split_first()?;
            RowKey::Journal(*Priority::ALL.get(usize::from(*priority))?, long(first)?)
        }
        0x10 => RowKey::Block(long(rest)?),
        0x11 => RowKey::Ledger(long(rest)?),
        0x12 => {
            let (position, order) = rest.split_at_checked(8)?;
            RowKey::LedgerLate(long(position)?, long(order)?)
        }
        0x13 => RowKey::Keys(long(rest)?),
        0x14 => RowKey::Zone(only_text(rest)?),
        0x15 => RowKey::Token(only_text(rest)?),
        0x16 => RowKey::Rate(only_text(rest)?),
        0x17 => RowKey::Audit(long(rest)?),
        0x18 => RowKey::Call(long(rest)?),
        0x19..=0x1C => {
            let (namespace, rest) = text(rest)?;
            let key = only_text(rest)?;
            match prefix {
                0x19 => RowKey::Cache(namespace, key),
                0x1A => RowKey::CacheValue(namespace, key),
                0x1B => RowKey::Fetch(namespace, key),
                _ => RowKey::Source(namespace, key),
            }
        }
        0x1D => RowKey::Emptied(only_text(rest)?),
        0x1E => RowKey::Alert(only_text(rest)?),
        0x1F if rest.is_empty() => RowKey::AlertsPast,
        _ => return None,
    })
}

fn short(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_be_bytes)
}

fn long(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_be_bytes)
}

/// The text at the front, and what follows it.
fn text(bytes: &[u8]) -> Option<(String, &[u8])> {
    let mut text = Vec::new();
    let mut rest = bytes;
    loop {
        let (byte, behind) = rest.split_first()?;
        rest = behind;
        if *byte == 0 {
            let (mark, behind) = rest.split_first()?;
            rest = behind;
            match *mark {
                ESCAPED => {}
                END => return Some((String::from_utf8(text).ok()?, rest)),
                _ => return None,
            }
        }
        text.push(*byte);
    }
}

fn only_text(bytes: &[u8]) -> Option<String> {
    text(bytes).and_then(|(text, rest)| rest.is_empty().then_some(text))
}

#[cfg(test)]
mod tests {
    use super::{behind, decode, encode, part};
    use crate::model::{PlaceKind, Priority};
    use crate::state::RowKey;
    use proptest::prelude::*;

    fn key() -> impl Strategy<Value = RowKey> {
        let id = "[a\\x00\\x01ü]{0,4}|[a-z0-9-]{1,12}";
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
            any::<u64>().prop_map(RowKey::Scheduled),
            any::<u64>().prop_map(RowKey::Moved),
            any::<u64>().prop_map(RowKey::Pinned),
            any::<u64>().prop_map(RowKey::Cancelled),
            (0..4usize, any::<u64>()).prop_map(|(at, first)| RowKey::Journal(Priority::ALL[at], first)),
            any::<u64>().prop_map(RowKey::Block),
            (any::<u64>(), any::<u64>()).prop_map(|(number, order)| RowKey::LedgerLate(number, order)),
            any::<u64>().prop_map(RowKey::Keys),
            id.prop_map(RowKey::Zone),
            id.prop_map(RowKey::Token),
            id.prop_map(RowKey::Rate),
            any::<u64>().prop_map(RowKey::Audit),
            any::<u64>().prop_map(RowKey::Call),
            (id, id).prop_map(|(namespace, key)| RowKey::Cache(namespace, key)),
            (id, id).prop_map(|(namespace, key)| RowKey::CacheValue(namespace, key)),
            (id, id).prop_map(|(namespace, key)| RowKey::Fetch(namespace, key)),
            (id, id).prop_map(|(namespace, key)| RowKey::Source(namespace, key)),
            id.prop_map(RowKey::Emptied),
            id.prop_map(RowKey::Alert),
            Just(RowKey::AlertsPast),
        ]
    }

    proptest! {
        #[test]
        fn keys_survive_the_trip_in_order(a in key(), b in key()) {
            prop_assert_eq!(decode(&encode(&a)), Some(a.clone()));
            prop_assert_eq!(encode(&a).cmp(&encode(&b)), a.cmp(&b));
        }

        #[test]
        fn parts_stand_between_their_row_and_the_next(a in key(), b in key(), number: u32) {
            let (row, next) = (encode(&a), encode(&b));
            prop_assert_eq!(decode(&part(&row, number)), None);
            prop_assert!(part(&row, number) > row && part(&row, number) < behind(&row));
            if a < b {
                prop_assert!(behind(&row) <= next);
            }
        }

        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..24)) {
            if let Some(key) = decode(&bytes) {
                prop_assert_eq!(encode(&key), bytes);
            }
        }
    }
}
