//! A session that is behind: write what is mine after my position, from the backlog, then from the window, until it stands
//! where its cell stands.

use super::cell::Cell;
use super::frame;
use super::goodbye;
use super::reader::{Found, Question, Started};
use super::round::cut;
use super::session::{Session, Stage};
use super::shared::Context;
use super::supply::{Find, Supply};
use crate::model::{PerPriority, Position};
use bytes::Bytes;
use std::time::Duration;

/// Reads that bring nothing, one after the other, before the session is told to try elsewhere.
const READS_IN_VAIN_MAX: u8 = 8;
/// A cursor may be this long ahead of the node.
const AHEAD_MAX: Duration = Duration::from_secs(2);

impl Cell {
    /// Gives one session that is behind what its socket takes, up to a bound.
    pub fn pump(&mut self, slot: u32, context: &mut Context) {
        context.current = Some((self.index, Some(slot)));
        let Some(session) = self.get(slot) else { return };
        let Some(behind) = &mut session.behind else { return };
        behind.queued = false;
        let (user, cut, promises) = (session.user, behind.unsent_of, session.promises);
        let flushed = flush(session, context);
        let is_given = session.behind.as_ref().is_some_and(|behind| behind.unsent_of.is_none());
        if let Some(number) = cut.filter(|_| is_given && !promises) {
            self.note_given(slot, user, number);
        }
        match flushed {
            Err(_) => return self.refused(slot, context),
            Ok(false) => return,
            Ok(true) => {}
        }
        let Some(session) = self.get(slot) else { return };
        if session.leaving {
            return end(session);
        }
        if session
            .behind
            .as_ref()
            .is_some_and(|behind| behind.stage == Stage::Running)
        {
            self.supply(slot, context);
        }
    }

    fn supply(&mut self, slot: u32, context: &mut Context) {
        let shared = context.shared.clone();
        self.settle(&shared.window);
        let target = self.target();
        let Some(session) = self.get(slot) else { return };
        let user = session.user;
        let transport = session.transport;
        let Some(behind) = &mut session.behind else { return };
        behind.settle();
        let find = Find {
            window: &shared.window,
            user,
            promises: session.promises,
            transport,
            target,
            bytes_max: shared.config.catch_up_bytes.bytes(),
            now: shared.log_time(),
        };
        let supply = find.supply(behind);
        behind.turns = supply.turns;
        if supply.pieces.is_empty() {
            behind.positions = supply.end;
        } else if self.hand(slot, &supply, context).is_err() {
            return self.refused(slot, context);
        }
        self.next_step(slot, &supply, target, context);
    }

    /// One write of all that was found.
    fn hand(&mut self, slot: u32, supply: &Supply, context: &mut Context) -> std::io::Result<()> {
        let cursor = context.shared.cursor(supply.end);
        let Some(session) = self.get(slot) else { return Ok(()) };
        let Some(behind) = &mut session.behind else {
            return Ok(());
        };
        let out = &mut context.scratch;
        out.clear();
        supply
            .pieces
            .iter()
            .for_each(|piece| out.extend_from_slice(&piece.frame));
        let frames = out.len();
        session.transport.cursor(out, cursor);
        let count = session.stream.write(out)?;
        session.wrote = true;
        if count > 0 {
            behind.progress_at = context.now;
        }
        let whole = if count == out.len() {
            behind.blocked = session.stream.waits();
            behind.positions = supply.end;
            supply.pieces.len()
        } else {
            behind.blocked = true;
            let line = Bytes::copy_from_slice(&out[frames..]);
            cut(behind, &supply.pieces, supply.end, &line, count)
        };
        let (user, promises) = (session.user, session.promises);
        let mut counts = [0; 4];
        for piece in &supply.pieces[..whole] {
            counts[piece.entry.priority().index()] += 1;
            if let Some(number) = piece.entry.sent() {
                context.sent(number, user, promises);
                if !promises {
                    self.note_given(slot, user, number);
                }
            }
        }
        context.count(counts);
        Ok(())
    }

    fn next_step(&mut self, slot: u32, supply: &Supply, target: PerPriority<Position>, context: &mut Context) {
        let Some(session) = self.get(slot) else { return };
        let Some(behind) = &mut session.behind else { return };
        behind.settle();
        if behind.blocked {
            return;
        }
        if behind.positions == target && behind.notes.is_empty() {
            session.behind = None;
            self.behind.remove(slot);
            return;
        }
        if !supply.pieces.is_empty() || supply.more || !behind.notes.is_empty() {
            behind.ahead_since = None;
            return self.requeue(slot);
        }
        if behind.reading {
            // what comes meanwhile in other priorities does not wait for the reader
            return self.ahead.push(slot);
        }
        if supply.below {
            let after = behind.positions;
            return self.ask(slot, Question::Read(after), context);
        }
        behind.ahead_since.get_or_insert(context.now);
        self.ahead.push(slot);
    }

