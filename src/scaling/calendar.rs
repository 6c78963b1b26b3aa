//! What the clock on a venue's wall shows, as far as rules ask: the month, and whether it is the weekend.

use crate::model::Millis;
use serde::{Deserialize, Serialize};

const DAY: Millis = 24 * 60 * 60_000;
const MINUTE: Millis = 60_000;

/// Days of the week, Monday first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Day {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

/// A minute of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Minute {
    pub day: Day,
    pub hour: u8,
    pub minute: u8,
}

impl Minute {
    fn of_week(self) -> Millis {
        (self.day as Millis * 24 + Millis::from(self.hour)) * 60 + Millis::from(self.minute)
    }

    pub fn is_valid(self) -> bool {
        self.hour < 24 && self.minute < 60
    }
}

/// What a clock shows: milliseconds since 1970, the zone's offset added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local(pub Millis);

impl Local {
    /// 1 to 12.
    pub fn month(self) -> u8 {
        // The civil calendar in eras of 400 years that start on 1 March, so that leap days come last.
        let days = self.0.div_euclid(DAY) + 719_468;
        let of_era = days.rem_euclid(146_097);
        let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let from_march = (5 * of_year + 2) / 153;
        u8::try_from((from_march + 2) % 12 + 1).unwrap_or(1)
    }

    /// From `from` on, and through all of the minute `to`; over the end of the week if `to` is before `from`.
    pub fn is_within(self, from: Minute, to: Minute) -> bool {
        // 1 January 1970 was a Thursday
        let of_week = (self.0.div_euclid(MINUTE) + 3 * 24 * 60).rem_euclid(7 * 24 * 60);
        let (from, to) = (from.of_week(), to.of_week());
        if from <= to {
            (from..=to).contains(&of_week)
        } else {
            of_week >= from || of_week <= to
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Day, Local, Minute};
    use crate::base::clock;

    fn local(text: &str) -> Local {
        Local(clock::parse_rfc3339(&format!("{text}Z")).unwrap())
    }

    #[test]
    fn months_are_those_of_the_calendar() {
        for (text, month) in [
            ("1970-01-01T00:00:00", 1),
            ("1969-12-31T23:59:59", 12),
            ("2000-02-29T12:00:00", 2),
            ("2000-03-01T00:00:00", 3),
            ("2027-06-19T15:30:00", 6),
            ("2027-12-31T23:59:59", 12),
            ("2028-02-29T23:59:59", 2),
            ("2100-02-28T23:59:59", 2),
            ("2100-03-01T00:00:00", 3),
        ] {
            assert_eq!(local(text).month(), month, "{text}");
        }
    }

    #[test]
    fn the_weekend_is_from_friday_afternoon_to_sunday_night() {
        let minute = |day, hour, minute| Minute { day, hour, minute };
        let (from, to) = (minute(Day::Friday, 14, 0), minute(Day::Sunday, 20, 59));
        for (text, expected) in [
            ("2027-06-18T13:59:59", false),
            ("2027-06-18T14:00:00", true),
            ("2027-06-19T03:00:00", true),
            ("2027-06-20T20:59:59", true),
            ("2027-06-20T21:00:00", false),
            ("2027-06-23T12:00:00", false),
        ] {
            assert_eq!(local(text).is_within(from, to), expected, "{text}");
            assert_eq!(
                local(text).is_within(to, from),
                !expected || text.ends_with("20:59:59") || text.ends_with("14:00:00"),
                "the rest of the week, {text}"
            );
        }
    }
}
