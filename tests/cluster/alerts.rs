//! Every rule of alerts over three real nodes, by what really happens to them: each fires and clears, with one notice of the whole
//! cluster, over a lost node, a time without a leader, and other leaders.

use super::harness::cluster::{OwnCluster, SERVING_WITHIN};
use super::harness::directory::{import, import_users, wedding};
use super::harness::load::{Fate, draft, publish};
use super::harness::sink::Sink;
use super::harness::wait::maybe;
use super::harness::{Cluster, Start, Subscriber, Transport, cluster, directory, until};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);
const PEOPLE: [&str; 3] = ["ann", "bob", "cid"];

/// A rule as the file has it; without a cooldown that a test would live to see the end of.
fn rule(name: &str, measure: &str, bound: &str, rest: &str) -> String {
    let cooldown = if rest.contains("cooldown") {
        ""
    } else {
        "cooldown = \"1h\"\n"
    };
    format!(
        "[[rule]]\nname = \"{name}\"\nmeasure = \"{measure}\"\nbound = {bound}\nseverity = \"error\"\n{cooldown}{rest}\n\n"
    )
}

/// What no load of a test can change is broken at first, and not any more in the second edition.
fn rules(edition: u8) -> String {
    let of = |first: &str, second: &str| {
        if edition == 1 {
            first.to_owned()
        } else {
            second.to_owned()
        }
    };
    [
        rule("queue_errors", "error_rate", "0.2", ""),
        rule("slow_processing", "processing", "0.0001", ""),
        rule("queue_size", "queue_size", "0", ""),
        rule("cache_hit_rate", "cache_hit_rate", "0.8", "least = 3"),
        rule("cache_memory", "cache_memory", "\"2 KiB\"", ""),
        rule("slow_response", "response_time", "0.0001", ""),
        rule("connections", "connections", "2", "for = \"200ms\""),
        rule(
            "emergency",
            "emergencies",
            "0",
            "outputs = [\"desk\", \"pager\", \"chat\"]",
        ),
        rule("no_leader", "no_leader", "\"2s\"", ""),
        rule("node_lost", "nodes_lost", "0", "for = \"300ms\""),
        rule("disk_nearly_full", "disk_left", &of("1e18", "0"), ""),
        rule("fsync_slow", "log_sync", "0.0001", "least = 40"),
        rule("clock_skew", "clock_skew", &of("-1", "\"1h\""), ""),
        rule("memory", "memory", &of("0", "0.9999"), "cooldown = \"2s\""),
        rule("uptime", "probe_failures", "0", ""),
    ]
    .concat()
}

struct House {
    own: OwnCluster,
    sink: Sink,
    rules: PathBuf,
    _folder: tempfile::TempDir,
}

impl House {
    fn start() -> Self {
        let sink = Sink::start();
        let folder = tempfile::tempdir().unwrap();
        let rules = folder.path().join("alerts.toml");
        write(&rules, 1);
        let mut settings = sink.settings_in(&[("desk", "webhook"), ("pager", "pagerduty"), ("chat", "slack")]);
        settings.extend([
            format!("rules.alerts={}", rules.display()),
            "alerts.outputs=[\"desk\"]".into(),
            "alerts.every=50ms".into(),
            "alerts.every_enhanced=50ms".into(),
            "alerts.over=1500ms".into(),
            "alerts.lost_after=1s".into(),
            "probe.interval=500ms".into(),
            "probe.interval_enhanced=200ms".into(),
            "probe.within=1s".into(),
            "api.deadline=1s".into(),
            "cache.upstream_timeout=500ms".into(),
        ]);
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        Self {
            own: cluster::own_with(3, &settings),
            sink,
            rules,
            _folder: folder,
        }
    }

    fn cluster(&self) -> &Cluster {
        &self.own.cluster
    }

    fn alerts(&self, at: usize) -> Value {
        self.cluster().client(at).get("/v1/alerts").expect(200).json()
    }

    /// What is open, as a node shows it.
    fn open(&self, at: usize) -> BTreeMap<String, Value> {
        let shown = self.alerts(at);
        let items = shown["items"].as_array().unwrap().iter();
        let open = items.filter(|item| item["state"] != "pending");
        open.map(|item| (item["rule"].as_str().unwrap().to_owned(), item.clone()))
            .collect()
    }

