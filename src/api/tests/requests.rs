//! Requests through the router: what is accepted, what is refused, and with which words.

use super::{Node, broadcast};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_broadcast_is_published_looked_at_and_confirmed() {
    let node = Node::start().await;
    node.furnish().await;
    let sent = broadcast(
        &json!({"data": {"n": 1}, "acknowledge": {"within": "1h", "answers": ["ok", "late"]}, "exclude": {"users": ["ghost"]}}),
    );
    let answer = node.post("/v1/broadcasts", &sent).await.expect(201);
    let accepted = answer.json();
    let id = accepted["id"].as_str().unwrap();
    assert_eq!(answer.headers["location"], format!("/v1/broadcasts/{id}").as_str());
    assert_eq!(answer.headers["campanile-node"], "1");
    assert_eq!(
        answer.headers["campanile-applied"].to_str().unwrap(),
        accepted["log_index"].to_string()
    );
    assert_eq!(
        (&accepted["status"], &accepted["targeted"], &accepted["unknown"]),
        (&json!("released"), &json!(2), &json!(1))
    );
    assert_eq!(accepted.get("warnings"), None);

    let one = format!("/v1/broadcasts/{id}");
    let shown = node.get(&one).await.expect(200).json();
    assert_eq!(
        (&shown["type"], &shown["data"], &shown["wedding"]),
        (&json!("cue.call"), &json!({"n": 1}), &json!("w"))
    );
    node.post(&format!("{one}/acknowledge?user=bob"), &json!({"answer": "no"}))
        .await
        .expect_problem(422, "UNKNOWN_ANSWER", "/answer");
    let confirmed = node
        .post(&format!("{one}/acknowledge?user=bob"), &json!({"answer": "ok"}))
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&confirmed["late"], &confirmed["repeated"]),
        (&json!(false), &json!(false))
    );
    let bulk = node
        .post(
            "/v1/acknowledgements?user=bob",
            &json!({"ids": [id, "01J"], "answer": "ok"}),
        )
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&bulk["items"][0]["repeated"], &bulk["items"][1]["code"]),
        (&json!(true), &json!("NOT_FOUND"))
    );
    assert_eq!(bulk["items"][0]["answer"], "ok");

    let people = node.get(&format!("{one}/recipients")).await.expect(200).json();
    assert_eq!(
        (&people["items"][0]["user"], &people["items"][0]["reason"]),
        (&json!("ann"), &json!("no_session"))
    );
    assert_eq!(
        (&people["items"][1]["state"], &people["items"][1]["answer"]),
        (&json!("acknowledged"), &json!("ok"))
    );
    let roles: Vec<_> = people["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| &item["roles"])
        .collect();
    assert_eq!(roles, [&json!(["couple"]), &json!(["dj"])]);
    let done = node
        .get(&format!("{one}/recipients?state=acknowledged&limit=1"))
        .await
        .expect(200)
        .json();
    assert_eq!((done["items"].as_array().unwrap().len(), done.get("next")), (1, None));

    let inbox = node.get("/v1/inbox?user=ann&unread=true").await.expect(200).json();
    assert_eq!(
        (&inbox["items"][0]["id"], &inbox["unread"]["total"]),
        (&json!(id), &json!(1))
    );
    node.get("/v1/inbox?user=ghost")
        .await
        .expect_problem(404, "NOT_FOUND", "");
    node.get("/v1/inbox")
        .await
        .expect_problem(422, "MISSING_FIELD", "?user");
    let list = node
        .get("/v1/broadcasts?wedding=w&type=cue.*&status=released")
        .await
        .expect(200)
        .json();
    assert_eq!(list["items"][0]["id"], id);
    assert_eq!(
        node.get("/v1/broadcasts?priority=critical").await.expect(200).json()["items"],
        json!([])
    );
    node.get("/v1/broadcasts/01ARZ3NDEKTSV4RRFFQ69G5FAV")
        .await
        .expect_problem(404, "NOT_FOUND", "");
    node.post("/v1/receipts?user=ann", &json!({"received": [id]}))
        .await
        .expect(200);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_make_a_publish_safe_to_repeat() {
    let node = Node::start().await;
    node.furnish().await;
    let headers = [("content-type", "application/json"), ("idempotency-key", "k-1")];
    let (body, other) = (
        broadcast(&json!({})).to_string(),
        broadcast(&json!({"title": "Other"})).to_string(),
    );
    let first = node
        .call("POST", "/v1/broadcasts", &headers, body.clone())
        .await
        .expect(201);
    let again = node.call("POST", "/v1/broadcasts", &headers, body).await.expect(201);
    assert_eq!(first.body, again.body);
    assert_eq!(
        (
            first.headers.get("idempotent-replayed"),
            &again.headers["idempotent-replayed"]
        ),
        (None, &"true".parse().unwrap())
    );
    node.call("POST", "/v1/broadcasts", &headers, other)
        .await
        .expect_problem(422, "KEY_REUSED", "");
    let turn = node.context.running.enter(crate::api::publish::fingerprint(
        crate::model::caller::ADMINISTRATOR,
        "k-2",
    ));
    let headers = [("idempotency-key", "k-2")];
    node.call("POST", "/v1/broadcasts", &headers, broadcast(&json!({})).to_string())
        .await
        .expect_problem(409, "KEY_IN_PROGRESS", "");
    drop(turn);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_answers_line_by_line_in_order() {
    let node = Node::start().await;
    node.furnish().await;
    let mut body = String::new();
    for n in 0..500 {
        let line = if n % 100 == 7 {
            "{".to_owned()
        } else {
            broadcast(&json!({"title": format!("t{n}")})).to_string()
        };
        body.push_str(&line);
        body.push('\n');
    }
    let headers = [("content-type", "application/x-ndjson"), ("idempotency-key", "b")];
    let answer = node
        .call("POST", "/v1/broadcasts/batch", &headers, body.clone())
        .await
        .expect(200);
    let lines = answer.lines();
    assert_eq!(lines.len(), 500);
    for (n, line) in lines.iter().enumerate() {
        if n % 100 == 7 {
            assert_eq!(line["code"], "MALFORMED_JSON");
            continue;
        }
        let shown = node
            .get(&format!("/v1/broadcasts/{}", line["id"].as_str().unwrap()))
            .await
            .json();
        assert_eq!(shown["title"], format!("t{n}"));
    }
    let again = node
        .call("POST", "/v1/broadcasts/batch", &headers, body)
        .await
        .expect(200);
    assert_eq!(again.body, answer.body);
    node.stop().await;
}

/// Follows `next` to the end; titles as they come, and how many pages that took.
async fn titles(node: &Node, filter: &str) -> (Vec<String>, usize) {
    let (mut found, mut pages, mut after) = (Vec::new(), 0, String::new());
    loop {
        let path = format!("/v1/broadcasts?limit=3{filter}{after}");
        let page = node.get(&path).await.expect(200).json();
        let items = page["items"].as_array().unwrap().iter();
        found.extend(items.map(|item| item["title"].as_str().unwrap().to_owned()));
        pages += 1;
        let Some(next) = page["next"].as_str() else {
            return (found, pages);
        };
        after = format!("&after={next}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_goes_page_by_page_from_the_newest() {
    let node = Node::start().await;
    node.furnish().await;
    let mut accepted_at = Vec::new();
    for n in 0..9 {
        let priority = if n % 2 == 0 { "high" } else { "low" };
        let body = broadcast(&json!({"title": format!("t{n}"), "priority": priority}));
        let answer = node.post("/v1/broadcasts", &body).await.expect(201).json();
        let at = answer["accepted_at"].as_str().unwrap();
        accepted_at.push(crate::base::clock::parse_rfc3339(at).unwrap());
    }
    let expected = |numbers: &[usize]| numbers.iter().map(|n| format!("t{n}")).collect::<Vec<_>>();
    let all = expected(&[8, 7, 6, 5, 4, 3, 2, 1, 0]);
    assert_eq!(titles(&node, "").await, (all.clone(), 3));
    assert_eq!(titles(&node, "&priority=low").await, (expected(&[7, 5, 3, 1]), 2));
    assert_eq!(titles(&node, "&status=expired").await, (Vec::new(), 1));
    let since = format!("&since={}", crate::base::clock::rfc3339(accepted_at[4]));
    let newer = accepted_at.iter().filter(|at| **at >= accepted_at[4]).count();
    assert_eq!(titles(&node, &since).await, (all[..newer].to_vec(), newer.div_ceil(3)));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_are_refused_with_code_and_pointer() {
    let node = Node::start().await;
    node.furnish().await;
    let unknown = broadcast(&json!({"audience": [{"weddings": ["w"]}, {"weddings": ["w", "x"]}]}));
    node.post("/v1/broadcasts", &unknown)
        .await
        .expect_problem(422, "UNKNOWN_WEDDING", "/audience/1/weddings/1");
    node.post("/v1/broadcasts", &broadcast(&json!({"audience": []})))
        .await
        .expect_problem(422, "EMPTY_AUDIENCE", "/audience");
    node.post("/v1/broadcasts", &broadcast(&json!({"titel": 1})))
        .await
        .expect_problem(422, "UNKNOWN_FIELD", "/titel");
    let over = broadcast(&json!({"expires_at": "1970-01-01T00:00:00Z"}));
    for path in [
        "/v1/broadcasts",
        "/v1/broadcasts?dry_run=true",
        "/v1/broadcasts?dry_run",
    ] {
        node.post(path, &over)
            .await
            .expect_problem(422, "OUT_OF_RANGE", "/expires_at");
    }
    node.post("/v1/broadcasts?dry_run", &broadcast(&json!({})))
        .await
        .expect(200);
    node.post("/v1/broadcasts", &json!([]))
        .await
        .expect_problem(422, "WRONG_TYPE", "");
    let json = [("content-type", "application/json")];
    node.call("POST", "/v1/broadcasts", &json, "")
        .await
        .expect_problem(400, "MALFORMED_JSON", "");
    node.call("POST", "/v1/broadcasts", &json, b"\xff".to_vec())
        .await
        .expect_problem(400, "INVALID_UTF8", "");
    node.call("POST", "/v1/broadcasts", &json, "[".repeat(10_000))
        .await
        .expect_problem(400, "MALFORMED_JSON", "");
    let large = node
        .call("POST", "/v1/broadcasts", &json, "x".repeat((256 << 10) + 1))
        .await
        .expect_problem(413, "TOO_LARGE", "");
    assert_eq!(large.headers["connection"], "close");
    node.call("POST", "/v1/broadcasts", &[("content-type", "text/plain")], "{}")
        .await
        .expect_problem(415, "UNSUPPORTED_MEDIA_TYPE", "");
    node.call("POST", "/v1/broadcasts", &[("idempotency-key", "a\tb")], "{}")
        .await
        .expect_problem(422, "INVALID_IDEMPOTENCY_KEY", "");
    node.get("/v1/nothing").await.expect_problem(404, "NOT_FOUND", "");
    let wrong = node
        .call("PATCH", "/v1/users/ann", &[], "")
        .await
        .expect_problem(405, "METHOD_NOT_ALLOWED", "");
    let mut allowed: Vec<&str> = wrong.headers["allow"].to_str().unwrap().split(',').collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["DELETE", "GET", "HEAD", "PUT"]);
    node.call("GET", "/livez", &[("host", "evil.example")], "")
        .await
        .expect_problem(403, "FOREIGN_HOST", "");
    node.call("GET", "/livez", &[("origin", "https://evil.example")], "")
        .await
        .expect_problem(403, "FOREIGN_ORIGIN", "");
    node.get("/v1/users?limit=101")
        .await
        .expect_problem(422, "OUT_OF_RANGE", "?limit");
    node.get("/v1/users?at_least=999999")
        .await
        .expect_problem(503, "BEHIND", "");
    node.get("/v1/subscribe?user=ann")
        .await
        .expect_problem(406, "NOT_ACCEPTABLE", "");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_directory_is_kept_as_it_is_told() {
    let node = Node::start().await;
    node.furnish().await;
    let carl = json!({"role": "guest", "tier": "scale", "attributes": {"table": "7"}});
    node.put("/v1/users/carl", &carl).await.expect(201);
    node.put("/v1/users/carl", &carl).await.expect(200);
    node.put("/v1/users/carl", &json!({"id": "dora"}))
        .await
        .expect_problem(422, "INVALID_VALUE", "/id");
    assert_eq!(
        node.get("/v1/users/carl?consistency=strong").await.expect(200).json()["attributes"]["table"],
        "7"
    );
    let page = node.get("/v1/users?limit=2").await.expect(200).json();
    assert_eq!((&page["items"][1]["id"], &page["next"]), (&json!("bob"), &json!("bob")));
    let page = node.get("/v1/users?limit=2&after=bob").await.expect(200).json();
    assert_eq!((&page["items"][0]["id"], page.get("next")), (&json!("carl"), None));

    let wedding =
        json!({"venue": "x", "starts_at": "2027-06-19T15:30:00-04:00", "ends_at": "2027-06-19T23:00:00-04:00"});
    node.put("/v1/weddings/w2", &wedding)
        .await
        .expect_problem(422, "UNKNOWN_VENUE", "/venue");
    node.put(
        "/v1/weddings/w/members",
        &json!([{"user": "carl", "role": "guest"}, {"user": "x", "role": "dj"}]),
    )
    .await
    .expect_problem(422, "UNKNOWN_USER", "/1/user");
    node.put("/v1/weddings/none/members", &json!([]))
        .await
        .expect_problem(404, "NOT_FOUND", "");
    node.put("/v1/weddings/w/members/carl", &json!({"role": "guest"}))
        .await
        .expect(201);
    node.put("/v1/weddings/w/members/nobody", &json!({"role": "guest"}))
        .await
        .expect_problem(404, "NOT_FOUND", "");
    assert_eq!(
        node.get("/v1/weddings/w/members").await.expect(200).json()["items"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    node.put("/v1/weddings/w/members", &json!([{"user": "carl", "role": "guest"}]))
        .await
        .expect(200);
    assert_eq!(
        node.get("/v1/weddings/w/members").await.expect(200).json()["items"],
        json!([{"user": "carl", "role": "guest"}])
    );
    node.call("DELETE", "/v1/weddings/w/members/carl", &[], "")
        .await
        .expect(204);
    node.call("DELETE", "/v1/weddings/w/members/carl", &[], "")
        .await
        .expect_problem(404, "NOT_FOUND", "");

    node.put("/v1/segments/big%20ones", &json!({"tiers": ["scale"]}))
        .await
        .expect(201);
    assert_eq!(
        node.get("/v1/segments").await.expect(200).json()["items"][0]["name"],
        "big ones"
    );
    let sent = node
        .post(
            "/v1/broadcasts?dry_run=true",
            &broadcast(&json!({"audience": {"segments": ["big ones"]}})),
        )
        .await
        .expect(200)
        .json();
    assert_eq!((&sent["targeted"], sent.get("id")), (&json!(1), None));
    node.put("/v1/users/carl/preferences", &json!({"critical_only": true}))
        .await
        .expect(200);
    assert_eq!(
        node.get("/v1/users/carl/preferences").await.expect(200).json()["critical_only"],
        true
    );
    node.put("/v1/users/nobody/preferences", &json!({}))
        .await
        .expect_problem(404, "NOT_FOUND", "");
    node.call("DELETE", "/v1/venues/v", &[], "")
        .await
        .expect_problem(409, "VENUE_IN_USE", "");
    node.call("DELETE", "/v1/users/carl", &[], "").await.expect(204);
    node.get("/v1/users/carl").await.expect_problem(404, "NOT_FOUND", "");
    node.call("DELETE", "/v1/users/carl", &[], "")
        .await
        .expect_problem(404, "NOT_FOUND", "");
    node.stop().await;
}

/// Quiet hours never wait for the clock that they go by: whoever has applied the one has applied the other.
#[tokio::test(flavor = "multi_thread")]
async fn what_names_a_zone_brings_its_clocks() {
    let node = Node::start().await;
    node.furnish().await;
    let known = || -> Vec<String> {
        let names =
            |state: &crate::state::State| state.directory().zones().iter().map(|zone| zone.name.clone()).collect();
        node.context.handle.read(names)
    };
    assert_eq!(known(), ["America/New_York", "UTC"]);

    let quiet = |zone: &str| json!({"quiet_hours": {"start": "22:00", "end": "07:00", "timezone": zone}});
    let path = "/v1/users/ann/preferences";
    let answer = node
        .put(path, &quiet("america/port-au-prince"))
        .await
        .expect(200)
        .json();
    assert_eq!(answer["quiet_hours"]["timezone"], "America/Port-au-Prince");
    assert_eq!(node.get(path).await.expect(200).json(), answer);
    assert_eq!(known(), ["America/New_York", "America/Port-au-Prince", "UTC"]);

    let pointer = "/quiet_hours/timezone";
    node.put(path, &quiet("Mars/Olympus"))
        .await
        .expect_problem(422, "INVALID_VALUE", pointer);

    let lines = concat!(
        r#"{"kind": "user", "id": "cy", "role": "guest", "timezone": "Etc/GMT+5"}"#,
        "\n",
        r#"{"kind": "preferences", "user": "cy", "quiet_hours": {"start": "23:00", "end": "06:30", "timezone": "Asia/Kathmandu"}}"#,
        "\n",
    );
    let report = node.lines("/v1/import", lines).await.expect(200).json();
    assert_eq!((&report["applied"], &report["created"]), (&json!(2), &json!(2)));
    let all = [
        "America/New_York",
        "America/Port-au-Prince",
        "Asia/Kathmandu",
        "Etc/GMT+5",
        "UTC",
    ];
    assert_eq!(known(), all);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_applies_whole_blocks_and_names_its_faults() {
    let node = Node::start().await;
    let mut lines: Vec<String> = (1..=2500)
        .map(|n| format!(r#"{{"kind": "user", "id": "u-{n:04}"}}"#))
        .collect();
    lines[1499] = r#"{"kind": "user", "id": "u-1500", "rol": "dj"}"#.to_owned();
    lines[2300] = r#"{"kind": "member", "of": {"wedding": "none"}, "user": "u-0001", "role": "dj"}"#.to_owned();
    let report = node.lines("/v1/import", &lines.join("\n")).await.expect(200).json();
    assert_eq!(
        (&report["lines"], &report["applied"], &report["not_applied"]),
        (&json!(2500), &json!(1000), &json!(1500))
    );
    assert_eq!(
        (&report["faults"][0]["line"], &report["faults"][0]["pointer"]),
        (&json!(1500), &json!("/rol"))
    );
    assert_eq!(
        (&report["faults"][1]["line"], &report["faults"][1]["code"]),
        (&json!(2301), &json!("UNKNOWN_WEDDING"))
    );
    node.get("/v1/users/u-1000").await.expect(200);
    node.get("/v1/users/u-1001").await.expect(404);
    let long = format!("{{\"kind\": \"user\", \"id\": \"{}\"}}\n", "x".repeat(64 << 10));
    let report = node.lines("/v1/import", &long).await.expect(200).json();
    assert_eq!(report["faults"][0]["code"], "TOO_LARGE");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_and_pages_answer() {
    let node = Node::start().await;
    for path in [
        "/livez",
        "/healthz",
        "/readyz",
        "/readyz?write=1",
        "/metrics",
        "/v1/queues",
        "/v1/workers",
        "/v1/config",
        "/",
        "/problems/TOO_LARGE",
    ] {
        node.get(path).await.expect(200);
    }
    let cluster = node.get("/v1/cluster").await.expect(200).json();
    assert_eq!(
        (
            &cluster["leader"],
            &cluster["nodes"][0]["node"],
            &cluster["nodes"][0]["role"]
        ),
        (&json!(1), &json!(1), &json!("leader"))
    );
    node.context.drain();
    node.get("/readyz").await.expect_problem(503, "STOPPING", "");
    let stopping = node
        .post("/v1/broadcasts", &broadcast(&json!({})))
        .await
        .expect_problem(503, "STOPPING", "");
    assert_eq!(stopping.json()["outcome"], "not_published");
    assert_eq!(stopping.headers["retry-after"], "1");
    node.stop().await;
}
