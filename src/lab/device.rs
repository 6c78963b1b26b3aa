//! A person's device: it stays subscribed whatever happens, resumes by cursor on another node, confirms what it got (at once, or
//! where its person keeps silent at the next alert), and keeps a record of all that it read.

use super::{
    confirmed::{Confirmation, Confirmations},
    http::{self, Call},
    ledger::Seen,
    oracle::{Device as Number, plan::Silence},
    stream::{Event, Stream, Transport},
};
use crate::{
    base::{backoff::Backoff, clock},
    model::Priority,
};
use anyhow::{Result, bail};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    sync::{Semaphore, watch},
    time::{sleep, sleep_until, timeout},
};

const OPEN_MAX: Duration = Duration::from_secs(5);
const ACKNOWLEDGE_MAX: Duration = Duration::from_secs(5);
const POSTS_MAX: usize = 32;
const ACKNOWLEDGE_TRIES: usize = 12;
const PAUSE: Backoff = Backoff {
    first: Duration::from_millis(20),
    factor: 2.0,
    max: Duration::from_millis(500),
};

#[derive(Clone, Debug)]
pub struct Identity {
    pub user: String,
    pub number: Number,
    /// The `Authorization` of this user.
    pub bearer: String,
    pub transport: Transport,
    /// The first node; the others follow in turn after each break.
    pub home: usize,
}

/// What all devices of a run share.
#[derive(Debug)]
pub struct World {
    pub nodes: Vec<SocketAddr>,
    /// Who says nothing to the first alert.
    pub silence: Silence,
    /// Devices that have been greeted at least once.
    pub greeted: AtomicU64,
    /// Broadcasts read for the first time.
    pub read: AtomicU64,
    /// Alerts of steps, read for the first time.
    pub alerted: AtomicU64,
    pub acknowledged: AtomicU64,
    pub confirmations: Mutex<Confirmations>,
    /// Connections after the first, of all devices.
    pub reconnects: AtomicU64,
    /// Acknowledgements over HTTP at one time.
    pub posts: Arc<Semaphore>,
    /// Why the last connection broke, for the message when devices can't connect.
    pub last_trouble: Mutex<String>,
}

impl World {
    pub fn new(nodes: Vec<SocketAddr>, silence: Silence) -> Self {
        Self {
            nodes,
            silence,
            greeted: AtomicU64::new(0),
            read: AtomicU64::new(0),
            alerted: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            confirmations: Mutex::default(),
            reconnects: AtomicU64::new(0),
            posts: Arc::new(Semaphore::new(POSTS_MAX)),
            last_trouble: Mutex::default(),
        }
    }

    /// A device sends its confirmation for the first time.
    fn begins(&self, id: &str, device: Number, at: Instant) {
        let confirmation = Confirmation {
            begun: at,
            answered: None,
        };
        let mut confirmations = self.confirmations.lock();
        confirmations
            .entry(id.to_owned())
            .or_default()
            .insert(device, confirmation);
    }

