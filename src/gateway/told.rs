//! What is told to every session of a cell: signs of life, the state of the node, the end.

use super::batch::Kind;
use super::cell::Cell;
use super::frame;
use super::goodbye;
use super::session::Stage;
use super::shared::{Bulletin, Context};
use super::{From, Transport};
use crate::model::Cursor;
use crate::workers::pool::TICK;
use roaring::RoaringBitmap;

/// Silence and stalls are looked for every so many ticks.
const LOOK_EVERY: u32 = 4;

impl Cell {
    pub fn tick(&mut self, context: &mut Context) {
        let tick = context.shared.tick(context.now).max(self.ticked);
        self.heartbeats(tick, context);
        let look = tick / LOOK_EVERY != self.ticked / LOOK_EVERY;
        self.ticked = tick;
        self.confirm_due(tick, context);
        if look {
            self.check_silent(tick, context);
            self.check_behind(context);
            self.check_leaving(context);
            self.check_passes(context);
            self.forget_fresh(context);
        }
    }

    /// Each tick has its share of the slots, so that heartbeats are spread over time.
    fn heartbeats(&mut self, tick: u32, context: &mut Context) {
        let period = ticks(context.shared.config.heartbeat.0);
        let moved = tick.saturating_sub(self.moved) <= period;
        // a thread that was busy may have left ticks out
        let share = (tick - self.ticked).min(period);
        let first = self.ticked + 1 + self.index as u32;
        for slot in 0..self.slots.len() as u32 {
            if (slot + period - first % period) % period >= share {
                continue;
            }
            let Some(session) = self.get(slot) else { continue };
            let (transport, wrote) = (session.transport, std::mem::take(&mut session.wrote));
            if session.behind.is_some() || session.leaving || (wrote && transport != Transport::WebSocket) {
                continue;
            }
            let Some(session) = self.slots[slot as usize].as_ref() else {
                continue;
            };
            let cursor = context.shared.cursor(self.standing(session));
            let mut out = Vec::new();
            transport.heartbeat(&mut out);
            if moved && !wrote {
                transport.cursor(&mut out, cursor);
            }
            self.say(slot, &out, context);
            if let Some(session) = self.get(slot) {
                session.wrote = false;
            }
        }
    }

    fn check_silent(&mut self, tick: u32, context: &mut Context) {
        let most = ticks(context.shared.config.silent_max.0);
        for slot in 0..self.slots.len() as u32 {
            let Some(session) = self.get(slot) else { continue };
            session.spoke = 0;
            let silent = tick.saturating_sub(session.heard) > most;
            if silent && session.transport == Transport::WebSocket && !session.leaving {
                self.dismiss(slot, goodbye::SILENT, context);
            }
        }
    }

    fn check_leaving(&mut self, context: &mut Context) {
        let now = context.now;
        let over: Vec<_> = self.leaving.extract_if(.., |(_, deadline)| *deadline <= now).collect();
        for (key, _) in over {
            if let Some(slot) = self.slot(key) {
                self.remove(slot, context);
            }
        }
    }

    /// Those whose token has ended or was revoked go.
    fn check_passes(&mut self, context: &mut Context) {
        if self.passes.is_empty() {
            return;
        }
        let now = context.shared.log_time();
        let mut ended = Vec::new();
        self.passes.retain(|slot, pass| {
            let holds = pass.holds(now);
            if !holds {
                ended.push(*slot);
            }
            holds
        });
        for slot in ended {
            self.dismiss(slot, goodbye::TOKEN_OVER, context);
        }
    }

