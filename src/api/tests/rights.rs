//! Who may send what, as a sender is told.

use super::{Node, broadcast};
use crate::api::Problem;
use crate::api::publish::{Done, accept};
use crate::model::{Caller, Scope};
use axum::response::IntoResponse;
use http::HeaderMap;
use serde_json::{Value, json};

fn caller(user: Option<&str>, role: &str) -> Caller {
    Caller {
        token: Some("tok-1".into()),
        user: user.map(str::to_owned),
        role: role.into(),
        weddings: vec!["w".into()],
        venues: Vec::new(),
        scopes: [Scope::Publish].into_iter().collect(),
    }
}

async fn publish(node: &Node, caller: &Caller, with: &Value) -> Result<Done, Problem> {
    let body = broadcast(with).to_string();
    accept(
        &node.context,
        caller,
        None,
        body.as_bytes(),
        node.context.deadline(),
        None,
    )
    .await
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_no_has_its_code_and_status() {
    let node = Node::start().await;
    node.furnish().await;
    let code = async |caller: &Caller, with: Value| {
        let problem = publish(&node, caller, &with).await.err().unwrap();
        (problem.status().as_u16(), problem.code().text())
    };
    let dj = caller(Some("bob"), "dj");
    assert!(publish(&node, &dj, &json!({})).await.is_ok());
    let elsewhere = json!({"audience": {"weddings": ["other"]}});
    assert_eq!(code(&dj, elsewhere).await, (403, "CROSS_EVENT_TARGET"));
    let band = caller(Some("bob"), "band");
    assert_eq!(code(&band, json!({})).await, (403, "NO_SUCH_ROLE_IN_EVENT"));
    let couple = caller(Some("ann"), "couple");
    assert_eq!(code(&couple, json!({})).await, (403, "FORBIDDEN_TYPE_FOR_ROLE"));
    let urgent = json!({"priority": "critical"});
    assert_eq!(code(&dj, urgent).await, (403, "FORBIDDEN_TYPE_FOR_ROLE"));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_authentication_the_event_day_and_the_critical_types_still_hold() {
    let node = Node::start().await;
    node.furnish().await;
    let post = async |with: Value| node.post("/v1/broadcasts", &broadcast(&with)).await;
    let critical = json!({"type": "cue.stop", "priority": "critical"});
    post(critical)
        .await
        .expect_problem(422, "CRITICAL_TYPE_NOT_ALLOWED", "/priority");
    post(json!({"type": "weather.warning", "priority": "critical"}))
        .await
        .expect(201);
    let news = json!({"type": "feature.released"});
    post(news.clone()).await.expect(201);
    let at = |hours: i64| crate::base::clock::rfc3339(node.context.handle.log_time() + hours * 3_600_000);
    let today = json!({"venue": "v", "starts_at": at(-1), "ends_at": at(5)});
    node.put("/v1/weddings/w", &today).await.expect(200);
    post(news.clone()).await.expect_problem(423, "EVENT_DAY_LOCK", "");
    let path = "/v1/broadcasts?dry_run=true";
    node.post(path, &broadcast(&news))
        .await
        .expect_problem(423, "EVENT_DAY_LOCK", "");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_is_told_what_is_left_and_when_there_is_more() {
    let node = Node::start().await;
    node.furnish().await;
    let dj = caller(Some("bob"), "dj");
    for left in [2, 1, 0] {
        let done = publish(&node, &dj, &json!({})).await.ok().unwrap();
        let headers: HeaderMap = done.rate.unwrap().into_iter().collect();
        assert_eq!(
            header(&headers, "ratelimit-policy"),
            r#""hour";q=3;w=3600, "day";q=5;w=86400"#
        );
        assert!(header(&headers, "ratelimit").starts_with(&format!("\"hour\";r={left};t=")));
    }
    let refused = publish(&node, &dj, &json!({})).await.err().unwrap().into_response();
    assert_eq!(refused.status().as_u16(), 429);
    let headers = refused.headers();
    let after: u64 = header(headers, "retry-after").parse().unwrap();
    assert!((3590..=3600).contains(&after), "{after}");
    assert!(header(headers, "ratelimit").starts_with(r#""hour";r=0;t="#));
    let drill = publish(&node, &dj, &json!({"drill": true})).await.ok().unwrap();
    assert!(drill.rate.is_none(), "a drill is never limited");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_repeated_under_its_key_is_answered_though_the_rules_now_say_no() {
    let node = Node::start().await;
    node.furnish().await;
    let dj = caller(Some("bob"), "dj");
    let body = broadcast(&json!({})).to_string();
    let send = async |key| {
        accept(
            &node.context,
            &dj,
            Some(key),
            body.as_bytes(),
            node.context.deadline(),
            None,
        )
        .await
    };
    for key in ["a", "b", "c"] {
        assert!(!send(key).await.ok().unwrap().replayed);
    }
    assert_eq!(send("d").await.err().unwrap().status().as_u16(), 429);
    assert!(send("a").await.ok().unwrap().replayed);
    node.call("DELETE", "/v1/weddings/w/members/bob", &[], "")
        .await
        .expect(204);
    assert!(send("b").await.ok().unwrap().replayed);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_stand_in_the_audit_each_kind_once_with_how_often() {
    let node = Node::start().await;
    node.furnish().await;
    let elsewhere = json!({"audience": {"weddings": ["other"]}});
    for _ in 0..3 {
        assert!(publish(&node, &caller(Some("bob"), "dj"), &elsewhere).await.is_err());
    }
    assert!(
        publish(&node, &caller(Some("ann"), "couple"), &json!({}))
            .await
            .is_err()
    );
    // what is only malformed is nobody's offence
    assert!(
        publish(&node, &caller(Some("ann"), "couple"), &json!({"title": ""}))
            .await
            .is_err()
    );
    crate::api::audit::flush(&node.context).await;
    node.put("/v1/segments/djs", &json!({"roles": ["dj"]}))
        .await
        .expect(201);
    crate::api::audit::flush(&node.context).await;
    let page = node.get("/v1/audit?limit=1").await.expect(200).json();
    let done = &page["items"][0];
    assert_eq!(
        (&done["action"], &done["code"]),
        (&json!("PUT /v1/segments/djs"), &Value::Null)
    );
    let after = page["next"].as_str().unwrap();
    let page = node
        .get(&format!("/v1/audit?limit=1&after={after}"))
        .await
        .expect(200)
        .json();
    let newest = &page["items"][0];
    assert_eq!(
        (&newest["user"], &newest["role"], &newest["token"]),
        (&json!("ann"), &json!("couple"), &json!("tok-1"))
    );
    assert_eq!(
        (&newest["code"], &newest["times"]),
        (&json!("FORBIDDEN_TYPE_FOR_ROLE"), &json!(1))
    );
    let after = page["next"].as_str().unwrap();
    let page = node.get(&format!("/v1/audit?after={after}")).await.expect(200).json();
    let [item, import] = page["items"].as_array().unwrap().as_slice() else {
        panic!("{page}");
    };
    assert_eq!(
        (&import["action"], &import["role"]),
        (&json!("POST /v1/import"), &json!("administrator"))
    );
    assert_eq!(
        (&item["user"], &item["code"], &item["times"]),
        (&json!("bob"), &json!("CROSS_EVENT_TARGET"), &json!(3))
    );
    assert!(page.get("next").is_none());
    node.call("DELETE", "/v1/users/bob", &[], "").await.expect(204);
    let page = node.get("/v1/audit").await.expect(200).json();
    assert_eq!(page["items"][2]["user"], Value::Null, "an erased user's name goes");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_called_a_broadcast_off_or_had_it_delivered_again_stands_in_the_audit() {
    let node = Node::start().await;
    node.furnish().await;
    crate::api::audit::flush(&node.context).await;
    let draft = broadcast(&json!({}));
    let publish = async || {
        let answer = node.post("/v1/broadcasts", &draft).await.expect(201).json();
        answer["id"].as_str().unwrap().to_owned()
    };
    let (one, two) = (publish().await, publish().await);
    for (id, action) in [
        (&one, "redeliver"),
        (&one, "cancel"),
        (&two, "cancel"),
        (&two, "cancel"),
    ] {
        let path = format!("/v1/broadcasts/{id}/{action}");
        node.call("POST", &path, &[], "").await.expect(200);
    }
    crate::api::audit::flush(&node.context).await;
    let page = node.get("/v1/audit?limit=3").await.expect(200).json();
    let items = page["items"].as_array().unwrap();
    let shown = |item: &Value| ["action", "code", "detail", "times"].map(|name| item[name].clone());
    let all: Vec<_> = items.iter().map(shown).collect();
    let told = |action: &str, id: &str, times: u32| [json!(action), Value::Null, json!(id), json!(times)];
    let expected = [
        told("cancel", &two, 2),
        told("cancel", &one, 1),
        told("redeliver", &one, 1),
    ];
    assert_eq!(all, expected);
    node.stop().await;
}
