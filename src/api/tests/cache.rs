//! The cache through its addresses: what is put is there, with what HTTP says about it, and what is invalidated is not.

use super::{Answer, Node};
use axum::body::Body;

const AT: &str = "/v1/cache/teams/w-1";

async fn put(node: &Node, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    node.call("PUT", path, headers, body.to_owned()).await
}

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers.get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_is_kept_with_its_type_and_tag() {
    let node = Node::start().await;
    let absent = node.get(AT).await.expect_problem(404, "NOT_FOUND", "");
    assert_eq!(header(&absent, "campanile-cache"), "miss");
    let typed = [
        ("content-type", "application/json"),
        ("cache-control", "max-age=60, stale-if-error=30"),
    ];
    let made = put(&node, AT, &typed, "[1]").await.expect(204);
    let index: u64 = header(&made, "campanile-applied").parse().unwrap();
    assert!(index > 0);
    let first = node.get(&format!("{AT}?at_least={index}")).await.expect(200);
    assert_eq!(first.body, "[1]");
    assert_eq!(header(&first, "content-type"), "application/json");
    assert_eq!(header(&first, "campanile-cache"), "replicated");
    assert_eq!(header(&first, "etag"), header(&made, "etag"));
    assert_eq!(header(&first, "age"), "0");
    let control = header(&first, "cache-control");
    assert!(
        control.starts_with("max-age=") && control.ends_with("stale-if-error=30"),
        "{control}"
    );
    assert_eq!(header(&first, "content-security-policy"), "sandbox");
    let second = node.get(AT).await.expect(200);
    assert_eq!(
        (second.body.as_ref(), header(&second, "campanile-cache")),
        (&b"[1]"[..], "local")
    );

    let tag = header(&first, "etag").to_owned();
    let same = node
        .call("GET", AT, &[("if-none-match", &tag)], Body::empty())
        .await
        .expect(304);
    assert!(same.body.is_empty());
    assert_eq!(header(&same, "etag"), tag);
    let other = node
        .call("GET", AT, &[("if-none-match", "\"x\"")], Body::empty())
        .await
        .expect(200);
    assert_eq!(other.body, "[1]");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_change_the_old_value_is_gone_from_both_tiers() {
    let node = Node::start().await;
    put(&node, AT, &[], "old").await.expect(204);
    for _ in 0..2 {
        assert_eq!(node.get(AT).await.expect(200).body, "old");
    }
    put(&node, AT, &[], "new").await.expect(204);
    let replaced = node.get(AT).await.expect(200);
    assert_eq!(
        (replaced.body.as_ref(), header(&replaced, "campanile-cache")),
        (&b"new"[..], "local")
    );
    node.call("DELETE", AT, &[], Body::empty()).await.expect(204);
    node.get(AT).await.expect(404);
    node.call("DELETE", AT, &[], Body::empty()).await.expect(204);

    put(&node, AT, &[], "1").await.expect(204);
    put(&node, "/v1/cache/segments/a%2Fb%20c", &[], "2").await.expect(204);
    node.get(AT).await.expect(200);
    node.call("DELETE", "/v1/cache/teams", &[], Body::empty())
        .await
        .expect(204);
    node.get(AT).await.expect(404);
    assert_eq!(
        node.get("/v1/cache/segments/a%2Fb%20c?consistency=strong")
            .await
            .expect(200)
            .body,
        "2"
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_cached_is_refused() {
    let node = Node::start().await;
    for (method, path) in [
        ("GET", "/v1/cache/nothing/a"),
        ("PUT", "/v1/cache/nothing/a"),
        ("DELETE", "/v1/cache/nothing"),
    ] {
        node.call(method, path, &[], Body::empty())
            .await
            .expect_problem(404, "UNKNOWN_NAMESPACE", "");
    }
    let largest = "x".repeat(crate::cache::VALUE_BYTES_MAX);
    put(&node, AT, &[], &largest).await.expect(204);
    assert_eq!(node.get(AT).await.expect(200).body.len(), largest.len());
    put(&node, AT, &[], &format!("{largest}x"))
        .await
        .expect_problem(413, "TOO_LARGE", "");
    let long = format!("/v1/cache/teams/{}", "k".repeat(257));
    put(&node, &long, &[], "x")
        .await
        .expect_problem(400, "MALFORMED_REQUEST", "");
    put(&node, "/v1/cache/teams/a%0Ab", &[], "x")
        .await
        .expect_problem(400, "MALFORMED_REQUEST", "");
    put(&node, AT, &[("cache-control", "max-age=soon")], "x")
        .await
        .expect_problem(422, "INVALID_VALUE", "");
    put(&node, AT, &[("content-encoding", "gzip")], "x")
        .await
        .expect_problem(415, "UNSUPPORTED_CONTENT_ENCODING", "");
    node.get(&format!("{AT}?fresh"))
        .await
        .expect_problem(422, "UNKNOWN_PARAMETER", "?fresh");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_has_left_memory_is_read_from_disk() {
    let node = Node::start().await;
    let body = "y".repeat(40_000);
    for key in 0..20 {
        put(&node, &format!("/v1/cache/teams/{key}"), &[], &body)
            .await
            .expect(204);
    }
    let in_memory = || node.context.handle.read(|state| state.cache().values_in_memory());
    let deadline = crate::base::clock::now() + std::time::Duration::from_secs(20);
    // values go with the second batch after their own
    while in_memory() > 2 {
        assert!(crate::base::clock::now() < deadline, "{} are in memory", in_memory());
        put(&node, "/v1/cache/segments/x", &[], "x").await.expect(204);
    }
    for key in 0..20 {
        let found = node.get(&format!("/v1/cache/teams/{key}")).await.expect(200);
        assert_eq!(
            (found.body.len(), header(&found, "campanile-cache")),
            (40_000, "replicated")
        );
    }
    let status = node.get("/v1/cache").await.expect(200).json();
    assert_eq!(status["reads"]["replicated"], 20);
    assert_eq!(status["reads"]["hit_rate"], 1.0);
    assert_eq!(status["local"]["items"], 20);
    assert_eq!(status["replicated"]["entries"], 21);
    let teams = &status["namespaces"].as_array().unwrap()[4];
    assert_eq!(
        (&teams["name"], &teams["ttl"], &teams["entries"]),
        (&"teams".into(), &"15m".into(), &20.into())
    );
    node.stop().await;
}
