//! The cache through its addresses: what is put is there, with what HTTP says about it, and what is invalidated is not.

use super::{Answer, Node};
use crate::base::size::Span;
use crate::cache::{Config, Namespace};
use crate::net::outbound::server::{Play, Server};
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
    assert!(teams["upstream"].is_null(), "{teams}");
    node.stop().await;
}

/// A cluster of one whose `teams` come from this server.
async fn reading_through(server: &Server, with: impl FnOnce(&mut Namespace)) -> Node {
    let mut teams = Namespace {
        name: "teams".into(),
        upstream: Some(server.url("/teams/{key}")),
        ..Namespace::default()
    };
    with(&mut teams);
    let config = Config {
        namespaces: vec![teams],
        allow: serde_json::from_str(r#"["127.0.0.0/8"]"#).unwrap(),
        upstream_timeout: Span::millis(1_000),
        upstream_rest: Span::millis(300),
        ..Config::default()
    };
    Node::start_cached(config).await
}

fn say(text: &str) -> Play {
    Play::Say(text.to_owned())
}

/// Reads until the tier is `wanted`: what is fresh ends by the clock.
async fn until_tier(node: &Node, wanted: &str) -> Answer {
    let deadline = crate::base::clock::now() + std::time::Duration::from_secs(20);
    loop {
        let answer = node.get(AT).await;
        if header(&answer, "campanile-cache") == wanted {
            return answer;
        }
        assert!(crate::base::clock::now() < deadline, "{wanted}: {:?}", answer.headers);
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_miss_is_fetched_once_however_many_ask() {
    let mut server = Server::plain(&[say("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nsix")]).await;
    let node = std::sync::Arc::new(reading_through(&server, |_| {}).await);
    let asks = (0..64).map(|_| {
        let node = node.clone();
        tokio::spawn(async move { node.get(AT).await.expect(200) })
    });
    let mut tiers = Vec::new();
    for ask in asks.collect::<Vec<_>>() {
        let answer = ask.await.unwrap();
        assert_eq!(answer.body, "six");
        tiers.push(header(&answer, "campanile-cache").to_owned());
    }
    assert_eq!(tiers.iter().filter(|tier| *tier == "miss").count(), 1);
    assert!(tiers.iter().all(|tier| tier == "miss" || tier == "local"), "{tiers:?}");
    assert_eq!(server.connections(), 1);
    assert!(server.request().await.head.starts_with("GET /teams/w-1 HTTP/1.1"));
    std::sync::Arc::into_inner(node).unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_stale_is_asked_for_again_and_served_while_nobody_answers() {
    let plays = [
        say("HTTP/1.1 200 OK\r\netag: \"1\"\r\ncontent-length: 3\r\n\r\none"),
        say("HTTP/1.1 304 Not Modified\r\n\r\n"),
        say("HTTP/1.1 500 Broken\r\ncontent-length: 0\r\n\r\n"),
        say("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\ntwo"),
        say("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"),
    ];
    let mut server = Server::plain(&plays).await;
    let node = reading_through(&server, |teams| {
        teams.ttl = Span::millis(500);
        teams.stale_if_error = Span::seconds(3_600);
    })
    .await;
    let first = node.get(AT).await.expect(200);
    assert_eq!(header(&first, "campanile-cache"), "miss");
    server.request().await;
    assert_eq!(header(&node.get(AT).await.expect(200), "campanile-cache"), "local");
    // the upstream says that it is the same: the state has it, for longer
    let renewed = until_tier(&node, "replicated").await;
    assert_eq!((renewed.body.as_ref(), server.connections()), (&b"one"[..], 2));
    assert_eq!(server.request().await.header("if-none-match"), Some("\"1\""));
    let stale = until_tier(&node, "stale").await.expect(200);
    assert_eq!(
        (stale.body.as_ref(), header(&stale, "etag")),
        (&b"one"[..], header(&first, "etag"))
    );
    assert!(header(&stale, "cache-control").starts_with("max-age=0, stale-if-error="));
    assert_eq!(header(&node.get(AT).await, "campanile-cache"), "stale");
    assert_eq!(server.connections(), 3, "a failure rests");
    let second = until_tier(&node, "miss").await.expect(200);
    assert_eq!((second.body.as_ref(), server.connections()), (&b"two"[..], 4));
    // and then it has nothing any more
    let gone = until_tier(&node, "miss").await;
    gone.expect(404);
    assert_eq!(node.get(AT).await.expect(404).headers.get("etag"), None);
    assert_eq!(
        server.connections(),
        5,
        "that there is nothing is remembered for a moment"
    );
    let status = node.get("/v1/cache").await.json();
    assert_eq!(status["replicated"]["entries"], 0);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_anything_to_serve_the_upstream_s_failure_is_said() {
    let server = Server::plain(&[say("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n"), Play::Hear]).await;
    let node = reading_through(&server, |_| {}).await;
    let failed = node.get(AT).await.expect_problem(502, "UPSTREAM_FAILED", "");
    assert_eq!(header(&failed, "retry-after"), "1");
    let other = "/v1/cache/teams/w-2";
    node.get(other).await.expect_problem(504, "UPSTREAM_TIMED_OUT", "");
    // it is left alone, for every key
    node.get("/v1/cache/teams/w-3")
        .await
        .expect_problem(504, "UPSTREAM_TIMED_OUT", "");
    assert_eq!(server.connections(), 2);
    // what somebody puts there is served whatever the upstream does
    put(&node, other, &[], "put").await.expect(204);
    assert_eq!(node.get(other).await.expect(200).body, "put");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_fetched_before_an_invalidation_is_not_kept() {
    let plays = [
        Play::Drip("HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n", "o"),
        say("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nnew"),
    ];
    let mut server = Server::plain(&plays).await;
    let node = std::sync::Arc::new(reading_through(&server, |_| {}).await);
    let reader = node.clone();
    let read = tokio::spawn(async move { reader.get(AT).await.expect(200) });
    server.request().await;
    node.call("DELETE", AT, &[], Body::empty()).await.expect(204);
    assert_eq!(node.get(AT).await.expect(200).body, "new");
    assert_eq!(read.await.unwrap().body, "new");
    assert_eq!(node.get(AT).await.expect(200).body, "new");
    std::sync::Arc::into_inner(node).unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_pressure_shrinks_the_local_tier_and_says_why() {
    use crate::cache::memory::{Filled, Memory, Of};
    let node = Node::start().await;
    assert!(node.get("/v1/cache").await.expect(200).json()["pressure"].is_null());
    let filled = |used| Memory {
        filled: vec![Filled {
            of: Of::Cgroup,
            used,
            limit: 1 << 30,
        }],
        stalled_percent: 0.0,
    };
    let long = std::time::Duration::from_secs(60);
    node.context.cache.adjust(filled(1 << 30), long);
    let status = node.get("/v1/cache").await.expect(200).json();
    assert_eq!(status["pressure"]["step"], "shrink");
    assert_eq!(status["pressure"]["memory"][0]["of"], "cgroup");
    let shrunk = status["local"]["capacity_bytes"].as_u64().unwrap();
    assert!(shrunk < 50 << 20 && shrunk > 39 << 20, "{shrunk}");
    node.context.cache.adjust(filled(1 << 20), long);
    let status = node.get("/v1/cache").await.expect(200).json();
    assert_eq!(status["pressure"]["step"], "grow");
    assert!(status["local"]["capacity_bytes"].as_u64().unwrap() > shrunk);
    node.stop().await;
}
