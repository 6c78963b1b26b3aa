//! `campanile publish --dry-run` against real nodes and real sessions: whom it would not reach, in words and for programs.

use super::harness::cluster::binary;
use super::harness::directory::{import, member, user, venue};
use super::harness::stream::Connection;
use super::harness::{Cluster, Start, Transport, cluster, until};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);
const PEOPLE: [(&str, &str); 6] = [
    ("look-here", "dj"),
    ("look-left", "dj"),
    ("look-never", "bar"),
    ("look-asleep", "bar"),
    ("look-mutes", "cook"),
    ("look-strict", "cook"),
];

fn furnish(cluster: &Cluster) {
    let hour = |hours| (Timestamp::now() + SignedDuration::from_hours(hours)).to_string()[11..16].to_owned();
    let quiet = json!({"start": hour(-1), "end": hour(1), "timezone": "UTC"});
    let mut lines = vec![venue("look")];
    for (id, role) in PEOPLE {
        lines.push(user(id, "guest", "starter"));
        lines.push(member("venue", "look", id, role));
    }
    lines.push(json!({"kind": "preferences", "user": "look-asleep", "quiet_hours": quiet}));
    lines.push(json!({"kind": "preferences", "user": "look-mutes", "muted_categories": ["venue"]}));
    lines.push(json!({"kind": "preferences", "user": "look-strict", "critical_only": true}));
    let answer = import(&mut cluster.client(0), &lines).expect(200);
    assert_eq!(answer.json()["faults"], json!([]));
    cluster.wait_applied(answer.header("campanile-applied").unwrap().parse().unwrap(), SOON);
}

fn dry_run(cluster: &Cluster, at: usize, words: &[&str]) -> String {
    let url = format!("http://{}", cluster.addresses()[at]);
    let mut command = binary();
    command.args(["publish", "--dry-run", "--to", "venue:look", "--type", "venue.notice"]);
    command.args(["--title", "T", "--body", "B", "--url", &url]).args(words);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn would(cluster: &Cluster, at: usize) -> Value {
    serde_json::from_str(&dry_run(cluster, at, &["--json"])).unwrap()
}

#[test]
fn every_node_says_whom_it_would_not_reach() {
    let shared = cluster::shared();
    let cluster = &*shared.cluster;
    furnish(cluster);
    let nodes = cluster.addresses();
    let open = |at: usize, user: &str| Connection::open(nodes[at], Transport::WebSocket, user, &Start::Now).unwrap();
    let _here = open(0, "look-here");
    let left = open(1, "look-left");
    let connected = |count: u64| {
        until("sessions are known everywhere", SOON, || {
            (0..3).all(|at| would(cluster, at)["connected"] == count).then_some(())
        });
    };
    connected(2);
    drop(left);
    connected(1);
    for at in 0..3 {
        let reasons = json!({"no_session": 1, "offline_since": 1, "quiet_hours": 1, "muted_category": 1, "critical_only": 1, "excluded": 0});
        assert_eq!(would(cluster, at)["reasons"], reasons);
    }
    let told = dry_run(cluster, 2, &["--except", "user:look-strict"]);
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines[0], "nothing was published; it would be allowed, with");
    assert_eq!(lines[1], "targeted 5, connected 1, held 1, skipped 1");
    assert!(lines.contains(&"      1 taken out by --except"), "{told}");
    let named = |name: &str| {
        lines
            .iter()
            .position(|line| line.contains(name))
            .unwrap_or_else(|| panic!("{told}"))
    };
    assert!(
        lines[named("look-left")].starts_with("  dj    look-left    no session since "),
        "{told}"
    );
    assert!(lines[named("look-asleep")].contains("quiet hours until "), "{told}");
    assert!(
        named("look-asleep") < named("look-never") && named("look-never") < named("look-mutes"),
        "{told}"
    );
    assert!(!told.contains("look-here") && !told.contains("look-strict"), "{told}");
}
