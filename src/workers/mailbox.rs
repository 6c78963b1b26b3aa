//! How others reach a worker: four lanes of wake-ups, a control lane, and a bell that is rung once per sleep.

use crate::metrics::METRICS;
use crate::model::{PerPriority, Position, Priority};
use crossbeam_channel::{Receiver, Select, Sender, TrySendError, bounded};
use parking_lot::RwLock;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::time::Duration;

/// Notes that fit the control lane.
pub const NOTES_MAX: usize = 4096;
/// Whoever waits for room looks this often whether the thread has ended meanwhile.
const ROOM_LOOK: Duration = Duration::from_millis(50);

/// The end that others hold. It outlives its thread: one that starts later in the same place goes on with it.
pub struct Mailbox<N> {
    lanes: PerPriority<Sender<Position>>,
    notes: Sender<N>,
    pub(super) bell: Arc<Bell>,
    door: Arc<Door>,
}

/// Whether notes are taken. A thread closes it at its end when nothing is left in the lane, so that no note is lost between a
/// look at who owns a cell and the sending.
pub(super) struct Door(RwLock<bool>);

/// A note that was not taken, and why.
#[derive(Debug)]
pub enum Unsent<N> {
    Full(N),
    /// The thread has ended, or ends.
    Closed(N),
}

impl<N> Unsent<N> {
    pub fn note(self) -> N {
        match self {
            Self::Full(note) | Self::Closed(note) => note,
        }
    }

    fn of(error: TrySendError<N>) -> Self {
        match error {
            TrySendError::Full(note) => Self::Full(note),
            TrySendError::Disconnected(note) => Self::Closed(note),
        }
    }
}

/// The end that the thread holds.
pub(super) struct Inbox<N> {
    pub lanes: PerPriority<Receiver<Position>>,
    pub notes: Receiver<N>,
    door: Arc<Door>,
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
    /// The thread ends as soon as it has nothing left.
    leave: AtomicBool,
}

impl Bell {
    pub fn new(waker: mio::Waker) -> Self {
        Self {
            waker,
            asleep: AtomicBool::new(false),
            deaf: AtomicBool::new(false),
            rung: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            leave: AtomicBool::new(false),
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

    pub fn leave(&self) {
        self.leave.store(true, Ordering::SeqCst);
        self.ring();
    }

    pub fn is_leaving(&self) -> bool {
        self.leave.load(Ordering::Relaxed)
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

    /// The thread has nothing left and was told to leave: from here on no note is taken. False when there is a note after all, or
    /// when it may stay.
    pub fn close(&self, bell: &Bell) -> bool {
        let mut open = self.door.0.write();
        let ends = self.notes.is_empty() && bell.leave.load(Ordering::SeqCst);
        *open &= !ends;
        ends
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
    let door = Arc::new(Door(RwLock::new(true)));
    let mailbox = Mailbox {
        lanes: lanes.each_ref().map(|(sender, _)| sender.clone()),
        notes,
        bell: Arc::new(Bell::new(waker)),
        door: door.clone(),
    };
    let inbox = Inbox {
        lanes: lanes.map(|(_, receiver)| receiver),
        notes: taken,
        door,
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

    /// Never blocks; gives the note back when the control lane is full or the thread has ended.
    pub fn try_note(&self, note: N) -> Result<(), Unsent<N>> {
        {
            let open = self.door.0.read();
            if !*open {
                return Err(Unsent::Closed(note));
            }
            self.notes.try_send(note).map_err(Unsent::of)?;
        }
        self.bell.wake();
        Ok(())
    }

    /// Waits for room; for threads that may. Gives the note back when the thread has ended.
    pub fn note(&self, mut note: N) -> Result<(), N> {
        loop {
            note = match self.try_note(note) {
                Ok(()) => return Ok(()),
                Err(Unsent::Closed(note)) => return Err(note),
                Err(Unsent::Full(note)) => note,
            };
            // Outside of the door, or a thread that ends would wait for it.
            let mut room = Select::new();
            room.send(&self.notes);
            let _ = room.ready_timeout(ROOM_LOOK);
        }
    }

    pub fn ring(&self) {
        self.bell.ring();
    }

    /// A thread starts behind it.
    pub(super) fn open(&self) {
        self.bell.leave.store(false, Ordering::SeqCst);
        *self.door.0.write() = true;
    }

    /// The thread need not leave after all; false when it has closed its door already.
    pub(super) fn stay(&self) -> bool {
        let open = self.door.0.write();
        if *open {
            self.bell.leave.store(false, Ordering::SeqCst);
        }
        *open
    }
}
