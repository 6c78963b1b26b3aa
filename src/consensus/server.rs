//! Where peers connect: HTTP/2, each request checked for its cluster before its body is read.

use super::exchange::{self, Messages, Reader, frame};
use super::handle::Handle;
use super::leadership::Heard;
use super::packer::Packer;
use super::rpc::{self, CLUSTER, Forward, Forwarded, Hello, Outgoing, Part};
use super::snapshot::{self, SnapshotFile};
use super::types::{Raft, RaftVote, SnapshotMeta, Types};
use crate::base::clock;
use crate::model::NodeId;
use bytes::Bytes;
use futures_util::stream::{self, FuturesOrdered, StreamExt};
use http::{Request, Response, StatusCode};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use openraft::raft::{AppendEntriesResponse, StreamAppendError, StreamAppendResult};
use openraft::storage::Snapshot;
use parking_lot::Mutex;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

/// Connections of peers at once.
const CONNECTIONS_MAX: usize = 64;
/// Requests of one follower that wait for their entries.
const FORWARDS_MAX: usize = 64;
/// How often a node that lost its data says so.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);
/// A read index is confirmed within this.
const READ_INDEX_WITHIN: Duration = Duration::from_secs(2);

/// What is wrong with a node without data in a cluster that has some, and what to do.
pub const LEFT_OUT: &str = "has no data, but its cluster has: it lost its disk, node.data names another folder, or it was given \
                            another node's number. Give it its own folder back and start it again; it takes no part until then";

/// What answers peers.
pub struct Server {
    pub node: NodeId,
    pub peers: Vec<NodeId>,
    pub raft: Raft,
    pub packer: Arc<Packer>,
    pub handle: Handle,
    pub heard: Arc<Heard>,
    /// Nothing was ever written here.
    pub empty: Arc<dyn Fn() -> bool + Send + Sync>,
    /// When it was last said that this node has no data although a cluster exists.
    pub complained: Mutex<Option<Instant>>,
    /// Ends connections when the node stops.
    pub stop: watch::Receiver<bool>,
}

/// Why a request is not served.
enum Refusal {
    OtherCluster(String),
    Bad(io::Error),
    Failed(String),
    NotFound,
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Bad(error)
    }
}

