//! The head, which answers whether all is well, and the panes: all of them, or one at a time where there is little room.

use super::{first_shown, put};
use crate::cli::output;
use crate::cli::sight::Sight;
use crate::cli::sight::alerts;
use crate::cli::sight::grid::Grid;
use crate::cli::sight::line::{Line, Palette, Tone};
use crate::cli::sight::words;
use crate::cli::top::model::{Model, Pane};
use crate::cli::top::tables;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::widgets::{Block, BorderType, Padding};

/// Room for all panes at once.
const ALL_COLUMNS: u16 = 76;
const ALL_ROWS: u16 = 17;
/// A border above and below, and the heading.
const FRAME_ROWS: u16 = 3;
/// The four priorities.
const QUEUE_ROWS: u16 = 4;

pub fn head(model: &Model, frame: &mut Frame, area: Rect) {
    let Some(sight) = &model.sight else {
        put(model, frame, area, 0, Line::new().with(Tone::Dim, " looking ..."));
        return;
    };
    let (tone, text) = alerts::headline(sight);
    let mut first = Line::new().with(Tone::Plain, " ");
    match (&model.lost, model.note()) {
        (Some(lost), _) => {
            let lasts = words::span(lost.lasts.as_secs_f64());
            first.push(Tone::Bad, format!("no node answers, for {lasts}: {}", lost.why));
        }
        (None, Some(note)) => {
            first.push(Tone::Warn, format!("{note}. "));
            first.push(tone, text);
        }
        (None, None) => first.push(tone, text),
    }
    put(model, frame, area, 0, first);
    let board = &sight.board;
    let score = board.health.score;
    let mut second = Line::new().with(Tone::Dim, " score ");
    second.push(if score >= 85 { Tone::Good } else { Tone::Warn }, score.to_string());
    match board.cluster.leader {
        Some(leader) => second.push(Tone::Plain, format!("  node {leader} leads")),
        None => second.push(Tone::Bad, "  no leader"),
    }
    second.push(Tone::Dim, format!(", term {}", board.cluster.term));
    let (connected, users) = (board.capacity.connected, board.capacity.users);
    second.push(
        Tone::Plain,
        format!("  {} of {} connected", output::count(connected), output::count(users)),
    );
    let time: String = board
        .at
        .chars()
        .skip("2027-06-19T".len())
        .take("16:42:07".len())
        .collect();
    let when = if model.lost.is_some() { "as of " } else { "" };
    second.push(Tone::Dim, format!("  {when}{time} UTC via node {}", board.cluster.node));
    put(model, frame, area, 1, second);
}

pub fn panes(model: &Model, frame: &mut Frame, area: Rect) {
    if area.width < ALL_COLUMNS || area.height < ALL_ROWS {
        one(model, frame, area);
        return;
    }
    let nodes = model.sight.as_ref().map_or(0, |sight| sight.board.cluster.nodes.len());
    let first = QUEUE_ROWS.max(u16::try_from(nodes.min(8)).unwrap_or(8)) + FRAME_ROWS;
    let left = area.height.saturating_sub(first);
    // As much as there is to see, but the broadcasts have most of what is left.
    let wanted = [Pane::Workers, Pane::Alerts]
        .map(|pane| model.rows(pane).len())
        .into_iter()
        .max();
    let wanted = u16::try_from(wanted.unwrap_or_default()).unwrap_or(u16::MAX);
    let second = wanted.clamp(2, (left / 3).max(FRAME_ROWS + 2) - FRAME_ROWS) + FRAME_ROWS;
    let heights = [
        Constraint::Length(first),
        Constraint::Length(second),
        Constraint::Min(0),
    ];
    let [top, middle, bottom] = Layout::vertical(heights).areas(area);
    let halves = || Layout::horizontal([Constraint::Percentage(50), Constraint::Percentage(50)]);
    let [queues, nodes] = halves().areas(top);
    let [workers, alerts] = halves().areas(middle);
    let places = [queues, nodes, workers, alerts, bottom];
    for (pane, place) in Pane::ALL.into_iter().zip(places) {
        draw(model, pane, frame, place);
    }
}

