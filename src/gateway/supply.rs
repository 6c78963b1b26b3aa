//! What a session that is behind can be given now: from what was read for it, then from the window.

use super::batch::Piece;
use super::session::Behind;
use super::window::{Entry, Window};
use crate::model::{PerPriority, Position, Priority};
use crate::queue::Turns;
use std::sync::Arc;

/// Frames given to one session at a time.
const PIECES_MAX: usize = 256;
/// Steps of a search through the window in one go.
const STEPS_MAX: usize = 512;

/// What a session that is behind can be given now.
pub struct Supply {
    pub pieces: Vec<Piece>,
    pub end: PerPriority<Position>,
    pub turns: Turns,
    /// Some of it is below the window.
    pub below: bool,
    /// The search stopped at its bound.
    pub more: bool,
}

/// Looks for what is a session's own.
pub struct Find<'a> {
    pub window: &'a Window,
    pub user: u32,
    pub promises: bool,
    pub transport: super::Transport,
    pub target: PerPriority<Position>,
    pub bytes_max: usize,
    pub now: i64,
}

impl Find<'_> {
    pub fn supply(&self, behind: &Behind) -> Supply {
        let mut supply = Supply {
            pieces: Vec::new(),
            end: behind.positions,
            turns: behind.turns,
            below: false,
            more: false,
        };
        let mut taken = [0; 4];
        let mut next: PerPriority<Option<Arc<Entry>>> = Default::default();
        let mut bytes = 0;
        for step in 0.. {
            supply.more = step == STEPS_MAX || supply.pieces.len() == PIECES_MAX || bytes >= self.bytes_max;
            if supply.more {
                break;
            }
            for priority in Priority::ALL {
                if next[priority.index()].is_none() {
                    next[priority.index()] = self.next(priority, behind, taken[priority.index()], &mut supply);
                }
            }
            let Some(priority) = supply.turns.next(next.each_ref().map(Option::is_some)) else {
                break;
            };
            let Some(entry) = next[priority.index()].take() else {
                break;
            };
            let index = priority.index();
            supply.end[index] = entry.position();
            if taken[index] < behind.owed[index].len() {
                taken[index] += 1;
                if taken[index] == behind.owed[index].len() {
                    supply.end[index] = behind.scanned[index].max(supply.end[index]);
                }
            }
            if !entry.is_over(self.now) && (self.promises || !entry.is_retry()) {
                let frame = entry.frame(self.transport).clone();
                bytes += frame.len();
                supply.pieces.push(Piece { entry, frame });
            }
        }
        supply
    }

    fn next(&self, priority: Priority, behind: &Behind, taken: usize, supply: &mut Supply) -> Option<Arc<Entry>> {
        let index = priority.index();
        if let Some(release) = behind.owed[index].get(taken) {
            let shared = self.window.find(priority, release.position);
            // delivered again, held, or escalated since, it is not what its first release says
            let is_same = |entry: &Arc<Entry>| {
                let known = &entry.release;
                known.broadcast.expires_at == release.broadcast.expires_at
                    && (known.released_at, known.escalated) == (release.released_at, release.escalated)
            };
            let shared = shared.filter(is_same);
            return Some(shared.unwrap_or_else(|| Arc::new(Entry::new(release.clone()))));
        }
        let (position, target) = (supply.end[index], self.target[index]);
        if position >= target {
            return None;
        }
        match self.window.next_of(priority, self.user, position, target) {
            Ok(Ok(entry)) => Some(entry),
            Ok(Err(scanned)) => {
                supply.end[index] = scanned;
                supply.more |= scanned < target;
                None
            }
            Err(_) => {
                supply.below = true;
                None
            }
        }
    }
}
