//! `GET /metrics`: what was counted where it happened, and what is looked up now. The state is held for one part at a time, and
//! never for long.

use super::context::Context;
use super::dashboard;
use crate::base::clock;
use crate::cache::NamespaceStatus;
use crate::consensus::figures::{Disk, Standing};
use crate::metrics::METRICS;
use crate::metrics::delivery::PRIORITIES;
use crate::metrics::figures::{Figures, set};
use crate::metrics::process::Process;
use crate::model::Priority;
use axum::extract::State;
use axum::response::Response;
use std::path::Path;
use std::sync::Arc;

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

pub async fn metrics(State(context): State<Arc<Context>>) -> Response {
    collect(&context).await;
    super::operate::text(TEXT, METRICS.text())
}

/// Brings all figures up to date; those that cannot be read stay as they were.
pub async fn collect(context: &Arc<Context>) {
    let looked = context.blocking(|context| {
        let figures = &METRICS.figures;
        queues(context, figures);
        people(context, figures);
        log(&context.handle.standing(), figures);
        let offset = context.handle.log_time() - clock::wall();
        figures.clock_offset.set(offset as f64 / 1e3);
        disk(&context.handle.disk(), figures);
        cache(context, figures);
        weddings(context, figures);
        figures.see_process(&Process::read(Path::new("/")));
    });
    if looked.await.is_none() {
        tracing::warn!("the figures of the metrics cannot be read");
    }
}

fn queues(context: &Context, figures: &Figures) {
    let (queues, pressure) = (context.gateway.queues(), context.gateway.pressure());
    for (index, name) in PRIORITIES.into_iter().enumerate() {
        let (recipients, releases) = (queues[index].waiting, pressure.waiting[index]);
        set(&figures.queue_recipients.with_label_values(&[name]), recipients);
        set(&figures.queue_releases.with_label_values(&[name]), releases);
        let oldest = figures.queue_oldest.with_label_values(&[name]);
        oldest.set(queues[index].oldest.as_secs_f64());
    }
    figures.see_busy(context.gateway.busy());
    METRICS.sessions.set(context.gateway.sessions() as i64);
    set(&figures.sessions_max, context.gateway.sessions_max() as u64);
    let dead = context.handle.read(|state| state.broadcasts().blocks().dead_counts());
    for priority in Priority::ALL {
        let of_it = dead.iter().filter(|((known, _), _)| *known == priority);
        let gauge = figures.dead_letters.with_label_values(&[priority.name()]);
        set(&gauge, of_it.map(|(_, count)| count).sum());
    }
}

fn people(context: &Context, figures: &Figures) {
    let (users, connected) = context.handle.read(|state| {
        let there = state.presence().there();
        (state.directory().users(), there.connected.len())
    });
    set(&figures.users, users);
    set(&figures.users_connected, connected);
}

fn log(standing: &Standing, figures: &Figures) {
    set(&figures.term, standing.term);
    set(&figures.has_leader, u64::from(standing.has_leader));
    set(&figures.last_index, standing.last);
    set(&figures.uncommitted, standing.uncommitted());
    set(&figures.unapplied, standing.unapplied());
    set(&figures.commands_waiting, standing.waiting as u64);
    set(&figures.rows_waiting, standing.rows as u64);
    figures.replication_lag.reset(); // who is not heard, or leads no more, has no series
    for node in standing.nodes.iter().filter(|_| standing.is_leader) {
        if let Some(lag) = node.lag {
            set(
                &figures.replication_lag.with_label_values(&[&node.node.to_string()]),
                lag,
            );
        }
    }
}

fn disk(disk: &Disk, figures: &Figures) {
    set(&figures.log_bytes, disk.sizes.log);
    set(&figures.state_bytes, disk.sizes.state);
    set(&figures.snapshot_bytes, disk.sizes.snapshots);
    set(&figures.reserve, disk.reserve);
    if let Some(volume) = disk.volume {
        set(&figures.disk_size, volume.total);
        set(&figures.disk_free, volume.free);
        set(&figures.disk_left, disk.left);
    }
}

fn cache(context: &Context, figures: &Figures) {
    let (entries, bytes) = context.cache.local().size();
    set(&figures.cache_local_entries, entries as u64);
    set(&METRICS.cache_local_bytes, bytes);
    for NamespaceStatus {
        settings,
        entries,
        bytes,
        ..
    } in context.cache.namespaces()
    {
        set(&figures.cache_entries.with_label_values(&[&settings.name]), entries);
        set(&figures.cache_bytes.with_label_values(&[&settings.name]), bytes);
    }
}

fn weddings(context: &Context, figures: &Figures) {
    let now = context.handle.log_time();
    let near = context.handle.read(|state| dashboard::weddings::near(state, now));
    set(&figures.weddings_open, near.open as u64);
    set(&figures.weddings_soon, near.soon as u64);
    let urgent = dashboard::urgent(context, now);
    set(&figures.critical_last_hour, urgent.last_hour as u64);
    set(&figures.emergencies, urgent.open as u64);
    let scaling = context.scaling.shown();
    set(&figures.is_season, u64::from(scaling.is_season));
    set(&figures.is_weekend, u64::from(scaling.is_weekend));
    if let Some(forecast) = &scaling.forecast {
        figures.expected_sessions.set(forecast.now.connections);
        figures.expected_sessions_peak.set(forecast.peak.connections);
    }
}
