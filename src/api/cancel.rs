//! `POST /v1/broadcasts/{id}/cancel`: a scheduled broadcast never goes out; a released one stops, and whoever has it is told.

use super::access::Asking;
use super::broadcasts::shown;
use super::context::Context;
use super::problem::{Code, Problem};
use super::request::{self, Path, Query};
use super::{audit, recall};
use crate::state::command::Cancel;
use crate::state::{Command, Outcome};
use axum::extract::{Request, State};
use axum::response::Response;
use http::HeaderValue;
use std::sync::Arc;

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
    recall::wanted(&context, &asking, &id, "cancel", deadline).await?;
    let command = |number, cold| Command::Cancel(Box::new(Cancel { number, cold }));
    let proposed = recall::propose(&context, &id, deadline, command).await?;
    match proposed.outcome {
        // A repeated one, too: the first may have been this one's, with its answer lost on the way.
        Outcome::Cancelled { .. } => audit::recalled(&context, asking.caller(), "cancel", &id),
        other => return Err(Problem::new(Code::Internal, format!("a cancel came to {other:?}"))),
    }
    let hot = context.broadcast(&id, deadline).await?;
    let mut response = shown(&context, &hot);
    response
        .headers_mut()
        .insert("campanile-applied", HeaderValue::from(proposed.index));
    Ok(response)
}
