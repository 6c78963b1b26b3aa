//! Who is believed to be a node: what a client needs besides an address that begins with `https`.

use super::Secure;
use crate::net::outbound::{Roots, TlsError};
use std::io;
use std::sync::{Arc, OnceLock};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

/// Cheap to clone; connections of one trust resume what they agreed on before.
#[derive(Clone)]
pub struct Trust(Arc<ClientConfig>);

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Trust")
    }
}

impl Trust {
    /// Whom this machine believes; read once, and by those who need it only.
    pub fn of_machine() -> Result<Self, TlsError> {
        static MACHINE: OnceLock<Trust> = OnceLock::new();
        if let Some(trust) = MACHINE.get() {
            return Ok(trust.clone());
        }
        let trust = Self::new(Roots::of_machine())?;
        Ok(MACHINE.get_or_init(|| trust).clone())
    }

    /// Whom the authorities in this PEM vouch for, and nobody else.
    pub fn of(pem: &[u8]) -> Result<Self, TlsError> {
        let mut roots = Roots::none();
        roots.add(pem)?;
        Self::new(roots)
    }

    fn new(roots: Roots) -> Result<Self, TlsError> {
        if roots.is_empty() {
            return Err(TlsError::NoRoots);
        }
        Ok(Self(roots.config()?))
    }

    pub(in crate::net) fn connector(&self) -> TlsConnector {
        TlsConnector::from(self.0.clone())
    }

    /// The beginning of a connection to a host (a name or an address), for whoever has its socket.
    pub fn begin(&self, host: &str) -> io::Result<Secure> {
        let wrong = || io::Error::new(io::ErrorKind::InvalidInput, format!("no certificate can be for {host}"));
        Secure::client(self.0.clone(), name_of(host).ok_or_else(wrong)?)
    }
}

/// What a certificate must be for; an IPv6 address may stand in brackets.
pub(in crate::net) fn name_of(host: &str) -> Option<ServerName<'static>> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(bare.to_owned()).ok()
}
