//! A drill over three nodes: marked on every frame, measured for each person, graded alike wherever it is asked for.

use super::harness::cluster::binary;
use super::harness::directory::{import, member, user, venue};
use super::harness::{Cluster, Start, Subscriber, Transport, cluster, until};
use serde_json::{Value, json};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);
const PEOPLE: [&str; 4] = ["drill-ann", "drill-bea", "drill-cal", "drill-dan"];

fn applied(answer: &super::harness::Answer) -> u64 {
    answer.header("campanile-applied").unwrap().parse().unwrap()
}

fn furnish(cluster: &Cluster) {
    let mut lines = vec![venue("drill")];
    for id in PEOPLE {
        lines.push(user(id, "guest", "starter"));
        lines.push(member("venue", "drill", id, "bar"));
    }
    // who mutes drills is not measured by them
    lines.push(user("drill-eve", "guest", "starter"));
    lines.push(member("venue", "drill", "drill-eve", "bar"));
    lines.push(json!({"kind": "preferences", "user": "drill-eve", "muted_categories": ["venue"]}));
    let answer = import(&mut cluster.client(0), &lines).expect(200);
    cluster.wait_applied(applied(&answer), SOON);
}

fn published(cluster: &Cluster, with: &Value) -> String {
    let mut draft = json!({"type": "venue.notice", "title": "Fire drill", "body": "Meet at the gate.", "audience": {"venues": ["drill"]}});
    draft.as_object_mut().unwrap().extend(with.as_object().unwrap().clone());
    let answer = cluster.client(1).post("/v1/broadcasts", &draft).expect(201).json();
    cluster.wait_applied(answer["log_index"].as_u64().unwrap(), SOON);
    answer["id"].as_str().unwrap().to_owned()
}

fn sheets(cluster: &Cluster, id: &str) -> Vec<Value> {
    let sheet = |at| {
        cluster
            .client(at)
            .get(&format!("/v1/broadcasts/{id}/drill"))
            .expect(200)
            .json()
    };
    (0..3).map(sheet).collect()
}

fn users(list: &Value) -> Vec<&str> {
    let people = list["people"].as_array().unwrap();
    people.iter().map(|person| person["user"].as_str().unwrap()).collect()
}

#[test]
fn a_drill_is_marked_measured_and_graded_on_every_node() {
    let shared = cluster::shared();
    let cluster = &*shared.cluster;
    furnish(cluster);
    let nodes = cluster.addresses();
    let listeners: Vec<Subscriber> = PEOPLE[..3]
        .iter()
        .zip(Transport::ALL)
        .enumerate()
        .map(|(at, (user, transport))| Subscriber::start(&nodes, at, transport, user, Start::Now).ready())
        .collect();
    let id = published(cluster, &json!({"drill": true, "acknowledge": {"within": "15s"}}));
    for listener in &listeners {
        listener.until("the drill", SOON, |seen| seen.has(&id));
    }
    until("it counts as sent", SOON, || {
        let unreachable = |sheet: &Value| users(&sheet["unreachable"]) == [PEOPLE[3]];
        sheets(cluster, &id).iter().all(unreachable).then_some(())
    });
    for (at, user) in PEOPLE[..2].iter().enumerate() {
        let path = format!("/v1/broadcasts/{id}/acknowledge?user={user}");
        let answer = cluster.client(at).post(&path, &json!({"answer": "ok"})).expect(200);
        cluster.wait_applied(applied(&answer), SOON);
    }
    let seen = sheets(cluster, &id);
    let half = json!({"count": 2, "share": 0.5});
    for sheet in &seen {
        assert_eq!(
            (&sheet["targeted"], &sheet["confirmed"]),
            (&json!(4), &json!(2)),
            "{sheet}"
        );
        // a slow machine may have taken longer than 15 s, but not a minute
        assert_eq!(
            (&sheet["within_60s"], &sheet["final"]),
            (&half, &json!(false)),
            "{sheet}"
        );
        assert_eq!(users(&sheet["not_confirmed"]), PEOPLE[2..]);
        assert_eq!(sheet["grade"], "F", "half of them within a minute");
        assert!(
            PEOPLE[..2].contains(&sheet["slowest"]["user"].as_str().unwrap()),
            "{sheet}"
        );
        assert_eq!(
            sheet["median_ms"].as_u64().max(sheet["slowest_ms"].as_u64()),
            sheet["slowest_ms"].as_u64()
        );
        assert_eq!(sheet, &seen[0], "every node sees the same");
    }
    let told = binary()
        .args(["who", &id, "--url", &format!("http://{}", nodes[2])])
        .output()
        .unwrap();
    let text = String::from_utf8(told.stdout).unwrap();
    assert!(
        text.contains("[drill]") && text.contains("drill: grade F so far\n"),
        "{text}"
    );
    assert!(
        text.trim_end()
            .ends_with("not confirmed: 2, of whom 1 were never sent it"),
        "{text}"
    );

    let path = format!("/v1/broadcasts/{id}/cancel");
    cluster.client(0).must("POST", &path, &[], b"").expect(200);
    for listener in listeners {
        listener.until("it is off", SOON, |seen| !seen.events("retracted").is_empty());
        let seen = listener.stop();
        let of_drill = seen.deliveries.iter().find(|delivery| delivery.id == id).unwrap();
        assert_eq!(of_drill.frame["drill"], true);
        let off = seen.events("retracted");
        assert_eq!((&off[0]["id"], &off[0]["drill"]), (&json!(id), &json!(true)));
    }
    assert!(
        sheets(cluster, &id).iter().any(|sheet| sheet["final"] == true),
        "it was called off"
    );

    let real = published(cluster, &json!({}));
    let refused = cluster
        .client(2)
        .get(&format!("/v1/broadcasts/{real}/drill"))
        .expect(409);
    assert_eq!(refused.json()["code"], "NOT_A_DRILL");
}
