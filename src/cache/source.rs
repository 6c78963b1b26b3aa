//! Namespaces that the directory goes by: who is in a segment, and what a user wants, come from what is cached.

use super::lookup::{CacheError, Space};
use super::settings::Namespace;
use crate::metrics::METRICS;
use crate::model::Millis;
use crate::state::cache::{CacheChange, Put, PutSource};
use crate::state::sources::Sourced;
use serde::{Deserialize, Serialize};

/// What a namespace is the source of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceOf {
    /// A segment's name leads to a list of users' ids.
    Segments,
    /// A user's id leads to what a PUT of preferences takes.
    Preferences,
}

impl SourceOf {
    pub const ALL: [Self; 2] = [Self::Segments, Self::Preferences];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Segments => "segments",
            Self::Preferences => "preferences",
        }
    }
}

/// How such values are read: the API's own readers, since what comes from elsewhere obeys the same rules. The time is the log's.
#[derive(Clone, Copy)]
pub struct Readers {
    pub segment: fn(&[u8]) -> Result<Sourced, String>,
    pub preferences: fn(&[u8], Millis) -> Result<Sourced, String>,
}

impl Readers {
    fn read(&self, of: SourceOf, body: &[u8], now: Millis) -> Result<Sourced, String> {
        match of {
            SourceOf::Segments => (self.segment)(body),
            SourceOf::Preferences => (self.preferences)(body, now),
        }
    }
}

/// The change that keeps a value. One that the directory could not go by is not kept: what is known stays in force.
pub(super) fn change(space: &Space, readers: &Readers, put: Put, now: Millis) -> Result<CacheChange, CacheError> {
    let Some(of) = space.settings.source_of else {
        return Ok(CacheChange::Put(put));
    };
    match readers.read(of, &put.value.body, now) {
        Ok(sourced) => Ok(CacheChange::PutSource(Box::new(PutSource { put, sourced }))),
        Err(detail) => {
            METRICS.cache_unfit.with_label_values(&[&space.settings.name]).inc();
            tracing::warn!(namespace = space.settings.name, detail, "a value cannot be gone by");
            Err(CacheError::Unfit(detail))
        }
    }
}

/// The namespace that something comes from, if any does.
pub(super) fn namespace_of(namespaces: &[Namespace], of: SourceOf) -> Option<&str> {
    let found = namespaces.iter().find(|namespace| namespace.source_of == Some(of));
    found.map(|namespace| namespace.name.as_str())
}
