//! From an audience to its recipients: set operations over the directory's bitmaps.

use super::directory::{Directory, Members};
use super::names::Name;
use super::outcome::Refused;
use crate::model::audience::{GUEST_ROLES, NOT_STAFF_ROLES};
use crate::model::directory::Segment;
use crate::model::{Audience, Clause, Millis};
use roaring::{MultiOps, RoaringBitmap};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resolved {
    pub recipients: Arc<RoaringBitmap>,
    /// Recipients of the clauses that `exclude` took out again.
    pub excluded: Arc<RoaringBitmap>,
    /// Users named by id that nobody has, each counted once.
    pub unknown: u32,
}

const DAY: Millis = 86_400_000;
/// Audiences whose recipients are remembered until the directory changes.
const REMEMBERED_MAX: usize = 32;
/// Below this many recipients, run-length containers do not pay for looking.
const OPTIMIZE_MIN: u64 = 64;

/// What was resolved lately: senders use the same few audiences again and again.
#[derive(Debug, Default)]
pub struct Remembered {
    version: u64,
    entries: VecDeque<(Audience, Resolved)>,
}

impl Remembered {
    pub fn resolve(&mut self, directory: &Directory, audience: &Audience, at: Millis) -> Result<Resolved, Refused> {
        if depends_on_time(audience) {
            return resolve(directory, audience, at);
        }
        if self.version != directory.version() {
            self.version = directory.version();
            self.entries.clear();
        }
        if let Some((_, known)) = self.entries.iter().find(|(known, _)| known == audience) {
            return Ok(known.clone());
        }
        let resolved = resolve(directory, audience, at)?;
        if self.entries.len() == REMEMBERED_MAX {
            self.entries.pop_front();
        }
        self.entries.push_back((audience.clone(), resolved.clone()));
        Ok(resolved)
    }
}

fn depends_on_time(audience: &Audience) -> bool {
    let clauses = || audience.clauses.iter().chain(&audience.exclude);
    clauses().any(|clause| !clause.on_site.is_empty() || !clause.segments.is_empty())
}

/// The recipients at log time `at`.
pub fn resolve(directory: &Directory, audience: &Audience, at: Millis) -> Result<Resolved, Refused> {
    let mut look = Look {
        directory,
        at,
        unknown: BTreeSet::new(),
    };
    if let ([only], []) = (audience.clauses.as_slice(), audience.exclude.as_slice())
        && *only
            == (Clause {
                everyone: true,
                ..Clause::default()
            })
    {
        let mut recipients = (*directory.everyone).clone();
        recipients.optimize();
        return Ok(Resolved {
            recipients: Arc::new(recipients),
            ..Resolved::default()
        });
    }
    let mut recipients = look.any_of(&audience.clauses)?;
    let mut excluded = look.any_of(&audience.exclude)?;
    excluded &= &recipients;
    recipients -= &excluded;
    if recipients.len() >= OPTIMIZE_MIN {
        recipients.optimize();
    }
    let unknown = look.unknown.len() as u32;
    Ok(Resolved {
        recipients: Arc::new(recipients),
        excluded: Arc::new(excluded),
        unknown,
    })
}

/// The audience without places and segments that are gone. A clause that named nothing else names nobody.
pub fn known_only(directory: &Directory, audience: Audience) -> Audience {
    let keep = |mut clause: Clause| {
        let mut is_whole = true;
        let mut keep = |names: &mut Vec<String>, is_known: &dyn Fn(&str) -> bool| {
            let named = !names.is_empty();
            names.retain(|name| is_known(name));
            is_whole &= !named || !names.is_empty();
        };
        let is_venue = |id: &str| directory.venues.contains_key(id);
        keep(&mut clause.weddings, &|id| directory.weddings.contains_key(id));
        keep(&mut clause.venues, &is_venue);
        keep(&mut clause.on_site, &is_venue);
        keep(&mut clause.segments, &|name| directory.has_segment(name));
        is_whole.then_some(clause)
    };
    Audience {
        clauses: audience.clauses.into_iter().filter_map(keep).collect(),
        exclude: audience.exclude.into_iter().filter_map(keep).collect(),
    }
}

