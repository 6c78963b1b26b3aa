//! `GET /v1/outputs`: what can be called from here, how it is doing, and the latest calls.

use super::context::Context;
use super::escalations::name;
use super::problem::Problem;
use super::request::Query;
use super::wire::{self, At, Text26};
use crate::model::BroadcastId;
use crate::outputs::OutputStatus;
use crate::state::State as Applied;
use crate::state::outbox::{Call, CallId, Cause};
use axum::extract::State;
use axum::response::Response;
use http::{StatusCode, Uri};
use serde::Serialize;
use std::sync::Arc;

/// The newest calls that are shown.
const CALLS_MAX: usize = 100;

#[derive(Serialize)]
pub struct OutputView {
    pub name: String,
    shape: &'static str,
    /// Never a path: it may be a secret.
    host: String,
    pub breaker: &'static str,
    /// In a row, as this node knows.
    failures: u32,
    last_error: Option<String>,
    last_success_at: Option<At>,
}

#[derive(Serialize)]
struct CallView {
    call: CallId,
    output: String,
    state: &'static str,
    at: At,
    attempts: u32,
    /// Of one that is not finished: when the next attempt is due.
    next_at: Option<At>,
    error: Option<String>,
    broadcast: Option<Text26>,
    step: Option<u32>,
    /// The rule, where it is a notice of an alert.
    alert: Option<String>,
}

#[derive(Serialize)]
struct Outputs {
    items: Vec<OutputView>,
    /// Calls that are not finished.
    open: usize,
    /// Newest first.
    calls: Vec<CallView>,
}

pub async fn list(State(context): State<Arc<Context>>, uri: Uri) -> Result<Response, Problem> {
    context.fresh(&Query::read(&uri, &[])?, context.deadline()).await?;
    let items = known(&context);
    let outputs = context.handle.read(|state| Outputs {
        items,
        open: state.outbox().open(),
        calls: {
            let newest = state.outbox().iter().rev().take(CALLS_MAX);
            newest.map(|(id, call)| CallView::of(state, id, call)).collect()
        },
    });
    Ok(wire::json(StatusCode::OK, &outputs))
}

/// The outputs of this node's settings, and how they are doing as far as it knows.
pub fn known(context: &Context) -> Vec<OutputView> {
    context.outputs.status().into_iter().map(OutputView::of).collect()
}

impl OutputView {
    fn of(status: OutputStatus) -> Self {
        Self {
            name: status.name,
            shape: status.shape.name(),
            host: status.host,
            breaker: status.breaker.name(),
            failures: status.failures,
            last_error: status.last_error,
            last_success_at: status.last_success_at.map(At),
        }
    }
}

impl CallView {
    fn of(state: &Applied, call: CallId, known: &Call) -> Self {
        let (escalated, step) = match &known.cause {
            Cause::Escalation { number, step } => (Some(*number), Some(*step)),
            Cause::Alert(_) => (None, None),
        };
        let broadcast = escalated.and_then(|number| state.broadcast(number));
        let id: Option<BroadcastId> = broadcast.map(|broadcast| broadcast.id);
        Self {
            call,
            output: known.output.clone(),
            state: name(known.state),
            at: At(known.at),
            attempts: known.attempts,
            next_at: known.is_open().then_some(At(known.next_at)),
            error: known.error.clone(),
            broadcast: id.map(Text26),
            step,
            alert: known.rule().map(str::to_owned),
        }
    }
}
