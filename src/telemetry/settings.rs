//! The section `otlp`: where to push, what, and how often.

use crate::base::size::Span;
use crate::net::{Endpoint, Networks};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The collector; `/v1/metrics` and `/v1/traces` are added. Empty: nothing is pushed.
    pub url: String,
    pub metrics: bool,
    pub traces: bool,
    /// The share of the publishes without a `traceparent` that begin a trace here: 0 to 1. With one, its sender has decided.
    pub sample: f64,
    pub every: Span,
    /// For one push, from the name to the answer's head.
    pub timeout: Span,
    /// Headers of each push, `Name: value`, one a line. Empty: none.
    pub headers_file: PathBuf,
    /// Networks that the collector may be in although they are private, loopback or special.
    pub allow: Networks,
    /// Root certificates in PEM besides those of the machine. Empty: none.
    pub ca_file: PathBuf,
    /// Spans that wait to be pushed.
    pub spans_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: String::new(),
            metrics: true,
            traces: false,
            sample: 0.0,
            every: Span::seconds(15),
            timeout: Span::seconds(5),
            headers_file: PathBuf::new(),
            allow: Networks::default(),
            ca_file: PathBuf::new(),
            spans_max: 4_096,
        }
    }
}

/// Without the URL: it may hold a secret.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_on = !self.url.is_empty();
        write!(f, "Config(otlp on: {is_on}, every {})", self.every)
    }
}

impl Config {
    pub fn is_on(&self) -> bool {
        !self.url.is_empty() && (self.metrics || self.traces)
    }

    /// Everything that is wrong and can be seen without opening a file, one sentence each. A URL is never shown.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if !self.url.is_empty()
            && let Err(error) = Endpoint::parse(&self.url)
        {
            faults.push(format!("otlp.url must {error}"));
        }
        if !(0.0..=1.0).contains(&self.sample) {
            faults.push(format!("otlp.sample is {}; it must be between 0 and 1", self.sample));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::Config;

    #[test]
    fn faults_are_named_without_the_url() {
        let check = |url: &str, sample: f64, expected: &[&str]| {
            let config = Config {
                url: url.into(),
                sample,
                ..Config::default()
            };
            assert_eq!(config.faults(), expected, "{url}");
            assert!(!format!("{config:?}").contains("host"), "{config:?}");
        };
        check("", 0.0, &[]);
        check("http://host:4318", 1.0, &[]);
        check("host:4318", 0.5, &["otlp.url must begin with http:// or https://"]);
        check("http://host", 1.5, &["otlp.sample is 1.5; it must be between 0 and 1"]);
        check(
            "http://host",
            f64::NAN,
            &["otlp.sample is NaN; it must be between 0 and 1"],
        );
    }

    #[test]
    fn nothing_is_pushed_by_itself() {
        assert!(!Config::default().is_on());
        let silent = Config {
            url: "http://host".into(),
            metrics: false,
            ..Config::default()
        };
        assert!(!silent.is_on());
    }
}
