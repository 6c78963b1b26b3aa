//! A dry run names whom a publish would not reach, and why; a reason at a time, then all at once.

use super::{Answer, Node};
use crate::api::dry_run;
use crate::base::clock;
use crate::model::{Caller, Scope};
use crate::state::Command;
use crate::state::command::Presence;
use roaring::RoaringBitmap;
use serde_json::{Value, json};
use std::time::Duration;

impl Node {
    /// Sessions that begin and end, as a gateway would tell; users by id.
    async fn present(&self, came: &[&str], went: &[&str]) {
        let numbers = |users: &[&str]| -> RoaringBitmap {
            let number = |id: &&str| {
                self.context
                    .handle
                    .read(|state| state.directory().user_number(id).unwrap())
            };
            users.iter().map(number).collect()
        };
        let delta = Presence {
            node: 1,
            incarnation: 1,
            all: false,
            came: numbers(came),
            went: numbers(went),
        };
        let deadline = clock::now() + Duration::from_secs(5);
        let proposed = self.context.handle.propose(Command::Presence(delta), deadline).await;
        proposed.unwrap();
    }

    async fn people(&self, lines: &[Value]) {
        let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
        let report = self.lines("/v1/import", &lines.join("\n")).await.expect(200).json();
        assert_eq!(report["faults"], json!([]));
    }

    async fn would(&self, with: &Value) -> Value {
        let mut draft = json!({"type": "venue.notice", "audience": {"venues": ["v"]}, "title": "T", "body": "B"});
        for (name, value) in with.as_object().unwrap() {
            draft[name] = value.clone();
        }
        let answer: Answer = self.post("/v1/broadcasts?dry_run=true", &draft).await;
        answer.expect(200).json()
    }
}

fn person(id: &str, role: &str) -> [Value; 2] {
    let member = json!({"kind": "member", "of": {"venue": "v"}, "user": id, "role": role});
    [json!({"kind": "user", "id": id, "role": "guest"}), member]
}

fn prefers(id: &str, with: &Value) -> Value {
    let mut line = json!({"kind": "preferences", "user": id});
    for (name, value) in with.as_object().unwrap() {
        line[name] = value.clone();
    }
    line
}

/// From an hour ago until in an hour.
fn quiet_now() -> Value {
    let hour = |hours: i64| clock::rfc3339(clock::wall() + hours * 3_600_000)[11..16].to_owned();
    json!({"quiet_hours": {"start": hour(-1), "end": hour(1), "timezone": "UTC"}})
}

