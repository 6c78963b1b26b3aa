//! What a client that means harm, or does not know better, tries at the router.

use super::{Node, broadcast};
use http::StatusCode;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn unknown_places_are_pointed_to_where_they_were_written() {
    let node = Node::start().await;
    node.furnish().await;
    let escalate = |to: Value| json!({"acknowledge": {"within": "1m", "escalate": [{"after": "1m", "to": to}]}});
    for (with, code, pointer) in [
        (
            json!({"audience": {"weddings": ["w", "x"]}}),
            "UNKNOWN_WEDDING",
            "/audience/weddings/1",
        ),
        (
            json!({"audience": [{"users": [], "venues": ["x"]}, {"on_site": ["v", "x"]}]}),
            "UNKNOWN_VENUE",
            "/audience/1/on_site/1",
        ),
        (
            json!({"exclude": {"segments": ["x"]}}),
            "UNKNOWN_SEGMENT",
            "/exclude/segments/0",
        ),
        (
            escalate(json!({"venues": ["v", "x"]})),
            "UNKNOWN_VENUE",
            "/acknowledge/escalate/0/to/venues/1",
        ),
        (
            escalate(json!([{"roles": ["dj"]}, {"segments": ["x"]}])),
            "UNKNOWN_SEGMENT",
            "/acknowledge/escalate/0/to/1/segments/0",
        ),
    ] {
        for path in ["/v1/broadcasts", "/v1/broadcasts?dry_run"] {
            node.post(path, &broadcast(&with))
                .await
                .expect_problem(422, code, pointer);
        }
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn packed_bodies_two_keys_and_foreign_paths_are_refused() {
    let node = Node::start().await;
    node.furnish().await;
    let body = broadcast(&json!({})).to_string();
    for path in ["/v1/broadcasts", "/v1/broadcasts/batch", "/v1/import", "/v1/receipts"] {
        node.call("POST", path, &[("content-encoding", "gzip")], body.clone())
            .await
            .expect_problem(415, "UNSUPPORTED_CONTENT_ENCODING", "");
    }
    node.call("PUT", "/v1/users/ann", &[("content-encoding", "br")], "{}")
        .await
        .expect_problem(415, "UNSUPPORTED_CONTENT_ENCODING", "");
    node.call(
        "POST",
        "/v1/broadcasts",
        &[("content-encoding", "identity")],
        body.clone(),
    )
    .await
    .expect(201);
    let twice = [("idempotency-key", "a"), ("idempotency-key", "b")];
    for path in ["/v1/broadcasts", "/v1/broadcasts/batch"] {
        node.call("POST", path, &twice, body.clone())
            .await
            .expect_problem(422, "INVALID_IDEMPOTENCY_KEY", "");
    }
    for url in ["//evil.example", "/\\evil.example"] {
        node.post(
            "/v1/broadcasts",
            &broadcast(&json!({"action": {"label": "Map", "url": url}})),
        )
        .await
        .expect_problem(422, "INVALID_VALUE", "/action/url");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_take_every_state_and_the_beginning_of_a_type() {
    let node = Node::start().await;
    node.furnish().await;
    let sent = node
        .post("/v1/broadcasts", &broadcast(&json!({})))
        .await
        .expect(201)
        .json();
    let recipients = format!("/v1/broadcasts/{}/recipients", sent["id"].as_str().unwrap());
    for state in ["held", "skipped", "failed", "sent"] {
        let found = node
            .get(&format!("{recipients}?state={state}"))
            .await
            .expect(200)
            .json();
        assert_eq!(found["items"], json!([]), "{state}");
    }
    let found = node
        .get(&format!("{recipients}?state=targeted"))
        .await
        .expect(200)
        .json();
    assert_eq!(found["items"].as_array().unwrap().len(), 2);
    node.get(&format!("{recipients}?state=lost"))
        .await
        .expect_problem(422, "INVALID_VALUE", "?state");
    for (kind, count) in [("cue.*", 1), ("cue.call", 1), ("cue", 0), ("weather.*", 0)] {
        let inbox = node
            .get(&format!("/v1/inbox?user=ann&type={kind}"))
            .await
            .expect(200)
            .json();
        assert_eq!(inbox["items"].as_array().unwrap().len(), count, "{kind}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_erased_is_named_no_more() {
    let node = Node::start().await;
    node.furnish().await;
    let sent = broadcast(&json!({
        "audience": [{"users": ["ann", "bob"]}, {"users": ["ann"], "roles": ["couple"]}],
        "exclude": {"users": ["ann"]},
        "acknowledge": {"within": "1m", "escalate": [{"after": "1m", "to": {"users": ["bob", "ann"]}}]},
    }));
    let sent = node.post("/v1/broadcasts", &sent).await.expect(201).json();
    let inbox = node.get("/v1/inbox?user=bob").await.expect(200).json();
    assert_eq!(inbox["items"][0]["acknowledge"], json!({"within": "1m", "answers": []}));
    node.call("DELETE", "/v1/users/ann", &[], "").await.expect(204);
    let one = node
        .get(&format!("/v1/broadcasts/{}", sent["id"].as_str().unwrap()))
        .await;
    let list = node.get("/v1/broadcasts").await.expect(200).json();
    for shown in [&one.expect(200).json(), &list["items"][0]] {
        assert_eq!(
            shown["audience"],
            json!([{"users": ["bob"]}, {"users": [], "roles": ["couple"]}])
        );
        assert_eq!(shown["exclude"], json!([{"users": []}]));
        assert_eq!(shown["acknowledge"]["escalate"][0]["to"], json!([{"users": ["bob"]}]));
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_at_a_subscription_makes_none() {
    let node = Node::start().await;
    node.furnish().await;
    let path = "/v1/subscribe?user=ann";
    let upgrade = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    for (path, accept, kind) in [
        (path, "text/event-stream", "text/event-stream"),
        (path, "application/x-ndjson", "application/x-ndjson"),
        ("/v1/subscribe?user=ann&wait=20s", "*/*", "application/json"),
    ] {
        let answer = node.call("HEAD", path, &[("accept", accept)], "").await.expect(200);
        assert_eq!(answer.headers["content-type"], kind);
    }
    let refused = node.call("HEAD", path, &upgrade, "").await;
    assert_eq!(refused.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(refused.headers["allow"], "GET");
    let unknown = node
        .call(
            "HEAD",
            "/v1/subscribe?user=ghost",
            &[("accept", "text/event-stream")],
            "",
        )
        .await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    assert_eq!(node.context.gateway.sessions(), 0);
    node.stop().await;
}
