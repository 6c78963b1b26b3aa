//! Schedules, cancelling and superseding.

use super::memory::bulky;
use super::*;
use crate::model::BroadcastId;
use crate::state::command::{Cancel, Cold};

const TICK: Tick = Tick {
    kept_ms: 3_600_000,
    missed_after_ms: 60_000,
    retry: crate::model::Retry::DEFAULT,
};

fn users() -> Vec<Change> {
    ["ann", "bob", "cid"]
        .iter()
        .map(|id| Change::PutUser(user(id, "guest")))
        .collect()
}

fn to(ids: &[&str]) -> Draft {
    draft(Clause {
        users: strings(ids),
        ..Clause::default()
    })
}

fn at(due: i64, draft: Draft) -> Draft {
    Draft {
        deliver_at: Some(due),
        ..draft
    }
}

impl Bench {
    fn tick_at(&mut self, at: i64) {
        self.at = at;
        self.run(Command::Tick(TICK));
    }

    fn cancel(&mut self, number: u64) -> Outcome {
        self.run(Command::Cancel(Box::new(Cancel { number, cold: None })))
    }

    fn status(&self, number: u64) -> Status {
        self.state.broadcasts().get(number).unwrap().status(self.at)
    }
}

#[test]
fn what_is_scheduled_goes_out_once_at_its_time_to_those_who_are_there_then() {
    let (mut bench, mut disk) = (Bench::new(users()), Disk::default());
    let due = NOON + 5_000;
    let number = bench.number(publish(at(due, draft(everyone())), 1, 1));
    assert_eq!(
        (bench.status(number), bench.state.next_due()),
        (Status::Scheduled, Some(due))
    );
    assert_eq!(bench.state.broadcast(number).unwrap().targeted, 3);
    bench.run(Command::Directory(vec![Change::PutUser(user("dee", "guest"))]));
    bench.tick_at(due - 1);
    assert_eq!(bench.released(), []);
    bench.state = reload(&mut bench.state, &mut disk);
    bench.tick_at(due);
    bench.state = reload(&mut bench.state, &mut disk);
    bench.tick_at(due + 1);
    assert_eq!(bench.released(), [(number, ReleaseKind::Broadcast, vec![0, 1, 2, 3])]);
    let broadcast = bench.state.broadcast(number).unwrap();
    assert_eq!((broadcast.targeted, broadcast.released_at()), (4, due));
    assert_ne!(broadcast.position, Some(number));
    assert_eq!(bench.state.place(number), broadcast.position);
    assert_eq!((bench.status(number), bench.state.next_due()), (Status::Released, None));
    let again = bench.run(publish(at(due, draft(everyone())), 1, 1));
    assert_eq!(again, Outcome::Published { number, replayed: true });
}

#[test]
fn its_receipts_and_its_answers_find_it_wherever_it_stands() {
    let (mut bench, mut disk) = (Bench::new(users()), Disk::default());
    let number = bench.number(publish(at(NOON + 5_000, draft(everyone())), 1, 1));
    let other = bench.number(publish(draft(everyone()), 2, 2));
    bench.tick_at(NOON + 5_000);
    bench.run(receipts(number, Step::Received, &[1]));
    bench.state = reload(&mut bench.state, &mut disk);
    let counts = |state: &State, number| {
        let hot = state.broadcasts().get(number).unwrap();
        (hot.ledger.count(Step::Received), hot.recipients.len())
    };
    assert_eq!(
        (counts(&bench.state, number), counts(&bench.state, other)),
        ((1, 3), (0, 3))
    );
    // no broadcast has the number of its position
    let position = bench.state.place(number).unwrap();
    assert!(bench.state.broadcasts().get(position).is_none());
    let stray = bench.run(Command::Acknowledge(Acknowledged {
        user: 1,
        node: 1,
        answers: vec![(position, "ok".into())],
    }));
    assert_eq!(stray, Outcome::Acknowledged(vec![Err(Refused::UnknownBroadcast)]));
}

