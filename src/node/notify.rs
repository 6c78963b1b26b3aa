//! Words to systemd: that this node is ready, that it lives, that it stops. A datagram each, to the socket that it names.
//!
//! The watchdog is fed only while every loop that matters moves: raft's, apply, the writing behind, each thread that serves
//! subscribers. This loop itself stands for the async runtime.

use super::pulse::{Beat, Pulse};
use crate::api;
use crate::base::clock;
use crate::config::Service;
use crate::consensus::Handle;
use crate::gateway::Gateway;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixDatagram;
use tokio::sync::watch;

/// How often it is looked whether the node is ready.
const READY_LOOK: Duration = Duration::from_millis(50);
/// Looks within the time after which systemd ends the service.
const LOOKS: u32 = 4;
/// A loop has this part of that time to move.
const PATIENCE_PARTS: u32 = 2;
/// The writing behind moves once in `storage.write_behind_every`: it is given this many of them at least.
const ROUNDS: u32 = 3;

/// A full queue of words must not keep a node from stopping.
const SAID_WITHIN: Duration = Duration::from_secs(1);

/// The way to systemd.
pub struct Notifier(UnixDatagram);

impl Notifier {
    /// A path, or the name of an abstract socket behind `@`.
    pub fn connect(name: &OsStr) -> io::Result<Self> {
        let address = match name.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(name),
        }?;
        let socket = std::os::unix::net::UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        socket.set_nonblocking(true)?;
        Ok(Self(UnixDatagram::from_std(socket)?))
    }

    /// A word that systemd does not take is no reason to stop: if it was needed, systemd acts by itself.
    pub async fn say(&self, words: &str) {
        match tokio::time::timeout(SAID_WITHIN, self.0.send(words.as_bytes())).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, words, "systemd does not listen"),
            Err(_) => tracing::warn!(words, "systemd does not read what it is told"),
        }
    }
}

/// The loops that are watched.
pub struct Watched {
    pub handle: Handle,
    pub gateway: Arc<Gateway>,
    pub write_behind_every: Duration,
}

/// Says that the node is ready as soon as it is, and then that it lives, for as long as it does.
pub async fn run(
    notifier: Arc<Notifier>,
    service: Service,
    watched: Watched,
    context: Arc<api::Context>,
    mut stop: watch::Receiver<bool>,
) {
    tokio::select! {
        _ = stop.changed() => return,
        () = ready(&context) => {}
    }
    notifier
        .say(&format!("READY=1\nSTATUS=node {} takes requests", context.node))
        .await;
    tokio::select! {
        _ = stop.changed() => {}
        () = watched.feed(&notifier, service.watchdog) => {}
    }
}

async fn ready(context: &api::Context) {
    let mut look = tokio::time::interval(READY_LOOK);
    while !context.is_ready() {
        look.tick().await;
    }
}

impl Watched {
    /// Never ends. Without a watchdog there is nobody to tell.
    async fn feed(&self, notifier: &Notifier, watchdog: Option<Duration>) {
        let Some(within) = watchdog else {
            return std::future::pending().await;
        };
        let every = within / LOOKS;
        let patience = (within / PATIENCE_PARTS).max(self.write_behind_every * ROUNDS);
        let mut pulse = Pulse::new(patience);
        let mut answers = 0;
        let mut look = tokio::time::interval(every);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            answers += u64::from(self.handle.raft_moves(every / 2).await);
            let still = pulse.still(clock::now(), &self.beats(answers));
            if still.is_empty() {
                notifier.say("WATCHDOG=1").await;
            } else {
                tracing::error!(?still, "loops of this node stand still: the watchdog is not fed");
            }
        }
    }

    /// What each shows now. A thread without subscribers sleeps until it is rung for.
    fn beats(&self, raft: u64) -> Vec<Beat> {
        let progress = self.handle.progress();
        let apply = Beat {
            is_at_rest: progress.is_at_rest,
            ..Beat::of("apply", progress.applied)
        };
        let rounds = self.handle.write_behind_rounds();
        let mut beats = vec![Beat::of("raft", raft), apply, Beat::of("write-behind", rounds)];
        let workers = self.gateway.rounds().into_iter();
        beats.extend(workers.map(|(name, rounds)| Beat::of(name, rounds)));
        self.gateway.rouse();
        beats
    }
}

#[cfg(test)]
mod tests {
    use super::Notifier;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    #[tokio::test]
    async fn words_reach_a_path_and_an_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("campanile-notify-{}", std::process::id());
        let named = SocketAddr::from_abstract_name(&name).unwrap();
        for (heard, called) in [
            (UnixDatagram::bind(&path).unwrap(), path.as_os_str().to_owned()),
            (UnixDatagram::bind_addr(&named).unwrap(), format!("@{name}").into()),
        ] {
            let notifier = Notifier::connect(&called).unwrap();
            notifier.say("READY=1").await;
            let mut words = [0; 64];
            let count = heard.recv(&mut words).unwrap();
            assert_eq!(&words[..count], b"READY=1");
        }
        assert!(Notifier::connect(folder.path().join("nobody").as_os_str()).is_err());
    }
}
