//! The step *resolve*: from an audience's clauses to its recipients, over a directory of 400,000 users.
//!
//! `cargo bench --bench resolve`. Floor: bare roaring operations on the same sets, with the same recipients at the end.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a bench that cannot run says so

mod common;

use campanile::lab::results::bench::Bench;
use campanile::model::{Audience, Clause};
use campanile::state::State;
use campanile::state::audiences::resolve;
use common::people;
use roaring::{MultiOps, RoaringBitmap};
use std::process::ExitCode;

const USERS: u32 = 400_000;
const WEDDINGS: u32 = 2_000;
const MANY: u32 = 50;
const ROUNDS: usize = 60;
const OPERATIONS: usize = 20;
/// 3.4 when it was set: one set is found by two names and united with nothing; the floor copies it.
const ONE_MOST: f64 = 7.0;
/// The sets are found by their names and united at once, as by the floor; 12.5 when they were united one by one.
const MANY_MOST: f64 = 5.0;
/// 1.5 when it was set: the result is looked at for runs.
const NARROWED_MOST: f64 = 3.0;
/// 2.8 when it was set: the set of everybody is copied, taken apart, and looked at for runs.
const EXCLUDED_MOST: f64 = 5.0;

/// An audience, what it is called, the same by bare sets, and how many times that it may take.
struct Case<'a> {
    key: &'a str,
    what: &'a str,
    audience: Audience,
    floor: Box<dyn Fn() -> RoaringBitmap + 'a>,
    most: f64,
}

/// The sets that the directory holds, made anew from what its people were made from.
struct Sets {
    everyone: RoaringBitmap,
    /// By role.
    roles: Vec<RoaringBitmap>,
    professional: RoaringBitmap,
    /// By wedding and role.
    members: Vec<Vec<RoaringBitmap>>,
}

impl Sets {
    fn of(state: &State) -> Self {
        let mut sets = Self {
            everyone: RoaringBitmap::new(),
            roles: vec![RoaringBitmap::new(); people::ROLES.len()],
            professional: RoaringBitmap::new(),
            members: vec![vec![RoaringBitmap::new(); people::ROLES.len()]; WEDDINGS as usize],
        };
        for made in 0..USERS {
            let number = state.directory().user_number(&people::user_id(made)).unwrap();
            let its = people::role(made, WEDDINGS);
            let role = people::ROLES.iter().position(|role| *role == its).unwrap();
            sets.everyone.insert(number);
            sets.roles[role].insert(number);
            sets.members[(made % WEDDINGS) as usize][role].insert(number);
            if people::tier(made) == "professional" {
                sets.professional.insert(number);
            }
        }
        sets
    }

    fn union<'a>(sets: impl Iterator<Item = &'a RoaringBitmap>) -> RoaringBitmap {
        sets.union()
    }
}

fn of(clause: Clause, exclude: Vec<Clause>) -> Audience {
    Audience {
        clauses: vec![clause],
        exclude,
    }
}

fn weddings(numbers: std::ops::Range<u32>, roles: &[&str]) -> Clause {
    Clause {
        weddings: numbers.map(people::wedding_id).collect(),
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        ..Clause::default()
    }
}

fn cases(sets: &Sets) -> Vec<Case<'_>> {
    let everyone = Clause {
        everyone: true,
        ..Clause::default()
    };
    let narrowed = Clause {
        roles: vec!["guests".into()],
        tiers: vec!["professional".into()],
        ..Clause::default()
    };
    vec![
        Case {
            key: "one",
            what: "A role at one wedding",
            audience: of(weddings(7..8, &["guest"]), Vec::new()),
            floor: Box::new(|| sets.members[7][0].clone()),
            most: ONE_MOST,
        },
        Case {
            key: "many",
            what: "Everybody of fifty weddings",
            audience: of(weddings(0..MANY, &[]), Vec::new()),
            floor: Box::new(|| Sets::union(sets.members[..MANY as usize].iter().flatten())),
            most: MANY_MOST,
        },
        Case {
            key: "narrowed",
            what: "All guests of a tier",
            audience: of(narrowed, Vec::new()),
            // guest and family
            floor: Box::new(|| Sets::union(sets.roles[..2].iter()) & &sets.professional),
            most: NARROWED_MOST,
        },
        Case {
            key: "excluded",
            what: "Everybody but a wedding",
            audience: of(everyone, vec![weddings(7..8, &[])]),
            floor: Box::new(|| &sets.everyone - Sets::union(sets.members[7].iter())),
            most: EXCLUDED_MOST,
        },
    ]
}

fn main() -> ExitCode {
    let mut bench = Bench::new(
        "resolve",
        "From an audience's clauses to its recipients, over 400,000 users.",
    );
    let state = people::state(USERS, WEDDINGS);
    let sets = Sets::of(&state);
    let found = |audience: &Audience| resolve(state.directory(), audience, people::NOW).unwrap().recipients;
    for case in cases(&sets) {
        assert_eq!(*found(&case.audience), (case.floor)(), "{}", case.what);
        let cost = common::in_turn(
            ROUNDS,
            OPERATIONS,
            || common::timed(|| (0..OPERATIONS).for_each(|_| drop(std::hint::black_box(found(&case.audience))))),
            || common::timed(|| (0..OPERATIONS).for_each(|_| drop(std::hint::black_box((case.floor)())))),
        );
        cost.tell(&mut bench, case.key, case.what, case.most);
    }
    bench
        .setting("users", USERS)
        .setting("weddings", WEDDINGS)
        .note("The floor is roaring's own operations on the same sets, and comes to the same recipients.")
        .end()
}
