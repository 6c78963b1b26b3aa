//! Attempts, dead letters, and delivering again.

use super::*;
use crate::model::{Reason, Retry};
use crate::state::command::{Cold, Promised, Redeliver};
use crate::state::dead;

const TICK: Tick = Tick {
    kept_ms: 90 * 86_400_000,
    missed_after_ms: 60_000,
    retry: RETRY,
};
const RETRY: Retry = Retry::DEFAULT;
const HOUR: i64 = 3_600_000;

fn people() -> Bench {
    let mut bench = Bench::new(
        ["ann", "bob", "cid", "dee"]
            .iter()
            .map(|id| Change::PutUser(user(id, "guest")))
            .collect(),
    );
    connect(&mut bench, &[0, 1, 2], &[]);
    bench
}

fn connect(bench: &mut Bench, came: &[u32], went: &[u32]) {
    bench.run(Command::Presence(Presence {
        node: 1,
        incarnation: 1,
        all: false,
        came: came.iter().collect(),
        went: went.iter().collect(),
    }));
}

/// A node wrote to these: `promised` of them said that they confirm.
fn wrote(bench: &mut Bench, number: u64, sent: &[u32], promised: &[u32]) {
    bench.run(Command::Receipts(Receipts {
        node: 1,
        deltas: vec![(number, Step::Sent, sent.iter().collect())],
        promised: Some(Promised {
            users: vec![(number, promised.iter().collect())],
            retry: RETRY,
        }),
        watermarks: [0; 4],
    }));
}

/// Goes on to when the next thing is due, and does it.
fn next(bench: &mut Bench) -> Vec<(u64, ReleaseKind, Vec<u32>)> {
    bench.at = bench.state.next_due().expect("something is due").max(bench.at);
    bench.run(Command::Tick(TICK));
    bench.released()
}

pub(super) fn settle(bench: &mut Bench) {
    bench.run(Command::Tick(TICK));
    let Some((block, open, seen)) = bench.state.settle_due(bench.at) else {
        return;
    };
    let hots: Vec<_> = bench.state.broadcasts().from(0).cloned().collect();
    let there = bench.state.presence().there();
    let settle = dead::plan(block, open, seen, &hots, &there, bench.at).unwrap();
    // a command that comes twice is taken once
    bench.run(Command::Settle(Box::new(settle.clone())));
    bench.run(Command::Settle(Box::new(settle)));
}

fn counts(bench: &Bench) -> Vec<(Priority, Reason, u64)> {
    let counts = bench.state.broadcasts().blocks().dead_counts();
    counts
        .into_iter()
        .map(|((priority, reason), count)| (priority, reason, count))
        .collect()
}

fn dead_reasons(bench: &Bench, number: u64) -> [Option<Reason>; 4] {
    let dead = bench
        .state
        .broadcasts()
        .get(number)
        .unwrap()
        .dead()
        .cloned()
        .unwrap_or_default();
    [0, 1, 2, 3].map(|user| dead.reason(user))
}

#[test]
fn a_silent_session_is_written_to_three_times_and_a_plain_one_once() {
    let mut bench = people();
    let number = bench.number(publish(draft(everyone()), 1, 1));
    assert_eq!(bench.released(), [(number, ReleaseKind::Broadcast, vec![0, 1, 2, 3])]);
    wrote(&mut bench, number, &[0, 1, 2], &[0, 1]);
    bench.run(receipts(number, Step::Received, &[1]));
    let first = bench.at;
    for _ in 0..2 {
        let before = bench.at;
        assert_eq!(next(&mut bench), [(number, ReleaseKind::Retry, vec![0])]);
        assert!(bench.at - before >= 500, "a wait is a wait");
        wrote(&mut bench, number, &[0], &[0]);
    }
    assert_eq!(next(&mut bench), []);
    assert!(
        (3_500..=7_000).contains(&(bench.at - first)),
        "1, 2 and 4 s, less the jitter: {}",
        bench.at - first
    );
    assert_eq!(bench.state.next_due(), None);
    let failed = |bench: &Bench| bench.state.broadcasts().get(number).unwrap().has_failed(0);
    assert!(failed(&bench));
    bench.run(receipts(number, Step::Received, &[0]));
    assert!(!failed(&bench));
}

#[test]
fn who_is_away_is_no_attempt() {
    let mut bench = people();
    let number = bench.number(publish(draft(everyone()), 1, 1));
    bench.released();
    wrote(&mut bench, number, &[0], &[0]);
    connect(&mut bench, &[], &[0]);
    assert_eq!(next(&mut bench), []);
    assert_eq!(bench.state.next_due(), None);
    connect(&mut bench, &[0], &[]);
    wrote(&mut bench, number, &[0], &[0]);
    assert_eq!(
        bench.state.broadcasts().get(number).unwrap().tries().unwrap().made(0),
        2
    );
    assert_eq!(next(&mut bench), [(number, ReleaseKind::Retry, vec![0])]);
}