#[test]
fn a_missed_schedule_is_sent_late_or_skipped_as_its_sender_wished() {
    let mut bench = Bench::new(users());
    let skip = |draft| Draft {
        on_missed: OnMissed::Skip,
        ..draft
    };
    let due = NOON + 5_000;
    let over = Draft {
        expires_at: Some(due + 1_000),
        ..at(due, draft(everyone()))
    };
    let sent = bench.number(publish(at(due, draft(everyone())), 1, 1));
    let skipped = bench.number(publish(skip(at(due, draft(everyone()))), 2, 2));
    let in_time = bench.number(publish(skip(at(due + 5_000, draft(everyone()))), 3, 3));
    let over = bench.number(publish(over, 4, 4));
    bench.tick_at(due + TICK.missed_after_ms as i64 + 1);
    let everybody = vec![0, 1, 2];
    let nobody = Vec::new();
    assert_eq!(
        bench.released(),
        [
            (sent, ReleaseKind::Broadcast, everybody.clone()),
            (skipped, ReleaseKind::Broadcast, nobody.clone()),
            (over, ReleaseKind::Broadcast, nobody),
            (in_time, ReleaseKind::Broadcast, everybody)
        ]
    );
    let status = [sent, skipped, over, in_time].map(|number| bench.status(number));
    assert_eq!(
        status,
        [Status::Released, Status::Cancelled, Status::Cancelled, Status::Released]
    );
}

#[test]
fn times_that_cannot_be_are_refused() {
    let mut bench = Bench::new(users());
    let early = Draft {
        expires_at: Some(NOON + 5_000),
        ..at(NOON + 5_000, draft(everyone()))
    };
    let outcome = bench.run(publish(early, 1, 1));
    assert_eq!(outcome, Outcome::Refused(Refused::ExpiresBeforeDelivery));
    // a time that has come is now
    let number = bench.number(publish(at(NOON - 5_000, draft(everyone())), 1, 1));
    assert_eq!(bench.status(number), Status::Released);
}

#[test]
fn what_is_cancelled_is_retracted_for_those_who_have_it_and_for_no_one_else() {
    let (mut bench, mut disk) = (Bench::new(users()), Disk::default());
    let number = bench.number(publish(draft(everyone()), 1, 1));
    bench.run(receipts(number, Step::Sent, &[0]));
    bench.released();
    assert_eq!(bench.cancel(number), Outcome::Cancelled { repeated: false });
    assert!(matches!(bench.effects[0], Effect::Cancelled(off) if off == number));
    assert_eq!(bench.released(), [(number, ReleaseKind::Retracted, vec![0])]);
    assert_eq!(
        (bench.cancel(number), bench.status(number)),
        (Outcome::Cancelled { repeated: true }, Status::Cancelled)
    );
    bench.state = reload(&mut bench.state, &mut disk);
    assert!(bench.state.broadcasts().is_cancelled(number));
    // it was on its way to two more, one of whom is known already
    bench.run(receipts(number, Step::Received, &[0, 2]));
    assert_eq!(bench.released(), [(number, ReleaseKind::Retracted, vec![2])]);
    assert!(!bench.state.broadcasts().get(number).unwrap().is_for(1));
}

#[test]
fn what_is_cancelled_before_its_time_never_goes_out() {
    let (mut bench, mut disk) = (Bench::new(users()), Disk::default());
    let number = bench.number(publish(at(NOON + 5_000, draft(everyone())), 1, 1));
    bench.state = reload(&mut bench.state, &mut disk);
    assert_eq!(bench.cancel(number), Outcome::Cancelled { repeated: false });
    assert_eq!(
        (bench.state.next_due(), bench.status(number)),
        (None, Status::Cancelled)
    );
    bench.tick_at(NOON + 5_000);
    assert!(bench.released().iter().all(|(_, _, users)| users.is_empty()));
    bench.state = reload(&mut bench.state, &mut disk);
    assert_eq!(bench.status(number), Status::Cancelled);
}

