//! A small HTTP/1.1 client: kept connections, a deadline for every request, bodies that stream.

use super::outbound::TlsError;
use super::tls::{self, Trust};
use bytes::{Buf, Bytes, BytesMut};
use futures_util::stream;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::rustls::pki_types::ServerName;

/// Idle connections kept for the next request.
const POOL_MAX: usize = 8;
/// The body of one answer that is read whole.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// One line of a streamed answer.
const LINE_BYTES_MAX: usize = 4 << 20;
const DEADLINE: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("{url:?} is not an address of a node; write it like \"http://127.0.0.1:8205\"")]
    Url { url: String },
    #[error("{name:?} cannot be sent: {detail}")]
    Request { name: String, detail: String },
    #[error("cannot reach {url}: {source}")]
    Unreachable { url: String, source: std::io::Error },
    #[error("no TLS with {url}: {source}")]
    Tls { url: String, source: std::io::Error },
    #[error("no TLS with {url}: {source}")]
    Untrusted { url: String, source: TlsError },
    #[error("no answer from {url} within {deadline:?}")]
    TooSlow { url: String, deadline: Duration },
    #[error("the connection to {url} failed: {source}")]
    Broken { url: String, source: hyper::Error },
    #[error("the stream from {url} was cut: {source}")]
    Cut { url: String, source: std::io::Error },
    #[error("{url} answered with something else: {detail}")]
    Protocol { url: String, detail: String },
    /// The server did not open the stream; its answer says why.
    #[error("the server answered {}", .0.status)]
    Refused(Box<Answer>),
}

/// A request's body.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

pub fn no_body() -> Body {
    Empty::new().boxed_unsync()
}

pub fn whole_body(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed_unsync()
}

/// A body that is sent as it comes; it ends when the sender is dropped.
pub fn streamed_body(chunks: mpsc::Receiver<Bytes>) -> Body {
    let frames = stream::unfold(chunks, |mut chunks| async {
        let chunk = chunks.recv().await?;
        Some((Ok::<_, Infallible>(Frame::data(chunk)), chunks))
    });
    StreamBody::new(frames).boxed_unsync()
}

/// A node's address and how to talk to it. Cheap to share by reference; connections are kept.
pub struct Client {
    url: String,
    authority: String,
    /// What the certificate must be for, where the address begins with `https`.
    secure: Option<ServerName<'static>>,
    trust: Option<Trust>,
    token: Option<String>,
    deadline: Duration,
    idle: parking_lot::Mutex<Vec<SendRequest<Body>>>,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub fn json<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.body)
    }
}

impl Client {
    /// `url` is `http://host:port` or `https://host:port`; without a port, 80 or 443.
    pub fn new(url: &str, token: Option<String>) -> Result<Self, ClientError> {
        let bad = || ClientError::Url { url: url.to_owned() };
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let is_bare = uri.query().is_none() && uri.path() == "/";
        let authority = uri.authority().filter(|_| is_bare).ok_or_else(bad)?;
        if authority.as_str().contains('@') {
            return Err(bad());
        }
        let (scheme, secure) = match uri.scheme_str() {
            Some("http") => ("http", None),
            Some("https") => ("https", Some(tls::name_of(authority.host()).ok_or_else(bad)?)),
            _ => return Err(bad()),
        };
        Ok(Self {
            url: format!("{scheme}://{authority}"),
            authority: authority.to_string(),
            secure,
            trust: None,
            token,
            deadline: DEADLINE,
            idle: parking_lot::Mutex::default(),
        })
    }