    /// Every notice to the desk: when, rule and event; each once, whoever made the call how often.
    fn notices(&self) -> Vec<(String, String, String)> {
        let calls = self.sink.taken();
        let desk = calls.iter().filter(|call| call.output == "desk");
        let each: BTreeMap<&str, Value> = desk
            .map(|call| {
                assert!(call.is_signed);
                (call.id.as_str(), serde_json::from_str(&call.body).unwrap())
            })
            .collect();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let mut all: Vec<_> = each
            .values()
            .map(|told| {
                let details = &told["data"]["details"];
                (
                    text(&told["timestamp"]),
                    text(&details["rule"]),
                    text(&details["event"]),
                )
            })
            .collect();
        all.sort();
        all
    }

    fn told(&self, rule: &str) -> Vec<String> {
        let notices = self.notices().into_iter();
        notices
            .filter(|(_, of, _)| of == rule)
            .map(|(_, _, event)| event)
            .collect()
    }

    fn publish(&self, at: usize, draft: &Value) -> u16 {
        let typed = [("Content-Type", "application/json")];
        let mut client = self.cluster().client(at);
        client
            .send("POST", "/v1/broadcasts", &typed, draft.to_string().as_bytes())
            .map_or(0, |answer| answer.status)
    }

    /// Does something until the rule has been told, then waits until it is over.
    fn fires_and_clears(&self, rule: &str, mut cause: impl FnMut(&Self), mut end: impl FnMut(&Self)) {
        let has_fired = || self.open(1).contains_key(rule) || !self.told(rule).is_empty();
        until(&format!("{rule} fires"), SOON, || {
            cause(self);
            maybe(Duration::from_millis(200), || has_fired().then_some(()))
        });
        end(self);
        until(&format!("{rule} is over"), SOON, || {
            (!self.open(2).contains_key(rule)).then_some(())
        });
    }
}

fn write(path: &Path, edition: u8) {
    std::fs::write(path, rules(edition)).unwrap();
}

fn people() -> Vec<String> {
    PEOPLE.map(str::to_owned).to_vec()
}

#[test]
fn every_rule_fires_and_clears_with_one_notice_of_the_whole_cluster() {
    let mut house = House::start();
    let applied = import_users(&mut house.cluster().client(0), &people());
    house.cluster().wait_applied(applied, SOON);
    load(&house);
    always(&house);
    a_lost_node(&mut house);
    without_a_leader(&mut house);
    afterwards(&mut house);
}

/// What real load does.
fn load(house: &House) {
    let first = &house.cluster().addresses()[..1];
    let connect = || PEOPLE.map(|user| Subscriber::start(first, 0, Transport::WebSocket, user, Start::Now).ready());
    let mut listeners = Some(connect());
    house.fires_and_clears(
        "connections",
        |_| {},
        |_| {
            for listener in listeners.take().into_iter().flatten() {
                drop(listener.stop());
            }
        },
    );
    let listeners = connect();
    let normal = draft("normal", "Load", &people());
    let one = |house: &House| {
        let _ = house.publish(0, &normal); // however it ends: it is tried again until the rule fires
    };
    house.fires_and_clears("slow_response", one, |_| {});
    house.fires_and_clears("slow_processing", one, |_| {});
    house.fires_and_clears("fsync_slow", |house| (0..20).for_each(|_| one(house)), |_| {});
    let mut lines = String::new();
    (0..300).for_each(|_| writeln!(lines, "{normal}").unwrap());
    let typed = [("Content-Type", "application/x-ndjson")];
    let many = |house: &House| {
        let mut client = house.cluster().client(0);
        drop(
            client
                .must("POST", "/v1/broadcasts/batch", &typed, lines.as_bytes())
                .expect(200),
        );
    };
    house.fires_and_clears("queue_size", many, |_| {});
    let read = |house: &House| drop(house.cluster().client(0).get("/v1/cache/teams/nothing"));
    house.fires_and_clears("cache_hit_rate", |house| (0..4).for_each(|_| read(house)), |_| {});
    let value = vec![b'x'; 8_192];
    house.fires_and_clears(
        "cache_memory",
        |house| {
            let mut client = house.cluster().client(0);
            drop(client.must("PUT", "/v1/cache/teams/large", &[], &value));
            drop(client.get("/v1/cache/teams/large").expect(200));
        },
        |house| drop(house.cluster().client(0).delete("/v1/cache/teams/large")),
    );
    emergency(house);
    drop(listeners.map(Subscriber::stop));
}

