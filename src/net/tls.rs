//! TLS for connections that come in: [`acceptor`] is the way in, [`certificate`] what it shows, [`secure`] a connection,
//! and [`trust`] what a client of a node goes by.

mod acceptor;
#[cfg(test)]
pub mod bench;
mod certificate;
mod file;
mod made;
mod secure;
mod step;
#[cfg(test)]
mod tests;
mod trust;

pub use acceptor::{Acceptor, Opened, Reloaded};
pub use certificate::{Certificate, CertificateError};
pub use made::{Made, MakeError, make};
pub use secure::Secure;
pub use trust::Trust;
pub(in crate::net) use trust::name_of;

use crate::base::size::Span;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The certificate and what leads from it to an authority, as PEM. Empty: no TLS.
    pub certificate_file: String,
    /// Its private key, as PEM.
    pub key_file: String,
    /// Handshakes under way at once.
    pub handshakes_max: usize,
    /// How often the two files are looked at for a change.
    pub reload_every: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            certificate_file: String::new(),
            key_file: String::new(),
            handshakes_max: 1_000,
            reload_every: Span::seconds(60),
        }
    }
}

impl Config {
    pub fn is_on(&self) -> bool {
        !self.certificate_file.is_empty()
    }

    /// `https` or `http`: how clients reach the port.
    pub fn scheme(&self) -> &'static str {
        if self.is_on() { "https" } else { "http" }
    }

    pub fn faults(&self) -> Vec<String> {
        let (given, wanted) = match (self.is_on(), !self.key_file.is_empty()) {
            (true, false) => ("tls.certificate_file", "tls.key_file"),
            (false, true) => ("tls.key_file", "tls.certificate_file"),
            (true, true) | (false, false) => return Vec::new(),
        };
        vec![format!("{given} is set; it must come with {wanted}")]
    }
}
