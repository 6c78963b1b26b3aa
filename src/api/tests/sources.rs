//! A segment that another application owns: asked for before a publish, stale when nobody answers, never broken by what it says.

use super::{Answer, Node, broadcast};
use crate::base::clock;
use crate::base::size::Span;
use crate::cache::{Config, Namespace, SourceOf};
use crate::net::outbound::server::{Play, Server};
use axum::body::Body;
use serde_json::{Value, json};
use std::time::Duration;

fn from(server: &Server, of: SourceOf) -> Namespace {
    let name = of.name();
    Namespace {
        name: name.into(),
        ttl: Span::millis(1_000),
        stale_if_error: Span::seconds(3_600),
        upstream: Some(server.url(&format!("/{name}/{{key}}"))),
        source_of: Some(of),
        ..Namespace::default()
    }
}

async fn reading(namespaces: Vec<Namespace>) -> Node {
    let config = Config {
        namespaces,
        allow: serde_json::from_str(r#"["127.0.0.0/8"]"#).unwrap(),
        upstream_timeout: Span::millis(1_000),
        upstream_rest: Span::millis(200),
        ..Config::default()
    };
    let node = Node::start_cached(config).await;
    node.furnish().await;
    node
}

fn say(body: &str) -> Play {
    let length = body.len();
    Play::Say(format!(
        "HTTP/1.1 200 OK\r\netag: \"1\"\r\ncontent-length: {length}\r\n\r\n{body}"
    ))
}

fn status(line: &str) -> Play {
    Play::Say(format!("HTTP/1.1 {line}\r\ncontent-length: 0\r\n\r\n"))
}

fn to(segment: &str) -> Value {
    broadcast(&json!({"audience": {"segments": [segment]}}))
}

/// What a sender heard: whom it reached, whom nobody knows, what there is to say.
fn told(answer: &Value) -> (u64, u64, Value) {
    let count = |name: &str| answer[name].as_u64().unwrap();
    (count("targeted"), count("unknown"), answer["warnings"].clone())
}

/// Publishes until this many questions have been asked: what is fresh ends by the clock.
async fn after(node: &Node, server: &Server, questions: usize) -> Answer {
    let deadline = clock::now() + Duration::from_secs(20);
    loop {
        let answer = node.post("/v1/broadcasts", &to("vip")).await;
        if server.connections() >= questions {
            return answer;
        }
        assert!(clock::now() < deadline, "{} questions", server.connections());
        // without a pause there are so many that the first one leaves memory, and there is no disk here
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publish_asks_for_a_segment_and_lives_with_what_comes() {
    let plays = [
        say(r#"["ann", "ghost"]"#),
        status("500 Broken"),
        say("not a list"),
        say(r#"["ann", "bob"]"#),
        status("404 Not Found"),
        status("503 Busy"),
    ];
    let server = Server::plain(&plays).await;
    let node = reading(vec![from(&server, SourceOf::Segments)]).await;
    let keyed = [("content-type", "application/json"), ("idempotency-key", "k-1")];
    let first = node.call("POST", "/v1/broadcasts", &keyed, to("vip").to_string()).await;
    let first = first.expect(201);
    assert_eq!(told(&first.json()), (1, 1, Value::Null), "nobody is called ghost");
    let stale = json!(["STALE_SEGMENT"]);
    let second = after(&node, &server, 2).await.expect(201).json();
    assert_eq!(told(&second), (1, 1, stale.clone()));
    // what it says cannot be gone by: the old list stands
    let third = after(&node, &server, 3).await.expect(201).json();
    assert_eq!(told(&third), (1, 1, stale));
    let fourth = after(&node, &server, 4).await.expect(201).json();
    assert_eq!(told(&fourth), (2, 0, Value::Null));
    // and then there is no such segment any more
    let gone = after(&node, &server, 5).await;
    gone.expect_problem(422, "UNKNOWN_SEGMENT", "/audience/segments/0");
    // one that nobody here has heard of, and nobody to ask: worth another try
    let failed = node.post("/v1/broadcasts", &to("other")).await;
    let failed = failed.expect_problem(502, "UPSTREAM_FAILED", "");
    assert_eq!(
        (&failed.json()["outcome"], &failed.json()["retryable"]),
        (&json!("not_published"), &json!(true))
    );
    assert!(failed.headers.contains_key("retry-after"));
    // the first answer stands, and nothing is asked for it
    let again = node.call("POST", "/v1/broadcasts", &keyed, to("vip").to_string()).await;
    assert_eq!(again.expect(201).body, first.body);
    assert_eq!(server.connections(), 6);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_send_it_makes_the_node_ask_nobody() {
    let server = Server::plain(&[say(r#"["ann"]"#)]).await;
    let node = reading(vec![from(&server, SourceOf::Segments)]).await;
    let to_vip = json!({"segments": ["vip"]});
    let refused = broadcast(&json!({"type": "cue.stop", "priority": "critical", "audience": to_vip}));
    for path in ["/v1/broadcasts", "/v1/broadcasts?dry_run=true"] {
        let answer = node.post(path, &refused).await;
        answer.expect_problem(422, "CRITICAL_TYPE_NOT_ALLOWED", "/priority");
    }
    assert_eq!(server.connections(), 0);
    node.post("/v1/broadcasts", &to("vip")).await.expect(201);
    assert_eq!(server.connections(), 1);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_directory_s_own_rule_serves_while_the_upstream_is_silent() {
    let server = Server::plain(&[status("500 Broken"), status("404 Not Found")]).await;
    let node = reading(vec![from(&server, SourceOf::Segments)]).await;
    node.put("/v1/segments/vip", &json!({"roles": ["dj"]}))
        .await
        .expect(201);
    let would = node.post("/v1/broadcasts?dry_run=true", &to("vip")).await.expect(200);
    assert_eq!(told(&would.json()), (1, 0, json!(["STALE_SEGMENT"])));
    // it knows of no such segment: the rule is all there is
    let answer = after(&node, &server, 2).await.expect(201).json();
    assert_eq!(told(&answer), (1, 0, Value::Null));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_critical_does_not_wait_for_an_upstream_that_hangs() {
    let server = Server::plain(&[say(r#"["ann"]"#), Play::Hear]).await;
    let node = reading(vec![from(&server, SourceOf::Segments)]).await;
    let urgent = broadcast(&json!({"audience": {"segments": ["vip"]}, "priority": "critical"}));
    let deadline = clock::now() + Duration::from_secs(20);
    loop {
        let begun = clock::now();
        let answer = node.post("/v1/broadcasts", &urgent).await.expect(201).json();
        // the first one waits for what nobody here knows yet; what is known serves from then on
        if server.connections() > 1 {
            assert_eq!(told(&answer), (1, 0, json!(["STALE_SEGMENT"])));
            assert!(
                begun.elapsed() < Duration::from_millis(900),
                "it waited for the upstream"
            );
            break;
        }
        assert!(clock::now() < deadline, "nothing was asked again");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_puts_into_a_source_must_be_something_to_go_by() {
    let namespaces = SourceOf::ALL.map(|of| Namespace {
        name: of.name().into(),
        stale_if_error: Span::seconds(3_600),
        source_of: Some(of),
        ..Namespace::default()
    });
    let node = reading(namespaces.into()).await;
    let (list, wishes) = ("/v1/cache/segments/vip", "/v1/cache/preferences/ann");
    node.put(list, &json!(["ann", "bob"])).await.expect(204);
    node.put(wishes, &json!({"muted_categories": ["cue"]}))
        .await
        .expect(204);
    let answer = node.post("/v1/broadcasts", &to("vip")).await.expect(201).json();
    assert_eq!((told(&answer), &answer["skipped"]), ((2, 0, Value::Null), &json!(1)));
    let shown = node.get("/v1/users/ann/preferences").await.expect(200).json();
    assert_eq!(shown["muted_categories"], json!(["cue"]));

    for (path, body, part) in [
        (list, json!({"ann": true}), "must be a list"),
        (list, json!(["ann", 5]), "/1 "),
        (
            wishes,
            json!({"muted_categories": ["not.a.category"]}),
            "/muted_categories/0 ",
        ),
        (wishes, json!({"volume": 11}), "/volume "),
    ] {
        let refused = node.put(path, &body).await.expect_problem(422, "INVALID_VALUE", "");
        assert!(
            refused.json()["detail"].as_str().unwrap().contains(part),
            "{:?}",
            refused.body
        );
    }
    let metrics = node.get("/metrics").await.expect(200);
    let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
    assert!(metrics.contains(r#"campanile_cache_unfit_total{namespace="segments"} "#));
    // what was refused has changed nothing, and what is taken away is gone by no more
    let answer = node.post("/v1/broadcasts", &to("vip")).await.expect(201).json();
    assert_eq!((told(&answer), &answer["skipped"]), ((2, 0, Value::Null), &json!(1)));
    for path in ["/v1/cache/preferences", "/v1/cache/segments"] {
        node.call("DELETE", path, &[], Body::empty()).await.expect(204);
    }
    let shown = node.get("/v1/users/ann/preferences").await.expect(200).json();
    assert_eq!(shown["muted_categories"], json!([]));
    let gone = node.post("/v1/broadcasts", &to("vip")).await;
    gone.expect_problem(422, "UNKNOWN_SEGMENT", "/audience/segments/0");
    node.stop().await;
}
