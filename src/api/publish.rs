//! `POST /v1/broadcasts`: read, key, propose, answer. Answered once a quorum holds the broadcast on disk, before its fan-out.

use super::access::{self, Asking};
use super::context::Context;
use super::problem::{Code, Problem, Published, code_of, overloaded};
use super::recall::cold;
use super::request::{self, Query};
use super::rights::Written;
use super::{Config, audit, draft, dry_run, pointer, rights, sources, wire};
use crate::base::clock::{self, Millis};
use crate::metrics::METRICS;
use crate::model::{Caller, Draft, Priority, Rate, Trace};
use crate::queue::admission::{Fullness, admits, share};
use crate::state::command::{Cold, Key, Publish, Spans};
use crate::state::keys::Known;
use crate::state::{Command, Outcome, Refused};
use crate::telemetry;
use crate::telemetry::span::Kind;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::Instrument;

/// How long a key that the node made itself is kept: as long as forwarding may repeat the command.
const OWN_KEY_KEPT_MS: u64 = 60_000;
const KEY_BYTES_MAX: usize = 255;
/// Releases that wait longer than this for those who keep up are as much as a node may owe.
pub const LATE_MAX_MS: usize = 30_000;
/// However late they are, a critical overtakes them: it is let in.
const LATE_COUNTS_MAX: f64 = 0.99;
/// When a publish that found no room may come again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// An accepted broadcast, ready to be answered.
pub struct Done {
    pub answer: Bytes,
    pub location: String,
    pub replayed: bool,
    /// What the sender has left, where there are caps.
    pub rate: Option<[(HeaderName, HeaderValue); 2]>,
    /// This node has applied the log up to here.
    pub applied: u64,
}

pub async fn publish(State(context): State<Arc<Context>>, request: Request) -> Result<Response, Problem> {
    let started = clock::now();
    let deadline = context.deadline();
    let asking = Asking::of(request.extensions())?;
    let (parts, body) = request.into_parts();
    let caller = asking.caller();
    let query = Query::read(&parts.uri, &["dry_run"])?;
    let key = idempotency_key(&parts.headers)?;
    request::media_type(&parts.headers, request::JSON)?;
    let body = request::body(body, context.config.body_bytes_max.bytes(), deadline).await?;
    if query.flag("dry_run")? {
        context.fresh(&query, deadline).await?;
        return dry_run::answer(&context, caller, &body, deadline).await;
    }
    let trace = request::trace(&parts.headers);
    let done = accept(&context, caller, key, &body, deadline, trace).await?;
    METRICS.publish_seconds.observe(started.elapsed().as_secs_f64());
    Ok(done.into_response())
}

impl Done {
    /// The last part of where it is.
    fn id(&self) -> &str {
        self.location.rsplit('/').next().unwrap_or_default()
    }

    fn into_response(self) -> Response {
        let mut response = wire::json_bytes(StatusCode::CREATED, self.answer);
        let headers = response.headers_mut();
        if let Ok(location) = HeaderValue::try_from(self.location) {
            headers.insert(header::LOCATION, location);
        }
        headers.insert("campanile-applied", HeaderValue::from(self.applied));
        headers.extend(self.rate.into_iter().flatten());
        if self.replayed {
            headers.insert("idempotent-replayed", HeaderValue::from_static("true"));
        }
        response
    }
}

/// From the bytes of one broadcast to its answer; also the road of each line of a batch. What is refused is counted, and who was
/// refused it stands in the audit. `given` is the trace that the request belongs to.
pub async fn accept(
    context: &Arc<Context>,
    caller: &Caller,
    key: Option<&str>,
    body: &[u8],
    deadline: Instant,
    given: Option<Trace>,
) -> Result<Done, Problem> {
    let began = context.tracer.begin(given, "publish");
    let trace = began.as_ref().map_or(given, |began| Some(began.trace()));
    let naming = trace.map(|trace| tracing::info_span!("publish", trace_id = trace.id()));
    let naming = naming.unwrap_or_else(tracing::Span::none);
    let proposed = propose(context, caller, key, body, deadline, trace);
    let accepted = proposed.instrument(naming.clone()).await;
    naming.in_scope(|| tell(&accepted, trace));
    let (outcome, attributes) = recorded(&accepted);
    context.tracer.end(began, outcome, attributes);
    if let Err(problem) = &accepted {
        METRICS.refused.with_label_values(&[problem.code().text()]).inc();
        audit::denied(context, Some(caller), "publish".into(), problem);
    }
    accepted
}

