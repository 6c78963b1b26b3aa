//! Who is connected over one wedding's day. Pure.

use super::draw::{MINUTE, Wedding};
use super::incidents::Audience;
use super::model::{Connections, Season};
use crate::base::clock::Millis;
use crate::model::Priority;

/// Devices that are connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Here {
    pub staff: u32,
    pub guests: u32,
}

impl Here {
    pub fn all(self) -> u32 {
        self.staff + self.guests
    }
}

/// From each time on, until the next one.
pub struct Presence(Vec<(Millis, Here)>);

impl Presence {
    pub fn of(wedding: &Wedding, season: &Season) -> Self {
        let day = Day::new(wedding, season);
        let mut times: Vec<Millis> = day.shares.iter().map(|(at, _)| *at).collect();
        times.extend(day.awake.iter().chain(&day.cut_off).flat_map(|(from, to)| [*from, *to]));
        times.push(day.ends);
        times.retain(|at| *at <= day.ends);
        times.sort_unstable();
        times.dedup();
        Self(times.into_iter().map(|at| (at, day.here(wedding, at))).collect())
    }

    pub fn at(&self, at: Millis) -> Here {
        let next = self.0.partition_point(|(from, _)| *from <= at);
        next.checked_sub(1)
            .and_then(|last| self.0.get(last))
            .map(|(_, here)| *here)
            .unwrap_or_default()
    }

    /// Each change: when, and by how many more or fewer.
    pub fn changes(&self) -> impl Iterator<Item = (Millis, i64)> {
        let mut before = 0;
        self.0.iter().map(move |(at, here)| {
            let all = i64::from(here.all());
            let by = all - before;
            before = all;
            (*at, by)
        })
    }
}

struct Day {
    /// The share of guests' phones from each time on.
    shares: Vec<(Millis, f64)>,
    /// After a critical to them most phones are awake.
    awake: Vec<(Millis, Millis)>,
    awake_share: f64,
    cut_off: Vec<(Millis, Millis)>,
    begins: Millis,
    ends: Millis,
}

impl Day {
    fn new(wedding: &Wedding, season: &Season) -> Self {
        let (phases, online) = (&season.phases, &season.online);
        let at = |minutes| wedding.at(minutes);
        // the origin's formula knows no phases
        let is_flat = matches!(season.connections, Connections::Seed { .. });
        let share = |share: f64| if is_flat { 1.0 } else { share };
        let is_for_guests = |audience| matches!(audience, Audience::Guests | Audience::Everybody);
        let calls = wedding
            .said
            .iter()
            .filter(|said| said.priority == Priority::Critical && is_for_guests(said.audience));
        let cuts = wedding.incidents.iter().filter(|happened| happened.cut_off > 0);
        Self {
            shares: vec![
                (at(phases.suppliers_in), share(online.morning)),
                (at(phases.guests_in), share(online.arrival)),
                (wedding.starts_at + wedding.delay, share(online.ceremony)),
                (at(phases.drinks), share(online.drinks)),
                (at(phases.dinner), share(online.dinner)),
                (at(phases.first_dance), share(online.dancing)),
                (at(phases.send_off), 0.0),
            ],
            awake: calls
                .map(|said| (said.at, said.at + season.all_clear * MINUTE))
                .collect(),
            awake_share: share(online.after_critical),
            cut_off: cuts
                .map(|happened| (happened.at, happened.at + happened.cut_off))
                .collect(),
            begins: at(phases.suppliers_in),
            ends: at(phases.load_out),
        }
    }

    fn here(&self, wedding: &Wedding, at: Millis) -> Here {
        let is_within = |spans: &[(Millis, Millis)]| spans.iter().any(|(from, to)| (*from..*to).contains(&at));
        if !(self.begins..self.ends).contains(&at) || is_within(&self.cut_off) {
            return Here::default();
        }
        let share = self.shares.iter().rev().find(|(from, _)| *from <= at);
        let share = share.map_or(0.0, |(_, share)| *share);
        let share = if share > 0.0 && is_within(&self.awake) {
            share.max(self.awake_share)
        } else {
            share
        };
        Here {
            staff: wedding.staff_devices,
            guests: (f64::from(wedding.guest_devices) * share).round() as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Here, Presence};
    use crate::lab::season::draw::{MINUTE, Wedding};
    use crate::lab::season::figures::{Profile, open};
    use crate::lab::season::happens::{Happened, Said};
    use crate::lab::season::incidents::{Audience, Incident};
    use crate::model::Priority;

    fn wedding() -> Wedding {
        Wedding {
            number: 0,
            day: 0,
            zone: 0,
            starts_at: 0,
            ends_at: 420 * MINUTE,
            delay: 5 * MINUTE,
            guests: 100,
            team: 40,
            staff_devices: 40,
            guest_devices: 60,
            incidents: vec![Happened {
                incident: Incident::PowerCut,
                at: 200 * MINUTE,
                cut_off: MINUTE,
            }],
            said: vec![Said {
                at: 140 * MINUTE,
                priority: Priority::Critical,
                audience: Audience::Everybody,
                kind: "weather.warning",
                title: "",
                incident: None,
            }],
        }
    }

    #[test]
    fn phones_sleep_in_the_ceremony_wake_at_a_critical_and_all_are_cut_off_at_once() {
        let presence = Presence::of(&wedding(), &open(Profile::Published).unwrap());
        for (minute, staff, guests) in [
            (-481, 0, 0),
            (-480, 40, 21),
            (-30, 40, 42),
            (4, 40, 42), // the ceremony is late
            (5, 40, 12),
            (34, 40, 12),
            (36, 40, 30),
            (139, 40, 27),
            (140, 40, 54),
            (169, 40, 54),
            (170, 40, 27),
            (200, 0, 0),
            (201, 40, 27),
            (300, 40, 18),
            (430, 40, 0),
            (456, 0, 0),
        ] {
            assert_eq!(presence.at(minute * MINUTE), Here { staff, guests }, "{minute}");
        }
        assert_eq!(presence.changes().map(|(_, by)| by).sum::<i64>(), 0);
    }

    #[test]
    fn the_origin_counts_the_same_all_day() {
        let presence = Presence::of(&wedding(), &open(Profile::Origin).unwrap());
        for minute in [-480, 0, 140, 419] {
            assert_eq!(presence.at(minute * MINUTE).all(), 100, "{minute}");
        }
    }
}
