//! `POST /v1/broadcasts/{id}/redeliver`: once more to who has not got it.

use super::access::Asking;
use super::context::Context;
use super::fields::{Faults, Fields, Path as Pointer};
use super::problem::{Code, Problem};
use super::publish::{idempotency_key, key_of};
use super::request::{self, Path, Query};
use super::wire::{self, At, Text26};
use super::{audit, json, recall};
use crate::model::UserNumber;
use crate::state::broadcasts::Hot;
use crate::state::command::{Key, Redeliver};
use crate::state::redeliver::Revived;
use crate::state::{Command, Outcome};
use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderValue, StatusCode};
use roaring::RoaringBitmap;
use serde::Serialize;
use std::sync::Arc;
use std::time::Instant;

/// Users that one request names.
const USERS_MAX: usize = 10_000;
const ID_MAX: usize = 128;

#[derive(Serialize)]
struct Redelivered {
    id: Text26,
    /// To how many it goes now.
    redelivered: u32,
    /// How many of them are held by quiet hours once more.
    held: u32,
    expires_at: At,
}

pub async fn redeliver(
    State(context): State<Arc<Context>>,
    Path(id): Path<String>,
    asking: Asking,
    request: Request,
) -> Result<Response, Problem> {
    let deadline = context.deadline();
    let (parts, body) = request.into_parts();
    Query::read(&parts.uri, &[])?;
    let key = idempotency_key(&parts.headers)?.map(str::to_owned);
    let body = request::body(body, context.config.body_bytes_max.bytes(), deadline).await?;
    if !is_blank(&body) {
        request::media_type(&parts.headers, request::JSON)?;
    }
    let hot = recall::wanted(&context, &asking, &id, "redeliver", deadline).await?;
    let users = users(&context, &hot, &body)?;
    // one key for all addresses: the address belongs to what it stands for
    let said = [b"redeliver ", id.as_bytes(), b" ", &body].concat();
    let key = key_of(&context, asking.caller(), key.as_deref(), &said);
    let _turn = match key.table_bytes_max {
        0 => None,
        _ => Some(context.running.enter(key.fingerprint).ok_or_else(|| {
            Problem::new(
                Code::KeyInProgress,
                "a request with this key is still running on this node",
            )
        })?),
    };
    let done = propose(&context, &id, users, key, deadline).await?;
    audit::recalled(&context, asking.caller(), "redeliver", &id);
    Ok(answer(&hot, &done))
}

struct Done {
    revived: Revived,
    replayed: bool,
    applied: u64,
}

fn answer(hot: &Hot, done: &Done) -> Response {
    let mut response = wire::json(
        StatusCode::OK,
        &Redelivered {
            id: Text26(hot.broadcast.id),
            redelivered: done.revived.again,
            held: done.revived.held,
            expires_at: At(done.revived.expires_at),
        },
    );
    let headers = response.headers_mut();
    headers.insert("campanile-applied", HeaderValue::from(done.applied));
    if done.replayed {
        headers.insert("idempotent-replayed", HeaderValue::from_static("true"));
    }
    response
}

fn is_blank(body: &[u8]) -> bool {
    body.iter().all(u8::is_ascii_whitespace)
}

/// The users that the body names; `None` where it names none.
fn users(context: &Context, hot: &Hot, body: &[u8]) -> Result<Option<RoaringBitmap>, Problem> {
    if is_blank(body) {
        return Ok(None);
    }
    let mut faults = Faults::default();
    let listed = Fields::open(json::parse(body, "")?, &Pointer::ROOT, &["users"], &mut faults).map(|mut fields| {
        fields
            .has("users")
            .then(|| fields.words("users", USERS_MAX, ID_MAX))
            .flatten()
    });
    let Some(ids) = faults.or(listed)? else { return Ok(None) };
    let mut faults = Faults::default();
    let (root, mut users) = (Pointer::ROOT, RoaringBitmap::new());
    let list = root.name("users");
    for (at, id) in ids.iter().enumerate() {
        let number: Option<UserNumber> = context.handle.read(|state| state.directory().user_number(id));
        match number {
            None => faults.add(&list.index(at), Code::UnknownUser, format!("no user has the id {id:?}")),
            Some(number) if !hot.recipients.contains(number) => {
                faults.add(&list.index(at), Code::NotARecipient, "was not among the recipients");
            }
            Some(number) => {
                users.insert(number);
            }
        }
    }
    faults.or(Some(Some(users)))
}

async fn propose(
    context: &Arc<Context>,
    id: &str,
    users: Option<RoaringBitmap>,
    key: Key,
    deadline: Instant,
) -> Result<Done, Problem> {
    let command = |number, cold| {
        let users = users.clone();
        Command::Redeliver(Box::new(Redeliver {
            number,
            users,
            key,
            cold,
        }))
    };
    let proposed = recall::propose(context, id, deadline, command).await?;
    match proposed.outcome {
        Outcome::Redelivered { revived, replayed } => Ok(Done {
            revived,
            replayed,
            applied: proposed.index,
        }),
        other => Err(Problem::new(Code::Internal, format!("a redelivery came to {other:?}"))),
    }
}
