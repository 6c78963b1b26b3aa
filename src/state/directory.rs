//! Who there is: users with dense numbers, weddings, venues, segments, and bitmaps over all of them.

use super::cache::CacheKey;
use super::command::Change;
use super::names::{Name, Names};
use super::outcome::{Did, Refused};
use super::preferences::{Preferred, leave};
use super::rows::RowKey;
use super::sources::Sources;
use super::zones::Zones;
use crate::model::directory::{Preferences, Segment, User, Venue, Wedding};
use crate::model::{Place, PlaceKind, UserNumber};
use roaring::RoaringBitmap;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

/// A user as memory holds it: 400,000 of them fit a small machine.
#[derive(Debug)]
struct Record {
    id: Arc<str>,
    role: Name,
    tier: Name,
    locale: Name,
    timezone: Name,
    attributes: Box<[(String, String)]>,
}

/// Who belongs to one wedding or venue: a role each.
#[derive(Debug, Default)]
pub struct Members {
    pub(super) of: BTreeMap<UserNumber, Name>,
    pub(super) roles: BTreeMap<Name, RoaringBitmap>,
}

impl Members {
    fn put(&mut self, user: UserNumber, role: Name) -> Option<Name> {
        let before = self.of.insert(user, role);
        if let Some(before) = before {
            leave(&mut self.roles, &before, user);
        }
        self.roles.entry(role).or_default().insert(user);
        before
    }

    fn remove(&mut self, user: UserNumber) -> bool {
        let Some(role) = self.of.remove(&user) else {
            return false;
        };
        leave(&mut self.roles, &role, user);
        true
    }
}

#[derive(Debug, Default)]
pub struct Directory {
    pub(super) names: Names,
    users: Vec<Option<Record>>,
    numbers: BTreeMap<Arc<str>, UserNumber>,
    pub(super) everyone: Arc<RoaringBitmap>,
    pub(super) profile_roles: BTreeMap<Name, RoaringBitmap>,
    pub(super) tiers: BTreeMap<Name, RoaringBitmap>,
    pub(super) timezones: BTreeMap<Name, RoaringBitmap>,
    pub(super) weddings: BTreeMap<String, (Wedding, Members)>,
    pub(super) venues: BTreeMap<String, (Venue, Members)>,
    /// The weddings of each venue.
    pub(super) held_at: BTreeMap<String, BTreeSet<String>>,
    pub(super) segments: BTreeMap<String, Segment>,
    pub(super) preferred: Preferred,
    pub(super) zones: Zones,
    pub(super) sources: Sources,
    /// Counts changes: what was resolved before a change is not used after it.
    version: u64,
}

fn after<'a, V>(
    map: &'a BTreeMap<String, V>,
    after: Option<&str>,
    limit: usize,
) -> impl Iterator<Item = &'a V> + use<'a, V> {
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    map.range::<str, _>((from, Bound::Unbounded))
        .take(limit)
        .map(|(_, value)| value)
}

impl Directory {
    pub fn user_number(&self, id: &str) -> Option<UserNumber> {
        self.numbers.get(id).copied()
    }

    pub fn user_id(&self, number: UserNumber) -> Option<&str> {
        self.record(number).map(|record| record.id.as_ref())
    }

    pub fn user(&self, number: UserNumber) -> Option<User> {
        self.record(number).map(|record| User {
            id: record.id.to_string(),
            role: self.names.word(record.role).to_owned(),
            tier: self.names.word(record.tier).to_owned(),
            locale: self.names.word(record.locale).to_owned(),
            timezone: self.names.word(record.timezone).to_owned(),
            attributes: record.attributes.to_vec(),
        })
    }

    pub fn users_after(&self, id: Option<&str>, limit: usize) -> Vec<User> {
        let from = id.map_or(Bound::Unbounded, Bound::Excluded);
        let numbers = self.numbers.range::<str, _>((from, Bound::Unbounded)).take(limit);
        numbers.filter_map(|(_, number)| self.user(*number)).collect()
    }

    pub fn users(&self) -> u64 {
        self.everyone.len()
    }

    pub fn wedding(&self, id: &str) -> Option<&Wedding> {
        self.weddings.get(id).map(|(wedding, _)| wedding)
    }

