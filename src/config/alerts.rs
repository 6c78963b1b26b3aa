//! The rules of alerts: the file that is built in, or another one; and how often they are looked at.

use super::Config;
use super::rules::Settings;
use crate::alerting::{Rule, RuleFile};
use crate::base::size::Span;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The rules in force where no other file is named.
pub const ALERTS: &str = include_str!("../../data/rules/alerts.toml");

/// The section `alerts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlertSettings {
    /// How often a node measures and looks at its rules ...
    pub every: Span,
    /// ... and how often inside event windows.
    pub every_enhanced: Span,
    /// Rates and means are of what happened within this.
    pub over: Span,
    /// A node that has not been heard of for this long is no longer asked whether what it raised is over.
    pub lost_after: Span,
    /// Which outputs are told where a rule names none.
    pub outputs: Vec<String>,
}

impl Default for AlertSettings {
    fn default() -> Self {
        Self {
            every: Span::seconds(5),
            every_enhanced: Span::seconds(1),
            over: Span::seconds(60),
            lost_after: Span::seconds(15),
            outputs: Vec::new(),
        }
    }
}

/// The section `probe`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProbeSettings {
    /// Between two probes; zero: none are made.
    pub interval: Span,
    /// The same inside event windows.
    pub interval_enhanced: Span,
    /// An answer that comes later is none.
    pub within: Span,
}

impl Default for ProbeSettings {
    fn default() -> Self {
        Self {
            interval: Span::seconds(60),
            interval_enhanced: Span::seconds(5),
            within: Span::seconds(2),
        }
    }
}

impl Config {
    /// The rules in force, or everything that is wrong with them.
    pub fn alert_rules(&self) -> Result<Vec<Rule>, Vec<String>> {
        let path = self.rules.alerts.as_deref();
        let named = |fault: String| match path {
            Some(path) => format!("rules.alerts is {}; {fault}", path.display()),
            None => fault,
        };
        let rules = self.rules.alert_file().map_err(|fault| vec![fault]);
        let rules = rules.and_then(|file| file.rules(&self.alerts.outputs));
        let mut rules = rules.map_err(|faults| faults.into_iter().map(named).collect::<Vec<_>>())?;
        let targets = self.outputs.targets.iter();
        let known: BTreeSet<&str> = targets.map(|target| target.name.as_str()).collect();
        let is_unknown = |name: &&String| !known.contains(name.as_str());
        let all = rules
            .iter()
            .flat_map(|rule| rule.outputs.iter().map(move |name| (rule, name)));
        let own = all.filter(|(_, name)| is_unknown(name) && !self.alerts.outputs.contains(name));
        let unknown =
            |place: String, name: &str| format!("{place} names the output {name}, which outputs.targets has not");
        let mut faults: Vec<String> = own
            .map(|(rule, name)| named(unknown(format!("rule {}", rule.name), name)))
            .collect();
        let common = self.alerts.outputs.iter().filter(is_unknown);
        faults.extend(common.map(|name| unknown("alerts.outputs".into(), name)));
        rules.iter_mut().for_each(|rule| rule.outputs.dedup());
        if faults.is_empty() { Ok(rules) } else { Err(faults) }
    }
}

impl Settings {
    fn alert_file(&self) -> Result<RuleFile, String> {
        let read = |text: &str| toml::from_str(text).map_err(|error| error.to_string().trim().to_owned());
        match &self.alerts {
            None => read(ALERTS),
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|error| format!("it cannot be read: {error}"))?;
                read(&text)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::alerting::{Day, History, Measure, Moment, Rule, Sample, Samples, evaluate};
    use crate::config::{Config, load};
    use crate::model::alert::Severity::{Critical, Error, Warning};
    use crate::model::alert::Side;
    use std::collections::BTreeSet;
    use std::time::Duration;

    /// DOMAIN 8: each rule of the origin with its figure, severity and cooldown in minutes.
    #[test]
    fn the_origins_eight_rules_have_its_figures() {
        let rules = Config::default().alert_rules().unwrap();
        let eight = [
            ("queue_errors", Measure::ErrorRate, 0.05, Error, 10),
            ("slow_processing", Measure::Processing, 1_000.0, Warning, 5),
            ("queue_size", Measure::QueueSize, 5_000.0, Warning, 15),
            ("cache_hit_rate", Measure::CacheHitRate, 0.8, Warning, 20),
            ("cache_memory", Measure::CacheMemory, 45.0 * 1_048_576.0, Warning, 10),
            ("slow_response", Measure::ResponseTime, 500.0, Error, 5),
            ("connections", Measure::Connections, 8_000.0, Warning, 10),
            ("emergency", Measure::Emergencies, 0.0, Critical, 1),
        ];
        for (rule, (name, measure, bound, severity, minutes)) in rules.iter().zip(eight) {
            assert_eq!(
                (rule.name.as_str(), rule.measure, rule.severity),
                (name, measure, severity)
            );
            assert!((rule.bound - bound).abs() < 1e-9, "{name}: {}", rule.bound);
            assert_eq!(rule.cooldown, Duration::from_secs(minutes * 60), "{name}");
        }
    }

    /// What one rule comes to while its measure goes from far beyond to its clear bound, looked at these many milliseconds after the
    /// first look.
    fn phases(rule: &Rule, day: Day, looks: &[(u64, f64)]) -> Vec<&'static str> {
        let mut history = History::default();
        let each = looks.iter().map(|(now, value)| {
            let mut samples = Samples::default();
            let sample = Sample {
                value: *value,
                of: Some(rule.least),
                detail: String::new(),
            };
            samples.set(rule.measure, sample);
            let moment = Moment { now: *now, day };
            let found = evaluate(std::slice::from_ref(rule), &samples, &mut history, moment);
            found[0].phase.name()
        });
        each.collect()
    }