    /// The cluster has taken it.
    fn has_confirmed(&self, id: &str, device: Number, at: Instant) {
        let mut confirmations = self.confirmations.lock();
        let confirmation = confirmations.get_mut(id).and_then(|devices| devices.get_mut(&device));
        if let Some(confirmation) = confirmation {
            confirmation.answered = Some(at);
            self.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn trouble(&self, user: &str, broken: Result<()>) {
        if let Err(error) = broken {
            *self.last_trouble.lock() = format!("{user}: {error:#}");
        }
    }
}

/// What a device is told to do; the newest word counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Orders {
    Stay,
    /// Drop the connection and come back then, on another node.
    Away {
        until: Instant,
    },
    /// The day is over.
    Leave,
}

#[derive(Debug, Default)]
struct Record {
    seen: Vec<Seen>,
    ids: BTreeSet<String>,
    /// Alerts of steps, by broadcast and position.
    alerts: BTreeSet<(String, u64)>,
    /// Broadcasts that it has confirmed, or is about to.
    confirmed: BTreeSet<String>,
    cursor: Option<String>,
    connection: u32,
    /// Sent over a WebSocket and not yet answered, by broadcast: sent again on the next connection.
    unanswered: BTreeMap<String, String>,
}

/// Lives until it is told to leave, and hands over what it saw.
pub async fn live(identity: Identity, world: Arc<World>, mut orders: watch::Receiver<Orders>) -> Vec<Seen> {
    let mut device = Device {
        identity,
        world,
        record: Record::default(),
    };
    let mut node = device.identity.home;
    let mut fails = 0;
    loop {
        let order = *orders.borrow_and_update();
        match order {
            Orders::Leave => return device.record.seen,
            Orders::Away { until } if until > clock::now() => {
                tokio::select! {
                    () = sleep_until(until.into()) => {}
                    _ = orders.changed() => continue,
                }
            }
            Orders::Away { .. } | Orders::Stay => {}
        }
        let connection = device.record.connection;
        tokio::select! {
            broken = device.listen(node) => device.world.trouble(&device.identity.user, broken),
            changed = orders.changed() => if changed.is_err() { return device.record.seen },
        }
        fails = if device.record.connection > connection {
            0
        } else {
            fails + 1
        };
        node = (node + 1) % device.world.nodes.len();
        sleep(PAUSE.delay(fails, rand::random())).await;
    }
}

struct Device {
    identity: Identity,
    world: Arc<World>,
    record: Record,
}

impl Device {
    /// One connection, until it breaks. It may be dropped at any await: the record is always whole.
    async fn listen(&mut self, node: usize) -> Result<()> {
        let Identity { bearer, transport, .. } = &self.identity;
        let open = Stream::open(
            self.world.nodes[node],
            *transport,
            bearer,
            self.record.cursor.as_deref(),
        );
        let mut stream = timeout(OPEN_MAX, open).await??;
        let mut received = Vec::new();
        self.greet(&mut stream).await?;
        loop {
            let (event, at) = stream.next().await?;
            match event {
                Event::Cursor(cursor) => self.record.cursor = Some(cursor),
                Event::Closed(code) => bail!("closed with {code}"),
                Event::Frame(frame) => match frame["event"].as_str() {
                    Some("hello") => self.hello(&frame),
                    Some("broadcast") => {
                        received.extend(frame["id"].as_str().map(str::to_owned));
                        self.broadcast(&mut stream, &frame, at).await?;
                    }
                    Some("ok" | "problem") => self.answered(&frame, at),
                    Some("goodbye") => bail!("goodbye"),
                    _ => {}
                },
            }
            if stream.is_drained() && !received.is_empty() {
                stream.send(&json!({"receipt": {"received": received}})).await?;
                received.clear();
            }
        }
    }

    async fn greet(&mut self, stream: &mut Stream) -> Result<()> {
        stream.send(&json!({"hello": {"receipts": true}})).await?;
        for (id, answer) in &self.record.unanswered {
            stream.send(&acknowledgement(id, answer)).await?;
        }
        Ok(())
    }

    fn hello(&mut self, frame: &Value) {
        if self.record.connection == 0 {
            self.world.greeted.fetch_add(1, Ordering::Relaxed);
        } else {
            self.world.reconnects.fetch_add(1, Ordering::Relaxed);
        }
        self.record.connection += 1;
        if let Some(cursor) = frame["cursor"].as_str() {
            self.record.cursor = Some(cursor.to_owned());
        }
    }

    async fn broadcast(&mut self, stream: &mut Stream, frame: &Value, at: Instant) -> Result<()> {
        let text = |name: &str| frame[name].as_str().unwrap_or_default().to_owned();
        let seen = Seen {
            id: text("id"),
            title: text("title"),
            priority: Priority::parse(&text("priority")),
            position: frame["position"].as_u64().unwrap_or_default(),
            at,
            connection: self.record.connection,
            escalated: frame["escalated"] == true,
        };
        self.record.seen.push(seen.clone());
        if self.record.ids.insert(seen.id.clone()) {
            self.world.read.fetch_add(1, Ordering::Relaxed);
        }
        if seen.escalated && self.record.alerts.insert((seen.id.clone(), seen.position)) {
            self.world.alerted.fetch_add(1, Ordering::Relaxed);
        }
        let asks = frame["acknowledge"].is_object();
        if asks && !self.keeps_silent(&seen, &text("body")) && self.record.confirmed.insert(seen.id.clone()) {
            let answer = frame["acknowledge"]["answers"][0].as_str().unwrap_or("ok").to_owned();
            self.world.begins(&seen.id, self.identity.number, clock::now());
            self.acknowledge(stream, seen.id, answer).await?;
        }
        Ok(())
    }

    fn keeps_silent(&self, seen: &Seen, body: &str) -> bool {
        let silence = &self.world.silence;
        !seen.escalated && silence.is_kept_by(self.identity.number, &seen.title, body)
    }

    async fn acknowledge(&mut self, stream: &mut Stream, id: String, answer: String) -> Result<()> {
        match self.identity.transport {
            Transport::WebSocket => {
                let message = acknowledgement(&id, &answer);
                self.record.unanswered.insert(id, answer);
                stream.send(&message).await
            }
            Transport::Sse => {
                let (world, identity) = (self.world.clone(), self.identity.clone());
                tokio::spawn(post_acknowledgement(world, identity, id, answer));
                Ok(())
            }
        }
    }

