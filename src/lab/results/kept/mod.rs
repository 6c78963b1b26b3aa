//! Runs that are kept in `data/measured/`: what `docs/PERFORMANCE.md` is made of.
//!
//! One file holds the runs of one thing on one machine at one commit. Each number stands there once for each run, so that medians and
//! spreads are counted when they are shown, and a further run is only put behind the others.

mod join;
mod single;
mod spread;
#[cfg(test)]
mod tests;

pub use join::{Before, together};
pub use spread::Spread;

use super::{Better, Bound, Build, Outcome, Table, Target, Verdict};
use crate::base::version::DIRTY;
use crate::lab::folder::write_whole;
use crate::lab::machine::Machine;
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The form of a kept file.
pub const FORMAT: u32 = 1;
/// What belongs into a repository is small; a run with more to it stays in its report.
const BYTES_MAX: usize = 100 * 1024;
const MODE: u32 = 0o644;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    pub kept_format: u32,
    /// `bench`, `load`, `season`, or whatever else came to figures.
    pub kind: String,
    pub name: String,
    /// What is measured, in a sentence or two.
    pub about: String,
    /// Empty: no command of this repository can do it again.
    #[serde(default)]
    pub command: String,
    #[serde(default)]
    pub settings: Value,
    pub machine: Machine,
    /// Empty when the build did not know it.
    pub commit: String,
    pub build: Build,
    /// Typed from another page, and not written by the run itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub kept_by_hand: bool,
    pub runs: Vec<Ran>,
    #[serde(default)]
    pub targets: Vec<Aim>,
    #[serde(default)]
    pub figures: Vec<Series>,
    #[serde(default)]
    pub latencies: Vec<Latency>,
}

/// What one run said in words and tables.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ran {
    /// RFC 3339, or the day alone where nothing more is known.
    pub at: String,
    #[serde(default)]
    pub took_s: f64,
    #[serde(default)]
    pub seed: u64,
    pub verdict: Verdict,
    #[serde(default)]
    pub headline: String,
    #[serde(default)]
    pub findings: Vec<String>,
    #[serde(default)]
    pub notes: Vec<String>,
    #[serde(default)]
    pub tables: Vec<Table>,
}

/// A figure, once for each run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Series {
    pub key: String,
    pub name: String,
    pub unit: String,
    pub better: Better,
    /// `None`: not measured.
    pub values: Vec<Option<f64>>,
}

/// A target, once for each run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Aim {
    pub name: String,
    pub bound: Bound,
    pub unit: String,
    pub values: Vec<Option<f64>>,
}

/// A distribution: its count and its quantiles in ms, each once for each run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    pub key: String,
    pub group: String,
    pub name: String,
    pub counts: Vec<u64>,
    pub quantiles: BTreeMap<String, Vec<Option<f64>>>,
}

/// Whether a run may be kept that says nothing about speed, or not what it is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fitness {
    #[default]
    Required,
    /// The page says what is wrong with it.
    Anyway,
}

impl Fitness {
    pub fn check(self, commit: &str, build: Build) -> Result<()> {
        if self == Self::Anyway {
            return Ok(());
        }
        ensure!(
            build == Build::Release,
            "this is a debug build: its figures say nothing about speed; build with --release, or keep it with --anyway"
        );
        ensure!(
            !commit.is_empty(),
            "this run does not know its commit; build with CAMPANILE_COMMIT set, or keep it with --anyway"
        );
        ensure!(
            !commit.ends_with(DIRTY),
            "this run has changes in it that are in no commit ({commit}); commit them and build again, or keep it with --anyway"
        );
        Ok(())
    }
}

impl Aim {
    /// Of the median. Of an even number that is halfway between two, which nobody measured: then more than half must have reached it.
    pub fn outcome(&self) -> Outcome {
        let measured = self.values.iter().flatten().count();
        let median = self
            .with(Spread::of(&self.values).map(|spread| spread.median))
            .outcome();
        if median == Outcome::Passed && self.runs_missed() * 2 >= measured {
            return Outcome::Missed;
        }
        median
    }

    /// How many runs would have missed it alone.
    pub fn runs_missed(&self) -> usize {
        let outcomes = self.values.iter().map(|value| self.with(*value).outcome());
        outcomes.filter(|outcome| *outcome == Outcome::Missed).count()
    }

    pub fn with(&self, measured: Option<f64>) -> Target {
        Target {
            name: self.name.clone(),
            bound: self.bound,
            unit: self.unit.clone(),
            measured,
        }
    }
}

impl Kept {
    /// A report's folder, its `report.json`, or a file that was kept before.
    pub fn read(path: &Path) -> Result<Self> {
        if path.is_dir() {
            return Ok(Self::of(&super::folder::read(path)?));
        }
        let text = fs::read(path).with_context(|| path.display().to_string())?;
        let value: Value = serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
        if value.get("kept_format").is_none() {
            return Ok(Self::of(&super::folder::read(path)?));
        }
        let kept: Self = serde_json::from_value(value).with_context(|| format!("{} is no kept run", path.display()))?;
        kept.checked().with_context(|| path.display().to_string())
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        let text = format!("{:#}\n", serde_json::to_value(self)?);
        ensure!(
            text.len() <= BYTES_MAX,
            "it would be {} bytes; at most {BYTES_MAX} are kept",
            text.len()
        );
        write_whole(path, &text, MODE).with_context(|| path.display().to_string())
    }

    /// The tables of all runs that have some, in one.
    pub fn tables(&self) -> Vec<Table> {
        let runs = self.runs.iter().map(|run| run.tables.as_slice());
        let runs: Vec<&[Table]> = runs.filter(|tables| !tables.is_empty()).collect();
        super::grid::together(&runs)
    }

    /// What the runs found and noted, each once.
    pub fn said(&self) -> Vec<&str> {
        let mut said: Vec<&str> = Vec::new();
        for text in self.runs.iter().flat_map(|run| run.findings.iter().chain(&run.notes)) {
            if !said.contains(&text.as_str()) {
                said.push(text);
            }
        }
        said
    }

    /// The notes of every run that is here.
    pub fn always_noted(&self) -> Vec<&str> {
        let is_of_all = |note: &&String| self.runs.iter().all(|run| run.notes.contains(note));
        let notes = self.runs.first().map_or(&[][..], |run| run.notes.as_slice());
        notes.iter().filter(is_of_all).map(String::as_str).collect()
    }

    /// How many runs, in words.
    pub fn count(&self) -> String {
        match self.runs.len() {
            1 => "1 run".to_owned(),
            count => format!("{count} runs"),
        }
    }

    fn lengths(&self) -> impl Iterator<Item = usize> {
        let figures = self.figures.iter().map(|figure| figure.values.len());
        let targets = self.targets.iter().map(|aim| aim.values.len());
        let counts = self.latencies.iter().map(|latency| latency.counts.len());
        let quantiles = self
            .latencies
            .iter()
            .flat_map(|latency| latency.quantiles.values().map(Vec::len));
        figures.chain(targets).chain(counts).chain(quantiles)
    }

    fn checked(self) -> Result<Self> {
        ensure!(
            self.kept_format == FORMAT,
            "it has format {}; this program reads {FORMAT}",
            self.kept_format
        );
        ensure!(!self.runs.is_empty(), "it holds no run");
        ensure!(
            self.kept_by_hand || self.lengths().all(|length| length == self.runs.len()),
            "it has figures that do not stand there once for each of its {} runs",
            self.runs.len()
        );
        Ok(self)
    }
}
