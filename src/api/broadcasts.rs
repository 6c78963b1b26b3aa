//! Broadcasts as their senders look at them: one, the list, and who of the recipients is how far.

use super::context::Context;
use super::counts::Counts;
use super::escalations::{self, NeedView, StepView};
use super::problem::{Code, Problem};
use super::request::{Path, Query};
use super::wire::{self, At, DraftView, Page, Text26};
use crate::base::clock::Millis;
use crate::model::broadcast::Status;
use crate::model::{BroadcastId, Priority, Step};
use crate::state::State as Applied;
use crate::state::broadcasts::{Behind, Hot};
use axum::extract::State;
use axum::response::Response;
use http::{StatusCode, Uri};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Broadcasts looked at for one page, from disk where they have left memory; a filter that finds few goes on with `next`.
const LOOKED_AT_MAX: usize = 5_000;

/// One broadcast: what was sent, the status, the ladder, first and last times.
struct Shown<'a> {
    hot: &'a Hot,
    erased: BTreeSet<String>,
    needs: Vec<NeedView>,
    escalations: Vec<StepView>,
    now: Millis,
}

#[derive(Serialize)]
struct Times {
    first: At,
    last: At,
}

impl<'a> Shown<'a> {
    fn new(context: &Context, hot: &'a Hot, now: Millis) -> Self {
        context.handle.read(|state| Self {
            hot,
            erased: erased(state, hot),
            needs: escalations::needs(state, hot),
            escalations: escalations::taken(state, hot),
            now,
        })
    }

    fn times(&self) -> Vec<(&'static str, Times)> {
        let each = Step::ALL.into_iter().filter_map(|step| {
            let (first, last) = self.hot.ledger.times[step.index()]?;
            Some((
                step.name(),
                Times {
                    first: At(first),
                    last: At(last),
                },
            ))
        });
        each.collect()
    }

    /// How often each answer was given.
    fn answers(&self) -> BTreeMap<&str, u64> {
        let mut answers = BTreeMap::new();
        for answer in self.hot.ledger.answers.values() {
            *answers.entry(answer.answer.as_str()).or_default() += 1;
        }
        answers
    }
}

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let broadcast = &*self.hot.broadcast;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &Text26(broadcast.id))?;
        map.serialize_entry("position", &broadcast.position)?;
        map.serialize_entry("status", self.hot.status(self.now).name())?;
        DraftView(broadcast, &self.erased).members(&mut map)?;
        map.serialize_entry("wedding", &broadcast.draft.wedding())?;
        map.serialize_entry("venue", &broadcast.draft.venue())?;
        map.serialize_entry("sender", &broadcast.sender)?;
        map.serialize_entry("accepted_at", &At(broadcast.accepted_at))?;
        map.serialize_entry("released_at", &broadcast.position.map(|_| At(broadcast.released_at())))?;
        map.serialize_entry("log_index", &broadcast.log_index)?;
        let counts = Counts::of(self.hot, self.now);
        // the ladder stands at the top level, as in the answer to a publish, and once more by itself
        map.serialize_entry("targeted", &counts.targeted)?;
        map.serialize_entry("connected", &broadcast.connected)?;
        map.serialize_entry("sent", &counts.sent)?;
        map.serialize_entry("received", &counts.received)?;
        map.serialize_entry("read", &counts.read)?;
        map.serialize_entry("acknowledged", &counts.acknowledged)?;
        map.serialize_entry("held", &counts.held)?;
        map.serialize_entry("skipped", &counts.skipped)?;
        map.serialize_entry("expired", &counts.expired)?;
        map.serialize_entry("failed", &counts.failed)?;
        map.serialize_entry("unknown", &broadcast.unknown)?;
        map.serialize_entry("counts", &counts)?;
        map.serialize_entry("times", &MapOf(self.times()))?;
        map.serialize_entry("answers", &self.answers())?;
        map.serialize_entry("needs", &self.needs)?;
        map.serialize_entry("escalations", &self.escalations)?;
        map.end()
    }
}

struct MapOf(Vec<(&'static str, Times)>);

impl Serialize for MapOf {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, times)| (name, times)))
    }
}

pub async fn get(State(context): State<Arc<Context>>, Path(id): Path<String>, uri: Uri) -> Result<Response, Problem> {
    let deadline = context.deadline();
    context.fresh(&Query::read(&uri, &[])?, deadline).await?;
    let hot = context.broadcast(&id, deadline).await?;
    Ok(shown(&context, &hot))
}

/// A broadcast as `GET` shows it.
pub fn shown(context: &Context, hot: &Hot) -> Response {
    let now = context.handle.log_time();
    wire::json(StatusCode::OK, &Shown::new(context, hot, now))
}

/// A broadcast never changes, and nobody is named who was erased: the ids in its audiences that no user has are not shown.
fn erased(state: &Applied, hot: &Hot) -> BTreeSet<String> {
    let draft = &hot.broadcast.draft;
    let steps = draft.acknowledge.iter().flat_map(|asked| &asked.escalate);
    let audiences = std::iter::once(&draft.audience).chain(steps.map(|step| &step.to));
    let clauses = audiences.flat_map(|audience| audience.clauses.iter().chain(&audience.exclude));
    let ids = clauses.flat_map(|clause| &clause.users);
    ids.filter(|id| state.directory().user_number(id).is_none())
        .cloned()
        .collect()
}

