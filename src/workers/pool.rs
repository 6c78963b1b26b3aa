//! The threads: started together, each with its own epoll; stopped together.

use super::mailbox::{self, Mailbox};
use super::{Config, Gauge, Job, worker};
use crate::model::{Position, Priority};
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// How often a thread with sessions looks at its clock.
pub const TICK: Duration = Duration::from_millis(250);

/// The token of the bell; a job's tokens are below it.
pub const BELL: mio::Token = mio::Token(usize::MAX);

pub struct Pool<N> {
    mailboxes: Vec<Mailbox<N>>,
    gauges: Vec<Arc<Gauge>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What a job is made of: its number, the registry of its thread's epoll, its gauge.
pub struct Place {
    pub index: usize,
    pub registry: mio::Registry,
    pub gauge: Arc<Gauge>,
}

impl<N: Send + 'static> Pool<N> {
    /// Makes the mailboxes first, then a job for each thread (which may hold the pool), then the threads.
    pub fn start<J: Job<Note = N>>(
        config: &Config,
        mut make: impl FnMut(Place, &Arc<Self>) -> J,
    ) -> io::Result<Arc<Self>> {
        let mut places = Vec::new();
        let mut mailboxes = Vec::new();
        for _ in 0..config.threads() {
            let poll = mio::Poll::new()?;
            let waker = mio::Waker::new(poll.registry(), BELL)?;
            let (mailbox, inbox) = mailbox::pair(config.lane_max, waker);
            places.push((poll, inbox, mailbox.bell.clone()));
            mailboxes.push(mailbox);
        }
        let pool = Arc::new(Self {
            gauges: mailboxes.iter().map(|_| Arc::default()).collect(),
            mailboxes,
            threads: Mutex::default(),
        });
        for (index, (poll, inbox, bell)) in places.into_iter().enumerate() {
            let gauge = pool.gauges[index].clone();
            let place = Place {
                index,
                registry: poll.registry().try_clone()?,
                gauge: gauge.clone(),
            };
            let job = make(place, &pool);
            let thread = std::thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(move || worker::run(job, poll, &inbox, &bell, &gauge))?;
            pool.threads.lock().push(thread);
        }
        Ok(pool)
    }

    pub fn len(&self) -> usize {
        self.mailboxes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.mailboxes.is_empty()
    }

    pub fn mailbox(&self, worker: usize) -> &Mailbox<N> {
        &self.mailboxes[worker]
    }

    pub fn gauges(&self) -> &[Arc<Gauge>] {
        &self.gauges
    }

    /// A release stands in the window: every thread looks.
    pub fn wake(&self, priority: Priority, position: Position) {
        for mailbox in &self.mailboxes {
            mailbox.wake(priority, position);
        }
    }

    /// Something that all threads share has changed.
    pub fn ring(&self) {
        self.mailboxes.iter().for_each(Mailbox::ring);
    }

    /// Ends the threads and waits for them.
    pub fn stop(&self) {
        for mailbox in &self.mailboxes {
            mailbox.bell.stop();
        }
        for thread in self.threads.lock().drain(..) {
            // A thread that panicked outside of its job has ended, which is what we want.
            let _ = thread.join();
        }
    }
}
