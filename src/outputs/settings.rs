//! The section `outputs`: what may be called, and what is wrong with a list of it.

use crate::base::size::Span;
use crate::net::{Endpoint, EndpointError, Networks};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

/// Outputs of one node.
const TARGETS_MAX: usize = 100;
/// Letters of an output's name.
const NAME_LETTERS_MAX: usize = 64;

/// The section `outputs`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub targets: Vec<Target>,
    /// Networks that may be called although they are private, loopback or special.
    pub allow: Networks,
    /// Root certificates in PEM besides those of the machine. Empty: none.
    pub ca_file: PathBuf,
    /// For one call, from the name to the head of the answer.
    pub timeout: Span,
    /// Calls to one output at the same time; others wait for their turn.
    pub in_flight_max: u32,
    /// After this many failures in a row an output is left alone ...
    pub breaker_failures: u32,
    /// ... for so long; then one call is let through.
    pub breaker_open: Span,
    /// The wait before the second attempt; it doubles.
    pub retry_first: Span,
    pub retry_most: Span,
    /// A message that has not been taken for so long is given up.
    pub give_up_after: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            targets: Vec::new(),
            allow: Networks::default(),
            ca_file: PathBuf::new(),
            timeout: Span::seconds(10),
            in_flight_max: 4,
            breaker_failures: 5,
            breaker_open: Span::seconds(30),
            retry_first: Span::seconds(1),
            retry_most: Span::seconds(60),
            give_up_after: Span::seconds(24 * 3600),
        }
    }
}

/// One output.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// What broadcasts call it by.
    pub name: String,
    /// Where it is; or `url_file`, where the URL is itself a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url_file: Option<PathBuf>,
    pub shape: Shape,
    /// What the call is signed with, or the routing key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
}

/// Without the URL: it may be a secret.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({} {})", self.name, self.shape)
    }
}

/// Which words an output understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// Standard Webhooks, signed.
    Webhook,
    /// An incoming webhook of Slack.
    Slack,
    /// A trigger of `PagerDuty`'s Events API, version 2.
    PagerDuty,
}

impl Shape {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Slack => "slack",
            Self::PagerDuty => "pagerduty",
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Config {
    /// Everything that is wrong and can be seen without opening a file, one sentence each.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let count = self.targets.len();
        if count > TARGETS_MAX {
            faults.push(format!(
                "outputs.targets is a list of {count}; it must have at most {TARGETS_MAX}"
            ));
        }
        let names: BTreeSet<&str> = self.targets.iter().map(|target| target.name.as_str()).collect();
        if names.len() < count {
            faults.push(format!(
                "outputs.targets is a list of {count}; it must use each name once"
            ));
        }
        faults.extend(self.targets.iter().flat_map(Target::faults));
        for (name, first, other, last) in [
            ("retry_first", self.retry_first, "retry_most", self.retry_most),
            ("retry_most", self.retry_most, "give_up_after", self.give_up_after),
        ] {
            if first > last {
                faults.push(format!(
                    "outputs.{name} is {first}; it must be at most outputs.{other} ({last})"
                ));
            }
        }
        faults
    }
}

impl Target {
    /// `outputs.targets, siren: url`.
    pub(super) fn key(&self, key: &str) -> String {
        if is_name(&self.name) {
            format!("outputs.targets, {}: {key}", self.name)
        } else {
            format!("outputs.targets, {:?}: {key}", self.name)
        }
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if !is_name(&self.name) {
            faults.push(format!(
                "outputs.targets has the name {:?}; a name must be 1 to {NAME_LETTERS_MAX} of a-z, 0-9, _ and -",
                self.name
            ));
        }
        let mut must = |key: &str, rule: &str| faults.push(format!("{} must {rule}", self.key(key)));
        match (&self.url, &self.url_file) {
            (Some(url), None) => {
                let wrong: Option<EndpointError> = Endpoint::parse(url).err();
                wrong.iter().for_each(|wrong| must("url", &wrong.to_string()));
            }
            (None, Some(_)) => {}
            (None, None) => must("url", "be set, or url_file"),
            (Some(_), Some(_)) => must("url_file", "stand alone, without url"),
        }
        match (self.shape, &self.secret_file) {
            (Shape::Webhook, None) => must("secret_file", "name a file with whsec_ and the key in base64"),
            (Shape::PagerDuty, None) => must("secret_file", "name a file with the routing key"),
            (Shape::Slack, Some(_)) => must("secret_file", "be left out: Slack's secret is the URL (url_file)"),
            (Shape::Webhook | Shape::PagerDuty, Some(_)) | (Shape::Slack, None) => {}
        }
        faults
    }
}

