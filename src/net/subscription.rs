//! A subscription as a client sees it: one road for WebSocket, server-sent events and NDJSON lines.

use super::client::{Client, ClientError, Lines, no_body};
use super::websocket::{Kind, Message};
use super::{sse, websocket};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use http::{Method, StatusCode};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use std::collections::VecDeque;
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
    frames: VecDeque<Frame>,
    cursor: Option<String>,
    closed: Option<Closed>,
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
            frames: VecDeque::new(),
            cursor: cursor.map(str::to_owned),
            closed: None,
        })
    }

    /// Where to resume: sent with the next [`Subscription::open`].
    pub fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref()
    }

    /// The close frame of a WebSocket, once it has come.
    pub fn closed(&self) -> Option<&Closed> {
        self.closed.as_ref()
    }

    /// The next frame; cursors, pings and heartbeats are dealt with on the way. `None` when the server has ended the stream.
    /// Waits without a bound of its own; safe to drop while it waits.
    pub async fn next(&mut self) -> Result<Option<Frame>, ClientError> {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return Ok(Some(frame));
            }
            if self.closed.is_some() || !self.read().await? {
                return Ok(None);
            }
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
                let mut events = Vec::new();
                let parsed = parser.push(&chunk, &mut events);
                parsed.map_err(|error| self.client.protocol(error.to_string()))?;
                if let Some(id) = parser.last_id() {
                    self.cursor = Some(id.to_owned());
                }
                let frame = |sse::Event { event, data }| Frame { event, data };
                self.frames.extend(events.into_iter().map(frame));
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
        match (peek.event.as_str(), peek.cursor) {
            ("cursor", Some(cursor)) => self.cursor = Some(cursor),
            ("ping", _) => {}
            ("hello", Some(cursor)) => {
                self.cursor = Some(cursor);
                self.frames.push_back(Frame {
                    event: peek.event,
                    data,
                });
            }
            _ => self.frames.push_back(Frame {
                event: peek.event,
                data,
            }),
        }
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
