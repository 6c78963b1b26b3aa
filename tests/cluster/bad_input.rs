//! B3, B4: whatever comes in, a problem document goes out, nothing is half applied, and the node lives.

use super::harness::http::{connect, read_head};
use super::harness::{Answer, Client, cluster};
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const KIB: usize = 1024;
const BODY_MAX: usize = 256 * KIB;

/// A body with one field replaced (or added): `field` is raw JSON, so that it may be wrong.
fn with(name: &str, value: &str) -> Vec<u8> {
    let mut fields = vec![
        ("type", "\"bad.input\"".to_owned()),
        ("title", "\"Bad\"".to_owned()),
        ("body", "\"input\"".to_owned()),
        ("audience", "{\"users\": [\"bad-input\"]}".to_owned()),
    ];
    fields.retain(|(known, _)| *known != name);
    fields.push((name, value.to_owned()));
    object(&fields)
}

fn without(name: &str) -> Vec<u8> {
    let whole: serde_json::Value = serde_json::from_slice(&with("drill", "true")).unwrap();
    let mut map = whole.as_object().unwrap().clone();
    map.remove(name);
    serde_json::to_vec(&map).unwrap()
}

fn object(fields: &[(&str, String)]) -> Vec<u8> {
    let inside: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("\"{name}\": {value}"))
        .collect();
    format!("{{{}}}", inside.join(", ")).into_bytes()
}

/// RFC 9457 with our extras; for 422 the place of each fault.
fn assert_problem(answer: &Answer, statuses: &[u16], pointer: Option<&str>, what: &str) {
    let text = answer.text();
    assert!(statuses.contains(&answer.status), "{what}: {} {text}", answer.status);
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json"),
        "{what}: {text}"
    );
    let problem = answer.json();
    for name in ["type", "title", "detail", "code"] {
        assert!(problem[name].is_string(), "{what}: no {name} in {text}");
    }
    assert_eq!(problem["status"], answer.status, "{what}");
    assert!(problem["retryable"].is_boolean(), "{what}: {text}");
    let code = problem["code"].as_str().unwrap();
    let upper = |letter: char| letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_';
    assert!(code.chars().all(upper), "{what}: {code}");
    if let Some(pointer) = pointer {
        let errors = problem["errors"]
            .as_array()
            .unwrap_or_else(|| panic!("{what}: no errors in {text}"));
        let found = errors
            .iter()
            .any(|error| error["pointer"] == pointer && error["code"].is_string());
        assert!(found, "{what}: no {pointer} in {text}");
    }
}

