//! A subscription as a client sees it: one road for WebSocket, server-sent events and NDJSON lines.

use super::client::{Client, ClientError, Lines, no_body};
use super::websocket::{Kind, Message};
use super::{sse, websocket};
use crate::base::clock;
use crate::model::{Cursor, Priority};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use http::{Method, StatusCode};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use std::collections::VecDeque;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    #[default]
    WebSocket,
    Sse,
    Lines,
}

/// One frame of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// `broadcast`, `hello`, `goodbye`, ...
    pub event: String,
    /// JSON.
    pub data: String,
}

/// How the server ended the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    pub code: u16,
    pub reason: String,
}

/// Bytes read at a time.
const READ_BYTES: usize = 4 << 10;

pub struct Subscription<'a> {
    client: &'a Client,
    wire: Wire<'a>,
    came: VecDeque<Came>,
    cursor: Option<String>,
    closed: Option<Closed>,
    heard: Instant,
}

/// What has come and was not given out yet, in its order: a cursor counts only once all that stood before it was taken.
enum Came {
    Frame(Frame),
    Cursor(String),
}

enum Wire<'a> {
    WebSocket(Box<TokioIo<Upgraded>>, websocket::Decoder),
    Sse(Lines<'a>, sse::Parser),
    Lines(Lines<'a>),
}

/// The parts of a frame that a stream itself understands.
#[derive(Deserialize)]
struct Peek {
    #[serde(default)]
    event: String,
    cursor: Option<String>,
    position: Option<u64>,
    priority: Option<Priority>,
}

impl<'a> Subscription<'a> {
    /// Opens `/v1/subscribe`. `query` is what follows the question mark (`user=u-1&from=now`), without a cursor.
    pub async fn open(
        client: &'a Client,
        transport: Transport,
        query: &str,
        cursor: Option<&str>,
    ) -> Result<Self, ClientError> {
        let path = match query {
            "" => "/v1/subscribe".to_owned(),
            query => format!("/v1/subscribe?{query}"),
        };
        let resume: Vec<(&str, &str)> = cursor.map(|cursor| ("last-event-id", cursor)).into_iter().collect();
        let lines = async |accept| {
            let headers = [&[("accept", accept)], resume.as_slice()].concat();
            client
                .open(client.request(Method::GET, &path, &headers, no_body())?)
                .await
        };
        let wire = match transport {
            Transport::WebSocket => {
                let io = client.in_time(upgrade(client, &path, &resume)).await?;
                Wire::WebSocket(Box::new(TokioIo::new(io)), websocket::Decoder::default())
            }
            Transport::Sse => Wire::Sse(lines("text/event-stream").await?, sse::Parser::default()),
            Transport::Lines => Wire::Lines(lines("application/x-ndjson").await?),
        };
        Ok(Self {
            client,
            wire,
            came: VecDeque::new(),
            cursor: cursor.map(str::to_owned),
            closed: None,
            heard: clock::now(),
        })
    }

    /// Where to resume: sent with the next [`Subscription::open`]. Nothing lies before it that [`Subscription::next`] has not
    /// given out, although more may have been read from the wire.
    pub fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref()
    }

    /// When anything came last, a heartbeat too.
    pub fn heard(&self) -> Instant {
        self.heard
    }

    /// The close frame of a WebSocket, once it has come.
    pub fn closed(&self) -> Option<&Closed> {
        self.closed.as_ref()
    }

    /// The next frame; cursors, pings and heartbeats are dealt with on the way. `None` when the server has ended the stream.
    /// Waits without a bound of its own; safe to drop while it waits.
    pub async fn next(&mut self) -> Result<Option<Frame>, ClientError> {
        loop {
            self.pass_cursors();
            if let Some(Came::Frame(frame)) = self.came.pop_front() {
                self.advance(&frame);
                self.pass_cursors();
                return Ok(Some(frame));
            }
            if self.closed.is_some() || !self.read().await? {
                return Ok(None);
            }
        }
    }

    /// Takes over the cursors that stand first: all before them was given out.
    fn pass_cursors(&mut self) {
        while let Some(Came::Cursor(_)) = self.came.front() {
            if let Some(Came::Cursor(cursor)) = self.came.pop_front() {
                self.cursor = Some(cursor);
            }
        }
    }

    /// A release in the middle of a write: its own place is known before the cursor that ends the write has come.
    fn advance(&mut self, frame: &Frame) {
        if !matches!(frame.event.as_str(), "broadcast" | "retracted") {
            return;
        }
        let peek = serde_json::from_str::<Peek>(&frame.data).ok();
        let place = peek.and_then(|peek| Some((peek.priority?, peek.position?)));
        let cursor = self.cursor.as_deref().and_then(Cursor::parse);
        if let (Some((priority, position)), Some(mut cursor)) = (place, cursor) {
            let scanned = &mut cursor.positions[priority.index()];
            *scanned = position.max(*scanned);
            self.cursor = Some(cursor.to_string());
        }
    }

    /// Sends a client message (JSON); only a WebSocket has a way back.
    pub async fn send(&mut self, message: &str) -> Result<(), ClientError> {
        let Wire::WebSocket(io, _) = &mut self.wire else {
            return Err(self.client.protocol("this transport has no way back"));
        };
        let frame = websocket::encode(Kind::Text, message.as_bytes(), rand::random());
        io.write_all(&frame).await.map_err(|error| self.client.cut(error))
    }

    /// Reads once; `false` at the end.
    async fn read(&mut self) -> Result<bool, ClientError> {
        let more = self.read_wire().await?;
        self.heard = clock::now();
        Ok(more)
    }

    async fn read_wire(&mut self) -> Result<bool, ClientError> {
        match &mut self.wire {
            Wire::WebSocket(io, decoder) => {
                let mut buffer = [0; READ_BYTES];
                let count = io.read(&mut buffer).await.map_err(|error| self.client.cut(error))?;
                decoder.push(&buffer[..count]);
                self.messages().await?;
                Ok(count > 0)
            }
            Wire::Sse(lines, parser) => {
                let Some(chunk) = lines.chunk().await? else {
                    return Ok(false);
                };
                // Line by line, so that each cursor keeps its place among the events.
                for line in chunk.split_inclusive(|byte| *byte == b'\n') {
                    let (mut events, before) = (Vec::new(), parser.last_id().map(str::to_owned));
                    let parsed = parser.push(line, &mut events);
                    parsed.map_err(|error| self.client.protocol(error.to_string()))?;
                    let frame = |sse::Event { event, data }| Came::Frame(Frame { event, data });
                    self.came.extend(events.into_iter().map(frame));
                    let moved = parser.last_id().filter(|id| Some(*id) != before.as_deref());
                    self.came.extend(moved.map(|id| Came::Cursor(id.to_owned())));
                }
                Ok(true)
            }
            Wire::Lines(lines) => {
                let Some(line) = lines.line().await? else {
                    return Ok(false);
                };
                let text = String::from_utf8(line.to_vec());
                self.take(text.map_err(|_| self.client.protocol("a line is not UTF-8"))?)?;
                Ok(true)
            }
        }
    }

    /// Takes the whole messages that have come over a WebSocket.
    async fn messages(&mut self) -> Result<(), ClientError> {
        while let Wire::WebSocket(io, decoder) = &mut self.wire {
            let message = decoder.message();
            let answer = match message.map_err(|error| self.client.protocol(error.to_string()))? {
                None => break,
                Some(Message::Text(text)) => {
                    self.take(text)?;
                    continue;
                }
                Some(Message::Pong) => continue,
                Some(Message::Ping(payload)) => websocket::encode(Kind::Pong, &payload, rand::random()),
                Some(Message::Close(code, reason)) => {
                    self.closed = Some(Closed { code, reason });
                    websocket::encode(Kind::Close, &code.to_be_bytes(), rand::random())
                }
            };
            // A server that has closed may not listen any more; the next read tells.
            let _ = io.write_all(&answer).await;
        }
        Ok(())
    }

    /// A frame as JSON with its event inside.
    fn take(&mut self, data: String) -> Result<(), ClientError> {
        if data.trim().is_empty() {
            return Ok(());
        }
        let peek: Peek = serde_json::from_str(&data).map_err(|error| self.client.protocol(error.to_string()))?;
        let is_frame = !matches!(peek.event.as_str(), "cursor" | "ping");
        let cursor = peek
            .cursor
            .filter(|_| matches!(peek.event.as_str(), "cursor" | "hello"));
        self.came.extend(is_frame.then_some(Came::Frame(Frame {
            event: peek.event,
            data,
        })));
        self.came.extend(cursor.map(Came::Cursor));
        Ok(())
    }
}

/// Asks for a WebSocket and checks that it is one.
async fn upgrade(client: &Client, path: &str, resume: &[(&str, &str)]) -> Result<Upgraded, ClientError> {
    let key = BASE64.encode(rand::random::<[u8; 16]>());
    let asking = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", key.as_str()),
        ("sec-websocket-protocol", websocket::PROTOCOL),
    ];
    let headers = [&asking, resume].concat();
    let request = client.request(Method::GET, path, &headers, no_body())?;
    let (response, _connection) = client.exchange(request).await?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(ClientError::Refused(Box::new(client.read_whole(response).await?)));
    }
    let accept = response.headers().get("sec-websocket-accept");
    if accept.is_none_or(|accept| *accept != websocket::accept_of(&key)) {
        return Err(client.protocol("the upgrade's Sec-WebSocket-Accept is wrong"));
    }
    let upgraded = hyper::upgrade::on(response).await;
    upgraded.map_err(|error| client.broken(error))
}