/// Every wedding, venue and segment that the audience names is known.
pub fn check_known(directory: &Directory, audience: &Audience) -> Result<(), Refused> {
    for clause in audience.clauses.iter().chain(&audience.exclude) {
        let unknown = |id: &&String| !directory.weddings.contains_key(*id);
        if let Some(id) = clause.weddings.iter().find(unknown) {
            return Err(Refused::UnknownWedding(id.clone()));
        }
        let unknown = |id: &&String| !directory.venues.contains_key(*id);
        if let Some(id) = clause.venues.iter().chain(&clause.on_site).find(unknown) {
            return Err(Refused::UnknownVenue(id.clone()));
        }
        let unknown = |name: &&String| !directory.has_segment(name);
        if let Some(name) = clause.segments.iter().find(unknown) {
            return Err(Refused::UnknownSegment(name.clone()));
        }
    }
    Ok(())
}

/// What is named is gathered first and united at once: one set after the other costs twelve times as much for fifty weddings.
struct Look<'a> {
    directory: &'a Directory,
    at: Millis,
    unknown: BTreeSet<&'a str>,
}

/// Narrows `found` (nothing yet: everybody) to `to`.
fn narrow(found: &mut Option<RoaringBitmap>, to: RoaringBitmap) {
    match found {
        Some(found) => *found &= to,
        None => *found = Some(to),
    }
}

impl<'a> Look<'a> {
    fn any_of(&mut self, clauses: &'a [Clause]) -> Result<RoaringBitmap, Refused> {
        let mut all = RoaringBitmap::new();
        for clause in clauses {
            all |= self.clause(clause)?;
        }
        Ok(all)
    }

    /// Keys are AND, values OR. A clause without a key names nobody.
    fn clause(&mut self, clause: &'a Clause) -> Result<RoaringBitmap, Refused> {
        let mut found = None;
        if clause.everyone {
            found = Some((*self.directory.everyone).clone());
        }
        if !clause.users.is_empty() {
            narrow(&mut found, self.users(&clause.users));
        }
        if !clause.weddings.is_empty() {
            narrow(&mut found, self.weddings(&clause.weddings, &clause.roles)?);
        }
        if !clause.venues.is_empty() {
            narrow(&mut found, self.venues(&clause.venues, &clause.roles)?);
        }
        if !clause.on_site.is_empty() {
            narrow(&mut found, self.on_site(&clause.on_site, &clause.roles)?);
        }
        let placed = !(clause.weddings.is_empty() && clause.venues.is_empty() && clause.on_site.is_empty());
        if !clause.roles.is_empty() && !placed {
            narrow(
                &mut found,
                self.with_roles(&self.directory.profile_roles, &clause.roles).union(),
            );
        }
        if !clause.tiers.is_empty() {
            narrow(&mut found, self.tiers(&clause.tiers));
        }
        if !clause.segments.is_empty() {
            narrow(&mut found, self.segments(&clause.segments)?);
        }
        Ok(found.unwrap_or_default())
    }

    fn users(&mut self, ids: &'a [String]) -> RoaringBitmap {
        let mut found = RoaringBitmap::new();
        for id in ids {
            match self.directory.user_number(id) {
                Some(number) => {
                    found.insert(number);
                }
                None => {
                    self.unknown.insert(id);
                }
            }
        }
        found
    }

    fn weddings(&self, ids: &[String], roles: &[String]) -> Result<RoaringBitmap, Refused> {
        let mut sets = Vec::new();
        for id in ids {
            let place = self.directory.weddings.get(id);
            let (_, members) = place.ok_or_else(|| Refused::UnknownWedding(id.clone()))?;
            sets.extend(self.members(members, roles));
        }
        Ok(sets.union())
    }

    fn venues(&self, ids: &[String], roles: &[String]) -> Result<RoaringBitmap, Refused> {
        Ok(self.in_venues(ids, roles)?.union())
    }

