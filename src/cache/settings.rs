//! The section `cache`: namespaces and how much of each is kept, and the size of the local tier.

use super::source::SourceOf;
use super::upstream::Upstream;
use crate::base::size::{Size, Span};
use crate::net::Networks;
use crate::state::cache::{Lifetime, Limits};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

/// Namespaces of one cluster.
const NAMESPACES_MAX: usize = 64;
/// Letters of a namespace's name.
const NAME_LETTERS_MAX: usize = 64;
/// A namespace's entries: each has its name in the memory of every node.
const ENTRIES_MAX: u64 = 100_000;
const BYTES_MIN: Size = Size::kib(128);
const BYTES_MAX: Size = Size::mib(64 << 10);
/// Keys of a namespace that the settings name.
const KEYS_MAX: usize = 256;
/// What the directory goes by must outlast an uplink that comes and goes: when it ends, quiet hours would be forgotten.
const SOURCE_STALE_MIN: Span = Span::seconds(3600);
const TTL_MAX: Span = Span::seconds(30 * 24 * 3600);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub namespaces: Vec<Namespace>,
    /// Entries of all namespaces together, on every node.
    pub entries_max: u64,
    /// The same in bytes: values with their names, on disk.
    pub bytes_max: Size,
    /// What the local tier may hold in memory.
    pub local_bytes: Size,
    /// It never shrinks below this, however short memory is.
    pub local_bytes_min: Size,
    pub local_items: u64,
    /// A value is looked up in the replicated tier again after so long.
    pub local_ttl: Span,
    /// Networks that upstreams may be in although they are private, loopback or special.
    pub allow: Networks,
    /// Root certificates in PEM besides those of the machine. Empty: none.
    pub ca_file: PathBuf,
    /// For one question to an upstream, from the name to the end of the answer.
    pub upstream_timeout: Span,
    /// An upstream that could not be reached, or has nothing, is asked again after so long.
    pub upstream_rest: Span,
    /// From so long before a wedding until its end, what it needs is fetched before anybody asks.
    pub preload_ahead: Span,
    /// What this process may take of memory; 0: only the limits of its cgroup and of the machine count.
    pub memory_max: Size,
}

impl Default for Config {
    fn default() -> Self {
        let minutes = |name: &str, minutes: u64| Namespace {
            name: name.into(),
            ttl: Span::seconds(minutes * 60),
            ..Namespace::default()
        };
        Self {
            namespaces: vec![
                minutes("preferences", 5),
                minutes("broadcasts", 60),
                minutes("teams", 15),
                minutes("segments", 30),
                minutes("delivery", 5),
            ],
            entries_max: 200_000,
            bytes_max: Size::mib(256),
            local_bytes: Size::mib(50),
            local_bytes_min: Size::mib(8),
            local_items: 5_000,
            local_ttl: Span::seconds(300),
            allow: Networks::default(),
            ca_file: PathBuf::new(),
            upstream_timeout: Span::seconds(2),
            upstream_rest: Span::seconds(5),
            preload_ahead: Span::seconds(2 * 3600),
            memory_max: Size(0),
        }
    }
}

/// One kind of thing that is cached.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Namespace {
    pub name: String,
    /// A value is fresh for so long, unless whoever puts it says otherwise.
    pub ttl: Span,
    /// It may be served for so long after that, while its source is out of reach.
    pub stale_if_error: Span,
    pub entries_max: u64,
    pub bytes_max: Size,
    /// Who has what is not kept: a URL with `{key}` in its path or query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// What its keys are, where they are known beforehand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preload: Option<Preload>,
    /// More keys that are fetched beforehand: those that only the upstream knows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// What the directory has from here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_of: Option<SourceOf>,
}

/// Keys of a namespace that the directory knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preload {
    /// Ids of weddings.
    Weddings,
    /// Names of segments.
    Segments,
    /// Ids of the users who are members of weddings.
    Members,
}

/// Without the URL: it may be a secret.
impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Namespace({} {})", self.name, self.ttl)
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self {
            name: String::new(),
            ttl: Span::seconds(300),
            stale_if_error: Span::millis(0),
            entries_max: 10_000,
            bytes_max: Size::mib(16),
            upstream: None,
            preload: None,
            keys: Vec::new(),
            source_of: None,
        }
    }
}

impl Namespace {
    pub fn life(&self) -> Lifetime {
        Lifetime {
            fresh_ms: millis(self.ttl),
            stale_ms: millis(self.stale_if_error),
        }
    }