    #[test]
    fn every_rule_of_the_file_fires_after_its_time_and_clears_at_its_bound() {
        for rule in Config::default().alert_rules().unwrap() {
            let held = u64::try_from(rule.held.as_millis()).unwrap();
            for (day, bounds) in [(Day::Ordinary, rule.ordinary()), (Day::Event, rule.on_event_days())] {
                let worse = match rule.measure.side() {
                    Side::Above => bounds.bound + 0.001,
                    Side::Below => bounds.bound - 0.001,
                };
                let (bound, clear) = (bounds.bound, bounds.clear);
                assert_eq!(
                    phases(&rule, day, &[(0, bound), (held, bound)]),
                    ["quiet"; 2],
                    "{}",
                    rule.name
                );
                let over = 1_000 * held + 1;
                let looks = [
                    (0, worse),
                    (held.saturating_sub(1), worse),
                    (held, worse),
                    (over, clear),
                    (over + held.saturating_sub(1), clear),
                    (over + held, clear),
                ];
                let expected = if held == 0 {
                    ["firing", "firing", "firing", "quiet", "quiet", "quiet"]
                } else {
                    ["pending", "pending", "firing", "clearing", "clearing", "quiet"]
                };
                assert_eq!(phases(&rule, day, &looks), expected, "{} {day:?}", rule.name);
                if (bound - clear).abs() > f64::EPSILON {
                    let between = [(0, worse), (held, worse), (over, f64::midpoint(bound, clear))];
                    assert_eq!(phases(&rule, day, &between)[2], "firing", "{} {day:?}", rule.name);
                }
            }
        }
    }

    #[test]
    fn everything_that_can_be_measured_has_a_rule() {
        let rules = Config::default().alert_rules().unwrap();
        let watched: BTreeSet<Measure> = rules.iter().map(|rule| rule.measure).collect();
        assert_eq!(watched, BTreeSet::from(Measure::ALL));
        assert!(
            rules.iter().all(|rule| rule.outputs.is_empty()),
            "nobody is told who was not named"
        );
    }

    #[test]
    fn every_fault_of_a_file_is_told_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("alerts.toml");
        let rule = |name: &str, rest: &str| format!("[[rule]]\nname = \"{name}\"\nseverity = \"error\"\n{rest}\n");
        let text = [
            rule("a", "measure = \"connections\"\nbound = \"1s\"\ncooldown = \"1m\""),
            rule(
                "b",
                "measure = \"log_sync\"\nbound = \"1s\"\nclear = \"2s\"\ncooldown = \"0s\"",
            ),
            rule(
                "a",
                "measure = \"memory\"\nbound = 0.5\ncooldown = \"1m\"\noutputs = [\"bell\"]",
            ),
        ];
        std::fs::write(&path, text.concat()).unwrap();
        let set = [format!("rules.alerts={}", path.display())];
        let told = load(None, std::iter::empty(), &set).unwrap_err().to_string();
        for expected in [
            "each rule must have a name of its own",
            "rule a: bound is \"1s\"; it must be a number",
            "rule b: clear must not be above bound",
            "rule b: cooldown is 0ms; it must be between 1s and 7d",
        ] {
            assert!(told.contains(expected), "{expected}: {told}");
        }
        std::fs::write(&path, &text[2]).unwrap();
        let told = load(None, std::iter::empty(), &set).unwrap_err().to_string();
        assert!(
            told.contains("rule a names the output bell, which outputs.targets has not"),
            "{told}"
        );
        std::fs::write(&path, text[2].replace("memory", "mood")).unwrap();
        assert!(
            load(None, std::iter::empty(), &set)
                .unwrap_err()
                .to_string()
                .contains("mood")
        );
        let set = ["alerts.outputs=[\"bell\"]".to_owned()];
        let told = load(None, std::iter::empty(), &set).unwrap_err().to_string();
        assert!(told.contains("alerts.outputs names the output bell"), "{told}");
    }
}
