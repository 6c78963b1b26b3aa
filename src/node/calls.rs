//! Makes the calls of outputs that the log says are due. The leader does; before each attempt it claims the call in the log, so that
//! one node at a time owns it. What became of an attempt goes back into the log, and whoever leads by then goes on from there.

use super::history::History;
use crate::base::backoff::Backoff;
use crate::base::clock;
use crate::consensus::Handle;
use crate::model::{Millis, NodeId, Trace};
use crate::outputs::{Config, Failure, Message, Outputs};
use crate::state::outbox::{Call, CallId, CallResult, Called, Cause, Claim};
use crate::state::{Command, Outcome};
use crate::telemetry::span::Kind;
use crate::telemetry::{self, Tracer};
use futures_util::FutureExt;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

mod message;

/// How often it is looked whether a call is due.
const EVERY: Duration = Duration::from_millis(50);
/// The log has this long to take a claim or a result in; a result that it has not taken by then is lost, and the call made again.
const WITHIN: Duration = Duration::from_secs(5);
/// An output that the settings do not have may come with the next leader; it is waited for so long, lest names that a sender makes up
/// fill the list of calls.
const UNKNOWN_FOR: Duration = Duration::from_secs(60);
/// A claim outlasts its attempt by this much.
const MARGIN: Duration = Duration::from_secs(1);
/// Calls that begin in one round.
const BEGUN_MAX: usize = 256;
const FACTOR: f64 = 2.0;

pub struct Calls {
    pub node: NodeId,
    pub handle: Handle,
    pub history: History,
    pub outputs: Arc<Outputs>,
    pub config: Config,
    pub tracer: Tracer,
}

/// What is under way: which output each call is for.
type Busy = BTreeMap<CallId, String>;