#[test]
fn nothing_is_tried_after_the_expiry_or_once_it_is_off() {
    let mut bench = people();
    let short = Draft {
        expires_at: Some(NOON + 100),
        ..draft(everyone())
    };
    let short = bench.number(publish(short, 1, 1));
    let off = bench.number(publish(draft(everyone()), 2, 2));
    wrote(&mut bench, short, &[0], &[0]);
    wrote(&mut bench, off, &[0], &[0]);
    bench.run(Command::Cancel(Box::new(crate::state::command::Cancel {
        number: off,
        cold: None,
    })));
    bench.released();
    assert_eq!(next(&mut bench), []);
    assert_eq!(bench.state.next_due(), None);
}

#[test]
fn a_restart_forgets_no_wait() {
    let (mut bench, mut disk) = (people(), Disk::default());
    let number = bench.number(publish(draft(everyone()), 1, 1));
    wrote(&mut bench, number, &[0], &[0]);
    bench.released();
    let due = bench.state.next_due();
    bench.state = reload(&mut bench.state, &mut disk);
    assert_eq!(bench.state.next_due(), due);
    assert_eq!(next(&mut bench), [(number, ReleaseKind::Retry, vec![0])]);
}

#[test]
fn who_never_got_it_is_a_dead_letter_with_the_reason_and_gets_it_after_all() {
    let (mut bench, mut disk) = (people(), Disk::default());
    let number = bench.number(publish(draft(everyone()), 1, 1));
    let drill = Draft {
        drill: true,
        ..draft(everyone())
    };
    bench.number(publish(drill, 2, 2));
    connect(&mut bench, &[], &[1]);
    wrote(&mut bench, number, &[0], &[]);
    bench.at += HOUR + dead::GRACE;
    settle(&mut bench);
    bench.state = reload(&mut bench.state, &mut disk);
    assert_eq!(
        dead_reasons(&bench, number),
        [
            None,
            Some(Reason::OfflineSince),
            Some(Reason::Expired),
            Some(Reason::NoSession)
        ]
    );
    let all = [Reason::NoSession, Reason::OfflineSince, Reason::Expired];
    assert_eq!(counts(&bench), all.map(|reason| (Priority::Normal, reason, 1)));

    bench.released();
    let again = Command::Redeliver(Box::new(Redeliver {
        number,
        users: Some([0, 1].into_iter().collect()),
        key: Key {
            fingerprint: [9; 16],
            body: 9,
            kept_ms: 60_000,
            table_bytes_max: 1 << 20,
        },
        cold: None,
    }));
    let first = bench.run(again.clone());
    let Outcome::Redelivered {
        revived,
        replayed: false,
    } = first
    else {
        panic!("{first:?}")
    };
    assert_eq!((revived.again, revived.expires_at), (2, bench.at + HOUR));
    assert_eq!(bench.released(), [(number, ReleaseKind::Again, vec![0, 1])]);
    let second = bench.run(again);
    assert_eq!(
        second,
        Outcome::Redelivered {
            revived,
            replayed: true
        }
    );
    assert_eq!(bench.released(), []);
    assert_eq!(counts(&bench).len(), 2);

    bench.run(receipts(number, Step::Received, &[1]));
    bench.state = reload(&mut bench.state, &mut disk);
    assert_eq!(
        bench.state.broadcasts().get(number).unwrap().broadcast.expires_at,
        revived.expires_at
    );
    bench.at += HOUR + dead::GRACE;
    settle(&mut bench);
    assert_eq!(
        dead_reasons(&bench, number),
        [None, None, Some(Reason::Expired), Some(Reason::NoSession)]
    );
    assert_eq!(counts(&bench).iter().map(|(.., count)| count).sum::<u64>(), 2);
}

