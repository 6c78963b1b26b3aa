//! What the checks came to, as lines in a terminal. Pure.

use super::looked::{Looked, Run, measured};
use super::verdict::{Ending, Outcome, Whole};
use crate::lab::results::{Build, Outcome as Reached, Report};
use anstyle::{AnsiColor, Style};
use std::fmt::Write as _;

const STRONG: Style = Style::new().bold();
const DIM: Style = AnsiColor::BrightBlack.on_default();
const GOOD: Style = AnsiColor::Green.on_default();
const WARN: Style = AnsiColor::Yellow.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();

/// One line for each check, then all about those that did not pass, and what could not be put away.
pub fn text(run: &Run, report: &Report) -> String {
    let mut text = format!("{STRONG}validate {}{STRONG:#}  {}\n\n", report.name, report.about);
    for looked in &run.checks {
        line(&mut text, looked);
    }
    // Of what was never begun the line has said all.
    let has_story =
        |looked: &&Looked| !matches!(looked.ending, Ending::Skipped(_)) && looked.outcome() != Outcome::Passed;
    for looked in run.checks.iter().filter(has_story) {
        whole_story(&mut text, looked);
    }
    if !run.left.is_empty() {
        let _ = writeln!(text, "\n{BAD}✗ not all was put away{BAD:#}");
        for what in &run.left {
            let _ = writeln!(text, "  {BAD}✗{BAD:#} {what}");
        }
    }
    let machine = &report.machine;
    let build = if report.build == Build::Debug {
        ", debug build: its figures say nothing about speed"
    } else {
        ""
    };
    let _ = writeln!(
        text,
        "\n{DIM}{} cores ({}), {}{build}{DIM:#}",
        machine.cores, machine.processor, machine.system
    );
    for note in &report.notes {
        let _ = writeln!(text, "{DIM}{note}{DIM:#}");
    }
    let (style, sign) = match run.verdict() {
        Whole::Validated => (GOOD, "✓"),
        Whole::Failed => (BAD, "✗"),
        Whole::NotValidated => (WARN, "–"),
    };
    let _ = write!(text, "{style}{sign} {}{style:#}", report.headline);
    text
}

fn mark(outcome: Outcome) -> (Style, &'static str) {
    match outcome {
        Outcome::Passed => (GOOD, "✓"),
        Outcome::Failed => (BAD, "✗"),
        Outcome::NotRun => (WARN, "–"),
    }
}

fn line(text: &mut String, looked: &Looked) {
    let (style, sign) = mark(looked.outcome());
    let figures = looked.proof.targets().len();
    let words = match (looked.first(), looked.outcome()) {
        (Some(first), Outcome::Passed | Outcome::Failed) => measured(first),
        (_, Outcome::NotRun | Outcome::Failed) | (None, Outcome::Passed) => {
            let first = looked.reasons().into_iter().next();
            format!("{}: {}", looked.outcome().words(), first.unwrap_or_default())
        }
    };
    let counted = if figures == 0 {
        String::new()
    } else {
        format!("{}/{figures}", looked.passed())
    };
    let _ = writeln!(
        text,
        "{style}{sign}{style:#} {:<12} {counted:>5}  {words}  {DIM}{:.1} s{DIM:#}",
        looked.check.word,
        looked.took.as_secs_f64()
    );
}

fn whole_story(text: &mut String, looked: &Looked) {
    let (style, sign) = mark(looked.outcome());
    let _ = writeln!(
        text,
        "\n{style}{sign} {}{style:#}: {}",
        looked.check.word, looked.check.promise
    );
    for target in looked.proof.targets() {
        let (style, sign) = match target.outcome() {
            Reached::Passed => (GOOD, "✓"),
            Reached::Missed => (BAD, "✗"),
            Reached::NotMeasured => (WARN, "–"),
        };
        let _ = writeln!(text, "  {style}{sign}{style:#} {}", measured(target));
    }
    for finding in looked.proof.findings() {
        let _ = writeln!(text, "  {BAD}✗{BAD:#} {finding}");
    }
    for why in looked.reasons() {
        let _ = writeln!(text, "  {WARN}–{WARN:#} {why}");
    }
    for line in looked.proof.evidence() {
        let _ = writeln!(text, "    {DIM}{line}{DIM:#}");
    }
}
