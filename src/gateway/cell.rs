//! A cell: some sessions with their users, and the positions that all of them share who are up to date. It belongs to one
//! worker at a time and moves between workers with everything in it.

use super::batch::{Batch, Kind};
use super::confirm::Returned;
use super::fresh::Fresh;
use super::goodbye;
use super::pass::Pass;
use super::reader::{Ask, Question};
use super::session::{NONE, Session};
use super::shared::Context;
use super::window::Window;
use super::{From, SessionRef};
use crate::metrics::METRICS;
use crate::model::{PerPriority, Position, Priority, UserNumber};
use crate::queue::Turns;
use roaring::RoaringBitmap;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::Instant;

pub struct Cell {
    pub index: usize,
    pub slots: Vec<Option<Session>>,
    pub free: Vec<u32>,
    pub next_generation: u16,
    /// Everybody with a session here that is not leaving.
    pub users: RoaringBitmap,
    /// Each user's first session.
    pub heads: HashMap<UserNumber, u32, BuildHasherDefault<Spread>>,
    /// Those who are up to date have been written everything up to here, but for the rounds under way.
    pub positions: PerPriority<Position>,
    pub rounds: [Option<Round>; 2],
    pub turns: Turns,
    /// Sessions that run behind.
    pub behind: RoaringBitmap,
    /// Those of them that can go on now.
    pub queue: VecDeque<u32>,
    /// Those of them whose cursor is ahead of this cell.
    pub ahead: Vec<u32>,
    /// Sessions with more to be read.
    pub reads: VecDeque<u32>,
    pub leaving: Vec<(SessionRef, Instant)>,
    /// Cursors that clients came back with.
    pub returned: VecDeque<Returned>,
    /// How long sessions may stay, by slot: apart from them, so that a session stays small.
    pub passes: BTreeMap<u32, Pass>,
    /// Sessions that have not said yet whether they confirm, by slot.
    pub fresh: BTreeMap<u32, Fresh>,
    /// The tick at which the positions last changed.
    pub moved: u32,
    /// The last tick that this cell has had.
    pub ticked: u32,
    pub degraded: bool,
    pub epoch: u32,
    /// The bulletin that this cell's sessions know.
    pub version: u64,
}

/// A batch on its way to the sessions that it touches.
pub struct Round {
    pub batch: Arc<Batch>,
    pub touched: Vec<Touched>,
    pub next: usize,
}

pub struct Touched {
    pub slot: u32,
    pub user: UserNumber,
    /// It confirms what it gets.
    pub promises: bool,
    /// What was given to the socket.
    pub done: u64,
}

impl Touched {
    pub const fn new(slot: u32, session: &Session) -> Self {
        Self {
            slot,
            user: session.user,
            promises: session.promises,
            done: 0,
        }
    }
}

/// User numbers are dense and ours: spreading them is enough.
#[derive(Default)]
pub struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }
    fn write_u32(&mut self, number: u32) {
        self.0 = (self.0 ^ u64::from(number))
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .rotate_left(29);
    }
}

impl SessionRef {
    pub fn new(cell: usize, generation: u16, slot: u32) -> Self {
        Self((cell as u64 & 0xFFFF) << 48 | u64::from(generation) << 32 | u64::from(slot))
    }

    pub const fn cell(self) -> usize {
        (self.0 >> 48) as usize
    }

    const fn slot(self) -> u32 {
        self.0 as u32
    }
}

