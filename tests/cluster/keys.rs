//! `Idempotency-Key`: one broadcast per key, the same answer on every node, and no other body under it.

use super::harness::load::draft;
use super::harness::{Answer, Client, cluster, directory};
use serde_json::Value;
use std::time::Duration;

pub fn post(client: &mut Client, key: &str, draft: &Value) -> Answer {
    let headers = [("Idempotency-Key", key), ("Content-Type", "application/json")];
    client.must("POST", "/v1/broadcasts", &headers, draft.to_string().as_bytes())
}

/// The same key on another node: the first answer again.
pub fn assert_replayed(client: &mut Client, key: &str, draft: &Value, first: &Value) {
    let again = post(client, key, draft).expect(201);
    assert_eq!(again.json(), *first);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
}

/// The same key with another body: a definite no.
pub fn assert_refused(client: &mut Client, key: &str, draft: &Value) {
    let other = post(client, key, draft).expect(422);
    assert!(other.json()["code"].is_string(), "{}", other.text());
}

#[test]
fn a_key_is_one_broadcast_on_every_node() {
    let shared = cluster::shared();
    let cluster = &*shared.cluster;
    let users = vec!["keys".to_owned()];
    directory::import_users(&mut cluster.client(0), &users);
    for at in 0..3 {
        let key = format!("key-{at}");
        let first_draft = draft("normal", &key, &users);
        let first = post(&mut cluster.client(at), &key, &first_draft).expect(201);
        assert_ne!(first.header("idempotent-replayed"), Some("true"));
        for other in [at, at + 1, at + 2] {
            let mut client = cluster.client(other % 3);
            assert_replayed(&mut client, &key, &first_draft, &first.json());
            assert_refused(&mut client, &key, &draft("normal", "another body", &users));
        }
    }
    // Without a key, the same body twice is two broadcasts.
    let twice = draft("normal", "no key", &users);
    let [one, two] = [0, 1].map(|at| cluster.client(at).post("/v1/broadcasts", &twice).expect(201).json());
    assert_ne!(one["id"], two["id"]);
}

/// A sender who lost the answer, and asks again when the broadcast has expired, still learns that it was published.
#[test]
fn a_key_finds_its_broadcast_when_that_has_expired() {
    let shared = cluster::shared();
    let cluster = &*shared.cluster;
    let users = vec!["expired-key".to_owned()];
    directory::import_users(&mut cluster.client(0), &users);
    let soon = jiff::Timestamp::now() + Duration::from_secs(2);
    let mut with_expiry = draft("normal", "short", &users);
    with_expiry["expires_at"] = Value::from(soon.to_string());
    let first = post(&mut cluster.client(0), "expired-key", &with_expiry)
        .expect(201)
        .json();
    super::harness::until("it has expired", Duration::from_secs(10), || {
        let headers = [("Content-Type", "application/json")];
        let body = with_expiry.to_string();
        let refused = cluster
            .client(1)
            .must("POST", "/v1/broadcasts", &headers, body.as_bytes());
        (refused.status == 422).then_some(())
    });
    for at in 0..3 {
        assert_replayed(&mut cluster.client(at), "expired-key", &with_expiry, &first);
    }
}

/// Ten clients with one key at once: one broadcast, and everybody who gets a 201 gets the same.
#[test]
fn a_race_for_a_key_has_one_winner() {
    let shared = cluster::shared();
    let cluster = &*shared.cluster;
    let users = vec!["race".to_owned()];
    directory::import_users(&mut cluster.client(0), &users);
    for round in 0..5 {
        let key = format!("race-{round}");
        let same = draft("high", &key, &users);
        let answers: Vec<Answer> = std::thread::scope(|scope| {
            let post = |at: usize| {
                let (mut client, key, same) = (cluster.client(at % 3), &key, &same);
                scope.spawn(move || post(&mut client, key, same))
            };
            let threads: Vec<_> = (0..10).map(post).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let mut ids = Vec::new();
        for answer in answers {
            match answer.status {
                201 => ids.push(answer.json()["id"].clone()),
                409 => {}
                other => panic!("{other}: {}", answer.text()),
            }
        }
        ids.dedup();
        assert_eq!(ids.len(), 1, "{ids:?}");
    }
}
