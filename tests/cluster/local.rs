//! The same time on everybody's wall, over three nodes whose leaders die. No two zones are seconds apart, so what is seen here is who
//! gets it first and who goes on waiting; the rest is tried on the state itself.

use super::harness::cluster::SERVING_WITHIN;
use super::harness::{Cluster, Start, Subscriber, Transport, cluster, directory};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);
/// Clocks in Nepal are 15 minutes before those in India.
const FIRST: (&str, &str) = ("nima", "Asia/Kathmandu");
const LATER: (&str, &str) = ("ravi", "Asia/Kolkata");
const BETWEEN: SignedDuration = SignedDuration::from_mins(15);
/// Has no zone, and belongs to a place in India.
const PLACED: &str = "sol";

fn import(cluster: &Cluster) {
    let of = |(id, zone): (&str, &str)| json!({"kind": "user", "id": id, "role": "guest", "timezone": zone});
    let hall = json!({"kind": "venue", "id": "hall", "name": "Hall", "timezone": LATER.1});
    let lines = [
        of(FIRST),
        of(LATER),
        json!({"kind": "user", "id": PLACED, "role": "guest"}),
        hall,
        directory::member("venue", "hall", PLACED, "dj"),
    ];
    let answer = directory::import(&mut cluster.client(0), &lines).expect(200);
    cluster.wait_applied(answer.header("campanile-applied").unwrap().parse().unwrap(), SOON);
}

/// What clocks in a zone show then, to the second before.
fn shown(zone: &str, at: Timestamp) -> (String, Timestamp) {
    let at = Timestamp::from_second(at.as_second()).unwrap();
    let local = at.to_zoned(TimeZone::get(zone).unwrap()).datetime();
    (local.to_string(), at)
}

fn draft(local: &str, body: &str) -> Value {
    json!({
        "type": "timeline.changed", "priority": "high", "title": "Load", "body": body, "deliver_at_local": local,
        "audience": [{"users": [FIRST.0, LATER.0]}, {"venues": ["hall"]}],
    })
}

fn at_node(cluster: &Cluster, at: usize, path: &str) -> Value {
    let path = format!("{path}?consistency=strong");
    cluster.client(at).get(&path).expect(200).json()
}

/// Two wait until their own time, and are neither held nor skipped; asked at every node.
fn check_who_waits(cluster: &Cluster, id: &str, until: Timestamp) {
    for at in 0..3 {
        let page = at_node(cluster, at, &format!("/v1/broadcasts/{id}/recipients"));
        let items = page["items"].as_array().unwrap();
        assert_eq!(items.len(), 3);
        for item in items {
            if item["user"] == FIRST.0 {
                assert_eq!(item["until"], Value::Null, "{item}");
                continue;
            }
            assert_eq!(
                (&item["state"], &item["reason"]),
                (&json!("targeted"), &Value::Null),
                "{item}"
            );
            assert_eq!(
                item["until"].as_str().unwrap().parse::<Timestamp>().unwrap(),
                until,
                "{item}"
            );
        }
        let broadcast = at_node(cluster, at, &format!("/v1/broadcasts/{id}"));
        let counts = ["targeted", "held", "skipped"].map(|name| broadcast[name].as_u64().unwrap());
        assert_eq!((counts, &broadcast["status"]), ([3, 0, 0], &json!("released")));
    }
}