/// Whoever follows a trace finds in the log what became of it; of one that is not sampled only where the log is told to say all.
fn tell(accepted: &Result<Done, Problem>, trace: Option<Trace>) {
    match (accepted, trace.map(Trace::is_sampled)) {
        (_, None) => {}
        (Ok(done), Some(true)) => tracing::info!(broadcast = done.id(), replayed = done.replayed, "published"),
        (Ok(done), Some(false)) => tracing::debug!(broadcast = done.id(), replayed = done.replayed, "published"),
        (Err(problem), Some(true)) => tracing::info!(code = problem.code().text(), "not published"),
        (Err(problem), Some(false)) => tracing::debug!(code = problem.code().text(), "not published"),
    }
}

/// The same for the span.
fn recorded(accepted: &Result<Done, Problem>) -> (telemetry::Outcome, Vec<(&'static str, String)>) {
    match accepted {
        Ok(done) => {
            let attributes = vec![
                ("campanile.broadcast", done.id().to_owned()),
                ("campanile.log_index", done.applied.to_string()),
            ];
            (telemetry::Outcome::Well, attributes)
        }
        Err(problem) => (telemetry::Outcome::Failed(problem.code().text().into()), Vec::new()),
    }
}

async fn propose(
    context: &Arc<Context>,
    caller: &Caller,
    key: Option<&str>,
    body: &[u8],
    deadline: Instant,
    trace: Option<Trace>,
) -> Result<Done, Problem> {
    if context.is_draining() {
        return Err(Problem::new(Code::Stopping, "this node is stopping").with_outcome(Published::NotPublished));
    }
    let mut draft = draft::read(body, &context.config, context.handle.log_time())?;
    draft.trace = trace;
    room(context, draft.priority)?;
    let key = key_of(context, caller, key, body);
    let _turn = match key.table_bytes_max {
        0 => None,
        _ => Some(context.running.enter(key.fingerprint).ok_or_else(|| {
            Problem::new(
                Code::KeyInProgress,
                "a request with this key is still running on this node",
            )
        })?),
    };
    let is_repeated = || {
        let known = context.handle.read(|state| state.keys().look(&key));
        !matches!(known, Known::No)
    };
    // Before anything is asked for: who may not send this makes the node ask nobody.
    let written = Written { draft: &draft, body };
    let grant = rights::grant(context, caller, written, Some(&key), deadline).await?;
    // Of what is only repeated the first answer stands, whatever there is to say by now.
    let noticed = if is_repeated() {
        Vec::new()
    } else {
        notice(context, &draft, deadline).await?
    };
    let rate = grant.rate.clone();
    let superseded = if is_repeated() {
        None
    } else {
        superseded(context, caller, &draft, deadline).await?
    };
    let publish = Publish {
        draft,
        superseded,
        sender: access::sender(caller).to_owned(),
        key,
        spans: spans(&context.config),
        grant,
    };
    let command = Command::Publish(Box::new(publish));
    let step = context.tracer.within(trace, "propose", Kind::Internal);
    let proposed = context.handle.propose(command, deadline).await;
    let outcome = match &proposed {
        Ok(_) => telemetry::Outcome::Well,
        Err(error) => telemetry::Outcome::Failed(error.to_string()),
    };
    context.tracer.end(step, outcome, Vec::new());
    let proposed = proposed.map_err(|error| Problem::of_publish(&error))?;
    let at = context.handle.log_time();
    match proposed.outcome {
        Outcome::Published { number, replayed } => {
            let rate = rate.map(|rate| rights::rate_headers(context, &rate, at));
            let noticed = if replayed { Vec::new() } else { noticed };
            answer(context, number, replayed, noticed, rate, proposed.index).await
        }
        Outcome::Refused(refused) => Err(refusal(context, &refused, body, rate.as_ref(), at)),
        other => Err(Problem::new(Code::Internal, format!("a publish came to {other:?}"))),
    }
}

/// What a sender should know of the moment at which it is sent; a replay does not say it again. Asks for segments that may have
/// changed.
pub async fn notice(context: &Arc<Context>, draft: &Draft, deadline: Instant) -> Result<Vec<wire::Warning>, Problem> {
    let mut warnings = sources::fresh(context, draft, deadline).await?;
    if !context.handle.read(|state| state.can_be_met(draft)) {
        warnings.push(wire::Warning::NeedCannotBeMet);
    }
    Ok(warnings)
}

/// What the settings say about times.
pub fn spans(config: &Config) -> Spans {
    Spans {
        expires_after_ms: config.expires_default.0.as_millis() as u64,
        schedule_max_ms: config.schedule_max.0.as_millis() as u64,
    }
}

/// While this node's sessions wait long for what is released already, less urgent broadcasts have to wait too.
fn room(context: &Context, priority: Priority) -> Result<(), Problem> {
    let oldest = usize::try_from(context.scaling.load().oldest_ms).unwrap_or(usize::MAX);
    let fullness = Fullness {
        late: share(oldest, LATE_MAX_MS).min(LATE_COUNTS_MAX),
        ..Fullness::default()
    };
    if admits(priority, fullness) {
        return Ok(());
    }
    METRICS.shed.with_label_values(&[priority.name()]).inc();
    let detail = format!("what is released already waits {oldest} ms for its turn");
    Err(Problem::new(overloaded(priority), detail)
        .with_retry_after(RETRY_AFTER)
        .with_outcome(Published::NotPublished))
}

/// What the draft supersedes, where it has left memory. Whoever puts a broadcast in another's place must be allowed to call that off.
pub async fn superseded(
    context: &Arc<Context>,
    caller: &Caller,
    draft: &Draft,
    deadline: Instant,
) -> Result<Option<Box<Cold>>, Problem> {
    let Some(id) = draft.supersedes else { return Ok(None) };
    let Some(old) = context.hot(id.number()).await else {
        return Ok(None); // the log says that there is none
    };
    rights::may_call_off(context, caller, &old, deadline).await?;
    Ok(cold(context, &old, deadline).await)
}

async fn answer(
    context: &Arc<Context>,
    number: u64,
    replayed: bool,
    noticed: Vec<wire::Warning>,
    rate: Option<[(HeaderName, HeaderValue); 2]>,
    applied: u64,
) -> Result<Done, Problem> {
    let hot = match context.handle.read(|state| state.broadcast(number)) {
        Some(broadcast) => broadcast,
        None => context
            .hot(number)
            .await
            .map(|hot| hot.broadcast)
            .ok_or_else(|| Problem::new(Code::Internal, format!("broadcast {number} cannot be read")))?,
    };
    if !replayed {
        METRICS.published.with_label_values(&[hot.draft.priority.name()]).inc();
    }
    let mut writer = BytesMut::with_capacity(384).writer();
    let mut accepted = wire::Accepted::new(&hot, |output| context.outputs.has(output));
    accepted.warnings.extend(noticed);
    serde_json::to_writer(&mut writer, &accepted).map_err(|error| Problem::new(Code::Internal, error.to_string()))?;
    Ok(Done {
        answer: writer.into_inner().freeze(),
        location: format!("/v1/broadcasts/{}", hot.id),
        replayed,
        rate,
        applied,
    })
}

/// The client's one key: 1 to 255 printable ASCII characters.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Problem::new(
            Code::InvalidKey,
            "Idempotency-Key is given more than once",
        ));
    }
    let key = value.to_str().unwrap_or_default();
    if (1..=KEY_BYTES_MAX).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic() || b == b' ') {
        return Ok(Some(key));
    }
    let detail = format!("Idempotency-Key must have 1 to {KEY_BYTES_MAX} printable ASCII characters");
    Err(Problem::new(Code::InvalidKey, detail))
}

