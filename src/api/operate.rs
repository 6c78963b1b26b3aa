//! What operators and probes ask: is it alive, is it ready, who leads, what waits.

use super::context::Context;
use super::problem::{Code, Problem};
use super::request::{Path, Query};
use super::wire;
use crate::base::clock;
use crate::base::size::Span;
use crate::consensus::Role;
use crate::gateway::gateway::QueueStatus;
use crate::metrics::METRICS;
use crate::model::{NodeId, PerPriority, Priority};
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderValue, StatusCode, Uri, header};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Rates are taken over at least this long.
const RATE_OVER: Duration = Duration::from_millis(500);

pub fn text(content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// The process answers.
pub async fn livez() -> Response {
    text("text/plain; charset=utf-8", "ok\n")
}

/// The node takes requests; with `?write=1` it also has a leader.
pub async fn readyz(State(context): State<Arc<Context>>, uri: Uri) -> Result<Response, Problem> {
    let query = Query::read(&uri, &["write"])?;
    if context.is_draining() {
        return Err(Problem::new(Code::Stopping, "this node is stopping"));
    }
    context.named()?;
    if query.flag("write")? && context.handle.leadership().leader.is_none() {
        return Err(Problem::new(Code::NoLeader, "this node has no leader"));
    }
    Ok(text("text/plain; charset=utf-8", "ok\n"))
}

#[derive(Serialize)]
pub struct Cluster {
    pub leader: Option<NodeId>,
    term: u64,
    /// The node that answers.
    pub node: NodeId,
    pub nodes: Vec<Node>,
}

#[derive(Serialize)]
#[allow(clippy::struct_field_names)] // the contract's names
pub struct Node {
    pub node: NodeId,
    pub role: &'static str,
    url: Option<String>,
    /// Not there for a node that nobody hears of.
    applied: Option<u64>,
    lag: Option<u64>,
    version: Option<String>,
    /// Users with a session there.
    sessions: u64,
}

pub async fn cluster(State(context): State<Arc<Context>>, uri: Uri) -> Result<Response, Problem> {
    let (query, deadline) = (Query::read(&uri, &[])?, context.deadline());
    context.fresh(&query, deadline).await?;
    Ok(wire::json(StatusCode::OK, &nodes(&context).await))
}

/// Who leads, and how far each node is.
pub async fn nodes(context: &Context) -> Cluster {
    let leadership = context.handle.leadership();
    let statuses: BTreeMap<NodeId, _> = context
        .handle
        .nodes_of_leader()
        .await
        .into_iter()
        .map(|status| (status.node, status))
        .collect();
    let ids: BTreeSet<NodeId> = statuses
        .keys()
        .copied()
        .chain(context.nodes.iter().map(|(node, _)| *node))
        .collect();
    let describe = |node: NodeId| {
        let status = statuses.get(&node);
        let (record, connected) = context
            .handle
            .read(|state| (state.nodes().get(node).cloned(), state.presence().connected_at(node)));
        let configured = context
            .nodes
            .iter()
            .find(|(id, _)| *id == node)
            .map(|(_, url)| url.clone());
        Node {
            node,
            role: status.map_or(Role::Unknown, |status| status.role).name(),
            url: record.as_ref().map(|record| record.url.clone()).or(configured),
            applied: status.and_then(|status| status.applied),
            lag: status.and_then(|status| status.lag),
            version: record.map(|record| record.version),
            sessions: if node == context.node {
                context.gateway.sessions() as u64
            } else {
                connected
            },
        }
    };
    Cluster {
        leader: leadership.leader,
        term: leadership.term,
        node: context.node,
        nodes: ids.into_iter().map(describe).collect(),
    }
}

/// One priority on this node.
#[derive(Serialize)]
pub struct Queue {
    waiting: u64,
    oldest: Span,
    /// The same for programs that count.
    oldest_seconds: f64,
    /// Writes per second since the last look.
    rate: f64,
    in_flight: u64,
    written: u64,
    retries: u64,
}

pub async fn queues(State(context): State<Arc<Context>>, uri: Uri) -> Result<Response, Problem> {
    Query::read(&uri, &[])?;
    Ok(wire::json(StatusCode::OK, &waiting(&context)))
}

/// What waits on this node.
pub fn waiting(context: &Context) -> Queues {
    let now = context.gateway.queues();
    let rates = rates(context, now);
    let each = Priority::ALL.into_iter().map(|priority| {
        let (queue, rate) = (now[priority.index()], rates[priority.index()]);
        let shown = Queue {
            waiting: queue.waiting,
            oldest: Span(Duration::from_millis(queue.oldest.as_millis() as u64)),
            oldest_seconds: queue.oldest.as_secs_f64(),
            rate,
            in_flight: queue.in_flight,
            written: queue.written,
            retries: METRICS.retries.with_label_values(&[priority.name()]).get(),
        };
        (priority.name(), shown)
    });
    Queues(each.collect())
}

/// By priority, the most urgent first.
pub struct Queues(Vec<(&'static str, Queue)>);

impl Queues {
    /// Of all priorities.
    pub fn waiting(&self) -> u64 {
        self.0.iter().map(|(_, queue)| queue.waiting).sum()
    }
}

impl Serialize for Queues {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, queue)| (name, queue)))
    }
}

fn rates(context: &Context, now: PerPriority<QueueStatus>) -> PerPriority<f64> {
    let at = clock::now();
    let mut seen = context.seen.lock();
    let Some((before, then)) = *seen else {
        *seen = Some((at, now));
        return [0.0; 4];
    };
    let over = at.duration_since(before);
    if over >= RATE_OVER {
        *seen = Some((at, now));
    }
    let seconds = over.max(Duration::from_millis(1)).as_secs_f64();
    Priority::ALL.map(|p| now[p.index()].written.saturating_sub(then[p.index()].written) as f64 / seconds)
}

#[derive(Serialize)]
pub struct Worker {
    name: String,
    cells: usize,
    sessions: usize,
    written: u64,
    busy_share: f64,
    panics: u64,
}

pub async fn workers(State(context): State<Arc<Context>>, uri: Uri) -> Result<Response, Problem> {
    #[derive(Serialize)]
    struct Workers {
        workers: Vec<Worker>,
    }
    Query::read(&uri, &[])?;
    let workers = threads(&context);
    Ok(wire::json(StatusCode::OK, &Workers { workers }))
}

/// The threads of this node.
pub fn threads(context: &Context) -> Vec<Worker> {
    let each = context.gateway.workers().into_iter().map(|worker| Worker {
        name: worker.name,
        cells: worker.cells,
        sessions: worker.sessions,
        written: worker.written,
        busy_share: worker.busy_share,
        panics: worker.panics,
    });
    each.collect()
}

pub async fn config(State(context): State<Arc<Context>>, uri: Uri) -> Result<Response, Problem> {
    Query::read(&uri, &[])?;
    Ok(wire::json(StatusCode::OK, &context.settings))
}

/// What went wrong, by code: the page that a problem's `type` leads to.
pub async fn problem(Path(code): Path<String>) -> Result<Response, Problem> {
    let found = Code::ALL.iter().find(|known| known.text() == code);
    let found = found.ok_or_else(|| Problem::absent("problem", super::fields::shorten(&code)))?;
    let page = format!(
        "{}\n\n{}\n\nstatus: {}\nretryable: {}\n",
        found.text(),
        found.title(),
        found.status().as_u16(),
        found.retryable()
    );
    Ok(text("text/plain; charset=utf-8", page))
}
