//! How often each sender has published of late. Only what was accepted counts, by log time; the caps travel in the command.
//!
//! A sender's count is exact: the times of what it sent within the last day. The row has just these, so a restart changes nothing.

use super::outcome::Refused;
use super::rows::RowKey;
use crate::model::{Millis, Rate};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

const HOUR: Millis = 3_600_000;
const DAY: Millis = 24 * HOUR;
/// All counts take at most this much memory. Beyond it, the sender who has been quiet for longest starts anew.
pub const RATES_BYTES_MAX: u64 = 32 << 20;
/// About what a sender costs besides its name and its times.
const SENDER_BYTES: u64 = 160;
/// Senders forgotten per log entry at most, so that no entry pays for a whole day.
const FORGOTTEN_MAX: usize = 256;

#[derive(Debug, Default)]
pub struct Rates {
    /// When each sender published within the last day, oldest first.
    times: BTreeMap<String, VecDeque<Millis>>,
    /// The same senders by their newest time: the first has been quiet for longest.
    newest: BTreeSet<(Millis, String)>,
    bytes: u64,
}

/// What is left of one cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub length: Millis,
    pub max: u32,
    pub left: u32,
    /// Until there is more again; zero while nothing is used.
    pub more_after: Millis,
}

impl Window {
    fn look(times: Option<&VecDeque<Millis>>, length: Millis, max: u32, at: Millis) -> Self {
        let since = at - length;
        let begin = times.map_or(0, |times| times.partition_point(|time| *time <= since));
        let used = times.map_or(0, |times| times.len() - begin);
        // with smaller caps than before more than one time has to pass
        let free = begin + used.saturating_sub(max.max(1) as usize);
        let next = times.and_then(|times| times.get(free));
        Self {
            length,
            max,
            left: max.saturating_sub(used as u32),
            more_after: next.map_or(0, |time| time + length - at),
        }
    }
}

impl Rates {
    /// What a sender has left within an hour and within a day.
    pub fn look(&self, rate: &Rate, at: Millis) -> [Window; 2] {
        let times = self.times.get(&rate.sender);
        [
            Window::look(times, HOUR, rate.hour_max, at),
            Window::look(times, DAY, rate.day_max, at),
        ]
    }

    /// Refused when either cap is reached.
    pub fn check(&self, rate: &Rate, at: Millis) -> Result<(), Refused> {
        let full = self.look(rate, at).into_iter().filter(|window| window.left == 0);
        match full.max_by_key(|window| window.more_after) {
            None => Ok(()),
            Some(window) => Err(Refused::RateLimited {
                max: window.max,
                within_ms: window.length as u64,
                // a cap of nothing never has room: then the whole length is the answer
                retry_after_ms: if window.more_after > 0 {
                    window.more_after
                } else {
                    window.length
                } as u64,
            }),
        }
    }

    /// Counts one more; `changed` is told each row that is new, other or gone.
    pub(super) fn count(&mut self, rate: &Rate, at: Millis, mut changed: impl FnMut(RowKey)) {
        let mut times = self.take(&rate.sender);
        while times.front().is_some_and(|time| *time <= at - DAY) {
            times.pop_front();
        }
        times.push_back(at);
        self.put(rate.sender.clone(), times);
        changed(RowKey::Rate(rate.sender.clone()));
        while self.bytes > RATES_BYTES_MAX
            && let Some((_, sender)) = self.newest.first().cloned()
        {
            self.take(&sender);
            changed(RowKey::Rate(sender));
        }
    }

    /// Forgets senders who have sent nothing for a day, a bounded number of them.
    pub(super) fn forget(&mut self, at: Millis, mut changed: impl FnMut(RowKey)) {
        for _ in 0..FORGOTTEN_MAX {
            let quiet = self.newest.first().filter(|(newest, _)| *newest <= at - DAY);
            let Some((_, sender)) = quiet.cloned() else {
                return;
            };
            self.take(&sender);
            changed(RowKey::Rate(sender));
        }
    }

    /// Forgets a user who has been erased.
    pub(super) fn erase(&mut self, user: &str, mut changed: impl FnMut(RowKey)) {
        let start = Rate::of_user(user);
        let own = self.times.range(start.clone()..).map(|(sender, _)| sender);
        let own: Vec<String> = own.take_while(|sender| sender.starts_with(&start)).cloned().collect();
        for sender in own {
            self.take(&sender);
            changed(RowKey::Rate(sender));
        }
    }

    fn take(&mut self, sender: &str) -> VecDeque<Millis> {
        let Some(times) = self.times.remove(sender) else {
            return VecDeque::new();
        };
        self.bytes -= cost(sender, &times);
        if let Some(newest) = times.back() {
            self.newest.remove(&(*newest, sender.to_owned()));
        }
        times
    }

    fn put(&mut self, sender: String, times: VecDeque<Millis>) {
        self.bytes += cost(&sender, &times);
        self.newest.extend(times.back().map(|newest| (*newest, sender.clone())));
        self.times.insert(sender, times);
    }

    /// A sender's row.
    pub(super) fn row(&self, sender: &str) -> Option<&VecDeque<Millis>> {
        self.times.get(sender)
    }

    pub(super) fn load(&mut self, sender: &str, times: VecDeque<Millis>) {
        self.take(sender);
        self.put(sender.to_owned(), times);
    }