#[test]
fn what_is_over_or_unknown_cannot_be_cancelled() {
    let mut bench = Bench::new(users());
    let number = bench.number(publish(draft(everyone()), 1, 1));
    assert_eq!(bench.cancel(number + 1), Outcome::Refused(Refused::UnknownBroadcast));
    bench.at += 90_000_000;
    assert_eq!(bench.cancel(number), Outcome::Refused(Refused::Expired));
}

#[test]
fn a_broadcast_that_has_left_memory_is_cancelled_with_what_its_rows_say() {
    let (mut bench, mut disk) = (Bench::new(users()), Disk::default());
    let number = bench.number(publish(draft(everyone()), 1, 1));
    bench.run(receipts(number, Step::Sent, &[1]));
    let hot = bench.state.broadcasts().get(number).unwrap().clone();
    for key in 2..80 {
        bench.number(bulky(key, 1_000_000));
    }
    assert!(bench.state.broadcasts().get(number).is_none());
    bench.released();
    assert_eq!(bench.cancel(number), Outcome::Refused(Refused::LeftMemory));
    let cold = Cold {
        entry: hot.entry().unwrap(),
        ledger: (*hot.ledger).clone(),
    };
    let cancel = Command::Cancel(Box::new(Cancel {
        number,
        cold: Some(Box::new(cold)),
    }));
    assert_eq!(bench.run(cancel), Outcome::Cancelled { repeated: false });
    assert_eq!(bench.released(), [(number, ReleaseKind::Retracted, vec![1])]);
    bench.state = reload(&mut bench.state, &mut disk);
    assert_eq!(bench.status(number), Status::Cancelled);
    bench.run(receipts(number, Step::Sent, &[2]));
    assert_eq!(bench.released(), [(number, ReleaseKind::Retracted, vec![2])]);
    bench.tick_at(NOON + 90_000_000);
    assert!(!bench.state.broadcasts().is_cancelled(number));
    bench.state = reload(&mut bench.state, &mut disk);
    assert!(bench.state.broadcasts().get(number).is_none());
}

