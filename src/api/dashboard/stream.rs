//! The dashboard's data as events: at once, then every second, and as soon as somebody else leads.

use super::{latest, with_caller};
use crate::api::access;
use crate::api::context::Context;
use crate::api::problem::{Code, Problem};
use crate::base::clock;
use crate::consensus::Leadership;
use crate::gateway::Pass;
use crate::metrics::METRICS;
use crate::security::Identity;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, header};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Interval, MissedTickBehavior};

pub const MEDIA_TYPE: &str = "text/event-stream";
const EVERY: Duration = Duration::from_secs(1);
/// So long after a change of leader is looked again: the new one may not know of it yet.
const SETTLED_AFTER: Duration = Duration::from_millis(250);
/// Streams that tick at nearly the same time are given the same answer.
const SHARED_FOR: Duration = Duration::from_millis(500);

/// One that is open.
struct Watcher {
    context: Arc<Context>,
    identity: Identity,
    /// `None` where nobody is authenticated.
    pass: Option<Pass>,
    tick: Interval,
    leadership: watch::Receiver<Leadership>,
    _turn: OwnedSemaphorePermit,
}

/// What comes next.
enum Next {
    Board,
    Goodbye(&'static str),
}

pub fn open(context: Arc<Context>, identity: Identity) -> Result<Response, Problem> {
    let Ok(turn) = context.dashboard.streams.clone().try_acquire_owned() else {
        METRICS.limits_hit.with_label_values(&["dashboard.streams_max"]).inc();
        let detail = "as many dashboards are open on this node as dashboard.streams_max allows; try another node";
        return Err(Problem::new(Code::Overloaded, detail));
    };
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let watcher = Watcher {
        pass: access::pass(&context, &identity)?,
        leadership: context.handle.watch_leadership(),
        context,
        identity,
        tick,
        _turn: turn,
    };
    let events = stream::unfold(Some(watcher), |watcher| async { Some(watcher?.next().await) });
    let mut response = Response::new(Body::from_stream(events));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    headers.insert(header::CACHE_CONTROL, super::assets::NO_STORE);
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

impl Watcher {
    /// The next event, and who goes on: nobody after a goodbye.
    async fn next(mut self) -> (Result<Bytes, Infallible>, Option<Self>) {
        tokio::select! {
            _ = self.tick.tick() => {}
            _ = self.leadership.changed() => self.tick.reset_after(SETTLED_AFTER),
        }
        match self.look() {
            Next::Goodbye(why) => (
                Ok(event("goodbye", format!("{{\"reason\":\"{why}\"}}").as_bytes())),
                None,
            ),
            Next::Board => {
                let since = clock::now().checked_sub(SHARED_FOR).unwrap_or_else(clock::now);
                match latest(&self.context, since).await {
                    Ok(board) => {
                        let data = with_caller(&self.identity.caller, &board);
                        (Ok(event("board", &data)), Some(self))
                    }
                    Err(problem) => (Ok(event("problem", &problem.json())), Some(self)),
                }
            }
        }
    }

    fn look(&self) -> Next {
        let now = self.context.handle.log_time();
        if self.context.is_draining() {
            Next::Goodbye("stopping")
        } else if self.pass.as_ref().is_some_and(|pass| !pass.holds(now)) {
            Next::Goodbye("token_ended")
        } else {
            Next::Board
        }
    }
}

/// `data` is JSON on one line.
fn event(name: &str, data: &[u8]) -> Bytes {
    let mut event = format!("event: {name}\ndata: ").into_bytes();
    event.extend(data);
    event.extend(b"\n\n");
    event.into()
}
