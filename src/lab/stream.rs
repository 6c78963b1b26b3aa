//! A subscription as a device sees it: bytes of SSE or of a WebSocket, turned into frames, cursors and goodbyes.

use super::door::Door;
use super::http::{Call, Chunks, read_head};
use crate::base::clock;
use anyhow::{Context, Result, bail};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::Value;
use sha1::{Digest, Sha1};
use std::{collections::VecDeque, time::Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// One message; the server's own limit for what it sends is far below.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
const WEBSOCKET_GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    WebSocket,
    Sse,
}

#[derive(Debug, PartialEq)]
pub enum Event {
    /// A frame, with its `event` inside whatever the transport.
    Frame(Value),
    Cursor(String),
    /// A WebSocket close with its code.
    Closed(u16),
}

pub struct Stream {
    socket: crate::net::Stream,
    raw: Vec<u8>,
    decoder: Decoder,
    events: VecDeque<Event>,
    read_at: Instant,
}

enum Decoder {
    WebSocket(WebSocket),
    Sse(Sse, Option<Chunks>),
}

impl Stream {
    /// Opens a subscription of whoever the `Authorization` names, at a cursor or as somebody new.
    pub async fn open(node: impl Into<Door>, transport: Transport, bearer: &str, cursor: Option<&str>) -> Result<Self> {
        Self::open_as(node, transport, (bearer, None), cursor).await
    }

    /// The same of a user who is named in the address, where the `Authorization` (or the lack of one) may do that.
    pub async fn open_as(
        node: impl Into<Door>,
        transport: Transport,
        (bearer, user): (&str, Option<&str>),
        cursor: Option<&str>,
    ) -> Result<Self> {
        let node = node.into();
        let mut socket = node.enter().await?;
        let key = BASE64.encode(rand::random::<[u8; 16]>());
        let mut path = user.map_or_else(
            || "/v1/subscribe".to_owned(),
            |user| format!("/v1/subscribe?user={user}"),
        );
        let mut headers = Vec::new();
        if !bearer.is_empty() {
            headers.push(("Authorization", bearer));
        }
        let connection = match transport {
            Transport::WebSocket => {
                let sign = if user.is_some() { '&' } else { '?' };
                path.extend(cursor.map(|cursor| format!("{sign}cursor={cursor}")));
                headers.extend([("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")]);
                headers.extend([
                    ("Sec-WebSocket-Key", key.as_str()),
                    ("Sec-WebSocket-Protocol", "campanile.v1"),
                ]);
                "Upgrade"
            }
            Transport::Sse => {
                headers.push(("Accept", "text/event-stream"));
                headers.extend(cursor.map(|cursor| ("Last-Event-ID", cursor)));
                "keep-alive"
            }
        };
        let call = Call {
            method: "GET",
            path: &path,
            headers: &headers,
            body: &[],
        };
        socket.write_all(&call.encode(node.address, connection)).await?;
        let mut raw = Vec::with_capacity(1024);
        let head = read_head(&mut socket, &mut raw).await?;
        let decoder = match (transport, head.status) {
            (Transport::WebSocket, 101) => {
                if head.header("sec-websocket-accept") != Some(&accept_of(&key)) {
                    bail!("the upgrade's Sec-WebSocket-Accept is wrong");
                }
                Decoder::WebSocket(WebSocket::default())
            }
            (Transport::Sse, 200) => Decoder::Sse(Sse::default(), head.is_chunked().then(Chunks::default)),
            (_, status) => bail!("subscribe answered {status}"),
        };
        Ok(Self {
            socket,
            raw,
            decoder,
            events: VecDeque::new(),
            read_at: clock::now(),
        })
    }

    /// The next event and when its bytes were read. To drop the wait is to drop the stream: a pong may be half written.
    pub async fn next(&mut self) -> Result<(Event, Instant)> {
        loop {
            self.decode()?;
            self.answer_pings().await?;
            if let Some(event) = self.events.pop_front() {
                return Ok((event, self.read_at));
            }
            let count = self.socket.read_buf(&mut self.raw).await?;
            self.read_at = clock::now();
            if count == 0 {
                bail!("the connection ended");
            }
        }
    }

    /// Whether all that was read has been taken.
    pub fn is_drained(&self) -> bool {
        self.events.is_empty()
    }

    /// Sends a client message; SSE has no way back.
    pub async fn send(&mut self, message: &Value) -> Result<()> {
        if let Decoder::WebSocket(_) = self.decoder {
            let bytes = encode_frame(OP_TEXT, message.to_string().as_bytes(), rand::random());
            self.socket.write_all(&bytes).await?;
        }
        Ok(())
    }

