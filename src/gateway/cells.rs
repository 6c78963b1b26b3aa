//! The cells of one worker: what its thread runs.

use super::SessionRef;
use super::Subscriber;
use super::batch::Kind;
use super::cell::Cell;
use super::reader::Found;
use super::shared::{Bulletin, Context, Shared};
use crate::base::clock;
use crate::queue::slice;
use crate::workers::{Job, Pool, Ready, Unsent};
use roaring::RoaringBitmap;
use std::sync::Weak;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::{Duration, Instant};

/// What was gathered is handed over at least this often.
const HAND_OVER_EVERY: Duration = Duration::from_millis(10);
/// Sessions that are behind are given something between two slices of a round.
const PUMPS_AT_ONCE: usize = 16;
/// Sessions that have said something are heard between two looks for what is urgent.
const READS_AT_ONCE: usize = 16;

/// Comes through a worker's control lane.
pub enum Note {
    Session(Box<Subscriber>),
    Answer(SessionRef, String),
    Found(SessionRef, Found),
    /// Hand this cell to that worker.
    Give(usize, usize),
    /// Ask so many sessions of this cell to move to another node.
    SendAway(usize, usize),
    /// Ask the sessions that these users have in this cell to move to another node.
    SendUsersAway(usize, RoaringBitmap),
    Take(Box<Cell>),
}

impl Note {
    /// The cell that it is about; `None` when it is for the worker itself.
    pub(super) fn cell(&self, shared: &Shared) -> Option<usize> {
        match self {
            Self::Session(subscriber) => Some(shared.cell_of(subscriber.user)),
            Self::Answer(session, _) | Self::Found(session, _) => Some(session.cell()),
            Self::Give(cell, _) | Self::SendAway(cell, _) | Self::SendUsersAway(cell, _) => Some(*cell),
            Self::Take(_) => None,
        }
    }
}

pub struct Cells {
    index: usize,
    /// By cell number; those of others are not here.
    homes: Vec<Option<Box<Cell>>>,
    /// The numbers of those that are here.
    mine: Vec<usize>,
    /// Where the next look for work of each kind starts.
    turn: [usize; 2],
    /// For cells that are on their way here, or whose owner's lane was full.
    parked: Vec<Note>,
    /// Held weakly: the pool waits for its threads, not they for it.
    pool: Weak<Pool<Note>>,
    context: Context,
    bulletin: Bulletin,
    version: u64,
    handed_over: Instant,
}

impl Cells {
    /// With no cell: they come as notes.
    pub fn new(index: usize, pool: Weak<Pool<Note>>, context: Context) -> Self {
        let bulletin = context.shared.bulletin.lock().clone();
        Self {
            index,
            homes: context.shared.owners.iter().map(|_| None).collect(),
            mine: Vec::new(),
            turn: [0; 2],
            parked: Vec::new(),
            pool,
            bulletin,
            version: 0,
            handed_over: context.now,
            context,
        }
    }

    fn list(&mut self) {
        self.mine = (0..self.homes.len())
            .filter(|cell| self.homes[*cell].is_some())
            .collect();
        self.context.gauge.cells.store(self.mine.len(), Relaxed);
    }

    /// The note if its cell is here; else it is parked until the cell comes, or sent after it.
    fn redirect(&mut self, note: Note) -> Option<Note> {
        let Some(cell) = note.cell(&self.context.shared) else {
            return Some(note);
        };
        if cell >= self.homes.len() {
            return None;
        }
        if self.homes[cell].is_some() {
            return Some(note);
        }
        let owner = self.context.shared.owner(cell);
        if owner == self.index {
            self.parked.push(note);
            return None;
        }
        let pool = self.pool.upgrade()?;
        let unsent = match pool.mailbox(owner) {
            Some(mailbox) => mailbox.try_note(note).err().map(Unsent::note),
            None => Some(note),
        };
        self.parked.extend(unsent);
        None
    }

    fn obey(&mut self, note: Note) {
        match note {
            Note::Session(subscriber) => {
                let cell = self.context.shared.cell_of(subscriber.user);
                if let Some(cell) = &mut self.homes[cell] {
                    cell.add(*subscriber, &mut self.context);
                    // An end that was told while it was on its way holds for it too.
                    cell.read_bulletin(&self.bulletin, self.version, &mut self.context);
                }
            }
            Note::Answer(session, text) => {
                if let Some(cell) = &mut self.homes[session.cell()] {
                    cell.answer_to(session, &text, &mut self.context);
                }
            }
            Note::Found(session, found) => {
                if let Some(cell) = &mut self.homes[session.cell()]
                    && let Some(slot) = cell.slot(session)
                {
                    cell.found(slot, found, &mut self.context);
                }
            }
            Note::Give(cell, to) => self.give(cell, to),
            Note::SendAway(cell, count) => {
                if let Some(cell) = &mut self.homes[cell] {
                    cell.send_away(count, &mut self.context);
                }
            }
            Note::SendUsersAway(cell, users) => {
                if let Some(cell) = &mut self.homes[cell] {
                    cell.send_users_away(&users, &mut self.context);
                }
            }
            Note::Take(cell) => self.take(cell),
        }
    }

