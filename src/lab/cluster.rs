//! Three nodes on this machine as three processes: start, kill, restart, stop, and ask who leads.

use super::door::{Door, Lock, Way};
use super::folder::{Folder, remove, write_secret, write_whole};
use super::http::{self, Call};
use super::tokens::bearer;
use crate::base::clock;
use crate::net::Trust;
use crate::net::tls::{self, Made};
use crate::security::token;
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// Nodes of a cluster, numbered from 1.
pub const NODES: u64 = 3;
/// Between the ports of one node and the next.
const PORT_STEP: u16 = 10;
/// Free ports are looked for here: below what Linux gives to outgoing connections, which could otherwise take
/// the port of a node while it is down.
const FREE_PORTS: std::ops::Range<u16> = 10_000..32_000;
const FREE_PORT_TRIES: usize = 200;
const READY_MAX: Duration = Duration::from_secs(30);
/// A node that was asked to stop and still runs after this is killed.
const STOP_MAX: Duration = Duration::from_secs(15);
const ASK_MAX: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(20);
/// The administrator's token stands in this file of the folder.
const ADMIN_TOKEN: &str = "admin-token";
/// And these are of TLS.
const AUTHORITY: &str = "ca.pem";
const CERTIFICATE: &str = "node.pem";
const KEY: &str = "node.key";
/// What everybody may read of it.
const PUBLIC: u32 = 0o644;
const LOG_TAIL_LINES: usize = 15;
/// Tells `serve` that its standard input is a pipe held by its parent: the end of it means stop.
pub const PARENT_PIPE: &str = "CAMPANILE_PARENT_PIPE";

#[derive(Clone, Debug)]
pub struct Settings {
    /// The binary; `None` is the running one.
    pub program: Option<PathBuf>,
    /// The first node's client API; `None` looks for free ports.
    pub port: Option<u16>,
    /// Kept and continued; `None` is a folder that goes when the cluster does.
    pub data: Option<PathBuf>,
    /// Settings for every node, as `section.key=value`.
    pub set: Vec<String>,
    /// Every request needs a token; an administrator's is made, or found in the folder.
    pub auth: bool,
    /// Clients come with TLS; a certificate for this machine's own addresses is made, or found in the folder.
    pub tls: bool,
}

/// Three processes and the folder they live in. Dropping it kills them.
#[derive(Debug)]
pub struct Cluster {
    program: PathBuf,
    set: Vec<String>,
    admin_token: Option<String>,
    trust: Option<Trust>,
    port: u16,
    nodes: Vec<Node>,
    folder: Folder,
}

#[derive(Debug)]
struct Node {
    number: u64,
    api: SocketAddr,
    child: Option<Child>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for number in 1..=NODES {
            let _ = self.kill(number);
        }
    }
}

impl Cluster {
    /// Starts the processes; [`Cluster::ready`] waits for them.
    pub fn start(settings: Settings) -> Result<Self> {
        let port = match settings.port {
            Some(port) => checked(port)?,
            None => free_port()?,
        };
        let node = |number: u64| Node {
            number,
            api: address(port, number, 0),
            child: None,
        };
        let folder = settings
            .data
            .map_or_else(Folder::temporary, |path| Folder::kept(&path))?;
        let admin_token = settings.auth.then(|| admin_token(folder.path())).transpose()?;
        let trust = settings.tls.then(|| certificate(folder.path())).transpose()?;
        let mut cluster = Self {
            program: settings
                .program
                .map_or_else(std::env::current_exe, Ok)
                .context("the path of this program")?,
            set: settings.set,
            admin_token,
            trust,
            port,
            nodes: (1..=NODES).map(node).collect(),
            folder,
        };
        for number in 1..=NODES {
            cluster.restart(number)?;
        }
        Ok(cluster)
    }

    /// Waits until every running node says that it takes writes.
    pub async fn ready(&mut self) -> Result<()> {
        let end = clock::now() + READY_MAX;
        for number in 1..=NODES {
            self.ready_by(number, end).await?;
        }
        Ok(())
    }

