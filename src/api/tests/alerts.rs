//! What `GET /v1/alerts` and the dashboard say of a node whose rules are watched.

use super::{Node, broadcast, json};
use crate::alerting::{Measure, Rule};
use crate::base::clock;
use crate::consensus::Handle;
use crate::control::alerter::{self, Alerter};
use crate::control::measuring::Sources;
use crate::control::prober::{self, Prober};
use crate::control::today::Today;
use crate::gateway::Gateway;
use crate::model::alert::Severity;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

fn rule(name: &str, measure: Measure, bound: f64, severity: Severity) -> Rule {
    Rule {
        name: name.into(),
        measure,
        bound,
        clear: bound,
        event_bound: None,
        held: Duration::ZERO,
        least: 0,
        severity,
        cooldown: Duration::from_secs(60),
        outputs: vec!["bell".into()],
    }
}

/// Watches for emergencies, memory that is never short enough, and something that lasts too shortly to fire.
pub fn alerter(handle: &Handle, gateway: &Arc<Gateway>) -> Arc<Alerter> {
    let today = Arc::new(Today::default());
    let probe = prober::Settings {
        interval: Duration::from_millis(20),
        interval_enhanced: Duration::from_millis(10),
        within: Duration::from_secs(5),
    };
    let sources = Sources {
        handle: handle.clone(),
        gateway: gateway.clone(),
        prober: Prober::new(1, handle.clone(), today.clone(), probe),
        memory: Box::new(|| Some(0.5)),
        not_taken: crate::api::Code::of_the_node(),
        over: Duration::from_secs(10),
    };
    let pending = Rule {
        held: Duration::from_secs(3_600),
        ..rule("pending", Measure::Memory, 0.4, Severity::Warning)
    };
    let settings = alerter::Settings {
        rules: vec![
            rule("memory", Measure::Memory, 0.9, Severity::Error),
            pending,
            rule("emergency", Measure::Emergencies, 0.0, Severity::Critical),
            rule("nodes", Measure::NodesLost, -1.0, Severity::Warning),
        ],
        every: Duration::from_millis(20),
        every_enhanced: Duration::from_millis(10),
        lost_after: Duration::from_secs(1),
    };
    Alerter::new(1, sources, today, settings)
}

async fn until(node: &Node, path: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let deadline = clock::now() + PATIENCE;
    loop {
        let shown = node.get(path).await.expect(200).json();
        if holds(&shown) {
            return shown;
        }
        assert!(clock::now() < deadline, "{what}: {shown}");
        tokio::task::yield_now().await;
    }
}

/// Waits until the metrics have this line. They are of the process, and so of the other tests' nodes, too: the one that looked last is right.
async fn counted(node: &Node, line: &str) {
    let deadline = clock::now() + PATIENCE;
    loop {
        let metrics = node.get("/metrics").await.expect(200);
        let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
        if metrics.lines().any(|told| told == line) {
            return;
        }
        assert!(clock::now() < deadline, "{line}: {metrics}");
        tokio::task::yield_now().await;
    }
}