    pub fn weddings_after(&self, id: Option<&str>, limit: usize) -> Vec<Wedding> {
        after(&self.weddings, id, limit)
            .map(|(wedding, _)| wedding.clone())
            .collect()
    }

    pub fn venue(&self, id: &str) -> Option<&Venue> {
        self.venues.get(id).map(|(venue, _)| venue)
    }

    pub fn venues_after(&self, id: Option<&str>, limit: usize) -> Vec<Venue> {
        after(&self.venues, id, limit).map(|(venue, _)| venue.clone()).collect()
    }

    pub fn segment(&self, name: &str) -> Option<&Segment> {
        self.segments.get(name)
    }

    pub fn segments_after(&self, name: Option<&str>, limit: usize) -> Vec<Segment> {
        after(&self.segments, name, limit).cloned().collect()
    }

    /// A place's members as user id and role, by user number; `None` when there is no such place.
    pub fn members(&self, place: &Place) -> Option<Vec<(String, String)>> {
        let members = self.members_of(place)?;
        let named = members
            .of
            .iter()
            .filter_map(|(user, role)| Some((self.user_id(*user)?.to_owned(), self.names.word(*role).to_owned())));
        Some(named.collect())
    }

    /// The role somebody holds at a place.
    pub fn role_at(&self, place: &Place, user: UserNumber) -> Option<&str> {
        self.members_of(place)?.of.get(&user).map(|role| self.names.word(*role))
    }

    /// Every wedding and venue.
    pub fn places(&self) -> impl Iterator<Item = (PlaceKind, &str)> {
        let weddings = self.weddings.keys().map(|id| (PlaceKind::Wedding, id.as_str()));
        weddings.chain(self.venues.keys().map(|id| (PlaceKind::Venue, id.as_str())))
    }

    pub fn preferences(&self, user: UserNumber) -> Option<&Preferences> {
        self.preferred.get(user)
    }

    /// Everybody's preferences, ready to be asked by group.
    pub fn preferred(&self) -> &Preferred {
        &self.preferred
    }

