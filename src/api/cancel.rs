//! `POST /v1/broadcasts/{id}/cancel`: a scheduled broadcast never goes out; a released one stops, and whoever has it is told.

use super::access::Asking;
use super::audit;
use super::broadcasts::shown;
use super::context::Context;
use super::problem::{Code, Problem};
use super::request::{self, Path, Query};
use super::rights;
use crate::base::clock;
use crate::state::broadcasts::Hot;
use crate::state::command::{Cancel, Cold};
use crate::state::{Command, Outcome, Refused};
use axum::extract::{Request, State};
use axum::response::Response;
use http::HeaderValue;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A broadcast may leave memory between reading it and the log's turn; a second look finds it on disk.
const LOOKS_MAX: u32 = 3;
/// How often it is looked whether rows are on disk.
const STORED_LOOK: Duration = Duration::from_millis(20);

pub async fn cancel(
    State(context): State<Arc<Context>>,
    Path(id): Path<String>,
    asking: Asking,
    request: Request,
) -> Result<Response, Problem> {
    let deadline = context.deadline();
    let (parts, body) = request.into_parts();
    Query::read(&parts.uri, &[])?;
    let body = request::body(body, context.config.body_bytes_max.bytes(), deadline).await?;
    if !body.iter().all(u8::is_ascii_whitespace) && &*body != b"{}" {
        return Err(Problem::new(Code::InvalidValue, "this request has no body"));
    }
    let wanted = context.broadcast(&id, deadline).await?;
    let allowed = rights::may_call_off(&context, asking.caller(), &wanted, deadline).await;
    allowed.inspect_err(|problem| audit::denied(&context, Some(asking.caller()), "cancel".into(), problem))?;
    let applied = call_off(&context, &id, deadline).await?;
    let hot = context.broadcast(&id, deadline).await?;
    let mut response = shown(&context, &hot);
    response
        .headers_mut()
        .insert("campanile-applied", HeaderValue::from(applied));
    Ok(response)
}

async fn call_off(context: &Arc<Context>, id: &str, deadline: Instant) -> Result<u64, Problem> {
    for _ in 0..LOOKS_MAX {
        let hot = context.broadcast(id, deadline).await?;
        let cancel = Cancel {
            number: hot.broadcast.number,
            cold: cold(context, &hot, deadline).await,
        };
        let proposed = context
            .handle
            .propose(Command::Cancel(Box::new(cancel)), deadline)
            .await?;
        match proposed.outcome {
            Outcome::Cancelled { .. } => return Ok(proposed.index),
            Outcome::Refused(Refused::LeftMemory) => {}
            Outcome::Refused(refused) => return Err(Problem::from(&refused)),
            other => return Err(Problem::new(Code::Internal, format!("a cancel came to {other:?}"))),
        }
    }
    Err(Problem::new(
        Code::Overloaded,
        "the broadcast left memory again and again",
    ))
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
