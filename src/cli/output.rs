//! What people see: colours by meaning, tables, numbers. `anstream` drops colours for pipes, files and `NO_COLOR`.

use super::failure::Failure;
use anstyle::{AnsiColor, Style};
use serde_json::json;
use std::fmt::Display;
use std::io::Write;

pub const GOOD: Style = AnsiColor::Green.on_default();
pub const BAD: Style = AnsiColor::Red.on_default().bold();
pub const WARN: Style = AnsiColor::Yellow.on_default();
pub const DIM: Style = AnsiColor::BrightBlack.on_default();
pub const STRONG: Style = Style::new().bold();

/// A line on stdout. A reader that has gone ends the command quietly; `println!` would panic.
pub fn say(line: &str) -> Result<(), Failure> {
    let mut out = anstream::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()?;
    Ok(())
}

/// A line on stderr; nobody to tell when that fails.
pub fn complain(line: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{line}");
}

/// What a command does by itself (another attempt, another node), on stderr; with `--json` that holds only JSON.
pub fn notice(text: &str, as_json: bool) {
    if as_json {
        complain(&json!({"notice": text}).to_string());
    } else {
        complain(&format!("{DIM}{text}{DIM:#}"));
    }
}

/// The style of a priority, by name.
pub fn priority(name: &str) -> Style {
    match name {
        "critical" => AnsiColor::White.on(AnsiColor::Red).bold(),
        "high" => AnsiColor::Yellow.on_default().bold(),
        "low" => DIM,
        _ => Style::new(),
    }
}

/// Text from outside, without what would drive a terminal (control characters; line breaks become spaces).
pub fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c == '\n' || c == '\t' { ' ' } else { c })
        .filter(|c| !c.is_control())
        .collect()
}

/// `1234567` as `1,234,567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Rows under a heading, columns as wide as they need; figures stand to the right.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(heading: &[&str]) -> Self {
        Self {
            rows: vec![heading.iter().map(|cell| (*cell).to_owned()).collect()],
        }
    }

    pub fn row(&mut self, cells: &[&dyn Display]) {
        self.rows
            .push(cells.iter().map(|cell| plain(&cell.to_string())).collect());
    }

    pub fn lines(&self) -> Vec<String> {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        self.rows
            .iter()
            .enumerate()
            .map(|(at, row)| {
                let cells = row.iter().zip(&widths).map(|(cell, width)| align(cell, *width));
                let line = cells.collect::<Vec<_>>().join("  ").trim_end().to_owned();
                if at == 0 { format!("{DIM}{line}{DIM:#}") } else { line }
            })
            .collect()
    }
}

fn align(cell: &str, width: usize) -> String {
    if cell.starts_with(|c: char| c.is_ascii_digit()) {
        format!("{cell:>width$}")
    } else {
        format!("{cell:<width$}")
    }
}

#[cfg(test)]
mod tests {
    use super::{Table, count, plain};

    #[test]
    fn figures_are_read_at_a_glance() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), text);
        }
    }

    #[test]
    fn text_from_outside_cannot_drive_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\nc\u{7}"), "a[2Jb c");
    }

    #[test]
    fn columns_are_as_wide_as_they_need() {
        let mut table = Table::new(&["node", "role"]);
        table.row(&[&1, &"leader"]);
        table.row(&[&12, &"f"]);
        assert_eq!(table.lines()[1..], ["   1  leader", "  12  f"]);
    }
}
