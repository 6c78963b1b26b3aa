//! `GET /v1/subscribe`: who wants which transport from where, and the way from a request to the gateway.
//!
//! On a fresh connection [`super::serve`] answers by hand and the socket leaves HTTP. Here are the rules both roads share,
//! and the road of later requests of a kept connection: an upgrade, or a socket pair that feeds a body.

use super::access::{self, Asking};
use super::context::Context;
use super::problem::{Code, Problem};
use super::request::Query;
use super::wire;
use crate::base::clock;
use crate::base::size::Span;
use crate::gateway::{From, Pass, Socket, Subscriber, Transport};
use crate::model::{Cursor, UserNumber};
use crate::net::{Head, rewind, websocket};
use crate::security::Identity;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::UnixStream;

/// A long poll waits this long at most.
const WAIT_MAX: Span = Span::seconds(60);
/// A cursor that is ahead of this node waits this long for the node to catch up.
const AHEAD_WAIT: Duration = Duration::from_secs(2);
/// Bytes moved from a session to a body at a time.
const PIECE: usize = 16 << 10;
/// What has begun to come at the end of a long poll may finish.
const FINISH: Duration = Duration::from_secs(1);
/// One line of a session.
const LINE_BYTES_MAX: u64 = 4 << 20;

/// What a request to subscribe comes to.
#[derive(Debug)]
pub struct Plan {
    pub wanted: Wanted,
    pub listening: Listening,
}

/// Who listens, from where on, and for how long they may.
#[derive(Debug)]
pub struct Listening {
    user: UserNumber,
    from: From,
    pass: Option<Pass>,
}

