//! More publishes than the node can take: the least urgent are turned away, the accepted ones stand.

use super::{Node, broadcast, json};
use crate::consensus;
use crate::security;
use futures_util::future::join_all;
use std::collections::BTreeSet;

/// Commands that may wait: so few that a burst fills them.
const WAITING_MAX: usize = 16;
const BURST: usize = 400;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_turns_low_away_and_keeps_room_for_critical() {
    let cluster = consensus::Config {
        waiting_max: WAITING_MAX,
        pack_commands_max: 1,
        packs_in_flight_max: 1,
        ..consensus::Config::default()
    };
    let node = Node::start_in(cluster, security::Config::default(), &[]).await;
    node.furnish().await;
    let low = broadcast(&json!({"priority": "low"}));
    let critical = broadcast(&json!({"priority": "critical"}));
    let lows = join_all((0..BURST).map(|_| node.post("/v1/broadcasts", &low)));
    // one critical after the other, as they come on a bad day, while the burst goes on
    let criticals = async {
        let mut statuses = Vec::new();
        for _ in 0..20 {
            statuses.push(node.post("/v1/broadcasts", &critical).await.status.as_u16());
        }
        statuses
    };
    let (lows, criticals) = tokio::join!(lows, criticals);
    assert_eq!(criticals, vec![201; 20], "critical has a reserve");

    let (accepted, refused): (Vec<_>, Vec<_>) = lows.into_iter().partition(|answer| answer.status.as_u16() == 201);
    assert!(
        !accepted.is_empty() && !refused.is_empty(),
        "{} accepted",
        accepted.len()
    );
    for answer in refused {
        assert_eq!(answer.headers["retry-after"], "1");
        let problem = answer.expect_problem(429, "OVERLOADED_LOW", "").json();
        assert_eq!(
            (&problem["outcome"], &problem["retryable"]),
            (&json!("not_published"), &json!(true))
        );
    }
    // what was accepted is there, each with a position of its own
    let mut positions = BTreeSet::new();
    for answer in &accepted {
        let id = answer.json()["id"].as_str().unwrap().to_owned();
        let kept = node.get(&format!("/v1/broadcasts/{id}")).await.expect(200).json();
        assert!(positions.insert(kept["position"].as_u64().unwrap()));
    }
    assert_eq!(positions.len(), accepted.len());
    node.stop().await;
}
