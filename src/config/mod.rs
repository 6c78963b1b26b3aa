//! # Config
//!
//! What: settings from text to the typed `Config` of every part.
//! Why: one place says what can be set, where a value came from, and everything that is wrong with it.
//! Never: a default of its own for another part's setting.
//! Start: [`Config`], then [`layers`].

pub mod alerts;
pub mod bounds;
pub mod check;
pub mod effective;
pub mod layers;
#[cfg(test)]
mod pages;
pub mod rules;
pub mod scaling;
pub mod service;

pub use effective::{DEFAULT, Effective};
pub use layers::{Faults, Settings, load};
pub use service::Service;

use crate::model::rules::RateRules;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Every setting with its default and what it means; a test keeps it equal to [`Config::default`].
pub const ANNOTATED: &str = include_str!("../../data/config/default.toml");
/// The sections in the order people meet them.
pub const SECTIONS: [&str; 22] = [
    "node",
    "api",
    "tls",
    "auth",
    "cluster",
    "storage",
    "gateway",
    "workers",
    "scaling",
    "delivery",
    "retention",
    "schedule",
    "retry",
    "rules",
    "rates",
    "outputs",
    "alerts",
    "probe",
    "cache",
    "dashboard",
    "otlp",
    "log",
];

/// All settings: a section for each part.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub node: NodeSettings,
    pub api: crate::api::Config,
    pub tls: crate::net::tls::Config,
    pub auth: crate::security::Config,
    pub cluster: crate::consensus::Config,
    pub storage: crate::storage::Config,
    pub gateway: crate::gateway::Config,
    pub workers: crate::workers::Config,
    pub scaling: scaling::ScalingSettings,
    pub delivery: crate::delivery::Config,
    pub retention: Retention,
    pub schedule: Schedule,
    pub retry: RetrySettings,
    pub rules: rules::Settings,
    pub rates: RateRules,
    pub outputs: crate::outputs::Config,
    pub alerts: alerts::AlertSettings,
    pub probe: alerts::ProbeSettings,
    pub cache: crate::cache::Config,
    pub dashboard: crate::api::dashboard::Config,
    pub otlp: crate::telemetry::Config,
    pub log: Log,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeSettings {
    /// This node's number in `cluster.peers`; never used again for another machine.
    pub id: u64,
    /// Where the node keeps its data.
    pub data: PathBuf,
    /// A clean stop waits this long for what is owed to subscribers.
    pub drain: crate::base::size::Span,
    /// Listen on other than loopback addresses although nobody is authenticated.
    pub insecure: bool,
}

impl Default for NodeSettings {
    fn default() -> Self {
        Self {
            id: 1,
            data: "campanile-data".into(),
            drain: crate::base::size::Span::seconds(3),
            insecure: false,
        }
    }
}

/// How long the cluster remembers. The leader tells all nodes, so that they forget alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// Broadcasts with their receipts are kept this long after they were accepted, and in any case until they have expired.
    pub broadcasts: crate::base::size::Span,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            broadcasts: crate::base::size::Span::seconds(30 * 24 * 3600),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Schedule {
    /// A scheduled broadcast that could not go out for longer than this was missed: `on_missed` says what then.
    pub missed_after: crate::base::size::Span,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            missed_after: crate::base::size::Span::seconds(60),
        }
    }
}

/// How often a broadcast is written to a session that promised receipts and gives none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetrySettings {
    /// Writes in all, the first one too.
    pub critical: u8,
    pub high: u8,
    pub normal: u8,
    pub low: u8,
    /// The wait after the first write; each further one is twice as long.
    pub first: crate::base::size::Span,
    pub longest: crate::base::size::Span,
}

impl Default for RetrySettings {
    fn default() -> Self {
        let crate::model::Retry {
            attempts: [critical, high, normal, low],
            first_ms,
            longest_ms,
        } = crate::model::Retry::DEFAULT;
        Self {
            critical,
            high,
            normal,
            low,
            first: crate::base::size::Span::millis(first_ms),
            longest: crate::base::size::Span::millis(longest_ms),
        }
    }
}

impl RetrySettings {
    pub fn policy(&self) -> crate::model::Retry {
        crate::model::Retry {
            attempts: [self.critical, self.high, self.normal, self.low],
            first_ms: self.first.0.as_millis() as u64,
            longest_ms: self.longest.0.as_millis() as u64,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter like `info,campanile::gateway=debug`.
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::Text,
            level: "info,openraft=warn".into(),
        }
    }
}
