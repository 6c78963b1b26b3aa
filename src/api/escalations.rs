//! What a broadcast needs by way of confirmations, and the steps that were taken for want of them, as its sender sees them.

use super::wire::At;
use crate::model::Priority;
use crate::state::State;
use crate::state::broadcasts::Hot;
use crate::state::outbox::{Call, CallId, CallState};
use serde::Serialize;

#[derive(Serialize)]
pub struct NeedView {
    role: String,
    count: u32,
    /// How many who hold the role have confirmed.
    confirmed: u64,
    met: bool,
}

#[derive(Serialize)]
pub struct StepView {
    /// Its place in `acknowledge.escalate`, from 0 on.
    step: u32,
    at: At,
    priority: Priority,
    /// Who had not confirmed and was alerted.
    alerted: u32,
    /// Those of them who were no recipients before.
    widened: u32,
    outputs: Vec<OutputView>,
}

#[derive(Serialize)]
struct OutputView {
    output: String,
    /// `waiting`, `calling`, `delivered`, `given_up`; `refused` where too many calls were open; `unknown` where it was long ago.
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    call: Option<CallId>,
    attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<At>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

pub fn needs(state: &State, hot: &Hot) -> Vec<NeedView> {
    let needs = state.needs(hot).into_iter();
    let each = needs.map(|need| NeedView {
        met: need.confirmed >= u64::from(need.count),
        role: need.role,
        count: need.count,
        confirmed: need.confirmed,
    });
    each.collect()
}

pub fn taken(state: &State, hot: &Hot) -> Vec<StepView> {
    let taken = hot.ledger.aside.iter().flat_map(|aside| &aside.escalation.taken);
    let each = taken.map(|taken| StepView {
        step: taken.step,
        at: At(taken.at),
        priority: taken.priority,
        alerted: taken.alerted,
        widened: taken.widened,
        outputs: taken
            .calls
            .iter()
            .map(|(output, call)| OutputView::of(state, output, *call))
            .collect(),
    });
    each.collect()
}

impl OutputView {
    fn of(state: &State, output: &str, id: Option<CallId>) -> Self {
        let call = id.and_then(|id| state.outbox().get(id));
        let unknown = if id.is_none() { "refused" } else { "unknown" };
        Self {
            output: output.to_owned(),
            state: call.map_or(unknown, |call| name(call.state)),
            call: id,
            attempts: call.map_or(0, |call| call.attempts),
            at: call.and_then(finished),
            error: call.and_then(|call| call.error.clone()),
        }
    }
}

pub const fn name(state: CallState) -> &'static str {
    match state {
        CallState::Waiting => "waiting",
        CallState::Claimed(_) => "calling",
        CallState::Delivered(_) => "delivered",
        CallState::GivenUp(_) => "given_up",
    }
}

fn finished(call: &Call) -> Option<At> {
    match call.state {
        CallState::Waiting | CallState::Claimed(_) => None,
        CallState::Delivered(at) | CallState::GivenUp(at) => Some(At(at)),
    }
}
