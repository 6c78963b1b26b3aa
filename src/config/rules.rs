//! The rules about who may send what: the table of senders, built in or from a file, and the types that may be critical.

use super::Config;
use crate::model::Kinds;
use crate::model::rules::{RateRules, Rules, Senders};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The table in force where no other is named.
pub const SENDERS: &str = include_str!("../../data/rules/senders.toml");
/// The most that caps may allow one sender within a day: its times are a row that is written with each publish.
pub const RATE_MAX: u32 = 1_000;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// A file in place of the table that is built in.
    pub senders: Option<PathBuf>,
    /// A file in place of the rules of self-scaling that are built in.
    pub scaling: Option<PathBuf>,
    /// A file in place of the rules of alerts that are built in.
    pub alerts: Option<PathBuf>,
    /// Types that may be critical.
    pub critical_types: Vec<Kinds>,
}

impl Default for Settings {
    fn default() -> Self {
        let critical = [
            "wedding.emergency",
            "wedding.cancelled",
            "coordinator.handoff",
            "security.alert",
            "weather.warning",
            "medical.assist",
            "person.missing",
            "safety.*",
            "venue.evacuation",
        ];
        Self {
            senders: None,
            scaling: None,
            alerts: None,
            critical_types: critical.into_iter().filter_map(Kinds::parse).collect(),
        }
    }
}

impl Config {
    /// The rules, ready to decide with; or why the table cannot be used.
    pub fn rules(&self) -> Result<Rules, String> {
        Ok(Rules {
            senders: self.rules.table()?,
            critical: self.rules.critical_types.clone(),
            rates: self.rates.clone(),
        })
    }
}

impl Settings {
    fn table(&self) -> Result<Senders, String> {
        let Some(path) = &self.senders else {
            return parse(SENDERS);
        };
        let named = |reason: String| format!("rules.senders is {}; {reason}", path.display());
        let text = std::fs::read_to_string(path).map_err(|error| named(format!("it cannot be read: {error}")))?;
        parse(&text).map_err(named)
    }
}

fn parse(text: &str) -> Result<Senders, String> {
    let senders: Senders = toml::from_str(text).map_err(|error| error.to_string().trim().to_owned())?;
    if senders.is_empty() {
        return Err("it must name a [[sender]], or nobody may send anything".into());
    }
    Ok(senders)
}

/// What is wrong with caps of their own for some types.
pub fn faults(rates: &RateRules) -> Vec<String> {
    let within = |cap: u32| (1..=RATE_MAX).contains(&cap);
    let wrong = rates.types.iter().filter(|own| !within(own.hour) || !within(own.day));
    wrong
        .map(|own| {
            format!(
                "rates.types is {} an hour and {} a day for {}; both must be between 1 and {RATE_MAX}",
                own.hour, own.day, own.types
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, load};
    use crate::model::Priority;
    use crate::model::rules::Reach;

    #[test]
    fn the_built_in_table_decides_by_its_first_matching_line() {
        let rules = Config::default().rules().unwrap();
        let find = |role, kind| {
            let found = rules.senders.find(role, kind);
            found.map(|sender| (sender.up_to, sender.reach))
        };
        assert_eq!(
            find("administrator", "any.thing"),
            Some((Priority::Critical, Reach::Any))
        );
        assert_eq!(
            find("security", "medical.assist"),
            Some((Priority::Critical, Reach::Venue))
        );
        assert_eq!(
            find("security", "safety.headcount"),
            Some((Priority::High, Reach::Venue))
        );
        assert_eq!(find("valet", "medical.assist"), Some((Priority::Critical, Reach::Own)));
        assert_eq!(find("valet", "cue.call"), None);
        for role in ["guest", "family", "wedding_party", ""] {
            assert_eq!(find(role, "medical.assist"), None, "{role:?}");
        }
        assert_eq!(rules.senders.reach("venue_ops", "family.note"), Reach::Venue);
        assert_eq!(rules.senders.reach("guest", "family.note"), Reach::Own);
        assert!(rules.may_be_critical("safety.fire") && !rules.may_be_critical("timeline.changed"));
    }

    /// A table as a file, and what must be said of it (nothing: it is used).
    fn check(table: &str, expected: &str) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("senders.toml");
        std::fs::write(&path, table).unwrap();
        let set = [format!("rules.senders={}", path.display())];
        match load(None, std::iter::empty(), &set) {
            Ok(settings) => {
                assert_eq!(expected, "", "{table}");
                assert!(
                    settings
                        .config
                        .rules()
                        .unwrap()
                        .senders
                        .find("valet", "cue.call")
                        .is_some()
                );
            }
            Err(faults) => {
                let text = faults.to_string();
                assert!(
                    text.starts_with("rules.senders is /") && text.contains(expected),
                    "{text}"
                );
                assert!(!expected.is_empty(), "{text}");
            }
        }
    }

    #[test]
    fn another_table_replaces_it_and_its_faults_are_named() {
        let line = "roles = [\"valet\"]\ntypes = [\"cue.*\"]\nup_to = \"low\"\n";
        check(&format!("[[sender]]\n{line}scope = \"own\"\n"), "");
        check(&format!("[[sender]]\n{line}"), "missing field `scope`");
        check(&format!("[[sender]]\n{line}scope = \"town\"\n"), "town");
        check(
            "[[sender]]\nroles = [\"a\"]\ntypes = [\"Cue\"]\nup_to = \"low\"\nscope = \"own\"\n",
            "Cue",
        );
        check("", "must name a [[sender]]");
    }

    #[test]
    fn a_table_that_is_not_there_is_a_fault() {
        let faults = load(
            None,
            std::iter::empty(),
            &["rules.senders=/nowhere/senders.toml".into()],
        )
        .unwrap_err();
        assert!(
            faults
                .to_string()
                .starts_with("rules.senders is /nowhere/senders.toml; it cannot be read")
        );
    }

    #[test]
    fn caps_of_some_types_have_a_range() {
        let set = ["rates.types=[{types = \"cue.*\", hour = 0, day = 5}]".to_owned()];
        let faults = load(None, std::iter::empty(), &set).unwrap_err();
        let expected = "rates.types is 0 an hour and 5 a day for cue.*; both must be between 1 and 1000";
        assert_eq!(faults.to_string(), expected);
    }
}
