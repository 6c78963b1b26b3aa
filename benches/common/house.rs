//! Sessions whose clients hold the other end of a pair, at a gateway with one thread.

use super::sockets;
use campanile::gateway::{From, Gateway, Socket, Subscriber, Transport};
use campanile::model::UserNumber;
use campanile::state::{Effect, Release};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// The history that the cursors of [`sockets::gateway`] belong to.
pub const EPOCH: u32 = 1;

pub fn open() -> Arc<Gateway> {
    sockets::gateway(1)
}

/// Nanoseconds of CPU that the gateway's thread has had.
pub fn cpu() -> u64 {
    sockets::cpu("worker-0").expect("the gateway has a thread")
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
