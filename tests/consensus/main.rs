//! Three nodes of the consensus part: they agree, outlive each other, and take no node for what it is not.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on fails

mod nodes;
mod snapshots;

use campanile::base::clock;
use campanile::consensus::{Config, ProposeError, Role};
use nodes::{Nodes, soon, until, user};
use std::time::Duration;

async fn three() -> Nodes {
    Nodes::start(campanile::storage::Config::default(), Config::default().log_chunk).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_agree_survive_their_leader_and_come_back() {
    let mut nodes = three().await;
    for (n, node) in nodes.running().enumerate() {
        node.put(&format!("first-{n}")).await;
    }
    let leader = nodes.leader();
    let follower = (leader + 1) % 3;
    assert!(nodes.at(follower).handle.linearizable(soon()).await.is_ok());

    nodes.stop(leader).await;
    nodes.at(follower).put("second").await;
    assert_eq!(nodes.at(follower).users(), 4);

    nodes.again(leader).await;
    nodes.at(leader).put("third").await;
    for node in nodes.running() {
        until("catching up", || node.users() == 5).await;
    }

    for at in 0..3 {
        nodes.stop(at).await;
    }
    nodes.start_all().await;
    nodes.at(0).put("fourth").await;
    assert_eq!(nodes.at(0).users(), 6);
}

/// Whoever is asked: of the others only the leader knows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_shows_how_the_others_are() {
    let mut nodes = three().await;
    nodes.at(0).put("ann").await;
    let leader = nodes.leader();
    let (gone, left) = ((leader + 1) % 3, (leader + 2) % 3);
    let shown = async |nodes: &Nodes, at: usize| {
        let told = nodes.at(at).handle.nodes_of_leader().await;
        let each = told
            .iter()
            .map(|status| (status.role, status.applied.is_some(), status.lag.is_some()));
        each.collect::<Vec<_>>()
    };
    let mut expected = vec![(Role::Follower, true, true); 3];
    expected[leader] = (Role::Leader, true, true);
    for at in 0..3 {
        eventually("all are heard of", async || shown(&nodes, at).await == expected).await;
    }
    nodes.stop(gone).await;
    expected[gone] = (Role::Unreachable, false, false);
    for at in [leader, left] {
        eventually("one is not", async || shown(&nodes, at).await == expected).await;
    }
}

async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    let deadline = soon();
    while !holds().await {
        assert!(clock::now() < deadline, "not in time: {what}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_node_takes_no_part() {
    let mut nodes = three().await;
    nodes.at(0).put("ann").await;
    nodes.stop(0).await;
    std::fs::remove_dir_all(nodes.folder(0)).unwrap();
    nodes.again(0).await;
    nodes.at(1).put("bob").await;
    let deadline = clock::now() + Duration::from_secs(2);
    let asked = nodes.at(0).handle.propose(user("eve"), deadline).await;
    assert!(asked.is_err(), "{asked:?}");
    assert_eq!(nodes.at(0).users(), 0);
    let wiped = &nodes.at(0).handle;
    until("knowing that it is left out", || wiped.left_out().is_some()).await;
    assert_eq!(nodes.at(1).handle.left_out(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_left_alone_knows_of_no_leader_and_says_so() {
    let mut nodes = three().await;
    nodes.at(0).put("ann").await;
    nodes.stop(1).await;
    nodes.stop(2).await;
    let left = &nodes.at(0).handle;
    until("knowing of no leader", || left.leadership().leader.is_none()).await;
    let asked = left.propose(user("eve"), clock::now() + Duration::from_secs(1)).await;
    assert!(matches!(asked, Err(ProposeError::NoLeader { .. })), "{asked:?}");
    nodes.again(1).await;
    nodes.at(0).put("bob").await;
}
