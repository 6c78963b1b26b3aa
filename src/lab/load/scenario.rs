//! A scenario of load as data: how many listen, how much is said, for how long, and what must be reached.

use crate::base::size::Span;
use crate::model::{PerPriority, Priority};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;

/// Those that the program carries with it, by name.
const BUILT_IN: [(&str, &str); 6] = [
    ("standard", include_str!("../../../data/scenarios/load/standard.toml")),
    ("season", include_str!("../../../data/scenarios/load/season.toml")),
    ("weekend", include_str!("../../../data/scenarios/load/weekend.toml")),
    ("emergency", include_str!("../../../data/scenarios/load/emergency.toml")),
    ("reconnect", include_str!("../../../data/scenarios/load/reconnect.toml")),
    ("publish", include_str!("../../../data/scenarios/load/publish.toml")),
];
/// The stamp has four hexadecimal digits for a group, and two of their values mean something else.
const GROUPS_MAX: u32 = 60_000;
/// A list of members has 10,000 at most.
const RECIPIENTS_MAX: u32 = 10_000;
const USERS_MAX: u32 = 400_000;
const PUBLISHERS_MAX: u32 = 1_024;
const RATE_MAX: f64 = 100_000.0;
/// A body has at most 1,000 letters.
const MESSAGE_BYTES_MAX: u32 = 1_000;
const NODES: u32 = 3;

#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    #[error("no scenario is called {0:?}, and there is no such file; built in are {names}", names = names().join(", "))]
    Unknown(String),
    #[error("{0}: {1}")]
    Unreadable(String, String),
    #[error("the scenario {0:?} is not whole: {faults}", faults = .1.join("; "))]
    Faults(String, Vec<String>),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Of the file, without its ending.
    #[serde(skip_deserializing)]
    pub name: String,
    pub about: String,
    /// 0 only where [`Publish`] paces by itself.
    #[serde(default)]
    pub broadcasts_per_second: f64,
    pub groups: u32,
    /// Of each group; nobody is in two.
    pub recipients: u32,
    /// Connected, in no group.
    #[serde(default)]
    pub bystanders: u32,
    /// What is measured.
    pub length: Span,
    #[serde(default)]
    pub warm_up: Span,
    /// The first part of the warm-up.
    #[serde(default)]
    pub ramp: Span,
    pub message_bytes: u32,
    /// Connections that publish.
    pub publishers: u32,
    /// WebSocket subscribers confirm what they get.
    #[serde(default)]
    pub receipts: bool,
    /// Each broadcast is marked as a drill: no sender's cap counts it, and a critical raises no alert.
    #[serde(default)]
    pub drill: bool,
    /// Over so many nodes subscribers and publishers are spread.
    #[serde(default = "nodes")]
    pub nodes: u32,
    /// Of each broadcast.
    #[serde(default)]
    pub cache_reads: u32,
    pub mix: Mix,
    #[serde(default)]
    pub transports: Transports,
    #[serde(default)]
    pub emergency: Option<Emergency>,
    #[serde(default)]
    pub reconnect: Option<Reconnect>,
    #[serde(default)]
    pub publish: Option<Publish>,
    #[serde(default)]
    pub targets: Targets,
}

/// Percent of the broadcasts.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mix {
    pub critical: u32,
    pub high: u32,
    pub normal: u32,
    pub low: u32,
}

/// Percent of the subscribers.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transports {
    pub websocket: u32,
    pub sse: u32,
}

/// A critical to everybody, while the load runs.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Emergency {
    pub times: u32,
}

/// All connections end at once.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reconnect {
    /// Of what is measured.
    pub at_percent: u32,
    pub spread: Span,
}

/// A closed loop without subscribers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publish {
    pub steps: Vec<u32>,
}

/// What must be reached; what is not named is not judged.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Targets {
    pub mean_ms: Option<f64>,
    pub p95_ms: Option<f64>,
    pub errors_percent: Option<f64>,
    pub hit_rate_percent: Option<f64>,
    pub critical_max_ms: Option<f64>,
    pub everybody_ms: Option<f64>,
}

impl Default for Transports {
    fn default() -> Self {
        Self { websocket: 75, sse: 25 }
    }
}

fn nodes() -> u32 {
    NODES
}

/// What can be named.
pub fn names() -> Vec<&'static str> {
    BUILT_IN.iter().map(|(name, _)| *name).collect()
}

