//! A report as a table in a terminal.

use super::{Outcome, QUANTILES, Report, Table, Verdict, bound_words, shown};
use anstyle::{AnsiColor, Style};
use std::fmt::Write as _;

const STRONG: Style = Style::new().bold();
const DIM: Style = AnsiColor::BrightBlack.on_default();
const GOOD: Style = AnsiColor::Green.on_default();
const WARN: Style = AnsiColor::Yellow.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();

impl Report {
    pub fn text(&self) -> String {
        let mut text = format!("{STRONG}{} {}{STRONG:#}  {}\n", self.kind, self.name, self.about);
        self.write_figures(&mut text);
        self.write_latency(&mut text);
        self.write_targets(&mut text);
        for table in &self.tables {
            write_table(&mut text, table);
        }
        let commit = if self.commit.is_empty() {
            "unknown"
        } else {
            &self.commit
        };
        let _ = writeln!(
            text,
            "\n{DIM}{}, commit {commit}, seed {}{DIM:#}",
            self.machine.words(),
            self.seed
        );
        for note in &self.notes {
            let _ = writeln!(text, "{DIM}{note}{DIM:#}");
        }
        for finding in &self.findings {
            let _ = writeln!(text, "{BAD}✗{BAD:#} {finding}");
        }
        let (style, mark) = match self.verdict {
            Verdict::Good => (GOOD, "✓"),
            Verdict::Missed => (WARN, "!"),
            Verdict::Bad => (BAD, "✗"),
            Verdict::NotRun => (WARN, "–"),
        };
        let _ = write!(text, "{style}{mark} {}{style:#}", self.headline);
        text
    }

    fn write_figures(&self, text: &mut String) {
        let mut section = "";
        for figure in &self.figures {
            let own = figure.key.split('.').next().unwrap_or_default();
            if own != section {
                let _ = writeln!(text, "\n{DIM}{own}{DIM:#}");
                section = own;
            }
            let line = match figure.value {
                Some(value) => format!("  {:<46} {:>12} {}", figure.name, shown(value), figure.unit),
                None => format!("  {:<46} {:>12}", figure.name, "not measured"),
            };
            let _ = writeln!(text, "{}", line.trim_end());
        }
    }

    fn write_latency(&self, text: &mut String) {
        if self.distributions.is_empty() {
            return;
        }
        let _ = write!(text, "\n{DIM}{:<34} {:>10}", "ms", "count");
        for (name, _) in QUANTILES {
            let _ = write!(text, " {name:>9}");
        }
        let _ = writeln!(text, "{DIM:#}");
        for distribution in &self.distributions {
            let quantiles = distribution.quantiles();
            if quantiles.is_empty() {
                continue;
            }
            let count: u64 = distribution.buckets.0.iter().map(|(_, count)| count).sum();
            let _ = write!(text, "{:<34} {count:>10}", distribution.whole_name());
            for (_, value) in quantiles {
                let _ = write!(text, " {value:>9.2}");
            }
            text.push('\n');
        }
    }

    fn write_targets(&self, text: &mut String) {
        if !self.targets.is_empty() {
            let _ = writeln!(text, "\n{DIM}targets{DIM:#}");
        }
        for target in &self.targets {
            let outcome = target.outcome();
            let style = match outcome {
                Outcome::Passed => GOOD,
                Outcome::Missed => BAD,
                Outcome::NotMeasured => WARN,
            };
            let measured = target.measured.map(|value| format!("{} {}", shown(value), target.unit));
            let _ = writeln!(
                text,
                "  {:<46} {:>12}  {style}{}{style:#} {}",
                target.name,
                measured.unwrap_or_default(),
                outcome.words(),
                bound_words(target)
            );
        }
    }
}

/// Columns as wide as they need.
fn write_table(text: &mut String, table: &Table) {
    let _ = writeln!(text, "\n{DIM}{}{DIM:#}", table.title);
    let all = || [&table.heading].into_iter().chain(&table.rows);
    let width = |column: usize| {
        all()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
    };
    for (number, row) in all().enumerate() {
        let cells = row
            .iter()
            .enumerate()
            .map(|(column, cell)| format!("{cell:<0$}", width(column).unwrap_or(0)));
        let line = cells.collect::<Vec<_>>().join("  ");
        let style = if number == 0 { DIM } else { Style::new() };
        let _ = writeln!(text, "  {style}{}{style:#}", line.trim_end());
    }
}

#[cfg(test)]
mod tests {
    use crate::lab::results::fixture;

    #[test]
    fn a_terminal_shows_what_was_measured_and_what_was_not() {
        let text = anstream::adapter::strip_str(&fixture::report("standard", 1.0).text()).to_string();
        for part in [
            "missing",
            "not measured above 90 ms",
            "passed below 1.50 ms",
            "critical",
            "1.00",
            "commit abc",
            "! nothing lost",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
