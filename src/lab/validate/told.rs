//! What the checks came to, as the report that is kept and as JSON; [`super::screen`] has the lines of a terminal. Pure.

use super::looked::{Looked, Run, measured};
use super::verdict::{Outcome, Whole};
use crate::lab::machine;
use crate::lab::results::{Build, FORMAT, Outcome as Reached, Report, Table, Target, Verdict};
use serde_json::{Value, json};

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

pub fn report(run: &Run, name: &str, frame: Frame<'_>) -> Report {
    let (figures, distributions, charts) = frame.load.map_or_else(Default::default, |load| {
        (load.figures.clone(), load.distributions.clone(), load.charts.clone())
    });
    let all = &run.checks[..];
    let has_evidence = |looked: &&Looked| !looked.proof.evidence().is_empty();
    let mut tables = vec![overview(all)];
    tables.extend(all.iter().filter(has_evidence).map(evidence));
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
        commit: run.served.commit().to_owned(),
        build: Build::own(),
        clock: "all times are taken by this process on one monotonic clock; times that a node tells are compared with each other alone".to_owned(),
        verdict: match run.verdict() {
            Whole::Validated => Verdict::Good,
            Whole::Failed => Verdict::Bad,
            Whole::NotValidated => Verdict::NotRun,
        },
        headline: run.headline(),
        findings: findings(run),
        notes: frame.notes.into_iter().chain(run.served.note()).collect(),
        targets: all.iter().flat_map(targets).collect(),
        highlights: ["checks.passed", "checks.failed", "checks.not_run"].map(String::from).into(),
        figures: run.counts().into_iter().chain(figures).collect(),
        distributions,
        charts,
        tables,
    }
}

/// The report's JSON, and the checks one by one.
pub fn json(run: &Run, report: &Report) -> Value {
    let mut json = report.json();
    json["checks"] = run.checks.iter().map(Looked::json).collect();
    json["left"] = json!(run.left);
    json["whole"] = json!(match run.verdict() {
        Whole::Validated => "validated",
        Whole::Failed => "failed",
        Whole::NotValidated => "not validated",
    });
    json
}

fn targets(looked: &Looked) -> Vec<Target> {
    let named = |target: &Target| Target {
        name: format!("{}: {}", looked.check.word, target.name),
        ..target.clone()
    };
    looked.proof.targets().iter().map(named).collect()
}

/// What is wrong, why something was not looked at, and what could not be put away.
fn findings(run: &Run) -> Vec<String> {
    let mut findings = Vec::new();
    for looked in &run.checks {
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
    findings.extend(run.left.iter().cloned());
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

#[cfg(test)]
mod tests {
    use super::{Frame, json, report};
    use crate::lab::results::Verdict;
    use crate::lab::validate::checks::ALL;
    use crate::lab::validate::looked::{Looked, Run};
    use crate::lab::validate::proof::Proof;
    use crate::lab::validate::screen::text;
    use crate::lab::validate::verdict::{Ending, Whole};
    use serde_json::Value;
    use std::time::Duration;

    /// All passed, but for what is changed.
    fn all(change: impl Fn(&mut Vec<Looked>)) -> Run {
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
        let mut checks = each.collect();
        change(&mut checks);
        Run {
            checks,
            ..Run::default()
        }
    }

    fn told(all: &Run) -> (String, Value, Verdict) {
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
        assert_eq!(looked.verdict(), Whole::NotValidated);
        let (_, json, verdict) = told(&looked);
        assert_eq!(
            (json["whole"].as_str(), verdict),
            (Some("not validated"), Verdict::NotRun)
        );
    }
    #[test]
    fn what_could_not_be_put_away_is_told_and_is_a_failure() {
        let mut run = all(|_| {});
        run.left.push("/v1/weddings/w stays: 503 NO_LEADER".into());
        let (text, json, verdict) = told(&run);
        for part in [
            "\n✗ not all was put away\n  ✗ /v1/weddings/w stays: 503 NO_LEADER\n",
            "✗ failed: 0 of 16 checks; 16 passed, 0 not run; not all was put away",
        ] {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
        assert_eq!((json["whole"].as_str(), verdict), (Some("failed"), Verdict::Bad));
        assert_eq!(json["left"], json["findings"]);
    }
}
