//! What `GET /v1/scaling` says of a node whose threads are scaled.

use super::{Node, json};
use crate::base::clock;
use serde_json::Value;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn load_forecast_and_decisions_are_shown_with_their_reasons() {
    let node = Node::start().await;
    let (stop, stopping) = tokio::sync::watch::channel(false);
    let hours = |hours: i64| clock::rfc3339(clock::wall() + hours * 3_600_000);
    let venue = json!({"kind": "venue", "id": "v", "name": "V", "timezone": "Europe/Lisbon"});
    let wedding = |id: &str, from: i64, to: i64, guests: u32| json!({"kind": "wedding", "id": id, "venue": "v", "starts_at": hours(from), "ends_at": hours(to), "guests_expected": guests});
    let member =
        |user: &str, role: &str| json!({"kind": "member", "of": {"wedding": "near"}, "user": user, "role": role});
    let user = |id: &str| json!({"kind": "user", "id": id, "role": "guest"});
    let lines = [
        venue,
        wedding("near", 1, 9, 80),
        wedding("later", 48, 56, 300),
        wedding("past", -100, -90, 500),
        user("ann"),
        user("bob"),
        user("cat"),
        member("ann", "couple"),
        member("bob", "dj"),
        member("cat", "coordinator"),
    ];
    let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
    let report = node.lines("/v1/import", &lines.join("\n")).await.expect(200).json();
    assert_eq!(report["faults"], json!([]));
    let running = tokio::spawn(node.context.scaling.clone().run(stopping));

    let deadline = clock::now() + PATIENCE;
    let shown = loop {
        let shown = node.get("/v1/scaling").await.expect(200).json();
        if shown["decisions"].as_array().is_some_and(|all| all.len() >= 2) && shown["threads"] == 4 {
            break shown;
        }
        assert!(clock::now() < deadline, "{shown}");
        tokio::task::yield_now().await;
    };
    // one thread at the start, and at least two by the profile
    let decisions = shown["decisions"].as_array().unwrap();
    let first = decisions.last().unwrap();
    assert_eq!(
        (&first["threads_before"], &first["threads"], &first["rule"]),
        (&json!(1), &json!(2), &json!("bounds"))
    );
    assert_eq!(first["reason"], "1 threads are outside of 2 to 4 on 8 cores");
    // a wedding is near and nothing was measured: as many as at the start
    let second = &decisions[decisions.len() - 2];
    assert_eq!((&second["threads"], &second["rule"]), (&json!(4), &json!("forecast")));
    assert_eq!(second["reason"], "weddings are near: 4 at least");
    for (member, expected) in [
        ("profile", json!("test")),
        ("fixed", json!(false)),
        ("cores", json!(8)),
        ("threads_min", json!(2)),
        ("threads_max", json!(4)),
        ("season", json!(false)),
    ] {
        assert_eq!(shown[member], expected, "{member}");
    }
    let forecast = &shown["forecast"];
    // two who work there, and more expected guests than there are members
    assert_eq!(
        (&forecast["now"]["weddings"], &forecast["now"]["connections"]),
        (&json!(1), &json!(82.0))
    );
    assert_eq!(forecast["peak"]["connections"], 300.0);
    assert_eq!(
        (&forecast["capacity"], &forecast["share"], &forecast["warning"]),
        (&json!(null), &json!(null), &json!(null))
    );
    assert_eq!(forecast["steps"].as_array().unwrap().len(), 4, "{forecast}");
    let workers = node.get("/v1/workers").await.expect(200).json();
    let names: Vec<_> = workers["workers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|worker| worker["name"].as_str())
        .collect();
    assert_eq!(names, ["worker-0", "worker-1", "worker-2", "worker-3"].map(Some));

    stop.send(true).unwrap();
    running.await.unwrap();
    node.stop().await;
}
