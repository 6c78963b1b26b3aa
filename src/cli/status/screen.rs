//! One screen that answers "is all well?": the answer first, then what it stands on.

mod lists;
mod notes;
#[cfg(test)]
mod tests;

use crate::cli::output;
use crate::cli::sight::alerts;
use crate::cli::sight::grid::{self, Align, Column, KEPT, cell, column};
use crate::cli::sight::line::{Line, Tone};
use crate::cli::sight::words::{self, NONE};
use crate::cli::sight::{PRIORITIES, READY, Sight};

/// How much is shown.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    pub columns: usize,
    pub rows: usize,
}

impl Room {
    /// For a pipe, a file, or a terminal that scrolls.
    pub const ENDLESS: Self = Self {
        columns: usize::MAX,
        rows: usize::MAX,
    };
}

/// Critical broadcasts that are shown at most.
const CRITICAL_MAX: usize = 10;
/// Of the last hour's probes; a season is passed with no less.
const UPTIME_LOW: f64 = 0.995;
/// Alerts that are shown at most.
const ALERTS_MAX: usize = 8;

const NODES: [Column; 7] = [
    column("node", Align::Right, KEPT),
    column("says", Align::Left, KEPT),
    column("role", Align::Left, KEPT),
    column("lag", Align::Right, 4),
    column("sessions", Align::Right, KEPT),
    column("waiting", Align::Right, 3),
    column("address", Align::Left, 2),
];
const QUEUES: [Column; 6] = [
    column("queue", Align::Left, KEPT),
    column("waiting", Align::Right, KEPT),
    column("oldest", Align::Right, KEPT),
    column("written/s", Align::Right, KEPT),
    column("in flight", Align::Right, 2),
    column("retries", Align::Right, 1),
];

/// The screen from top to bottom. Where rows are few, the blank lines go first, then the ends of the lists.
pub fn lines(sight: &Sight, room: Room) -> Vec<Line> {
    let mut parts = vec![
        head(sight),
        nodes(sight, room),
        queues(sight, room),
        notes::notes(sight),
    ];
    let (alerts, critical) = (lists::alerts(sight), lists::critical(sight, room));
    let fixed: usize = parts.iter().map(Vec::len).sum();
    let blanks = parts.len() + usize::from(!alerts.is_empty());
    // One more for the heading.
    let (alerts_most, critical_most) = (alerts.len().min(ALERTS_MAX), critical.len().min(CRITICAL_MAX + 1));
    let wanted = alerts_most + critical_most;
    let (gap, left) = match room.rows.checked_sub(fixed + blanks) {
        Some(left) if left >= wanted => (Some(Line::new()), left),
        Some(_) | None => (None, room.rows.saturating_sub(fixed)),
    };
    // Half of what is left is for what is critical, and more where the alerts leave it.
    let for_critical = critical_most.min((left / 2).max(left.saturating_sub(alerts_most)));
    parts.push(lists::cut_to(alerts, alerts_most.min(left - for_critical)));
    parts.push(lists::cut_to(critical, for_critical));
    let mut lines: Vec<Line> = Vec::new();
    for part in parts.into_iter().filter(|part| !part.is_empty()) {
        lines.extend(gap.clone().filter(|_| !lines.is_empty()));
        lines.extend(part);
    }
    lines.truncate(room.rows);
    lines.into_iter().map(|line| line.fit(room.columns)).collect()
}

