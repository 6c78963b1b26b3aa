//! Dead letters: who never got a broadcast, told once it has expired.
//!
//! The leader reads a block of broadcasts, wherever they are by then, works out who never got them and why, and says it in one
//! command. What a broadcast's recipients are is never asked twice: a command that comes again finds its block settled.

use super::aside::Awaits;
use super::blocks::{BLOCK, Open, Part};
use super::broadcasts::Hot;
use super::ledger::Ledger;
use super::{Outcome, RowKey, State};
use crate::model::{Millis, Number, Position, Priority, Reason, Step, UserNumber};
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What was sent before it expired may be told this much later.
pub const GRACE: Millis = 2_000;
/// Letters of one command; a block with more of them takes several.
const SETTLE_BYTES_MAX: usize = 512 << 10;

/// Of one broadcast: who never got it, by why.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Dead {
    pub at: Millis,
    pub letters: Vec<Letters>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Letters {
    pub reason: Reason,
    pub users: RoaringBitmap,
}

/// The dead letters of a block's broadcasts that have expired.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settle {
    pub block: u64,
    /// As it was when its broadcasts were read; if it is not so any more, they are read again.
    pub before: Open,
    pub after: Open,
    /// Releases up to here were read.
    pub seen: Position,
    pub dead: Vec<Burial>,
}

/// The dead letters of one broadcast.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Burial {
    pub number: Number,
    pub priority: Priority,
    pub letters: Vec<Letters>,
    /// What was left of those of an earlier expiry: it was delivered again to others since.
    pub before: Vec<(Reason, u64)>,
}

/// Who has a session somewhere, and who had one before.
#[derive(Clone, Debug, Default)]
pub struct There {
    pub connected: RoaringBitmap,
    pub gone: RoaringBitmap,
}

impl Letters {
    /// The step that somebody has not taken who is among these.
    fn is_got_by(&self) -> Step {
        if self.reason == Reason::SentNotReceived {
            Step::Received
        } else {
            Step::Sent
        }
    }
}

impl Dead {
    pub fn reason(&self, user: UserNumber) -> Option<Reason> {
        let letters = self.letters.iter().find(|letters| letters.users.contains(user))?;
        Some(letters.reason)
    }

    fn counts(&self) -> Vec<(Reason, u64)> {
        let each = self.letters.iter();
        each.map(|letters| (letters.reason, letters.users.len())).collect()
    }

    pub fn users(&self) -> RoaringBitmap {
        let mut users = RoaringBitmap::new();
        self.letters.iter().for_each(|letters| users |= &letters.users);
        users
    }
}

/// Who never got a broadcast, and why. Whoever was given it in time by a session that promised nothing has it, as far as anybody knows.
pub fn letters(hot: &Hot, there: &There, now: Millis) -> Vec<Letters> {
    let draft = &hot.broadcast.draft;
    if now < hot.broadcast.expires_at || hot.broadcast.position.is_none() || hot.ledger.is_cancelled() || draft.drill {
        return Vec::new();
    }
    let [sent, received, ..] = &hot.ledger.steps;
    let mut silent = &*hot.recipients - sent;
    // their own time did not come before it was over
    let mut waited = RoaringBitmap::new();
    let mut found = Vec::new();
    let mut tell = |reason, users: RoaringBitmap| {
        if !users.is_empty() {
            found.push(Letters { reason, users });
        }
    };
    if let Some(aside) = hot.ledger.aside.as_deref() {
        silent -= &aside.muted;
        silent -= &aside.critical_only;
        silent -= &aside.retracted;
        let held = aside.who_awaits(Awaits::QuietEnd) & &silent;
        silent -= &held;
        waited = aside.who_awaits(Awaits::LocalTime) & &silent;
        silent -= &waited;
        tell(Reason::QuietHours, held);
        tell(
            Reason::SentNotReceived,
            &(aside.tries.failed() - received) - &aside.retracted,
        );
    }
    let connected = &silent & &there.connected;
    let gone = &(&silent & &there.gone) - &connected;
    let unknown = &(&silent - &connected) - &gone;
    tell(Reason::Expired, connected | waited);
    tell(Reason::OfflineSince, gone);
    tell(Reason::NoSession, unknown);
    found
}

