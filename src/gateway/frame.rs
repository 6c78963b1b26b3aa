//! The JSON of every frame a subscriber may get, as the API states it.

use super::goodbye::Goodbye;
use crate::base::clock::rfc3339;
use crate::base::size::Span;
use crate::model::{Cursor, NodeId};
use crate::state::{Release, ReleaseKind};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::time::Duration;

#[derive(Serialize)]
struct Broadcast<'a> {
    event: &'static str,
    id: String,
    position: u64,
    priority: &'static str,
    r#type: &'a str,
    title: &'a str,
    body: &'a str,
    data: Option<&'a RawValue>,
    action: Option<Action<'a>>,
    wedding: Option<&'a str>,
    venue: Option<&'a str>,
    expires_at: String,
    acknowledge: Option<Acknowledge<'a>>,
    supersedes: Option<String>,
    drill: bool,
    released_at: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    escalated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
}

#[derive(Serialize)]
struct Action<'a> {
    label: &'a str,
    url: &'a str,
}

#[derive(Serialize)]
struct Acknowledge<'a> {
    within: Span,
    answers: &'a [String],
}

#[derive(Serialize)]
struct Retracted {
    event: &'static str,
    id: String,
    position: u64,
    priority: &'static str,
    drill: bool,
    released_at: String,
}

/// A release's name and text.
pub fn release(release: &Release) -> (&'static str, Vec<u8>) {
    match release.kind {
        ReleaseKind::Broadcast | ReleaseKind::Again | ReleaseKind::Retry => ("broadcast", broadcast(release)),
        ReleaseKind::Retracted => ("retracted", retracted(release)),
    }
}

fn broadcast(release: &Release) -> Vec<u8> {
    let broadcast = &release.broadcast;
    let draft = &broadcast.draft;
    text(&Broadcast {
        event: "broadcast",
        id: broadcast.id.to_string(),
        position: release.position,
        priority: release.priority.name(),
        r#type: &draft.kind,
        title: &draft.title,
        body: &draft.body,
        data: draft.data.as_deref().and_then(|data| serde_json::from_str(data).ok()),
        action: draft.action.as_ref().map(|action| Action {
            label: &action.label,
            url: &action.url,
        }),
        wedding: draft.wedding(),
        venue: draft.venue(),
        expires_at: rfc3339(broadcast.expires_at),
        acknowledge: draft.acknowledge.as_ref().map(|acknowledge| Acknowledge {
            within: Span::millis(acknowledge.within_ms),
            answers: &acknowledge.answers,
        }),
        supersedes: draft.supersedes.map(|id| id.to_string()),
        drill: draft.drill,
        released_at: rfc3339(release.released_at),
        escalated: release.escalated,
        traceparent: draft.trace.map(|trace| trace.to_string()),
    })
}

fn retracted(release: &Release) -> Vec<u8> {
    text(&Retracted {
        event: "retracted",
        id: release.broadcast.id.to_string(),
        position: release.position,
        priority: release.priority.name(),
        drill: release.broadcast.draft.drill,
        released_at: rfc3339(release.released_at),
    })
}

#[derive(Serialize)]
struct Hello<'a> {
    event: &'static str,
    session: &'a str,
    node: NodeId,
    cursor: String,
    heartbeat: Span,
    nodes: &'a [String],
    #[serde(skip_serializing_if = "<[Seats]>::is_empty")]
    load: &'a [Seats],
    backlog: u64,
}

/// Another node, and how many users have a session there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Seats {
    pub url: String,
    pub sessions: u64,
}

/// The first frame: who answers, and where the stream starts. `backlog`: how many more the inbox has.
pub fn hello(
    session: &str,
    node: NodeId,
    cursor: Cursor,
    heartbeat: Span,
    nodes: &[String],
    load: &[Seats],
    backlog: u64,
) -> Vec<u8> {
    text(&Hello {
        event: "hello",
        session,
        node,
        cursor: cursor.to_string(),
        heartbeat,
        nodes,
        load,
        backlog,
    })
}

/// What cannot be replayed, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    pub from: Cursor,
    pub to: Cursor,
    pub reason: &'static str,
}

/// The cursor is of another history of this cluster, or of another cluster.
pub const FOREIGN: &str = "another_epoch";
/// Some of what came after the cursor is no longer kept.
pub const FORGOTTEN: &str = "no_longer_kept";

pub fn gap(gap: &Gap) -> Vec<u8> {
    #[derive(Serialize)]
    struct Frame {
        event: &'static str,
        from: String,
        to: String,
        reason: &'static str,
    }
    text(&Frame {
        event: "gap",
        from: gap.from.to_string(),
        to: gap.to.to_string(),
        reason: gap.reason,
    })
}

/// This node has no leader (`degraded`), or has one again (`restored`).
pub fn leader(degraded: bool, nodes: &[String]) -> (&'static str, Vec<u8>) {
    #[derive(Serialize)]
    struct Frame<'a> {
        event: &'static str,
        nodes: &'a [String],
    }
    let event = if degraded { "degraded" } else { "restored" };
    (event, text(&Frame { event, nodes }))
}

pub fn goodbye(goodbye: &Goodbye, nodes: &[String]) -> Vec<u8> {
    #[derive(Serialize)]
    struct Frame<'a> {
        event: &'static str,
        code: u16,
        reason: &'static str,
        reconnect_ms: Option<u64>,
        nodes: &'a [String],
    }
    text(&Frame {
        event: "goodbye",
        code: goodbye.code,
        reason: goodbye.reason,
        reconnect_ms: goodbye.reconnect.map(|pause: Duration| pause.as_millis() as u64),
        nodes,
    })
}

pub fn cursor(cursor: Cursor) -> Vec<u8> {
    format!(r#"{{"event":"cursor","cursor":"{cursor}"}}"#).into_bytes()
}

pub const PING: &[u8] = br#"{"event":"ping"}"#;

/// A client's message was done.
pub fn ok(reference: &Value) -> String {
    format!(r#"{{"event":"ok","ref":{reference}}}"#)
}

/// A client's message was refused.
pub fn problem(reference: Option<&Value>, code: &str, detail: &str, retryable: bool) -> String {
    #[derive(Serialize)]
    struct Frame<'a> {
        event: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        r#ref: Option<&'a Value>,
        code: &'a str,
        detail: &'a str,
        retryable: bool,
    }
    let bytes = text(&Frame {
        event: "problem",
        r#ref: reference,
        code,
        detail,
        retryable,
    });
    String::from_utf8_lossy(&bytes).into_owned()
}

/// These types hold nothing that `serde_json` refuses; an empty text would be seen by every test of this page.
fn text(frame: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(frame).unwrap_or_default()
}
