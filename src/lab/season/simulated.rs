//! A season drawn and decided, whole. Pure: it is told how far it is through a callback, and nothing else leaves it.

use super::calendar::{Calendar, DAY};
use super::curve::Curve;
use super::decided::{self, Decided, Ready, Setting, TooMuch};
use super::draw::{self, Order, Wedding};
use super::foresight::{self, Foresight, Foreteller, Outlook};
use super::incidents::Incident;
use super::model::Season;
use crate::base::clock::Millis;
use crate::model::Priority;
use crate::scaling::{Capacity, Profile};
use std::collections::BTreeMap;

/// What a season is made with.
pub struct Making<'a> {
    pub order: Order,
    pub months: &'a [u8],
    pub rules: &'a Profile,
    pub every: Millis,
    pub cores: usize,
    /// `None`: this machine was not measured.
    pub capacity: Option<&'a Capacity>,
}

pub struct Simulated {
    pub season: Season,
    pub calendar: Calendar,
    pub weddings: Vec<Wedding>,
    pub curve: Curve,
    pub outlooks: Vec<Outlook>,
    pub foresight: Foresight,
    /// `None` without a measured capacity: nothing is decided on a load that nobody knows.
    pub scaled: Option<Scaled>,
}

pub struct Scaled {
    pub decided: Decided,
    pub ready: Ready,
    /// Weeks of which the forecast warns.
    pub warnings: usize,
    /// The busiest look against what is counted on of the measured capacity: 1 is all of it.
    pub share: f64,
}

/// Calls `told` after each wedding.
pub fn simulate(season: Season, making: &Making<'_>, told: impl Fn()) -> Result<Simulated, TooMuch> {
    let calendar = Calendar::new(&season, making.months);
    let weddings = draw::draw(&season, &calendar, making.order, told);
    let curve = Curve::of(&weddings, &season, making.every);
    let start = making.rules.start(making.cores);
    let teller = Foreteller::new(&weddings, &making.rules.forecast, making.capacity, start);
    let outlooks = teller.outlooks();
    let foresight = foresight::judge(&curve, &outlooks);
    let span = (calendar.begins - DAY, calendar.at(calendar.days()) + DAY);
    let scaled: Option<Result<Scaled, TooMuch>> = making.capacity.map(|capacity| {
        let setting = Setting {
            profile: making.rules,
            capacity,
            cores: making.cores,
            every: making.every,
            zones: season.zones.iter().map(|(name, _)| name.as_str()).collect(),
            span,
        };
        let decided = decided::decided(&curve, &outlooks, &setting)?;
        let counted = capacity.deliveries_per_second * making.rules.forecast.headroom;
        let rate = curve.busiest_look().1 as f64 * 1_000.0 / making.every as f64;
        Ok(Scaled {
            ready: decided::ready(&curve, &decided, &setting),
            decided,
            warnings: teller.warnings(span),
            share: rate / counted.max(f64::MIN_POSITIVE),
        })
    });
    Ok(Simulated {
        scaled: scaled.transpose()?,
        season,
        calendar,
        weddings,
        curve,
        outlooks,
        foresight,
    })
}

impl Simulated {
    /// Weddings of each day of the year.
    pub fn by_day(&self) -> Vec<usize> {
        let mut days = vec![0; self.calendar.days()];
        self.weddings.iter().for_each(|wedding| days[wedding.day] += 1);
        days
    }

    /// Days that could have a wedding.
    pub fn days_open(&self) -> usize {
        self.calendar.shares.iter().filter(|share| **share > 0.0).count()
    }

    /// The first of those with most weddings, and how many it has.
    pub fn busiest_day(&self) -> (usize, usize) {
        let days = self.by_day().into_iter().enumerate();
        days.fold((0, 0), |most, next| if next.1 > most.1 { next } else { most })
    }

    pub fn of_day(&self, day: usize) -> Vec<&Wedding> {
        self.weddings.iter().filter(|wedding| wedding.day == day).collect()
    }

    pub fn by_incident(&self) -> BTreeMap<Incident, u64> {
        let mut counts = BTreeMap::new();
        for happened in self.weddings.iter().flat_map(|wedding| &wedding.incidents) {
            *counts.entry(happened.incident).or_default() += 1;
        }
        counts
    }

    /// Broadcasts by priority.
    pub fn by_priority(&self) -> [u64; 4] {
        let mut counts = [0; 4];
        for said in self.weddings.iter().flat_map(|wedding| &wedding.said) {
            counts[said.priority.index()] += 1;
        }
        counts
    }

    pub fn guests_mean(&self) -> Option<f64> {
        let all: f64 = self.weddings.iter().map(|wedding| f64::from(wedding.guests)).sum();
        (!self.weddings.is_empty()).then(|| all / self.weddings.len() as f64)
    }

