//! How a bench ends: what it measured as one report, shown, and kept when asked.

use super::kept::{Before, Fitness, Kept};
use super::{Better, Bound, Build, FORMAT, Outcome, Report, Table, Target, Verdict, figure};
use crate::base::clock;
use crate::lab::machine;
use anyhow::{Context as _, Result};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// A wrong word on the command line.
const USAGE: i32 = 2;

/// One run of a bench. Made before anything is measured, since it also says when that was.
pub struct Bench {
    report: Report,
    begun: Instant,
    asked: Asked,
}

/// What stood behind `cargo bench --bench NAME --`.
#[derive(Debug, Default, PartialEq)]
struct Asked {
    keep: Option<PathBuf>,
    fitness: Fitness,
    before: Before,
    json: bool,
    /// What only the bench itself understands.
    words: Vec<String>,
}

impl Bench {
    /// Reads the arguments; a run that could not be kept ends here, and not after it has been measured.
    pub fn new(name: &str, about: &str) -> Self {
        match Self::told(name, about, std::env::args().skip(1)) {
            Ok(bench) => bench,
            Err(fault) => {
                eprintln!("{fault:#}");
                std::process::exit(USAGE)
            }
        }
    }

    fn told(name: &str, about: &str, arguments: impl Iterator<Item = String>) -> Result<Self> {
        let asked = Asked::of(arguments)?;
        let mut command = format!("cargo bench --bench {name}");
        if !asked.words.is_empty() {
            command = format!("{command} -- {}", asked.words.join(" "));
        }
        let report = Report {
            format: FORMAT,
            kind: "bench".into(),
            name: name.into(),
            about: about.into(),
            at: clock::rfc3339(clock::wall()),
            took_s: 0.0,
            command,
            seed: 0,
            settings: Value::Object(Map::new()),
            machine: machine::machine(),
            commit: machine::COMMIT.unwrap_or_default().into(),
            build: Build::own(),
            clock: "one monotonic clock, in one process".into(),
            verdict: Verdict::Good,
            headline: String::new(),
            findings: Vec::new(),
            notes: Vec::new(),
            targets: Vec::new(),
            highlights: Vec::new(),
            figures: Vec::new(),
            distributions: Vec::new(),
            charts: Vec::new(),
            tables: Vec::new(),
        };
        if let Some(path) = &asked.keep {
            asked.fitness.check(&report.commit, report.build)?;
            asked.before.check(path, &Kept::of(&report))?;
        }
        Ok(Self {
            report,
            begun: clock::now(),
            asked,
        })
    }

    /// The arguments that are the bench's own.
    pub fn words(&self) -> &[String] {
        &self.asked.words
    }

    /// A number that is not finite counts as not measured. The part of the key before its dot is the section it is shown in.
    pub fn figure(&mut self, key: &str, name: &str, unit: &str, value: f64, better: Better) -> &mut Self {
        self.report.figures.push(figure(key, name, unit, Some(value), better));
        self
    }

    /// What had to be reached, such as a ratio to the floor of the same run; one that is missed fails the bench.
    pub fn target(&mut self, name: &str, bound: Bound, unit: &str, measured: f64) -> &mut Self {
        self.report.targets.push(Target {
            name: name.into(),
            bound,
            unit: unit.into(),
            measured: Some(measured).filter(|value| value.is_finite()),
        });
        self
    }

    pub fn table(&mut self, table: Table) -> &mut Self {
        self.report.tables.push(table);
        self
    }

    /// A sentence that belongs to this run.
    pub fn note(&mut self, text: impl Into<String>) -> &mut Self {
        self.report.notes.push(text.into());
        self
    }

    /// What was set: runs are put together only when it is the same.
    pub fn setting(&mut self, name: &str, value: impl Serialize) -> &mut Self {
        self.report.settings[name] = json!(value);
        self
    }

    /// Shows the run, keeps it when asked, and fails when a target was missed or not measured.
    pub fn end(&mut self) -> ExitCode {
        self.judge();
        if self.asked.json {
            println!("{}", self.report.json());
        } else {
            anstream::println!("{}", self.report.text());
        }
        if let Err(error) = self.keep() {
            eprintln!("{error:#}");
            return ExitCode::FAILURE;
        }
        match self.report.verdict {
            Verdict::Good => ExitCode::SUCCESS,
            Verdict::Missed | Verdict::Bad | Verdict::NotRun => ExitCode::FAILURE,
        }
    }

    fn judge(&mut self) {
        let report = &mut self.report;
        report.took_s = self.begun.elapsed().as_secs_f64();
        let count = |wanted| {
            let outcomes = report.targets.iter().map(Target::outcome);
            outcomes.filter(|outcome| *outcome == wanted).count()
        };
        let (missed, open, all) = (
            count(Outcome::Missed),
            count(Outcome::NotMeasured),
            report.targets.len(),
        );
        // A floor of nothing makes no ratio, and what has no ratio has passed nothing.
        report.verdict = match (missed, open) {
            (0, 0) => Verdict::Good,
            (0, _) => Verdict::NotRun,
            (_, _) => Verdict::Missed,
        };
        report.headline = match (all, missed, open) {
            (0, _, _) => "measured, without a target".into(),
            (_, 0, 0) => "every target reached".into(),
            (_, 0, _) => format!("{open} of {all} targets not measured"),
            (_, _, _) => format!("{missed} of {all} targets missed"),
        };
    }

