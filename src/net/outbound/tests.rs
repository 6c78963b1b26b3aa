//! Calls to real servers on this machine: those that answer, and those that mean no good.

use super::server::{Play, Server};
use super::{Call, Endpoint, Networks, Outbound, OutboundError, Permitted, Reply, Roots, Stage};
use crate::base::clock;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_rustls::rustls::version::{TLS12, TLS13};

/// For calls that are to end in time; far from what a test may take.
const SHORT: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(15);
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn outbound(allow: &str, authority: &str, timeout: Duration) -> Outbound {
    let networks = allow.split_whitespace().map(|network| network.parse().unwrap());
    let mut roots = Roots::none();
    if !authority.is_empty() {
        roots.add(authority.as_bytes()).unwrap();
    }
    Outbound::new(Networks::new(networks.collect()), roots, timeout).unwrap()
}

async fn post(outbound: &Outbound, url: &str) -> Result<Reply, OutboundError> {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    let endpoint = Endpoint::parse(url).unwrap();
    outbound
        .post(&endpoint, headers, Bytes::from_static(b"{\"a\":1}"))
        .await
}

fn say(text: &str) -> Play {
    Play::Say(text.to_owned())
}

#[tokio::test]
async fn a_call_is_one_request_on_a_connection_of_its_own() {
    let refused = say("HTTP/1.1 503 Busy\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n");
    let mut server = Server::plain(&[say(OK), refused]).await;
    let outbound = outbound("127.0.0.0/8", "", LONG);
    let url = server.url("/hook?x=1");
    let first = post(&outbound, &url).await.unwrap();
    assert_eq!((first.status, first.retry_after), (200, None));
    let second = post(&outbound, &url).await.unwrap();
    assert_eq!((second.status, second.retry_after.as_deref()), (503, Some("7")));
    let request = server.request().await;
    assert!(
        request.head.starts_with("POST /hook?x=1 HTTP/1.1\r\n"),
        "{}",
        request.head
    );
    assert_eq!(request.header("host"), Some(server.address.to_string().as_str()));
    assert_eq!(request.header("connection"), Some("close"));
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(request.body, b"{\"a\":1}");
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn tls_is_believed_by_the_authority_and_the_name() {
    for version in [&TLS12, &TLS13] {
        let mut server = Server::tls_of(&[say(OK)], "localhost", &[version]).await;
        let port = server.address.port();
        let url = format!("https://localhost:{port}/hook");
        let knows = outbound("127.0.0.0/8", &server.authority, LONG);
        assert_eq!(post(&knows, &url).await.unwrap().status, 200, "{version:?}");
        assert_eq!(server.request().await.body, b"{\"a\":1}");

        let other = format!("https://127.0.0.1:{port}/hook");
        let wrong_name = post(&knows, &other).await.unwrap_err();
        assert!(matches!(wrong_name, OutboundError::Tls { .. }), "{wrong_name}");
        let knows_nobody = outbound("127.0.0.0/8", "", LONG);
        let unknown = post(&knows_nobody, &url).await.unwrap_err();
        assert!(unknown.to_string().contains("UnknownIssuer"), "{unknown}");
    }
}

#[tokio::test]
async fn a_certificate_for_somebody_else_is_refused() {
    let server = Server::tls(&[say(OK)], "siren.example").await;
    let knows = outbound("127.0.0.0/8", &server.authority, LONG);
    let url = format!("https://localhost:{}/", server.address.port());
    let refused = post(&knows, &url).await.unwrap_err().to_string();
    assert!(
        refused.contains("no TLS with localhost") && refused.contains("siren.example"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_redirect_leads_nowhere() {
    let inner = Server::plain(&[say(OK)]).await;
    let location = inner.url("/metadata");
    let redirect = format!("HTTP/1.1 307 There\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
    let server = Server::plain(&[say(&redirect)]).await;
    let reply = post(&outbound("127.0.0.0/8", "", LONG), &server.url("/"))
        .await
        .unwrap();
    assert_eq!((reply.status, inner.connections()), (307, 0));
}

#[tokio::test]
async fn a_name_is_called_where_its_address_is_allowed_and_only_there() {
    let server = Server::plain(&[say(OK)]).await;
    let urls = [server.url("/"), format!("http://localhost:{}/", server.address.port())];
    for url in &urls {
        let refused = post(&outbound("10.0.0.0/8", "", LONG), url).await.unwrap_err();
        assert!(matches!(refused, OutboundError::Forbidden { .. }), "{refused}");
        assert!(refused.to_string().contains("127.0.0.1 (loopback)"), "{refused}");
    }
    assert_eq!(server.connections(), 0, "nobody has even connected");
    for url in &urls {
        assert_eq!(post(&outbound("127.0.0.0/8", "", LONG), url).await.unwrap().status, 200);
    }
}

/// Calls a server that never ends, and says at which stage the call gave up.
async fn check_gives_up(play: Play, scheme: &str, expected: Stage) {
    let server = match scheme {
        "https" => Server::tls(&[play], "localhost").await,
        _ => Server::plain(&[play]).await,
    };
    let url = format!("{scheme}://localhost:{}/", server.address.port());
    let begun = clock::now();
    let outbound = outbound("127.0.0.0/8", &server.authority, SHORT);
    match post(&outbound, &url).await.unwrap_err() {
        OutboundError::TooSlow { stage, .. } => assert_eq!(stage, expected),
        other => panic!("{other}"),
    }
    assert!(begun.elapsed() < LONG);
}

#[tokio::test]
async fn whoever_hangs_or_drips_is_left_in_time() {
    let drip = Play::Drip("HTTP/1.1 200 OK\r\n", "x-more: and more\r\n");
    tokio::join!(
        check_gives_up(Play::Hang, "http", Stage::Answer),
        check_gives_up(Play::Hear, "http", Stage::Answer),
        check_gives_up(drip.clone(), "http", Stage::Answer),
        check_gives_up(Play::Hang, "https", Stage::Encrypt),
        check_gives_up(Play::Hear, "https", Stage::Answer),
        check_gives_up(drip, "https", Stage::Answer),
    );
}

#[tokio::test]
async fn a_body_that_does_not_end_changes_nothing() {
    for play in [
        Play::Drip("HTTP/1.1 202 Accepted\r\ncontent-length: 1000000\r\n\r\n", "x"),
        Play::Flood("HTTP/1.1 202 Accepted\r\ncontent-length: 1000000000\r\n\r\n"),
        Play::Flood("HTTP/1.1 202 Accepted\r\n\r\n"),
    ] {
        let server = Server::plain(&[play]).await;
        let begun = clock::now();
        let reply = post(&outbound("127.0.0.0/8", "", LONG), &server.url("/"))
            .await
            .unwrap();
        assert_eq!(reply.status, 202);
        assert!(begun.elapsed() < LONG);
    }
}

#[tokio::test]
async fn what_is_no_http_is_a_broken_connection() {
    let endless = format!("HTTP/1.1 200 OK\r\nx-long: {}\r\n\r\n", "x".repeat(1 << 20));
    for play in [say(""), say("SSH-2.0-x\r\n\r\n"), say(&endless)] {
        let server = Server::plain(&[play]).await;
        let failed = post(&outbound("127.0.0.0/8", "", LONG), &server.url("/")).await;
        let failed = failed.unwrap_err();
        assert!(matches!(failed, OutboundError::Broken { .. }), "{failed}");
    }
}

/// An address of this machine where nobody listens.
async fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

#[tokio::test]
async fn where_nobody_listens_nothing_is_reached() {
    let url = format!("http://{}/", nobody().await);
    let failed = post(&outbound("127.0.0.0/8", "", LONG), &url).await.unwrap_err();
    assert!(matches!(failed, OutboundError::Unreachable { .. }), "{failed}");
}

#[tokio::test]
async fn the_next_address_is_tried_when_one_fails() {
    let server = Server::plain(&[say(OK)]).await;
    let endpoint = Endpoint::parse("http://siren.example/").unwrap();
    let call = Call {
        endpoint: &endpoint,
        timeout: LONG,
        deadline: clock::now() + LONG,
    };
    let networks = Networks::new(vec!["127.0.0.0/8".parse().unwrap()]);
    let permit = |address| networks.permit(address).unwrap();
    let addresses: Vec<Permitted> = vec![permit(nobody().await), permit(server.address)];
    let stream = call.connect(&addresses).await.unwrap();
    assert_eq!(stream.peer_addr().unwrap(), server.address);
}

#[tokio::test]
async fn a_name_that_cannot_be_is_not_resolved() {
    // too long for a label, so no resolver is even asked
    let url = format!("http://{}.invalid/", "x".repeat(64));
    let failed = post(&outbound("", "", LONG), &url).await.unwrap_err();
    assert!(matches!(failed, OutboundError::Unresolved { .. }), "{failed}");
}

async fn get(outbound: &Outbound, url: &str, bytes_max: usize) -> Result<super::Whole, OutboundError> {
    let mut headers = HeaderMap::new();
    headers.insert("if-none-match", HeaderValue::from_static("\"1\""));
    outbound.get(&Endpoint::parse(url).unwrap(), headers, bytes_max).await
}

#[tokio::test]
async fn what_is_asked_for_comes_whole_or_not_at_all() {
    let found = say("HTTP/1.1 200 OK\r\netag: \"2\"\r\ncontent-length: 4\r\n\r\nbody");
    let same = say("HTTP/1.1 304 Not Modified\r\n\r\n");
    let short = say("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbo");
    let drip = Play::Drip("HTTP/1.1 200 OK\r\ncontent-length: 2000\r\n\r\n", "x");
    let flood = Play::Flood("HTTP/1.1 200 OK\r\n\r\n");
    let mut server = Server::plain(&[found, same, short, flood, drip]).await;
    let url = server.url("/a%2Fb");
    let patient = outbound("127.0.0.0/8", "", LONG);
    let first = get(&patient, &url, 16).await.unwrap();
    assert_eq!(
        (first.status, &first.headers["etag"], first.body.as_ref()),
        (200, &HeaderValue::from_static("\"2\""), &b"body"[..])
    );
    let request = server.request().await;
    assert!(request.head.starts_with("GET /a%2Fb HTTP/1.1\r\n"), "{}", request.head);
    assert_eq!(request.header("if-none-match"), Some("\"1\""));
    let second = get(&patient, &url, 16).await.unwrap();
    assert_eq!((second.status, second.body.len()), (304, 0));
    let failed = get(&patient, &url, 16).await.unwrap_err();
    assert!(matches!(failed, OutboundError::Broken { .. }), "{failed}");
    let failed = get(&patient, &url, 16).await.unwrap_err();
    assert!(
        matches!(failed, OutboundError::TooLarge { bytes_max: 16, .. }),
        "{failed}"
    );
    let hasty = outbound("127.0.0.0/8", "", SHORT);
    let failed = get(&hasty, &url, 2_000).await.unwrap_err();
    assert!(
        matches!(
            failed,
            OutboundError::TooSlow {
                stage: Stage::Finish,
                ..
            }
        ),
        "{failed}"
    );
}