    fn decode(&mut self) -> Result<()> {
        if self.raw.is_empty() {
            return Ok(());
        }
        match &mut self.decoder {
            Decoder::WebSocket(websocket) => websocket.decode(&mut self.raw, &mut self.events),
            Decoder::Sse(sse, None) => sse.decode(&mut self.raw, &mut self.events),
            Decoder::Sse(sse, Some(chunks)) => {
                chunks.decode(&mut self.raw, &mut sse.text)?;
                sse.decode(&mut Vec::new(), &mut self.events)
            }
        }
    }

    async fn answer_pings(&mut self) -> Result<()> {
        if let Decoder::WebSocket(websocket) = &mut self.decoder {
            for payload in websocket.pings.drain(..) {
                let bytes = encode_frame(OP_PONG, &payload, rand::random());
                self.socket.write_all(&bytes).await?;
            }
        }
        Ok(())
    }
}

fn accept_of(key: &str) -> String {
    BASE64.encode(Sha1::digest(format!("{key}{WEBSOCKET_GUID}")))
}

const OP_CONTINUATION: u8 = 0;
const OP_TEXT: u8 = 1;
const OP_CLOSE: u8 = 8;
const OP_PING: u8 = 9;
const OP_PONG: u8 = 10;
/// The second byte of a frame: the mask bit, and what stands for a longer length that follows.
const MASKED: u8 = 0x80;
const LENGTH_16: u8 = 0x7E;
const LENGTH_64: u8 = 0x7F;

#[derive(Default)]
struct WebSocket {
    message: Vec<u8>,
    pings: Vec<Vec<u8>>,
}

impl WebSocket {
    fn decode(&mut self, raw: &mut Vec<u8>, events: &mut VecDeque<Event>) -> Result<()> {
        let mut taken = 0;
        while let Some((first, payload, length)) = frame(&raw[taken..])? {
            taken += length;
            match first & 0x0F {
                OP_TEXT | OP_CONTINUATION => {
                    self.message.extend_from_slice(payload);
                    if first & 0x80 != 0 {
                        events.push_back(message(serde_json::from_slice(&std::mem::take(&mut self.message))?));
                    }
                }
                OP_PING => self.pings.push(payload.to_vec()),
                OP_PONG => {}
                OP_CLOSE => {
                    let code = payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
                    events.push_back(Event::Closed(code));
                }
                other => bail!("a WebSocket frame of kind {other}"),
            }
        }
        raw.drain(..taken);
        Ok(())
    }
}

/// The first whole frame: its first byte, its payload, and its length on the wire.
fn frame(raw: &[u8]) -> Result<Option<(u8, &[u8], usize)>> {
    let [first, second, rest @ ..] = raw else {
        return Ok(None);
    };
    if second & 0x80 != 0 {
        bail!("a masked frame from the server");
    }
    let (length, head) = match *second {
        LENGTH_16 => (rest.first_chunk().map(|bytes| u64::from(u16::from_be_bytes(*bytes))), 4),
        LENGTH_64 => (rest.first_chunk().map(|bytes| u64::from_be_bytes(*bytes)), 10),
        short => (Some(u64::from(short)), 2),
    };
    let Some(length) = length else { return Ok(None) };
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > MESSAGE_BYTES_MAX {
        bail!("a frame of {length} bytes is longer than {MESSAGE_BYTES_MAX}");
    }
    Ok(raw
        .get(head..head + length)
        .map(|payload| (*first, payload, head + length)))
}

