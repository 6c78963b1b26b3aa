//! The lists at the end of the screen: alerts that fire, and critical broadcasts with how many are missing.

use super::Room;
use crate::cli::output;
use crate::cli::sight::Sight;
use crate::cli::sight::alerts::{self, Alert};
use crate::cli::sight::board::Row;
use crate::cli::sight::grid::{self, Align, Cell, Column, KEPT, cell, column};
use crate::cli::sight::line::{Line, Tone};
use crate::cli::sight::words;

const CRITICAL: [Column; 4] = [
    column("critical, newest first", Align::Rest, KEPT),
    column("missing", Align::Right, KEPT),
    column("out", Align::Right, 2),
    column("id", Align::Left, 1),
];

/// Nothing where the node knows no alerts.
pub fn alerts(sight: &Sight) -> Vec<Line> {
    let Some(firing) = alerts::firing(sight) else {
        return Vec::new();
    };
    if firing.is_empty() {
        return vec![Line::new().with(Tone::Dim, "no alert fires")];
    }
    let now = sight.board.now();
    let tell = |alert: &Alert| {
        let mut line = Line::new().with(alert.tone(), words::spaced(&alert.severity));
        line.push(Tone::Strong, format!("  {}", words::spaced(&alert.name)));
        line.push(Tone::Plain, format!("  {}", alert.detail));
        if alert.since.is_some() {
            line.push(Tone::Dim, format!(", since {}", words::age(now, alert.since)));
        }
        line
    };
    firing.iter().map(tell).collect()
}

/// The newest critical ones, with how many are missing.
pub fn critical(sight: &Sight, room: Room) -> Vec<Line> {
    let rows = sight.board.rows();
    let rows: Vec<&Row> = rows
        .into_iter()
        .filter(|row| row.priority == "critical" && row.status != "scheduled")
        .collect();
    let urgent = &sight.board.urgent;
    if rows.is_empty() {
        let at_least = if urgent.critical_last_hour_is_at_least {
            "at least "
        } else {
            ""
        };
        let hour = urgent.critical_last_hour;
        let line = Line::new().with(
            Tone::Dim,
            format!("no critical broadcast is out; {at_least}{hour} in the last hour"),
        );
        return vec![line];
    }
    let now = sight.board.now();
    let each: Vec<Vec<Cell>> = rows
        .iter()
        .map(|row| {
            let missing = row.missing();
            let is_over = row.status == "cancelled" || row.status == "expired";
            let tone = match missing {
                0 => Tone::Good,
                _ if is_over => Tone::Plain,
                _ => Tone::Bad,
            };
            let told = match missing {
                0 => "nobody".to_owned(),
                _ => format!("{} of {}", output::count(missing), output::count(row.meant())),
            };
            let drill = if row.drill { "[drill] " } else { "" };
            let off = if is_over {
                format!(" ({})", row.status)
            } else {
                String::new()
            };
            vec![
                cell(Tone::Plain, format!("{drill}{}{off}", output::plain(&row.title))),
                cell(tone, told),
                cell(Tone::Plain, words::age(now, row.since())),
                cell(Tone::Dim, row.id.clone()),
            ]
        })
        .collect();
    grid::lines(&CRITICAL, &each, room.columns)
}

/// At most so many; the last one then counts those that are left out, where there is room for that.
pub fn cut_to(mut lines: Vec<Line>, most: usize) -> Vec<Line> {
    const ROOM_TO_COUNT: usize = 3;
    if lines.len() > most && most >= ROOM_TO_COUNT {
        let left = lines.len() - (most - 1);
        lines.truncate(most - 1);
        lines.push(Line::new().with(Tone::Dim, format!("and {left} more")));
    }
    lines.truncate(most);
    lines
}
