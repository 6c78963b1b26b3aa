//! Who was refused, and who changed what: gathered on the way out, told to the log once a second, read with `GET /v1/audit`.

use super::context::Context;
use super::problem::Problem;
use super::request::Query;
use super::wire::{self, At, Page};
use crate::base::clock;
use crate::metrics::METRICS;
use crate::model::{Caller, NodeId};
use crate::state::Command;
use crate::state::audit::Entry;
use axum::extract::State;
use axum::response::Response;
use http::{StatusCode, Uri};
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

/// Whether a refusal is worth an entry: it is about who asked, or about how much.
pub const fn is_denial(status: StatusCode) -> bool {
    matches!(status.as_u16(), 401 | 403 | 423 | 429)
}

/// Somebody was refused something.
pub fn denied(context: &Context, caller: &Caller, action: String, problem: &Problem) {
    if is_denial(problem.status()) {
        let detail = cut(problem.detail().to_owned());
        note(context, caller, action, |entry| Entry {
            code: problem.code().text().into(),
            detail,
            ..entry
        });
    }
}

fn note(context: &Context, caller: &Caller, action: String, with: impl FnOnce(Entry) -> Entry) {
    let entry = Entry::new(context.handle.log_time(), context.node, caller, cut(action));
    context.audit.add(with(entry));
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
