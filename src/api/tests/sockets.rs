//! The way in over real sockets: strict heads, large bodies, subscribers on fresh and on kept connections.

use super::{Node, broadcast};
use crate::api::serve;
use crate::net::Listener;
use serde_json::json;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(10);
const SSE: &str =
    "GET /v1/subscribe?user=ann&from=now HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n";
const LINES: &str =
    "GET /v1/subscribe?user=ann&from=now HTTP/1.1\r\nHost: localhost\r\nAccept: application/x-ndjson\r\n\r\n";
const WEBSOCKET: &str = "GET /v1/subscribe?user=ann&from=now HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Protocol: campanile.v1\r\n\r\n";
const LIVEZ: &str = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// A node that listens.
pub(super) struct Served {
    node: Node,
    address: SocketAddr,
    close: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl Served {
    async fn start() -> Self {
        let node = Node::start().await;
        node.furnish().await;
        Self::of(node)
    }

    pub(super) fn of(node: Node) -> Self {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), 100).unwrap();
        let address = listener.address().unwrap();
        let (close, closing) = watch::channel(false);
        let serving = tokio::spawn(serve::run(node.context.clone(), listener, None, closing));
        Self {
            node,
            address,
            close,
            serving,
        }
    }

    pub(super) async fn connect(&self) -> Client {
        Client {
            stream: TcpStream::connect(self.address).await.unwrap(),
            read: Vec::new(),
        }
    }

    /// Sends bytes on a fresh connection, and reads until the server closes it.
    async fn exchange(&self, bytes: &[u8]) -> String {
        let mut client = self.connect().await;
        client.stream.write_all(bytes).await.unwrap();
        client.rest().await
    }

    pub(super) async fn stop(self) {
        self.close.send_replace(true);
        timeout(PATIENCE, self.serving).await.expect("the loop ends").unwrap();
        self.node.stop().await;
    }
}