/// What a block's broadcasts, in the order of their positions, come to. `None` when nothing of it has expired.
pub fn plan(block: u64, before: Open, seen: Position, hots: &[Hot], there: &There, now: Millis) -> Option<Settle> {
    before.at.filter(|at| at.saturating_add(GRACE) <= now)?;
    let until = before.part.map_or(now.saturating_sub(GRACE), |part| part.until);
    let from = before.part.map_or(0, |part| part.position);
    let mut settle = Settle {
        block,
        before,
        after: before,
        seen,
        dead: Vec::new(),
    };
    let mut bytes = 0;
    let is_due = |hot: &&Hot| {
        let expires_at = hot.broadcast.expires_at;
        before.settled_until < expires_at && expires_at <= until && hot.broadcast.position > Some(from)
    };
    for hot in hots.iter().filter(is_due) {
        if bytes > SETTLE_BYTES_MAX {
            return Some(settle);
        }
        let letters = letters(hot, there, now);
        bytes += letters
            .iter()
            .map(|letters| letters.users.serialized_size())
            .sum::<usize>();
        if !letters.is_empty() {
            settle.dead.push(Burial {
                number: hot.broadcast.number,
                priority: hot.broadcast.draft.priority,
                letters,
                before: hot.dead().map(Dead::counts).unwrap_or_default(),
            });
        }
        let position = hot.broadcast.position.unwrap_or_default();
        settle.after.part = Some(Part { until, position });
    }
    let later = hots
        .iter()
        .filter(|hot| may_die(hot) && hot.broadcast.expires_at > until);
    settle.after = Open {
        at: later.map(|hot| hot.broadcast.expires_at).min(),
        settled_until: until,
        part: None,
        prolonged: before.prolonged,
    };
    Some(settle)
}

/// Somebody is meant by it, or may be later, and it is no drill.
fn may_die(hot: &Hot) -> bool {
    let draft = &hot.broadcast.draft;
    !draft.drill && (draft.escalates() || !hot.recipients.is_empty())
}

impl State {
    /// The block whose dead letters are due first, how far they are known, and up to where there is something by now.
    /// `now`: log time goes on between entries, and a quiet cluster has few.
    pub fn settle_due(&self, now: Millis) -> Option<(u64, Open, Position)> {
        let blocks = &self.broadcasts.blocks;
        let number = blocks.open_since(now.saturating_sub(GRACE))?;
        Some((number, blocks.get(number)?.open, self.counters.next - 1))
    }

    /// Takes the dead letters of a block in.
    pub(super) fn settle(&mut self, settle: Settle) -> Outcome {
        let Settle {
            block,
            before,
            mut after,
            seen,
            dead,
        } = settle;
        if self
            .broadcasts
            .blocks
            .get(block)
            .is_none_or(|block| block.open != before)
        {
            return Outcome::Done;
        }
        for burial in dead {
            self.bury(burial);
        }
        let is_here = |hot: &&Hot| hot.broadcast.position.is_some_and(|at| at / BLOCK == block);
        let newer = self
            .broadcasts
            .from(seen + 1)
            .take_while(is_here)
            .filter(|hot| may_die(hot));
        after.at = newer.map(|hot| hot.broadcast.expires_at).chain(after.at).min();
        self.broadcasts.blocks.set_open(block, after);
        self.changed.insert(RowKey::Block(block));
        Outcome::Done
    }

    fn bury(&mut self, burial: Burial) {
        let Burial {
            number,
            priority,
            mut letters,
            mut before,
        } = burial;
        let at = self.counters.log_time;
        let Some(position) = self.place(number) else { return };
        if let Some(hot) = self.broadcasts.get_mut(number) {
            before = hot.dead().map(Dead::counts).unwrap_or_default();
            let ledger = Arc::make_mut(&mut hot.ledger);
            for letters in &mut letters {
                letters.users -= &ledger.steps[letters.is_got_by().index()];
            }
            ledger.aside_mut().dead = Some(Dead {
                at,
                letters: letters.clone(),
            });
            self.changed.insert(RowKey::Ledger(position));
        } else {
            let mut late = Ledger::default();
            late.aside_mut().dead = Some(Dead {
                at,
                letters: letters.clone(),
            });
            self.late.push((position, late));
        }
        let blocks = &mut self.broadcasts.blocks;
        for (reason, count) in before {
            blocks.count_dead(position, priority, reason, -(count as i64));
        }
        for Letters { reason, users } in &letters {
            blocks.count_dead(position, priority, *reason, users.len() as i64);
        }
    }
}