    fn keep(&self) -> Result<()> {
        let Some(path) = &self.asked.keep else {
            return Ok(());
        };
        let kept = Kept::of(&self.report)
            .keep(path, self.asked.before)
            .with_context(|| format!("this run is not kept in {}", path.display()))?;
        eprintln!("{}: {}", path.display(), kept.count());
        Ok(())
    }
}

impl Asked {
    fn of(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut asked = Self::default();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--keep" => asked.keep = Some(arguments.next().context("--keep names no file")?.into()),
                "--anyway" => asked.fitness = Fitness::Anyway,
                "--replace" => asked.before = Before::Replaced,
                "--json" => asked.json = true,
                "--bench" => {} // cargo says it to every bench
                _ => asked.words.push(argument),
            }
        }
        Ok(asked)
    }
}

#[cfg(test)]
mod tests {
    use super::{Asked, Bench};
    use crate::lab::results::kept::Kept;
    use crate::lab::results::{Better, Bound, Verdict};
    use std::process::ExitCode;

    fn bench(words: &str) -> Bench {
        Bench::told("copy", "what a copy costs", words.split_whitespace().map(str::to_owned)).unwrap()
    }

    fn is(code: ExitCode, other: ExitCode) -> bool {
        format!("{code:?}") == format!("{other:?}")
    }

    #[test]
    fn what_is_its_own_is_left_to_the_bench() {
        let asked = |words: &str| Asked::of(words.split_whitespace().map(str::to_owned));
        let all = asked("--json replay --keep a/b.json 2 --bench --write c").unwrap();
        assert_eq!(all.words, ["replay", "2", "--write", "c"]);
        assert!(all.json && all.keep == Some("a/b.json".into()), "{all:?}");
        assert!(asked("--bench --keep").unwrap_err().to_string().contains("--keep"));
        assert_eq!(
            bench("replay 2 --json --bench").report.command,
            "cargo bench --bench copy -- replay 2"
        );
    }

    #[test]
    fn a_missed_target_fails_it_and_so_does_one_without_a_number() {
        let mut good = bench("--json");
        good.target("a", Bound::Below(1.1), "", 1.0);
        assert!(is(good.end(), ExitCode::SUCCESS));
        let mut open = bench("--json");
        open.target("a", Bound::Below(1.1), "", 1.0)
            .target("b", Bound::Above(2.0), "", f64::NAN);
        assert!(is(open.end(), ExitCode::FAILURE));
        assert_eq!(open.report.headline, "1 of 2 targets not measured");
        assert_eq!(open.report.verdict, Verdict::NotRun);
        let mut bad = bench("");
        bad.target("a", Bound::Below(1.1), "", 1.2);
        assert!(is(bad.end(), ExitCode::FAILURE));
        assert_eq!(bad.report.verdict, Verdict::Missed);
    }

    #[test]
    fn a_debug_build_is_kept_only_when_somebody_insists() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("copy.json");
        let words = format!("--keep {}", path.display());
        let refused = Bench::told("copy", "", words.split_whitespace().map(str::to_owned));
        let fault = refused.map(|_| ()).unwrap_err().to_string();
        assert!(fault.contains("debug build"), "{fault}");
        let mut bench = bench(&format!("{words} --anyway"));
        bench
            .figure("copy.ns", "a copy", "ns", 12.5, Better::Lower)
            .note("a note")
            .setting("bytes", 64);
        assert!(is(bench.end(), ExitCode::SUCCESS));
        let kept = Kept::read(&path).unwrap();
        assert_eq!(kept.figures[0].values, [Some(12.5)]);
        assert_eq!(kept.settings["bytes"], 64);
    }

    #[test]
    fn a_further_run_is_kept_behind_the_others_and_another_thing_is_not_even_measured() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("copy.json");
        let words = format!("--json --anyway --keep {}", path.display());
        let told = |name: &str, words: &str| Bench::told(name, "", words.split_whitespace().map(str::to_owned));
        let run = |words: &str, bytes: u64, ns: f64| {
            let mut bench = told("copy", words).unwrap();
            bench
                .setting("bytes", bytes)
                .figure("copy.ns", "a copy", "ns", ns, Better::Lower);
            bench.end()
        };
        let values = || Kept::read(&path).unwrap().figures[0].values.clone();
        assert!(is(run(&words, 64, 1.0), ExitCode::SUCCESS));
        assert!(is(run(&words, 64, 2.0), ExitCode::SUCCESS));
        assert_eq!(values(), [Some(1.0), Some(2.0)]);
        assert!(is(run(&words, 65, 3.0), ExitCode::FAILURE));
        assert_eq!(values(), [Some(1.0), Some(2.0)]);
        let fault = format!("{:#}", told("other", &words).map(|_| ()).unwrap_err());
        assert!(
            fault.contains("2 runs") && fault.contains("--replace") && fault.contains("two names"),
            "{fault}"
        );
        assert!(is(run(&format!("{words} --replace"), 65, 3.0), ExitCode::SUCCESS));
        assert_eq!(values(), [Some(3.0)]);
    }
}
