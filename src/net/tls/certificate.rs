//! What a node shows to prove who it is: a chain of certificates and the key of the first, from two files.

use super::Config;
use super::file::{self, Found};
use crate::base::clock;
use crate::model::Millis;
use std::sync::Arc;
use std::time::Duration;
use tokio_rustls::rustls::client::{WebPkiServerVerifier, danger::ServerCertVerifier, verify_server_name};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, CertificateError as Invalid, RootCertStore};

/// A moment after the end of every certificate: whoever is asked then says when it ended.
const LONG_AFTER: Duration = Duration::from_secs(250_000_000_000);

#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("{setting} {path}: {source}")]
    Unreadable {
        setting: &'static str,
        path: String,
        source: std::io::Error,
    },
    #[error("tls.certificate_file {path}: it has no certificate in PEM")]
    NoCertificate { path: String },
    #[error("tls.certificate_file {path}: its certificate {number} is broken")]
    Broken {
        path: String,
        /// Counted from 1.
        number: usize,
    },
    #[error("tls.key_file {path}: it has no private key in PEM without a password")]
    NoKey { path: String },
    #[error("tls.key_file {path}: it is not the key of the first certificate in tls.certificate_file")]
    Foreign { path: String },
    #[error("tls.key_file {path}: {source}")]
    Unusable { path: String, source: rustls::Error },
}

/// A chain whose key is known.
#[derive(Clone, Debug)]
pub struct Certificate {
    pub(super) key: Arc<CertifiedKey>,
    is_key_open: bool,
}

impl Certificate {
    /// Reads both files.
    pub fn read(config: &Config) -> Result<Self, CertificateError> {
        let shown = found("tls.certificate_file", &config.certificate_file)?;
        let chain = chain(&config.certificate_file, &shown.bytes)?;
        let path = config.key_file.clone();
        let secret = found("tls.key_file", &path)?;
        let Ok(key) = PrivateKeyDer::from_pem_slice(&secret.bytes) else {
            return Err(CertificateError::NoKey { path });
        };
        match CertifiedKey::from_der(chain, key, &ring::default_provider()) {
            Ok(key) => Ok(Self {
                key: Arc::new(key),
                is_key_open: secret.is_open_to_others,
            }),
            Err(rustls::Error::InconsistentKeys(_)) => Err(CertificateError::Foreign { path }),
            Err(source) => Err(CertificateError::Unusable { path, source }),
        }
    }

    /// Whether both show the same; what of the files can still differ is who may read them.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.key.cert == other.key.cert
    }

    /// Whether more users of this machine than the node's may read its key.
    pub const fn is_key_open(&self) -> bool {
        self.is_key_open
    }

    /// When it ends; `None` when that cannot be told.
    pub fn expires_at(&self) -> Option<Millis> {
        match self.verified(UnixTime::since_unix_epoch(LONG_AFTER)) {
            Err(rustls::Error::InvalidCertificate(Invalid::ExpiredContext { not_after, .. })) => {
                Millis::try_from(not_after.as_secs()).ok()?.checked_mul(1_000)
            }
            _ => None,
        }
    }

    /// Whether it does not count yet.
    pub fn is_early(&self) -> bool {
        let now = UnixTime::since_unix_epoch(Duration::from_millis(clock::wall().unsigned_abs()));
        matches!(
            self.verified(now),
            Err(rustls::Error::InvalidCertificate(
                Invalid::NotValidYet | Invalid::NotValidYetContext { .. }
            ))
        )
    }

    /// Whether a client that asks for this host (a name or an address) finds it to be for that.
    pub fn is_for(&self, host: &str) -> bool {
        let name = ServerName::try_from(host.trim_start_matches('[').trim_end_matches(']'));
        let parsed = self.key.cert.first().map(ParsedCertificate::try_from);
        match (name, parsed) {
            (Ok(name), Some(Ok(certificate))) => verify_server_name(&certificate, &name).is_ok(),
            _ => false,
        }
    }

    /// Its own chain is believed here: what is asked is when it counts.
    fn verified(&self, now: UnixTime) -> Result<(), rustls::Error> {
        let (Some(first), Some(last)) = (self.key.cert.first(), self.key.cert.last()) else {
            return Err(rustls::Error::NoCertificatesPresented);
        };
        let mut roots = RootCertStore::empty();
        roots.add(last.clone())?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(ring::default_provider()));
        let verifier = verifier
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        let name = ServerName::try_from("localhost").map_err(|error| rustls::Error::General(error.to_string()))?;
        let others = self.key.cert.get(1..).unwrap_or_default();
        verifier.verify_server_cert(first, others, &name, &[], now)?;
        Ok(())
    }
}

fn found(setting: &'static str, path: &str) -> Result<Found, CertificateError> {
    file::read(path).map_err(|source| CertificateError::Unreadable {
        setting,
        path: path.to_owned(),
        source,
    })
}

fn chain(path: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let path = path.to_owned();
    let mut chain = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let number = chain.len() + 1;
        let whole = certificate.ok().filter(|one| ParsedCertificate::try_from(one).is_ok());
        chain.push(whole.ok_or_else(|| CertificateError::Broken {
            path: path.clone(),
            number,
        })?);
    }
    if chain.is_empty() {
        return Err(CertificateError::NoCertificate { path });
    }
    Ok(chain)
}