impl Listening {
    pub fn on(self, socket: Socket, read: Bytes, head: Bytes, transport: Transport) -> Subscriber {
        let Self { user, from, pass } = self;
        Subscriber {
            socket,
            read,
            head,
            transport,
            user,
            from,
            pass,
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub enum Wanted {
    /// With the head of the answer that makes the connection one.
    WebSocket(Vec<u8>),
    Sse,
    Lines,
    Poll(Duration),
}

const PARAMETERS: &[&str] = &["user", "cursor", "from", "wait", "token"];

/// Reads a request to subscribe. Everything that can be refused is refused here, while there is still an HTTP status for it.
pub async fn plan(context: &Context, head: &Head, identity: &Identity) -> Result<Plan, Problem> {
    let uri: Uri = head
        .target
        .parse()
        .map_err(|_| Problem::new(Code::MalformedRequest, "the target cannot be read"))?;
    let (query, deadline) = (Query::read(&uri, PARAMETERS)?, context.deadline());
    let wanted = wanted(head, &query)?;
    let from = start(head, &query)?;
    if context.is_draining() {
        return Err(Problem::new(Code::Stopping, "this node is stopping"));
    }
    context.named()?;
    context.fresh(&query, deadline).await?;
    let user = context.acting(&identity.caller, &query, deadline).await?;
    let from = match from {
        From::Cursor(cursor) => From::Cursor(catch_up(context, cursor).await?),
        other => other,
    };
    let pass = access::pass(context, identity)?;
    let listening = Listening { user, from, pass };
    Ok(Plan { wanted, listening })
}

fn wanted(head: &Head, query: &Query) -> Result<Wanted, Problem> {
    if websocket::is_upgrade(head) {
        let answer =
            websocket::upgrade(head).map_err(|error| Problem::new(Code::MalformedRequest, error.to_string()))?;
        return Ok(Wanted::WebSocket(answer));
    }
    let wait = |text: &str| text.parse::<Span>().ok().filter(|wait| *wait <= WAIT_MAX);
    if let Some(Span(wait)) = query.parse("wait", "a duration of 60s at most, like 20s", wait)? {
        return Ok(Wanted::Poll(wait));
    }
    let accept = head.header("accept").unwrap_or_default();
    let accepts = |kind: &str| {
        let mut kinds = accept
            .split(',')
            .map(|kind| kind.split(';').next().unwrap_or_default().trim());
        kinds.any(|known| known.eq_ignore_ascii_case(kind))
    };
    if accepts("text/event-stream") {
        return Ok(Wanted::Sse);
    }
    if accepts("application/x-ndjson") {
        return Ok(Wanted::Lines);
    }
    let detail = "send Accept: text/event-stream or application/x-ndjson, Upgrade: websocket, or ?wait=20s";
    Err(Problem::new(Code::NotAcceptable, detail))
}

/// A cursor wins over `from`: an `EventSource` comes back with the same address and its last id.
fn start(head: &Head, query: &Query) -> Result<From, Problem> {
    let last = head.header("last-event-id").filter(|id| !id.is_empty());
    if let Some(text) = last.or(query.get("cursor")) {
        let pointer = if last.is_some() { "Last-Event-ID" } else { "?cursor" };
        let cursor = Cursor::parse(text);
        return cursor
            .map(From::Cursor)
            .ok_or_else(|| Problem::fault(&pointer, Code::InvalidValue, "is not a cursor of this server"));
    }
    match query.get("from") {
        None => Ok(From::Backlog),
        Some("now") => Ok(From::Now),
        Some("earliest") => Ok(From::Earliest),
        Some(_) => Err(Problem::fault("?from", Code::InvalidValue, "must be now or earliest")),
    }
}

/// Whoever comes from a node that is further waits here for a moment. A cursor that is ahead of the leader too is of no history
/// that is known here: it is served as a foreign one, with a gap.
async fn catch_up(context: &Context, cursor: Cursor) -> Result<Cursor, Problem> {
    let is_ahead = || {
        context.handle.read(|state| {
            let ahead = cursor
                .positions
                .iter()
                .any(|position| *position >= state.next_position());
            cursor.epoch == state.epoch() && ahead
        })
    };
    if !is_ahead() {
        return Ok(cursor);
    }
    let asked = context.handle.linearizable(clock::now() + AHEAD_WAIT).await.is_ok();
    match (is_ahead(), asked) {
        (false, _) => Ok(cursor),
        (true, true) => Ok(Cursor {
            epoch: NO_EPOCH,
            ..cursor
        }),
        (true, false) => Err(Problem::new(
            Code::Behind,
            "this node has not got as far as the cursor; try again, or another node",
        )),
    }
}

/// No history has this name.
const NO_EPOCH: u32 = 0;

pub const fn transport(wanted: &Wanted) -> Transport {
    match wanted {
        Wanted::WebSocket(_) => Transport::WebSocket,
        Wanted::Sse => Transport::Sse,
        Wanted::Lines | Wanted::Poll(_) => Transport::Lines,
    }
}

pub const fn content_type(transport: Transport) -> &'static str {
    match transport {
        Transport::Sse => "text/event-stream",
        Transport::WebSocket | Transport::Lines => "application/x-ndjson",
    }
}

fn full() -> Problem {
    crate::metrics::METRICS
        .limits_hit
        .with_label_values(&["sessions"])
        .inc();
    Problem::new(
        Code::TooManySessions,
        "this node takes no more subscribers; try another one",
    )
}

/// A request on a connection that stays with hyper.
pub async fn subscribe(State(context): State<Arc<Context>>, mut request: Request) -> Result<Response, Problem> {
    let head = head_of(&request);
    let Asking(identity) = Asking::of(request.extensions())?;
    let Plan { wanted, listening } = plan(&context, &head, &identity).await?;
    if request.method() == Method::HEAD {
        return looked_at(&wanted);
    }
    match wanted {
        Wanted::WebSocket(_) => Ok(upgrade(context, &head, &mut request, listening)),
        Wanted::Sse | Wanted::Lines => {
            let transport = transport(&wanted);
            let ours = pair(&context, transport, listening)?;
            Ok(stream_of(Body::from_stream(pieces(ours)), transport))
        }
        Wanted::Poll(wait) => poll(pair(&context, Transport::Lines, listening)?, clock::now() + wait).await,
    }
}

fn stream_of(body: Body, transport: Transport) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type(transport)));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A HEAD is told what a GET would be, and makes no session: nothing counts as sent. Only a GET can be upgraded.
fn looked_at(wanted: &Wanted) -> Result<Response, Problem> {
    match wanted {
        Wanted::WebSocket(_) => Err(Problem::new(Code::MethodNotAllowed, "a WebSocket begins with a GET")
            .with_allow(Some(HeaderValue::from_static("GET")))),
        Wanted::Sse | Wanted::Lines => Ok(stream_of(Body::empty(), transport(wanted))),
        Wanted::Poll(_) => Ok(wire::json_bytes(StatusCode::OK, Bytes::new())),
    }
}

/// The request's head as the strict reader of fresh connections would give it.
fn head_of(request: &Request) -> Head {
    let headers = request.headers().iter();
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    Head {
        method: request.method().to_string(),
        target: request
            .uri()
            .path_and_query()
            .map_or("/", |target| target.as_str())
            .to_owned(),
        headers: headers
            .map(|(name, value)| (name.as_str().to_owned(), text(value)))
            .collect(),
        has_body: false,
    }
}

