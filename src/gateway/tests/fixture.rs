//! Releases, a backlog over all that was released, and subscribers on real sockets.

use crate::base::clock;
use crate::base::size::Span;
use crate::gateway::backlog::{Backlog, Read, Start};
use crate::gateway::shared::Context;
use crate::gateway::{Config, From, Gateway, Request, Socket, Subscriber, Transport};
use crate::model::{Broadcast, BroadcastId, Cursor, Draft, PerPriority, Position, Priority};
use crate::net::tls::bench::{Bench, agree};
use crate::net::{Acceptor, Secure, Trust};
use crate::state::{Release, ReleaseKind};
use crate::workers;
use bytes::Bytes;
use parking_lot::Mutex;
use roaring::RoaringBitmap;
use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub const EPOCH: u32 = 0xABCD;
pub const SALT: u16 = 0x5A17;
pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn draft(priority: Priority, body: &str) -> Draft {
    Draft {
        priority,
        ..Draft::bare("system.test", "title", body)
    }
}

pub fn release_of(position: Position, draft: Draft, expires_at: i64, recipients: &[u32]) -> Arc<Release> {
    let released_at = 1_800_000_000_000;
    Arc::new(Release {
        position,
        priority: draft.priority,
        kind: ReleaseKind::Broadcast,
        escalated: false,
        released_at,
        broadcast: Arc::new(Broadcast {
            number: position,
            id: BroadcastId::new(released_at, SALT, position),
            draft,
            sender: "administrator".into(),
            accepted_at: released_at,
            expires_at,
            position: Some(position),
            late: None,
            log_index: position,
            targeted: recipients.len() as u32,
            connected: 0,
            held: 0,
            skipped: 0,
            unknown: 0,
        }),
        recipients: Arc::new(recipients.iter().copied().collect()),
    })
}

pub fn release(position: Position, priority: Priority, recipients: &[u32]) -> Arc<Release> {
    release_of(position, draft(priority, "body"), i64::MAX, recipients)
}

/// Everything that was ever released, as state and store would have it.
#[derive(Default)]
pub struct Kept {
    releases: Mutex<Vec<Arc<Release>>>,
    pub forgotten: Mutex<PerPriority<Position>>,
    pub panics: std::sync::atomic::AtomicBool,
    /// What was sent has not come into the log yet.
    pub unsettled: std::sync::atomic::AtomicBool,
}

impl Kept {
    fn of(&self, user: u32, after: PerPriority<Position>, bytes_max: usize) -> Read {
        let releases = self.releases.lock();
        let head = releases.last().map_or(0, |last| last.position);
        let mut read = Read {
            scanned: [head; 4],
            ..Read::default()
        };
        for release in releases.iter().filter(|release| release.recipients.contains(user)) {
            let index = release.priority.index();
            let bytes: usize = read.releases[index]
                .iter()
                .map(|kept| kept.broadcast.draft.body.len() + 200)
                .sum();
            if release.position <= after[index].max(self.forgotten.lock()[index])
                || read.scanned[index] < release.position
            {
                continue;
            }
            read.releases[index].push(release.clone());
            if bytes > bytes_max {
                read.scanned[index] = release.position;
            }
        }
        read
    }
}

impl Backlog for Kept {
    fn start(&self, user: u32, newest_max: usize) -> Start {
        assert!(!self.panics.load(std::sync::atomic::Ordering::Relaxed), "told to");
        let mut read = self.of(user, [0; 4], usize::MAX);
        let mut more = 0;
        for index in 1..4 {
            let surplus = read.releases[index].len().saturating_sub(newest_max);
            read.releases[index].drain(..surplus);
            more += surplus as u64;
        }
        Start {
            owed: read.releases,
            scanned: read.scanned,
            more_in_inbox: more,
        }
    }

    fn read(&self, user: u32, after: PerPriority<Position>, bytes_max: usize) -> Read {
        self.of(user, after, bytes_max)
    }

    fn forgotten(&self) -> PerPriority<Position> {
        *self.forgotten.lock()
    }

    fn unconfirmed(&self, user: u32, up_to: PerPriority<Position>, max: usize) -> Vec<u64> {
        if self.unsettled.load(std::sync::atomic::Ordering::Acquire) {
            return Vec::new();
        }
        let releases = self.releases.lock();
        let mine = releases
            .iter()
            .filter(|release| release.recipients.contains(user) && release.position <= up_to[release.priority.index()]);
        mine.map(|release| release.position).take(max).collect()
    }
}

pub struct House {
    pub gateway: Arc<Gateway>,
    pub kept: Arc<Kept>,
    pub requests: tokio::sync::mpsc::Receiver<Request>,
    listener: TcpListener,
    /// With it all connections are encrypted.
    tls: Option<(Acceptor, Trust)>,
}