    fn in_venues(&self, ids: &[String], roles: &[String]) -> Result<Vec<&'a RoaringBitmap>, Refused> {
        let mut sets = Vec::new();
        for id in ids {
            let place = self.directory.venues.get(id);
            let (_, members) = place.ok_or_else(|| Refused::UnknownVenue(id.clone()))?;
            sets.extend(self.members(members, roles));
        }
        Ok(sets)
    }

    fn on_site(&self, ids: &[String], roles: &[String]) -> Result<RoaringBitmap, Refused> {
        let mut sets = self.in_venues(ids, roles)?;
        let held = ids.iter().filter_map(|id| self.directory.held_at.get(id)).flatten();
        for (wedding, members) in held.filter_map(|id| self.directory.weddings.get(id)) {
            if wedding.window_is_open(self.at) {
                sets.extend(self.members(members, roles));
            }
        }
        Ok(sets.union())
    }

    fn members(&self, members: &'a Members, roles: &[String]) -> Vec<&'a RoaringBitmap> {
        if roles.is_empty() {
            return members.roles.values().collect();
        }
        self.with_roles(&members.roles, roles)
    }

    fn with_roles(&self, index: &'a BTreeMap<Name, RoaringBitmap>, roles: &[String]) -> Vec<&'a RoaringBitmap> {
        let names = &self.directory.names;
        let mut sets = Vec::new();
        for role in roles {
            match role.as_str() {
                "guests" => sets.extend(GUEST_ROLES.iter().filter_map(|role| index.get(&names.find(role)?))),
                "staff" => {
                    let staff =
                        |role: &Name| !names.word(*role).is_empty() && !NOT_STAFF_ROLES.contains(&names.word(*role));
                    sets.extend(index.iter().filter(|(role, _)| staff(role)).map(|(_, users)| users));
                }
                role => sets.extend(names.find(role).and_then(|role| index.get(&role))),
            }
        }
        sets
    }

    fn tiers(&self, tiers: &[String]) -> RoaringBitmap {
        let sets = tiers
            .iter()
            .filter_map(|tier| self.directory.tiers.get(&self.directory.names.find(tier)?));
        sets.union()
    }

    /// Who a cached value says is in a segment; where there is none, whom its rule names.
    fn segments(&mut self, names: &'a [String]) -> Result<RoaringBitmap, Refused> {
        let mut found = RoaringBitmap::new();
        for name in names {
            if let Some(listed) = self.directory.sources().segment(name) {
                found |= &listed.users;
                self.unknown.extend(listed.unknown.iter().map(String::as_str));
                continue;
            }
            let segment = self.directory.segments.get(name);
            found |= self.segment(segment.ok_or_else(|| Refused::UnknownSegment(name.clone()))?);
        }
        Ok(found)
    }

    /// A segment's keys are AND, its values OR; one without a key names everybody.
    fn segment(&self, segment: &Segment) -> RoaringBitmap {
        let mut found = None;
        if !segment.roles.is_empty() {
            narrow(
                &mut found,
                self.with_roles(&self.directory.profile_roles, &segment.roles).union(),
            );
        }
        if !segment.tiers.is_empty() {
            narrow(&mut found, self.tiers(&segment.tiers));
        }
        if !segment.wedding_status.is_empty() || segment.wedding_within_days.is_some() {
            narrow(&mut found, self.of_weddings(segment));
        }
        let mut found = found.unwrap_or_else(|| (*self.directory.everyone).clone());
        for (name, values) in &segment.attributes {
            let matching = found
                .iter()
                .filter(|user| self.directory.has_attribute(*user, name, values));
            found = matching.collect();
        }
        found
    }

    fn of_weddings(&self, segment: &Segment) -> RoaringBitmap {
        let mut sets = Vec::new();
        for (wedding, members) in self.directory.weddings.values() {
            let status = segment.wedding_status.is_empty() || segment.wedding_status.contains(&wedding.status);
            let near = segment.wedding_within_days.is_none_or(|days| {
                wedding.starts_at >= self.at && wedding.starts_at - self.at <= Millis::from(days) * DAY
            });
            if status && near {
                sets.extend(members.roles.values());
            }
        }
        sets.union()
    }
}