/// What a fresh connection's head says, for the rules that read header maps.
pub fn headers_of(head: &Head) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(head.headers.len());
    for (name, value) in &head.headers {
        if let (Ok(name), Ok(value)) = (http::HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.append(name, value);
        }
    }
    headers
}

fn upgrade(context: Arc<Context>, head: &Head, request: &mut Request, listening: Listening) -> Response {
    let mut response = wire::empty(StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    let key = head.header("sec-websocket-key").unwrap_or_default();
    if let Ok(accept) = HeaderValue::try_from(websocket::accept_of(key)) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    if head.header("sec-websocket-protocol").is_some() {
        headers.insert(
            header::SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static(websocket::PROTOCOL),
        );
    }
    let upgraded = hyper::upgrade::on(request);
    tokio::spawn(async move {
        // the client may go before the upgrade is done: then there is nobody to serve
        let Ok(upgraded) = upgraded.await else { return };
        let Ok((stream, read)) = rewind::socket(upgraded) else {
            return;
        };
        let Ok(detached) = stream.detach() else { return };
        let subscriber = listening.on(detached.into(), read, Bytes::new(), Transport::WebSocket);
        if context.gateway.accept(subscriber).is_err() {
            tracing::debug!("a WebSocket came when this node was full");
        }
    });
    response
}

/// A session whose socket is one end of a pair; this is the other.
fn pair(context: &Context, transport: Transport, listening: Listening) -> Result<UnixStream, Problem> {
    let connect = || {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        theirs.set_nonblocking(true)?;
        Ok::<_, std::io::Error>((UnixStream::from_std(ours)?, theirs))
    };
    let (ours, theirs) = connect().map_err(|error| Problem::new(Code::TooManySessions, error.to_string()))?;
    let subscriber = listening.on(Socket::Unix(theirs), Bytes::new(), Bytes::new(), transport);
    context.gateway.accept(subscriber).map_err(|_| full())?;
    Ok(ours)
}

/// What a session writes, as a body. Dropping the body closes the pair, which ends the session.
fn pieces(ours: UnixStream) -> impl futures_util::Stream<Item = std::io::Result<Bytes>> + Send {
    stream::unfold(ours, |mut ours| async {
        let mut piece = BytesMut::with_capacity(PIECE);
        match ours.read_buf(&mut piece).await {
            Ok(0) => None,
            Ok(_) => Some((Ok(piece.freeze()), ours)),
            Err(error) => Some((Err(error), ours)),
        }
    })
}

/// What of a session's line matters here.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow, default)]
    cursor: Option<Cow<'a, str>>,
}

#[derive(Serialize)]
struct Polled {
    items: Vec<Box<RawValue>>,
    cursor: Option<String>,
}

