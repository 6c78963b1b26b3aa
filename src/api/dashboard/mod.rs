//! The dashboard: a page at `/`, and everything it shows in one answer, once or as a stream.
//!
//! One answer, so that what stands side by side on the page is of one moment; built once for all who look at that moment.
//! Start at [`board`] for what is shown, [`health`] for what it is worth, [`assets`] for the page itself.

pub mod assets;
mod board;
mod broadcasts;
mod health;
mod room;
pub mod series;
mod stream;
mod urgent;
pub(super) mod weddings;

use super::access::Asking;
use super::context::Context;
use super::problem::{Code, Problem};
use super::request::Query;
use super::wire;
use crate::alerting::Day;
use crate::base::clock;
use crate::base::size::Span;
use crate::cache::Counted;
use crate::consensus::Leadership;
use crate::metrics::history::Lookups;
use crate::metrics::{History, METRICS};
use crate::model::{Caller, Priority};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, Uri, header};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, watch};

/// The section `dashboard`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Between two samples of the counters.
    pub sample_every: Span,
    /// The same while the event window of some wedding is open.
    pub sample_every_enhanced: Span,
    pub streams_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            sample_every: Span::seconds(5),
            sample_every_enhanced: Span::seconds(2),
            streams_max: 64,
        }
    }
}

/// What the node remembers for its dashboard.
pub struct Dashboard {
    config: Config,
    history: Mutex<History>,
    urgent: Mutex<crate::state::urgent::Urgent>,
    /// The last answer. Whoever builds the next one holds it; the others wait, and take that one.
    latest: tokio::sync::Mutex<Option<Latest>>,
    streams: Arc<Semaphore>,
    started: Instant,
}

/// An answer without the part that differs by caller.
#[derive(Clone)]
struct Latest {
    at: Instant,
    leadership: Leadership,
    /// An object.
    json: Bytes,
}

impl Dashboard {
    pub fn new(config: Config) -> Self {
        Self {
            history: Mutex::default(),
            urgent: Mutex::default(),
            latest: tokio::sync::Mutex::default(),
            streams: Arc::new(Semaphore::new(config.streams_max)),
            started: clock::now(),
            config,
        }
    }
}

/// Critical broadcasts of late.
pub(super) fn urgent(context: &Context, now: clock::Millis) -> urgent::Found {
    urgent::find(&mut context.dashboard.urgent.lock(), &context.handle, now)
}

/// Takes samples of the counters until the node stops: every `sample_every`, and closer together on the days of weddings.
pub async fn sample(context: Arc<Context>, mut stop: watch::Receiver<bool>) {
    let mut wait = Duration::ZERO;
    let codes = Code::of_the_node();
    let priorities = Priority::ALL.map(Priority::name);
    loop {
        tokio::select! {
            _ = stop.changed() => return,
            () = tokio::time::sleep(wait) => {}
        }
        let config = &context.dashboard.config;
        wait = match context.alerts.today.day() {
            Day::Ordinary => config.sample_every.0,
            Day::Event => config.sample_every.min(config.sample_every_enhanced).0,
        };
        let mut totals = METRICS.totals(context.gateway.sessions() as u64, &priorities, &codes);
        totals.cache = lookups(context.cache.reads());
        let since_start = context.dashboard.started.elapsed();
        let mut history = context.dashboard.history.lock();
        history.push(clock::wall(), since_start, totals);
    }
}

fn lookups(reads: Counted) -> Lookups {
    Lookups {
        all: reads.all(),
        found: reads.all() - reads.miss,
        local: reads.local,
    }
}

/// `GET /v1/dashboard`: once as JSON, or every second as events.
pub async fn board(
    State(context): State<Arc<Context>>,
    asking: Asking,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    context.fresh(&Query::read(&uri, &[])?, context.deadline()).await?;
    let accepted = headers.get_all(header::ACCEPT).iter();
    let mut accepted = accepted.filter_map(|value| value.to_str().ok());
    if accepted.any(|types| types.contains(stream::MEDIA_TYPE)) {
        return stream::open(context, asking.0);
    }
    let board = latest(&context, clock::now()).await?;
    let body = with_caller(asking.caller(), &board);
    let mut response = wire::json_bytes(StatusCode::OK, body.into()).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, assets::NO_STORE);
    Ok(response)
}

/// What is shown, no older than `since` and of who leads now.
async fn latest(context: &Arc<Context>, since: Instant) -> Result<Bytes, Problem> {
    let mut latest = context.dashboard.latest.lock().await;
    let leadership = context.handle.leadership();
    if let Some(known) = &*latest
        && known.at >= since
        && known.leadership == leadership
    {
        return Ok(known.json.clone());
    }
    let at = clock::now();
    let json = board::build(context).await?;
    *latest = Some(Latest {
        at,
        leadership,
        json: json.clone(),
    });
    Ok(json)
}

/// The page offers what the caller may do; that stands first, before what is the same for everybody.
fn with_caller(caller: &Caller, board: &Bytes) -> Vec<u8> {
    #[derive(Serialize)]
    struct CallerView<'a> {
        user: Option<&'a str>,
        role: &'a str,
        scopes: &'a crate::model::Scopes,
        /// Nobody is asked for a token here.
        open: bool,
    }
    let view = CallerView {
        user: caller.user.as_deref(),
        role: &caller.role,
        scopes: &caller.scopes,
        open: caller.token.is_none(),
    };
    let mut body = b"{\"caller\":".to_vec();
    body.extend(serde_json::to_vec(&view).unwrap_or_else(|_| b"null".to_vec()));
    body.push(b',');
    body.extend(board.get(1..).unwrap_or_default());
    body
}
