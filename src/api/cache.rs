//! `/v1/cache`: reading, putting and invalidating what is cached, and how well that goes.

use super::cache_headers::{self as headers, Directives};
use super::context::Context;
use super::fields::shorten;
use super::problem::{Code, Problem};
use super::request::{self, Path, Query};
use super::wire;
use crate::cache::pressure::Decision;
use crate::cache::{CacheError, Counted, Found, KEY_LETTERS_MAX, NamespaceStatus, UpstreamStatus, VALUE_BYTES_MAX};
use crate::state::State as Applied;
use crate::state::cache::{CacheKey, Lifetime, Value, Why};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use serde::Serialize;
use std::sync::Arc;

/// Characters of a content type.
const CONTENT_TYPE_MAX: usize = 128;

fn key_of(namespace: &str, key: &str) -> Result<CacheKey, Problem> {
    let letters = key.chars().count();
    if !(1..=KEY_LETTERS_MAX).contains(&letters) || key.chars().any(char::is_control) {
        let detail = format!("a key is 1 to {KEY_LETTERS_MAX} printable characters");
        return Err(Problem::new(Code::MalformedRequest, detail));
    }
    Ok(CacheKey::new(namespace, key))
}

pub fn refusal(error: CacheError) -> Problem {
    match error {
        CacheError::UnknownNamespace(name) => {
            let detail = format!("the settings name no namespace {:?}", shorten(&name));
            Problem::new(Code::UnknownNamespace, detail)
        }
        CacheError::NotProposed(error) => Problem::from(error),
        CacheError::Upstream { why, rest } => {
            let code = if why == Why::TooSlow {
                Code::UpstreamTimedOut
            } else {
                Code::UpstreamFailed
            };
            Problem::new(code, format!("the upstream of this namespace gave nothing: {why}")).with_retry_after(rest)
        }
        CacheError::Unfit(detail) => Problem::fault("", Code::InvalidValue, detail),
        CacheError::TimedOut => Problem::new(Code::TimedOut, error.to_string()),
        CacheError::Unreadable(detail) => {
            tracing::error!(detail, "a cached value cannot be read");
            Problem::new(Code::Internal, "the value cannot be read")
        }
    }
}

pub async fn get(
    State(context): State<Arc<Context>>,
    Path((namespace, key)): Path<(String, String)>,
    uri: Uri,
    asked: HeaderMap,
) -> Result<Response, Problem> {
    let deadline = context.deadline();
    let query = Query::read(&uri, &[])?;
    let at = key_of(&namespace, &key)?;
    context.fresh(&query, deadline).await?;
    let found = context
        .cache
        .get(&at.namespace, &at.key, deadline)
        .await
        .map_err(refusal)?;
    let found = found.ok_or_else(|| {
        let detail = format!("nothing is cached under {:?} in {namespace}", shorten(&key));
        Problem::new(Code::NotFound, detail).with_headers([headers::tier("miss")])
    })?;
    let now = context.handle.log_time();
    let is_known = headers::knows(&asked, &found.kept.entry.digest);
    let mut response = if is_known {
        wire::empty(StatusCode::NOT_MODIFIED)
    } else {
        whole(&found)
    };
    response.headers_mut().extend(headers::of(&found, now));
    Ok(response)
}

/// A client has put it there: whatever it calls itself, a browser must not run it as a page of this server.
fn whole(found: &Found) -> Response {
    let value = &found.kept.value;
    let mut response = Response::new(Body::from(value.body.clone()));
    let named = HeaderValue::from_str(&value.content_type).ok();
    let named = named.filter(|named| !named.is_empty());
    let all = [
        (
            header::CONTENT_TYPE,
            named.unwrap_or(HeaderValue::from_static("application/octet-stream")),
        ),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox")),
    ];
    response.headers_mut().extend(all);
    response
}

pub async fn put(
    State(context): State<Arc<Context>>,
    Path((namespace, key)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let deadline = context.deadline();
    let (parts, body) = request.into_parts();
    Query::read(&parts.uri, &[])?;
    let at = key_of(&namespace, &key)?;
    request::unpacked(&parts.headers)?;
    let asked = Directives::read(&parts.headers)?;
    let content_type = content_type(&parts.headers)?;
    let body = request::body(body, VALUE_BYTES_MAX, deadline).await?;
    let life = |usual: Lifetime| Lifetime {
        fresh_ms: asked.max_age_ms.unwrap_or(usual.fresh_ms),
        stale_ms: asked.stale_if_error_ms.unwrap_or(usual.stale_ms),
    };
    let put = context.cache.put(at, Value { content_type, body }, life, deadline);
    let (index, digest) = put.await.map_err(refusal)?;
    let mut response = changed(index);
    response.headers_mut().insert(header::ETAG, headers::etag(&digest));
    Ok(response)
}

fn content_type(headers: &HeaderMap) -> Result<String, Problem> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Ok(String::new());
    };
    match value.to_str() {
        Ok(text) if text.len() <= CONTENT_TYPE_MAX => Ok(text.to_owned()),
        Ok(_) | Err(_) => {
            let detail = format!("Content-Type must be at most {CONTENT_TYPE_MAX} visible letters");
            Err(Problem::new(Code::UnsupportedMediaType, detail).closing())
        }
    }
}

