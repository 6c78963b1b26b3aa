//! What leaves memory, comes back from rows, and is forgotten.

use super::*;
use crate::state::broadcasts::OPEN_KEPT_MAX;
use crate::state::urgent::Urgent;

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
pub(super) fn bulky(key: u64, expires_after_ms: u64) -> Command {
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
    publish.spans.expires_after_ms = expires_after_ms;
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
    let ledger = |key: &RowKey| State::read_ledger(key, &disk.0[key]).unwrap();
    let mut found = ledger(&RowKey::Ledger(first));
    assert_eq!((found.step(2), found.step(3)), (Some(Step::Received), None));
    let late = disk.0.keys().find(|key| matches!(key, RowKey::LedgerLate(..))).unwrap();
    found.merge(&ledger(late));
    assert_eq!((found.step(2), found.step(3)), (Some(Step::Received), Some(Step::Read)));
}

fn tick() -> Command {
    Command::Tick(Tick {
        kept_ms: 3_600_000,
        missed_after_ms: 1_000,
        retry: crate::model::Retry::DEFAULT,
    })
}

fn urgent(key: u64) -> Command {
    let Command::Publish(mut publish) = bulky(key, 1_000_000) else {
        panic!("not a publish")
    };
    publish.draft.priority = Priority::Critical;
    Command::Publish(publish)
}

#[test]
fn a_critical_stays_in_memory_until_everybody_has_confirmed_it() {
    let (mut bench, mut disk) = (Bench::new(two_places()), Disk::default());
    let first = bench.number(urgent(1));
    let Command::Publish(mut drill) = urgent(2) else {
        panic!("not a publish")
    };
    drill.draft.drill = true;
    let drill = bench.number(Command::Publish(drill));
    for key in 3..100 {
        bench.run(bulky(key, 1_000_000));
    }
    let open = |state: &State| {
        let mut seen = Urgent::default();
        while seen.look(state) {}
        let open = seen.open(state, state.log_time());
        open.map(|hot| hot.broadcast.number).collect::<Vec<_>>()
    };
    bench.run(tick());
    assert!(bench.state.broadcasts().hot_from().unwrap() > first);
    assert!(bench.state.broadcasts().get(drill).is_none());
    assert_eq!(open(&bench.state), [first]);
    let again = reload(&mut bench.state, &mut disk);
    assert_eq!((again.hash(), open(&again)), (bench.state.hash(), vec![first]));
    bench.run(receipts(first, Step::Received, &[0, 1, 2, 3]));
    bench.run(tick());
    assert_eq!(open(&bench.state), [first]);
    bench.run(receipts(first, Step::Received, &[4]));
    bench.run(tick());
    assert_eq!(open(&bench.state), Vec::<u64>::new());
    assert!(bench.state.broadcasts().get(first).is_none());
    let again = reload(&mut bench.state, &mut disk);
    assert_eq!(again.hash(), bench.state.hash());
}

#[test]
fn of_many_open_criticals_the_newest_stay() {
    let mut bench = Bench::new(two_places());
    let all: Vec<u64> = (0..OPEN_KEPT_MAX as u64 + 2)
        .map(|key| bench.number(urgent(key)))
        .collect();
    for key in 100..200 {
        bench.run(bulky(key, 1_000_000));
    }
    bench.run(tick());
    let stays = |number: &u64| bench.state.broadcasts().get(*number).is_some();
    let kept: Vec<u64> = all.iter().copied().filter(stays).collect();
    assert_eq!(kept, all[2..]);
}

#[test]
fn what_is_forgotten_takes_no_receipts_and_leaves_no_block() {
    let (mut bench, mut disk) = (Bench::new(two_places()), Disk::default());
    let numbers: Vec<u64> = (0..3).map(|key| bench.number(bulky(key, 1_000))).collect();
    let last = bench.number(bulky(9, 5_000));
    let tick = Command::Tick(Tick {
        kept_ms: 2_000,
        missed_after_ms: 1_000,
        retry: crate::model::Retry::DEFAULT,
    });
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
        Effect::Cancelled(_)
        | Effect::Cache(_)
        | Effect::Revoked(_)
        | Effect::Named(_)
        | Effect::Released(_)
        | Effect::Erased(_)
        | Effect::Node(_) => None,
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
    let is_left = |key: &RowKey| matches!(key, RowKey::LedgerLate(..) | RowKey::Block(_));
    assert!(!disk.0.keys().any(is_left));
    // Numbers go on, in the same block.
    assert_eq!(bench.number(bulky(10, 1_000)), last + 1);
    let again = reload(&mut bench.state, &mut disk);
    assert_eq!(again.broadcasts().blocks().with(0).collect::<Vec<_>>(), [0]);
    assert_eq!(again.hash(), bench.state.hash());
}

#[test]
fn a_block_knows_its_newest_people_before_its_row_is_made_and_after() {
    let (mut bench, mut disk) = (Bench::new(two_places()), Disk::default());
    let blocks = |state: &State, user: u32| state.broadcasts().blocks().with(user).collect::<Vec<_>>();
    let to = |user: &str| Clause {
        users: vec![user.into()],
        ..Clause::default()
    };
    let send = |bench: &mut Bench, user: &str, key: u64| {
        let Command::Publish(mut publish) = publish(draft(to(user)), 0, key) else {
            panic!("not a publish")
        };
        publish.key.fingerprint[..8].copy_from_slice(&key.to_le_bytes());
        bench.number(Command::Publish(publish))
    };
    let first = send(&mut bench, "ann", 1);
    assert_eq!((blocks(&bench.state, 0), blocks(&bench.state, 1)), (vec![0], vec![]));
    for key in 2..600 {
        send(&mut bench, "bob", key);
    }
    send(&mut bench, "cat", 600);
    let (all, last) = (vec![512, 256, 0], vec![512]);
    let expected = [vec![first / 256 * 256], all, last, vec![]];
    let found = |state: &State| [0, 1, 2, 3].map(|user| blocks(state, user));
    assert_eq!(found(&bench.state), expected);
    let again = reload(&mut bench.state, &mut disk);
    assert_eq!((found(&again), found(&bench.state)), (expected.clone(), expected));
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
        let tick = Command::Tick(Tick { kept_ms, missed_after_ms: 1_000, retry: crate::model::Retry::DEFAULT });
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
        prop_assert_eq!(bench.state.broadcasts().hot_from(), None);
        prop_assert_eq!(bench.state.broadcasts().blocks().below(u64::MAX), None);
    }
}

#[test]
fn what_has_expired_is_confirmed_by_nobody() {
    let mut bench = Bench::new(two_places());
    let number = bench.number(bulky(1, 1_000));
    let counts = |bench: &Bench| Step::ALL.map(|step| bench.state.broadcasts().get(number).unwrap().ledger.count(step));
    bench.at = NOON + 999;
    bench.run(receipts(number, Step::Received, &[0]));
    bench.at = NOON + 1_000;
    for (step, user) in [(Step::Sent, 1), (Step::Received, 2), (Step::Read, 0)] {
        bench.run(receipts(number, step, &[user]));
    }
    assert_eq!(counts(&bench), [2, 1, 0, 0]);
}
