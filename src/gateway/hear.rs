//! What peers say: on a WebSocket receipts and acknowledgements, on the other transports only the end.

use super::cell::Cell;
use super::frame;
use super::goodbye::{self, Goodbye};
use super::message::{self, Message};
use super::shared::{Context, NO_SALT};
use super::websocket::{self, Said};
use super::{Request, SessionRef, Transport};
use crate::model::{BroadcastId, Step, UserNumber};
use std::io::ErrorKind;
use std::sync::atomic::Ordering::Relaxed;

/// Reads of one session before the others have their turn.
const READS_AT_ONCE: usize = 4;
/// Frames of one session in a second: messages, their parts, and pings; of those who have nothing to say, reads.
const FRAMES_MAX: u16 = 500;

impl Cell {
    pub fn read(&mut self, slot: u32, context: &mut Context) {
        context.current = Some((self.index, Some(slot)));
        let mut buffer = std::mem::take(&mut context.read_buffer);
        let mut more = true;
        for _ in 0..READS_AT_ONCE {
            let Some(session) = self.get(slot) else { break };
            more = match session.stream.read(&mut buffer) {
                Ok(0) => {
                    self.remove(slot, context);
                    false
                }
                Ok(count) => {
                    let may_have_more = count == buffer.len() || !session.stream.is_emptied_by_less();
                    self.hear(slot, &buffer[..count], context);
                    may_have_more
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => false,
                Err(_) => {
                    self.remove(slot, context);
                    false
                }
            };
            if !more {
                break;
            }
        }
        context.read_buffer = buffer;
        if more && self.get(slot).is_some() {
            self.reads.push_back(slot);
        }
    }

    pub fn hear(&mut self, slot: u32, bytes: &[u8], context: &mut Context) {
        let Some(session) = self.get(slot).filter(|session| !session.leaving) else {
            return;
        };
        session.heard = context.shared.tick(context.now);
        if bytes.is_empty() {
            return;
        }
        if session.transport != Transport::WebSocket {
            // It has nothing to say: a little is not minded, a flood would keep others waiting.
            session.spoke = session.spoke.saturating_add(1);
            if session.spoke > FRAMES_MAX {
                self.dismiss(slot, goodbye::FLOOD, context);
            }
            return;
        }
        let mut decoder = session.decoder.take().unwrap_or_default();
        let mut said = Vec::new();
        let result = decoder.push(bytes, context.shared.config.message_bytes_max.bytes(), |what| {
            said.push(what);
        });
        if !decoder.is_idle() {
            session.decoder = Some(decoder);
        }
        session.spoke = session.spoke.saturating_add(said.len().try_into().unwrap_or(u16::MAX));
        let flood = session.spoke > FRAMES_MAX;
        for what in said {
            self.obey(slot, what, context);
        }
        let end: Result<(), Goodbye> = if flood { Err(goodbye::FLOOD) } else { result };
        if let Err(goodbye) = end {
            self.dismiss(slot, goodbye, context);
        }
    }

    fn obey(&mut self, slot: u32, what: Said, context: &mut Context) {
        match what {
            Said::Pong | Said::Part => {}
            Said::Ping(text) => {
                let mut pong = Vec::new();
                websocket::control(&mut pong, websocket::PONG, &text);
                self.say(slot, &pong, context);
            }
            Said::Close(code) => {
                let mut close = Vec::new();
                websocket::close(&mut close, code, "");
                if self.get(slot).is_some_and(|session| !session.leaving) {
                    self.leave(slot, &close, context);
                }
            }
            Said::Text(text) => match message::parse(&text) {
                Ok(message) => self.take_message(slot, message, context),
                Err(refused) => {
                    let reference = refused.reference.as_ref();
                    let problem = frame::problem(reference, "MESSAGE_NOT_UNDERSTOOD", &refused.detail, false);
                    self.answer(slot, &problem, context);
                }
            },
        }
    }

    fn take_message(&mut self, slot: u32, message: Message, context: &mut Context) {
        let Some(key) = self.key(slot) else { return };
        let Some(session) = self.get(slot) else { return };
        let user = session.user;
        if let Some(promises) = message.promises_receipts {
            self.promise(slot, promises, context);
        }
        let Message {
            received,
            read,
            acknowledge,
            mut reference,
            ..
        } = message;
        let received = received.into_iter().map(|id| (id, Step::Received));
        let all = received.chain(read.into_iter().map(|id| (id, Step::Read)));
        let Sorted { unknown, refused } = sort(all, user, context);
        if let Some(why) = refused.filter(|_| reference.is_some()) {
            // the message has one answer: what else is in it has its effect without another
            let problem = frame::problem(reference.take().as_ref(), why.code(), &why.to_string(), false);
            self.answer(slot, &problem, context);
        }
        if !unknown.is_empty() || !acknowledge.is_empty() {
            let request = Request {
                session: key,
                user,
                reference,
                receipts: unknown,
                acknowledge,
            };
            self.pass_on(slot, request, context);
        } else if let Some(reference) = reference {
            self.answer(slot, &frame::ok(&reference), context);
        }
    }

    /// To the log; when too many wait for it, the client is told to try again.
    fn pass_on(&mut self, slot: u32, request: Request, context: &mut Context) {
        use tokio::sync::mpsc::error::TrySendError;
        if let Err(TrySendError::Full(request) | TrySendError::Closed(request)) =
            context.shared.requests.try_send(request)
        {
            crate::metrics::METRICS
                .limits_hit
                .with_label_values(&["gateway.requests"])
                .inc();
            let detail = "too many messages wait; try again in a second";
            let problem = frame::problem(request.reference.as_ref(), "TRY_AGAIN", detail, true);
            self.answer(slot, &problem, context);
        }
    }

    /// A JSON message to one session.
    pub fn answer(&mut self, slot: u32, text: &str, context: &mut Context) {
        let Some(session) = self.get(slot) else { return };
        let mut out = Vec::new();
        session.transport.frame(&mut out, "answer", text.as_bytes(), None);
        self.say(slot, &out, context);
    }

    pub fn answer_to(&mut self, key: SessionRef, text: &str, context: &mut Context) {
        if let Some(slot) = self.slot(key) {
            self.answer(slot, text, context);
        }
    }
}

/// Why a receipt is refused, in the words that the API has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoReceipt {
    /// Others' broadcasts are not there at all.
    #[error("no broadcast of this user has one of these ids")]
    NotFound,
    #[error("one of these broadcasts has expired")]
    Expired,
}

