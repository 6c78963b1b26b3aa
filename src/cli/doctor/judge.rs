//! What was found, what that is worth, and what to do about it. Pure.

use crate::base::clock;
use crate::cli::output::count;
use crate::cli::sight::words;
use crate::config::Config;
use crate::model::Millis;
use crate::storage::free::Volume;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Fine,
    /// It runs, and may disappoint.
    Warning,
    /// It would not run, or not as a cluster that is relied on.
    Failed,
}

impl Verdict {
    const fn name(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub check: &'static str,
    pub verdict: Verdict,
    pub found: String,
    pub advice: Option<String>,
}

impl Finding {
    fn fine(check: &'static str, found: impl Into<String>) -> Self {
        Self {
            check,
            verdict: Verdict::Fine,
            found: found.into(),
            advice: None,
        }
    }

    fn warning(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Warning,
            advice: Some(advice.into()),
            ..Self::fine(check, found)
        }
    }

    fn failed(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Failed,
            ..Self::warning(check, found, advice)
        }
    }

    pub fn json(&self) -> Value {
        json!({"check": self.check, "verdict": self.verdict.name(), "found": self.found, "try": self.advice})
    }
}

/// Files that a node opens besides its sockets.
const FILES_OWN: u64 = 256;
/// With fewer a venue's phones do not fit.
const FILES_MIN: u64 = 1_024;
const MIB: u64 = 1 << 20;
/// Less room than this is gone within a busy day.
const ROOM_LOW: u64 = 1_024 * MIB;
/// Memory that a session takes with its socket and buffers, at most.
const SESSION_BYTES: u64 = 16 << 10;
/// An idle node.
const NODE_BYTES: u64 = 64 * MIB;
/// And with TLS so much more.
const SECURE_BYTES: u64 = 4 << 10;
/// A certificate that ends within this should have been renewed.
const ENDS_SOON: Millis = 30 * 24 * 3600 * 1_000;
/// Clocks are compared by whole seconds: less than this is no difference.
const SKEW_LOW: Duration = Duration::from_secs(2);
/// Log time follows the median of the clocks; a clock like this one is wrong.
const SKEW_HIGH: Duration = Duration::from_secs(30);

/// Each subscriber and each connection is an open file. `None`: there is no limit.
pub fn files(limit: Option<u64>, config: &Config) -> Finding {
    const CHECK: &str = "open files";
    let wanted = config.gateway.sessions_max as u64 + config.api.connections_max as u64 + FILES_OWN;
    let advice = format!("`ulimit -n {wanted}`, or LimitNOFILE={wanted} in the unit of systemd");
    match limit {
        None => Finding::fine(CHECK, "without a limit"),
        Some(limit) if limit >= wanted => Finding::fine(CHECK, format!("{} are allowed", count(limit))),
        Some(limit) => {
            let fit = count(limit.saturating_sub(FILES_OWN));
            let found = format!(
                "{} are allowed, so about {fit} phones fit; the settings want {}",
                count(limit),
                count(wanted)
            );
            if limit < FILES_MIN {
                Finding::failed(CHECK, found, advice)
            } else {
                Finding::warning(CHECK, found, advice)
            }
        }
    }
}

/// What keeps the clock right.
pub fn keeper(keeper: Option<&str>) -> Finding {
    const CHECK: &str = "clock";
    match keeper {
        Some(keeper) => Finding::fine(CHECK, format!("kept by {keeper}")),
        None => Finding::warning(
            CHECK,
            "nothing was found that keeps it",
            "`timedatectl set-ntp true`, or chrony; without an uplink, one of the venue's machines as its source",
        ),
    }
}

pub fn zones(missing: &[&str]) -> Finding {
    const CHECK: &str = "time zones";
    if missing.is_empty() {
        Finding::fine(CHECK, "known, with the program")
    } else {
        let found = format!("not known: {}", missing.join(", "));
        Finding::failed(CHECK, found, "a build of the program with its database of time zones")
    }
}