/// One that is built in, or a file of the same form.
pub fn open(name: &str) -> Result<Scenario, ScenarioError> {
    if let Some((_, text)) = BUILT_IN.iter().find(|(built_in, _)| *built_in == name) {
        return parse(name, text);
    }
    let path = Path::new(name);
    if !path.exists() {
        return Err(ScenarioError::Unknown(name.to_owned()));
    }
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| ScenarioError::Unreadable(name.to_owned(), error.to_string()))?;
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    parse(&stem, &text)
}

fn parse(name: &str, text: &str) -> Result<Scenario, ScenarioError> {
    let unreadable = |error: toml::de::Error| ScenarioError::Unreadable(name.to_owned(), error.to_string());
    let mut scenario: Scenario = toml::from_str(text).map_err(unreadable)?;
    name.clone_into(&mut scenario.name);
    scenario.checked()
}

impl Scenario {
    /// Itself, or every fault at once.
    pub fn checked(self) -> Result<Self, ScenarioError> {
        let faults = self.faults();
        if faults.is_empty() {
            Ok(self)
        } else {
            Err(ScenarioError::Faults(self.name, faults))
        }
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut must = |holds: bool, fault: String| {
            if !holds {
                faults.push(fault);
            }
        };
        let between = |name: &str, value: u32, least: u32, most: u32| {
            (
                (least..=most).contains(&value),
                format!("{name} is {value}; it must be {least} to {most}"),
            )
        };
        let all = [
            between("groups", self.groups, 1, GROUPS_MAX),
            between("recipients", self.recipients, 1, RECIPIENTS_MAX),
            between("message_bytes", self.message_bytes, 1, MESSAGE_BYTES_MAX),
            between("publishers", self.publishers, 1, PUBLISHERS_MAX),
            between("nodes", self.nodes, 1, NODES),
            between("cache_reads", self.cache_reads, 0, 10),
        ];
        for (holds, fault) in all {
            must(holds, fault);
        }
        let users = u64::from(self.groups) * u64::from(self.recipients) + u64::from(self.bystanders);
        must(
            users <= u64::from(USERS_MAX),
            format!("{users} users are more than {USERS_MAX}"),
        );
        must(!self.length.0.is_zero(), "length is 0".into());
        must(
            self.ramp.0 <= self.warm_up.0,
            "ramp is longer than warm_up, whose first part it is".into(),
        );
        let Mix {
            critical,
            high,
            normal,
            low,
        } = self.mix;
        must(
            critical + high + normal + low == 100,
            "the mix must come to 100 percent".into(),
        );
        let Transports { websocket, sse } = self.transports;
        must(websocket + sse == 100, "the transports must come to 100 percent".into());
        if let Some(publish) = &self.publish {
            let fits = |step: &u32| (1..=self.publishers).contains(step);
            must(!publish.steps.is_empty(), "publish.steps is empty".into());
            must(
                publish.steps.iter().all(fits),
                "publish.steps must be 1 to publishers".into(),
            );
            must(
                self.emergency.is_none() && self.reconnect.is_none() && self.broadcasts_per_second == 0.0,
                "a closed loop has neither broadcasts_per_second nor emergency nor reconnect".into(),
            );
        } else {
            let rate = self.broadcasts_per_second;
            must(
                rate > 0.0 && rate <= RATE_MAX,
                format!("broadcasts_per_second is {rate}; it must be above 0, {RATE_MAX} at most"),
            );
        }
        if let Some(emergency) = self.emergency {
            must(
                (1..=100).contains(&emergency.times),
                "emergency.times must be 1 to 100".into(),
            );
        }
        if let Some(reconnect) = self.reconnect {
            must(
                reconnect.at_percent <= 90,
                "reconnect.at_percent must be 0 to 90".into(),
            );
        }
        faults
    }

    /// Fewer groups and fewer broadcasts, each as large as it was: deliveries go down by the same factor.
    #[must_use]
    pub fn scaled(mut self, scale: f64) -> Self {
        let of = |count: u32| ((f64::from(count) * scale).round() as u32).max(1);
        self.broadcasts_per_second *= scale;
        self.groups = of(self.groups);
        if self.bystanders > 0 {
            self.bystanders = of(self.bystanders);
        }
        if let Some(publish) = &mut self.publish {
            publish.steps.iter_mut().for_each(|step| *step = of(*step));
            publish.steps.dedup();
        }
        self
    }

