//! One subscriber on one socket: it connects, says who it is, and reads. All that a delivery needs of memory is there beforehand.

use super::orders::{Receipts, Setup};
use super::reading::{self, Heard, ID_LETTERS, Named, Sent};
use super::stamp::Stamp;
use super::tally::Tally;
use crate::base::clock;
use crate::lab::door::{Door, Wire};
use crate::lab::stream::Transport;
use mio::{Interest, Registry, Token};
use std::io::{ErrorKind, Read, Write};

/// What one read takes at most, and the longest frame with what came before it.
pub const BUFFER_BYTES: usize = 256 << 10;
const HEAD_HEADERS_MAX: usize = 32;
const HELLO: &[u8] = br#"{"hello":{"receipts":true}}"#;
/// The key of the upgrade. Whether it is answered right is checked by the rehearsal; here it costs time.
const UPGRADE_KEY: &str = "Y2FtcGFuaWxlLWxvYWQtLQ==";

#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("the server ended the stream")]
    Ended,
    #[error("subscribe was answered {0}")]
    Refused(u16),
    #[error("the answer to subscribe is no HTTP")]
    NoHttp,
    #[error("the stream comes in chunks, which a load does not read: ask a node itself")]
    Chunked,
    #[error("{0}")]
    Frame(#[from] reading::Broken),
    #[error("a frame longer than {BUFFER_BYTES} bytes")]
    TooLong,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Away,
    Connecting,
    /// The request is out.
    Asking,
    /// The answer's head was good; the first frame is to come.
    Opened,
    /// Greeted.
    Live,
}

/// What all sessions of a process use in turn.
pub struct Hands {
    pub setup: Setup,
    pub doors: Vec<Door>,
    pub tally: Tally,
    buffer: Vec<u8>,
    receipt: Vec<u8>,
    framed: Vec<u8>,
}

impl Hands {
    pub fn new(setup: Setup) -> anyhow::Result<Self> {
        Ok(Self {
            tally: Tally::new(setup.clone()),
            doors: setup.way.doors()?,
            setup,
            buffer: vec![0; BUFFER_BYTES],
            receipt: Vec::with_capacity(4 << 10),
            framed: Vec::with_capacity(4 << 10),
        })
    }
}

#[derive(Debug)]
pub struct Session {
    number: usize,
    transport: Transport,
    node: usize,
    wire: Option<Wire>,
    pub phase: Phase,
    /// The beginning of what is not whole yet.
    rest: Vec<u8>,
    /// What the socket did not take.
    out: Vec<u8>,
    cursor: Vec<u8>,
    named: Named,
    pub gaps: u64,
}

impl Session {
    pub fn new(number: usize, setup: &Setup) -> Self {
        let user = setup.first as usize + number;
        let transport = if (user % 100) < setup.websocket_percent as usize {
            Transport::WebSocket
        } else {
            Transport::Sse
        };
        Self {
            number,
            transport,
            node: user,
            wire: None,
            phase: Phase::Away,
            rest: Vec::new(),
            out: Vec::new(),
            cursor: Vec::new(),
            named: Named::default(),
            gaps: 0,
        }
    }

