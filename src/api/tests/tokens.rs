//! Who is let in, with what, and what they are told who are not.

use super::{Answer, Node, broadcast};
use crate::base::clock;
use crate::security::pairs::{self, sign};
use crate::security::{Algorithm, Config, KeyFile, token};
use serde_json::{Value, json};
use std::time::Duration;

const PAGE: &str = "https://app.example";

/// A furnished node that asks for tokens, and its administrator's.
pub(super) struct Guarded {
    pub(super) node: Node,
    pub(super) admin: String,
}

impl Guarded {
    pub(super) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (secret, key) = (folder.path().join("admin"), folder.path().join("issuer.pem"));
        let admin = token::make().unwrap();
        std::fs::write(&secret, &admin).unwrap();
        std::fs::write(&key, pairs::ED_PUBLIC).unwrap();
        let config = Config {
            enabled: true,
            admin_token_file: secret,
            jwt_keys: vec![KeyFile {
                id: "k".into(),
                algorithm: Algorithm::EdDsa,
                file: key,
            }],
            jwt_issuer: "venue".into(),
            jwt_audience: "campanile".into(),
            ..Config::default()
        };
        let node = Node::start_with(config, &[PAGE]).await;
        let guarded = Self { node, admin };
        let lines = [
            json!({"kind": "venue", "id": "v", "name": "V", "timezone": "UTC"}),
            json!({"kind": "user", "id": "ann", "role": "couple"}),
            json!({"kind": "user", "id": "bob", "role": "dj"}),
            json!({"kind": "user", "id": "horn"}),
            json!({"kind": "member", "of": {"venue": "v"}, "user": "ann", "role": "couple"}),
            json!({"kind": "member", "of": {"venue": "v"}, "user": "bob", "role": "dj"}),
            json!({"kind": "member", "of": {"venue": "v"}, "user": "horn", "role": "siren"}),
        ];
        let lines = lines.map(|line| line.to_string()).join("\n") + "\n";
        let typed = [("content-type", "application/x-ndjson")];
        guarded
            .call(&guarded.admin, "POST", "/v1/import", &typed, &lines)
            .await
            .expect(200);
        guarded
    }

    /// `token` empty: none is shown.
    pub(super) async fn call(
        &self,
        token: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let bearer = format!("Bearer {token}");
        let mut all = headers.to_vec();
        if !token.is_empty() {
            all.push(("authorization", &bearer));
        }
        self.node.call(method, path, &all, body.to_owned()).await
    }

    pub(super) async fn get(&self, token: &str, path: &str) -> Answer {
        self.call(token, "GET", path, &[], "").await
    }

    async fn post(&self, token: &str, path: &str, body: &Value) -> Answer {
        self.call(token, "POST", path, &[], &body.to_string()).await
    }

    /// A new token's id and secret.
    pub(super) async fn token(&self, wanted: &Value) -> (String, String) {
        let made = self.post(&self.admin, "/v1/tokens", wanted).await.expect(201).json();
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        (text("id"), text("token"))
    }

    async fn of_bob(&self, scopes: &[&str]) -> String {
        self.token(&json!({"user": "bob", "role": "dj", "venues": ["v"], "scopes": scopes}))
            .await
            .1
    }
}