    /// Waits until one node takes writes.
    pub async fn ready_node(&mut self, number: u64) -> Result<()> {
        self.ready_by(number, clock::now() + READY_MAX).await
    }

    async fn ready_by(&mut self, number: u64, end: Instant) -> Result<()> {
        let api = self.door(self.node(number)?);
        let mut last = String::from("no answer");
        while clock::now() < end {
            if let Some((number, _, status)) = self.ended().first() {
                bail!(
                    "node {number} ended while it started ({status}); its last words:\n{}",
                    self.log_tail(*number)
                );
            }
            match http::call(api.clone(), &Call::get("/readyz?write=1"), ASK_MAX).await {
                Ok(answer) if answer.status == 200 => return Ok(()),
                Ok(answer) => last = format!("{} {}", answer.status, answer.code()),
                Err(error) => last = error.to_string(),
            }
            tokio::time::sleep(POLL).await;
        }
        bail!(
            "node {number} took no writes within {READY_MAX:?} ({last}); its last words:\n{}",
            self.log_tail(number)
        )
    }

    /// The administrator's token, where every request needs one.
    pub fn admin_token(&self) -> Option<&str> {
        self.admin_token.as_deref()
    }

    /// Client addresses, in the order of the nodes.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| node.api).collect()
    }

    /// The same for another process.
    pub fn way(&self) -> Result<Way> {
        let doors = self.nodes.iter().map(|node| self.door(node).lock.map(|lock| lock.host));
        let authority = self.authority().map(fs::read_to_string).transpose();
        Ok(Way {
            nodes: self.addresses(),
            hosts: doors.collect(),
            authority: authority.context(AUTHORITY)?.unwrap_or_default(),
        })
    }

    fn door(&self, node: &Node) -> Door {
        let lock = self.trust.clone().map(|trust| Lock {
            host: node.api.ip().to_string(),
            trust,
        });
        Door {
            address: node.api,
            lock,
        }
    }

    pub fn url(&self, number: u64) -> String {
        let scheme = if self.trust.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", address(self.port, number, 0))
    }

    /// The file with the authority that the nodes' certificate is from, where they speak TLS.
    pub fn authority(&self) -> Option<PathBuf> {
        self.trust.as_ref().map(|_| self.folder.path().join(AUTHORITY))
    }

    pub fn pid(&self, number: u64) -> Option<u32> {
        self.node(number).ok()?.child.as_ref().map(Child::id)
    }

    /// The folder with a node's data.
    pub fn data(&self, number: u64) -> PathBuf {
        self.folder.path().join(format!("node-{number}"))
    }

    /// The folder with the nodes' data and logs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The node that leads, as any node sees it.
    pub async fn leader(&self) -> Option<u64> {
        let bearer = self.admin_token().map(bearer);
        let headers: Vec<_> = bearer.iter().map(|bearer| ("Authorization", bearer.as_str())).collect();
        let call = Call {
            headers: &headers,
            ..Call::get("/v1/cluster")
        };
        for node in self.nodes.iter().filter(|node| node.child.is_some()) {
            let answer = http::call(self.door(node), &call, ASK_MAX).await;
            let leader = answer
                .ok()
                .and_then(|answer| answer.json().ok()?.get("leader")?.as_u64());
            if leader.is_some() {
                return leader;
            }
        }
        None
    }

    /// Nodes that ended without being asked to, with their process and how; each is told once.
    pub fn ended(&mut self) -> Vec<(u64, u32, ExitStatus)> {
        let mut ended = Vec::new();
        for node in &mut self.nodes {
            let status = node
                .child
                .as_mut()
                .and_then(|child| Some((child.id(), child.try_wait().ok()??)));
            if let Some((pid, status)) = status {
                node.child = None;
                ended.push((node.number, pid, status));
            }
        }
        ended
    }

    /// SIGKILL: no goodbye, nothing flushed.
    pub fn kill(&mut self, number: u64) -> Result<()> {
        if let Some(mut child) = self.node_mut(number)?.child.take() {
            child
                .kill()
                .and_then(|()| child.wait())
                .with_context(|| format!("kill node {number}"))?;
        }
        Ok(())
    }

    /// SIGTERM: the node drains, hands over and leaves. One that stays longer than `STOP_MAX` is killed.
    pub async fn terminate(&mut self, number: u64) -> Result<()> {
        self.ask_to_stop(number)?;
        self.gone_by(number, clock::now() + STOP_MAX).await
    }

    /// Starts a node that is down, on its own data.
    pub fn restart(&mut self, number: u64) -> Result<()> {
        self.kill(number)?;
        let child = self
            .command(number)?
            .spawn()
            .with_context(|| format!("start node {number}"))?;
        self.node_mut(number)?.child = Some(child);
        Ok(())
    }

    /// Stops every node in order and removes a folder of its own.
    pub async fn stop(mut self) -> Result<()> {
        for number in 1..=NODES {
            self.ask_to_stop(number)?;
        }
        let end = clock::now() + STOP_MAX;
        for number in 1..=NODES {
            self.gone_by(number, end).await?;
        }
        Ok(())
    }

    /// The last lines of a node's log.
    pub fn log_tail(&self, number: u64) -> String {
        let text = fs::read(self.log_path(number)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }

    fn ask_to_stop(&mut self, number: u64) -> Result<()> {
        let pid = self.pid(number).and_then(|pid| Pid::from_raw(pid.cast_signed()));
        if let Some(pid) = pid.filter(|_| self.is_running(number)) {
            kill_process(pid, Signal::TERM).with_context(|| format!("SIGTERM to node {number}"))?;
        }
        Ok(())
    }

    async fn gone_by(&mut self, number: u64, end: Instant) -> Result<()> {
        while self.is_running(number) && clock::now() < end {
            tokio::time::sleep(POLL).await;
        }
        self.kill(number)
    }

    /// A process that has ended keeps its id until it is asked for here, so that no signal goes to a stranger.
    fn is_running(&mut self, number: u64) -> bool {
        let child = self.node_mut(number).ok().and_then(|node| node.child.as_mut());
        child.is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    fn node(&self, number: u64) -> Result<&Node> {
        let found = self.nodes.iter().find(|node| node.number == number);
        found.with_context(|| format!("there is no node {number}"))
    }

    fn node_mut(&mut self, number: u64) -> Result<&mut Node> {
        let found = self.nodes.iter_mut().find(|node| node.number == number);
        found.with_context(|| format!("there is no node {number}"))
    }

    fn log_path(&self, number: u64) -> PathBuf {
        self.folder.path().join(format!("node-{number}.log"))
    }

    fn command(&self, number: u64) -> Result<Command> {
        let log = self.log_path(number);
        let log = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| log.display().to_string())?;
        let mut command = Command::new(&self.program);
        command
            .arg("serve")
            .args(self.arguments(number).iter().flat_map(|setting| ["--set", setting]))
            .env(PARENT_PIPE, "1")
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C in a terminal goes to the parent alone, which then stops its nodes one way.
            .process_group(0);
        Ok(command)
    }

    /// The caller's settings come last: they win.
    fn arguments(&self, number: u64) -> Vec<String> {
        let peer = |number: u64| {
            let (peer, url) = (address(self.port, number, 1), self.url(number));
            format!("{{ node = {number}, peer = \"{peer}\", url = \"{url}\" }}")
        };
        let peers: Vec<String> = (1..=NODES).map(peer).collect();
        let data = self.data(number);
        let own = [
            format!("node.id={number}"),
            format!("node.data={}", data.display()),
            format!("api.listen={}", address(self.port, number, 0)),
            format!("cluster.listen={}", address(self.port, number, 1)),
            format!("cluster.peers=[{}]", peers.join(", ")),
        ];
        let auth = self.admin_token.iter().flat_map(|_| {
            let file = self.folder.path().join(ADMIN_TOKEN);
            [
                "auth.enabled=true".to_owned(),
                format!("auth.admin_token_file={}", file.display()),
            ]
        });
        let tls = self.trust.iter().flat_map(|_| {
            let file = |name| self.folder.path().join(name);
            [
                format!("tls.certificate_file={}", file(CERTIFICATE).display()),
                format!("tls.key_file={}", file(KEY).display()),
            ]
        });
        own.into_iter()
            .chain(auth)
            .chain(tls)
            .chain(self.set.iter().cloned())
            .collect()
    }
}

