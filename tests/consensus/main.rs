//! Three nodes of the consensus part in one process, over real sockets and real folders.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use campanile::base::clock;
use campanile::base::size::{Size, Span};
use campanile::consensus::{self, Applied, Config, Handle, Peer, ProposeError, Running};
use campanile::model::directory::User;
use campanile::state::command::{Change, Found};
use campanile::state::{Command, Effect, Outcome};
use campanile::storage::layout::Layout;
use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Counts the snapshots that were installed.
#[derive(Default)]
struct Watcher(AtomicU32);

impl Applied for Watcher {
    fn applied(&self, _index: u64, _effects: Vec<Effect>) {}
    fn installed(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
    fn stored(&self, _position: u64) {}
}

/// A running node; stopping takes it apart, so that its folder can be opened again.
struct Node {
    handle: Handle,
    running: Running,
    watcher: Arc<Watcher>,
}

type Nodes = Vec<Option<Node>>;

async fn stop(nodes: &mut Nodes, at: usize) {
    let Node { handle, running, .. } = nodes[at].take().unwrap();
    drop(handle);
    running.stop().await;
}

fn at(nodes: &Nodes, at: usize) -> &Node {
    nodes[at].as_ref().unwrap()
}

/// Starts again as soon as the last user of the folder has let go.
async fn again(folder: &Path, node: usize, peers: &[Peer], storage: campanile::storage::Config) -> Option<Node> {
    let deadline = soon();
    loop {
        match start(folder, node as u64 + 1, peers, storage.clone()).await {
            Ok(node) => return Some(node),
            Err(error) => assert!(clock::now() < deadline, "{error}"),
        }
    }
}

fn soon() -> Instant {
    clock::now() + Duration::from_secs(10)
}

fn free_ports(count: usize) -> Vec<String> {
    let held: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    held.iter()
        .map(|listener| listener.local_addr().unwrap().to_string())
        .collect()
}

fn peers(addresses: &[String]) -> Vec<Peer> {
    let peer = |(at, address): (usize, &String)| Peer {
        node: at as u64 + 1,
        peer: address.clone(),
        url: String::new(),
    };
    addresses.iter().enumerate().map(peer).collect()
}

async fn start(folder: &Path, node: u64, peers: &[Peer], storage: campanile::storage::Config) -> Result<Node, String> {
    let listen = peers
        .iter()
        .find(|peer| peer.node == node)
        .map(|peer| peer.peer.clone());
    let config = Config {
        listen: listen.unwrap_or_default(),
        peers: peers.to_vec(),
        ..Config::default()
    };
    let folder = folder.join(format!("node-{node}"));
    let layout = Layout::open(&folder, node, &storage).map_err(|error| error.to_string())?;
    let watcher = Arc::new(Watcher::default());
    let started = consensus::start(config, node, layout, storage, watcher.clone()).await;
    let (handle, running) = started.map_err(|error| error.to_string())?;
    Ok(Node {
        handle,
        running,
        watcher,
    })
}

fn user(id: &str) -> Command {
    let user = User {
        id: id.into(),
        role: "guest".into(),
        tier: "starter".into(),
        locale: "en".into(),
        timezone: "UTC".into(),
        attributes: Vec::new(),
    };
    Command::Directory(vec![Change::PutUser(user)])
}

async fn put(node: &Node, id: &str) {
    let proposed = node.handle.propose(user(id), soon()).await.unwrap();
    assert!(matches!(proposed.outcome, Outcome::Changed(_)));
    assert!(
        node.handle.read(|state| state.directory().user_number(id).is_some()),
        "the answering node has applied it"
    );
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = soon();
    while !holds() {
        assert!(clock::now() < deadline, "{what} did not happen");
        tokio::task::yield_now().await;
    }
}

fn users(node: &Node) -> u64 {
    node.handle.read(|state| state.directory().users())
}

async fn start_all(folder: &Path, peers: &[Peer], storage: &campanile::storage::Config) -> Nodes {
    let mut nodes = Vec::new();
    for node in 0..3 {
        nodes.push(again(folder, node, peers, storage.clone()).await);
    }
    nodes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_agree_survive_their_leader_and_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let peers = peers(&free_ports(3));
    let storage = campanile::storage::Config::default();
    let mut nodes = start_all(folder.path(), &peers, &storage).await;
    for (n, node) in nodes.iter().flatten().enumerate() {
        put(node, &format!("first-{n}")).await;
    }
    let leader = (0..3).find(|n| at(&nodes, *n).handle.leadership().is_leader).unwrap();
    let follower = (leader + 1) % 3;
    assert!(at(&nodes, follower).handle.linearizable(soon()).await.is_ok());

    stop(&mut nodes, leader).await;
    put(at(&nodes, follower), "second").await;
    assert_eq!(users(at(&nodes, follower)), 4);

    nodes[leader] = again(folder.path(), leader, &peers, storage.clone()).await;
    put(at(&nodes, leader), "third").await;
    for node in nodes.iter().flatten() {
        until("catching up", || users(node) == 5).await;
    }

    for n in 0..3 {
        stop(&mut nodes, n).await;
    }
    let nodes = start_all(folder.path(), &peers, &storage).await;
    put(at(&nodes, 0), "fourth").await;
    assert_eq!(users(at(&nodes, 0)), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_node_takes_no_part() {
    let folder = tempfile::tempdir().unwrap();
    let peers = peers(&free_ports(3));
    let storage = campanile::storage::Config::default();
    let mut nodes = start_all(folder.path(), &peers, &storage).await;
    put(at(&nodes, 0), "ann").await;
    stop(&mut nodes, 0).await;
    std::fs::remove_dir_all(folder.path().join("node-1")).unwrap();
    let wiped = again(folder.path(), 0, &peers, storage).await.unwrap();
    put(at(&nodes, 1), "bob").await;
    let asked = wiped
        .handle
        .propose(user("eve"), clock::now() + Duration::from_secs(2))
        .await;
    assert!(asked.is_err(), "{asked:?}");
    assert_eq!(users(&wiped), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_was_away_gets_a_snapshot_when_the_log_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let peers = peers(&free_ports(3));
    let storage = campanile::storage::Config {
        snapshot_log_bytes: Size::kib(64),
        write_behind_every: Span::millis(10),
        ..campanile::storage::Config::default()
    };
    let mut nodes = start_all(folder.path(), &peers, &storage).await;
    let found = Command::Found(Found { epoch: 3, salt: 4 });
    at(&nodes, 0).handle.propose(found, soon()).await.unwrap();
    let away = (0..3).find(|n| !at(&nodes, *n).handle.leadership().is_leader).unwrap();
    stop(&mut nodes, away).await;
    let here = (away + 1) % 3;
    // The log goes up to the first snapshot once the second is there, and before the third is. Each is named by its index.
    let snapshot = |node: usize| {
        let folder = folder.path().join(format!("node-{}/snapshots", node + 1));
        let names = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let index = |name: &str| name.strip_suffix(".snapshot")?.parse::<u64>().ok();
        names.filter_map(|entry| index(entry.file_name().to_str()?)).max()
    };
    let mut seen = [BTreeSet::new(), BTreeSet::new()];
    let mut sent = 0;
    let deadline = clock::now() + Duration::from_secs(60);
    while seen.iter().any(|seen| seen.len() < 3) {
        assert!(clock::now() < deadline, "too few snapshots were taken: {seen:?}");
        put(at(&nodes, here), &format!("user-{sent}-{}", "x".repeat(100))).await;
        sent += 1;
        for (node, seen) in [here, (away + 2) % 3].into_iter().zip(&mut seen) {
            seen.extend(snapshot(node));
        }
    }
    nodes[away] = again(folder.path(), away, &peers, storage).await;
    until("catching up", || users(at(&nodes, away)) == sent).await;
    assert!(at(&nodes, away).watcher.0.load(Ordering::SeqCst) > 0, "by a snapshot");
    put(at(&nodes, away), "last").await;
    let hash = |node: &Node| node.handle.read(campanile::state::State::hash);
    let index = at(&nodes, away).handle.applied();
    assert!(at(&nodes, here).handle.wait_applied(index, soon()).await);
    assert_eq!(hash(at(&nodes, away)), hash(at(&nodes, here)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_left_alone_knows_of_no_leader_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let peers = peers(&free_ports(3));
    let storage = campanile::storage::Config::default();
    let mut nodes = start_all(folder.path(), &peers, &storage).await;
    put(at(&nodes, 0), "ann").await;
    stop(&mut nodes, 1).await;
    stop(&mut nodes, 2).await;
    let left = &at(&nodes, 0).handle;
    until("knowing of no leader", || left.leadership().leader.is_none()).await;
    let asked = left.propose(user("eve"), clock::now() + Duration::from_secs(1)).await;
    assert!(matches!(asked, Err(ProposeError::NoLeader { .. })), "{asked:?}");
    nodes[1] = again(folder.path(), 1, &peers, storage).await;
    put(at(&nodes, 0), "bob").await;
}
