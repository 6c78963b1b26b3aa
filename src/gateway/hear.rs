//! What peers say: on a WebSocket receipts and acknowledgements, on the other transports only the end.

use super::cell::Cell;
use super::frame;
use super::goodbye::{self, Goodbye};
use super::message::{self, Message};
use super::shared::{Context, NO_SALT};
use super::websocket::{self, Said};
use super::{Request, SessionRef, Transport};
use crate::model::{BroadcastId, Step};
use std::io::ErrorKind;
use std::sync::atomic::Ordering::Relaxed;

/// Reads of one session before the others have their turn.
const READS_AT_ONCE: usize = 4;
/// Messages and pings of one session in a second.
const MESSAGES_MAX: u16 = 500;

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
                    self.hear(slot, &buffer[..count], context);
                    count == buffer.len()
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
        if session.transport != Transport::WebSocket || bytes.is_empty() {
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
        let flood = session.spoke > MESSAGES_MAX;
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
            Said::Pong => {}
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
            session.promises = promises;
        }
        for (ids, step) in [(message.received, Step::Received), (message.read, Step::Read)] {
            for id in ids {
                if is_ours(id, context) {
                    context.tally.step(id.number(), step).push(user);
                }
            }
        }
        if !message.acknowledge.is_empty() {
            let request = Request {
                session: key,
                user,
                reference: message.reference,
                acknowledge: message.acknowledge,
            };
            self.pass_on(slot, request, context);
        } else if let Some(reference) = message.reference {
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
            let detail = "too many acknowledgements wait; try again in a second";
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

/// The id is of this cluster, and of something that was released here.
fn is_ours(id: BroadcastId, context: &Context) -> bool {
    let salt = context.shared.salt.load(Relaxed);
    (salt == NO_SALT || salt == u32::from(id.salt())) && id.number() <= context.shared.window.head()
}
