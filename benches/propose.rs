//! Proposals through three nodes in one process: real sockets, real files, a majority on disk before each answer.
//! One line per number of callers; the callers are spread over the nodes.
//!
//! `cargo bench --bench propose`, or with another `cluster.log_flush_wait_us`: `cargo bench --bench propose -- 50`. Floor: one write of the
//! same bytes to a preallocated file in the same folder, and one fdatasync.
#![allow(clippy::unwrap_used)] // a bench that cannot run stops

mod common;

use bytes::Bytes;
use campanile::base::clock;
use campanile::consensus::{self, Applied, Config, Handle, Peer, Running};
use campanile::lab::results::bench::Bench;
use campanile::lab::results::{Better, Bound};
use campanile::state::command::Found;
use campanile::state::{Command, Effect, Outcome};
use campanile::storage;
use campanile::storage::layout::Layout;
use common::disk::Floor;
use common::people;
use hdrhistogram::Histogram;
use std::net::TcpListener;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The leader's disk, then a follower's, and the way there and back.
const ALONE_MOST: f64 = 8.0;
const CALLERS: [usize; 4] = [1, 16, 64, 256];
/// The notices go to one in turn; nobody is there, for whom they are is another step.
const WEDDINGS: u32 = 1;
const TEXT_BYTES: usize = 400;
const FLOOR_WRITES: usize = 500;
const RUN: Duration = Duration::from_secs(5);
const DEADLINE: Duration = Duration::from_secs(10);

struct Nobody;

impl Applied for Nobody {
    fn applied(&self, _index: u64, _effects: Vec<Effect>) {}
    fn installed(&self) {}
    fn stored(&self, _position: u64) {}
}

fn soon() -> Instant {
    clock::now() + DEADLINE
}

/// As the command line says, or as usual.
fn flush_wait(bench: &Bench) -> u64 {
    let told = bench.words().iter().find_map(|word| word.parse().ok());
    told.unwrap_or(Config::default().log_flush_wait_us)
}

async fn start(folder: &Path, node: u64, peers: &[Peer], log_flush_wait_us: u64) -> (Handle, Running) {
    let config = Config {
        listen: peers[node as usize - 1].peer.clone(),
        peers: peers.to_vec(),
        log_flush_wait_us,
        ..Config::default()
    };
    let storage = storage::Config::default();
    let layout = Layout::open(&folder.join(format!("node-{node}")), node, &storage).unwrap();
    consensus::start(config, node, layout, storage, Arc::new(Nobody))
        .await
        .unwrap()
}

fn publish(number: u64) -> Command {
    people::publish(number, people::notice(number, WEDDINGS, TEXT_BYTES))
}

/// One caller: a proposal at a time until `end`; the times of those that were published, in microseconds.
async fn call(handle: Handle, next: Arc<AtomicU64>, end: Instant) -> Histogram<u64> {
    let mut micros = Histogram::new_with_bounds(1, 60_000_000, 3).unwrap();
    while clock::now() < end {
        let start = clock::now();
        let number = next.fetch_add(1, Ordering::Relaxed);
        let done = handle.propose(publish(number), soon()).await.unwrap();
        assert!(matches!(done.outcome, Outcome::Published { .. }), "{done:?}");
        micros.saturating_record(start.elapsed().as_micros() as u64);
    }
    micros
}

/// The median in ms.
async fn measure(bench: &mut Bench, nodes: &[(Handle, Running)], callers: usize, next: &Arc<AtomicU64>) -> f64 {
    let end = clock::now() + RUN;
    let calls: Vec<_> = (0..callers)
        .map(|caller| tokio::spawn(call(nodes[caller % nodes.len()].0.clone(), next.clone(), end)))
        .collect();
    let mut all = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3).unwrap();
    for call in calls {
        all.add(call.await.unwrap()).unwrap();
    }
    let millis = |quantile| all.value_at_quantile(quantile) as f64 / 1000.0;
    let rate = all.len() as f64 / RUN.as_secs_f64();
    let who = if callers == 1 {
        "1 caller".to_owned()
    } else {
        format!("{callers} callers")
    };
    let key = |what: &str| format!("callers_{callers}.{what}");
    bench
        .figure(
            &key("rate"),
            &format!("{who}: proposals"),
            "/s",
            rate.round(),
            Better::Higher,
        )
        .figure(&key("p50"), &format!("{who}: p50"), "ms", millis(0.5), Better::Lower)
        .figure(&key("p99"), &format!("{who}: p99"), "ms", millis(0.99), Better::Lower)
        .figure(
            &key("max"),
            &format!("{who}: longest"),
            "ms",
            millis(1.0),
            Better::Lower,
        );
    millis(0.5)
}

/// The median in ms of what the same bytes take to be on this disk alone.
fn floor(folder: &Path) -> f64 {
    let bytes = Bytes::from(bincode::serialize(&publish(0)).unwrap());
    let mut floor = Floor::create(folder);
    let mut micros = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3).unwrap();
    for _ in 0..FLOOR_WRITES {
        let took = floor.append(std::slice::from_ref(&bytes));
        micros.saturating_record(took.as_micros() as u64);
    }
    micros.value_at_quantile(0.5) as f64 / 1000.0
}

fn main() -> ExitCode {
    let mut bench = Bench::new(
        "propose",
        "Proposals through three nodes in one process, over real sockets, each answered when a majority has it on disk.",
    );
    let wait = flush_wait(&bench);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let folder = common::folder();
    let bare = floor(folder.path());
    bench
        .setting("seconds each", RUN.as_secs())
        .setting("text_bytes", TEXT_BYTES)
        .setting("log_flush_wait_us", wait)
        .figure(
            "floor.p50",
            "one write and fdatasync of the same bytes, p50",
            "ms",
            bare,
            Better::Neither,
        )
        .note(
            "The floor is one write of a publish's bytes to a preallocated file in the same folder, and one fdatasync.",
        );
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let peers: Vec<Peer> = listeners
        .iter()
        .zip(1..)
        .map(|(listener, node)| Peer {
            node,
            peer: listener.local_addr().unwrap().to_string(),
            url: String::new(),
        })
        .collect();
    drop(listeners);
    runtime.block_on(async {
        let mut nodes = Vec::new();
        for node in 1..=3 {
            nodes.push(start(folder.path(), node, &peers, wait).await);
        }
        let handle = nodes[0].0.clone();
        handle
            .propose(Command::Found(Found { epoch: 1, salt: 1 }), soon())
            .await
            .unwrap();
        handle.propose(people::weddings(WEDDINGS), soon()).await.unwrap();
        let next = Arc::new(AtomicU64::new(1));
        for callers in CALLERS {
            let p50 = measure(&mut bench, &nodes, callers, &next).await;
            if callers == 1 {
                bench.target(
                    "a single proposal, of one write and fdatasync",
                    Bound::Below(ALONE_MOST),
                    "times",
                    p50 / bare,
                );
            }
        }
        for (_, running) in nodes {
            running.stop().await;
        }
    });
    bench.end()
}
