//! A client says that it confirms what it gets a moment after its stream has begun. What it was given before counts, too: what
//! waited for somebody who was away is just what must not get lost on a socket that is dead.

use super::Transport;
use super::cell::Cell;
use super::shared::Context;
use crate::model::{Number, UserNumber};
use std::time::{Duration, Instant};

/// A session may take this long to say it ...
const SAY_WITHIN: Duration = Duration::from_secs(10);
/// ... and this much of what it is given until then is noted.
const NOTED_MAX: usize = 1024;

/// A session that has not said yet whether it confirms.
pub struct Fresh {
    user: UserNumber,
    until: Instant,
    given: Vec<Number>,
}

impl Cell {
    /// Only on a WebSocket can a client say anything.
    pub fn greet(&mut self, slot: u32, user: UserNumber, transport: Transport, context: &Context) {
        if transport == Transport::WebSocket {
            let fresh = Fresh {
                user,
                until: context.now + SAY_WITHIN,
                given: Vec::new(),
            };
            self.fresh.insert(slot, fresh);
        }
    }

    /// Something was written to a session that has promised nothing so far.
    pub fn note_given(&mut self, slot: u32, user: UserNumber, number: Number) {
        let fresh = self.fresh.get_mut(&slot).filter(|fresh| fresh.user == user);
        if let Some(fresh) = fresh.filter(|fresh| fresh.given.len() < NOTED_MAX) {
            fresh.given.push(number);
        }
    }

    /// The client says whether it confirms.
    pub fn promise(&mut self, slot: u32, promises: bool, context: &mut Context) {
        if let Some(session) = self.get(slot) {
            session.promises = promises;
        }
        let Some(fresh) = self.fresh.remove(&slot).filter(|_| promises) else {
            return;
        };
        for number in fresh.given {
            context.tally.promised(number).push(fresh.user);
        }
    }

    /// Whether the session that is there now is this user's and has promised receipts.
    pub fn has_promised(&self, slot: u32, user: UserNumber) -> bool {
        let session = self.slots.get(slot as usize).and_then(Option::as_ref);
        session.is_some_and(|session| session.user == user && session.promises)
    }

    /// Whoever has said nothing for so long does not promise for what was before.
    pub fn forget_fresh(&mut self, context: &Context) {
        self.fresh.retain(|_, fresh| fresh.until > context.now);
    }
}
