//! A wedding day whose segment and preferences only another application knows: the first broadcast finds all of it on every node,
//! and so it does when that application is out of reach.

use super::cache::after;
use super::harness::directory::{import, member, user, venue, wedding};
use super::harness::upstream::Upstream;
use super::harness::{Cluster, Start, Subscriber, Transport, cluster, until};
use serde_json::{Value, json};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);
/// Long enough that the leader, which looks every 2 s, fetches again before a value is past its time.
const LIFE: &str = r#", ttl = "10s", stale_if_error = "1d""#;
const VALUES: u64 = 4;

fn said(upstream: &Upstream) {
    upstream.say("/segments/vip", r#"["ann", "bob", "cat", "ghost"]"#);
    upstream.say("/preferences/ann", r#"{"muted_categories": ["guest"]}"#);
    upstream.say("/preferences/bob", r#"{"channels": ["app"]}"#);
    upstream.say("/preferences/cat", r#"{"critical_only": true}"#);
}

fn furnish(cluster: &Cluster) {
    let mut lines = vec![venue("v"), wedding("today", "v", &after(7_000), &after(27_000))];
    lines.extend(["ann", "bob", "cat"].map(|name| user(name, "guest", "starter")));
    lines.extend(["ann", "bob", "cat"].map(|name| member("wedding", "today", name, "guest")));
    let report = import(&mut cluster.client(0), &lines).expect(200).json();
    assert_eq!(report["faults"], json!([]));
}

/// Publishes to the segment through a node: it goes to bob alone, since ann and cat want no such thing.
fn publish(cluster: &Cluster, at: usize, title: &str) -> Value {
    let body = json!({"type": "guest.guidance", "title": title, "body": title, "audience": {"segments": ["vip"]}});
    let told = cluster.client(at).post("/v1/broadcasts", &body).expect(201).json();
    let counts = ["targeted", "skipped", "unknown"].map(|name| told[name].as_u64().unwrap());
    assert_eq!(counts, [3, 2, 1], "node {at}: {told}");
    let path = format!("/v1/broadcasts/{}/recipients", told["id"].as_str().unwrap());
    let items = cluster.client(at).get(&path).expect(200).json()["items"].clone();
    let reason = |user: &str| {
        let mut all = items.as_array().unwrap().iter();
        all.find(|item| item["user"] == user).unwrap()["reason"].clone()
    };
    assert_eq!(reason("ann"), "muted_category");
    assert_eq!(reason("cat"), "critical_only");
    told
}

#[test]
fn the_first_broadcast_goes_by_what_only_the_upstream_knows_and_so_does_one_without_it() {
    let upstream = Upstream::start();
    said(&upstream);
    let segments = upstream.namespace(
        "segments",
        &format!(r#"{LIFE}, source_of = "segments", keys = ["vip"]"#),
    );
    let wishes = format!(r#"{LIFE}, source_of = "preferences", preload = "members""#);
    let wishes = upstream.namespace("preferences", &wishes);
    let shared = cluster::beside_with(
        3,
        &[
            &format!("cache.namespaces=[{segments}, {wishes}]"),
            r#"cache.allow=["127.0.0.0/8"]"#,
            "cache.upstream_rest=300ms",
        ],
    );
    let cluster = &*shared.cluster;
    furnish(cluster);
    let addresses = cluster.addresses();
    let people: Vec<Subscriber> = ["ann", "bob", "cat"]
        .iter()
        .zip(Transport::ALL)
        .enumerate()
        .map(|(at, (name, transport))| Subscriber::start(&addresses, at, transport, name, Start::Now).ready())
        .collect();
    for at in 0..3 {
        until("what the day needs is there", SOON, || {
            let stands = cluster.client(at).get("/v1/cache").json();
            (stands["replicated"]["entries"] == VALUES).then_some(())
        });
    }
    let mut ids = Vec::new();
    for at in 0..3 {
        let told = publish(cluster, at, &format!("first through node {at}"));
        assert_eq!(told["warnings"], Value::Null, "node {at}");
        ids.push(told["id"].clone());
        let reads = cluster.client(at).get("/v1/cache").json()["reads"].clone();
        assert_eq!(
            (&reads["miss"], &reads["local"]),
            (&json!(0), &json!(1)),
            "node {at}: {reads}"
        );
    }

    upstream.set_away(true);
    for at in 0..3 {
        until("the segment is past its time", SOON, || {
            let answer = cluster.client(at).get("/v1/cache/segments/vip").expect(200);
            (answer.header("campanile-cache") == Some("stale")).then_some(())
        });
    }
    for at in 0..3 {
        let told = publish(cluster, at, &format!("alone through node {at}"));
        assert_eq!(told["warnings"], json!(["STALE_SEGMENT"]), "node {at}");
        ids.push(told["id"].clone());
    }
    let bob = &people[1];
    bob.until("bob has all six", SOON, |seen| {
        ids.iter().all(|id| seen.has(id.as_str().unwrap()))
    });
    for other in [&people[0], &people[2]] {
        assert_eq!(other.look(|seen| seen.deliveries.len()), 0, "{} wants none", other.user);
    }

    upstream.say("/segments/vip", r#"["bob"]"#);
    upstream.set_away(false);
    let body = json!({"type": "guest.guidance", "title": "T", "body": "B", "audience": {"segments": ["vip"]}});
    until("the upstream is back, and says another thing", SOON, || {
        let told = cluster.client(2).post("/v1/broadcasts", &body).expect(201).json();
        (told["targeted"] == 1 && told["warnings"].is_null()).then_some(())
    });
}