fn head(sight: &Sight) -> Vec<Line> {
    let board = &sight.board;
    let (tone, text) = alerts::headline(sight);
    let time: String = board
        .at
        .chars()
        .skip("2027-06-19T".len())
        .take("16:42:07".len())
        .collect();
    let seen = format!("  {time} UTC, from node {}", board.cluster.node);
    let mut lines = vec![Line::new().with(tone, text).with(Tone::Dim, seen)];
    // The first one is the headline.
    let others = board.health.concerns.iter().skip(1);
    lines.extend(others.map(|concern| {
        let tone = Tone::of_severity(&concern.severity);
        Line::new().with(tone, words::sentence(&concern.detail))
    }));
    let score = board.health.score;
    let score_tone = if score >= 85 { Tone::Good } else { Tone::Warn };
    let mut last = Line::new()
        .with(Tone::Plain, "score ")
        .with(score_tone, score.to_string());
    match board.cluster.leader {
        Some(leader) => last.push(Tone::Plain, format!("  node {leader} leads")),
        None => last.push(Tone::Bad, "  no leader"),
    }
    last.push(Tone::Dim, format!(", term {}", board.cluster.term));
    let (connected, users) = (board.capacity.connected, board.capacity.users);
    last.push(
        Tone::Plain,
        format!(
            "  {} of {} connected",
            output::count(connected),
            words::many(users, "user")
        ),
    );
    if let Some(share) = board.uptime.hour.share {
        let tone = if share < UPTIME_LOW { Tone::Bad } else { Tone::Dim };
        last.push(tone, format!("  uptime {}", words::percent(Some(share))));
    }
    last.push(Tone::Warn, of_score(sight));
    lines.push(last);
    lines
}

/// What took points off: `  (queue time 612 ms: -15)`.
fn of_score(sight: &Sight) -> String {
    let off = sight.board.health.parts.iter().filter(|part| part.lost > 0);
    let each: Vec<String> = off
        .map(|part| {
            let value = match part.unit.as_str() {
                "share" => words::percent(part.value),
                _ => words::millis(part.value),
            };
            format!("{} {value}: -{}", words::spaced(&part.part), part.lost)
        })
        .collect();
    if each.is_empty() {
        String::new()
    } else {
        format!("  ({})", each.join(", "))
    }
}

fn nodes(sight: &Sight, room: Room) -> Vec<Line> {
    let each = sight.board.cluster.nodes.iter().map(|node| {
        let says = sight.says(node.node);
        let says_tone = if says == READY { Tone::Good } else { Tone::Bad };
        let role_tone = match node.role.as_str() {
            "leader" => Tone::Strong,
            "unreachable" => Tone::Bad,
            _ => Tone::Plain,
        };
        vec![
            cell(Tone::Plain, node.node.to_string()),
            cell(says_tone, words_of(says)),
            cell(role_tone, words_of(&node.role)),
            cell(Tone::Plain, words::number(node.lag)),
            cell(Tone::Plain, output::count(node.sessions)),
            cell(Tone::Plain, words::number(sight.waiting_at(node.node))),
            cell(Tone::Dim, node.url.clone().unwrap_or_else(|| NONE.into())),
        ]
    });
    grid::lines(&NODES, &each.collect::<Vec<_>>(), room.columns)
}

fn words_of(text: &str) -> String {
    if text.is_empty() { NONE.into() } else { text.to_owned() }
}

fn queues(sight: &Sight, room: Room) -> Vec<Line> {
    let each = PRIORITIES.iter().map(|name| {
        let queue = sight.queue(name);
        let (tone, oldest) = if queue.waiting > 0 {
            (Tone::of_priority(name), words::span(queue.oldest_seconds))
        } else {
            (Tone::Plain, NONE.into())
        };
        let count = |number: u64| cell(Tone::Plain, output::count(number));
        vec![
            cell(tone, *name),
            cell(tone, output::count(queue.waiting)),
            cell(Tone::Plain, oldest),
            cell(Tone::Plain, words::rate(queue.rate)),
            count(queue.in_flight),
            count(queue.retries),
        ]
    });
    let mut lines = grid::lines(&QUEUES, &each.collect::<Vec<_>>(), room.columns);
    let (counted, all) = sight.counted();
    if let Some(heading) = lines.first_mut().filter(|_| counted < all) {
        heading.push(
            Tone::Dim,
            format!("  ({counted} of {})", words::many(all as u64, "node")),
        );
    }
    lines
}