fn to_venue(with: &Value) -> Value {
    let mut sent = broadcast(with);
    sent["audience"] = json!({"venues": ["v"]});
    sent
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_only_probes_are_answered() {
    let guarded = Guarded::start().await;
    for path in ["/livez", "/readyz", "/healthz", "/metrics", "/"] {
        guarded.get("", path).await.expect(200);
    }
    for path in [
        "/v1/cluster",
        "/v1/inbox",
        "/v1/tokens",
        "/v1/nothing",
        "/v1/cluster?token=x",
    ] {
        let answer = guarded.get("", path).await.expect_problem(401, "MISSING_TOKEN", "");
        assert_eq!(answer.headers["www-authenticate"], "Bearer realm=\"campanile\"");
    }
    let unknown = token::make().unwrap();
    for wrong in [&*unknown, "cmp_short", "eyJhbGciOiJub25lIn0.e30.", "x"] {
        let answer = guarded
            .get(wrong, "/v1/cluster")
            .await
            .expect_problem(401, "INVALID_TOKEN", "");
        let challenge = answer.headers["www-authenticate"].to_str().unwrap();
        assert!(challenge.contains("invalid_token"), "{challenge}");
        let told = String::from_utf8(answer.body.to_vec()).unwrap();
        assert!(wrong.len() < 5 || !told.contains(wrong), "{told}");
    }
    let counted = guarded.get("", "/metrics").await;
    let counted = String::from_utf8(counted.body.to_vec()).unwrap();
    assert!(counted.contains("campanile_denied_total{code=\"MISSING_TOKEN\"}"));
    guarded.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_opens_its_doors_and_no_others() {
    let guarded = Guarded::start().await;
    let doors = [
        ("publish", "POST", "/v1/broadcasts"),
        ("publish", "POST", "/v1/broadcasts/batch"),
        ("subscribe", "GET", "/v1/inbox"),
        ("subscribe", "POST", "/v1/receipts"),
        ("subscribe", "GET", "/v1/users/bob/preferences"),
        ("read", "GET", "/v1/broadcasts"),
        ("read", "GET", "/v1/users"),
        ("read", "GET", "/v1/queues"),
        ("admin", "GET", "/v1/config"),
        ("admin", "GET", "/v1/tokens"),
        ("admin", "PUT", "/v1/users/carl"),
        ("admin", "POST", "/v1/import"),
    ];
    for held in ["publish", "subscribe", "read", "admin"] {
        let token = guarded.of_bob(&[held]).await;
        for (scope, method, path) in doors {
            let answer = guarded.call(&token, method, path, &[], "").await;
            if held == scope || held == "admin" {
                assert_ne!(answer.status, 403, "{held}: {method} {path}");
            } else {
                let answer = answer.expect_problem(403, "MISSING_SCOPE", "");
                let challenge = answer.headers["www-authenticate"].to_str().unwrap();
                assert!(challenge.contains("insufficient_scope"), "{challenge}");
            }
        }
    }
    guarded.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_speaks_for_its_own_user() {
    let guarded = Guarded::start().await;
    let bob = guarded.of_bob(&["subscribe"]).await;
    guarded.get(&bob, "/v1/inbox").await.expect(200);
    guarded.get(&bob, "/v1/inbox?user=bob").await.expect(200);
    guarded
        .get(&bob, "/v1/inbox?user=ann")
        .await
        .expect_problem(403, "OTHER_USER", "");
    guarded
        .get(&bob, "/v1/users/ann/preferences")
        .await
        .expect_problem(403, "OTHER_USER", "");
    let (_, nobody) = guarded.token(&json!({"role": "siren", "scopes": ["subscribe"]})).await;
    guarded
        .get(&nobody, "/v1/inbox")
        .await
        .expect_problem(403, "NO_USER", "");
    guarded.get(&guarded.admin, "/v1/inbox?user=ann").await.expect(200);
    guarded
        .get(&guarded.admin, "/v1/inbox")
        .await
        .expect_problem(422, "MISSING_FIELD", "?user");
    guarded.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sender_is_the_caller_and_keys_are_the_callers_own() {
    let guarded = Guarded::start().await;
    let bob = guarded.of_bob(&["publish"]).await;
    let (id, siren) = guarded
        .token(&json!({"role": "siren", "venues": ["v"], "scopes": ["publish"]}))
        .await;
    let key = [("idempotency-key", "k-1")];
    let sent = to_venue(&json!({})).to_string();
    let publish = async |token: &str| {
        guarded
            .call(token, "POST", "/v1/broadcasts", &key, &sent)
            .await
            .expect(201)
    };
    let (first, second) = (publish(&bob).await, publish(&siren).await);
    assert_ne!(
        first.json()["id"],
        second.json()["id"],
        "another caller's key is another key"
    );
    let renewed = guarded.of_bob(&["publish"]).await;
    let again = publish(&renewed).await;
    assert_eq!(
        (again.json()["id"].clone(), &again.headers["idempotent-replayed"]),
        (first.json()["id"].clone(), &"true".parse().unwrap())
    );
    for (answer, sender) in [(first, "bob"), (second, &*id)] {
        let path = format!("/v1/broadcasts/{}", answer.json()["id"].as_str().unwrap());
        assert_eq!(
            guarded.get(&guarded.admin, &path).await.expect(200).json()["sender"],
            sender
        );
    }
    guarded.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_listed_without_their_secrets_and_end_when_revoked() {
    let guarded = Guarded::start().await;
    let (id, secret) = guarded
        .token(&json!({"user": "bob", "role": "dj", "venues": ["v"], "scopes": ["read", "publish"], "ttl": "1h"}))
        .await;
    guarded.token(&json!({"role": "siren", "scopes": ["publish"]})).await;
    let page = guarded
        .get(&guarded.admin, "/v1/tokens?limit=1")
        .await
        .expect(200)
        .json();
    let rest = format!("/v1/tokens?after={}", page["next"].as_str().unwrap());
    let rest = guarded.get(&guarded.admin, &rest).await.expect(200).json();
    let all = [
        page["items"].as_array().unwrap().clone(),
        rest["items"].as_array().unwrap().clone(),
    ]
    .concat();
    assert_eq!(all.len(), 2);
    let shown = all.iter().find(|token| token["id"] == id).unwrap();
    assert_eq!(
        (
            &shown["user"],
            &shown["role"],
            &shown["venues"],
            &shown["scopes"],
            &shown["expired"]
        ),
        (
            &json!("bob"),
            &json!("dj"),
            &json!(["v"]),
            &json!(["publish", "read"]),
            &json!(false)
        )
    );
    assert!(shown.get("token").is_none() && shown.get("hash").is_none());
    assert!(!json!(all).to_string().contains(&secret[4..]));
    guarded.get(&secret, "/v1/broadcasts").await.expect(200);
    let one = format!("/v1/tokens/{id}");
    guarded.call(&guarded.admin, "DELETE", &one, &[], "").await.expect(204);
    guarded
        .get(&secret, "/v1/broadcasts")
        .await
        .expect_problem(401, "INVALID_TOKEN", "");
    guarded
        .call(&guarded.admin, "DELETE", &one, &[], "")
        .await
        .expect_problem(404, "NOT_FOUND", "");
    guarded
        .call(&guarded.admin, "DELETE", "/v1/tokens/bootstrap", &[], "")
        .await
        .expect_problem(404, "NOT_FOUND", "");
    guarded.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_token_says_so() {
    let guarded = Guarded::start().await;
    let (_, secret) = guarded
        .token(&json!({"role": "dj", "scopes": ["read"], "ttl": "1ms"}))
        .await;
    let end = clock::now() + Duration::from_secs(10);
    let refused = loop {
        let answer = guarded.get(&secret, "/v1/broadcasts").await;
        if answer.status == 401 || clock::now() > end {
            break answer;
        }
    };
    refused.expect_problem(401, "TOKEN_EXPIRED", "");
    let listed = guarded.get(&guarded.admin, "/v1/tokens").await.json();
    assert_eq!(listed["items"][0]["expired"], true);
    guarded.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_wanted_token_is_pointed_to() {
    let guarded = Guarded::start().await;
    let check = async |wanted: Value, code: &str, pointer: &str| {
        let answer = guarded.post(&guarded.admin, "/v1/tokens", &wanted).await;
        answer.expect_problem(422, code, pointer);
    };
    let with = |name: &str, value: Value| {
        let mut wanted = json!({"role": "dj", "scopes": ["publish"]});
        wanted[name] = value;
        wanted
    };
    check(json!({"scopes": ["publish"]}), "MISSING_FIELD", "/role").await;
    check(json!({"role": "dj"}), "MISSING_FIELD", "/scopes").await;
    check(with("scopes", json!([])), "INVALID_VALUE", "/scopes").await;
    check(with("scopes", json!(["publish", "root"])), "INVALID_VALUE", "/scopes/1").await;
    check(with("user", json!("ghost")), "UNKNOWN_USER", "/user").await;
    check(with("weddings", json!(["w-9"])), "UNKNOWN_WEDDING", "/weddings/0").await;
    check(with("venues", json!(["v", "x"])), "UNKNOWN_VENUE", "/venues/1").await;
    check(with("ttl", json!("400d")), "OUT_OF_RANGE", "/ttl").await;
    check(with("ttl", json!("0s")), "OUT_OF_RANGE", "/ttl").await;
    check(with("secret", json!("mine")), "UNKNOWN_FIELD", "/secret").await;
    assert_eq!(
        guarded.get(&guarded.admin, "/v1/tokens").await.json()["items"],
        json!([])
    );
    guarded.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_for_a_token_makes_one() {
    let guarded = Guarded::start().await;
    let key = [("idempotency-key", "t-1")];
    let make = async |wanted: &Value| {
        guarded
            .call(&guarded.admin, "POST", "/v1/tokens", &key, &wanted.to_string())
            .await
    };
    let wanted = json!({"role": "dj", "scopes": ["publish"]});
    let first = make(&wanted).await.expect(201).json();
    let again = make(&wanted).await.expect(201);
    assert_eq!(again.headers["idempotent-replayed"], "true");
    assert_eq!(
        (&again.json()["id"], &again.json()["token"]),
        (&first["id"], &json!(null))
    );
    make(&json!({"role": "dj", "scopes": ["admin"]}))
        .await
        .expect_problem(422, "KEY_REUSED", "");
    guarded
        .get(first["token"].as_str().unwrap(), "/v1/broadcasts")
        .await
        .expect_problem(403, "MISSING_SCOPE", "");
    guarded.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuers_token_is_as_good_as_ours() {
    let guarded = Guarded::start().await;
    let claims = |audience: &str, in_seconds: i64| {
        json!({"sub": "bob", "role": "dj", "venues": ["v"], "scope": "publish subscribe", "iss": "venue",
            "aud": audience, "exp": clock::wall() / 1000 + in_seconds})
    };
    let good = sign(Algorithm::EdDsa, Some("k"), &claims("campanile", 600));
    let sent = guarded
        .post(&good, "/v1/broadcasts", &to_venue(&json!({})))
        .await
        .expect(201)
        .json();
    let path = format!("/v1/broadcasts/{}", sent["id"].as_str().unwrap());
    assert_eq!(guarded.get(&guarded.admin, &path).await.json()["sender"], "bob");
    guarded.get(&good, "/v1/inbox").await.expect(200);
    guarded.get(&good, &path).await.expect_problem(403, "MISSING_SCOPE", "");
    let expired = sign(Algorithm::EdDsa, Some("k"), &claims("campanile", -600));
    guarded
        .get(&expired, "/v1/inbox")
        .await
        .expect_problem(401, "TOKEN_EXPIRED", "");
    for wrong in [
        sign(Algorithm::EdDsa, Some("k"), &claims("other", 600)),
        sign(Algorithm::EdDsa, Some("z"), &claims("campanile", 600)),
        sign(Algorithm::Hs256, Some("k"), &claims("campanile", 600)),
    ] {
        guarded
            .get(&wrong, "/v1/inbox")
            .await
            .expect_problem(401, "INVALID_TOKEN", "");
    }
    guarded.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_are_listed_may_ask_and_others_may_not() {
    let guarded = Guarded::start().await;
    let asks = [("origin", PAGE), ("access-control-request-method", "POST")];
    let preflight = guarded
        .call("", "OPTIONS", "/v1/broadcasts", &asks, "")
        .await
        .expect(204);
    assert_eq!(preflight.headers["access-control-allow-origin"], PAGE);
    let allowed = preflight.headers["access-control-allow-headers"].to_str().unwrap();
    assert!(
        allowed.contains("authorization") && allowed.contains("idempotency-key"),
        "{allowed}"
    );
    let refused = guarded
        .call("", "GET", "/v1/inbox", &[("origin", PAGE)], "")
        .await
        .expect(401);
    assert_eq!(
        refused.headers["access-control-allow-origin"], PAGE,
        "a page is told why"
    );
    let foreign = [
        ("origin", "https://evil.example"),
        ("access-control-request-method", "POST"),
    ];
    let foreign = guarded
        .call("", "OPTIONS", "/v1/broadcasts", &foreign, "")
        .await
        .expect_problem(403, "FOREIGN_ORIGIN", "");
    assert!(foreign.headers.get("access-control-allow-origin").is_none());
    guarded.node.stop().await;
}

/// The roads that are answered by hand, and those that hyper keeps.
#[tokio::test(flavor = "multi_thread")]
async fn subscribers_are_asked_on_every_road() {
    let guarded = Guarded::start().await;
    let bob = guarded.of_bob(&["subscribe"]).await;
    let reader = guarded.of_bob(&["read"]).await;
    let served = super::sockets::Served::of(guarded.node);
    let ask = |target: &str, header: &str| {
        format!("GET /v1/subscribe{target} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n{header}\r\n")
    };
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let page = format!("Origin: {PAGE}\r\n");
    for (request, status, wanted) in [
        (ask("", ""), "401", "MISSING_TOKEN"),
        (
            ask("", &page),
            "401",
            "access-control-allow-origin: https://app.example",
        ),
        (ask("", &page), "401", "www-authenticate: Bearer realm=\"campanile\""),
        (ask("?token=cmp_x", ""), "401", "INVALID_TOKEN"),
        (ask("", &bearer(&reader)), "403", "MISSING_SCOPE"),
        (ask("?user=ann", &bearer(&bob)), "403", "OTHER_USER"),
        (ask("", &bearer(&guarded.admin)), "422", "MISSING_FIELD"),
        (ask(&format!("?token={bob}"), ""), "200", "event: hello"),
        (ask("?from=now", &bearer(&bob)), "200", "event: hello"),
        (ask("?user=ann", &bearer(&guarded.admin)), "200", "event: hello"),
    ] {
        for kept in [false, true] {
            let mut client = served.connect().await;
            if kept {
                client.send("GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
                client.until("ok\n").await;
                client.forget();
            }
            client.send(&request).await;
            let answer = client.until(wanted).await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "kept {kept}, {request}: {answer}"
            );
        }
    }
    served.stop().await;
}

/// Calling off, or putting another in its place, is for the sender and for who might have sent it.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_calls_off_what_they_could_not_have_sent() {
    let guarded = Guarded::start().await;
    let bob = guarded.of_bob(&["publish"]).await;
    let urgent = json!({"type": "weather.warning", "priority": "critical", "audience": {"venues": ["v"]}, "title": "T", "body": "B"});
    let urgent = guarded
        .post(&guarded.admin, "/v1/broadcasts", &urgent)
        .await
        .expect(201)
        .json();
    let own = guarded
        .post(&bob, "/v1/broadcasts", &to_venue(&json!({})))
        .await
        .expect(201)
        .json();
    let cancel = |id: &Value| format!("/v1/broadcasts/{}/cancel", id.as_str().unwrap());
    let call = |token: String, path: String| {
        let guarded = &guarded;
        async move { guarded.call(&token, "POST", &path, &[], "").await }
    };
    let refused = call(bob.clone(), cancel(&urgent["id"])).await.expect(403).json();
    assert_eq!(refused["code"], "FORBIDDEN_TYPE_FOR_ROLE");
    let instead = to_venue(&json!({"supersedes": urgent["id"]}));
    for path in ["/v1/broadcasts", "/v1/broadcasts?dry_run=true"] {
        let refused = guarded.post(&bob, path, &instead).await.expect(403).json();
        assert_eq!(refused["code"], "FORBIDDEN_TYPE_FOR_ROLE");
    }
    call(bob, cancel(&own["id"])).await.expect(200);
    call(guarded.admin.clone(), cancel(&urgent["id"])).await.expect(200);
    guarded.node.stop().await;
}
