//! What the checks came to, as the report that is kept and as JSON; [`super::screen`] has the lines of a terminal. Pure.

use super::checks::{ALL, Check};
use super::proof::Proof;
use super::verdict::{Ending, Outcome, Whole, outcome, whole};
use crate::lab::machine;
use crate::lab::results::{
    Better, Bound, Build, FORMAT, Figure, Outcome as Reached, Report, Table, Target, Verdict, bound_words, figure,
    shown,
};
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

    fn json(&self) -> Value {
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

pub fn verdict(all: &[Looked]) -> Whole {
    whole(all.iter().map(Looked::outcome), ALL.len())
}

/// What the report says beside the checks.
pub struct Frame<'a> {
    pub command: String,
    pub seed: u64,
    pub at: String,
    pub took_s: f64,
    pub settings: Value,
    pub notes: Vec<String>,
    /// Of the load, where it was run.
    pub load: Option<&'a Report>,
}

pub fn report(all: &[Looked], name: &str, frame: Frame<'_>) -> Report {
    let (figures, distributions, charts) = frame.load.map_or_else(Default::default, |load| {
        (load.figures.clone(), load.distributions.clone(), load.charts.clone())
    });
    let mut tables = vec![overview(all)];
    tables.extend(
        all.iter()
            .filter(|looked| !looked.proof.evidence().is_empty())
            .map(evidence),
    );
    Report {
        format: FORMAT,
        kind: "validate".to_owned(),
        name: name.to_owned(),
        about: "what the origin claimed and the README promises, each measured on the spot".to_owned(),
        at: frame.at,
        took_s: (frame.took_s * 10.0).round() / 10.0,
        command: frame.command,
        seed: frame.seed,
        settings: frame.settings,
        machine: machine::machine(),
        commit: machine::COMMIT.unwrap_or_default().to_owned(),
        build: Build::own(),
        clock: "all times are taken by this process on one monotonic clock; times that a node tells are compared with each other alone".to_owned(),
        verdict: match verdict(all) {
            Whole::Validated => Verdict::Good,
            Whole::Failed => Verdict::Bad,
            Whole::NotValidated => Verdict::NotRun,
        },
        headline: headline(all),
        findings: findings(all),
        notes: frame.notes,
        targets: all.iter().flat_map(targets).collect(),
        highlights: ["checks.passed", "checks.failed", "checks.not_run"].map(String::from).into(),
        figures: counts(all).into_iter().chain(figures).collect(),
        distributions,
        charts,
        tables,
    }
}

/// The report's JSON, and the checks one by one.
pub fn json(all: &[Looked], report: &Report) -> Value {
    let mut json = report.json();
    json["checks"] = all.iter().map(Looked::json).collect();
    json["whole"] = json!(match verdict(all) {
        Whole::Validated => "validated",
        Whole::Failed => "failed",
        Whole::NotValidated => "not validated",
    });
    json
}

fn count(all: &[Looked], what: Outcome) -> usize {
    all.iter().filter(|looked| looked.outcome() == what).count()
}

fn headline(all: &[Looked]) -> String {
    let (failed, open) = (count(all, Outcome::Failed), count(all, Outcome::NotRun));
    let passed = count(all, Outcome::Passed);
    match verdict(all) {
        Whole::Validated => format!("validated: all {passed} checks passed"),
        Whole::Failed => format!(
            "failed: {failed} of {} checks; {passed} passed, {open} not run",
            ALL.len()
        ),
        Whole::NotValidated => format!(
            "not validated: {open} of {} checks not run or not whole, {passed} passed",
            ALL.len()
        ),
    }
}

fn counts(all: &[Looked]) -> [Figure; 3] {
    let one =
        |key: &str, name: &str, what: Outcome, better| figure(key, name, "", Some(count(all, what) as f64), better);
    [
        one("checks.passed", "passed", Outcome::Passed, Better::Higher),
        one("checks.failed", "failed", Outcome::Failed, Better::Lower),
        one("checks.not_run", "not run", Outcome::NotRun, Better::Lower),
    ]
}

fn targets(looked: &Looked) -> Vec<Target> {
    let named = |target: &Target| Target {
        name: format!("{}: {}", looked.check.word, target.name),
        ..target.clone()
    };
    looked.proof.targets().iter().map(named).collect()
}

/// What is wrong, and why something was not looked at.
fn findings(all: &[Looked]) -> Vec<String> {
    let mut findings = Vec::new();
    for looked in all {
        let word = looked.check.word;
        let missed = looked
            .proof
            .targets()
            .iter()
            .filter(|target| target.outcome() == Reached::Missed);
        findings.extend(missed.map(|target| format!("{word}: {}", measured(target))));
        findings.extend(
            looked
                .proof
                .findings()
                .iter()
                .map(|finding| format!("{word}: {finding}")),
        );
        if looked.outcome() != Outcome::Passed {
            findings.extend(looked.reasons().iter().map(|why| format!("{word}: {why}")));
        }
    }
    findings
}

