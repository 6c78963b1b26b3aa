//! Sheets of ledgers made by hand.

use super::{Grade, Measured, Sheet, grade, percentile, sheet};
use crate::model::{Acknowledge, Broadcast, BroadcastId, Draft, Millis, Reason, Step, UserNumber};
use crate::state::aside::{Aside, Awaits, Came, Held};
use crate::state::broadcasts::Hot;
use crate::state::ledger::{Answer, Ledger};
use std::sync::Arc;

const NOON: Millis = 1_800_000_000_000;
const HOUR: Millis = 3_600_000;

/// A drill to the users below `count`, out at noon and over in an hour.
fn drill(count: UserNumber, asked: Option<Acknowledge>) -> Hot {
    let draft = Draft {
        drill: true,
        acknowledge: asked,
        ..Draft::bare("safety.drill", "Fire drill", "Meet at the gate.")
    };
    let broadcast = Broadcast {
        number: 1,
        id: BroadcastId::new(NOON, 1, 1),
        draft,
        sender: "administrator".into(),
        accepted_at: NOON,
        expires_at: NOON + HOUR,
        position: Some(1),
        late: None,
        log_index: 1,
        targeted: count,
        connected: 0,
        held: 0,
        skipped: 0,
        unknown: 0,
    };
    let recipients = Arc::new((0..count).collect());
    Hot {
        broadcast: Arc::new(broadcast),
        first: Arc::clone(&recipients),
        recipients,
        excluded: Arc::default(),
        ledger: Arc::default(),
    }
}

fn asked() -> Acknowledge {
    Acknowledge {
        within_ms: 15_000,
        answers: Vec::new(),
        need: Vec::new(),
        escalate: Vec::new(),
    }
}

fn ledger(hot: &mut Hot) -> &mut Ledger {
    Arc::make_mut(&mut hot.ledger)
}

fn takes(hot: &mut Hot, step: Step, user: UserNumber, after: Millis) {
    let at = NOON + after;
    let users = [user].into_iter().collect();
    ledger(hot).advance(step, &users, at, 1, true);
    if step == Step::Acknowledged {
        let answer = Answer {
            answer: "ok".into(),
            at,
            node: 1,
            late: false,
        };
        ledger(hot).answers.insert(user, answer);
    }
}

fn figures(sheet: &Sheet) -> [u64; 4] {
    [sheet.targeted, sheet.confirmed, sheet.fast, sheet.in_time]
}

#[test]
fn each_is_measured_from_when_it_went_out() {
    let mut hot = drill(5, Some(asked()));
    for (user, after) in [(0, 4_000), (1, 15_000), (2, 15_001), (3, 60_001)] {
        takes(&mut hot, Step::Acknowledged, user, after);
    }
    let seen = sheet(&hot, NOON + 61_000);
    assert_eq!(figures(&seen), [5, 4, 2, 3]);
    assert_eq!(
        (seen.median_ms, seen.p95_ms, seen.slowest),
        (Some(15_000), Some(60_001), Some((3, 60_001)))
    );
    assert_eq!(seen.measured, Measured::Acknowledged);
    assert_eq!((seen.grade, seen.is_final), (Some(Grade::D), true));
}

#[test]
fn who_was_held_begins_when_their_time_has_come() {
    let mut hot = drill(3, Some(asked()));
    let quiet = 10 * 60_000;
    let held = |until, user| Held {
        until: NOON + until,
        awaits: Awaits::QuietEnd,
        users: [user].into_iter().collect(),
    };
    let aside = Aside {
        held: vec![held(2 * quiet, 1)],
        came: vec![Came {
            at: NOON + quiet,
            users: [0].into_iter().collect(),
        }],
        muted: [2].into_iter().collect(),
        ..Aside::default()
    };
    ledger(&mut hot).aside = Some(Box::new(aside));
    takes(&mut hot, Step::Acknowledged, 0, quiet + 3_000);
    let seen = sheet(&hot, NOON + quiet + HOUR / 2 - 1);
    assert_eq!(figures(&seen), [2, 1, 1, 1], "who mutes it is not asked for");
    assert_eq!(seen.slowest, Some((0, 3_000)));
    assert!(!seen.is_final, "somebody's time is still to come");
    assert!(sheet(&hot, NOON + HOUR).is_final, "it has expired");
    assert_eq!(hot.ledger.aside.as_ref().unwrap().reason(1), Some(Reason::QuietHours));
    // whose time comes after the end is not waited for
    let mut late = hot.clone();
    ledger(&mut late).aside.as_mut().unwrap().held = vec![held(2 * HOUR, 1)];
    assert!(!sheet(&late, NOON + quiet + 60_000).is_final);
    assert!(sheet(&late, NOON + quiet + 60_001).is_final);
}

