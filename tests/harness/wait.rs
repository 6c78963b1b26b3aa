//! Waiting for a condition, with a deadline: the one place of the tests that pauses.

use std::time::{Duration, Instant};

/// How long a look may be old.
const PAUSE: Duration = Duration::from_millis(10);

/// Looks until there is something; fails when `within` has passed, saying what was missing.
pub fn until<T>(what: &str, within: Duration, look: impl FnMut() -> Option<T>) -> T {
    maybe(within, look).unwrap_or_else(|| panic!("not within {within:?}: {what}"))
}

/// Looks until there is something, or `within` has passed.
pub fn maybe<T>(within: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + within;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(PAUSE);
    }
}