    /// The cell goes with its sessions, positions and rounds; its sockets leave this epoll.
    fn give(&mut self, index: usize, to: usize) {
        let Some(pool) = self.pool.upgrade().filter(|pool| to != self.index && to < pool.len()) else {
            return;
        };
        let Some(mailbox) = pool.mailbox(to) else { return };
        let Some(mut cell) = self.homes[index].take() else {
            return;
        };
        for session in cell.slots.iter_mut().flatten() {
            // A socket that is gone already is noticed by its next owner.
            let _ = self.context.registry.deregister(session.stream.source());
        }
        self.hand_over(); // comings and goings of a user stay in order
        self.context.shared.owners[index].store(to, Release);
        let unsent = mailbox.try_note(Note::Take(cell)).err().map(Unsent::note);
        if let Some(Note::Take(cell)) = unsent {
            self.context.shared.owners[index].store(self.index, Release);
            self.take(cell);
        }
        self.list();
    }

    fn take(&mut self, mut cell: Box<Cell>) {
        for slot in cell.occupied() {
            if cell.register(slot, &self.context).is_err() {
                cell.remove(slot, &mut self.context);
            }
        }
        let index = cell.index;
        self.homes[index] = Some(cell);
        self.list();
    }

    fn unpark(&mut self) {
        for note in std::mem::take(&mut self.parked) {
            if let Some(note) = self.redirect(note) {
                self.obey(note);
            }
        }
    }

    fn read_bulletin(&mut self) {
        let version = self.context.shared.version.load(Acquire);
        if version != self.version {
            self.bulletin = self.context.shared.bulletin.lock().clone();
            self.version = version;
        }
        for index in &self.mine {
            if let Some(cell) = &mut self.homes[*index]
                && cell.version != version
            {
                cell.read_bulletin(&self.bulletin, version, &mut self.context);
            }
        }
    }

    /// The next cell that has work of this kind, starting where the last look ended.
    fn next_with_news(&mut self, kind: Kind) -> Option<usize> {
        let window = &self.context.shared.window;
        for step in 0..self.mine.len() {
            let at = (self.turn[kind.index()] + step) % self.mine.len();
            let index = self.mine[at];
            if self.homes[index]
                .as_ref()
                .is_some_and(|cell| cell.has_news(kind, window))
            {
                self.turn[kind.index()] = at;
                return Some(index);
            }
        }
        None
    }

    /// Writes a slice; what is left of the budget.
    fn write(&mut self, kind: Kind, mut budget: usize) -> usize {
        while budget > 0 {
            let Some(index) = self.next_with_news(kind) else { break };
            let Some(cell) = &mut self.homes[index] else { break };
            budget = budget.saturating_sub(cell.advance(kind, budget, &mut self.context));
            let done = cell.rounds[kind.index()].is_none();
            if done {
                self.turn[kind.index()] += 1;
            }
        }
        budget
    }

    fn pump(&mut self) -> bool {
        let mut more = false;
        for index in &self.mine {
            let Some(cell) = &mut self.homes[*index] else { continue };
            for _ in 0..cell.queue.len().min(PUMPS_AT_ONCE) {
                if let Some(slot) = cell.queue.pop_front() {
                    cell.pump(slot, &mut self.context);
                }
            }
            for _ in 0..cell.reads.len().min(READS_AT_ONCE) {
                if let Some(slot) = cell.reads.pop_front() {
                    cell.read(slot, &mut self.context);
                }
            }
            more |= !cell.queue.is_empty() || !cell.reads.is_empty();
        }
        more
    }

    fn hand_over(&mut self) {
        self.handed_over = self.context.now;
        let collector = &self.context.shared.collector;
        collector.hand_over(&mut self.context.tally);
        for cell in self.mine.iter().filter_map(|index| self.homes[*index].as_ref()) {
            if cell.len() == 0 {
                collector.set_vacant(cell.index);
            } else {
                collector.set_rounds(cell.index, cell.positions);
                collector.set_watermark(cell.index, cell.watermark());
            }
        }
        let mut sessions = 0;
        for cell in self.mine.iter().filter_map(|index| self.homes[*index].as_ref()) {
            sessions += cell.len();
            self.context.shared.sizes[cell.index].store(cell.len(), Relaxed);
        }
        self.context.gauge.sessions.store(sessions, Relaxed);
    }
}

impl Job for Cells {
    type Note = Note;

    fn note(&mut self, note: Note) {
        self.context.now = clock::now();
        // First: to those who come now it is no news.
        self.read_bulletin();
        let is_take = matches!(note, Note::Take(_));
        if let Some(note) = self.redirect(note) {
            self.obey(note);
        }
        if is_take {
            self.read_bulletin();
            self.unpark();
        }
    }

