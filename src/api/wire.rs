//! How answers look in JSON: the shapes that clients rely on, apart from the nouns inside.

use super::problem::Problem;
use crate::base::clock::{self, Millis};
use crate::base::size::Span;
use crate::model::broadcast::{Escalate, OnMissed};
use crate::model::{Acknowledge, Action, Broadcast, Clause, Draft, Priority, Text};
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::value::RawValue;
use std::collections::BTreeSet;
use std::time::Duration;

/// A page of a list.
#[derive(Serialize)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// What `after` takes for the next page; not there on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// From up to `limit + 1` items: the one too many shows that there is more.
    pub fn cut(mut items: Vec<T>, limit: usize, key: impl Fn(&T) -> String) -> Self {
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(key);
        Self { items, next }
    }
}

/// A JSON answer.
pub fn json<T: Serialize>(status: StatusCode, value: &T) -> Response {
    match serde_json::to_vec(value) {
        Ok(bytes) => json_bytes(status, bytes.into()),
        Err(error) => {
            axum::response::IntoResponse::into_response(Problem::new(super::problem::Code::Internal, error.to_string()))
        }
    }
}

pub fn json_bytes(status: StatusCode, bytes: Bytes) -> Response {
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

pub fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// A time as every answer carries it.
#[allow(clippy::trivially_copy_pass_by_ref)] // serde hands fields over by reference
pub fn time<S: Serializer>(at: &Millis, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&clock::rfc3339(*at))
}

/// A time that may not have come.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(transparent)]
pub struct At(#[serde(serialize_with = "time")] pub Millis);

/// What a sender gets back. A replay gives the same again, so it is made from the broadcast alone.
#[derive(Serialize)]
#[allow(clippy::struct_field_names)] // the contract's names
pub struct Accepted<'a> {
    pub id: Text26,
    pub position: Option<u64>,
    pub status: &'static str,
    pub priority: Priority,
    #[serde(rename = "type")]
    pub kind: &'a str,
    pub targeted: u32,
    pub connected: u32,
    pub held: u32,
    pub skipped: u32,
    pub unknown: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
    #[serde(serialize_with = "time")]
    pub accepted_at: Millis,
    pub expires_at: At,
    pub log_index: u64,
}

/// A broadcast's id as text.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(transparent)]
pub struct Text26(#[serde(serialize_with = "displayed")] pub crate::model::BroadcastId);

fn displayed<S: Serializer>(id: &crate::model::BroadcastId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

/// What a sender should know though nothing is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Warning {
    #[serde(rename = "NO_RECIPIENTS")]
    NoRecipients,
    /// A step calls an output that this node's settings do not know.
    #[serde(rename = "UNKNOWN_OUTPUT")]
    UnknownOutput,
    /// A segment may have changed meanwhile: who owns it cannot be asked.
    #[serde(rename = "STALE_SEGMENT")]
    StaleSegment,
    /// Fewer people of a role are reached than have to confirm.
    #[serde(rename = "NEED_CANNOT_BE_MET")]
    NeedCannotBeMet,
}

pub fn warnings(targeted: u32, draft: &Draft, is_output: impl Fn(&str) -> bool) -> Vec<Warning> {
    let steps = draft.acknowledge.iter().flat_map(|asked| &asked.escalate);
    let mut outputs = steps.flat_map(|step| &step.outputs);
    let is_unknown = outputs.any(|output| !is_output(output));
    let nobody = (targeted == 0).then_some(Warning::NoRecipients);
    nobody
        .into_iter()
        .chain(is_unknown.then_some(Warning::UnknownOutput))
        .collect()
}

impl<'a> Accepted<'a> {
    pub fn new(broadcast: &'a Broadcast, is_output: impl Fn(&str) -> bool) -> Self {
        let was_scheduled = broadcast.position.is_none() || broadcast.late.is_some();
        let now = (broadcast.targeted, broadcast.connected, broadcast.unknown);
        let before = broadcast
            .late
            .as_ref()
            .map(|late| (late.targeted, late.connected, late.unknown));
        let (targeted, connected, unknown) = before.unwrap_or(now);
        Self {
            id: Text26(broadcast.id),
            position: broadcast.position.filter(|_| !was_scheduled),
            status: if was_scheduled { "scheduled" } else { "released" },
            priority: broadcast.draft.priority,
            kind: &broadcast.draft.kind,
            targeted,
            connected,
            held: if was_scheduled { 0 } else { broadcast.held },
            skipped: if was_scheduled { 0 } else { broadcast.skipped },
            unknown,
            warnings: warnings(targeted, &broadcast.draft, is_output),
            accepted_at: broadcast.accepted_at,
            expires_at: At(broadcast.expires_at),
            log_index: broadcast.log_index,
        }
    }
}

/// Ids of users that are not shown.
pub type Erased = BTreeSet<String>;

/// What the sender wrote, as the sender wrote it, but for who was erased since.
pub struct DraftView<'a>(pub &'a Broadcast, pub &'a Erased);

impl DraftView<'_> {
    /// Writes its members into an open object.
    pub fn members<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        let draft = &self.0.draft;
        map.serialize_entry("type", &draft.kind)?;
        map.serialize_entry("priority", &draft.priority)?;
        map.serialize_entry("audience", &clauses(&draft.audience.clauses, self.1))?;
        if !draft.audience.exclude.is_empty() {
            map.serialize_entry("exclude", &clauses(&draft.audience.exclude, self.1))?;
        }
        if let Some(due) = draft.deliver_at {
            map.serialize_entry("deliver_at", &At(due))?;
        }
        if let Some(local) = draft.deliver_at_local {
            map.serialize_entry("deliver_at_local", &local.to_string())?;
        }
        if draft.is_timed() || draft.on_missed != OnMissed::Send {
            map.serialize_entry("on_missed", &draft.on_missed)?;
        }
        map.serialize_entry("title", &draft.title)?;
        map.serialize_entry("body", &draft.body)?;
        if !draft.texts.is_empty() {
            map.serialize_entry("texts", &Texts(&draft.texts))?;
        }
        map.serialize_entry("data", &draft.data.as_deref().and_then(raw))?;
        map.serialize_entry("action", &draft.action.as_ref().map(ActionView))?;
        map.serialize_entry("expires_at", &At(self.0.expires_at))?;
        map.serialize_entry("supersedes", &draft.supersedes.map(Text26))?;
        map.serialize_entry("drill", &draft.drill)?;
        let acknowledge = draft.acknowledge.as_ref();
        map.serialize_entry("acknowledge", &acknowledge.map(|asked| AcknowledgeView(asked, self.1)))
    }
}