fn address(port: u16, number: u64, offset: u16) -> SocketAddr {
    let step = PORT_STEP * u16::try_from(number - 1).unwrap_or_default();
    SocketAddr::from((Ipv4Addr::LOCALHOST, port.saturating_add(step + offset)))
}

fn ports(port: u16) -> impl Iterator<Item = SocketAddr> {
    (1..=NODES).flat_map(move |number| [address(port, number, 0), address(port, number, 1)])
}

fn checked(port: u16) -> Result<u16> {
    if port == 0 || port > u16::MAX - PORT_STEP * NODES as u16 {
        bail!("--port {port} leaves no room for {NODES} nodes, {PORT_STEP} ports apart");
    }
    for address in ports(port) {
        TcpListener::bind(address).with_context(|| format!("{address} is taken; choose other ports with --port"))?;
    }
    Ok(port)
}

fn free_port() -> Result<u16> {
    let mut tries = (0..FREE_PORT_TRIES).map(|_| rand::random_range(FREE_PORTS));
    let free = tries.find(|port| ports(*port).all(|address| TcpListener::bind(address).is_ok()));
    free.with_context(|| format!("no free ports in {FREE_PORTS:?} in {FREE_PORT_TRIES} tries"))
}

/// The token in the folder, or a new one, which only this user can read.
fn admin_token(folder: &Path) -> Result<String> {
    let path = folder.join(ADMIN_TOKEN);
    if let Ok(kept) = fs::read_to_string(&path) {
        return Ok(kept.trim().to_owned());
    }
    let made = token::make()?;
    write_secret(&path, &made)?;
    Ok(made)
}

