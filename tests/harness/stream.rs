//! A subscriber: reads SSE, WebSocket or lines, remembers every frame, and comes back with its cursor wherever it can.

use super::http::{connect, read_chunk, read_head};
use serde_json::{Value, json};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    WebSocket,
    Sse,
    Lines,
}

impl Transport {
    pub const ALL: [Self; 3] = [Self::WebSocket, Self::Sse, Self::Lines];
}

/// Where a stream starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// What is owed, then live.
    Owed,
    Now,
    Earliest,
    Cursor(String),
}

/// One broadcast that reached this subscriber.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub id: String,
    pub position: u64,
    pub priority: String,
    pub body: String,
    pub frame: Value,
    /// Which of this subscriber's connections brought it.
    pub connection: usize,
    pub at: Instant,
}

/// All that a subscriber saw.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub deliveries: Vec<Delivery>,
    /// A cursor, and how many deliveries stood before it.
    pub cursors: Vec<(String, usize)>,
    /// Other events in full: `hello`, `gap`, `goodbye`, `degraded`, `retracted`, ...
    pub others: Vec<Value>,
    /// The address of each connection that was answered.
    pub connections: Vec<SocketAddr>,
    /// Why connections ended, or were refused.
    pub ends: Vec<String>,
    /// What happened to the connections, in order: asked for what, answered, told what, ended how. For whoever looks for a fault.
    pub story: Vec<(Instant, String)>,
}

impl Seen {
    pub fn ids(&self) -> Vec<&str> {
        self.deliveries.iter().map(|delivery| delivery.id.as_str()).collect()
    }

    pub fn has(&self, id: &str) -> bool {
        self.deliveries.iter().any(|delivery| delivery.id == id)
    }

    pub fn events(&self, name: &str) -> Vec<&Value> {
        self.others.iter().filter(|event| event["event"] == name).collect()
    }

    pub fn cursor(&self) -> Option<String> {
        self.cursors.last().map(|(cursor, _)| cursor.clone())
    }

    fn tell(&mut self, what: String) {
        self.story.push((Instant::now(), what));
    }
}

/// The open end of one accepted subscription.
pub struct Connection {
    stream: BufReader<TcpStream>,
    transport: Transport,
    chunked: bool,
    /// Bytes of the body that are not yet a whole line.
    body: Vec<u8>,
}

/// The key and its answer from RFC 6455, section 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const KEY_ANSWER: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

impl Connection {
    pub fn open(address: SocketAddr, transport: Transport, user: &str, start: &Start) -> io::Result<Self> {
        Self::open_as(address, transport, &format!("user={user}"), start)
    }

    /// `who` stands first in the query: `user=...` or `token=...`.
    pub fn open_as(address: SocketAddr, transport: Transport, who: &str, start: &Start) -> io::Result<Self> {
        let (query, resume) = match start {
            Start::Owed => (String::new(), String::new()),
            Start::Now => ("&from=now".into(), String::new()),
            Start::Earliest => ("&from=earliest".into(), String::new()),
            Start::Cursor(cursor) if transport == Transport::Sse => {
                (String::new(), format!("Last-Event-ID: {cursor}\r\n"))
            }
            Start::Cursor(cursor) => (format!("&cursor={cursor}"), String::new()),
        };
        let wish = match transport {
            Transport::Sse => "Accept: text/event-stream\r\n".to_owned(),
            Transport::Lines => "Accept: application/x-ndjson\r\n".to_owned(),
            Transport::WebSocket => format!(
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Protocol: campanile.v1\r\nSec-WebSocket-Key: {KEY}\r\n"
            ),
        };
        let mut stream = connect(address, Duration::from_secs(5))?;
        let head = format!("GET /v1/subscribe?{who}{query} HTTP/1.1\r\nHost: {address}\r\n{wish}{resume}\r\n");
        stream.get_mut().write_all(head.as_bytes())?;
        let answer = read_head(&mut stream)?;
        let wanted = if transport == Transport::WebSocket { 101 } else { 200 };
        if answer.status != wanted {
            return Err(io::Error::other(format!("refused with {}", answer.status)));
        }
        if transport == Transport::WebSocket {
            assert_eq!(answer.header("sec-websocket-accept"), Some(KEY_ANSWER));
            assert_eq!(answer.header("sec-websocket-protocol"), Some("campanile.v1"));
        }
        let chunked = answer.header("transfer-encoding").is_some();
        Ok(Self {
            stream,
            transport,
            chunked,
            body: Vec::new(),
        })
    }

