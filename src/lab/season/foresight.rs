//! What the forecast says of a season as it comes, and whether it said so before the load was there. Pure: the forecast is the real one.

use super::curve::{Curve, HOUR};
use super::draw::Wedding;
use crate::base::clock::Millis;
use crate::control::autoscaler::HORIZON;
use crate::scaling::rule::ForecastRules;
use crate::scaling::{Capacity, Expected, forecast};
use std::collections::{BTreeMap, BTreeSet};

/// No wedding counts for longer than this before or after its start.
const REACH: Millis = 72 * HOUR;
/// A season's evenings belong to the day before: its days begin at this time of UTC.
const MORNING: Millis = 10 * HOUR;
const DAY: Millis = 24 * HOUR;
const WEEK: Millis = 7 * DAY;

/// What the forecast says from `at` on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outlook {
    pub at: Millis,
    pub connections: f64,
    pub threads: usize,
}

/// The real forecast over a season's weddings.
pub struct Foreteller<'a> {
    /// In the order of their starts.
    weddings: Vec<Expected>,
    rules: &'a ForecastRules,
    capacity: Option<&'a Capacity>,
    /// Threads that are asked for when nothing was measured.
    start: usize,
}

/// How well it foresaw what came.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Foresight {
    /// Days with a wedding, and those on which it expected as many sessions as came at most, before they came.
    pub days: usize,
    pub covered: usize,
    /// On those: how long before the day's most.
    pub leads: Vec<Millis>,
    /// The most that were connected while it expected nobody.
    pub unforeseen: u64,
}

impl<'a> Foreteller<'a> {
    pub fn new(weddings: &[Wedding], rules: &'a ForecastRules, capacity: Option<&'a Capacity>, start: usize) -> Self {
        let mut weddings: Vec<Expected> = weddings.iter().map(expected).collect();
        weddings.sort_by_key(|wedding| (wedding.starts_at, wedding.team, wedding.guests));
        Self {
            weddings,
            rules,
            capacity,
            start,
        }
    }

    /// Each change of what it says.
    pub fn outlooks(&self) -> Vec<Outlook> {
        let millis = |span: crate::base::size::Span| span.0.as_millis() as Millis;
        let (ahead, after) = (millis(self.rules.ahead), millis(self.rules.after));
        let spans = self.weddings.iter();
        let times: BTreeSet<Millis> = spans
            .flat_map(|wedding| [wedding.starts_at - ahead, wedding.ends_at + after])
            .collect();
        let mut outlooks: Vec<Outlook> = times.into_iter().map(|at| self.at(at)).collect();
        outlooks.dedup_by(|next, last| {
            next.connections.to_bits() == last.connections.to_bits() && next.threads == last.threads
        });
        outlooks
    }

    fn at(&self, at: Millis) -> Outlook {
        let near = self.between(at - REACH, at + REACH);
        let found = forecast::forecast(near, self.rules, self.capacity, (at, at + 1), self.start);
        Outlook {
            at,
            connections: found.now.connections,
            threads: found.threads,
        }
    }

    /// Weeks of which it warns, looked at as each begins.
    pub fn warnings(&self, (from, to): (Millis, Millis)) -> usize {
        let weeks = (0..).map(|week| from + week * WEEK).take_while(|at| *at < to);
        let is_warned = |at: &Millis| {
            let near = self.between(at - HORIZON, at + HORIZON);
            let found = forecast::forecast(near, self.rules, self.capacity, (*at, at + HORIZON), self.start);
            found.warning.is_some()
        };
        weeks.filter(is_warned).count()
    }

    /// Those that start between these times.
    fn between(&self, from: Millis, to: Millis) -> &[Expected] {
        let place = |at: Millis| self.weddings.partition_point(|wedding| wedding.starts_at < at);
        &self.weddings[place(from)..place(to)]
    }
}

fn expected(wedding: &Wedding) -> Expected {
    Expected {
        starts_at: wedding.starts_at,
        ends_at: wedding.ends_at,
        team: u64::from(wedding.team),
        guests: u64::from(wedding.guests),
    }
}

