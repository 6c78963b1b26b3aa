//! openraft's way to the peers: heartbeats and votes on one connection, entries on another, snapshots on a third, so that
//! bulk never delays a vote.

use super::exchange::{Messages, Reader, frame};
use super::rpc::{self, Connection, Part};
use super::snapshot::SnapshotFile;
use super::types::{RaftVote, Types};
use crate::base::clock;
use crate::model::NodeId;
use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt};
use openraft::OptionalSend;
use openraft::alias::SnapshotOf;
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::impls::EmptyNode;
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use parking_lot::RwLock;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Requests with entries that one peer has not answered.
const APPENDS_UNDER_WAY_MAX: usize = 16;
/// Entries may take this long; the heartbeat's own limit is the election timeout's.
const APPEND_WITHIN: Duration = Duration::from_secs(2);
/// One part of a snapshot.
const PART_WITHIN: Duration = Duration::from_secs(10);
/// Verifying and loading a received snapshot.
const INSTALL_WITHIN: Duration = Duration::from_secs(120);

/// The ways to one peer.
pub struct Ways {
    control: Connection,
    entries: Connection,
    snapshots: Connection,
    pub forward: Connection,
}

/// All peers by node.
pub struct Peers {
    /// As the identity file has it; kept here because that file is locked while it is synced.
    cluster: RwLock<u128>,
    /// A peer asked in the name of a cluster while this node had none: see [`Peers::leave_out`].
    left_out: AtomicBool,
    ways: BTreeMap<NodeId, Arc<Ways>>,
}

impl Peers {
    pub fn new(cluster: u128, addresses: impl Iterator<Item = (NodeId, String)>) -> Self {
        let way = |address: String| Ways {
            control: Connection::new(address.clone()),
            entries: Connection::new(address.clone()),
            snapshots: Connection::new(address.clone()),
            forward: Connection::new(address),
        };
        Self {
            cluster: RwLock::new(cluster),
            left_out: AtomicBool::new(false),
            ways: addresses
                .map(|(node, address)| (node, Arc::new(way(address))))
                .collect(),
        }
    }

    pub fn cluster(&self) -> u128 {
        *self.cluster.read()
    }

    /// A node without a cluster gets one at its first start.
    pub fn join(&self, cluster: u128) {
        *self.cluster.write() = cluster;
        self.left_out.store(false, Ordering::Relaxed);
    }

    /// This node has no data although its cluster exists: it takes no part.
    pub fn leave_out(&self) {
        self.left_out.store(true, Ordering::Relaxed);
    }

    pub fn is_left_out(&self) -> bool {
        self.left_out.load(Ordering::Relaxed)
    }

    pub fn get(&self, node: NodeId) -> Option<&Arc<Ways>> {
        self.ways.get(&node)
    }

    pub fn iter(&self) -> impl Iterator<Item = (NodeId, &Arc<Ways>)> {
        self.ways.iter().map(|(node, ways)| (*node, ways))
    }
}

/// Makes a [`Link`] for each peer.
pub struct Network(pub Arc<Peers>);

impl RaftNetworkFactory<Types> for Network {
    type Network = Link;

    async fn new_client(&mut self, node: NodeId, _: &EmptyNode) -> Link {
        Link {
            peers: self.0.clone(),
            node,
        }
    }
}

pub struct Link {
    peers: Arc<Peers>,
    node: NodeId,
}

fn unreachable(error: &io::Error) -> RPCError<Types> {
    RPCError::Unreachable(Unreachable::new(error))
}

impl Link {
    fn ways(&self) -> io::Result<&Arc<Ways>> {
        self.peers
            .get(self.node)
            .ok_or_else(|| io::Error::other(format!("node {} is not in cluster.peers", self.node)))
    }

    async fn control<Q: Serialize, R: DeserializeOwned>(
        &self,
        path: &'static str,
        message: &Q,
        within: Duration,
    ) -> Result<R, RPCError<Types>> {
        let call = async {
            self.ways()?
                .control
                .call(path, self.peers.cluster(), message, clock::now() + within)
                .await
        };
        call.await.map_err(|error| unreachable(&error))
    }

    async fn send_snapshot(
        &self,
        vote: RaftVote,
        snapshot: SnapshotOf<Types, SnapshotFile>,
    ) -> io::Result<SnapshotResponse<Types>> {
        let cluster = self.peers.cluster();
        let way = &self.ways()?.snapshots;
        let transfer: u64 = rand::random();
        let path = snapshot.snapshot.path.clone();
        let mut file = tokio::fs::File::open(path).await?;
        let mut offset = 0;
        loop {
            let mut bytes = bytes::BytesMut::with_capacity(rpc::PART_BYTES);
            while bytes.len() < rpc::PART_BYTES {
                if tokio::io::AsyncReadExt::read_buf(&mut file, &mut bytes).await? == 0 {
                    break;
                }
            }
            let part = Part {
                transfer,
                offset,
                bytes: bytes.freeze(),
            };
            offset += part.bytes.len() as u64;
            let last = part.bytes.is_empty();
            if last {
                break;
            }
            let () = way.call(rpc::PART, cluster, &part, clock::now() + PART_WITHIN).await?;
        }
        way.call(
            rpc::INSTALL,
            cluster,
            &(vote, snapshot.meta, transfer, offset),
            clock::now() + INSTALL_WITHIN,
        )
        .await
    }
}

