//! The dashboard: its page as browsers get it, and what it shows of a node with people, weddings and broadcasts.

use super::tokens::Guarded;
use super::{Node, broadcast};
use crate::api::dashboard;
use crate::base::clock::{self, rfc3339};
use crate::model::Step;
use crate::state::Command;
use crate::state::command::{Presence, Receipts};
use axum::body::Body;
use axum::response::Response;
use http::Request;
use http_body_util::BodyExt;
use roaring::RoaringBitmap;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::watch;
use tower_service::Service;

const WAIT: Duration = Duration::from_secs(20);
const SSE: &[(&str, &str)] = &[("accept", "text/event-stream")];
const HOUR: i64 = 3_600_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_and_its_files_are_served_strictly() {
    let node = Node::start().await;
    let page = node.get("/").await.expect(200);
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    assert_eq!(page.headers["cache-control"], "no-cache");
    assert_eq!(page.headers["x-content-type-options"], "nosniff");
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    for part in [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    let tag = page.headers["etag"].to_str().unwrap().to_owned();
    let known = [("if-none-match", tag.as_str())];
    let again = node.call("GET", "/", &known, Body::empty()).await.expect(304);
    assert!(again.body.is_empty());

    let text = String::from_utf8(page.body.to_vec()).unwrap();
    let named = text.split('"').filter(|part| part.starts_with("/dashboard/"));
    let mut addresses: Vec<String> = named.map(str::to_owned).collect();
    let version = addresses[0].rsplit_once('/').unwrap().0.to_owned();
    addresses.extend(
        dashboard::assets::ASSETS
            .iter()
            .map(|(name, _, _)| format!("{version}/{name}")),
    );
    for address in addresses {
        let file = node.get(&address).await.expect(200);
        assert_eq!(
            file.headers["cache-control"], "public, max-age=31536000, immutable",
            "{address}"
        );
        assert_eq!(file.headers["x-content-type-options"], "nosniff");
        let wanted = match address.rsplit_once('.').unwrap().1 {
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            _ => "image/svg+xml",
        };
        assert_eq!(file.headers["content-type"], wanted, "{address}");
    }
    let old = node.get("/dashboard/0/app.js").await.expect(200);
    assert_eq!(old.headers["cache-control"], "no-cache", "another build is not kept");
    node.get(&format!("{version}/index.html"))
        .await
        .expect_problem(404, "NOT_FOUND", "");
    node.stop().await;
}

/// A wedding under way and one next month, beside the ones of [`Node::furnish`].
async fn weddings(node: &Node) {
    node.furnish().await;
    for (id, in_hours) in [("today", 1), ("later", 30 * 24)] {
        let starts = clock::wall() + in_hours * HOUR;
        let wedding = json!({"name": "<b>A</b> & B", "venue": "v", "timezone": "Europe/Rome",
            "starts_at": rfc3339(starts), "ends_at": rfc3339(starts + 5 * HOUR), "guests_expected": 90});
        node.put(&format!("/v1/weddings/{id}"), &wedding).await.expect(201);
    }
    node.put("/v1/weddings/today/members/ann", &json!({"role": "couple"}))
        .await
        .expect(201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_answer_has_all_that_is_shown() {
    let node = Node::start().await;
    weddings(&node).await;
    let asks = json!({"within": "1m", "answers": ["ok"]});
    let publish = |with: Value| {
        let body = broadcast(&with);
        let node = &node;
        async move { node.post("/v1/broadcasts", &body).await.expect(201).json() }
    };
    publish(json!({"title": "first"})).await;
    publish(json!({"title": "drill", "priority": "critical", "drill": true, "acknowledge": asks})).await;
    let escalates = json!({"within": "1m", "answers": ["ok"], "escalate": [{"after": "1h", "to": {"users": ["bob"]}}]});
    let told = publish(json!({"title": "urgent", "priority": "critical", "acknowledge": escalates})).await;
    publish(json!({"title": "later", "deliver_at": rfc3339(clock::wall() + HOUR)})).await;
    let id = told["id"].as_str().unwrap();

    let board = node.get("/v1/dashboard").await.expect(200).json();
    assert_eq!(board["caller"]["open"], true);
    assert_eq!(
        board["caller"]["scopes"],
        json!(["publish", "subscribe", "read", "admin"])
    );
    assert_eq!(
        (&board["cluster"]["leader"], &board["cluster"]["nodes"][0]["role"]),
        (&json!(1), &json!("leader"))
    );
    assert_eq!(board["cluster"], node.get("/v1/cluster").await.json());
    for priority in ["critical", "high", "normal", "low"] {
        assert_eq!(board["queues"][priority]["waiting"], 0, "{board}");
    }
    assert_eq!(board["performance"], Value::Null, "nothing was sampled yet");
    assert_eq!(board["health"]["score"], 100);
    let parts = json!(["queue_errors", "queue_time", "cache", "response"]);
    assert_eq!(board["health"]["not_measured"], parts, "{board}");
    assert_eq!(
        (&board["health"]["state"], &board["health"]["concerns"][0]["code"]),
        (&json!("trouble"), &json!("emergency"))
    );
    assert_eq!(board["capacity"]["users"], 2);
    let headroom = &board["capacity"]["headroom"];
    assert_eq!(headroom["parts"].as_array().unwrap().len(), 6, "{headroom}");
    assert!(headroom["left"].as_f64() > Some(0.0), "{headroom}");
    let threads = &board["capacity"]["scaling"];
    assert!(
        threads["threads_max"].as_u64() >= threads["threads_min"].as_u64(),
        "{threads}"
    );
    assert!(board["weddings"]["seasonal"]["season"].is_boolean(), "{board}");
    let titles: Vec<&str> = board["broadcasts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["title"].as_str().unwrap())
        .collect();
    assert_eq!(titles, ["urgent", "drill", "first"], "newest first");
    let urgent = &board["urgent"];
    assert_eq!(
        (&urgent["critical_last_hour"], &urgent["emergencies"]),
        (&json!(1), &json!(1)),
        "a drill is no emergency"
    );
    assert_eq!(
        (&urgent["items"][0]["id"], &urgent["items"][0]["not_confirmed"]),
        (&json!(id), &json!(2))
    );
    assert_eq!(
        board["broadcasts"][2]["not_confirmed"],
        Value::Null,
        "nobody is asked to"
    );
    assert!(urgent["items"][0]["escalates_at"].is_string(), "{urgent}");
    assert_eq!(board["broadcasts"][2]["escalates_at"], Value::Null);
    assert_eq!(
        (&board["scheduled"]["count"], &board["scheduled"]["items"][0]["title"]),
        (&json!(1), &json!("later"))
    );
    let weddings = &board["weddings"];
    assert_eq!(
        (&weddings["open_now"], &weddings["within_7_days"]),
        (&json!(1), &json!(1)),
        "{weddings}"
    );
    assert_eq!(
        (&weddings["items"][0]["id"], &weddings["items"][0]["members"]),
        (&json!("today"), &json!(1))
    );

    for user in ["ann", "bob"] {
        let path = format!("/v1/broadcasts/{id}/acknowledge?user={user}");
        node.post(&path, &json!({"answer": "ok"})).await.expect(200);
    }
    let board = node.get("/v1/dashboard").await.expect(200).json();
    assert_eq!(
        (&board["urgent"]["emergencies"], &board["urgent"]["critical_last_hour"]),
        (&json!(0), &json!(1))
    );
    assert_eq!(
        (
            &board["broadcasts"][0]["not_confirmed"],
            &board["broadcasts"][0]["status"]
        ),
        (&json!(0), &json!("completed"))
    );
    assert_eq!(
        board["broadcasts"][0]["escalates_at"],
        Value::Null,
        "nobody needs it any more"
    );
    assert_eq!(
        (&board["health"]["state"], &board["health"]["concerns"]),
        (&json!("ok"), &json!([]))
    );
    node.get("/v1/dashboard?x=1")
        .await
        .expect_problem(422, "UNKNOWN_PARAMETER", "?x");
    node.stop().await;
}

/// Asks until the answer is as wanted.
async fn until(node: &Node, path: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let deadline = clock::now() + WAIT;
    let mut look = tokio::time::interval(Duration::from_millis(10));
    loop {
        look.tick().await;
        let answer = node.get(path).await.expect(200).json();
        if holds(&answer) {
            return answer;
        }
        assert!(clock::now() < deadline, "{path}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figures_come_from_samples() {
    let node = Node::start().await;
    node.furnish().await;
    let empty = node.get("/v1/dashboard/series/latency").await.expect(200).json();
    assert_eq!(
        (&empty["points"], &empty["unit"], &empty["every"]),
        (&json!([]), &json!("ms"), &json!("20ms"))
    );
    let (stop, stopping) = watch::channel(false);
    let sampler = tokio::spawn(dashboard::sample(node.context.clone(), stopping));
    until(&node, "/v1/dashboard", |board| !board["performance"].is_null()).await;
    node.post("/v1/broadcasts", &broadcast(&json!({}))).await.expect(201);
    let board = until(&node, "/v1/dashboard", |board| {
        board["performance"]["latency"]["publish"]["count"].as_u64() > Some(0)
    })
    .await;
    let performance = &board["performance"];
    assert!(
        performance["latency"]["publish"]["mean_ms"].as_f64() > Some(0.0),
        "{performance}"
    );
    assert!(
        performance["throughput"]["broadcasts"].as_f64() > Some(0.0),
        "{performance}"
    );
    let part = &board["health"]["parts"][3];
    assert_eq!((&part["part"], &part["unit"]), (&json!("response"), &json!("ms")));
    assert!(part["value"].as_f64() > Some(0.0), "{part}");
    until(&node, "/v1/dashboard/series/throughput", |series| {
        series["points"].as_array().is_some_and(|points| points.len() == 48)
    })
    .await;
    for (name, columns) in [
        ("latency", "at,publish_ms,delivery_ms"),
        ("throughput", "at,broadcasts_per_second,writes_per_second"),
        ("connections", "at,sessions_sessions"),
        ("errors", "at,requests_share,publishes_share"),
        ("cache", "at,hits_share,local_share"),
    ] {
        let table = node
            .get(&format!("/v1/dashboard/series/{name}?format=csv"))
            .await
            .expect(200);
        assert_eq!(table.headers["content-type"], "text/csv; charset=utf-8");
        let text = String::from_utf8(table.body.to_vec()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines[0], lines.len()), (columns, 49), "{text}");
        let cells = columns.split(',').count();
        assert!(lines.iter().all(|line| line.split(',').count() == cells), "{text}");
    }
    node.get("/v1/dashboard/series/weather")
        .await
        .expect_problem(404, "NOT_FOUND", "");
    node.get("/v1/dashboard/series/errors?format=xml")
        .await
        .expect_problem(422, "INVALID_VALUE", "?format");
    stop.send_replace(true);
    sampler.await.unwrap();
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_that_misses_is_seen_in_figures_and_score() {
    let node = Node::start().await;
    node.furnish().await;
    let key = "/v1/cache/teams/a";
    node.call("PUT", key, &[], "kept").await.expect(204);
    let (stop, stopping) = watch::channel(false);
    let sampler = tokio::spawn(dashboard::sample(node.context.clone(), stopping));
    until(&node, "/v1/dashboard", |board| !board["performance"].is_null()).await;
    for read in 0..40 {
        let path = if read % 4 == 0 { "/v1/cache/teams/none" } else { key };
        let wanted = if read % 4 == 0 { 404 } else { 200 };
        node.get(path).await.expect(wanted);
    }
    let board = until(&node, "/v1/dashboard", |board| {
        board["performance"]["cache"]["reads"] == 40
    })
    .await;
    assert_eq!(board["performance"]["cache"]["hit_rate"], 0.75, "{board}");
    assert!(
        board["performance"]["cache"]["local_hit_rate"].as_f64() > Some(0.7),
        "{board}"
    );
    let part = &board["health"]["parts"][2];
    assert_eq!(
        *part,
        json!({"part": "cache", "unit": "share", "value": 0.75, "lost": 10})
    );
    assert_eq!(board["health"]["score"], 90);
    until(&node, "/v1/dashboard/series/cache", |series| {
        let mut points = series["points"].as_array().unwrap().iter();
        points.any(|point| point["hits"].as_f64() > Some(0.0))
    })
    .await;
    stop.send_replace(true);
    sampler.await.unwrap();
    node.stop().await;
}

/// A stream's next event: its name and data.
async fn event(stream: &mut Response) -> Option<(String, Value)> {
    let frame = tokio::time::timeout(WAIT, stream.body_mut().frame())
        .await
        .unwrap()?
        .unwrap();
    let text = String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap();
    let (name, data) = text.strip_prefix("event: ").unwrap().split_once("\ndata: ").unwrap();
    let data = data.strip_suffix("\n\n").unwrap();
    Some((name.to_owned(), serde_json::from_str(data).unwrap()))
}

async fn open(node: &Node, token: &str) -> Response {
    let mut request = Request::builder().uri("/v1/dashboard").header("host", "127.0.0.1:8205");
    for (name, value) in SSE {
        request = request.header(*name, *value);
    }
    if !token.is_empty() {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    node.router
        .clone()
        .call(request.body(Body::empty()).unwrap())
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_goes_on_until_the_node_stops() {
    let node = Node::start().await;
    node.furnish().await;
    let mut stream = open(&node, "").await;
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let (name, board) = event(&mut stream).await.unwrap();
    assert_eq!((name.as_str(), &board["broadcasts"]), ("board", &json!([])));
    node.post("/v1/broadcasts", &broadcast(&json!({"title": "new"})))
        .await
        .expect(201);
    while event(&mut stream).await.unwrap().1["broadcasts"][0]["title"] != "new" {}

    let second = open(&node, "").await;
    let refused = node.call("GET", "/v1/dashboard", SSE, Body::empty()).await;
    refused.expect_problem(503, "OVERLOADED", "");
    drop(second);
    assert_eq!(open(&node, "").await.status(), 200, "one that ends makes room");

    node.context.drain();
    let last = loop {
        let (name, data) = event(&mut stream).await.unwrap();
        if name != "board" {
            break (name, data);
        }
    };
    assert_eq!((last.0.as_str(), &last.1["reason"]), ("goodbye", &json!("stopping")));
    assert!(event(&mut stream).await.is_none());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_read_sees_it_and_a_revoked_token_ends_it() {
    let guarded = Guarded::start().await;
    let wanted = |scope: &str| json!({"user": "bob", "role": "dj", "venues": ["v"], "scopes": [scope]});
    let (id, reads) = guarded.token(&wanted("read")).await;
    let (_, publishes) = guarded.token(&wanted("publish")).await;
    guarded
        .get("", "/v1/dashboard")
        .await
        .expect_problem(401, "MISSING_TOKEN", "");
    guarded
        .get(&publishes, "/v1/dashboard")
        .await
        .expect_problem(403, "MISSING_SCOPE", "");
    guarded.get("", "/").await.expect(200);
    let board = guarded.get(&reads, "/v1/dashboard").await.expect(200).json();
    let caller = json!({"user": "bob", "role": "dj", "scopes": ["read"], "open": false});
    assert_eq!(board["caller"], caller);

    let mut stream = open(&guarded.node, &reads).await;
    assert_eq!(event(&mut stream).await.unwrap().0, "board");
    guarded.node.context.gateway.revoke(|token| token == id);
    let last = loop {
        let (name, data) = event(&mut stream).await.unwrap();
        if name != "board" {
            break data;
        }
    };
    assert_eq!(last["reason"], "token_ended");
    guarded.node.stop().await;
}

/// Prints how long it takes; `docs/PERFORMANCE.md` says where that was measured.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_counts_15_000_people_who_are_there() {
    const PEOPLE: u32 = 15_000;
    const BROADCASTS: usize = 20;
    const ROUNDS: usize = 21;
    let node = Node::start().await;
    weddings(&node).await;
    let lines = (0..PEOPLE).map(|number| {
        let member =
            format!(r#"{{"kind": "member", "of": {{"wedding": "today"}}, "user": "p-{number}", "role": "guest"}}"#);
        format!("{{\"kind\": \"user\", \"id\": \"p-{number}\", \"role\": \"guest\"}}\n{member}\n")
    });
    node.lines("/v1/import", &lines.collect::<String>()).await.expect(200);
    let numbers: RoaringBitmap = node.context.handle.read(|state| {
        let each = (0..PEOPLE).filter_map(|number| state.directory().user_number(&format!("p-{number}")));
        each.collect()
    });
    let deadline = clock::now() + WAIT;
    let came = Command::Presence(Presence {
        node: 1,
        incarnation: 1,
        all: true,
        came: numbers.clone(),
        went: RoaringBitmap::new(),
    });
    node.context.handle.propose(came, deadline).await.unwrap();
    for _ in 0..BROADCASTS {
        let asks = json!({"priority": "critical", "audience": {"everyone": true}, "acknowledge": {"within": "1m"}});
        node.post("/v1/broadcasts", &broadcast(&asks)).await.expect(201);
    }
    let sent = node.context.handle.read(|state| {
        let numbers_of = state.broadcasts().newest().map(|hot| hot.broadcast.number);
        numbers_of
            .map(|number| (number, Step::Received, numbers.clone()))
            .collect()
    });
    let receipts = Command::Receipts(Receipts {
        node: 1,
        deltas: sent,
        promised: None,
        watermarks: [0; 4],
    });
    node.context.handle.propose(receipts, deadline).await.unwrap();
    let mut took = Vec::new();
    for _ in 0..ROUNDS {
        let started = clock::now();
        let board = node.get("/v1/dashboard").await.expect(200).json();
        took.push(started.elapsed());
        assert_eq!(board["capacity"]["connected"], PEOPLE);
        assert_eq!(board["weddings"]["items"][0]["connected"], PEOPLE);
        assert_eq!(board["broadcasts"][0]["counts"]["received"], PEOPLE);
        assert_eq!(board["broadcasts"][0]["not_confirmed"], PEOPLE + 2);
        assert_eq!(board["urgent"]["emergencies"], BROADCASTS);
    }
    took.sort_unstable();
    println!(
        "a board of {PEOPLE} connected people: median {:?}, longest {:?}",
        took[ROUNDS / 2],
        took[ROUNDS - 1]
    );
    node.stop().await;
}