    /// The week of the busiest day, from its Monday on at UTC.
    pub fn busiest_week(&self) -> (Millis, Millis) {
        let (day, _) = self.busiest_day();
        let monday = self.calendar.at(day) - self.calendar.weekday(day) as Millis * DAY;
        (monday, monday + 8 * DAY)
    }

    pub fn criticals(&self) -> u64 {
        self.by_priority()[Priority::Critical.index()]
    }
}

#[cfg(test)]
pub mod tests {
    use super::{Making, Simulated, simulate};
    use crate::config::Config;
    use crate::lab::season::decided::{Change, Setting, decided, exhaustively};
    use crate::lab::season::draw::Order;
    use crate::lab::season::figures::{Profile, open};
    use crate::scaling::{self, Capacity};

    const CORES: usize = 8;

    pub fn capacity(deliveries_per_second: f64) -> Capacity {
        Capacity {
            deliveries_per_second,
            threads: 8,
            machine: "a test".into(),
            commit: String::new(),
            measured_at: "2026-11-26T12:00:00.000Z".into(),
        }
    }

    pub fn rules(name: &str) -> scaling::Profile {
        let mut config = Config::default();
        name.clone_into(&mut config.scaling.profile);
        config.scaling_profile().unwrap()
    }

    pub fn season(profile: Profile, weddings: usize, months: &[u8], capacity: Option<&Capacity>) -> Simulated {
        let season = open(profile).unwrap();
        let rules = rules(&season.scaling);
        let making = Making {
            order: Order {
                weddings,
                traffic: 1.0,
                seed: 1,
            },
            months,
            rules: &rules,
            every: 1_000,
            cores: CORES,
            capacity,
        };
        simulate(season, &making, || ()).unwrap()
    }

    #[test]
    fn without_a_measured_capacity_nothing_is_decided() {
        let simulated = season(Profile::Published, 50, &[], None);
        assert!(simulated.scaled.is_none());
        assert!(simulated.foresight.days > 20 && simulated.curve.peak().1 > 0);
        assert_eq!(simulated.by_day().iter().sum::<usize>(), 50);
    }

    /// Looking only where something can change comes to the same as looking always.
    #[test]
    fn what_is_skipped_would_have_changed_nothing() {
        for (profile, per_second) in [
            (Profile::Published, 3_000.0),
            (Profile::Published, 60.0),
            (Profile::Origin, 500.0),
        ] {
            let capacity = capacity(per_second);
            let simulated = season(profile, 300, &[6], Some(&capacity));
            let rules = rules(&simulated.season.scaling);
            let (from, _) = simulated.busiest_week();
            let setting = Setting {
                profile: &rules,
                capacity: &capacity,
                cores: CORES,
                every: 1_000,
                zones: simulated.season.zones.iter().map(|(name, _)| name.as_str()).collect(),
                // Friday 12:00 to Saturday 24:00 at UTC: the weekend begins in each zone, and the busiest day
                span: (from + 4 * super::DAY + super::DAY / 2, from + 6 * super::DAY),
            };
            let quick = decided(&simulated.curve, &simulated.outlooks, &setting).unwrap();
            let slow = exhaustively(&simulated.curve, &simulated.outlooks, &setting);
            let at = |changes: &[Change]| {
                changes
                    .iter()
                    .map(|change| (change.at, change.threads, change.rule.clone()))
                    .collect::<Vec<_>>()
            };
            assert_eq!(at(&quick.changes), at(&slow.changes), "{profile:?} {per_second}");
            assert!(!quick.changes.is_empty(), "{profile:?} {per_second}");
            assert!(quick.looks * 2 < slow.looks, "{} of {}", quick.looks, slow.looks);
        }
    }

    #[test]
    fn threads_stay_in_their_bounds_and_a_small_machine_is_found_too_small() {
        let (small, large) = (capacity(60.0), capacity(1_000_000.0));
        let narrow = season(Profile::Published, 900, &[6], Some(&small)).scaled.unwrap();
        let wide = season(Profile::Published, 900, &[6], Some(&large)).scaled.unwrap();
        for scaled in [&narrow, &wide] {
            let (least, most) = scaled.decided.bounds;
            assert!(
                scaled
                    .decided
                    .changes
                    .iter()
                    .all(|change| (least..=most).contains(&change.threads))
            );
            let sum: u64 = scaled.decided.by_rule.values().sum();
            assert_eq!(sum, scaled.decided.changes.len() as u64);
            assert!(scaled.ready.in_time <= scaled.ready.days);
        }
        assert!(narrow.share > 1.0 && narrow.warnings > 0 && narrow.decided.late > 0);
        assert!(wide.share < 1.0 && wide.warnings == 0 && wide.decided.late == 0);
        assert_eq!(wide.ready.in_time, wide.ready.days);
    }
}
