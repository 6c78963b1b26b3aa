//! A draft (what a sender asks for) and a broadcast (what the cluster took on).

use super::{Audience, BroadcastId, LocalTime, Millis, Number, Position, Priority, Trace};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    pub title: String,
    pub body: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    pub label: String,
    pub url: String,
}

/// Who must confirm, with what, and by when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledge {
    pub within_ms: u64,
    pub answers: Vec<String>,
    /// Role and how many of it.
    pub need: Vec<(String, u32)>,
    pub escalate: Vec<Escalate>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Escalate {
    pub after_ms: u64,
    pub to: Audience,
    pub priority: Option<Priority>,
    pub outputs: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnMissed {
    #[default]
    Send,
    Skip,
}

/// What a sender asks for, checked: every limit that needs no state holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draft {
    /// Dotted lower-case words; the first is the category.
    pub kind: String,
    pub priority: Priority,
    pub audience: Audience,
    pub title: String,
    pub body: String,
    /// By locale, sorted.
    pub texts: Vec<(String, Text)>,
    /// Any JSON, as it was sent.
    pub data: Option<String>,
    pub action: Option<Action>,
    pub deliver_at: Option<Millis>,
    /// When the clocks of each recipient's own zone show this, in place of `deliver_at`.
    pub deliver_at_local: Option<LocalTime>,
    pub expires_at: Option<Millis>,
    pub supersedes: Option<BroadcastId>,
    pub drill: bool,
    pub on_missed: OnMissed,
    pub acknowledge: Option<Acknowledge>,
    /// The trace that the request belongs to: from its header, not from its body.
    pub trace: Option<Trace>,
}

impl Draft {
    /// What must be there, of normal priority, to nobody yet; everything that may be left out is.
    pub fn bare(kind: &str, title: &str, body: impl Into<String>) -> Self {
        Self {
            kind: kind.into(),
            priority: Priority::default(),
            audience: Audience::default(),
            title: title.into(),
            body: body.into(),
            texts: Vec::new(),
            data: None,
            action: None,
            deliver_at: None,
            deliver_at_local: None,
            expires_at: None,
            supersedes: None,
            drill: false,
            on_missed: OnMissed::default(),
            acknowledge: None,
            trace: None,
        }
    }

    /// Later steps may add people to its audience.
    pub fn escalates(&self) -> bool {
        self.acknowledge.iter().any(|asked| !asked.escalate.is_empty())
    }

    /// The only wedding that the audience names, if it names just one: the frame's context.
    pub fn wedding(&self) -> Option<&str> {
        only(self.audience.clauses.iter().flat_map(|clause| &clause.weddings))
    }

    /// The only venue that the audience names, if it names just one.
    pub fn venue(&self) -> Option<&str> {
        only(
            self.audience
                .clauses
                .iter()
                .flat_map(|clause| clause.venues.iter().chain(&clause.on_site)),
        )
    }

    /// Whether it has a time of its own, and who is meant is not known before it goes out.
    pub fn is_timed(&self) -> bool {
        self.deliver_at.is_some() || self.deliver_at_local.is_some()
    }

    pub fn category(&self) -> &str {
        self.kind.split('.').next().unwrap_or_default()
    }
}

fn only<'a>(mut names: impl Iterator<Item = &'a String>) -> Option<&'a str> {
    let first = names.next()?;
    names.all(|name| name == first).then_some(first)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Scheduled,
    Released,
    Completed,
    Expired,
    Cancelled,
}

impl Status {
    pub const ALL: [Self; 5] = [
        Self::Scheduled,
        Self::Released,
        Self::Completed,
        Self::Expired,
        Self::Cancelled,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Released => "released",
            Self::Completed => "completed",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }
}

/// When a scheduled broadcast was released, and what its sender was told before: a repeated publish is told the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Late {
    pub at: Millis,
    pub targeted: u32,
    pub connected: u32,
    pub unknown: u32,
}

/// A broadcast that a quorum holds: its draft and the answer that its sender got. It never changes; its ledger does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broadcast {
    pub number: Number,
    pub id: BroadcastId,
    pub draft: Draft,
    /// Who sent it, as the caller's token says; `administrator` without authentication.
    pub sender: String,
    pub accepted_at: Millis,
    pub expires_at: Millis,
    /// `None` while scheduled.
    pub position: Option<Position>,
    /// Of one that was scheduled; any other was released when it was accepted.
    pub late: Option<Late>,
    pub log_index: u64,
    pub targeted: u32,
    /// Recipients with a session somewhere when it was released.
    pub connected: u32,
    pub held: u32,
    pub skipped: u32,
    /// Users named by id that the directory does not know.
    pub unknown: u32,
}

impl Broadcast {
    pub fn released_at(&self) -> Millis {
        self.late.as_ref().map_or(self.accepted_at, |late| late.at)
    }
}
