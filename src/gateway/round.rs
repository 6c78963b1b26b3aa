//! A round: the releases that wait, to those sessions of a cell that are up to date; one write for each of them.

use super::batch::{Batch, Kind, Piece, pieces};
use super::cell::{Cell, Round, Touched};
use super::session::{Behind, Stage};
use super::shared::Context;
use crate::base::clock;
use crate::metrics::{METRICS, delivery};
use crate::model::{Number, PerPriority, Position, Step};
use bytes::Bytes;
use std::sync::Arc;

impl Cell {
    /// Writes to at most `budget` sessions; how many it was.
    pub fn advance(&mut self, kind: Kind, budget: usize, context: &mut Context) -> usize {
        context.current = Some((self.index, None));
        if self.rounds[kind.index()].is_none() && !self.plan(kind, context) {
            return 1;
        }
        let Some(batch) = self.rounds[kind.index()].as_ref().map(|round| round.batch.clone()) else {
            return 1;
        };
        let mut counts = [0; 4];
        let mut count = 0;
        while count < budget {
            let Some((at, slot)) = self.next_touched(kind) else {
                break;
            };
            context.current = Some((self.index, Some(slot)));
            let done = self.serve(&batch, slot, context);
            if let Some(round) = self.rounds[kind.index()].as_mut() {
                round.touched[at].done = done;
            }
            for (count, bits) in counts.iter_mut().zip(batch.bits) {
                *count += u64::from((bits & done).count_ones());
            }
            count += 1;
        }
        context.current = Some((self.index, None));
        context.count(counts);
        let done = |round: &Round| round.next >= round.touched.len();
        if self.rounds[kind.index()].as_ref().is_some_and(done) {
            self.finish(kind, context);
        }
        count
    }

    fn next_touched(&mut self, kind: Kind) -> Option<(usize, u32)> {
        let round = self.rounds[kind.index()].as_mut()?;
        let at = round.next;
        let slot = round.touched.get(at)?.slot;
        round.next += 1; // before the write: whatever happens in it, it is not tried twice
        Some((at, slot))
    }

    /// The one write of a session in a round: the bits of what was given to the socket.
    fn serve(&mut self, batch: &Arc<Batch>, slot: u32, context: &mut Context) -> u64 {
        let kind = batch.kind.index();
        let Some(session) = self.slots[slot as usize].as_ref() else {
            return 0;
        };
        let mask = session.pending[kind];
        if mask == 0 {
            return 0;
        }
        let start = self.standing(session);
        let end = batch.end(start);
        let cursor = context.shared.cursor(end);
        let bytes = context.joiner.join(batch, mask, session.transport, cursor);
        let Some(session) = self.slots[slot as usize].as_mut() else {
            return 0;
        };
        session.pending[kind] = 0;
        session.wrote = true;
        match session.stream.write(bytes) {
            Ok(count) if count == bytes.len() && !session.stream.waits() => mask,
            Ok(count) => {
                let pieces = pieces(batch, mask, session.transport);
                let line = Bytes::copy_from_slice(&bytes[bytes.len() - cursor_length(bytes.len(), &pieces)..]);
                session.pending = [0; 2];
                let mut behind = Box::new(Behind::new(Stage::Running, start, context.now));
                let whole = cut(&mut behind, &pieces, end, &line, count);
                behind.blocked = true;
                session.behind = Some(behind);
                self.behind.insert(slot);
                first_bits(mask, whole)
            }
            Err(_) => {
                self.refused(slot, context);
                0
            }
        }
    }

    fn finish(&mut self, kind: Kind, context: &mut Context) {
        let Some(round) = self.rounds[kind.index()].take() else {
            return;
        };
        for (index, entry) in round.batch.entries.iter().enumerate() {
            let Some(number) = entry.sent() else { continue };
            let reached = round.touched.iter().filter(|touched| touched.done >> index & 1 == 1);
            // it may have said so since it was written to
            let has_promised = |touched: &Touched| touched.promises || self.has_promised(touched.slot, touched.user);
            let promised = reached.clone().filter(|touched| has_promised(touched));
            let sent = context.tally.step(number, Step::Sent);
            sent.extend(reached.clone().map(|touched| touched.user));
            let mut promised = promised.map(|touched| touched.user).peekable();
            if promised.peek().is_some() {
                context.tally.promised(number).extend(promised);
            }
            if !self.fresh.is_empty() {
                reached.for_each(|touched| self.note_given(touched.slot, touched.user, number));
            }
        }
        measure(&round.batch, context);
        self.turns = round.batch.turns;
        self.move_to(round.batch.end(self.positions), context);
    }

    /// Whoever waited for the cell to come this far goes on.
    pub fn move_to(&mut self, positions: PerPriority<Position>, context: &Context) {
        self.positions = positions;
        self.moved = context.shared.tick(context.now);
        for slot in std::mem::take(&mut self.ahead) {
            self.requeue(slot);
        }
    }

    /// The window no longer has what this cell would write next: each session reads on by itself.
    pub fn all_fall_behind(&mut self, context: &mut Context) {
        for slot in self.occupied() {
            if self.slots[slot as usize]
                .as_ref()
                .is_some_and(|session| !session.leaving)
            {
                self.fall_behind(slot, context);
            }
        }
    }