    /// What the reader found.
    pub fn found(&mut self, slot: u32, found: Found, context: &mut Context) {
        let Some(behind) = self.get(slot).and_then(|session| session.behind.as_mut()) else {
            return;
        };
        behind.reading = false;
        match found {
            Found::Start(started) => self.begin(slot, *started, context),
            Found::Read(read) => {
                let mut further = false;
                for (index, releases) in read.releases.into_iter().enumerate() {
                    let position = behind.positions[index];
                    if behind.owed[index].is_empty() && read.scanned[index] > position {
                        further = true;
                        behind.scanned[index] = read.scanned[index];
                        behind.owed[index] = releases
                            .into_iter()
                            .filter(|release| release.position > position)
                            .collect();
                    }
                }
                behind.reads_in_vain = if further { 0 } else { behind.reads_in_vain + 1 };
                if behind.reads_in_vain > READS_IN_VAIN_MAX {
                    return self.dismiss(slot, goodbye::TRY_LATER, context);
                }
                self.requeue(slot);
            }
            Found::Failed => self.dismiss(slot, goodbye::TRY_LATER, context),
        }
    }

    /// The stream starts here: hello, perhaps a gap, then what is owed.
    pub fn begin(&mut self, slot: u32, started: Started, context: &mut Context) {
        let shared = context.shared.clone();
        let others = shared.others();
        let degraded = self.degraded;
        let Some(key) = self.key(slot) else { return };
        let Some(session) = self.get(slot) else { return };
        let transport = session.transport;
        let Some(behind) = &mut session.behind else { return };
        let cursor = shared.cursor(started.positions);
        let name = format!("{}-{:016x}", shared.node, key.0);
        let hello = frame::hello(
            &name,
            shared.node,
            cursor,
            shared.config.heartbeat,
            &others,
            &shared.load(),
            started.more_in_inbox,
        );
        let mut first = Vec::new();
        transport.frame(&mut first, "hello", &hello, Some(cursor));
        if let Some(gap) = &started.gap {
            transport.frame(&mut first, "gap", &frame::gap(gap), None);
        }
        if degraded {
            let (event, text) = frame::leader(true, &others);
            transport.frame(&mut first, event, &text, None);
        }
        first.append(&mut behind.notes);
        behind.notes = first;
        behind.stage = Stage::Running;
        behind.positions = started.positions;
        behind.scanned = started.scanned;
        behind.owed = started.owed;
        if !session.leaving {
            self.behind.insert(slot);
        }
        self.requeue(slot);
    }

    /// Sessions whose cursor this node has not reached, or whose socket has taken nothing for too long.
    pub fn check_behind(&mut self, context: &mut Context) {
        let stall_max = context.shared.config.stall_max.0;
        for slot in self.occupied() {
            let Some(behind) = self.get(slot).and_then(|session| session.behind.as_ref()) else {
                continue;
            };
            let stalled = behind.blocked && context.now.saturating_duration_since(behind.progress_at) > stall_max;
            let ahead = behind
                .ahead_since
                .is_some_and(|since| context.now.saturating_duration_since(since) > AHEAD_MAX);
            if stalled {
                self.dismiss(slot, goodbye::SLOW, context);
            } else if ahead {
                self.dismiss(slot, goodbye::AHEAD, context);
            }
        }
        for slot in std::mem::take(&mut self.ahead) {
            self.requeue(slot);
        }
    }
}

/// What is owed is written: the end, or as much of it as the socket takes now.
pub fn end(session: &mut Session) {
    // A peer that is gone already cannot be told.
    let is_over = session.stream.end().unwrap_or(true);
    if is_over {
        session.behind = None;
    } else if let Some(behind) = &mut session.behind {
        behind.blocked = true;
    }
}

/// Writes what was begun, then what is said; true when nothing is left of it.
fn flush(session: &mut Session, context: &mut Context) -> std::io::Result<bool> {
    let Some(behind) = &mut session.behind else {
        return Ok(true);
    };
    if session.stream.waits() {
        if session.stream.flush()? > 0 {
            behind.progress_at = context.now;
        }
        if session.stream.waits() {
            behind.blocked = true;
            return Ok(false);
        }
    }
    loop {
        if behind.unsent.is_empty() {
            if let Some(number) = behind.unsent_of.take() {
                context.sent(number, session.user, session.promises);
            }
            if behind.notes.is_empty() {
                return Ok(true);
            }
            behind.unsent = std::mem::take(&mut behind.notes).into();
        }
        let count = session.stream.write(&behind.unsent)?;
        if count > 0 {
            behind.progress_at = context.now;
        }
        if count < behind.unsent.len() || session.stream.waits() {
            behind.unsent = behind.unsent.slice(count..);
            behind.blocked = true;
            return Ok(false);
        }
        behind.unsent = Bytes::new();
    }
}
