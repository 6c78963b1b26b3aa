//! Start-up as a script, and its mirror, the stop.

use super::handle::{Applied, Handle, Leadership};
use super::leadership::{Heard, Watch};
use super::line::{Lane, Line};
use super::log_store::LogStore;
use super::network::{Network, Peers};
use super::packer::Packer;
use super::room::{Look, Room};
use super::rpc::{self, Connection, Hello};
use super::server::{LEFT_OUT, Server};
use super::snapshot::SnapshotFile;
use super::state_machine::{Machine, Replica, Shared};
use super::types::Raft;
use super::upkeep::Upkeep;
use super::{Config, Peer};
use crate::base::clock;
use crate::model::NodeId;
use crate::storage::layout::Layout;
use crate::storage::write_behind::disk_failed;
use crate::storage::{WriteBehind, snapshot_file};
use openraft::SnapshotPolicy;
use openraft::async_runtime::WatchReceiver;
use openraft::impls::EmptyNode;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

#[derive(Debug, thiserror::Error)]
pub enum ConsensusError {
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("{0}")]
    Refused(String),
    #[error("raft: {0}")]
    Raft(String),
}

fn failed(what: impl Into<String>) -> impl FnOnce(io::Error) -> ConsensusError {
    let what = what.into();
    move |source| ConsensusError::Io { what, source }
}

/// Waits before a peer that cannot be reached is tried again.
const PEER_BACKOFF: &str = "20ms 50ms 100ms ...300ms";
/// How often peers are asked before the first start.
const HELLO_EVERY: Duration = Duration::from_millis(200);
const HELLO_WITHIN: Duration = Duration::from_secs(1);
/// A clean stop waits this long for another node to lead.
const TRANSFER_WITHIN: Duration = Duration::from_secs(2);

/// A running consensus part.
pub struct Running {
    shared: Arc<Shared>,
    log: LogStore,
    raft: Raft,
    handle: Handle,
    tasks: Vec<JoinHandle<()>>,
    stop: watch::Sender<bool>,
}

/// Opens everything in `layout` and takes part. `watcher` is told of every applied entry, also of those that are replayed.
pub async fn start(
    config: Config,
    node: NodeId,
    layout: Layout,
    storage: crate::storage::Config,
    watcher: Arc<dyn Applied>,
) -> Result<(Handle, Running), ConsensusError> {
    let on_failure = Box::new(|error: &io::Error| disk_failed("writing the log", error));
    let wait = Duration::from_micros(config.log_flush_wait_us);
    let log = LogStore::open(&layout.log(), config.log_chunk.bytes(), wait, on_failure)
        .map_err(failed("the log cannot be opened"))?;
    let shared = open_state(layout, storage, watcher)?;
    check_log(&log, &shared)?;

    let others = config
        .peers
        .iter()
        .filter(|peer| peer.node != node)
        .map(|peer| (peer.node, peer.peer.clone()));
    let peers = Arc::new(Peers::new(shared.layout.identity.get().cluster, others));
    let raft_config = Arc::new(raft_config(&config)?);
    let raft = Raft::new(
        node,
        raft_config,
        Network(peers.clone()),
        log.clone(),
        Machine(shared.clone()),
    );
    let raft = raft.await.map_err(|error| ConsensusError::Raft(error.to_string()))?;

    let (leading, leadership) = watch::channel(Leadership::default());
    let heard = Arc::new(Heard::default());
    let room = Arc::new(Room::default());
    let mut look = Look::new(shared.clone(), room.clone());
    look.look();
    let (line, [critical, usual]) = Line::new(config.waiting_max);
    let packer = Packer::new(
        raft.clone(),
        shared.clone(),
        peers.clone(),
        room.clone(),
        config.clone(),
        leadership.clone(),
        line.clone(),
    );
    let handle = Handle {
        node,
        shared: shared.clone(),
        raft: raft.clone(),
        peers,
        line,
        leadership,
        room: room.clone(),
    };
    let mut tasks = vec![
        tokio::spawn(Watch::new(raft.clone(), heard.clone(), &config, leading).run()),
        tokio::spawn(packer.clone().run(Lane::Critical, critical)),
        tokio::spawn(packer.clone().run(Lane::Usual, usual)),
        tokio::spawn(look.run()),
        tokio::spawn(Upkeep::new(shared.clone(), log.clone(), raft.clone(), room).run()),
    ];
    let (stop, stopped) = watch::channel(false);
    let empty_log = log.clone();
    let empty_state = shared.clone();
    let empty = Arc::new(move || empty_log.is_empty() && empty_state.replica.read().last.is_none());
    let server = Arc::new(Server {
        node,
        peers: config.peers.iter().map(|peer| peer.node).collect(),
        raft: raft.clone(),
        packer,
        handle: handle.clone(),
        heard,
        empty,
        complained: Mutex::new(None),
        stop: stopped,
    });
    if !config.peers.is_empty() {
        let listener = TcpListener::bind(&config.listen).await;
        let listener = listener.map_err(failed(format!("cluster.listen {} cannot be used", config.listen)))?;
        tasks.push(tokio::spawn(server.clone().serve(listener)));
    }
    tasks.push(tokio::spawn(first_start(server, raft.clone(), config.peers)));
    Ok((
        handle.clone(),
        Running {
            shared,
            log,
            raft,
            handle,
            tasks,
            stop,
        },
    ))
}

