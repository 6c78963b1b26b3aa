//! What peers say to each other, and one HTTP/2 connection to say it over. Bodies are a version byte and bincode.

use super::exchange::{self, MessageBody, Messages, Reader};
use crate::base::clock;
use crate::model::NodeId;
use crate::state::Outcome;
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

const VERSION: u8 = 1;
/// Which cluster the sender belongs to: read before the body is.
pub const CLUSTER: &str = "campanile-cluster";
/// The largest body between peers: an append of entries, or one part of a snapshot.
pub const BODY_BYTES_MAX: usize = 256 << 20;
/// Why a peer refuses a request.
const REFUSAL_BYTES_MAX: usize = 64 << 10;
/// One part of a snapshot.
pub const PART_BYTES: usize = 1 << 20;
/// A connection is made within this.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// After so many requests in a row without an answer a connection is made anew.
const SILENT_MAX: u32 = 3;
/// A peer that does not answer pings is gone; what waits for it fails.
const PING_EVERY: Duration = Duration::from_secs(2);
const PING_WITHIN: Duration = Duration::from_secs(3);

pub const APPEND: &str = "/raft/append";
/// Appends that follow each other: see [`super::exchange`].
pub const APPENDS: &str = "/raft/appends";
pub const VOTE: &str = "/raft/vote";
pub const PRE_VOTE: &str = "/raft/pre-vote";
pub const TRANSFER: &str = "/raft/transfer";
pub const PART: &str = "/raft/snapshot/part";
pub const INSTALL: &str = "/raft/snapshot/install";
/// Commands that a follower passes on: see [`super::road`].
pub const PROPOSE: &str = "/propose";
pub const READ_INDEX: &str = "/read-index";
/// How the others are, if the node that is asked leads.
pub const NODES: &str = "/nodes";
/// What time it is there.
pub const CLOCK: &str = "/clock";
pub const HELLO: &str = "/hello";
pub const FOUND: &str = "/found";

/// What a node says of itself before there is a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub node: NodeId,
    /// 0: none yet.
    pub cluster: u128,
    /// Neither vote nor entry nor snapshot.
    pub empty: bool,
    /// The nodes that its settings name.
    pub peers: Vec<NodeId>,
}

/// Commands that a follower passes on, encoded, each with the time it has left.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Forward {
    pub commands: Vec<(Bytes, u32)>,
}

/// What became of one command that was passed on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Fate {
    /// In the entry with this index.
    Applied(u64, Outcome),
    /// It had run out, and was not proposed.
    TooLate,
    /// The leader's disk is nearly full: it was not proposed.
    NoRoom,
    /// Too much waits there for one like it: it was not proposed.
    Full,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Forwarded {
    /// One for each command, in order.
    Done(Vec<Fate>),
    /// This node does not lead; nothing was proposed.
    NotLeader,
    /// Too much waits; nothing was proposed.
    Overloaded,
    /// Proposed, but nobody knows what became of it.
    Unknown,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Part {
    pub transfer: u64,
    pub offset: u64,
    pub bytes: Bytes,
}

pub fn encode<T: Serialize>(message: &T) -> io::Result<Bytes> {
    let size = bincode::serialized_size(message).map_err(io::Error::other)?;
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1);
    bytes.push(VERSION);
    bincode::serialize_into(&mut bytes, message).map_err(io::Error::other)?;
    Ok(bytes.into())
}

pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => {
            bincode::deserialize(rest).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
        }
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a message of another version",
        )),
    }
}

/// A message, or many.
pub type Outgoing = Either<Full<Bytes>, MessageBody>;

type Sender = http2::SendRequest<Outgoing>;

/// One connection to one peer, made again when it breaks.
pub struct Connection {
    address: String,
    sender: Mutex<Option<Sender>>,
    /// Requests in a row that were not answered in time.
    silent: AtomicU32,
}

impl Connection {
    pub fn new(address: String) -> Self {
        Self {
            address,
            sender: Mutex::new(None),
            silent: AtomicU32::new(0),
        }
    }