    pub fn limits(&self, all: &Config) -> Limits {
        Limits {
            entries: self.entries_max,
            bytes: self.bytes_max.0,
            all_entries: all.entries_max,
            all_bytes: all.bytes_max.0,
        }
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if !is_name(&self.name) {
            faults.push(format!(
                "cache.namespaces has the name {:?}; a name must be 1 to {NAME_LETTERS_MAX} of a-z, 0-9, _ and -",
                self.name
            ));
        }
        let mut must = |holds: bool, key: &str, rule: String| {
            if !holds {
                faults.push(format!("cache.namespaces, {}: {key} must {rule}", self.name));
            }
        };
        let between = |from: &dyn std::fmt::Display, to: &dyn std::fmt::Display| format!("be between {from} and {to}");
        let ttl_min = Span::seconds(1);
        must(
            (ttl_min..=TTL_MAX).contains(&self.ttl),
            "ttl",
            between(&ttl_min, &TTL_MAX),
        );
        must(
            self.stale_if_error <= TTL_MAX,
            "stale_if_error",
            format!("be at most {TTL_MAX}"),
        );
        must(
            (1..=ENTRIES_MAX).contains(&self.entries_max),
            "entries_max",
            between(&1, &ENTRIES_MAX),
        );
        must(
            (BYTES_MIN..=BYTES_MAX).contains(&self.bytes_max),
            "bytes_max",
            between(&BYTES_MIN, &BYTES_MAX),
        );
        must(
            self.preload.is_none() || self.upstream.is_some(),
            "preload",
            "come with upstream: there is nobody to fetch from".into(),
        );
        must(
            self.keys.is_empty() || self.upstream.is_some(),
            "keys",
            "come with upstream: there is nobody to fetch from".into(),
        );
        must(self.keys.len() <= KEYS_MAX, "keys", format!("be at most {KEYS_MAX}"));
        must(
            self.source_of.is_none() || self.stale_if_error >= SOURCE_STALE_MIN,
            "stale_if_error",
            format!("be at least {SOURCE_STALE_MIN} where source_of is given: what has ended is not gone by any more"),
        );
        let wrong = self.upstream.as_deref().map(Upstream::parse).and_then(Result::err);
        wrong
            .iter()
            .for_each(|wrong| must(false, "upstream", wrong.to_string()));
        faults
    }
}

impl Config {
    /// Everything that is wrong, one sentence each.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let count = self.namespaces.len();
        let names: BTreeSet<&str> = self
            .namespaces
            .iter()
            .map(|namespace| namespace.name.as_str())
            .collect();
        if count > NAMESPACES_MAX {
            faults.push(format!(
                "cache.namespaces is a list of {count}; it must have at most {NAMESPACES_MAX}"
            ));
        }
        if names.len() < count {
            faults.push(format!(
                "cache.namespaces is a list of {count}; it must use each name once"
            ));
        }
        faults.extend(self.namespaces.iter().flat_map(Namespace::faults));
        for of in SourceOf::ALL {
            let names = self
                .namespaces
                .iter()
                .filter(|namespace| namespace.source_of == Some(of));
            if names.count() > 1 {
                let name = of.name();
                faults.push(format!(
                    "cache.namespaces has source_of = {name:?} more than once; it must have one source of them"
                ));
            }
        }
        if self.local_bytes_min > self.local_bytes {
            faults.push(format!(
                "cache.local_bytes_min is {}; it must be at most cache.local_bytes ({})",
                self.local_bytes_min, self.local_bytes
            ));
        }
        faults
    }
}

pub(super) fn millis(span: Span) -> u64 {
    u64::try_from(span.0.as_millis()).unwrap_or(u64::MAX)
}

fn is_name(name: &str) -> bool {
    let is_letter = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
    (1..=NAME_LETTERS_MAX).contains(&name.len()) && name.bytes().all(is_letter)
}

#[cfg(test)]
mod tests {
    use super::{Config, Namespace, Size, SourceOf, Span};

    #[test]
    fn every_fault_of_a_list_is_named() {
        let named = |name: &str| Namespace {
            name: name.into(),
            ..Namespace::default()
        };
        let wild = Namespace {
            ttl: Span::millis(10),
            stale_if_error: Span::seconds(31 * 24 * 3600),
            entries_max: 0,
            bytes_max: Size::kib(1),
            upstream: Some("http://secret/".into()),
            ..named("wild")
        };
        let source = |name: &str| Namespace {
            source_of: Some(SourceOf::Segments),
            stale_if_error: Span::seconds(3600),
            ..named(name)
        };
        let brief = Namespace {
            stale_if_error: Span::millis(1),
            keys: vec!["vip".into()],
            ..source("brief")
        };
        let config = Config {
            namespaces: vec![named("a"), named("a"), named("B!"), wild, source("c"), brief],
            local_bytes: Size::mib(4),
            ..Config::default()
        };
        let expected = [
            "cache.namespaces is a list of 6; it must use each name once",
            "cache.namespaces has the name \"B!\"; a name must be 1 to 64 of a-z, 0-9, _ and -",
            "cache.namespaces, wild: ttl must be between 1s and 30d",
            "cache.namespaces, wild: stale_if_error must be at most 30d",
            "cache.namespaces, wild: entries_max must be between 1 and 100000",
            "cache.namespaces, wild: bytes_max must be between 128 KiB and 64 GiB",
            "cache.namespaces, wild: upstream must have {key} once, in its path or query",
            "cache.namespaces, brief: keys must come with upstream: there is nobody to fetch from",
            "cache.namespaces, brief: stale_if_error must be at least 1h where source_of is given: what has ended is not gone by any more",
            "cache.namespaces has source_of = \"segments\" more than once; it must have one source of them",
            "cache.local_bytes_min is 8 MiB; it must be at most cache.local_bytes (4 MiB)",
        ];
        assert_eq!(config.faults(), expected);
        assert!(Config::default().faults().is_empty());
    }
}
