//! Calls out of the cluster: one request to a server that we do not know. Start at [`Outbound::post`], which tells something and
//! wants no words back, or [`Outbound::get`], which asks for something.
//!
//! Every call has a connection of its own that ends with it, to an address that was looked at: the name is resolved once, and what
//! is connected to is one of the addresses that came back and are [`Permitted`]. Nobody resolves a second time, and there are no
//! redirects and no proxies that could lead elsewhere. Nothing of the other side is trusted to end: each stage counts against the
//! one deadline, and what is read has a bound.

pub mod addresses;
pub mod endpoint;
#[cfg(test)]
pub mod server;
#[cfg(test)]
mod tests;
pub mod tls;

pub use addresses::{Network, Networks, Permitted, Refused};
pub use endpoint::{Endpoint, EndpointError};
pub use tls::{Roots, TlsError};

use crate::base::clock;
use bytes::Bytes;
use endpoint::{Host, Scheme};
use futures_util::FutureExt;
use futures_util::future::{Either, select};
use http::header::{CONNECTION, HOST, RETRY_AFTER};
use http::response::Parts as Head;
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::future::Future;
use std::net::{SocketAddr, ToSocketAddrs};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;

/// Names that are resolved at the same time. The system's resolver cannot be interrupted: a call that has given up leaves its
/// question behind, on a thread.
const LOOKUPS_MAX: usize = 16;
/// Addresses of one name that are looked at.
const ADDRESSES_MAX: usize = 16;
/// Status line and headers of an answer.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// An answer's body is read up to here, and thrown away.
const BODY_BYTES_MAX: usize = 64 << 10;
/// How long it is read. The head has said what there is to know; a body that does not end changes nothing.
const BODY_WAIT_MAX: Duration = Duration::from_secs(1);

/// Why there was no answer. Hosts are named, paths never.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    #[error("{host} cannot be resolved: {source}")]
    Unresolved { host: String, source: std::io::Error },
    #[error("{host} has no address")]
    NoAddress { host: String },
    #[error("{host} may not be called: {refused}; only networks that are allowed by name may be private or special")]
    Forbidden { host: String, refused: String },
    #[error("cannot connect to {host}: {source}")]
    Unreachable { host: String, source: std::io::Error },
    #[error("no TLS with {host}: {source}")]
    Tls { host: String, source: std::io::Error },
    #[error("{host} did not {stage} within {timeout:?}")]
    TooSlow {
        host: String,
        stage: Stage,
        timeout: Duration,
    },
    #[error("the answer of {host} has more than {bytes_max} bytes")]
    TooLarge { host: String, bytes_max: usize },
    #[error("the connection to {host} failed: {detail}")]
    Broken { host: String, detail: String },
}

/// How far a call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Resolve,
    Connect,
    Encrypt,
    Answer,
    Finish,
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Resolve => "resolve",
            Self::Connect => "take a connection",
            Self::Encrypt => "agree on TLS",
            Self::Answer => "answer",
            Self::Finish => "end its answer",
        })
    }
}

/// What is left of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    /// The header `Retry-After` as it came.
    pub retry_after: Option<String>,
}

/// An answer with its body.
#[derive(Debug)]
pub struct Whole {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// What is done with an answer's body.
#[derive(Clone, Copy, Debug)]
enum Body {
    ThrowAway,
    /// All of it must come in time, and be no larger.
    Keep(usize),
}

/// The way out: what may be called, whom to believe, and how long it may take.
pub struct Outbound {
    allowed: Networks,
    tls: TlsConnector,
    timeout: Duration,
    lookups: Arc<Semaphore>,
}

/// One call under way.
struct Call<'a> {
    endpoint: &'a Endpoint,
    timeout: Duration,
    deadline: Instant,
}