    pub fn iter(&self) -> impl Iterator<Item = (&String, &VecDeque<Millis>)> {
        self.times.iter()
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

fn cost(sender: &str, times: &VecDeque<Millis>) -> u64 {
    SENDER_BYTES + 2 * sender.len() as u64 + 8 * times.len() as u64
}

#[cfg(test)]
mod tests {
    use super::{DAY, HOUR, RATES_BYTES_MAX, Rates};
    use crate::model::Rate;
    use crate::state::{Refused, RowKey};

    fn rate(sender: &str, hour_max: u32, day_max: u32) -> Rate {
        Rate {
            sender: sender.to_owned(),
            hour_max,
            day_max,
        }
    }

    /// Publishes at each of these minutes with caps of 3 an hour and 5 a day; what came of it, and how many minutes to wait.
    fn check(minutes: &[i64], expected: &[Option<i64>]) {
        let (rate, mut rates) = (rate("dj", 3, 5), Rates::default());
        let mut seen = Vec::new();
        for minute in minutes {
            let at = minute * 60_000;
            seen.push(match rates.check(&rate, at) {
                Ok(()) => {
                    rates.count(&rate, at, |_| {});
                    None
                }
                Err(Refused::RateLimited { retry_after_ms, .. }) => Some(retry_after_ms as i64 / 60_000),
                Err(other) => panic!("{other}"),
            });
        }
        assert_eq!(seen, expected, "{minutes:?}");
    }

    #[test]
    fn the_caps_hold_for_any_hour_and_any_day() {
        let ok = None;
        check(&[0, 10, 20, 30, 59, 60], &[ok, ok, ok, Some(30), Some(1), ok]);
        // what is refused does not count
        check(&[0, 0, 0, 0, 0, 60, 61], &[ok, ok, ok, Some(60), Some(60), ok, ok]);
        let day = 24 * 60;
        check(
            &[0, 1, 2, 100, 101, 102, 200, day - 1, day, day, day + 1],
            &[
                ok,
                ok,
                ok,
                ok,
                ok,
                Some(day - 102),
                Some(day - 200),
                Some(1),
                ok,
                Some(1),
                ok,
            ],
        );
    }

    #[test]
    fn senders_do_not_share_a_count() {
        let mut rates = Rates::default();
        rates.count(&rate("a", 1, 1), 5, |_| {});
        assert!(rates.check(&rate("a", 1, 1), 5).is_err());
        assert!(rates.check(&rate("b", 1, 1), 5).is_ok());
    }

    #[test]
    fn what_is_left_and_when_there_is_more_can_be_told() {
        let (rate, mut rates) = (rate("dj", 2, 4), Rates::default());
        let left = |rates: &Rates, at| rates.look(&rate, at).map(|window| (window.left, window.more_after));
        assert_eq!(left(&rates, 0), [(2, 0), (4, 0)]);
        rates.count(&rate, 1000, |_| {});
        assert_eq!(left(&rates, 1000), [(1, HOUR), (3, DAY)]);
        rates.count(&rate, 2000, |_| {});
        assert_eq!(left(&rates, 2000), [(0, HOUR - 1000), (2, DAY - 1000)]);
        assert_eq!(left(&rates, 1000 + HOUR), [(1, 1000), (2, DAY - HOUR)]);
    }

    #[test]
    fn smaller_caps_count_what_was_sent_under_larger_ones() {
        let (large, small, mut rates) = (rate("dj", 9, 9), rate("dj", 1, 9), Rates::default());
        for at in [0, 1000, 2000] {
            rates.count(&large, at, |_| {});
        }
        let refused = rates.check(&small, 3000).unwrap_err();
        let expected = Refused::RateLimited {
            max: 1,
            within_ms: HOUR as u64,
            retry_after_ms: (HOUR - 1000) as u64,
        };
        assert_eq!(refused, expected);
        assert!(
            rates.check(&rate("new", 0, 9), 0).is_err(),
            "a cap of nothing lets nothing through"
        );
    }

    #[test]
    fn quiet_senders_go_with_their_rows_and_loaded_rows_count() {
        let (dj, mut rates, mut rows) = (rate("dj", 1, 1), Rates::default(), Vec::new());
        rates.count(&dj, 1000, |_| {});
        let mut again = Rates::default();
        again.load("dj", rates.row("dj").unwrap().clone());
        assert!(again.check(&dj, 2000).is_err());
        assert_eq!(again.bytes(), rates.bytes());
        again.forget(999 + DAY, |row| rows.push(row));
        assert!(rows.is_empty());
        again.forget(1000 + DAY, |row| rows.push(row));
        assert_eq!(rows, [RowKey::Rate("dj".into())]);
        assert_eq!((again.bytes(), again.iter().count()), (0, 0));
    }

    #[test]
    fn an_erased_user_leaves_no_count() {
        let (mut rates, mut rows) = (Rates::default(), Vec::new());
        let senders = ["user\nann\n", "user\nann\ncue.*", "user\nanna\n", "token\nann\n"];
        for sender in senders {
            rates.count(&rate(sender, 1, 1), 0, |_| {});
        }
        rates.erase("ann", |row| rows.push(row));
        assert_eq!(
            rows,
            senders[..2]
                .iter()
                .map(|sender| RowKey::Rate((*sender).into()))
                .collect::<Vec<_>>()
        );
        assert_eq!(rates.iter().count(), 2);
    }

    #[test]
    fn memory_is_bounded_and_who_is_quiet_longest_starts_anew() {
        let (mut rates, mut gone) = (Rates::default(), 0_u64);
        let long = "x".repeat(100_000);
        for number in 0..400 {
            rates.count(&rate(&format!("{number}{long}"), 1, 1), number, |_| gone += 1);
        }
        assert!(rates.bytes() <= RATES_BYTES_MAX);
        assert!(gone > 400, "rows of those who went are removed");
        assert!(rates.check(&rate(&format!("0{long}"), 1, 1), 400).is_ok());
        assert!(rates.check(&rate(&format!("399{long}"), 1, 1), 400).is_err());
    }
}
