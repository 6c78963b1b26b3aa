//! The same time on everybody's wall: when the clocks of each recipient's own zone show a local time.
//!
//! Offsets come from the tables in the log. A user without a zone counts as at the places that the audience names, where these
//! have one zone, else as at UTC.
//!
//! A time that clocks show twice is the first of the two. One that they jump over comes as long after the jump as it would lie
//! inside of it: 02:30 where 02:00 is followed by 03:00 is 03:30.

use super::apply::State;
use super::command::Spans;
use super::directory::Directory;
use super::outcome::Refused;
use super::preferences::Sorted;
use super::zones::ZoneTable;
use crate::model::{Draft, LocalTime, Millis, Number};
use roaring::RoaringBitmap;
use std::collections::{BTreeMap, BTreeSet};

/// When a broadcast goes out and is over, as things are when it is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Until then it is scheduled; `None`: it goes out now.
    pub next: Option<Millis>,
    pub expires_at: Millis,
}

impl ZoneTable {
    /// The instant at which a local time comes.
    pub fn instant_of(&self, local: LocalTime) -> Millis {
        let mut instant = local.at(self.offset);
        for (change, offset) in &self.changes {
            let after = local.at(*offset);
            // shown before the change, or jumped over by it
            if instant < *change || after < *change {
                return instant;
            }
            instant = after;
        }
        instant
    }
}

impl Directory {
    /// The names of all zones that users are in.
    pub fn timezones(&self) -> impl Iterator<Item = &str> {
        self.timezones.keys().map(|name| self.names.word(*name))
    }

    pub(super) fn has_people_in(&self, zone: &str) -> bool {
        let name = self.names.find(zone);
        name.is_some_and(|name| self.timezones.contains_key(&name))
    }

    /// The zones of all places; one may come several times.
    pub fn place_zones(&self) -> impl Iterator<Item = &str> {
        let weddings = self.weddings.values().map(|(wedding, _)| &wedding.timezone);
        let venues = self.venues.values().map(|(venue, _)| &venue.timezone);
        weddings.chain(venues).map(String::as_str)
    }

    /// The zone of who has none of their own.
    fn zone_at_places(&self, draft: &Draft) -> &ZoneTable {
        let clauses = || draft.audience.clauses.iter();
        let weddings = clauses().flat_map(|clause| &clause.weddings);
        let weddings = weddings.filter_map(|id| Some(&self.wedding(id)?.timezone));
        let venues = clauses().flat_map(|clause| clause.venues.iter().chain(&clause.on_site));
        let venues = venues.filter_map(|id| Some(&self.venue(id)?.timezone));
        let mut named = weddings.chain(venues);
        let only = named.next().filter(|first| named.all(|other| other == *first));
        self.zones.get_or_utc(only.map_or("", String::as_str))
    }

    /// Who gets a draft's broadcast when: everybody is in one group.
    pub fn groups(&self, draft: &Draft, local: LocalTime, users: &RoaringBitmap) -> BTreeMap<Millis, RoaringBitmap> {
        let mut groups: BTreeMap<Millis, RoaringBitmap> = BTreeMap::new();
        for (name, there) in &self.timezones {
            let here = there & users;
            if !here.is_empty() {
                let zone = match self.names.word(*name) {
                    "" => self.zone_at_places(draft),
                    name => self.zones.get_or_utc(name),
                };
                *groups.entry(zone.instant_of(local)).or_default() |= here;
            }
        }
        groups
    }

    /// When a local time comes for anybody at all, and at the draft's places.
    pub fn instants(&self, draft: &Draft, local: LocalTime) -> BTreeSet<Millis> {
        let named = self.timezones().filter(|name| !name.is_empty());
        let zones = named.map(|name| self.zones.get_or_utc(name));
        let zones = zones.chain([self.zone_at_places(draft)]);
        zones.map(|zone| zone.instant_of(local)).collect()
    }
}

impl Sorted {
    /// Everybody's own time is still to come.
    fn all_wait(&self) -> bool {
        let Self {
            now,
            held,
            muted,
            critical_only,
            waiting: _,
        } = self;
        held.is_empty() && [now, muted, critical_only].iter().all(|users| users.is_empty())
    }
}

impl State {
    /// What preferences make of a draft's recipients at its first release. Whose own time has not come waits, and is asked then.
    pub fn sort_first(&self, draft: &Draft, recipients: &RoaringBitmap) -> Sorted {
        let Some(local) = draft.deliver_at_local else {
            return self.sort(draft, recipients);
        };
        let mut groups = self.directory.groups(draft, local, recipients);
        let waiting = groups.split_off(&(self.counters.log_time + 1));
        let mut come = RoaringBitmap::new();
        groups.values().for_each(|users| come |= users);
        Sorted {
            waiting: waiting.into_iter().collect(),
            ..self.sort(draft, &come)
        }
    }

