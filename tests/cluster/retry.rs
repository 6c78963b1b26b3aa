//! Attempts at sessions that promised receipts, dead letters, and delivering again: over three nodes.

use super::harness::load::draft;
use super::harness::stream::Connection;
use super::harness::{Cluster, Start, Transport, cluster, directory, until};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(30);
const SILENT: &str = "silent";
const PLAIN: &str = "plain";
const AWAY: &str = "away";

/// The broadcasts that come within a time, less those whose wait is still on.
fn frames(connection: &mut Connection, within: Duration) -> Vec<Value> {
    let deadline = Instant::now() + within;
    let mut found = Vec::new();
    while let Some(left) = deadline.checked_duration_since(Instant::now()) {
        match connection.next(left) {
            Ok(Some(frame)) if frame["event"] == "broadcast" => found.push(frame),
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => break,
        }
    }
    found
}

fn recipient(cluster: &Cluster, id: &str, user: &str) -> Value {
    let path = format!("/v1/broadcasts/{id}/recipients?consistency=strong");
    let page = cluster.client(0).get(&path).expect(200).json();
    let items = page["items"].as_array().unwrap();
    items.iter().find(|item| item["user"] == user).unwrap().clone()
}

fn dead_letters(cluster: &Cluster, at: usize, query: &str) -> Value {
    let path = format!("/v1/dead-letters?consistency=strong{query}");
    cluster.client(at).get(&path).expect(200).json()
}

fn people(letters: &Value) -> Vec<(&str, &str)> {
    let items = letters["items"].as_array().unwrap();
    let each = items.iter();
    each.map(|item| (item["user"].as_str().unwrap(), item["reason"].as_str().unwrap()))
        .collect()
}

#[test]
fn the_silent_are_tried_again_the_away_are_dead_letters_and_all_get_it_in_the_end() {
    let shared = cluster::beside_with(3, &["retry.first=200ms"]);
    let cluster = &shared.cluster;
    let everybody: Vec<String> = [SILENT, PLAIN, AWAY].iter().map(ToString::to_string).collect();
    let applied = directory::import_users(&mut cluster.client(0), &everybody);
    cluster.wait_applied(applied, SOON);
    let open =
        |at: usize, transport, user| Connection::open(cluster.addresses()[at], transport, user, &Start::Now).unwrap();
    let mut silent = open(0, Transport::WebSocket, SILENT);
    silent.say(&json!({"hello": {"receipts": true}})).unwrap();
    let mut plain = open(1, Transport::Sse, PLAIN);
    until("both are connected", SOON, || {
        let mut probe = draft("normal", "probe", &everybody);
        probe["acknowledge"] = Value::Null;
        let answer = cluster.client(0).must(
            "POST",
            "/v1/broadcasts?dry_run=true",
            &[("Content-Type", "application/json")],
            probe.to_string().as_bytes(),
        );
        (answer.expect(200).json()["connected"] == 2).then_some(())
    });

    let expires_at = Timestamp::now() + SignedDuration::from_secs(4);
    let mut message = draft("normal", "the gates are open", &everybody);
    message["expires_at"] = json!(expires_at.to_string());
    let answer = cluster.client(2).post("/v1/broadcasts", &message).expect(201).json();
    let id = answer["id"].as_str().unwrap();
    let tries = frames(&mut silent, Duration::from_secs(3));
    assert_eq!(tries.len(), 3, "{tries:?}");
    assert!(tries.iter().all(|frame| frame["id"] == id));
    assert!(tries.is_sorted_by_key(|frame| frame["position"].as_u64()));
    assert_eq!(
        frames(&mut plain, Duration::from_millis(500)).len(),
        1,
        "a plain stream is not retried"
    );
    let queues = cluster.client(0).get("/v1/queues").expect(200).json();
    assert_eq!(queues["normal"]["retries"], 2, "{queues}");
    until("the last try is over", SOON, || {
        (recipient(cluster, id, SILENT)["state"] == "failed").then_some(())
    });
    assert_eq!(recipient(cluster, id, SILENT)["reason"], "sent_not_received");

    until("dead letters", SOON, || {
        (dead_letters(cluster, 0, "")["total"] == 2).then_some(())
    });
    for at in 0..3 {
        let letters = dead_letters(cluster, at, "");
        assert_eq!(
            people(&letters),
            [(SILENT, "sent_not_received"), (AWAY, "no_session")],
            "{letters}"
        );
        assert_eq!(letters["items"][0]["attempts"], 3);
        assert_eq!(letters["by_reason"], json!({"no_session": 1, "sent_not_received": 1}));
        assert_eq!(
            people(&dead_letters(cluster, at, "&reason=no_session&limit=1")),
            [(AWAY, "no_session")]
        );
        assert_eq!(people(&dead_letters(cluster, at, "&priority=high")), []);
        let last = format!("&after={}-{}", u64::MAX, u32::MAX);
        assert_eq!(people(&dead_letters(cluster, at, &last)).len(), 2);
        let first = dead_letters(cluster, at, "&limit=1");
        let next = format!("&limit=1&after={}", first["next"].as_str().unwrap());
        let second = dead_letters(cluster, at, &next);
        assert_eq!((people(&first)[0].0, people(&second)[0].0), (SILENT, AWAY));
        assert_eq!(second.get("next"), None);
    }
    let states = [SILENT, PLAIN, AWAY].map(|user| recipient(cluster, id, user)["state"].clone());
    assert_eq!(states, ["failed", "expired", "expired"]);
    let shown = cluster
        .client(1)
        .get(&format!("/v1/broadcasts/{id}?consistency=strong"))
        .expect(200)
        .json();
    assert_eq!((&shown["failed"], &shown["expired"]), (&json!(1), &json!(2)), "{shown}");

    redeliver(cluster, id, &mut silent, &mut plain);
}