impl Outbound {
    /// `timeout` is for a whole call, from the name to the answer's head.
    pub fn new(allowed: Networks, roots: Roots, timeout: Duration) -> Result<Self, TlsError> {
        Ok(Self {
            allowed,
            tls: roots.connector()?,
            timeout,
            lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)),
        })
    }

    /// Sends one request and gives what the answer's head says, whatever the status.
    pub async fn post(&self, endpoint: &Endpoint, headers: HeaderMap, body: Bytes) -> Result<Reply, OutboundError> {
        let (head, _) = self
            .send(endpoint, (Method::POST, headers, body), Body::ThrowAway)
            .await?;
        Ok(Reply {
            status: head.status.as_u16(),
            retry_after: head.headers.get(RETRY_AFTER).and_then(text),
        })
    }

    /// Asks for something and gives the whole answer, whatever the status; its body has at most `bytes_max` bytes.
    pub async fn get(&self, endpoint: &Endpoint, headers: HeaderMap, bytes_max: usize) -> Result<Whole, OutboundError> {
        let asked = (Method::GET, headers, Bytes::new());
        let (head, body) = self.send(endpoint, asked, Body::Keep(bytes_max)).await?;
        Ok(Whole {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
        })
    }

    async fn send(
        &self,
        endpoint: &Endpoint,
        (method, headers, content): (Method, HeaderMap, Bytes),
        body: Body,
    ) -> Result<(Head, Bytes), OutboundError> {
        let call = Call {
            endpoint,
            timeout: self.timeout,
            deadline: clock::now() + self.timeout,
        };
        let request = request(method, endpoint, headers, content).map_err(|error| call.broken(&error))?;
        let found = call.in_time(Stage::Resolve, self.resolve(&call)).await??;
        let stream = call
            .in_time(Stage::Connect, call.connect(&self.permitted(&call, found)?))
            .await??;
        match &endpoint.scheme {
            Scheme::Http => call.exchange(stream, request, body).await,
            Scheme::Https(name) => {
                let agreed = self.tls.connect(name.clone(), stream);
                let agreed = call.in_time(Stage::Encrypt, agreed).await?;
                let stream = agreed.map_err(|source| OutboundError::Tls {
                    host: call.host(),
                    source,
                })?;
                call.exchange(stream, request, body).await
            }
        }
    }

    /// All addresses of the endpoint's name, in the resolver's order.
    async fn resolve(&self, call: &Call<'_>) -> Result<Vec<SocketAddr>, OutboundError> {
        let port = call.endpoint.port;
        let name = match &call.endpoint.host {
            Host::Address(address) => return Ok(vec![SocketAddr::new(*address, port)]),
            Host::Name(name) => name.clone(),
        };
        let unresolved = |source| OutboundError::Unresolved {
            host: call.host(),
            source,
        };
        let turn = self.lookups.clone().acquire_owned().await;
        let turn = turn.map_err(|closed| unresolved(std::io::Error::other(closed)))?;
        let asked = tokio::task::spawn_blocking(move || {
            let found = (name.as_str(), port).to_socket_addrs();
            // Held until here, whoever still waits for the answer.
            drop(turn);
            found.map(|all| all.take(ADDRESSES_MAX).collect::<Vec<_>>())
        });
        let found = asked.await.unwrap_or_else(|gone| Err(std::io::Error::other(gone)));
        found.map_err(unresolved)
    }

    /// Those of the addresses that may be called; when there is none, why.
    fn permitted(&self, call: &Call<'_>, found: Vec<SocketAddr>) -> Result<Vec<Permitted>, OutboundError> {
        let (mut permitted, mut refused) = (Vec::new(), Vec::new());
        for address in found {
            match self.allowed.permit(address) {
                Ok(address) => permitted.push(address),
                Err(reason) => refused.push(reason.to_string()),
            }
        }
        match (permitted.is_empty(), refused.is_empty()) {
            (false, _) => Ok(permitted),
            (true, true) => Err(OutboundError::NoAddress { host: call.host() }),
            (true, false) => Err(OutboundError::Forbidden {
                host: call.host(),
                refused: refused.join(", "),
            }),
        }
    }
}

