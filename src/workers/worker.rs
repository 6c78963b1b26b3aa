//! The loop of one thread: sleep, look at the sockets, the lanes and the notes, do a piece of work, again; until it is stopped,
//! or has been told to leave and has nothing left.

use super::mailbox::{Bell, Hears, Inbox};
use super::pool::{BELL, TICK};
use super::{Gauge, Job, Ready};
use crate::base::clock;
use crate::metrics::METRICS;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// Readiness events taken at a time.
const EVENTS_MAX: usize = 512;
/// Notes taken between two pieces of work.
const NOTES_AT_ONCE: usize = 256;

/// What a thread waits with. Whoever comes after it in the same place goes on with it.
pub(super) struct Seat<N> {
    pub poll: mio::Poll,
    pub inbox: Inbox<N>,
    pub bell: Arc<Bell>,
}

/// The seat is given back unless it broke.
pub(super) fn run<J: Job>(mut job: J, mut seat: Seat<J::Note>, gauge: &Gauge) -> Option<Seat<J::Note>> {
    let Seat { poll, inbox, bell } = &mut seat;
    gauge.occupy();
    let mut events = mio::Events::with_capacity(EVENTS_MAX);
    let mut tick_at = clock::now() + TICK;
    let mut busy_since = clock::now();
    let mut more = true;
    while !bell.is_stopped() {
        if !more {
            guard(&mut job, gauge, J::rest);
        }
        if bell.is_leaving() && job.is_empty() && inbox.close(bell) {
            break;
        }
        let asleep_since = clock::now();
        let has_sessions = job.has_sessions();
        let hears = if has_sessions { Hears::Everything } else { Hears::Notes };
        let sleeps = !more && bell.doze(inbox, hears);
        let timeout = timeout(sleeps, has_sessions, tick_at, asleep_since);
        if let Err(error) = poll.poll(&mut events, timeout)
            && error.kind() != std::io::ErrorKind::Interrupted
        {
            tracing::error!(%error, "a worker's epoll failed; its thread ends");
            return None;
        }
        bell.awake();
        gauge.rounds.fetch_add(1, Relaxed);
        let now = clock::now();
        gauge.add_time(now - asleep_since, asleep_since - busy_since);
        busy_since = now;
        for event in events.iter().filter(|event| event.token() != BELL) {
            let ready = Ready {
                token: event.token().0,
                readable: event.is_readable() || event.is_read_closed() || event.is_error(),
                writable: event.is_writable(),
            };
            guard(&mut job, gauge, |job| job.ready(ready));
        }
        let rung = inbox.drain_lanes() | bell.take_rung();
        let noted = take_notes(&mut job, gauge, inbox);
        let ticked = now >= tick_at;
        if ticked {
            guard(&mut job, gauge, |job| job.tick(now));
            tick_at = now + TICK;
        }
        let anything = more || rung || noted || ticked || !events.is_empty();
        more = anything && guard(&mut job, gauge, |job| job.work(now)).unwrap_or(true);
    }
    guard(&mut job, gauge, J::rest);
    Some(seat)
}

fn timeout(sleeps: bool, ticks: bool, tick_at: Instant, now: Instant) -> Option<Duration> {
    match (sleeps, ticks) {
        (false, _) => Some(Duration::ZERO),
        (true, true) => Some(tick_at.saturating_duration_since(now) + Duration::from_millis(1)),
        (true, false) => None,
    }
}

fn take_notes<J: Job>(job: &mut J, gauge: &Gauge, inbox: &Inbox<J::Note>) -> bool {
    let mut any = false;
    for note in inbox.notes.try_iter().take(NOTES_AT_ONCE) {
        any = true;
        guard(job, gauge, |job| job.note(note));
    }
    any
}

/// A panic ends the call, not the thread.
fn guard<J: Job, T>(job: &mut J, gauge: &Gauge, call: impl FnOnce(&mut J) -> T) -> Option<T> {
    let result = catch_unwind(AssertUnwindSafe(|| call(job)));
    result
        .map_err(|_| {
            METRICS.worker_panics.inc();
            gauge.panics.fetch_add(1, Relaxed);
            tracing::error!("a delivery job panicked; its thread goes on");
            // A second panic while closing what was half done must not end the thread either.
            let _ = catch_unwind(AssertUnwindSafe(|| job.recover()));
        })
        .ok()
}
