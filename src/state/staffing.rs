//! Who is expected where and when, and what the clocks of the venues show: what a forecast of the load is made from.

use super::directory::{Directory, Members};
use super::zones::Offset;
use crate::model::Millis;
use crate::model::audience::NOT_STAFF_ROLES;
use crate::model::directory::{Wedding, WeddingStatus};
use roaring::RoaringBitmap;
use std::collections::BTreeSet;

/// Guests and team of one wedding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Staffing {
    pub starts_at: Millis,
    pub ends_at: Millis,
    pub team: u64,
    pub guests: u64,
}

impl Directory {
    /// The weddings that are not cancelled and touch the time from `from` to `until`.
    pub fn staffing(&self, from: Millis, until: Millis) -> Vec<Staffing> {
        let held = self.weddings.values().filter(|(wedding, _)| {
            wedding.status != WeddingStatus::Cancelled && wedding.ends_at >= from && wedding.starts_at <= until
        });
        held.map(|(wedding, members)| self.staffing_of(wedding, members))
            .collect()
    }

    /// The staff of each wedding whose event window is open.
    pub fn crews(&self, at: Millis) -> impl Iterator<Item = (&str, RoaringBitmap)> {
        let open = self
            .weddings
            .iter()
            .filter(move |(_, (wedding, _))| wedding.window_is_open(at));
        open.map(|(id, (_, members))| {
            let staff = self.staff_of(members);
            (id.as_str(), staff.fold(RoaringBitmap::new(), |all, users| all | users))
        })
    }

    fn staff_of<'a>(&'a self, members: &'a Members) -> impl Iterator<Item = &'a RoaringBitmap> {
        let is_staff = |name: &str| !name.is_empty() && !NOT_STAFF_ROLES.contains(&name);
        let staff = members
            .roles
            .iter()
            .filter(move |(role, _)| is_staff(self.names.word(**role)));
        staff.map(|(_, users)| users)
    }

    fn staffing_of(&self, wedding: &Wedding, members: &Members) -> Staffing {
        let team: u64 = self.staff_of(members).map(RoaringBitmap::len).sum();
        let others = members.of.len() as u64 - team;
        Staffing {
            starts_at: wedding.starts_at,
            ends_at: wedding.ends_at,
            team,
            guests: others.max(wedding.guests_expected.into()),
        }
    }

    /// What the clocks of the venues are ahead of UTC, each offset once; only UTC where there is no venue.
    pub fn clocks(&self, at: Millis) -> BTreeSet<Offset> {
        let offset = |zone: &str| self.zones.get_or_utc(zone).offset_at(at);
        let clocks: BTreeSet<Offset> = self.venues.values().map(|(venue, _)| offset(&venue.timezone)).collect();
        if clocks.is_empty() { BTreeSet::from([0]) } else { clocks }
    }
}
