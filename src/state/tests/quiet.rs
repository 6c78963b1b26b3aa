//! Held, skipped, and later: what preferences make of a broadcast's recipients.

use super::*;
use crate::model::directory::{Preferences, QuietHours, TimeOfDay};

const MINUTE: i64 = 60_000;
const TICK: Tick = Tick {
    kept_ms: 90 * 86_400_000,
    missed_after_ms: 60_000,
    retry: crate::model::Retry::DEFAULT,
};

/// Minutes of the day, from `NOON` on, which is no noon.
fn hours(from: i64, to: i64) -> QuietHours {
    let time = |at: i64| {
        let minute = (NOON / MINUTE + at).rem_euclid(24 * 60);
        TimeOfDay::parse(&format!("{:02}:{:02}", minute / 60, minute % 60)).unwrap()
    };
    QuietHours {
        start: time(from),
        end: time(to),
        timezone: "UTC".into(),
    }
}

fn prefers(user: &str, quiet_hours: Option<QuietHours>, muted: &[&str]) -> Change {
    let preferences = Preferences {
        muted_categories: strings(muted),
        quiet_hours,
        ..Preferences::default()
    };
    Change::PutPreferences(user.into(), preferences)
}

/// Ann is quiet for ten minutes, Bob for twenty, Cid mutes venues, Dee wants all.
fn people() -> Vec<Change> {
    let names = ["ann", "bob", "cid", "dee"];
    let mut changes: Vec<Change> = names.iter().map(|id| Change::PutUser(user(id, "guest"))).collect();
    changes.push(prefers("ann", Some(hours(-10, 10)), &[]));
    changes.push(prefers("bob", Some(hours(-10, 20)), &[]));
    changes.push(prefers("cid", None, &["venue"]));
    changes
}

fn tick_at(bench: &mut Bench, minute: i64) {
    bench.at = NOON + minute * MINUTE;
    bench.run(Command::Tick(TICK));
}

#[test]
fn the_held_get_it_when_their_quiet_ends_and_the_skipped_never() {
    let (mut bench, mut disk) = (Bench::new(people()), Disk::default());
    let number = bench.number(publish(draft(everyone()), 1, 1));
    let broadcast = bench.state.broadcast(number).unwrap();
    assert_eq!((broadcast.targeted, broadcast.held, broadcast.skipped), (4, 2, 1));
    assert_eq!(bench.released(), [(number, ReleaseKind::Broadcast, vec![3])]);
    bench.state = reload(&mut bench.state, &mut disk);
    tick_at(&mut bench, 9);
    assert_eq!(bench.released(), []);
    tick_at(&mut bench, 10);
    assert_eq!(bench.released(), [(number, ReleaseKind::Again, vec![0])]);
    bench.state = reload(&mut bench.state, &mut disk);
    let hot = bench.state.broadcasts().get(number).unwrap();
    assert_eq!([0, 1, 2, 3].map(|user| hot.is_for(user)), [true, false, false, true]);
    tick_at(&mut bench, 30);
    assert_eq!(bench.released(), [(number, ReleaseKind::Again, vec![1])]);
    tick_at(&mut bench, 30);
    assert_eq!((bench.released(), bench.state.next_due()), (vec![], None));
    bench.run(receipts(number, Step::Received, &[0, 1, 3]));
    let status = bench.state.broadcasts().get(number).unwrap().status(bench.at);
    assert_eq!(status, Status::Completed);
}

#[test]
fn critical_holds_for_nobody() {
    let mut bench = Bench::new(people());
    let urgent = Draft {
        priority: Priority::Critical,
        ..draft(everyone())
    };
    let number = bench.number(publish(urgent, 1, 1));
    assert_eq!(bench.released(), [(number, ReleaseKind::Broadcast, vec![0, 1, 2, 3])]);
}

#[test]
fn nobody_is_woken_for_what_is_over_or_off_or_unwanted_by_then() {
    let mut bench = Bench::new(people());
    let short = Draft {
        expires_at: Some(NOON + 15 * MINUTE),
        ..draft(everyone())
    };
    let short = bench.number(publish(short, 1, 1));
    let off = bench.number(publish(draft(everyone()), 2, 2));
    let cancel = crate::state::command::Cancel {
        number: off,
        cold: None,
    };
    bench.run(Command::Cancel(Box::new(cancel)));
    let kept = bench.number(publish(draft(everyone()), 3, 3));
    bench.run(Command::Directory(vec![prefers("bob", None, &["venue"])]));
    bench.released();
    tick_at(&mut bench, 10);
    assert_eq!(
        bench.released(),
        [
            (short, ReleaseKind::Again, vec![0]),
            (kept, ReleaseKind::Again, vec![0])
        ]
    );
    tick_at(&mut bench, 20);
    assert_eq!(bench.released(), []);
    let aside = bench
        .state
        .broadcasts()
        .get(kept)
        .unwrap()
        .ledger
        .aside
        .clone()
        .unwrap();
    assert_eq!((aside.held(), aside.muted.iter().collect::<Vec<_>>()), (0, vec![1, 2]));
}