/// Somebody for every reason, and one who is reached.
async fn furnished() -> Node {
    let node = Node::start().await;
    let mut lines = vec![json!({"kind": "venue", "id": "v", "name": "V", "timezone": "UTC"})];
    let roles = [
        ("here", "dj"),
        ("left", "dj"),
        ("never", "bar"),
        ("asleep", "bar"),
        ("mutes", "cook"),
        ("strict", "cook"),
        ("not-meant", "boss"),
    ];
    lines.extend(roles.iter().flat_map(|(id, role)| person(id, role)));
    lines.push(prefers("asleep", &quiet_now()));
    lines.push(prefers("mutes", &json!({"muted_categories": ["venue"]})));
    lines.push(prefers("strict", &json!({"critical_only": true})));
    node.people(&lines).await;
    node.present(&["here", "left", "asleep", "mutes"], &[]).await;
    node.present(&[], &["left"]).await;
    node
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_it_would_not_reach_is_named_and_told_why() {
    let node = furnished().await;
    let without = json!({"exclude": {"users": ["not-meant"]}});
    let would = node.would(&without).await;
    let counts = ["targeted", "connected", "excluded", "held", "skipped"].map(|name| would[name].as_u64().unwrap());
    assert_eq!(counts, [6, 3, 1, 1, 2], "{would}");
    let reasons = json!({"no_session": 1, "offline_since": 1, "quiet_hours": 1, "muted_category": 1, "critical_only": 1, "excluded": 1});
    assert_eq!(would["reasons"], reasons);
    let items = would["not_reached"].as_array().unwrap();
    let named = |item: &Value| {
        let text = |name: &str| item[name].as_str().unwrap().to_owned();
        format!(
            "{} {} {} {}",
            item["roles"][0].as_str().unwrap(),
            text("user"),
            text("state"),
            text("reason")
        )
    };
    assert_eq!(
        items.iter().map(named).collect::<Vec<_>>(),
        [
            "bar asleep held quiet_hours",
            "bar never targeted no_session",
            "cook mutes skipped muted_category",
            "cook strict skipped critical_only",
            "dj left targeted offline_since",
        ]
    );
    assert!(
        items[0]["until"].is_string() && items[0].get("since").is_none(),
        "{would}"
    );
    assert!(
        items[4]["since"].is_string() && items[4].get("until").is_none(),
        "{would}"
    );
    assert_eq!(
        (&would["not_reached_more"], &would["escalations"]),
        (&json!(0), &json!([]))
    );

    // a critical one passes preferences; only who has no session is left
    let critical = json!({"type": "venue.evacuation", "priority": "critical"});
    let would = node.would(&critical).await;
    let reasons = json!({"no_session": 3, "offline_since": 1, "quiet_hours": 0, "muted_category": 0, "critical_only": 0, "excluded": 0});
    assert_eq!((&would["reasons"], &would["connected"]), (&reasons, &json!(3)));
    let stored = node.get("/v1/broadcasts").await.expect(200).json();
    assert_eq!(stored["items"], json!([]), "nothing is stored");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_are_named_and_the_others_counted() {
    let node = furnished().await;
    let ids: Vec<String> = (0..130).map(|n| format!("guest-{n:03}")).collect();
    let lines: Vec<Value> = ids.iter().rev().flat_map(|id| person(id, "guest")).collect();
    node.people(&lines).await;
    let would = node.would(&json!({})).await;
    let named = would["not_reached"].as_array().unwrap();
    let users: Vec<&str> = named.iter().map(|item| item["user"].as_str().unwrap()).collect();
    assert_eq!(users[..6], ["asleep", "never", "not-meant", "mutes", "strict", "left"]);
    assert!(users[6..].iter().zip(&ids).all(|(found, id)| found == id), "{users:?}");
    assert_eq!((users.len(), &would["not_reached_more"]), (100, &json!(36)));
    assert_eq!(would["reasons"]["no_session"], 132);
    node.stop().await;
}

/// What they will want when their own time comes is not known now; that they have no phone on is.
#[tokio::test(flavor = "multi_thread")]
async fn whose_own_time_is_still_to_come_is_neither_held_nor_skipped() {
    let node = furnished().await;
    let tomorrow = clock::rfc3339(clock::wall() + 26 * 3_600_000);
    let would = node
        .would(&json!({"deliver_at_local": tomorrow[..19], "exclude": {"users": ["not-meant"]}}))
        .await;
    let counts = ["targeted", "connected", "excluded", "held", "skipped"].map(|name| would[name].as_u64().unwrap());
    assert_eq!(counts, [6, 3, 1, 0, 0], "{would}");
    let reasons = json!({"no_session": 2, "offline_since": 1, "quiet_hours": 0, "muted_category": 0, "critical_only": 0, "excluded": 1});
    assert_eq!(would["reasons"], reasons);
    node.stop().await;
}

/// Who is at home is not for everybody who may send.
#[tokio::test(flavor = "multi_thread")]
async fn names_are_for_who_may_read_them() {
    let node = furnished().await;
    let body = json!({"type": "venue.notice", "audience": {"venues": ["v"]}, "title": "T", "body": "B"}).to_string();
    let deadline = node.context.deadline();
    for (scopes, named, more) in [(&[Scope::Publish][..], 0, 6), (&[Scope::Publish, Scope::Read], 6, 0)] {
        let caller = Caller {
            scopes: scopes.iter().copied().collect(),
            ..Caller::administrator()
        };
        let answer = dry_run::answer(&node.context, &caller, body.as_bytes(), deadline)
            .await
            .unwrap();
        let bytes = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        let would: Value = serde_json::from_slice(&bytes).unwrap();
        let found = would["not_reached"].as_array().unwrap().len();
        assert_eq!((found, &would["not_reached_more"]), (named, &json!(more)), "{would}");
        assert_eq!(would["reasons"]["offline_since"], 1);
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_step_of_an_escalation_says_whom_it_adds() {
    let node = furnished().await;
    let step = |after: &str, roles: &[&str]| json!({"after": after, "to": {"venues": ["v"], "roles": roles}});
    let asked = json!({
        "audience": {"venues": ["v"], "roles": ["dj"]},
        "acknowledge": {"within": "15s", "escalate": [
            step("30s", &["dj", "bar"]), step("1m", &["bar", "cook", "boss"]), step("2m", &["dj"]),
        ]},
    });
    let would = node.would(&asked).await;
    let expected = json!([
        {"step": 0, "after": "30s", "widens_by": 2, "connected": 1},
        {"step": 1, "after": "1m", "widens_by": 3, "connected": 1},
        {"step": 2, "after": "2m", "widens_by": 0, "connected": 0},
    ]);
    assert_eq!(would["escalations"], expected);
    node.stop().await;
}

/// Two of security are asked for, and only one is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_need_that_nobody_can_meet_is_told_before_it_matters() {
    let node = furnished().await;
    let asked = |role: &str, count: u32, to: &[&str]| {
        json!({
            "audience": {"venues": ["v"], "roles": to},
            "acknowledge": {"within": "15s", "need": [{"role": role, "count": count}]},
        })
    };
    for (asked, expected) in [
        (asked("dj", 2, &["dj"]), Value::Null),
        (asked("dj", 3, &["dj"]), json!(["NEED_CANNOT_BE_MET"])),
        // there are two, but it is not for them
        (asked("dj", 1, &["bar"]), json!(["NEED_CANNOT_BE_MET"])),
    ] {
        let mut draft = asked.clone();
        draft["priority"] = json!("high");
        assert_eq!(node.would(&draft).await["warnings"], expected, "{draft}");
    }
    let mut widened = asked("bar", 2, &["dj"]);
    widened["acknowledge"]["escalate"] = json!([{"after": "30s", "to": {"venues": ["v"], "roles": ["bar"]}}]);
    assert_eq!(
        node.would(&widened).await["warnings"],
        Value::Null,
        "a later step reaches them"
    );
    let mut published = asked("dj", 3, &["dj"]);
    for (name, value) in [("type", "venue.notice"), ("title", "T"), ("body", "B")] {
        published[name] = json!(value);
    }
    let answer = node.post("/v1/broadcasts", &published).await.expect(201).json();
    assert_eq!(answer["warnings"], json!(["NEED_CANNOT_BE_MET"]));
    node.stop().await;
}
