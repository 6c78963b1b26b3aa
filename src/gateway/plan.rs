//! The beginning of a round: what waits, and which sessions of a cell it touches.

use super::batch::{Batch, Kind};
use super::cell::{Cell, Round, Touched};
use super::members::Members;
use super::session::NONE;
use super::shared::Context;
use std::sync::Arc;

/// With this many times more recipients than a cell has users, asking for each of its sessions is cheaper than an intersection.
const BROAD: u64 = 4;

impl Cell {
    /// Finds what waits and for whom; false when there is nobody to write to.
    pub fn plan(&mut self, kind: Kind, context: &mut Context) -> bool {
        let Some(batch) = self.batch(kind, context) else {
            return false;
        };
        let touched = self.mark(kind, &batch);
        if touched.is_empty() {
            self.turns = batch.turns;
            self.move_to(batch.end(self.positions), context);
            return false;
        }
        self.rounds[kind.index()] = Some(Round {
            batch,
            touched,
            next: 0,
        });
        true
    }

    fn batch(&mut self, kind: Kind, context: &mut Context) -> Option<Arc<Batch>> {
        let shared = context.shared.clone();
        if let Some(batch) = context
            .batch(kind)
            .filter(|batch| batch.starts_at(self.positions, self.turns))
        {
            return Some(batch.clone());
        }
        let bytes_max = shared.config.catch_up_bytes.bytes();
        match Batch::take(
            &shared.window,
            kind,
            self.positions,
            self.turns,
            bytes_max,
            shared.log_time(),
        ) {
            Ok(batch) => {
                let batch = Arc::new(batch);
                context.batches[kind.index()] = Some(batch.clone());
                Some(batch)
            }
            Err((priority, below)) => {
                self.all_fall_behind(context);
                self.positions[priority.index()] = below.0;
                None
            }
        }
    }

    /// Gives each session that is up to date the bits of what is for it.
    fn mark(&mut self, kind: Kind, batch: &Batch) -> Vec<Touched> {
        let mut touched = Vec::with_capacity(self.users.len() as usize);
        let mut broad = Vec::new();
        let users = std::mem::take(&mut self.users);
        for (index, entry) in batch.entries.iter().enumerate() {
            let recipients = &*entry.release.recipients;
            if recipients.len() > BROAD * users.len() {
                broad.push((entry.is_retry(), 1 << index, &batch.members[index]));
            } else {
                let mark = (kind, 1 << index, entry.is_retry());
                let mine = &users & recipients;
                mine.iter().for_each(|user| self.mark_user(mark, user, &mut touched));
            }
        }
        self.users = users;
        if !broad.is_empty() {
            self.mark_all(kind, &broad, &mut touched);
        }
        touched
    }

    /// Each session asks each release.
    fn mark_all(&mut self, kind: Kind, broad: &[(bool, u64, &Members)], touched: &mut Vec<Touched>) {
        for (slot, session) in self.slots.iter_mut().enumerate() {
            let Some(session) = session
                .as_mut()
                .filter(|session| session.behind.is_none() && !session.leaving)
            else {
                continue;
            };
            let user = session.user;
            let promises = session.promises;
            let mine = broad
                .iter()
                .filter(|(is_retry, _, members)| (promises || !is_retry) && members.contains(user));
            let mask = mine.fold(0, |mask, (_, bit, _)| mask | bit);
            if mask != 0 && session.pending[kind.index()] == 0 {
                touched.push(Touched::new(slot as u32, session));
            }
            session.pending[kind.index()] |= mask;
        }
    }

    /// `mark`: of which rounds, the release's bit, and whether only those get it who promised receipts.
    fn mark_user(&mut self, mark: (Kind, u64, bool), user: u32, touched: &mut Vec<Touched>) {
        let (kind, bit, is_retry) = mark;
        let mut slot = self.head(user);
        while slot != NONE {
            let Some(session) = self.slots[slot as usize].as_mut() else {
                return;
            };
            let next = session.next_of_user;
            if session.behind.is_none() && (session.promises || !is_retry) {
                if session.pending[kind.index()] == 0 {
                    touched.push(Touched::new(slot, session));
                }
                session.pending[kind.index()] |= bit;
            }
            slot = next;
        }
    }
}
