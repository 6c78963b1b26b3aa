//! A season's weddings, drawn one after the other from one seed. Pure.

use super::calendar::Calendar;
use super::dice::Dice;
use super::happens::{self, Happened, Said};
use super::model::{Connections, Guests, Season, Team, mode};
use crate::base::clock::{self, Millis};

pub const MINUTE: Millis = 60_000;
/// Ceremonies begin at a multiple of so many minutes, and between these, in minutes after midnight.
const STEP: f64 = 5.0;
const EARLIEST: f64 = 600.0;
const LATEST: f64 = 1_200.0;

#[derive(Clone, Debug)]
pub struct Wedding {
    pub number: usize,
    /// Of the calendar.
    pub day: usize,
    /// A place in [`Season::zones`].
    pub zone: usize,
    /// When the ceremony is to begin, and when everybody is sent off.
    pub starts_at: Millis,
    pub ends_at: Millis,
    /// So much later it really begins.
    pub delay: Millis,
    pub guests: u32,
    /// As a directory would have them.
    pub team: u32,
    /// What may connect: the team's devices, the venue's among them, and guests' phones.
    pub staff_devices: u32,
    pub guest_devices: u32,
    pub incidents: Vec<Happened>,
    /// In the order of their times.
    pub said: Vec<Said>,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    pub weddings: usize,
    /// Broadcasts times this.
    pub traffic: f64,
    pub seed: u64,
}

/// Calls `told` after each wedding.
pub fn draw(season: &Season, calendar: &Calendar, order: Order, told: impl Fn()) -> Vec<Wedding> {
    let mut dice = Dice::new(order.seed);
    let one = |number| {
        let wedding = wedding(season, calendar, order.traffic, &mut dice, number);
        told();
        wedding
    };
    (0..order.weddings).map(one).collect()
}

fn wedding(season: &Season, calendar: &Calendar, traffic: f64, dice: &mut Dice, number: usize) -> Wedding {
    let day = dice.pick(calendar.shares.iter().copied());
    let zone = dice.pick(season.zones.iter().map(|(_, share)| *share));
    let starts_at = starts_at(season, calendar, dice, day, zone);
    let guests = guests(&season.guests, dice);
    let (team, staff_devices, guest_devices) = people(season, dice, guests);
    let sigma = (2.0 * (season.delay.mean / season.delay.median).ln()).sqrt();
    let delay = dice.lognormal(season.delay.median, sigma) * MINUTE as f64;
    let mut wedding = Wedding {
        number,
        day,
        zone,
        starts_at,
        ends_at: starts_at + season.phases.send_off * MINUTE,
        delay: delay as Millis,
        guests,
        team,
        staff_devices,
        guest_devices,
        incidents: Vec::new(),
        said: Vec::new(),
    };
    happens::happen(&mut wedding, season, traffic, dice);
    wedding
}

/// By the clocks of its zone.
fn starts_at(season: &Season, calendar: &Calendar, dice: &mut Dice, day: usize, zone: usize) -> Millis {
    let (mode, sd) = season.ceremony;
    let minutes = (dice.normal(mode, sd) / STEP).round() * STEP;
    let minutes = minutes.clamp(EARLIEST, LATEST) as u32;
    let local = format!("{}T{:02}:{:02}:00", calendar.date(day), minutes / 60, minutes % 60);
    let name = season.zones.get(zone).map_or("UTC", |(name, _)| name.as_str());
    clock::shown_at(name, &local).unwrap_or_else(|| calendar.at(day) + Millis::from(minutes) * MINUTE)
}

fn guests(guests: &Guests, dice: &mut Dice) -> u32 {
    match guests {
        Guests::Lognormal {
            mu, sigma, min, max, ..
        } => dice.lognormal(mu.exp(), *sigma).clamp(*min, *max).round() as u32,
        Guests::Classes(classes) => {
            let all: f64 = classes.iter().map(|class| class.weight).sum();
            let class = dice.pick(classes.iter().map(|class| class.weight / all));
            classes
                .get(class)
                .map_or(0, |class| dice.whole(i64::from(class.min), i64::from(class.max)) as u32)
        }
    }
}