    /// What the clocks show in the zones that the directory names.
    pub fn zones(&self) -> &Zones {
        &self.zones
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn next_number(&self) -> UserNumber {
        self.users.len() as UserNumber
    }

    /// Numbers below this were given before, even if nobody has them now.
    pub(super) fn reserve_numbers(&mut self, next: UserNumber) {
        if self.users.len() < next as usize {
            self.users.resize_with(next as usize, || None);
        }
    }

    fn record(&self, number: UserNumber) -> Option<&Record> {
        self.users.get(number as usize)?.as_ref()
    }

    pub(super) fn members_of(&self, place: &Place) -> Option<&Members> {
        match place.kind {
            PlaceKind::Wedding => self.weddings.get(&place.id).map(|(_, members)| members),
            PlaceKind::Venue => self.venues.get(&place.id).map(|(_, members)| members),
        }
    }

    fn members_of_mut(&mut self, place: &Place) -> Option<&mut Members> {
        match place.kind {
            PlaceKind::Wedding => self.weddings.get_mut(&place.id).map(|(_, members)| members),
            PlaceKind::Venue => self.venues.get_mut(&place.id).map(|(_, members)| members),
        }
    }

    pub(super) fn has_attribute(&self, number: UserNumber, name: &str, values: &[String]) -> bool {
        let Some(record) = self.record(number) else {
            return false;
        };
        record
            .attributes
            .iter()
            .any(|(key, value)| key == name && values.contains(value))
    }

    /// Every change of a list, or none of them.
    pub(super) fn change(
        &mut self,
        changes: Vec<Change>,
        touched: &mut Touched,
    ) -> Result<Vec<Did>, Vec<(u32, Refused)>> {
        let faults = self.faults(&changes);
        if !faults.is_empty() {
            return Err(faults);
        }
        self.version += 1;
        Ok(changes.into_iter().map(|change| self.apply(change, touched)).collect())
    }

    /// What would fail, were the changes applied in order.
    pub fn faults(&self, changes: &[Change]) -> Vec<(u32, Refused)> {
        let mut ahead = Ahead {
            directory: self,
            users: BTreeMap::new(),
            weddings: BTreeMap::new(),
            venues: BTreeMap::new(),
        };
        let checked = changes.iter().enumerate();
        checked
            .filter_map(|(index, change)| ahead.check(change).err().map(|fault| (index as u32, fault)))
            .collect()
    }

    fn apply(&mut self, change: Change, touched: &mut Touched) -> Did {
        match change {
            Change::PutUser(user) => self.put_user(user, touched),
            Change::DeleteUser(id) => self.delete_user(&id, touched),
            Change::PutWedding(wedding) => self.put_wedding(wedding, touched),
            Change::DeleteWedding(id) => self.delete_wedding(&id, touched),
            Change::PutVenue(venue) => self.put_venue(venue, touched),
            Change::DeleteVenue(id) => self.delete_venue(&id, touched),
            Change::PutSegment(segment) => {
                touched.rows.insert(RowKey::Segment(segment.name.clone()));
                did(self.segments.insert(segment.name.clone(), segment).is_some())
            }
            Change::DeleteSegment(name) => {
                touched.rows.insert(RowKey::Segment(name.clone()));
                gone(self.segments.remove(&name).is_some())
            }
            Change::PutMembers(place, members) => self.put_members(&place, members, touched),
            Change::PutMember(place, user, role) => self.put_member(&place, &user, &role, touched),
            Change::DeleteMember(place, user) => self.delete_member(&place, &user, touched),
            Change::PutPreferences(id, preferences) => {
                let Some(number) = self.user_number(&id) else {
                    return Did::Absent;
                };
                touched.rows.insert(RowKey::Preferences(number));
                did(self.preferred.set(number, preferences))
            }
            Change::KnowZones(tables) => did(!self.zones.fill(tables, &mut touched.rows)),
        }
    }

    fn put_user(&mut self, user: User, touched: &mut Touched) -> Did {
        let known = self.user_number(&user.id);
        touched.zones |= !self.has_people_in(&user.timezone);
        let number = known.unwrap_or_else(|| self.next_number());
        self.set_user(number, user);
        touched.rows.insert(RowKey::User(number));
        touched.counters |= known.is_none();
        did(known.is_some())
    }

    /// Puts a user under a number, known or new.
    pub(super) fn set_user(&mut self, number: UserNumber, user: User) {
        self.reserve_numbers(number + 1);
        self.unindex(number);
        let id: Arc<str> = match self.record(number) {
            Some(record) => record.id.clone(),
            None => user.id.into(),
        };
        let record = Record {
            id: id.clone(),
            role: self.names.number(&user.role),
            tier: self.names.number(&user.tier),
            locale: self.names.number(&user.locale),
            timezone: self.names.number(&user.timezone),
            attributes: user.attributes.into(),
        };
        self.profile_roles.entry(record.role).or_default().insert(number);
        self.tiers.entry(record.tier).or_default().insert(number);
        self.timezones.entry(record.timezone).or_default().insert(number);
        if let Some(slot) = self.users.get_mut(number as usize) {
            *slot = Some(record);
        }
        if self.numbers.insert(id.clone(), number).is_none() {
            Arc::make_mut(&mut self.everyone).insert(number);
            self.has_come(&id, number);
        }
    }

    fn unindex(&mut self, number: UserNumber) {
        let Some(record) = self.users.get(number as usize).and_then(Option::as_ref) else {
            return;
        };
        leave(&mut self.profile_roles, &record.role, number);
        leave(&mut self.tiers, &record.tier, number);
        leave(&mut self.timezones, &record.timezone, number);
    }

    fn delete_user(&mut self, id: &str, touched: &mut Touched) -> Did {
        let Some(number) = self.user_number(id) else {
            return Did::Absent;
        };
        self.unindex(number);
        for (id, (_, members)) in &mut self.weddings {
            if members.remove(number) {
                touched
                    .rows
                    .insert(RowKey::Member(PlaceKind::Wedding, id.clone(), number));
            }
        }
        for (id, (_, members)) in &mut self.venues {
            if members.remove(number) {
                touched
                    .rows
                    .insert(RowKey::Member(PlaceKind::Venue, id.clone(), number));
            }
        }
        self.numbers.remove(id);
        if let Some(slot) = self.users.get_mut(number as usize) {
            *slot = None;
        }
        Arc::make_mut(&mut self.everyone).remove(number);
        self.preferred.remove(number);
        self.has_gone(id, number, touched);
        touched.rows.insert(RowKey::User(number));
        touched.rows.insert(RowKey::Preferences(number));
        touched.erased.push(number);
        Did::Deleted
    }

    fn put_wedding(&mut self, wedding: Wedding, touched: &mut Touched) -> Did {
        touched.rows.insert(RowKey::Wedding(wedding.id.clone()));
        let known = self.wedding(&wedding.id);
        touched.zones |= known.is_some_and(|known| known.timezone != wedding.timezone);
        self.set_wedding(wedding)
    }

    pub(super) fn set_wedding(&mut self, wedding: Wedding) -> Did {
        let id = wedding.id.clone();
        let venue = wedding.venue.clone();
        let before = if let Some((known, _)) = self.weddings.get_mut(&id) {
            Some(std::mem::replace(known, wedding))
        } else {
            self.weddings.insert(id.clone(), (wedding, Members::default()));
            None
        };
        if let Some(venue) = before.as_ref().and_then(|before| before.venue.as_ref()) {
            self.leave_venue(venue, &id);
        }
        if let Some(venue) = venue {
            self.held_at.entry(venue).or_default().insert(id);
        }
        did(before.is_some())
    }

    fn leave_venue(&mut self, venue: &str, wedding: &str) {
        if let Some(held) = self.held_at.get_mut(venue) {
            held.remove(wedding);
            if held.is_empty() {
                self.held_at.remove(venue);
            }
        }
    }

    fn delete_wedding(&mut self, id: &str, touched: &mut Touched) -> Did {
        let Some((wedding, members)) = self.weddings.remove(id) else {
            return Did::Absent;
        };
        if let Some(venue) = &wedding.venue {
            self.leave_venue(venue, id);
        }
        touched.rows.insert(RowKey::Wedding(id.to_owned()));
        touched.members(PlaceKind::Wedding, id, members.of.keys());
        Did::Deleted
    }

    fn put_venue(&mut self, venue: Venue, touched: &mut Touched) -> Did {
        touched.rows.insert(RowKey::Venue(venue.id.clone()));
        let known = self.venue(&venue.id);
        touched.zones |= known.is_some_and(|known| known.timezone != venue.timezone);
        self.set_venue(venue)
    }

    pub(super) fn set_venue(&mut self, venue: Venue) -> Did {
        if let Some((known, _)) = self.venues.get_mut(&venue.id) {
            *known = venue;
            return Did::Replaced;
        }
        self.venues.insert(venue.id.clone(), (venue, Members::default()));
        Did::Created
    }

    fn delete_venue(&mut self, id: &str, touched: &mut Touched) -> Did {
        let Some((_, members)) = self.venues.remove(id) else {
            return Did::Absent;
        };
        touched.rows.insert(RowKey::Venue(id.to_owned()));
        touched.members(PlaceKind::Venue, id, members.of.keys());
        Did::Deleted
    }

    fn put_members(&mut self, place: &Place, list: Vec<(String, String)>, touched: &mut Touched) -> Did {
        let Some(members) = self.members_of_mut(place) else {
            return Did::Absent;
        };
        let before = std::mem::take(members);
        touched.members(place.kind, &place.id, before.of.keys());
        for (user, role) in list {
            self.put_member(place, &user, &role, touched);
        }
        did(!before.of.is_empty())
    }

    fn put_member(&mut self, place: &Place, user: &str, role: &str, touched: &mut Touched) -> Did {
        let Some(number) = self.user_number(user) else {
            return Did::Absent;
        };
        touched
            .rows
            .insert(RowKey::Member(place.kind, place.id.clone(), number));
        self.set_member(place, number, role)
    }

    pub(super) fn set_member(&mut self, place: &Place, user: UserNumber, role: &str) -> Did {
        let role = self.names.number(role);
        match self.members_of_mut(place) {
            Some(members) => did(members.put(user, role).is_some()),
            None => Did::Absent,
        }
    }

    fn delete_member(&mut self, place: &Place, user: &str, touched: &mut Touched) -> Did {
        let Some(number) = self.user_number(user) else {
            return Did::Absent;
        };
        touched
            .rows
            .insert(RowKey::Member(place.kind, place.id.clone(), number));
        gone(self.members_of_mut(place).is_some_and(|members| members.remove(number)))
    }
}

/// What a list of changes has touched, for the rows and the effects.
#[derive(Debug, Default)]
pub struct Touched {
    pub rows: BTreeSet<RowKey>,
    pub erased: Vec<UserNumber>,
    /// What the cache has under the ids of those.
    pub cached: Vec<CacheKey>,
    /// Lists of the cache that they left.
    pub shortened: BTreeSet<CacheKey>,
    pub counters: bool,
    /// Somebody is in a zone where nobody was, or a place is in another one.
    pub zones: bool,
}

impl Touched {
    fn members<'a>(&mut self, kind: PlaceKind, id: &str, users: impl Iterator<Item = &'a UserNumber>) {
        self.rows
            .extend(users.map(|user| RowKey::Member(kind, id.to_owned(), *user)));
    }
}