/// `free`: bytes that may still be taken, of the machine or of the narrowest limit around the process.
pub fn memory(free: Option<u64>, config: &Config) -> Finding {
    const CHECK: &str = "memory";
    let session = SESSION_BYTES + if config.tls.is_on() { SECURE_BYTES } else { 0 };
    let settings = config.gateway.window_bytes_max.0
        + config.api.keys_bytes_max.0
        + config.storage.sled_cache.0
        + config.cache.local_bytes.0
        + config.gateway.sessions_max as u64 * session
        + NODE_BYTES;
    let wanted = settings / MIB;
    match free.map(|free| free / MIB) {
        None => Finding::warning(
            CHECK,
            "how much is free cannot be read",
            "run it on the machine that shall run the node",
        ),
        Some(free) if free >= wanted => Finding::fine(
            CHECK,
            format!("{} MiB are free, the settings may take {}", count(free), count(wanted)),
        ),
        Some(free) => Finding::warning(
            CHECK,
            format!(
                "{} MiB are free, and the settings may take {}",
                count(free),
                count(wanted)
            ),
            "smaller gateway.sessions_max, gateway.window_bytes_max, api.keys_bytes_max or cache.local_bytes; or more memory",
        ),
    }
}

pub fn no_folder(data: &Path, why: &str) -> Finding {
    let found = format!("{} cannot be written to: {why}", data.display());
    Finding::failed("disk", found, "set node.data to a folder that this user may write to")
}

/// The volume, and what may be written to it before publishes are refused.
pub fn room(volume: Option<(Volume, u64)>) -> Finding {
    const CHECK: &str = "disk";
    const ADVICE: &str = "free space, or a larger disk for node.data";
    let Some((volume, left)) = volume else {
        return Finding::warning(CHECK, "how much room it has cannot be read", ADVICE);
    };
    let (left_shown, total) = (count(left / MIB), count(volume.total / MIB));
    let found = format!("{left_shown} MiB of {total} may be taken before publishes are refused");
    match left {
        0 => Finding::failed(CHECK, format!("it is full: {found}"), ADVICE),
        low if low < ROOM_LOW => Finding::warning(CHECK, found, ADVICE),
        _ => Finding::fine(CHECK, found),
    }
}

/// How long each sync took: nothing is answered before one, and a leader that waits for the disk sends no sign of life.
pub fn syncs(took: Result<&[Duration], &str>, config: &Config) -> Finding {
    const CHECK: &str = "disk sync";
    let mut took = match took {
        Ok(took) => took.to_vec(),
        Err(why) => {
            return Finding::failed(
                CHECK,
                why,
                "another disk for node.data: this one does not keep what it is given",
            );
        }
    };
    took.sort();
    let (Some(median), Some(worst)) = (took.get(took.len() / 2), took.last()) else {
        return Finding::failed(CHECK, "nothing was measured", "run it again");
    };
    let millis = |time: &Duration| words::millis(Some(time.as_secs_f64() * 1e3));
    let found = format!(
        "{} in the middle, {} at worst, of {}",
        millis(median),
        millis(worst),
        took.len()
    );
    let timeout = config.cluster.election_timeout_min.0;
    let advice = "a better disk, or for worn cards cluster.election_timeout_min=2s and cluster.election_timeout_max=3s";
    if *worst >= timeout {
        Finding::failed(CHECK, format!("{found}: as long as an election waits"), advice)
    } else if *worst >= timeout / 3 || *median >= config.cluster.heartbeat.0 / 2 {
        Finding::warning(CHECK, found, advice)
    } else {
        Finding::fine(CHECK, found)
    }
}

/// What came of taking an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Port {
    Free,
    InUse,
    Wrong(String),
}

/// Whether a node of ours answers at `api.listen` already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Running {
    ANode,
    Nothing,
}

pub fn port(setting: &'static str, address: &str, port: Port, running: Running) -> Finding {
    let found = |what: &str| format!("{address} ({setting}) {what}");
    match (port, running) {
        (Port::Free, _) => Finding::fine("port", found("is free")),
        (Port::InUse, Running::ANode) => Finding::fine("port", found("is in use; a node runs here already")),
        (Port::InUse, Running::Nothing) => Finding::failed(
            "port",
            found("is in use by another program"),
            format!("stop that one, or set {setting}"),
        ),
        (Port::Wrong(why), _) => {
            let advice = format!("set {setting} to an address of this machine");
            Finding::failed("port", found(&format!("cannot be listened on: {why}")), advice)
        }
    }
}

/// Another node, as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub node: u64,
    pub address: String,
    /// Why the peers' port could not be reached.
    pub peer_fault: Option<String>,
    pub url: String,
    /// How far its clock is from ours, where it told.
    pub skew: Option<Duration>,
}

