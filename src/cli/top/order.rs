//! The order of a pane's rows, which of them are shown, and where the cursor stands. The cursor stays with its row when others come.

use super::tables::Row;
use std::cmp::Ordering;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Large figures first, and words from A on.
    #[default]
    Usual,
    Reverse,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    /// The key of the row that the cursor stands on; the first one where that is gone.
    pub selected: Option<String>,
    /// The column that the rows are sorted by; `None`: as they come.
    pub sort: Option<usize>,
    pub direction: Direction,
    pub filter: String,
}

impl List {
    /// By the next column, and after the last one as they come.
    pub fn sort_by_next(&mut self, columns: usize) {
        self.sort = match self.sort {
            None => Some(0),
            Some(at) if at + 1 < columns => Some(at + 1),
            Some(_) => None,
        };
        self.direction = Direction::Usual;
    }

    pub fn turn_round(&mut self) {
        self.direction = match self.direction {
            Direction::Usual => Direction::Reverse,
            Direction::Reverse => Direction::Usual,
        };
    }

    /// The column that is sorted by, and an arrow for the direction.
    pub fn mark(&self) -> Option<(usize, char)> {
        let arrow = match self.direction {
            Direction::Usual => '↓',
            Direction::Reverse => '↑',
        };
        self.sort.map(|at| (at, arrow))
    }

    /// Where the cursor stands among these; `None` where there is nothing.
    pub fn place(&self, keys: &[&str]) -> Option<usize> {
        let selected = self.selected.as_deref();
        let at = keys.iter().position(|key| Some(*key) == selected);
        at.or(if keys.is_empty() { None } else { Some(0) })
    }
}

/// Whether a text has the letters that were typed, large or small.
pub fn has(text: &str, filter: &str) -> bool {
    text.to_lowercase().contains(&filter.to_lowercase())
}

/// The rows that are shown, in their order.
pub fn arrange(mut rows: Vec<Row>, list: &List) -> Vec<Row> {
    if !list.filter.is_empty() {
        rows.retain(|row| row.cells.iter().any(|cell| has(&cell.text, &list.filter)));
    }
    if let Some(at) = list.sort {
        // Rows that are equal keep the order in which they come.
        rows.sort_by(|a, b| compare(a, b, at));
    }
    if list.direction == Direction::Reverse {
        rows.reverse();
    }
    rows
}

fn compare(a: &Row, b: &Row, at: usize) -> Ordering {
    match (a.ranks.get(at).copied().flatten(), b.ranks.get(at).copied().flatten()) {
        (Some(a), Some(b)) => b.total_cmp(&a),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => {
            let text = |row: &Row| row.cells.get(at).map(|cell| cell.text.clone()).unwrap_or_default();
            text(a).cmp(&text(b))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{List, arrange};
    use crate::cli::sight::grid::cell;
    use crate::cli::sight::line::Tone;
    use crate::cli::top::tables::Row;

    fn row(key: &str, figure: Option<f64>) -> Row {
        let text = figure.map_or("-".into(), |figure| figure.to_string());
        Row {
            key: key.into(),
            cells: vec![cell(Tone::Plain, format!("row {key}")), cell(Tone::Plain, text)],
            ranks: vec![None, figure],
        }
    }

    #[track_caller]
    fn check(list: &List, expected: &[&str]) {
        let rows = vec![
            row("b", Some(2.0)),
            row("a", None),
            row("c", Some(10.0)),
            row("d", Some(2.0)),
        ];
        let keys: Vec<String> = arrange(rows, list).into_iter().map(|row| row.key).collect();
        assert_eq!(keys, expected, "{list:?}");
    }

    #[test]
    fn rows_are_sorted_by_one_column_after_the_other() {
        let mut list = List::default();
        check(&list, &["b", "a", "c", "d"]);
        list.sort_by_next(2);
        check(&list, &["a", "b", "c", "d"]);
        list.turn_round();
        check(&list, &["d", "c", "b", "a"]);
        list.sort_by_next(2);
        check(&list, &["c", "b", "d", "a"]);
        assert_eq!(list.mark(), Some((1, '↓')));
        list.turn_round();
        check(&list, &["a", "d", "b", "c"]);
        list.sort_by_next(2);
        check(&list, &["b", "a", "c", "d"]);
        assert_eq!(list.mark(), None);
    }

    #[test]
    fn a_filter_looks_at_every_cell() {
        let with = |filter: &str| List {
            filter: filter.into(),
            ..List::default()
        };
        check(&with("ROW C"), &["c"]);
        check(&with("2"), &["b", "d"]);
        check(&with("nothing"), &[]);
    }

    #[test]
    fn the_cursor_stays_with_its_row() {
        let list = List {
            selected: Some("c".into()),
            ..List::default()
        };
        assert_eq!(list.place(&["a", "b", "c"]), Some(2));
        assert_eq!(list.place(&["c", "a", "b"]), Some(0));
        assert_eq!(list.place(&["a", "b"]), Some(0));
        assert_eq!(list.place(&[]), None);
    }
}
