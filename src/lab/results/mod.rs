//! # Results
//!
//! What: what a run measured, as one value; and the folder that keeps it: JSON with the raw histograms, CSV, and one page of HTML.
//! Why: a figure without its machine, commit, settings and seed says nothing; whoever doubts one can look at everything behind it.
//! Never: a figure that was not measured. What could not be measured is `None`, and said so.
//! Start: [`Report`], then [`folder`], [`page`] and [`compare`].

pub mod bench;
mod buckets;
pub mod compare;
pub mod folder;
pub mod grid;
pub mod kept;
pub mod measured;
pub mod page;
pub mod plot;
pub mod text;

pub use buckets::{Buckets, histogram};

use super::machine::Machine;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The form of `report.json`.
pub const FORMAT: u32 = 1;

/// Everything about one run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    pub format: u32,
    /// The command: `load`.
    pub kind: String,
    /// Of the scenario.
    pub name: String,
    pub about: String,
    /// When it began, RFC 3339.
    pub at: String,
    pub took_s: f64,
    /// As it was typed, without secrets.
    pub command: String,
    pub seed: u64,
    /// What was run, whole.
    pub settings: Value,
    pub machine: Machine,
    /// Empty when the build does not know it.
    pub commit: String,
    pub build: Build,
    /// Whose clock, and what that means.
    pub clock: String,
    pub verdict: Verdict,
    pub headline: String,
    pub findings: Vec<String>,
    pub notes: Vec<String>,
    pub targets: Vec<Target>,
    /// Keys of the figures that stand large at the top.
    pub highlights: Vec<String>,
    pub figures: Vec<Figure>,
    pub distributions: Vec<Distribution>,
    pub charts: Vec<Chart>,
    pub tables: Vec<Table>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Build {
    Release,
    /// Without optimisation: its figures say nothing about speed.
    Debug,
}

impl Build {
    /// Of this program.
    pub const fn own() -> Self {
        if cfg!(debug_assertions) {
            Self::Debug
        } else {
            Self::Release
        }
    }

    pub const fn word(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Debug => "debug",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing is wrong and every target that was measured is reached.
    Good,
    /// Nothing is wrong, but a target is missed.
    Missed,
    /// Something was lost, wrong or repeated.
    Bad,
    /// Nothing is wrong with what was looked at, but not everything was.
    NotRun,
}

/// What had to be reached.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Target {
    pub name: String,
    pub bound: Bound,
    pub unit: String,
    /// `None`: not measured.
    pub measured: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    Below(f64),
    Above(f64),
    AtLeast(f64),
    /// For counts: this many, no more and no less.
    Exactly(f64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    Missed,
    NotMeasured,
}

impl Outcome {
    pub const fn words(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Missed => "missed",
            Self::NotMeasured => "not measured",
        }
    }
}

impl Target {
    pub fn outcome(&self) -> Outcome {
        let Some(measured) = self.measured else {
            return Outcome::NotMeasured;
        };
        let holds = match self.bound {
            Bound::Below(bound) => measured < bound,
            Bound::Above(bound) => measured > bound,
            Bound::AtLeast(bound) => measured >= bound,
            Bound::Exactly(bound) => (measured - bound).abs() < f64::EPSILON,
        };
        if holds { Outcome::Passed } else { Outcome::Missed }
    }
}

/// A number that the run came to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figure {
    /// For programs, like `deliveries.missing`: the part before the dot is its section.
    pub key: String,
    pub name: String,
    pub unit: String,
    /// `None`: not measured.
    pub value: Option<f64>,
    pub better: Better,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    Lower,
    Higher,
    /// It tells what was done, not how well.
    Neither,
}

/// A histogram of latencies, in µs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Distribution {
    pub key: String,
    /// What stands in one plot: from where to where it was measured.
    pub group: String,
    pub name: String,
    pub buckets: Buckets,
}

/// Lines over a common axis.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Chart {
    pub key: String,
    pub title: String,
    pub unit: String,
    pub lines: Vec<Line>,
}

/// Points of (seconds since the beginning, value).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Line {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    pub title: String,
    pub heading: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

/// Those of a distribution that are shown.
pub const QUANTILES: [(&str, f64); 5] = [
    ("p50", 0.5),
    ("p95", 0.95),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("max", 1.0),
];

impl Report {
    /// The whole, and besides it `values`: each figure by its key, and each quantile in ms, for whoever wants just a number.
    pub fn json(&self) -> Value {
        let mut json = json!(self);
        json["values"] = Value::Object(self.values());
        json["outcomes"] = self
            .targets
            .iter()
            .map(|target| (target.name.clone(), json!(target.outcome().words())))
            .collect::<Map<_, _>>()
            .into();
        json
    }

