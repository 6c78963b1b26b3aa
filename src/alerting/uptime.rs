//! The share of probes that were answered in time: kept by the minute, for a day.

use crate::model::Millis;
use std::collections::VecDeque;

const MINUTE: Millis = 60_000;
pub const HOUR: Millis = 60 * MINUTE;
pub const DAY: Millis = 24 * HOUR;
/// Minutes that are kept: a day's, and the one that is under way.
const MINUTES_MAX: usize = 24 * 60 + 1;

/// What a probe came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probed {
    Answered,
    Failed(String),
}

#[derive(Clone, Copy, Debug)]
struct Minute {
    begins: Millis,
    answered: u64,
    all: u64,
}

/// What is known of the probes.
#[derive(Clone, Debug, Default)]
pub struct Uptime {
    since: Option<Millis>,
    /// The oldest first.
    minutes: VecDeque<Minute>,
    in_a_row: u64,
    last_failure: Option<(Millis, String)>,
}

impl Uptime {
    /// `at` may go back a little, as wall clocks do.
    pub fn note(&mut self, at: Millis, probed: Probed) {
        self.since.get_or_insert(at);
        let begins = at - at.rem_euclid(MINUTE);
        if self.minutes.back().is_some_and(|last| last.begins > begins + MINUTE) {
            // the clock was ahead: what it counted in minutes that are still to come says nothing about them
            self.minutes.retain(|minute| minute.begins <= begins);
        }
        if self.minutes.back().is_none_or(|last| last.begins < begins) {
            self.minutes.push_back(Minute {
                begins,
                answered: 0,
                all: 0,
            });
            let over = self.minutes.len().saturating_sub(MINUTES_MAX);
            self.minutes.drain(..over);
        }
        let minute = self.minutes.back_mut();
        let answered = u64::from(probed == Probed::Answered);
        minute.into_iter().for_each(|minute| {
            minute.all += 1;
            minute.answered += answered;
        });
        match probed {
            Probed::Answered => self.in_a_row = 0,
            Probed::Failed(why) => {
                self.in_a_row += 1;
                self.last_failure = Some((at, why));
            }
        }
    }

    /// When the first probe was made; `None`: nothing is measured yet.
    pub fn measured_since(&self) -> Option<Millis> {
        self.since
    }

    /// Probes of the minutes that touch the last `within`: those that were answered in time, and all.
    pub fn counts(&self, now: Millis, within: Millis) -> (u64, u64) {
        let since = now - within;
        let recent = self
            .minutes
            .iter()
            .rev()
            .take_while(|minute| minute.begins + MINUTE > since);
        recent.fold((0, 0), |(answered, all), minute| {
            (answered + minute.answered, all + minute.all)
        })
    }

    /// From 0 to 1; `None` where there was no probe.
    pub fn share(&self, now: Millis, within: Millis) -> Option<f64> {
        let (answered, all) = self.counts(now, within);
        (all > 0).then(|| answered as f64 / all as f64)
    }

    /// Probes in a row that failed, up to the last one.
    pub fn failures_in_a_row(&self) -> u64 {
        self.in_a_row
    }

    pub fn last_failure(&self) -> Option<&(Millis, String)> {
        self.last_failure.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::{DAY, HOUR, MINUTES_MAX, Probed, Uptime};

    const NOON: i64 = 1_800_000_000_000;

    fn failed() -> Probed {
        Probed::Failed("no leader".into())
    }

    #[test]
    fn nothing_is_measured_before_the_first_probe() {
        let uptime = Uptime::default();
        assert_eq!((uptime.measured_since(), uptime.share(NOON, DAY)), (None, None));
    }

    #[test]
    fn a_share_is_of_the_probes_within() {
        let mut uptime = Uptime::default();
        for second in 0..120 {
            let probed = if second == 30 { failed() } else { Probed::Answered };
            uptime.note(NOON - 2 * HOUR + second * 1_000, probed);
        }
        for second in 0..60 {
            let probed = if second < 15 { failed() } else { Probed::Answered };
            uptime.note(NOON + second * 1_000, probed);
        }
        let now = NOON + 60_000;
        assert_eq!(uptime.counts(now, HOUR), (45, 60));
        assert_eq!(uptime.counts(now, DAY), (45 + 119, 180));
        assert_eq!(uptime.share(now, HOUR), Some(0.75));
        assert_eq!(
            uptime.share(now + 2 * DAY, DAY),
            None,
            "nothing was probed within a day"
        );
        assert_eq!(uptime.measured_since(), Some(NOON - 2 * HOUR));
    }

    #[test]
    fn failures_in_a_row_end_with_an_answer() {
        let mut uptime = Uptime::default();
        uptime.note(NOON, failed());
        uptime.note(NOON + 1, failed());
        assert_eq!(uptime.failures_in_a_row(), 2);
        uptime.note(NOON + 2, Probed::Answered);
        assert_eq!(uptime.failures_in_a_row(), 0);
        assert_eq!(uptime.last_failure(), Some(&(NOON + 1, "no leader".to_owned())));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut uptime = Uptime::default();
        for minute in 0..5_000 {
            uptime.note(NOON + minute * 60_000, Probed::Answered);
        }
        assert_eq!(uptime.minutes.len(), MINUTES_MAX);
        // the clock goes back: what was counted in times that are still to come says nothing
        uptime.note(NOON + 4_000 * 60_000, failed());
        assert_eq!(uptime.share(NOON + 4_000 * 60_000, HOUR), Some(61.0 / 62.0));
        assert_eq!(uptime.minutes.len(), MINUTES_MAX - 999);
    }
}
