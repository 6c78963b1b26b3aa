//! Coming back with a cursor is a receipt for what was sent to this user at or below it. What was sent is known from the log
//! alone, since a cursor also moves past what was never sent (a start at now, a backlog that the inbox has); and it comes into the
//! log a moment later, from this node or from the one that the client left. So the log is asked when that moment is over.

use super::SessionRef;
use super::cell::Cell;
use super::reader::{Ask, Question};
use super::shared::Context;
use crate::model::{Cursor, UserNumber};
use crate::workers::pool::TICK;
use std::time::Duration;

/// Reports of what was sent come every few hundredths of a second; a follower that is slow gets some more.
const SETTLED_AFTER: Duration = Duration::from_secs(1);
const SETTLED_AFTER_TICKS: u32 = SETTLED_AFTER.as_millis().div_ceil(TICK.as_millis()) as u32;
/// Cursors of one cell that wait; when there are more, the oldest are asked about early.
const RETURNED_MAX: usize = 4096;

/// A cursor that a client came back with.
pub struct Returned {
    session: SessionRef,
    user: UserNumber,
    cursor: Cursor,
    /// The tick at which the log has what was sent before.
    due: u32,
}

impl Cell {
    pub fn came_back(&mut self, slot: u32, cursor: Cursor, context: &Context) {
        let (Some(session), Some(user)) = (self.key(slot), self.get(slot).map(|session| session.user)) else {
            return;
        };
        let due = context.shared.tick(context.now) + SETTLED_AFTER_TICKS;
        self.returned.push_back(Returned {
            session,
            user,
            cursor,
            due,
        });
        if self.returned.len() > RETURNED_MAX {
            self.confirm_first(context);
        }
    }

    pub fn confirm_due(&mut self, tick: u32, context: &Context) {
        while self.returned.front().is_some_and(|first| first.due <= tick) {
            self.confirm_first(context);
        }
    }

    /// The node stops: better early than not at all.
    pub fn confirm_all(&mut self, context: &Context) {
        while !self.returned.is_empty() {
            self.confirm_first(context);
        }
    }

    /// Nobody waits for it, and a reader that is busy leaves it out: the next cursor says it again.
    fn confirm_first(&mut self, context: &Context) {
        if let Some(first) = self.returned.pop_front() {
            let Returned {
                session, user, cursor, ..
            } = first;
            let question = Question::Confirm(cursor);
            context.shared.asks.ask(Ask {
                session,
                user,
                question,
            });
        }
    }
}
