//! Tables and quiet hours against the zone database itself, in every zone that it has.

use super::zones::{completed, due, known, spelled, table};
use crate::base::clock::parse_rfc3339;
use crate::model::directory::{Preferences, QuietHours, TimeOfDay, User};
use crate::model::{LocalTime, Millis};
use crate::state::command::Change;
use crate::state::quiet::Hours;
use crate::state::zones::ZoneTable;
use crate::state::{Command, State};
use jiff::Timestamp;
use jiff::tz::{TimeZone, db};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

const MINUTE: Millis = 60_000;
const HOUR: Millis = 60 * MINUTE;
const DAY: Millis = 24 * HOUR;
const MINUTES_A_DAY: i64 = 1_440;

fn at(text: &str) -> Millis {
    parse_rfc3339(text).unwrap()
}

fn every_zone() -> Vec<(String, TimeZone)> {
    let names = db().available().map(|name| name.to_string());
    let zones: Vec<(String, TimeZone)> = names.map(|name| (name.clone(), db().get(&name).unwrap())).collect();
    assert!(zones.len() > 500, "the database has only {} zones", zones.len());
    zones
}

/// The changes of a zone's offset in 2027.
fn changes_of_2027(zone: &TimeZone) -> Vec<Millis> {
    let (from, to) = (at("2027-01-01T00:00:00Z"), at("2028-01-01T00:00:00Z"));
    let start = Timestamp::from_millisecond(from).unwrap();
    let changes = zone.following(start).map(|change| change.timestamp().as_millisecond());
    let in_year = changes.take_while(|change| *change < to);
    in_year
        .filter(|change| offset(zone, change - 1) != offset(zone, *change))
        .collect()
}

fn offset(zone: &TimeZone, at: Millis) -> i32 {
    zone.to_offset(Timestamp::from_millisecond(at).unwrap()).seconds()
}

#[test]
fn every_name_of_the_database_is_taken_and_no_other() {
    for (name, _) in every_zone() {
        assert_eq!(spelled(&name), Some(name.clone()));
        assert_eq!(spelled(&name.to_ascii_lowercase()), Some(name));
    }
    for name in ["Mars/Olympus", "Etc/Unknown", "", "EST5EDT4", "+02:00"] {
        assert_eq!(spelled(name), None, "{name}");
    }
}

#[test]
fn a_table_shows_what_the_database_shows() {
    let mut random = SmallRng::seed_from_u64(1);
    for (name, zone) in every_zone() {
        for _ in 0..3 {
            let now = random.random_range(at("2026-01-01T00:00:00Z")..at("2030-01-01T00:00:00Z"));
            let table = table(&name, now).unwrap();
            assert!(
                table.until >= now + 360 * DAY,
                "{name} at {now} reaches to {}",
                table.until
            );
            for _ in 0..20 {
                let at = random.random_range(now - 31 * DAY..=table.until);
                assert_eq!(table.offset_at(at), offset(&zone, at), "{name} at {at}");
            }
            for (change, after) in &table.changes {
                let shown = (table.offset_at(change - 1), table.offset_at(*change));
                assert_eq!(shown, (offset(&zone, change - 1), *after), "{name} at {change}");
            }
        }
    }
}

/// What the clocks of a zone show, minute by minute, read from the database.
struct Clocks {
    from: Millis,
    /// Minutes since midnight.
    shown: Vec<i64>,
}

impl Clocks {
    fn read(zone: &TimeZone, from: Millis, minutes: i64) -> Self {
        let shown = (0..minutes).map(|minute| {
            let at = Timestamp::from_millisecond(from + minute * MINUTE).unwrap();
            let time = zone.to_datetime(at).time();
            i64::from(time.hour()) * 60 + i64::from(time.minute())
        });
        Self {
            from,
            shown: shown.collect(),
        }
    }

    /// For each minute, the minute at which quiet ends; `None` where it is not quiet. The last minutes may know no end.
    fn quiet(&self, start: i64, end: i64) -> Vec<Option<usize>> {
        let mut ends = vec![None; self.shown.len()];
        let mut free = self.shown.len();
        for (minute, shown) in self.shown.iter().enumerate().rev() {
            let since_start = (shown - start).rem_euclid(MINUTES_A_DAY);
            if since_start < (end - start).rem_euclid(MINUTES_A_DAY) {
                ends[minute] = Some(free);
            } else {
                free = minute;
            }
        }
        ends
    }
}

