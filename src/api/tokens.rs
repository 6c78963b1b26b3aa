//! `/v1/tokens`: making, listing and revoking API tokens. The secret is in one answer, once.

use super::access::{self, Asking};
use super::context::Context;
use super::fields::{Faults, Fields, ID_BYTES_MAX, Path as Pointer, WORD_MAX};
use super::json::{self, Json};
use super::problem::{Code, Problem, code_of};
use super::publish;
use super::request::{self, Path, Query};
use super::wire::{self, At, Page};
use crate::base::clock::Millis;
use crate::model::{Caller, Scope, Scopes};
use crate::security::token;
use crate::state::command::NewToken;
use crate::state::tokens::Token;
use crate::state::{Command, Outcome, Refused};
use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderValue, StatusCode, Uri};
use serde::Serialize;
use std::sync::Arc;
use std::time::Instant;

/// Weddings or venues that one token may name.
const PLACES_MAX: usize = 100;

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    caller: Caller,
    /// `None`: as long as the settings say.
    ttl_ms: Option<u64>,
}

#[derive(Serialize)]
struct Made<'a> {
    id: &'a str,
    /// `null` when the request came again: the secret is not kept, so only the first answer has it.
    token: Option<&'a str>,
    expires_at: Option<At>,
}

#[derive(Serialize)]
struct Listed {
    id: String,
    user: Option<String>,
    role: String,
    weddings: Vec<String>,
    venues: Vec<String>,
    scopes: Scopes,
    created_at: At,
    expires_at: Option<At>,
    expired: bool,
}

impl Listed {
    fn new(id: &str, token: &Token, now: Millis) -> Self {
        let caller = (*token.caller).clone();
        Self {
            id: id.to_owned(),
            user: caller.user,
            role: caller.role,
            weddings: caller.weddings,
            venues: caller.venues,
            scopes: caller.scopes,
            created_at: At(token.created_at),
            expires_at: token.expires_at.map(At),
            expired: token.has_ended(now),
        }
    }
}

pub async fn create(
    State(context): State<Arc<Context>>,
    asking: Asking,
    request: Request,
) -> Result<Response, Problem> {
    let deadline = context.deadline();
    let (parts, body) = request.into_parts();
    Query::read(&parts.uri, &[])?;
    request::media_type(&parts.headers, request::JSON)?;
    let key = publish::idempotency_key(&parts.headers)?;
    let body = request::body(body, context.config.body_bytes_max.bytes(), deadline).await?;
    let Wanted { mut caller, ttl_ms } = wanted(json::parse(&body, "")?, &context)?;
    let id = match key {
        Some(key) => token::id_of(&publish::fingerprint(&access::key_space(asking.caller()), key)),
        None => token::make_id().map_err(|error| no_randomness(&error))?,
    };
    let secret = token::make().map_err(|error| no_randomness(&error))?;
    caller.token = Some(id.clone());
    let ttl = ttl_ms.unwrap_or(context.auth.token_ttl_default.0.as_millis() as u64);
    let expires_at = context.handle.log_time().saturating_add_unsigned(ttl);
    let new = NewToken {
        id: id.clone(),
        hash: token::hash(&secret),
        caller: caller.clone(),
        expires_at: Some(expires_at),
        tokens_max: context.auth.tokens_max,
    };
    let proposed = context
        .handle
        .propose(Command::CreateToken(Box::new(new)), deadline)
        .await?;
    match proposed.outcome {
        Outcome::Done => {
            tracing::info!(token = id, by = access::sender(asking.caller()), "a token was made");
            let made = Made {
                id: &id,
                token: Some(&secret),
                expires_at: Some(At(expires_at)),
            };
            Ok(answer(StatusCode::CREATED, &made, proposed.index))
        }
        Outcome::Refused(Refused::TokenExists(_)) => again(&context, &id, &caller, proposed.index),
        Outcome::Refused(refused) => Err(refusal(&refused, &caller)),
        other => Err(Problem::new(Code::Internal, format!("a new token came to {other:?}"))),
    }
}

/// The key was used: the token that it made is named again, unless the request wants another one.
fn again(context: &Context, id: &str, caller: &Caller, index: u64) -> Result<Response, Problem> {
    let known = context.handle.read(|state| state.tokens().get(id).cloned());
    let known = known.filter(|known| *known.caller == *caller);
    let Some(known) = known else {
        return Err(Problem::new(Code::KeyReused, "the key was used with another body"));
    };
    let made = Made {
        id,
        token: None,
        expires_at: known.expires_at.map(At),
    };
    let mut response = answer(StatusCode::CREATED, &made, index);
    response
        .headers_mut()
        .insert("idempotent-replayed", HeaderValue::from_static("true"));
    Ok(response)
}

