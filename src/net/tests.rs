//! The way in and the way out against each other, over real sockets.

use super::client::streamed_body;
use super::head::{self, Opening};
use super::subscription::Frame;
use super::tls::Opened;
use super::tls::bench::Bench;
use super::{Client, ClientError, Head, Listener, Rewind, Stream, Subscription, Transport, rewind, websocket};
use crate::base::clock;
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// A server that answers subscribers by hand and everything else through hyper, as the node does.
fn server() -> (String, Arc<AtomicUsize>) {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), 100).unwrap();
    let url = format!("http://{}", listener.address().unwrap());
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = accepted.clone();
    tokio::spawn(async move {
        loop {
            let connection = listener.accept().await;
            count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(serve(connection.stream));
        }
    });
    (url, accepted)
}

async fn serve(mut stream: TcpStream) {
    let deadline = clock::now() + Duration::from_secs(5);
    let Ok(Opening::Http1 { head, length, read }) = head::read(&mut stream, deadline).await else {
        return;
    };
    if head.is_subscribe() && !head.query().contains("refused") {
        return by_hand(stream, &head, read.slice(length..)).await;
    }
    let io = TokioIo::new(Rewind::new(Stream::from(stream), read));
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(io, service_fn(through_hyper))
        .with_upgrades()
        .await;
}

async fn by_hand(mut stream: TcpStream, head: &Head, behind: Bytes) {
    let cursor = head.header("last-event-id").unwrap_or("none").to_owned();
    if websocket::is_upgrade(head) {
        stream.write_all(&websocket::upgrade(head).unwrap()).await.unwrap();
        return speak(stream, behind, &cursor).await;
    }
    let is_sse = head.header("accept") == Some("text/event-stream");
    let (kind, text) = if is_sse {
        (
            "text/event-stream",
            format!("event: hello\ndata: {{\"was\":\"{cursor}\"}}\n\nid: 1.2\n\n: beat\n\n"),
        )
    } else {
        (
            "application/x-ndjson",
            format!("{{\"event\":\"hello\",\"was\":\"{cursor}\"}}\n\n{{\"event\":\"cursor\",\"cursor\":\"1.2\"}}\n"),
        )
    };
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n{text}");
    stream.write_all(answer.as_bytes()).await.unwrap();
}

/// A WebSocket that says hello, pings, repeats what it hears unmasked, and closes.
async fn speak(mut stream: TcpStream, behind: Bytes, cursor: &str) {
    let text = |text: &str| [&[0x81, text.len() as u8], text.as_bytes()].concat();
    let mut out = text(&format!("{{\"event\":\"hello\",\"was\":\"{cursor}\"}}"));
    out.extend([0x89, 1, b'p']);
    stream.write_all(&out).await.unwrap();
    let mut heard = behind.to_vec();
    // A masked pong of one byte, then a masked close's six bytes of head and two of code come back.
    while heard.len() < 7 {
        assert!(stream.read_buf(&mut heard).await.unwrap() > 0);
    }
    assert_eq!((heard[0], heard[1], heard[6] ^ heard[2]), (0x8A, 0x81, b'p'));
    let mut out = text("{\"event\":\"cursor\",\"cursor\":\"1.2\"}");
    out.extend([0x88, 4, 0x03, 0xF4, b'o', b'k']);
    stream.write_all(&out).await.unwrap();
    let _ = stream.read_to_end(&mut heard).await;
}

async fn through_hyper(mut request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let bearer = request.headers().get("authorization").cloned();
    if path == "/upgrade" {
        let waiting = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let (mut stream, read) = rewind::socket(waiting.await.unwrap()).unwrap();
            let answer = [b"raw ".as_slice(), &read].concat();
            stream.write_all(&answer).await.unwrap();
        });
        let answer = Response::builder()
            .status(101)
            .header("upgrade", "raw")
            .header("connection", "upgrade");
        return Ok(answer.body(Full::default()).unwrap());
    }
    if path == "/never" {
        std::future::pending::<()>().await;
    }
    let status = if path == "/v1/subscribe" { 403 } else { 200 };
    let method = request.method().clone();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let text = format!("{method} {path} {bearer:?} {}", String::from_utf8_lossy(&body));
    Ok(Response::builder().status(status).body(Full::from(text)).unwrap())
}

