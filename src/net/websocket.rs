//! WebSocket (RFC 6455) from both ends of a connection's start, and the frames as a client writes and reads them.
//!
//! The server's own frames are the gateway's: it encodes them once for all sessions.

use super::head::Head;
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use sha1::{Digest, Sha1};

/// The one subprotocol of this server.
pub const PROTOCOL: &str = "campanile.v1";
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const KEY_BYTES: usize = 16;
/// What the server sends stays far below.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;
const CONTROL_BYTES_MAX: usize = 125;
const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;
/// In place of a short length: it follows in two or in eight bytes.
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;

/// The answer to a client's key.
pub fn accept_of(key: &str) -> String {
    BASE64.encode(Sha1::digest(format!("{key}{GUID}")))
}

/// Why a request that asks for an upgrade does not get one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    #[error("the Connection header does not name Upgrade")]
    Connection,
    #[error("the Sec-WebSocket-Version is not 13")]
    Version,
    #[error("the Sec-WebSocket-Key is not 16 bytes in base64")]
    Key,
    #[error("the Sec-WebSocket-Protocol does not offer {PROTOCOL}")]
    Protocol,
}

/// Whether a request asks for a WebSocket at all.
pub fn is_upgrade(head: &Head) -> bool {
    has_token(head, "upgrade", "websocket")
}

fn has_token(head: &Head, name: &str, token: &str) -> bool {
    let values = head.headers.iter().filter(|(known, _)| known == name);
    let mut tokens = values.flat_map(|(_, value)| value.split(','));
    tokens.any(|known| known.trim().eq_ignore_ascii_case(token))
}

/// Checks an upgrade; the head of the answer that makes the connection a WebSocket. A client that offers no subprotocol gets
/// none named, one that offers only others is refused.
pub fn upgrade(head: &Head) -> Result<Vec<u8>, HandshakeError> {
    if !has_token(head, "connection", "upgrade") {
        return Err(HandshakeError::Connection);
    }
    if head.header("sec-websocket-version") != Some("13") {
        return Err(HandshakeError::Version);
    }
    let key = head.header("sec-websocket-key").unwrap_or_default();
    if BASE64.decode(key).map(|bytes| bytes.len()) != Ok(KEY_BYTES) {
        return Err(HandshakeError::Key);
    }
    let protocol = if head.header("sec-websocket-protocol").is_none() {
        String::new()
    } else if has_token(head, "sec-websocket-protocol", PROTOCOL) {
        format!("Sec-WebSocket-Protocol: {PROTOCOL}\r\n")
    } else {
        return Err(HandshakeError::Protocol);
    };
    let accept = accept_of(key);
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{protocol}\r\n"
    );
    Ok(answer.into_bytes())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    Continuation = 0,
    Text = 1,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

