//! Brings metrics and spans to the collector, now and then, and once more at the end.

use crate::api;
use crate::telemetry::Pusher;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

/// Runs until the node stops.
pub async fn run(mut pusher: Pusher, context: Arc<api::Context>, mut stop: watch::Receiver<bool>) {
    let mut round = tokio::time::interval(pusher.every);
    round.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let is_over = tokio::select! {
            _ = stop.changed() => true,
            _ = round.tick() => false,
            () = pusher.filling() => {
                pusher.push_spans().await;
                continue;
            }
        };
        if pusher.has_metrics() {
            api::metrics::collect(&context).await;
            pusher.push_metrics().await;
        }
        pusher.push_spans().await;
        if is_over {
            return;
        }
    }
}