/// Rows into memory, and the thread that writes them behind.
pub(super) fn open_state(
    mut layout: Layout,
    storage: crate::storage::Config,
    watcher: Arc<dyn Applied>,
) -> Result<Arc<Shared>, ConsensusError> {
    let replica = match Replica::load(&layout.store) {
        Ok(replica) => replica,
        Err(error) => {
            tracing::error!(%error, "the store opens but cannot be read: it is put aside and rebuilt from snapshot and log");
            let rebuilt = layout.rebuild(error.to_string(), &storage);
            rebuilt.map_err(|error| ConsensusError::Refused(error.to_string()))?;
            Replica::load(&layout.store).map_err(failed("the state cannot be loaded"))?
        }
    };
    let store = layout.store.clone();
    let newest = newest_snapshot(&layout)?;
    let log_time = replica.state.log_time();
    let stored_position = Arc::new(AtomicU64::new(replica.state.next_position().saturating_sub(1)));
    let shared = Arc::new(Shared {
        applied: watch::channel(replica.state.applied()).0,
        replica: RwLock::new(replica),
        store: RwLock::new(store.clone()),
        write_behind: OnceLock::new(),
        stored_position: stored_position.clone(),
        watcher: OnceLock::new(),
        log_time: Mutex::new((log_time, clock::now())),
        installing: AtomicBool::new(false),
        snapshot: Mutex::new(newest),
        storage,
        layout,
    });
    // A weak link: the thread ends with the node, not the other way round.
    let weak = Arc::downgrade(&shared);
    let taken = Arc::new(AtomicU64::new(0));
    let (taking, told) = (taken.clone(), watcher.clone());
    let take = Box::new(move || {
        let (batch, position) = weak.upgrade()?.take()?;
        taking.store(position, Ordering::Relaxed);
        Some(batch)
    });
    let committed = Box::new(move |_| {
        let position = taken.load(Ordering::Relaxed);
        stored_position.fetch_max(position, Ordering::Release);
        told.stored(position);
    });
    let write_behind = WriteBehind::start(store, &shared.storage, take, committed)
        .map_err(|error| ConsensusError::Refused(error.to_string()))?;
    // Both are set here once.
    let _ = shared.write_behind.set(write_behind);
    let _ = shared.watcher.set(watcher);
    Ok(shared)
}

