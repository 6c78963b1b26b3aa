//! What a delivery costs: CPU time of the worker's thread, against bare writes of the same bytes to the same sockets in the
//! same run; the same with all measuring left out, turn by turn; and the memory of idle sessions. Prints one line of JSON.
//!
//! `cargo bench --bench fan_out`. CPU time is the scheduler's, in nanoseconds, read while the thread sleeps.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods)] // its threads are its own
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a bench that cannot run says so

use campanile::base::clock;
use campanile::base::size::Span;
use campanile::gateway::{Backlog, Config, From, Gateway, Socket, Subscriber, Transport, backlog};
use campanile::metrics::delivery;
use campanile::model::{Broadcast, BroadcastId, Draft, PerPriority, Position, Priority, UserNumber};
use campanile::state::{Release, ReleaseKind};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

const SESSIONS: usize = 1_000;
const IDLE_SESSIONS: usize = 4_000;
const ROUNDS: usize = 41;
const WARM_UP: usize = 10;
const BACKLOGS: [u64; 3] = [1, 8, 64];
/// What measuring may add to a delivery's CPU time.
const MEASURING_MAX: f64 = 1.02;

/// Nothing was ever missed.
struct Nothing;

impl Backlog for Nothing {
    fn start(&self, _: UserNumber, _: usize) -> backlog::Start {
        backlog::Start::default()
    }
    fn read(&self, _: UserNumber, after: PerPriority<Position>, _: usize) -> backlog::Read {
        backlog::Read {
            scanned: after,
            ..backlog::Read::default()
        }
    }
    fn forgotten(&self) -> PerPriority<Position> {
        [0; 4]
    }
}

fn release(position: Position, recipients: &Arc<roaring::RoaringBitmap>) -> Arc<Release> {
    let at = clock::wall();
    let draft = Draft::bare("guest.guidance", "Dinner is served", "x".repeat(100));
    Arc::new(Release {
        position,
        priority: Priority::Normal,
        kind: ReleaseKind::Broadcast,
        escalated: false,
        released_at: at,
        broadcast: Arc::new(Broadcast {
            number: position,
            id: BroadcastId::new(at, 1, position),
            draft,
            sender: "bench".into(),
            accepted_at: at,
            expires_at: at + 86_400_000,
            position: Some(position),
            late: None,
            log_index: position,
            targeted: recipients.len() as u32,
            connected: 0,
            held: 0,
            skipped: 0,
            unknown: 0,
        }),
        recipients: recipients.clone(),
    })
}

/// Connects sessions; the client ends, and copies of the server ends for the floor.
fn connect(
    gateway: &Gateway,
    listener: &TcpListener,
    users: std::ops::Range<usize>,
    copies: bool,
) -> (Vec<TcpStream>, Vec<TcpStream>) {
    let mut clients = Vec::new();
    let mut servers = Vec::new();
    for user in users {
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        server.set_nonblocking(true).unwrap();
        if copies {
            servers.push(server.try_clone().unwrap());
        }
        let mut subscriber = Subscriber {
            pass: None,
            socket: Socket::Tcp(server),
            read: bytes::Bytes::new(),
            head: bytes::Bytes::from_static(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"),
            transport: Transport::WebSocket,
            user: user as UserNumber,
            from: From::Now,
        };
        while let Err(refused) = gateway.accept(subscriber) {
            subscriber = refused;
            thread::yield_now();
        }
        clients.push(client);
    }
    (clients, servers)
}

/// Reads whatever comes, as clients would: an epoll of its own.
fn read_all(clients: &[TcpStream], total: Arc<AtomicU64>, stop: Arc<AtomicBool>) -> thread::JoinHandle<()> {
    let mut poll = mio::Poll::new().unwrap();
    let mut streams: Vec<_> = clients
        .iter()
        .map(|client| {
            client.set_nonblocking(true).unwrap();
            mio::net::TcpStream::from_std(client.try_clone().unwrap())
        })
        .collect();
    for (index, stream) in streams.iter_mut().enumerate() {
        poll.registry()
            .register(stream, mio::Token(index), mio::Interest::READABLE)
            .unwrap();
    }
    thread::spawn(move || {
        let mut events = mio::Events::with_capacity(512);
        let mut buffer = vec![0; 1 << 17];
        while !stop.load(Relaxed) {
            poll.poll(&mut events, Some(Duration::from_millis(20))).unwrap();
            for event in &events {
                loop {
                    match streams[event.token().0].read(&mut buffer) {
                        Ok(0) => break,
                        Ok(count) => {
                            total.fetch_add(count as u64, Relaxed);
                            if count < buffer.len() {
                                break;
                            }
                        }
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                        Err(error) => panic!("a client cannot read: {error}"),
                    }
                }
            }
        }
    })
}

/// Nanoseconds of CPU that the thread of this name has had.
fn cpu(name: &str) -> u64 {
    for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        let text = |file: &str| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
        if text("comm").trim() == name {
            return text("schedstat").split(' ').next().unwrap().parse().unwrap();
        }
    }
    panic!("no thread is called {name}")
}

