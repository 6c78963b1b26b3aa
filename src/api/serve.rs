//! The accept loop. A fresh connection's first head is read by hand, within a deadline; a subscriber is answered by hand and
//! its socket leaves for a worker, everything else goes on in hyper.

use super::Config;
use super::access;
use super::context::Context;
use super::problem::{Code, Problem};
use super::router::{allow, answer, router, stamp};
use super::subscribe::{self, Plan, Wanted};
use crate::base::clock;
use crate::gateway::{Socket, Subscriber};
use crate::metrics::METRICS;
use crate::net::tls::Opened;
use crate::net::{Acceptor, Connection, Detached, Head, HeadError, Listener, Opening, Rewind, Stream, head};
use axum::Router;
use axum::response::IntoResponse;
use bytes::Bytes;
use http::{HeaderValue, Method, Uri, header};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Bytes read ahead on kept connections.
const BUFFER_MAX: usize = 64 << 10;
/// After an answer by hand: what the client still sends is thrown away for a moment, so that no reset overtakes the answer.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 1 << 20;
/// Requests under way when the node stops may end.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// Takes the address for clients.
pub fn bind(config: &Config) -> io::Result<Listener> {
    let address: SocketAddr = config
        .listen
        .parse()
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    Listener::bind(address, config.connections_max)
}

/// Serves until `closing`, then lets the requests under way end. With an `acceptor` it speaks nothing but TLS.
pub async fn run(
    context: Arc<Context>,
    listener: Listener,
    acceptor: Option<Arc<Acceptor>>,
    mut closing: watch::Receiver<bool>,
) {
    let server = Server {
        router: router(context.clone()),
        context,
        acceptor,
        closing: closing.clone(),
    };
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            connection = listener.accept() => {
                let server = server.clone();
                connections.spawn(async move { server.connection(connection).await });
            }
            // ended ones are taken out as they end
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            () = told(&mut closing) => break,
        }
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(CLOSE_WITHIN, ended).await.is_err() {
        tracing::info!("some requests did not end in time");
    }
}

/// Returns when the node says so, or is gone.
async fn told(closing: &mut watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}

#[derive(Clone)]
struct Server {
    context: Arc<Context>,
    router: Router,
    acceptor: Option<Arc<Acceptor>>,
    closing: watch::Receiver<bool>,
}

impl Server {
    async fn connection(mut self, connection: Connection) {
        let Connection { stream, slot, .. } = connection;
        let deadline = clock::now() + self.context.config.head_deadline.0;
        let Some(mut stream) = self.secured(stream, deadline).await else {
            return;
        };
        // its own, whatever keys took: a phone far away needs several round trips for them, and a crowd waits in line
        let deadline = clock::now() + self.context.config.head_deadline.0;
        // a connection on which nothing was asked yet ends with the node
        let opening = tokio::select! {
            opening = head::read(&mut stream, deadline) => opening,
            () = told(&mut self.closing) => return,
        };
        match opening {
            Ok(Opening::Http1 { head, length, read }) if head.is_subscribe() => {
                let rest = read.slice(length..);
                if let Some(stream) = self.subscriber(stream, &head, rest).await {
                    self.http1(stream, read).await;
                }
            }
            Ok(Opening::Http1 { read, .. }) => self.http1(stream, read).await,
            Ok(Opening::Http2 { .. }) => {
                let problem = Problem::new(Code::MalformedRequest, "this address speaks HTTP/1.1");
                self.refuse(stream, &problem, None).await;
            }
            Err(error) => {
                if let Some(problem) = problem_of(&error) {
                    self.refuse(stream, &problem, None).await;
                }
            }
        }
        drop(slot);
    }

    /// The connection as it goes on. Who speaks in the clear where TLS is spoken is told so, in the clear.
    async fn secured(&mut self, stream: TcpStream, deadline: Instant) -> Option<Stream> {
        let Some(acceptor) = &self.acceptor else {
            return Some(stream.into());
        };
        let opened = tokio::select! {
            opened = acceptor.open(stream, deadline) => opened,
            () = told(&mut self.closing) => return None,
        };
        match opened {
            Opened::Secure(stream) => Some(stream),
            Opened::Plain(stream) => {
                let detail = "this address speaks TLS: write https:// in front of it";
                self.refuse(stream.into(), &Problem::new(Code::MalformedRequest, detail), None)
                    .await;
                None
            }
            Opened::Closed => None,
        }
    }

    /// Answers a request to subscribe by hand. Gives the socket back when it is one that HTTP answers (a long poll).
    async fn subscriber(&self, stream: Stream, head: &Head, rest: Bytes) -> Option<Stream> {
        let origin = match self.origin(head) {
            Ok(origin) => origin,
            Err(problem) => {
                self.turn_away(stream, &problem, None).await;
                return None;
            }
        };
        let Plan { wanted, listening } = match self.plan(head).await {
            Ok(Plan {
                wanted: Wanted::Poll(_),
                ..
            }) => return Some(stream),
            Ok(plan) => plan,
            Err(problem) => {
                self.turn_away(stream, &problem, origin).await;
                return None;
            }
        };
        let transport = subscribe::transport(&wanted);
        let (status, head) = match wanted {
            Wanted::WebSocket(answer) => ("101", answer),
            Wanted::Sse | Wanted::Lines | Wanted::Poll(_) => (
                "200",
                self.stream_head(subscribe::content_type(transport), origin.as_ref()),
            ),
        };
        METRICS.http_requests.with_label_values(&[status]).inc();
        let Ok(detached) = stream.detach() else { return None };
        let subscriber = listening.on(detached.into(), rest, head.into(), transport);
        if let Err(refused) = self.context.gateway.accept(subscriber) {
            METRICS.limits_hit.with_label_values(&["sessions"]).inc();
            let problem = Problem::new(
                Code::TooManySessions,
                "this node takes no more subscribers; try another one",
            );
            if let Some(Ok(stream)) = given_back(refused).map(Stream::attach) {
                self.refuse(stream, &problem, origin).await;
            }
        }
        None
    }