pub(super) struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Client {
    pub(super) async fn send(&mut self, bytes: &str) {
        self.stream.write_all(bytes.as_bytes()).await.unwrap();
    }

    /// What has come so far was looked at.
    pub(super) fn forget(&mut self) {
        self.read.clear();
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.read).into_owned()
    }

    /// Reads until `wanted` has come.
    pub(super) async fn until(&mut self, wanted: &str) -> String {
        let read = async {
            while !self.text().contains(wanted) {
                let count = self.stream.read_buf(&mut self.read).await.unwrap();
                assert_ne!(count, 0, "ended before {wanted:?}: {}", self.text());
            }
        };
        let came = timeout(PATIENCE, read).await.is_ok();
        assert!(came, "{wanted:?} did not come: {}", self.text());
        self.text()
    }

    async fn rest(&mut self) -> String {
        let read = self.stream.read_to_end(&mut self.read);
        timeout(PATIENCE, read).await.expect("the server closes").unwrap();
        self.text()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_be_read_two_ways_ends_the_connection() {
    let served = Served::start().await;
    for (head, status) in [
        (
            "POST /v1/broadcasts HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "400",
        ),
        (
            "POST /v1/broadcasts HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            "400",
        ),
        (
            "POST /v1/broadcasts HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: xchunked\r\n\r\n",
            "400",
        ),
        ("GET /livez HTTP/1.1\nHost: localhost\n\n", "400"),
        ("GET /livez HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n", "400"),
        ("GET /livez HTTP/1.1\r\n\r\n", "400"),
        ("\0\0\0\0\r\n\r\n", "400"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "400"),
    ] {
        // a request hidden behind it must get no answer
        let answer = served.exchange(format!("{head}{LIVEZ}").as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{head:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{head:?}: {answer}");
        assert!(
            answer.contains("connection: close") && answer.contains("campanile-node: 1"),
            "{answer}"
        );
    }
    let headers = "x: y\r\n".repeat(1000);
    let many = format!("GET /livez HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
    let long = format!(
        "GET /livez?{} HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "a".repeat(64 << 10)
    );
    for head in [many, long] {
        assert!(served.exchange(head.as_bytes()).await.starts_with("HTTP/1.1 431 "));
        // the same on a kept connection, where hyper reads the head
        let mut client = served.connect().await;
        client.send(LIVEZ).await;
        client.until("ok\n").await;
        client.read.clear();
        client.send(&head).await;
        let answer = client.rest().await;
        assert!(
            answer.starts_with("HTTP/1.1 431 ") || answer.starts_with("HTTP/1.1 414 "),
            "{answer}"
        );
    }
    served.stop().await;
}

/// What hyper takes from later requests of a connection is no more than what the first may be, as far as it can be told.
#[tokio::test(flavor = "multi_thread")]
async fn a_kept_connection_is_as_strict_as_it_can_be() {
    let served = Served::start().await;
    let post = "POST /v1/broadcasts HTTP/1.1\r\nHost: localhost\r\n";
    let large = format!(
        "GET /livez HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n",
        "x".repeat(17 << 10)
    );
    for (head, status) in [
        (format!("{post}Transfer-Encoding: gzip, chunked\r\n\r\n"), "400"),
        (
            format!("{post}Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"),
            "400",
        ),
        (format!("{post}Host: localhost\r\n\r\n"), "400"),
        (large, "431"),
    ] {
        let mut client = served.connect().await;
        client.send(LIVEZ).await;
        client.until("ok\n").await;
        client.read.clear();
        client.send(&format!("{head}0\r\n\r\n{LIVEZ}")).await;
        let answer = client.rest().await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{head:.99}: {answer}"
        );
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{head:.99}: {answer}");
        let is_problem = answer.contains("MALFORMED_REQUEST");
        assert_eq!(is_problem, status == "400", "{answer}");
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_is_refused_while_it_comes() {
    let served = Served::start().await;
    let told = "POST /v1/broadcasts HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1073741824\r\n\r\n";
    let mut client = served.connect().await;
    client.send(told).await;
    assert!(client.until("TOO_LARGE").await.starts_with("HTTP/1.1 413 "));

    let chunked = "POST /v1/broadcasts HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut client = served.connect().await;
    client.send(chunked).await;
    let chunk = format!("{:x}\r\n{}\r\n", 64 << 10, "x".repeat(64 << 10));
    for _ in 0..32 {
        client.send(&chunk).await;
    }
    let answer = client.until("TOO_LARGE").await;
    assert!(
        answer.starts_with("HTTP/1.1 413 ") && answer.contains("connection: close"),
        "{answer}"
    );
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_answers_many_requests() {
    let served = Served::start().await;
    let body = broadcast(&json!({})).to_string();
    let publish = format!(
        "POST /v1/broadcasts HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut client = served.connect().await;
    client.send(&format!("{publish}{LIVEZ}{publish}")).await;
    client
        .send("GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await;
    let answers = client.rest().await;
    let statuses: Vec<&str> = answers
        .match_indices("HTTP/1.1 ")
        .map(|(at, _)| &answers[at + 9..at + 12])
        .collect();
    assert_eq!(statuses, ["201", "200", "201", "200"], "{answers}");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribers_are_served_on_fresh_and_on_kept_connections() {
    let served = Served::start().await;
    for is_kept in [false, true] {
        for (request, head) in [
            (SSE, "content-type: text/event-stream"),
            (LINES, "content-type: application/x-ndjson"),
            (WEBSOCKET, "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        ] {
            let mut client = served.connect().await;
            if is_kept {
                client.send(LIVEZ).await;
                client.until("ok\n").await;
                client.read.clear();
            }
            client.send(request).await;
            let answer = client.until("\"hello\"").await.to_ascii_lowercase();
            assert!(answer.contains(&head.to_ascii_lowercase()), "kept: {is_kept}, {answer}");
            assert!(answer.contains("campanile-node: 1") || request == WEBSOCKET, "{answer}");
        }
    }
    let refused = served.exchange(SSE.replace("ann", "ghost").as_bytes()).await;
    assert!(
        refused.starts_with("HTTP/1.1 404 ") && refused.contains("application/problem+json"),
        "{refused}"
    );
    let foreign = served
        .exchange(SSE.replace("localhost", "evil.example").as_bytes())
        .await;
    assert!(foreign.starts_with("HTTP/1.1 403 "), "{foreign}");
    let polled = served
        .exchange(
            b"GET /v1/subscribe?user=ann&from=now&wait=20ms HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        )
        .await;
    assert!(
        polled.starts_with("HTTP/1.1 200 ") && polled.contains(r#"{"items":[],"cursor":""#),
        "{polled}"
    );
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_connection_ends_with_the_node() {
    let served = Served::start().await;
    let mut silent = served.connect().await;
    let mut idle = served.connect().await;
    idle.send(LIVEZ).await;
    idle.until("ok\n").await;
    served.stop().await;
    silent.rest().await;
    idle.rest().await;
}