type Answers<'s> = BoxStream<'s, Result<StreamAppendResult<Types>, RPCError<Types>>>;

/// Entries on their way to one peer, and its answers.
struct Appends<S> {
    ways: Arc<Ways>,
    cluster: u128,
    /// `None` when all has been asked.
    input: Option<S>,
    /// Made with the first request: openraft waits before it gives one to a peer that could not be reached.
    open: Option<(Messages, Reader)>,
    /// Requests that were sent and not answered, and since when nothing has moved.
    under_way: usize,
    since: Instant,
}

impl<S: Stream<Item = AppendEntriesRequest<Types>> + Unpin> Appends<S> {
    /// The next answer; meanwhile requests go out as they come.
    async fn next(&mut self) -> io::Result<Option<StreamAppendResult<Types>>> {
        loop {
            let Some(input) = &mut self.input else {
                if self.under_way == 0 {
                    return Ok(None);
                }
                return self.answer().await.map(Some);
            };
            let Some((_, answers)) = &mut self.open else {
                let request = input.next().await;
                self.send(request).await?;
                continue;
            };
            tokio::select! {
                biased;
                answer = answers.next(), if self.under_way > 0 => {
                    (self.under_way, self.since) = (self.under_way - 1, clock::now());
                    return read(answer).map(Some);
                }
                request = input.next(), if self.under_way < APPENDS_UNDER_WAY_MAX => self.send(request).await?,
                () = tokio::time::sleep_until((self.since + APPEND_WITHIN).into()), if self.under_way > 0 => {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "entries are not answered in time"));
                }
            }
        }
    }

    async fn send(&mut self, request: Option<AppendEntriesRequest<Types>>) -> io::Result<()> {
        let Some(request) = request else {
            self.input = None;
            return Ok(());
        };
        if self.open.is_none() {
            let within = clock::now() + APPEND_WITHIN;
            self.open = Some(self.ways.entries.open(rpc::APPENDS, self.cluster, within).await?);
        }
        let Some((messages, _)) = &self.open else { return Ok(()) };
        let message = frame(&rpc::encode(&request)?);
        if self.under_way == 0 {
            self.since = clock::now();
        }
        self.under_way += 1;
        // The channel has room for more than may be under way.
        messages.try_send(message).map_err(io::Error::other)
    }

    /// All has been asked: what is left are answers.
    async fn answer(&mut self) -> io::Result<StreamAppendResult<Types>> {
        let Some((_, answers)) = &mut self.open else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let answer = tokio::time::timeout(APPEND_WITHIN, answers.next()).await;
        self.under_way -= 1;
        read(answer.map_err(io::Error::other)?)
    }
}

fn read(answer: io::Result<Option<Bytes>>) -> io::Result<StreamAppendResult<Types>> {
    rpc::decode(&answer?.ok_or(io::ErrorKind::UnexpectedEof)?)
}

impl RaftNetworkV2<Types> for Link {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        if request.entries.is_empty() {
            return self.control(rpc::APPEND, &request, option.hard_ttl()).await;
        }
        let within = option.hard_ttl().max(APPEND_WITHIN);
        let call = async {
            self.ways()?
                .entries
                .call(rpc::APPEND, self.peers.cluster(), &request, clock::now() + within)
                .await
        };
        call.await.map_err(|error| unreachable(&error))
    }

    /// Entries follow each other without waiting for the answers to those before.
    fn stream_append<'s, S>(&'s mut self, input: S, _: RPCOption) -> BoxFuture<'s, Result<Answers<'s>, RPCError<Types>>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            let ways = self.ways().map_err(|error| unreachable(&error))?.clone();
            let appends = Appends {
                ways,
                cluster: self.peers.cluster(),
                input: Some(input),
                open: None,
                under_way: 0,
                since: clock::now(),
            };
            let answers: Answers<'s> = Box::pin(stream::unfold(Some(appends), |appends| async {
                let mut appends = appends?;
                match appends.next().await {
                    Ok(None) => None,
                    Ok(Some(Ok(done))) => Some((Ok(Ok(done)), Some(appends))),
                    Ok(Some(refused)) => Some((Ok(refused), None)),
                    Err(error) => Some((Err(unreachable(&error)), None)),
                }
            }));
            Ok(answers)
        })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.control(rpc::VOTE, &request, option.hard_ttl()).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.control(rpc::PRE_VOTE, &request, option.hard_ttl()).await
    }

    async fn full_snapshot(
        &mut self,
        vote: RaftVote,
        snapshot: SnapshotOf<Types, SnapshotFile>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        tokio::select! {
            sent = self.send_snapshot(vote, snapshot) => {
                sent.map_err(|error| StreamingError::Unreachable(Unreachable::new(&error)))
            }
            closed = cancel => Err(StreamingError::Closed(closed)),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        self.control(rpc::TRANSFER, &request, option.hard_ttl()).await
    }
}
