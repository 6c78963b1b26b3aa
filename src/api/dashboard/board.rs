//! Everything that the dashboard shows, put together: who leads, what waits, how fast it goes, who is there, and what is out.

use super::broadcasts::{self, Row, Scheduled};
use super::health::{self, Health, Known};
use super::room::{self, Headroom, Scaling};
use super::urgent;
use super::weddings::{self, Weddings};
use crate::api::alerts::{self, UptimeView};
use crate::api::context::Context;
use crate::api::operate::{self, Cluster, Queues, Worker};
use crate::api::outputs::{self, OutputView};
use crate::api::problem::{Code, Problem};
use crate::api::wire::At;
use crate::base::clock;
use crate::consensus::Role;
use crate::control::autoscaler::Shown;
use crate::metrics::history::{Point, Timing, share};
use bytes::Bytes;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Performance and health are of what happened within about this.
const LATELY: Duration = Duration::from_secs(60);

#[derive(Serialize)]
struct Board {
    /// By the node's own clock.
    at: At,
    version: &'static str,
    up_seconds: u64,
    /// The event window of some wedding is open.
    enhanced: bool,
    uptime: UptimeView,
    health: Health,
    alerts: alerts::Board,
    cluster: Cluster,
    queues: Queues,
    /// Null before there are two samples.
    performance: Option<Performance>,
    capacity: Capacity,
    weddings: Weddings,
    urgent: Critical,
    broadcasts: Vec<Row>,
    scheduled: Scheduled,
    dead_letters: DeadLetters,
    outputs: OutputsView,
}

#[derive(Serialize)]
struct Performance {
    over_seconds: f64,
    latency: Latency,
    throughput: Throughput,
    errors: Errors,
    cache: CacheView,
}

#[derive(Serialize)]
struct Latency {
    /// Publish received to answered.
    publish: TimingView,
    /// Released to given to the sockets that were connected.
    delivery: TimingView,
}

#[derive(Serialize)]
struct TimingView {
    count: u64,
    mean_ms: Option<f64>,
    /// 95 of 100 took no longer; as fine as the histogram's buckets are, which double.
    p95_at_most_ms: Option<f64>,
}

/// A second.
#[derive(Serialize)]
struct Throughput {
    broadcasts: f64,
    writes: f64,
}

#[derive(Serialize)]
struct Errors {
    /// Under `/v1`.
    requests: u64,
    /// Answered with a status of 500 or more.
    failed: u64,
    share: Option<f64>,
    /// Publishes that were answered like that.
    not_taken: u64,
}

#[derive(Serialize)]
struct CacheView {
    reads: u64,
    /// By either tier; null where nobody read.
    hit_rate: Option<f64>,
    local_hit_rate: Option<f64>,
}

#[derive(Serialize)]
struct Capacity {
    /// Of this node.
    sessions: usize,
    sessions_max: usize,
    /// Of all nodes: users with a session somewhere, and users there are.
    connected: u64,
    users: u64,
    /// Of this node, all priorities.
    waiting: u64,
    workers: Vec<Worker>,
    headroom: Headroom,
    scaling: Scaling,
}

#[derive(Serialize)]
struct Critical {
    critical_last_hour: usize,
    critical_last_hour_is_at_least: bool,
    emergencies: usize,
    items: Vec<Row>,
}

#[derive(Serialize)]
struct DeadLetters {
    total: u64,
    by_priority: BTreeMap<&'static str, u64>,
    by_reason: BTreeMap<&'static str, u64>,
}

#[derive(Serialize)]
struct OutputsView {
    items: Vec<OutputView>,
    /// Calls that are not finished, of the whole cluster.
    open: usize,
}

/// The answer as JSON, an object.
pub async fn build(context: &Arc<Context>) -> Result<Bytes, Problem> {
    let cluster = operate::nodes(context).await;
    let built = context.blocking(move |context| {
        let board = put_together(context, cluster);
        serde_json::to_vec(&board)
    });
    match built.await {
        Some(Ok(json)) => Ok(json.into()),
        Some(Err(error)) => Err(Problem::new(Code::Internal, error.to_string())),
        None => Err(Problem::new(Code::Internal, "the dashboard cannot be put together")),
    }
}

