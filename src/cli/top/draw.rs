//! Puts a model on a screen. Whatever does not fit is left out by worth, never wrapped.

mod closer;
mod overview;

use super::model::Model;
use crate::cli::sight::line::{Line, Tone};
use ratatui::Frame;
use ratatui::layout::{Constraint, Flex, Layout, Rect};
use ratatui::widgets::{Block, BorderType, Clear, Padding};

/// Below this nothing can be read.
const COLUMNS_MIN: u16 = 40;
const ROWS_MIN: u16 = 10;

pub fn draw(model: &Model, frame: &mut Frame) {
    let area = frame.area();
    if area.width < COLUMNS_MIN || area.height < ROWS_MIN {
        let text = format!("{COLUMNS_MIN} x {ROWS_MIN} or more, please");
        put(model, frame, area, 0, Line::new().with(Tone::Plain, text));
        return;
    }
    let rows = Layout::vertical([Constraint::Length(2), Constraint::Min(0), Constraint::Length(1)]);
    let [head, body, foot] = rows.areas(area);
    overview::head(model, frame, head);
    match &model.opened {
        Some(opened) => closer::broadcast(model, opened, frame, body),
        None => overview::panes(model, frame, body),
    }
    put(model, frame, foot, 0, footer(model));
    if model.is_helping {
        help(model, frame, area);
    }
}

/// One line into a row of an area.
fn put(model: &Model, frame: &mut Frame, area: Rect, row: u16, line: Line) {
    if row >= area.height {
        return;
    }
    let line = line.fit(usize::from(area.width)).spans(model.palette);
    frame.buffer_mut().set_line(area.x, area.y + row, &line, area.width);
}

fn footer(model: &Model) -> Line {
    if model.is_typing {
        let filter = &model.here().filter;
        let line = Line::new().with(Tone::Strong, format!(" /{filter}_"));
        return line.with(Tone::Dim, "   Enter keeps it, Esc takes it away");
    }
    let keys: &[(&str, &str)] = if model.opened.is_some() {
        &[
            ("↑↓", "move"),
            ("/", "filter"),
            ("Esc", "back"),
            ("?", "help"),
            ("q", "quit"),
        ]
    } else {
        &[
            ("Tab", "pane"),
            ("↑↓", "move"),
            ("s", "sort"),
            ("/", "filter"),
            ("Enter", "open"),
            ("?", "help"),
            ("q", "quit"),
        ]
    };
    let mut line = Line::new();
    for (key, what) in keys {
        line.push(Tone::Strong, format!(" {key}"));
        line.push(Tone::Dim, format!(" {what} "));
    }
    line
}

const HELP: [(&str, &str); 11] = [
    ("Tab  → l", "the next pane; ← h the one before"),
    ("↑ ↓  k j", "move; PgUp PgDn, Home End or g G"),
    ("s", "sort by the next column"),
    ("r", "turn the order round"),
    ("/", "show only rows with these letters"),
    ("Enter", "open the broadcast under the cursor"),
    ("Esc", "back, or take the filter away"),
    ("q  Ctrl-C", "quit"),
    ("", ""),
    ("missing", "has not confirmed or, where nobody"),
    ("", "is asked to, has not received it"),
];

fn help(model: &Model, frame: &mut Frame, area: Rect) {
    const WIDTH: u16 = 54;
    let [across] = Layout::horizontal([Constraint::Length(WIDTH)])
        .flex(Flex::Center)
        .areas(area);
    let height = Constraint::Length(HELP.len() as u16 + 2);
    let [place] = Layout::vertical([height]).flex(Flex::Center).areas(across);
    frame.render_widget(Clear, place);
    let title = Line::new().with(Tone::Strong, " keys ").spans(model.palette);
    let block = Block::bordered()
        .border_type(BorderType::Rounded)
        .padding(Padding::horizontal(1))
        .title(title);
    let inside = block.inner(place);
    frame.render_widget(block, place);
    for (row, (key, what)) in (0..).zip(HELP) {
        let line = Line::new().with(Tone::Strong, format!("{key:<11}"));
        put(model, frame, inside, row, line.with(Tone::Plain, what));
    }
}

/// The rows of a list that are shown so that the cursor is among them: the first of them.
fn first_shown(cursor: usize, height: usize) -> usize {
    (cursor + 1).saturating_sub(height)
}
