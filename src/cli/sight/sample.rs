//! Two moments of a cluster, for tests of what is shown of them.

use super::node::{Queues, Worker};
use super::{Heard, READY, Raw, Sight};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub const CAKE: &str = "01M4QZ6A4S3W0G00000000000A";
pub const STORM: &str = "01M4QZ6A4S3W0G00000000000C";
pub const FIRE: &str = "01M4QZ6A4S3W0G00000000000D";
pub const LATER: &str = "01M4QZ6A4S3W0G00000000000E";

fn node(node: u64, role: &str, sessions: u64, lag: Value) -> Value {
    let url = format!("http://10.0.0.{node}:8205");
    json!({"node": node, "role": role, "url": url, "applied": 98_123, "lag": lag, "version": "0.1.0", "sessions": sessions})
}

fn queue(waiting: u64, oldest: f64, rate: f64, in_flight: u64, retries: u64) -> Value {
    json!({"waiting": waiting, "oldest_seconds": oldest, "rate": rate, "in_flight": in_flight, "retries": retries})
}

fn queues(critical: Value, high: Value, normal: Value, low: Value) -> Value {
    json!({"critical": critical, "high": high, "normal": normal, "low": low})
}

fn quiet() -> Value {
    let nothing = || queue(0, 0.0, 0.0, 0, 0);
    queues(nothing(), nothing(), nothing(), nothing())
}

fn heard(queues: &Value, workers: &[(&str, u64, f64)]) -> Heard {
    let worker = |(name, sessions, busy): &(&str, u64, f64)| Worker {
        name: (*name).into(),
        cells: 64,
        sessions: *sessions,
        written: 1_204,
        busy_share: *busy,
        panics: 0,
    };
    Heard {
        says: READY.into(),
        queues: Some(serde_json::from_value::<Queues>(queues.clone()).unwrap()),
        workers: workers.iter().map(worker).collect(),
    }
}

fn silent() -> Heard {
    Heard {
        says: "no answer".into(),
        ..Heard::default()
    }
}

/// A broadcast that is out since so many seconds before [`busy`].
pub fn broadcast(id: &str, priority: &str, title: &str, since: &str, counts: [u64; 4], asks: bool) -> Value {
    let [targeted, sent, received, acknowledged] = counts;
    json!({
        "id": id, "status": "released", "priority": priority, "type": "venue.notice", "title": title, "drill": false,
        "accepted_at": since, "released_at": since, "deliver_at": null,
        "counts": {"targeted": targeted, "sent": sent, "received": received, "read": 0, "acknowledged": acknowledged,
            "held": 0, "skipped": 0, "expired": 0, "failed": 0},
        "not_confirmed": asks.then(|| targeted - acknowledged), "not_received": targeted - received,
        "escalated": 0, "escalations": 0,
    })
}

/// Nothing happens, and the node is of a version that knows little.
pub fn calm() -> Sight {
    let board = json!({
        "at": "2027-06-19T20:42:07Z", "version": "0.1.0", "up_seconds": 7_200,
        "health": {"score": 100, "state": "ok", "parts": [], "not_measured": [], "concerns": []},
        "cluster": {"leader": 2, "term": 7, "node": 1, "nodes": [
            node(1, "follower", 12, json!(0)), node(2, "leader", 9, json!(0)), node(3, "follower", 0, json!(0))]},
        "queues": quiet(), "performance": null,
        "capacity": {"connected": 21, "users": 40, "workers": []},
        "urgent": {"critical_last_hour": 0, "critical_last_hour_is_at_least": false, "emergencies": 0, "items": []},
        "broadcasts": [], "scheduled": {"count": 0, "items": []},
    });
    let raw = Raw {
        board,
        ..Raw::default()
    };
    let all = (1..=3).map(|node| (node, heard(&quiet(), &[("worker-0", 7, 0.01)])));
    Sight::of("http://10.0.0.1:8205", raw, all.collect()).unwrap()
}