pub fn config() -> Config {
    Config {
        stall_max: Span::millis(700),
        ..Config::default()
    }
}

pub fn house(config: &Config, threads: usize, cells: usize) -> House {
    let kept = Arc::new(Kept::default());
    let workers = workers::Config {
        threads,
        cells,
        ..workers::Config::default()
    };
    let (sender, requests) = tokio::sync::mpsc::channel(16);
    let gateway = Gateway::start(config, &workers, 7, EPOCH, kept.clone(), sender).unwrap();
    House {
        gateway,
        kept,
        requests,
        listener: TcpListener::bind("127.0.0.1:0").unwrap(),
        tls: None,
    }
}

/// The same with connections in the clear, and with TLS.
pub fn houses(config: &Config, threads: usize, cells: usize) -> [House; 2] {
    let mut secure = house(config, threads, cells);
    let bench = Bench::new();
    secure.tls = Some((bench.acceptor(), bench.trust));
    [house(config, threads, cells), secure]
}

impl Drop for House {
    fn drop(&mut self) {
        self.gateway.drain(Duration::from_millis(100));
    }
}

impl House {
    pub fn publish(&self, release: Arc<Release>) {
        self.kept.releases.lock().push(release.clone());
        self.gateway.release(release);
    }

    pub fn connect(&self, user: u32, transport: Transport, from: From) -> Client {
        let (client, subscriber) = self.meet(user, transport, from);
        self.accept(subscriber);
        client
    }

    /// Both ends of a connection that the gateway has not been given yet.
    pub fn meet(&self, user: u32, transport: Transport, from: From) -> (Client, Subscriber) {
        let mut client = TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = self.listener.accept().unwrap();
        server.set_nonblocking(true).unwrap();
        let ends = self.tls.as_ref().map(|(acceptor, trust)| {
            client.set_nonblocking(true).unwrap();
            let ends = agree(acceptor, trust, &mut server, &mut client);
            client.set_nonblocking(false).unwrap();
            ends
        });
        let (socket, secure) = match ends {
            Some((theirs, ours)) => (Socket::Secure(server, Box::new(theirs)), Some(ours)),
            None => (Socket::Tcp(server), None),
        };
        let subscriber = Subscriber {
            pass: None,
            socket,
            read: Bytes::new(),
            head: Bytes::from_static(b"HEAD\r\n\r\n"),
            transport,
            user,
            from,
        };
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let client = Client {
            socket: client,
            secure,
            transport,
            bytes: Vec::new(),
            at: 0,
            greeted: false,
        };
        (client, subscriber)
    }

    pub fn accept(&self, mut subscriber: Subscriber) {
        let deadline = clock::now() + PATIENCE;
        while let Err(refused) = self.gateway.accept(subscriber) {
            assert!(clock::now() < deadline, "refused");
            subscriber = refused;
            std::thread::yield_now();
        }
    }
}

/// What a worker's thread has, for cells that a test turns by hand; they belong to none of the house's own threads.
pub fn by_hand(house: &House) -> (Context, mio::Poll) {
    let poll = mio::Poll::new().unwrap();
    let registry = poll.registry().try_clone().unwrap();
    (
        Context::new(house.gateway.shared.clone(), registry, Arc::default()),
        poll,
    )
}

impl House {
    /// Both ends of a session that a test gives to a cell of its own.
    pub fn meet_by_hand(&self, user: u32, transport: Transport) -> (Client, Subscriber) {
        self.gateway
            .shared
            .sessions
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.meet(user, transport, From::Now)
    }
}

/// What a client reads, one frame at a time.
pub struct Client {
    pub socket: TcpStream,
    secure: Option<Secure>,
    transport: Transport,
    bytes: Vec<u8>,
    at: usize,
    greeted: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    Event(serde_json::Value),
    /// The cursor line of SSE.
    Id(String),
    Comment,
    Ping,
    Pong(Vec<u8>),
    Close(u16),
    End,
}

impl Heard {
    pub fn event(&self) -> &str {
        match self {
            Self::Event(value) => value["event"].as_str().unwrap_or_default(),
            _ => "",
        }
    }

    pub fn position(&self) -> Option<u64> {
        match self {
            Self::Event(value) if value["event"] == "broadcast" => value["position"].as_u64(),
            _ => None,
        }
    }

    pub fn cursor(&self) -> Option<Cursor> {
        match self {
            Self::Event(value) => Cursor::parse(value["cursor"].as_str()?),
            Self::Id(text) => Cursor::parse(text),
            _ => None,
        }
    }
}

