//! Segments and preferences that come from cached values: in force while the value is there, on a node that starts anew as well.

use super::*;
use crate::model::directory::Preferences;
use crate::state::cache::{CacheChange, CacheKey, Lifetime, Limits, Put, PutSource, Value, Warm};
use crate::state::sources::{Source, Sourced};

const LIVES_MS: u64 = 60_000;

fn put(at: CacheKey, source: Option<Source>) -> Command {
    let value = Value {
        content_type: String::new(),
        body: "x".into(),
    };
    let put = Put {
        at,
        digest: value.digest(),
        value,
        life: Lifetime {
            fresh_ms: LIVES_MS,
            stale_ms: LIVES_MS,
        },
        validator: Some("\"7\"".into()),
        warm: Warm::WhereKnown,
        limits: Limits {
            entries: 3,
            bytes: 1 << 20,
            all_entries: 100,
            all_bytes: 1 << 20,
        },
        claim: None,
    };
    let zones = Vec::new();
    cache(match source {
        Some(source) => CacheChange::PutSource(Box::new(PutSource {
            put,
            sourced: Sourced { source, zones },
        })),
        None => CacheChange::Put(put),
    })
}

fn cache(change: CacheChange) -> Command {
    Command::Cache(Box::new(change))
}

fn tick() -> Command {
    Command::Tick(Tick {
        kept_ms: u64::MAX,
        missed_after_ms: 0,
        retry: crate::model::Retry::DEFAULT,
    })
}

struct House {
    bench: Bench,
    disk: Disk,
}

impl House {
    fn new() -> Self {
        Self {
            bench: Bench::new(two_places()),
            disk: Disk::default(),
        }
    }

    fn list(&mut self, segment: &str, ids: &[&str]) {
        let source = Source::Segment(strings(ids));
        let outcome = self.bench.run(put(CacheKey::new("segments", segment), Some(source)));
        assert_eq!(outcome, Outcome::Done);
    }

    fn mute(&mut self, user: &str, category: &str) {
        let source = Source::Preferences(muting(category));
        let outcome = self.bench.run(put(CacheKey::new("wishes", user), Some(source)));
        assert_eq!(outcome, Outcome::Done);
    }

    fn change(&mut self, change: Change) {
        let outcome = self.bench.run(Command::Directory(vec![change]));
        assert!(matches!(outcome, Outcome::Changed(_)), "{outcome:?}");
    }

    /// Who is in a segment, and how many ids nobody has; the same on a node that has just started from the rows.
    #[track_caller]
    fn check(&mut self, segment: &str, expected: &[&str], unknown: u32) {
        let again = self.again();
        for state in [&self.bench.state, &again] {
            let clause = Clause {
                segments: strings(&[segment]),
                ..Clause::default()
            };
            let resolved = state.resolve(&draft(clause)).unwrap();
            let users = resolved
                .recipients
                .iter()
                .map(|user| state.directory().user_id(user).unwrap());
            assert_eq!(
                (users.collect::<Vec<_>>(), resolved.unknown),
                (expected.to_vec(), unknown)
            );
        }
    }

    /// What a user mutes.
    #[track_caller]
    fn check_muted(&mut self, user: &str, expected: &[&str]) {
        let again = self.again();
        for state in [&self.bench.state, &again] {
            let number = state.directory().user_number(user).unwrap();
            let muted = state
                .directory()
                .preferences(number)
                .map(|it| it.muted_categories.clone());
            assert_eq!(muted.unwrap_or_default(), expected, "{user}");
        }
    }

    fn again(&mut self) -> State {
        let again = reload(&mut self.bench.state, &mut self.disk);
        assert_eq!(again.hash(), self.bench.state.hash());
        again
    }

    fn is_unknown(&self, segment: &str) -> bool {
        let clause = Clause {
            segments: strings(&[segment]),
            ..Clause::default()
        };
        self.bench.state.resolve(&draft(clause)) == Err(Refused::UnknownSegment(segment.into()))
    }
}

fn muting(category: &str) -> Preferences {
    Preferences {
        muted_categories: strings(&[category]),
        ..Preferences::default()
    }
}

#[test]
fn a_list_stands_before_the_rule_and_the_rule_comes_back() {
    let mut house = House::new();
    house.check("short", &["ann", "bob", "cat", "dan", "eve"], 0);
    house.list("short", &["cat", "ann", "nobody"]);
    house.check("short", &["ann", "cat"], 1);
    house.list("short", &["bob"]);
    house.check("short", &["bob"], 0);
    // past its time, and still there
    house.bench.at += LIVES_MS as i64 + 1;
    house.bench.run(tick());
    house.check("short", &["bob"], 0);
    house.bench.at += LIVES_MS as i64;
    house.bench.run(tick());
    house.check("short", &["ann", "bob", "cat", "dan", "eve"], 0);
}

