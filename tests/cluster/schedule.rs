//! Broadcasts with a time of their own, and such as are called off: over three nodes, and over the death of their leader.

use super::harness::cluster::SERVING_WITHIN;
use super::harness::load::draft;
use super::harness::{Cluster, Start, Subscriber, Transport, cluster, directory, until};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);
const PEOPLE: [&str; 3] = ["sam", "tess", "uma"];

fn published(cluster: &Cluster, at: usize, draft: &Value) -> Value {
    let answer = cluster.client(at).post("/v1/broadcasts", draft).expect(201).json();
    cluster.wait_applied(answer["log_index"].as_u64().unwrap(), SOON);
    answer
}

fn id_of(answer: &Value) -> String {
    answer["id"].as_str().unwrap().to_owned()
}

fn to(people: &[&str], body: &str) -> Value {
    draft(
        "high",
        body,
        &people.iter().map(ToString::to_string).collect::<Vec<_>>(),
    )
}

fn shown(cluster: &Cluster, at: usize, id: &str) -> Value {
    cluster
        .client(at)
        .get(&format!("/v1/broadcasts/{id}?consistency=strong"))
        .expect(200)
        .json()
}

fn cancel(cluster: &Cluster, at: usize, id: &str) -> Value {
    let path = format!("/v1/broadcasts/{id}/cancel");
    let answer = cluster.client(at).must("POST", &path, &[], b"").expect(200);
    let applied = answer.header("campanile-applied").unwrap().parse().unwrap();
    cluster.wait_applied(applied, SOON);
    answer.json()
}