/// The team, its devices, and guests' phones.
fn people(season: &Season, dice: &mut Dice, guests: u32) -> (u32, u32, u32) {
    let team = match season.team {
        Team::Devices { base, per_guest } => (base + per_guest * f64::from(guests)).round() as u32,
        Team::Seed { least, guests_each } => (guests / guests_each.max(1)).max(least),
    };
    match season.connections {
        Connections::VenueTeam(venue) => {
            let share = dice.triangular(season.opted_in.min, mode(&season.opted_in), season.opted_in.max);
            let phones = (f64::from(guests) * share).round() as u32;
            (team + venue, team + venue, phones)
        }
        Connections::Seed { per_team, per_guest } => {
            let of = |people: u32, each: f64| (f64::from(people) * each).round() as u32;
            (team, of(team, per_team), of(guests, per_guest))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Order, Wedding, draw};
    use crate::lab::season::calendar::Calendar;
    use crate::lab::season::dice::Dice;
    use crate::lab::season::figures::{Profile, open};
    use crate::lab::season::incidents::Incident;
    use crate::lab::season::model::Season;

    const MANY: usize = 20_000;

    fn drawn(profile: Profile, weddings: usize, seed: u64) -> (Season, Calendar, Vec<Wedding>) {
        let season = open(profile).unwrap();
        let calendar = Calendar::new(&season, &[]);
        let order = Order {
            weddings,
            traffic: 1.0,
            seed,
        };
        let all = draw(&season, &calendar, order, || ());
        (season, calendar, all)
    }

    #[track_caller]
    fn near(found: f64, expected: f64, within: f64, what: &str) {
        assert!((found - expected).abs() < within, "{what}: {found}, not {expected}");
    }

    /// Shares within one percent of all, the mean of guests within two of them, the busiest day within a tenth.
    #[test]
    fn many_draws_come_to_the_published_figures() {
        for profile in [Profile::Published, Profile::Origin] {
            let (season, calendar, all) = drawn(profile, MANY, 1);
            let share = |holds: &dyn Fn(&Wedding) -> bool| {
                all.iter().filter(|wedding| holds(wedding)).count() as f64 / MANY as f64
            };
            for (month, expected) in season.months.into_iter().enumerate() {
                near(
                    share(&|wedding| calendar.month(wedding.day) == month),
                    expected,
                    0.01,
                    "month",
                );
            }
            for (weekday, expected) in season.weekdays.into_iter().enumerate() {
                near(
                    share(&|wedding| calendar.weekday(wedding.day) == weekday),
                    expected,
                    0.015,
                    "weekday",
                );
            }
            for (zone, (_, expected)) in season.zones.iter().enumerate() {
                near(share(&|wedding| wedding.zone == zone), *expected, 0.015, "zone");
            }
            let guests = all.iter().map(|wedding| f64::from(wedding.guests)).sum::<f64>() / MANY as f64;
            near(guests, season.guests.mean(), 2.0, "guests");
            let said = all.iter().map(|wedding| wedding.said.len() as f64).sum::<f64>() / MANY as f64;
            near(said, season.broadcasts.mean, 2.5, "broadcasts");
            for (incident, chance) in &season.incidents {
                let found = share(&|wedding| wedding.incidents.iter().any(|one| one.incident == *incident));
                near(found, *chance, 0.012, incident.name());
            }
        }
    }

    /// Within a tenth; the days of 100,000 weddings, since it is the luckiest of several like Saturdays.
    #[test]
    fn the_busiest_day_stands_out_as_published() {
        let season = open(Profile::Published).unwrap();
        let calendar = Calendar::new(&season, &[]);
        let mut dice = Dice::new(2);
        let mut by_day = vec![0.0_f64; calendar.days()];
        (0..5 * MANY).for_each(|_| by_day[dice.pick(calendar.shares.iter().copied())] += 1.0);
        let busiest = by_day.into_iter().fold(0.0, f64::max);
        let ratio = busiest / (5.0 * MANY as f64 / 365.0);
        near(
            ratio,
            season.busiest_over_mean,
            season.busiest_over_mean / 10.0,
            "ratio",
        );
    }

    #[test]
    fn the_same_seed_draws_the_same_season() {
        let (one, same, other) = (
            drawn(Profile::Published, 200, 1).2,
            drawn(Profile::Published, 200, 1).2,
            drawn(Profile::Published, 200, 2).2,
        );
        assert!(format!("{one:?}") == format!("{same:?}") && format!("{one:?}") != format!("{other:?}"));
    }

    #[test]
    fn the_origin_has_its_classes_and_one_kind_of_incident() {
        let (_, _, all) = drawn(Profile::Origin, 2_000, 1);
        for wedding in &all {
            assert!((20..=500).contains(&wedding.guests));
            assert_eq!(wedding.staff_devices, wedding.team * 10);
            let kinds = wedding.incidents.iter().map(|one| one.incident);
            assert!(
                kinds
                    .into_iter()
                    .all(|kind| matches!(kind, Incident::Emergency | Incident::Delay))
            );
        }
    }
}
