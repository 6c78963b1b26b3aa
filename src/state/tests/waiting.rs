//! Whoever waits for their own time: what may come in between.

use super::local::{DAY, HOUR, TICK, at, hot, in_zone, people, tick_at, to, until};
use super::*;
use crate::model::Reason;
use crate::model::broadcast::Escalate;
use crate::model::directory::{Preferences, QuietHours, TimeOfDay};
use crate::state::command::{Cancel, Redeliver};

#[test]
fn whose_quiet_hours_are_on_at_their_time_is_held_then() {
    let (mut bench, mut disk) = (Bench::new(people()), Disk::default());
    let time = |hours: i64| TimeOfDay::parse(&format!("{:02}:00", 8 + hours)).unwrap();
    let quiet_hours = Some(QuietHours {
        start: time(6),
        end: time(8),
        timezone: "UTC".into(),
    });
    let quiet = Preferences {
        quiet_hours,
        ..Preferences::default()
    };
    let mute = Preferences {
        muted_categories: strings(&["venue"]),
        ..Preferences::default()
    };
    bench.run(Command::Directory(vec![
        Change::PutPreferences("bob".into(), quiet),
        Change::PutPreferences("cid".into(), mute),
    ]));
    let number = bench.number(publish(at(1, draft(everyone())), 1, 1));
    let counts = |bench: &Bench| {
        let aside = hot(bench, number).ledger.aside.clone().unwrap();
        (
            aside.held(),
            aside.skipped(),
            aside.until(1),
            aside.reason(1).map(Reason::name),
        )
    };
    assert_eq!(counts(&bench), (0, 0, Some(NOON + 4 * HOUR), None));
    bench.run(Command::Directory(vec![in_zone("dee", "Test/West")]));
    let late = Draft {
        expires_at: Some(NOON + DAY),
        ..at(3, to(&["bob", "dee"]))
    };
    let late = bench.number(publish(late, 2, 2));
    bench.released();
    tick_at(&mut bench, NOON + 4 * HOUR);
    assert_eq!(counts(&bench), (0, 1, None, None));
    assert_eq!(bench.released(), [(number, ReleaseKind::Again, vec![1])]);
    tick_at(&mut bench, NOON + 6 * HOUR);
    bench.state = reload(&mut bench.state, &mut disk);
    let aside = hot(&bench, late).ledger.aside.clone().unwrap();
    assert_eq!((aside.held(), aside.until(1)), (1, Some(NOON + 8 * HOUR)));
    assert_eq!(aside.reason(1), Some(Reason::QuietHours));
    assert_eq!(bench.released(), [(late, ReleaseKind::Broadcast, vec![3])]);
    tick_at(&mut bench, NOON + 8 * HOUR);
    assert_eq!(bench.released(), [(late, ReleaseKind::Again, vec![1])]);
}

#[test]
fn who_still_waits_hears_nothing_of_what_is_off_or_replaced() {
    let mut bench = Bench::new(people());
    let off = bench.number(publish(at(1, draft(everyone())), 1, 1));
    let old = bench.number(publish(at(1, draft(everyone())), 2, 2));
    let never = bench.number(publish(at(9, draft(everyone())), 3, 3));
    for number in [off, old] {
        bench.run(receipts(number, Step::Sent, &[0]));
    }
    bench.released();
    for number in [off, never] {
        let cancel = Command::Cancel(Box::new(Cancel { number, cold: None }));
        assert_eq!(bench.run(cancel), Outcome::Cancelled { repeated: false });
    }
    let new = Draft {
        supersedes: Some(bench.state.broadcast(old).unwrap().id),
        ..to(&["bob"])
    };
    let new = bench.number(publish(new, 4, 4));
    assert_eq!(
        bench.released(),
        [
            (off, ReleaseKind::Retracted, vec![0]),
            (never, ReleaseKind::Broadcast, vec![]),
            (new, ReleaseKind::Broadcast, vec![1]),
            (old, ReleaseKind::Retracted, vec![0]),
        ]
    );
    assert_eq!(bench.state.next_due(), None);
    tick_at(&mut bench, NOON + DAY);
    assert_eq!(bench.released(), []);
}

