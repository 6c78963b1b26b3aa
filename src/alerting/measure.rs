//! What rules can look at. Each node measures all of it for itself; what it cannot know at the moment is not there.

use crate::model::alert::{Side, Unit};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A figure by its name in the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Publishes that this node could not take, of all that it was given.
    ErrorRate,
    /// Released until given to the socket, on average.
    Processing,
    /// Releases that are not written yet to everybody here who keeps up.
    QueueSize,
    /// Reads of the cache that one of its tiers answered.
    CacheHitRate,
    /// What the local tier holds.
    CacheMemory,
    /// Publish received until answered, on average.
    ResponseTime,
    /// Open sessions.
    Connections,
    /// Critical broadcasts that are out and not confirmed by everybody; drills do not count.
    Emergencies,
    /// How long this node has had no leader.
    NoLeader,
    /// Nodes that do not answer the leader.
    NodesLost,
    /// What may still be written to the disk before publishes are refused.
    DiskLeft,
    /// Append of log entries until they are on disk, on average.
    LogSync,
    /// How far this node's clock is from the middle of those that it can reach.
    ClockSkew,
    /// Of the memory that this process may have.
    Memory,
    /// Probes in a row that were not answered in time.
    ProbeFailures,
}

impl Measure {
    pub const ALL: [Self; 15] = [
        Self::ErrorRate,
        Self::Processing,
        Self::QueueSize,
        Self::CacheHitRate,
        Self::CacheMemory,
        Self::ResponseTime,
        Self::Connections,
        Self::Emergencies,
        Self::NoLeader,
        Self::NodesLost,
        Self::DiskLeft,
        Self::LogSync,
        Self::ClockSkew,
        Self::Memory,
        Self::ProbeFailures,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::ErrorRate => "error_rate",
            Self::Processing => "processing",
            Self::QueueSize => "queue_size",
            Self::CacheHitRate => "cache_hit_rate",
            Self::CacheMemory => "cache_memory",
            Self::ResponseTime => "response_time",
            Self::Connections => "connections",
            Self::Emergencies => "emergencies",
            Self::NoLeader => "no_leader",
            Self::NodesLost => "nodes_lost",
            Self::DiskLeft => "disk_left",
            Self::LogSync => "log_sync",
            Self::ClockSkew => "clock_skew",
            Self::Memory => "memory",
            Self::ProbeFailures => "probe_failures",
        }
    }

    pub const fn unit(self) -> Unit {
        match self {
            Self::ErrorRate | Self::CacheHitRate | Self::Memory => Unit::Share,
            Self::Processing | Self::ResponseTime | Self::NoLeader | Self::LogSync | Self::ClockSkew => {
                Unit::Milliseconds
            }
            Self::CacheMemory | Self::DiskLeft => Unit::Bytes,
            Self::QueueSize | Self::Connections | Self::Emergencies | Self::NodesLost | Self::ProbeFailures => {
                Unit::Count
            }
        }
    }

    /// Where it is bad.
    pub const fn side(self) -> Side {
        match self {
            Self::CacheHitRate | Self::DiskLeft => Side::Below,
            Self::ErrorRate
            | Self::Processing
            | Self::QueueSize
            | Self::CacheMemory
            | Self::ResponseTime
            | Self::Connections
            | Self::Emergencies
            | Self::NoLeader
            | Self::NodesLost
            | Self::LogSync
            | Self::ClockSkew
            | Self::Memory
            | Self::ProbeFailures => Side::Above,
        }
    }

    /// What it is, in words that a figure can follow.
    const fn words(self) -> &'static str {
        match self {
            Self::ErrorRate => "publishes not taken:",
            Self::Processing => "delivery takes",
            Self::QueueSize => "waiting to be delivered:",
            Self::CacheHitRate => "reads that the cache answered:",
            Self::CacheMemory => "the cache holds",
            Self::ResponseTime => "a publish is answered after",
            Self::Connections => "open connections:",
            Self::Emergencies => "critical broadcasts not confirmed by everybody:",
            Self::NoLeader => "no leader for",
            Self::NodesLost => "nodes that do not answer:",
            Self::DiskLeft => "room left on the disk:",
            Self::LogSync => "a sync of the log takes",
            Self::ClockSkew => "the clock is off by",
            Self::Memory => "memory in use:",
            Self::ProbeFailures => "probes in a row without an answer in time:",
        }
    }
}

/// One figure.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    pub value: f64,
    /// Of a share or a mean: how much it is of.
    pub of: Option<u64>,
    /// More for people, like which nodes.
    pub detail: String,
}

impl From<f64> for Sample {
    fn from(value: f64) -> Self {
        Self {
            value,
            ..Self::default()
        }
    }
}

/// All that a node knows at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples(BTreeMap<Measure, Sample>);

impl Samples {
    pub fn set(&mut self, measure: Measure, sample: impl Into<Sample>) {
        self.0.insert(measure, sample.into());
    }

    pub fn get(&self, measure: Measure) -> Option<&Sample> {
        self.0.get(&measure)
    }
}

impl Sample {
    /// `publishes not taken: 8.2 % (above 5 %)`.
    pub(super) fn shown(&self, measure: Measure, bound: f64) -> String {
        let (unit, side) = (measure.unit(), measure.side().name());
        let (words, value, bound) = (measure.words(), unit.shown(self.value), unit.shown(bound));
        let mut text = format!("{words} {value} ({side} {bound})");
        if !self.detail.is_empty() {
            text.push_str("; ");
            text.push_str(&self.detail);
        }
        text
    }
}
