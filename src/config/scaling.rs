//! The rules of self-scaling: the file that is built in, or another one.

use super::Config;
use super::rules::Settings;
use crate::base::size::Span;
use crate::scaling::{Capacity, Profile, Rules};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The rules in force where no other file is named.
pub const SCALING: &str = include_str!("../../data/rules/scaling.toml");
/// Where a measured capacity is looked for in the node's data folder when the settings name no other place.
const CAPACITY_FILE: &str = "capacity.json";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScalingSettings {
    /// Which profile of `rules.scaling` is in force.
    pub profile: String,
    /// How often the load is looked at.
    pub every: Span,
    /// What this machine was measured to do.
    pub capacity: Option<PathBuf>,
}

impl Default for ScalingSettings {
    fn default() -> Self {
        Self {
            profile: "default".into(),
            every: Span::millis(250),
            capacity: None,
        }
    }
}

impl Config {
    /// The profile in force, or why there is none.
    pub fn scaling_profile(&self) -> Result<Profile, String> {
        let mut rules = self.rules.scaling()?;
        let name = &self.scaling.profile;
        let known: Vec<String> = rules.profile.keys().cloned().collect();
        let profile = rules.profile.remove(name);
        profile.ok_or_else(|| format!("scaling.profile is {name}; it must be one of {}", known.join(", ")))
    }

    /// What this machine was measured to do; `None` when nobody has measured it.
    pub fn capacity(&self) -> Result<Option<Capacity>, String> {
        let (path, must_be) = match &self.scaling.capacity {
            Some(path) => (path.clone(), true),
            None => (self.node.data.join(CAPACITY_FILE), false),
        };
        let named = |reason: String| format!("scaling.capacity is {}; {reason}", path.display());
        match std::fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text)
                .map(Some)
                .map_err(|error| named(error.to_string())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !must_be => Ok(None),
            Err(error) => Err(named(format!("it cannot be read: {error}"))),
        }
    }
}

impl Settings {
    fn scaling(&self) -> Result<Rules, String> {
        let Some(path) = &self.scaling else {
            return parse(SCALING);
        };
        let named = |reason: String| format!("rules.scaling is {}; {reason}", path.display());
        read(path).and_then(|text| parse(&text)).map_err(named)
    }
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("it cannot be read: {error}"))
}

