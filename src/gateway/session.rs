//! A session: a socket and, while it is not up to date, its own positions. One that is up to date has those of its cell.

use super::websocket::Decoder;
use super::{From, Socket, Transport};
use crate::model::{Number, PerPriority, Position, UserNumber};
use crate::net::Secure;
use crate::queue::Turns;
use crate::state::Release;
use bytes::Bytes;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Instant;

/// No slot.
pub const NONE: u32 = u32::MAX;

/// Kept small: an idle session is this and a place in two maps.
#[derive(Debug)]
pub struct Session {
    pub stream: Stream,
    pub user: UserNumber,
    /// The next session of the same user in this cell, or [`NONE`].
    pub next_of_user: u32,
    /// The tick at which bytes last came from the peer.
    pub heard: u32,
    pub generation: u16,
    /// Messages in this second.
    pub spoke: u16,
    pub transport: Transport,
    /// It confirms what it gets.
    pub promises: bool,
    /// Something was written since the last heartbeat.
    pub wrote: bool,
    /// It was told goodbye: nothing more is owed to it.
    pub leaving: bool,
    /// What the cell's rounds still have for it: a bit for each release of the batch.
    pub pending: [u64; 2],
    pub behind: Option<Box<Behind>>,
    pub decoder: Option<Box<Decoder>>,
}

/// What a session needs only while it is not up to date.
#[derive(Debug)]
pub struct Behind {
    pub stage: Stage,
    /// Scanned up to.
    pub positions: PerPriority<Position>,
    /// Read from the backlog, to be written before anything after `scanned`.
    pub owed: PerPriority<VecDeque<Arc<Release>>>,
    pub scanned: PerPriority<Position>,
    /// The rest of what was partly written.
    pub unsent: Bytes,
    /// The broadcast that `unsent` is the end of.
    pub unsent_of: Option<Number>,
    /// Frames that are no releases and wait for the socket.
    pub notes: Vec<u8>,
    pub turns: Turns,
    /// When the socket last took a byte.
    pub progress_at: Instant,
    /// The socket is full.
    pub blocked: bool,
    /// It stands in the cell's queue already.
    pub queued: bool,
    /// A read of the backlog is under way.
    pub reading: bool,
    /// Reads in a row that brought it no further.
    pub reads_in_vain: u8,
    /// Its cursor is ahead of this node since then.
    pub ahead_since: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Where the stream starts is not known yet.
    Starting(From),
    Running,
}

impl Behind {
    pub fn new(stage: Stage, positions: PerPriority<Position>, now: Instant) -> Self {
        Self {
            stage,
            positions,
            owed: Default::default(),
            scanned: [0; 4],
            unsent: Bytes::new(),
            unsent_of: None,
            notes: Vec::new(),
            turns: Turns::default(),
            progress_at: now,
            blocked: false,
            queued: false,
            reading: false,
            reads_in_vain: 0,
            ahead_since: None,
        }
    }

    /// Drops what has been written, and moves on past what was read and is written.
    pub fn settle(&mut self) {
        for index in 0..4 {
            let (owed, position) = (&mut self.owed[index], &mut self.positions[index]);
            while owed.front().is_some_and(|release| release.position <= *position) {
                owed.pop_front();
            }
            if owed.is_empty() {
                *position = self.scanned[index].max(*position);
            }
        }
    }
}

#[derive(Debug)]
pub enum Stream {
    Tcp(mio::net::TcpStream),
    Secure(mio::net::TcpStream, Box<Secure>),
    Unix(mio::net::UnixStream),
}

impl Stream {
    pub fn new(socket: Socket) -> Self {
        match socket {
            Socket::Tcp(stream) => Self::Tcp(mio::net::TcpStream::from_std(stream)),
            Socket::Secure(stream, secure) => Self::Secure(mio::net::TcpStream::from_std(stream), secure),
            Socket::Unix(stream) => Self::Unix(mio::net::UnixStream::from_std(stream)),
        }
    }

    pub fn source(&mut self) -> &mut dyn mio::event::Source {
        match self {
            Self::Tcp(stream) | Self::Secure(stream, _) => stream,
            Self::Unix(stream) => stream,
        }
    }

    /// Nothing more is written; the peer reads to the end. False while the goodbye of TLS waits for a full socket.
    pub fn end(&mut self) -> io::Result<bool> {
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write)?,
            Self::Secure(stream, secure) => {
                if !secure.end(stream)? {
                    return Ok(false);
                }
                stream.shutdown(Shutdown::Write)?;
            }
            Self::Unix(stream) => stream.shutdown(Shutdown::Write)?,
        }
        Ok(true)
    }

    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        retry(|| match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Secure(stream, secure) => secure.read(stream, buffer),
            Self::Unix(stream) => stream.read(buffer),
        })
    }

    /// Whether a read that gave less than was asked for has emptied the socket: an edge is told once. A record is less than what
    /// stands behind it.
    pub const fn is_emptied_by_less(&self) -> bool {
        match self {
            Self::Tcp(_) | Self::Unix(_) => true,
            Self::Secure(..) => false,
        }
    }

    /// How many bytes were taken; a full socket took none. With TLS the last record that was taken may wait: see [`Stream::waits`].
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = retry(|| match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Secure(stream, secure) => secure.write(stream, bytes),
            Self::Unix(stream) => stream.write(bytes),
        });
        match written {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            other => other,
        }
    }

    /// The rest of a record waits until the socket takes it: a session with one is behind, like one with half a frame.
    pub fn waits(&self) -> bool {
        match self {
            Self::Tcp(_) | Self::Unix(_) => false,
            Self::Secure(_, secure) => secure.has_unsent(),
        }
    }

    /// Gives the socket what waits; how many bytes.
    pub fn flush(&mut self) -> io::Result<usize> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => Ok(0),
            Self::Secure(stream, secure) => secure.flush(stream),
        }
    }
}

/// A call that a signal broke off is made again.
fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_session_is_small() {
        // Debug builds of mio keep two more words per socket.
        let most = if cfg!(debug_assertions) { 96 } else { 72 };
        assert!(size_of::<super::Session>() <= most, "{}", size_of::<super::Session>());
    }
}
