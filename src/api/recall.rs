//! What is asked about a broadcast that is out already: who may ask, and how the log gets it back where it has left memory.

use super::access::Asking;
use super::context::Context;
use super::problem::{Code, Problem};
use super::{audit, rights};
use crate::base::clock;
use crate::consensus::Proposed;
use crate::model::Number;
use crate::state::broadcasts::Hot;
use crate::state::command::Cold;
use crate::state::{Command, Outcome, Refused};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A broadcast may leave memory between reading it and the log's turn; a second look finds it on disk.
const LOOKS_MAX: u32 = 3;
/// How often it is looked whether rows are on disk.
const STORED_LOOK: Duration = Duration::from_millis(20);

/// The broadcast, if the caller may call it off. A no stands in the audit, under what was asked.
pub async fn wanted(
    context: &Arc<Context>,
    asking: &Asking,
    id: &str,
    action: &str,
    deadline: Instant,
) -> Result<Hot, Problem> {
    let hot = context.broadcast(id, deadline).await?;
    let allowed = rights::may_call_off(context, asking.caller(), &hot, deadline).await;
    allowed.inspect_err(|problem| audit::denied(context, Some(asking.caller()), action.into(), problem))?;
    Ok(hot)
}

/// Proposes what `command` says about a broadcast; what the state refuses is a problem.
pub async fn propose(
    context: &Arc<Context>,
    id: &str,
    deadline: Instant,
    command: impl Fn(Number, Option<Box<Cold>>) -> Command,
) -> Result<Proposed, Problem> {
    for _ in 0..LOOKS_MAX {
        let hot = context.broadcast(id, deadline).await?;
        let cold = cold(context, &hot, deadline).await;
        let command = command(hot.broadcast.number, cold);
        let proposed = context.handle.propose(command, deadline).await?;
        match &proposed.outcome {
            Outcome::Refused(Refused::LeftMemory) => {}
            Outcome::Refused(refused) => return Err(Problem::from(refused)),
            _ => return Ok(proposed),
        }
    }
    let detail = "the broadcast left memory again and again";
    Err(Problem::new(Code::Overloaded, detail))
}

/// The broadcast as the log needs it when it has left memory, which may be sooner on the leader than here. What is read from disk has to be
/// there as it is now, since it comes in the place of what is there.
pub async fn cold(context: &Arc<Context>, hot: &Hot, deadline: Instant) -> Option<Box<Cold>> {
    let number = hot.broadcast.number;
    let is_in_memory = || context.handle.read(|state| state.broadcasts().get(number).is_some());
    if is_in_memory() {
        return None;
    }
    let applied = context.handle.applied();
    while context.handle.stored() < applied && clock::now() < deadline {
        tokio::time::sleep(STORED_LOOK).await;
    }
    let hot = context.hot(number).await.filter(|_| !is_in_memory())?;
    let entry = hot.entry()?;
    let ledger = (*hot.ledger).clone();
    Some(Box::new(Cold { entry, ledger }))
}