/// The certificate in the folder, or a new one from an authority that signs nothing else; whom to believe. The authority is written last:
/// without it the rest is what a run left that was cut off, and nobody was told to believe it.
fn certificate(folder: &Path) -> Result<Trust> {
    let authority = folder.join(AUTHORITY);
    if !authority.exists() {
        let Made {
            authority: pem,
            certificate,
            key,
        } = tls::make(&["localhost", "127.0.0.1", "::1"])?;
        remove(&folder.join(KEY)).context(KEY)?;
        write_secret(&folder.join(KEY), &key)?;
        write_whole(&folder.join(CERTIFICATE), &certificate, PUBLIC).context(CERTIFICATE)?;
        write_whole(&authority, &pem, PUBLIC).context(AUTHORITY)?;
    }
    let file = || {
        let file = authority.display();
        format!("{file} cannot be used; without this file a new certificate is made")
    };
    let pem = fs::read(&authority).with_context(file)?;
    Trust::of(&pem).with_context(file)
}

#[cfg(test)]
mod tests {
    use super::{AUTHORITY, CERTIFICATE, Cluster, KEY, NODES, Settings, certificate, free_port, ports};
    use crate::{base::size::Span, config, net::tls};
    use std::{collections::BTreeSet, fs};

    #[test]
    fn the_settings_of_a_node_are_ones_that_it_knows() {
        let settings = Settings {
            program: Some("/bin/cat".into()),
            port: None,
            data: None,
            set: vec!["node.drain=1s".into()],
            auth: false,
            tls: false,
        };
        let cluster = Cluster::start(settings).unwrap();
        let config = config::load(None, std::iter::empty(), &cluster.arguments(2))
            .unwrap()
            .config;
        assert_eq!((config.node.id, config.node.data), (2, cluster.folder().join("node-2")));
        assert_eq!(config.api.listen, cluster.addresses()[1].to_string());
        assert_eq!(config.cluster.peers.len(), 3);
        assert_eq!(config.cluster.listen, config.cluster.peers[1].peer);
        assert_eq!(config.cluster.peers[1].url, cluster.url(2));
        assert_eq!(config.node.drain, Span::seconds(1));
    }

