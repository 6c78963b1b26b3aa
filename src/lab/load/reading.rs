//! What a subscriber reads, taken apart where it lies: no copy, no allocation, and of each frame only what the bookkeeping needs. It
//! shares no code with the server.

use crate::lab::stream::Transport;

/// One thing that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard<'a> {
    /// A broadcast's JSON.
    Broadcast(&'a [u8]),
    /// The first frame's JSON; its cursor is where the stream starts.
    Hello(&'a [u8]),
    Cursor(&'a [u8]),
    /// Something can't be replayed.
    Gap,
    /// The server ends this stream.
    Goodbye,
    /// To be answered with the same bytes.
    Ping(&'a [u8]),
    /// Signs of life, retractions, degraded and restored.
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    #[error("a masked frame from the server")]
    Masked,
    #[error("a WebSocket message in pieces")]
    InPieces,
    #[error("a WebSocket frame of an unknown kind")]
    UnknownKind,
}

/// The event that the lines of an SSE stream are of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Named {
    #[default]
    Nothing,
    Broadcast,
    Hello,
    Gap,
    Goodbye,
    Another,
}

const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;
const OP_TEXT: u8 = 1;
const OP_CLOSE: u8 = 8;
const OP_PING: u8 = 9;
const OP_PONG: u8 = 10;
/// An id has this many letters.
pub const ID_LETTERS: usize = 26;

/// The first thing in the bytes and how long it is; `None` when it is not whole yet.
pub fn next<'a>(
    transport: Transport,
    bytes: &'a [u8],
    named: &mut Named,
) -> Result<Option<(Heard<'a>, usize)>, Broken> {
    match transport {
        Transport::WebSocket => frame(bytes),
        Transport::Sse => Ok(line(bytes, named)),
    }
}

fn frame(bytes: &[u8]) -> Result<Option<(Heard<'_>, usize)>, Broken> {
    let [first, second, rest @ ..] = bytes else {
        return Ok(None);
    };
    if second & MASKED != 0 {
        return Err(Broken::Masked);
    }
    let (length, head) = match *second {
        126 => (rest.first_chunk().map(|bytes| u64::from(u16::from_be_bytes(*bytes))), 4),
        127 => (rest.first_chunk().map(|bytes| u64::from_be_bytes(*bytes)), 10),
        short => (Some(u64::from(short)), 2),
    };
    let Some(length) = length.map(|length| usize::try_from(length).unwrap_or(usize::MAX)) else {
        return Ok(None);
    };
    let end = length.saturating_add(head);
    let Some(payload) = bytes.get(head..end) else {
        return Ok(None);
    };
    if first & FINAL == 0 {
        return Err(Broken::InPieces);
    }
    let heard = match first & 0x0f {
        OP_TEXT => message(payload),
        OP_PING => Heard::Ping(payload),
        OP_PONG => Heard::Other,
        OP_CLOSE => Heard::Goodbye,
        _ => return Err(Broken::UnknownKind),
    };
    Ok(Some((heard, end)))
}

/// A message by its event, which the server writes first.
fn message(payload: &[u8]) -> Heard<'_> {
    match event(payload) {
        Some(b"broadcast") => Heard::Broadcast(payload),
        Some(b"cursor") => text(payload, b"\"cursor\":\"").map_or(Heard::Other, Heard::Cursor),
        Some(b"hello") => Heard::Hello(payload),
        Some(b"gap") => Heard::Gap,
        Some(b"goodbye") => Heard::Goodbye,
        Some(_) | None => Heard::Other,
    }
}

fn event(payload: &[u8]) -> Option<&[u8]> {
    text(payload, b"\"event\":\"")
}

fn line<'a>(bytes: &'a [u8], named: &mut Named) -> Option<(Heard<'a>, usize)> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let line = bytes.get(..end)?;
    let heard = if let Some(data) = line.strip_prefix(b"data: ") {
        match named {
            Named::Broadcast => Heard::Broadcast(data),
            Named::Hello => Heard::Hello(data),
            Named::Gap => Heard::Gap,
            Named::Goodbye => Heard::Goodbye,
            Named::Nothing | Named::Another => Heard::Other,
        }
    } else if let Some(cursor) = line.strip_prefix(b"id: ") {
        Heard::Cursor(cursor)
    } else {
        if let Some(name) = line.strip_prefix(b"event: ") {
            *named = name_of(name);
        } else if line.is_empty() {
            *named = Named::Nothing;
        }
        Heard::Other
    };
    Some((heard, end + 1))
}

fn name_of(event: &[u8]) -> Named {
    match event {
        b"broadcast" => Named::Broadcast,
        b"hello" => Named::Hello,
        b"gap" => Named::Gap,
        b"goodbye" => Named::Goodbye,
        _ => Named::Another,
    }
}

/// The text behind `name`, which ends with its opening quote.
pub fn text<'a>(json: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let rest = behind(json, name)?;
    let end = rest.iter().position(|byte| *byte == b'"')?;
    rest.get(..end)
}

/// The whole number behind `name`.
pub fn number(json: &[u8], name: &[u8]) -> Option<u64> {
    let digits = behind(json, name)?.iter().take_while(|byte| byte.is_ascii_digit());
    let mut value = None;
    for digit in digits {
        value = Some(
            value
                .unwrap_or(0_u64)
                .wrapping_mul(10)
                .wrapping_add(u64::from(digit - b'0')),
        );
    }
    value
}