fn parse(text: &str) -> Result<Rules, String> {
    let rules: Rules = toml::from_str(text).map_err(|error| error.to_string().trim().to_owned())?;
    let faults = rules.profile.iter().flat_map(|(name, profile)| {
        let each = profile.faults().into_iter();
        each.map(move |fault| format!("profile {name}: {fault}"))
    });
    match faults.collect::<Vec<_>>() {
        faults if faults.is_empty() => Ok(rules),
        faults => Err(faults.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, load};
    use crate::scaling::{History, Load, Moment, Profile, decide};

    fn profile(name: &str) -> Profile {
        let set = [format!("scaling.profile={name}")];
        load(None, std::iter::empty(), &set)
            .unwrap()
            .config
            .scaling_profile()
            .unwrap()
    }

    type Change = fn(&mut Load);

    const CORES: usize = 32;

    /// What is decided when the load has been so for an hour, with 8 threads on 32 cores: `rule=threads`.
    fn decided(profile: &Profile, load: &Load, is_season: bool) -> String {
        let mut history = History::default();
        let mut moment = Moment {
            now: 0,
            cores: CORES,
            threads: 8,
            is_season,
            is_weekend: false,
            forecast: 0,
        };
        history.see(profile, load, &moment);
        moment.now = 3_600_000;
        history.see(profile, load, &moment);
        let decision = decide(profile, load, &history, &moment);
        format!("{}={}", decision.rule, decision.threads)
    }

    /// Every rule of both profiles, at its limit and just past it.
    #[test]
    fn every_rule_acts_past_its_limit_and_not_at_it() {
        let at = |change: Change| {
            // in the middle of everything: no rule has anything to say
            let mut load = Load {
                busy: 0.5,
                connections: 5_000,
                ..Load::default()
            };
            change(&mut load);
            load
        };
        let cases: [(&str, bool, Change, &str); 26] = [
            ("origin", true, |load| load.connections = 5_000, "steady=8"),
            ("origin", true, |load| load.connections = 5_001, "season connections=16"),
            ("origin", true, |load| load.backlog = 1_000, "steady=8"),
            ("origin", true, |load| load.backlog = 1_001, "season queued=16"),
            ("origin", true, |load| load.latency_ms = 500.0, "steady=8"),
            ("origin", true, |load| load.latency_ms = 501.0, "season latency=16"),
            ("origin", true, |load| load.errors = 0.02, "steady=8"),
            ("origin", true, |load| load.errors = 0.021, "season errors=16"),
            ("origin", false, |load| load.connections = 10_000, "steady=8"),
            ("origin", false, |load| load.connections = 10_001, "connections=16"),
            ("origin", false, |load| load.connections = 2_000, "steady=8"),
            ("origin", false, |load| load.connections = 1_999, "few connections=4"),
            (
                "default",
                true,
                |load| (load.busy, load.oldest_ms) = (0.81, 20),
                "steady=8",
            ),
            (
                "default",
                true,
                |load| (load.busy, load.oldest_ms) = (0.8, 21),
                "steady=8",
            ),
            (
                "default",
                false,
                |load| (load.busy, load.oldest_ms) = (0.81, 21),
                "busy=16",
            ),
            (
                "default",
                true,
                |load| (load.busy, load.latency_ms) = (0.51, 501.0),
                "late=16",
            ),
            ("default", true, |load| load.busy = 0.049, "idle in season=4"),
            ("default", false, |load| load.busy = 0.049, "idle=4"),
            ("default", false, |load| load.busy = 0.05, "steady=8"),
            (
                "default",
                false,
                |load| (load.busy, load.backlog) = (0.01, 100),
                "steady=8",
            ),
            (
                "default",
                true,
                |load| (load.busy, load.free) = (0.16, Some(0.41)),
                "room=16",
            ),
            (
                "default",
                true,
                |load| (load.busy, load.free) = (0.15, Some(0.41)),
                "steady=8",
            ),
            (
                "default",
                true,
                |load| (load.busy, load.free) = (0.16, Some(0.4)),
                "steady=8",
            ),
            (
                "default",
                true,
                |load| (load.busy, load.crowded, load.free) = (0.51, Some(0.31), Some(0.09)),
                "crowd=4",
            ),
            (
                "default",
                true,
                |load| (load.busy, load.crowded, load.free) = (0.5, Some(0.31), Some(0.09)),
                "steady=8",
            ),
            (
                "default",
                true,
                |load| (load.busy, load.crowded, load.free) = (0.51, Some(0.31), Some(0.1)),
                "steady=8",
            ),
        ];
        for (name, is_season, change, expected) in cases {
            let load = at(change);
            assert_eq!(
                decided(&profile(name), &load, is_season),
                expected,
                "{name}, season {is_season}: {load:?}"
            );
        }
    }

    #[test]
    fn the_origins_profile_has_its_bounds_and_ours_follows_the_cores() {
        let origin = profile("origin");
        assert_eq!((origin.bounds(2), origin.start(2)), ((2, 50), 20));
        let ours = profile("default");
        assert_eq!(
            [1, 2, 4, 16].map(|cores| ours.bounds(cores)),
            [(1, 1), (1, 2), (1, 4), (1, 16)]
        );
        assert!(ours.season.months.contains(&7) && !origin.season.months.contains(&7));
    }

    fn check(set: &[String], expected: &str) {
        let faults = load(None, std::iter::empty(), set).unwrap_err().to_string();
        assert!(faults.contains(expected), "{faults}");
    }

    #[test]
    fn a_file_that_cannot_be_used_is_a_fault() {
        check(
            &["scaling.profile=winter".into()],
            "scaling.profile is winter; it must be one of default, origin",
        );
        check(
            &["rules.scaling=/nowhere/scaling.toml".into()],
            "rules.scaling is /nowhere/scaling.toml; it cannot be read",
        );
        check(
            &["scaling.capacity=/nowhere/capacity.json".into()],
            "scaling.capacity is /nowhere/capacity.json; it cannot be read",
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scaling.toml");
        let set = [format!("rules.scaling={}", path.display())];
        std::fs::write(&path, super::SCALING.replace("threads_max = 50", "threads_max = 51")).unwrap();
        check(&set, "profile default: threads_min and threads_max must stand");
        std::fs::write(&path, super::SCALING.replace("settle", "setle")).unwrap();
        check(&set, "setle");
    }

    #[test]
    fn a_capacity_is_read_where_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.node.data = folder.path().into();
        assert_eq!(config.capacity(), Ok(None));
        let text =
            r#"{"deliveries_per_second": 1000.5, "threads": 2, "machine": "m", "commit": "c", "measured_at": "d"}"#;
        std::fs::write(folder.path().join("capacity.json"), text).unwrap();
        assert_eq!(config.capacity().unwrap().unwrap().threads, 2);
        std::fs::write(folder.path().join("capacity.json"), "{}").unwrap();
        assert!(config.capacity().unwrap_err().contains("deliveries_per_second"));
    }
}