    /// Tells the sessions what has changed since this cell last looked.
    pub fn read_bulletin(&mut self, bulletin: &Bulletin, version: u64, context: &mut Context) {
        self.version = version;
        if self.epoch != bulletin.epoch {
            self.start_over(bulletin.epoch, context);
        }
        if self.degraded != bulletin.degraded {
            self.degraded = bulletin.degraded;
            let (event, text) = frame::leader(bulletin.degraded, &bulletin.others);
            for slot in self.occupied() {
                self.news(slot, event, &text, context);
            }
        }
        for user in &self.users & &bulletin.erased {
            for slot in self.occupied() {
                if self.get(slot).is_some_and(|session| session.user == user) {
                    self.dismiss(slot, goodbye::ERASED, context);
                }
            }
        }
        self.check_passes(context);
        if let Some(goodbye) = bulletin.goodbye {
            self.confirm_all(context);
            for slot in self.occupied() {
                self.dismiss(slot, goodbye.spread(rand::random()), context);
            }
        }
    }

    /// Asks up to `count` sessions to move to another node; how many. Those that nothing was written to of late come first; who is
    /// behind or being written to stays, and everybody while something urgent goes out.
    pub fn send_away(&mut self, count: usize, context: &mut Context) -> usize {
        let mut movable = self.movable(context);
        movable.sort_unstable();
        movable.truncate(count);
        for (_, slot) in &movable {
            self.dismiss(*slot, goodbye::MOVE.spread(rand::random()), context);
        }
        movable.len()
    }

    /// Asks the sessions of these users to move to another node, under the same conditions.
    pub fn send_users_away(&mut self, users: &RoaringBitmap, context: &mut Context) {
        for (_, slot) in self.movable(context) {
            let is_meant = self.get(slot).is_some_and(|session| users.contains(session.user));
            if is_meant {
                self.dismiss(slot, goodbye::SPREAD.spread(rand::random()), context);
            }
        }
    }

    /// Sessions that may be asked to move now, and whether something was written to them of late.
    fn movable(&mut self, context: &Context) -> Vec<(bool, u32)> {
        let urgent = Kind::Urgent;
        if self.rounds[urgent.index()].is_some() || self.has_news(urgent, &context.shared.window) {
            return Vec::new();
        }
        let at_rest = |slot: &u32| {
            let session = self.slots.get(*slot as usize).and_then(Option::as_ref);
            session.filter(|session| session.behind.is_none() && !session.leaving && session.pending == [0; 2])
        };
        (0..self.slots.len() as u32)
            .filter_map(|slot| at_rest(&slot).map(|session| (session.wrote, slot)))
            .collect()
    }

    /// A session that has not been greeted yet is told with its hello.
    fn news(&mut self, slot: u32, event: &str, text: &[u8], context: &mut Context) {
        let Some(session) = self.get(slot) else { return };
        let starting = session
            .behind
            .as_ref()
            .is_some_and(|behind| behind.stage != Stage::Running);
        if !starting {
            let mut out = Vec::new();
            session.transport.frame(&mut out, event, text, None);
            self.say(slot, &out, context);
        }
    }

    /// Another history: every session is where a client with its old cursor would be.
    fn start_over(&mut self, epoch: u32, context: &mut Context) {
        let before = std::mem::replace(&mut self.epoch, epoch);
        for slot in self.occupied() {
            if self.slots[slot as usize]
                .as_ref()
                .is_some_and(|session| session.leaving)
            {
                continue;
            }
            self.fall_behind(slot, context);
            let Some(behind) = self.get(slot).and_then(|session| session.behind.as_mut()) else {
                continue;
            };
            if behind.stage == Stage::Running {
                let positions = behind.positions;
                let from = From::Cursor(Cursor {
                    epoch: before,
                    positions,
                });
                behind.stage = Stage::Starting(from);
                behind.owed = Default::default();
                self.behind.remove(slot);
                self.locate(slot, from, context);
            }
        }
        self.rounds = [None, None];
        let head = context.shared.window.head();
        self.positions = [head; 4];
        context.shared.collector.reset_watermark(self.index, self.positions);
    }
}

fn ticks(span: std::time::Duration) -> u32 {
    (span.as_millis() / TICK.as_millis()).clamp(1, u128::from(u32::MAX)) as u32
}
