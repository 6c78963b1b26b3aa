//! One run, as it is kept: its charts and the buckets of its histograms stay in its report.

use super::{Aim, FORMAT, Kept, Latency, Ran, Series};
use crate::lab::results::{Buckets, Distribution, Figure, QUANTILES, Report, Target};
use std::collections::BTreeMap;

impl Kept {
    pub fn of(report: &Report) -> Self {
        Self {
            kept_format: FORMAT,
            kind: report.kind.clone(),
            name: report.name.clone(),
            about: report.about.clone(),
            command: report.command.clone(),
            settings: report.settings.clone(),
            machine: report.machine.clone(),
            commit: report.commit.clone(),
            build: report.build,
            kept_by_hand: false,
            runs: vec![Ran::of(report)],
            targets: report.targets.iter().map(Aim::of).collect(),
            figures: report.figures.iter().map(Series::of).collect(),
            latencies: report.distributions.iter().map(Latency::of).collect(),
        }
    }
}

impl Ran {
    fn of(report: &Report) -> Self {
        Self {
            at: report.at.clone(),
            took_s: report.took_s,
            seed: report.seed,
            verdict: report.verdict,
            headline: report.headline.clone(),
            findings: report.findings.clone(),
            notes: report.notes.clone(),
            tables: report.tables.clone(),
        }
    }
}

impl Series {
    fn of(figure: &Figure) -> Self {
        Self {
            key: figure.key.clone(),
            name: figure.name.clone(),
            unit: figure.unit.clone(),
            better: figure.better,
            values: vec![figure.value],
        }
    }

    pub(super) fn bare(&self) -> Self {
        Self {
            values: Vec::new(),
            ..self.clone()
        }
    }
}

impl Aim {
    fn of(target: &Target) -> Self {
        Self {
            name: target.name.clone(),
            bound: target.bound,
            unit: target.unit.clone(),
            values: vec![target.measured],
        }
    }

    pub(super) fn bare(&self) -> Self {
        Self {
            values: Vec::new(),
            ..self.clone()
        }
    }
}

impl Latency {
    fn of(distribution: &Distribution) -> Self {
        let Buckets(buckets) = &distribution.buckets;
        let measured: BTreeMap<&str, f64> = distribution.quantiles().into_iter().collect();
        let quantile = |(name, _): (&'static str, f64)| (name.to_owned(), vec![measured.get(name).copied()]);
        Self {
            key: distribution.key.clone(),
            group: distribution.group.clone(),
            name: distribution.name.clone(),
            counts: vec![buckets.iter().map(|(_, count)| count).sum()],
            quantiles: QUANTILES.into_iter().map(quantile).collect(),
        }
    }

    pub(super) fn bare(&self) -> Self {
        Self {
            counts: Vec::new(),
            quantiles: BTreeMap::new(),
            ..self.clone()
        }
    }
}
