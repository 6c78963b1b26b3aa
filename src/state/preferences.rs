//! Who wants what: preferences by user, and the bitmaps that let a release ask by group instead of by person.

use super::quiet::Hours;
use super::zones::Zones;
use crate::model::directory::{Preferences, QuietHours};
use crate::model::{Millis, Priority, UserNumber};
use roaring::RoaringBitmap;
use std::collections::BTreeMap;

/// What preferences make of a release's recipients: everyone is in exactly one set.
///
/// Several may apply to one person. Then the strongest counts: a muted category (this person wants none of these, ever) before
/// critical only (none but critical, ever) before quiet hours (later).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sorted {
    pub now: RoaringBitmap,
    /// When it may be delivered, and to whom; in the order of time, each instant once.
    pub held: Vec<(Millis, RoaringBitmap)>,
    pub muted: RoaringBitmap,
    pub critical_only: RoaringBitmap,
    /// Whose own time has not come: when it does, and who; in the order of time. What they want is asked then.
    pub waiting: Vec<(Millis, RoaringBitmap)>,
}

impl Sorted {
    /// What is said of these; of the others, nothing.
    pub(super) fn among(&self, users: &RoaringBitmap) -> Self {
        let among = |groups: &[(Millis, RoaringBitmap)]| {
            let groups = groups.iter().map(|(at, group)| (*at, group & users));
            groups.filter(|(_, group)| !group.is_empty()).collect()
        };
        Self {
            now: &self.now & users,
            held: among(&self.held),
            muted: &self.muted & users,
            critical_only: &self.critical_only & users,
            waiting: among(&self.waiting),
        }
    }
}

/// Preferences by user. `channels` are kept for clients to read; nothing here acts on them.
#[derive(Debug, Default)]
pub struct Preferred {
    of: BTreeMap<UserNumber, Preferences>,
    /// Who mutes a category.
    muted: BTreeMap<String, RoaringBitmap>,
    critical_only: RoaringBitmap,
    /// Who has just these quiet hours.
    quiet: BTreeMap<QuietHours, RoaringBitmap>,
    /// Who has any.
    any_quiet: RoaringBitmap,
    /// What those had of their own whose preferences come from the cache for now.
    covered: BTreeMap<UserNumber, Option<Preferences>>,
}

impl Preferred {
    pub fn get(&self, user: UserNumber) -> Option<&Preferences> {
        self.of.get(&user)
    }

    /// The zones that quiet hours name; one may come several times.
    pub fn zones(&self) -> impl Iterator<Item = &str> {
        self.quiet.keys().map(|quiet| quiet.timezone.as_str())
    }

    /// What the user has told the directory, whether or not it is in force.
    pub(super) fn own(&self, user: UserNumber) -> Option<&Preferences> {
        match self.covered.get(&user) {
            Some(own) => own.as_ref(),
            None => self.get(user),
        }
    }

    /// `true` when the user had some before.
    pub(super) fn set(&mut self, user: UserNumber, preferences: Preferences) -> bool {
        if let Some(own) = self.covered.get_mut(&user) {
            return own.replace(preferences).is_some();
        }
        self.put(user, preferences)
    }

    /// `true` when there were some.
    pub(super) fn remove(&mut self, user: UserNumber) -> bool {
        let own = self.covered.remove(&user);
        let had = self.take(user).is_some();
        own.map_or(had, |own| own.is_some())
    }

    /// These are in force from now on; the user's own are kept.
    pub(super) fn cover(&mut self, user: UserNumber, preferences: Preferences) {
        let own = self.take(user);
        self.covered.entry(user).or_insert(own);
        self.put(user, preferences);
    }

    /// The user's own are in force again.
    pub(super) fn uncover(&mut self, user: UserNumber) {
        if let Some(own) = self.covered.remove(&user) {
            self.take(user);
            if let Some(own) = own {
                self.put(user, own);
            }
        }
    }

