//! What happens when nobody confirms.

use super::*;
use crate::model::broadcast::Escalate;
use crate::model::{Reason, Retry};
use crate::state::dead;
use crate::state::escalation::Taken;
use crate::state::outbox::{CallResult, CallState, Called, Claim};

const TICK: Tick = Tick {
    kept_ms: 90 * 86_400_000,
    missed_after_ms: 60_000,
    retry: Retry::DEFAULT,
};

fn step(after_ms: u64, roles: &[&str], priority: Option<Priority>, outputs: &[&str]) -> Escalate {
    let clause = Clause {
        venues: strings(&["barn"]),
        roles: strings(roles),
        ..Clause::default()
    };
    Escalate {
        after_ms,
        to: Audience {
            clauses: if roles.is_empty() { Vec::new() } else { vec![clause] },
            exclude: Vec::new(),
        },
        priority,
        outputs: strings(outputs),
    }
}

/// To the members of the first wedding: Ann, Bob and Cat (0, 1, 2); Eve (4) is the venue's.
fn asked(need: &[(&str, u32)], escalate: Vec<Escalate>) -> Draft {
    let clause = Clause {
        weddings: strings(&["w-1"]),
        ..Clause::default()
    };
    Draft {
        acknowledge: Some(Acknowledge {
            within_ms: 15_000,
            answers: strings(&["ok", "need_help"]),
            need: need.iter().map(|(role, count)| ((*role).into(), *count)).collect(),
            escalate,
        }),
        ..draft(clause)
    }
}

fn confirm(bench: &mut Bench, number: u64, user: u32) {
    let outcome = bench.run(Command::Acknowledge(Acknowledged {
        user,
        node: 1,
        answers: vec![(number, "ok".into())],
    }));
    assert!(
        matches!(&outcome, Outcome::Acknowledged(each) if each[0].is_ok()),
        "{outcome:?}"
    );
}

fn tick_after(bench: &mut Bench, ms: i64) {
    bench.at = NOON + ms;
    bench.run(Command::Tick(TICK));
}

fn taken(bench: &Bench, number: u64) -> Vec<Taken> {
    let hot = bench.state.broadcasts().get(number).unwrap();
    hot.ledger
        .aside
        .as_ref()
        .map_or_else(Vec::new, |aside| aside.escalation.taken.clone())
}

#[test]
fn who_has_not_confirmed_is_alerted_again_and_others_are_called_in() {
    let (mut bench, mut disk) = (Bench::new(two_places()), Disk::default());
    let steps = vec![
        step(60_000, &[], Some(Priority::High), &[]),
        step(30_000, &["venue_ops"], None, &["siren", "radio"]),
    ];
    let number = bench.number(publish(asked(&[], steps), 1, 1));
    bench.released();
    confirm(&mut bench, number, 0);
    tick_after(&mut bench, 29_999);
    assert_eq!(bench.released(), []);
    bench.state = reload(&mut bench.state, &mut disk);
    bench.at = NOON + 30_000;
    let mut effects = Vec::new();
    let index = bench.state.applied() + 1;
    bench.state.apply(
        index,
        bench.at,
        vec![Command::Tick(TICK), Command::Tick(TICK)],
        &mut effects,
    );
    let [Effect::Released(release)] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    assert!(release.escalated);
    assert_eq!(
        (release.priority, release.recipients.iter().collect::<Vec<_>>()),
        (Priority::Normal, vec![1, 2, 4])
    );
    let first = taken(&bench, number);
    assert_eq!((first[0].step, first[0].alerted, first[0].widened), (1, 3, 1));
    assert_eq!(
        first[0].calls,
        [("siren".to_owned(), Some(1)), ("radio".to_owned(), Some(2))]
    );

    // the one who was called in is a recipient like any other, after a restart too
    bench.state = reload(&mut bench.state, &mut disk);
    assert!(bench.state.broadcasts().get(number).unwrap().is_for(4));
    assert_eq!(bench.state.broadcasts().blocks().with(4).count(), 1);
    confirm(&mut bench, number, 4);
    let hot = bench.state.broadcasts().get(number).unwrap();
    assert!(
        !hot.ledger.answers[&4].late,
        "fifteen seconds count from when it went out to them"
    );

    tick_after(&mut bench, 60_000);
    assert_eq!(bench.released(), [(number, ReleaseKind::Again, vec![1, 2])]);
    let second = taken(&bench, number);
    assert_eq!(
        (second.len(), second[1].step, second[1].priority),
        (2, 0, Priority::High)
    );
    assert_eq!(bench.state.next_due(), None);
}

