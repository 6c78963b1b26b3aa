//! One end of a TLS connection without its socket and without a runtime: the same for a cell's epoll, for tokio, and for a client.
//!
//! What rustls keeps for a connection stays here when the socket changes hands, so that a subscriber may leave tokio in the middle
//! of a record. Buffers are there only while something is in them: an idle session holds its keys and little else. At most one
//! record of ciphertext waits for a full socket: what is urgent overtakes the rest.

use super::step::{Step, Wish, act};
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use tokio_rustls::rustls::client::UnbufferedClientConnection;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::server::UnbufferedServerConnection;
use tokio_rustls::rustls::{ClientConfig, CommonState, Error, HandshakeKind, ServerConfig};

/// Plaintext of one record, a quarter of what the protocol allows. A phone can read nothing of a record before its last byte: so much can
/// stand in front of something urgent, and something urgent at its beginning waits for so much.
const RECORD_BYTES: usize = 4 << 10;
/// Ciphertext read at a time.
pub(super) const READ_BYTES: usize = 8 << 10;
/// The longest message of a handshake that a client takes, with what came behind it: a server's certificates.
const FROM_SERVER_MAX: usize = 80 << 10;
/// What stands in front of a record: its kind, the version, and its length.
const HEAD_BYTES: usize = 5;
/// The major version in it, the same in all that are spoken.
const VERSION: u8 = 3;
/// The largest record, with the allowance that TLS 1.2 gives it.
const RECORD_BYTES_MAX: usize = (16 << 10) + 2_048;
/// A client has no certificates to show: one record of the largest.
pub(super) const FROM_CLIENT_MAX: usize = HEAD_BYTES + RECORD_BYTES_MAX;

pub struct Secure {
    connection: Connection,
    /// Ciphertext that is not a whole record yet.
    incoming: Vec<u8>,
    /// Ciphertext that the socket has not taken.
    outgoing: Vec<u8>,
    /// What was decrypted and not read.
    plain: Vec<u8>,
    /// The peer has said the goodbye of TLS.
    is_over: bool,
    /// It was said here, or why there is none: nothing may follow.
    has_ended: bool,
}

#[allow(clippy::large_enum_variant)] // the large one is what there are thousands of, and it stands in a box with the rest
enum Connection {
    Server(UnbufferedServerConnection),
    /// Larger still.
    Client(Box<UnbufferedClientConnection>),
}

impl std::fmt::Debug for Secure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secure")
    }
}

impl Secure {
    pub(super) fn server(config: Arc<ServerConfig>) -> Result<Self, Error> {
        Ok(Self::new(Connection::Server(UnbufferedServerConnection::new(config)?)))
    }

    pub(super) fn client(config: Arc<ClientConfig>, name: ServerName<'static>) -> io::Result<Self> {
        let connection = UnbufferedClientConnection::new(config, name).map_err(io::Error::other)?;
        let mut secure = Self::new(Connection::Client(Box::new(connection)));
        // Its first words wait for a socket.
        secure.drive(Wish::Nothing)?;
        Ok(secure)
    }

    fn new(connection: Connection) -> Self {
        Self {
            connection,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            plain: Vec::new(),
            is_over: false,
            has_ended: false,
        }
    }

    fn state(&self) -> &CommonState {
        match &self.connection {
            Connection::Server(server) => server,
            Connection::Client(client) => client,
        }
    }

    pub fn is_handshaking(&self) -> bool {
        self.state().is_handshaking()
    }

    /// The peer came back with what it was given last time, which saved the signature.
    pub fn is_resumed(&self) -> bool {
        self.state().handshake_kind() == Some(HandshakeKind::Resumed)
    }

    #[cfg(test)]
    pub fn buffered(&self) -> usize {
        self.incoming.capacity() + self.outgoing.capacity() + self.plain.capacity()
    }

