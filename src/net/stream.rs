//! A connection as HTTP sees it, in the clear or with TLS, and how it leaves the runtime.

use super::tls::Secure;
use std::io::{self, ErrorKind, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

#[derive(Debug)]
pub enum Stream {
    Plain(TcpStream),
    Secure(TcpStream, Box<Secure>),
}

/// A connection without a runtime: a non-blocking socket, and with TLS what belongs to it.
#[derive(Debug)]
pub enum Detached {
    Plain(std::net::TcpStream),
    Secure(std::net::TcpStream, Box<Secure>),
}

impl Stream {
    /// Takes the socket out of the runtime.
    pub fn detach(self) -> io::Result<Detached> {
        Ok(match self {
            Self::Plain(socket) => Detached::Plain(socket.into_std()?),
            Self::Secure(socket, secure) => Detached::Secure(socket.into_std()?, secure),
        })
    }

    /// Puts it back; must be called within a runtime.
    pub fn attach(detached: Detached) -> io::Result<Self> {
        Ok(match detached {
            Detached::Plain(socket) => Self::Plain(TcpStream::from_std(socket)?),
            Detached::Secure(socket, secure) => Self::Secure(TcpStream::from_std(socket)?, secure),
        })
    }
}

impl Stream {
    /// With TLS once both ends have agreed on it.
    pub async fn agreed(socket: TcpStream, mut secure: Box<Secure>) -> io::Result<Self> {
        loop {
            while secure.has_unsent() {
                socket.writable().await?;
                secure.flush(&mut Ready(&socket))?;
            }
            if !secure.is_handshaking() {
                return Ok(Self::Secure(socket, secure));
            }
            socket.readable().await?;
            match secure.take_in(&mut Ready(&socket)) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                Ok(_) | Err(_) => {}
            }
        }
    }
}

impl From<TcpStream> for Stream {
    fn from(socket: TcpStream) -> Self {
        Self::Plain(socket)
    }
}

/// A socket of the runtime for whoever reads and writes without one: `WouldBlock` means to wait for readiness.
pub(super) struct Ready<'a>(pub &'a TcpStream);

impl Read for Ready<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Ready<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, pieces: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(pieces)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (socket, secure) = match &mut *self {
            Self::Plain(socket) => return Pin::new(socket).poll_read(context, buffer),
            Self::Secure(socket, secure) => (socket, secure),
        };
        // As a socket of the runtime does: whoever always has something ready lets others have a turn, and deadlines be looked at.
        let turn = ready!(tokio::task::coop::poll_proceed(context));
        loop {
            match secure.read(&mut Ready(socket), buffer.initialize_unfilled()) {
                Ok(count) => {
                    turn.made_progress();
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => ready!(socket.poll_read_ready(context))?,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let (socket, secure) = match &mut *self {
            Self::Plain(socket) => return Pin::new(socket).poll_write(context, bytes),
            Self::Secure(socket, secure) => (socket, secure),
        };
        let turn = ready!(tokio::task::coop::poll_proceed(context));
        loop {
            let taken = secure.write(&mut Ready(socket), bytes)?;
            if taken > 0 || bytes.is_empty() {
                turn.made_progress();
                return Poll::Ready(Ok(taken));
            }
            ready!(socket.poll_write_ready(context))?;
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Self::Plain(socket) = &mut *self {
            return Pin::new(socket).poll_write_vectored(context, pieces);
        }
        let first = pieces.iter().find(|piece| !piece.is_empty());
        self.poll_write(context, first.map_or(&[], |piece| piece))
    }

    /// With TLS the pieces are put together first: each write is a record.
    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.is_write_vectored(),
            Self::Secure(..) => false,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (socket, secure) = match &mut *self {
            Self::Plain(socket) => return Pin::new(socket).poll_flush(context),
            Self::Secure(socket, secure) => (socket, secure),
        };
        loop {
            secure.flush(&mut Ready(socket))?;
            if !secure.has_unsent() {
                return Poll::Ready(Ok(()));
            }
            ready!(socket.poll_write_ready(context))?;
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (socket, secure) = match &mut *self {
            Self::Plain(socket) => return Pin::new(socket).poll_shutdown(context),
            Self::Secure(socket, secure) => (socket, secure),
        };
        while !secure.end(&mut Ready(socket))? {
            ready!(socket.poll_write_ready(context))?;
        }
        Pin::new(socket).poll_shutdown(context)
    }
}
