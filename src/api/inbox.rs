//! `GET /v1/inbox`: a user's broadcasts, newest first, each with the user's own step, and how many are unread.

use super::access::Asking;
use super::broadcasts::matches;
use super::context::Context;
use super::problem::Problem;
use super::request::Query;
use super::wire::{self, ActionView, AskedView, At, Text26, raw};
use crate::base::clock::Millis;
use crate::model::{BroadcastId, Position, Priority, Step, UserNumber};
use crate::state::broadcasts::Hot;
use axum::extract::State;
use axum::response::Response;
use http::{StatusCode, Uri};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use std::sync::Arc;

/// Broadcasts looked at for one page; unread counts are exact below it and say so above it.
const LOOKED_AT_MAX: usize = 5000;

struct Filter {
    user: UserNumber,
    unread: bool,
    priority: Option<Priority>,
    kind: Option<String>,
    category: Option<String>,
    wedding: Option<String>,
    since: Option<Millis>,
    below: Position,
    limit: usize,
}

impl Filter {
    fn passes(&self, hot: &Hot) -> bool {
        let draft = &hot.broadcast.draft;
        hot.broadcast.position.is_some_and(|position| position < self.below)
            && (!self.unread || is_unread(hot, self.user))
            && self.priority.is_none_or(|priority| draft.priority == priority)
            && self.kind.as_ref().is_none_or(|kind| matches(kind, &draft.kind))
            && self
                .category
                .as_ref()
                .is_none_or(|category| category == draft.category())
            && self
                .wedding
                .as_ref()
                .is_none_or(|wedding| draft.wedding() == Some(wedding))
            && self.since.is_none_or(|since| hot.broadcast.released_at() >= since)
    }
}

fn is_unread(hot: &Hot, user: UserNumber) -> bool {
    !hot.ledger.steps[Step::Read.index()].contains(user)
}

/// A broadcast as its recipient sees it: never who else got it.
struct Item {
    hot: Hot,
    user: UserNumber,
    now: Millis,
}

impl Serialize for Item {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let broadcast = &*self.hot.broadcast;
        let draft = &broadcast.draft;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &Text26(broadcast.id))?;
        map.serialize_entry("position", &broadcast.position)?;
        map.serialize_entry("priority", &draft.priority)?;
        map.serialize_entry("type", &draft.kind)?;
        map.serialize_entry("title", &draft.title)?;
        map.serialize_entry("body", &draft.body)?;
        map.serialize_entry("data", &draft.data.as_deref().and_then(raw))?;
        map.serialize_entry("action", &draft.action.as_ref().map(ActionView))?;
        map.serialize_entry("wedding", &draft.wedding())?;
        map.serialize_entry("venue", &draft.venue())?;
        map.serialize_entry("released_at", &At(self.hot.out_at(self.user)))?;
        map.serialize_entry("expires_at", &At(broadcast.expires_at))?;
        map.serialize_entry("expired", &(self.now >= broadcast.expires_at))?;
        map.serialize_entry("supersedes", &draft.supersedes.map(Text26))?;
        map.serialize_entry("drill", &draft.drill)?;
        map.serialize_entry("acknowledge", &draft.acknowledge.as_ref().map(AskedView))?;
        map.serialize_entry("state", self.hot.ledger.step(self.user).map_or("targeted", Step::name))?;
        map.serialize_entry(
            "answer",
            &self.hot.ledger.answers.get(&self.user).map(|answer| &answer.answer),
        )?;
        map.end()
    }
}

#[derive(Default)]
struct Found {
    items: Vec<Hot>,
    more: bool,
    unread: [u64; 4],
    cut: bool,
}

#[derive(Serialize)]
struct Inbox {
    items: Vec<Item>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    unread: Unread,
}

#[derive(Serialize)]
struct Unread {
    critical: u64,
    high: u64,
    normal: u64,
    low: u64,
    total: u64,
    /// There is more than was looked at: the counts are of the newest.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    at_least: bool,
}

pub async fn inbox(State(context): State<Arc<Context>>, asking: Asking, uri: Uri) -> Result<Response, Problem> {
    const KNOWN: &[&str] = &[
        "user", "limit", "after", "unread", "priority", "type", "wedding", "category", "since",
    ];
    let (query, deadline) = (Query::read(&uri, KNOWN)?, context.deadline());
    context.fresh(&query, deadline).await?;
    let user = context.acting(asking.caller(), &query, deadline).await?;
    let owned = |name: &str| query.get(name).map(str::to_owned);
    let filter = Filter {
        user,
        unread: query.flag("unread")?,
        priority: query.parse("priority", "one of critical, high, normal, low", Priority::parse)?,
        kind: owned("type"),
        category: owned("category"),
        wedding: owned("wedding"),
        since: query.time("since")?,
        below: query
            .parse("after", "an id that a page ended with", BroadcastId::parse)?
            .map_or(Position::MAX, |id| {
                let place = context.handle.read(|state| state.broadcasts().place(id.number()));
                place.unwrap_or(Position::MAX)
            }),
        limit: query.limit()?,
    };
    let found = context
        .blocking(move |context| look(context, &filter))
        .await
        .unwrap_or_default();
    let now = context.handle.log_time();
    let next = found
        .items
        .last()
        .filter(|_| found.more)
        .map(|hot| hot.broadcast.id.to_string());
    let [critical, high, normal, low] = found.unread;
    let unread = Unread {
        critical,
        high,
        normal,
        low,
        total: found.unread.iter().sum(),
        at_least: found.cut,
    };
    let items = found.items.into_iter().map(|hot| Item { hot, user, now }).collect();
    Ok(wire::json(StatusCode::OK, &Inbox { items, next, unread }))
}

fn look(context: &Context, filter: &Filter) -> Found {
    let now = context.handle.log_time();
    let mut found = Found::default();
    let mut looked_at = 0;
    (context.reader.inbox)(filter.user, &mut |hot| {
        if !hot.is_for(filter.user) {
            return true; // held until later, skipped, or off
        }
        looked_at += 1;
        if looked_at > LOOKED_AT_MAX {
            found.cut = true;
            return false;
        }
        if is_unread(&hot, filter.user) && now < hot.broadcast.expires_at {
            found.unread[hot.broadcast.draft.priority.index()] += 1;
        }
        if filter.passes(&hot) {
            // once the page is full only the unread are counted
            found.more = found.items.len() == filter.limit;
            if !found.more {
                found.items.push(hot);
            }
        }
        true
    });
    found
}
