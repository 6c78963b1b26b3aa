//! # API
//!
//! What: HTTP for people and programs: requests in, problems or answers out.
//! Why: the contract that outside clients rely on stands in one room.
//! Never: a decision of the domain; a row or a term.
//! Start: [`router`] has every route on one page, [`problem`] every way to say no, [`serve`] the way in.

mod access;
mod alerts;
mod audience;
pub mod audit;
mod batch;
mod broadcasts;
mod cache;
mod cache_headers;
mod cancel;
mod context;
mod counts;
pub mod dashboard;
mod dead_letters;
mod directory;
pub mod draft;
mod drill;
mod dry_run;
mod escalations;
mod fields;
mod hosts;
mod import;
mod inbox;
mod json;
mod lines;
pub mod metrics;
mod nouns;
mod operate;
mod outputs;
mod person;
mod pointer;
mod problem;
mod publish;
mod recall;
mod receipts;
mod recipients;
mod redeliver;
mod request;
mod rights;
mod roles;
mod router;
mod scaling;
pub mod serve;
mod sources;
mod subscribe;
mod tokens;
mod wire;

#[cfg(test)]
mod tests;

pub use context::{Context, Reader, Settings};
pub use problem::{Code, Fault, Problem};
pub use router::router;
pub use sources::READERS;

use crate::base::size::{Size, Span};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub listen: String,
    /// Where clients reach this node; by default `http://` and `listen`.
    pub url: Option<String>,
    /// A request ends by then, one way or the other.
    pub deadline: Span,
    pub body_bytes_max: Size,
    /// One line of an import.
    pub import_line_bytes_max: Size,
    /// A request's head arrives within this, or the connection is closed.
    pub head_deadline: Span,
    pub connections_max: usize,
    /// Web pages that may call this node.
    pub cors_origins: Vec<String>,
    /// Broadcasts without `expires_at` expire this long after release.
    pub expires_default: Span,
    pub expires_max: Span,
    pub schedule_max: Span,
    /// How long idempotency keys of clients are kept.
    pub keys_kept: Span,
    pub keys_bytes_max: Size,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8205".into(),
            url: None,
            deadline: Span::seconds(5),
            body_bytes_max: Size::kib(256),
            import_line_bytes_max: Size::kib(64),
            head_deadline: Span::seconds(10),
            connections_max: 20_000,
            cors_origins: Vec::new(),
            expires_default: Span::seconds(24 * 3600),
            expires_max: Span::seconds(30 * 24 * 3600),
            schedule_max: Span::seconds(7 * 24 * 3600),
            keys_kept: Span::seconds(24 * 3600),
            keys_bytes_max: Size::mib(256),
        }
    }
}