pub fn peer(peer: &Peer) -> Finding {
    const CHECK: &str = "other node";
    let name = format!("node {} at {}", peer.node, peer.address);
    if let Some(why) = &peer.peer_fault {
        let advice = "start it if it does not run yet; else look at cluster.peers, cables and firewalls";
        return Finding::warning(CHECK, format!("{name} cannot be reached: {why}"), advice);
    }
    let Some(skew) = peer.skew else {
        let found = format!("{name} is reached, but nothing answers at {}", peer.url);
        return Finding::warning(CHECK, found, "look at its url in cluster.peers, and at its log");
    };
    let advice = "set both clocks by the same source";
    let found = format!("{name} is reached; its clock differs by {} s", skew.as_secs());
    if skew >= SKEW_HIGH {
        Finding::failed(CHECK, found, advice)
    } else if skew >= SKEW_LOW {
        Finding::warning(CHECK, found, advice)
    } else {
        Finding::fine(CHECK, format!("{name} is reached; its clock is right"))
    }
}

/// The certificate, as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// `None` when that cannot be told.
    pub ends: Option<Millis>,
    pub is_early: bool,
    /// More users than the node's may read its key.
    pub is_key_open: bool,
    /// Hosts of this node's own addresses that it is not for.
    pub foreign: Vec<String>,
}

/// `None`: the settings have none. `now` is what the certificate is compared with.
pub fn certificate(shown: Option<Result<Shown, String>>, now: Millis, config: &Config) -> Finding {
    const CHECK: &str = "TLS";
    const RENEW: &str = "renew it, and look why what renews it has not; changed files are used once two looks have found the same (tls.reload_every)";
    let shown = match shown {
        None => return in_the_clear(config),
        Some(Err(why)) => {
            let advice = "set tls.certificate_file and tls.key_file to files in PEM that this user may read";
            return Finding::failed(CHECK, why, advice);
        }
        Some(Ok(shown)) => shown,
    };
    let date = |at: Millis| clock::rfc3339(at).chars().take(10).collect::<String>();
    if shown.is_early {
        let found = "the certificate does not count yet";
        return Finding::failed(CHECK, found, "set this machine's clock, or wait");
    }
    let ends = match shown.ends {
        Some(ends) if ends <= now => {
            return Finding::failed(CHECK, format!("the certificate has ended on {}", date(ends)), RENEW);
        }
        Some(ends) if ends - now < ENDS_SOON => {
            return Finding::warning(CHECK, format!("the certificate ends on {}", date(ends)), RENEW);
        }
        Some(ends) => format!("the certificate counts until {}", date(ends)),
        None => "until when the certificate counts cannot be told".to_owned(),
    };
    match shown.foreign.first() {
        Some(host) => Finding::failed(
            CHECK,
            format!("{ends}, but it is not for {host}, where clients look for this node"),
            "a certificate with that name or address in its subjectAltName; or another api.url and url in cluster.peers",
        ),
        None => Finding::fine(CHECK, ends),
    }
}

/// Who can read the key can be this node to everybody; `None` where there is none that can be used.
pub fn key(shown: Option<&Result<Shown, String>>) -> Option<Finding> {
    const CHECK: &str = "TLS key";
    let shown = shown?.as_ref().ok()?;
    Some(if shown.is_key_open {
        Finding::warning(
            CHECK,
            "others on this machine may read or change tls.key_file",
            "chmod 600 for a file of the node's own user; 640 for one of root and the node's group",
        )
    } else {
        Finding::fine(CHECK, "nobody else may read it")
    })
}

/// On a network it matters; this machine hears only itself.
fn in_the_clear(config: &Config) -> Finding {
    let address = config.api.listen.parse::<SocketAddr>();
    let is_alone = address.is_ok_and(|address| address.ip().is_loopback());
    let has_proxy = config.api.url.as_ref().is_some_and(|url| url.starts_with("https://"));
    match (is_alone, has_proxy) {
        (true, _) => Finding::fine("TLS", "off; only this machine can connect"),
        (false, true) => Finding::fine("TLS", "off; by api.url a proxy speaks it"),
        (false, false) => Finding::warning(
            "TLS",
            "off: tokens and broadcasts cross the network in the clear",
            "set tls.certificate_file and tls.key_file, or put a proxy that you trust in front",
        ),
    }
}

#[cfg(test)]
mod tests;
