//! Sessions that come to a cell, and how they leave it.

use super::cell::Cell;
use super::goodbye::Goodbye;
use super::session::{Behind, NONE, Session, Stage, Stream};
use super::shared::Context;
use super::{Subscriber, Transport};
use crate::metrics::METRICS;
use crate::model::UserNumber;
use bytes::Bytes;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// A told goodbye is given this long to be read.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);

impl Cell {
    /// Takes a session in; where it starts is asked for.
    pub fn add(&mut self, subscriber: Subscriber, context: &mut Context) {
        let Subscriber {
            socket,
            read,
            head,
            transport,
            user,
            from,
            pass,
        } = subscriber;
        self.skip_to(context.shared.window.head());
        let generation = self.next_generation;
        self.next_generation = generation.wrapping_add(1);
        let mut behind = Behind::new(Stage::Starting(from), self.positions, context.now);
        behind.unsent = opening(head, transport);
        let session = Session {
            stream: Stream::new(socket),
            user,
            next_of_user: NONE,
            heard: context.shared.tick(context.now),
            generation,
            spoke: 0,
            transport,
            promises: false,
            wrote: false,
            leaving: false,
            pending: [0; 2],
            behind: Some(Box::new(behind)),
            decoder: None,
        };
        let slot = self.put(session);
        self.passes.extend(pass.map(|pass| (slot, pass)));
        self.greet(slot, user, transport, context);
        METRICS.sessions.inc();
        self.join_user(slot, user, context);
        if self.register(slot, context).is_err() {
            self.remove(slot, context);
            return;
        }
        self.hear(slot, &read, context);
        // TLS may have taken in more than was read out of it: no edge will tell.
        if self
            .get(slot)
            .is_some_and(|session| !session.stream.is_emptied_by_less())
        {
            self.reads.push_back(slot);
        }
        self.locate(slot, from, context);
    }

    fn put(&mut self, session: Session) -> u32 {
        if let Some(slot) = self.free.pop() {
            self.slots[slot as usize] = Some(session);
            return slot;
        }
        self.slots.push(Some(session));
        self.slots.len() as u32 - 1
    }

    fn join_user(&mut self, slot: u32, user: UserNumber, context: &mut Context) {
        let before = self.heads.insert(user, slot);
        if let Some(session) = self.get(slot) {
            session.next_of_user = before.unwrap_or(NONE);
        }
        if before.is_none() {
            self.users.insert(user);
            context.tally.came(user);
        }
    }

    /// The user no longer has this session; what rounds had for it is dropped.
    fn leave_user(&mut self, slot: u32, context: &mut Context) {
        let Some(session) = self.get(slot) else { return };
        session.pending = [0; 2];
        let (user, next) = (session.user, session.next_of_user);
        self.behind.remove(slot);
        let mut at = self.head(user);
        if at == slot {
            if next == NONE {
                self.heads.remove(&user);
                self.users.remove(user);
                context.tally.went(user);
            } else {
                self.heads.insert(user, next);
            }
            return;
        }
        while let Some(session) = self.get(at) {
            at = session.next_of_user;
            if at == slot {
                session.next_of_user = next;
                return;
            }
        }
    }

    pub fn register(&mut self, slot: u32, context: &Context) -> std::io::Result<()> {
        let Some(key) = self.key(slot) else { return Ok(()) };
        let Some(session) = self.get(slot) else { return Ok(()) };
        let interests = mio::Interest::READABLE | mio::Interest::WRITABLE;
        context
            .registry
            .register(session.stream.source(), mio::Token(key.0 as usize), interests)
    }

    /// Lets a session go at once; its socket closes.
    pub fn remove(&mut self, slot: u32, context: &mut Context) {
        let Some(session) = self.get(slot) else { return };
        if !session.leaving {
            self.leave_user(slot, context);
        }
        self.slots[slot as usize] = None;
        self.free.push(slot);
        self.passes.remove(&slot);
        self.fresh.remove(&slot);
        METRICS.sessions.dec();
        context.shared.sessions.fetch_sub(1, Relaxed);
    }

    /// The socket refused a write: the session ends, and resumes on another.
    pub fn refused(&mut self, slot: u32, context: &mut Context) {
        METRICS.write_errors.inc();
        self.remove(slot, context);
    }

    /// Says why, gives the peer a moment to read it, and ends.
    pub fn dismiss(&mut self, slot: u32, goodbye: Goodbye, context: &mut Context) {
        let others = context.shared.others();
        let mut last = Vec::new();
        let Some(session) = self.get(slot) else { return };
        if session.leaving {
            return;
        }
        METRICS.goodbyes.with_label_values(&[&goodbye.code.to_string()]).inc();
        session.transport.goodbye(&mut last, &goodbye, &others);
        self.leave(slot, &last, context);
    }

    /// Writes the last bytes and ends.
    pub fn leave(&mut self, slot: u32, last: &[u8], context: &mut Context) {
        self.say(slot, last, context);
        let Some(key) = self.key(slot) else { return };
        self.leave_user(slot, context);
        self.leaving.push((key, context.now + LEAVE_WITHIN));
        let Some(session) = self.get(slot) else { return };
        session.leaving = true;
        match &mut session.behind {
            None => {
                // Most sockets have room for it; else it waits like what is owed.
                let is_over = session.stream.end().unwrap_or(true);
                if !is_over {
                    let mut behind = Behind::new(Stage::Running, [0; 4], context.now);
                    behind.blocked = true;
                    session.behind = Some(Box::new(behind));
                }
            }
            Some(behind) => {
                behind.owed = Default::default();
                self.requeue(slot);
            }
        }
    }
}

fn opening(head: Bytes, transport: Transport) -> Bytes {
    let opening = transport.opening();
    if opening.is_empty() {
        return head;
    }
    [&head[..], opening].concat().into()
}