/// A long poll is a short stream: it ends with the first write that brought something, or when the time is up.
async fn poll(ours: UnixStream, until: Instant) -> Result<Response, Problem> {
    let mut lines = BufReader::new(ours);
    let mut polled = Polled {
        items: Vec::new(),
        cursor: None,
    };
    loop {
        // without a cursor behind them, items could not be asked for again
        let until = if polled.items.is_empty() && polled.cursor.is_some() {
            until
        } else {
            until.max(clock::now() + FINISH)
        };
        let mut line = String::new();
        let mut limited = (&mut lines).take(LINE_BYTES_MAX);
        match tokio::time::timeout_at(until.into(), limited.read_line(&mut line)).await {
            Ok(Ok(1..)) => {}
            Ok(_) | Err(_) => break,
        }
        let Ok(Line { event, cursor }) = serde_json::from_str(&line) else {
            continue;
        };
        match (&*event, cursor) {
            ("hello", cursor) => polled.cursor = cursor.map(Cow::into_owned),
            ("cursor", cursor) => {
                polled.cursor = cursor.map(Cow::into_owned);
                if !polled.items.is_empty() {
                    break;
                }
            }
            ("broadcast" | "retracted" | "gap", _) => {
                let line = line.trim_end().to_owned();
                polled.items.extend(RawValue::from_string(line).ok());
                polled.cursor = polled.cursor.filter(|_| !polled.items.is_empty());
            }
            _ => {}
        }
    }
    if polled.cursor.is_none() {
        return Err(Problem::new(
            Code::TimedOut,
            "the session ended before it told its cursor",
        ));
    }
    let mut response = wire::json(StatusCode::OK, &polled);
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::{Wanted, poll, start, wanted};
    use crate::api::request::Query;
    use crate::base::clock;
    use crate::gateway::From;
    use crate::net::Head;
    use std::time::Duration;
    use tokio::io::AsyncWriteExt;
    use tokio::net::UnixStream;

    fn head(target: &str, headers: &[(&str, &str)]) -> (Head, Query) {
        let headers = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let head = Head {
            method: "GET".into(),
            target: target.into(),
            headers,
            has_body: false,
        };
        let query = Query::read(&target.parse().unwrap(), super::PARAMETERS).unwrap();
        (head, query)
    }

    fn check_wanted(target: &str, headers: &[(&str, &str)], expected: Result<Wanted, u16>) {
        let (head, query) = head(target, headers);
        let found = wanted(&head, &query).map_err(|problem| problem.status().as_u16());
        match (found, expected) {
            (Ok(Wanted::WebSocket(answer)), Ok(Wanted::WebSocket(_))) => assert!(answer.starts_with(b"HTTP/1.1 101 ")),
            (found, expected) => assert_eq!(found, expected, "{target} {headers:?}"),
        }
    }

    #[test]
    fn the_transport_is_negotiated() {
        let event_stream = ("accept", "text/html, text/event-stream;q=0.9");
        check_wanted("/v1/subscribe", &[event_stream], Ok(Wanted::Sse));
        check_wanted(
            "/v1/subscribe",
            &[("accept", "application/x-ndjson")],
            Ok(Wanted::Lines),
        );
        check_wanted(
            "/v1/subscribe?wait=20s",
            &[event_stream],
            Ok(Wanted::Poll(Duration::from_secs(20))),
        );
        check_wanted("/v1/subscribe?wait=1h", &[], Err(422));
        check_wanted("/v1/subscribe", &[("accept", "*/*")], Err(406));
        let upgrade = [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        check_wanted("/v1/subscribe", &upgrade, Ok(Wanted::WebSocket(Vec::new())));
        check_wanted("/v1/subscribe", &upgrade[..2], Err(400));
    }

    #[test]
    fn a_cursor_wins_over_from() {
        let check = |target: &str, headers: &[(&str, &str)], expected: &str| {
            let (head, query) = head(target, headers);
            let found = match start(&head, &query) {
                Ok(From::Cursor(cursor)) => cursor.to_string(),
                Ok(other) => format!("{other:?}"),
                Err(problem) => problem.errors()[0].pointer.clone(),
            };
            assert_eq!(found, expected, "{target} {headers:?}");
        };
        let last = [("last-event-id", "000000aa.1.2.3.4")];
        check("/v1/subscribe", &[], "Backlog");
        check("/v1/subscribe?from=now", &[], "Now");
        check("/v1/subscribe?from=earliest", &[("last-event-id", "")], "Earliest");
        check(
            "/v1/subscribe?from=now&cursor=000000bb.1.2.3.4",
            &[],
            "000000bb.1.2.3.4",
        );
        check("/v1/subscribe?cursor=000000bb.1.2.3.4", &last, "000000aa.1.2.3.4");
        check("/v1/subscribe?cursor=x", &[], "?cursor");
        check("/v1/subscribe", &[("last-event-id", "x")], "Last-Event-ID");
        check("/v1/subscribe?from=then", &[], "?from");
    }

    async fn check_poll(session: &str, wait: Duration, expected: &str) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(session.as_bytes()).await.unwrap();
        let answer = poll(ours, clock::now() + wait).await;
        let body = match answer {
            Ok(response) => axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap(),
            Err(problem) => problem.code().text().into(),
        };
        assert_eq!(String::from_utf8_lossy(&body), expected);
        drop(theirs);
    }

    #[tokio::test]
    async fn a_long_poll_ends_with_the_first_write_or_in_time() {
        let hello = r#"{"event":"hello","cursor":"a"}"#;
        let long = Duration::from_secs(50);
        let one = r#"{"event":"broadcast","id":"1"}"#;
        let session = format!("{hello}\n{one}\n{{\"event\":\"cursor\",\"cursor\":\"b\"}}\n");
        check_poll(
            &session,
            long,
            r#"{"items":[{"event":"broadcast","id":"1"}],"cursor":"b"}"#,
        )
        .await;
        check_poll(
            &format!("{hello}\n"),
            Duration::from_millis(20),
            r#"{"items":[],"cursor":"a"}"#,
        )
        .await;
    }
}
