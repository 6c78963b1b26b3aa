//! Who was refused, who changed what, and who called a broadcast off or had it delivered again: gathered on the way out, told to the
//! log once a second, read with `GET /v1/audit`.

use super::access;
use super::context::Context;
use super::problem::{Code, Problem};
use super::request::Query;
use super::wire::{self, At, Page};
use crate::base::clock;
use crate::metrics::METRICS;
use crate::model::{Caller, NodeId, Scope};
use crate::security::Identity;
use crate::state::Command;
use crate::state::audit::Entry;
use axum::extract::State;
use axum::response::Response;
use http::{Method, StatusCode, Uri};
use parking_lot::Mutex;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Entries that differ and wait for the log; more than these are only counted.
const WAITING_MAX: usize = 256;
/// Characters of an action or a detail.
const TEXT_MAX: usize = 200;
/// How often what has been gathered goes into the log: at most one command of a node in that time.
const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// One such command waits this long.
const WITHIN: Duration = Duration::from_secs(2);

/// What a node has gathered and not yet told.
#[derive(Default)]
pub struct Book(Mutex<Vec<Entry>>);

impl Book {
    /// Adds an entry, or counts it where the same waits already.
    fn add(&self, entry: Entry) {
        let mut waiting = self.0.lock();
        if let Some(same) = waiting.iter_mut().find(|waiting| waiting.is_like(&entry)) {
            same.times = same.times.saturating_add(entry.times);
        } else if waiting.len() < WAITING_MAX {
            waiting.push(entry);
        } else {
            METRICS.limits_hit.with_label_values(&["audit.waiting_max"]).inc();
        }
    }

    fn take(&self) -> Vec<Entry> {
        std::mem::take(&mut self.0.lock())
    }
}

/// Whether a refusal is worth an entry: it is about who asked, or about how much. That the node is full is about nobody.
pub fn is_denial(status: StatusCode, code: Option<Code>) -> bool {
    let is_full = code.is_some_and(Code::is_full);
    matches!(status.as_u16(), 401 | 403 | 423 | 429) && !is_full
}

/// What somebody without a valid token wanted is not kept: who is nobody could fill the audit with it.
pub const TURNED_AWAY: &str = "request";

/// What is cached changes all day, and is nobody's but the application's: it would push out what the audit is for.
fn is_cached(path: &str) -> bool {
    path.starts_with("/v1/cache/")
}

/// Method and address.
pub fn action(method: &Method, path: &str) -> String {
    format!("{method} {path}")
}

/// Somebody was refused something.
pub fn denied(context: &Context, caller: Option<&Caller>, action: String, problem: &Problem) {
    if is_denial(problem.status(), Some(problem.code())) {
        note(context, caller, action, problem.code().text(), problem.detail());
    }
}

/// Somebody changed what becomes of a broadcast that was out or on its way.
pub fn recalled(context: &Context, caller: &Caller, action: &str, id: &str) {
    note(context, Some(caller), action.to_owned(), "", id);
}

fn note(context: &Context, caller: Option<&Caller>, action: String, code: &str, detail: &str) {
    let entry = Entry::new(context.handle.log_time(), context.node, caller, cut(action));
    context.audit.add(Entry {
        code: code.into(),
        detail: cut(detail.to_owned()),
        ..entry
    });
}

/// A request that has passed the gate and whose end is of interest: what only administrators may change, and what a handler
/// still refuses. A publish is noted where each line of a batch is known.
pub struct Doing {
    caller: Arc<Caller>,
    action: String,
    is_change: bool,
}

impl Doing {
    pub fn begin(identity: Option<&Identity>, method: &Method, path: &str) -> Option<Self> {
        let scope = access::needed(method, path)?;
        if scope == Scope::Publish {
            return None;
        }
        Some(Self {
            caller: identity?.caller.clone(),
            action: action(method, path),
            is_change: scope == Scope::Admin && !matches!(*method, Method::GET | Method::HEAD) && !is_cached(path),
        })
    }

    pub fn end(self, context: &Context, response: &Response) {
        let code = response.extensions().get::<Code>().copied();
        let is_done = self.is_change && response.status().is_success();
        if is_done || is_denial(response.status(), code) {
            let code = code.map_or("", Code::text);
            note(context, Some(&self.caller), self.action, code, "");
        }
    }
}

fn cut(text: String) -> String {
    match text.char_indices().nth(TEXT_MAX) {
        Some((end, _)) => text[..end].to_owned(),
        None => text,
    }
}

/// Tells the log what was gathered, until `stop`. What cannot be told now waits for the next round.
pub async fn run(context: Arc<Context>, mut stop: watch::Receiver<bool>) {
    let mut round = tokio::time::interval(FLUSH_EVERY);
    loop {
        tokio::select! {
            _ = stop.changed() => return,
            _ = round.tick() => flush(&context).await,
        }
    }
}

pub async fn flush(context: &Context) {
    let entries = context.audit.take();
    if entries.is_empty() {
        return;
    }
    let told = context
        .handle
        .propose(Command::Audit(entries.clone()), clock::now() + WITHIN)
        .await;
    if let Err(error) = told {
        tracing::debug!(%error, "the audit waits for the next round");
        entries.into_iter().for_each(|entry| context.audit.add(entry));
    }
}

#[derive(Serialize)]
struct Shown {
    #[serde(skip)]
    number: u64,
    at: At,
    node: NodeId,
    token: Option<String>,
    user: Option<String>,
    role: String,
    action: String,
    /// `null` for what was done.
    code: Option<String>,
    detail: Option<String>,
    times: u32,
}

impl Shown {
    fn new(number: u64, entry: &Entry) -> Self {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Self {
            number,
            at: At(entry.at),
            node: entry.node,
            token: entry.token.clone(),
            user: entry.user.clone(),
            role: entry.role.clone(),
            action: entry.action.clone(),
            code: given(&entry.code),
            detail: given(&entry.detail),
            times: entry.times,
        }
    }
}

/// Newest first.
pub async fn list(State(context): State<Arc<Context>>, uri: Uri) -> Result<Response, Problem> {
    let query = Query::read(&uri, &["limit", "after"])?;
    context.fresh(&query, context.deadline()).await?;
    let limit = query.limit()?;
    let after = query.parse("after", "what a page gave as next", |text| text.parse::<u64>().ok())?;
    let found = context.handle.read(|state| {
        let entries = state.audit().below(after).take(limit + 1);
        entries.map(|(number, entry)| Shown::new(number, entry)).collect()
    });
    let page = Page::cut(found, limit, |shown: &Shown| shown.number.to_string());
    Ok(wire::json(StatusCode::OK, &page))
}