#[test]
fn what_still_has_somebody_held_stays_in_memory() {
    let (mut bench, mut disk) = (Bench::new(people()), Disk::default());
    let number = bench.number(publish(draft(everyone()), 1, 1));
    for key in 2..90 {
        let mut bulky = draft(Clause {
            users: strings(&["dee"]),
            ..Clause::default()
        });
        bulky.data = Some(format!("\"{}\"", "x".repeat(16_000)));
        bench.number(publish(bulky, key, 1));
    }
    bench.state = reload(&mut bench.state, &mut disk);
    bench.released();
    tick_at(&mut bench, 10);
    assert_eq!(bench.released(), [(number, ReleaseKind::Again, vec![0])]);
    bench.state = reload(&mut bench.state, &mut disk);
    tick_at(&mut bench, 20);
    assert_eq!(bench.released(), [(number, ReleaseKind::Again, vec![1])]);
    bench.state = reload(&mut bench.state, &mut disk);
    tick_at(&mut bench, 21);
    assert!(bench.state.broadcasts().get(number).is_none());
}

#[test]
fn who_is_held_for_what_is_superseded_hears_nothing_of_it() {
    let mut bench = Bench::new(people());
    let old = bench.number(publish(draft(everyone()), 1, 1));
    let new = Draft {
        supersedes: Some(bench.state.broadcast(old).unwrap().id),
        ..draft(Clause {
            users: strings(&["bob"]),
            ..Clause::default()
        })
    };
    bench.released();
    let new = bench.number(publish(new, 2, 2));
    assert_eq!(
        bench.released(),
        [
            (new, ReleaseKind::Broadcast, vec![]),
            (old, ReleaseKind::Retracted, vec![3])
        ]
    );
    tick_at(&mut bench, 10);
    tick_at(&mut bench, 20);
    assert_eq!(bench.released(), [(new, ReleaseKind::Again, vec![1])]);
    let hot = bench.state.broadcasts().get(old).unwrap();
    assert_eq!([0, 1, 2, 3].map(|user| hot.is_for(user)), [false; 4]);
}

#[test]
fn nobody_confirms_what_is_not_out_to_them() {
    let mut bench = Bench::new(people());
    let number = bench.number(publish(draft(everyone()), 1, 1));
    bench.run(receipts(number, Step::Received, &[0, 2, 3]));
    let answer = |user| {
        Command::Acknowledge(Acknowledged {
            user,
            node: 1,
            answers: vec![(number, "ok".into())],
        })
    };
    for user in [0, 2] {
        let outcome = bench.run(answer(user));
        assert_eq!(outcome, Outcome::Acknowledged(vec![Err(Refused::NotARecipient)]));
    }
    let hot = bench.state.broadcasts().get(number).unwrap();
    assert_eq!(
        (hot.ledger.count(Step::Received), hot.status(bench.at)),
        (1, Status::Released)
    );
}

/// The time to confirm begins when it goes out to somebody, not when it went out to the others.
#[test]
fn who_was_held_is_not_late_for_that() {
    let (mut bench, mut disk) = (Bench::new(people()), Disk::default());
    let asked = Acknowledge {
        within_ms: 5 * MINUTE as u64,
        answers: Vec::new(),
        need: Vec::new(),
        escalate: Vec::new(),
    };
    let draft = Draft {
        acknowledge: Some(asked),
        ..draft(everyone())
    };
    let number = bench.number(publish(draft, 1, 1));
    let answer = |bench: &mut Bench, user| {
        let acknowledged = Acknowledged {
            user,
            node: 1,
            answers: vec![(number, "ok".into())],
        };
        match bench.run(Command::Acknowledge(acknowledged)) {
            Outcome::Acknowledged(each) => each[0].as_ref().unwrap().late,
            other => panic!("{other:?}"),
        }
    };
    tick_at(&mut bench, 10);
    bench.state = reload(&mut bench.state, &mut disk);
    tick_at(&mut bench, 14);
    assert_eq!((answer(&mut bench, 0), answer(&mut bench, 3)), (false, true));
    tick_at(&mut bench, 20);
    tick_at(&mut bench, 26);
    assert!(answer(&mut bench, 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever their quiet hours: everybody gets it once, unless it is over before their time or they do not want it.
    #[test]
    fn everybody_is_in_one_place(
        quiet in prop::collection::vec(prop::option::of((0..1_440i64, 1..1_439i64)), 4),
        expires in 1..2_000i64,
        steps in prop::collection::vec(1..300i64, 1..12),
        mutes in 0..5usize,
    ) {
        let (mut bench, mut disk) = (Bench::new(people()), Disk::default());
        let names = ["ann", "bob", "cid", "dee"];
        let changes = names.iter().enumerate().map(|(index, name)| {
            let hours = quiet[index].map(|(from, length)| hours(from, from + length));
            prefers(name, hours, if mutes == index { &["venue"] } else { &[] })
        });
        bench.run(Command::Directory(changes.collect()));
        let draft = Draft { expires_at: Some(NOON + expires * MINUTE), ..draft(everyone()) };
        let number = bench.number(publish(draft, 1, 1));
        let mut got: Vec<u32> = Vec::new();
        let mut minute = 0;
        for step in steps.into_iter().chain([3_000]) {
            got.extend(bench.released().into_iter().flat_map(|(_, _, users)| users));
            let hot = bench.state.broadcasts().get(number).unwrap();
            for user in 0..4 {
                let aside = hot.ledger.aside.as_ref().and_then(|aside| aside.reason(user));
                prop_assert_eq!(aside.is_none(), got.contains(&user), "user {} after {} minutes", user, minute);
            }
            bench.state = reload(&mut bench.state, &mut disk);
            minute += step;
            tick_at(&mut bench, minute);
        }
        let once: BTreeSet<u32> = got.iter().copied().collect();
        prop_assert_eq!(once.len(), got.len());
        prop_assert!(!got.contains(&(mutes as u32)));
    }
}