impl Server {
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(permit) = permits.clone().acquire_owned().await else {
                return;
            };
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(50)).await; // out of descriptors, say: later
                continue;
            };
            let server = self.clone();
            tokio::spawn(async move {
                server.connection(stream).await;
                drop(permit);
            });
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream) {
        if stream.set_nodelay(true).is_err() {
            return;
        }
        let mut stop = self.stop.clone();
        let service = service_fn(move |request| {
            let server = self.clone();
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        let serving = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(16 << 20)
            .initial_connection_window_size(32 << 20)
            .max_frame_size(1 << 20)
            .serve_connection(TokioIo::new(stream), service);
        tokio::select! {
            served = serving => {
                if let Err(error) = served {
                    tracing::debug!(%error, "a peer's connection ended");
                }
            }
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Outgoing> {
        let answered = match request.uri().path() {
            rpc::APPENDS | rpc::PROPOSE => self.open(request),
            _ => self.route(request).await.map(|body| Either::Left(Full::new(body))),
        };
        let text = |text: String| Either::Left(Full::from(text));
        let (status, body) = match answered {
            Ok(body) => (StatusCode::OK, body),
            Err(Refusal::OtherCluster(said)) => (StatusCode::FORBIDDEN, text(said)),
            Err(Refusal::Bad(error)) => (StatusCode::BAD_REQUEST, text(error.to_string())),
            Err(Refusal::Failed(said)) => (StatusCode::SERVICE_UNAVAILABLE, text(said)),
            Err(Refusal::NotFound) => (StatusCode::NOT_FOUND, text(String::new())),
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        response
    }

    /// An exchange of many messages: answered at once, and served until either side ends it.
    fn open(self: Arc<Self>, request: Request<Incoming>) -> Result<Outgoing, Refusal> {
        self.check_cluster(&request)?;
        let is_appends = request.uri().path() == rpc::APPENDS;
        let asked = Reader::new(request.into_body());
        let (messages, body) = exchange::channel();
        if is_appends {
            tokio::spawn(self.append_all(asked, messages));
        } else {
            tokio::spawn(self.propose_all(asked, messages));
        }
        Ok(Either::Right(body))
    }

    /// Appends in order, each answered when it is on disk; the next is taken meanwhile.
    async fn append_all(self: Arc<Self>, asked: Reader, messages: Messages) {
        let requests = stream::unfold(asked, |mut asked| async {
            let message = asked.next().await.ok().flatten()?;
            let request = rpc::decode(&message);
            Some((request.ok()?, asked))
        });
        let mut results = std::pin::pin!(self.raft.stream_append(requests));
        while let Some(Ok(result)) = results.next().await {
            if !matches!(result, Err(StreamAppendError::HigherVote(_))) {
                self.heard.note();
            }
            let Ok(answer) = rpc::encode::<StreamAppendResult<Types>>(&result) else {
                return;
            };
            if messages.send(frame(&answer)).await.is_err() {
                return;
            }
        }
    }

    /// Commands of a follower, put into the queue in the order they come; answers go back in the same order.
    async fn propose_all(self: Arc<Self>, mut asked: Reader, messages: Messages) {
        let mut answers = FuturesOrdered::new();
        let mut more = true;
        while more || !answers.is_empty() {
            tokio::select! {
                Some(answer) = answers.next(), if !answers.is_empty() => {
                    let answer: Forwarded = answer;
                    let Ok(answer) = rpc::encode(&answer) else { return };
                    if messages.send(frame(&answer)).await.is_err() {
                        return;
                    }
                }
                message = asked.next(), if more && answers.len() < FORWARDS_MAX => {
                    let forward = message.ok().flatten().and_then(|message| rpc::decode::<Forward>(&message).ok());
                    match forward {
                        Some(forward) => answers.push_back(self.packer.take_forwarded(forward)),
                        None => more = false,
                    }
                }
            }
        }
    }

    fn cluster(&self) -> u128 {
        self.handle.peers.cluster()
    }

    /// A node without a cluster, or of another one, takes no part: it may have lost what it had promised.
    fn check_cluster(&self, request: &Request<Incoming>) -> Result<(), Refusal> {
        let told = request.headers().get(CLUSTER).and_then(|value| value.to_str().ok());
        let told = told.and_then(|text| u128::from_str_radix(text, 16).ok()).unwrap_or(0);
        let own = self.cluster();
        if own != 0 && own == told {
            return Ok(());
        }
        if own == 0 && told != 0 {
            self.handle.peers.leave_out();
            if self.may_complain() {
                tracing::error!("node {} {LEFT_OUT}", self.node);
            }
        }
        Err(Refusal::OtherCluster(format!(
            "node {} belongs to cluster {own:032x}, not to {told:032x}",
            self.node
        )))
    }

    /// The others ask many times a second: the reason is said now and then.
    fn may_complain(&self) -> bool {
        let now = clock::now();
        let mut complained = self.complained.lock();
        let is_due = complained.is_none_or(|at| now.saturating_duration_since(at) >= COMPLAIN_EVERY);
        if is_due {
            *complained = Some(now);
        }
        is_due
    }

    async fn route(&self, request: Request<Incoming>) -> Result<Bytes, Refusal> {
        let path = request.uri().path().to_owned();
        if path == rpc::HELLO {
            return Ok(rpc::encode(&self.hello())?);
        }
        if path == rpc::FOUND {
            let cluster: u128 = rpc::decode(&rpc::body(request.into_body()).await?)?;
            return Ok(rpc::encode(&self.found(cluster))?);
        }
        self.check_cluster(&request)?;
        let body = rpc::body(request.into_body()).await?;
        let failed = |error: &dyn std::fmt::Display| Refusal::Failed(error.to_string());
        let answer = match path.as_str() {
            rpc::APPEND => {
                let answer = self.raft.append_entries(rpc::decode(&body)?).await;
                let answer = answer.map_err(|error| failed(&error))?;
                if !matches!(answer, AppendEntriesResponse::HigherVote(_)) {
                    self.heard.note();
                }
                rpc::encode(&answer)
            }
            rpc::VOTE => rpc::encode(
                &self
                    .raft
                    .vote(rpc::decode(&body)?)
                    .await
                    .map_err(|error| failed(&error))?,
            ),
            rpc::PRE_VOTE => rpc::encode(
                &self
                    .raft
                    .pre_vote(rpc::decode(&body)?)
                    .await
                    .map_err(|error| failed(&error))?,
            ),
            rpc::TRANSFER => {
                let request = rpc::decode(&body)?;
                rpc::encode(
                    &self
                        .raft
                        .handle_transfer_leader(request)
                        .await
                        .map_err(|error| failed(&error))?,
                )
            }
            rpc::PART => {
                let part: Part = rpc::decode(&body)?;
                rpc::encode(&snapshot::receive(&self.snapshots(), &part)?)
            }
            rpc::INSTALL => {
                let (vote, meta, transfer, bytes): (RaftVote, SnapshotMeta, u64, u64) = rpc::decode(&body)?;
                let file = self.received(transfer, bytes).await?;
                let path = file.path.clone();
                let snapshot = Snapshot { meta, snapshot: file };
                let installed = self.raft.install_full_snapshot(vote, snapshot).await;
                // One that was installed has another name by now; one that was not wanted is in the way.
                let _ = std::fs::remove_file(path);
                rpc::encode(&installed.map_err(|error| failed(&error))?)
            }
            rpc::READ_INDEX => {
                let leads = self.handle.leadership().is_leader;
                let index = if leads {
                    self.handle.read_index(clock::now() + READ_INDEX_WITHIN).await
                } else {
                    None
                };
                rpc::encode(&index)
            }
            rpc::CLOCK => rpc::encode(&clock::wall()),
            rpc::NODES => {
                let leads = self.handle.leadership().is_leader;
                rpc::encode(&leads.then(|| self.handle.nodes()))
            }
            _ => return Err(Refusal::NotFound),
        };
        Ok(answer?)
    }

    pub fn hello(&self) -> Hello {
        Hello {
            node: self.node,
            cluster: self.cluster(),
            empty: (self.empty)(),
            peers: self.peers.clone(),
        }
    }

    /// A first start: an empty node takes the cluster's id; any other says no.
    pub fn found(&self, cluster: u128) -> bool {
        let identity = &self.handle.shared.layout.identity;
        let known = identity.get().cluster;
        if !(self.empty)() || (known != 0 && known != cluster) {
            return false;
        }
        if known == 0 {
            identity.update(|identity| identity.cluster = cluster);
            self.handle.peers.join(cluster);
        }
        true
    }

    fn snapshots(&self) -> std::path::PathBuf {
        self.handle.shared.layout.snapshots()
    }

    async fn received(&self, transfer: u64, bytes: u64) -> io::Result<SnapshotFile> {
        let (folder, cluster) = (self.snapshots(), self.cluster());
        let verify = move || snapshot::received(&folder, transfer, bytes, cluster);
        tokio::task::spawn_blocking(verify).await.map_err(io::Error::other)?
    }
}
