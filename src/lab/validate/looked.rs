//! One check, as it went, and all of them together. Pure.

use super::checks::{ALL, Check};
use super::proof::Proof;
use super::verdict::{Ending, Outcome, Whole, outcome, whole};
use crate::lab::results::{Better, Bound, Figure, Outcome as Reached, Target, bound_words, figure, shown};
use crate::lab::served::Served;
use serde_json::{Value, json};
use std::time::Duration;

/// One check, as it went.
pub struct Looked {
    pub check: &'static Check,
    pub ending: Ending,
    pub proof: Proof,
    pub took: Duration,
}

impl Looked {
    /// One that was never begun.
    pub fn skipped(check: &'static Check, why: &str) -> Self {
        Self {
            check,
            ending: Ending::Skipped(why.to_owned()),
            proof: Proof::default(),
            took: Duration::ZERO,
        }
    }

    pub fn outcome(&self) -> Outcome {
        outcome(&self.ending, &self.proof)
    }

    /// Why it did not come to its end, or what of it was not looked at.
    pub fn reasons(&self) -> Vec<String> {
        let ending = match &self.ending {
            Ending::Ran => None,
            Ending::BrokeOff(why) => Some(format!("it broke off: {why}")),
            Ending::TimedOut(limit) => Some(format!("it was not done within {} s", limit.as_secs())),
            Ending::Panicked => Some("the check itself broke".to_owned()),
            Ending::Skipped(why) => Some(why.clone()),
        };
        let mut all: Vec<String> = ending.into_iter().chain(self.proof.gaps().iter().cloned()).collect();
        let open = self
            .proof
            .targets()
            .iter()
            .filter(|target| target.outcome() == Reached::NotMeasured);
        all.extend(open.map(|target| format!("{}: not measured", target.name)));
        if all.is_empty() && self.proof.targets().is_empty() {
            all.push("nothing was measured".to_owned());
        }
        all
    }

    pub fn passed(&self) -> usize {
        let all = self.proof.targets().iter();
        all.filter(|target| target.outcome() == Reached::Passed).count()
    }

    /// The figure that stands for the check: the first that is missed, else the first that is more than a count.
    pub fn first(&self) -> Option<&Target> {
        let all = self.proof.targets();
        let find = |holds: &dyn Fn(&Target) -> bool| all.iter().find(|target| holds(target));
        find(&|target| target.outcome() == Reached::Missed)
            .or_else(|| find(&|target| !target.unit.is_empty() && matches!(target.bound, Bound::Below(_))))
            .or_else(|| all.first())
    }

    pub fn json(&self) -> Value {
        let target = |target: &Target| {
            json!({"name": target.name, "bound": bound_words(target).trim_end(), "measured": target.measured,
                "unit": target.unit, "outcome": target.outcome().words()})
        };
        json!({
            "check": self.check.word,
            "promise": self.check.promise,
            "outcome": self.outcome().words(),
            "took_s": (self.took.as_secs_f64() * 10.0).round() / 10.0,
            "reasons": self.reasons(),
            "targets": self.proof.targets().iter().map(target).collect::<Vec<_>>(),
            "findings": self.proof.findings(),
            "evidence": self.proof.evidence(),
        })
    }
}

/// All checks in the order of the report.
#[derive(Default)]
pub struct Run {
    pub checks: Vec<Looked>,
    pub served: Served,
    /// What was made and could not be put away, in words.
    pub left: Vec<String>,
}

impl Run {
    pub fn verdict(&self) -> Whole {
        whole(self.checks.iter().map(Looked::outcome), ALL.len(), &self.left)
    }

    fn count(&self, what: Outcome) -> usize {
        self.checks.iter().filter(|looked| looked.outcome() == what).count()
    }

    pub fn headline(&self) -> String {
        let (failed, open) = (self.count(Outcome::Failed), self.count(Outcome::NotRun));
        let passed = self.count(Outcome::Passed);
        let left = if self.left.is_empty() {
            ""
        } else {
            "; not all was put away"
        };
        match self.verdict() {
            Whole::Validated => format!("validated: all {passed} checks passed"),
            Whole::Failed => format!(
                "failed: {failed} of {} checks; {passed} passed, {open} not run{left}",
                ALL.len()
            ),
            Whole::NotValidated => format!(
                "not validated: {open} of {} checks not run or not whole, {passed} passed",
                ALL.len()
            ),
        }
    }

    pub fn counts(&self) -> [Figure; 3] {
        let one =
            |key: &str, name: &str, what: Outcome, better| figure(key, name, "", Some(self.count(what) as f64), better);
        [
            one("checks.passed", "passed", Outcome::Passed, Better::Higher),
            one("checks.failed", "failed", Outcome::Failed, Better::Lower),
            one("checks.not_run", "not run", Outcome::NotRun, Better::Lower),
        ]
    }
}

/// A figure and what was asked of it: `mean 3.1 ms, below 100 ms`.
pub fn measured(target: &Target) -> String {
    let value = target.measured.map_or_else(
        || "not measured".to_owned(),
        |value| format!("{} {}", shown(value), target.unit).trim_end().to_owned(),
    );
    format!("{} {value}, {}", target.name, bound_words(target).trim_end())
}