    /// One request, answered by `deadline` or an error.
    pub async fn call<Q: Serialize, R: DeserializeOwned>(
        &self,
        path: &'static str,
        cluster: u128,
        message: &Q,
        deadline: Instant,
    ) -> io::Result<R> {
        let body = encode(message)?;
        let exchange = self.exchange(path, cluster, body);
        if let Ok(answer) = tokio::time::timeout(clock::left(deadline), exchange).await {
            self.silent.store(0, Ordering::Relaxed);
            return decode(&answer?);
        }
        self.note_silence().await;
        Err(self.silent_error())
    }

    /// A connection that leads nowhere would only be found out by TCP minutes after the network is back.
    async fn note_silence(&self) {
        if self.silent.fetch_add(1, Ordering::Relaxed) + 1 >= SILENT_MAX {
            self.silent.store(0, Ordering::Relaxed);
            self.sender.lock().await.take();
        }
    }

    /// Opens an exchange of many messages: the end to write to, and the answers.
    pub async fn open(&self, path: &'static str, cluster: u128, deadline: Instant) -> io::Result<(Messages, Reader)> {
        let (messages, body) = exchange::channel();
        let request = self.request(path, cluster, Either::Right(body));
        let Ok(answer) = tokio::time::timeout(clock::left(deadline), request).await else {
            self.note_silence().await;
            return Err(self.silent_error());
        };
        self.silent.store(0, Ordering::Relaxed);
        Ok((messages, Reader::new(answer?)))
    }

    fn silent_error(&self) -> io::Error {
        io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no answer from {} in time", self.address),
        )
    }

    async fn exchange(&self, path: &'static str, cluster: u128, body: Bytes) -> io::Result<Bytes> {
        let answer = self.request(path, cluster, Either::Left(Full::new(body))).await?;
        let answer = Limited::new(answer, BODY_BYTES_MAX).collect().await;
        Ok(answer.map_err(io::Error::other)?.to_bytes())
    }

    /// The body of a good answer.
    async fn request(&self, path: &'static str, cluster: u128, body: Outgoing) -> io::Result<hyper::body::Incoming> {
        let mut sender = self.sender().await?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("http://{}{path}", self.address))
            .header(CLUSTER, format!("{cluster:032x}"))
            .body(body)
            .map_err(io::Error::other)?;
        let answer = match sender.send_request(request).await {
            Ok(answer) => answer,
            Err(error) => {
                // By now another request may have made a new one.
                self.sender.lock().await.take_if(|sender| sender.is_closed());
                return Err(io::Error::other(error));
            }
        };
        let status = answer.status();
        if status == StatusCode::OK {
            return Ok(answer.into_body());
        }
        let said = Limited::new(answer.into_body(), REFUSAL_BYTES_MAX).collect().await;
        let said = said.map(|said| String::from_utf8_lossy(&said.to_bytes()).into_owned());
        let said = said.unwrap_or_default();
        Err(io::Error::other(format!("{} answered {status}: {said}", self.address)))
    }

    async fn sender(&self) -> io::Result<Sender> {
        let mut sender = self.sender.lock().await;
        if let Some(open) = sender.as_ref().filter(|open| !open.is_closed()) {
            return Ok(open.clone());
        }
        let connect = TcpStream::connect(&self.address);
        let stream = tokio::time::timeout(CONNECT_WITHIN, connect)
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, format!("{} cannot be reached", self.address)))??;
        stream.set_nodelay(true)?;
        let (open, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_WITHIN)
            .initial_stream_window_size(16 << 20)
            .initial_connection_window_size(32 << 20)
            .max_frame_size(1 << 20)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        tokio::spawn(async move {
            // Its end shows at the next request.
            let _ = connection.await;
        });
        *sender = Some(open.clone());
        Ok(open)
    }
}

/// Reads a bounded body.
pub async fn body(body: hyper::body::Incoming) -> io::Result<Bytes> {
    let limited = Limited::new(body, BODY_BYTES_MAX);
    let collected = limited.collect().await.map_err(io::Error::other)?;
    Ok(collected.to_bytes())
}
