//! A broadcast's public id: a ULID whose random part is the cluster's salt and the broadcast's number,
//! so that an id leads to its row without an index: 48 bits of log time, 16 of salt, 64 of number.

use super::{Millis, Number};
use serde::{Deserialize, Serialize};
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BroadcastId(u128);

impl BroadcastId {
    pub fn new(at: Millis, salt: u16, number: Number) -> Self {
        let at = u128::from(at.max(0) as u64 & 0xFFFF_FFFF_FFFF);
        Self(at << 80 | u128::from(salt) << 64 | u128::from(number))
    }

    pub const fn number(self) -> Number {
        self.0 as u64
    }

    pub const fn salt(self) -> u16 {
        (self.0 >> 64) as u16
    }

    /// Reads the 26 characters of a ULID; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 26 {
            return None;
        }
        ulid::Ulid::from_string(text).ok().map(|ulid| Self(ulid.0))
    }
}

impl fmt::Display for BroadcastId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut buffer = [0; ulid::ULID_LEN];
        f.write_str(ulid::Ulid(self.0).array_to_str(&mut buffer))
    }
}

#[cfg(test)]
mod tests {
    use super::BroadcastId;

    #[test]
    fn an_id_names_its_number() {
        let id = BroadcastId::new(1_800_000_000_000, 0xBEEF, 48_213);
        let text = id.to_string();
        assert_eq!(text.len(), 26);
        assert_eq!(BroadcastId::parse(&text), Some(id));
        assert_eq!((id.number(), id.salt()), (48_213, 0xBEEF));
        assert_eq!(BroadcastId::parse("no"), None);
        assert_eq!(BroadcastId::parse("ÜÜÜÜÜÜÜÜÜÜÜÜÜ"), None);
    }
}