    fn answered(&mut self, frame: &Value, at: Instant) {
        let id = frame["ref"].as_str().unwrap_or_default();
        if frame["retryable"] == true {
            return;
        }
        let was_asked = self.record.unanswered.remove(id).is_some();
        if was_asked && frame["event"] == "ok" {
            self.world.has_confirmed(id, self.identity.number, at);
        }
    }
}

/// The broadcast's id is also the message's reference.
fn acknowledgement(id: &str, answer: &str) -> Value {
    json!({"acknowledge": {"id": id, "answer": answer}, "ref": id})
}

async fn post_acknowledgement(world: Arc<World>, identity: Identity, id: String, answer: String) {
    let Ok(_turn) = world.posts.clone().acquire_owned().await else {
        return;
    };
    let path = format!("/v1/broadcasts/{id}/acknowledge");
    let body = json!({"answer": answer}).to_string();
    let headers = [
        ("Content-Type", "application/json"),
        ("Authorization", identity.bearer.as_str()),
    ];
    let call = Call {
        method: "POST",
        path: &path,
        headers: &headers,
        body: body.as_bytes(),
    };
    for attempt in 0..ACKNOWLEDGE_TRIES {
        let node = world.nodes[(identity.home + attempt) % world.nodes.len()];
        let answer = http::call(node, &call, ACKNOWLEDGE_MAX).await.ok();
        if let Some(answer) = answer.filter(|answer| matches!(answer.status, 200..=299)) {
            return world.has_confirmed(&id, identity.number, answer.at);
        }
        sleep(PAUSE.delay(attempt as u32, rand::random())).await;
    }
}

#[cfg(test)]
mod tests {
    use super::{Identity, Orders, Silence, World, live};
    use crate::lab::stream::Transport;
    use std::sync::{Arc, atomic::Ordering};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
        sync::watch,
    };

    const SSE: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";

    async fn accept(listener: &TcpListener) -> (TcpStream, String) {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await.unwrap());
        }
        (socket, String::from_utf8(head).unwrap())
    }

    fn broadcast(id: &str, position: u32) -> String {
        format!(
            "event: broadcast\ndata: {{\"id\":\"{id}\",\"priority\":\"low\",\"position\":{position},\"title\":\"T\"}}\n\nid: 1.0.0.0.{position}\n\n"
        )
    }

    #[tokio::test]
    async fn a_broken_stream_is_resumed_by_cursor_on_the_next_node() {
        let (one, two) = (
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
        );
        let nodes = [&one, &two].map(|node| node.local_addr().unwrap());
        let world = Arc::new(World::new(nodes.into(), Silence::default()));
        let (orders, ordered) = watch::channel(Orders::Stay);
        let identity = Identity {
            user: "ann".into(),
            number: 0,
            bearer: "Bearer ann".into(),
            transport: Transport::Sse,
            home: 0,
        };
        let device = tokio::spawn(live(identity, world.clone(), ordered));

        let (mut socket, head) = accept(&one).await;
        assert!(
            head.starts_with("GET /v1/subscribe ")
                && head.contains("Authorization: Bearer ann\r\n")
                && !head.contains("Last-Event-ID"),
            "{head}"
        );
        let hello = "event: hello\ndata: {\"cursor\": \"1.0.0.0.0\"}\n\n";
        socket
            .write_all([SSE, hello, &broadcast("a", 7)].concat().as_bytes())
            .await
            .unwrap();
        drop(socket);
        let (mut socket, head) = accept(&two).await;
        assert!(head.contains("Last-Event-ID: 1.0.0.0.7\r\n"), "{head}");
        let hello = "event: hello\ndata: {\"cursor\": \"1.0.0.0.7\"}\n\n";
        let rest = [broadcast("a", 7), broadcast("b", 8)].concat();
        socket.write_all([SSE, hello, &rest].concat().as_bytes()).await.unwrap();
        while world.read.load(Ordering::Relaxed) < 2 {
            tokio::task::yield_now().await;
        }
        orders.send_replace(Orders::Leave);
        let seen = device.await.unwrap();
        let seen: Vec<_> = seen
            .iter()
            .map(|seen| (seen.id.as_str(), seen.position, seen.connection))
            .collect();
        assert_eq!(seen, [("a", 7, 1), ("a", 7, 2), ("b", 8, 2)]);
        assert_eq!(world.reconnects.load(Ordering::Relaxed), 1);
    }
}
