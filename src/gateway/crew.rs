//! The gateway's threads while it runs: which cells they have, how many there are, and how a note finds the one that has a cell.

use super::Gateway;
use super::cell::Cell;
use super::cells::Note;
use super::gateway::wait;
use super::shared::Shared;
use crate::base::clock;
use crate::metrics::METRICS;
use crate::scaling::spread;
use crate::workers::{Pool, THREADS_MAX, Unsent, WorkerStatus};
use roaring::RoaringBitmap;
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::time::{Duration, Instant};

/// A change of the number of threads takes no longer; what has not moved by then stays where it is. Unit tests share their cores with
/// many others, and look for what is lost on the way, not for how long it takes.
const RESIZE_WITHIN: Duration = Duration::from_secs(if cfg!(test) { 60 } else { 5 });
/// Cells that were told to move are looked for this long before they are told again.
const MOVE_WITHIN: Duration = Duration::from_millis(100);
/// A cell whose owner shuts its door has another owner in a moment; a note is tried so often.
const TRIES_MAX: usize = 64;

/// A cell that nobody had yet.
pub(super) fn give_new(pool: &Pool<Note>, worker: usize, cell: Cell) -> io::Result<()> {
    let ended = || io::Error::new(io::ErrorKind::BrokenPipe, "the worker has ended");
    let mailbox = pool.mailbox(worker).ok_or_else(ended)?;
    mailbox.note(Note::Take(Box::new(cell))).map_err(|_| ended())
}

/// Brings a note to whoever has its cell; waits for room, and for the cell while it moves, but not for a thread that broke.
pub(super) fn tell(pool: &Pool<Note>, shared: &Shared, mut note: Note) {
    let deadline = clock::now() + RESIZE_WITHIN;
    while !pool.is_stopped() && clock::now() < deadline {
        let Some(mailbox) = note.cell(shared).and_then(|cell| pool.mailbox(shared.owner(cell))) else {
            return;
        };
        note = match mailbox.note(note) {
            Ok(()) => return,
            Err(note) => note,
        };
        std::thread::yield_now();
    }
    METRICS.limits_hit.with_label_values(&["workers.notes"]).inc();
}

impl Gateway {
    /// Brings a note to whoever has its cell, without waiting for room. Gives it back when the lane is full.
    pub(super) fn post(&self, mut note: Note) -> Result<(), Note> {
        for _ in 0..TRIES_MAX {
            let owner = note.cell(&self.shared).map(|cell| self.shared.owner(cell));
            let Some(mailbox) = owner.and_then(|owner| self.pool.mailbox(owner)) else {
                break;
            };
            note = match mailbox.try_note(note) {
                Ok(()) => return Ok(()),
                Err(Unsent::Closed(note)) => note,
                Err(Unsent::Full(back)) => {
                    note = back;
                    break;
                }
            };
            std::thread::yield_now();
        }
        METRICS.limits_hit.with_label_values(&["workers.notes"]).inc();
        Err(note)
    }

    /// Of the threads that run.
    pub fn workers(&self) -> Vec<WorkerStatus> {
        self.pool.gauges().map(|(name, gauge)| gauge.status(name)).collect()
    }

    /// Time that each thread has not slept since its first start, by its name.
    pub fn busy(&self) -> Vec<(String, Duration)> {
        self.pool.gauges().map(|(name, gauge)| (name, gauge.busy())).collect()
    }

    /// Rounds of each thread's loop, by its name: one that stands still makes none.
    pub fn rounds(&self) -> Vec<(String, u64)> {
        let each = self.pool.gauges();
        each.map(|(name, gauge)| (name, gauge.rounds.load(Relaxed))).collect()
    }

    /// Every thread makes a round, also one that has nothing to do.
    pub fn rouse(&self) {
        self.pool.ring();
    }

    /// Threads that cells may move to.
    pub fn threads(&self) -> usize {
        self.pool.len()
    }

    /// Moves a cell to another worker while both run. Left undone when the owner has too much to read already.
    pub fn move_cell(&self, cell: usize, worker: usize) {
        if cell < self.shared.owners.len() && worker < self.pool.len() {
            let _ = self.post(Note::Give(cell, worker));
        }
    }

    pub fn owner(&self, cell: usize) -> usize {
        self.shared.owner(cell)
    }

    /// Starts or ends threads until there are `threads` (1 to 50, and no more than cells), and spreads the cells over them. Blocks
    /// for as long as moving takes, 5 s at most; threads that still hold something then go on. How many there are.
    ///
    /// # Errors
    /// The system starts no more threads, or gives no more epolls.
    pub fn resize(&self, threads: usize) -> io::Result<usize> {
        let _turn = self.resizing.lock();
        let threads = threads.clamp(1, self.shared.owners.len().min(THREADS_MAX));
        if self.shared.draining.load(Acquire) {
            return Ok(self.pool.len());
        }
        let deadline = clock::now() + RESIZE_WITHIN;
        let grown = self.pool.grow(threads);
        let threads = threads.min(self.pool.len());
        self.pool.close_beyond(threads);
        self.spread(threads, deadline);
        let live = self.pool.end_beyond(deadline);
        grown.map(|()| live)
    }

    /// Asks about `count` sessions to move to another node (1012, with a pause): those that have been written to least of late,
    /// none while something urgent goes out. How many were asked for; cells that are busy let fewer go.
    pub fn send_away(&self, count: usize) -> usize {
        let sizes: Vec<usize> = self.shared.sizes.iter().map(|size| size.load(Relaxed)).collect();
        let (first, mut left) = (self.shared.sent_away.fetch_add(1, Relaxed), count);
        let occupied = sizes.iter().filter(|size| **size > 0).count();
        let share = count.div_ceil(occupied.max(1));
        // Another cell is the first each time, so that a few at a time are of all cells.
        for step in 0..sizes.len() {
            let cell = (first + step) % sizes.len();
            let asked = share.min(left).min(sizes.get(cell).copied().unwrap_or(0));
            if asked > 0 && self.post(Note::SendAway(cell, asked)).is_ok() {
                left -= asked;
            }
        }
        count - left
    }

    /// Asks the sessions of these users to move to another node, unless something urgent goes out; who is busy stays.
    pub fn send_users_away(&self, users: &RoaringBitmap) {
        let mut by_cell: BTreeMap<usize, RoaringBitmap> = BTreeMap::new();
        for user in users {
            by_cell.entry(self.shared.cell_of(user)).or_default().insert(user);
        }
        for (cell, users) in by_cell {
            // a worker with too much to read has no time for this either
            let _ = self.post(Note::SendUsersAway(cell, users));
        }
    }

    /// Once for balance; again and again for what has to leave the threads from `threads` on.
    fn spread(&self, threads: usize, deadline: Instant) {
        let owners = || -> Vec<usize> { (0..self.shared.owners.len()).map(|cell| self.owner(cell)).collect() };
        loop {
            let weights: Vec<usize> = self.shared.sizes.iter().map(|size| size.load(Relaxed)).collect();
            let moves = spread::moves(&owners(), &weights, threads);
            for (cell, worker) in &moves {
                self.move_cell(*cell, *worker);
            }
            let there = || moves.iter().all(|(cell, worker)| self.owner(*cell) == *worker);
            wait(deadline.min(clock::now() + MOVE_WITHIN), there);
            let all_inside = owners().iter().all(|owner| *owner < threads);
            if all_inside || clock::now() >= deadline || self.pool.is_stopped() {
                return;
            }
        }
    }
}