impl Call<'_> {
    fn host(&self) -> String {
        self.endpoint.host().to_owned()
    }

    fn broken(&self, error: &dyn std::error::Error) -> OutboundError {
        let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        OutboundError::Broken {
            host: self.host(),
            detail: format!("{error}{cause}"),
        }
    }

    async fn in_time<T>(&self, stage: Stage, work: impl Future<Output = T>) -> Result<T, OutboundError> {
        let done = tokio::time::timeout(clock::left(self.deadline), work).await;
        done.map_err(|_| OutboundError::TooSlow {
            host: self.host(),
            stage,
            timeout: self.timeout,
        })
    }

    /// Tries one address after the other. Each gets its share of the time that is left, so that a silent one leaves some for the
    /// next.
    async fn connect(&self, addresses: &[Permitted]) -> Result<TcpStream, OutboundError> {
        let mut last = std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
        for (tried, address) in addresses.iter().enumerate() {
            let others = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
            let share = clock::left(self.deadline) / others;
            let connected = tokio::time::timeout(share, TcpStream::connect(address.address())).await;
            match connected.unwrap_or_else(|late| Err(late.into())) {
                Ok(stream) => {
                    // Small bodies; nothing is gained by waiting for more, and nothing lost where it cannot be set.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err(OutboundError::Unreachable {
            host: self.host(),
            source: last,
        })
    }

    /// The request out, the answer in. The connection is driven from here and ends with the call.
    async fn exchange<S>(
        &self,
        stream: S,
        request: Request<Full<Bytes>>,
        wanted: Body,
    ) -> Result<(Head, Bytes), OutboundError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let shaken = http1::Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await;
        let (mut sender, connection) = shaken.map_err(|error| self.broken(&error))?;
        let mut connection = pin!(connection.fuse());
        let answer = beside(connection.as_mut(), sender.send_request(request));
        let answer = self.in_time(Stage::Answer, answer).await?;
        let answer = answer.map_err(|error| self.broken(&error))?;
        let (head, body) = answer.into_parts();
        let kept = match wanted {
            Body::ThrowAway => {
                let wait = BODY_WAIT_MAX.min(clock::left(self.deadline));
                let _ = tokio::time::timeout(wait, beside(connection, read_off(body))).await;
                Bytes::new()
            }
            Body::Keep(bytes_max) => {
                let whole = beside(connection, Limited::new(body, bytes_max).collect());
                let whole = self.in_time(Stage::Finish, whole).await?;
                whole.map_err(|error| self.cut_off(&*error, bytes_max))?.to_bytes()
            }
        };
        Ok((head, kept))
    }

    fn cut_off(&self, error: &(dyn std::error::Error + 'static), bytes_max: usize) -> OutboundError {
        if error.is::<LengthLimitError>() {
            let host = self.host();
            return OutboundError::TooLarge { host, bytes_max };
        }
        self.broken(error)
    }
}

/// Does `work` while the connection moves its bytes. Once the connection has ended, what it has brought is there.
async fn beside<T>(connection: impl Future + Unpin, work: impl Future<Output = T>) -> T {
    match select(pin!(work), connection).await {
        Either::Left((done, _)) => done,
        Either::Right((_, work)) => work.await,
    }
}

/// Reads what is left of an answer, so that the server can end in peace, and keeps none of it.
async fn read_off(body: Incoming) {
    let mut body = pin!(Limited::new(body, BODY_BYTES_MAX));
    while let Some(Ok(_)) = body.frame().await {}
}

fn text(value: &HeaderValue) -> Option<String> {
    value.to_str().ok().map(str::to_owned)
}

fn request(
    method: Method,
    endpoint: &Endpoint,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, http::Error> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = Uri::from(endpoint.path.clone());
    *request.headers_mut() = headers;
    let host = HeaderValue::from_str(endpoint.host())?;
    request.headers_mut().insert(HOST, host);
    request
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
    Ok(request)
}