impl Calls {
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let this = Arc::new(self);
        let mut look = tokio::time::interval(EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut busy, mut running) = (Busy::new(), JoinSet::new());
        loop {
            tokio::select! {
                _ = stop.changed() => break,
                Some(ended) = running.join_next() => {
                    // only a stop ends one otherwise
                    if let Ok(call) = ended {
                        busy.remove(&call);
                    }
                }
                _ = look.tick() => {
                    for (id, call) in this.due(&busy) {
                        busy.insert(id, call.output.clone());
                        let caller = this.clone();
                        running.spawn(async move {
                            let made = AssertUnwindSafe(caller.make(id, &call)).catch_unwind().await;
                            if made.is_err() {
                                // its claim runs out, and it is made again
                                tracing::error!(call = id, "a call of an output broke");
                            }
                            id
                        });
                    }
                }
            }
        }
        // what has begun is ended, and told, as long as the stop leaves time for it
        while running.join_next().await.is_some() {}
    }

    /// What is due and finds its output free.
    fn due(&self, busy: &Busy) -> Vec<(CallId, Call)> {
        if !self.handle.leadership().is_leader {
            return Vec::new();
        }
        let now = self.handle.log_time();
        let mut taken: BTreeMap<&str, u32> = BTreeMap::new();
        busy.values().for_each(|output| *taken.entry(output).or_default() += 1);
        self.handle.read(|state| {
            // names that only a sender knows must not keep those waiting that can be called
            let (known, unknown): (Vec<_>, Vec<_>) = state
                .outbox()
                .due(now)
                .partition(|(output, _)| self.outputs.has(output));
            let free = known.into_iter().chain(unknown).flat_map(|(output, calls)| {
                let under_way = taken.get(output).copied().unwrap_or(0);
                let room = self.config.in_flight_max.saturating_sub(under_way);
                let free = calls.filter(|(id, _)| !busy.contains_key(id));
                free.take(usize::try_from(room).unwrap_or(usize::MAX))
            });
            free.take(BEGUN_MAX).map(|(id, call)| (id, call.clone())).collect()
        })
    }

    async fn make(&self, id: CallId, call: &Call) {
        let claim = Claim {
            call: id,
            node: self.node,
            attempts: call.attempts,
            for_ms: (self.config.timeout.0 + MARGIN).as_millis() as u64,
        };
        let claimed = self.handle.propose(Command::Claim(claim), clock::now() + WITHIN).await;
        if !matches!(claimed.map(|proposed| proposed.outcome), Ok(Outcome::Claimed(true))) {
            return;
        }
        let (result, trace) = match self.message(id, call).await {
            Ok((message, trace)) => (self.attempt(call, &message, trace).await, trace),
            Err(why) => (Err(Failure::never(why)), None),
        };
        if let Err(failure) = &result {
            tracing::warn!(
                output = call.output,
                call = id,
                error = failure.detail,
                trace_id = trace.map(Trace::id),
                "a call of an output failed"
            );
        }
        let called = Called {
            call: id,
            attempt: call.attempts + 1,
            result: self.result(call, result),
        };
        // When nobody takes it in, the claim runs out and the call is made again: better twice than not at all.
        let told = self
            .handle
            .propose(Command::Called(called), clock::now() + WITHIN)
            .await;
        if let Err(error) = told {
            tracing::warn!(%error, call = id, "what became of a call is not in the log");
        }
    }

    /// One attempt, as a span of the broadcast's trace where that is recorded.
    async fn attempt(&self, call: &Call, message: &Message, trace: Option<Trace>) -> Result<(), Failure> {
        let began = self.tracer.within(trace, "call output", Kind::Client);
        let trace = began.as_ref().map_or(trace, |began| Some(began.trace()));
        let attempt = self.outputs.call_within(&call.output, message, trace);
        let made = tokio::time::timeout(self.config.timeout.0 + MARGIN / 2, attempt).await;
        let result = made.unwrap_or_else(|_| Err(Failure::again("no answer in time", None)));
        let outcome = match &result {
            Ok(()) => telemetry::Outcome::Well,
            Err(failure) => telemetry::Outcome::Failed(failure.detail.clone()),
        };
        let attributes = vec![
            ("campanile.output", call.output.clone()),
            ("campanile.attempt", (call.attempts + 1).to_string()),
        ];
        self.tracer.end(began, outcome, attributes);
        result
    }

    fn result(&self, call: &Call, result: Result<(), Failure>) -> CallResult {
        let Err(failure) = result else {
            return CallResult::Delivered;
        };
        let backoff = Backoff {
            first: self.config.retry_first.0,
            factor: FACTOR,
            max: self.config.retry_most.0,
        };
        let wait = failure
            .retry_after
            .unwrap_or_else(|| backoff.delay(call.attempts, rand::random()));
        let wait_ms = wait.as_millis() as u64;
        let error = failure.detail;
        let patience = if self.outputs.has(&call.output) {
            self.config.give_up_after.0
        } else {
            UNKNOWN_FOR.min(self.config.give_up_after.0)
        };
        let ends_at = call.at.saturating_add_unsigned(patience.as_millis() as u64);
        let next_at: Millis = self.handle.log_time().saturating_add_unsigned(wait_ms);
        if failure.is_final || next_at > ends_at {
            CallResult::GivenUp { error }
        } else {
            CallResult::Failed { error, wait_ms }
        }
    }

    /// What the output is told, the same at every attempt; and the trace that the broadcast belongs to.
    async fn message(&self, id: CallId, call: &Call) -> Result<(Message, Option<Trace>), String> {
        let epoch = self.handle.read(crate::state::State::epoch);
        let (number, step) = match &call.cause {
            Cause::Escalation { number, step } => (*number, *step),
            Cause::Alert(notice) => return Ok((message::alert(epoch, id, notice), None)),
        };
        let history = self.history.clone();
        let found = tokio::task::spawn_blocking(move || history.broadcast(number)).await;
        let hot = found.ok().flatten().ok_or("the broadcast is not kept any more")?;
        if hot.is_over(self.handle.log_time()) {
            return Err("the broadcast has expired, or was called off".into());
        }
        let message = message::escalated(epoch, id, &hot, step).ok_or("the step was not taken")?;
        Ok((message, hot.broadcast.draft.trace))
    }
}