fn changed(index: u64) -> Response {
    let mut response = wire::empty(StatusCode::NO_CONTENT);
    response
        .headers_mut()
        .insert("campanile-applied", HeaderValue::from(index));
    response
}

pub async fn delete(
    State(context): State<Arc<Context>>,
    Path((namespace, key)): Path<(String, String)>,
    uri: Uri,
) -> Result<Response, Problem> {
    Query::read(&uri, &[])?;
    let at = key_of(&namespace, &key)?;
    let index = context.cache.invalidate(at, context.deadline()).await;
    index.map(changed).map_err(refusal)
}

pub async fn empty(
    State(context): State<Arc<Context>>,
    Path(namespace): Path<String>,
    uri: Uri,
) -> Result<Response, Problem> {
    Query::read(&uri, &[])?;
    let index = context.cache.empty(&namespace, context.deadline()).await;
    index.map(changed).map_err(refusal)
}

/// Reads on this node since it started; rates are `null` before the first one.
#[derive(Serialize)]
struct Reads {
    local: u64,
    replicated: u64,
    stale: u64,
    miss: u64,
    local_hit_rate: Option<f64>,
    hit_rate: Option<f64>,
}

impl From<Counted> for Reads {
    fn from(counted: Counted) -> Self {
        let Counted {
            local,
            replicated,
            stale,
            miss,
        } = counted;
        Self {
            local,
            replicated,
            stale,
            miss,
            local_hit_rate: counted.local_rate(),
            hit_rate: counted.rate(),
        }
    }
}

#[derive(Serialize)]
struct NamespaceView {
    name: String,
    ttl: String,
    entries: u64,
    bytes: u64,
    entries_max: u64,
    bytes_max: u64,
    reads: Reads,
    /// `null` where there is none.
    upstream: Option<UpstreamView>,
}

/// How this node found the upstream when it last asked.
#[derive(Serialize)]
struct UpstreamView {
    /// `ready`, or `resting`: it was out of reach and is left alone for a while.
    state: &'static str,
    why: Option<String>,
    /// Until it may be asked again.
    left_seconds: Option<f64>,
}

impl From<UpstreamStatus> for UpstreamView {
    fn from(status: UpstreamStatus) -> Self {
        match status {
            UpstreamStatus::Ready => Self {
                state: "ready",
                why: None,
                left_seconds: None,
            },
            UpstreamStatus::Resting { why, left } => Self {
                state: "resting",
                why: Some(why.to_string()),
                left_seconds: Some(left.as_secs_f64()),
            },
        }
    }
}

impl From<NamespaceStatus> for NamespaceView {
    fn from(status: NamespaceStatus) -> Self {
        Self {
            ttl: status.settings.ttl.to_string(),
            entries_max: status.settings.entries_max,
            bytes_max: status.settings.bytes_max.0,
            name: status.settings.name,
            entries: status.entries,
            bytes: status.bytes,
            reads: status.reads.into(),
            upstream: status.upstream.map(UpstreamView::from),
        }
    }
}

#[derive(Serialize)]
struct LocalView {
    items: usize,
    bytes: u64,
    items_max: u64,
    /// What it may hold now; less than the settings say while memory is short.
    capacity_bytes: u64,
}

#[derive(Serialize)]
struct ReplicatedView {
    entries: u64,
    bytes: u64,
    entries_max: u64,
    bytes_max: u64,
}

#[derive(Serialize)]
struct FilledView {
    of: &'static str,
    used_bytes: u64,
    limit_bytes: u64,
}

/// Why the local tier is as large as it is.
#[derive(Serialize)]
struct Pressure {
    step: &'static str,
    reason: String,
    stalled_percent: f64,
    memory: Vec<FilledView>,
}

impl From<Decision> for Pressure {
    fn from(decision: Decision) -> Self {
        let filled = decision.memory.filled.iter().map(|filled| FilledView {
            of: filled.of.name(),
            used_bytes: filled.used,
            limit_bytes: filled.limit,
        });
        Self {
            step: decision.step.name(),
            memory: filled.collect(),
            stalled_percent: decision.memory.stalled_percent,
            reason: decision.reason,
        }
    }
}

#[derive(Serialize)]
struct Status {
    reads: Reads,
    local: LocalView,
    replicated: ReplicatedView,
    /// `null` before the first look at memory.
    pressure: Option<Pressure>,
    namespaces: Vec<NamespaceView>,
}

pub async fn status(State(context): State<Arc<Context>>, uri: Uri) -> Result<Response, Problem> {
    context.fresh(&Query::read(&uri, &[])?, context.deadline()).await?;
    let cache = &context.cache;
    let namespaces = cache.namespaces();
    let (items, bytes) = cache.local().size();
    let (entries, replicated) = context.handle.read(|state: &Applied| state.cache().size());
    let status = Status {
        reads: cache.reads().into(),
        local: LocalView {
            items,
            bytes,
            items_max: cache.config().local_items,
            capacity_bytes: cache.local().capacity(),
        },
        replicated: ReplicatedView {
            entries,
            bytes: replicated,
            entries_max: cache.config().entries_max,
            bytes_max: cache.config().bytes_max.0,
        },
        pressure: cache.decision().map(Pressure::from),
        namespaces: namespaces.into_iter().map(NamespaceView::from).collect(),
    };
    Ok(wire::json(StatusCode::OK, &status))
}