/// The client's key, or one of the node's own.
pub fn key_of(context: &Context, caller: &Caller, key: Option<&str>, body: &[u8]) -> Key {
    key.map_or_else(own_key, |key| clients_key(context, caller, key, body))
}

fn clients_key(context: &Context, caller: &Caller, key: &str, body: &[u8]) -> Key {
    Key {
        fingerprint: fingerprint(&access::key_space(caller), key),
        body: body_hash(body),
        kept_ms: context.config.keys_kept.0.as_millis() as u64,
        table_bytes_max: context.config.keys_bytes_max.0,
    }
}

/// Forwarding to a new leader must not double a publish, so one without a key gets one here.
fn own_key() -> Key {
    Key {
        fingerprint: rand::random(),
        body: 0,
        kept_ms: OWN_KEY_KEPT_MS,
        table_bytes_max: 0,
    }
}

/// Callers do not share keys: a caller's name ends where a byte stands that no name has.
pub fn fingerprint(caller: &str, key: &str) -> [u8; 16] {
    let hash = Sha256::new()
        .chain_update(caller)
        .chain_update([0])
        .chain_update(key)
        .finalize();
    let mut first = [0; 16];
    first.copy_from_slice(&hash[..16]);
    first
}

fn body_hash(body: &[u8]) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&Sha256::digest(body)[..8]);
    u64::from_be_bytes(first)
}