/// Start and end around what the clocks show before and after the instant in the middle, and some at random.
fn pairs(before: i64, after: i64, random: &mut SmallRng) -> Vec<(i64, i64)> {
    let mut pairs = vec![(22 * 60, 7 * 60)];
    let (low, high) = (before.min(after), before.max(after));
    let near = [
        low - 15,
        low,
        low + 15,
        i64::midpoint(low, high),
        high - 1,
        high,
        high + 15,
    ];
    for _ in 0..6 {
        let one = near[random.random_range(0..near.len())];
        let other = match random.random_range(0..3) {
            0 => near[random.random_range(0..near.len())],
            1 => one + random.random_range(1..30),
            _ => random.random_range(0..MINUTES_A_DAY),
        };
        let pair = if random.random() { (one, other) } else { (other, one) };
        pairs.push((pair.0.rem_euclid(MINUTES_A_DAY), pair.1.rem_euclid(MINUTES_A_DAY)));
    }
    pairs.retain(|(start, end)| start != end);
    pairs
}

fn time_of_day(minute: i64) -> TimeOfDay {
    TimeOfDay::parse(&format!("{:02}:{:02}", minute / 60, minute % 60)).unwrap()
}

/// Minutes before the middle, and behind it: two days and more, for a pause that a change swallows.
const BEFORE: i64 = 30 * 60;
const BEHIND: i64 = 54 * 60;
/// No question is asked later than this behind the middle.
const ASKED_BEHIND: i64 = 4 * 60;

fn check_around(name: &str, zone: &TimeZone, table: &ZoneTable, middle: Millis, random: &mut SmallRng) -> u64 {
    let middle = middle - middle.rem_euclid(MINUTE);
    let clocks = Clocks::read(zone, middle - BEFORE * MINUTE, BEFORE + BEHIND);
    let shown_before = (clocks.shown[BEFORE as usize - 1] + 1) % MINUTES_A_DAY;
    let mut checked = 0;
    for (start, end) in pairs(shown_before, clocks.shown[BEFORE as usize], random) {
        let hours = Hours {
            start: time_of_day(start),
            end: time_of_day(end),
        };
        let ends = clocks.quiet(start, end);
        let near = (-3..=3).map(|minute| BEFORE + minute);
        let anywhere: Vec<i64> = (0..25).map(|_| random.random_range(0..BEFORE + ASKED_BEHIND)).collect();
        for minute in near.chain(anywhere) {
            let at = clocks.from + minute * MINUTE + random.random_range(0..MINUTE);
            let expected = ends[minute as usize].map(|end| {
                assert!(
                    end < clocks.shown.len(),
                    "{name}: the oracle saw no end of {hours:?} at {at}"
                );
                clocks.from + end as i64 * MINUTE
            });
            assert_eq!(hours.quiet_until(table, at), expected, "{name} {hours:?} at {at}");
            checked += 1;
        }
    }
    checked
}

#[test]
fn quiet_hours_are_right_in_every_zone_and_over_every_change_of_a_year() {
    let mut random = SmallRng::seed_from_u64(2027);
    let (mut changes, mut checked) = (0, 0);
    for (name, zone) in every_zone() {
        // one table from the year before and one from within it, as a cluster that runs on has them
        let tables = ["2026-12-20T00:00:00Z", "2027-02-01T00:00:00Z"].map(|made| table(&name, at(made)).unwrap());
        for change in changes_of_2027(&zone) {
            changes += 1;
            for table in &tables {
                checked += check_around(&name, &zone, table, change, &mut random);
            }
        }
        let anywhen = random.random_range(at("2027-01-03T00:00:00Z")..at("2027-12-28T00:00:00Z"));
        checked += check_around(&name, &zone, &tables[0], anywhen, &mut random);
    }
    assert!(changes > 300, "only {changes} changes in 2027");
    assert!(checked > 200_000, "only {checked} checks");
}

/// Local times before, inside of and behind what a change skips or repeats, against the database. How many were looked at.
fn check_local_times(name: &str, zone: &TimeZone, tables: &[ZoneTable], change: Millis, random: &mut SmallRng) -> u64 {
    let offsets = [offset(zone, change - 1), offset(zone, change)].map(|seconds| Millis::from(seconds) * 1_000);
    let (low, high) = (offsets[0].min(offsets[1]), offsets[0].max(offsets[1]));
    let mut shifts = vec![low - 1_000, low, low + 1_000, high - 1_000, high, high + 1_000];
    let (near, far) = (low / 1_000..=high / 1_000, (low - DAY) / 1_000..=(high + DAY) / 1_000);
    shifts.extend((0..10).map(|_| random.random_range(near.clone()) * 1_000));
    shifts.extend((0..10).map(|_| random.random_range(far.clone()) * 1_000));
    let mut checked = 0;
    for shift in shifts {
        let shown = Timestamp::from_millisecond(change + shift).unwrap();
        let shown = TimeZone::UTC.to_datetime(shown);
        let expected = zone.to_ambiguous_timestamp(shown).compatible().unwrap();
        let local = LocalTime::parse(&shown.to_string()).unwrap();
        for table in tables {
            let instant = table.instant_of(local);
            assert_eq!(instant, expected.as_millisecond(), "{name} shows {shown}");
            checked += 1;
        }
    }
    checked
}