    #[test]
    fn an_administrators_token_is_made_once_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let start = || {
            Cluster::start(Settings {
                program: Some("/bin/cat".into()),
                port: None,
                data: Some(folder.path().into()),
                set: Vec::new(),
                auth: true,
                tls: false,
            })
            .unwrap()
        };
        let first = start();
        let token = first.admin_token().unwrap().to_owned();
        let config = config::load(None, std::iter::empty(), &first.arguments(1))
            .unwrap()
            .config;
        assert!(config.auth.enabled);
        assert_eq!(
            std::fs::read_to_string(&config.auth.admin_token_file).unwrap().trim(),
            token
        );
        drop(first);
        assert_eq!(start().admin_token(), Some(&*token));
    }

    #[test]
    fn a_certificate_is_made_once_and_anew_where_the_making_was_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let usable = || {
            certificate(folder.path()).unwrap();
            let file = |name: &str| path(name).display().to_string();
            let config = tls::Config {
                certificate_file: file(CERTIFICATE),
                key_file: file(KEY),
                ..tls::Config::default()
            };
            assert!(!tls::Certificate::read(&config).unwrap().is_key_open());
            fs::read_to_string(path(AUTHORITY)).unwrap()
        };
        let first = usable();
        assert_eq!(usable(), first);
        // As a run leaves it that ends while it writes: a key without an authority, and half of one beside its place.
        fs::write(path("ca.pem.new"), &first[..100]).unwrap();
        fs::remove_file(path(AUTHORITY)).unwrap();
        fs::write(path(CERTIFICATE), "half a fi").unwrap();
        assert_ne!(usable(), first);
        fs::write(path(AUTHORITY), "").unwrap();
        let error = format!("{:#}", certificate(folder.path()).unwrap_err());
        assert!(error.contains("ca.pem cannot be used"), "{error}");
    }

    #[test]
    fn six_ports_are_free_and_apart() {
        let port = free_port().unwrap();
        let all: BTreeSet<_> = ports(port).collect();
        assert_eq!(all.len(), 2 * NODES as usize);
    }

    #[tokio::test]
    async fn a_node_that_ends_at_once_is_told_with_its_last_words() {
        let settings = Settings {
            program: Some("/bin/echo".into()),
            port: None,
            data: None,
            set: vec!["a.b=c".into()],
            auth: false,
            tls: false,
        };
        let mut cluster = Cluster::start(settings).unwrap();
        let folder = cluster.folder().to_owned();
        let error = cluster.ready().await.unwrap_err().to_string();
        // whichever ended first
        let is_told = |id: u64| error.contains(&format!("node {id} ended")) && error.contains(&format!("node.id={id}"));
        assert!((1..=NODES).any(is_told) && error.contains("a.b=c"), "{error}");
        cluster.stop().await.unwrap();
        assert!(!folder.exists(), "the folder goes with its cluster");
    }

    #[tokio::test]
    async fn killed_and_stopped_nodes_are_gone_and_one_that_dies_is_told_once() {
        let settings = Settings {
            program: Some("/bin/cat".into()),
            port: None,
            data: None,
            set: Vec::new(),
            auth: false,
            tls: false,
        };
        let mut cluster = Cluster::start(settings).unwrap();
        assert!(cluster.pid(1).is_some());
        cluster.kill(1).unwrap();
        cluster.terminate(2).await.unwrap();
        assert_eq!((cluster.pid(1), cluster.pid(2)), (None, None));
        assert!(cluster.kill(4).is_err());
    }
}
