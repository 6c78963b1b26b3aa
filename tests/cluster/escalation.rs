//! What happens when nobody confirms: over three nodes, and over the death of their leader at every step.

use super::checks;
use super::harness::cluster::SERVING_WITHIN;
use super::harness::load::draft;
use super::harness::sink::Sink;
use super::harness::stream::{Connection, Seen};
use super::harness::{Cluster, Start, Subscriber, Transport, cluster, directory, until};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(30);
/// Broadcasts under way while leaders die.
const TOGETHER: usize = 10;
/// One begins this long after the other, so that a death finds each at another moment.
const APART: Duration = Duration::from_millis(100);
const STEPS: u64 = 3;
const STEP: Duration = Duration::from_secs(1);

fn people(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn asked(to: &[&str], acknowledge: Value) -> Value {
    let mut asked = draft("high", "Who is there?", &people(to));
    asked["acknowledge"] = acknowledge;
    asked
}

fn published(cluster: &Cluster, at: usize, draft: &Value) -> String {
    let answer = cluster.client(at).post("/v1/broadcasts", draft).expect(201).json();
    answer["id"].as_str().unwrap().to_owned()
}

fn shown(cluster: &Cluster, at: usize, id: &str) -> Value {
    let path = format!("/v1/broadcasts/{id}?consistency=strong");
    cluster.client(at).get(&path).expect(200).json()
}

#[test]
fn who_is_called_in_gets_it_and_the_siren_is_called_once_it_answers() {
    let sink = Sink::start();
    sink.answer_next(&[500, 302]);
    let settings = sink.settings(&["siren"]);
    let settings: Vec<&str> = settings
        .iter()
        .map(String::as_str)
        .chain(["outputs.retry_first=50ms"])
        .collect();
    let shared = cluster::beside_with(3, &settings);
    let cluster = &shared.cluster;
    let applied = directory::import_users(&mut cluster.client(0), &people(&["ann", "bob", "cid"]));
    cluster.wait_applied(applied, SOON);
    let all = ["ann", "bob", "cid"];
    let listeners =
        all.map(|user| Subscriber::start(&cluster.addresses(), 1, Transport::WebSocket, user, Start::Now).ready());
    let id = published(
        cluster,
        0,
        &asked(
            &["ann", "bob"],
            json!({"within": "1s", "escalate": [
                {"after": "1500ms", "to": {"users": ["cid"]}, "priority": "high", "outputs": ["siren", "nothing"]},
            ]}),
        ),
    );
    let path = format!("/v1/broadcasts/{id}/acknowledge");
    let confirmed = cluster
        .client(2)
        .post(&format!("{path}?user=ann"), &json!({"answer": "ok"}));
    confirmed.expect(200);
    listeners[2].until("cid is called in", SOON, |seen| seen.has(&id));
    let escalated = |listener: &Subscriber| {
        listener.look(|seen| {
            let mine = seen.deliveries.iter().filter(|delivery| delivery.id == id);
            mine.map(|delivery| delivery.frame["escalated"] == true)
                .collect::<Vec<_>>()
        })
    };
    listeners[1].until("bob is asked again", SOON, |seen| {
        seen.deliveries.iter().filter(|delivery| delivery.id == id).count() == 2
    });
    assert_eq!(
        listeners.each_ref().map(escalated),
        [vec![false], vec![false, true], vec![true]]
    );

    let mut late = Connection::open(cluster.addresses()[0], Transport::WebSocket, "bob", &Start::Owed).unwrap();
    let frame = until("bob comes back elsewhere", SOON, || match late.next(SOON) {
        Ok(Some(frame)) if frame["event"] == "broadcast" => Some(frame),
        Ok(_) => None,
        Err(error) => panic!("{error}"),
    });
    assert_eq!((&frame["id"], &frame["escalated"]), (&json!(id), &json!(true)));

    let calls = until("the siren has taken it", SOON, || {
        let calls = sink.taken();
        (calls.len() == 3).then_some(calls)
    });
    let ids: BTreeSet<&str> = calls.iter().map(|call| call.id.as_str()).collect();
    assert_eq!(ids.len(), 1, "every attempt has the same id");
    assert!(calls.iter().all(|call| call.is_signed && call.body == calls[0].body));
    let told: Value = serde_json::from_str(&calls[0].body).unwrap();
    assert_eq!(
        (&told["type"], &told["data"]["group"]),
        (&json!("broadcast.escalated"), &json!(id))
    );
    let output = until("it is noted", SOON, || {
        let now = shown(cluster, 1, &id);
        let step = &now["escalations"][0];
        assert_eq!(
            (&step["alerted"], &step["widened"], &now["targeted"]),
            (&json!(2), &json!(1), &json!(3)),
            "{now}"
        );
        let outputs = step["outputs"].as_array().unwrap().clone();
        (outputs[0]["state"] == "delivered").then_some(outputs)
    });
    assert_eq!(output[0]["attempts"], 3);
    assert_eq!(output[1]["state"], "waiting", "no node knows it yet: {output:?}");
    let recipient = cluster
        .client(0)
        .get(&format!("/v1/broadcasts/{id}/recipients"))
        .expect(200)
        .json();
    assert_eq!(recipient["items"].as_array().unwrap().len(), 3);
    let inbox = cluster.client(2).get("/v1/inbox?user=cid").expect(200).json();
    assert_eq!(inbox["items"][0]["id"], json!(id), "{inbox}");
}

/// `CAMPANILE_CHECKS=20` makes 200 runs of it.
#[test]
fn no_step_is_skipped_or_taken_twice_whenever_the_leader_dies() {
    let sink = Sink::start();
    let settings = sink.settings(&["siren"]);
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let mut own = cluster::own_with(3, &settings);
    let cluster = &mut own.cluster;
    let applied = directory::import_users(&mut cluster.client(0), &people(&["ann"]));
    cluster.wait_applied(applied, SOON);
    let listener = Subscriber::start(&cluster.addresses(), 0, Transport::WebSocket, "ann", Start::Now).ready();
    let steps: Vec<Value> = (1..=STEPS)
        .map(|step| json!({"after": format!("{}ms", STEP.as_millis() as u64 * step), "outputs": ["siren"]}))
        .collect();
    let asked = asked(&["ann"], json!({"within": "1s", "escalate": steps}));
    let mut all = BTreeSet::new();
    for round in 0..checks(1) {
        let ids = one_round(cluster, &asked, round);
        settled(cluster, &ids, &sink);
        all.extend(ids);
    }
    let positions = |seen: &Seen| {
        let mut positions: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
        let alerts = seen
            .deliveries
            .iter()
            .filter(|delivery| delivery.frame["escalated"] == true);
        alerts.for_each(|alert| {
            positions.entry(alert.id.clone()).or_default().insert(alert.position);
        });
        positions
    };
    listener.until("every step has come", SOON, |seen| {
        let positions = positions(seen);
        let all_came = |id| {
            positions
                .get(id)
                .is_some_and(|at: &BTreeSet<u64>| at.len() as u64 >= STEPS)
        };
        all.iter().all(all_came)
    });
    let positions = positions(&listener.stop());
    assert!(positions.values().all(|at| at.len() as u64 == STEPS), "{positions:?}");
    let mut called: BTreeMap<(String, u64), BTreeSet<String>> = BTreeMap::new();
    for call in sink.taken() {
        let told: Value = serde_json::from_str(&call.body).unwrap();
        let of = (
            told["data"]["group"].as_str().unwrap().to_owned(),
            told["data"]["details"]["step"].as_u64().unwrap(),
        );
        called.entry(of).or_default().insert(call.id);
    }
    assert_eq!(called.len() as u64, all.len() as u64 * STEPS, "every step has called");
    assert!(called.values().all(|ids| ids.len() == 1), "a call keeps its id");
    cluster.assert_sound();
}

/// Publishes some, and kills whoever leads at about the time of each step.
fn one_round(cluster: &mut Cluster, asked: &Value, round: usize) -> Vec<String> {
    cluster.wait_writable(SERVING_WITHIN);
    let begun = Instant::now();
    let mut ids = Vec::new();
    for _ in 0..TOGETHER {
        ids.push(published(cluster, ids.len() % 3, asked));
        wait_until(begun + APART * ids.len() as u32);
    }
    for step in 1..=STEPS as u32 {
        // another moment in each round
        let at = begun + STEP * step + APART * (round % TOGETHER) as u32;
        wait_until(at);
        let leader = cluster.leader();
        cluster.kill(leader);
        cluster.launch(leader);
    }
    cluster.wait_writable(SERVING_WITHIN);
    ids
}

fn wait_until(at: Instant) {
    until("the moment", SOON, || (Instant::now() >= at).then_some(()));
}

fn settled(cluster: &Cluster, ids: &[String], sink: &Sink) {
    for id in ids {
        until("every step is taken and has called", SOON, || {
            let now = shown(cluster, 0, id);
            let taken = now["escalations"].as_array().unwrap();
            let is_called = |step: &Value| step["outputs"][0]["state"] == "delivered";
            (taken.len() as u64 == STEPS && taken.iter().all(is_called)).then_some(())
        });
        for at in 0..3 {
            let now = shown(cluster, at, id);
            let steps: Vec<u64> = now["escalations"]
                .as_array()
                .unwrap()
                .iter()
                .map(|taken| taken["step"].as_u64().unwrap())
                .collect();
            assert_eq!(steps, [0, 1, 2], "{now}");
        }
    }
    assert!(sink.is_well());
}