    /// Measured for so long. A shorter run has its warm-up, ramp and spread shortened likewise.
    #[must_use]
    pub fn lasting(mut self, length: Duration) -> Self {
        let factor = (length.as_secs_f64() / self.length.0.as_secs_f64()).min(1.0);
        let shorter = |span: Span| Span(span.0.mul_f64(factor));
        self.length = Span(length);
        self.warm_up = shorter(self.warm_up);
        self.ramp = shorter(self.ramp);
        if let Some(reconnect) = &mut self.reconnect {
            reconnect.spread = shorter(reconnect.spread);
        }
        self
    }

    pub fn users(&self) -> u32 {
        self.groups * self.recipients + self.bystanders
    }

    /// Who is connected.
    pub fn subscribers(&self) -> u32 {
        if self.publish.is_some() { 0 } else { self.users() }
    }

    /// The group that a user is in.
    pub fn group_of(&self, user: u32) -> Option<u16> {
        let group = user / self.recipients;
        (group < self.groups).then_some(group as u16)
    }

    pub fn weights(&self) -> PerPriority<u32> {
        let Mix {
            critical,
            high,
            normal,
            low,
        } = self.mix;
        Priority::ALL.map(|priority| match priority {
            Priority::Critical => critical,
            Priority::High => high,
            Priority::Normal => normal,
            Priority::Low => low,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Scenario, names, open, parse};
    use std::time::Duration;

    const SMALL: &str = "about = 'x'\nbroadcasts_per_second = 10\ngroups = 4\nrecipients = 5\nlength = '10s'\nwarm_up = '2s'\n\
        message_bytes = 20\npublishers = 2\n[mix]\ncritical = 5\nhigh = 10\nnormal = 65\nlow = 20\n";

    fn small(more: &str) -> Result<Scenario, String> {
        parse(
            "small",
            &SMALL.replace("message_bytes", &format!("{more}\nmessage_bytes")),
        )
        .map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_built_in_is_whole_and_as_the_domain_says() {
        for name in names() {
            open(name).unwrap();
        }
        for (name, rate, users, recipients, seconds) in [
            ("standard", 100.0, 5_000, 200, 60),
            ("season", 300.0, 15_000, 300, 300),
            ("weekend", 200.0, 10_000, 250, 600),
        ] {
            let scenario = open(name).unwrap();
            let found = (
                scenario.broadcasts_per_second,
                scenario.users(),
                scenario.recipients,
                scenario.length.0.as_secs(),
            );
            assert_eq!(found, (rate, users, recipients, seconds), "{name}");
            assert_eq!(scenario.weights(), [5, 10, 65, 20]);
        }
        assert_eq!(open("emergency").unwrap().subscribers(), 15_000);
        assert_eq!(open("publish").unwrap().subscribers(), 0);
    }

    #[test]
    fn every_fault_is_told_at_once_and_a_wrong_name_names_the_right_ones() {
        let told = small("ramp = '3s'\nnodes = 4\ncache_reads = 11").unwrap_err();
        for part in ["ramp is longer", "nodes is 4; it must be 1 to 3", "cache_reads is 11"] {
            assert!(told.contains(part), "{part}: {told}");
        }
        let told = small("recipient = 1").unwrap_err();
        assert!(told.contains("recipient"), "{told}");
        let told = open("standart").unwrap_err().to_string();
        assert!(told.contains("standard, season"), "{told}");
        let mixed = parse("x", &SMALL.replace("low = 20", "low = 21"))
            .unwrap_err()
            .to_string();
        assert!(mixed.contains("100 percent"), "{mixed}");
    }

    #[test]
    fn a_smaller_and_shorter_run_keeps_its_shape() {
        let scenario = small("bystanders = 100")
            .unwrap()
            .scaled(0.5)
            .lasting(Duration::from_secs(5));
        assert_eq!((scenario.groups, scenario.recipients, scenario.bystanders), (2, 5, 50));
        assert_eq!(
            (scenario.broadcasts_per_second, scenario.warm_up.0),
            (5.0, Duration::from_secs(1))
        );
        assert_eq!((scenario.group_of(9), scenario.group_of(10)), (Some(1), None));
        assert_eq!(small("").unwrap().scaled(0.001).groups, 1);
        assert_eq!(
            small("").unwrap().lasting(Duration::from_secs(60)).warm_up.0,
            Duration::from_secs(2)
        );
    }
}
