//! A cursor: "scanned up to this position in each priority", of one epoch. Opaque to clients: `epoch.c.h.n.l`.

use super::{PerPriority, Position};
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Random per cluster history; compared for equality only.
    pub epoch: u32,
    pub positions: PerPriority<Position>,
}

impl Cursor {
    /// `None` when the text is not a cursor.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let epoch = u32::from_str_radix(parts.next()?, 16).ok()?;
        let mut positions = [0; 4];
        for position in &mut positions {
            *position = parts.next()?.parse().ok()?;
        }
        parts.next().is_none().then_some(Self { epoch, positions })
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [c, h, n, l] = self.positions;
        write!(f, "{:08x}.{c}.{h}.{n}.{l}", self.epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::Cursor;

    #[test]
    fn cursors_survive_the_trip_and_nothing_else_parses() {
        let cursor = Cursor {
            epoch: 0x00AB_CDEF,
            positions: [1, 0, u64::MAX, 7],
        };
        assert_eq!(Cursor::parse(&cursor.to_string()), Some(cursor));
        for bad in [
            "",
            "1.2.3.4",
            "1.2.3.4.5.6",
            "x.1.2.3.4",
            "1.-1.2.3.4",
            "1.1.2.3.99999999999999999999",
        ] {
            assert_eq!(Cursor::parse(bad), None, "{bad}");
        }
    }
}
