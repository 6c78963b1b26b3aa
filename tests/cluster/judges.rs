//! The oracle itself: a history that breaks a promise must be found guilty, or a green run says nothing.

use super::harness::load::{Fate, Publish, longest_gap};
use super::harness::oracle::{has_all, judge};
use super::harness::stream::{Delivery, Seen};
use serde_json::json;
use std::time::{Duration, Instant};

fn publish(number: u64, fate: fn(u64) -> Fate, at: Instant) -> Publish {
    Publish {
        key: format!("key {number}"),
        priority: "high".into(),
        body: format!("body {number}"),
        users: vec!["ann".into()],
        fate: fate(number),
        at,
    }
}

fn ok(number: u64) -> Fate {
    Fate::Ok {
        id: format!("id {number}"),
        position: number,
        log_index: number,
    }
}

fn delivery(number: u64, connection: usize) -> Delivery {
    Delivery {
        id: format!("id {number}"),
        position: number,
        priority: "high".into(),
        body: format!("body {number}"),
        frame: json!({}),
        connection,
        at: Instant::now(),
    }
}

fn seen(deliveries: Vec<Delivery>) -> Vec<(String, Seen)> {
    let seen = Seen {
        deliveries,
        ..Seen::default()
    };
    vec![("ann".into(), seen)]
}

/// Two acknowledged publishes, and what became of them; `fault` is part of the oracle's complaint, if it must have one.
fn check(what: &str, fault: Option<&str>, deliveries: Vec<Delivery>) {
    let now = Instant::now();
    let history = [publish(1, ok, now), publish(2, ok, now)];
    check_history(what, fault, &history, deliveries);
}

fn check_history(what: &str, fault: Option<&str>, history: &[Publish], deliveries: Vec<Delivery>) {
    let verdict = judge(history, &seen(deliveries));
    match fault {
        None => assert!(verdict.faults.is_empty(), "{what}: {:?}", verdict.faults),
        Some(fault) => assert!(
            verdict.faults.iter().any(|found| found.contains(fault)),
            "{what}: no {fault:?} in {:?}",
            verdict.faults
        ),
    }
}

#[test]
fn the_oracle_can_say_no() {
    let now = Instant::now();
    check("all well", None, vec![delivery(1, 1), delivery(2, 1)]);
    check(
        "a repeat after a reconnect",
        None,
        vec![delivery(1, 1), delivery(1, 2), delivery(2, 2)],
    );
    check("one missing", Some("never got"), vec![delivery(1, 1)]);
    check("order", Some("came after"), vec![delivery(2, 1), delivery(1, 1)]);
    check(
        "a repeat for no reason",
        Some("twice"),
        vec![delivery(1, 1), delivery(1, 1), delivery(2, 1)],
    );
    check(
        "a phantom",
        Some("nobody published"),
        vec![delivery(1, 1), delivery(2, 1), delivery(3, 1)],
    );
    let other = |change: fn(&mut Delivery)| {
        let mut changed = delivery(2, 1);
        change(&mut changed);
        vec![delivery(1, 1), delivery(2, 1), changed]
    };
    check("another id", Some("got"), other(|delivery| delivery.id = "id 9".into()));
    check("another position", Some("got"), other(|delivery| delivery.position = 9));
    check(
        "another priority",
        Some("got"),
        other(|delivery| delivery.priority = "low".into()),
    );

    let mut stranger = publish(2, ok, now);
    stranger.users = vec!["bob".into()];
    let all = vec![delivery(1, 1), delivery(2, 1)];
    check_history(
        "not for ann",
        Some("got"),
        &[publish(1, ok, now), stranger],
        all.clone(),
    );
    let refused = [publish(1, ok, now), publish(2, |_| Fate::Failed(422), now)];
    check_history("a refused one came", Some("got"), &refused, all.clone());
    let unknown = [publish(1, ok, now), publish(2, |_| Fate::Unknown, now)];
    check_history("an unknown one came", None, &unknown, all.clone());
    check_history("an unknown one did not", None, &unknown, vec![delivery(1, 1)]);
    let twice = [publish(1, ok, now), publish(2, |_| ok(1), now)];
    check_history("two with one id", Some("share the id"), &twice, all);
    let mut gap = seen(vec![delivery(1, 1)]);
    gap[0].1.others.push(json!({"event": "gap"}));
    assert!(
        !judge(&[publish(1, ok, now)], &gap).faults.is_empty(),
        "a gap for nothing"
    );

    assert!(has_all(&[publish(1, ok, now)], "ann", &seen(vec![delivery(1, 1)])[0].1));
    assert!(!has_all(&[publish(1, ok, now)], "ann", &Seen::default()));
    let later = [0, 10, 900].map(|millis| publish(millis, ok, now + Duration::from_millis(millis)));
    assert_eq!(longest_gap(&later), Duration::from_millis(890));
}
