//! `GET /v1/dead-letters`: who never got something that has expired, and why.

use super::context::Context;
use super::problem::{Code, Problem};
use super::request::Query;
use super::wire::{self, At, Text26};
use crate::model::{Position, Priority, Reason, UserNumber};
use crate::state::State as Applied;
use crate::state::broadcasts::{BLOCK, Hot};
use axum::extract::State;
use axum::response::Response;
use http::{StatusCode, Uri};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Blocks of broadcasts that are read for one page; a page that is not full by then says where to go on.
const BLOCKS_MAX: usize = 32;

#[derive(Serialize)]
struct Letter {
    /// The broadcast's, as in every frame of it.
    id: Text26,
    position: Position,
    priority: Priority,
    #[serde(rename = "type")]
    kind: String,
    title: String,
    user: String,
    reason: &'static str,
    /// Writes to sessions that promised a receipt.
    attempts: usize,
    at: At,
    expired_at: At,
}

#[derive(Serialize)]
struct Letters {
    items: Vec<Letter>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// All there are, whatever is asked for.
    total: u64,
    by_priority: BTreeMap<&'static str, u64>,
    by_reason: BTreeMap<&'static str, u64>,
}

/// What is asked for.
#[derive(Clone, Copy)]
struct Wanted {
    priority: Option<Priority>,
    reason: Option<Reason>,
    /// Behind this one: broadcasts come newest first, their people by number.
    behind: Option<(Position, UserNumber)>,
    limit: usize,
}

impl Wanted {
    fn read(query: &Query) -> Result<Self, Problem> {
        let reasons: Vec<&str> = Reason::ALL.into_iter().map(Reason::name).collect();
        let reason = |text: &str| Reason::ALL.into_iter().find(|reason| reason.name() == text);
        Ok(Self {
            priority: query.parse("priority", "one of critical, high, normal, low", Priority::parse)?,
            reason: query.parse("reason", &format!("one of {}", reasons.join(", ")), reason)?,
            behind: query.parse("after", "what a page ended with", behind)?,
            limit: query.limit()?,
        })
    }

    fn takes(&self, priority: Priority, reason: Reason) -> bool {
        self.priority.is_none_or(|wanted| wanted == priority) && self.reason.is_none_or(|wanted| wanted == reason)
    }
}

fn behind(text: &str) -> Option<(Position, UserNumber)> {
    let (position, user) = text.split_once('-')?;
    Some((position.parse().ok()?, user.parse().ok()?))
}

pub async fn list(State(context): State<Arc<Context>>, uri: Uri) -> Result<Response, Problem> {
    let query = Query::read(&uri, &["limit", "after", "priority", "reason"])?;
    context.fresh(&query, context.deadline()).await?;
    let wanted = Wanted::read(&query)?;
    let found = context.blocking(move |context| find(context, wanted)).await.flatten();
    let (items, next) = found.ok_or_else(|| Problem::new(Code::Internal, "the list cannot be read"))?;
    let counts = context.handle.read(|state| state.broadcasts().blocks().dead_counts());
    let mut letters = Letters {
        items,
        next,
        total: counts.values().sum(),
        by_priority: BTreeMap::new(),
        by_reason: BTreeMap::new(),
    };
    for ((priority, reason), count) in counts {
        *letters.by_priority.entry(priority.name()).or_default() += count;
        *letters.by_reason.entry(reason.name()).or_default() += count;
    }
    Ok(wire::json(StatusCode::OK, &letters))
}

/// A page, and where the next one goes on; `None` when the disk cannot be read.
fn find(context: &Context, wanted: Wanted) -> Option<(Vec<Letter>, Option<String>)> {
    let mut items = Vec::new();
    let (mut below, mut behind) = (
        wanted.behind.map_or(Position::MAX, |(at, _)| at.saturating_add(1)),
        wanted.behind,
    );
    for _ in 0..BLOCKS_MAX {
        let next = context.handle.read(|state| {
            let blocks = state.broadcasts().blocks();
            blocks.dead_below(below, |priority, reason| wanted.takes(priority, reason))
        });
        let Some(first) = next else { return Some((items, None)) };
        let hots = (context.reader.block)(first / BLOCK)?;
        for hot in hots.into_iter().rev() {
            let Some(position) = hot.broadcast.position.filter(|at| *at < below) else {
                continue;
            };
            let after = behind.filter(|(at, _)| *at == position).map(|(_, user)| user);
            for (user, reason, letter) in letters(context, &hot, wanted, after) {
                if items.len() == wanted.limit {
                    return Some((items, behind.map(|(at, user)| format!("{at}-{user}"))));
                }
                behind = Some((position, user));
                debug_assert!(wanted.takes(hot.broadcast.draft.priority, reason));
                items.push(letter);
            }
        }
        below = first;
    }
    // everything from here up is looked through
    Some((items, Some(format!("{below}-{}", UserNumber::MAX))))
}

/// One broadcast's, by the number of the user.
fn letters(
    context: &Context,
    hot: &Hot,
    wanted: Wanted,
    after: Option<UserNumber>,
) -> Vec<(UserNumber, Reason, Letter)> {
    let Some(dead) = hot.dead() else { return Vec::new() };
    let broadcast = &hot.broadcast;
    let mut found: Vec<(UserNumber, Reason)> = Vec::new();
    for letters in &dead.letters {
        if wanted.takes(broadcast.draft.priority, letters.reason) {
            let from = after.map_or(0, |after| after.saturating_add(1));
            found.extend(
                letters
                    .users
                    .range(from..)
                    .take(wanted.limit + 1)
                    .map(|user| (user, letters.reason)),
            );
        }
    }
    found.sort_unstable_by_key(|(user, _)| *user);
    let shown = |state: &Applied| {
        let each = found.into_iter().filter_map(|(user, reason)| {
            let letter = Letter {
                id: Text26(broadcast.id),
                position: broadcast.position.unwrap_or_default(),
                priority: broadcast.draft.priority,
                kind: broadcast.draft.kind.clone(),
                title: broadcast.draft.title.clone(),
                // whoever was erased has no name any more
                user: state.directory().user_id(user)?.to_owned(),
                reason: reason.name(),
                attempts: hot.tries().map_or(0, |tries| tries.made(user)),
                at: At(dead.at),
                expired_at: At(broadcast.expires_at),
            };
            Some((user, reason, letter))
        });
        each.collect()
    };
    context.handle.read(shown)
}
