//! Critical broadcasts of late, without looking through all there are: each release is looked at once, a bounded number while the
//! state is held. Drills do not count.

use super::State;
use super::broadcasts::Hot;
use crate::model::{Millis, Number, Position, Priority};
use std::collections::VecDeque;

/// Releases that are looked at while the state is held: apply waits for it.
const LOOKED_AT_MAX: usize = 2_048;
/// Critical broadcasts that are remembered; beyond it the oldest are forgotten.
const KNOWN_MAX: usize = 4_096;
const HOUR: Millis = 3_600_000;

/// What is known of them so far.
#[derive(Debug, Default)]
pub struct Urgent {
    /// Everything up to here was looked at.
    seen: Position,
    known: VecDeque<Critical>,
    /// Earlier ones had left memory before they were looked at.
    whole_since: Option<Millis>,
}

#[derive(Debug)]
struct Critical {
    number: Number,
    released_at: Millis,
    expires_at: Millis,
}

impl Urgent {
    /// Looks at some more; whether there may be others.
    pub fn look(&mut self, state: &State) -> bool {
        if self.seen >= state.next_position() {
            *self = Self::default(); // another history has taken this one's place
        }
        let broadcasts = state.broadcasts();
        let from = self.seen.max(state.forgotten()) + 1;
        let is_gap = broadcasts.hot_from().is_some_and(|hot| hot > from);
        let mut looked_at = 0;
        for (position, placed) in broadcasts.placed_from(from).take(LOOKED_AT_MAX) {
            if is_gap && looked_at == 0 {
                self.whole_since = Some(placed.broadcast().released_at());
            }
            looked_at += 1;
            self.seen = position;
            let Some(hot) = placed.first() else { continue };
            let draft = &hot.broadcast.draft;
            if draft.priority == Priority::Critical && !draft.drill {
                self.known.push_back(Critical {
                    number: hot.broadcast.number,
                    released_at: hot.broadcast.released_at(),
                    expires_at: hot.broadcast.expires_at,
                });
            }
        }
        looked_at == LOOKED_AT_MAX
    }

    /// Lets go of what is over and older than an hour.
    pub fn forget(&mut self, now: Millis) {
        let is_kept = |critical: &Critical| critical.expires_at > now || critical.released_at >= now - HOUR;
        self.known.retain(is_kept);
        let over = self.known.len().saturating_sub(KNOWN_MAX);
        self.known.drain(..over);
    }

    /// Those of the last hour, and whether there may have been more that have left memory.
    pub fn last_hour(&self, now: Millis) -> (usize, bool) {
        let since = now - HOUR;
        let lately = self.known.iter().filter(|critical| critical.released_at >= since);
        (lately.count(), self.whole_since.is_some_and(|whole| whole > since))
    }

    /// Those that are out, and neither confirmed by everybody, nor called off, nor taken over by a newer one, nor expired; the newest
    /// first. What stays although newer ones have filled the memory stands behind.
    pub fn open<'a>(&'a self, state: &'a State, now: Millis) -> impl Iterator<Item = &'a Hot> {
        let broadcasts = state.broadcasts();
        let hot_from = broadcasts.hot_from().unwrap_or(Position::MAX);
        let is_hot = move |hot: &&Hot| hot.broadcast.position.is_some_and(|at| at >= hot_from);
        let known = self.known.iter().rev();
        let known = known
            .filter_map(|critical| broadcasts.get(critical.number))
            .filter(is_hot);
        let pinned = broadcasts.pinned().take(LOOKED_AT_MAX);
        known.chain(pinned).filter(move |hot| hot.is_open(now))
    }
}