/// What the state refused, pointed to in the body, and with what is left where that is the reason.
pub fn refusal(context: &Context, refused: &Refused, body: &[u8], rate: Option<&Rate>, at: Millis) -> Problem {
    let problem = pointed(refused, body);
    match (refused, rate) {
        (Refused::RateLimited { retry_after_ms, .. }, Some(rate)) => problem
            .with_retry_after(Duration::from_millis(*retry_after_ms))
            .with_headers(rights::rate_headers(context, rate, at)),
        _ => problem,
    }
}

/// What the state refused, with a pointer to where the body says it.
pub fn pointed(refused: &Refused, body: &[u8]) -> Problem {
    let pointer = match refused {
        Refused::ExpiresBeforeRelease | Refused::ExpiresBeforeDelivery => Some("/expires_at".to_owned()),
        Refused::ScheduleTooFar(_) => Some("/deliver_at_local".to_owned()),
        Refused::UnknownBroadcast => Some("/supersedes".to_owned()),
        other => pointer::to_unknown(other, body),
    };
    let problem = match pointer {
        Some(pointer) => Problem::fault(&pointer, code_of(refused), refused.to_string()),
        None => Problem::from(refused),
    };
    if problem.status().is_server_error() {
        problem.with_outcome(Published::NotPublished)
    } else {
        problem
    }
}

#[cfg(test)]
mod tests {
    use super::{fingerprint, idempotency_key, pointed};
    use crate::state::Refused;
    use http::{HeaderMap, HeaderValue};

    #[test]
    fn keys_belong_to_their_callers() {
        assert_eq!(fingerprint("a", "k"), fingerprint("a", "k"));
        assert_ne!(fingerprint("a", "k"), fingerprint("b", "k"));
        assert_ne!(fingerprint("a", "bk"), fingerprint("ab", "k"));
    }

    fn check_key(value: &[u8], accepted: bool) {
        let mut headers = HeaderMap::new();
        headers.insert("idempotency-key", HeaderValue::from_bytes(value).unwrap());
        assert_eq!(
            idempotency_key(&headers).is_ok(),
            accepted,
            "{}",
            String::from_utf8_lossy(value)
        );
    }

    #[test]
    fn a_key_is_printable_ascii() {
        check_key(b"a", true);
        check_key(&[b'a'; 255], true);
        check_key(&[b'a'; 256], false);
        check_key(b"", false);
        check_key(b"a b", true);
        check_key(b"a\tb", false);
        check_key("é".as_bytes(), false);
        assert!(idempotency_key(&HeaderMap::new()).unwrap().is_none());
        let mut twice = HeaderMap::new();
        twice.append("idempotency-key", HeaderValue::from_static("a"));
        twice.append("idempotency-key", HeaderValue::from_static("a"));
        assert_eq!(
            idempotency_key(&twice).unwrap_err().code().text(),
            "INVALID_IDEMPOTENCY_KEY"
        );
    }

    #[test]
    fn a_refused_id_is_pointed_to() {
        let body = br#"{"audience": {"venues": ["a"]}, "exclude": [{"venues": ["a"], "on_site": ["a", "b"]}]}"#;
        let problem = pointed(&Refused::UnknownVenue("b".into()), body);
        assert_eq!(problem.errors()[0].pointer, "/exclude/0/on_site/1");
        assert_eq!(
            (problem.code().text(), problem.status().as_u16()),
            ("UNKNOWN_VENUE", 422)
        );
    }
}
