//! A listening socket with a bound on the connections it has given out.
//!
//! When the bound is reached nothing is accepted: newcomers wait in the kernel's queue, which is long enough for a crowd that
//! comes back at once. Whoever hands a socket on (a subscriber goes to a cell) drops its slot and makes room.

use crate::metrics::METRICS;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections that may wait in the kernel to be accepted; the kernel may have a lower bound of its own.
const BACKLOG: i32 = 8_192;
/// After a failure that is not the newcomer's fault (no descriptors left).
const PAUSE: Duration = Duration::from_millis(50);

pub struct Listener {
    inner: TcpListener,
    slots: Arc<Semaphore>,
}

/// An accepted connection. It counts against the bound until `slot` is dropped.
#[derive(Debug)]
pub struct Connection {
    pub stream: TcpStream,
    pub peer: SocketAddr,
    pub slot: OwnedSemaphorePermit,
}

impl Listener {
    /// Must be called within a tokio runtime. Port 0 takes any free one.
    pub fn bind(address: SocketAddr, connections_max: usize) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // A restarted node takes its address back while old connections are still dying.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(Self {
            inner: TcpListener::from_std(socket.into())?,
            slots: Arc::new(Semaphore::new(connections_max.min(Semaphore::MAX_PERMITS))),
        })
    }

    pub fn address(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    /// The next connection, once there is room for it. Safe to drop while it waits.
    pub async fn accept(&self) -> Connection {
        let slot = self.slot().await;
        loop {
            match self.inner.accept().await {
                Ok((stream, peer)) if stream.set_nodelay(true).is_ok() => return Connection { stream, peer, slot },
                // Gone before it was accepted.
                Ok(_) => {}
                Err(error) if is_the_newcomers(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection failed");
                    METRICS.limits_hit.with_label_values(&["descriptors"]).inc();
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn slot(&self) -> OwnedSemaphorePermit {
        if let Ok(slot) = self.slots.clone().try_acquire_owned() {
            return slot;
        }
        METRICS.limits_hit.with_label_values(&["connections"]).inc();
        match self.slots.clone().acquire_owned().await {
            Ok(slot) => slot,
            // Nobody closes the semaphore.
            Err(_) => std::future::pending().await,
        }
    }
}

fn is_the_newcomers(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::Listener;
    use std::time::Duration;
    use tokio::net::TcpStream;
    use tokio::time::timeout;

    #[tokio::test]
    async fn the_bound_holds_until_a_slot_is_dropped() {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), 1).unwrap();
        let address = listener.address().unwrap();
        let _one = TcpStream::connect(address).await.unwrap();
        let _two = TcpStream::connect(address).await.unwrap();
        let first = listener.accept().await;
        assert!(timeout(Duration::from_millis(20), listener.accept()).await.is_err());
        // The socket may live on without its slot.
        let (stream, slot) = (first.stream, first.slot);
        drop(slot);
        let second = timeout(Duration::from_secs(5), listener.accept()).await.unwrap();
        assert_ne!(stream.peer_addr().unwrap(), second.peer);
        assert!(second.stream.nodelay().unwrap());
    }
}
