//! Whether today is somebody's day: then everything is watched more closely.

use crate::alerting::Day;
use crate::consensus::Handle;
use std::sync::atomic::{AtomicBool, Ordering};

/// Known to all who watch; one of them looks.
#[derive(Default)]
pub struct Today(AtomicBool);

impl Today {
    /// As of the last look.
    pub fn day(&self) -> Day {
        if self.0.load(Ordering::Relaxed) {
            Day::Event
        } else {
            Day::Ordinary
        }
    }

    /// Looks whether the event window of any wedding is open, by the log's time.
    pub fn look(&self, handle: &Handle) -> Day {
        let now = handle.log_time();
        let is_open = handle.read(|state| state.directory().weddings().any(|wedding| wedding.window_is_open(now)));
        self.0.store(is_open, Ordering::Relaxed);
        self.day()
    }
}