/// The directory as it would be after the changes checked so far: only what later changes may refer to.
struct Ahead<'a> {
    directory: &'a Directory,
    users: BTreeMap<&'a str, bool>,
    weddings: BTreeMap<&'a str, Option<&'a str>>,
    venues: BTreeMap<&'a str, bool>,
}

impl<'a> Ahead<'a> {
    fn check(&mut self, change: &'a Change) -> Result<(), Refused> {
        match change {
            Change::PutUser(user) => {
                self.users.insert(&user.id, true);
            }
            Change::DeleteUser(id) => {
                self.users.insert(id, false);
            }
            Change::PutWedding(wedding) => {
                if let Some(venue) = &wedding.venue {
                    self.has_venue(venue)?;
                }
                self.weddings
                    .insert(&wedding.id, Some(wedding.venue.as_deref().unwrap_or_default()));
            }
            Change::DeleteWedding(id) => {
                self.weddings.insert(id, None);
            }
            Change::PutVenue(venue) => {
                self.venues.insert(&venue.id, true);
            }
            Change::DeleteVenue(id) => {
                self.venue_is_free(id)?;
                self.venues.insert(id, false);
            }
            Change::PutSegment(_) | Change::DeleteSegment(_) | Change::KnowZones(_) => {}
            Change::PutMembers(place, members) => {
                self.has_place(place)?;
                members.iter().try_for_each(|(user, _)| self.has_user(user))?;
            }
            Change::PutMember(place, user, _) => {
                self.has_place(place)?;
                self.has_user(user)?;
            }
            Change::DeleteMember(place, _) => self.has_place(place)?,
            Change::PutPreferences(user, _) => self.has_user(user)?,
        }
        Ok(())
    }