/// What a body is, what may come back, and where the fault is.
type Case = (&'static str, Vec<u8>, &'static [u16], Option<&'static str>);

fn malformed() -> Vec<Case> {
    let deep = |open: &str, close: &str| open.repeat(10_000) + &close.repeat(10_000);
    vec![
        ("nothing", vec![], &[400], None),
        ("half an object", b"{\"type\": \"bad.input\"".to_vec(), &[400], None),
        ("not JSON", b"type=bad.input".to_vec(), &[400], None),
        ("two documents", b"{} {}".to_vec(), &[400], None),
        ("NUL", b"\0".to_vec(), &[400], None),
        ("NUL in a text", b"{\"title\": \"a\0b\"}".to_vec(), &[400], None),
        ("invalid UTF-8", b"{\"title\": \"\xff\xfe\"}".to_vec(), &[400], None),
        ("overlong UTF-8", b"{\"title\": \"\xc0\xaf\"}".to_vec(), &[400], None),
        ("a lone surrogate", with("title", "\"\\ud800\""), &[400, 422], None),
        (
            "surrogates in the wrong order",
            with("title", "\"\\udc00\\ud800\""),
            &[400, 422],
            None,
        ),
        ("1e999", with("data", "1e999"), &[400, 422], None),
        ("10,000 deep lists", deep("[", "]").into_bytes(), &[400, 422], None),
        ("10,000 deep in data", with("data", &deep("[", "]")), &[400, 422], None),
        (
            "10,000 deep objects",
            with(
                "data",
                &(deep("{\"a\":", "").replace('}', "") + "1" + &"}".repeat(10_000)),
            ),
            &[400, 422],
            None,
        ),
        (
            "a key twice",
            object(&[("type", "\"a.b\"".into()), ("type", "\"a.b\"".into())]),
            &[400, 422],
            None,
        ),
        (
            "a key twice, deeper",
            with("audience", "{\"users\": [\"a\"], \"users\": [\"b\"]}"),
            &[400, 422],
            None,
        ),
        ("a list", b"[]".to_vec(), &[400, 422], None),
        ("null", b"null".to_vec(), &[400, 422], None),
    ]
}

fn invalid() -> Vec<Case> {
    let long = |count: usize| format!("\"{}\"", "x".repeat(count));
    vec![
        ("an unknown field", with("colour", "\"red\""), &[422], Some("/colour")),
        (
            "an unknown key in a clause",
            with("audience", "{\"planets\": [\"mars\"]}"),
            &[422],
            Some("/audience/planets"),
        ),
        ("no type", without("type"), &[422], Some("/type")),
        ("no title", without("title"), &[422], Some("/title")),
        ("no body", without("body"), &[422], Some("/body")),
        ("no audience", without("audience"), &[422], Some("/audience")),
        ("a number for a text", with("title", "7"), &[422], Some("/title")),
        ("a list for a text", with("body", "[\"a\"]"), &[422], Some("/body")),
        ("a text for a bool", with("drill", "\"yes\""), &[422], Some("/drill")),
        (
            "an unknown priority",
            with("priority", "\"absurd\""),
            &[422],
            Some("/priority"),
        ),
        (
            "a text for a list",
            with("audience", "{\"users\": \"u-1\"}"),
            &[422],
            Some("/audience/users"),
        ),
        (
            "a number in a list",
            with("audience", "[{\"users\": [1]}]"),
            &[422],
            Some("/audience/0/users/0"),
        ),
        ("an empty title", with("title", "\"\""), &[422], Some("/title")),
        ("a title of 201", with("title", &long(201)), &[422], Some("/title")),
        ("a body of 1,001", with("body", &long(1_001)), &[422], Some("/body")),
        (
            "a type with spaces",
            with("type", "\"Bad Input\""),
            &[422],
            Some("/type"),
        ),
        (
            "not a date",
            with("expires_at", "\"tomorrow\""),
            &[422],
            Some("/expires_at"),
        ),
        (
            "no zone",
            with("expires_at", "\"2090-06-19T16:42:00\""),
            &[422],
            Some("/expires_at"),
        ),
        (
            "the 30th of February",
            with("expires_at", "\"2090-02-30T10:00:00Z\""),
            &[422],
            Some("/expires_at"),
        ),
        (
            "the year 999999999",
            with("expires_at", "\"999999999-01-01T10:00:00Z\""),
            &[422],
            Some("/expires_at"),
        ),
        (
            "long ago",
            with("expires_at", "\"0001-01-01T00:00:00Z\""),
            &[422],
            Some("/expires_at"),
        ),
        ("a number for a date", with("expires_at", "1e300"), &[400, 422], None),
        (
            "beyond 30 days",
            with("expires_at", "\"2090-01-01T00:00:00Z\""),
            &[422],
            Some("/expires_at"),
        ),
        ("17 KiB of data", with("data", &long(17 * KIB)), &[422], Some("/data")),
        (
            "not a duration",
            with("acknowledge", "{\"within\": \"soon\"}"),
            &[422],
            Some("/acknowledge/within"),
        ),
        (
            "a negative count",
            with(
                "acknowledge",
                "{\"within\": \"5s\", \"need\": [{\"role\": \"dj\", \"count\": -1}]}",
            ),
            &[422],
            Some("/acknowledge/need/0/count"),
        ),
        ("not an id", with("supersedes", "\"no\""), &[422], Some("/supersedes")),
    ]
}

#[test]
fn bad_bodies_are_refused_and_nothing_is_kept() {
    let shared = cluster::shared();
    let cluster = &*shared.cluster;
    for at in 0..3 {
        let mut client = cluster.client(at);
        for (what, body, statuses, pointer) in malformed().into_iter().chain(invalid()) {
            let answer = client.must("POST", "/v1/broadcasts", &[("Content-Type", "application/json")], &body);
            assert_problem(&answer, statuses, pointer, what);
        }
    }
    let kept = cluster
        .client(0)
        .get("/v1/broadcasts?type=bad.input&consistency=strong")
        .expect(200)
        .json();
    assert_eq!(kept["items"].as_array().map(Vec::len), Some(0), "{kept}");
}

#[test]
fn bad_bodies_are_refused_at_every_door() {
    let shared = cluster::shared();
    let mut client = shared.cluster.client(1);
    let doors = [
        ("PUT", "/v1/users/bad-input"),
        ("PUT", "/v1/venues/bad-input"),
        ("PUT", "/v1/weddings/bad-input"),
        ("PUT", "/v1/segments/bad-input"),
        ("PUT", "/v1/weddings/bad-input/members"),
        ("PUT", "/v1/users/bad-input/preferences"),
        ("POST", "/v1/receipts?user=bad-input"),
        ("POST", "/v1/acknowledgements?user=bad-input"),
    ];
    for (method, path) in doors {
        for (what, body, _, _) in malformed() {
            if body.is_empty() {
                continue;
            }
            let answer = client.must(method, path, &[("Content-Type", "application/json")], &body);
            let list_is_right = what == "a list" && path.ends_with("/members");
            assert_problem(
                &answer,
                &[400, 404, 422],
                None,
                &format!("{what} at {method} {path} {list_is_right}"),
            );
        }
    }
    client.get("/v1/users/bad-input").expect(404);
    for query in [
        "limit=0",
        "limit=101",
        "limit=x",
        "priority=absurd",
        "status=absurd",
        "since=tomorrow",
        "after=%00",
    ] {
        let answer = client.get(&format!("/v1/broadcasts?{query}"));
        assert_problem(&answer, &[400, 422], None, query);
    }
    for path in [
        "/v1/broadcasts/no",
        "/v1/broadcasts/01JXXXXXXXXXXXXXXXXXXXXXXX",
        "/v1/nothing",
        "/v1/users/%ff",
    ] {
        assert_problem(&client.get(path), &[400, 404], None, path);
    }
    let wrong_type = client.must("POST", "/v1/broadcasts", &[("Content-Type", "text/xml")], b"<a/>");
    assert_problem(&wrong_type, &[415], None, "XML");
}

#[test]
fn bad_lines_of_a_batch_are_answered_one_by_one() {
    let shared = cluster::shared();
    let mut client = shared.cluster.client(2);
    let one_line = |body: &[u8]| !body.is_empty() && !body.contains(&b'\n');
    let cases: Vec<Case> = malformed()
        .into_iter()
        .chain(invalid())
        .filter(|case| one_line(&case.1))
        .collect();
    let mut body = Vec::new();
    for (_, line, _, _) in &cases {
        body.extend_from_slice(line);
        body.push(b'\n');
    }
    let typed = [("Content-Type", "application/x-ndjson")];
    let answer = client.must("POST", "/v1/broadcasts/batch", &typed, &body).expect(200);
    let results = answer.lines();
    assert_eq!(results.len(), cases.len());
    for ((what, ..), result) in cases.iter().zip(results) {
        assert!(
            result["code"].is_string() && result["status"].as_u64() >= Some(400),
            "{what}: {result}"
        );
    }
}

#[test]
fn large_bodies_are_cut_early() {
    let shared = cluster::shared();
    let cluster = &*shared.cluster;
    let mut client = cluster.client(0);
    let padded = |length: usize| {
        let mut body = with("priority", "\"absurd\"");
        body.resize(length, b' ');
        body
    };
    let typed = [("Content-Type", "application/json")];
    let just = client.must("POST", "/v1/broadcasts", &typed, &padded(BODY_MAX));
    assert_problem(&just, &[422], Some("/priority"), "the limit");
    let over = client.must("POST", "/v1/broadcasts", &typed, &padded(BODY_MAX + 1));
    assert_problem(&over, &[413], None, "the limit and one");

    let (answer, sent) = stream_until_answered(cluster.nodes[1].address, 1 << 30);
    assert_problem(&answer, &[413], None, "1 GiB in chunks");
    assert!(sent < 32 << 20, "{sent} bytes were taken before the 413");

    // A promise of 1 GiB that is not kept: refused by its head.
    let head = format!(
        "POST /v1/broadcasts HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        cluster.nodes[2].address,
        1 << 30
    );
    let answer = cluster.client(2).raw(head.as_bytes()).unwrap();
    assert_problem(&answer, &[413], None, "a promise of 1 GiB");

    let line = format!("{{\"kind\": \"user\", \"id\": \"{}\"}}\n", "x".repeat(65 * KIB));
    let typed = [("Content-Type", "application/x-ndjson")];
    let answer = client.must("POST", "/v1/import", &typed, line.as_bytes());
    assert!(
        answer.status < 500 && answer.text().contains("code"),
        "{}",
        answer.text()
    );
    for at in 0..3 {
        cluster.client(at).get("/readyz?write=1").expect(200);
    }
}

/// Sends chunks until the server answers; how many bytes it took to hear it.
fn stream_until_answered(address: SocketAddr, total: usize) -> (Answer, usize) {
    let mut stream = connect(address, Duration::from_secs(10)).unwrap();
    let head = format!(
        "POST /v1/broadcasts HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    stream.get_mut().write_all(head.as_bytes()).unwrap();
    let chunk = [
        format!("{:x}\r\n", 64 * KIB).into_bytes(),
        vec![b' '; 64 * KIB],
        b"\r\n".to_vec(),
    ]
    .concat();
    let mut sent = 0;
    let end = Instant::now() + Duration::from_secs(30);
    while sent < total && Instant::now() < end {
        if stream.get_mut().write_all(&chunk).is_err() || answered(&stream) {
            break;
        }
        sent += chunk.len();
    }
    let mut answer = read_head(&mut stream).unwrap();
    let length: u64 = answer.header("content-length").unwrap().parse().unwrap();
    std::io::Read::read_to_end(&mut std::io::Read::take(&mut stream, length), &mut answer.body).unwrap();
    (answer, sent)
}

fn answered(stream: &std::io::BufReader<std::net::TcpStream>) -> bool {
    let socket = stream.get_ref();
    socket.set_nonblocking(true).unwrap();
    let quiet = matches!(socket.peek(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock);
    socket.set_nonblocking(false).unwrap();
    !quiet
}

#[test]
fn broken_heads_are_refused() {
    let shared = cluster::shared();
    let address = shared.cluster.nodes[0].address;
    let check = |what: &str, request: &[u8], statuses: &[u16]| {
        let answer = Client::new(address).raw(request);
        match answer {
            Ok(answer) => assert!(statuses.contains(&answer.status), "{what}: {}", answer.status),
            // Closing without a word is an answer to what is not HTTP.
            Err(error) => assert_ne!(error.kind(), ErrorKind::WouldBlock, "{what}: {error}"),
        }
    };
    let get = |extra: &str| format!("GET /livez HTTP/1.1\r\nHost: {address}\r\n{extra}\r\n").into_bytes();
    check("not HTTP", b"\x16\x03\x01\x02\x00\r\n\r\n", &[400]);
    check("no version", b"GET /livez\r\n\r\n", &[400]);
    check(
        "a header of 64 KiB",
        &get(&format!("X-Long: {}\r\n", "x".repeat(64 * KIB))),
        &[400, 431],
    );
    check("1,000 headers", &get(&"X-Many: 1\r\n".repeat(1_000)), &[400, 431]);
    check(
        "two lengths",
        &get("Content-Length: 1\r\nContent-Length: 2\r\n"),
        &[400],
    );
    check(
        "another host",
        b"GET /v1/cluster HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        &[400, 403, 421],
    );
    let foreign = format!("GET /v1/cluster HTTP/1.1\r\nHost: {address}\r\nOrigin: http://evil.example\r\n\r\n");
    check("another origin", foreign.as_bytes(), &[403]);
    Client::new(address).get("/livez").expect(200);
}
