//! What a delivery costs: CPU time of the worker's thread, against bare writes of the same bytes to the same sockets in the
//! same run; the same with all measuring left out, turn by turn; and the memory of idle sessions.
//!
//! `cargo bench --bench fan_out`. CPU time is the scheduler's, in nanoseconds, read while the thread sleeps. Nothing is divided before
//! every client has every broadcast once.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods)] // its threads are its own
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a bench that cannot run says so

#[path = "fan_out/frames.rs"]
mod frames;
#[path = "common/sockets.rs"]
mod sockets;

use campanile::base::clock;
use campanile::gateway::Gateway;
use campanile::lab::results::bench::Bench;
use campanile::lab::results::{Better, Bound};
use campanile::metrics::delivery;
use campanile::model::Priority;
use frames::Walk;
use sockets::{Group, connect, median};
use std::io::Write;
use std::net::TcpStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

const SESSIONS: usize = 1_000;
const IDLE_SESSIONS: usize = 4_000;
const ROUNDS: usize = 41;
const WARM_UP: usize = 10;
/// The position of the first broadcast; so all have as many digits.
const FIRST: u64 = 1_000_000;
/// Far longer than anything takes to arrive.
const WITHIN: Duration = Duration::from_secs(20);
const BACKLOGS: [u64; 3] = [1, 8, 64];
/// What a delivery may cost at each of them, in bare writes of the same bytes: what waits together leaves in one call.
const OF_FLOOR_MAX: [f64; 3] = [1.1, 0.25, 0.06];
/// What measuring may add to a delivery's CPU time.
const MEASURING_MAX: f64 = 1.02;

/// What the clients have read.
struct Heard {
    bytes: AtomicU64,
    /// Broadcasts, by client.
    whole: Vec<AtomicU64>,
}

impl Heard {
    fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    fn fewest(&self) -> u64 {
        self.whole.iter().map(|whole| whole.load(Relaxed)).min().unwrap_or(0)
    }

    /// Waits until every client has had so many broadcasts, and everybody sleeps; fails when one is missing, or came twice.
    fn all_have(&self, count: u64) {
        wait_until(|| self.fewest() >= count);
        quiet(self);
        for (client, whole) in self.whole.iter().enumerate() {
            let whole = whole.load(Relaxed);
            assert_eq!(whole, count, "client {client} has {whole} broadcasts of {count}");
        }
    }
}

/// Until it is so, or for as long as anybody would wait for it.
fn wait_until(is_so: impl Fn() -> bool) {
    let deadline = clock::now() + WITHIN;
    while !is_so() && clock::now() < deadline {
        thread::sleep(Duration::from_millis(1));
    }
}

fn read_all(clients: &[TcpStream], heard: Arc<Heard>, stop: Arc<AtomicBool>) -> thread::JoinHandle<()> {
    let clients: Vec<_> = clients.iter().map(|client| client.try_clone().unwrap()).collect();
    thread::spawn(move || {
        let walk = |_| Walk::behind(sockets::UPGRADED.len());
        let mut walks: Vec<Walk> = (0..clients.len()).map(walk).collect();
        sockets::read_all(&clients, &stop, |client, bytes| {
            heard.whole[client].fetch_add(walks[client].read(bytes), Relaxed);
            heard.bytes.fetch_add(bytes.len() as u64, Relaxed);
        });
    })
}

/// Nanoseconds of CPU that the thread of this name has had.
fn cpu(name: &str) -> u64 {
    sockets::cpu(name).unwrap_or_else(|| panic!("no thread is called {name}"))
}

/// Waits until nothing was read for some milliseconds: everybody sleeps.
fn quiet(heard: &Heard) {
    let mut last = (heard.bytes(), clock::now());
    while last.1.elapsed() < Duration::from_millis(60) {
        thread::sleep(Duration::from_millis(1));
        let now = heard.bytes();
        if now != last.0 {
            last = (now, clock::now());
        }
    }
}

/// A thread that writes the same bytes to each socket when told to.
fn floor_writer(mut sockets: Vec<TcpStream>) -> (Sender<Vec<u8>>, Receiver<()>) {
    let (ask, asked) = channel::<Vec<u8>>();
    let (done, is_done) = channel();
    let write = move || {
        for bytes in asked {
            for socket in &mut sockets {
                assert_eq!(socket.write(&bytes).unwrap(), bytes.len(), "a floor write was cut");
            }
            done.send(()).unwrap();
        }
    };
    thread::Builder::new().name("floor".into()).spawn(write).unwrap();
    (ask, is_done)
}