    /// From here on the session has its own positions.
    pub fn fall_behind(&mut self, slot: u32, context: &Context) {
        let Some(session) = self.slots[slot as usize].as_ref() else {
            return;
        };
        if session.behind.is_some() {
            return;
        }
        let standing = self.standing(session);
        let Some(session) = self.get(slot) else { return };
        session.pending = [0; 2];
        session.behind = Some(Box::new(Behind::new(Stage::Running, standing, context.now)));
        self.behind.insert(slot);
        self.requeue(slot);
    }

    /// Writes a frame that is no release: at once, or as soon as the socket takes it.
    pub fn say(&mut self, slot: u32, bytes: &[u8], context: &mut Context) {
        let Some(session) = self.get(slot).filter(|session| !session.leaving) else {
            return;
        };
        session.wrote = true;
        if let Some(behind) = &mut session.behind {
            if behind.notes.len() + bytes.len() <= NOTES_BYTES_MAX {
                behind.notes.extend_from_slice(bytes);
            } else {
                METRICS.limits_hit.with_label_values(&["gateway.notes"]).inc();
            }
            self.requeue(slot);
            return;
        }
        match session.stream.write(bytes) {
            Ok(count) if count == bytes.len() && !session.stream.waits() => {}
            Ok(count) => {
                self.fall_behind(slot, context);
                if let Some(behind) = self.get(slot).and_then(|session| session.behind.as_mut()) {
                    behind.unsent = Bytes::copy_from_slice(&bytes[count..]);
                    behind.blocked = true;
                }
            }
            Err(_) => self.refused(slot, context),
        }
    }
}

/// How long the releases of a round have waited for it.
fn measure(batch: &Batch, context: &Context) {
    let Some(last) = batch.entries.last().filter(|_| delivery::is_on()) else {
        return;
    };
    let now = clock::now();
    for entry in &batch.entries {
        let waited = now.saturating_duration_since(entry.since);
        context.measured.waited(entry.priority().index(), waited.as_secs_f64());
    }
    context
        .measured
        .delivered(now.saturating_duration_since(last.since).as_secs_f64());
}

/// Answers and news that wait for a full socket; what is more is left out, and counted.
const NOTES_BYTES_MAX: usize = 32 << 10;

fn cursor_length(all: usize, pieces: &[Piece]) -> usize {
    all - pieces.iter().map(|piece| piece.frame.len()).sum::<usize>()
}

/// The first `count` bits of a mask.
fn first_bits(mask: u64, count: usize) -> u64 {
    let mut rest = mask;
    for _ in 0..count {
        rest &= rest - 1;
    }
    mask & !rest
}

/// A write of these frames and a cursor line that ended after `count` bytes: the session stands behind the frame that was
/// cut, and owes its rest. How many frames went out whole.
pub fn cut(behind: &mut Behind, pieces: &[Piece], end: PerPriority<Position>, line: &Bytes, count: usize) -> usize {
    let mut left = count;
    for (index, piece) in pieces.iter().enumerate() {
        if left == 0 {
            return index;
        }
        behind.positions[piece.entry.priority().index()] = piece.entry.position();
        if left < piece.frame.len() {
            behind.unsent = piece.frame.slice(left..);
            behind.unsent_of = sent_of(piece);
            return index;
        }
        left -= piece.frame.len();
    }
    behind.positions = end;
    behind.unsent = line.slice(left..);
    pieces.len()
}

fn sent_of(piece: &Piece) -> Option<Number> {
    piece.entry.sent()
}

#[cfg(test)]
mod tests {
    use super::{Behind, Piece, Stage, cut, first_bits};
    use crate::base::clock;
    use crate::gateway::tests::fixture::release;
    use crate::gateway::window::Entry;
    use crate::model::Priority::{Critical, Low};
    use bytes::Bytes;
    use std::sync::Arc;

    #[test]
    fn a_cut_write_leaves_the_position_behind_the_cut_frame() {
        let piece = |position, priority| Piece {
            entry: Arc::new(Entry::new(release(position, priority, &[1]))),
            frame: Bytes::from_static(b"0123456789"),
        };
        let pieces = [piece(5, Critical), piece(3, Low), piece(4, Low)];
        let line = Bytes::from_static(b"line");
        for (count, positions, unsent, whole) in [
            (0, [1, 1, 1, 1], 0, 0),
            (1, [5, 1, 1, 1], 9, 0),
            (10, [5, 1, 1, 1], 0, 1),
            (19, [5, 1, 1, 3], 1, 1),
            (29, [5, 1, 1, 4], 1, 2),
            (30, [8, 8, 8, 8], 4, 3),
            (33, [8, 8, 8, 8], 1, 3),
        ] {
            let mut behind = Behind::new(Stage::Running, [1; 4], clock::now());
            assert_eq!(cut(&mut behind, &pieces, [8; 4], &line, count), whole, "{count}");
            assert_eq!((behind.positions, behind.unsent.len()), (positions, unsent), "{count}");
        }
    }

    #[test]
    fn the_first_bits_are_those_of_the_first_frames() {
        assert_eq!(first_bits(0b1011_0100, 2), 0b0001_0100);
        assert_eq!(first_bits(u64::MAX, 64), u64::MAX);
        assert_eq!(first_bits(0b1, 0), 0);
    }
}