impl Cell {
    pub fn new(index: usize, epoch: u32) -> Self {
        Self {
            index,
            slots: Vec::new(),
            free: Vec::new(),
            next_generation: 0,
            users: RoaringBitmap::new(),
            heads: HashMap::default(),
            positions: [0; 4],
            rounds: [None, None],
            turns: Turns::default(),
            behind: RoaringBitmap::new(),
            queue: VecDeque::new(),
            ahead: Vec::new(),
            reads: VecDeque::new(),
            leaving: Vec::new(),
            returned: VecDeque::new(),
            passes: BTreeMap::new(),
            fresh: BTreeMap::new(),
            moved: 0,
            ticked: 0,
            degraded: false,
            epoch,
            version: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub fn get(&mut self, slot: u32) -> Option<&mut Session> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    pub fn key(&self, slot: u32) -> Option<SessionRef> {
        let session = self.slots.get(slot as usize)?.as_ref()?;
        Some(SessionRef::new(self.index, session.generation, slot))
    }

    /// The slot that the key names, while its session is there.
    pub fn slot(&self, key: SessionRef) -> Option<u32> {
        (self.key(key.slot()) == Some(key)).then_some(key.slot())
    }

    pub fn occupied(&self) -> Vec<u32> {
        (0..self.slots.len() as u32)
            .filter(|slot| self.slots[*slot as usize].is_some())
            .collect()
    }

    /// The user's first session; [`Session::next_of_user`] leads on.
    pub fn head(&self, user: UserNumber) -> u32 {
        self.heads.get(&user).copied().unwrap_or(NONE)
    }

    /// Where the cell stands once the rounds under way are done.
    pub fn target(&self) -> PerPriority<Position> {
        self.rounds
            .iter()
            .flatten()
            .fold(self.positions, |positions, round| round.batch.end(positions))
    }

    /// Where a session that is up to date stands right now.
    pub fn standing(&self, session: &Session) -> PerPriority<Position> {
        let done = |kind: &Kind| session.pending[kind.index()] == 0;
        let rounds = Kind::ALL
            .into_iter()
            .filter(done)
            .filter_map(|kind| self.rounds[kind.index()].as_ref());
        rounds.fold(self.positions, |positions, round| round.batch.end(positions))
    }

    /// Moves on in the priorities in which nothing has come.
    pub fn settle(&mut self, window: &Window) {
        let head = window.head(); // before the tails: what is up to it is in them
        for kind in Kind::ALL.into_iter().filter(|kind| self.rounds[kind.index()].is_none()) {
            for priority in kind.priorities() {
                let position = &mut self.positions[priority.index()];
                if window.tail(*priority) <= *position {
                    *position = head.max(*position);
                }
            }
        }
    }

    pub fn has_news(&self, kind: Kind, window: &Window) -> bool {
        let news = |priority: &Priority| window.tail(*priority) > self.positions[priority.index()];
        self.rounds[kind.index()].is_some() || (self.len() > 0 && kind.priorities().iter().any(news))
    }

    /// A cell without sessions does not follow the window: its first session finds it where the window ends.
    pub fn skip_to(&mut self, head: Position) {
        if self.len() == 0 && self.rounds.iter().all(Option::is_none) {
            self.positions = self.positions.map(|position| position.max(head));
        }
    }

    /// Up to where all sessions have been written.
    pub fn watermark(&self) -> PerPriority<Position> {
        let mut lowest = self.positions;
        for slot in &self.behind {
            if let Some(behind) = self.slots[slot as usize]
                .as_ref()
                .and_then(|session| session.behind.as_ref())
            {
                for (low, position) in lowest.iter_mut().zip(behind.positions) {
                    *low = position.min(*low);
                }
            }
        }
        lowest
    }

    pub fn requeue(&mut self, slot: u32) {
        let Some(behind) = self.get(slot).and_then(|session| session.behind.as_mut()) else {
            return;
        };
        if !behind.queued && !behind.blocked {
            behind.queued = true;
            self.queue.push_back(slot);
        }
    }

    /// Finds where a stream starts; asks the reader when the window does not reach so far.
    pub fn locate(&mut self, slot: u32, from: From, context: &mut Context) {
        let shared = context.shared.clone();
        let question = match from {
            From::Now => {
                self.settle(&shared.window);
                let positions = self.target();
                return self.begin(
                    slot,
                    super::reader::Started {
                        positions,
                        scanned: positions,
                        ..Default::default()
                    },
                    context,
                );
            }
            From::Cursor(cursor) if cursor.epoch == self.epoch && shared.window.reaches(cursor.positions) => {
                self.came_back(slot, cursor, context);
                return self.begin(
                    slot,
                    super::reader::Started {
                        positions: cursor.positions,
                        scanned: cursor.positions,
                        ..Default::default()
                    },
                    context,
                );
            }
            From::Cursor(cursor) => {
                if cursor.epoch == self.epoch {
                    self.came_back(slot, cursor, context);
                }
                Question::Cursor(cursor)
            }
            From::Backlog => Question::Start,
            From::Earliest => Question::Earliest,
        };
        self.ask(slot, question, context);
    }

    pub fn ask(&mut self, slot: u32, question: Question, context: &mut Context) {
        let Some(session) = self.key(slot) else { return };
        let Some(user) = self.get(slot).map(|session| session.user) else {
            return;
        };
        let asked = context.shared.asks.ask(Ask {
            session,
            user,
            question,
        });
        if !asked {
            METRICS.limits_hit.with_label_values(&["gateway.reads"]).inc();
            self.dismiss(slot, goodbye::TRY_LATER, context);
        } else if let Some(behind) = self.get(slot).and_then(|session| session.behind.as_mut()) {
            behind.reading = true;
        }
        // the head of the response goes out meanwhile
        self.requeue(slot);
    }
}
