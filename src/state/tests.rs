//! The state as its callers see it: commands in, outcomes and rows out.

use super::broadcasts::Ledger;
use super::command::{Acknowledged, Change, Found, Key, NodeStarted, Presence, Publish, Receipts, Tick};
use super::outcome::{Acknowledgement, Did};
use super::rights::Grant;
use super::{Command, Effect, Outcome, Refused, State};
use crate::model::broadcast::{OnMissed, Status};
use crate::model::directory::{Segment, User, Venue, Wedding, WeddingStatus};
use crate::model::{Acknowledge, Audience, Clause, Draft, Place, PlaceKind, Priority, Step};
use proptest::prelude::*;
use std::collections::BTreeSet;

const NOON: i64 = 1_800_000_000_000;

fn user(id: &str, role: &str) -> User {
    User {
        id: id.into(),
        role: role.into(),
        tier: "starter".into(),
        locale: "en".into(),
        timezone: "UTC".into(),
        attributes: vec![("table".into(), id.len().to_string())],
    }
}

fn venue(id: &str) -> Venue {
    Venue {
        id: id.into(),
        name: id.into(),
        timezone: "UTC".into(),
        latitude_micro: None,
        longitude_micro: None,
    }
}

fn wedding(id: &str, venue: &str, starts_at: i64) -> Wedding {
    Wedding {
        id: id.into(),
        name: id.into(),
        venue: Some(venue.into()),
        timezone: "UTC".into(),
        starts_at,
        ends_at: starts_at + 8 * 3_600_000,
        guests_expected: 100,
        status: WeddingStatus::Planned,
    }
}

fn draft(clause: Clause) -> Draft {
    Draft {
        kind: "venue.notice".into(),
        priority: Priority::Normal,
        audience: Audience {
            clauses: vec![clause],
            exclude: Vec::new(),
        },
        title: "Gates".into(),
        body: "The north gate is open.".into(),
        texts: Vec::new(),
        data: None,
        action: None,
        deliver_at: None,
        deliver_at_local: None,
        expires_at: None,
        supersedes: None,
        drill: false,
        on_missed: OnMissed::Send,
        acknowledge: None,
    }
}

fn publish(draft: Draft, key: u8, body: u64) -> Command {
    let key = Key {
        fingerprint: [key; 16],
        body,
        kept_ms: 60_000,
        table_bytes_max: 1 << 20,
    };
    Command::Publish(Box::new(Publish {
        draft,
        sender: "administrator".into(),
        key,
        expires_after_ms: 3_600_000,
        grant: Grant::default(),
    }))
}

fn everyone() -> Clause {
    Clause {
        everyone: true,
        ..Clause::default()
    }
}

struct Bench {
    state: State,
    effects: Vec<Effect>,
    at: i64,
}

impl Bench {
    fn new(changes: Vec<Change>) -> Self {
        let mut bench = Self {
            state: State::new(),
            effects: Vec::new(),
            at: NOON,
        };
        bench.run(Command::Found(Found { epoch: 7, salt: 9 }));
        let outcome = bench.run(Command::Directory(changes));
        assert!(matches!(outcome, Outcome::Changed(_)), "{outcome:?}");
        bench
    }

    fn run(&mut self, command: Command) -> Outcome {
        let index = self.state.applied() + 1;
        self.state
            .apply(index, self.at, vec![command], &mut self.effects)
            .remove(0)
    }

    fn number(&mut self, command: Command) -> u64 {
        match self.run(command) {
            Outcome::Published { number, .. } => number,
            other => panic!("{other:?}"),
        }
    }
}