#[test]
fn who_is_left_out_of_what_supersedes_is_told() {
    let mut bench = Bench::new(users());
    let old = bench.number(publish(to(&["ann", "bob"]), 1, 1));
    let id = bench.state.broadcast(old).unwrap().id;
    bench.released();
    let new = |id| Draft {
        supersedes: Some(id),
        ..to(&["bob", "cid"])
    };
    let number = bench.number(publish(new(id), 2, 2));
    assert_eq!(
        bench.released(),
        [
            (number, ReleaseKind::Broadcast, vec![1, 2]),
            (old, ReleaseKind::Retracted, vec![0])
        ]
    );
    assert_eq!(bench.status(old), Status::Released);
    for unknown in [BroadcastId::new(NOON, 9, 99), BroadcastId::new(NOON + 1, 9, old)] {
        let outcome = bench.run(publish(new(unknown), 3, 3));
        assert_eq!(outcome, Outcome::Refused(Refused::UnknownBroadcast));
    }
    // one that comes later does it at its time
    let later = bench.number(publish(at(NOON + 5_000, new(id)), 4, 4));
    assert_eq!(bench.released(), []);
    bench.tick_at(NOON + 5_000);
    assert_eq!(bench.released(), [(later, ReleaseKind::Broadcast, vec![1, 2])]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    /// Whatever happens between, and however often a node starts anew: what is taken on goes out once, or is called off.
    #[test]
    fn nothing_is_skipped_or_doubled(steps in prop::collection::vec((0..6u8, 0..9_000u64), 1..40)) {
        let (mut bench, mut disk) = (Bench::new(users()), Disk::default());
        let mut twin = Bench::new(users());
        let mut known: Vec<u64> = Vec::new();
        let mut went: Vec<(u64, ReleaseKind, Vec<u32>)> = Vec::new();
        for (step, (kind, millis)) in steps.into_iter().enumerate() {
            let key = step as u8;
            let command = match kind {
                0 => publish(at(bench.at + millis as i64, draft(everyone())), key, 1),
                1 => publish(to(&["ann", "cid"]), key, 1),
                2 => match known.get(millis as usize % known.len().max(1)) {
                    Some(number) => Command::Cancel(Box::new(Cancel { number: *number, cold: None })),
                    None => continue,
                },
                3 => match known.get(millis as usize % known.len().max(1)) {
                    Some(number) => receipts(*number, Step::Sent, &[millis as u32 % 3]),
                    None => continue,
                },
                4 => {
                    bench.state = reload(&mut bench.state, &mut disk);
                    continue;
                }
                _ => {
                    bench.at += millis as i64;
                    Command::Tick(TICK)
                }
            };
            twin.at = bench.at;
            let outcome = bench.run(command.clone());
            prop_assert_eq!(&outcome, &twin.run(command));
            if let Outcome::Published { number, .. } = outcome {
                known.push(number);
            }
            prop_assert_eq!(bench.state.hash(), twin.state.hash());
            let released = bench.released();
            prop_assert_eq!(&released, &twin.released());
            went.extend(released);
        }
        bench.tick_at(bench.at + 20_000);
        went.extend(bench.released());
        for number in known {
            let firsts = went.iter().filter(|(of, kind, _)| *of == number && *kind == ReleaseKind::Broadcast);
            prop_assert_eq!(firsts.count(), 1);
            let mut told: Vec<u32> = Vec::new();
            let retracted = went.iter().filter(|(of, kind, _)| *of == number && *kind == ReleaseKind::Retracted);
            retracted.for_each(|(_, _, users)| told.extend(users));
            let once: BTreeSet<u32> = told.iter().copied().collect();
            prop_assert_eq!(once.len(), told.len());
            let hot = bench.state.broadcasts().get(number).unwrap();
            let owed: BTreeSet<u32> = if hot.ledger.is_cancelled() {
                hot.ledger.steps[Step::Sent.index()].iter().collect()
            } else {
                BTreeSet::new()
            };
            prop_assert_eq!(once, owed);
        }
    }
}

#[test]
fn who_has_not_got_what_is_superseded_does_not_get_it_any_more() {
    let (mut bench, mut disk) = (Bench::new(users()), Disk::default());
    let supersede = |id: BroadcastId| Draft {
        supersedes: Some(id),
        ..to(&["bob"])
    };
    let late = bench.number(publish(at(NOON + 5_000, draft(everyone())), 1, 1));
    let id = bench.state.broadcast(late).unwrap().id;
    bench.number(publish(supersede(id), 2, 2));
    assert_eq!((bench.status(late), bench.state.next_due()), (Status::Cancelled, None));
    // an old one that has left memory is called back for what supersedes it later
    let old = bench.number(publish(draft(everyone()), 3, 3));
    let id = bench.state.broadcast(old).unwrap().id;
    bench.number(publish(at(NOON + 5_000, supersede(id)), 4, 4));
    for key in 5..90 {
        bench.number(bulky(key, 1_000_000));
    }
    bench.state = reload(&mut bench.state, &mut disk);
    bench.released();
    bench.tick_at(NOON + 4_000);
    bench.tick_at(NOON + 5_000);
    let went = bench.released();
    assert!(went.contains(&(old, ReleaseKind::Retracted, vec![0, 2])), "{went:?}");
}

#[test]
fn a_place_that_is_gone_takes_nobody_else_with_it() {
    let mut bench = Bench::new(two_places());
    let both = Draft {
        audience: Audience {
            clauses: vec![
                Clause {
                    weddings: strings(&["w-1"]),
                    ..Clause::default()
                },
                Clause {
                    weddings: strings(&["w-2"]),
                    ..Clause::default()
                },
            ],
            exclude: Vec::new(),
        },
        ..draft(everyone())
    };
    let of_first = bench.state.resolve(&draft(both.audience.clauses[0].clone())).unwrap();
    let number = bench.number(publish(at(NOON + 5_000, both), 1, 1));
    bench.run(Command::Directory(vec![Change::DeleteWedding("w-2".into())]));
    bench.tick_at(NOON + 5_000);
    let recipients = &bench.state.broadcasts().get(number).unwrap().recipients;
    assert!(!recipients.is_empty() && **recipients == *of_first.recipients);
}
