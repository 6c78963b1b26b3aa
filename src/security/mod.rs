//! # Security
//!
//! What: from the text that a client shows to a verified [`Identity`]: API tokens, JSON Web Tokens, the bootstrap secret.
//! Why: every door asks the same question in the same way, and one folder holds all of the answer that needs a secret.
//! Never: what a caller may do (that follows from the [`Caller`]); a log line, an error or an answer with a secret in it.
//! Start: [`gate`], then [`jwt`].
//!
//! API tokens are replicated: the gate only hashes them, and the API looks the hash up in the state.

pub mod gate;
pub mod jwt;
pub mod keys;
#[cfg(test)]
pub mod pairs;
pub mod secret;
pub mod token;

pub use gate::{Denied, Gate, Shown};

use crate::base::size::Span;
use crate::model::{Caller, Millis};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;

/// A caller whose token was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub caller: Arc<Caller>,
    /// Log time at which the token ends; `None`: it does not by itself.
    pub until: Option<Millis>,
}

/// The section `auth`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub enabled: bool,
    /// A file with one token (`cmp_...`) whose bearer is an administrator: the way in before there is any other. Empty: none.
    pub admin_token_file: PathBuf,
    /// Replicated API tokens, ended ones that are still remembered among them.
    pub tokens_max: u64,
    /// The life of an API token whose request names none.
    pub token_ttl_default: Span,
    pub token_ttl_max: Span,
    pub jwt_keys: Vec<KeyFile>,
    /// A JSON Web Key Set; read again when it changes. Empty: none.
    pub jwt_jwks: PathBuf,
    pub jwt_issuer: String,
    pub jwt_audience: String,
    /// How far the issuer's clock may be from the cluster's.
    pub jwt_leeway: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: false,
            admin_token_file: PathBuf::new(),
            tokens_max: 100_000,
            token_ttl_default: Span::seconds(30 * 24 * 3600),
            token_ttl_max: Span::seconds(366 * 24 * 3600),
            jwt_keys: Vec::new(),
            jwt_jwks: PathBuf::new(),
            jwt_issuer: String::new(),
            jwt_audience: String::new(),
            jwt_leeway: Span::seconds(30),
        }
    }
}

impl Config {
    /// Whether JSON Web Tokens are taken at all.
    pub fn takes_jwt(&self) -> bool {
        !self.jwt_keys.is_empty() || !self.jwt_jwks.as_os_str().is_empty()
    }

    /// Whether anybody could ever be let in.
    pub fn has_a_way_in(&self) -> bool {
        self.takes_jwt() || !self.admin_token_file.as_os_str().is_empty()
    }
}

/// A key that verifies JSON Web Tokens: for this algorithm, and for no other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFile {
    /// The `kid` that names it; empty: for tokens that name none.
    #[serde(default)]
    pub id: String,
    pub algorithm: Algorithm,
    /// A public key as PEM; for HS256 the secret itself.
    pub file: PathBuf,
}

/// The algorithms that are taken; there is no way to spell `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    #[serde(rename = "EdDSA")]
    EdDsa,
    #[serde(rename = "ES256")]
    Es256,
    #[serde(rename = "RS256")]
    Rs256,
    #[serde(rename = "HS256")]
    Hs256,
}