fn answer(status: StatusCode, made: &Made<'_>, index: u64) -> Response {
    let mut response = wire::json(status, made);
    let headers = response.headers_mut();
    headers.insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("campanile-applied", HeaderValue::from(index));
    response
}

fn no_randomness(error: &token::NoRandomness) -> Problem {
    Problem::new(Code::Internal, error.to_string())
}

fn refusal(refused: &Refused, caller: &Caller) -> Problem {
    let place = |list: &str, ids: &[String], id: &String| {
        let at = ids.iter().position(|known| known == id).unwrap_or_default();
        Problem::fault(&format!("/{list}/{at}"), code_of(refused), refused.to_string())
    };
    match refused {
        Refused::UnknownUser(_) => Problem::fault("/user", code_of(refused), refused.to_string()),
        Refused::UnknownWedding(id) => place("weddings", &caller.weddings, id),
        Refused::UnknownVenue(id) => place("venues", &caller.venues, id),
        other => Problem::from(other),
    }
}

fn wanted(body: Json<'_>, context: &Context) -> Result<Wanted, Problem> {
    const KNOWN: &[&str] = &["user", "role", "weddings", "venues", "scopes", "ttl"];
    let mut faults = Faults::default();
    let wanted = Fields::open(body, &Pointer::ROOT, KNOWN, &mut faults).and_then(|mut fields| {
        for name in ["role", "scopes"] {
            if !fields.has(name) {
                fields.missing(name);
            }
        }
        let user = fields.has("user").then(|| fields.word("user", ID_BYTES_MAX));
        let weddings = fields.words("weddings", PLACES_MAX, ID_BYTES_MAX).unwrap_or_default();
        let venues = fields.words("venues", PLACES_MAX, ID_BYTES_MAX).unwrap_or_default();
        let ttl_ms = fields.span("ttl", context.auth.token_ttl_max);
        if ttl_ms == Some(0) {
            fields.fault("ttl", Code::OutOfRange, "is 0; a token needs some time");
        }
        let (role, scopes) = (fields.word("role", WORD_MAX), scopes(&mut fields));
        let caller = Caller {
            token: None,
            user: user.flatten(),
            role: role?,
            weddings,
            venues,
            scopes: scopes?,
        };
        Some(Wanted { caller, ttl_ms })
    });
    faults.or(wanted)
}

fn scopes(fields: &mut Fields<'_, '_, '_>) -> Option<Scopes> {
    let names = fields.words("scopes", Scope::ALL.len(), WORD_MAX)?;
    if names.is_empty() {
        fields.fault(
            "scopes",
            Code::InvalidValue,
            "is empty: such a token would be good for nothing",
        );
        return None;
    }
    let mut scopes = Vec::with_capacity(names.len());
    for (at, name) in names.iter().enumerate() {
        if let Some(scope) = Scope::parse(name) {
            scopes.push(scope);
        } else {
            let path = fields.path.name("scopes");
            let detail = "must be one of publish, subscribe, read, admin";
            fields.faults.add(&path.index(at), Code::InvalidValue, detail);
        }
    }
    Some(scopes.into())
}

pub async fn list(State(context): State<Arc<Context>>, uri: Uri) -> Result<Response, Problem> {
    let query = Query::read(&uri, &["limit", "after"])?;
    context.fresh(&query, context.deadline()).await?;
    let (limit, now) = (query.limit()?, context.handle.log_time());
    let found: Vec<Listed> = context.handle.read(|state| {
        let behind = state.tokens().after(query.get("after"));
        behind
            .take(limit + 1)
            .map(|(id, token)| Listed::new(id, token, now))
            .collect()
    });
    Ok(wire::json(
        StatusCode::OK,
        &Page::cut(found, limit, |token| token.id.clone()),
    ))
}

pub async fn revoke(
    State(context): State<Arc<Context>>,
    asking: Asking,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Response, Problem> {
    Query::read(&uri, &[])?;
    let index = propose_revoke(&context, &id, context.deadline()).await?;
    tracing::info!(token = id, by = access::sender(asking.caller()), "a token was revoked");
    let mut response = wire::empty(StatusCode::NO_CONTENT);
    response
        .headers_mut()
        .insert("campanile-applied", HeaderValue::from(index));
    Ok(response)
}

async fn propose_revoke(context: &Context, id: &str, deadline: Instant) -> Result<u64, Problem> {
    let absent = || Problem::absent("token", super::fields::shorten(id));
    if !token::is_id(id) {
        return Err(absent());
    }
    let proposed = context
        .handle
        .propose(Command::RevokeToken(id.to_owned()), deadline)
        .await?;
    match proposed.outcome {
        Outcome::Done => Ok(proposed.index),
        Outcome::Refused(Refused::UnknownToken(_)) => Err(absent()),
        Outcome::Refused(refused) => Err(Problem::from(&refused)),
        other => Err(Problem::new(Code::Internal, format!("a revocation came to {other:?}"))),
    }
}
