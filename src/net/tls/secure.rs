//! One end of a TLS connection without its socket and without a runtime: the same for a cell's epoll, for tokio, and for a client.
//!
//! What rustls keeps for a connection stays here when the socket changes hands, so that a subscriber may leave tokio in the middle
//! of a record. At most one record of ciphertext waits for a full socket: what is urgent overtakes the rest.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, Connection, HandshakeKind, ServerConfig, ServerConnection};

/// Plaintext of one record: as much as the protocol allows, and the most that can stand in front of something urgent.
const RECORD_BYTES: usize = 16 << 10;
/// Plaintext that may be given before the handshake is over; nobody does.
const BUFFER_BYTES: usize = 2 * RECORD_BYTES;

#[derive(Debug)]
pub struct Secure {
    connection: Connection,
    /// The goodbye of TLS was given to the connection.
    ending: bool,
}

impl Secure {
    pub(super) fn server(config: Arc<ServerConfig>) -> Result<Self, tokio_rustls::rustls::Error> {
        Ok(Self::new(ServerConnection::new(config)?.into()))
    }

    pub(super) fn client(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Self, tokio_rustls::rustls::Error> {
        Ok(Self::new(ClientConnection::new(config, name)?.into()))
    }

    fn new(mut connection: Connection) -> Self {
        connection.set_buffer_limit(Some(BUFFER_BYTES));
        Self {
            connection,
            ending: false,
        }
    }

    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// The peer came back with what it was given last time, which saved the signature.
    pub fn is_resumed(&self) -> bool {
        self.connection.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Ciphertext waits for the socket.
    pub fn has_unsent(&self) -> bool {
        self.connection.wants_write()
    }

    /// Gives the socket what waits, as far as it takes it; how many bytes.
    pub fn flush(&mut self, socket: &mut impl Write) -> io::Result<usize> {
        let mut moved = 0;
        while self.connection.wants_write() {
            match self.connection.write_tls(socket) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => moved += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(moved)
    }

    /// How many of the bytes were taken; a full socket took none. What of a record did not fit it waits here.
    pub fn write(&mut self, socket: &mut impl Write, bytes: &[u8]) -> io::Result<usize> {
        self.flush(socket)?;
        let mut taken = 0;
        while taken < bytes.len() && !self.has_unsent() {
            let end = bytes.len().min(taken + RECORD_BYTES);
            match self.connection.writer().write(&bytes[taken..end])? {
                0 => return Err(ErrorKind::WriteZero.into()),
                count => taken += count,
            }
            self.flush(socket)?;
        }
        Ok(taken)
    }

    /// Plaintext, as much as there is: 0 at a proper end, `WouldBlock` only once the socket has nothing left, and `UnexpectedEof`
    /// when the peer went without a goodbye.
    pub fn read(&mut self, socket: &mut (impl Read + Write), buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.connection.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => return read,
            }
            self.take_in(socket)?;
        }
    }

    /// Reads records once and does with them what they ask for; what they ask to be answered is answered as far as the socket
    /// takes it. How many bytes came; 0 at the end.
    pub fn take_in(&mut self, socket: &mut (impl Read + Write)) -> io::Result<usize> {
        let count = loop {
            match self.connection.read_tls(socket) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        let processed = self.connection.process_new_packets();
        // An alert tells the peer what was wrong; whether it arrives changes nothing here.
        let flushed = self.flush(socket);
        processed.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        flushed?;
        Ok(count)
    }

    /// Says the goodbye of TLS once; true when all of it is with the socket.
    pub fn end(&mut self, socket: &mut impl Write) -> io::Result<bool> {
        if !self.ending {
            self.ending = true;
            self.connection.send_close_notify();
        }
        self.flush(socket)?;
        Ok(!self.has_unsent())
    }
}
