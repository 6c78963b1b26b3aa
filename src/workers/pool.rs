//! The threads: started and ended while the node runs, each with its own epoll, in a table of fixed places. Those that run are
//! always the first ones of the table, so that a release finds them without a lock.
//!
//! A thread ends in four steps: it is closed to cells ([`Pool::close_beyond`]), its cells are moved away (by whoever knows what a
//! cell is), it finds that it has nothing left and shuts its door, and it is joined ([`Pool::end_beyond`]).

use super::mailbox::{self, Mailbox};
use super::worker::{self, Seat};
use super::{Config, Gauge, Job};
use crate::base::clock;
use crate::model::{Position, Priority};
use parking_lot::Mutex;
use std::io;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicUsize, fence};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often a thread with sessions looks at its clock.
pub const TICK: Duration = Duration::from_millis(250);

/// The token of the bell; a job's tokens are below it.
pub const BELL: mio::Token = mio::Token(usize::MAX);

/// Places in the table.
pub const THREADS_MAX: usize = 50;

/// How often whoever ends a thread looks whether it has.
const END_LOOK: Duration = Duration::from_millis(1);

type Thread<N> = JoinHandle<Option<Seat<N>>>;
type Starter<N> = dyn Fn(&Arc<Pool<N>>, usize, Seat<N>) -> io::Result<Thread<N>> + Send + Sync;

pub struct Pool<N> {
    slots: Vec<Slot<N>>,
    /// Threads that run; releases wake them.
    live: AtomicUsize,
    /// Threads that cells may move to: fewer while some are about to end.
    open: AtomicUsize,
    stopped: AtomicBool,
    /// By place. Held while threads are started or ended.
    crew: Mutex<Vec<Thread<N>>>,
    lane_max: usize,
    starter: Box<Starter<N>>,
}

/// A place of the table. The mailbox is made with its first thread and stays.
struct Slot<N> {
    mailbox: OnceLock<Mailbox<N>>,
    /// While no thread sits there.
    seat: Mutex<Option<Seat<N>>>,
    gauge: Arc<Gauge>,
}

impl<N> Default for Slot<N> {
    fn default() -> Self {
        Self {
            mailbox: OnceLock::new(),
            seat: Mutex::new(None),
            gauge: Arc::default(),
        }
    }
}

/// What a job is made of: its number, the registry of its thread's epoll, its gauge.
pub struct Place {
    pub index: usize,
    pub registry: mio::Registry,
    pub gauge: Arc<Gauge>,
}

