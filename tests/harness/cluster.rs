//! Three nodes as three processes of the real binary: start, kill -9, start again, ask who leads.

use super::http::Client;
use super::tls::{Identity, Tunnels};
use super::wait::{maybe, until};
use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};
use std::time::Duration;

/// What is under test: the binary that cargo has just built.
pub const BINARY: &str = env!("CARGO_BIN_EXE_campanile");

/// A debug build on a busy machine.
pub const START_WITHIN: Duration = Duration::from_secs(40);
/// "Serving again" after all three were killed (C4) or lost power (P2).
pub const SERVING_WITHIN: Duration = Duration::from_secs(15);

pub struct Node {
    pub id: u64,
    /// For clients.
    pub address: SocketAddr,
    /// Where it listens for them: the same, but with TLS, to which a tunnel leads from `address`.
    pub listen: SocketAddr,
    pub peer: SocketAddr,
    pub data: PathBuf,
    child: Option<Child>,
}

pub struct Cluster {
    pub nodes: Vec<Node>,
    settings: Vec<String>,
    /// The administrator's, where every request needs one.
    token: Option<String>,
    tls: Option<Tls>,
    folder: tempfile::TempDir,
}

struct Tls {
    identity: Identity,
    tunnels: Tunnels,
}

/// Tests that share one cluster run side by side; those that break theirs, and measure, run alone.
static QUIET: RwLock<()> = RwLock::new(());
static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());

/// A cluster that several tests use at once; it ends with the last of them.
pub struct SharedCluster {
    pub cluster: Arc<Cluster>,
    _noisy: RwLockReadGuard<'static, ()>,
}

/// A cluster to kill and restart, while no other test runs.
pub struct OwnCluster {
    pub cluster: Cluster,
    _quiet: RwLockWriteGuard<'static, ()>,
}

pub fn shared() -> SharedCluster {
    let noisy = QUIET.read().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut slot = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let cluster = slot.upgrade().unwrap_or_else(|| Arc::new(Cluster::start(3)));
    *slot = Arc::downgrade(&cluster);
    SharedCluster { cluster, _noisy: noisy }
}

pub fn own(count: u64) -> OwnCluster {
    own_with(count, &[])
}

/// The same with `section.key=value` settings.
pub fn own_with(count: u64, settings: &[&str]) -> OwnCluster {
    let quiet = alone();
    OwnCluster {
        cluster: Cluster::start_with(count, settings),
        _quiet: quiet,
    }
}

/// Keeps every other test waiting while it lives.
pub fn alone() -> RwLockWriteGuard<'static, ()> {
    QUIET.write().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A cluster of one's own beside other tests.
pub fn beside(count: u64) -> SharedCluster {
    beside_with(count, &[])
}

/// The same with `section.key=value` settings.
pub fn beside_with(count: u64, settings: &[&str]) -> SharedCluster {
    let noisy = QUIET.read().unwrap_or_else(std::sync::PoisonError::into_inner);
    SharedCluster {
        cluster: Arc::new(Cluster::start_with(count, settings)),
        _noisy: noisy,
    }
}

/// A cluster of one's own that speaks TLS to clients, beside other tests. They come through tunnels.
pub fn beside_secure(count: u64, settings: &[&str]) -> SharedCluster {
    let noisy = QUIET.read().unwrap_or_else(std::sync::PoisonError::into_inner);
    SharedCluster {
        cluster: Arc::new(Cluster::start_secure(count, settings)),
        _noisy: noisy,
    }
}

impl Cluster {
    /// `count` nodes on empty folders, taking writes.
    pub fn start(count: u64) -> Self {
        Self::start_with(count, &[])
    }

    pub fn start_with(count: u64, settings: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let folders = (1..=count).map(|id| folder.path().join(format!("node-{id}"))).collect();
        Self::start_in(folder, folders, settings)
    }

    /// `count` nodes that speak TLS to clients.
    pub fn start_secure(count: u64, settings: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let folders = (1..=count).map(|id| folder.path().join(format!("node-{id}"))).collect();
        let identity = Identity::new(folder.path());
        let own = identity.settings();
        let all: Vec<&str> = own.iter().map(String::as_str).chain(settings.iter().copied()).collect();
        Self::start_as(folder, folders, &all, (None, Some(identity)))
    }

    /// Nodes on the given folders (which may be mount points), with `section.key=value` settings.
    pub fn start_in(folder: tempfile::TempDir, folders: Vec<PathBuf>, settings: &[&str]) -> Self {
        Self::start_as(folder, folders, settings, (None, None))
    }

    /// `count` nodes that ask for tokens; this one is the administrator's.
    pub fn start_guarded(count: u64, token: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let folders = (1..=count).map(|id| folder.path().join(format!("node-{id}"))).collect();
        let file = folder.path().join("admin-token");
        std::fs::write(&file, token).unwrap();
        let file = format!("auth.admin_token_file={}", file.display());
        Self::start_as(folder, folders, &["auth.enabled=true", &file], (Some(token), None))
    }