    fn has_user(&self, id: &str) -> Result<(), Refused> {
        let known = self
            .users
            .get(id)
            .copied()
            .unwrap_or_else(|| self.directory.user_number(id).is_some());
        if known {
            Ok(())
        } else {
            Err(Refused::UnknownUser(id.to_owned()))
        }
    }

    fn has_venue(&self, id: &str) -> Result<(), Refused> {
        let known = self
            .venues
            .get(id)
            .copied()
            .unwrap_or_else(|| self.directory.venues.contains_key(id));
        if known {
            Ok(())
        } else {
            Err(Refused::UnknownVenue(id.to_owned()))
        }
    }

    fn has_place(&self, place: &Place) -> Result<(), Refused> {
        if place.kind == PlaceKind::Venue {
            return self.has_venue(&place.id);
        }
        let ahead = self.weddings.get(place.id.as_str()).map(Option::is_some);
        let known = ahead.unwrap_or_else(|| self.directory.weddings.contains_key(&place.id));
        if known {
            Ok(())
        } else {
            Err(Refused::UnknownWedding(place.id.clone()))
        }
    }

    fn venue_is_free(&self, id: &str) -> Result<(), Refused> {
        let named_ahead = self.weddings.values().any(|venue| *venue == Some(id));
        let held = self.directory.held_at.get(id).into_iter().flatten();
        let still_held = held
            .into_iter()
            .any(|wedding| !self.weddings.contains_key(wedding.as_str()));
        if named_ahead || still_held {
            Err(Refused::VenueInUse(id.to_owned()))
        } else {
            Ok(())
        }
    }
}

fn did(known: bool) -> Did {
    if known { Did::Replaced } else { Did::Created }
}

fn gone(known: bool) -> Did {
    if known { Did::Deleted } else { Did::Absent }
}
