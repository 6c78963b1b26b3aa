//! Quiet hours: whether somebody has them now, and when they end.
//!
//! One rule decides everything: it is quiet while the clock on the wall shows a time from `start` on and before `end`; hours whose
//! `end` is not after `start` go over midnight. Quiet ends at the first instant that is not quiet. What follows at a daylight
//! saving change:
//! - an `end` that the clock jumps over is reached at the jump, and so is a `start`;
//! - hours that lie wholly inside of a jump do not happen that day, and neither does a pause that lies wholly inside of one:
//!   quiet then goes on;
//! - an `end` that the clock shows twice ends quiet the first time; once the clock has gone back, it shows quiet hours again, and
//!   what comes then waits for the second time.
//!
//! Equal `start` and `end` mean no quiet at all; the API refuses them.

use super::zones::ZoneTable;
use crate::model::Millis;
use crate::model::directory::TimeOfDay;

const DAY: Millis = 24 * 3_600_000;

/// Quiet hours without their zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hours {
    pub start: TimeOfDay,
    pub end: TimeOfDay,
}

impl Hours {
    /// When the quiet at `at` ends; `None` when it is not quiet then.
    pub fn quiet_until(self, zone: &ZoneTable, at: Millis) -> Option<Millis> {
        let mut since = at;
        loop {
            let shown = shown_at(zone, since);
            if !self.are_at(shown) {
                return (since > at).then_some(since);
            }
            // As long as the offset holds, quiet goes on to `end`; behind a change the clock has to be read anew.
            let end = since + (self.end.millis() - shown).rem_euclid(DAY);
            match zone.next_change(since) {
                Some(change) if change <= end => since = change,
                _ => return Some(end),
            }
        }
    }

    /// Whether a clock that shows this, in milliseconds since midnight, shows quiet hours.
    fn are_at(self, shown: Millis) -> bool {
        let (start, end) = (self.start.millis(), self.end.millis());
        if start <= end {
            (start..end).contains(&shown)
        } else {
            shown >= start || shown < end
        }
    }
}

/// What the clocks of a zone show, in milliseconds since midnight.
fn shown_at(zone: &ZoneTable, at: Millis) -> Millis {
    (at + Millis::from(zone.offset_at(at)) * 1_000).rem_euclid(DAY)
}

#[cfg(test)]
mod tests {
    use super::{DAY, Hours};
    use crate::model::directory::TimeOfDay;
    use crate::state::zones::ZoneTable;

    const MINUTE: i64 = 60_000;

    fn hours(text: &str) -> Hours {
        let (start, end) = text.split_once('-').unwrap();
        let time = |text| TimeOfDay::parse(text).unwrap();
        Hours {
            start: time(start),
            end: time(end),
        }
    }

    /// Minutes since 1970 of `day HH:MM` in UTC, day 0 being the first.
    fn utc(text: &str) -> i64 {
        let (day, time) = text.split_once(' ').unwrap();
        day.parse::<i64>().unwrap() * DAY + TimeOfDay::parse(time).unwrap().millis()
    }

    /// A zone at UTC whose clocks go forward an hour on day 2 at 02:00 and back on day 4 at 03:00 (02:00 UTC).
    fn zone() -> ZoneTable {
        ZoneTable {
            name: "Test/Zone".into(),
            offset: 0,
            changes: vec![(utc("2 02:00"), 3_600), (utc("4 02:00"), 0)],
            until: utc("400 00:00"),
        }
    }

    #[track_caller]
    fn check(text: &str, at: &str, expected: Option<&str>) {
        assert_eq!(
            hours(text).quiet_until(&zone(), utc(at)),
            expected.map(utc),
            "{text} at {at}"
        );
    }

    #[test]
    fn hours_of_a_day_and_over_midnight() {
        check("09:00-17:00", "0 08:59", None);
        check("09:00-17:00", "0 09:00", Some("0 17:00"));
        check("09:00-17:00", "0 16:59", Some("0 17:00"));
        check("09:00-17:00", "0 17:00", None);
        check("22:00-07:00", "0 21:59", None);
        check("22:00-07:00", "0 22:00", Some("1 07:00"));
        check("22:00-07:00", "0 00:00", Some("0 07:00"));
        check("22:00-07:00", "0 07:00", None);
        check("00:00-23:59", "0 12:00", Some("0 23:59"));
        check("12:00-00:00", "0 23:59", Some("1 00:00"));
        check("08:00-08:00", "0 08:00", None);
        let late = Some(utc("0 07:00"));
        assert_eq!(
            hours("22:00-07:00").quiet_until(&zone(), utc("0 06:59") + MINUTE - 1),
            late
        );
    }

    #[test]
    fn nights_with_a_change_are_shorter_or_longer() {
        check("22:00-07:00", "1 22:00", Some("2 06:00"));
        check("22:00-07:00", "3 21:00", Some("4 07:00"));
    }

    #[test]
    fn a_jump_reaches_what_it_jumps_over() {
        check("22:00-02:30", "1 23:00", Some("2 02:00"));
        check("22:00-02:00", "1 23:00", Some("2 02:00"));
        check("02:30-07:00", "2 01:59", None);
        check("02:30-07:00", "2 02:00", Some("2 06:00"));
        check("02:15-02:45", "2 01:59", None);
        check("02:15-02:45", "2 02:00", None);
        // the pause from 02:15 to 02:45 does not happen on day 2
        check("02:45-02:15", "2 01:00", Some("3 01:15"));
    }

    #[test]
    fn an_hour_that_is_shown_twice_ends_quiet_twice() {
        check("22:00-02:30", "4 00:00", Some("4 01:30"));
        check("22:00-02:30", "4 01:45", None);
        check("22:00-02:30", "4 02:00", Some("4 02:30"));
        check("22:00-03:00", "4 00:00", Some("4 03:00"));
        check("22:00-02:00", "4 00:00", Some("4 01:00"));
        check("22:00-02:00", "4 02:00", None);
    }
}
