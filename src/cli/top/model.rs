//! What is shown, and what can happen; [`super::update`] says what becomes of it then.

use super::ladder::Ladder;
use super::order::{self, List};
use super::tables::{self, Row};
use crate::cli::sight::Sight;
use crate::cli::sight::line::Palette;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pane {
    Queues,
    Nodes,
    Workers,
    Alerts,
    Broadcasts,
}

impl Pane {
    pub const ALL: [Self; 5] = [Self::Queues, Self::Nodes, Self::Workers, Self::Alerts, Self::Broadcasts];

    pub const fn index(self) -> usize {
        self as usize
    }

    pub const fn title(self) -> &'static str {
        match self {
            Self::Queues => "queues",
            Self::Nodes => "nodes",
            Self::Workers => "workers",
            Self::Alerts => "alerts",
            Self::Broadcasts => "broadcasts",
        }
    }

    /// The next one, or the one before, round and round.
    pub const fn neighbour(self, step: usize) -> Self {
        Self::ALL[(self.index() + step) % Self::ALL.len()]
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    Left,
    Right,
    Enter,
    Escape,
    Backspace,
    Letter(char),
    /// Ctrl-C.
    Interrupt,
}

/// What can happen.
#[derive(Debug)]
pub enum Event {
    Key(Key),
    /// The terminal has another size, or lost what was on it: it is drawn again.
    Resized,
    Seen(Box<Sight>),
    /// No node answers, for so long.
    Lost(String, Duration),
    /// How far the people of a broadcast are, or why that is not known.
    Opened(String, Result<Box<Ladder>, String>),
    Quit,
}

/// No node answers.
#[derive(Debug, PartialEq, Eq)]
pub struct Lost {
    pub why: String,
    pub lasts: Duration,
}

/// A broadcast that is looked at closely.
#[derive(Debug)]
pub struct Opened {
    pub id: String,
    /// `None` until its node has told.
    pub ladder: Option<Box<Ladder>>,
    pub fault: Option<String>,
    pub list: List,
}

#[derive(Debug)]
pub struct Model {
    pub palette: Palette,
    pub sight: Option<Sight>,
    pub lost: Option<Lost>,
    /// Which node was left for which, and for how many looks that is still told.
    pub(super) note: Option<(u64, u64, u32)>,
    pub focus: Pane,
    pub(super) lists: [List; 5],
    pub opened: Option<Opened>,
    /// A filter is being typed.
    pub is_typing: bool,
    pub is_helping: bool,
    pub(super) is_over: bool,
}

impl Model {
    pub fn new(palette: Palette) -> Self {
        Self {
            palette,
            sight: None,
            lost: None,
            note: None,
            focus: Pane::Broadcasts,
            lists: Default::default(),
            opened: None,
            is_typing: false,
            is_helping: false,
            is_over: false,
        }
    }

    pub const fn is_over(&self) -> bool {
        self.is_over
    }

    /// The broadcast whose ladder is wanted.
    pub fn opened(&self) -> Option<&str> {
        self.opened.as_ref().map(|opened| opened.id.as_str())
    }

    pub fn list(&self, pane: Pane) -> &List {
        &self.lists[pane.index()]
    }

    /// The list that keys work on.
    pub fn here(&self) -> &List {
        self.opened
            .as_ref()
            .map_or_else(|| self.list(self.focus), |opened| &opened.list)
    }

    pub fn here_mut(&mut self) -> &mut List {
        match &mut self.opened {
            Some(opened) => &mut opened.list,
            None => &mut self.lists[self.focus.index()],
        }
    }

    /// The rows of a pane in the order in which they are shown.
    pub fn rows(&self, pane: Pane) -> Vec<Row> {
        let rows = self.sight.as_ref().map(|sight| tables::rows(pane, sight));
        order::arrange(rows.unwrap_or_default(), self.list(pane))
    }

    /// The keys of the rows that the cursor moves over.
    pub fn places(&self) -> Vec<String> {
        match &self.opened {
            Some(opened) => opened.ladder.as_ref().map_or_else(Vec::new, |ladder| {
                let people = ladder.people(&opened.list.filter);
                people.into_iter().map(|person| person.key).collect()
            }),
            None => self.rows(self.focus).into_iter().map(|row| row.key).collect(),
        }
    }

    /// That another node was taken, as long as it is news.
    pub fn note(&self) -> Option<String> {
        let (left, taken, _) = self.note?;
        Some(format!("node {left} was lost: going on with node {taken}"))
    }
}
