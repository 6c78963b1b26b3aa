//! Critical broadcasts of late, as the dashboard shows them.

use super::broadcasts::Row;
use crate::base::clock::Millis;
use crate::consensus::Handle;
use crate::state::urgent::Urgent;

/// Those that are out and shown.
const SHOWN_MAX: usize = 10;

/// Exercises do not count.
#[derive(Debug)]
pub struct Found {
    pub last_hour: usize,
    /// There may have been more: they have left memory.
    pub last_hour_is_at_least: bool,
    /// Out, and neither confirmed by everybody, nor called off, nor expired.
    pub open: usize,
    /// The newest of those.
    pub shown: Vec<Row>,
}

pub fn find(urgent: &mut Urgent, handle: &Handle, now: Millis) -> Found {
    while handle.read(|state| urgent.look(state)) {}
    urgent.forget(now);
    let (last_hour, last_hour_is_at_least) = urgent.last_hour(now);
    handle.read(|state| Found {
        last_hour,
        last_hour_is_at_least,
        open: urgent.open(state, now).count(),
        shown: urgent
            .open(state, now)
            .take(SHOWN_MAX)
            .map(|hot| Row::of(hot, now))
            .collect(),
    })
}