fn two_places() -> Vec<Change> {
    let members = |list: &[(&str, &str)]| {
        list.iter()
            .map(|(user, role)| ((*user).into(), (*role).into()))
            .collect()
    };
    let at = |kind, id: &str| Place { kind, id: id.into() };
    vec![
        Change::PutVenue(venue("barn")),
        Change::PutWedding(wedding("w-1", "barn", NOON)),
        Change::PutWedding(wedding("w-2", "barn", NOON + 40 * 86_400_000)),
        Change::PutUser(user("ann", "couple")),
        Change::PutUser(user("bob", "guest")),
        Change::PutUser(user("cat", "dj")),
        Change::PutUser(user("dan", "")),
        Change::PutUser(user("eve", "venue_ops")),
        Change::PutMembers(
            at(PlaceKind::Wedding, "w-1"),
            members(&[("ann", "couple"), ("bob", "guest"), ("cat", "dj")]),
        ),
        Change::PutMembers(
            at(PlaceKind::Wedding, "w-2"),
            members(&[("bob", "dj"), ("dan", "family")]),
        ),
        Change::PutMember(at(PlaceKind::Venue, "barn"), "eve".into(), "venue_ops".into()),
        Change::PutSegment(Segment {
            name: "short".into(),
            attributes: vec![("table".into(), vec!["3".into()])],
            ..Segment::default()
        }),
        Change::PutSegment(Segment {
            name: "soon".into(),
            wedding_within_days: Some(7),
            ..Segment::default()
        }),
    ]
}

