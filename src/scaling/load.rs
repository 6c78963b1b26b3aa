//! What a node has to do right now, in the figures that rules speak of.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Measured over the last look at the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Load {
    /// Releases not yet written to all sessions here that keep up.
    pub backlog: u64,
    /// Age of the oldest of them.
    pub oldest_ms: u64,
    /// Those of them that are critical, and their oldest.
    pub critical: u64,
    pub critical_oldest_ms: u64,
    /// Mean share of the threads' time that was not spent asleep: 0 to 1.
    pub busy: f64,
    /// Released to written, the 95th percentile; 0 when nothing was written.
    pub latency_ms: f64,
    /// Requests that failed on our side (5xx), of all: 0 to 1.
    pub errors: f64,
    /// Open sessions.
    pub connections: u64,
    /// Share of the machine's processor time that nobody used: 0 to 1. `None` where the system does not say.
    pub free: Option<f64>,
    /// Of the time that the threads wanted to run, the share in which they waited for a core: 0 to 1. `None` where the system does not
    /// say, and when they hardly ran.
    pub crowded: Option<f64>,
}

/// One figure of a [`Load`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    Backlog,
    /// In milliseconds.
    Oldest,
    Busy,
    /// In milliseconds.
    Latency,
    Errors,
    Connections,
    Free,
    Crowded,
}

impl Load {
    /// `None`: not known.
    pub fn of(&self, measure: Measure) -> Option<f64> {
        match measure {
            Measure::Backlog => Some(self.backlog as f64),
            Measure::Oldest => Some(self.oldest_ms as f64),
            Measure::Busy => Some(self.busy),
            Measure::Latency => Some(self.latency_ms),
            Measure::Errors => Some(self.errors),
            Measure::Connections => Some(self.connections as f64),
            Measure::Free => self.free,
            Measure::Crowded => self.crowded,
        }
    }
}

impl Measure {
    /// The figure with its unit, as people read it.
    pub fn shown(self, value: f64) -> String {
        match self {
            Self::Backlog | Self::Connections => format!("{self} {value:.0}"),
            Self::Oldest | Self::Latency => format!("{self} {value:.0} ms"),
            Self::Busy | Self::Errors | Self::Free | Self::Crowded => format!("{self} {:.1} %", value * 100.0),
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Backlog => "backlog",
            Self::Oldest => "oldest",
            Self::Busy => "busy",
            Self::Latency => "latency",
            Self::Errors => "errors",
            Self::Connections => "connections",
            Self::Free => "free",
            Self::Crowded => "crowded",
        })
    }
}
