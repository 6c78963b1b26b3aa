//! What a thread runs: the port through which the gateway gives it work.

use std::time::Instant;

/// A socket is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    pub token: usize,
    pub readable: bool,
    pub writable: bool,
}

/// Called by one thread only, never at the same time. A panic in any of these is caught and counted, then [`Job::recover`] is
/// called, and the thread goes on.
pub trait Job: Send + 'static {
    /// What comes through the control lane.
    type Note: Send + 'static;

    fn note(&mut self, note: Self::Note);

    fn ready(&mut self, ready: Ready);

    /// One bounded piece of the work that waits; true while there is more. Between two pieces the thread looks at its lanes
    /// and its sockets.
    fn work(&mut self, now: Instant) -> bool;

    /// Called about every [`super::pool::TICK`] while [`Job::has_sessions`].
    fn tick(&mut self, now: Instant);

    /// A thread without any session has no ticks, and releases do not wake it.
    fn has_sessions(&self) -> bool;

    /// It holds nothing: a thread that was told to leave may end.
    fn is_empty(&self) -> bool;

    /// The thread is about to sleep, or to end: what was gathered is handed over.
    fn rest(&mut self);

    /// The last call panicked: what was half done is closed.
    fn recover(&mut self);
}