#[test]
fn who_waits_for_their_own_time_waits_on_whoever_leads() {
    let mut own = cluster::own(3);
    let cluster = &mut own.cluster;
    import(cluster);
    let leader = cluster.leader();
    let listen = |cluster: &Cluster, user| {
        Subscriber::start(&cluster.addresses(), (leader + 1) % 3, Transport::Sse, user, Start::Now).ready()
    };
    let (first, later) = (listen(cluster, FIRST.0), listen(cluster, LATER.0));

    let (local, due) = shown(FIRST.1, Timestamp::now() + SignedDuration::from_secs(4));
    let answer = cluster
        .client(leader)
        .post("/v1/broadcasts", &draft(&local, "soon"))
        .expect(201)
        .json();
    cluster.wait_applied(answer["log_index"].as_u64().unwrap(), SOON);
    assert_eq!(
        (&answer["status"], &answer["targeted"]),
        (&json!("scheduled"), &json!(3))
    );
    let expires_at: Timestamp = answer["expires_at"].as_str().unwrap().parse().unwrap();
    assert_eq!(
        expires_at,
        due + BETWEEN + SignedDuration::from_hours(24),
        "a day after the last"
    );
    let id = answer["id"].as_str().unwrap();

    cluster.kill(leader);
    first.until("it comes where it is time", SOON, |seen| seen.has(id));
    cluster.launch(leader);
    cluster.wait_writable(SERVING_WITHIN);
    check_who_waits(cluster, id, due + BETWEEN);
    let next = cluster.leader();
    cluster.kill(next);
    cluster.wait_writable(SERVING_WITHIN);
    cluster.launch(next);
    // one that is due where the first lives goes out at once
    let (local, due_now) = shown(FIRST.1, Timestamp::now());
    let now = cluster
        .client((next + 1) % 3)
        .post("/v1/broadcasts", &draft(&local, "now"))
        .expect(201)
        .json();
    cluster.wait_applied(now["log_index"].as_u64().unwrap(), SOON);
    let now = now["id"].as_str().unwrap();
    first.until("it comes at once", SOON, |seen| seen.has(now));
    check_who_waits(cluster, id, due + BETWEEN);
    check_who_waits(cluster, now, due_now + BETWEEN);
    assert_eq!(
        at_node(cluster, 0, &format!("/v1/broadcasts/{now}"))["deliver_at_local"],
        local
    );

    // who waited hears nothing of what is off, and gets what replaces the other
    let cancel = format!("/v1/broadcasts/{now}/cancel");
    let cancelled = cluster.client(0).must("POST", &cancel, &[], b"").expect(200).json();
    assert_eq!(cancelled["status"], "cancelled");
    let (past, _) = shown(LATER.1, Timestamp::now());
    let mut new = draft(&past, "new");
    new["supersedes"] = json!(id);
    let new = cluster.client(1).post("/v1/broadcasts", &new).expect(201).json();
    let new = new["id"].as_str().unwrap();
    first.until("the new one", SOON, |seen| {
        seen.has(new) && !seen.events("retracted").is_empty()
    });
    later.until("the new one", SOON, |seen| seen.has(new));
    let (first, later) = (first.stop(), later.stop());
    assert_eq!(first.ids(), [id, now, new]);
    assert_eq!(
        (later.ids(), later.events("retracted").len()),
        (vec![new], 0),
        "{:?}",
        later.story
    );
    cluster.assert_sound();
}

#[test]
fn a_local_time_that_cannot_be_is_refused() {
    let shared = cluster::shared();
    let cluster = &shared.cluster;
    import(cluster);
    let check = |with: Value, pointer: &str, code: &str| {
        for path in ["/v1/broadcasts", "/v1/broadcasts?dry_run=true"] {
            let mut draft = draft("2027-06-19T09:00", "no");
            draft.as_object_mut().unwrap().extend(with.as_object().unwrap().clone());
            let problem = cluster.client(0).post(path, &draft).expect(422).json();
            let error = &problem["errors"][0];
            let found = (error["pointer"].as_str().unwrap(), error["code"].as_str().unwrap());
            assert_eq!(found, (pointer, code), "{problem}");
        }
    };
    let pointer = "/deliver_at_local";
    for wrong in [
        "2027-06-19T09:00:00Z",
        "2027-06-19T09:00:00+05:45",
        "2027-06-31T09:00",
        "soon",
    ] {
        check(json!({"deliver_at_local": wrong}), pointer, "INVALID_VALUE");
    }
    let now = Timestamp::now();
    check(json!({"deliver_at": now.to_string()}), pointer, "INVALID_VALUE");
    let week = SignedDuration::from_hours(7 * 24);
    let minutes = SignedDuration::from_mins;
    // in a week for the first is too far for the others
    let (far, _) = shown(FIRST.1, now + week - minutes(5));
    check(json!({"deliver_at_local": far}), pointer, "SCHEDULE_TOO_FAR");
    let (soon, due) = shown(FIRST.1, now + minutes(5));
    let early = due + BETWEEN;
    check(
        json!({"deliver_at_local": soon, "expires_at": early.to_string()}),
        "/expires_at",
        "OUT_OF_RANGE",
    );
    let only_first = json!({
        "type": "timeline.changed", "title": "T", "body": "B", "audience": {"users": [FIRST.0]},
        "deliver_at_local": far,
    });
    let dry = cluster
        .client(0)
        .post("/v1/broadcasts?dry_run=true", &only_first)
        .expect(200)
        .json();
    assert_eq!(dry["targeted"], 1);
}