#[test]
fn a_segment_that_only_a_list_knows_goes_with_its_value() {
    let mut house = House::new();
    let place = CacheKey::new("segments", "vip");
    let ends: [(&str, Command); 4] = [
        ("invalidated", cache(CacheChange::Invalidate(place.clone()))),
        ("emptied", cache(CacheChange::Empty("segments".into()))),
        ("replaced by one that says nothing", put(place.clone(), None)),
        ("no room", put(CacheKey::new("segments", "other"), None)),
    ];
    for (why, end) in ends {
        house.list("vip", &["ann"]);
        house.check("vip", &["ann"], 0);
        if why == "no room" {
            // it ends first, so it goes first
            house.bench.at += 1;
            for name in ["a", "b"] {
                house.bench.run(put(CacheKey::new("segments", name), None));
            }
        }
        house.bench.run(end);
        assert!(house.is_unknown("vip"), "{why}");
        assert!(
            house
                .again()
                .resolve(&draft(Clause {
                    segments: strings(&["vip"]),
                    ..Clause::default()
                }))
                .is_err()
        );
    }
}

#[test]
fn people_come_to_a_list_and_leave_it() {
    let mut house = House::new();
    house.list("vip", &["ann", "zoe"]);
    house.list("crew", &["zoe", "cat"]);
    house.check("vip", &["ann"], 1);
    house.change(Change::PutUser(user("zoe", "guest")));
    house.check("vip", &["ann", "zoe"], 0);
    house.check("crew", &["cat", "zoe"], 0);
    // whoever is erased is in no list any more, even under the same name
    house.change(Change::DeleteUser("zoe".into()));
    house.check("vip", &["ann"], 0);
    house.change(Change::PutUser(user("zoe", "guest")));
    house.check("vip", &["ann"], 0);
    // ... until their owner says the whole list again, as it must: that nothing is new there would leave zoe out for ever
    let again = house.again();
    for state in [&house.bench.state, &again] {
        for segment in ["vip", "crew"] {
            let slot = state.cache().get("segments", segment).unwrap();
            assert_eq!(slot.entry.validator, None, "{segment}");
        }
    }
    house.list("crew", &["zoe", "cat"]);
    house.change(Change::DeleteUser("ann".into()));
    let crew = house.bench.state.cache().get("segments", "crew").unwrap();
    assert!(crew.entry.validator.is_some(), "ann was not in it");
}

#[test]
fn wishes_from_elsewhere_stand_before_a_users_own_and_their_own_come_back() {
    let mut house = House::new();
    house.change(Change::PutPreferences("ann".into(), muting("own")));
    house.mute("ann", "first");
    house.mute("bob", "first");
    house.check_muted("ann", &["first"]);
    house.mute("ann", "second");
    // what is told meanwhile is kept
    house.change(Change::PutPreferences("ann".into(), muting("newer")));
    house.check_muted("ann", &["second"]);
    house.bench.run(cache(CacheChange::Empty("wishes".into())));
    house.check_muted("ann", &["newer"]);
    house.check_muted("bob", &[]);
}

#[test]
fn an_erased_user_leaves_nothing_in_the_cache() {
    let mut house = House::new();
    house.mute("zoe", "tips");
    house.change(Change::PutUser(user("zoe", "guest")));
    house.check_muted("zoe", &["tips"]);
    house.bench.effects.clear();
    house.change(Change::DeleteUser("zoe".into()));
    assert!(house.bench.state.cache().get("wishes", "zoe").is_none());
    assert!(
        house
            .bench
            .effects
            .iter()
            .any(|effect| matches!(effect, Effect::Cache(_)))
    );
    house.change(Change::PutUser(user("zoe", "guest")));
    house.check_muted("zoe", &[]);
}

#[test]
fn a_release_goes_by_what_came_from_elsewhere() {
    let mut house = House::new();
    house.list("vip", &["ann", "bob", "nobody"]);
    house.mute("bob", "venue");
    house.bench.effects.clear();
    let clause = Clause {
        segments: strings(&["vip"]),
        ..Clause::default()
    };
    let number = house.bench.number(publish(draft(clause), 1, 1));
    let ann = house.bench.state.directory().user_number("ann").unwrap();
    assert_eq!(house.bench.released(), [(number, ReleaseKind::Broadcast, vec![ann])]);
    let broadcast = house.bench.state.broadcast(number).unwrap();
    assert_eq!((broadcast.targeted, broadcast.skipped, broadcast.unknown), (2, 1, 1));
}
