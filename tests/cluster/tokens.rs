//! A token made on one node is good on all of them at once, survives the leader, and is worth nothing anywhere once it is revoked.

use super::harness::http::Client;
use super::harness::stream::{Connection, Start, Transport};
use super::harness::wait::until;
use super::harness::{Cluster, cluster, directory};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// `cmp_` and 43 letters.
const ADMIN: &str = "cmp_0123456789abcdefghijklmnopqrstuvwxyz-ADMIN_";
const SOON: Duration = Duration::from_secs(20);
/// A revocation reaches open streams, and a token's end is seen, within this.
const ENDS_WITHIN: Duration = Duration::from_secs(5);

fn make(cluster: &Cluster, at: usize, wanted: &Value) -> (String, String) {
    let made = cluster.client(at).post("/v1/tokens", wanted).expect(201).json();
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    (text("id"), text("token"))
}

/// What a node answers to this token's bearer.
fn status(cluster: &Cluster, at: usize, token: &str) -> u16 {
    let mut client = Client::new(cluster.nodes[at].address).bearer(token);
    client.get("/v1/broadcasts").status
}

/// Reads until the goodbye.
fn code(connection: &mut Connection) -> Option<u64> {
    let end = Instant::now() + ENDS_WITHIN;
    while Instant::now() < end {
        let event = connection.next(end - Instant::now()).ok()??;
        if event["event"] == "goodbye" {
            return event["code"].as_u64();
        }
    }
    None
}

#[test]
fn tokens_are_good_everywhere_until_they_are_revoked() {
    let _others_wait = cluster::alone();
    let mut cluster = Cluster::start_guarded(3, ADMIN);
    directory::import_users(&mut cluster.client(0), &["bob".to_owned()]);
    let wanted = json!({"user": "bob", "role": "guest", "scopes": ["read", "subscribe"]});

    // Made at each node in turn, and used at once at the others: the first request after the answer.
    for round in 0..30 {
        let at = round % 3;
        let (_, token) = make(&cluster, at, &wanted);
        for other in [(at + 1) % 3, (at + 2) % 3, at] {
            assert_eq!(
                status(&cluster, other, &token),
                200,
                "round {round}: made at {at}, used at {other}"
            );
        }
    }

    let (id, token) = make(&cluster, 0, &wanted);
    let leader = cluster.leader();
    cluster.kill(leader);
    let left: Vec<usize> = (0..3).filter(|at| *at != leader).collect();
    until("the others take writes", SOON, || {
        cluster
            .client(left[0])
            .post("/v1/tokens", &wanted)
            .status
            .eq(&201)
            .then_some(())
    });
    for at in &left {
        assert_eq!(status(&cluster, *at, &token), 200, "after the leader's death, at {at}");
    }
    cluster.launch(leader);
    cluster.wait_writable(SOON);
    assert_eq!(status(&cluster, leader, &token), 200, "from its own disk");

    // One stream of each kind, each on another node.
    let mut streams: Vec<Connection> = (0..3)
        .map(|at| {
            let who = format!("token={token}");
            let address = cluster.nodes[at].address;
            Connection::open_as(address, Transport::ALL[at], &who, &Start::Now).unwrap()
        })
        .collect();
    cluster.client(1).delete(&format!("/v1/tokens/{id}")).expect(204);
    assert_eq!(status(&cluster, 1, &token), 401, "where it was revoked, at once");
    for (at, stream) in streams.iter_mut().enumerate() {
        assert_eq!(code(stream), Some(4001), "{:?} at node {at}", Transport::ALL[at]);
    }
    for at in 0..3 {
        assert_eq!(status(&cluster, at, &token), 401, "at {at}");
    }
    let refused = Connection::open_as(
        cluster.nodes[0].address,
        Transport::Sse,
        &format!("token={token}"),
        &Start::Now,
    );
    assert!(refused.is_err());
    cluster.assert_sound();
}

#[test]
fn a_stream_ends_when_its_token_does() {
    let _others_wait = cluster::alone();
    let mut cluster = Cluster::start_guarded(3, ADMIN);
    directory::import_users(&mut cluster.client(0), &["bob".to_owned()]);
    let wanted = json!({"user": "bob", "role": "guest", "scopes": ["read", "subscribe"], "ttl": "3s"});
    let (_, token) = make(&cluster, 0, &wanted);
    let who = format!("token={token}");
    let mut streams: Vec<Connection> = (0..3)
        .map(|at| Connection::open_as(cluster.nodes[at].address, Transport::ALL[at], &who, &Start::Now).unwrap())
        .collect();
    for (at, stream) in streams.iter_mut().enumerate() {
        assert_eq!(code(stream), Some(4001), "{:?} at node {at}", Transport::ALL[at]);
    }
    let mut late = Client::new(cluster.nodes[1].address).bearer(&token);
    until("it says that it has expired", ENDS_WITHIN, || {
        (late.get("/v1/broadcasts").expect(401).json()["code"] == "TOKEN_EXPIRED").then_some(())
    });
    cluster.assert_sound();
}
