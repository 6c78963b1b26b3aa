//! Where peers connect: HTTP/2, each request checked for its cluster before its body is read.

use super::handle::Handle;
use super::leadership::Heard;
use super::packer::Packer;
use super::rpc::{self, CLUSTER, Forward, Forwarded, Hello, Part};
use super::snapshot::{self, SnapshotFile};
use super::types::{Raft, RaftVote, SnapshotMeta};
use crate::base::clock;
use crate::model::NodeId;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use openraft::raft::AppendEntriesResponse;
use openraft::storage::Snapshot;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

/// Connections of peers at once.
const CONNECTIONS_MAX: usize = 64;
/// A read index is confirmed within this.
const READ_INDEX_WITHIN: Duration = Duration::from_secs(2);

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

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (status, body) = match self.route(request).await {
            Ok(body) => (StatusCode::OK, body),
            Err(Refusal::OtherCluster(said)) => (StatusCode::FORBIDDEN, said.into()),
            Err(Refusal::Bad(error)) => (StatusCode::BAD_REQUEST, error.to_string().into()),
            Err(Refusal::Failed(said)) => (StatusCode::SERVICE_UNAVAILABLE, said.into()),
            Err(Refusal::NotFound) => (StatusCode::NOT_FOUND, Bytes::new()),
        };
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = status;
        response
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
        if own == 0 {
            tracing::error!(
                "node {} has no data, but a cluster exists: it lost its disk or was given another node's number; \
                 it takes no part until it is removed and added with a new number",
                self.node
            );
        }
        Err(Refusal::OtherCluster(format!(
            "node {} belongs to cluster {own:032x}, not to {told:032x}",
            self.node
        )))
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
            rpc::PROPOSE => rpc::encode(&self.propose(rpc::decode(&body)?).await),
            rpc::READ_INDEX => {
                let leads = self.handle.leadership().is_leader;
                let index = if leads {
                    self.handle.read_index(clock::now() + READ_INDEX_WITHIN).await
                } else {
                    None
                };
                rpc::encode(&index)
            }
            _ => return Err(Refusal::NotFound),
        };
        Ok(answer?)
    }

    /// A leader whose disk is nearly full sends back what would fill it.
    async fn propose(&self, mut forward: Forward) -> Forwarded {
        if self.handle.leadership().is_leader && !self.handle.room.admit_forwarded(&mut forward) {
            return Forwarded::Done(vec![None; forward.commands.len()]);
        }
        self.packer.propose_forwarded(forward).await
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