    /// How long a request may take, or a stream may say nothing.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Who is believed to be a node, in place of those whom this machine believes.
    #[must_use]
    pub fn trusting(mut self, trust: Option<Trust>) -> Self {
        self.trust = trust;
        self
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub async fn get(&self, path: &str) -> Result<Answer, ClientError> {
        self.send(self.request(Method::GET, path, &[], no_body())?).await
    }

    pub async fn delete(&self, path: &str) -> Result<Answer, ClientError> {
        self.send(self.request(Method::DELETE, path, &[], no_body())?).await
    }

    /// Puts JSON.
    pub async fn put(&self, path: &str, json: impl Into<Bytes>) -> Result<Answer, ClientError> {
        let headers = [("content-type", "application/json")];
        self.send(self.request(Method::PUT, path, &headers, whole_body(json))?)
            .await
    }

    /// Posts JSON, with further headers (an idempotency key).
    pub async fn post(
        &self,
        path: &str,
        json: impl Into<Bytes>,
        headers: &[(&str, &str)],
    ) -> Result<Answer, ClientError> {
        let headers = [&[("content-type", "application/json")], headers].concat();
        self.send(self.request(Method::POST, path, &headers, whole_body(json))?)
            .await
    }

    /// A request to this node: host and token are filled in. `path` begins with a slash and may have a query.
    pub fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Body,
    ) -> Result<Request<Body>, ClientError> {
        let fault = |name: &str, detail: &dyn std::fmt::Display| ClientError::Request {
            name: name.to_owned(),
            detail: detail.to_string(),
        };
        let uri: Uri = path.parse().map_err(|error| fault(path, &error))?;
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        let bearer = self.token.as_ref().map(|token| format!("Bearer {token}"));
        let own = [("host", self.authority.as_str())].into_iter();
        let own = own.chain(bearer.iter().map(|bearer| ("authorization", bearer.as_str())));
        for (name, value) in own.chain(headers.iter().copied()) {
            let parsed: HeaderName = name.parse().map_err(|error| fault(name, &error))?;
            let value = HeaderValue::from_str(value).map_err(|error| fault(name, &error))?;
            request.headers_mut().insert(parsed, value);
        }
        Ok(request)
    }

    /// Sends a request and reads its whole answer within the deadline.
    pub async fn send(&self, request: Request<Body>) -> Result<Answer, ClientError> {
        self.in_time(async {
            let (response, connection) = self.exchange(request).await?;
            let answer = self.read_whole(response).await?;
            self.keep(connection);
            Ok(answer)
        })
        .await
    }