/// A storm: one node is lost, two broadcasts are out, an alert fires.
pub fn busy() -> Sight {
    let storm = broadcast(
        STORM,
        "critical",
        "Go inside now",
        "2027-06-19T20:40:07Z",
        [237, 201, 198, 206],
        true,
    );
    let cake = broadcast(
        CAKE,
        "normal",
        "Cake at nine",
        "2027-06-19T20:30:07Z",
        [40, 38, 38, 0],
        false,
    );
    let fire = broadcast(
        FIRE,
        "critical",
        "Leave by the north gate",
        "2027-06-19T20:20:07Z",
        [12, 12, 12, 12],
        true,
    );
    let mut later = broadcast(LATER, "low", "Thank you", "2027-06-19T19:20:07Z", [237, 0, 0, 0], false);
    later["status"] = json!("scheduled");
    later["released_at"] = Value::Null;
    later["deliver_at"] = json!("2027-06-19T21:42:07Z");
    let board = json!({
        "at": "2027-06-19T20:42:07Z", "version": "0.1.0", "up_seconds": 7_200,
        "health": {"score": 85, "state": "trouble", "not_measured": ["cache"],
            "parts": [{"part": "queue_errors", "unit": "share", "value": 0.0, "lost": 0},
                {"part": "queue_time", "unit": "ms", "value": 612.0, "lost": 15},
                {"part": "response", "unit": "ms", "value": null, "lost": 0}],
            "concerns": [
                {"code": "emergency", "severity": "critical", "detail": "a critical broadcast is out that not everybody has confirmed"},
                {"code": "node_lost", "severity": "warning", "detail": "node 3 does not answer"}]},
        "cluster": {"leader": 2, "term": 7, "node": 1, "nodes": [
            node(1, "follower", 120, json!(2)), node(2, "leader", 81, json!(0)), node(3, "unreachable", 0, Value::Null)]},
        "queues": quiet(),
        "performance": {"over_seconds": 60.0, "latency": {
            "publish": {"count": 12, "mean_ms": 3.1, "p95_at_most_ms": 8.0},
            "delivery": {"count": 12, "mean_ms": 612.0, "p95_at_most_ms": 1024.0}},
            "throughput": {"broadcasts": 0.2, "writes": 40.5}},
        "capacity": {"connected": 201, "users": 237, "workers": []},
        "urgent": {"critical_last_hour": 2, "critical_last_hour_is_at_least": false, "emergencies": 1, "items": [storm.clone()]},
        "uptime": {"state": "measured", "hour": {"share": 0.9986, "answered": 719, "all": 720}},
        "broadcasts": [storm, cake, fire], "scheduled": {"count": 1, "items": [later]},
    });
    let scaling = json!({"profile": "default", "fixed": false, "threads": 2, "threads_min": 1, "threads_max": 4,
        "forecast": {"warning": null}, "decisions": [{"until": "2027-06-19T20:41:37Z", "threads_before": 1, "threads": 2,
            "rule": "busy", "reason": "busy 91.0 % (above 0.8)"}]});
    let cache = json!({"reads": {"local": 940, "replicated": 23, "stale": 0, "miss": 37, "local_hit_rate": 0.94, "hit_rate": 0.963}});
    let one = queues(
        queue(3, 2.5, 20.0, 1, 2),
        queue(0, 0.0, 0.0, 0, 0),
        queue(10, 0.2, 12.0, 0, 0),
        queue(0, 0.0, 0.0, 0, 0),
    );
    let two = queues(
        queue(1, 0.5, 10.0, 1, 1),
        queue(0, 0.0, 0.0, 0, 0),
        queue(0, 0.0, 0.0, 0, 0),
        queue(0, 0.0, 0.0, 0, 0),
    );
    let all = BTreeMap::from([
        (1, heard(&one, &[("worker-0", 70, 0.91), ("worker-1", 50, 0.42)])),
        (2, heard(&two, &[("worker-0", 81, 0.3)])),
        (3, silent()),
    ]);
    let raw = Raw { board, scaling, cache };
    Sight::of("http://10.0.0.1:8205", raw, all).unwrap()
}
