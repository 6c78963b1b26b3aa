//! What a check found: figures against their bounds, and words about what was seen. It is filled while the check runs, so that what was
//! measured stays when the check breaks off.

use crate::lab::findings::Findings;
use crate::lab::results::{Bound, Target};

#[derive(Debug, Default)]
pub struct Proof {
    targets: Vec<Target>,
    /// What was seen, in words.
    evidence: Vec<String>,
    /// What is wrong, in words, beside a missed bound.
    wrong: Findings,
    /// Parts that could not be looked at, and why.
    not_run: Vec<String>,
}

impl Proof {
    pub fn below(&mut self, name: &str, bound: f64, unit: &str, measured: impl Into<Option<f64>>) {
        self.target(name, Bound::Below(bound), unit, measured.into());
    }

    pub fn at_least(&mut self, name: &str, bound: f64, unit: &str, measured: impl Into<Option<f64>>) {
        self.target(name, Bound::AtLeast(bound), unit, measured.into());
    }

    pub fn exactly(&mut self, name: &str, bound: usize, measured: usize) {
        self.target(name, Bound::Exactly(bound as f64), "", Some(measured as f64));
    }

    /// Nothing of the kind may happen.
    pub fn none(&mut self, name: &str, measured: usize) {
        self.exactly(name, 0, measured);
    }

    pub fn take(&mut self, target: Target) {
        self.targets.push(target);
    }

    fn target(&mut self, name: &str, bound: Bound, unit: &str, measured: Option<f64>) {
        self.targets.push(Target {
            name: name.to_owned(),
            bound,
            unit: unit.to_owned(),
            measured: measured.filter(|measured| measured.is_finite()),
        });
    }

    pub fn saw(&mut self, words: impl Into<String>) {
        self.evidence.push(words.into());
    }

    pub fn wrong(&mut self, words: impl Into<String>) {
        let words = words.into();
        self.wrong.add(|| words);
    }

    /// Something of this check could not be looked at: it is then not passed, however well the rest did.
    pub fn not_run(&mut self, why: impl Into<String>) {
        self.not_run.push(why.into());
    }

    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    pub fn evidence(&self) -> &[String] {
        &self.evidence
    }

    pub fn findings(&self) -> &[String] {
        self.wrong.words()
    }

    pub fn gaps(&self) -> &[String] {
        &self.not_run
    }
}