    /// When a draft's broadcast goes out, if it is accepted now.
    pub fn times(&self, draft: &Draft, sorted: &Sorted, spans: Spans) -> Result<Times, Refused> {
        let at = self.counters.log_time;
        let next = match draft.deliver_at_local {
            Some(local) => self.next_look(draft, local, sorted),
            None => draft.deliver_at.filter(|due| *due > at),
        };
        // to the last of those whom it is meant for now
        let last = sorted.waiting.last().map(|(last, _)| *last).or(next);
        let is_far = last > Some(at.saturating_add_unsigned(spans.schedule_max_ms));
        if is_far && draft.deliver_at_local.is_some() {
            return Err(Refused::ScheduleTooFar(spans.schedule_max_ms));
        }
        let expires_at = draft.expires_at.unwrap_or_else(|| {
            let from = self.last_look(draft, next).or(last).unwrap_or(at);
            from.saturating_add_unsigned(spans.expires_after_ms)
        });
        match last {
            _ if expires_at > last.unwrap_or(at) => Ok(Times { next, expires_at }),
            Some(_) => Err(Refused::ExpiresBeforeDelivery),
            None => Err(Refused::ExpiresBeforeRelease),
        }
    }

    /// When to look again whether the time has come for somebody; `None` where it has, or comes for nobody any more. Recipients
    /// are found at the first release, so every zone of the directory is looked at.
    pub(super) fn next_look(&self, draft: &Draft, local: LocalTime, sorted: &Sorted) -> Option<Millis> {
        let instants = || self.directory.instants(draft, local);
        let ahead = |at: &Millis| *at > self.counters.log_time;
        sorted.all_wait().then(instants)?.into_iter().find(ahead)
    }

    /// Clocks have changed, or there are people where nobody was: a local time that comes earlier there is looked at then.
    pub(super) fn look_earlier(&mut self) {
        let now = self.counters.log_time;
        let earlier = self.broadcasts.scheduled.iter().filter_map(|(number, scheduled)| {
            let draft = &scheduled.hot.broadcast.draft;
            let instants = self.directory.instants(draft, draft.deliver_at_local?);
            let next = instants.into_iter().find(|at| *at > now)?;
            (next < scheduled.at).then_some((*number, next))
        });
        let earlier: Vec<(Number, Millis)> = earlier.collect();
        earlier.into_iter().for_each(|(number, at)| self.look_at(number, at));
    }

    /// When somebody may get it last of all whose place in the audience is not known yet: before it is out, whoever comes counts.
    fn last_look(&self, draft: &Draft, next: Option<Millis>) -> Option<Millis> {
        let local = draft.deliver_at_local.filter(|_| next.is_some())?;
        self.directory.instants(draft, local).pop_last()
    }
}

#[cfg(test)]
mod tests {
    use crate::model::LocalTime;
    use crate::state::zones::ZoneTable;

    fn local(text: &str) -> LocalTime {
        LocalTime::parse(text).unwrap()
    }

    /// An hour ahead of UTC; two hours from 02:00 (01:00 UTC) on March 28 to 03:00 (01:00 UTC) on October 31.
    fn zone() -> ZoneTable {
        let utc = |text| local(text).at(0);
        ZoneTable {
            name: "Test/Zone".into(),
            offset: 3_600,
            changes: vec![(utc("2027-03-28T01:00"), 7_200), (utc("2027-10-31T01:00"), 3_600)],
            until: utc("2029-01-01T00:00"),
        }
    }

    #[track_caller]
    fn check(shown: &str, utc: &str) {
        assert_eq!(
            zone().instant_of(local(shown)),
            local(utc).at(0),
            "{shown} is {utc} UTC"
        );
    }

    #[test]
    fn clocks_show_a_time_by_the_offset_of_the_day() {
        check("2020-06-01T09:00", "2020-06-01T08:00");
        check("2027-02-01T09:00", "2027-02-01T08:00");
        check("2027-06-19T09:00:30", "2027-06-19T07:00:30");
        check("2027-12-24T00:30", "2027-12-23T23:30");
    }

    #[test]
    fn a_time_that_is_jumped_over_comes_that_much_later() {
        check("2027-03-28T01:59:59", "2027-03-28T00:59:59");
        check("2027-03-28T02:00", "2027-03-28T01:00");
        check("2027-03-28T02:30", "2027-03-28T01:30");
        check("2027-03-28T02:59:59", "2027-03-28T01:59:59");
        check("2027-03-28T03:00", "2027-03-28T01:00");
        check("2027-03-28T03:30", "2027-03-28T01:30");
    }

    #[test]
    fn a_time_that_comes_twice_is_the_first_of_the_two() {
        check("2027-10-31T01:59:59", "2027-10-30T23:59:59");
        check("2027-10-31T02:00", "2027-10-31T00:00");
        check("2027-10-31T02:59:59", "2027-10-31T00:59:59");
        check("2027-10-31T03:00", "2027-10-31T02:00");
    }
}