/// What a list is narrowed to.
struct Filter {
    wedding: Option<String>,
    venue: Option<String>,
    priority: Option<Priority>,
    kind: Option<String>,
    status: Option<Status>,
    since: Option<Millis>,
}

impl Filter {
    fn read(query: &Query) -> Result<Self, Problem> {
        let owned = |name: &str| query.get(name).map(str::to_owned);
        let status = |text: &str| Status::ALL.into_iter().find(|status| status.name() == text);
        Ok(Self {
            wedding: owned("wedding"),
            venue: owned("venue"),
            priority: query.parse("priority", "one of critical, high, normal, low", Priority::parse)?,
            kind: owned("type"),
            status: query.parse(
                "status",
                "one of scheduled, released, completed, expired, cancelled",
                status,
            )?,
            since: query.time("since")?,
        })
    }

    /// Positions are given in the order of time.
    fn is_before(&self, hot: &Hot) -> bool {
        let released = hot.broadcast.position.map(|_| hot.broadcast.released_at());
        self.since.zip(released).is_some_and(|(since, at)| at < since)
    }

    fn passes(&self, hot: &Hot, now: Millis) -> bool {
        let draft = &hot.broadcast.draft;
        let names = |wanted: &Option<String>, mut named: Box<dyn Iterator<Item = &String> + '_>| {
            wanted.as_ref().is_none_or(|wanted| named.any(|name| name == wanted))
        };
        let clauses = &draft.audience.clauses;
        self.priority.is_none_or(|priority| draft.priority == priority)
            && !self.is_before(hot)
            && self.kind.as_ref().is_none_or(|kind| matches(kind, &draft.kind))
            && names(
                &self.wedding,
                Box::new(clauses.iter().flat_map(|clause| &clause.weddings)),
            )
            && names(
                &self.venue,
                Box::new(
                    clauses
                        .iter()
                        .flat_map(|clause| clause.venues.iter().chain(&clause.on_site)),
                ),
            )
            && self.status.is_none_or(|status| hot.status(now) == status)
    }
}

/// A type, or with a star at its end the beginning of one: `weather.*`.
pub fn matches(wanted: &str, kind: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(start) => kind.starts_with(start),
        None => wanted == kind,
    }
}

fn behind(text: &str) -> Option<Behind> {
    let number = |id: &str| BroadcastId::parse(id).map(BroadcastId::number);
    match text.strip_prefix(AHEAD) {
        Some(id) => number(id).map(Behind::Scheduled),
        None => number(text).map(Behind::Released),
    }
}

/// What is scheduled, then what was released, each newest first, down to the oldest that is kept.
pub async fn list(State(context): State<Arc<Context>>, uri: Uri) -> Result<Response, Problem> {
    const KNOWN: &[&str] = &[
        "limit", "after", "wedding", "venue", "priority", "type", "status", "since",
    ];
    let query = Query::read(&uri, KNOWN)?;
    context.fresh(&query, context.deadline()).await?;
    let (limit, filter) = (query.limit()?, Filter::read(&query)?);
    let behind = query.parse("after", "what a page ended with", behind)?;
    let behind = behind.unwrap_or(Behind::Nothing);
    let now = context.handle.log_time();
    let found = context
        .blocking(move |context| {
            let mut found = Found::default();
            (context.reader.newest)(behind, &mut |hot| found.look(hot, &filter, limit, now));
            found
        })
        .await
        .ok_or_else(|| Problem::new(Code::Internal, "the list cannot be read"))?;
    let items = found.items.iter().map(|hot| Shown::new(&context, hot, now)).collect();
    Ok(wire::json(
        StatusCode::OK,
        &Page {
            items,
            next: found.next,
        },
    ))
}

/// Stands before the id of a page that ended among what is scheduled.
const AHEAD: &str = "ahead-";

/// A page while it is put together.
#[derive(Default)]
struct Found {
    items: Vec<Hot>,
    looked_at: usize,
    last: Option<String>,
    /// Where the next page goes on, if there is one.
    next: Option<String>,
}

impl Found {
    /// Takes the next older broadcast; false once the page is whole.
    fn look(&mut self, hot: Hot, filter: &Filter, limit: usize, now: Millis) -> bool {
        if filter.is_before(&hot) {
            return false; // and so are all that are older
        }
        if self.items.len() == limit || self.looked_at == LOOKED_AT_MAX {
            self.next = self.last.take();
            return false;
        }
        self.looked_at += 1;
        // What is scheduled comes first; it may be released before the next page is asked for.
        let mark = if hot.broadcast.position.is_none() { AHEAD } else { "" };
        self.last = Some(format!("{mark}{}", hot.broadcast.id));
        if filter.passes(&hot, now) {
            self.items.push(hot);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn types_match_whole_or_by_their_beginning() {
        assert!(matches("weather.*", "weather.warning") && matches("cue.call", "cue.call"));
        assert!(!matches("weather.*", "weatherman") && !matches("cue", "cue.call"));
    }
}
