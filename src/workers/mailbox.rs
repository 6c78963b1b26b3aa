//! How others reach a worker: four lanes of wake-ups, a control lane, and a bell that is rung once per sleep.

use crate::metrics::METRICS;
use crate::model::{PerPriority, Position, Priority};
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// Notes that fit the control lane.
pub const NOTES_MAX: usize = 4096;

/// The end that others hold.
pub struct Mailbox<N> {
    lanes: PerPriority<Sender<Position>>,
    notes: Sender<N>,
    pub(super) bell: Arc<Bell>,
}

/// The end that the thread holds.
pub(super) struct Inbox<N> {
    pub lanes: PerPriority<Receiver<Position>>,
    pub notes: Receiver<N>,
}

/// What wakes a sleeping thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hears {
    /// Releases too: it has sessions.
    Everything,
    Notes,
}

/// Wakes a sleeping thread; while it is awake, ringing costs one load.
pub(super) struct Bell {
    waker: mio::Waker,
    asleep: AtomicBool,
    /// The sleeping thread has nobody to write to: a release is no reason to wake it.
    deaf: AtomicBool,
    rung: AtomicBool,
    stop: AtomicBool,
}

impl Bell {
    pub fn new(waker: mio::Waker) -> Self {
        Self {
            waker,
            asleep: AtomicBool::new(false),
            deaf: AtomicBool::new(false),
            rung: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        }
    }

    /// After something was put where the thread looks.
    pub fn wake(&self) {
        fence(Ordering::SeqCst); // what was put is seen by a thread whose `asleep` we do not see
        if self.asleep.load(Ordering::SeqCst) && self.asleep.swap(false, Ordering::SeqCst) {
            // A bell that fails to ring is a closed epoll: its thread has ended.
            let _ = self.waker.wake();
        }
    }

    pub fn ring(&self) {
        self.rung.store(true, Ordering::SeqCst);
        self.wake();
    }

    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.wake();
    }

    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// True once after each ring.
    pub fn take_rung(&self) -> bool {
        self.rung.load(Ordering::Relaxed) && self.rung.swap(false, Ordering::SeqCst)
    }

    /// Says that the thread will sleep, and whether releases should wake it; false when there is something to look at after all.
    pub fn doze<N>(&self, inbox: &Inbox<N>, hears: Hears) -> bool {
        self.deaf.store(hears == Hears::Notes, Ordering::SeqCst);
        self.asleep.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let quiet = inbox.is_empty() && !self.rung.load(Ordering::SeqCst) && !self.stop.load(Ordering::SeqCst);
        if !quiet {
            self.awake();
        }
        quiet
    }

    /// From here on releases are heard again: what was not heard is seen by the look at the window that follows.
    pub fn awake(&self) {
        self.deaf.store(false, Ordering::SeqCst);
        self.asleep.store(false, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// After something was put into the window.
    fn is_deaf(&self) -> bool {
        fence(Ordering::SeqCst); // what was put is seen by a thread that we see deaf
        self.deaf.load(Ordering::SeqCst)
    }
}

impl<N> Inbox<N> {
    fn is_empty(&self) -> bool {
        self.notes.is_empty() && self.lanes.iter().all(Receiver::is_empty)
    }

    /// Empties the lanes: a wake-up says no more than "look at the window".
    pub fn drain_lanes(&self) -> bool {
        let mut any = false;
        for lane in &self.lanes {
            for _ in 0..lane.len() {
                any |= lane.try_recv().is_ok();
            }
        }
        any
    }
}

pub(super) fn pair<N>(lane_max: usize, waker: mio::Waker) -> (Mailbox<N>, Inbox<N>) {
    let lanes: PerPriority<_> = std::array::from_fn(|_| bounded(lane_max.max(1)));
    let (notes, taken) = bounded(NOTES_MAX);
    let mailbox = Mailbox {
        lanes: lanes.each_ref().map(|(sender, _)| sender.clone()),
        notes,
        bell: Arc::new(Bell::new(waker)),
    };
    let inbox = Inbox {
        lanes: lanes.map(|(_, receiver)| receiver),
        notes: taken,
    };
    (mailbox, inbox)
}

impl<N> Mailbox<N> {
    /// Never blocks. A full lane loses nothing: it is not empty, so the thread will look, and the window has the release.
    pub fn wake(&self, priority: Priority, position: Position) {
        if self.bell.is_deaf() {
            return;
        }
        if let Err(TrySendError::Full(_)) = self.lanes[priority.index()].try_send(position) {
            METRICS.lane_full.inc();
        }
        self.bell.wake();
    }

    /// Never blocks; gives the note back when the control lane is full.
    pub fn try_note(&self, note: N) -> Result<(), N> {
        self.notes.try_send(note).map_err(TrySendError::into_inner)?;
        self.bell.wake();
        Ok(())
    }

    /// Waits for room; for threads that may.
    pub fn note(&self, note: N) -> io::Result<()> {
        self.notes
            .send(note)
            .map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the worker has ended"))?;
        self.bell.wake();
        Ok(())
    }

    pub fn ring(&self) {
        self.bell.ring();
    }
}