#[test]
fn what_has_left_memory_has_dead_letters_too() {
    let (mut bench, mut disk) = (people(), Disk::default());
    let number = bench.number(publish(draft(everyone()), 1, 1));
    let entry = bench.state.broadcasts().get(number).unwrap().entry().unwrap();
    let long = "x".repeat(1_000);
    for key in 0..4_000_u64 {
        let filler = Draft::bare("venue.notice", "Filler", long.clone());
        let filler = Draft {
            audience: draft(Clause {
                users: strings(&["ann"]),
                ..Clause::default()
            })
            .audience,
            ..filler
        };
        bench.run(publish(filler, (key % 250) as u8 + 3, key + 10));
        bench.at += 1_000; // keys are forgotten after a minute
    }
    assert!(bench.state.broadcasts().get(number).is_none());
    bench.at = bench.at.max(NOON + HOUR) + dead::GRACE;
    let (block, open, seen) = bench.state.settle_due(bench.at).unwrap();
    let hot = crate::state::broadcasts::Hot::of(&entry, std::sync::Arc::default());
    let plan = dead::plan(
        block,
        open,
        seen,
        std::slice::from_ref(&hot),
        &bench.state.presence().there(),
        bench.at,
    );
    let plan = plan.unwrap();
    assert_eq!(plan.dead.len(), 1);
    bench.run(Command::Settle(Box::new(plan)));
    assert_eq!(counts(&bench).iter().map(|(.., count)| count).sum::<u64>(), 4);
    reload(&mut bench.state, &mut disk);
    let late = disk
        .0
        .iter()
        .find(|(key, _)| matches!(key, RowKey::LedgerLate(position, _) if *position == number));
    let (key, value) = late.expect("a late row");
    let mut ledger = Ledger::default();
    ledger.merge(&State::read_ledger(key, value).unwrap());
    assert_eq!(ledger.aside.clone().unwrap().dead.unwrap().users().len(), 4);

    let cold = Cold { entry, ledger };
    let redeliver = Redeliver {
        number,
        users: None,
        key: Key {
            fingerprint: [1; 16],
            body: 77,
            kept_ms: 60_000,
            table_bytes_max: 1 << 20,
        },
        cold: Some(Box::new(cold)),
    };
    bench.released();
    bench.run(Command::Redeliver(Box::new(redeliver)));
    assert_eq!(bench.released(), [(number, ReleaseKind::Again, vec![0, 1, 2, 3])]);
    assert_eq!(counts(&bench), []);
}

fn redeliver(number: u64, key: u8, users: &[u32]) -> Command {
    Command::Redeliver(Box::new(Redeliver {
        number,
        users: Some(users.iter().collect()),
        key: Key {
            fingerprint: [key; 16],
            body: u64::from(key),
            kept_ms: 60_000,
            table_bytes_max: 1 << 20,
        },
        cold: None,
    }))
}

#[test]
fn what_is_delivered_again_while_its_block_is_read_is_read_once_more() {
    let mut bench = people();
    let number = bench.number(publish(draft(everyone()), 1, 1));
    wrote(&mut bench, number, &[0, 1], &[]);
    bench.at += HOUR + dead::GRACE;
    bench.run(Command::Tick(TICK));
    let (block, open, seen) = bench.state.settle_due(bench.at).unwrap();
    let hots: Vec<_> = bench.state.broadcasts().from(0).cloned().collect();
    let there = bench.state.presence().there();
    let plan = dead::plan(block, open, seen, &hots, &there, bench.at).unwrap();
    bench.run(redeliver(number, 9, &[2, 3]));
    bench.run(Command::Settle(Box::new(plan)));
    settle(&mut bench);
    assert_eq!(dead_reasons(&bench, number), [None; 4], "it lives anew");
    bench.at += HOUR + dead::GRACE;
    settle(&mut bench);
    assert_eq!(
        dead_reasons(&bench, number),
        [None, None, Some(Reason::Expired), Some(Reason::NoSession)]
    );
    assert_eq!(counts(&bench).iter().map(|(.., count)| count).sum::<u64>(), 2);
}

#[test]
fn a_block_is_due_although_no_entry_tells_the_time() {
    let mut bench = people();
    bench.number(publish(draft(everyone()), 1, 1));
    assert!(bench.state.settle_due(NOON + HOUR + dead::GRACE - 1).is_none());
    assert!(bench.state.settle_due(NOON + HOUR + dead::GRACE).is_some());
}

#[test]
fn what_has_been_replaced_is_not_delivered_again_behind_its_replacement() {
    let mut bench = people();
    let number = bench.number(publish(draft(everyone()), 1, 1));
    let outcome = bench.run(redeliver(number, 9, &[0]));
    assert!(matches!(outcome, Outcome::Redelivered { .. }), "{outcome:?}");
    let newer = Draft {
        supersedes: Some(bench.state.broadcast(number).unwrap().id),
        ..draft(everyone())
    };
    bench.number(publish(newer, 2, 2));
    assert_eq!(
        bench.run(redeliver(number, 10, &[1])),
        Outcome::Refused(Refused::Superseded)
    );
    // what was asked before is told the same as before
    assert!(matches!(
        bench.run(redeliver(number, 9, &[0])),
        Outcome::Redelivered { replayed: true, .. }
    ));
}

#[test]
fn delivering_again_to_nobody_prolongs_nothing() {
    let mut bench = people();
    let number = bench.number(publish(draft(everyone()), 1, 1));
    wrote(&mut bench, number, &[0], &[]);
    bench.run(receipts(number, Step::Received, &[0]));
    bench.at += HOUR + dead::GRACE;
    settle(&mut bench);
    let before = bench.state.broadcast(number).unwrap().expires_at;
    let Outcome::Redelivered { revived, .. } = bench.run(redeliver(number, 9, &[0])) else {
        panic!("refused")
    };
    assert_eq!((revived.again, revived.held, revived.expires_at), (0, 0, before));
    assert_eq!(bench.state.broadcast(number).unwrap().expires_at, before);
    assert_eq!(bench.state.settle_due(bench.at), None);
}
