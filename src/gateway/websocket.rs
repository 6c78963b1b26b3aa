//! WebSocket bytes of a server (RFC 6455): frames out, and a decoder of what a client sends, bounded, without extensions.

use super::goodbye::{self, Goodbye};

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;
const FINAL: u8 = 0x80;
/// A control frame's text.
const CONTROL_MAX: usize = 125;

/// Appends a text frame.
pub fn text(out: &mut Vec<u8>, text: &[u8]) {
    out.push(FINAL | TEXT);
    match text.len() {
        length @ 0..=125 => out.push(length as u8),
        length @ 126..=0xFFFF => {
            out.push(126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(text);
}

/// Appends a control frame; its text is cut to what fits.
pub fn control(out: &mut Vec<u8>, opcode: u8, text: &[u8]) {
    let text = &text[..text.len().min(CONTROL_MAX)];
    out.extend_from_slice(&[FINAL | opcode, text.len() as u8]);
    out.extend_from_slice(text);
}

pub fn close(out: &mut Vec<u8>, code: u16, reason: &str) {
    let mut text = code.to_be_bytes().to_vec();
    text.extend_from_slice(reason.as_bytes());
    control(out, CLOSE, &text);
}

/// What a client said.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    Text(String),
    /// A part of a message that goes on: empty ones cost the client nothing, so they are counted like messages.
    Part,
    Ping(Vec<u8>),
    Pong,
    /// With the code to send back.
    Close(u16),
}

/// Keeps the unfinished rest of a frame and of a fragmented message between two reads.
#[derive(Debug, Default)]
pub struct Decoder {
    rest: Vec<u8>,
    message: Vec<u8>,
    fragmented: bool,
}

struct Head {
    final_: bool,
    opcode: u8,
    mask: [u8; 4],
    /// Where the payload starts and ends.
    from: usize,
    to: usize,
}

impl Decoder {
    /// Nothing is kept: the decoder may be dropped.
    pub fn is_idle(&self) -> bool {
        self.rest.is_empty() && !self.fragmented
    }

    /// Takes bytes, gives what each whole frame says to `each`; an error ends the session.
    pub fn push(&mut self, bytes: &[u8], max: usize, mut each: impl FnMut(Said)) -> Result<(), Goodbye> {
        let mut owned = std::mem::take(&mut self.rest);
        let bytes = if owned.is_empty() {
            bytes
        } else {
            owned.extend_from_slice(bytes);
            &owned
        };
        let mut at = 0;
        while let Some(head) = head(&bytes[at..], max)? {
            let payload = unmask(&bytes[at + head.from..at + head.to], head.mask);
            at += head.to;
            each(self.frame(&head, payload, max)?);
        }
        self.rest = bytes[at..].to_vec();
        Ok(())
    }

    fn frame(&mut self, head: &Head, payload: Vec<u8>, max: usize) -> Result<Said, Goodbye> {
        match head.opcode {
            CLOSE => Ok(Said::Close(close_code(&payload)?)),
            PING => Ok(Said::Ping(payload)),
            PONG => Ok(Said::Pong),
            BINARY => Err(goodbye::NOT_TEXT),
            TEXT if !self.fragmented => self.part(head.final_, &payload, max),
            CONTINUATION if self.fragmented => self.part(head.final_, &payload, max),
            _ => Err(goodbye::PROTOCOL),
        }
    }

    fn part(&mut self, last: bool, payload: &[u8], max: usize) -> Result<Said, Goodbye> {
        if self.message.len() + payload.len() > max {
            return Err(goodbye::TOO_BIG);
        }
        self.message.extend_from_slice(payload);
        self.fragmented = !last;
        if !last {
            return Ok(Said::Part);
        }
        let message = std::mem::take(&mut self.message);
        let text = String::from_utf8(message).map_err(|_| goodbye::NOT_TEXT)?;
        Ok(Said::Text(text))
    }
}

/// The head of the first frame, once the frame is whole; faults are found before its payload is waited for.
fn head(bytes: &[u8], max: usize) -> Result<Option<Head>, Goodbye> {
    let &[first, second, ..] = bytes else {
        return Ok(None);
    };
    let opcode = first & 0x0F;
    let is_control = opcode >= CLOSE;
    let masked = second & 0x80 != 0;
    let final_ = first & FINAL != 0;
    let short = usize::from(second & 0x7F);
    if first & 0x70 != 0 || !masked || (is_control && (short > CONTROL_MAX || !final_)) {
        return Err(goodbye::PROTOCOL);
    }
    let extended = match short {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let from = 2 + extended + 4;
    if bytes.len() < from {
        return Ok(None);
    }
    let length = match extended {
        0 => short as u64,
        _ => bytes[2..2 + extended]
            .iter()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
    };
    if length > max as u64 {
        return Err(goodbye::TOO_BIG);
    }
    let to = from + length as usize;
    if bytes.len() < to {
        return Ok(None);
    }
    let mask = [bytes[from - 4], bytes[from - 3], bytes[from - 2], bytes[from - 1]];
    Ok(Some(Head {
        final_,
        opcode,
        mask,
        from,
        to,
    }))
}

fn unmask(payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    payload
        .iter()
        .zip(mask.iter().cycle())
        .map(|(byte, key)| byte ^ key)
        .collect()
}

/// The code to echo; what must not stand on the wire is a fault.
fn close_code(payload: &[u8]) -> Result<u16, Goodbye> {
    match payload {
        [] => Ok(1000),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            let allowed = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
            if !allowed {
                return Err(goodbye::PROTOCOL);
            }
            std::str::from_utf8(reason).map_err(|_| goodbye::NOT_TEXT)?;
            Ok(code)
        }
        _ => Err(goodbye::PROTOCOL),
    }
}

#[cfg(test)]
mod tests {
    use super::{Decoder, Said, goodbye};

    /// A client's frame with a mask.
    fn client(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [1, 2, 3, 4];
        let mut out = vec![first];
        match payload.len() {
            length @ 0..=125 => out.push(0x80 | length as u8),
            length => {
                out.push(0x80 | 0x7E);
                out.extend_from_slice(&(length as u16).to_be_bytes());
            }
        }
        out.extend_from_slice(&mask);
        out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
        out
    }

    fn check(bytes: &[u8], expected: Result<&[Said], u16>) {
        for step in [1, 3, bytes.len().max(1)] {
            let mut decoder = Decoder::default();
            let mut said = Vec::new();
            let result = bytes
                .chunks(step)
                .try_for_each(|chunk| decoder.push(chunk, 1_000, |what| said.push(what)));
            match expected {
                Ok(expected) => {
                    assert_eq!(result, Ok(()), "in steps of {step}");
                    assert_eq!(said, expected, "in steps of {step}");
                    assert!(decoder.is_idle());
                }
                Err(code) => assert_eq!(result.unwrap_err().code, code, "in steps of {step}"),
            }
        }
    }

    #[test]
    fn what_a_client_says_is_read_at_any_cut() {
        let long = "x".repeat(700);
        check(&client(0x81, b"hi"), Ok(&[Said::Text("hi".into())]));
        check(&client(0x81, long.as_bytes()), Ok(&[Said::Text(long.clone())]));
        check(&client(0x8A, b""), Ok(&[Said::Pong]));
        check(&client(0x88, b""), Ok(&[Said::Close(1000)]));
        check(&client(0x88, &[0x0F, 0xA1]), Ok(&[Said::Close(4001)]));
        let fragments = [
            client(0x01, b"a"),
            client(0x89, b"p"),
            client(0x00, b"b"),
            client(0x80, b"c"),
        ]
        .concat();
        check(
            &fragments,
            Ok(&[
                Said::Part,
                Said::Ping(b"p".to_vec()),
                Said::Part,
                Said::Text("abc".into()),
            ]),
        );
    }

    #[test]
    fn faults_have_codes() {
        let code = |goodbye: goodbye::Goodbye| Err(goodbye.code);
        check(&[0x81, 0x02, b'h', b'i'], code(goodbye::PROTOCOL)); // no mask
        check(&client(0xC1, b"hi"), code(goodbye::PROTOCOL)); // an extension nobody agreed on
        check(&client(0x09, b"p"), code(goodbye::PROTOCOL)); // a fragmented ping
        check(&client(0x80, b"b"), code(goodbye::PROTOCOL)); // nothing to continue
        check(&client(0x83, b"b"), code(goodbye::PROTOCOL)); // an opcode nobody knows
        check(&client(0x82, b"b"), code(goodbye::NOT_TEXT));
        check(&client(0x81, &[0xFF]), code(goodbye::NOT_TEXT));
        check(&client(0x81, &[0; 1_001]), code(goodbye::TOO_BIG));
        check(&client(0x88, &[0x03]), code(goodbye::PROTOCOL));
        check(&client(0x88, &[0x03, 0xED]), code(goodbye::PROTOCOL)); // 1005 never stands on the wire
        check(
            &[client(0x01, &[b'a'; 600]), client(0x80, &[b'a'; 600])].concat(),
            code(goodbye::TOO_BIG),
        );
        check(
            &[client(0x01, b"a"), client(0x81, b"b")].concat(),
            code(goodbye::PROTOCOL),
        );
    }
}