/// Whoever moves so far west that it is over before their time never gets it, and is a dead letter.
#[test]
fn whose_time_never_comes_is_told_as_expired() {
    let mut bench = Bench::new(people());
    let draft = Draft {
        expires_at: Some(NOON + 5 * HOUR),
        ..at(4, to(&["ann", "cid"]))
    };
    let number = bench.number(publish(draft, 1, 1));
    let alone = Draft {
        expires_at: Some(NOON + 5 * HOUR),
        ..at(4, to(&["cid"]))
    };
    let alone = bench.number(publish(alone, 2, 2));
    bench.run(Command::Directory(vec![in_zone("cid", "Test/West")]));
    tick_at(&mut bench, NOON + 3 * HOUR);
    assert_eq!(bench.released(), [(number, ReleaseKind::Broadcast, vec![0])]);
    // its own one would be over before it is due for anybody, so it is as good as out
    tick_at(&mut bench, NOON + 4 * HOUR);
    assert_eq!(bench.released(), [(alone, ReleaseKind::Broadcast, vec![])]);
    tick_at(&mut bench, NOON + 8 * HOUR);
    assert_eq!(bench.released(), []);
    bench.run(receipts(number, Step::Received, &[0]));
    super::retry::settle(&mut bench);
    let reasons = |bench: &Bench, number| {
        let dead = hot(bench, number).dead().cloned().unwrap_or_default();
        [0, 2].map(|user| dead.reason(user).map(Reason::name))
    };
    assert_eq!(reasons(&bench, alone), [None, Some("expired")]);
    assert_eq!(reasons(&bench, number)[1], Some("expired"));
    assert_eq!(hot(&bench, number).status(bench.at), Status::Expired);
}

/// What nobody has got yet is not missed, however late it is looked at; what somebody should have got is.
#[test]
fn it_is_missed_when_somebody_missed_it() {
    let mut bench = Bench::new(people());
    let skip = |draft| Draft {
        on_missed: OnMissed::Skip,
        ..draft
    };
    let check = |ids: &[&str], looked_at: i64, expected: &[Status]| {
        let mut bench = Bench::new(people());
        let number = bench.number(publish(skip(at(4, to(ids))), 1, 1));
        for (late, status) in expected.iter().enumerate() {
            tick_at(&mut bench, looked_at + late as i64);
            assert_eq!(hot(&bench, number).status(bench.at), *status, "{ids:?} at {looked_at}");
        }
    };
    let missed = TICK.missed_after_ms as i64;
    let east = NOON + 3 * HOUR;
    check(&["ann"], east + missed, &[Status::Released]);
    check(&["ann"], east + missed + 1, &[Status::Cancelled]);
    check(&["ann", "bob"], east + missed + 1, &[Status::Cancelled]);
    check(&["bob"], east + missed + 1, &[Status::Scheduled]);
    check(&["bob"], NOON + 7 * HOUR + missed, &[Status::Released]);
    check(&["bob"], NOON + 7 * HOUR + missed + 1, &[Status::Cancelled]);
    check(&[], east + missed + 1, &[Status::Cancelled]);
    // only the first release can be missed
    let number = bench.number(publish(skip(at(1, draft(everyone()))), 1, 1));
    bench.released();
    tick_at(&mut bench, NOON + 4 * HOUR + missed + 1);
    assert_eq!(bench.released(), [(number, ReleaseKind::Again, vec![1, 2])]);
}

fn redeliver(number: u64, users: Option<&[u32]>, key: u8) -> Command {
    Command::Redeliver(Box::new(Redeliver {
        number,
        users: users.map(|users| users.iter().collect()),
        key: Key {
            fingerprint: [key; 16],
            body: 0,
            kept_ms: 60_000,
            table_bytes_max: 0,
        },
        cold: None,
    }))
}

#[test]
fn what_is_delivered_again_comes_no_earlier_to_who_still_waits() {
    let mut bench = Bench::new(people());
    let number = bench.number(publish(at(1, draft(everyone())), 1, 1));
    bench.released();
    bench.run(redeliver(number, Some(&[0, 1]), 2));
    assert_eq!(bench.released(), [(number, ReleaseKind::Again, vec![0])]);
    assert_eq!(until(&bench, number), [None, Some(NOON + 4 * HOUR), Some(NOON + HOUR)]);
    // a dead letter has no time of its own any more
    let over = Draft {
        expires_at: Some(NOON + 4 * HOUR + 1),
        ..at(1, to(&["ann", "bob"]))
    };
    let over = bench.number(publish(over, 3, 3));
    bench.released();
    bench.at = NOON + 4 * HOUR + 1 + crate::state::dead::GRACE;
    super::retry::settle(&mut bench);
    assert!(bench.released().iter().all(|(released, ..)| *released != over));
    bench.run(redeliver(over, Some(&[1]), 4));
    assert_eq!(bench.released(), [(over, ReleaseKind::Again, vec![1])]);
    assert_eq!(until(&bench, over), [None; 3]);
}

