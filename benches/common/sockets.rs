//! A gateway whose sessions are real sockets of this process, for benches that deliver to them.

use campanile::base::clock;
use campanile::base::size::Span;
use campanile::gateway::{Backlog, Config, From, Gateway, Socket, Subscriber, Transport, backlog};
use campanile::model::{Broadcast, BroadcastId, Draft, PerPriority, Position, Priority, UserNumber};
use campanile::state::{Release, ReleaseKind};
use std::io::{ErrorKind, Read};
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

pub type Group = Arc<roaring::RoaringBitmap>;

/// What each client reads before its first frame.
pub const UPGRADED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";

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

pub fn gateway(threads: usize) -> Arc<Gateway> {
    let workers = campanile::workers::Config {
        threads,
        ..campanile::workers::Config::default()
    };
    // clients of a bench answer no pings
    let config = Config {
        heartbeat: Span::seconds(3_600),
        silent_max: Span::seconds(3_600),
        ..Config::default()
    };
    let (requests, _) = tokio::sync::mpsc::channel(1);
    Gateway::start(&config, &workers, 1, 1, Arc::new(Nothing), requests).unwrap()
}

pub fn release(position: Position, priority: Priority, body: String, recipients: &Group) -> Arc<Release> {
    let at = clock::wall();
    let draft = Draft {
        priority,
        ..Draft::bare("guest.guidance", "Dinner is served", body)
    };
    Arc::new(Release {
        position,
        priority,
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

/// Connects a session for each user: the clients' ends, and for each server's end whatever `server` makes of it before it is given away.
pub fn connect<T>(
    gateway: &Gateway,
    users: Range<usize>,
    server: impl Fn(&TcpStream) -> T,
) -> (Vec<TcpStream>, Vec<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut clients = Vec::new();
    let mut servers = Vec::new();
    for user in users {
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, _) = listener.accept().unwrap();
        socket.set_nonblocking(true).unwrap();
        servers.push(server(&socket));
        let mut subscriber = Subscriber {
            pass: None,
            socket: Socket::Tcp(socket),
            read: bytes::Bytes::new(),
            head: bytes::Bytes::from_static(UPGRADED),
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

/// Reads whatever comes until `stop`, as clients would, with an epoll of its own; `heard` is told the client's place and its bytes.
pub fn read_all(clients: &[TcpStream], stop: &AtomicBool, mut heard: impl FnMut(usize, &[u8])) {
    let mut poll = mio::Poll::new().unwrap();
    let mut streams = Vec::new();
    for (index, client) in clients.iter().enumerate() {
        client.set_nonblocking(true).unwrap();
        let mut stream = mio::net::TcpStream::from_std(client.try_clone().unwrap());
        poll.registry()
            .register(&mut stream, mio::Token(index), mio::Interest::READABLE)
            .unwrap();
        streams.push(stream);
    }
    let mut events = mio::Events::with_capacity(512);
    let mut buffer = vec![0; 1 << 17];
    while !stop.load(Relaxed) {
        poll.poll(&mut events, Some(Duration::from_millis(20))).unwrap();
        for event in &events {
            let index = event.token().0;
            loop {
                match streams[index].read(&mut buffer) {
                    Ok(0) => break,
                    Ok(count) => {
                        heard(index, &buffer[..count]);
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
}

/// Nanoseconds of CPU that the thread of this name has had, from the scheduler; `None` when there is none.
pub fn cpu(name: &str) -> Option<u64> {
    for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        let text = |file: &str| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
        if text("comm").trim() == name {
            return text("schedstat").split(' ').next().unwrap().parse().ok();
        }
    }
    None
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