    /// The next server event, as JSON with its `event`; `None` when `within` has passed.
    pub fn next(&mut self, within: Duration) -> io::Result<Option<Value>> {
        let end = Instant::now() + within;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.readable(left)? {
                return Ok(None);
            }
            // Once a frame has begun, the rest follows soon: a half frame for seconds is a fault.
            self.stream.get_ref().set_read_timeout(Some(Duration::from_secs(10)))?;
            let event = match self.transport {
                Transport::WebSocket => self.message()?,
                Transport::Sse => self.sse_block()?,
                Transport::Lines => Some(as_json(&self.line()?)),
            };
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    /// A client message (WebSocket only).
    pub fn say(&mut self, message: &Value) -> io::Result<()> {
        self.frame(1, message.to_string().as_bytes())
    }

    fn readable(&mut self, within: Duration) -> io::Result<bool> {
        if !self.body.is_empty() || !self.stream.buffer().is_empty() {
            return Ok(true);
        }
        self.stream.get_ref().set_read_timeout(Some(within))?;
        match self.stream.fill_buf() {
            Ok([]) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(true),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A WebSocket message; pings are answered, a close ends the stream.
    fn message(&mut self) -> io::Result<Option<Value>> {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head)?;
        assert_eq!(head[0] & 0x70, 0, "no extension was agreed on");
        assert_eq!(head[1] & 0x80, 0, "a server never masks");
        let length = match head[1] & 0x7F {
            126 => {
                let mut long = [0; 2];
                self.stream.read_exact(&mut long)?;
                u64::from(u16::from_be_bytes(long))
            }
            127 => {
                let mut long = [0; 8];
                self.stream.read_exact(&mut long)?;
                u64::from_be_bytes(long)
            }
            short => u64::from(short),
        };
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.stream.read_exact(&mut payload)?;
        match head[0] {
            0x81 => Ok(Some(as_json(std::str::from_utf8(&payload).unwrap()))),
            0x89 => self.frame(10, &payload).map(|()| None),
            0x8A => Ok(None),
            0x88 => {
                let code = payload
                    .get(..2)
                    .map_or(1005, |code| u16::from_be_bytes([code[0], code[1]]));
                Err(io::Error::new(
                    io::ErrorKind::ConnectionAborted,
                    format!("closed with {code}"),
                ))
            }
            other => panic!("a frame with the first byte {other:#x}"),
        }
    }

    fn frame(&mut self, kind: u8, payload: &[u8]) -> io::Result<()> {
        const MASK: [u8; 4] = [7, 11, 13, 17];
        let mut bytes = vec![0x80 | kind];
        match payload.len() {
            length @ 0..126 => bytes.push(0x80 | length as u8),
            length @ 126..65_536 => {
                bytes.push(0x80 | 0x7E);
                bytes.extend((length as u16).to_be_bytes());
            }
            length => {
                bytes.push(0x80 | 0x7F);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        bytes.extend(MASK);
        bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.stream.get_mut().write_all(&bytes)
    }

    /// An SSE block. One with data is an event; one with an `id:` alone is a cursor; a comment is nothing.
    fn sse_block(&mut self) -> io::Result<Option<Value>> {
        let (mut event, mut id, mut data) = (String::new(), None, Vec::new());
        loop {
            let line = self.line()?;
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match (line.is_empty(), field) {
                (true, _) => break,
                (_, "event") => value.clone_into(&mut event),
                (_, "id") => id = Some(value.to_owned()),
                (_, "data") => data.push(value.to_owned()),
                (_, "" | "retry") => {}
                _ => panic!("an unknown SSE field in {line:?}"),
            }
        }
        if data.is_empty() {
            return Ok(id.map(|cursor| json!({"event": "cursor", "cursor": cursor})));
        }
        let mut frame = as_json(&data.join("\n"));
        frame["event"] = json!(event);
        if let Some(id) = id {
            frame["cursor"] = json!(id);
        }
        Ok(Some(frame))
    }

    /// A line of the body.
    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.body.iter().position(|byte| *byte == b'\n') {
                let rest = self.body.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.body, rest);
                line.truncate(end);
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                let empty = line.is_empty() && self.transport == Transport::Lines;
                let text =
                    String::from_utf8(line).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                if !empty {
                    return Ok(text);
                }
            } else if self.chunked {
                let chunk = read_chunk(&mut self.stream)?;
                self.body.extend(chunk.ok_or(io::ErrorKind::UnexpectedEof)?);
            } else {
                let got = self.stream.fill_buf()?.to_vec();
                if got.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                self.stream.consume(got.len());
                self.body.extend(got);
            }
        }
    }
}

fn as_json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text:?}"))
}

struct Shared {
    seen: Mutex<Seen>,
    changed: Condvar,
    stop: AtomicBool,
    /// Asked to drop the connection without a word, and to come back.
    hop: AtomicBool,
}