fn is_name(name: &str) -> bool {
    let is_letter = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
    (1..=NAME_LETTERS_MAX).contains(&name.len()) && name.bytes().all(is_letter)
}

#[cfg(test)]
mod tests {
    use super::{Config, Shape, Span, Target};

    fn webhook(name: &str, url: &str) -> Target {
        Target {
            name: name.into(),
            url: Some(url.into()),
            url_file: None,
            shape: Shape::Webhook,
            secret_file: Some("siren.key".into()),
        }
    }

    fn check(targets: Vec<Target>, expected: &[&str]) {
        let config = Config {
            targets,
            ..Config::default()
        };
        assert_eq!(config.faults(), expected);
    }

    #[test]
    fn a_good_list_has_no_faults() {
        let slack = Target {
            url: None,
            url_file: Some("slack.url".into()),
            shape: Shape::Slack,
            secret_file: None,
            ..webhook("team-chat_2", "")
        };
        let pager = Target {
            shape: Shape::PagerDuty,
            ..webhook("pager", "https://events.pagerduty.com/v2/enqueue")
        };
        check(vec![webhook("siren", "http://10.0.0.9/on"), slack, pager], &[]);
    }

    #[test]
    fn every_fault_is_named_and_no_url_is_said() {
        let neither = Target {
            url: None,
            secret_file: None,
            ..webhook("neither", "")
        };
        let both = Target {
            url_file: Some("x".into()),
            shape: Shape::Slack,
            ..webhook("both", "https://a/secret")
        };
        let pager = Target {
            shape: Shape::PagerDuty,
            secret_file: None,
            ..webhook("pager", "https://me:secret@a/")
        };
        check(
            vec![
                webhook("Siren!", "a"),
                webhook("", "http://a/"),
                webhook("siren", "ftp://a/secret"),
                webhook("siren", "http://a/"),
                neither,
                both,
                pager,
            ],
            &[
                "outputs.targets is a list of 7; it must use each name once",
                "outputs.targets has the name \"Siren!\"; a name must be 1 to 64 of a-z, 0-9, _ and -",
                "outputs.targets, \"Siren!\": url must begin with http:// or https://",
                "outputs.targets has the name \"\"; a name must be 1 to 64 of a-z, 0-9, _ and -",
                "outputs.targets, siren: url must begin with http:// or https://",
                "outputs.targets, neither: url must be set, or url_file",
                "outputs.targets, neither: secret_file must name a file with whsec_ and the key in base64",
                "outputs.targets, both: url_file must stand alone, without url",
                "outputs.targets, both: secret_file must be left out: Slack's secret is the URL (url_file)",
                "outputs.targets, pager: url must have no user and password before the host",
                "outputs.targets, pager: secret_file must name a file with the routing key",
            ],
        );
        let many = (0..101).map(|number| webhook(&format!("s{number}"), "http://a/"));
        check(
            many.collect(),
            &["outputs.targets is a list of 101; it must have at most 100"],
        );
    }

    #[test]
    fn waits_stand_in_an_order() {
        let config = Config {
            retry_first: Span::seconds(5),
            retry_most: Span::seconds(4),
            give_up_after: Span::seconds(3),
            ..Config::default()
        };
        let expected = [
            "outputs.retry_first is 5s; it must be at most outputs.retry_most (4s)",
            "outputs.retry_most is 4s; it must be at most outputs.give_up_after (3s)",
        ];
        assert_eq!(config.faults(), expected);
    }

    #[test]
    fn a_url_is_not_shown_in_a_log() {
        let target = webhook("siren", "https://a/secret");
        assert_eq!(format!("{target:?}"), "Target(siren webhook)");
    }
}
