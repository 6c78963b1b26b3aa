//! A critical broadcast overtakes ten thousand low ones that wait, down to the next write on each socket. Judged by order alone.

use super::harness::load::draft;
use super::harness::stream::Connection;
use super::harness::{Cluster, Start, Transport, cluster, directory};
use serde_json::Value;
use std::time::{Duration, Instant};

const LOW: usize = 10_000;
/// Long enough that all of them are many times what the kernel holds of one socket.
const BODY: usize = 500;
/// Of the low ones, at most this part may come first: what was in the kernel's buffers when the critical was published.
const ON_THE_WIRE: usize = LOW / 10;
/// Nobody reads while the low ones are published, and that is not what is tried here.
const PATIENT: &str = "gateway.stall_max=60s";
const SOON: Duration = Duration::from_secs(30);

#[test]
fn a_critical_overtakes_ten_thousand_that_wait() {
    check(&cluster::beside_with(1, &[PATIENT]).cluster);
}

#[test]
fn a_critical_overtakes_with_tls_too() {
    check(&cluster::beside_secure(1, &[PATIENT]).cluster);
}

fn check(cluster: &Cluster) {
    let users: Vec<String> = (0..Transport::ALL.len()).map(|n| format!("urgent-{n}")).collect();
    directory::import_users(&mut cluster.client(0), &users);
    let address = cluster.nodes[0].address;
    let mut slow: Vec<Connection> = users
        .iter()
        .zip(Transport::ALL)
        .map(|(user, transport)| Connection::open(address, transport, user, &Start::Now).unwrap())
        .collect();
    // Their streams have begun; from here on they read nothing until the critical is accepted.
    for connection in &mut slow {
        assert_eq!(next(connection)["event"], "hello");
    }
    publish_low(cluster, &users);
    let critical = cluster
        .client(0)
        .post("/v1/broadcasts", &draft("critical", "go inside", &users));
    let critical = critical.expect(201).json()["id"].clone();
    for (connection, transport) in slow.iter_mut().zip(Transport::ALL) {
        let order = read_all(connection);
        let ids: Vec<&Value> = order.iter().map(|frame| &frame["id"]).collect();
        let before = ids.iter().position(|id| **id == critical).unwrap();
        println!("{transport:?}: {before} of {LOW} low ones came before the critical");
        assert!(
            before <= ON_THE_WIRE,
            "{transport:?}: {before} of {LOW} low ones came before the critical"
        );
        let low = order.iter().filter(|frame| frame["priority"] == "low");
        let positions: Vec<Option<u64>> = low.map(|frame| frame["position"].as_u64()).collect();
        assert!(
            positions.is_sorted() && positions.len() == LOW,
            "the others kept their order"
        );
    }
}

fn publish_low(cluster: &Cluster, users: &[String]) {
    let line = |n: usize| draft("low", &format!("{n:0>BODY$}"), users).to_string();
    let lines = (0..LOW).map(line).collect::<Vec<_>>().join("\n");
    let typed = [("Content-Type", "application/x-ndjson")];
    let answer = cluster
        .client(0)
        .must("POST", "/v1/broadcasts/batch", &typed, lines.as_bytes());
    let results = answer.expect(200).lines();
    assert_eq!(results.iter().filter(|result| result["id"].is_string()).count(), LOW);
}

fn next(connection: &mut Connection) -> Value {
    connection.next(SOON).unwrap().expect("a frame within the time")
}

/// Every broadcast until all have come, in the order in which they came.
fn read_all(connection: &mut Connection) -> Vec<Value> {
    let (mut order, end) = (Vec::with_capacity(LOW + 1), Instant::now() + SOON);
    while order.len() <= LOW {
        assert!(Instant::now() < end, "{} came within {SOON:?}", order.len());
        let frame = next(connection);
        if frame["event"] == "broadcast" {
            order.push(frame);
        }
    }
    order
}
