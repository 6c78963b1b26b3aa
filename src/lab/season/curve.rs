//! All weddings over one time: who is connected, and what is to be delivered. Pure.

use super::draw::Wedding;
use super::incidents::Audience;
use super::model::Season;
use super::presence::Presence;
use crate::base::clock::Millis;
use crate::model::Priority;
use std::collections::BTreeMap;

pub const HOUR: Millis = 3_600_000;
const MINUTE: Millis = 60_000;

/// What is released within one look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    pub releases: u64,
    pub deliveries: u64,
    /// Those of them that are critical.
    pub critical: u64,
    pub critical_deliveries: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hour {
    pub broadcasts: u64,
    pub deliveries: u64,
}

#[derive(Debug, Default)]
pub struct Curve {
    /// How many are connected from each time on.
    pub connected: Vec<(Millis, u64)>,
    /// By when the look begins.
    pub looks: BTreeMap<Millis, Work>,
    /// By when the hour begins.
    pub hours: BTreeMap<Millis, Hour>,
    pub broadcasts: u64,
    /// To devices that are connected then, and to those that get it when they are back.
    pub deliveries: u64,
    pub later: u64,
    /// Devices that come back within a minute after a power cut: the most at once.
    pub back_most: u64,
}

impl Curve {
    /// A look is so long.
    pub fn of(weddings: &[Wedding], season: &Season, every: Millis) -> Self {
        let mut curve = Self::default();
        let mut changes: BTreeMap<Millis, i64> = BTreeMap::new();
        let mut back: BTreeMap<Millis, u64> = BTreeMap::new();
        for wedding in weddings {
            let presence = Presence::of(wedding, season);
            for (at, by) in presence.changes() {
                *changes.entry(at).or_default() += by;
            }
            for happened in wedding.incidents.iter().filter(|happened| happened.cut_off > 0) {
                let end = happened.at + happened.cut_off;
                let all = u64::from(presence.at(end).all());
                *back.entry(end.div_euclid(MINUTE)).or_default() += all;
            }
            curve.say(wedding, season, &presence, every);
        }
        let mut now = 0;
        for (at, by) in changes {
            now += by;
            curve.connected.push((at, now.max(0) as u64));
        }
        curve.back_most = back.into_values().max().unwrap_or(0);
        curve
    }

    fn say(&mut self, wedding: &Wedding, season: &Season, presence: &Presence, every: Millis) {
        for said in &wedding.said {
            let here = presence.at(said.at);
            let few = season.audiences.few_people.min(wedding.staff_devices);
            let (now, all) = match said.audience {
                Audience::Few => (few.min(here.staff), few),
                Audience::Staff => (here.staff, wedding.staff_devices),
                Audience::Guests => (here.guests, wedding.guest_devices),
                Audience::Everybody => (here.all(), wedding.staff_devices + wedding.guest_devices),
            };
            let now = u64::from(now);
            self.broadcasts += 1;
            self.deliveries += now;
            self.later += u64::from(all).saturating_sub(now);
            let look = self.looks.entry(said.at - said.at.rem_euclid(every)).or_default();
            look.releases += 1;
            look.deliveries += now;
            if said.priority == Priority::Critical {
                look.critical += 1;
                look.critical_deliveries += now;
            }
            let hour = self.hours.entry(said.at - said.at.rem_euclid(HOUR)).or_default();
            hour.broadcasts += 1;
            hour.deliveries += now;
        }
    }

    /// When most are connected, and how many.
    pub fn peak(&self) -> (Millis, u64) {
        most(self.connected.iter().copied())
    }

    /// Of the busiest hour.
    pub fn busiest_hour(&self) -> (Millis, Hour) {
        let (at, _) = most(self.hours.iter().map(|(at, hour)| (*at, hour.deliveries)));
        (at, self.hours.get(&at).copied().unwrap_or_default())
    }

    /// Deliveries of the busiest look.
    pub fn busiest_look(&self) -> (Millis, u64) {
        most(self.looks.iter().map(|(at, work)| (*at, work.deliveries)))
    }

    pub fn connected_at(&self, at: Millis) -> u64 {
        let next = self.connected.partition_point(|(from, _)| *from <= at);
        next.checked_sub(1)
            .and_then(|last| self.connected.get(last))
            .map_or(0, |(_, count)| *count)
    }
}

/// The first of the largest.
fn most(all: impl Iterator<Item = (Millis, u64)>) -> (Millis, u64) {
    all.fold((0, 0), |most, next| if next.1 > most.1 { next } else { most })
}

#[cfg(test)]
mod tests {
    use super::Curve;
    use crate::lab::season::calendar::Calendar;
    use crate::lab::season::draw::{Order, draw};
    use crate::lab::season::figures::{Profile, open};

    #[test]
    fn a_curve_loses_nobody_and_counts_everything_once() {
        let season = open(Profile::Published).unwrap();
        let calendar = Calendar::new(&season, &[]);
        let order = Order {
            weddings: 300,
            traffic: 1.0,
            seed: 5,
        };
        let weddings = draw(&season, &calendar, order, || ());
        let curve = Curve::of(&weddings, &season, 1_000);
        assert_eq!(curve.connected.last().map(|(_, count)| *count), Some(0), "all go home");
        let said: usize = weddings.iter().map(|wedding| wedding.said.len()).sum();
        assert_eq!(curve.broadcasts, said as u64);
        let looks: u64 = curve.looks.values().map(|work| work.deliveries).sum();
        let hours: u64 = curve.hours.values().map(|hour| hour.deliveries).sum();
        assert_eq!([looks, hours], [curve.deliveries; 2]);
        let (at, peak) = curve.peak();
        assert!(peak > 0 && curve.connected_at(at) == peak && curve.connected_at(at - 1) < peak);
        let all: u64 = weddings
            .iter()
            .map(|wedding| u64::from(wedding.staff_devices + wedding.guest_devices))
            .sum();
        assert!(peak < all, "not all weddings are on one day");
        assert!(curve.busiest_hour().1.deliveries >= curve.busiest_look().1);
        assert!(
            curve
                .looks
                .values()
                .all(|work| work.critical_deliveries <= work.deliveries)
        );
    }
}
