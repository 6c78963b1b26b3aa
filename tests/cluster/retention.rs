//! What is older than the retention goes: on every node, for every door, for good; and nobody is left to guess that it did.

use super::harness::cluster::SERVING_WITHIN;
use super::harness::load::{Fate, draft, publish};
use super::harness::{Cluster, PRIORITIES, Start, Subscriber, Transport, cluster, directory, until};
use serde_json::{Value, json};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);
const USER: &str = "kept";
/// Long enough to be delivered on a busy machine, short enough to wait for.
const SETTINGS: [&str; 3] = ["retention.broadcasts=2s", "api.expires_default=4s", "api.keys_kept=2s"];

/// Publishes one of each priority; their ids.
fn publish_some(cluster: &Cluster, name: &str, expires_at: Option<&str>) -> Vec<String> {
    let one = |(at, priority): (usize, &&str)| {
        let body = format!("{name} {priority}");
        let mut draft = draft(priority, &body, &[USER.to_owned()]);
        if let Some(expires_at) = expires_at {
            draft["expires_at"] = json!(expires_at);
        }
        match publish(&mut cluster.client(at % 3), &draft, &body) {
            (Fate::Ok { id, log_index, .. }, _) => {
                cluster.wait_applied(log_index, SOON);
                id
            }
            (fate, _) => panic!("{fate:?}"),
        }
    };
    PRIORITIES.iter().enumerate().map(one).collect()
}

/// The ids of a list, newest first.
fn ids(cluster: &Cluster, at: usize, path: &str) -> Vec<String> {
    let answer = cluster.client(at).get(path).expect(200).json();
    let items = answer["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| item["id"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn what_is_old_is_gone_everywhere_and_old_cursors_are_told() {
    let _quiet = cluster::alone();
    let folder = tempfile::tempdir().unwrap();
    let folders = (1..=3).map(|id| folder.path().join(format!("node-{id}"))).collect();
    let mut cluster = Cluster::start_in(folder, folders, &SETTINGS);
    let applied = directory::import_users(&mut cluster.client(0), &[USER.to_owned()]);
    cluster.wait_applied(applied, SOON);

    let listener = Subscriber::start(&cluster.addresses(), 0, Transport::Sse, USER, Start::Now).ready();
    let cursor = listener.look(|seen| seen.cursors[0].0.clone());
    let old = publish_some(&cluster, "old", None);
    listener.until("all", SOON, |seen| old.iter().all(|id| seen.has(id)));
    let in_an_hour = (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1)).to_string();
    let young = publish_some(&cluster, "young", Some(&in_an_hour));
    listener.until("all", SOON, |seen| young.iter().all(|id| seen.has(id)));
    let all: Vec<String> = young.iter().chain(&old).cloned().collect();
    assert_eq!(ids(&cluster, 0, "/v1/broadcasts").len(), all.len());

    let mut expected = young.clone();
    expected.reverse();
    for at in 0..3 {
        for id in &old {
            until(&format!("{id} is gone from node {at}"), SOON, || {
                let answer = cluster.client(at).get(&format!("/v1/broadcasts/{id}"));
                (answer.status == 404).then_some(())
            });
        }
    }
    check_kept(&cluster, &old, &expected, &cursor);

    // Who was there all the time misses nothing and is told of no gap, also when it comes back.
    listener.hop();
    listener.until("it is back", SOON, |seen| seen.events("hello").len() == 2);
    let seen = listener.stop();
    assert!(seen.events("gap").is_empty(), "{:?}", seen.others);
    assert_eq!(seen.deliveries.len(), all.len());

    cluster.kill_all();
    for at in [1, 2, 0] {
        cluster.launch(at);
    }
    cluster.wait_writable(SERVING_WITHIN);
    check_kept(&cluster, &old, &expected, &cursor);
    let more = publish_some(&cluster, "more", Some(&in_an_hour));
    expected.splice(..0, more.into_iter().rev());
    check_kept(&cluster, &old, &expected, &cursor);
    cluster.assert_sound();
}

/// On every node exactly `kept` (newest first) is there, whichever way one asks.
fn check_kept(cluster: &Cluster, old: &[String], kept: &[String], cursor: &str) {
    for (at, transport) in Transport::ALL.into_iter().enumerate() {
        for id in old {
            cluster.client(at).get(&format!("/v1/broadcasts/{id}")).expect(404);
            let receipts = json!({"received": [id]});
            let path = format!("/v1/receipts?user={USER}");
            cluster.client(at).post(&path, &receipts).expect(404);
        }
        for path in ["/v1/broadcasts".to_owned(), format!("/v1/inbox?user={USER}")] {
            assert_eq!(ids(cluster, at, &path), kept, "node {at}: {path}");
        }
        let earliest = follow(cluster, at, transport, Start::Earliest, kept);
        assert!(
            earliest.0.is_empty(),
            "what is gone is no gap for who asks for what is kept"
        );
        let (gaps, hello) = follow(cluster, at, transport, Start::Cursor(cursor.to_owned()), kept);
        let [gap] = gaps.as_slice() else {
            panic!("one gap, not {gaps:?}")
        };
        assert_eq!(
            (&gap["reason"], &gap["from"], &gap["to"]),
            (&json!("no_longer_kept"), &json!(cursor), &hello["cursor"])
        );
    }
}

/// Follows a stream until it has brought all of `kept`; its gaps, and its hello. Nothing else may come.
fn follow(cluster: &Cluster, at: usize, transport: Transport, start: Start, kept: &[String]) -> (Vec<Value>, Value) {
    let address = cluster.nodes[at].address;
    let stream = Subscriber::start(&[address], 0, transport, USER, start);
    stream.until("all that is kept", SOON, |seen| kept.iter().all(|id| seen.has(id)));
    let seen = stream.stop();
    assert!(
        seen.ids().iter().all(|id| kept.iter().any(|known| known == id)),
        "{:?}",
        seen.ids()
    );
    let gaps = seen.events("gap").into_iter().cloned().collect();
    (gaps, seen.events("hello")[0].clone())
}
