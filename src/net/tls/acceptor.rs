//! The way in for TLS: a look at the first byte, a handshake within a deadline, and certificates that can change meanwhile.
//!
//! Handshakes are arithmetic: a crowd that comes back at once would hold up the log, which shares these threads. So their steps
//! take turns, a few at a time, and whatever else is ready comes in between. A peer that is slow or silent holds no turn. How many
//! are under way is bounded: a place is taken once a peer has said what it wants, and lost to others by who keeps it waiting.

use super::certificate::{Certificate, CertificateError};
use super::{Config, Secure};
use crate::base::clock;
use crate::metrics::METRICS;
use crate::net::stream::{Ready, Stream};
use parking_lot::{Mutex, RwLock};
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_rustls::rustls;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;

/// Steps of handshakes that may be reckoned before something else has its turn.
const TURNS: usize = 2;
/// A peer that has kept its place waiting for longer, all in all, gives it up to whoever has none. One far away needs a round trip or two.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// How a record of a handshake begins; no method of HTTP does.
const HANDSHAKE: u8 = 22;

pub struct Acceptor {
    config: Arc<ServerConfig>,
    shown: Arc<Shown>,
    files: Config,
    /// What was in the files when they were last looked at.
    seen: Mutex<Certificate>,
    places: Semaphore,
    /// How many wait for a place.
    waiting: Mutex<usize>,
    /// One for each of them for whom nobody has given up a place yet.
    claims: Semaphore,
    turns: Semaphore,
}

/// The certificate that is shown now.
#[derive(Debug)]
struct Shown(RwLock<Certificate>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().key.clone())
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
    /// They are others than at the look before: whoever writes them may not be done.
    Settling,
    Changed,
}

impl Acceptor {
    /// Reads the files. Blocks for as long as that takes.
    pub fn new(files: &Config) -> Result<Self, CertificateError> {
        let certificate = Certificate::read(files)?;
        let seen = Mutex::new(certificate.clone());
        let shown = Arc::new(Shown(RwLock::new(certificate)));
        let unusable = |source| CertificateError::Unusable {
            path: files.key_file.clone(),
            source,
        };
        let acceptor = Self {
            config: Arc::new(config(shown.clone()).map_err(unusable)?),
            shown,
            files: files.clone(),
            seen,
            places: Semaphore::new(files.handshakes_max.min(Semaphore::MAX_PERMITS)),
            waiting: Mutex::new(0),
            claims: Semaphore::new(0),
            turns: Semaphore::new(TURNS),
        };
        acceptor.tell();
        Ok(acceptor)
    }

    /// Reads the files again; bad ones change nothing, and others are used once two looks have found the same: a chain that is cut
    /// between two certificates looks like a whole one. Blocks for as long as that takes.
    pub fn reload(&self) -> Result<Reloaded, CertificateError> {
        let read = Certificate::read(&self.files)?;
        let is_settled = std::mem::replace(&mut *self.seen.lock(), read.clone()).is_same(&read);
        {
            let mut shown = self.shown.0.write();
            let is_same = shown.is_same(&read);
            if !is_same && !is_settled {
                return Ok(Reloaded::Settling);
            }
            // Also the same: the rights of its file may be others now.
            *shown = read;
            if is_same {
                return Ok(Reloaded::Same);
            }
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
        let mut secure = self.begin()?;
        while !secure.has_record() {
            hear(&socket, &mut secure).await?;
        }
        // Taken only now: whoever has not said what they want keeps nobody out.
        let _place = self.place().await?;
        let mut kept = Duration::ZERO;
        while secure.is_handshaking() {
            self.step(&socket, &mut secure).await?;
            let since = clock::now();
            tokio::select! {
                biased;
                answered = answer(&socket, &mut secure) => answered?,
                given_up = self.wanted(PATIENCE.saturating_sub(kept)) => return Err(given_up),
            }
            kept += since.elapsed();
        }
        let result = if secure.is_resumed() { "resumed" } else { "whole" };
        Ok((Opened::Secure(Stream::Secure(socket, Box::new(secure))), result))
    }

    /// The beginning of a connection, for whoever has its socket.
    pub fn begin(&self) -> io::Result<Secure> {
        Secure::server(self.config.clone()).map_err(io::Error::other)
    }

    async fn place(&self) -> io::Result<SemaphorePermit<'_>> {
        if let Ok(place) = self.places.try_acquire() {
            return Ok(place);
        }
        METRICS.limits_hit.with_label_values(&["tls.handshakes_max"]).inc();
        let _waiting = Waiting::begin(self);
        self.places.acquire().await.map_err(io::Error::other)
    }

    /// Ends when patience is over and somebody has no place for whom nobody else gives one up.
    async fn wanted(&self, patience: Duration) -> io::Error {
        tokio::time::sleep(patience).await;
        match self.claims.acquire().await {
            Ok(claim) => claim.forget(),
            Err(closed) => return io::Error::other(closed),
        }
        ErrorKind::TimedOut.into()
    }

    async fn step(&self, socket: &TcpStream, secure: &mut Secure) -> io::Result<()> {
        let _turn = self.turns.acquire().await.map_err(io::Error::other)?;
        let processed = secure.process(&mut Ready(socket));
        // What became ready meanwhile runs before the next turn.
        tokio::task::yield_now().await;
        processed
    }
}

/// Somebody who waits for a place, however that ends.
struct Waiting<'a>(&'a Acceptor);

impl<'a> Waiting<'a> {
    fn begin(acceptor: &'a Acceptor) -> Self {
        *acceptor.waiting.lock() += 1;
        acceptor.claims.add_permits(1);
        Self(acceptor)
    }
}

impl Drop for Waiting<'_> {
    /// Nobody gives up a place for who waits no more.
    fn drop(&mut self) {
        let mut waiting = self.0.waiting.lock();
        *waiting -= 1;
        if self.0.claims.available_permits() > *waiting {
            self.0.claims.forget_permits(1);
        }
    }
}

/// Says what is to be said, and while keys are not agreed on hears what the peer says to it.
async fn answer(socket: &TcpStream, secure: &mut Secure) -> io::Result<()> {
    while secure.has_unsent() {
        socket.writable().await?;
        secure.flush(&mut Ready(socket))?;
    }
    if secure.is_handshaking() {
        hear(socket, secure).await?;
    }
    Ok(())
}

/// Reads once there is something to be read.
async fn hear(socket: &TcpStream, secure: &mut Secure) -> io::Result<()> {
    loop {
        socket.readable().await?;
        match secure.receive(&mut Ready(socket)) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            other => return other.map(|_| ()),
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
        ErrorKind::TimedOut => "slow",
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