fn overview(all: &[Looked]) -> Table {
    let row = |looked: &Looked| {
        vec![
            looked.check.word.to_owned(),
            looked.outcome().words().to_owned(),
            format!("{} of {}", looked.passed(), looked.proof.targets().len()),
            looked.check.promise.to_owned(),
            format!("{:.1} s", looked.took.as_secs_f64()),
        ]
    };
    Table {
        title: "Checks".to_owned(),
        heading: ["check", "", "figures within their bounds", "what is promised", "took"]
            .map(String::from)
            .into(),
        rows: all.iter().map(row).collect(),
    }
}

fn evidence(looked: &Looked) -> Table {
    Table {
        title: format!("Seen by {}", looked.check.word),
        heading: vec![String::new()],
        rows: looked.proof.evidence().iter().map(|line| vec![line.clone()]).collect(),
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

#[cfg(test)]
mod tests {
    use super::{Frame, Looked, json, report, verdict};
    use crate::lab::results::Verdict;
    use crate::lab::validate::checks::ALL;
    use crate::lab::validate::proof::Proof;
    use crate::lab::validate::screen::text;
    use crate::lab::validate::verdict::{Ending, Whole};
    use serde_json::Value;
    use std::time::Duration;

    /// All passed, but for what is changed.
    fn all(change: impl Fn(&mut Vec<Looked>)) -> Vec<Looked> {
        let each = ALL.iter().map(|check| {
            let mut proof = Proof::default();
            proof.below("mean", 100.0, "ms", 3.0);
            proof.saw("sixty were published");
            Looked {
                check,
                ending: Ending::Ran,
                proof,
                took: Duration::from_millis(1_234),
            }
        });
        let mut all = each.collect();
        change(&mut all);
        all
    }

    fn told(all: &[Looked]) -> (String, Value, Verdict) {
        let frame = Frame {
            command: "campanile validate".into(),
            seed: 1,
            at: "2026-11-26T12:00:00.000Z".into(),
            took_s: 30.0,
            settings: Value::Null,
            notes: vec!["a note".into()],
            load: None,
        };
        let report = report(all, "own-nodes", frame);
        let text = anstream::adapter::strip_str(&text(all, &report)).to_string();
        let whole = json(all, &report);
        (text, whole, report.verdict)
    }

    #[test]
    fn what_passed_is_one_line_each() {
        let (text, json, verdict) = told(&all(|_| {}));
        assert!(
            text.contains("✓ queue          1/1  mean 3 ms, below 100 ms  1.2 s"),
            "{text}"
        );
        assert!(text.ends_with(&format!("✓ validated: all {} checks passed", ALL.len())));
        assert!(!text.contains('✗') && !text.contains("sixty"), "{text}");
        assert_eq!((json["whole"].as_str(), verdict), (Some("validated"), Verdict::Good));
        assert_eq!(json["checks"][0]["targets"][0]["bound"], "below 100 ms");
        assert_eq!(json["outcomes"]["queue: mean"], "passed");
    }

    #[test]
    fn what_failed_and_what_did_not_run_is_told_with_all_that_is_known() {
        let looked = all(|all| {
            all[0].proof.none("deliveries missing", 2);
            all[1].proof.not_run("changes over nodes: only one was named");
            all[2].ending = Ending::Skipped("left out by --only".into());
        });
        let (text, json, verdict) = told(&looked);
        for part in [
            "✗ queue          1/2  deliveries missing 2, exactly 0",
            "– cache          1/1  not run: changes over nodes: only one was named",
            "– scaling        1/1  not run: left out by --only",
            "  ✗ deliveries missing 2, exactly 0\n",
            "    sixty were published\n",
            "✗ failed: 1 of 16 checks; 13 passed, 2 not run",
        ] {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
        assert_eq!((json["whole"].as_str(), verdict), (Some("failed"), Verdict::Bad));
        assert_eq!(json["checks"][1]["outcome"], "not run");
        assert_eq!(json["findings"][0], "queue: deliveries missing 2, exactly 0");
    }

    #[test]
    fn a_check_that_is_not_even_told_is_not_validated() {
        let looked = all(|all| drop(all.pop()));
        assert_eq!(verdict(&looked), Whole::NotValidated);
        let (_, json, verdict) = told(&looked);
        assert_eq!(
            (json["whole"].as_str(), verdict),
            (Some("not validated"), Verdict::NotRun)
        );
    }
}