impl<N: Send + 'static> Pool<N> {
    /// Starts the first threads; `make` makes the job of each, then and later (it may keep the pool, weakly).
    pub fn start<J: Job<Note = N>>(
        config: &Config,
        make: impl Fn(Place, &Arc<Self>) -> J + Send + Sync + 'static,
    ) -> io::Result<Arc<Self>> {
        let starter = move |pool: &Arc<Self>, index: usize, seat: Seat<N>| {
            let gauge = pool.slots.get(index).map(|slot| slot.gauge.clone()).unwrap_or_default();
            let registry = seat.poll.registry().try_clone()?;
            let place = Place {
                index,
                registry,
                gauge: gauge.clone(),
            };
            let job = make(place, pool);
            std::thread::Builder::new()
                .name(name(index))
                .spawn(move || worker::run(job, seat, &gauge))
        };
        let pool = Arc::new(Self {
            slots: (0..THREADS_MAX).map(|_| Slot::default()).collect(),
            live: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
            crew: Mutex::default(),
            lane_max: config.lane_max,
            starter: Box::new(starter),
        });
        pool.grow(config.threads())?;
        Ok(pool)
    }

    /// Threads that cells may move to.
    pub fn len(&self) -> usize {
        self.open.load(SeqCst)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Of a thread that runs, or ran once.
    pub fn mailbox(&self, worker: usize) -> Option<&Mailbox<N>> {
        self.slots.get(worker)?.mailbox.get()
    }

    /// Of the threads that run: name and gauge.
    pub fn gauges(&self) -> impl Iterator<Item = (String, &Gauge)> {
        let live = self.slots.iter().take(self.live.load(SeqCst)).enumerate();
        live.map(|(index, slot)| (name(index), &*slot.gauge))
    }

    /// A release stands in the window: every thread looks.
    pub fn wake(&self, priority: Priority, position: Position) {
        fence(SeqCst); // a thread that is not counted here finds in the window what stands there already
        self.each_live(|mailbox| mailbox.wake(priority, position));
    }

    /// Something that all threads share has changed.
    pub fn ring(&self) {
        fence(SeqCst);
        self.each_live(Mailbox::ring);
    }

    fn each_live(&self, tell: impl Fn(&Mailbox<N>)) {
        let live = self.slots.iter().take(self.live.load(SeqCst));
        live.filter_map(|slot| slot.mailbox.get()).for_each(tell);
    }

    /// Starts threads until there are so many; cells may move to them then.
    pub fn grow(self: &Arc<Self>, threads: usize) -> io::Result<()> {
        let mut crew = self.crew.lock();
        for (index, slot) in self.slots.iter().enumerate().take(threads).skip(crew.len()) {
            if self.stopped.load(SeqCst) {
                return Ok(());
            }
            let kept = slot.seat.lock().take();
            let seat = kept.map_or_else(|| self.furnish(slot), Ok)?;
            slot.mailbox.get().into_iter().for_each(Mailbox::open);
            crew.push((self.starter)(self, index, seat)?);
            self.live.store(crew.len(), SeqCst);
        }
        self.open.store(crew.len(), SeqCst);
        Ok(())
    }

    fn furnish(&self, slot: &Slot<N>) -> io::Result<Seat<N>> {
        let poll = mio::Poll::new()?;
        let waker = mio::Waker::new(poll.registry(), BELL)?;
        let (mailbox, inbox) = mailbox::pair(self.lane_max, waker);
        let bell = mailbox.bell.clone();
        let broken = || io::Error::other("a thread broke in this place; it is not used again");
        slot.mailbox.set(mailbox).map_err(|_| broken())?;
        Ok(Seat { poll, inbox, bell })
    }

    /// From here on no cell moves to the threads from this place on. At least one stays open.
    pub fn close_beyond(&self, threads: usize) {
        self.open.fetch_min(threads.max(1), SeqCst);
    }

    /// Ends the threads that are closed to cells, as soon as they hold nothing, and waits for them. Those that still hold
    /// something at the deadline stay, and are open again. How many run then.
    pub fn end_beyond(&self, deadline: Instant) -> usize {
        let mut crew = self.crew.lock();
        while crew.len() > self.open.load(SeqCst) {
            let last = crew.len() - 1;
            if !self.end(&mut crew, last, deadline) {
                self.open.store(crew.len(), SeqCst);
            }
        }
        crew.len()
    }

    fn end(&self, crew: &mut Vec<Thread<N>>, index: usize, deadline: Instant) -> bool {
        let (Some(slot), Some(mailbox)) = (self.slots.get(index), self.mailbox(index)) else {
            return false;
        };
        mailbox.bell.leave();
        let finished = |crew: &[Thread<N>]| crew.last().is_none_or(JoinHandle::is_finished);
        while !finished(crew) && clock::now() < deadline && !self.stopped.load(SeqCst) {
            #[allow(clippy::disallowed_methods)] // it runs where nobody is held up
            std::thread::sleep(END_LOOK);
        }
        if !finished(crew) && mailbox.stay() {
            return false;
        }
        self.live.store(index, SeqCst);
        let ended = crew.pop().and_then(|thread| thread.join().ok());
        *slot.seat.lock() = ended.flatten();
        slot.gauge.vacate();
        true
    }

    pub fn is_stopped(&self) -> bool {
        self.stopped.load(SeqCst)
    }

    /// Ends the threads and waits for them.
    pub fn stop(&self) {
        self.stopped.store(true, SeqCst);
        let mut crew = self.crew.lock();
        self.each_live(|mailbox| mailbox.bell.stop());
        for thread in crew.drain(..) {
            // A thread that panicked outside of its job has ended, which is what we want. Its lanes end with its seat.
            drop(thread.join());
        }
    }
}

fn name(index: usize) -> String {
    format!("worker-{index}")
}
