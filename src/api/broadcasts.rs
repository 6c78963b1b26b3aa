//! Broadcasts as their senders look at them: one, the list, and who of the recipients is how far.

use super::context::Context;
use super::escalations::{self, NeedView, StepView};
use super::person::{Known, STATES};
use super::problem::{Code, Problem};
use super::request::{Path, Query};
use super::roles::Roles;
use super::wire::{self, At, DraftView, Page, Text26};
use crate::base::clock::Millis;
use crate::model::broadcast::Status;
use crate::model::{BroadcastId, NodeId, Priority, Reason, Step, UserNumber};
use crate::state::State as Applied;
use crate::state::aside::Aside;
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
struct Counts {
    targeted: u64,
    sent: u64,
    received: u64,
    read: u64,
    acknowledged: u64,
    held: u64,
    skipped: u64,
    expired: u64,
    failed: u64,
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

    fn counts(&self) -> Counts {
        let Hot {
            broadcast,
            recipients,
            ledger,
            ..
        } = self.hot;
        let is_over = self.now >= broadcast.expires_at && !ledger.is_cancelled();
        let is_off = is_over || ledger.is_cancelled();
        let aside = ledger.aside.as_deref();
        let skipped = aside.map_or(0, Aside::skipped);
        let failed = self.hot.failed();
        Counts {
            targeted: if broadcast.position.is_some() {
                recipients.len()
            } else {
                u64::from(broadcast.targeted)
            },
            sent: ledger.count(Step::Sent),
            received: ledger.count(Step::Received),
            read: ledger.count(Step::Read),
            acknowledged: ledger.count(Step::Acknowledged),
            held: if is_off { 0 } else { aside.map_or(0, Aside::held) },
            skipped,
            expired: if is_over {
                let undone = recipients.difference_len(self.hot.done());
                undone.saturating_sub(skipped).saturating_sub(failed)
            } else {
                0
            },
            failed,
        }
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
        let counts = self.counts();
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

/// One recipient as the sender sees them.
#[derive(Serialize)]
struct Recipient {
    user: String,
    roles: Vec<String>,
    state: &'static str,
    reason: Option<&'static str>,
    at: Option<At>,
    node: Option<NodeId>,
    answer: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    late: bool,
    /// Since when somebody who is not done has no session any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<At>,
    /// Until when somebody is held.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<At>,
}

pub async fn recipients(
    State(context): State<Arc<Context>>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Response, Problem> {
    let (query, deadline) = (Query::read(&uri, &["limit", "after", "state"])?, context.deadline());
    context.fresh(&query, deadline).await?;
    let limit = query.limit()?;
    let known = |text: &str| STATES.into_iter().find(|state| *state == text);
    let wanted = query.parse("state", &format!("one of {}", STATES.join(", ")), known)?;
    let after = query.parse("after", "a number that a page ended with", |text| {
        text.parse::<UserNumber>().ok()
    })?;
    let hot = context.broadcast(&id, deadline).await?;
    let now = context.handle.log_time();
    let among = if wanted == Some("excluded") {
        &hot.excluded
    } else {
        &hot.recipients
    };
    let from = after.map_or(0, |after| after.saturating_add(1));
    let found: Vec<(UserNumber, Recipient)> = context.handle.read(|state| {
        let each = among.range(from..).filter_map(|user| {
            let shown = recipient(state, &hot, user, now, wanted == Some("excluded"))?;
            wanted
                .is_none_or(|wanted| wanted == shown.state)
                .then_some((user, shown))
        });
        let mut found: Vec<_> = each.take(limit + 1).collect();
        let users = found.iter().map(|(user, _)| *user).collect();
        let (draft, at) = (&hot.broadcast.draft, hot.broadcast.released_at());
        let roles = Roles::of(state.directory(), draft, at, &users);
        found
            .iter_mut()
            .for_each(|(user, shown)| shown.roles = roles.held_by(*user));
        found
    });
    let page = Page::cut(found, limit, |(user, _)| user.to_string());
    let items = page.items.into_iter().map(|(_, shown)| shown).collect();
    Ok(wire::json(StatusCode::OK, &Page { items, next: page.next }))
}

/// `None` for somebody who has been erased: their name is gone from every ledger.
fn recipient(state: &Applied, hot: &Hot, user: UserNumber, now: Millis, is_excluded: bool) -> Option<Recipient> {
    let name = state.directory().user_id(user)?.to_owned();
    let step = hot.ledger.step(user);
    let is_off = hot.ledger.is_cancelled();
    let detail = step.and_then(|step| hot.ledger.detail(user, step));
    let answer = hot.ledger.answers.get(&user);
    let aside = hot.ledger.aside.as_deref();
    let is_expired = now >= hot.broadcast.expires_at && !hot.done().contains(user) && !is_off;
    let known = Known {
        step,
        beside: aside.and_then(|aside| aside.reason(user)),
        asks: hot.broadcast.draft.acknowledge.is_some(),
        has_failed: hot.has_failed(user) && !is_off,
        dead: hot.dead().and_then(|dead| dead.reason(user)).filter(|_| is_expired),
        is_expired,
        is_off,
        is_excluded,
        is_connected: state.presence().is_connected(user),
        gone_since: state.presence().gone_since(user),
    };
    Some(Recipient {
        user: name,
        roles: Vec::new(), // told once for the whole page
        state: known.state(),
        reason: known.reason().map(Reason::name),
        at: detail.map(|(at, _)| At(at)),
        node: detail.map(|(_, node)| node),
        answer: answer.map(|answer| answer.answer.clone()),
        late: answer.is_some_and(|answer| answer.late),
        since: known.since().map(At),
        until: aside
            .and_then(|aside| aside.held_until(user))
            .filter(|_| !is_off)
            .map(At),
    })
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