/// A whole client frame, masked as clients must.
fn encode_frame(kind: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut bytes = vec![0x80 | kind];
    match payload.len() {
        length @ ..126 => bytes.push(MASKED | length as u8),
        length @ 126..0x1_0000 => {
            bytes.push(MASKED | LENGTH_16);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(MASKED | LENGTH_64);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

#[derive(Default)]
struct Sse {
    text: Vec<u8>,
    event: String,
    data: String,
    id: Option<String>,
}

impl Sse {
    fn decode(&mut self, raw: &mut Vec<u8>, events: &mut VecDeque<Event>) -> Result<()> {
        self.text.append(raw);
        let mut taken = 0;
        while let Some(end) = self.text[taken..].iter().position(|byte| *byte == b'\n') {
            let line = std::str::from_utf8(&self.text[taken..taken + end])?
                .trim_end_matches('\r')
                .to_owned();
            taken += end + 1;
            self.line(&line, events)?;
        }
        self.text.drain(..taken);
        if self.text.len() > MESSAGE_BYTES_MAX {
            bail!("a line is longer than {MESSAGE_BYTES_MAX} bytes");
        }
        Ok(())
    }

    fn line(&mut self, line: &str, events: &mut VecDeque<Event>) -> Result<()> {
        if line.is_empty() {
            return self.dispatch(events);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event),
            "data" if self.data.is_empty() => value.clone_into(&mut self.data),
            "data" => self.data.extend(["\n", value]),
            "id" => self.id = Some(value.to_owned()),
            _ => {}
        }
        Ok(())
    }

    /// The empty line: data makes a frame, and an id moves the cursor.
    fn dispatch(&mut self, events: &mut VecDeque<Event>) -> Result<()> {
        let (event, data) = (std::mem::take(&mut self.event), std::mem::take(&mut self.data));
        if !data.is_empty() {
            let mut frame: Value = serde_json::from_str(&data).context("the data of an event")?;
            if let Some(object) = frame.as_object_mut() {
                object.entry("event").or_insert(Value::String(event));
            }
            events.push_back(message(frame));
        }
        events.extend(self.id.take().map(Event::Cursor));
        Ok(())
    }
}

fn message(frame: Value) -> Event {
    match (frame["event"].as_str(), frame["cursor"].as_str()) {
        (Some("cursor"), Some(cursor)) => Event::Cursor(cursor.to_owned()),
        _ => Event::Frame(frame),
    }
}

#[cfg(test)]
mod tests {
    use super::{Event, OP_TEXT, Sse, WebSocket, accept_of, encode_frame};
    use serde_json::json;
    use std::collections::VecDeque;

    /// The same events come out however the bytes are cut.
    fn check<D>(
        wire: &[u8],
        new: impl Fn() -> D,
        decode: impl Fn(&mut D, &mut Vec<u8>, &mut VecDeque<Event>),
        expected: &[Event],
    ) {
        for cut in 1..=wire.len() {
            let (mut decoder, mut raw, mut events) = (new(), Vec::new(), VecDeque::new());
            for part in wire.chunks(cut) {
                raw.extend_from_slice(part);
                decode(&mut decoder, &mut raw, &mut events);
            }
            assert_eq!(events, expected, "cut at {cut}");
        }
    }

    #[test]
    fn sse_is_read_line_by_line() {
        let wire = b": hello\nretry: 1000\n\nevent: broadcast\ndata: {\"id\":\"a\"}\n\nid: 1.0.0.0.7\n\n:\n\nevent:hello\r\ndata:{\"x\":\r\ndata: 1}\r\nid: 2\r\n\r\nevent: cut";
        let expected = [
            Event::Frame(json!({"event": "broadcast", "id": "a"})),
            Event::Cursor("1.0.0.0.7".into()),
            Event::Frame(json!({"event": "hello", "x": 1})),
            Event::Cursor("2".into()),
        ];
        check(
            wire,
            Sse::default,
            |sse, raw, events| sse.decode(raw, events).unwrap(),
            &expected,
        );
    }

    #[test]
    fn websocket_frames_are_put_together() {
        let long = json!({"event": "broadcast", "body": "x".repeat(300)}).to_string();
        let whole = |first: u8, payload: &[u8]| {
            let length = (payload.len() as u16).to_be_bytes();
            [&[first, 126], &length[..], payload].concat()
        };
        let mut wire = whole(0x01, br#"{"event":"#);
        wire.extend([0x89, 2, b'h', b'i']);
        wire.extend(whole(0x80, br#""cursor","cursor":"9"}"#));
        wire.extend(whole(0x81, long.as_bytes()));
        wire.extend([0x88, 2, 0x03, 0xF4]);
        let expected = [
            Event::Cursor("9".into()),
            Event::Frame(serde_json::from_str(&long).unwrap()),
            Event::Closed(1012),
        ];
        check(
            &wire,
            WebSocket::default,
            |socket, raw, events| socket.decode(raw, events).unwrap(),
            &expected,
        );
    }

    #[test]
    fn the_upgrade_and_the_mask_follow_the_standard() {
        assert_eq!(accept_of("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let hello = [0x81, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58];
        assert_eq!(encode_frame(OP_TEXT, b"Hello", [0x37, 0xFA, 0x21, 0x3D]), hello);
    }
}