/// JSON that was checked when it came in.
pub fn raw(text: &str) -> Option<&RawValue> {
    serde_json::from_str(text).ok()
}

struct Texts<'a>(&'a [(String, Text)]);

impl Serialize for Texts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct View<'a> {
            title: &'a str,
            body: &'a str,
        }
        serializer.collect_map(self.0.iter().map(|(locale, text)| {
            (
                locale,
                View {
                    title: &text.title,
                    body: &text.body,
                },
            )
        }))
    }
}

pub struct ActionView<'a>(pub &'a Action);

impl Serialize for ActionView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map([("label", &self.0.label), ("url", &self.0.url)])
    }
}

/// What a recipient is asked: whom else it would go to is not theirs to know.
pub struct AskedView<'a>(pub &'a Acknowledge);

impl Serialize for AskedView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("within", &span(self.0.within_ms))?;
        map.serialize_entry("answers", &self.0.answers)?;
        map.end()
    }
}

struct AcknowledgeView<'a>(&'a Acknowledge, &'a Erased);

impl Serialize for AcknowledgeView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Need<'a> {
            role: &'a str,
            count: u32,
        }
        let Acknowledge {
            within_ms,
            answers,
            need,
            escalate,
        } = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("within", &span(*within_ms))?;
        if !answers.is_empty() {
            map.serialize_entry("answers", answers)?;
        }
        if !need.is_empty() {
            let need: Vec<Need<'_>> = need.iter().map(|(role, count)| Need { role, count: *count }).collect();
            map.serialize_entry("need", &need)?;
        }
        if !escalate.is_empty() {
            let steps: Vec<EscalateView<'_>> = escalate.iter().map(|step| EscalateView(step, self.1)).collect();
            map.serialize_entry("escalate", &steps)?;
        }
        map.end()
    }
}

struct EscalateView<'a>(&'a Escalate, &'a Erased);

impl Serialize for EscalateView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("after", &span(self.0.after_ms))?;
        map.serialize_entry("to", &clauses(&self.0.to.clauses, self.1))?;
        if let Some(priority) = self.0.priority {
            map.serialize_entry("priority", &priority)?;
        }
        if !self.0.outputs.is_empty() {
            map.serialize_entry("outputs", &self.0.outputs)?;
        }
        map.end()
    }
}

fn span(millis: u64) -> Span {
    Span(Duration::from_millis(millis))
}

fn clauses<'a>(clauses: &'a [Clause], erased: &'a Erased) -> Vec<ClauseView<'a>> {
    clauses.iter().map(|clause| ClauseView(clause, erased)).collect()
}

struct ClauseView<'a>(&'a Clause, &'a Erased);

impl Serialize for ClauseView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(clause, erased) = self;
        let mut map = serializer.serialize_map(None)?;
        if clause.everyone {
            map.serialize_entry("everyone", &true)?;
        }
        if !clause.users.is_empty() {
            // the key stays when nobody is left: without it the clause would seem to name more people than it did
            let shown: Vec<&String> = clause.users.iter().filter(|id| !erased.contains(*id)).collect();
            map.serialize_entry("users", &shown)?;
        }
        let keys = [
            ("weddings", &clause.weddings),
            ("venues", &clause.venues),
            ("on_site", &clause.on_site),
            ("roles", &clause.roles),
            ("tiers", &clause.tiers),
            ("segments", &clause.segments),
        ];
        for (name, values) in keys.into_iter().filter(|(_, values)| !values.is_empty()) {
            map.serialize_entry(name, values)?;
        }
        map.end()
    }
}