    /// Ciphertext waits for the socket.
    pub fn has_unsent(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Gives the socket what waits, as far as it takes it; how many bytes.
    pub fn flush(&mut self, socket: &mut impl Write) -> io::Result<usize> {
        let mut moved = 0;
        while moved < self.outgoing.len() {
            match socket.write(&self.outgoing[moved..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => moved += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        forget(&mut self.outgoing, moved);
        Ok(moved)
    }

    /// How many of the bytes were taken; a full socket took none. What of a record did not fit it waits here.
    pub fn write(&mut self, socket: &mut impl Write, bytes: &[u8]) -> io::Result<usize> {
        self.flush(socket)?;
        if self.has_ended {
            return Err(ErrorKind::NotConnected.into());
        }
        let mut taken = 0;
        while taken < bytes.len() && !self.has_unsent() {
            let end = bytes.len().min(taken + RECORD_BYTES);
            self.drive(Wish::Encrypt(&bytes[taken..end]))?;
            taken = end;
            self.flush(socket)?;
        }
        Ok(taken)
    }

    /// Plaintext, as much as there is: 0 at a proper end, `WouldBlock` only once the socket has nothing left, and `UnexpectedEof`
    /// when the peer went without a goodbye.
    pub fn read(&mut self, socket: &mut (impl Read + Write), buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.plain.is_empty() || buffer.is_empty() {
                let count = buffer.len().min(self.plain.len());
                buffer[..count].copy_from_slice(&self.plain[..count]);
                forget(&mut self.plain, count);
                return Ok(count);
            }
            if self.is_over {
                return Ok(0);
            }
            if self.take_in(socket)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Reads records once and does with them what they ask for; what they ask to be answered is answered as far as the socket
    /// takes it. How many bytes came; 0 at the end.
    pub fn take_in(&mut self, socket: &mut (impl Read + Write)) -> io::Result<usize> {
        let count = self.receive(socket)?;
        self.process(socket)?;
        Ok(count)
    }

    /// The first half of it: what came is kept, and not looked at.
    pub(super) fn receive(&mut self, socket: &mut impl Read) -> io::Result<usize> {
        let kept = self.incoming.len();
        let most = match &self.connection {
            Connection::Server(_) => FROM_CLIENT_MAX,
            Connection::Client(_) => FROM_SERVER_MAX,
        };
        if kept > most {
            return Err(ErrorKind::InvalidData.into());
        }
        self.incoming.reserve_exact(READ_BYTES);
        self.incoming.resize(kept + READ_BYTES, 0);
        let read = loop {
            match socket.read(&mut self.incoming[kept..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.incoming.truncate(kept + read.as_ref().map_or(0, |count| *count));
        if self.incoming.is_empty() {
            self.incoming = Vec::new();
        } else if self.is_handshaking() {
            // Whoever comes byte by byte takes no more room than for these.
            self.incoming.shrink_to_fit();
        }
        read
    }

    /// Whether a peer's first record is there, or the beginning of what can be none: less says nothing.
    pub(super) fn has_record(&self) -> bool {
        let Some((head, body)) = self.incoming.split_first_chunk::<HEAD_BYTES>() else {
            return false;
        };
        let length = usize::from(u16::from_be_bytes([head[3], head[4]]));
        head[1] != VERSION || length > RECORD_BYTES_MAX || body.len() >= length
    }

    /// The second half: what came is done with as far as it goes.
    pub(super) fn process(&mut self, socket: &mut impl Write) -> io::Result<()> {
        let processed = self.drive(Wish::Nothing);
        // An alert tells the peer what was wrong; whether it arrives changes nothing here.
        let flushed = self.flush(socket);
        processed?;
        flushed?;
        Ok(())
    }

    /// Says the goodbye of TLS once; true when all of it is with the socket.
    pub fn end(&mut self, socket: &mut impl Write) -> io::Result<bool> {
        if !self.has_ended {
            self.has_ended = true;
            self.drive(Wish::Goodbye)?;
        }
        self.flush(socket)?;
        Ok(!self.has_unsent())
    }

    /// Lets the connection do what it has to do, until it can do what is wished or waits for the peer.
    fn drive(&mut self, wish: Wish<'_>) -> io::Result<()> {
        loop {
            let step = self.step(wish);
            if step.is_err() {
                // It has an alert to say before it falls silent; the record that broke it is not looked at twice.
                let _ = self.step(Wish::Nothing);
                self.incoming = Vec::new();
                self.is_over = true;
                self.has_ended = true;
            }
            match step.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))? {
                Step::Again => {}
                Step::Over => self.is_over = true,
                Step::Done => return Ok(()),
                Step::Idle => {
                    return match wish {
                        Wish::Nothing | Wish::Goodbye => Ok(()),
                        Wish::Encrypt(_) => Err(ErrorKind::NotConnected.into()),
                    };
                }
            }
        }
    }

    fn step(&mut self, wish: Wish<'_>) -> Result<Step, Error> {
        let (incoming, outgoing, plain) = (&mut self.incoming, &mut self.outgoing, &mut self.plain);
        let (discard, step) = match &mut self.connection {
            Connection::Server(server) => act(server.process_tls_records(incoming), wish, outgoing, plain),
            Connection::Client(client) => act(client.process_tls_records(incoming), wish, outgoing, plain),
        };
        forget(&mut self.incoming, discard);
        step
    }
}

/// Drops what is done with; an empty buffer gives its memory back.
fn forget(buffer: &mut Vec<u8>, count: usize) {
    if count >= buffer.len() {
        *buffer = Vec::new();
    } else {
        buffer.drain(..count);
    }
}