/// A subscriber in a thread of its own.
pub struct Subscriber {
    pub user: String,
    pub transport: Transport,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Subscriber {
    /// Connects to `nodes[first]`, and after each break to the next one, with its last cursor.
    pub fn start(nodes: &[SocketAddr], first: usize, transport: Transport, user: &str, start: Start) -> Self {
        let shared = Arc::new(Shared {
            seen: Mutex::default(),
            changed: Condvar::new(),
            stop: AtomicBool::new(false),
            hop: AtomicBool::new(false),
        });
        let (nodes, name, inner) = (nodes.to_vec(), user.to_owned(), shared.clone());
        let thread = std::thread::Builder::new()
            .name(format!("subscriber-{user}"))
            .spawn(move || inner.run(&nodes, first, transport, &name, &start))
            .unwrap();
        Self {
            user: user.to_owned(),
            transport,
            shared,
            thread: Some(thread),
        }
    }

    /// Waits until it has said hello.
    pub fn ready(self) -> Self {
        self.until("hello", Duration::from_secs(15), |seen| {
            !seen.events("hello").is_empty()
        });
        self
    }

    pub fn until(&self, what: &str, within: Duration, holds: impl Fn(&Seen) -> bool) {
        let seen = self.shared.seen.lock().unwrap();
        let (seen, timeout) = self
            .shared
            .changed
            .wait_timeout_while(seen, within, |seen| !holds(seen))
            .unwrap();
        assert!(
            !timeout.timed_out(),
            "{} over {:?}{}: not within {within:?}: {what}; saw {} deliveries, last {:?}, others {:?}, ends {:?}",
            self.user,
            self.transport,
            if self.is_broken() {
                ", whose thread has failed"
            } else {
                ""
            },
            seen.deliveries.len(),
            seen.deliveries.last().map(|delivery| &delivery.body),
            seen.others,
            seen.ends
        );
    }

    /// Its thread has failed: nothing more will be seen.
    pub fn is_broken(&self) -> bool {
        self.thread.as_ref().is_some_and(JoinHandle::is_finished)
    }

    pub fn look<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Drops the connection as a phone does, and comes back at the next node.
    pub fn hop(&self) {
        self.shared.hop.store(true, Ordering::Release);
    }

    /// Ends it and gives what it saw.
    pub fn stop(mut self) -> Seen {
        self.end();
        self.look(Clone::clone)
    }

    fn end(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        let broken = self.thread.take().is_some_and(|thread| thread.join().is_err());
        assert!(
            !broken || std::thread::panicking(),
            "the subscriber {} failed",
            self.user
        );
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn run(&self, nodes: &[SocketAddr], first: usize, transport: Transport, user: &str, start: &Start) {
        let mut at = first;
        while !self.stop.load(Ordering::Acquire) {
            let address = nodes[at % nodes.len()];
            at += 1;
            let resume = self.seen.lock().unwrap().cursor().map(Start::Cursor);
            let from = resume.as_ref().unwrap_or(start);
            let asked = Instant::now();
            let opened = Connection::open(address, transport, user, from);
            let end = match opened {
                Ok(connection) => {
                    self.change(|seen| {
                        seen.connections.push(address);
                        let number = seen.connections.len();
                        seen.tell(format!(
                            "connection {number} to {address} from {from:?}, answered after {:?}",
                            asked.elapsed()
                        ));
                    });
                    self.listen(connection)
                }
                Err(error) => {
                    // A node that is down refuses at once: look again a little later, or when asked to stop.
                    super::wait::maybe(Duration::from_millis(30), || {
                        self.stop.load(Ordering::Acquire).then_some(())
                    });
                    format!("{address}: {error}")
                }
            };
            self.change(|seen| {
                seen.tell(format!("ended: {end}"));
                seen.ends.push(end);
            });
        }
    }

    fn listen(&self, mut connection: Connection) -> String {
        loop {
            if self.stop.load(Ordering::Acquire) {
                return "stopped".into();
            }
            if self.hop.swap(false, Ordering::AcqRel) {
                return "hopped".into();
            }
            match connection.next(Duration::from_millis(20)) {
                Ok(Some(event)) => self.change(|seen| note(seen, event)),
                Ok(None) => {}
                Err(error) => return error.to_string(),
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock().unwrap());
        self.changed.notify_all();
    }
}

fn note(seen: &mut Seen, event: Value) {
    if let Some(cursor) = event["cursor"].as_str() {
        let count = seen.deliveries.len();
        seen.cursors.push((cursor.to_owned(), count));
    }
    let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
    match event["event"].as_str() {
        Some("broadcast") => {
            let delivery = Delivery {
                id: text("id"),
                position: event["position"].as_u64().unwrap(),
                priority: text("priority"),
                body: text("body"),
                connection: seen.connections.len(),
                at: Instant::now(),
                frame: event,
            };
            seen.deliveries.push(delivery);
        }
        Some("cursor" | "ping") => {}
        Some(_) => {
            seen.tell(event.to_string());
            seen.others.push(event);
        }
        None => panic!("an event without a name: {event}"),
    }
}