#[test]
fn enough_of_each_role_is_enough() {
    let mut bench = Bench::new(two_places());
    let steps = || vec![step(30_000, &["venue_ops"], None, &["siren"])];
    let number = bench.number(publish(asked(&[("dj", 1), ("venue_ops", 1)], steps()), 1, 1));
    let short = bench.number(publish(asked(&[("dj", 2)], steps()), 2, 2));
    let all = bench.number(publish(asked(&[], steps()), 3, 3));
    bench.released();
    for number in [number, short, all] {
        confirm(&mut bench, number, 2);
    }
    for user in [0, 1] {
        confirm(&mut bench, all, user);
    }
    tick_after(&mut bench, 31_000);
    // the first lacks somebody of the venue, whom only the step reaches; of the second there is one dj only
    assert_eq!(
        bench.released(),
        [
            (number, ReleaseKind::Again, vec![0, 1, 4]),
            (short, ReleaseKind::Again, vec![0, 1, 4])
        ]
    );
    assert_eq!(taken(&bench, all), []);
    let needs = |number| {
        let needs = bench.state.needs(bench.state.broadcasts().get(number).unwrap());
        needs
            .into_iter()
            .map(|need| (need.role, need.count, need.confirmed))
            .collect::<Vec<_>>()
    };
    assert_eq!(needs(number), [("dj".into(), 1, 1), ("venue_ops".into(), 1, 0)]);
    assert_eq!(needs(short), [("dj".into(), 2, 1)]);
}

#[test]
fn nobody_is_asked_again_about_what_is_off_or_replaced_or_over() {
    let mut bench = Bench::new(two_places());
    let steps = || vec![step(30_000, &[], None, &["siren"])];
    let off = bench.number(publish(asked(&[], steps()), 1, 1));
    let old = bench.number(publish(asked(&[], steps()), 2, 2));
    let short = Draft {
        expires_at: Some(NOON + 20_000),
        ..asked(&[], steps())
    };
    bench.number(publish(short, 3, 3));
    bench.run(Command::Cancel(Box::new(crate::state::command::Cancel {
        number: off,
        cold: None,
    })));
    let new = Draft {
        supersedes: Some(bench.state.broadcast(old).unwrap().id),
        ..asked(&[], Vec::new())
    };
    bench.number(publish(new, 4, 4));
    bench.released();
    tick_after(&mut bench, 40_000);
    assert_eq!((bench.released(), bench.state.outbox().open()), (vec![], 0));
}

#[test]
fn raised_to_critical_it_passes_what_held_it() {
    let mut changes = two_places();
    changes.push(Change::PutPreferences(
        "bob".into(),
        crate::model::directory::Preferences {
            muted_categories: strings(&["weather"]),
            ..Default::default()
        },
    ));
    let mut bench = Bench::new(changes);
    let storm = Draft {
        kind: "weather.warning".into(),
        priority: Priority::High,
        ..asked(&[], vec![step(30_000, &[], Some(Priority::Critical), &[])])
    };
    let number = bench.number(publish(storm, 1, 1));
    assert_eq!(bench.released(), [(number, ReleaseKind::Broadcast, vec![0, 2])]);
    tick_after(&mut bench, 30_000);
    assert_eq!(bench.released(), [(number, ReleaseKind::Again, vec![0, 1, 2])]);
    let hot = bench.state.broadcasts().get(number).unwrap();
    assert!(hot.is_for(1));
    assert_eq!(hot.out_at(0), NOON, "who had it before is late all the same");
    let owed = |user| {
        let release = hot.release_for(user).unwrap();
        (release.priority, release.escalated, release.released_at - NOON)
    };
    assert_eq!(
        [owed(0), owed(1)],
        [(Priority::Critical, true, 0), (Priority::Critical, true, 30_000)]
    );
    confirm(&mut bench, number, 0);
    let hot = bench.state.broadcasts().get(number).unwrap();
    assert!(!hot.release_for(0).unwrap().escalated);
    assert_eq!(hot.out_at(1), NOON + 30_000);
}