/// Waits until nothing was read for some milliseconds: everybody sleeps.
fn quiet(total: &AtomicU64) {
    let mut last = (total.load(Relaxed), clock::now());
    while last.1.elapsed() < Duration::from_millis(60) {
        thread::sleep(Duration::from_millis(1));
        let now = total.load(Relaxed);
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

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// KiB of resident memory for each idle session.
fn idle(gateway: &Gateway, listener: &TcpListener) -> f64 {
    drop(connect(gateway, listener, 0..200, false)); // what is paid once
    while gateway.sessions() > 0 {
        thread::yield_now();
    }
    let before = resident();
    let held = connect(gateway, listener, 0..IDLE_SESSIONS, false);
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

fn main() {
    let workers = campanile::workers::Config {
        threads: 1,
        ..campanile::workers::Config::default()
    };
    // the clients of this bench answer no pings
    let config = Config {
        heartbeat: Span::seconds(3_600),
        silent_max: Span::seconds(3_600),
        ..Config::default()
    };
    let (requests, _kept) = tokio::sync::mpsc::channel(1);
    let gateway = Gateway::start(&config, &workers, 1, 1, Arc::new(Nothing), requests).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let idle_kib = idle(&gateway, &listener);
    let (clients, servers) = connect(&gateway, &listener, 0..SESSIONS, true);
    let total = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let reader = read_all(&clients, total.clone(), stop.clone());
    let (ask, done) = floor_writer(servers);
    quiet(&total);

    let everyone: Arc<roaring::RoaringBitmap> = Arc::new((0..SESSIONS as u32).collect());
    let mut position = 1_000_000;
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
            let (cpu_before, bytes_before) = (cpu("worker-0"), total.load(Relaxed));
            for release in releases {
                gateway.release(release);
            }
            quiet(&total);
            let cost = (cpu("worker-0") - cpu_before) as f64 / (SESSIONS as u64 * count) as f64;
            if count == 1 && way == MEASURED {
                length = (total.load(Relaxed) - bytes_before) as usize / SESSIONS;
                let cpu_before = cpu("floor");
                ask.send(vec![0x81; length]).unwrap();
                done.recv().unwrap();
                quiet(&total);
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
    let measuring = |index: usize| round3(costs[index] / unmeasured[index]);
    let report = serde_json::json!({
        "bench": "fan_out",
        "sessions": SESSIONS,
        "bytes": length,
        "floor_us": round3(floor),
        "delivery_us": {"1": round3(costs[0]), "8": round3(costs[1]), "64": round3(costs[2])},
        "of_floor": {"1": round3(costs[0] / floor), "8": round3(costs[1] / floor), "64": round3(costs[2] / floor)},
        "delivery_unmeasured_us": {"1": round3(unmeasured[0]), "8": round3(unmeasured[1]), "64": round3(unmeasured[2])},
        "measured_to_unmeasured": {"1": measuring(0), "8": measuring(1), "64": measuring(2)},
        "measured_to_unmeasured_max": MEASURING_MAX,
        "idle_session_kib": round3(idle_kib),
    });
    println!("{report}");
    drop(clients);
    gateway.drain(Duration::from_secs(2));
}

fn round3(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}