/// All nodes see it, one notice tells it, in the words of each output.
fn emergency(house: &House) {
    let mut urgent = draft("critical", "Go inside", &people());
    urgent["acknowledge"] = json!({"within": "30s"});
    let answer = until("it is out", SOON, || {
        let (fate, answer) = publish(&mut house.cluster().client(0), &urgent, "emergency");
        answer.filter(|_| matches!(fate, Fate::Ok { .. }))
    });
    let answer = answer.json();
    let id = answer["id"].as_str().unwrap();
    let of = |output: &str| -> Vec<Value> {
        let calls = house.sink.taken();
        let calls = calls.iter().filter(|call| call.output == output);
        calls.map(|call| serde_json::from_str(&call.body).unwrap()).collect()
    };
    until("all nodes see the emergency", SOON, || {
        let emergency = house.open(0).remove("emergency")?;
        let is_told = !of("pager").is_empty() && !of("chat").is_empty() && !house.told("emergency").is_empty();
        (is_told && emergency["nodes"] == json!([1, 2, 3])).then_some(())
    });
    for user in PEOPLE {
        let path = format!("/v1/broadcasts/{id}/acknowledge?user={user}");
        drop(
            house
                .cluster()
                .client(1)
                .post(&path, &json!({"answer": "ok"}))
                .expect(200),
        );
    }
    until("the emergency is over", SOON, || {
        (!house.open(0).contains_key("emergency")).then_some(())
    });
    until("everybody was told", SOON, || {
        (of("pager").len() >= 2 && of("chat").len() >= 2 && house.told("emergency").len() >= 2).then_some(())
    });
    let pager = of("pager");
    let actions: Vec<&Value> = pager.iter().map(|told| &told["event_action"]).collect();
    assert_eq!(actions, [&json!("trigger"), &json!("resolve")]);
    assert_eq!(pager[0]["dedup_key"], pager[1]["dedup_key"]);
    assert_eq!(pager[0]["payload"]["severity"], "error");
    let chat = of("chat");
    assert!(
        chat[0]["text"].as_str().unwrap().starts_with("Alert emergency"),
        "{chat:?}"
    );
    assert!(chat[1]["text"].as_str().unwrap().contains("is over after"), "{chat:?}");
    assert_eq!(house.told("emergency"), ["raised", "cleared"]);
}

/// What this edition of the rules has as broken, on all nodes.
fn always(house: &House) {
    until("what is always so is raised by all", SOON, || {
        let open = house.open(0);
        let is_everywhere = |rule: &str| open.get(rule).is_some_and(|item| item["nodes"] == json!([1, 2, 3]));
        ["disk_nearly_full", "clock_skew", "memory"]
            .into_iter()
            .all(is_everywhere)
            .then_some(())
    });
    let metrics = house.cluster().client(2).get("/metrics").expect(200).text();
    assert!(metrics.contains("campanile_alert_firing{rule=\"memory\"} 1"));
    assert!(metrics.contains("campanile_alert_firing{rule=\"uptime\"} 0"));
    until("what lasts is told again", SOON, || {
        (house.told("memory").len() >= 3).then_some(())
    });
}

/// It is told of, and keeps nothing open.
fn a_lost_node(house: &mut House) {
    let lost = house.cluster().follower();
    let (number, other) = (lost as u64 + 1, (lost + 1) % 3);
    house.own.cluster.kill(lost);
    until("the lost node is told, and has nothing open", SOON, || {
        let open = house.open(other);
        let is_freed = |rule: &str| {
            let nodes = open.get(rule)?["nodes"].as_array()?;
            (!nodes.contains(&json!(number))).then_some(())
        };
        open.get("node_lost")?;
        is_freed("disk_nearly_full").and(is_freed("memory"))
    });
    house.own.cluster.launch(lost);
    house.own.cluster.wait_writable(SERVING_WITHIN);
    until("it is back", SOON, || {
        let open = house.open(other);
        let has_again = open.get("memory")?["nodes"] == json!([1, 2, 3]);
        (has_again && !open.contains_key("node_lost")).then_some(())
    });
    let recent = house.alerts(other)["recent"].clone(); // what comes back may be late with something else for a moment
    let is_told_of = recent
        .as_array()
        .unwrap()
        .iter()
        .any(|item| item["rule"] == "node_lost");
    assert!(is_told_of, "{recent}");
}

/// Whoever is left shows it, and it is told once there is a leader again.
fn without_a_leader(house: &mut House) {
    let alone = house.cluster().follower();
    let others: Vec<usize> = (0..3).filter(|at| *at != alone).collect();
    others.iter().for_each(|at| house.own.cluster.kill(*at));
    write(&house.rules, 2);
    let normal = draft("normal", "Is anybody there?", &people());
    until("the node that is left shows what is wrong", SOON, || {
        assert_ne!(house.publish(alone, &normal), 201);
        let open = house.open(alone);
        let shown = ["no_leader", "queue_errors", "uptime"];
        shown.iter().all(|rule| open.contains_key(*rule)).then_some(())
    });
    assert_eq!(house.told("no_leader"), Vec::<String>::new());
    others.iter().for_each(|at| house.own.cluster.launch(*at));
    house.own.cluster.wait_writable(SERVING_WITHIN);
    until("it is told afterwards", SOON, || {
        (house.told("no_leader") == ["passed"]).then_some(())
    });
    until("and is over", SOON, || {
        let open = house.open(alone);
        let gone = ["no_leader", "queue_errors", "uptime", "node_lost"];
        (!gone.iter().any(|rule| open.contains_key(*rule))).then_some(())
    });
    for rule in ["queue_errors", "uptime"] {
        until("it was told", SOON, || {
            let told = house.told(rule);
            (told == ["passed"] || told == ["raised", "cleared"]).then_some(())
        });
    }
    // the last one with the first edition
    house.own.cluster.kill(alone);
    house.own.cluster.launch(alone);
    house.own.cluster.wait_writable(SERVING_WITHIN);
}

