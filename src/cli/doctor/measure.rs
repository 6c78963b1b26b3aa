//! Looks at the machine: limits, clock, disk, ports, other nodes. Finds out, and judges nothing.

use super::judge::{Peer, Port, Running, Shown};
use crate::base::clock;
use crate::cache::memory::Memory;
use crate::config::Config;
use crate::net::tls::Certificate;
use crate::net::{Client, Trust};
use crate::storage::free::Volume;
use futures_util::future::join_all;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Syncs that are measured: enough for a slow card to show its pauses, and over within seconds.
const SYNCS: usize = 64;
/// An entry of the log with a broadcast is about so large.
const ENTRY: usize = 4_096;
/// And no longer than this in all, however slow the disk is.
const SYNCS_WITHIN: Duration = Duration::from_secs(20);
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Zones of four continents, two with clocks that change, one with a hyphen in its name.
const ZONES: [&str; 5] = [
    "America/New_York",
    "Europe/Zurich",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "America/Port-au-Prince",
];
/// What a program that keeps the clock leaves where it runs, and its name.
const KEEPERS: [(&str, &str); 5] = [
    (
        "/run/systemd/timesync/synchronized",
        "systemd-timesyncd, and synchronized",
    ),
    ("/run/chrony/chronyd.pid", "chrony"),
    ("/run/chronyd.pid", "chrony"),
    ("/run/ntpd.pid", "ntpd"),
    ("/run/openntpd.pid", "openntpd"),
];

pub fn clock_keeper() -> Option<String> {
    let found = KEEPERS.iter().find(|(path, _)| Path::new(path).exists());
    found.map(|(_, name)| (*name).to_owned())
}

pub fn zones_missing() -> Vec<&'static str> {
    let now = clock::wall();
    let is_missing = |zone: &&str| clock::shown_in(zone, now).is_none();
    ZONES.into_iter().filter(is_missing).collect()
}

/// Bytes that may still be taken, of the machine or of the narrowest limit around this process.
pub fn memory(config: &Config) -> Option<u64> {
    let memory = Memory::read(Path::new("/"), config.cache.memory_max.0);
    let free = memory
        .filled
        .iter()
        .map(|filled| filled.limit.saturating_sub(filled.used));
    free.min()
}

/// The nearest folder above the data that exists: the data's own need not be there before the first start.
pub fn folder(data: &Path) -> Result<PathBuf, String> {
    let whole = std::path::absolute(data).map_err(|error| error.to_string())?;
    let found = whole.ancestors().find(|folder| folder.is_dir());
    found
        .map(Path::to_owned)
        .ok_or_else(|| "no folder above it exists".into())
}

/// The volume, and what may be written before publishes are refused; what a node's reserve holds already counts as held.
pub fn room(folder: &Path, config: &Config) -> Option<(Volume, u64)> {
    let volume = Volume::of(folder)?;
    let reserve = fs::metadata(config.node.data.join("reserve")).map_or(0, |reserve| reserve.len());
    Some((volume, volume.left(&config.storage, reserve)))
}

/// How long it takes until what was appended to a file is on the disk, again and again. The file is removed.
pub fn syncs(folder: &Path) -> Result<Vec<Duration>, String> {
    let path = folder.join(format!(".campanile-doctor-{}", std::process::id()));
    let took = File::create_new(&path).and_then(|mut file| {
        let mut took = Vec::with_capacity(SYNCS);
        let begun = clock::now();
        while took.len() < SYNCS && begun.elapsed() < SYNCS_WITHIN {
            file.write_all(&[0x5a; ENTRY])?;
            let from = clock::now();
            file.sync_data()?;
            took.push(from.elapsed());
        }
        Ok(took)
    });
    let removed = fs::remove_file(&path);
    match took {
        Ok(took) => removed.map(|()| took).map_err(|error| error.to_string()),
        Err(error) => Err(format!(
            "a file in {} cannot be written and synced: {error}",
            folder.display()
        )),
    }
}

/// Takes the address and gives it back.
pub fn port(address: &str) -> Port {
    match std::net::TcpListener::bind(address) {
        Ok(_) => Port::Free,
        Err(error) if error.kind() == ErrorKind::AddrInUse => Port::InUse,
        Err(error) => Port::Wrong(error.to_string()),
    }
}

