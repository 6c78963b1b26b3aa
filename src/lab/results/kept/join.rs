//! Runs of one thing as one file, and why two are not of one thing.

use super::{Aim, Fitness, Kept};
use anyhow::{Context, Result, bail, ensure};
use std::path::Path;

/// What becomes of the runs that a file holds already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Before {
    /// The new ones are put behind them, and refused when they are not of the same thing.
    #[default]
    Stay,
    Replaced,
}

impl Before {
    /// Refuses what could not be put behind them; to be asked before it is measured, when it is not known yet what will be set.
    pub fn check(self, path: &Path, coming: &Kept) -> Result<()> {
        let there = self.there(path)?;
        there.map_or(Ok(()), |there| {
            there
                .same_program(coming)
                .with_context(|| there.stands_in_the_way(path))
        })
    }

    /// What has to stay.
    fn there(self, path: &Path) -> Result<Option<Kept>> {
        match self {
            Self::Stay if path.exists() => Kept::read(path).map(Some),
            Self::Stay | Self::Replaced => Ok(None),
        }
    }
}

impl Kept {
    /// Writes the file, and says what it holds now: nothing that was in it is lost unless it is to be replaced.
    pub fn keep(self, path: &Path, before: Before) -> Result<Self> {
        let whole = match before.there(path)? {
            Some(there) if !there.runs.iter().all(|run| self.runs.contains(run)) => {
                if let Some(twice) = self.runs.iter().find(|run| there.runs.contains(run)) {
                    bail!(
                        "{} holds the run of {} already: name only what is new",
                        path.display(),
                        twice.at
                    );
                }
                let fault = there.stands_in_the_way(path);
                there.joined(self).context(fault)?
            }
            Some(_) | None => self,
        };
        whole.write(path)?;
        Ok(whole)
    }

    fn stands_in_the_way(&self, path: &Path) -> String {
        let commit = if self.commit.is_empty() {
            "an unknown commit".to_owned()
        } else {
            format!("commit {}", self.commit)
        };
        let (path, count) = (path.display(), self.count());
        format!("{path} holds {count} of {commit}; --replace puts what is new in their place")
    }

    /// The runs of both, as if one file had always held them.
    pub fn joined(mut self, other: Self) -> Result<Self> {
        self.same_as(&other)?;
        let (own, theirs) = (self.runs.len(), other.runs.len());
        for figure in other.figures {
            let place = place(&mut self.figures, |kept| kept.key == figure.key, || figure.bare());
            append(&mut place.values, figure.values, own);
        }
        for aim in other.targets {
            let is_same = |kept: &Aim| kept.name == aim.name && kept.bound == aim.bound;
            let place = place(&mut self.targets, is_same, || aim.bare());
            append(&mut place.values, aim.values, own);
        }
        for latency in other.latencies {
            let place = place(&mut self.latencies, |kept| kept.key == latency.key, || latency.bare());
            append(&mut place.counts, latency.counts, own);
            for (quantile, values) in latency.quantiles {
                append(place.quantiles.entry(quantile).or_default(), values, own);
            }
        }
        self.runs.extend(other.runs);
        self.fill(own + theirs);
        Ok(self)
    }

    /// Of one thing as far as it is known before a run.
    fn same_program(&self, other: &Self) -> Result<()> {
        let same = |what: &str, one: &str, two: &str| {
            ensure!(one == two, "two {what} do not make one file: {one:?} and {two:?}");
            Ok(())
        };
        same("kinds", &self.kind, &other.kind)?;
        same("names", &self.name, &other.name)?;
        same("commits", &self.commit, &other.commit)?;
        same("machines", &self.machine.words(), &other.machine.words())?;
        same("builds", self.build.word(), other.build.word())?;
        if self.kept_by_hand || other.kept_by_hand {
            bail!("what was kept by hand is replaced, not added to");
        }
        Ok(())
    }

    fn same_as(&self, other: &Self) -> Result<()> {
        self.same_program(other)?;
        if self.settings != other.settings {
            bail!("runs with other settings do not make one file");
        }
        if let Some(twice) = other.runs.iter().find(|run| self.runs.contains(run)) {
            bail!("the run of {} is there twice", twice.at);
        }
        Ok(())
    }

    /// What a run did not measure is a gap in its place.
    fn fill(&mut self, runs: usize) {
        let figures = self.figures.iter_mut().map(|figure| &mut figure.values);
        let targets = self.targets.iter_mut().map(|aim| &mut aim.values);
        let quantiles = self
            .latencies
            .iter_mut()
            .flat_map(|latency| latency.quantiles.values_mut());
        for values in figures.chain(targets).chain(quantiles) {
            values.resize(runs, None);
        }
        for latency in &mut self.latencies {
            latency.counts.resize(runs, 0);
        }
    }
}

/// Those of several runs of one thing, in the order given.
pub fn together(paths: &[impl AsRef<Path>], fitness: Fitness) -> Result<Kept> {
    let mut whole: Option<Kept> = None;
    for path in paths {
        let path = path.as_ref();
        let kept = Kept::read(path)?;
        let name = || path.display().to_string();
        fitness.check(&kept.commit, kept.build).with_context(name)?;
        whole = Some(match whole {
            None => kept,
            Some(before) => before.joined(kept).with_context(name)?,
        });
    }
    whole.context("no run is named")
}

fn place<T>(all: &mut Vec<T>, is_same: impl Fn(&T) -> bool, new: impl FnOnce() -> T) -> &mut T {
    let at = all.iter().position(is_same).unwrap_or_else(|| {
        all.push(new());
        all.len() - 1
    });
    &mut all[at]
}

/// Puts the values of later runs behind those of the first `own`, which may have none.
fn append<T: Clone + Default>(values: &mut Vec<T>, more: Vec<T>, own: usize) {
    values.resize(own, T::default());
    values.extend(more);
}
