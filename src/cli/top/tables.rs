//! The rows of each pane: what is shown in each column, and by what it is sorted.

use super::model::Pane;
use crate::cli::output;
use crate::cli::sight::alerts;
use crate::cli::sight::board::Row as Broadcast;
use crate::cli::sight::grid::{Align, Cell, Column, KEPT, cell, column};
use crate::cli::sight::line::Tone;
use crate::cli::sight::words::{self, NONE};
use crate::cli::sight::{PRIORITIES, Sight};

#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What stays the same from one look to the next.
    pub key: String,
    pub cells: Vec<Cell>,
    /// Figures by column, for sorting; a column of words has none.
    pub ranks: Vec<Option<f64>>,
}

const QUEUES: [Column; 6] = [
    column("queue", Align::Left, KEPT),
    column("waiting", Align::Right, KEPT),
    column("oldest", Align::Right, KEPT),
    column("out/s", Align::Right, KEPT),
    column("in flight", Align::Right, 2),
    column("retries", Align::Right, 1),
];
const NODES: [Column; 7] = [
    column("node", Align::Right, KEPT),
    column("state", Align::Left, KEPT),
    column("sessions", Align::Right, KEPT),
    column("lag", Align::Right, 5),
    column("waiting", Align::Right, 4),
    column("of all", Align::Left, 3),
    column("address", Align::Left, 2),
];
const WORKERS: [Column; 6] = [
    column("node", Align::Right, KEPT),
    column("worker", Align::Left, KEPT),
    column("busy", Align::Right, KEPT),
    column("sessions", Align::Right, 3),
    column("cells", Align::Right, 1),
    column("written", Align::Right, 2),
];
const ALERTS: [Column; 4] = [
    column("severity", Align::Left, KEPT),
    column("name", Align::Left, 2),
    column("since", Align::Right, 1),
    column("what", Align::Rest, KEPT),
];
const BROADCASTS: [Column; 9] = [
    column("out", Align::Right, KEPT),
    column("priority", Align::Left, KEPT),
    column("title", Align::Rest, KEPT),
    column("status", Align::Left, 5),
    column("meant", Align::Right, 6),
    column("received", Align::Right, 4),
    column("confirmed", Align::Right, 3),
    column("missing", Align::Right, KEPT),
    column("type", Align::Left, 2),
];
/// Letters of the bar that shows a node's part of all sessions.
const BAR: f64 = 10.0;

pub const fn columns(pane: Pane) -> &'static [Column] {
    match pane {
        Pane::Queues => &QUEUES,
        Pane::Nodes => &NODES,
        Pane::Workers => &WORKERS,
        Pane::Alerts => &ALERTS,
        Pane::Broadcasts => &BROADCASTS,
    }
}

pub fn rows(pane: Pane, sight: &Sight) -> Vec<Row> {
    match pane {
        Pane::Queues => queues(sight),
        Pane::Nodes => nodes(sight),
        Pane::Workers => workers(sight),
        Pane::Alerts => wanting(sight),
        Pane::Broadcasts => broadcasts(sight),
    }
}

/// A cell that is sorted by its letters.
fn word(tone: Tone, text: impl Into<String>) -> (Cell, Option<f64>) {
    (cell(tone, text), None)
}

/// A cell that is sorted by a figure; without one it comes last.
fn figure(tone: Tone, text: impl Into<String>, rank: Option<f64>) -> (Cell, Option<f64>) {
    (cell(tone, text), rank)
}

fn count(tone: Tone, number: u64) -> (Cell, Option<f64>) {
    figure(tone, output::count(number), Some(number as f64))
}

fn row(key: impl Into<String>, cells: Vec<(Cell, Option<f64>)>) -> Row {
    let (cells, ranks) = cells.into_iter().unzip();
    Row {
        key: key.into(),
        cells,
        ranks,
    }
}

fn queues(sight: &Sight) -> Vec<Row> {
    let each = PRIORITIES.iter().map(|name| {
        let queue = sight.queue(name);
        let waits = queue.waiting > 0;
        let tone = if waits { Tone::of_priority(name) } else { Tone::Plain };
        let oldest = if waits {
            words::span(queue.oldest_seconds)
        } else {
            NONE.into()
        };
        row(
            *name,
            vec![
                word(tone, *name),
                count(tone, queue.waiting),
                figure(Tone::Plain, oldest, Some(queue.oldest_seconds)),
                figure(Tone::Plain, words::rate(queue.rate), Some(queue.rate)),
                count(Tone::Plain, queue.in_flight),
                count(if queue.retries > 0 { Tone::Plain } else { Tone::Dim }, queue.retries),
            ],
        )
    });
    each.collect()
}

