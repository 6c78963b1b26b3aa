//! A gateway with one thread, whose clients answer no pings and have missed nothing that is not in its window.

use campanile::base::size::Span;
use campanile::gateway::{Backlog, Config, From, Gateway, Socket, Subscriber, Transport, backlog};
use campanile::model::{PerPriority, Position, UserNumber};
use campanile::state::{Effect, Release};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// The history that cursors belong to.
pub const EPOCH: u32 = 1;
const SILENCE: Span = Span::seconds(3_600);

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

pub fn open() -> Arc<Gateway> {
    let workers = campanile::workers::Config {
        threads: 1,
        ..campanile::workers::Config::default()
    };
    let config = Config {
        heartbeat: SILENCE,
        silent_max: SILENCE,
        ..Config::default()
    };
    let (requests, _) = tokio::sync::mpsc::channel(1);
    Gateway::start(&config, &workers, 1, EPOCH, Arc::new(Nothing), requests).unwrap()
}

/// A session, and the client's end of it.
pub fn connect(gateway: &Gateway, user: UserNumber, transport: Transport, from: From) -> UnixStream {
    let (client, server) = UnixStream::pair().unwrap();
    let mut subscriber = Subscriber {
        pass: None,
        socket: Socket::Unix(server),
        read: bytes::Bytes::new(),
        head: bytes::Bytes::new(),
        transport,
        user,
        from,
    };
    // The lane to the thread is full now and then when a thousand come at once.
    while let Err(refused) = gateway.accept(subscriber) {
        subscriber = refused;
        std::thread::yield_now();
    }
    client
}

pub fn released(effects: Vec<Effect>) -> impl Iterator<Item = Arc<Release>> {
    effects.into_iter().filter_map(|effect| match effect {
        Effect::Released(release) => Some(release),
        _ => None,
    })
}