/// The newest snapshot that is whole. One of another cluster is nobody's here, and the folder cannot be trusted.
fn newest_snapshot(layout: &Layout) -> Result<Option<SnapshotFile>, ConsensusError> {
    let refused = |error: crate::storage::StorageError| ConsensusError::Refused(error.to_string());
    let cluster = layout.identity.get().cluster;
    for path in snapshot_file::list(&layout.snapshots()).map_err(refused)? {
        match snapshot_file::verify(&path) {
            Ok(header) => {
                header.check_cluster(&path, cluster).map_err(refused)?;
                let bytes = std::fs::metadata(&path).map_or(0, |file| file.len());
                return Ok(Some(SnapshotFile { path, header, bytes }));
            }
            Err(error) => tracing::error!(%error, "a snapshot cannot be used"),
        }
    }
    Ok(None)
}

/// A log that ends before what it is known to have held, or begins behind what the rows stand at, cannot be trusted.
fn check_log(log: &LogStore, shared: &Shared) -> Result<(), ConsensusError> {
    let identity = shared.layout.identity.get();
    let (durable, purged) = (log.durable(), log.purged().unwrap_or(0));
    let applied = shared.replica.read().state.applied();
    tracing::info!(
        log_ends = durable,
        purged,
        rows_stand_at = applied,
        known = identity.logged,
        "log and rows"
    );
    let reach = durable.max(purged);
    if reach < identity.logged {
        return Err(ConsensusError::Refused(format!(
            "the log in {} ends at {reach}, but it held {} before: it is damaged or an old copy. This node must not vote. \
             Put the data folder aside and add the node again with a new number",
            shared.layout.log().display(),
            identity.logged
        )));
    }
    if applied < purged {
        return Err(ConsensusError::Refused(format!(
            "the state stands at {applied}, but the log begins at {}: what lies between is lost here. \
             Put the data folder aside and add the node again with a new number",
            purged + 1
        )));
    }
    Ok(())
}

fn raft_config(config: &Config) -> Result<openraft::Config, ConsensusError> {
    let millis = |span: crate::base::size::Span| span.0.as_millis() as u64;
    let raft = openraft::Config {
        cluster_name: "campanile".into(),
        election_timeout_min: millis(config.election_timeout_min),
        election_timeout_max: millis(config.election_timeout_max),
        heartbeat_interval: millis(config.heartbeat),
        install_snapshot_timeout: 120_000,
        max_payload_entries: 64,
        snapshot_policy: SnapshotPolicy::Never,
        // Purging is ordered by `upkeep`, which knows what is on disk.
        max_in_snapshot_log_to_keep: u64::MAX,
        replication_lag_threshold: 1_000_000,
        enable_pre_vote: Some(true),
        // A leader sends entries while its own disk still writes them. One that lost power and led on in the same term would
        // give the same numbers to other entries: it has to be elected anew.
        enable_leader_restore: Some(false),
        backoff: PEER_BACKOFF.into(),
        ..openraft::Config::default()
    };
    raft.validate().map_err(|error| ConsensusError::Raft(error.to_string()))
}

/// A cluster begins only when all of its nodes answer and all are empty; the lowest number does it.
async fn first_start(server: Arc<Server>, raft: Raft, peers: Vec<Peer>) {
    let own = server.hello();
    if !own.empty {
        if peers.len() <= 1 {
            // A cluster of one waits for nobody.
            let _ = raft.trigger().elect(false).await;
        }
        return;
    }
    let lowest = peers.iter().map(|peer| peer.node).min().unwrap_or(server.node);
    if lowest != server.node {
        return;
    }
    let others: Vec<Connection> = peers
        .iter()
        .filter(|peer| peer.node != server.node)
        .map(|peer| Connection::new(peer.peer.clone()))
        .collect();
    let mut warned = false;
    loop {
        if let Some(hellos) = greet(&others).await {
            let alive = hellos.iter().find(|hello| !hello.empty);
            if let Some(alive) = alive {
                if !warned {
                    server.handle.peers.leave_out();
                    tracing::error!("node {} (as node {} shows) {LEFT_OUT}", server.node, alive.node);
                }
                warned = true;
            } else if begin(&server, &raft, &peers, &others, &hellos).await {
                return;
            }
        }
        tokio::time::sleep(HELLO_EVERY).await;
        if !server.hello().empty {
            return;
        }
    }
}