    fn start_as(
        folder: tempfile::TempDir,
        folders: Vec<PathBuf>,
        settings: &[&str],
        (token, identity): (Option<&str>, Option<Identity>),
    ) -> Self {
        let ports = free_ports(folders.len() * 2);
        let local = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let tls = identity.map(|identity| Tls {
            tunnels: Tunnels::new(identity.believer()),
            identity,
        });
        let door = |port: u16| tls.as_ref().map_or(local(port), |tls| tls.tunnels.to(local(port)));
        let nodes = folders.into_iter().zip(ports.chunks(2)).zip(1..);
        let nodes = nodes.map(|((data, ports), id)| Node {
            id,
            address: door(ports[0]),
            listen: local(ports[0]),
            peer: local(ports[1]),
            data,
            child: None,
        });
        let nodes = nodes.collect();
        let mut cluster = Self {
            nodes,
            settings: settings.iter().map(|text| (*text).to_owned()).collect(),
            token: token.map(str::to_owned),
            tls,
            folder,
        };
        for at in 0..cluster.nodes.len() {
            cluster.launch(at);
        }
        cluster.wait_writable(START_WITHIN);
        cluster
    }

    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| node.address).collect()
    }

    /// Of a cluster that speaks TLS.
    pub fn identity(&self) -> &Identity {
        &self.tls.as_ref().expect("a secure cluster").identity
    }

    pub fn client(&self, at: usize) -> Client {
        self.client_of(self.nodes[at].address)
    }

    fn client_of(&self, address: SocketAddr) -> Client {
        let client = Client::new(address);
        match &self.token {
            Some(token) => client.bearer(token),
            None => client,
        }
    }

    /// Starts a node that is not running; does not wait for it.
    pub fn launch(&mut self, at: usize) {
        assert!(self.nodes[at].child.is_none(), "node {at} runs already");
        let settings = self.settings_file(at);
        let log = self.log(at);
        let child = binary()
            .args(["serve", "--config"])
            .arg(settings)
            .args(self.settings.iter().flat_map(|text| ["--set", text]))
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.nodes[at].child = Some(child);
    }

    /// `kill -9`, and the process is gone.
    pub fn kill(&mut self, at: usize) {
        if let Some(mut child) = self.nodes[at].child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Stops all running nodes where they are, as a power cut does: not one instruction of theirs is carried out any more. What
    /// the kernel was asked for goes on. To be killed.
    pub fn freeze_all(&self) {
        let running: Vec<u32> = self
            .nodes
            .iter()
            .filter_map(|node| Some(node.child.as_ref()?.id()))
            .collect();
        for pid in &running {
            let pid = rustix::process::Pid::from_raw(*pid as i32).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
        }
        until("all nodes stand still", START_WITHIN, || {
            running.iter().all(|pid| is_frozen(*pid)).then_some(())
        });
    }

    /// SIGTERM: the node stops by itself.
    pub fn ask_to_stop(&self, at: usize) {
        let pid = rustix::process::Pid::from_raw(self.pid(at).cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    /// SIGKILL to all before any is waited for.
    pub fn kill_all(&mut self) {
        let mut children: Vec<Child> = self.nodes.iter_mut().filter_map(|node| node.child.take()).collect();
        for child in &mut children {
            child.kill().unwrap();
        }
        for mut child in children {
            child.wait().unwrap();
        }
    }

    pub fn pid(&self, at: usize) -> u32 {
        self.nodes[at].child.as_ref().unwrap().id()
    }

    pub fn is_alive(&mut self, at: usize) -> bool {
        let child = self.nodes[at].child.as_mut();
        child.is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    /// Waits until a node has ended by itself; its exit code.
    pub fn ended(&mut self, at: usize, within: Duration) -> Option<i32> {
        let child = self.nodes[at].child.as_mut().unwrap();
        let status = until("the node ends by itself", within, || child.try_wait().unwrap());
        self.nodes[at].child = None;
        status.code()
    }

    /// Which node leads, as the running nodes agree; by its place in `nodes`.
    pub fn leader(&self) -> usize {
        until("all running nodes name one leader", START_WITHIN, || {
            self.agreed_leader()
        })
    }

    fn agreed_leader(&self) -> Option<usize> {
        let running = self.nodes.iter().filter(|node| node.child.is_some());
        let said: Vec<Option<u64>> = running
            .map(|node| leader_seen_by(self.client_of(node.address)))
            .collect();
        let first = (*said.first()?)?;
        let agreed = said.iter().all(|leader| *leader == Some(first));
        let at = self.nodes.iter().position(|node| node.id == first)?;
        (agreed && self.nodes[at].child.is_some()).then_some(at)
    }

    /// A running node that does not lead.
    pub fn follower(&self) -> usize {
        let leader = self.leader();
        let mut others = (0..self.nodes.len()).filter(|at| *at != leader);
        others.find(|at| self.nodes[*at].child.is_some()).unwrap()
    }

    /// Waits until every running node says that it can take a write.
    pub fn wait_writable(&mut self, within: Duration) {
        for at in 0..self.nodes.len() {
            if self.nodes[at].child.is_none() {
                continue;
            }
            let address = self.nodes[at].address;
            let ready = maybe(within, || {
                let mut client = Client::new(address).patience(Duration::from_secs(2));
                let answer = client.send("GET", "/readyz?write=1", &[], b"").ok();
                let ready = answer.is_some_and(|answer| answer.status == 200);
                (ready || !self.is_alive(at)).then_some(ready)
            });
            assert_eq!(
                ready,
                Some(true),
                "node {at} takes no writes; its log ends:\n{}",
                self.log_tail(at)
            );
        }
    }

    /// Waits until every running node has applied the log up to `index`.
    pub fn wait_applied(&self, index: u64, within: Duration) {
        for node in self.nodes.iter().filter(|node| node.child.is_some()) {
            until(&format!("node {} has applied {index}", node.id), within, || {
                let path = format!("/v1/cluster?at_least={index}");
                let answer = self.client_of(node.address).send("GET", &path, &[], b"").ok()?;
                (answer.status == 200).then_some(())
            });
        }
    }

    /// Every node that was started still runs, and none has written of a panic.
    pub fn assert_sound(&mut self) {
        for at in 0..self.nodes.len() {
            let started = self.nodes[at].child.is_some();
            let log = std::fs::read_to_string(self.log_path(at)).unwrap_or_default();
            assert!(!started || self.is_alive(at), "node {at} ended:\n{}", self.log_tail(at));
            assert!(
                !log.contains("panicked at"),
                "node {at} panicked:\n{}",
                self.log_tail(at)
            );
        }
    }

    pub fn log_tail(&self, at: usize) -> String {
        let log = std::fs::read_to_string(self.log_path(at)).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(20)..].iter();
        // openraft says hundreds of letters about itself
        last.map(|line| line.chars().take(300).collect::<String>() + "\n")
            .collect()
    }

    fn log_path(&self, at: usize) -> PathBuf {
        self.folder.path().join(format!("node-{}.log", self.nodes[at].id))
    }

    fn log(&self, at: usize) -> File {
        let path = self.log_path(at);
        OpenOptions::new().create(true).append(true).open(path).unwrap()
    }

    fn settings_file(&self, at: usize) -> PathBuf {
        let node = &self.nodes[at];
        let path = self.folder.path().join(format!("node-{}.toml", node.id));
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        std::fs::write(&path, settings(node, &self.nodes, scheme)).unwrap();
        path
    }

    /// What is in the folder stays there after the test, for whoever looks for a fault.
    pub fn keep(&mut self) -> &Path {
        self.folder.disable_cleanup(true);
        self.folder.path()
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// The binary, untouched by what the environment says to it or to these tests.
pub fn binary() -> Command {
    let mut command = Command::new(BINARY);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CAMPANILE_") {
            command.env_remove(name);
        }
    }
    command
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for at in 0..self.nodes.len() {
                eprintln!("== log of node {}\n{}", self.nodes[at].id, self.log_tail(at));
            }
        }
        self.kill_all();
    }
}