/// Compares what was said with what came.
pub fn judge(curve: &Curve, outlooks: &[Outlook]) -> Foresight {
    let mut foresight = Foresight::default();
    let mut most: BTreeMap<Millis, (Millis, u64)> = BTreeMap::new();
    for (at, count) in curve.connected.iter().copied().filter(|(_, count)| *count > 0) {
        let day = most.entry(day_of(at)).or_insert((at, 0));
        if count > day.1 {
            *day = (at, count);
        }
        if said_at(outlooks, at).is_none_or(|(_, said)| said <= 0.0) {
            foresight.unforeseen = foresight.unforeseen.max(count);
        }
    }
    foresight.days = most.len();
    for (at, count) in most.into_values() {
        if let Some(since) = enough_since(outlooks, at, count) {
            foresight.covered += 1;
            foresight.leads.push(at - since);
        }
    }
    foresight.leads.sort_unstable();
    foresight
}

/// Which of a season's days it is.
pub fn day_of(at: Millis) -> i64 {
    (at - MORNING).div_euclid(DAY)
}

fn said_at(outlooks: &[Outlook], at: Millis) -> Option<(usize, f64)> {
    let last = outlooks.partition_point(|outlook| outlook.at <= at).checked_sub(1)?;
    outlooks.get(last).map(|outlook| (last, outlook.connections))
}

/// Since when as many were expected without a break; `None` if they are not.
fn enough_since(outlooks: &[Outlook], at: Millis, count: u64) -> Option<Millis> {
    let (last, _) = said_at(outlooks, at)?;
    let before = outlooks.get(..=last)?.iter().rev();
    let enough = before.take_while(|outlook| outlook.connections >= count as f64);
    enough.last().map(|outlook| outlook.at)
}

/// The middle of sorted values.
pub fn median(sorted: &[Millis]) -> Option<Millis> {
    sorted.get(sorted.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::{Curve, Foresight, Foreteller, HOUR, Outlook, judge};
    use crate::config;
    use crate::lab::season::calendar::Calendar;
    use crate::lab::season::draw::{Order, draw};
    use crate::lab::season::figures::{Profile, open};

    fn outlook(hour: i64, connections: f64) -> Outlook {
        Outlook {
            at: hour * HOUR,
            connections,
            threads: 1,
        }
    }

    #[test]
    fn a_day_is_covered_when_enough_were_expected_before_they_came() {
        let curve = |all: &[(i64, u64)]| Curve {
            connected: all.iter().map(|(hour, count)| (hour * HOUR, *count)).collect(),
            ..Curve::default()
        };
        let day = [(12, 50), (18, 90), (20, 40), (22, 0)];
        let said = |hour: i64, count: f64| [outlook(hour, count), outlook(30, 0.0)];
        let check = |said: &[Outlook], covered, leads: &[i64], unforeseen| {
            let expected = Foresight {
                days: 1,
                covered,
                leads: leads.iter().map(|hours| hours * HOUR).collect(),
                unforeseen,
            };
            assert_eq!(judge(&curve(&day), said), expected);
        };
        check(&said(15, 90.0), 1, &[3], 50);
        check(&said(10, 91.0), 1, &[8], 0);
        check(&said(10, 89.0), 0, &[], 0);
        check(&said(19, 200.0), 0, &[], 90);
        check(&[outlook(10, 95.0), outlook(16, 80.0), outlook(17, 95.0)], 1, &[1], 0);
    }

    #[test]
    fn what_it_says_is_what_the_weddings_near_need_together() {
        let season = open(Profile::Published).unwrap();
        let calendar = Calendar::new(&season, &[]);
        let order = Order {
            weddings: 40,
            traffic: 1.0,
            seed: 1,
        };
        let weddings = draw(&season, &calendar, order, || ());
        let rules = config::Config::default().scaling_profile().unwrap();
        let teller = Foreteller::new(&weddings, &rules.forecast, None, 3);
        let outlooks = teller.outlooks();
        assert!(outlooks.is_sorted_by_key(|outlook| outlook.at));
        assert!(
            outlooks
                .iter()
                .all(|outlook| outlook.threads == if outlook.connections > 0.0 { 3 } else { 0 })
        );
        assert_eq!(outlooks.last().map(|outlook| outlook.connections), Some(0.0));
        let first = weddings.iter().min_by_key(|wedding| wedding.starts_at).unwrap();
        assert_eq!(outlooks[0].at, first.starts_at - 2 * HOUR);
        assert_eq!(
            teller.warnings((calendar.begins, calendar.at(364))),
            0,
            "nothing was measured"
        );
    }
}