/// Nothing is open any more, and everything was told once.
fn afterwards(house: &mut House) {
    for at in 0..3 {
        until("nothing is open", SOON, || house.open(at).is_empty().then_some(()));
    }
    let twice = [
        "connections",
        "slow_response",
        "slow_processing",
        "fsync_slow",
        "queue_size",
        "cache_hit_rate",
        "cache_memory",
    ];
    // A leader may have been killed between the word that it is over and the call about it: then the call comes later.
    let others = ["emergency", "disk_nearly_full", "clock_skew", "node_lost"];
    for rule in twice.into_iter().chain(others) {
        until("its end was told", SOON, || (house.told(rule).len() >= 2).then_some(()));
        assert_eq!(house.told(rule), ["raised", "cleared"], "{rule}");
    }
    until("the end of what lasted was told", SOON, || {
        (house.told("memory").last()? == "cleared").then_some(())
    });
    let notices = house.notices();
    let memory = notices
        .iter()
        .filter(|(_, rule, event)| rule == "memory" && event != "cleared");
    let times: Vec<i64> = memory
        .map(|(at, _, _)| at.parse::<Timestamp>().unwrap().as_millisecond())
        .collect();
    assert!(
        times.windows(2).all(|pair| pair[1] - pair[0] >= 2_000),
        "one notice per cooldown: {times:?}"
    );
    let rules: BTreeSet<&str> = notices.iter().map(|(_, rule, _)| rule.as_str()).collect();
    assert_eq!(rules.len(), 15, "{rules:?}");
    assert!(house.sink.is_well());
    house.own.cluster.assert_sound();
}

/// The day of a wedding: looks are closer, and uptime is measured by probes that leave nothing behind.
#[test]
fn a_wedding_day_is_watched_more_closely_and_probes_leave_nothing() {
    let shared = cluster::beside_with(
        3,
        &[
            "probe.interval=0ms",
            "probe.interval_enhanced=100ms",
            "alerts.every=100ms",
        ],
    );
    let cluster = &shared.cluster;
    let board = |at: usize| cluster.client(at).get("/v1/dashboard").expect(200).json();
    assert_eq!(
        (&board(0)["enhanced"], &board(0)["uptime"]["state"]),
        (&json!(false), &json!("not_measured"))
    );
    let hours = |hours: i64| (Timestamp::now() + SignedDuration::from_hours(hours)).to_string();
    let lines = [
        directory::venue("barn"),
        wedding("soon", "barn", &hours(30), &hours(36)),
        wedding("today", "barn", &hours(1), &hours(7)),
    ];
    let applied: u64 = import(&mut cluster.client(0), &lines)
        .expect(200)
        .header("campanile-applied")
        .unwrap()
        .parse()
        .unwrap();
    cluster.wait_applied(applied, SOON);
    for at in 0..3 {
        until("each node measures", SOON, || {
            let board = board(at);
            let enough = board["uptime"]["hour"]["answered"].as_u64() >= Some(5);
            (board["enhanced"] == true && enough && board["weddings"]["items"][0]["id"] == "today").then_some(())
        });
    }
    let published = cluster
        .client(1)
        .post("/v1/broadcasts", &draft("low", "First", &people()))
        .expect(201)
        .json();
    assert_eq!(published["position"], 1, "no probe took a position");
    assert_eq!(board(2)["broadcasts"].as_array().unwrap().len(), 1);
    let audit = cluster.client(0).get("/v1/audit").expect(200).text();
    assert!(!audit.to_lowercase().contains("probe"), "{audit}");
    let metrics = cluster.client(0).get("/metrics").expect(200).text();
    assert!(
        metrics.contains("campanile_probes_total{result=\"answered\"}"),
        "{metrics}"
    );
    assert!(metrics.contains("campanile_uptime_ratio{within=\"1h\"}"), "{metrics}");
}