/// No thread of the process runs its own code: each is stopped, or waits in the kernel for a disk.
fn is_frozen(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    threads.flatten().all(|thread| {
        let status = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        let state = status.rsplit(") ").next().and_then(|rest| rest.chars().next());
        matches!(state, Some('T' | 'D'))
    })
}

fn settings(node: &Node, all: &[Node], scheme: &str) -> String {
    let mut text = format!(
        "[node]\nid = {}\ndata = \"{}\"\n\n[log]\nlevel = \"info,openraft=error\"\n\n[api]\nlisten = \"{}\"\n\n[cluster]\nlisten = \"{}\"\n",
        node.id,
        node.data.display(),
        node.listen,
        node.peer
    );
    if all.len() > 1 {
        for other in all {
            text += &format!(
                "\n[[cluster.peers]]\nnode = {}\npeer = \"{}\"\nurl = \"{scheme}://{}\"\n",
                other.id, other.peer, other.listen
            );
        }
    }
    text
}

fn leader_seen_by(client: Client) -> Option<u64> {
    let mut client = client.patience(Duration::from_secs(2));
    let answer = client.send("GET", "/v1/cluster", &[], b"").ok()?;
    (answer.status == 200).then(|| answer.json()["leader"].as_u64())?
}

/// Ports below the range that outgoing connections use, so that a node finds its own again after a restart.
pub fn free_ports(count: usize) -> Vec<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 10_000;
    const RANGE: u16 = 20_000;
    let from = (std::process::id() % 331) as u16 * 60;
    let mut found = Vec::new();
    while found.len() < count {
        let port = FIRST + from.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % RANGE;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            found.push(port);
        }
    }
    found
}
