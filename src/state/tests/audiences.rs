//! Who is meant, by hand and against an oracle.

use super::*;
use crate::base::checks::checks;
use crate::model::broadcast::Escalate;

fn check(clause: Clause, exclude: Vec<Clause>, expected: &[&str]) {
    let bench = Bench::new(two_places());
    let resolved = bench
        .state
        .resolve(&Draft {
            audience: Audience {
                clauses: vec![clause.clone()],
                exclude,
            },
            ..draft(everyone())
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
fn an_escalation_names_only_known_places() {
    let mut bench = Bench::new(two_places());
    let mut check = |to: Clause, expected: Refused| {
        let mut draft = draft(everyone());
        let step = Escalate {
            after_ms: 1,
            to: Audience {
                clauses: vec![everyone(), to],
                exclude: Vec::new(),
            },
            priority: None,
            outputs: Vec::new(),
        };
        draft.acknowledge = Some(Acknowledge {
            within_ms: 1,
            answers: Vec::new(),
            need: Vec::new(),
            escalate: vec![step],
        });
        assert_eq!(bench.state.resolve(&draft).unwrap_err(), expected);
        assert_eq!(bench.run(publish(draft, 1, 1)), Outcome::Refused(expected));
    };
    let some = Clause::default;
    let (weddings, venues) = (strings(&["w-1", "w-9"]), strings(&["barn", "w-1"]));
    check(Clause { weddings, ..some() }, Refused::UnknownWedding("w-9".into()));
    let (on_site, segments) = (strings(&["mars"]), strings(&["nobody"]));
    check(Clause { venues, ..some() }, Refused::UnknownVenue("w-1".into()));
    check(Clause { on_site, ..some() }, Refused::UnknownVenue("mars".into()));
    check(Clause { segments, ..some() }, Refused::UnknownSegment("nobody".into()));
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

fn an_audience() -> impl Strategy<Value = Audience> {
    let clauses = prop::collection::vec(a_clause(), 1..4);
    let exclude = prop::collection::vec(a_clause(), 0..2);
    (clauses, exclude).prop_map(|(clauses, exclude)| Audience { clauses, exclude })
}

/// Audiences that are asked of one directory: `CAMPANILE_CHECKS=50000` makes a million checks.
const AUDIENCES: usize = 20;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(checks(100)))]
    #[test]
    fn audiences_agree_with_the_oracle(
        people in prop::collection::vec(person(), 1..12),
        audiences in prop::collection::vec(an_audience(), AUDIENCES),
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
        for audience in audiences {
            let Audience { clauses, exclude } = &audience;
            let draft = Draft { audience: audience.clone(), ..draft(everyone()) };
            let found: BTreeSet<u32> = bench.state.resolve(&draft).unwrap().recipients.iter().collect();
            let expected = people.iter().enumerate().filter(|(index, person)| {
                clauses.iter().any(|clause| oracle(*index, person, clause)) && !exclude.iter().any(|clause| oracle(*index, person, clause))
            });
            prop_assert_eq!(found, expected.map(|(index, _)| index as u32).collect::<BTreeSet<u32>>(), "{:?}", audience);
        }
    }
}
