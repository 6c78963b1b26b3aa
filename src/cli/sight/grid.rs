//! Columns that fit the room there is: the least important go first, and one of them takes what is left.

use super::line::{Ending, Line, Tone, cut, width};

/// Between two columns.
const GAP: usize = 2;
/// What the column that takes the rest wants at least.
const REST_MIN: usize = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    Left,
    /// Figures.
    Right,
    /// To the left, and it takes what is left.
    Rest,
}

#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub title: &'static str,
    pub align: Align,
    /// Where there is too little room, the column with the smallest number goes first; [`KEPT`] never does.
    pub worth: u8,
}

pub const KEPT: u8 = u8::MAX;

pub const fn column(title: &'static str, align: Align, worth: u8) -> Column {
    Column { title, align, worth }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    pub tone: Tone,
    pub text: String,
}

pub fn cell(tone: Tone, text: impl Into<String>) -> Cell {
    Cell {
        tone,
        text: text.into(),
    }
}

/// What is shown of some columns.
pub struct Grid {
    /// Places and widths of the columns that fit.
    shown: Vec<(usize, usize)>,
    columns: Vec<Column>,
}

impl Grid {
    /// As wide as the cells need, in so much room.
    pub fn new(columns: &[Column], rows: &[Vec<Cell>], room: usize) -> Self {
        let natural = |at: usize| {
            let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| width(&cell.text));
            let title = columns.get(at).map_or(0, |column| width(column.title));
            cells.max().unwrap_or(0).max(title)
        };
        let mut shown: Vec<(usize, usize)> = (0..columns.len()).map(|at| (at, natural(at))).collect();
        let least = |(at, width): &(usize, usize)| match columns.get(*at).map(|column| column.align) {
            Some(Align::Rest) => (*width).min(REST_MIN),
            Some(Align::Left | Align::Right) | None => *width,
        };
        let worth = |at: usize| columns.get(at).map_or(KEPT, |column| column.worth);
        while taken(shown.iter().map(least)) > room {
            let candidates = shown.iter().enumerate().filter(|(_, (at, _))| worth(*at) < KEPT);
            let Some((place, _)) = candidates.min_by_key(|(_, (at, _))| worth(*at)) else {
                break;
            };
            shown.remove(place);
        }
        let over = taken(shown.iter().map(|(_, width)| *width)).saturating_sub(room);
        for (at, width) in &mut shown {
            if columns.get(*at).is_some_and(|column| column.align == Align::Rest) {
                *width = width.saturating_sub(over);
            }
        }
        Self {
            shown,
            columns: columns.to_vec(),
        }
    }

    /// The titles, with a mark at the column that the rows are in the order of.
    pub fn heading(&self, marked: Option<(usize, char)>) -> Line {
        let titles: Vec<Cell> = self
            .columns
            .iter()
            .map(|column| cell(Tone::Dim, column.title))
            .collect();
        let mut line = Line::new();
        for (place, (at, width)) in self.shown.iter().enumerate() {
            let is_marked = marked.is_some_and(|(marked, _)| marked == *at);
            let mut title = titles.get(*at).cloned().unwrap_or_default();
            if let Some((_, mark)) = marked.filter(|_| is_marked) {
                title.tone = Tone::Strong;
                let letters = title.text.chars().take(width.saturating_sub(1));
                title.text = letters.chain([mark]).collect();
            }
            self.place(&mut line, place, *at, *width, &title);
        }
        line
    }

    pub fn row(&self, cells: &[Cell]) -> Line {
        let mut line = Line::new();
        for (place, (at, width)) in self.shown.iter().enumerate() {
            let cell = cells.get(*at).cloned().unwrap_or_default();
            self.place(&mut line, place, *at, *width, &cell);
        }
        line
    }

    fn place(&self, line: &mut Line, place: usize, at: usize, columns: usize, cell: &Cell) {
        if place > 0 {
            line.push(Tone::Plain, " ".repeat(GAP));
        }
        let text = cut(&cell.text, columns, Ending::WhereCut);
        let blank = " ".repeat(columns.saturating_sub(width(&text)));
        let is_right = self.columns.get(at).is_some_and(|column| column.align == Align::Right);
        if is_right {
            line.push(Tone::Plain, blank);
            line.push(cell.tone, text);
        } else {
            line.push(cell.tone, text);
            line.push(Tone::Plain, blank);
        }
    }
}

/// Columns of the terminal that these take with their gaps.
fn taken(widths: impl Iterator<Item = usize>) -> usize {
    widths.map(|width| width + GAP).sum::<usize>().saturating_sub(GAP)
}

/// Heading and rows, for a list that is shown whole.
pub fn lines(columns: &[Column], rows: &[Vec<Cell>], room: usize) -> Vec<Line> {
    let grid = Grid::new(columns, rows, room);
    let each = rows.iter().map(|row| grid.row(row));
    std::iter::once(grid.heading(None)).chain(each).collect()
}

#[cfg(test)]
mod tests {
    use super::{Align, Column, Grid, KEPT, cell, column, lines};
    use crate::cli::sight::line::Tone;

    const COLUMNS: [Column; 4] = [
        column("node", Align::Right, KEPT),
        column("title", Align::Rest, KEPT),
        column("lag", Align::Right, 2),
        column("url", Align::Left, 1),
    ];

    #[track_caller]
    fn check(room: usize, expected: &[&str]) {
        let rows = [
            ["1", "Go inside now, all of you", "0", "http://a"],
            ["12", "Cake", "1,204", "http://b"],
        ];
        let rows = rows.map(|row| row.map(|text| cell(Tone::Plain, text)).to_vec());
        let told: Vec<String> = lines(&COLUMNS, &rows, room).iter().map(super::Line::text).collect();
        assert_eq!(told, expected, "{room}");
    }

    #[test]
    fn what_matters_least_goes_first() {
        check(
            99,
            &[
                "node  title                        lag  url",
                "   1  Go inside now, all of you      0  http://a",
                "  12  Cake                       1,204  http://b",
            ],
        );
        check(
            45,
            &[
                "node  title                     lag  url",
                "   1  Go inside now, all of…      0  http://a",
                "  12  Cake                    1,204  http://b",
            ],
        );
        check(
            42,
            &[
                "node  title                        lag",
                "   1  Go inside now, all of you      0",
                "  12  Cake                       1,204",
            ],
        );
        check(26, &["node  title", "   1  Go inside now, all …", "  12  Cake"]);
        check(10, &["node  tit…", "   1  Go …", "  12  Cake"]);
    }

    #[test]
    fn the_order_is_marked_in_the_heading() {
        let rows = [vec![cell(Tone::Plain, "1")]];
        let grid = Grid::new(&COLUMNS[..1], &rows, 10);
        assert_eq!(grid.heading(Some((0, '↓'))).text(), "nod↓");
        let rows = [vec![cell(Tone::Plain, "10,000")]];
        let grid = Grid::new(&COLUMNS[..1], &rows, 10);
        assert_eq!(grid.heading(Some((0, '↓'))).text(), " node↓");
    }
}