fn strings(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

fn check(clause: Clause, exclude: Vec<Clause>, expected: &[&str]) {
    let bench = Bench::new(two_places());
    let resolved = bench
        .state
        .resolve(&Audience {
            clauses: vec![clause.clone()],
            exclude,
        })
        .unwrap();
    let found = resolved
        .recipients
        .iter()
        .map(|number| bench.state.directory().user_id(number).unwrap());
    assert_eq!(found.collect::<Vec<_>>(), expected, "{clause:?}");
}

#[test]
fn keys_are_and_values_are_or() {
    let some = Clause::default;
    check(everyone(), vec![], &["ann", "bob", "cat", "dan", "eve"]);
    check(
        Clause {
            weddings: strings(&["w-1"]),
            ..some()
        },
        vec![],
        &["ann", "bob", "cat"],
    );
    check(
        Clause {
            weddings: strings(&["w-1", "w-2"]),
            roles: strings(&["dj"]),
            ..some()
        },
        vec![],
        &["bob", "cat"],
    );
    check(
        Clause {
            weddings: strings(&["w-1"]),
            roles: strings(&["guests"]),
            ..some()
        },
        vec![],
        &["bob"],
    );
    check(
        Clause {
            weddings: strings(&["w-2"]),
            roles: strings(&["guests", "staff"]),
            ..some()
        },
        vec![],
        &["bob", "dan"],
    );
    check(
        Clause {
            roles: strings(&["staff"]),
            ..some()
        },
        vec![],
        &["cat", "eve"],
    );
    check(
        Clause {
            roles: strings(&["guest", "couple"]),
            ..some()
        },
        vec![],
        &["ann", "bob"],
    );
    check(
        Clause {
            venues: strings(&["barn"]),
            ..some()
        },
        vec![],
        &["eve"],
    );
    check(
        Clause {
            venues: strings(&["barn"]),
            weddings: strings(&["w-1"]),
            ..some()
        },
        vec![],
        &[],
    );
    check(
        Clause {
            on_site: strings(&["barn"]),
            ..some()
        },
        vec![],
        &["ann", "bob", "cat", "eve"],
    );
    check(
        Clause {
            segments: strings(&["short"]),
            roles: strings(&["dj"]),
            ..some()
        },
        vec![],
        &["cat"],
    );
    check(
        Clause {
            segments: strings(&["soon"]),
            ..some()
        },
        vec![],
        &["ann", "bob", "cat"],
    );
    check(
        Clause {
            tiers: strings(&["scale"]),
            ..some()
        },
        vec![],
        &[],
    );
    check(
        Clause {
            users: strings(&["ann", "nobody"]),
            ..some()
        },
        vec![],
        &["ann"],
    );
    check(
        everyone(),
        vec![Clause {
            roles: strings(&["staff"]),
            ..some()
        }],
        &["ann", "bob", "dan"],
    );
    check(some(), vec![], &[]);
}

#[test]
fn unknown_places_are_refused_and_unknown_users_counted() {
    let mut bench = Bench::new(two_places());
    let in_wedding = Clause {
        weddings: strings(&["w-9"]),
        ..Clause::default()
    };
    assert_eq!(
        bench.run(publish(draft(in_wedding), 1, 1)),
        Outcome::Refused(Refused::UnknownWedding("w-9".into()))
    );
    let named = Clause {
        users: strings(&["ann", "zoe", "zoe"]),
        ..Clause::default()
    };
    let number = bench.number(publish(draft(named), 2, 1));
    assert_eq!(bench.state.broadcast(number).unwrap().unknown, 1);
}

#[test]
fn changes_are_all_or_nothing() {
    let mut bench = Bench::new(two_places());
    let at = Place {
        kind: PlaceKind::Wedding,
        id: "w-1".into(),
    };
    let outcome = bench.run(Command::Directory(vec![
        Change::PutUser(user("fay", "guest")),
        Change::PutMember(at.clone(), "fay".into(), "guest".into()),
        Change::PutMember(at, "gus".into(), "guest".into()),
        Change::DeleteVenue("barn".into()),
    ]));
    let faults = vec![
        (2, Refused::UnknownUser("gus".into())),
        (3, Refused::VenueInUse("barn".into())),
    ];
    assert_eq!(outcome, Outcome::NotChanged(faults));
    assert_eq!(bench.state.directory().user_number("fay"), None);
}

#[test]
fn numbers_are_never_given_twice() {
    let mut bench = Bench::new(vec![
        Change::PutUser(user("ann", "guest")),
        Change::PutUser(user("bob", "guest")),
    ]);
    assert_eq!(
        bench.run(Command::Directory(vec![Change::DeleteUser("bob".into())])),
        Outcome::Changed(vec![Did::Deleted])
    );
    bench.run(Command::Directory(vec![Change::PutUser(user("bob", "guest"))]));
    assert_eq!(bench.state.directory().user_number("bob"), Some(2));
    let again = reload(&mut bench.state, &mut Disk::default());
    assert_eq!(
        (again.directory().user_number("bob"), again.directory().next_number()),
        (Some(2), 3)
    );
}

#[test]
fn a_key_answers_with_the_first_publish() {
    let mut bench = Bench::new(two_places());
    let first = bench.number(publish(draft(everyone()), 1, 5));
    assert_eq!(
        bench.run(publish(draft(everyone()), 1, 5)),
        Outcome::Published {
            number: first,
            replayed: true
        }
    );
    assert_eq!(
        bench.run(publish(draft(everyone()), 1, 6)),
        Outcome::Refused(Refused::KeyReused)
    );
    bench.at += 60_001;
    assert_ne!(bench.number(publish(draft(everyone()), 1, 5)), first);
    assert_eq!(
        bench
            .effects
            .iter()
            .filter(|effect| matches!(effect, Effect::Released(_)))
            .count(),
        2
    );
}

fn receipts(number: u64, step: Step, users: &[u32]) -> Command {
    let deltas = vec![(number, step, users.iter().collect())];
    Command::Receipts(Receipts {
        node: 1,
        deltas,
        watermarks: [0; 4],
    })
}

#[test]
fn each_step_implies_the_ones_before_and_only_recipients_count() {
    let mut bench = Bench::new(two_places());
    let number = bench.number(publish(
        draft(Clause {
            weddings: strings(&["w-1"]),
            ..Clause::default()
        }),
        1,
        1,
    ));
    bench.run(receipts(number, Step::Sent, &[0, 1, 4]));
    bench.run(receipts(number, Step::Read, &[2]));
    let hot = bench.state.broadcasts().get(number).unwrap();
    let counts: Vec<u64> = Step::ALL.into_iter().map(|step| hot.ledger.count(step)).collect();
    assert_eq!(counts, [3, 1, 1, 0]);
    assert_eq!((hot.ledger.step(2), hot.ledger.step(4)), (Some(Step::Read), None));
    assert_eq!(hot.status(NOON), Status::Released);
    bench.run(receipts(number, Step::Received, &[0, 1]));
    assert_eq!(
        bench.state.broadcasts().get(number).unwrap().status(NOON),
        Status::Completed
    );
}

#[test]
fn the_first_answer_stands_and_late_ones_are_marked() {
    let mut bench = Bench::new(two_places());
    let asked = Acknowledge {
        within_ms: 15_000,
        answers: strings(&["ok", "help"]),
        need: vec![],
        escalate: vec![],
    };
    let number = bench.number(publish(
        Draft {
            acknowledge: Some(asked),
            ..draft(everyone())
        },
        1,
        1,
    ));
    let mut answer = |user, answer: &str, later: i64| {
        bench.at += later;
        match bench.run(Command::Acknowledge(Acknowledged {
            user,
            node: 1,
            answers: vec![(number, answer.into())],
        })) {
            Outcome::Acknowledged(mut each) => each.remove(0),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        answer(0, "ok", 0),
        Ok(Acknowledgement {
            late: false,
            repeated: false,
            answer: "ok".into(),
        })
    );
    assert_eq!(
        answer(0, "help", 1),
        Ok(Acknowledgement {
            late: false,
            repeated: true,
            answer: "ok".into(),
        })
    );
    assert!(matches!(answer(1, "no", 0), Err(Refused::UnknownAnswer(_))));
    assert_eq!(answer(99, "ok", 0), Err(Refused::NotARecipient));
    assert_eq!(
        answer(1, "ok", 15_001),
        Ok(Acknowledgement {
            late: true,
            repeated: false,
            answer: "ok".into(),
        })
    );
    let ledger = &bench.state.broadcasts().get(number).unwrap().ledger;
    assert_eq!(
        (ledger.answers[&0].answer.as_str(), ledger.detail(0, Step::Acknowledged)),
        ("ok", Some((NOON, 1)))
    );
}

/// Rows as a store would hold them.
#[derive(Default)]
struct Disk(std::collections::BTreeMap<super::RowKey, bytes::Bytes>);

fn reload(state: &mut State, disk: &mut Disk) -> State {
    for row in state.take_rows() {
        match row.value {
            Some(value) => drop(disk.0.insert(row.key, value)),
            None => drop(disk.0.remove(&row.key)),
        }
    }
    let mut again = State::new();
    for (key, value) in &disk.0 {
        again.load(key, value).unwrap();
    }
    again.loaded(state.applied());
    again
}

#[test]
fn rows_bring_the_state_back() {
    let (mut bench, mut disk) = (Bench::new(two_places()), Disk::default());
    bench.run(Command::NodeStarted(NodeStarted {
        node: 1,
        incarnation: 4,
        url: "http://a".into(),
        version: "0".into(),
    }));
    bench.run(Command::Presence(Presence {
        node: 1,
        incarnation: 4,
        all: true,
        came: (0..3).collect(),
        went: <_>::default(),
    }));
    for key in 0..40 {
        let number = bench.number(publish(draft(everyone()), key, 1));
        bench.run(receipts(number, Step::Received, &[u32::from(key) % 5]));
        if key % 7 == 0 {
            let again = reload(&mut bench.state, &mut disk);
            assert_eq!(again.hash(), bench.state.hash());
        }
    }
    bench.run(Command::Directory(vec![
        Change::DeleteUser("cat".into()),
        Change::DeleteWedding("w-2".into()),
    ]));
    let mut again = reload(&mut bench.state, &mut disk);
    assert_eq!(again.hash(), bench.state.hash());
    assert_eq!(again.presence().connected_at(1), 2);
    let same = |state: &mut State| {
        state
            .apply(99, NOON + 9, vec![publish(draft(everyone()), 3, 1)], &mut Vec::new())
            .remove(0)
    };
    assert_eq!(same(&mut again), same(&mut bench.state));
}

/// A publish to everyone that takes so much memory that some 60 of them push the first out of it.
fn bulky(key: u64, expires_after_ms: u64) -> Command {
    let data = Some(format!("\"{}\"", "x".repeat(16 << 10)));
    let Command::Publish(mut publish) = publish(
        Draft {
            data,
            ..draft(everyone())
        },
        0,
        key,
    ) else {
        panic!("not a publish")
    };
    publish.key.fingerprint[..8].copy_from_slice(&key.to_le_bytes());
    publish.expires_after_ms = expires_after_ms;
    Command::Publish(publish)
}

#[test]
fn a_ledger_that_leaves_memory_before_its_row_is_written_is_not_lost() {
    let (mut bench, mut disk) = (Bench::new(two_places()), Disk::default());
    let first = bench.number(bulky(1, 1));
    drop(reload(&mut bench.state, &mut disk));
    bench.run(receipts(first, Step::Received, &[2]));
    for key in 2..100 {
        bench.run(bulky(key, 1));
    }
    assert!(bench.state.broadcasts().get(first).is_none());
    bench.run(receipts(first, Step::Read, &[3]));
    drop(reload(&mut bench.state, &mut disk));
    let ledger = |key: &super::RowKey| State::read_ledger(key, &disk.0[key]).unwrap();
    let mut found = ledger(&super::RowKey::Ledger(first));
    assert_eq!((found.step(2), found.step(3)), (Some(Step::Received), None));
    let late = disk
        .0
        .keys()
        .find(|key| matches!(key, super::RowKey::LedgerLate(..)))
        .unwrap();
    found.merge(&ledger(late));
    assert_eq!((found.step(2), found.step(3)), (Some(Step::Received), Some(Step::Read)));
}

#[test]
fn what_is_forgotten_takes_no_receipts_and_leaves_no_block() {
    let (mut bench, mut disk) = (Bench::new(two_places()), Disk::default());
    let numbers: Vec<u64> = (0..3).map(|key| bench.number(bulky(key, 1_000))).collect();
    let last = bench.number(bulky(9, 5_000));
    let tick = Command::Tick(Tick { kept_ms: 2_000 });
    for (later, forgotten) in [
        (0, 0),
        (1_500, 0),
        (2_000, numbers[2]),
        (4_000, numbers[2]),
        (5_000, last),
    ] {
        bench.at = NOON + later;
        assert_eq!(bench.run(tick.clone()), Outcome::Done);
        assert_eq!(bench.state.forgotten(), forgotten, "{later} ms later");
        assert_eq!(bench.state.is_kept(numbers[2]), forgotten == 0);
        let again = reload(&mut bench.state, &mut disk);
        assert_eq!((again.forgotten(), again.hash()), (forgotten, bench.state.hash()));
    }
    let effects = bench.effects.iter();
    let told = effects.filter_map(|effect| match effect {
        Effect::Forgotten(position) => Some(*position),
        Effect::Named(_) | Effect::Released(_) | Effect::Erased(_) | Effect::Node(_) | Effect::Revoked(_) => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), [numbers[2], last]);
    bench.run(receipts(last, Step::Received, &[2]));
    let outcome = bench.run(Command::Acknowledge(Acknowledged {
        user: 0,
        node: 1,
        answers: vec![(last, "ok".into())],
    }));
    assert_eq!(outcome, Outcome::Acknowledged(vec![Err(Refused::UnknownBroadcast)]));
    drop(reload(&mut bench.state, &mut disk));
    let is_left = |key: &super::RowKey| matches!(key, super::RowKey::LedgerLate(..) | super::RowKey::Block(_));
    assert!(!disk.0.keys().any(is_left));
    // Numbers go on, in the same block.
    assert_eq!(bench.number(bulky(10, 1_000)), last + 1);
    let again = reload(&mut bench.state, &mut disk);
    assert_eq!(again.broadcasts().blocks_with(0).collect::<Vec<_>>(), [0]);
    assert_eq!(again.hash(), bench.state.hash());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Publishes, ticks and restarts in any order: what is forgotten is the same as without the restarts, nothing of interest
    /// is, and once time has passed everything is.
    #[test]
    fn what_is_of_interest_is_never_forgotten(
        steps in prop::collection::vec((0..4u8, 1..90u64, 1..4_000u64), 1..24),
        kept_ms in 1..3_000u64,
    ) {
        let (mut bench, mut disk) = (Bench::new(two_places()), Disk::default());
        let mut twin = Bench::new(two_places());
        let mut known: Vec<(u64, i64, i64)> = Vec::new();
        let tick = Command::Tick(Tick { kept_ms });
        for (kind, count, millis) in steps {
            match kind {
                0 => {
                    bench.at += millis as i64;
                    bench.run(tick.clone());
                }
                1 => {
                    let restarted = reload(&mut bench.state, &mut disk);
                    prop_assert_eq!(restarted.hash(), bench.state.hash());
                    bench.state = restarted;
                    continue;
                }
                _ => for _ in 0..count {
                    let number = bench.number(bulky(known.len() as u64 + 1, millis));
                    known.push((number, bench.at, bench.at + millis as i64));
                    twin.at = bench.at;
                    twin.number(bulky(known.len() as u64, millis));
                },
            }
            if kind == 0 {
                twin.at = bench.at;
                twin.run(tick.clone());
            }
            let forgotten = bench.state.forgotten();
            prop_assert_eq!(forgotten, twin.state.forgotten());
            let of_interest = known.iter().find(|(_, accepted, expires)| {
                *expires > bench.at || *accepted > bench.at - kept_ms as i64
            });
            prop_assert!(of_interest.is_none_or(|(number, ..)| forgotten < *number), "{:?}", of_interest);
            for hot in bench.state.broadcasts().newest() {
                prop_assert!(hot.broadcast.number > forgotten);
            }
        }
        bench.at += 10_000;
        bench.run(tick);
        prop_assert_eq!(bench.state.forgotten(), bench.state.next_position() - 1);
        prop_assert_eq!(bench.state.broadcasts().oldest_hot(), None);
        prop_assert_eq!(bench.state.broadcasts().block_below(u64::MAX), None);
    }
}

#[test]
fn what_is_late_is_merged_into_the_ledger() {
    let (mut early, mut late) = (Ledger::default(), Ledger::default());
    early.advance(Step::Sent, &[1, 2].into_iter().collect(), 10, 1, false);
    late.advance(Step::Read, &[2].into_iter().collect(), 20, 2, true);
    early.merge(&late);
    assert_eq!(
        (early.count(Step::Sent), early.step(2), early.times[0]),
        (2, Some(Step::Read), Some((10, 20)))
    );
}

/// One user of the oracle: profile role, tier, and the role in each of three weddings and two venues.
#[derive(Clone, Debug)]
struct Person {
    role: usize,
    tier: usize,
    weddings: [Option<usize>; 3],
    venues: [Option<usize>; 2],
}

const ROLES: [&str; 6] = ["guest", "family", "couple", "dj", "security", "venue_ops"];
const TIERS: [&str; 2] = ["starter", "scale"];

fn person() -> impl Strategy<Value = Person> {
    let place = || proptest::option::of(0..ROLES.len());
    (
        0..ROLES.len(),
        0..TIERS.len(),
        [place(), place(), place()],
        [place(), place()],
    )
        .prop_map(|(role, tier, weddings, venues)| Person {
            role,
            tier,
            weddings,
            venues,
        })
}

fn a_clause() -> impl Strategy<Value = Clause> {
    let some = |names: Vec<String>| proptest::sample::subsequence(names.clone(), 0..=names.len().min(2));
    let ids = |prefix: &str, count: usize| (0..count).map(|n| format!("{prefix}-{n}")).collect::<Vec<_>>();
    let mut roles = strings(&ROLES);
    roles.extend(strings(&["guests", "staff"]));
    (
        prop::bool::weighted(0.1),
        some(ids("u", 12)),
        some(ids("w", 3)),
        some(ids("v", 2)),
        some(ids("v", 2)),
        some(roles),
        some(strings(&TIERS)),
    )
        .prop_map(|(everyone, users, weddings, venues, on_site, roles, tiers)| Clause {
            everyone,
            users,
            weddings,
            venues,
            on_site,
            roles,
            tiers,
            segments: vec![],
        })
}

fn role_matches(role: usize, wanted: &[String]) -> bool {
    let name = ROLES[role];
    wanted.iter().any(|wanted| match wanted.as_str() {
        "guests" => ["guest", "family", "wedding_party"].contains(&name),
        "staff" => !["guest", "couple", "family", "wedding_party"].contains(&name),
        other => other == name,
    })
}

/// What the contract says, one person at a time: wedding n is held at venue n % 2, all windows are open but wedding 2's.
fn oracle(index: usize, person: &Person, clause: &Clause) -> bool {
    let held = |roles: &[Option<usize>], prefix: &str, ids: &[String]| {
        roles.iter().enumerate().any(|(n, role)| {
            ids.contains(&format!("{prefix}-{n}"))
                && role.is_some_and(|role| clause.roles.is_empty() || role_matches(role, &clause.roles))
        })
    };
    let venues_of_open: Vec<Option<usize>> = vec![person.weddings[0], person.weddings[1]];
    let on_site = held(&person.venues, "v", &clause.on_site) || held(&venues_of_open, "v", &clause.on_site);
    let placed = !(clause.weddings.is_empty() && clause.venues.is_empty() && clause.on_site.is_empty());
    let keys = [
        (clause.everyone, true),
        (!clause.users.is_empty(), clause.users.contains(&format!("u-{index}"))),
        (
            !clause.weddings.is_empty(),
            held(&person.weddings, "w", &clause.weddings),
        ),
        (!clause.venues.is_empty(), held(&person.venues, "v", &clause.venues)),
        (!clause.on_site.is_empty(), on_site),
        (
            !clause.roles.is_empty() && !placed,
            role_matches(person.role, &clause.roles),
        ),
        (
            !clause.tiers.is_empty(),
            clause.tiers.contains(&TIERS[person.tier].to_owned()),
        ),
    ];
    keys.iter().any(|(given, _)| *given) && keys.iter().all(|(given, holds)| !given || *holds)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn audiences_agree_with_the_oracle(
        people in prop::collection::vec(person(), 1..12),
        clauses in prop::collection::vec(a_clause(), 1..4),
        exclude in prop::collection::vec(a_clause(), 0..2),
    ) {
        let mut changes = vec![Change::PutVenue(venue("v-0")), Change::PutVenue(venue("v-1"))];
        changes.extend((0..3).map(|n| Change::PutWedding(wedding(&format!("w-{n}"), &format!("v-{}", n % 2), NOON + (n / 2) * 90 * 86_400_000))));
        for (index, person) in people.iter().enumerate() {
            let id = format!("u-{index}");
            let tier = TIERS[person.tier].into();
            changes.push(Change::PutUser(User { tier, ..user(&id, ROLES[person.role]) }));
            let weddings = person.weddings.iter().enumerate().map(|(n, role)| (PlaceKind::Wedding, format!("w-{n}"), role));
            let venues = person.venues.iter().enumerate().map(|(n, role)| (PlaceKind::Venue, format!("v-{n}"), role));
            for (kind, place, role) in weddings.chain(venues) {
                let put = |role: &usize| Change::PutMember(Place { kind, id: place.clone() }, id.clone(), ROLES[*role].into());
                changes.extend(role.as_ref().map(put));
            }
        }
        let bench = Bench::new(changes);
        let audience = Audience { clauses: clauses.clone(), exclude: exclude.clone() };
        let found: BTreeSet<u32> = bench.state.resolve(&audience).unwrap().recipients.iter().collect();
        let expected = people.iter().enumerate().filter(|(index, person)| {
            clauses.iter().any(|clause| oracle(*index, person, clause)) && !exclude.iter().any(|clause| oracle(*index, person, clause))
        });
        prop_assert_eq!(found, expected.map(|(index, _)| index as u32).collect::<BTreeSet<u32>>());
    }
}