    async fn plan(&self, head: &Head) -> Result<Plan, Problem> {
        let uri = target(head)?;
        let admitted = access::admit(&self.context, &Method::GET, &uri, &subscribe::headers_of(head)).await?;
        let identity = admitted.ok_or_else(|| Problem::new(Code::Internal, "nobody was asked who they are"))?;
        subscribe::plan(&self.context, head, &identity).await
    }

    /// What [`super::router`] does for every other request that is refused.
    async fn turn_away(&self, stream: Stream, problem: &Problem, origin: Option<HeaderValue>) {
        METRICS
            .http_requests
            .with_label_values(&[problem.status().as_str()])
            .inc();
        if access::is_denial(problem.code()) {
            access::denied(problem.code());
        }
        self.refuse(stream, problem, origin).await;
    }

    fn origin(&self, head: &Head) -> Result<Option<HeaderValue>, Problem> {
        self.context.hosts.check(&target(head)?, &subscribe::headers_of(head))
    }

    fn stream_head(&self, content_type: &str, origin: Option<&HeaderValue>) -> Vec<u8> {
        let mut head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nCache-Control: no-store\r\nX-Accel-Buffering: no\r\n\
             Connection: close\r\nCampanile-Node: {}\r\nCampanile-Applied: {}\r\n",
            self.context.node,
            self.context.handle.applied(),
        );
        if let Some(origin) = origin.and_then(|origin| origin.to_str().ok()) {
            let _ = write!(head, "Access-Control-Allow-Origin: {origin}\r\nVary: origin\r\n");
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// Everything but subscribers: hyper, keeping the connection, with the head read again.
    async fn http1(&mut self, stream: Stream, read: Bytes) {
        let (router, context) = (self.router.clone(), self.context.clone());
        let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
            let (mut router, context) = (router.clone(), context.clone());
            async move {
                let request = request.map(axum::body::Body::new);
                Ok::<_, std::convert::Infallible>(answer(&context, &mut router, request).await)
            }
        });
        let mut connection = std::pin::pin!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(self.context.config.head_deadline.0)
                .max_headers(head::HEADERS_MAX)
                .max_header_size(head::HEAD_BYTES_MAX)
                .max_buf_size(BUFFER_MAX)
                .serve_connection(TokioIo::new(Rewind::new(stream, read)), service)
                .with_upgrades()
        );
        let served = tokio::select! {
            served = connection.as_mut() => served,
            () = told(&mut self.closing) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = served {
            tracing::debug!(%error, "a connection ended badly");
        }
    }

    /// A problem written by hand, and the end of the connection.
    async fn refuse(&self, mut stream: Stream, problem: &Problem, origin: Option<HeaderValue>) {
        let answer = self.answer(problem, origin);
        let write = async {
            stream.write_all(&answer).await?;
            stream.shutdown().await?;
            let mut scrap = vec![0; 16 << 10];
            let mut bytes = 0;
            while bytes < LINGER_BYTES_MAX {
                match stream.read(&mut scrap).await? {
                    0 => break,
                    count => bytes += count,
                }
            }
            Ok::<_, io::Error>(())
        };
        // a client that is gone already has no use for it
        let _ = tokio::time::timeout(LINGER, write).await;
    }

    fn answer(&self, problem: &Problem, origin: Option<HeaderValue>) -> Vec<u8> {
        let mut response = problem.clone().into_response();
        stamp(&self.context, response.headers_mut());
        if let Some(origin) = origin {
            allow(response.headers_mut(), origin);
        }
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
        let body = problem.json();
        let status = response.status();
        let mut head = format!(
            "HTTP/1.1 {} {}\r\n",
            status.as_str(),
            status.canonical_reason().unwrap_or_default()
        );
        for (name, value) in response.headers() {
            let _ = write!(head, "{name}: {}\r\n", value.to_str().unwrap_or_default());
        }
        let _ = write!(head, "content-length: {}\r\n\r\n", body.len());
        [head.into_bytes(), body].concat()
    }
}

/// The connection of a subscriber that there is no place for.
fn given_back(subscriber: Subscriber) -> Option<Detached> {
    match subscriber.socket {
        Socket::Tcp(socket) => Some(Detached::Plain(socket)),
        Socket::Secure(socket, secure) => Some(Detached::Secure(socket, secure)),
        Socket::Unix(_) => None,
    }
}

fn target(head: &Head) -> Result<Uri, Problem> {
    let target = head.target.parse();
    target.map_err(|_| Problem::new(Code::MalformedRequest, "the target cannot be read"))
}

/// What a client whose head was not understood is told; nobody is left to tell it to when the connection is gone.
fn problem_of(error: &HeadError) -> Option<Problem> {
    let code = match error {
        HeadError::Closed | HeadError::Io(_) => return None,
        HeadError::TooSlow => Code::BodyTimeout,
        HeadError::TooLarge => Code::HeadTooLarge,
        HeadError::Malformed(_) => Code::MalformedRequest,
    };
    Some(Problem::new(code, error.to_string()))
}