fn redeliver(cluster: &Cluster, id: &str, silent: &mut Connection, plain: &mut Connection) {
    let path = format!("/v1/broadcasts/{id}/redeliver");
    let headers = [("Idempotency-Key", "once more"), ("Content-Type", "application/json")];
    let unknown = cluster
        .client(0)
        .must("POST", &path, &headers, br#"{"users": ["away", "nobody"]}"#)
        .expect(422)
        .json();
    assert_eq!(
        (&unknown["errors"][0]["pointer"], &unknown["errors"][0]["code"]),
        (&json!("/users/1"), &json!("UNKNOWN_USER"))
    );
    cluster
        .client(0)
        .must(
            "POST",
            &path,
            &[("Content-Type", "text/plain")],
            br#"{"users": ["away"]}"#,
        )
        .expect(415);
    let first = cluster.client(1).must("POST", &path, &headers, b"").expect(200);
    let again = cluster.client(2).must("POST", &path, &headers, b"").expect(200);
    assert_eq!(
        (first.json(), again.header("idempotent-replayed")),
        (again.json(), Some("true"))
    );
    assert_eq!(first.json()["redelivered"], 2);
    cluster
        .client(0)
        .must("POST", &path, &headers, br#"{"users": ["away"]}"#)
        .expect(422);

    assert_eq!(frames(silent, Duration::from_millis(150)).len(), 1);
    assert_eq!(frames(plain, Duration::from_millis(150)).len(), 0, "it has it already");
    let mut away = Connection::open(cluster.addresses()[2], Transport::WebSocket, AWAY, &Start::Owed).unwrap();
    // what was written before the promise is waited for like the rest
    for say in [None, Some(json!({"hello": {"receipts": true}}))] {
        say.iter().for_each(|hello| away.say(hello).unwrap());
        until("it comes, and comes again", SOON, || match away.next(SOON) {
            Ok(Some(frame)) => (frame["event"] == "broadcast" && frame["id"] == id).then_some(()),
            other => panic!("{other:?}"),
        });
    }
    // the same number at another time is the id of another cluster's broadcast, or of nothing
    let stranger = format!("01AAAAAAAA{}", &id[10..]);
    away.say(&json!({"acknowledge": {"id": stranger, "answer": "ok"}, "ref": 1}))
        .unwrap();
    let refused = until("an answer comes", SOON, || match away.next(SOON) {
        Ok(Some(frame)) if frame["ref"] == 1 => Some(frame),
        Ok(_) => None,
        Err(error) => panic!("{error}"),
    });
    assert_eq!(refused["code"], "NOT_ACKNOWLEDGED", "{refused}");
    away.say(&json!({"receipt": {"received": [id]}, "ref": 2})).unwrap();
    until("it is received", SOON, || {
        (recipient(cluster, id, AWAY)["state"] == "received").then_some(())
    });
    assert_eq!(dead_letters(cluster, 0, "")["total"], 0);
}