    fn values(&self) -> Map<String, Value> {
        let figures = self
            .figures
            .iter()
            .map(|figure| (figure.key.clone(), json!(figure.value)));
        let mut values: Map<String, Value> = figures.collect();
        for distribution in &self.distributions {
            for (name, value) in distribution.quantiles() {
                values.insert(format!("{}.{name}", distribution.key), json!(value));
            }
        }
        values
    }

    pub fn figure(&self, key: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.key == key)
    }
}

impl Distribution {
    /// With what it is of.
    pub fn whole_name(&self) -> String {
        format!("{}, {}", self.name, self.group)
    }

    /// In ms; empty when nothing was recorded.
    pub fn quantiles(&self) -> Vec<(&'static str, f64)> {
        let histogram = self.buckets.histogram();
        if histogram.is_empty() {
            return Vec::new();
        }
        let value = |(name, quantile): (&'static str, f64)| (name, millis(histogram.value_at_quantile(quantile)));
        QUANTILES.into_iter().map(value).collect()
    }
}

/// A figure: its key, its name and its unit, and which way is better.
pub fn figure(key: &str, name: &str, unit: &str, value: Option<f64>, better: Better) -> Figure {
    Figure {
        key: key.to_owned(),
        name: name.to_owned(),
        unit: unit.to_owned(),
        value: value.filter(|value| value.is_finite()),
        better,
    }
}

/// µs as ms, to a hundredth.
pub fn millis(micros: u64) -> f64 {
    (micros as f64 / 10.0).round() / 100.0
}

/// A number for people: as many digits as it deserves.
pub fn shown(value: f64) -> String {
    let size = value.abs();
    if size >= 1_000.0 {
        grouped(value)
    } else if size >= 100.0 || value.fract().abs() < f64::EPSILON {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else if size >= 0.1 {
        format!("{value:.2}")
    } else {
        let text = format!("{value:.4}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

/// Whole, with a comma between thousands.
fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 { format!("-{text}") } else { text }
}

/// What a bound asks for, in words.
pub fn bound_words(target: &Target) -> String {
    match target.bound {
        Bound::Below(bound) => format!("below {} {}", shown(bound), target.unit),
        Bound::Above(bound) => format!("above {} {}", shown(bound), target.unit),
        Bound::AtLeast(bound) => format!("at least {} {}", shown(bound), target.unit),
        Bound::Exactly(bound) => format!("exactly {} {}", shown(bound), target.unit),
    }
}

#[cfg(test)]
pub mod fixture;

#[cfg(test)]
mod tests {
    use super::{Bound, Outcome, Report, Target, fixture, shown};

    #[test]
    fn a_target_is_passed_missed_or_not_measured_and_never_invented() {
        let outcome = |bound, measured| {
            Target {
                name: "x".into(),
                bound,
                unit: "ms".into(),
                measured,
            }
            .outcome()
        };
        assert_eq!(outcome(Bound::Below(100.0), Some(99.9)), Outcome::Passed);
        assert_eq!(outcome(Bound::Below(100.0), Some(100.0)), Outcome::Missed);
        assert_eq!(outcome(Bound::Above(90.0), Some(90.0)), Outcome::Missed);
        assert_eq!(outcome(Bound::Above(90.0), None), Outcome::NotMeasured);
        assert_eq!(outcome(Bound::AtLeast(95.0), Some(95.0)), Outcome::Passed);
        assert_eq!(outcome(Bound::AtLeast(95.0), Some(94.9)), Outcome::Missed);
        assert_eq!(outcome(Bound::Exactly(0.0), Some(0.0)), Outcome::Passed);
        assert_eq!(outcome(Bound::Exactly(3.0), Some(2.0)), Outcome::Missed);
        assert_eq!(outcome(Bound::Exactly(0.0), Some(f64::NAN)), Outcome::Missed);
    }

    #[test]
    fn numbers_have_the_digits_they_deserve() {
        for (value, text) in [
            (0.0, "0"),
            (0.01234, "0.0123"),
            (0.01, "0.01"),
            (1.234, "1.23"),
            (12.34, "12.3"),
            (123.4, "123"),
            (1_234_567.8, "1,234,568"),
            (-1_234.0, "-1,234"),
        ] {
            assert_eq!(shown(value), text);
        }
    }

    #[test]
    fn a_report_is_read_again_as_it_was_and_has_its_values_for_scripts() {
        let report = fixture::report("standard", 1.0);
        let json = report.json();
        assert_eq!(json["values"]["deliveries.missing"], 0.0);
        assert_eq!(json["values"]["latency.critical.p50"], 1.0);
        assert_eq!(json["outcomes"]["hit rate"], "not measured");
        let again: Report = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(again.json(), json);
    }
}