#[test]
fn a_schedule_outlives_its_leader_and_is_kept_to_once() {
    let mut own = cluster::own(3);
    let cluster = &mut own.cluster;
    let people: Vec<String> = PEOPLE.iter().map(ToString::to_string).collect();
    let applied = directory::import_users(&mut cluster.client(0), &people);
    cluster.wait_applied(applied, SOON);
    let leader = cluster.leader();
    let listeners = [Transport::Sse, Transport::WebSocket, Transport::Lines].map(|transport| {
        Subscriber::start(&cluster.addresses(), (leader + 1) % 3, transport, PEOPLE[0], Start::Now).ready()
    });

    let due = Timestamp::now() + SignedDuration::from_secs(3);
    let mut scheduled = to(&PEOPLE, "scheduled");
    scheduled["deliver_at"] = json!(due.to_string());
    let keyed = |cluster: &Cluster, at: usize| {
        let headers = [("Idempotency-Key", "at-its-time"), ("Content-Type", "application/json")];
        let body = scheduled.to_string();
        let answer = cluster
            .client(at)
            .must("POST", "/v1/broadcasts", &headers, body.as_bytes());
        answer.expect(201).json()
    };
    let answer = keyed(cluster, leader);
    cluster.wait_applied(answer["log_index"].as_u64().unwrap(), SOON);
    assert_eq!(
        (&answer["status"], &answer["position"]),
        (&json!("scheduled"), &Value::Null)
    );
    assert_eq!(answer["targeted"], 3);
    let id = id_of(&answer);
    let mut other = scheduled.clone();
    other["body"] = json!("never");
    let never = id_of(&published(cluster, (leader + 2) % 3, &other));
    assert_eq!(cancel(cluster, (leader + 1) % 3, &never)["status"], "cancelled");

    cluster.kill(leader);
    for listener in &listeners {
        listener.until("it comes", SOON, |seen| seen.has(&id));
    }
    cluster.launch(leader);
    cluster.wait_writable(SERVING_WITHIN);
    // what is published now comes behind all that was to come
    let last = published(cluster, leader, &to(&PEOPLE, "last"));
    let end = id_of(&last);
    for listener in listeners {
        listener.until("the end", SOON, |seen| seen.has(&end));
        let seen = listener.stop();
        assert_eq!(seen.ids(), [id.as_str(), end.as_str()], "{:?}", seen.story);
        let released: Timestamp = seen.deliveries[0].frame["released_at"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        assert!(released >= due, "{released} is before {due}");
    }
    let more = directory::import_users(&mut cluster.client(0), &["more".to_owned()]);
    cluster.wait_applied(more, SOON);
    for at in 0..3 {
        assert_eq!(keyed(cluster, at), answer, "the first answer stands");
        let now = shown(cluster, at, &id);
        assert!(now["released_at"].as_str().unwrap().parse::<Timestamp>().unwrap() >= due);
        assert_ne!(now["position"], Value::Null);
        assert_eq!(shown(cluster, at, &never)["status"], "cancelled");
    }
    cluster.assert_sound();
}

#[test]
fn who_has_what_is_called_off_is_told_and_no_one_else() {
    let shared = cluster::beside(3);
    let cluster = &shared.cluster;
    let people: Vec<String> = PEOPLE.iter().map(ToString::to_string).collect();
    let applied = directory::import_users(&mut cluster.client(0), &people);
    cluster.wait_applied(applied, SOON);
    let listen = |user: &str| Subscriber::start(&cluster.addresses(), 1, Transport::Sse, user, Start::Owed).ready();
    let there = listen(PEOPLE[0]);

    let id = id_of(&published(cluster, 0, &to(&PEOPLE[..2], "on")));
    there.until("it comes", SOON, |seen| seen.has(&id));
    until("it counts as sent", SOON, || {
        (shown(cluster, 2, &id)["sent"] == 1).then_some(())
    });
    assert_eq!(cancel(cluster, 2, &id)["status"], "cancelled");
    assert_eq!(cancel(cluster, 0, &id)["status"], "cancelled");
    there.until("it is off", SOON, |seen| !seen.events("retracted").is_empty());

    // Whoever comes late hears nothing of it, with or without a cursor.
    let late = listen(PEOPLE[1]);
    let replayed = Subscriber::start(&cluster.addresses(), 2, Transport::Lines, PEOPLE[1], Start::Earliest).ready();
    let old = id_of(&published(cluster, 0, &to(&PEOPLE[..2], "old")));
    let mut new = to(&PEOPLE[1..], "new");
    new["supersedes"] = json!(old);
    let new = id_of(&published(cluster, 1, &new));
    there.until("the old one is off", SOON, |seen| seen.events("retracted").len() == 2);
    for listener in [late, replayed] {
        listener.until("the new one", SOON, |seen| seen.has(&new));
        let seen = listener.stop();
        assert_eq!(seen.ids(), [old.as_str(), new.as_str()]);
        assert!(seen.events("retracted").is_empty(), "{:?}", seen.others);
    }
    let seen = there.stop();
    assert_eq!(seen.ids(), [id.as_str(), old.as_str()]);
    let off: Vec<&Value> = seen.events("retracted").iter().map(|event| &event["id"]).collect();
    assert_eq!(off, [&json!(id), &json!(old)]);
}

#[test]
fn times_and_ids_that_cannot_be_are_refused() {
    let shared = cluster::shared();
    let cluster = &shared.cluster;
    let applied = directory::import_users(&mut cluster.client(0), &["sam".to_owned()]);
    cluster.wait_applied(applied, SOON);
    let check = |with: Value, pointer: &str, code: &str| {
        for path in ["/v1/broadcasts", "/v1/broadcasts?dry_run=true"] {
            let mut draft = to(&["sam"], "no");
            draft.as_object_mut().unwrap().extend(with.as_object().unwrap().clone());
            let problem = cluster.client(0).post(path, &draft).expect(422).json();
            let error = &problem["errors"][0];
            assert_eq!(
                (&error["pointer"], &error["code"]),
                (&json!(pointer), &json!(code)),
                "{problem}"
            );
        }
    };
    let in_hours = |hours| (Timestamp::now() + SignedDuration::from_hours(hours)).to_string();
    check(
        json!({"deliver_at": in_hours(7 * 24 + 1)}),
        "/deliver_at",
        "SCHEDULE_TOO_FAR",
    );
    check(
        json!({"deliver_at": in_hours(2), "expires_at": in_hours(1)}),
        "/expires_at",
        "OUT_OF_RANGE",
    );
    check(
        json!({"supersedes": "01ARZ3NDEKTSV4RRFFQ69G5FAV"}),
        "/supersedes",
        "UNKNOWN_BROADCAST",
    );
    let path = "/v1/broadcasts/01ARZ3NDEKTSV4RRFFQ69G5FAV/cancel";
    cluster.client(1).must("POST", path, &[], b"").expect(404);
}