#[test]
fn without_a_question_a_device_that_has_it_counts() {
    let mut hot = drill(4, None);
    takes(&mut hot, Step::Received, 0, 200);
    takes(&mut hot, Step::Read, 1, 900);
    takes(&mut hot, Step::Sent, 2, 100);
    // told twice, as after it has left memory: the first time counts
    let mut late = Ledger::default();
    late.advance(Step::Received, &[0].into_iter().collect(), NOON + 50_000, 2, true);
    ledger(&mut hot).merge(&late);
    let seen = sheet(&hot, NOON + 1_000);
    assert_eq!((seen.measured, figures(&seen)), (Measured::Received, [4, 2, 2, 2]));
    assert_eq!((seen.median_ms, seen.slowest), (Some(200), Some((1, 900))));
    let users = |found: &roaring::RoaringBitmap| found.iter().collect::<Vec<_>>();
    assert_eq!(users(&seen.not_confirmed), [2, 3]);
    assert_eq!(users(&seen.unreachable), [3]);
}

#[test]
fn it_is_final_when_nobody_can_change_it() {
    let mut hot = drill(2, Some(asked()));
    assert!(!sheet(&hot, NOON + 60_000).is_final);
    assert!(sheet(&hot, NOON + 60_001).is_final);
    takes(&mut hot, Step::Acknowledged, 0, 1_000);
    assert!(!sheet(&hot, NOON + 2_000).is_final);
    takes(&mut hot, Step::Acknowledged, 1, 2_000);
    let seen = sheet(&hot, NOON + 2_000);
    assert_eq!((seen.is_final, seen.grade), (true, Some(Grade::A)));
    let mut off = drill(2, Some(asked()));
    ledger(&mut off).aside.get_or_insert_default().cancelled_at = Some(NOON + 5);
    assert!(sheet(&off, NOON + 5).is_final);
}

#[test]
fn nobody_is_not_graded_and_what_is_scheduled_is_not_over() {
    let seen = sheet(&drill(0, Some(asked())), NOON);
    assert_eq!(
        (seen.grade, seen.is_final, seen.median_ms, seen.slowest),
        (None, true, None, None)
    );
    let mut scheduled = drill(0, Some(asked()));
    let broadcast = Broadcast {
        position: None,
        ..(*scheduled.broadcast).clone()
    };
    scheduled.broadcast = Arc::new(broadcast);
    assert!(!sheet(&scheduled, NOON + HOUR / 2).is_final);
}

#[test]
fn grades_ask_for_both_shares() {
    let check = |fast, in_time, expected| assert_eq!(grade(1_000, fast, in_time), Some(expected), "{fast} {in_time}");
    for (fast, in_time, met, missed) in [
        (900, 990, Grade::A, Grade::B),
        (750, 950, Grade::B, Grade::C),
        (500, 850, Grade::C, Grade::D),
        (250, 600, Grade::D, Grade::F),
    ] {
        check(fast, in_time, met);
        check(fast - 1, in_time, missed);
        check(fast, in_time - 1, missed);
    }
    check(0, 0, Grade::F);
    check(1_000, 1_000, Grade::A);
}

#[test]
fn percentiles_are_by_nearest_rank() {
    let all: Vec<(u64, UserNumber)> = (1..=20).map(|n| (n * 100, 0)).collect();
    for (count, percent, expected) in [
        (20, 50, 1_000),
        (20, 95, 1_900),
        (19, 95, 1_900),
        (1, 50, 100),
        (2, 50, 100),
    ] {
        assert_eq!(
            percentile(&all[..count], percent),
            Some(expected),
            "{percent} of {count}"
        );
    }
    assert_eq!(percentile(&[], 50), None);
}
