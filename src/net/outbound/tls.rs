//! TLS for calls: TLS 1.2 and 1.3 over `ring`, names verified, roots of the machine and of a file.

use std::sync::Arc;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("it has no certificate in PEM")]
    NoCertificate,
    #[error("it is not PEM: {detail}")]
    NotPem { detail: String },
    #[error("its certificate {number} cannot be used: {source}")]
    Certificate {
        /// Counted from 1.
        number: usize,
        source: tokio_rustls::rustls::Error,
    },
    #[error(
        "this machine has no root certificates; install them (often the package ca-certificates), or name a file of the house"
    )]
    NoRoots,
    #[error("TLS cannot be set up: {0}")]
    SetUp(#[from] tokio_rustls::rustls::Error),
}

/// Certificates that others are verified by.
#[derive(Clone, Debug)]
pub struct Roots(RootCertStore);

impl Roots {
    /// Nobody is believed.
    pub fn none() -> Self {
        Self(RootCertStore::empty())
    }

    /// Those that the machine trusts. What cannot be read or used of them is left out, and logged.
    pub fn of_machine() -> Self {
        let mut store = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        let (_, unusable) = store.add_parsable_certificates(found.certs);
        if unusable > 0 || !found.errors.is_empty() {
            let reasons: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
            tracing::warn!(
                unusable,
                ?reasons,
                "some root certificates of this machine are not used"
            );
        }
        Self(store)
    }

    /// Adds all certificates of a PEM file.
    pub fn add(&mut self, pem: &[u8]) -> Result<(), TlsError> {
        let mut count = 0;
        for certificate in CertificateDer::pem_slice_iter(pem) {
            count += 1;
            let certificate = certificate.map_err(|error| TlsError::NotPem {
                detail: error.to_string(),
            })?;
            let added = self.0.add(certificate);
            added.map_err(|source| TlsError::Certificate { number: count, source })?;
        }
        if count == 0 {
            return Err(TlsError::NoCertificate);
        }
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn connector(self) -> Result<TlsConnector, TlsError> {
        Ok(TlsConnector::from(self.config()?))
    }

    pub(in crate::net) fn config(self) -> Result<Arc<ClientConfig>, TlsError> {
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(self.0)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

#[cfg(test)]
mod tests {
    use super::{Roots, TlsError};

    #[test]
    fn what_is_no_certificate_is_refused() {
        let add = |pem: &str| Roots::none().add(pem.as_bytes()).unwrap_err();
        assert!(matches!(add(""), TlsError::NoCertificate));
        assert!(matches!(add("some text\n"), TlsError::NoCertificate));
        let empty = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(add(empty), TlsError::Certificate { number: 1, .. }));
        assert!(matches!(add(&empty.replace("AAAA", "*")), TlsError::NotPem { .. }));
    }
}