    fn ready(&mut self, ready: Ready) {
        let key = SessionRef(ready.token as u64);
        let Some(Some(cell)) = self.homes.get_mut(key.cell()) else {
            return;
        };
        let Some(slot) = cell.slot(key) else { return };
        self.context.now = clock::now();
        if ready.writable
            && let Some(behind) = cell.get(slot).and_then(|session| session.behind.as_mut())
        {
            behind.blocked = false;
            cell.requeue(slot);
        }
        if ready.readable {
            cell.read(slot, &mut self.context);
        }
    }

    /// Critical first, everywhere; then a piece for those who are behind; then a slice of the others' round.
    fn work(&mut self, now: Instant) -> bool {
        self.context.now = now;
        if !self.parked.is_empty() {
            self.unpark();
        }
        self.read_bulletin();
        let config = &self.context.shared;
        let sessions = self.context.gauge.sessions.load(Relaxed);
        let slice = slice::size(sessions, config.slice_min, config.slice_max);
        let left = self.write(Kind::Urgent, slice);
        let mut more = left == 0;
        if !more {
            more = self.pump();
            more |= self.write(Kind::Ordinary, left) == 0;
        }
        self.context.current = None;
        if now.saturating_duration_since(self.handed_over) >= HAND_OVER_EVERY {
            self.hand_over();
        }
        more || !self.parked.is_empty()
    }

    fn tick(&mut self, now: Instant) {
        self.context.now = now;
        self.context.measured.hand_over(); // a thread that never rests has to be seen too
        for index in &self.mine {
            if let Some(cell) = &mut self.homes[*index] {
                cell.tick(&mut self.context);
            }
        }
    }

    fn has_sessions(&self) -> bool {
        let mut here = self.mine.iter().filter_map(|index| self.homes[*index].as_ref());
        here.any(|cell| cell.len() > 0 || !cell.returned.is_empty()) // a tick is waited for by both
    }

    fn is_empty(&self) -> bool {
        self.mine.is_empty() && self.parked.is_empty()
    }

    fn rest(&mut self) {
        self.hand_over();
        self.context.rest();
    }

    /// The session that was worked on is closed: it resumes. A cell that failed as a whole starts again with none.
    fn recover(&mut self) {
        let Some((index, slot)) = self.context.current.take() else {
            return;
        };
        let Some(cell) = &mut self.homes[index] else { return };
        if let Some(slot) = slot {
            cell.remove(slot, &mut self.context);
            return;
        }
        for slot in cell.occupied() {
            cell.remove(slot, &mut self.context);
        }
        cell.rounds = [None, None];
        cell.positions = [self.context.shared.window.head(); 4];
    }
}

#[cfg(test)]
mod tests {
    use super::{Cell, Cells, Note, READS_AT_ONCE};
    use crate::gateway::Transport;
    use crate::gateway::session::Stream;
    use crate::gateway::tests::fixture::{Client, EPOCH, by_hand, config, eventually, house};
    use std::sync::Weak;

    const SESSIONS: usize = 2 * READS_AT_ONCE + 5;

    fn cell(cells: &mut Cells) -> &mut Cell {
        cells.homes[0].as_mut().unwrap()
    }

    /// Sessions that were heard since they came.
    fn heard(cells: &mut Cells) -> usize {
        let sessions = cell(cells).slots.iter().flatten();
        sessions.filter(|session| session.spoke > 0).count()
    }

    #[test]
    fn a_few_are_heard_before_what_is_urgent_is_looked_for_again() {
        let house = house(&config(), 1, 1);
        let (context, _poll) = by_hand(&house);
        let mut cells = Cells::new(0, Weak::new(), context);
        cells.take(Box::new(Cell::new(0, EPOCH)));
        let mut clients: Vec<Client> = Vec::new();
        for user in 0..SESSIONS as u32 {
            let (client, subscriber) = house.meet_by_hand(user, Transport::WebSocket);
            cells.obey(Note::Session(Box::new(subscriber)));
            clients.push(client);
        }
        // Everybody is greeted, and then all speak at once.
        while cells.pump() {}
        for (slot, client) in clients.iter_mut().enumerate() {
            client.until("hello");
            client.send("{}");
            let session = cell(&mut cells).get(slot as u32).unwrap();
            let Stream::Tcp(socket) = &session.stream else {
                panic!("not in the clear")
            };
            eventually("it has come", || socket.peek(&mut [0]).is_ok());
            cell(&mut cells).reads.push_back(slot as u32);
        }
        assert_eq!(heard(&mut cells), 0);
        for expected in [READS_AT_ONCE, 2 * READS_AT_ONCE] {
            assert!(cells.pump(), "the others wait");
            assert_eq!(heard(&mut cells), expected);
        }
        while cells.pump() {}
        assert_eq!(heard(&mut cells), SESSIONS);
    }
}