#[tokio::test]
async fn requests_are_answered_over_kept_connections() {
    let (url, accepted) = server();
    let client = Client::new(&url, Some("t".into())).unwrap();
    for _ in 0..5 {
        let answer = client.post("/x?y=z", "{}", &[("idempotency-key", "k")]).await.unwrap();
        assert!(answer.is_success());
        assert_eq!(
            answer.body,
            "POST /x Some(Sensitive) {}".replace("Sensitive", "\"Bearer t\"")
        );
    }
    assert_eq!(client.get("/a").await.unwrap().body, "GET /a Some(\"Bearer t\") ");
    assert_eq!(client.put("/b", "1").await.unwrap().body, "PUT /b Some(\"Bearer t\") 1");
    assert_eq!(client.delete("/c").await.unwrap().body, "DELETE /c Some(\"Bearer t\") ");
    assert_eq!(accepted.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_slow_server_and_a_dead_one_are_errors() {
    let (url, _) = server();
    let client = Client::new(&url, None)
        .unwrap()
        .with_deadline(Duration::from_millis(50));
    assert!(matches!(client.get("/never").await, Err(ClientError::TooSlow { .. })));
    let free = Listener::bind("127.0.0.1:0".parse().unwrap(), 1)
        .unwrap()
        .address()
        .unwrap();
    let client = Client::new(&format!("http://{free}"), None).unwrap();
    assert!(matches!(client.get("/").await, Err(ClientError::Unreachable { .. })));
    for bad in [
        "",
        "127.0.0.1:8205",
        "https://h/path",
        "http://h/path",
        "http://u@h",
        "ftp://h",
    ] {
        assert!(matches!(Client::new(bad, None), Err(ClientError::Url { .. })), "{bad}");
    }
}

#[tokio::test]
async fn bodies_stream_both_ways() {
    let (url, _) = server();
    let client = Client::new(&url, None).unwrap();
    let (sender, chunks) = mpsc::channel(2);
    let request = client.request(Method::POST, "/s", &[], streamed_body(chunks)).unwrap();
    tokio::spawn(async move {
        for part in ["one\nt", "wo\n", "three"] {
            sender.send(Bytes::from(part)).await.unwrap();
        }
    });
    let mut lines = client.open(request).await.unwrap();
    let mut found = Vec::new();
    while let Some(line) = lines.next().await.unwrap() {
        found.push(String::from_utf8(line.to_vec()).unwrap());
    }
    assert_eq!(found, ["POST /s None one", "two", "three"]);
}

#[tokio::test]
async fn one_road_for_all_transports() {
    let (url, _) = server();
    let client = Client::new(&url, None).unwrap();
    for (transport, code) in [
        (Transport::WebSocket, Some(1012)),
        (Transport::Sse, None),
        (Transport::Lines, None),
    ] {
        for cursor in [None, Some("0.9")] {
            let mut stream = Subscription::open(&client, transport, "user=u-1", cursor)
                .await
                .unwrap();
            let Frame { event, data } = stream.next().await.unwrap().unwrap();
            assert_eq!(event, "hello");
            assert!(
                data.contains(&format!("\"was\":\"{}\"", cursor.unwrap_or("none"))),
                "{data}"
            );
            assert_eq!(stream.next().await.unwrap(), None, "{transport:?}");
            assert_eq!(stream.cursor(), Some("1.2"), "{transport:?}");
            assert_eq!(stream.closed().map(|closed| closed.code), code);
        }
        let refused = Subscription::open(&client, transport, "refused=1", None)
            .await
            .err()
            .unwrap();
        let ClientError::Refused(answer) = refused else {
            panic!("{refused}")
        };
        assert_eq!(answer.status, 403);
    }
}

/// What a server writes in one piece is given out frame by frame, and the cursor never stands behind a frame that was not.
#[tokio::test]
async fn a_cursor_never_passes_what_was_not_given_out() {
    let frame = |priority: &str, position: u64| {
        format!("{{\"event\":\"broadcast\",\"priority\":\"{priority}\",\"position\":{position}}}")
    };
    let (first, second) = (frame("low", 7), frame("high", 8));
    let (start, end) = ("000000aa.0.1.0.2", "000000aa.5.8.0.9");
    let event = |data: &str| format!("event: broadcast\ndata: {data}\n\n");
    let sse = format!(
        "event: hello\ndata: {{}}\nid: {start}\n\n{}{}id: {end}\n\n",
        event(&first),
        event(&second)
    );
    let cursor = format!("{{\"event\":\"cursor\",\"cursor\":\"{end}\"}}");
    let lines = format!("{{\"event\":\"hello\",\"cursor\":\"{start}\"}}\n{first}\n{second}\n{cursor}\n");
    // What follows the last frame in one piece is taken over at once; lines are read one by one.
    for (transport, body, last) in [
        (Transport::Sse, sse, end),
        (Transport::Lines, lines, "000000aa.0.8.0.7"),
    ] {
        let (url, stay) = one_answer(body).await;
        let client = Client::new(&url, None).unwrap();
        let mut stream = Subscription::open(&client, transport, "", None).await.unwrap();
        let mut cursors = Vec::new();
        for _ in 0..3 {
            assert!(stream.next().await.unwrap().is_some());
            cursors.push(stream.cursor().unwrap_or_default().to_owned());
        }
        assert_eq!(cursors, [start, "000000aa.0.1.0.7", last], "{transport:?}");
        drop(stay);
    }
}

/// A heartbeat is a sign of life, although it is no frame.
#[tokio::test]
async fn a_heartbeat_is_heard() {
    let (url, stay) = one_answer("event: hello\ndata: {}\n\n".to_owned()).await;
    let client = Client::new(&url, None).unwrap();
    let mut stream = Subscription::open(&client, Transport::Sse, "", None).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap().event, "hello");
    let before = stream.heard();
    stay.send(": beat\n\n").await.unwrap();
    let (deadline, look) = (clock::now() + Duration::from_secs(10), Duration::from_millis(10));
    while stream.heard() == before {
        assert!(clock::now() < deadline, "the heartbeat was not heard");
        assert!(tokio::time::timeout(look, stream.next()).await.is_err());
    }
}

/// A server that answers one request with a stream: `body` at once, then what is sent, and it ends when the sender is dropped.
async fn one_answer(body: String) -> (String, mpsc::Sender<&'static str>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (stay, mut more) = mpsc::channel(1);
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let deadline = clock::now() + Duration::from_secs(5);
        let _ = head::read(&mut stream, deadline).await;
        let answer = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{body}");
        stream.write_all(answer.as_bytes()).await.unwrap();
        while let Some(text) = more.recv().await {
            let text: &str = text;
            stream.write_all(text.as_bytes()).await.unwrap();
        }
    });
    (url, stay)
}

