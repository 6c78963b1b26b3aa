//! What alerts are told in: how grave one is, and figures with their units.

use crate::base::size::{Size, Span};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The graver, the later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Warning,
    Error,
    Critical,
}

impl Severity {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }
}

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// From 0 to 1.
    Share,
    Milliseconds,
    Bytes,
    Count,
}

impl Unit {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Share => "share",
            Self::Milliseconds => "ms",
            Self::Bytes => "bytes",
            Self::Count => "count",
        }
    }

    /// For people: `93.1 %`, `612 ms`, `45.2 MiB`, `8001`.
    pub fn shown(self, value: f64) -> String {
        const KIB: f64 = 1_024.0;
        match self {
            Self::Share => format!("{} %", short(value * 100.0)),
            Self::Milliseconds if value.abs() >= 10_000.0 => format!("{} s", short(value / 1_000.0)),
            Self::Milliseconds => format!("{} ms", short(value)),
            Self::Bytes if value.abs() >= KIB * KIB * KIB => format!("{} GiB", short(value / KIB / KIB / KIB)),
            Self::Bytes if value.abs() >= KIB * KIB => format!("{} MiB", short(value / KIB / KIB)),
            Self::Bytes => format!("{} KiB", short(value / KIB)),
            Self::Count => short(value),
        }
    }

    /// Reads a text of this unit: `"1s"`, `"45 MiB"`; shares and counts are numbers, not texts.
    pub fn parse(self, text: &str) -> Option<f64> {
        match self {
            Self::Share | Self::Count => None,
            Self::Milliseconds => text.parse().ok().map(|Span(span)| millis(span)),
            Self::Bytes => text.parse().ok().map(|Size(bytes)| bytes as f64),
        }
    }
}

/// As figures of [`Unit::Milliseconds`] have it.
pub fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1_000.0
}

/// One decimal place, and none where it says nothing.
fn short(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or_else(|| text.clone(), str::to_owned)
}

/// On which side of its bound a figure is bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    Above,
    Below,
}

impl Side {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Above => "above",
            Self::Below => "below",
        }
    }

    /// The bound itself is not beyond.
    pub fn is_beyond(self, value: f64, bound: f64) -> bool {
        match self {
            Self::Above => value > bound,
            Self::Below => value < bound,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Side, Unit};

    #[test]
    fn figures_are_shown_in_their_unit() {
        let check = |unit: Unit, value: f64, expected: &str| assert_eq!(unit.shown(value), expected);
        check(Unit::Share, 0.0512, "5.1 %");
        check(Unit::Share, 1.0, "100 %");
        check(Unit::Milliseconds, 612.0, "612 ms");
        check(Unit::Milliseconds, 23_450.0, "23.4 s");
        check(Unit::Bytes, 47_185_920.0, "45 MiB");
        check(Unit::Bytes, 512.0, "0.5 KiB");
        check(Unit::Bytes, 1_610_612_736.0, "1.5 GiB");
        check(Unit::Count, 8_001.0, "8001");
    }

    #[test]
    fn texts_are_read_in_their_unit() {
        assert_eq!(Unit::Milliseconds.parse("1s"), Some(1_000.0));
        assert_eq!(Unit::Bytes.parse("1 KiB"), Some(1_024.0));
        assert_eq!(Unit::Bytes.parse("1s"), None);
        assert_eq!(Unit::Count.parse("1"), None);
    }

    #[test]
    fn the_bound_is_on_neither_side() {
        for side in [Side::Above, Side::Below] {
            assert!(!side.is_beyond(5.0, 5.0));
        }
        assert!(Side::Above.is_beyond(5.1, 5.0) && Side::Below.is_beyond(4.9, 5.0));
    }
}