/// The ways in which costs are gathered: as always, and without measuring.
const MEASURED: usize = 0;

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// KiB of resident memory for each idle session.
fn idle(gateway: &Gateway) -> f64 {
    drop(connect(gateway, 0..200, |_| ())); // what is paid once
    while gateway.sessions() > 0 {
        thread::yield_now();
    }
    let before = resident();
    let held = connect(gateway, 0..IDLE_SESSIONS, |_| ());
    while gateway.workers().iter().map(|worker| worker.sessions).sum::<usize>() < IDLE_SESSIONS {
        thread::yield_now();
    }
    thread::sleep(Duration::from_millis(300));
    let kib = (resident() - before) as f64 / IDLE_SESSIONS as f64;
    drop(held);
    while gateway.sessions() > 0 {
        thread::yield_now();
    }
    kib
}

fn main() -> ExitCode {
    let mut bench = Bench::new(
        "fan_out",
        "What a delivery costs the worker's thread in CPU time, against one bare write of the same bytes to the same sockets, and against the same without measuring.",
    );
    let gateway = sockets::gateway(1);
    let idle_kib = idle(&gateway);
    let (clients, servers) = connect(&gateway, 0..SESSIONS, |server| server.try_clone().unwrap());
    let heard = Arc::new(Heard {
        bytes: AtomicU64::new(0),
        whole: (0..SESSIONS).map(|_| AtomicU64::new(0)).collect(),
    });
    let stop = Arc::new(AtomicBool::new(false));
    let reader = read_all(&clients, heard.clone(), stop.clone());
    let (ask, done) = floor_writer(servers);
    quiet(&heard);

    let everyone: Group = Arc::new((0..SESSIONS as u32).collect());
    let (mut position, mut sent) = (FIRST, 0);
    let mut length = 0;
    let mut floor = Vec::new();
    let mut costs: [[Vec<f64>; 3]; 2] = Default::default();
    // Both ways in each round, one first and then the other: what slows the machine down meets both.
    for turn in 0..2 * (WARM_UP + ROUNDS) {
        let (round, way) = (turn / 2, (turn + turn / 2) % 2);
        if way == MEASURED {
            delivery::resume();
        } else {
            delivery::pause();
        }
        for (index, count) in BACKLOGS.into_iter().enumerate() {
            let releases: Vec<_> = (0..count).map(|step| release(position + step, &everyone)).collect();
            position += count;
            let (cpu_before, bytes_before) = (cpu("worker-0"), heard.bytes());
            for release in releases {
                gateway.release(release);
            }
            sent += count;
            heard.all_have(sent);
            let cost = (cpu("worker-0") - cpu_before) as f64 / (SESSIONS as u64 * count) as f64;
            if count == 1 && way == MEASURED {
                length = (heard.bytes() - bytes_before) as usize / SESSIONS;
                let cpu_before = cpu("floor");
                ask.send(frames::like_a_broadcast(length)).unwrap();
                done.recv().unwrap();
                sent += 1;
                heard.all_have(sent);
                if round >= WARM_UP {
                    floor.push((cpu("floor") - cpu_before) as f64 / SESSIONS as f64);
                }
            }
            if round >= WARM_UP {
                costs[way][index].push(cost);
            }
        }
    }
    stop.store(true, Relaxed);
    reader.join().unwrap();
    let floor = median(floor) / 1_000.0;
    let [costs, unmeasured] = costs.map(|ways| ways.map(|costs| median(costs) / 1_000.0));
    drop(clients);
    gateway.drain(Duration::from_secs(2));
    bench
        .setting("sessions", SESSIONS)
        .setting("idle sessions", IDLE_SESSIONS)
        .setting("rounds", ROUNDS)
        .figure(
            "write.bytes",
            "bytes of a frame with its cursor",
            "",
            length as f64,
            Better::Neither,
        )
        .figure("write.us", "a bare write", "µs", floor, Better::Neither)
        .figure(
            "idle.kib",
            "resident for an idle session",
            "KiB",
            idle_kib,
            Better::Lower,
        );
    for (index, count) in BACKLOGS.into_iter().enumerate() {
        let (measured, bare) = (costs[index], unmeasured[index]);
        let name = |what: &str| format!("{what}, {count} at a time");
        bench
            .figure(
                &format!("delivery.us_{count}"),
                &name("a delivery"),
                "µs",
                measured,
                Better::Lower,
            )
            .figure(
                &format!("delivery.unmeasured_us_{count}"),
                &name("the same without measuring"),
                "µs",
                bare,
                Better::Lower,
            )
            .target(
                &name("a delivery by a bare write"),
                Bound::Below(OF_FLOOR_MAX[index]),
                "",
                measured / floor,
            )
            .target(
                &name("with measuring by without"),
                Bound::Below(MEASURING_MAX),
                "",
                measured / bare,
            );
    }
    bench.end()
}

fn release(position: u64, everyone: &Group) -> Arc<campanile::state::Release> {
    sockets::release(position, Priority::Normal, "x".repeat(100), everyone)
}
