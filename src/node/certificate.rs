//! Looks now and then whether the certificate's files have changed, as they do every few weeks where a program renews them.

use crate::base::clock;
use crate::metrics::METRICS;
use crate::model::Millis;
use crate::net::Acceptor;
use crate::net::tls::{CertificateError, Reloaded};
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
        let read = look_at(move || reading.reload()).await;
        let complaint = read.as_ref().err().cloned().unwrap_or_default();
        match read {
            Ok(Reloaded::Same | Reloaded::Settling) => {}
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
            let certificate = acceptor.certificate();
            warn_of_the_end(certificate.expires_at(), now);
            if certificate.is_key_open() {
                tracing::warn!("others on this machine may read the key of the certificate (tls.key_file)");
            }
        }
    }
}

/// What came of a look, or why nothing did. One that breaks off is a fault like others: there is a next one.
async fn look_at(
    reload: impl FnOnce() -> Result<Reloaded, CertificateError> + Send + 'static,
) -> Result<Reloaded, String> {
    match tokio::task::spawn_blocking(reload).await {
        Ok(reloaded) => reloaded.map_err(|error| error.to_string()),
        Err(error) => Err(format!("the look at them broke off: {error}")),
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

#[cfg(test)]
mod tests {
    use super::{Reloaded, look_at};

    #[tokio::test]
    async fn a_look_that_panics_is_a_fault_and_not_the_end() {
        let broken = look_at(|| panic!("told to")).await.unwrap_err();
        assert!(broken.contains("broke off"), "{broken}");
        assert_eq!(look_at(|| Ok(Reloaded::Changed)).await, Ok(Reloaded::Changed));
    }
}
