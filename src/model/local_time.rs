//! A date and a time of day as the clocks of a place show them, without a zone: the same words mean another instant elsewhere.

use super::Millis;
use crate::base::clock;
use serde::{Deserialize, Serialize};
use std::fmt;

/// To the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LocalTime {
    /// When clocks at UTC show it.
    at_utc: Millis,
}

/// Why a text is no local time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotLocal {
    #[error("is not a date and a time without zone or offset, like 2027-06-19T09:00:00")]
    Shape,
    #[error("is no date and time of any calendar")]
    Impossible,
}

impl LocalTime {
    /// Reads `2027-06-19T09:00:00`; the seconds may be left out.
    pub fn parse(text: &str) -> Result<Self, NotLocal> {
        let seconds = if has_shape(text, "0000-00-00T00:00") {
            ":00"
        } else if has_shape(text, "0000-00-00T00:00:00") {
            ""
        } else {
            return Err(NotLocal::Shape);
        };
        // a leap second is read as the one before it, and would not be shown back as it was given
        let at_utc = clock::parse_rfc3339(&format!("{text}{seconds}Z")).filter(|_| !text.ends_with(":60"));
        at_utc.map(|at_utc| Self { at_utc }).ok_or(NotLocal::Impossible)
    }

    /// The instant at which clocks show it that are so many seconds ahead of UTC.
    pub fn at(self, offset: i32) -> Millis {
        self.at_utc - Millis::from(offset) * 1_000
    }
}

/// Digits where `shape` has a `0`, else what stands there.
fn has_shape(text: &str, shape: &str) -> bool {
    let fits = |(byte, shown): (u8, u8)| match shown {
        b'0' => byte.is_ascii_digit(),
        other => byte == other,
    };
    text.len() == shape.len() && text.bytes().zip(shape.bytes()).all(fits)
}

impl fmt::Display for LocalTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(clock::rfc3339(self.at_utc).trim_end_matches(".000Z"))
    }
}

#[cfg(test)]
mod tests {
    use super::{LocalTime, NotLocal};

    fn check(text: &str, expected: Result<&str, NotLocal>) {
        let read = LocalTime::parse(text).map(|local| local.to_string());
        assert_eq!(read.as_deref(), expected.as_deref(), "{text}");
    }

    #[test]
    fn a_local_time_has_neither_zone_nor_offset() {
        check("2027-06-19T09:00:00", Ok("2027-06-19T09:00:00"));
        check("2027-06-19T09:00", Ok("2027-06-19T09:00:00"));
        check("2028-02-29T23:59:59", Ok("2028-02-29T23:59:59"));
        check("1969-12-31T00:00", Ok("1969-12-31T00:00:00"));
        for text in [
            "2027-06-19T09:00:00Z",
            "2027-06-19T09:00Z",
            "2027-06-19T09:00:00-04:00",
            "2027-06-19T09:00:00[Europe/Berlin]",
            "2027-06-19T09:00:00.5",
            "2027-06-19 09:00:00",
            "2027-06-19t09:00:00",
            "2027-06-19",
            "2027-6-19T9:00",
            "+002027-06-19T09:00",
            "09:00",
            "tomorrow",
            "",
            "２027-06-19T09:00",
        ] {
            check(text, Err(NotLocal::Shape));
        }
        for text in [
            "2027-02-29T09:00",
            "2027-06-31T09:00:00",
            "2027-13-01T09:00",
            "2027-00-10T09:00",
            "2027-06-19T24:00",
            "2027-06-19T09:60",
            "2027-06-19T09:00:60",
            "2027-06-19T23:59:61",
        ] {
            check(text, Err(NotLocal::Impossible));
        }
    }

    #[test]
    fn clocks_that_are_ahead_show_it_earlier() {
        let local = LocalTime::parse("1970-01-02T00:00").unwrap();
        assert_eq!(
            [0, 3_600, -3_600].map(|offset| local.at(offset)),
            [86_400_000, 82_800_000, 90_000_000]
        );
    }
}