/// Whether what answers there calls itself one of ours.
pub async fn is_node(address: &str) -> Running {
    let Ok(client) = Client::new(&format!("http://{address}"), None) else {
        return Running::Nothing;
    };
    // In the clear, whatever the settings say: a node with TLS answers that with a refusal, which names it too.
    match client.with_deadline(ANSWER_WITHIN).get("/livez").await {
        Ok(answer) if answer.header("campanile-node").is_some() => Running::ANode,
        Ok(_) | Err(_) => Running::Nothing,
    }
}

/// The other nodes of the settings, all at once.
pub async fn peers(config: &Config, trust: Option<&Trust>) -> Vec<Peer> {
    let others = config.cluster.peers.iter().filter(|peer| peer.node != config.node.id);
    join_all(others.map(|other| async {
        Peer {
            node: other.node,
            address: other.peer.clone(),
            peer_fault: unreachable(&other.peer).await,
            url: other.url.clone(),
            skew: skew(&other.url, trust).await,
        }
    }))
    .await
}

/// The certificate as clients will see it; `None` where the settings have none.
pub fn certificate(config: &Config) -> Option<Result<Shown, String>> {
    if !config.tls.is_on() {
        return None;
    }
    let read = Certificate::read(&config.tls).map_err(|error| error.to_string());
    Some(read.map(|certificate| {
        Shown {
            ends: certificate.expires_at(),
            is_early: certificate.is_early(),
            is_key_open: certificate.is_key_open(),
            foreign: own_hosts(config)
                .into_iter()
                .filter(|host| !certificate.is_for(host))
                .collect(),
        }
    }))
}

/// Where clients are told to find this node.
fn own_hosts(config: &Config) -> BTreeSet<String> {
    let own = config.cluster.peers.iter().find(|peer| peer.node == config.node.id);
    let urls = config.api.url.iter().chain(own.map(|peer| &peer.url));
    let host = |url: &String| Some(url.parse::<http::Uri>().ok()?.host()?.to_owned());
    let mut hosts: BTreeSet<String> = urls.filter_map(host).collect();
    if hosts.is_empty() {
        let listen = config.api.listen.parse::<SocketAddr>();
        hosts.extend(listen.map(|address| address.ip().to_string()));
    }
    hosts
}

async fn unreachable(address: &str) -> Option<String> {
    match timeout(ANSWER_WITHIN, TcpStream::connect(address)).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!("no answer within {ANSWER_WITHIN:?}")),
    }
}

/// How far a node's clock is from ours, as its answers are dated: by whole seconds.
async fn skew(url: &str, trust: Option<&Trust>) -> Option<Duration> {
    let client = Client::new(url, None).ok()?.with_deadline(ANSWER_WITHIN);
    let client = client.trusting(trust.cloned());
    let before = clock::wall();
    let answer = client.get("/livez").await.ok()?;
    let after = clock::wall();
    let theirs = clock::parse_http_date(answer.header("date")?)?;
    // Their second began up to a second ago, and somewhere between question and answer.
    let (earliest, latest) = (before - 1_000, after);
    let off = (earliest - theirs).max(theirs - latest).max(0);
    Some(Duration::from_millis(off.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::{folder, port, syncs};
    use crate::cli::doctor::judge::Port;
    use std::path::Path;

    #[test]
    fn a_disk_is_measured_and_left_as_it_was() {
        let place = tempfile::tempdir().unwrap();
        let took = syncs(place.path()).unwrap();
        assert!(!took.is_empty() && took.len() <= super::SYNCS);
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
        assert!(syncs(&place.path().join("none")).is_err());
    }

    #[test]
    fn the_data_folder_need_not_be_there() {
        let place = tempfile::tempdir().unwrap();
        assert_eq!(folder(&place.path().join("a/b")).unwrap(), place.path());
        assert!(folder(Path::new("campanile-data")).unwrap().is_absolute());
    }

    #[test]
    fn a_port_is_tried_by_taking_it() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        assert_eq!(port(&address), Port::InUse);
        drop(listener);
        assert_eq!(port(&address), Port::Free);
        assert!(matches!(port("192.0.2.1:8205"), Port::Wrong(_)));
        assert!(matches!(port("nowhere"), Port::Wrong(_)));
    }
}
