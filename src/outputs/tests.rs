//! Calls from settings to a real server on this machine and back.

use super::message::tests::{drill, escalated};
use super::{BreakerState, Config, Failure, Message, OutputStatus, Outputs, Shape, Target};
use crate::base::clock;
use crate::base::size::Span;
use crate::metrics::METRICS;
use crate::net::outbound::server::{Play, Received, Server};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use serde_json::Value;
use sha2::Sha256;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

const KEYS: [&[u8]; 2] = [b"the first key of the siren", b"and the one that comes next"];

/// Settings, and the folder where their files are.
struct Bench {
    folder: TempDir,
    config: Config,
}

impl Bench {
    fn new(allow: &str) -> Self {
        let allow = serde_json::from_str(&format!("[{allow:?}]")).unwrap();
        let config = Config {
            allow,
            timeout: Span::seconds(15),
            ..Config::default()
        };
        let folder = tempfile::tempdir().unwrap();
        Self { folder, config }
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The output `siren` at this URL, with both keys.
    fn siren(mut self, url: &str) -> Self {
        let secrets = KEYS.map(|key| format!("whsec_{}\n", STANDARD.encode(key))).concat();
        let target = Target {
            name: "siren".into(),
            url: Some(url.into()),
            url_file: None,
            shape: Shape::Webhook,
            secret_file: Some(self.file("siren.key", &secrets)),
        };
        self.config.targets.push(target);
        self
    }

    fn outputs(&self) -> Outputs {
        Outputs::new(&self.config).unwrap()
    }
}

/// Outputs with one siren at a server that plays this.
async fn siren(plays: &[Play], set: impl FnOnce(&mut Config)) -> (Server, Outputs) {
    let server = Server::plain(plays).await;
    let mut bench = Bench::new("127.0.0.0/8").siren(&server.url("/hook"));
    set(&mut bench.config);
    (server, bench.outputs())
}

fn say(status: &str) -> Play {
    Play::Say(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n"))
}

async fn call(outputs: &Outputs) -> Result<(), Failure> {
    outputs.call("siren", &escalated()).await
}

fn status(outputs: &Outputs) -> OutputStatus {
    outputs.status().remove(0)
}

/// What a receiver does that knows one of the keys.
fn verify(received: &Received, key: &[u8]) -> bool {
    let header = |name: &str| received.header(name).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(format!("{}.{}.", header("webhook-id"), header("webhook-timestamp")).as_bytes());
    mac.update(&received.body);
    let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    header("webhook-signature").split(' ').any(|found| found == expected)
}

#[tokio::test]
async fn a_webhook_arrives_and_can_be_verified_with_either_key() {
    let (mut server, outputs) = siren(&[say("500 No"), say("204 Taken")], |_| {}).await;
    let first = call(&outputs).await.unwrap_err();
    assert_eq!((first.detail.as_str(), first.is_final), ("it answered 500", false));
    let before = clock::wall() / 1000;
    call(&outputs).await.unwrap();
    let (first, second) = (server.request().await, server.request().await);
    for received in [&first, &second] {
        assert!(received.head.starts_with("POST /hook HTTP/1.1"), "{}", received.head);
        assert_eq!(
            received.header("webhook-id"),
            Some("out-01J8ZB-1"),
            "the same at every attempt"
        );
        assert_eq!(received.header("content-type"), Some("application/json"));
        assert!(received.header("user-agent").unwrap().starts_with("campanile/"));
        assert!(KEYS.iter().all(|key| verify(received, key)));
        assert!(!verify(received, b"a key of somebody else's..."));
    }
    let seconds: i64 = second.header("webhook-timestamp").unwrap().parse().unwrap();
    assert!((before..=clock::wall() / 1000).contains(&seconds), "of this attempt");
    let body: Value = serde_json::from_slice(&second.body).unwrap();
    assert_eq!(body["type"], "broadcast.escalated");
    assert_eq!(body["timestamp"], "2027-06-19T20:42:00.250Z");
}

#[tokio::test]
async fn each_shape_speaks_its_own_words_and_a_drill_says_so() {
    let mut server = Server::plain(&[say("200 OK")]).await;
    let mut bench = Bench::new("127.0.0.0/8").siren(&server.url("/"));
    let chat = Target {
        name: "chat".into(),
        url: None,
        url_file: Some(bench.file("chat.url", &format!("{}\n", server.url("/services/secret")))),
        shape: Shape::Slack,
        secret_file: None,
    };
    let pager = Target {
        name: "pager".into(),
        url: Some(server.url("/v2/enqueue")),
        shape: Shape::PagerDuty,
        secret_file: Some(bench.file("pager.key", "R0UTINGKEY\n")),
        ..chat.clone()
    };
    let pager = Target {
        url_file: None,
        ..pager
    };
    bench.config.targets.extend([chat, pager]);
    let outputs = bench.outputs();
    assert_eq!(outputs.names().collect::<Vec<_>>(), ["chat", "pager", "siren"]);
    for (name, path, headline) in [
        ("siren", "/", "/data/summary"),
        ("chat", "/services/secret", "/blocks/0/text/text"),
        ("pager", "/v2/enqueue", "/payload/summary"),
    ] {
        outputs.call(name, &drill()).await.unwrap();
        let received = server.request().await;
        assert!(
            received.head.starts_with(&format!("POST {path} HTTP/1.1\r\n")),
            "{}",
            received.head
        );
        assert_eq!(received.header("webhook-signature").is_some(), name == "siren");
        let body: Value = serde_json::from_slice(&received.body).unwrap();
        let text = body.pointer(headline).and_then(Value::as_str).unwrap();
        assert!(text.starts_with("DRILL: "), "{text}");
    }
    let host = server.address.to_string();
    let shown = format!("{:?}", outputs.status());
    assert!(
        shown.contains(&host) && !shown.contains("secret") && !shown.contains("R0UTINGKEY"),
        "{shown}"
    );
}

#[tokio::test]
async fn an_answer_says_whether_and_when_to_try_again() {
    let busy = Play::Say("HTTP/1.1 429 Slow\r\nretry-after: 120\r\ncontent-length: 0\r\n\r\n".into());
    let redirect = Play::Say("HTTP/1.1 302 There\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n".into());
    let (server, outputs) = siren(&[say("410 Gone"), busy, redirect], |_| {}).await;
    let gone = call(&outputs).await.unwrap_err();
    assert!(gone.is_final && gone.detail.contains("410"), "{gone:?}");
    let busy = call(&outputs).await.unwrap_err();
    assert_eq!(
        (busy.is_final, busy.retry_after),
        (false, Some(Duration::from_secs(120)))
    );
    let elsewhere = call(&outputs).await.unwrap_err();
    assert!(elsewhere.detail.contains("redirects are not followed"), "{elsewhere:?}");
    assert_eq!(server.connections(), 3);
    let status = status(&outputs);
    assert_eq!((status.failures, status.last_error), (3, Some(elsewhere.detail)));
}

#[tokio::test]
async fn who_does_not_answer_is_left_alone_until_one_call_gets_through() {
    let set = |config: &mut Config| {
        config.breaker_failures = 2;
        config.breaker_open = Span::seconds(1);
        config.timeout = Span::seconds(1);
    };
    let (server, outputs) = siren(&[Play::Hang, Play::Hear, say("200 OK")], set).await;
    for _ in 0..2 {
        let late = call(&outputs).await.unwrap_err();
        assert!(late.detail.contains("did not answer within 1s"), "{late:?}");
    }
    let tried = clock::now();
    let refused = call(&outputs).await.unwrap_err();
    let left = refused.retry_after.unwrap();
    assert!(!refused.is_final && left <= Duration::from_secs(1), "{refused:?}");
    assert!(refused.detail.contains("failed 2 times in a row"), "{refused:?}");
    assert_eq!(
        (status(&outputs).breaker, server.connections()),
        (BreakerState::Open, 2)
    );
    while let Err(again) = call(&outputs).await {
        assert!(tried.elapsed() < Duration::from_secs(15), "{again:?}");
        let wait = again.retry_after.unwrap_or_default();
        let _ = tokio::time::timeout(wait, std::future::pending::<()>()).await;
    }
    assert!(tried.elapsed() >= left, "it was let through early");
    let found = status(&outputs);
    assert_eq!((found.breaker, found.failures), (BreakerState::Closed, 0));
    assert!(server.connections() >= 3);
    assert!(found.last_success_at.is_some_and(|at| at <= clock::wall()));
}

#[tokio::test]
async fn calls_to_one_output_take_turns() {
    let (mut server, outputs) = siren(&[Play::Hear, say("200 OK")], |config| config.in_flight_max = 1).await;
    let mut first = Box::pin(call(&outputs));
    tokio::select! {
        ended = &mut first => panic!("{ended:?}"),
        _ = server.request() => {}
    }
    let mut second = Box::pin(call(&outputs));
    let waited = tokio::time::timeout(Duration::from_millis(100), &mut second).await;
    assert!(waited.is_err() && server.connections() == 1, "{waited:?}");
    drop(first);
    second.await.unwrap();
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn nobody_waits_for_a_turn_for_ever() {
    let set = |config: &mut Config| {
        config.in_flight_max = 1;
        config.timeout = Span::millis(300);
    };
    let (server, outputs) = siren(&[Play::Hear], set).await;
    let (first, _, third) = tokio::join!(call(&outputs), call(&outputs), call(&outputs));
    assert!(first.unwrap_err().detail.contains("did not answer"));
    assert_eq!(third.unwrap_err().detail, "1 calls to it are under way already");
    assert!(server.connections() <= 2);
    assert!(
        status(&outputs).failures <= 2,
        "who had no turn says nothing about the output"
    );
}

#[tokio::test]
async fn a_name_that_leads_into_this_machine_is_not_called() {
    let server = Server::plain(&[say("200 OK")]).await;
    let url = format!("http://localhost:{}/", server.address.port());
    let outputs = Bench::new("10.0.0.0/8").siren(&url).outputs();
    let refused = call(&outputs).await.unwrap_err();
    assert!(
        refused.detail.contains("may not be called") && refused.detail.contains("loopback"),
        "{refused:?}"
    );
    assert_eq!((refused.is_final, server.connections()), (false, 0));
    Bench::new("127.0.0.0/8")
        .siren(&url)
        .outputs()
        .call("siren", &drill())
        .await
        .unwrap();
}

#[tokio::test]
async fn an_authority_of_the_house_is_believed_when_it_is_named() {
    let server = Server::tls(&[say("200 OK")], "localhost").await;
    let url = format!("https://localhost:{}/", server.address.port());
    let mut bench = Bench::new("127.0.0.0/8").siren(&url);
    bench.config.ca_file = bench.file("house.pem", &server.authority);
    call(&bench.outputs()).await.unwrap();
    let other = Server::tls(&[say("200 OK")], "localhost").await;
    bench.config.ca_file = bench.file("other.pem", &other.authority);
    let refused = call(&bench.outputs()).await.unwrap_err();
    assert!(refused.detail.contains("no TLS with localhost"), "{refused:?}");
}

#[tokio::test]
async fn what_cannot_be_sent_is_final_and_what_is_not_known_is_not() {
    let (server, outputs) = siren(&[say("200 OK")], |_| {}).await;
    let broken = Message {
        id: "a\nb".into(),
        ..escalated()
    };
    assert!(outputs.call("siren", &broken).await.unwrap_err().is_final);
    let unknown = outputs.call("sirene", &escalated()).await.unwrap_err();
    assert!(
        !unknown.is_final && unknown.detail.contains("no output \"sirene\""),
        "{unknown:?}"
    );
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn calls_are_counted_by_how_they_end() {
    let server = Server::plain(&[say("200 OK"), say("404 No")]).await;
    let mut bench = Bench::new("127.0.0.0/8").siren(&server.url("/"));
    bench.config.targets[0].name = "counted".into();
    let outputs = Arc::new(bench.outputs());
    for is_taken in [true, false, false] {
        let outputs = outputs.clone();
        let called = tokio::spawn(async move { outputs.call("counted", &escalated()).await });
        assert_eq!(called.await.unwrap().is_ok(), is_taken);
    }
    let text = METRICS.text();
    for line in [
        "campanile_output_calls_total{output=\"counted\",result=\"taken\"} 1",
        "campanile_output_calls_total{output=\"counted\",result=\"refused\"} 2",
    ] {
        assert!(text.contains(line), "{text}");
    }
    assert!(text.contains("campanile_output_call_seconds_count"));
}

/// Files of the output `siren`, and how the refusal to start ends.
fn check_start(shape: Shape, secret: &str, url: &str, expected: &str) {
    let mut bench = Bench::new("127.0.0.0/8");
    let target = Target {
        name: "siren".into(),
        url: None,
        url_file: Some(bench.file("siren.url", url)),
        shape,
        secret_file: (shape != Shape::Slack).then(|| bench.file("siren.key", secret)),
    };
    bench.config.targets.push(target);
    let refused = Outputs::new(&bench.config).err().map(|error| error.to_string());
    let refused = refused.unwrap_or_default();
    assert!(refused.ends_with(expected), "{refused}");
    assert!(
        expected.is_empty() == refused.is_empty() && !refused.contains("hush"),
        "{refused}"
    );
}

#[test]
fn a_bad_file_refuses_the_start() {
    let key = format!("whsec_{}", STANDARD.encode(KEYS[0]));
    check_start(Shape::Webhook, &key, "http://a/hush", "");
    check_start(
        Shape::Webhook,
        "hush",
        "http://a/",
        "siren.key cannot be used: line 1 does not begin with whsec_",
    );
    check_start(Shape::Webhook, "\n", "http://a/", "siren.key is empty");
    check_start(
        Shape::PagerDuty,
        "hush hush",
        "http://a/",
        "it must be one line without blanks",
    );
    check_start(Shape::PagerDuty, "key", "http://a/hush", "");
    check_start(
        Shape::Slack,
        "",
        "ftp://a/hush",
        "siren.url cannot be used: its URL must begin with http:// or https://",
    );
    check_start(
        Shape::Slack,
        "",
        "http://a/hush\nhttp://b/",
        "it must be one line without blanks",
    );
}

#[test]
fn a_missing_file_refuses_the_start() {
    let mut bench = Bench::new("127.0.0.0/8").siren("http://a/");
    let refusal = |config: &Config| Outputs::new(config).err().unwrap().to_string();
    bench.config.ca_file = "nowhere.pem".into();
    assert!(refusal(&bench.config).starts_with("outputs.ca_file: nowhere.pem cannot be read"));
    bench.config.ca_file = bench.file("empty.pem", "nothing");
    assert!(refusal(&bench.config).ends_with("it has no certificate in PEM"));
    bench.config.targets[0].secret_file = Some("nowhere.key".into());
    let refused = refusal(&bench.config);
    assert!(
        refused.starts_with("outputs.targets, siren: secret_file: nowhere.key cannot be read"),
        "{refused}"
    );
    bench.config.targets[0].name = "Siren".into();
    assert!(refusal(&bench.config).contains("a name must be"));
}
