//! Tables: as Markdown, and those of several runs laid into one.

use super::Table;
use std::fmt::Write as _;
use super::kept::Spread;

/// What separates several numbers in one cell.
const BESIDE: &str = " / ";

/// A table in Markdown.
pub fn grid(heading: &[String], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let mut text = line(heading);
    let _ = writeln!(text, "|{}", "---|".repeat(heading.len()));
    text.extend(rows.iter().map(|row| line(row)));
    text
}

/// The tables of several runs: each number with its spread. One that has other words or another form in some run cannot be laid over
/// the others, and is that of the last run.
pub fn together(runs: &[&[Table]]) -> Vec<Table> {
    let Some((last, before)) = runs.split_last() else {
        return Vec::new();
    };
    let one = |table: &Table| {
        let find = |run: &&[Table]| run.iter().find(|other| other.title == table.title).cloned();
        let all: Option<Vec<Table>> = before.iter().map(find).chain([Some(table.clone())]).collect();
        all.and_then(|all| over(&all)).unwrap_or_else(|| Table {
            title: format!("{} (the last run)", table.title),
            ..table.clone()
        })
    };
    last.iter().map(one).collect()
}

fn over(tables: &[Table]) -> Option<Table> {
    let first = tables.first()?;
    let shape = |table: &Table| {
        (
            table.heading.clone(),
            table.rows.iter().map(Vec::len).collect::<Vec<_>>(),
        )
    };
    if tables.iter().any(|table| shape(table) != shape(first)) {
        return None;
    }
    let cell = |row: usize, column: usize| {
        let cells = tables
            .iter()
            .map(|table| Some(table.rows.get(row)?.get(column)?.as_str()));
        merged(&cells.collect::<Option<Vec<_>>>()?)
    };
    let row = |(row, cells): (usize, &Vec<String>)| (0..cells.len()).map(|column| cell(row, column)).collect();
    let rows: Option<Vec<Vec<String>>> = first.rows.iter().enumerate().map(row).collect();
    Some(Table {
        rows: rows?,
        ..first.clone()
    })
}

/// One cell of several runs; `None` when words differ.
fn merged(cells: &[&str]) -> Option<String> {
    let first = *cells.first()?;
    if cells.iter().all(|cell| *cell == first) {
        return Some(first.to_owned());
    }
    let split: Vec<Vec<&str>> = cells.iter().map(|cell| cell.split(BESIDE).collect()).collect();
    let pieces = split.first()?.len();
    if split.iter().any(|cell| cell.len() != pieces) {
        return None;
    }
    let piece = |at: usize| {
        let spreads: Option<Vec<Spread>> = split.iter().map(|cell| number(cell.get(at)?)).collect();
        whole(&spreads?).map(|spread| spread.text())
    };
    let pieces: Option<Vec<String>> = (0..pieces).map(piece).collect();
    Some(pieces?.join(BESIDE))
}

/// `39.2`, or what [`Spread::text`] says.
fn number(text: &str) -> Option<Spread> {
    let plain = |text: &str| text.trim().replace(',', "").parse::<f64>().ok();
    let (median, extremes) = text.split_once(" [").unwrap_or((text, text));
    let (lowest, highest) = extremes
        .trim_end_matches(']')
        .split_once(" to ")
        .unwrap_or((extremes, extremes));
    Some(Spread {
        median: plain(median)?,
        lowest: plain(lowest)?,
        highest: plain(highest)?,
        is_of_two: false,
    })
}

/// The median of the medians, between the extremes of all.
fn whole(spreads: &[Spread]) -> Option<Spread> {
    let of =
        |what: fn(&Spread) -> f64| Spread::of(&spreads.iter().map(|spread| Some(what(spread))).collect::<Vec<_>>());
    Some(Spread {
        median: of(|spread| spread.median)?.median,
        lowest: of(|spread| spread.lowest)?.lowest,
        highest: of(|spread| spread.highest)?.highest,
        is_of_two: spreads.len() == 2 && spreads.iter().all(|spread| spread.lowest >= spread.highest),
    })
}

#[cfg(test)]
mod tests {
    use super::{grid, merged, together};
    use crate::lab::results::Table;

    fn table(cells: &[&str]) -> Table {
        Table {
            title: "Steps".into(),
            heading: vec!["threads".into(), "ms".into()],
            rows: vec![cells.iter().map(|cell| (*cell).to_owned()).collect()],
        }
    }

    #[test]
    fn numbers_of_several_runs_have_a_spread_and_words_must_be_the_same() {
        let check = |cells: &[&str], wanted: Option<&str>| assert_eq!(merged(cells).as_deref(), wanted, "{cells:?}");
        check(&["self", "self"], Some("self"));
        check(&["1,200", "1,100", "1,300"], Some("1,200 [1,100 to 1,300]"));
        check(&["2.6 / 9", "2.5 / 9", "2.7 / 9"], Some("2.60 [2.50 to 2.70] / 9"));
        check(&["39 [34 to 41]", "38 [37 to 43]", "40"], Some("39 [34 to 43]"));
        check(&["busy", "room"], None);
        check(&["1 / 2", "1"], None);
    }

    #[test]
    fn what_cannot_be_laid_over_the_others_is_of_the_last_run() {
        let titles = |runs: &[&[Table]]| together(runs).into_iter().map(|table| table.title).collect::<Vec<_>>();
        let (one, two, other) = ([table(&["1", "5"])], [table(&["1", "7"])], [table(&["1", "slow"])]);
        assert_eq!(together(&[&one, &two])[0].rows[0], ["1", "5 to 7"]);
        assert_eq!(titles(&[&one, &other]), ["Steps (the last run)"]);
        assert_eq!(titles(&[&[], &other]), ["Steps (the last run)"]);
        assert_eq!(titles(&[&other]), ["Steps"]);
        assert!(together(&[]).is_empty());
        assert_eq!(
            grid(&one[0].heading, &[vec!["a|b".into(), String::new()]]),
            "| threads | ms |\n|---|---|\n| a\\|b |  |\n"
        );
    }
}
