//! Three nodes of the consensus part in one process, over real sockets and real folders, to stop and to start again.

use campanile::base::clock;
use campanile::base::size::Size;
use campanile::consensus::{self, Applied, Config, Handle, Peer, Running};
use campanile::model::directory::User;
use campanile::state::command::{Change, Found};
use campanile::state::{Command, Effect, Outcome, State};
use campanile::storage;
use campanile::storage::layout::Layout;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Counts the snapshots that were installed.
#[derive(Default)]
pub struct Watcher(AtomicU32);

impl Watcher {
    pub fn installed(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }
}

impl Applied for Watcher {
    fn applied(&self, _index: u64, _effects: Vec<Effect>) {}
    fn installed(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
    fn stored(&self, _position: u64) {}
}

/// A running node; stopping takes it apart, so that its folder can be opened again.
pub struct Node {
    pub handle: Handle,
    pub running: Running,
    pub watcher: Arc<Watcher>,
}

impl Node {
    pub fn users(&self) -> u64 {
        self.handle.read(|state| state.directory().users())
    }

    pub fn hash(&self) -> u64 {
        self.handle.read(State::hash)
    }

    /// Puts a user, and sees it where it was asked for.
    pub async fn put(&self, id: &str) {
        let proposed = self.handle.propose(user(id), soon()).await.unwrap();
        assert!(matches!(proposed.outcome, Outcome::Changed(_)));
        assert!(
            self.handle.read(|state| state.directory().user_number(id).is_some()),
            "the answering node has applied it"
        );
    }
}

pub struct Nodes {
    pub storage: storage::Config,
    pub log_chunk: Size,
    folder: tempfile::TempDir,
    peers: Vec<Peer>,
    nodes: Vec<Option<Node>>,
}

impl Nodes {
    /// Three nodes that have begun a history.
    pub async fn start(storage: storage::Config, log_chunk: Size) -> Self {
        let mut nodes = Self {
            storage,
            log_chunk,
            folder: tempfile::tempdir().unwrap(),
            peers: peers(&free_ports(3)),
            nodes: vec![None, None, None],
        };
        nodes.start_all().await;
        nodes
    }

    pub async fn start_all(&mut self) {
        for at in 0..3 {
            self.again(at).await;
        }
        // A node's leader does this; nothing is taken before the history has a name.
        let found = Command::Found(Found { epoch: 3, salt: 4 });
        self.at(0).handle.propose(found, soon()).await.unwrap();
    }

    pub fn at(&self, at: usize) -> &Node {
        self.nodes[at].as_ref().unwrap()
    }

    pub fn running(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().flatten()
    }

    pub fn leader(&self) -> usize {
        let leads = |at: &usize| self.at(*at).handle.leadership().is_leader;
        (0..3).find(leads).unwrap()
    }

    pub fn folder(&self, at: usize) -> PathBuf {
        self.folder.path().join(format!("node-{}", at + 1))
    }

    pub async fn stop(&mut self, at: usize) {
        let Node { handle, running, .. } = self.nodes[at].take().unwrap();
        drop(handle);
        running.stop().await;
    }

    /// Starts a node again as soon as the last user of the folder has let go.
    pub async fn again(&mut self, at: usize) {
        let deadline = soon();
        loop {
            match self.try_start(at).await {
                Ok(node) => break self.nodes[at] = Some(node),
                Err(error) => assert!(clock::now() < deadline, "{error}"),
            }
        }
    }

    /// The folder of a stopped node, as soon as its last user has let go.
    pub async fn layout(&self, at: usize) -> Layout {
        let deadline = soon();
        loop {
            match Layout::open(&self.folder(at), at as u64 + 1, &self.storage) {
                Ok(layout) => return layout,
                Err(error) => assert!(clock::now() < deadline, "{error}"),
            }
            tokio::task::yield_now().await;
        }
    }

    /// Why a node cannot be started.
    pub async fn refused(&self, at: usize) -> String {
        drop(self.layout(at).await);
        self.try_start(at).await.err().expect("it must not start")
    }

    async fn try_start(&self, at: usize) -> Result<Node, String> {
        let node = at as u64 + 1;
        let config = Config {
            listen: self.peers[at].peer.clone(),
            peers: self.peers.clone(),
            log_chunk: self.log_chunk,
            ..Config::default()
        };
        let layout = Layout::open(&self.folder(at), node, &self.storage).map_err(|error| error.to_string())?;
        let watcher = Arc::new(Watcher::default());
        let started = consensus::start(config, node, layout, self.storage.clone(), watcher.clone()).await;
        let (handle, running) = started.map_err(|error| error.to_string())?;
        Ok(Node {
            handle,
            running,
            watcher,
        })
    }

    /// Waits until all running nodes stand at the same entry, and fails unless their states are the same.
    pub async fn agree(&self) {
        let applied = || self.running().map(|node| node.handle.applied());
        until("standing at one entry", || applied().min() == applied().max()).await;
        let hashes: Vec<u64> = self.running().map(Node::hash).collect();
        assert!(hashes.windows(2).all(|pair| pair[0] == pair[1]), "{hashes:?}");
    }
}

pub fn soon() -> Instant {
    clock::now() + Duration::from_secs(10)
}

pub fn user(id: &str) -> Command {
    Command::Directory(vec![Change::PutUser(User::bare(id, "guest"))])
}

pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = soon();
    while !holds() {
        assert!(clock::now() < deadline, "{what} did not happen");
        tokio::task::yield_now().await;
    }
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