    /// Sends a request whose answer is a stream of lines; the deadline counts for the head, then for each line. A status other
    /// than 2xx is [`ClientError::Refused`].
    pub async fn open(&self, request: Request<Body>) -> Result<Lines<'_>, ClientError> {
        self.in_time(async {
            let (response, connection) = self.exchange(request).await?;
            if !response.status().is_success() {
                return Err(ClientError::Refused(Box::new(self.read_whole(response).await?)));
            }
            Ok(Lines {
                client: self,
                headers: response.headers().clone(),
                body: response.into_body(),
                rest: BytesMut::new(),
                scanned: 0,
                _connection: connection,
            })
        })
        .await
    }

    /// Sends a request on a kept connection or a new one; its answer's body is still to be read.
    pub(super) async fn exchange(
        &self,
        mut request: Request<Body>,
    ) -> Result<(Response<Incoming>, SendRequest<Body>), ClientError> {
        while let Some(mut connection) = self.pop() {
            match connection.try_send_request(request).await {
                Ok(response) => return Ok((response, connection)),
                // The server had closed it before the request was written: it comes back whole.
                Err(mut refused) => match refused.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(self.broken(refused.into_error())),
                },
            }
        }
        // Boxed: a handshake is large, and every request would carry room for it.
        let mut connection = Box::pin(self.connect()).await?;
        let response = connection.send_request(request).await;
        Ok((response.map_err(|error| self.broken(error))?, connection))
    }

    fn pop(&self) -> Option<SendRequest<Body>> {
        let mut idle = self.idle.lock();
        while let Some(connection) = idle.pop() {
            if connection.is_ready() {
                return Some(connection);
            }
        }
        None
    }

    fn keep(&self, connection: SendRequest<Body>) {
        let mut idle = self.idle.lock();
        if idle.len() < POOL_MAX && !connection.is_closed() {
            idle.push(connection);
        }
    }

    async fn connect(&self) -> Result<SendRequest<Body>, ClientError> {
        let unreachable = |source| ClientError::Unreachable {
            url: self.url.clone(),
            source,
        };
        let address = if self.authority.rsplit(']').next().is_some_and(|end| end.contains(':')) {
            self.authority.clone()
        } else {
            let port = if self.secure.is_some() { 443 } else { 80 };
            format!("{}:{port}", self.authority)
        };
        let stream = TcpStream::connect(address).await.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let Some(name) = &self.secure else {
            return self.begin(stream).await;
        };
        let trust = self.trust.clone().map_or_else(Trust::of_machine, Ok);
        let trust = trust.map_err(|source| ClientError::Untrusted {
            url: self.url.clone(),
            source,
        })?;
        let agreed = trust.connector().connect(name.clone(), stream).await;
        let stream = agreed.map_err(|source| ClientError::Tls {
            url: self.url.clone(),
            source,
        })?;
        self.begin(stream).await
    }

    async fn begin<S>(&self, stream: S) -> Result<SendRequest<Body>, ClientError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.broken(error))?;
        tokio::spawn(async move {
            // Whoever waits for an answer is told of the fault by its own future.
            let _ = connection.with_upgrades().await;
        });
        Ok(sender)
    }

    pub(super) async fn read_whole(&self, response: Response<Incoming>) -> Result<Answer, ClientError> {
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| self.protocol(error.to_string()))?.to_bytes();
        Ok(Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
        })
    }

    pub(super) async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        let done = tokio::time::timeout(self.deadline, work).await;
        done.unwrap_or_else(|_| {
            Err(ClientError::TooSlow {
                url: self.url.clone(),
                deadline: self.deadline,
            })
        })
    }

    pub(super) fn broken(&self, source: hyper::Error) -> ClientError {
        ClientError::Broken {
            url: self.url.clone(),
            source,
        }
    }

    pub(super) fn cut(&self, source: std::io::Error) -> ClientError {
        ClientError::Cut {
            url: self.url.clone(),
            source,
        }
    }

    pub(super) fn protocol(&self, detail: impl Into<String>) -> ClientError {
        ClientError::Protocol {
            url: self.url.clone(),
            detail: detail.into(),
        }
    }
}

/// An answer that comes line by line.
pub struct Lines<'a> {
    client: &'a Client,
    pub headers: HeaderMap,
    body: Incoming,
    rest: BytesMut,
    /// No line ends before this.
    scanned: usize,
    /// The connection lives as long as its answer.
    _connection: SendRequest<Body>,
}

impl Lines<'_> {
    /// The next line without its end; `None` after the last. Waits the client's deadline at most.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        let client = self.client;
        client.in_time(self.line()).await
    }

    /// The same without a deadline: a stream may be quiet for long.
    pub async fn line(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            if let Some(line) = self.take_line() {
                return Ok(Some(line));
            }
            if self.rest.len() > LINE_BYTES_MAX {
                return Err(self
                    .client
                    .protocol(format!("a line longer than {LINE_BYTES_MAX} bytes")));
            }
            match self.chunk().await? {
                Some(chunk) => self.rest.extend_from_slice(&chunk),
                None if self.rest.is_empty() => return Ok(None),
                None => {
                    self.scanned = 0;
                    return Ok(Some(self.rest.split().freeze()));
                }
            }
        }
    }

    fn take_line(&mut self) -> Option<Bytes> {
        let end = self.rest[self.scanned..].iter().position(|byte| *byte == b'\n');
        let Some(end) = end else {
            self.scanned = self.rest.len();
            return None;
        };
        let line = self.rest.split_to(self.scanned + end).freeze();
        self.rest.advance(1);
        self.scanned = 0;
        Some(line)
    }

    /// The next bytes as they come, without lines; `None` at the end. No deadline.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ClientError> {
        while let Some(frame) = self.body.frame().await {
            if let Ok(chunk) = frame.map_err(|error| self.client.broken(error))?.into_data() {
                return Ok(Some(chunk));
            }
        }
        Ok(None)
    }
}