#[tokio::test]
async fn an_upgraded_socket_comes_back_with_what_was_read() {
    let (url, _) = server();
    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).await.unwrap();
    let asking = b"GET /upgrade HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\nearly bytes";
    stream.write_all(asking).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 101 ") && answer.ends_with("\r\n\r\nraw early bytes"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_client_of_https_believes_whom_it_is_told_to() {
    let (bench, other) = (Bench::new(), Bench::new());
    let acceptor = bench.acceptor();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let deadline = clock::now() + Duration::from_secs(5);
            if let Opened::Secure(mut stream) = acceptor.open(stream, deadline).await {
                let _ = head::read(&mut stream, deadline).await;
                let answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
                stream.write_all(answer).await.unwrap();
                stream.shutdown().await.unwrap();
            }
        }
    });
    for host in ["127.0.0.1", "localhost"] {
        let url = format!("https://{host}:{}", address.port());
        let client = Client::new(&url, None).unwrap().trusting(Some(bench.trust.clone()));
        assert_eq!(client.get("/").await.unwrap().body, "ok", "{host}");
        let client = Client::new(&url, None).unwrap().trusting(Some(other.trust.clone()));
        assert!(matches!(client.get("/").await, Err(ClientError::Tls { .. })), "{host}");
    }
}
