//! The way in for TLS: a look at the first byte, a handshake within a deadline, and certificates that can change meanwhile.
//!
//! Handshakes are arithmetic: a crowd that comes back at once would hold up the log, which shares these threads. So their steps
//! take turns, a few at a time, and whatever else is ready comes in between. A peer that is slow or silent holds no turn.

use super::certificate::{Certificate, CertificateError};
use super::{Config, Secure};
use crate::metrics::METRICS;
use crate::net::stream::{Ready, Stream};
use parking_lot::RwLock;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Instant;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::rustls;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;

/// Steps of handshakes that may be reckoned before something else has its turn.
const TURNS: usize = 2;
/// How a record of a handshake begins; no method of HTTP does.
const HANDSHAKE: u8 = 22;

pub struct Acceptor {
    config: Arc<ServerConfig>,
    shown: Arc<Shown>,
    files: Config,
    handshakes: Semaphore,
    turns: Semaphore,
}

/// The certificate that is shown now.
#[derive(Debug)]
struct Shown(RwLock<Certificate>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().0.clone())
    }
}

/// What came of a connection.
#[derive(Debug)]
pub enum Opened {
    Secure(Stream),
    /// It speaks in the clear.
    Plain(TcpStream),
    /// There is nobody to answer.
    Closed,
}

/// What came of looking at the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reloaded {
    Same,
    Changed,
}

impl Acceptor {
    /// Reads the files. Blocks for as long as that takes.
    pub fn new(files: &Config) -> Result<Self, CertificateError> {
        let certificate = Certificate::read(files)?;
        let shown = Arc::new(Shown(RwLock::new(certificate)));
        let unusable = |source| CertificateError::Unusable {
            path: files.key_file.clone(),
            source,
        };
        let acceptor = Self {
            config: Arc::new(config(shown.clone()).map_err(unusable)?),
            shown,
            files: files.clone(),
            handshakes: Semaphore::new(files.handshakes_max.min(Semaphore::MAX_PERMITS)),
            turns: Semaphore::new(TURNS),
        };
        acceptor.tell();
        Ok(acceptor)
    }

    /// Reads the files again; bad ones change nothing. Blocks for as long as that takes.
    pub fn reload(&self) -> Result<Reloaded, CertificateError> {
        let read = Certificate::read(&self.files)?;
        {
            let mut shown = self.shown.0.write();
            if shown.0.cert == read.0.cert {
                return Ok(Reloaded::Same);
            }
            *shown = read;
        }
        self.tell();
        Ok(Reloaded::Changed)
    }

    /// The certificate that is shown to those who come now.
    pub fn certificate(&self) -> Certificate {
        self.shown.0.read().clone()
    }

    fn tell(&self) {
        let ends = self.certificate().expires_at().unwrap_or_default();
        METRICS.tls_certificate_ends.set(ends / 1_000);
    }

    /// Looks who comes, and agrees with them on keys. The deadline covers the first byte too.
    pub async fn open(&self, socket: TcpStream, deadline: Instant) -> Opened {
        let opened = tokio::time::timeout_at(deadline.into(), self.agree(socket)).await;
        let (opened, result) = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => (Opened::Closed, told(&error)),
            Err(_) => (Opened::Closed, "slow"),
        };
        METRICS.tls_handshakes.with_label_values(&[result]).inc();
        opened
    }

    async fn agree(&self, socket: TcpStream) -> io::Result<(Opened, &'static str)> {
        let mut first = [0];
        if socket.peek(&mut first).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if first[0] != HANDSHAKE {
            return Ok((Opened::Plain(socket), "plain"));
        }
        // Taken only now: whoever says nothing at all keeps nobody out.
        let _slot = self.slot().await?;
        let mut secure = self.begin()?;
        while secure.is_handshaking() {
            socket.readable().await?;
            self.step(&socket, &mut secure).await?;
            while secure.has_unsent() {
                socket.writable().await?;
                secure.flush(&mut Ready(&socket))?;
            }
        }
        let result = if secure.is_resumed() { "resumed" } else { "whole" };
        Ok((Opened::Secure(Stream::Secure(socket, Box::new(secure))), result))
    }

    /// The beginning of a connection, for whoever has its socket.
    pub fn begin(&self) -> io::Result<Secure> {
        Secure::server(self.config.clone()).map_err(io::Error::other)
    }

    async fn slot(&self) -> io::Result<tokio::sync::SemaphorePermit<'_>> {
        if let Ok(slot) = self.handshakes.try_acquire() {
            return Ok(slot);
        }
        METRICS.limits_hit.with_label_values(&["tls.handshakes_max"]).inc();
        self.handshakes.acquire().await.map_err(io::Error::other)
    }

    async fn step(&self, socket: &TcpStream, secure: &mut Secure) -> io::Result<()> {
        let _turn = self.turns.acquire().await.map_err(io::Error::other)?;
        let came = secure.take_in(&mut Ready(socket));
        // What became ready meanwhile runs before the next turn.
        tokio::task::yield_now().await;
        match came {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

/// How a handshake that failed is counted.
fn told(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::InvalidData => {
            tracing::debug!(%error, "a handshake failed");
            "failed"
        }
        _ => "left",
    }
}

fn config(shown: Arc<Shown>) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(shown);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A returning client brings what is needed to go on: no memory here, however many there are.
    config.ticketer = ring::Ticketer::new()?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 1;
    Ok(config)
}