    fn put(&mut self, user: UserNumber, preferences: Preferences) -> bool {
        let had = self.take(user).is_some();
        for category in &preferences.muted_categories {
            self.muted.entry(category.clone()).or_default().insert(user);
        }
        if preferences.critical_only {
            self.critical_only.insert(user);
        }
        if let Some(quiet) = &preferences.quiet_hours {
            self.quiet.entry(quiet.clone()).or_default().insert(user);
            self.any_quiet.insert(user);
        }
        self.of.insert(user, preferences);
        had
    }

    fn take(&mut self, user: UserNumber) -> Option<Preferences> {
        let before = self.of.remove(&user)?;
        for category in &before.muted_categories {
            leave(&mut self.muted, category, user);
        }
        self.critical_only.remove(user);
        if let Some(quiet) = &before.quiet_hours {
            leave(&mut self.quiet, quiet, user);
            self.any_quiet.remove(user);
        }
        Some(before)
    }

    /// Who of the recipients may have a broadcast of this category at `at`, who later, and who never. Critical passes everything.
    pub fn sort(
        &self,
        zones: &Zones,
        category: &str,
        priority: Priority,
        recipients: &RoaringBitmap,
        at: Millis,
    ) -> Sorted {
        let mut sorted = Sorted {
            now: recipients.clone(),
            ..Sorted::default()
        };
        if priority == Priority::Critical {
            return sorted;
        }
        if let Some(muting) = self.muted.get(category) {
            sorted.muted = &sorted.now & muting;
            sorted.now -= &sorted.muted;
        }
        sorted.critical_only = &sorted.now & &self.critical_only;
        sorted.now -= &sorted.critical_only;
        for (until, users) in self.held(zones, &sorted.now, at) {
            sorted.now -= &users;
            sorted.held.push((until, users));
        }
        sorted
    }

    /// Who has quiet hours now, by their end. Asks once per group, or once per person when those are fewer.
    fn held(&self, zones: &Zones, among: &RoaringBitmap, at: Millis) -> BTreeMap<Millis, RoaringBitmap> {
        let mut held: BTreeMap<Millis, RoaringBitmap> = BTreeMap::new();
        let asking = among & &self.any_quiet;
        if asking.len() < self.quiet.len() as u64 {
            for user in &asking {
                let quiet = self.get(user).and_then(|preferences| preferences.quiet_hours.as_ref());
                if let Some(until) = quiet.and_then(|quiet| quiet_until(quiet, zones, at)) {
                    held.entry(until).or_default().insert(user);
                }
            }
            return held;
        }
        for (quiet, users) in &self.quiet {
            if asking.is_disjoint(users) {
                continue;
            }
            if let Some(until) = quiet_until(quiet, zones, at) {
                *held.entry(until).or_default() |= &asking & users;
            }
        }
        held
    }
}

/// A zone without a table would be read as UTC; the table comes with the preferences, so there is none.
fn quiet_until(quiet: &QuietHours, zones: &Zones, at: Millis) -> Option<Millis> {
    let hours = Hours {
        start: quiet.start,
        end: quiet.end,
    };
    hours.quiet_until(zones.get_or_utc(&quiet.timezone), at)
}

