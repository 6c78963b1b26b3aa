//! # Net
//!
//! What: sockets and the bytes of HTTP around them: accepting, reading a first head, giving a socket back, a client for nodes, and
//! calls to servers outside of the cluster.
//! Why: a subscriber's socket leaves HTTP before hyper sees it; every other request goes to hyper with nothing lost.
//! Never: what a request means; who is allowed.
//! Start: [`listener`], [`tls`] and [`head`] for the way in, [`client`] for the way to a node, [`outbound`] for the way to anybody else.

pub mod client;
mod files;
pub mod head;
pub mod listener;
pub mod outbound;
pub mod rewind;
pub mod sse;
pub mod stream;
pub mod subscription;
pub mod tls;
pub mod websocket;

#[cfg(test)]
mod tests;

pub use client::{Answer, Client, ClientError};
pub use files::files_max;
pub use head::{Head, HeadError, Opening};
pub use listener::{Connection, Listener};
pub use outbound::{Endpoint, EndpointError, Networks, Outbound, OutboundError, Reply, Roots, TlsError, Whole};
pub use rewind::Rewind;
pub use stream::{Detached, Stream};
pub use subscription::{Subscription, Transport};
pub use tls::{Acceptor, Secure, Trust};
