//! Whether the cluster takes broadcasts, asked from outside and again and again: a publish to nobody every second, which any node may take.

use super::http::{self, Call};
use super::ledger;
use crate::base::clock;
use hdrhistogram::Histogram;
use serde_json::json;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

/// How often it is asked.
pub const EVERY: Duration = Duration::from_secs(1);
/// A probe that no node took by then has failed.
pub const TAKEN_MAX: Duration = Duration::from_secs(1);
/// Nobody is called so.
const NOBODY: &str = "campanile-probe";

/// Whether a run is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probing {
    Off,
    EverySecond,
}

#[derive(Debug)]
pub struct Uptime {
    pub probes: u64,
    pub taken: u64,
    /// Times in which one probe after the other failed.
    pub outages: u64,
    /// In µs, of those that were taken.
    pub took: Histogram<u64>,
    is_out: bool,
}

impl Default for Uptime {
    fn default() -> Self {
        Self {
            probes: 0,
            taken: 0,
            outages: 0,
            took: ledger::histogram(),
            is_out: false,
        }
    }
}

impl Uptime {
    /// Of 1; `None` before the first probe.
    pub fn share(&self) -> Option<f64> {
        (self.probes > 0).then(|| self.taken as f64 / self.probes as f64)
    }

    /// `None`: it was not taken.
    pub fn note(&mut self, took: Option<Duration>) {
        self.probes += 1;
        if let Some(took) = took {
            self.taken += 1;
            ledger::record(&mut self.took, took);
        } else if !self.is_out {
            self.outages += 1;
        }
        self.is_out = took.is_none();
    }
}

/// Probes until it is told to stop.
pub struct Prober {
    stop: watch::Sender<bool>,
    task: JoinHandle<Uptime>,
}

impl Prober {
    /// `None` when nothing is to be probed.
    pub fn start(probing: Probing, nodes: Vec<SocketAddr>, bearer: String) -> Option<Self> {
        match probing {
            Probing::Off => None,
            Probing::EverySecond => {
                let (stop, stopped) = watch::channel(false);
                let task = tokio::spawn(probe(nodes, bearer, stopped));
                Some(Self { stop, task })
            }
        }
    }

    pub async fn end(self) -> anyhow::Result<Uptime> {
        self.stop.send_replace(true);
        Ok(self.task.await?)
    }
}

async fn probe(nodes: Vec<SocketAddr>, bearer: String, mut stopped: watch::Receiver<bool>) -> Uptime {
    let mut uptime = Uptime::default();
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = stopped.changed() => return uptime,
            _ = tick.tick() => {}
        }
        let first = uptime.probes as usize;
        uptime.note(once(&nodes, first, &bearer).await);
    }
}

/// One publish, offered to each node in turn while there is time.
async fn once(nodes: &[SocketAddr], first: usize, bearer: &str) -> Option<Duration> {
    let body = json!({"type": "system.probe", "priority": "low", "audience": {"users": [NOBODY]}, "title": "Probe",
        "body": "Is the cluster there?"})
    .to_string();
    let headers = [("Content-Type", "application/json"), ("Authorization", bearer)];
    let call = Call {
        method: "POST",
        path: "/v1/broadcasts",
        headers: &headers,
        body: body.as_bytes(),
    };
    let begun = clock::now();
    let end = begun + TAKEN_MAX;
    for turn in 0..nodes.len() {
        let node = nodes[(first + turn) % nodes.len()];
        let answer = http::call(node, &call, clock::left(end)).await;
        if let Ok(answer) = answer
            && answer.status == 201
        {
            return Some(answer.at - begun);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{Uptime, once};
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    #[test]
    fn failures_in_a_row_are_one_outage() {
        let mut uptime = Uptime::default();
        assert_eq!(uptime.share(), None);
        for word in "ok ok no no ok no ok ok".split(' ') {
            uptime.note((word == "ok").then_some(Duration::from_millis(2)));
        }
        assert_eq!((uptime.probes, uptime.taken, uptime.outages), (8, 5, 2));
        assert_eq!(uptime.took.len(), 5);
    }

    #[tokio::test]
    async fn a_probe_is_taken_by_whoever_is_there() {
        let (dead, good) = (
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
        );
        let nodes = [&dead, &good].map(|listener| listener.local_addr().unwrap());
        drop(dead);
        let answer = async {
            let (mut socket, _) = good.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"}") {
                socket.read_buf(&mut request).await.unwrap();
            }
            socket
                .write_all(b"HTTP/1.1 201 Yes\r\nContent-Length: 2\r\n\r\n{}")
                .await
                .unwrap();
        };
        let (took, ()) = tokio::join!(once(&nodes, 0, ""), answer);
        assert!(took.is_some());
        assert_eq!(once(&nodes[..1], 0, "").await, None);
    }
}