/// A whole frame of a client; `mask` must be random.
pub fn encode(kind: Kind, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut frame = vec![FINAL | kind as u8];
    match payload.len() {
        length @ 0..=125 => frame.push(MASKED | length as u8),
        length @ 126..=0xFFFF => {
            frame.push(MASKED | LENGTH_16);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(MASKED | LENGTH_64);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// What a server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    Text(String),
    Ping(Vec<u8>),
    Pong,
    Close(u16, String),
}

/// The server breaks the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server breaks the WebSocket protocol: {0}")]
pub struct Violation(&'static str);

/// Reads a server's frames from bytes that come in any pieces.
#[derive(Debug, Default)]
pub struct Decoder {
    rest: Vec<u8>,
    text: Vec<u8>,
    is_fragmented: bool,
}

impl Decoder {
    pub fn push(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
    }

    /// The next whole message; `None` until more bytes come.
    pub fn message(&mut self) -> Result<Option<Message>, Violation> {
        while let Some((first, start, end)) = self.frame()? {
            let payload: Vec<u8> = self.rest.drain(..end).skip(start).collect();
            if let Some(message) = self.take(first, payload)? {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    /// The first frame's first byte, and where its payload starts and ends.
    fn frame(&self) -> Result<Option<(u8, usize, usize)>, Violation> {
        let &[first, second, ref rest @ ..] = self.rest.as_slice() else {
            return Ok(None);
        };
        if first & 0x70 != 0 {
            return Err(Violation("reserved bits are set"));
        }
        if second & MASKED != 0 {
            return Err(Violation("a masked frame"));
        }
        let (length, start) = match second {
            LENGTH_16 => (rest.first_chunk().map(|bytes| u64::from(u16::from_be_bytes(*bytes))), 4),
            LENGTH_64 => (rest.first_chunk().map(|bytes| u64::from_be_bytes(*bytes)), 10),
            short => (Some(u64::from(short)), 2),
        };
        let Some(length) = length else { return Ok(None) };
        if length > MESSAGE_BYTES_MAX as u64 || self.text.len() + length as usize > MESSAGE_BYTES_MAX {
            return Err(Violation("a message is too long"));
        }
        let end = start + length as usize;
        Ok((self.rest.len() >= end).then_some((first, start, end)))
    }

    fn take(&mut self, first: u8, payload: Vec<u8>) -> Result<Option<Message>, Violation> {
        let (is_final, kind) = (first & FINAL != 0, first & 0x0F);
        if kind >= Kind::Close as u8 && (!is_final || payload.len() > CONTROL_BYTES_MAX) {
            return Err(Violation("a control frame is in parts or too long"));
        }
        match kind {
            0 if !self.is_fragmented => Err(Violation("a continuation of nothing")),
            1 if self.is_fragmented => Err(Violation("a new message within another")),
            0 | 1 => {
                self.text.extend(payload);
                self.is_fragmented = !is_final;
                if !is_final {
                    return Ok(None);
                }
                let text = String::from_utf8(std::mem::take(&mut self.text));
                text.map(|text| Some(Message::Text(text)))
                    .map_err(|_| Violation("a text is not UTF-8"))
            }
            8 => Ok(Some(close(&payload))),
            9 => Ok(Some(Message::Ping(payload))),
            10 => Ok(Some(Message::Pong)),
            _ => Err(Violation("an unknown kind of frame")),
        }
    }
}

fn close(payload: &[u8]) -> Message {
    let (code, reason) = payload.split_first_chunk().unwrap_or((&[0x03, 0xED], &[])); // 1005: no code was given
    Message::Close(u16::from_be_bytes(*code), String::from_utf8_lossy(reason).into_owned())
}

#[cfg(test)]
mod tests {
    use super::{Decoder, HandshakeError, Kind, Message, accept_of, encode, is_upgrade, upgrade};
    use crate::net::head::parse;

    #[test]
    fn keys_and_masks_follow_the_standards_examples() {
        assert_eq!(accept_of("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let hello = [0x81, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58];
        assert_eq!(encode(Kind::Text, b"Hello", [0x37, 0xFA, 0x21, 0x3D]), hello);
        assert_eq!(encode(Kind::Text, &[0; 126], [0; 4])[..4], [0x81, 0xFE, 0, 126]);
        assert_eq!(
            encode(Kind::Text, &vec![0; 0x1_0000], [0; 4])[..10],
            [0x81, 0xFF, 0, 0, 0, 0, 0, 1, 0, 0]
        );
    }

    #[test]
    fn upgrades_are_checked() {
        let good = "Connection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: other, campanile.v1";
        let check = |from: &str, to: &str, expected: Result<bool, HandshakeError>| {
            let head = format!(
                "GET /v1/subscribe HTTP/1.1\r\nHost: h\r\nUpgrade: WebSocket\r\n{}\r\n\r\n",
                good.replace(from, to)
            );
            let (head, _) = parse(head.as_bytes()).unwrap().unwrap();
            assert!(is_upgrade(&head));
            let names_protocol = upgrade(&head).map(|answer| {
                let answer = String::from_utf8(answer).unwrap();
                assert!(answer.starts_with("HTTP/1.1 101 ") && answer.ends_with("\r\n\r\n"));
                assert!(answer.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
                answer.contains("campanile.v1")
            });
            assert_eq!(names_protocol, expected, "{to}");
        };
        check("", "", Ok(true));
        check("\r\nSec-WebSocket-Protocol: other, campanile.v1", "", Ok(false));
        check("campanile.v1", "campanile.v2", Err(HandshakeError::Protocol));
        check("keep-alive, Upgrade", "keep-alive", Err(HandshakeError::Connection));
        check("13", "8", Err(HandshakeError::Version));
        check("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=", Err(HandshakeError::Key));
        check(
            "dGhlIHNhbXBsZSBub25jZQ==",
            "not base64 at all ====",
            Err(HandshakeError::Key),
        );
    }

    fn whole(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = encode(Kind::Text, payload, [0; 4]);
        frame[0] = first;
        frame[1] &= 0x7F;
        let start = frame.len() - payload.len();
        frame.drain(start - 4..start);
        frame
    }

    #[test]
    fn frames_are_read_however_they_are_cut() {
        let long = "x".repeat(70_000);
        let mut wire = whole(0x01, "grü".as_bytes());
        wire.extend(whole(0x89, b"hi"));
        wire.extend(whole(0x80, b"ezi"));
        wire.extend(whole(0x8A, b""));
        wire.extend(whole(0x88, &[0x03, 0xF4, b'b', b'y', b'e']));
        wire.extend(whole(0x88, b""));
        let expected = [
            Message::Ping(b"hi".to_vec()),
            Message::Text("grüezi".into()),
            Message::Pong,
            Message::Close(1012, "bye".into()),
            Message::Close(1005, String::new()),
        ];
        for cut in 1..=wire.len() {
            let (mut decoder, mut found) = (Decoder::default(), Vec::new());
            for part in wire.chunks(cut) {
                decoder.push(part);
                while let Some(message) = decoder.message().unwrap() {
                    found.push(message);
                }
            }
            assert_eq!(found, expected, "cut at {cut}");
        }
        let mut decoder = Decoder::default();
        decoder.push(&whole(0x81, long.as_bytes()));
        assert_eq!(decoder.message(), Ok(Some(Message::Text(long))));
    }

    #[test]
    fn violations_are_refused() {
        for bad in [
            &[0x80, 0][..],
            &[0x91, 0],
            &[0x81, 0x80],
            &[0x82, 0],
            &[0x09, 0],
            &[0x89, 126, 0, 126],
            &[0x81, 1, 0xFF],
            &[0x01, 0, 0x01, 0],
            &[0x81, 127, 0xFF, 0, 0, 0, 0, 0, 0, 0],
        ] {
            let mut decoder = Decoder::default();
            decoder.push(bad);
            decoder.push(&[0; 126]);
            let found = decoder.message().and_then(|_| decoder.message());
            assert!(found.is_err(), "{bad:02x?} gives {found:?}");
        }
    }
}