    pub fn open(&mut self, registry: &Registry, doors: &[Door]) -> Result<(), Trouble> {
        let mut wire = doors[self.node % doors.len()].open()?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut wire.socket, Token(self.number), interest)?;
        self.wire = Some(wire);
        self.phase = Phase::Connecting;
        Ok(())
    }

    /// Drops the connection. The next one goes to the next node when this one gave trouble.
    pub fn close(&mut self, why: Close) {
        self.wire = None;
        self.phase = Phase::Away;
        self.rest.clear();
        self.out.clear();
        self.named = Named::default();
        match why {
            Close::Trouble => self.node += 1,
            Close::Ordered => {}
        }
    }

    /// The socket has something to say, or takes something.
    pub fn ready(&mut self, hands: &mut Hands) -> Result<(), Trouble> {
        if self.phase == Phase::Connecting && !self.is_connected()? {
            return Ok(());
        }
        if self.phase == Phase::Connecting {
            let request = self.request(&hands.setup);
            self.phase = Phase::Asking;
            self.send(&request)?;
        }
        self.flush()?;
        self.read(hands)
    }

    fn is_connected(&self) -> Result<bool, Trouble> {
        let Some(Wire { socket, .. }) = &self.wire else {
            return Ok(false);
        };
        if let Some(error) = socket.take_error()? {
            return Err(error.into());
        }
        match socket.peer_addr() {
            Ok(_) => {
                socket.set_nodelay(true)?;
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn request(&self, setup: &Setup) -> Vec<u8> {
        let host = setup.way.nodes[self.node % setup.way.nodes.len()];
        let (user, cursor) = (
            setup.first as usize + self.number,
            String::from_utf8_lossy(&self.cursor),
        );
        let from = if cursor.is_empty() {
            "from=now".to_owned()
        } else {
            format!("cursor={cursor}")
        };
        let who = match setup.bearers.get(self.number) {
            Some(bearer) => format!(" HTTP/1.1\r\nHost: {host}\r\nAuthorization: {bearer}\r\n"),
            None => format!("&user={}{user} HTTP/1.1\r\nHost: {host}\r\n", setup.prefix),
        };
        let how = match self.transport {
            Transport::WebSocket => format!(
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {UPGRADE_KEY}\r\n\
                 Sec-WebSocket-Protocol: campanile.v1\r\n"
            ),
            Transport::Sse => "Accept: text/event-stream\r\nConnection: keep-alive\r\n".to_owned(),
        };
        format!("GET /v1/subscribe?{from}{who}{how}\r\n").into_bytes()
    }

    /// Takes all that is there: an edge is told once.
    fn read(&mut self, hands: &mut Hands) -> Result<(), Trouble> {
        loop {
            let kept = self.rest.len();
            if kept >= BUFFER_BYTES / 2 {
                return Err(Trouble::TooLong);
            }
            let Some(wire) = &mut self.wire else { return Ok(()) };
            hands.buffer[..kept].copy_from_slice(&self.rest);
            let space = BUFFER_BYTES - kept;
            let count = match wire.read(&mut hands.buffer[kept..]) {
                Ok(0) => return Err(Trouble::Ended),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            let at = clock::monotonic();
            let buffer = std::mem::take(&mut hands.buffer);
            let used = self.take(&buffer[..kept + count], at, hands);
            self.rest.clear();
            if let Ok(used) = used {
                self.rest.extend_from_slice(&buffer[used..kept + count]);
            }
            hands.buffer = buffer;
            used?;
            self.confirm(hands)?;
            if count < space && self.wire.as_ref().is_some_and(Wire::is_emptied_by_less) {
                return Ok(());
            }
        }
    }

    /// How much of it was whole.
    fn take(&mut self, bytes: &[u8], at: u64, hands: &mut Hands) -> Result<usize, Trouble> {
        let mut used = 0;
        if self.phase == Phase::Asking {
            let Some(length) = self.head(bytes)? else { return Ok(0) };
            used = length;
            self.phase = Phase::Opened;
            if self.transport == Transport::WebSocket && hands.setup.receipts == Receipts::Promised {
                hands.framed.clear();
                reading::encode(&mut hands.framed, Sent::Text, HELLO);
                self.send(&hands.framed)?;
            }
        }
        while let Some((heard, length)) = reading::next(self.transport, &bytes[used..], &mut self.named)? {
            used += length;
            self.hear(heard, at, hands)?;
        }
        Ok(used)
    }

    fn head(&self, bytes: &[u8]) -> Result<Option<usize>, Trouble> {
        let mut headers = [httparse::EMPTY_HEADER; HEAD_HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        let Ok(parsed) = response.parse(bytes) else {
            return Err(Trouble::NoHttp);
        };
        let httparse::Status::Complete(length) = parsed else {
            return Ok(None);
        };
        let expected = match self.transport {
            Transport::WebSocket => 101,
            Transport::Sse => 200,
        };
        let status = response.code.unwrap_or_default();
        if status != expected {
            return Err(Trouble::Refused(status));
        }
        if response
            .headers
            .iter()
            .any(|header| header.name.eq_ignore_ascii_case("transfer-encoding"))
        {
            return Err(Trouble::Chunked);
        }
        Ok(Some(length))
    }

    fn hear(&mut self, heard: Heard<'_>, at: u64, hands: &mut Hands) -> Result<(), Trouble> {
        match heard {
            Heard::Broadcast(json) => {
                let position = reading::number(json, b"\"position\":").unwrap_or_default();
                hands.tally.read(self.number, Stamp::find(json), position, at);
                self.note_receipt(json, hands);
            }
            Heard::Cursor(cursor) => self.keep(cursor),
            Heard::Hello(json) => {
                if let Some(cursor) = reading::text(json, b"\"cursor\":\"") {
                    self.keep(cursor);
                }
                self.phase = Phase::Live;
                hands.tally.returned(self.number);
            }
            Heard::Gap => self.gaps += 1,
            Heard::Goodbye => return Err(Trouble::Ended),
            Heard::Ping(payload) => {
                hands.framed.clear();
                reading::encode(&mut hands.framed, Sent::Pong, payload);
                self.send(&hands.framed)?;
            }
            Heard::Other => {}
        }
        Ok(())
    }

    fn keep(&mut self, cursor: &[u8]) {
        self.cursor.clear();
        self.cursor.extend_from_slice(cursor);
    }

    fn note_receipt(&self, json: &[u8], hands: &mut Hands) {
        if self.transport != Transport::WebSocket || hands.setup.receipts == Receipts::None {
            return;
        }
        let Some(id) = reading::text(json, b"\"id\":\"").filter(|id| id.len() == ID_LETTERS) else {
            return;
        };
        let opening: &[u8] = if hands.receipt.is_empty() {
            br#"{"receipt":{"received":[""#
        } else {
            br#",""#
        };
        hands.receipt.extend_from_slice(opening);
        hands.receipt.extend_from_slice(id);
        hands.receipt.push(b'"');
    }

    /// One message for all that came with one read.
    fn confirm(&mut self, hands: &mut Hands) -> Result<(), Trouble> {
        if hands.receipt.is_empty() {
            return Ok(());
        }
        hands.receipt.extend_from_slice(b"]}}");
        hands.framed.clear();
        reading::encode(&mut hands.framed, Sent::Text, &hands.receipt);
        hands.receipt.clear();
        self.send(&hands.framed)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        self.out.extend_from_slice(bytes);
        self.flush()
    }

    fn flush(&mut self) -> Result<(), Trouble> {
        let Some(wire) = &mut self.wire else { return Ok(()) };
        if !wire.advance()? {
            return Ok(());
        }
        while !self.out.is_empty() {
            match wire.write(&self.out) {
                Ok(count) => drop(self.out.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    Ordered,
    Trouble,
}

#[cfg(test)]
mod tests {
    use super::{Hands, Phase, Receipts, Session, Setup};
    use crate::lab::door::Way;
    use crate::lab::stream::Transport;

    fn setup() -> Setup {
        Setup {
            run: 1,
            first: 70,
            count: 30,
            groups: 1,
            recipients: 100,
            prefix: "load-".into(),
            bearers: Vec::new(),
            way: Way {
                nodes: vec!["127.0.0.1:1".parse().unwrap()],
                hosts: vec![None],
                ..Way::default()
            },
            websocket_percent: 75,
            receipts: Receipts::Promised,
        }
    }

    #[test]
    fn a_share_of_the_users_reads_sse_and_each_comes_back_with_its_cursor() {
        let setup = setup();
        let transports: Vec<Transport> = (0..30).map(|number| Session::new(number, &setup).transport).collect();
        assert_eq!(
            transports
                .iter()
                .filter(|transport| **transport == Transport::Sse)
                .count(),
            25
        );
        let mut session = Session::new(0, &setup);
        let first = String::from_utf8(session.request(&setup)).unwrap();
        assert!(
            first.starts_with("GET /v1/subscribe?from=now&user=load-70 HTTP/1.1\r\n"),
            "{first}"
        );
        session.keep(b"1.2.3.4.5");
        let tokens = Setup {
            bearers: vec!["Bearer t".into(); 30],
            ..setup
        };
        let next = String::from_utf8(session.request(&tokens)).unwrap();
        assert!(
            next.starts_with("GET /v1/subscribe?cursor=1.2.3.4.5 HTTP/1.1\r\n")
                && next.contains("\r\nAuthorization: Bearer t\r\n"),
            "{next}"
        );
    }

    #[test]
    fn what_is_cut_waits_and_receipts_name_all_of_a_read() {
        let mut hands = Hands::new(setup()).unwrap();
        let mut session = Session::new(0, &hands.setup);
        session.phase = Phase::Asking;
        let head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
        assert_eq!(session.take(&head[..20], 1, &mut hands).unwrap(), 0);
        assert_eq!(session.take(head, 1, &mut hands).unwrap(), head.len());
        let frame = |id: char| {
            let json = format!(
                r#"{{"event":"broadcast","id":"{}","position":1}}"#,
                id.to_string().repeat(26)
            );
            [&[0x81, json.len() as u8], json.as_bytes()].concat()
        };
        let wire = [frame('a'), frame('b')].concat();
        let cut = wire.len() - 3;
        assert_eq!(session.take(&wire[..cut], 1, &mut hands).unwrap(), frame('a').len());
        assert_eq!(session.take(&wire, 1, &mut hands).unwrap(), wire.len());
        session.out.clear();
        session.confirm(&mut hands).unwrap();
        let ids = ["a", "a", "b"].map(|id| format!("\"{}\"", id.repeat(26))).join(",");
        let said = String::from_utf8_lossy(&session.out).into_owned();
        assert!(
            said.ends_with(&format!(r#"{{"receipt":{{"received":[{ids}]}}}}"#)),
            "{said}"
        );
        assert!(session.take(b"\x88\x00", 1, &mut hands).is_err());
        for (wire, words) in [("HTTP/1.1 503 No\r\n\r\n", "503"), ("nonsense\r\n\r\n", "no HTTP")] {
            session.phase = Phase::Asking;
            let told = session.take(wire.as_bytes(), 1, &mut hands).unwrap_err().to_string();
            assert!(told.contains(words), "{told}");
        }
    }
}
