//! # Net
//!
//! What: sockets and the bytes of HTTP around them: accepting, reading a first head, giving a socket back, and a client.
//! Why: a subscriber's socket leaves HTTP before hyper sees it; every other request goes to hyper with nothing lost.
//! Never: what a request means; who is allowed.
//! Start: [`listener`] and [`head`] for the way in, [`client`] for the way out.

pub mod client;
pub mod head;
pub mod listener;
pub mod rewind;
pub mod sse;
pub mod subscription;
pub mod websocket;

#[cfg(test)]
mod tests;

pub use client::{Answer, Client, ClientError};
pub use head::{Head, HeadError, Opening};
pub use listener::{Connection, Listener};
pub use rewind::Rewind;
pub use subscription::{Subscription, Transport};