impl NoReceipt {
    pub const fn code(self) -> &'static str {
        match self {
            Self::NotFound => "NOT_FOUND",
            Self::Expired => "EXPIRED",
        }
    }
}

#[derive(Default)]
struct Sorted {
    /// Not in the window, or not yet: somebody else must look.
    unknown: Vec<(BroadcastId, Step)>,
    /// The first reason against one of them.
    refused: Option<NoReceipt>,
}

/// Counts the receipts that the window knows to be good, and gives back the rest.
fn sort(receipts: impl Iterator<Item = (BroadcastId, Step)>, user: UserNumber, context: &mut Context) -> Sorted {
    let mut sorted = Sorted::default();
    for (id, step) in receipts {
        match look(id, user, context) {
            Some(Ok(())) => context.tally.step(id.number(), step).push(user),
            Some(Err(why)) => sorted.refused = sorted.refused.or(Some(why)),
            None => sorted.unknown.push((id, step)),
        }
    }
    sorted
}

/// Whether the user may confirm this; `None` when the window does not say.
fn look(id: BroadcastId, user: UserNumber, context: &Context) -> Option<Result<(), NoReceipt>> {
    let shared = &context.shared;
    let salt = shared.salt.load(Relaxed);
    if salt != NO_SALT && salt != u32::from(id.salt()) {
        return Some(Err(NoReceipt::NotFound));
    }
    let entry = shared.window.find_any(id.number())?;
    let broadcast = &entry.release.broadcast;
    // a later release may have been for this user, or have prolonged it
    let is_mine = broadcast.id == id && entry.release.recipients.contains(user);
    (is_mine && broadcast.expires_at > shared.log_time()).then_some(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::{Cell, FRAMES_MAX, Transport};
    use crate::gateway::tests::fixture::{EPOCH, by_hand, config, house};
    use std::time::Duration;

    #[test]
    fn who_has_nothing_to_say_may_say_a_little_and_no_flood() {
        let house = house(&config(), 1, 1);
        for transport in [Transport::Sse, Transport::Lines] {
            let (mut context, _poll) = by_hand(&house);
            let mut cell = Cell::new(0, EPOCH);
            let (mut client, subscriber) = house.meet_by_hand(1, transport);
            cell.add(subscriber, &mut context);
            let is_leaving = |cell: &mut Cell| cell.get(0).unwrap().leaving;
            // As much as is not minded, twice: what was said before the tick is forgotten.
            for _ in 0..2 {
                for _ in 0..FRAMES_MAX {
                    cell.hear(0, b"x", &mut context);
                }
                assert!(!is_leaving(&mut cell));
                context.now += Duration::from_secs(10);
                cell.tick(&mut context);
            }
            for _ in 0..FRAMES_MAX {
                cell.hear(0, b"x", &mut context);
            }
            assert!(!is_leaving(&mut cell));
            cell.hear(0, b"x", &mut context);
            assert!(is_leaving(&mut cell));
            while let Some(slot) = cell.queue.pop_front() {
                cell.pump(slot, &mut context);
            }
            assert_eq!(client.until("goodbye")["code"], 1008);
        }
    }
}