fn names(shown: &Value) -> Vec<&str> {
    let items = shown["items"].as_array().unwrap();
    items.iter().map(|item| item["rule"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_shown_by_gravity_and_goes_when_it_is_over() {
    let node = Node::start().await;
    node.furnish().await;
    let (stop, stopping) = tokio::sync::watch::channel(false);
    let before = node.get("/v1/alerts").await.expect(200).json();
    assert_eq!(
        (&before["items"], &before["rules"], &before["enhanced"]),
        (&json!([]), &json!([]), &json!(false))
    );
    let running = tokio::spawn(node.context.alerts.clone().run(stopping));
    let asked = json!({"priority": "critical", "acknowledge": {"within": "15s"}});
    let published = node.post("/v1/broadcasts", &broadcast(&asked)).await.expect(201).json();
    let wanted = ["emergency", "nodes", "pending"];
    let shown = until(&node, "/v1/alerts", "all that is wrong", |shown| {
        names(shown) == wanted && [0, 1].iter().all(|item: &usize| shown["items"][*item]["told"] == true)
    })
    .await;
    let emergency = &shown["items"][0];
    for (member, expected) in [
        ("severity", json!("critical")),
        ("state", json!("firing")),
        ("value", json!(1.0)),
        ("bound", json!(0.0)),
        ("side", json!("above")),
        ("unit", json!("count")),
        ("nodes", json!([1])),
        ("told", json!(true)),
        ("outputs", json!(["bell"])),
        (
            "reason",
            json!("critical broadcasts not confirmed by everybody: 1 (above 0)"),
        ),
    ] {
        assert_eq!(emergency[member], expected, "{member}");
    }
    assert!(emergency["next_notice_after"].as_str() > emergency["last_notice"].as_str());
    assert_eq!(
        (&shown["items"][2]["state"], &shown["items"][2]["told"]),
        (&json!("pending"), &json!(false))
    );
    let memory = &shown["rules"][0];
    assert_eq!(
        (&memory["state"], &memory["value"], &memory["clear"]),
        (&json!("quiet"), &json!(0.5), &json!(0.9))
    );
    counted(&node, "campanile_alert_firing{rule=\"emergency\"} 1").await;
    let board = node.get("/v1/dashboard").await.expect(200).json();
    assert_eq!(
        (&board["alerts"]["firing"], names(&board["alerts"])),
        (&json!(2), wanted.to_vec())
    );
    let calls = node.get("/v1/outputs").await.expect(200).json();
    let told: Vec<&Value> = calls["calls"]
        .as_array()
        .unwrap()
        .iter()
        .map(|call| &call["alert"])
        .collect();
    assert_eq!(told.len(), 2, "{calls}");
    assert!(
        told.contains(&&json!("emergency")) && calls["calls"][0]["broadcast"].is_null(),
        "{calls}"
    );

    let id = published["id"].as_str().unwrap();
    node.post(&format!("/v1/broadcasts/{id}/cancel"), &json!({}))
        .await
        .expect(200);
    let shown = until(&node, "/v1/alerts", "it is over", |shown| shown["recent"] != json!([])).await;
    let past = &shown["recent"][0];
    assert_eq!(
        (&past["rule"], &past["told"], &past["nodes"]),
        (&json!("emergency"), &json!(true), &json!([1]))
    );
    assert_eq!(names(&shown), ["nodes", "pending"]);
    stop.send(true).unwrap();
    running.await.unwrap();
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_with_a_wedding_is_watched_more_closely_and_uptime_is_measured() {
    let node = Node::start().await;
    node.furnish().await;
    let board = node.get("/v1/dashboard").await.expect(200).json();
    assert_eq!(
        (&board["enhanced"], &board["uptime"]["state"]),
        (&json!(false), &json!("not_measured"))
    );
    assert_eq!(board["uptime"]["hour"], json!({"share": null, "answered": 0, "all": 0}));
    let hours = |hours: i64| clock::rfc3339(clock::wall() + hours * 3_600_000);
    let wedding = |id: &str, from: i64| json!({"kind": "wedding", "id": id, "venue": "v", "starts_at": hours(from), "ends_at": hours(from + 8)});
    let lines = format!("{}\n{}", wedding("soon", 20), wedding("today", 2));
    node.lines("/v1/import", &lines).await.expect(200);
    let (stop, stopping) = tokio::sync::watch::channel(false);
    let watching = tokio::spawn(node.context.alerts.clone().run(stopping.clone()));
    let probing = tokio::spawn(node.context.alerts.sources.prober.clone().run(stopping));
    let board = until(&node, "/v1/dashboard", "probes", |board| {
        board["enhanced"] == true && board["uptime"]["hour"]["all"].as_u64() >= Some(3)
    })
    .await;
    let uptime = &board["uptime"];
    assert_eq!(
        (&uptime["state"], &uptime["day"]["share"]),
        (&json!("measured"), &json!(1.0))
    );
    assert!(
        uptime["measured_since"].is_string() && uptime["last_failure"].is_null(),
        "{uptime}"
    );
    let weddings: Vec<&Value> = board["weddings"]["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| &item["id"])
        .collect();
    assert_eq!(weddings, [&json!("today"), &json!("soon")]);
    assert_eq!(board["broadcasts"], json!([]), "a probe is no broadcast");
    let alerts = node.get("/v1/alerts").await.expect(200).json();
    assert_eq!(alerts["enhanced"], true);
    stop.send(true).unwrap();
    watching.await.unwrap();
    probing.await.unwrap();
    node.stop().await;
}