#[test]
fn a_local_time_comes_in_every_zone_when_its_clocks_show_it() {
    let mut random = SmallRng::seed_from_u64(9);
    let (mut changes, mut checked) = (0, 0);
    for (name, zone) in every_zone() {
        let tables = ["2026-12-20T00:00:00Z", "2027-01-31T00:00:00Z"].map(|made| table(&name, at(made)).unwrap());
        for change in changes_of_2027(&zone) {
            changes += 1;
            checked += check_local_times(&name, &zone, &tables, change, &mut random);
        }
        let anywhen = random.random_range(at("2027-01-03T00:00:00Z")..at("2027-12-28T00:00:00Z"));
        checked += check_local_times(&name, &zone, &tables, anywhen - anywhen % 1_000, &mut random);
    }
    assert!(changes > 300, "only {changes} changes in 2027");
    assert!(checked > 20_000, "only {checked} checks");
}

fn user(id: &str, timezone: &str) -> Change {
    Change::PutUser(User {
        id: id.into(),
        role: String::new(),
        tier: String::new(),
        locale: String::new(),
        timezone: timezone.into(),
        attributes: Vec::new(),
    })
}

fn quiet(id: &str, timezone: &str) -> Change {
    let quiet_hours = Some(QuietHours {
        start: time_of_day(22 * 60),
        end: time_of_day(7 * 60),
        timezone: timezone.into(),
    });
    let preferences = Preferences {
        quiet_hours,
        ..Preferences::default()
    };
    Change::PutPreferences(id.into(), preferences)
}

fn apply(state: &mut State, command: Command) {
    let index = state.applied() + 1;
    state.apply(index, 0, vec![command], &mut Vec::new());
}

fn names(tables: &[ZoneTable]) -> Vec<&str> {
    tables.iter().map(|table| table.name.as_str()).collect()
}

#[test]
fn a_change_brings_the_tables_that_nobody_has_yet() {
    let now = at("2027-06-19T12:00:00Z");
    let mut state = State::new();
    let changes = vec![
        user("ann", "Europe/Berlin"),
        user("bob", ""),
        quiet("ann", "America/Port-au-Prince"),
        quiet("bob", "Europe/Berlin"),
    ];
    let mut list = completed(changes, state.directory(), now);
    let Some(Change::KnowZones(tables)) = list.last() else {
        panic!("no tables in {list:?}");
    };
    assert_eq!(names(tables), ["America/Port-au-Prince", "Europe/Berlin"]);
    assert_eq!(list.len(), 5);
    apply(&mut state, Command::Directory(std::mem::take(&mut list)));
    assert_eq!(state.directory().zones().iter().count(), 2);

    let list = completed(
        vec![quiet("bob", "Europe/Berlin"), quiet("ann", "Etc/GMT+5")],
        state.directory(),
        now,
    );
    assert_eq!(
        list.last(),
        Some(&Change::KnowZones(vec![table("Etc/GMT+5", now).unwrap()]))
    );
    let list = completed(vec![quiet("bob", "Europe/Berlin")], state.directory(), now);
    assert_eq!(list.len(), 1);
}

#[test]
fn tables_are_due_when_they_are_missing_run_out_or_wrong() {
    let now = at("2027-06-19T12:00:00Z");
    let mut state = State::new();
    // not through the API, so without tables
    let changes = vec![user("ann", ""), quiet("ann", "Europe/Berlin")];
    apply(&mut state, Command::Directory(changes));
    let mut check = |command: Option<Command>, now: Millis, expected: &[&str]| {
        if let Some(command) = command {
            apply(&mut state, command);
        }
        let due = due(&known(state.directory()), now);
        assert_eq!(names(&due), expected);
        Command::Zones(due)
    };
    let told = check(None, now, &["Europe/Berlin"]);
    check(Some(told), now, &[]);
    check(None, now + 199 * DAY, &[]);
    let told = check(None, now + 201 * DAY, &["Europe/Berlin"]);
    check(Some(told), now + 201 * DAY, &[]);

    let mut wrong = table("Asia/Tokyo", now).unwrap();
    wrong.offset += 3_600;
    let told = check(Some(Command::Zones(vec![wrong])), now + 201 * DAY, &["Asia/Tokyo"]);
    check(Some(told), now + 201 * DAY, &[]);
    // a zone that this node's database does not have is another node's business
    let strange = ZoneTable {
        name: "Mars/Olympus".into(),
        ..table("UTC", now).unwrap()
    };
    check(Some(Command::Zones(vec![strange])), now + 201 * DAY, &[]);
}
