//! Looks now and then whether the certificate's files have changed, as they do every few weeks where a program renews them.

use crate::base::clock;
use crate::metrics::METRICS;
use crate::model::Millis;
use crate::net::Acceptor;
use crate::net::tls::Reloaded;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// A certificate that ends within this is told of: a program that renews them would have done it by now.
const ENDS_SOON: Millis = 14 * DAY;
const DAY: Millis = 24 * 3600 * 1_000;
/// It is told again after so long.
const TELL_EVERY: Millis = DAY;

/// What cannot be read or used is told once, and changes nothing: what was good stays in use.
pub async fn run(acceptor: Arc<Acceptor>, every: Duration, mut stop: watch::Receiver<bool>) {
    let mut look = tokio::time::interval(every);
    let (mut complained, mut told_at) = (String::new(), None);
    loop {
        tokio::select! {
            _ = stop.changed() => return,
            _ = look.tick() => {}
        }
        let reading = acceptor.clone();
        let Ok(read) = tokio::task::spawn_blocking(move || reading.reload()).await else {
            return;
        };
        let complaint = read.as_ref().err().map(ToString::to_string).unwrap_or_default();
        match read {
            Ok(Reloaded::Same) => {}
            Ok(Reloaded::Changed) => {
                METRICS.tls_reloads.with_label_values(&["changed"]).inc();
                told_at = None;
                tracing::info!("the certificate has changed: who comes from now on is shown the new one");
            }
            Err(_) => {
                METRICS.tls_reloads.with_label_values(&["unusable"]).inc();
                if complaint != complained {
                    tracing::warn!(
                        error = complaint,
                        "the certificate stays as it is: its files cannot be used"
                    );
                }
            }
        }
        complained = complaint;
        let now = clock::wall();
        if told_at.is_none_or(|at| now - at >= TELL_EVERY) {
            told_at = Some(now);
            warn_of_the_end(acceptor.certificate().expires_at(), now);
        }
    }
}

fn warn_of_the_end(ends: Option<Millis>, now: Millis) {
    if let Some(ends) = ends.filter(|ends| *ends - now < ENDS_SOON) {
        tracing::warn!(
            ends = clock::rfc3339(ends),
            "the certificate ends soon; put a new one into its files"
        );
    }
}