#[test]
fn nobody_is_alerted_about_what_is_still_to_come_but_by_name() {
    let mut bench = Bench::new(people());
    let step = |after_ms, ids: &[&str]| Escalate {
        after_ms,
        to: to(ids).audience,
        priority: Some(Priority::Critical),
        outputs: Vec::new(),
    };
    let asked = Acknowledge {
        within_ms: 60_000,
        answers: Vec::new(),
        need: Vec::new(),
        escalate: vec![step(60_000, &[]), step(120_000, &["cid"])],
    };
    let draft = Draft {
        acknowledge: Some(asked),
        ..at(1, draft(everyone()))
    };
    let number = bench.number(publish(draft, 1, 1));
    let answer = |bench: &mut Bench, user| {
        let acknowledged = Acknowledged {
            user,
            node: 1,
            answers: vec![(number, "ok".into())],
        };
        match bench.run(Command::Acknowledge(acknowledged)) {
            Outcome::Acknowledged(each) => each[0].clone().map(|taken| taken.late),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(answer(&mut bench, 1), Err(Refused::NotARecipient));
    bench.released();
    tick_at(&mut bench, NOON + 60_000);
    assert_eq!(bench.released(), [(number, ReleaseKind::Again, vec![0])]);
    tick_at(&mut bench, NOON + 120_000);
    assert_eq!(bench.released(), [(number, ReleaseKind::Again, vec![0, 2])]);
    assert_eq!(until(&bench, number), [None, Some(NOON + 4 * HOUR), None]);
    tick_at(&mut bench, NOON + 4 * HOUR);
    assert_eq!(bench.released(), [(number, ReleaseKind::Again, vec![1])]);
    // the time to confirm begins when it comes to somebody
    bench.at += 60_000;
    assert_eq!((answer(&mut bench, 1), answer(&mut bench, 0)), (Ok(false), Ok(true)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    /// Whatever their zones, whoever moves, and however often a node starts anew: everybody gets it once, and nobody before
    /// their clocks show the time, unless it is over before; and nodes agree.
    #[test]
    fn nobody_is_early_and_nobody_is_left_out(
        zones in prop::collection::vec(0..5usize, 5),
        hours in -6..30i64,
        lives in prop::option::of(1..2_400i64),
        steps in prop::collection::vec((0..500i64, 0..5usize, 0..5usize), 1..12),
    ) {
        const NAMES: [&str; 5] = ["Test/East", "Test/West", "Test/Far", "", "UTC"];
        const AHEAD: [i64; 5] = [1, -3, 12, 0, 0];
        let person = |index: usize| format!("p-{index}");
        let mut changes = people();
        changes.extend((0..5).map(|index| in_zone(&person(index), NAMES[zones[index]])));
        let (mut bench, mut disk) = (Bench::new(changes.clone()), Disk::default());
        let mut twin = Bench::new(changes);
        let ids: Vec<String> = (0..5).map(person).collect();
        let draft = Draft {
            expires_at: lives.map(|minutes| NOON + minutes * 60_000),
            ..at(hours, to(&ids.iter().map(String::as_str).collect::<Vec<_>>()))
        };
        let outcome = bench.run(publish(draft.clone(), 1, 1));
        prop_assert_eq!(&outcome, &twin.run(publish(draft, 1, 1)));
        let Outcome::Published { number, .. } = outcome else {
            return Ok(());
        };
        let expires_at = bench.state.broadcast(number).unwrap().expires_at;
        let mut zone_of = zones;
        let mut moved_at = [i64::MIN; 5];
        let mut got = std::collections::BTreeMap::new();
        for (minutes, mover, zone) in steps.into_iter().chain([(3_000, 0, 0), (1, 0, 0)]) {
            let is_out = hot(&bench, number).broadcast.position.is_some();
            for (of, _, users) in bench.released() {
                prop_assert_eq!(of, number);
                for user in users {
                    prop_assert_eq!(got.insert(user, bench.at), None, "user {} gets it twice", user);
                }
            }
            twin.released();
            prop_assert_eq!(bench.state.hash(), twin.state.hash());
            bench.state = reload(&mut bench.state, &mut disk);
            prop_assert_eq!(bench.state.hash(), twin.state.hash());
            if !is_out {
                zone_of[mover] = zone;
                moved_at[mover] = bench.at;
            }
            let change = || Command::Directory(vec![in_zone(&person(mover), NAMES[zone])]);
            bench.run(change());
            twin.run(change());
            // as the leader does: at each time that something is due, or a little later
            let end = bench.at + minutes * 60_000;
            while let Some(due) = bench.state.next_due().filter(|due| *due <= end) {
                bench.at = due.max(bench.at);
                twin.at = bench.at;
                bench.run(Command::Tick(TICK));
                twin.run(Command::Tick(TICK));
                for (_, _, users) in bench.released() {
                    for user in users {
                        prop_assert_eq!(got.insert(user, bench.at), None, "user {} gets it twice", user);
                    }
                }
                twin.released();
            }
            bench.at = end;
            twin.at = end;
        }
        for (index, zone) in zone_of.into_iter().enumerate() {
            let user = bench.state.directory().user_number(&person(index)).unwrap();
            let due = NOON + (hours - AHEAD[zone]) * HOUR;
            let came = got.get(&user).copied();
            if moved_at[index] < due || moved_at[index] == i64::MIN {
                let expected = (due < expires_at).then_some(due.max(NOON));
                prop_assert_eq!(came, expected, "{} of zone {:?}", user, NAMES[zone]);
            } else {
                // it was late there already: the next look finds them, at last the one for the west
                let last = NOON + (hours + 3) * HOUR;
                prop_assert!(came.is_some_and(|at| at >= moved_at[index] && at <= last) || expires_at <= last);
            }
        }
    }
}
