//! A trace that begins outside goes on: to the frame, to the webhook, to the log, and to a collector that is pushed to.

use super::harness::load::draft;
use super::harness::sink::{Sink, Taken};
use super::harness::{Cluster, Start, Subscriber, Transport, cluster, directory, until};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn given(span: &str, flags: &str) -> String {
    format!("00-{TRACE}-{span}-{flags}")
}

fn users(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn publish(cluster: &Cluster, at: usize, draft: &Value, trace: &str) -> String {
    let headers = [("Content-Type", "application/json"), ("traceparent", trace)];
    let answer = cluster
        .client(at)
        .must("POST", "/v1/broadcasts", &headers, draft.to_string().as_bytes());
    answer.expect(201).json()["id"].as_str().unwrap().to_owned()
}

fn frame(subscriber: &Subscriber, id: &str) -> Value {
    subscriber.until("it comes", SOON, |seen| seen.has(id));
    subscriber.look(|seen| {
        let mut mine = seen.deliveries.iter().filter(|delivery| delivery.id == id);
        mine.next().unwrap().frame.clone()
    })
}

#[test]
fn a_trace_reaches_frames_webhooks_and_the_log() {
    let sink = Sink::start();
    let settings = sink.settings(&["siren"]);
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let shared = cluster::beside_with(3, &settings);
    let cluster = &*shared.cluster;
    let all = users(&["trace-ann"]);
    let applied = directory::import_users(&mut cluster.client(0), &all);
    cluster.wait_applied(applied, SOON);
    let ann = Subscriber::start(&cluster.addresses(), 2, Transport::Sse, "trace-ann", Start::Now).ready();
    let trace = given("00f067aa0ba902b7", "01");
    let mut asked = draft("high", "Who is there?", &all);
    asked["acknowledge"] = json!({"within": "1s", "escalate": [{"after": "1s", "outputs": ["siren"]}]});
    let id = publish(cluster, 0, &asked, &trace);
    assert_eq!(
        frame(&ann, &id)["traceparent"],
        trace,
        "nothing is recorded: it is passed on as it came"
    );
    until("the siren is called", SOON, || {
        sink.taken()
            .into_iter()
            .find(|taken| taken.traceparent == trace && taken.is_signed)
    });
    assert!(sink.is_well());
    let log = std::fs::read_to_string(cluster.folder().join("node-1.log")).unwrap();
    let is_told = |line: &&str| line.contains(TRACE) && line.contains("published");
    assert!(log.lines().any(|line| is_told(&line)), "{}", cluster.log_tail(0));

    let other = draft("high", "without", &all);
    for bad in ["00-no", "", &given("0000000000000000", "01")] {
        let id = publish(cluster, 1, &other, bad);
        assert_eq!(frame(&ann, &id).get("traceparent"), None, "{bad:?}");
    }
    let lines = format!("{other}\n{other}");
    let headers = [("Content-Type", "application/x-ndjson"), ("traceparent", &*trace)];
    let answer = cluster
        .client(1)
        .must("POST", "/v1/broadcasts/batch", &headers, lines.as_bytes());
    for result in answer.expect(200).lines() {
        let id = result["id"].as_str().unwrap();
        assert_eq!(
            frame(&ann, id)["traceparent"],
            trace,
            "each line of a batch belongs to it"
        );
    }
}

/// All that is under `key`, wherever it stands.
fn find<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(members) => {
            for (name, inner) in members {
                if name == key {
                    found.push(inner);
                }
                find(inner, key, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| find(item, key, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Every span that was pushed, as `(node, span)`.
fn spans(sink: &Sink) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for taken in sink.taken().iter().filter(|taken| taken.path == "/otlp/v1/traces") {
        let body: Value = serde_json::from_str(&taken.body).unwrap();
        for resource in body["resourceSpans"].as_array().unwrap() {
            let attributes = resource["resource"]["attributes"].as_array().unwrap();
            let node = attributes
                .iter()
                .find(|one| one["key"] == "service.instance.id")
                .unwrap();
            let node = node["value"]["stringValue"].as_str().unwrap();
            let mut lists = Vec::new();
            find(resource, "spans", &mut lists);
            let each = lists.into_iter().flat_map(|list| list.as_array().unwrap());
            all.extend(each.map(|span| (node.to_owned(), span.clone())));
        }
    }
    all
}

/// A metric of a push.
fn metric(body: &Value, name: &str) -> Value {
    let mut lists = Vec::new();
    find(body, "metrics", &mut lists);
    let mut all = lists.into_iter().flat_map(|list| list.as_array().unwrap());
    all.find(|metric| metric["name"] == name)
        .cloned()
        .unwrap_or(Value::Null)
}

#[test]
fn metrics_and_the_spans_of_a_publish_are_pushed_to_a_collector() {
    let sink = Sink::start();
    let headers = sink.file("headers", "X-Api-Key: hush\n");
    let mut settings = sink.settings(&["siren"]);
    settings.extend([
        format!("otlp.url={}", sink.url("/otlp")),
        format!("otlp.headers_file={}", headers.display()),
        r#"otlp.allow=["127.0.0.0/8"]"#.to_owned(),
        "otlp.traces=true".to_owned(),
        "otlp.every=1s".to_owned(),
    ]);
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let shared = cluster::beside_with(3, &settings);
    let cluster = &*shared.cluster;
    let all = users(&["push-ann"]);
    let applied = directory::import_users(&mut cluster.client(0), &all);
    cluster.wait_applied(applied, SOON);
    let ann = Subscriber::start(&cluster.addresses(), 1, Transport::WebSocket, "push-ann", Start::Now).ready();
    let mut asked = draft("high", "Who is there?", &all);
    asked["acknowledge"] = json!({"within": "1s", "escalate": [{"after": "1s", "outputs": ["siren"]}]});
    let id = publish(cluster, 0, &asked, &given("00f067aa0ba902b7", "01"));
    let unsampled = publish(
        cluster,
        0,
        &draft("high", "not sampled", &all),
        &given("00f067aa0ba902b8", "00"),
    );

    let named = |name: &'static str| move |(_, span): &(String, Value)| span["name"] == name;
    let found = until("all spans are pushed", SOON, || {
        let found = spans(&sink);
        let applied: BTreeSet<&str> = found
            .iter()
            .filter(|one| named("applied")(one))
            .map(|(node, _)| node.as_str())
            .collect();
        let has = |name| found.iter().any(named(name));
        let is_whole = applied.len() == 3 && has("publish") && has("propose") && has("call output");
        is_whole.then(|| found.clone())
    });
    for (_, span) in &found {
        assert_eq!(span["traceId"], TRACE, "{span}");
        let nanos = |key: &str| span[key].as_str().unwrap().parse::<u64>().unwrap();
        assert!(nanos("endTimeUnixNano") >= nanos("startTimeUnixNano"), "{span}");
        assert_eq!(span["status"]["code"], 1, "{span}");
    }
    let published: Vec<_> = found.iter().filter(|one| named("publish")(one)).collect();
    assert_eq!(published.len(), 1, "the one that was not sampled is not recorded");
    let (node, root) = published[0];
    assert_eq!(
        (node.as_str(), &root["parentSpanId"]),
        ("node-1", &json!("00f067aa0ba902b7"))
    );
    for (_, span) in found.iter().filter(|one| !named("publish")(one)) {
        assert_eq!(span["parentSpanId"], root["spanId"], "{span}");
    }
    let parent = format!("00-{TRACE}-{}-01", root["spanId"].as_str().unwrap());
    assert_eq!(frame(&ann, &id)["traceparent"], parent);
    assert_eq!(
        frame(&ann, &unsampled)["traceparent"],
        given("00f067aa0ba902b8", "00"),
        "passed on as it came"
    );
    let (_, call) = found.iter().find(|one| named("call output")(one)).unwrap();
    let within = format!("00-{TRACE}-{}-01", call["spanId"].as_str().unwrap());
    assert!(
        sink.taken().iter().any(|taken| taken.traceparent == within),
        "the webhook is below its attempt"
    );

    let users = |taken: &Taken| {
        let body: Value = serde_json::from_str(&taken.body).unwrap();
        metric(&body, "campanile_users")["gauge"]["dataPoints"][0]["asDouble"].as_f64()
    };
    let taken = until("metrics are pushed", SOON, || {
        let mut taken = sink.taken().into_iter();
        taken.find(|taken| taken.path == "/otlp/v1/metrics" && users(taken) == Some(1.0))
    });
    assert_eq!(taken.key, "hush", "the headers of the file go along");
    let body: Value = serde_json::from_str(&taken.body).unwrap();
    let seconds = &metric(&body, "campanile_log_sync_seconds")["histogram"]["dataPoints"][0];
    assert_eq!(seconds["bucketCounts"].as_array().unwrap().len(), 21, "{seconds}");
    assert!(sink.is_well());
}