fn behind<'a>(json: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let at = json.windows(name.len()).position(|window| window == name)?;
    json.get(at + name.len()..)
}

/// Appends a client's message as one masked WebSocket frame. The mask is zero: no proxy that it could mislead stands between a load and
/// its server, and its bytes stay what they are.
pub fn encode(out: &mut Vec<u8>, kind: Sent, payload: &[u8]) {
    out.push(FINAL | kind as u8);
    match payload.len() {
        length @ ..126 => out.push(MASKED | length as u8),
        length @ 126..0x1_0000 => {
            out.push(MASKED | 126);
            out.extend((length as u16).to_be_bytes());
        }
        length => {
            out.push(MASKED | 127);
            out.extend((length as u64).to_be_bytes());
        }
    }
    out.extend([0; 4]);
    out.extend_from_slice(payload);
}

#[derive(Clone, Copy, Debug)]
pub enum Sent {
    Text = OP_TEXT as isize,
    Pong = OP_PONG as isize,
}

#[cfg(test)]
mod tests {
    use super::{Broken, Heard, Named, Sent, Transport, encode, next, number, text};

    /// The same comes out however the bytes are cut.
    fn check(transport: Transport, wire: &[u8], expected: &[Heard<'_>]) {
        for cut in 1..=wire.len() {
            let (mut kept, mut heard, mut named) = (Vec::new(), 0, Named::default());
            for part in wire.chunks(cut) {
                kept.extend_from_slice(part);
                let mut used = 0;
                while let Some((found, length)) = next(transport, &kept[used..], &mut named).unwrap() {
                    if found != Heard::Other {
                        assert_eq!(found, expected[heard], "cut at {cut}");
                        heard += 1;
                    }
                    used += length;
                }
                kept.drain(..used);
            }
            assert_eq!((heard, kept.len()), (expected.len(), 0), "cut at {cut}");
        }
    }

    fn framed(payload: &[u8]) -> Vec<u8> {
        match payload.len() {
            length @ ..126 => [&[0x81, length as u8], payload].concat(),
            length => [&[0x81, 126], &(length as u16).to_be_bytes()[..], payload].concat(),
        }
    }

    #[test]
    fn websocket_frames_are_told_apart() {
        let hello = br#"{"event":"hello","session":"s","cursor":"1.0.0.0.0"}"#;
        let broadcast = format!(r#"{{"event":"broadcast","id":"01","title":"{}"}}"#, "x".repeat(200));
        let cursor = br#"{"event":"cursor","cursor":"1.0.0.0.9"}"#;
        let mut wire = [framed(hello), framed(broadcast.as_bytes()), framed(cursor)].concat();
        wire.extend([0x89, 2, b'h', b'i', 0x8a, 0]);
        wire.extend(framed(br#"{"event":"gap","from":"a","to":"b"}"#));
        wire.extend([0x88, 2, 3, 0xf4]);
        let expected = [
            Heard::Hello(hello),
            Heard::Broadcast(broadcast.as_bytes()),
            Heard::Cursor(b"1.0.0.0.9"),
            Heard::Ping(b"hi"),
            Heard::Gap,
            Heard::Goodbye,
        ];
        check(Transport::WebSocket, &wire, &expected);
        for (wire, broken) in [
            (&[0x81, 0x80, 0, 0, 0, 0][..], Broken::Masked),
            (&[0x01, 0], Broken::InPieces),
            (&[0x83, 0], Broken::UnknownKind),
        ] {
            let found = next(Transport::WebSocket, wire, &mut Named::default());
            assert_eq!(found, Err(broken));
        }
    }

    #[test]
    fn sse_lines_are_told_apart() {
        let wire = b"retry: 1000\n\nevent: hello\nid: 1.0\ndata: {\"a\":1}\n\n:\n\nevent: broadcast\ndata: {\"b\":2}\n\nid: 1.7\n\n\
            event: gap\ndata: {}\n\nevent: degraded\ndata: {}\n\nevent: goodbye\ndata: {}\n\n";
        let expected = [
            Heard::Cursor(b"1.0"),
            Heard::Hello(b"{\"a\":1}"),
            Heard::Broadcast(b"{\"b\":2}"),
            Heard::Cursor(b"1.7"),
            Heard::Gap,
            Heard::Goodbye,
        ];
        check(Transport::Sse, wire, &expected);
    }

    #[test]
    fn members_are_found_where_they_lie_and_messages_are_masked() {
        let json = br#"{"event":"broadcast","id":"01ABC","position":48213,"title":"t"}"#;
        assert_eq!(text(json, b"\"id\":\""), Some(&b"01ABC"[..]));
        assert_eq!(
            (number(json, b"\"position\":"), number(json, b"\"none\":")),
            (Some(48_213), None)
        );
        let mut out = Vec::new();
        encode(&mut out, Sent::Text, b"hi");
        assert_eq!(out, [0x81, 0x82, 0, 0, 0, 0, b'h', b'i']);
        out.clear();
        encode(&mut out, Sent::Pong, &[7; 200]);
        assert_eq!(
            (out[0], out[1], &out[2..4], out.len()),
            (0x8a, 0x80 | 126, &[0, 200][..], 208)
        );
    }
}