/// Takes a user out of an index that keeps no empty entries.
pub(super) fn leave<K: Ord>(index: &mut BTreeMap<K, RoaringBitmap>, key: &K, user: UserNumber) {
    if let Some(users) = index.get_mut(key) {
        users.remove(user);
        if users.is_empty() {
            index.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Sorted;
    use crate::model::directory::{Preferences, QuietHours, TimeOfDay, User};
    use crate::model::{Millis, Priority};
    use crate::state::command::Change;
    use crate::state::zones::ZoneTable;
    use crate::state::{Command, Row, State};
    use roaring::RoaringBitmap;
    use std::collections::BTreeMap;

    const MINUTE: Millis = 60_000;
    const HOUR: Millis = 60 * MINUTE;
    const DAY: Millis = 24 * HOUR;
    const PEOPLE: u64 = 40;
    const CATEGORIES: [&str; 4] = ["tier", "venue", "weather", "cue"];
    const TIMES: [&str; 6] = ["22:00", "23:30", "01:30", "02:15", "07:00", "12:00"];
    const ZONES: [&str; 3] = ["Test/Steady", "Test/Forward", "Test/Back"];

    fn tables() -> Vec<ZoneTable> {
        let table = |name: &str, offset: i32, changes: &[(Millis, i32)]| ZoneTable {
            name: name.into(),
            offset,
            changes: changes.to_vec(),
            until: 40 * DAY,
        };
        vec![
            table(ZONES[0], 20_700, &[]),
            table(ZONES[1], 0, &[(10 * DAY + 2 * HOUR, 3_600)]),
            table(
                ZONES[2],
                -10_800,
                &[(10 * DAY + 5 * HOUR, -14_400), (11 * DAY, -12_600)],
            ),
        ]
    }

    /// The same dice on every run.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            (mixed ^ (mixed >> 31)) % bound
        }

        fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
            of[self.below(of.len() as u64) as usize]
        }

        fn preferences(&mut self) -> Preferences {
            let muted = (0..self.below(3)).map(|_| self.one(&CATEGORIES).to_owned());
            Preferences {
                muted_categories: muted.collect(),
                critical_only: self.below(8) == 0,
                quiet_hours: (self.below(3) > 0).then(|| QuietHours {
                    start: time(self.one(&TIMES)),
                    end: time(self.one(&TIMES)),
                    timezone: self.one(&ZONES).to_owned(),
                }),
                channels: vec!["app".into()],
            }
        }
    }

    fn time(text: &str) -> TimeOfDay {
        TimeOfDay::parse(text).unwrap()
    }

    /// What one person's preferences make of a broadcast, found by walking the minutes.
    #[derive(Debug, PartialEq)]
    enum Fate {
        Now,
        Held(Millis),
        Muted,
        CriticalOnly,
    }

    fn fate(preferences: Option<&Preferences>, category: &str, priority: Priority, at: Millis) -> Fate {
        let Some(preferences) = preferences.filter(|_| priority != Priority::Critical) else {
            return Fate::Now;
        };
        if preferences.muted_categories.iter().any(|muted| muted == category) {
            return Fate::Muted;
        }
        if preferences.critical_only {
            return Fate::CriticalOnly;
        }
        let Some(quiet) = &preferences.quiet_hours else {
            return Fate::Now;
        };
        let mut free = at - at % MINUTE;
        while is_quiet(quiet, free) {
            free += MINUTE;
        }
        if free > at { Fate::Held(free) } else { Fate::Now }
    }

    fn is_quiet(quiet: &QuietHours, at: Millis) -> bool {
        let tables = tables();
        let table = tables.iter().find(|table| table.name == quiet.timezone).unwrap();
        let mut offset = table.offset;
        for (from, changed) in &table.changes {
            if at >= *from {
                offset = *changed;
            }
        }
        let minutes = (at / MINUTE + i64::from(offset) / 60) % 1_440;
        let shown = time(&format!("{:02}:{:02}", minutes / 60, minutes % 60));
        let (start, end) = (quiet.start, quiet.end);
        if start <= end {
            start <= shown && shown < end
        } else {
            shown >= start || shown < end
        }
    }

    fn fates(sorted: &Sorted) -> BTreeMap<u32, Fate> {
        let mut fates = BTreeMap::new();
        let mut add = |users: &RoaringBitmap, fate: &dyn Fn() -> Fate| {
            for user in users {
                assert_eq!(
                    fates.insert(user, fate()),
                    None,
                    "user {user} is in two sets of {sorted:?}"
                );
            }
        };
        add(&sorted.now, &|| Fate::Now);
        add(&sorted.muted, &|| Fate::Muted);
        add(&sorted.critical_only, &|| Fate::CriticalOnly);
        for (until, users) in &sorted.held {
            add(users, &|| Fate::Held(*until));
        }
        assert!(sorted.held.is_sorted_by(|a, b| a.0 < b.0), "{sorted:?}");
        fates
    }

    /// A directory that changes, and what everybody wants, written down beside it.
    struct World {
        state: State,
        wants: BTreeMap<u32, Preferences>,
        rows: BTreeMap<crate::state::RowKey, bytes::Bytes>,
    }

    impl World {
        fn new() -> Self {
            let mut world = Self {
                state: State::new(),
                wants: BTreeMap::new(),
                rows: BTreeMap::new(),
            };
            let mut changes: Vec<Change> = (0..PEOPLE).map(|person| user(&id(person))).collect();
            changes.push(Change::KnowZones(tables()));
            world.run(changes);
            world
        }

        fn run(&mut self, changes: Vec<Change>) {
            let index = self.state.applied() + 1;
            self.state
                .apply(index, 0, vec![Command::Directory(changes)], &mut Vec::new());
        }

        fn number(&self, person: u64) -> u32 {
            self.state.directory().user_number(&id(person)).unwrap()
        }

        /// Somebody wants something else, or goes and comes again as somebody new.
        fn change(&mut self, dice: &mut Dice) {
            let person = dice.below(PEOPLE);
            let before = self.number(person);
            if dice.below(10) == 0 {
                self.run(vec![Change::DeleteUser(id(person)), user(&id(person))]);
                self.wants.remove(&before);
                return;
            }
            let preferences = dice.preferences();
            self.run(vec![Change::PutPreferences(id(person), preferences.clone())]);
            self.wants.insert(before, preferences);
        }

        /// Writes what has changed, and starts anew from what was written.
        fn restart(&mut self) {
            for Row { key, value } in self.state.take_rows() {
                match value {
                    Some(value) => drop(self.rows.insert(key, value)),
                    None => drop(self.rows.remove(&key)),
                }
            }
            let mut state = State::new();
            for (key, value) in &self.rows {
                state.load(key, value).unwrap();
            }
            state.loaded(self.state.applied());
            assert_eq!(state.hash(), self.state.hash());
            self.state = state;
        }

        /// How many recipients were judged.
        fn check(&self, dice: &mut Dice) -> u64 {
            let share = 1 + dice.below(10);
            let chosen = (0..PEOPLE).filter(|_| dice.below(10) < share);
            let recipients: RoaringBitmap = chosen.map(|person| self.number(person)).collect();
            let at = 9 * DAY + dice.below(3 * DAY as u64) as Millis;
            let priority = Priority::ALL[dice.below(4) as usize];
            let category = dice.one(&["tier", "venue", "weather", "cue", "safety"]);
            let directory = self.state.directory();
            let sorted = directory
                .preferred()
                .sort(directory.zones(), category, priority, &recipients, at);
            let expected: BTreeMap<u32, Fate> = recipients
                .iter()
                .map(|user| (user, fate(self.wants.get(&user), category, priority, at)))
                .collect();
            assert_eq!(fates(&sorted), expected, "{category} {priority} at {at}");
            recipients.len()
        }
    }

    fn id(person: u64) -> String {
        format!("person-{person}")
    }

    fn user(id: &str) -> Change {
        Change::PutUser(User {
            id: id.into(),
            role: String::new(),
            tier: String::new(),
            locale: String::new(),
            timezone: String::new(),
            attributes: Vec::new(),
        })
    }

    #[test]
    fn everybody_gets_what_one_would_decide_person_by_person() {
        let mut dice = Dice(3);
        let mut world = World::new();
        let mut judged = 0;
        for round in 1..=600 {
            world.change(&mut dice);
            if round % 20 == 0 {
                world.restart();
            }
            judged += (0..4).map(|_| world.check(&mut dice)).sum::<u64>();
        }
        assert!(judged > 40_000, "only {judged} recipients were judged");
    }

    #[test]
    fn nothing_is_left_of_who_wants_nothing_any_more() {
        let mut dice = Dice(4);
        let mut world = World::new();
        for _ in 0..200 {
            world.change(&mut dice);
        }
        for person in 0..PEOPLE {
            let change = if person % 2 == 0 {
                Change::DeleteUser(id(person))
            } else {
                Change::PutPreferences(id(person), Preferences::default())
            };
            world.run(vec![change]);
        }
        let preferred = world.state.directory().preferred();
        assert_eq!(preferred.of.len() as u64, PEOPLE / 2);
        assert!(preferred.muted.is_empty() && preferred.quiet.is_empty());
        assert!(preferred.critical_only.is_empty() && preferred.any_quiet.is_empty());
    }
}