impl Client {
    /// The next frame; `End` when the stream has ended.
    pub fn next(&mut self) -> Heard {
        if !self.greeted {
            let expected: &[u8] = if self.transport == Transport::Sse {
                b"HEAD\r\n\r\nretry: 1000\n\n"
            } else {
                b"HEAD\r\n\r\n"
            };
            while self.bytes.len() < expected.len() {
                assert!(self.fill(), "the stream ended in its head");
            }
            assert_eq!(&self.bytes[..expected.len()], expected);
            self.at = expected.len();
            self.greeted = true;
        }
        loop {
            if let Some(heard) = self.parse() {
                return heard;
            }
            if !self.fill() {
                assert!(self.at == self.bytes.len(), "the stream ended in a frame");
                return Heard::End;
            }
        }
    }

    fn fill(&mut self) -> bool {
        if self.at > 1 << 16 {
            self.bytes.drain(..self.at);
            self.at = 0;
        }
        let mut buffer = [0; 8192];
        let read = match &mut self.secure {
            Some(secure) => secure.read(&mut self.socket, &mut buffer),
            None => self.socket.read(&mut buffer),
        };
        match read {
            Ok(0) => false,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => false,
            Ok(count) => {
                self.bytes.extend_from_slice(&buffer[..count]);
                true
            }
            Err(error) => panic!("nothing to read: {error}"),
        }
    }

    fn parse(&mut self) -> Option<Heard> {
        let rest = &self.bytes[self.at..];
        let (length, heard) = match self.transport {
            Transport::WebSocket => websocket(rest)?,
            Transport::Lines => {
                let end = rest.iter().position(|byte| *byte == b'\n')?;
                (end + 1, Heard::Event(serde_json::from_slice(&rest[..end]).unwrap()))
            }
            Transport::Sse => {
                let end = rest.windows(2).position(|two| two == b"\n\n")?;
                (end + 2, sse(std::str::from_utf8(&rest[..end]).unwrap()))
            }
        };
        self.at += length;
        Some(heard)
    }

    /// Frames until one of this event.
    pub fn until(&mut self, event: &str) -> serde_json::Value {
        let deadline = clock::now() + PATIENCE;
        while clock::now() < deadline {
            match self.next() {
                Heard::Event(value) if value["event"] == event => return value,
                Heard::End => panic!("the stream ended before {event}"),
                _ => {}
            }
        }
        panic!("no {event} came")
    }

    /// The positions of the next `count` broadcasts.
    pub fn broadcasts(&mut self, count: usize) -> Vec<u64> {
        let mut positions = Vec::new();
        while positions.len() < count {
            let heard = self.next();
            assert_ne!(heard, Heard::End, "the stream ended after {positions:?}");
            positions.extend(heard.position());
        }
        positions
    }

    /// Sends a text with a mask of zeros, which changes nothing.
    pub fn send(&mut self, text: &str) {
        use std::io::Write;
        let mut frame = vec![0x81];
        match text.len() {
            length @ 0..=125 => frame.push(0x80 | length as u8),
            length => {
                frame.push(0x80 | 0x7E);
                frame.extend_from_slice(&(length as u16).to_be_bytes());
            }
        }
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(text.as_bytes());
        match &mut self.secure {
            Some(secure) => assert_eq!(secure.write(&mut self.socket, &frame).unwrap(), frame.len()),
            None => self.socket.write_all(&frame).unwrap(),
        }
    }
}

fn websocket(bytes: &[u8]) -> Option<(usize, Heard)> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    let (from, length) = match second {
        126 => (4, usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]))),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().unwrap()) as usize),
        short => (2, usize::from(short)),
    };
    let text = bytes.get(from..from + length)?;
    let heard = match first {
        0x81 => Heard::Event(serde_json::from_slice(text).unwrap()),
        0x88 => Heard::Close(u16::from_be_bytes([text[0], text[1]])),
        0x89 => Heard::Ping,
        0x8A => Heard::Pong(text.to_vec()),
        other => panic!("a frame that starts with {other:#x}"),
    };
    Some((from + length, heard))
}

fn sse(block: &str) -> Heard {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
    match (field("data: "), field("id: ")) {
        (Some(data), _) => {
            let value: serde_json::Value = serde_json::from_str(data).unwrap();
            assert_eq!(field("event: "), value["event"].as_str());
            Heard::Event(value)
        }
        (None, Some(id)) => Heard::Id(id.to_owned()),
        (None, None) => Heard::Comment,
    }
}

/// Waits for a condition, with a deadline.
pub fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let deadline: Instant = clock::now() + PATIENCE;
    while !is_so() {
        assert!(clock::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

pub fn bitmap(users: &[u32]) -> RoaringBitmap {
    users.iter().copied().collect()
}