/// The state is held for one part at a time, so that apply need not wait for all of it.
fn put_together(context: &Context, cluster: Cluster) -> Board {
    let dashboard = &context.dashboard;
    let now = context.handle.log_time();
    let lately = dashboard.history.lock().lately(LATELY);
    let urgent = urgent::find(&mut dashboard.urgent.lock(), &context.handle, now);
    let queues = operate::waiting(context);
    let outputs = outputs::known(context);
    let shown: Shown = context.scaling.shown();
    let is_closed = |output: &&OutputView| output.breaker == "closed";
    let left_alone = outputs.iter().filter(|output| !is_closed(output));
    let unreachable = cluster
        .nodes
        .iter()
        .filter(|node| node.role == Role::Unreachable.name());
    let known = Known {
        has_leader: cluster.leader.is_some(),
        left_out: context.handle.left_out(),
        is_draining: context.is_draining(),
        unreachable: unreachable.map(|node| node.node).collect(),
        emergencies: urgent.open,
        outputs_left_alone: left_alone.map(|output| output.name.as_str()).collect(),
    };
    let health = health::health(lately.as_ref(), health::concerns(known));
    let (connected, users) = context.handle.read(|state| {
        let everybody = state.presence().there();
        (everybody.connected.len(), state.directory().users())
    });
    Board {
        at: At(clock::wall()),
        version: env!("CARGO_PKG_VERSION"),
        up_seconds: dashboard.started.elapsed().as_secs(),
        enhanced: alerts::is_enhanced(context),
        uptime: UptimeView::of(&context.alerts.sources.prober.uptime()),
        health,
        alerts: alerts::board(context),
        cluster,
        performance: lately.as_ref().map(Performance::of),
        capacity: Capacity {
            sessions: context.gateway.sessions(),
            sessions_max: context.gateway.sessions_max(),
            connected,
            users,
            waiting: queues.waiting(),
            workers: operate::threads(context),
            headroom: room::of(context, &shown),
            scaling: room::scaling(context, &shown),
        },
        queues,
        weddings: context
            .handle
            .read(|state| weddings::weddings(state, now, room::seasonal(&shown))),
        urgent: Critical {
            critical_last_hour: urgent.last_hour,
            critical_last_hour_is_at_least: urgent.last_hour_is_at_least,
            emergencies: urgent.open,
            items: urgent.shown,
        },
        broadcasts: context.handle.read(|state| broadcasts::newest(state, now)),
        scheduled: context.handle.read(|state| broadcasts::scheduled(state, now)),
        dead_letters: DeadLetters::of(context),
        outputs: OutputsView {
            items: outputs,
            open: context.handle.read(|state| state.outbox().open()),
        },
    }
}

impl Performance {
    fn of(point: &Point) -> Self {
        Self {
            over_seconds: point.over.as_secs_f64(),
            latency: Latency {
                publish: TimingView::of(point.publish),
                delivery: TimingView::of(point.delivery),
            },
            throughput: Throughput {
                broadcasts: point.rate(point.published),
                writes: point.rate(point.written),
            },
            errors: Errors {
                requests: point.requests,
                failed: point.failed,
                share: share(point.failed, point.requests.saturating_sub(point.failed)),
                not_taken: point.not_taken,
            },
            cache: CacheView {
                reads: point.cache.all,
                hit_rate: point.cache.hit_rate(),
                local_hit_rate: point.cache.local_hit_rate(),
            },
        }
    }
}

impl TimingView {
    fn of(timing: Timing) -> Self {
        let millis = |seconds: f64| seconds * 1e3;
        Self {
            count: timing.count,
            mean_ms: timing.mean.map(millis),
            p95_at_most_ms: timing.most_within.map(millis),
        }
    }
}

impl DeadLetters {
    fn of(context: &Context) -> Self {
        let counts = context.handle.read(|state| state.broadcasts().blocks().dead_counts());
        let mut letters = Self {
            total: counts.values().sum(),
            by_priority: BTreeMap::new(),
            by_reason: BTreeMap::new(),
        };
        for ((priority, reason), count) in counts {
            *letters.by_priority.entry(priority.name()).or_default() += count;
            *letters.by_reason.entry(reason.name()).or_default() += count;
        }
        letters
    }
}
