//! Receipts and answers.

use super::*;

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
