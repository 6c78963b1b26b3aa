//! The home of the zone database: which names there are, and tables of offsets made from it for the log.

use crate::model::Millis;
use crate::state::command::Change;
use crate::state::directory::Directory;
use crate::state::zones::ZoneTable;
use jiff::Timestamp;
use jiff::tz::{TimeZone, db};
use std::collections::{BTreeMap, BTreeSet};

const DAY: Millis = 24 * 3_600_000;
/// A table starts this long before it is made: the clock of whoever makes it may be ahead of the log's.
const STARTS_BEFORE: Millis = 31 * DAY;
/// A table reaches this far ahead ...
const REACHES: Millis = 400 * DAY;
/// ... and is renewed when it reaches less far than this: months without a leader do no harm.
const RENEWED_BEFORE: Millis = 200 * DAY;
/// Changes of one table. The busiest zones have four a year; a table that is full reaches to its last change.
const CHANGES_MAX: usize = 16;
/// Tables of one command; the rest is renewed at the next look.
const TABLES_MAX: usize = 100;

/// The name as the database spells it; `None` for a name that it does not have.
pub fn spelled(name: &str) -> Option<String> {
    zone(name)?.iana_name().map(str::to_owned)
}

fn zone(name: &str) -> Option<TimeZone> {
    db().get(name).ok()
}

/// What the clocks of a zone show from about `now` on; `None` for a name that the database does not have.
pub fn table(name: &str, now: Millis) -> Option<ZoneTable> {
    let zone = zone(name)?;
    let start = Timestamp::from_millisecond(now - STARTS_BEFORE).ok()?;
    let mut until = now + REACHES;
    let offset = zone.to_offset(start).seconds();
    let mut changes: Vec<(Millis, i32)> = Vec::new();
    for change in zone.following(start) {
        let (at, after) = (change.timestamp().as_millisecond(), change.offset().seconds());
        if at > until {
            break;
        }
        // only the zone's abbreviation changed
        if after == changes.last().map_or(offset, |(_, before)| *before) {
            continue;
        }
        if changes.len() == CHANGES_MAX {
            until = at - 1;
            break;
        }
        changes.push((at, after));
    }
    Some(ZoneTable {
        name: name.to_owned(),
        offset,
        changes,
        until,
    })
}

/// The changes as one list, with the tables of the zones that they name and of which nothing is known yet: a change never takes
/// effect before the clocks that it goes by.
pub fn completed(mut changes: Vec<Change>, directory: &Directory, now: Millis) -> Vec<Change> {
    let named: BTreeSet<&str> = changes.iter().filter_map(zone_of).collect();
    let unknown = named.into_iter().filter(|name| directory.zones().get(name).is_none());
    let tables: Vec<ZoneTable> = unknown.filter_map(|name| table(name, now)).collect();
    if !tables.is_empty() {
        changes.push(Change::KnowZones(tables));
    }
    changes
}

/// The zone that a change names.
fn zone_of(change: &Change) -> Option<&str> {
    let name = match change {
        Change::PutUser(user) => &user.timezone,
        Change::PutWedding(wedding) => &wedding.timezone,
        Change::PutVenue(venue) => &venue.timezone,
        Change::PutPreferences(_, preferences) => &preferences.quiet_hours.as_ref()?.timezone,
        Change::DeleteUser(_)
        | Change::DeleteWedding(_)
        | Change::DeleteVenue(_)
        | Change::PutSegment(_)
        | Change::DeleteSegment(_)
        | Change::PutMembers(..)
        | Change::PutMember(..)
        | Change::DeleteMember(..)
        | Change::KnowZones(_) => return None,
    };
    (!name.is_empty()).then_some(name)
}

/// The zones that the directory goes by, with what is known of each.
pub fn known(directory: &Directory) -> BTreeMap<String, Option<ZoneTable>> {
    let of_people = directory.preferred().zones().chain(directory.timezones());
    let named: BTreeSet<&str> = of_people.chain(directory.place_zones()).collect();
    let named = named.into_iter().filter(|name| !name.is_empty());
    let mut known: BTreeMap<String, Option<ZoneTable>> = named.map(|name| (name.to_owned(), None)).collect();
    known.extend(
        directory
            .zones()
            .iter()
            .map(|table| (table.name.clone(), Some(table.clone()))),
    );
    known
}

/// Tables to be told to the log now: of zones that have none, whose table runs out, or whose table shows something else than the
/// database of this node, as after an update of the program.
pub fn due(known: &BTreeMap<String, Option<ZoneTable>>, now: Millis) -> Vec<ZoneTable> {
    let looked = known.iter().filter_map(|(name, known)| {
        let fresh = table(name, now)?;
        is_due(known.as_ref(), &fresh, now).then_some(fresh)
    });
    looked.take(TABLES_MAX).collect()
}

fn is_due(known: Option<&ZoneTable>, fresh: &ZoneTable, now: Millis) -> bool {
    let Some(known) = known else {
        return true;
    };
    // a full table cannot be made to reach further
    let runs_out = known.until < now + RENEWED_BEFORE && known.until < fresh.until;
    runs_out || !known.agrees(fresh, now)
}