async fn greet(others: &[Connection]) -> Option<Vec<Hello>> {
    let mut hellos = Vec::new();
    for other in others {
        hellos.push(
            other
                .call::<(), Hello>(rpc::HELLO, 0, &(), clock::now() + HELLO_WITHIN)
                .await
                .ok()?,
        );
    }
    Some(hellos)
}

async fn begin(server: &Server, raft: &Raft, peers: &[Peer], others: &[Connection], hellos: &[Hello]) -> bool {
    let mut wanted: Vec<NodeId> = peers.iter().map(|peer| peer.node).collect();
    wanted.sort_unstable();
    for hello in hellos {
        let mut theirs = hello.peers.clone();
        theirs.sort_unstable();
        if theirs != wanted {
            tracing::warn!(
                "node {} names other peers ({theirs:?}) than this node ({wanted:?})",
                hello.node
            );
            return false;
        }
    }
    let known = hellos
        .iter()
        .map(|hello| hello.cluster)
        .chain([server.hello().cluster])
        .find(|cluster| *cluster != 0);
    let cluster = known.unwrap_or_else(|| rand::random::<u128>().max(1));
    for other in others {
        let agreed = other
            .call::<u128, bool>(rpc::FOUND, 0, &cluster, clock::now() + HELLO_WITHIN)
            .await;
        if !matches!(agreed, Ok(true)) {
            return false;
        }
    }
    if !server.found(cluster) {
        return false;
    }
    let nodes = if wanted.is_empty() { vec![server.node] } else { wanted };
    let members: BTreeMap<NodeId, EmptyNode> = nodes.into_iter().map(|node| (node, EmptyNode {})).collect();
    match raft.initialize(members).await {
        Ok(()) => {
            tracing::info!(cluster = format!("{cluster:032x}"), "a new cluster has started");
            true
        }
        Err(error) => {
            tracing::warn!(%error, "the cluster could not be started yet");
            false
        }
    }
}

impl Running {
    /// Resolves with the reason when raft has ended by itself: an entry that cannot be applied, a store that fails. What this
    /// node holds can no longer be trusted to follow the others, so the process must stop.
    pub async fn ended(&self) -> String {
        let mut changes = self.raft.server_metrics();
        let metrics = self.raft.metrics();
        loop {
            let running = metrics.borrow_watched().running_state.clone();
            if let Err(fatal) = running {
                return fatal.to_string();
            }
            if changes.changed().await.is_err() {
                let last = metrics.borrow_watched().running_state.clone();
                return last.map_or_else(|fatal| fatal.to_string(), |()| "raft has ended".into());
            }
        }
    }

    /// Hands the lead over, ends raft, makes everything durable.
    pub async fn stop(self) {
        let leadership = self.handle.leadership();
        if leadership.is_leader {
            let nodes = self.handle.nodes();
            let heir = nodes
                .iter()
                .filter(|node| node.node != self.handle.node)
                .filter(|node| node.lag.is_some());
            if let Some(heir) = heir.min_by_key(|node| node.lag)
                && self.raft.trigger().transfer_leader(heir.node).await.is_ok()
            {
                let mut leading = self.handle.watch_leadership();
                let moved = leading.wait_for(|now| !now.is_leader);
                // Nobody took over in time: the others elect.
                let _ = tokio::time::timeout(TRANSFER_WITHIN, moved).await;
            }
        }
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "raft did not end cleanly");
        }
        self.stop.send_replace(true);
        self.tasks.iter().for_each(JoinHandle::abort);
        let (shared, log) = (self.shared, self.log);
        let close = tokio::task::spawn_blocking(move || {
            if let Err(error) = shared.sync() {
                tracing::warn!(%error, "the last rows stay in the log");
            }
            if let Ok(write_behind) = shared.write_behind() {
                write_behind.stop();
            }
            log.close();
            shared.mark(log.durable());
        });
        if let Err(error) = close.await {
            tracing::warn!(%error, "closing the stores failed");
        }
    }
}
