//! The newest broadcasts, a row each: what it is, how far its people are, and how many have not confirmed.

use crate::api::counts::Counts;
use crate::api::wire::{At, Text26};
use crate::base::clock::Millis;
use crate::model::Priority;
use crate::model::broadcast::Status;
use crate::state::State;
use crate::state::broadcasts::Hot;
use serde::Serialize;

/// Rows that are shown.
const NEWEST_MAX: usize = 20;
/// Scheduled ones that are shown.
const SCHEDULED_MAX: usize = 10;

#[derive(Debug, Serialize)]
pub struct Row {
    id: Text26,
    status: &'static str,
    priority: Priority,
    #[serde(rename = "type")]
    kind: String,
    title: String,
    drill: bool,
    sender: String,
    wedding: Option<String>,
    venue: Option<String>,
    accepted_at: At,
    /// Null while it is scheduled.
    released_at: Option<At>,
    deliver_at: Option<At>,
    expires_at: At,
    counts: Counts,
    /// Those whom preferences do not skip and who have not; null where nobody is asked to confirm.
    not_confirmed: Option<u64>,
    /// Likewise, who has not received it.
    not_received: u64,
    /// Steps of its escalation that were taken, and those there are.
    escalated: usize,
    escalations: usize,
    /// When the next step is due, unless it is not needed by then; null where none is to come.
    escalates_at: Option<At>,
}

impl Row {
    pub fn of(hot: &Hot, now: Millis) -> Self {
        let broadcast = &*hot.broadcast;
        let draft = &broadcast.draft;
        let counts = Counts::of(hot, now);
        let meant = counts.targeted.saturating_sub(counts.skipped);
        let asked = draft.acknowledge.as_ref();
        let is_out = hot.status(now) == Status::Released;
        let taken = hot.ledger.aside.as_ref().map(|aside| aside.escalation.taken.len());
        Self {
            id: Text26(broadcast.id),
            status: hot.status(now).name(),
            priority: draft.priority,
            kind: draft.kind.clone(),
            title: draft.title.clone(),
            drill: draft.drill,
            sender: broadcast.sender.clone(),
            wedding: draft.wedding().map(str::to_owned),
            venue: draft.venue().map(str::to_owned),
            accepted_at: At(broadcast.accepted_at),
            released_at: broadcast.position.map(|_| At(broadcast.released_at())),
            deliver_at: draft.deliver_at.map(At),
            expires_at: At(broadcast.expires_at),
            not_confirmed: asked.map(|_| meant.saturating_sub(counts.acknowledged)),
            not_received: meant.saturating_sub(counts.received),
            escalated: taken.unwrap_or(0),
            escalations: asked.map_or(0, |asked| asked.escalate.len()),
            escalates_at: hot.next_step().filter(|_| is_out).map(|(at, _)| At(at)),
            counts,
        }
    }
}

#[derive(Serialize)]
pub struct Scheduled {
    count: usize,
    /// The newest of them.
    items: Vec<Row>,
}

/// The newest that were released, from memory.
pub fn newest(state: &State, now: Millis) -> Vec<Row> {
    let newest = state.broadcasts().newest().take(NEWEST_MAX);
    newest.map(|hot| Row::of(hot, now)).collect()
}

pub fn scheduled(state: &State, now: Millis) -> Scheduled {
    let broadcasts = state.broadcasts();
    let newest = broadcasts.scheduled_below(u64::MAX).take(SCHEDULED_MAX);
    Scheduled {
        count: broadcasts.scheduled(),
        items: newest.map(|hot| Row::of(hot, now)).collect(),
    }
}