fn nodes(sight: &Sight) -> Vec<Row> {
    let nodes = &sight.board.cluster.nodes;
    let most: u64 = nodes.iter().map(|node| node.sessions).sum();
    let each = nodes.iter().map(|node| {
        let (tone, state) = match (sight.is_ready(node.node), node.role.as_str()) {
            (true, "leader") => (Tone::Good, "leader"),
            (true, role) => (Tone::Plain, role),
            (false, _) => (Tone::Bad, sight.says(node.node)),
        };
        let share = if most == 0 {
            0.0
        } else {
            node.sessions as f64 / most as f64
        };
        let waiting = sight.waiting_at(node.node);
        row(
            node.node.to_string(),
            vec![
                word(Tone::Plain, node.node.to_string()),
                word(tone, output::plain(state)),
                count(Tone::Plain, node.sessions),
                figure(Tone::Plain, words::number(node.lag), node.lag.map(|lag| lag as f64)),
                figure(
                    Tone::Plain,
                    words::number(waiting),
                    waiting.map(|waiting| waiting as f64),
                ),
                figure(Tone::Dim, "█".repeat((share * BAR).round() as usize), Some(share)),
                word(Tone::Dim, node.url.clone().unwrap_or_else(|| NONE.into())),
            ],
        )
    });
    each.collect()
}

fn workers(sight: &Sight) -> Vec<Row> {
    let each = sight.heard.iter().flat_map(|(node, heard)| {
        heard.workers.iter().map(move |worker| {
            let tone = match worker.busy_share {
                busy if busy > 0.9 => Tone::Bad,
                busy if busy > 0.7 => Tone::Warn,
                _ => Tone::Plain,
            };
            row(
                format!("{node} {}", worker.name),
                vec![
                    word(Tone::Plain, node.to_string()),
                    word(Tone::Plain, output::plain(&worker.name)),
                    figure(tone, words::percent(Some(worker.busy_share)), Some(worker.busy_share)),
                    count(Tone::Plain, worker.sessions),
                    count(Tone::Plain, worker.cells),
                    count(Tone::Plain, worker.written),
                ],
            )
        })
    });
    each.collect()
}

fn wanting(sight: &Sight) -> Vec<Row> {
    let now = sight.board.now();
    let each = alerts::all(sight).into_iter().map(|alert| {
        let since = alert.since.map(|since| (now - since) as f64);
        row(
            alert.name.clone(),
            vec![
                word(alert.tone(), words::spaced(&alert.severity)),
                word(Tone::Strong, words::spaced(&alert.name)),
                figure(Tone::Dim, words::age(now, alert.since), since),
                word(Tone::Plain, output::plain(&alert.detail)),
            ],
        )
    });
    each.collect()
}

fn broadcasts(sight: &Sight) -> Vec<Row> {
    let now = sight.board.now();
    let each = sight.board.rows().into_iter().map(|broadcast| {
        let is_scheduled = broadcast.status == "scheduled";
        let age = broadcast.since().filter(|_| !is_scheduled);
        let counts = &broadcast.counts;
        let drill = if broadcast.drill { "[drill] " } else { "" };
        let confirmed = broadcast.not_confirmed.map(|_| counts.acknowledged);
        let (missing_tone, missing) = missing(broadcast);
        let since = age.map(|since| (now - since) as f64);
        row(
            broadcast.id.clone(),
            vec![
                // The newest first is what one wants of ages.
                figure(Tone::Dim, words::age(now, age), since.map(|since| -since)),
                word(
                    Tone::of_priority(&broadcast.priority),
                    output::plain(&broadcast.priority),
                ),
                word(Tone::Plain, format!("{drill}{}", output::plain(&broadcast.title))),
                word(Tone::Dim, output::plain(&broadcast.status)),
                count(Tone::Plain, broadcast.meant()),
                count(Tone::Plain, counts.received),
                figure(
                    Tone::Plain,
                    words::number(confirmed),
                    confirmed.map(|confirmed| confirmed as f64),
                ),
                figure(missing_tone, missing, Some(broadcast.missing() as f64)),
                word(Tone::Dim, output::plain(&broadcast.kind)),
            ],
        )
    });
    each.collect()
}

/// How many are missing, and how much that matters.
fn missing(broadcast: &Broadcast) -> (Tone, String) {
    let number = broadcast.missing();
    let asks = broadcast.not_confirmed.is_some();
    match (broadcast.status == "scheduled", number) {
        (true, _) => (Tone::Dim, NONE.into()),
        (false, 0) => (Tone::Good, "0".into()),
        (false, _) => {
            let is_urgent = broadcast.priority == "critical" && broadcast.status == "released";
            let tone = match (is_urgent, asks) {
                (true, _) => Tone::Bad,
                (false, true) => Tone::Warn,
                (false, false) => Tone::Plain,
            };
            (tone, output::count(number))
        }
    }
}