#[test]
fn a_call_has_one_owner_at_a_time_and_keeps_its_id() {
    let (mut bench, mut disk) = (Bench::new(two_places()), Disk::default());
    bench.number(publish(asked(&[], vec![step(1_000, &[], None, &["siren"])]), 1, 1));
    tick_after(&mut bench, 1_000);
    let claim = |node, attempts| {
        Command::Claim(Claim {
            call: 1,
            node,
            attempts,
            for_ms: 10_000,
        })
    };
    assert_eq!(bench.run(claim(1, 0)), Outcome::Claimed(true));
    assert_eq!(bench.run(claim(2, 0)), Outcome::Claimed(false));
    assert_eq!(
        bench.run(claim(2, 1)),
        Outcome::Claimed(false),
        "the first may still be calling"
    );
    bench.state = reload(&mut bench.state, &mut disk);
    bench.at += 10_000;
    assert_eq!(bench.run(claim(2, 1)), Outcome::Claimed(true));
    let failed = |attempt| {
        Command::Called(Called {
            call: 1,
            attempt,
            result: CallResult::Failed {
                error: "refused".into(),
                wait_ms: 500,
            },
        })
    };
    bench.run(failed(1));
    assert_eq!(
        bench.state.outbox().get(1).unwrap().state,
        CallState::Claimed(2),
        "an old attempt says nothing"
    );
    bench.run(failed(2));
    assert_eq!(bench.state.outbox().due(bench.at).count(), 0);
    bench.at += 500;
    assert_eq!(bench.run(claim(1, 2)), Outcome::Claimed(true));
    bench.run(Command::Called(Called {
        call: 1,
        attempt: 3,
        result: CallResult::Delivered,
    }));
    bench.state = reload(&mut bench.state, &mut disk);
    let call = bench.state.outbox().get(1).unwrap();
    assert_eq!((call.state, call.attempts), (CallState::Delivered(bench.at), 3));
    assert_eq!(bench.state.outbox().open(), 0);
    bench.at += 8 * 86_400_000;
    bench.run(Command::Tick(TICK));
    assert!(bench.state.outbox().get(1).is_none());
}

#[test]
fn a_step_that_no_tick_took_before_the_end_holds_up_nothing_else() {
    let (mut bench, mut disk) = (Bench::new(two_places()), Disk::default());
    let short = Draft {
        expires_at: Some(NOON + 1_500),
        ..asked(&[], vec![step(1_000, &[], None, &["siren"])])
    };
    bench.number(publish(short, 1, 1));
    let long = bench.number(publish(asked(&[], vec![step(2_000, &[], None, &[])]), 2, 2));
    bench.released();
    // nobody led until both were due
    bench.state = reload(&mut bench.state, &mut disk);
    tick_after(&mut bench, 3_000);
    assert_eq!(bench.released(), [(long, ReleaseKind::Again, vec![0, 1, 2])]);
    assert_eq!((bench.state.next_due(), bench.state.outbox().open()), (None, 0));
    bench.state = reload(&mut bench.state, &mut disk);
    assert_eq!(bench.state.next_due(), None);
}