/// The pane that has the keys, below the names of all.
fn one(model: &Model, frame: &mut Frame, area: Rect) {
    let [names, place] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
    let mut line = Line::new();
    for pane in Pane::ALL {
        let tone = if pane == model.focus { Tone::Strong } else { Tone::Dim };
        line.push(tone, format!(" {} ", pane.title()));
    }
    put(model, frame, names, 0, line);
    draw(model, model.focus, frame, place);
}

fn draw(model: &Model, pane: Pane, frame: &mut Frame, area: Rect) {
    let is_here = model.focus == pane;
    let rows = model.rows(pane);
    let list = model.list(pane);
    let block = Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(border(is_here.then_some(model.palette), model.palette))
        .padding(Padding::horizontal(1))
        .title(title(model, pane, rows.len()).spans(model.palette));
    let inside = block.inner(area);
    frame.render_widget(block, area);
    if rows.is_empty() {
        let text = match (pane, list.filter.is_empty()) {
            (_, false) => "nothing has these letters",
            (Pane::Alerts, true) => "nothing wants a look",
            (Pane::Broadcasts, true) => "nothing was published of late",
            (Pane::Queues | Pane::Nodes | Pane::Workers, true) => "not known",
        };
        put(model, frame, inside, 0, Line::new().with(Tone::Dim, text));
        return;
    }
    let cells: Vec<_> = rows.iter().map(|row| row.cells.clone()).collect();
    let grid = Grid::new(tables::columns(pane), &cells, usize::from(inside.width));
    put(model, frame, inside, 0, grid.heading(list.mark()));
    let keys: Vec<&str> = rows.iter().map(|row| row.key.as_str()).collect();
    let cursor = list.place(&keys).unwrap_or_default();
    let height = usize::from(inside.height.saturating_sub(1));
    let first = first_shown(cursor, height);
    for ((at, cells), row) in cells.iter().enumerate().skip(first).take(height).zip(1..) {
        put(model, frame, inside, row, grid.row(cells));
        if is_here && at == cursor {
            let place = Rect::new(inside.x, inside.y + row, inside.width, 1);
            frame
                .buffer_mut()
                .set_style(place, Style::new().add_modifier(Modifier::REVERSED));
        }
    }
}

/// The name, how many there are, and what was typed.
fn title(model: &Model, pane: Pane, count: usize) -> Line {
    let is_here = model.focus == pane;
    let mut line = Line::new();
    line.push(
        if is_here { Tone::Strong } else { Tone::Plain },
        format!(" {} ", pane.title()),
    );
    match pane {
        Pane::Alerts | Pane::Broadcasts | Pane::Workers => line.push(Tone::Dim, format!("{count} ")),
        Pane::Queues | Pane::Nodes => {}
    }
    let filter = &model.list(pane).filter;
    if !filter.is_empty() {
        line.push(Tone::Warn, format!("/{filter} "));
    }
    if let Some((counted, all)) = model
        .sight
        .as_ref()
        .map(Sight::counted)
        .filter(|_| pane == Pane::Queues)
        && counted < all
    {
        line.push(Tone::Dim, format!("of {counted} nodes of {all} "));
    }
    line
}

/// The pane that has the keys stands out.
fn border(here: Option<Palette>, palette: Palette) -> Style {
    match (here, palette) {
        (Some(_), Palette::Colours) => Style::new().fg(Color::Cyan),
        (Some(_), Palette::Plain) => Style::new().add_modifier(Modifier::BOLD),
        (None, Palette::Colours) => Style::new().fg(Color::DarkGray),
        (None, Palette::Plain) => Style::new().add_modifier(Modifier::DIM),
    }
}
