//! The rules as a file has them, and as they are looked at.

use super::measure::Measure;
use crate::base::size::Span;
use crate::model::alert::Severity;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

/// Rules of one file.
pub const RULES_MAX: usize = 64;
/// Letters of a rule's name.
const NAME_LETTERS_MAX: usize = 40;
/// Outputs of one rule.
const OUTPUTS_MAX: usize = 16;
const HELD_MAX: Span = Span::seconds(24 * 3600);
const COOLDOWN_MIN: Span = Span::seconds(1);
const COOLDOWN_MAX: Span = Span::seconds(7 * 24 * 3600);

/// The file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleFile {
    #[serde(default)]
    pub rule: Vec<Written>,
}

/// A rule as it is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Written {
    pub name: String,
    pub measure: Measure,
    /// Beyond it, for so long ...
    pub bound: Figure,
    #[serde(default = "at_once", rename = "for")]
    pub held: Span,
    /// ... the rule fires; and is clear again when the figure has been no worse than this for as long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clear: Option<Figure>,
    /// In place of `bound` inside event windows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_bound: Option<Figure>,
    /// A share or a mean of fewer than this says nothing.
    #[serde(default)]
    pub least: u64,
    pub severity: Severity,
    pub cooldown: Span,
    /// Who is told, in place of `alerts.outputs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs: Option<Vec<String>>,
}

fn at_once() -> Span {
    Span::millis(0)
}

/// A number, or a text with a unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Figure {
    Number(f64),
    Text(String),
}

/// A rule to look at.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    pub name: String,
    pub measure: Measure,
    pub bound: f64,
    pub clear: f64,
    pub event_bound: Option<f64>,
    pub held: Duration,
    pub least: u64,
    pub severity: Severity,
    pub cooldown: Duration,
    pub outputs: Vec<String>,
}

impl RuleFile {
    /// The rules, where those without outputs of their own tell these; or all that is wrong.
    pub fn rules(&self, outputs: &[String]) -> Result<Vec<Rule>, Vec<String>> {
        let mut faults = Vec::new();
        if self.rule.len() > RULES_MAX {
            faults.push(format!("there are {} rules; {RULES_MAX} at most", self.rule.len()));
        }
        let names: BTreeSet<&str> = self.rule.iter().map(|rule| rule.name.as_str()).collect();
        if names.len() != self.rule.len() {
            faults.push("each rule must have a name of its own".into());
        }
        let mut rules = Vec::new();
        for written in &self.rule {
            let mut own = Vec::new();
            let read = written.read(outputs, &mut own);
            faults.extend(own.into_iter().map(|fault| format!("rule {}: {fault}", written.name)));
            rules.extend(read);
        }
        if faults.is_empty() { Ok(rules) } else { Err(faults) }
    }
}

impl Written {
    /// The rule, or nothing where a figure cannot be read; what is wrong is added to `faults`.
    fn read(&self, outputs: &[String], faults: &mut Vec<String>) -> Option<Rule> {
        self.check(faults);
        let mut figure = |key: &str, figure: &Figure| {
            let read = figure.read(self.measure);
            if read.is_none() {
                faults.push(format!("{key} is {figure}; it must be {}", wanted(self.measure)));
            }
            read
        };
        let bound = figure("bound", &self.bound);
        let clear = self
            .clear
            .as_ref()
            .map_or(Some(bound), |clear| figure("clear", clear).map(Some));
        let event_bound = self
            .event_bound
            .as_ref()
            .map_or(Some(None), |bound| figure("event_bound", bound).map(Some));
        let (bound, clear, event_bound) = (bound?, clear??, event_bound?);
        let side = self.measure.side();
        if side.is_beyond(clear, bound) {
            faults.push(format!("clear must not be {} bound", side.name()));
        }
        Some(Rule {
            name: self.name.clone(),
            measure: self.measure,
            bound,
            clear,
            event_bound,
            held: self.held.0,
            least: self.least,
            severity: self.severity,
            cooldown: self.cooldown.0,
            outputs: self.outputs.clone().unwrap_or_else(|| outputs.to_vec()),
        })
    }

    fn check(&self, faults: &mut Vec<String>) {
        let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if !(1..=NAME_LETTERS_MAX).contains(&self.name.len()) || !self.name.bytes().all(is_letter) {
            faults.push(format!("its name must be 1 to {NAME_LETTERS_MAX} of a-z, 0-9 and _"));
        }
        if self.held > HELD_MAX {
            faults.push(format!("for is {}; it must be at most {HELD_MAX}", self.held));
        }
        if !(COOLDOWN_MIN..=COOLDOWN_MAX).contains(&self.cooldown) {
            faults.push(format!(
                "cooldown is {}; it must be between {COOLDOWN_MIN} and {COOLDOWN_MAX}",
                self.cooldown
            ));
        }
        if self.outputs.as_ref().is_some_and(|outputs| outputs.len() > OUTPUTS_MAX) {
            faults.push(format!("it has more than {OUTPUTS_MAX} outputs"));
        }
    }
}

impl Figure {
    fn read(&self, measure: Measure) -> Option<f64> {
        let value = match self {
            Self::Number(value) => Some(*value),
            Self::Text(text) => measure.unit().parse(text),
        };
        value.filter(|value| value.is_finite())
    }
}

impl std::fmt::Display for Figure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(value) => write!(f, "{value}"),
            Self::Text(text) => write!(f, "{text:?}"),
        }
    }
}

fn wanted(measure: Measure) -> &'static str {
    use crate::model::alert::Unit;
    match measure.unit() {
        Unit::Share => "a share, like 0.05 for 5 %",
        Unit::Milliseconds => "a duration like \"500ms\", or a number of milliseconds",
        Unit::Bytes => "a size like \"45 MiB\", or a number of bytes",
        Unit::Count => "a number",
    }
}

/// Where a rule's figure stands for one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    pub bound: f64,
    pub clear: f64,
}

impl Rule {
    pub const fn ordinary(&self) -> Bounds {
        Bounds {
            bound: self.bound,
            clear: self.clear,
        }
    }

    /// Inside event windows. The way back is the same share of the bound as otherwise.
    pub fn on_event_days(&self) -> Bounds {
        let Some(bound) = self.event_bound else {
            return self.ordinary();
        };
        let part = if self.bound == 0.0 {
            1.0
        } else {
            self.clear / self.bound
        };
        let clear = bound * part;
        let is_past = self.measure.side().is_beyond(clear, bound);
        Bounds {
            bound,
            clear: if is_past { bound } else { clear },
        }
    }
}