#[test]
fn what_never_goes_out_waits_for_nothing() {
    let mut bench = Bench::new(two_places());
    let later = Draft {
        deliver_at: Some(NOON + 60_000),
        ..asked(&[], vec![step(30_000, &[], None, &["siren"])])
    };
    let number = bench.number(publish(later, 1, 1));
    bench.run(Command::Cancel(Box::new(crate::state::command::Cancel {
        number,
        cold: None,
    })));
    assert_eq!(bench.state.next_due(), None);
}

#[test]
fn many_calls_of_one_output_stand_before_none_of_another() {
    let (mut bench, mut disk) = (Bench::new(two_places()), Disk::default());
    for key in 1..=30 {
        let steps = (0..10).map(|_| step(1_000, &[], None, &["hangs"])).collect();
        bench.number(publish(asked(&[], steps), key, u64::from(key)));
    }
    bench.number(publish(asked(&[], vec![step(2_000, &[], None, &["siren"])]), 99, 99));
    tick_after(&mut bench, 2_000);
    bench.state = reload(&mut bench.state, &mut disk);
    let due = bench.state.outbox().due(bench.at);
    let counts: Vec<_> = due.map(|(output, calls)| (output.to_owned(), calls.count())).collect();
    assert_eq!(counts, [("hangs".to_owned(), 300), ("siren".to_owned(), 1)]);
    assert_eq!(bench.state.outbox().open(), 301);
}

#[test]
fn who_was_erased_is_not_waited_for() {
    let mut bench = Bench::new(two_places());
    let number = bench.number(publish(asked(&[], vec![step(30_000, &[], None, &["siren"])]), 1, 1));
    bench.released();
    for user in [0, 1] {
        confirm(&mut bench, number, user);
    }
    bench.run(Command::Directory(vec![Change::DeleteUser("cat".into())]));
    tick_after(&mut bench, 30_000);
    assert_eq!((bench.released(), taken(&bench, number)), (vec![], vec![]));
}

#[test]
fn whom_only_a_step_has_added_is_a_dead_letter_like_any_other() {
    let mut bench = Bench::new(two_places());
    let nobody = Draft {
        audience: Audience {
            clauses: vec![Clause {
                users: strings(&["nobody"]),
                ..Clause::default()
            }],
            exclude: Vec::new(),
        },
        ..asked(&[], vec![step(30_000, &["venue_ops"], None, &[])])
    };
    let number = bench.number(publish(nobody, 1, 1));
    bench.released();
    tick_after(&mut bench, 30_000);
    assert_eq!(bench.released(), [(number, ReleaseKind::Again, vec![4])]);
    tick_after(&mut bench, 3_600_000 + dead::GRACE);
    let (block, open, seen) = bench.state.settle_due(bench.at).expect("its block is looked at");
    let hots: Vec<_> = bench.state.broadcasts().from(0).cloned().collect();
    let plan = dead::plan(block, open, seen, &hots, &bench.state.presence().there(), bench.at);
    bench.run(Command::Settle(Box::new(plan.unwrap())));
    let hot = bench.state.broadcasts().get(number).unwrap();
    assert_eq!(hot.dead().unwrap().reason(4), Some(Reason::NoSession));
}

#[test]
fn delivering_again_takes_no_steps_of_before() {
    let mut bench = Bench::new(two_places());
    let short = Draft {
        expires_at: Some(NOON + 60_000),
        ..asked(&[], vec![step(120_000, &[], None, &["siren"])])
    };
    let number = bench.number(publish(short, 1, 1));
    bench.at = NOON + 600_000;
    bench.run(Command::Tick(TICK));
    bench.released();
    bench.run(Command::Redeliver(Box::new(crate::state::command::Redeliver {
        number,
        users: Some([0].into_iter().collect()),
        key: Key {
            fingerprint: [9; 16],
            body: 9,
            kept_ms: 60_000,
            table_bytes_max: 1 << 20,
        },
        cold: None,
    })));
    assert_eq!(bench.released(), [(number, ReleaseKind::Again, vec![0])]);
    tick_after(&mut bench, 600_100);
    assert_eq!((bench.released(), bench.state.outbox().open()), (vec![], 0));
}
