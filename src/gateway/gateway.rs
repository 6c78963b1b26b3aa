//! The gateway as the rest of the node sees it.

use super::Config;
use super::backlog::Backlog;
use super::cell::Cell;
use super::cells::{Cells, Note};
use super::collect::Collector;
use super::crew;
use super::frame::Seats;
use super::goodbye::RESTART;
use super::pass::{Pass, Passes};
use super::reader;
use super::shared::{Bulletin, Context, NO_SALT, Shared};
use super::window::Window;
use crate::base::clock;
use crate::metrics::{METRICS, delivery};
use crate::model::{BroadcastId, Cursor, Millis, NodeId, Number, PerPriority, Position, Priority, Step, UserNumber};
use crate::net::{Detached, Secure};
use crate::state::{Release, ReleaseKind};
use crate::workers::Pool;
pub use crate::workers::WorkerStatus;
use bytes::Bytes;
use parking_lot::Mutex;
use roaring::RoaringBitmap;
use socket2::SockRef;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release as Publish};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How bytes go to a subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    WebSocket,
    Sse,
    /// A line of JSON per frame, after the response head.
    Lines,
}

/// A subscriber's socket, non-blocking.
#[derive(Debug)]
pub enum Socket {
    Tcp(std::net::TcpStream),
    /// With what TLS keeps for it, in whatever place of the stream it stands.
    Secure(std::net::TcpStream, Box<Secure>),
    /// One end of a pair whose other end feeds an HTTP body (kept connections, HTTP/2).
    Unix(std::os::unix::net::UnixStream),
}

impl std::convert::From<Detached> for Socket {
    fn from(detached: Detached) -> Self {
        match detached {
            Detached::Plain(stream) => Self::Tcp(stream),
            Detached::Secure(stream, secure) => Self::Secure(stream, secure),
        }
    }
}

/// Where a stream starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// What of the user's is neither expired nor received, then live.
    Backlog,
    Cursor(Cursor),
    Now,
    Earliest,
}

/// A subscriber whose request was accepted.
#[derive(Debug)]
pub struct Subscriber {
    pub socket: Socket,
    /// Bytes already read behind the request's head.
    pub read: Bytes,
    /// Written first: the HTTP response head (empty when it has been sent).
    pub head: Bytes,
    pub transport: Transport,
    pub user: UserNumber,
    pub from: From,
    /// How long it may stay; `None` where nobody is authenticated.
    pub pass: Option<Pass>,
}

/// A client's message that needs the log, or what has left the window; answered through [`Gateway::answer`].
#[derive(Clone, Debug)]
pub struct Request {
    pub session: SessionRef,
    pub user: UserNumber,
    /// The client's own reference, a string or a number, if it wants an answer.
    pub reference: Option<serde_json::Value>,
    /// Of broadcasts that the window does not know: to be looked at, then given to [`Gateway::receipt`].
    pub receipts: Vec<(BroadcastId, Step)>,
    pub acknowledge: Vec<(BroadcastId, String)>,
}

/// Names a session of this node for an answer; stale ones are ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionRef(pub u64);

/// What the sessions of this node did since the last call.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub deltas: Vec<(Number, Step, RoaringBitmap)>,
    /// Who was written to by a session that promised receipts.
    pub promised: Vec<(Number, RoaringBitmap)>,
    pub watermarks: PerPriority<Position>,
    pub came: RoaringBitmap,
    pub went: RoaringBitmap,
}

/// What `GET /v1/queues` shows of one priority.
#[derive(Clone, Copy, Debug, Default)]
pub struct QueueStatus {
    /// Recipients connected here and not yet written to.
    pub waiting: u64,
    /// Age of the oldest release not yet written to all its recipients here.
    pub oldest: Duration,
    /// Writes under way.
    pub in_flight: u64,
    pub written: u64,
}

/// The most releases that a question about queues looks at in each priority.
const STATUS_MAX: usize = 4096;
/// How often a node that drains looks whether it is done.
const DRAIN_LOOK: Duration = Duration::from_millis(5);
/// A peer that takes no packet for this long is gone, whatever its heartbeats.
const USER_TIMEOUT: Duration = Duration::from_secs(30);
/// Cells fit a session's name.
const CELLS_MAX: usize = 4096;

pub struct Gateway {
    pub(super) shared: Arc<Shared>,
    pub(super) pool: Arc<Pool<Note>>,
    reader: Mutex<Option<JoinHandle<()>>>,
    /// Held while the number of threads changes.
    pub(super) resizing: Mutex<()>,
}

impl Gateway {
    /// Starts the threads. `requests` takes clients' messages that need the log (bounded; a full one answers "try again").
    pub fn start(
        config: &Config,
        workers: &crate::workers::Config,
        node: NodeId,
        epoch: u32,
        backlog: Arc<dyn Backlog>,
        requests: tokio::sync::mpsc::Sender<Request>,
    ) -> std::io::Result<Arc<Self>> {
        let cells = workers.cells.clamp(1, CELLS_MAX);
        let threads = workers.threads();
        let (asks, asked) = reader::channel(config.sessions_max);
        let shared = Arc::new(Shared {
            config: config.clone(),
            node,
            slice_min: workers.slice_min,
            slice_max: workers.slice_max,
            window: Window::new(config.window_bytes_max.bytes()),
            collector: Collector::new(cells),
            owners: (0..cells).map(|cell| AtomicUsize::new(cell % threads)).collect(),
            sizes: (0..cells).map(|_| AtomicUsize::new(0)).collect(),
            epoch: AtomicU32::new(epoch),
            salt: AtomicU32::new(NO_SALT),
            sessions: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
            sent_away: AtomicUsize::new(0),
            clock_offset: AtomicI64::new(0),
            passes: Passes::default(),
            bulletin: Mutex::new(Bulletin {
                epoch,
                ..Bulletin::default()
            }),
            version: AtomicU64::new(0),
            asks,
            requests,
            backlog,
            started: clock::now(),
        });
        let all = shared.clone();
        let pool = Pool::start(workers, move |place, pool| {
            let context = Context::new(all.clone(), place.registry, place.gauge);
            Cells::new(place.index, Arc::downgrade(pool), context)
        })?;
        for index in 0..cells {
            crew::give_new(&pool, index % threads, Cell::new(index, epoch))?;
        }
        let (owners, workers) = (shared.clone(), Arc::downgrade(&pool));
        let reader = reader::start(shared.clone(), asked, move |session, found| {
            if let Some(pool) = workers.upgrade() {
                crew::tell(&pool, &owners, Note::Found(session, found));
            }
        })?;
        Ok(Arc::new(Self {
            shared,
            pool,
            reader: Mutex::new(Some(reader)),
            resizing: Mutex::new(()),
        }))
    }

    /// A release was applied: never blocks, never fails.
    pub fn release(&self, release: Arc<Release>) {
        let (priority, position) = (release.priority, release.position);
        if delivery::is_on() {
            count(&release);
        }
        self.shared.salt.store(u32::from(release.broadcast.id.salt()), Relaxed);
        self.shared.window.push(release);
        self.pool.wake(priority, position);
    }

    /// Rows up to here are in sled: the window may forget them when it is full.
    pub fn stored(&self, position: Position) {
        self.shared.window.stored(position);
    }

    /// A broadcast is off: sessions that it has not been written to do not get it.
    pub fn withdraw(&self, number: Number) {
        self.shared.window.withdraw(number);
    }

    /// Nothing at or below this position is kept any more: whoever comes back from before it is told of a gap.
    pub fn gone(&self, position: Position) {
        self.shared.window.gone(position);
    }

    /// The state was replaced: the window starts anew with `releases` (of each priority the newest, without holes), all
    /// sessions look again. `head` is the position of the last release of all.
    pub fn reset(&self, epoch: u32, head: Position, releases: Vec<Arc<Release>>) {
        self.shared.window.reset(head, releases);
        self.tell_all(|bulletin| bulletin.epoch = epoch);
    }

    /// The position of the last release that this node has.
    pub fn head(&self) -> Position {
        self.shared.window.head()
    }

    /// Log time less this machine's wall clock: what has expired is not written.
    pub fn set_clock_offset(&self, offset: Millis) {
        self.shared.clock_offset.store(offset, Relaxed);
    }

    /// Hands a socket to a worker. Refused (and given back) when `sessions_max` is reached or the node drains.
    #[allow(clippy::result_large_err)] // the caller gets its socket back
    pub fn accept(&self, subscriber: Subscriber) -> Result<(), Subscriber> {
        let sessions = &self.shared.sessions;
        if self.shared.draining.load(Acquire) {
            return Err(subscriber);
        }
        if sessions.fetch_add(1, Relaxed) >= self.shared.config.sessions_max {
            sessions.fetch_sub(1, Relaxed);
            METRICS.limits_hit.with_label_values(&["gateway.sessions_max"]).inc();
            return Err(subscriber);
        }
        self.tune(&subscriber.socket);
        match self.post(Note::Session(Box::new(subscriber))) {
            Err(Note::Session(subscriber)) => {
                sessions.fetch_sub(1, Relaxed);
                Err(*subscriber)
            }
            _ => Ok(()),
        }
    }

    /// Small buffers, so that what is urgent overtakes; a socket that refuses a wish works without it.
    fn tune(&self, socket: &Socket) {
        let config = &self.shared.config;
        match socket {
            Socket::Tcp(stream) | Socket::Secure(stream, _) => {
                let socket = SockRef::from(stream);
                let _ = socket.set_tcp_nodelay(true);
                let _ = socket.set_send_buffer_size(config.send_buffer.bytes());
                let _ = socket.set_tcp_notsent_lowat(config.unsent_max.bytes() as u32);
                let _ = socket.set_tcp_user_timeout(Some(USER_TIMEOUT));
                let _ = socket.set_nonblocking(true);
            }
            Socket::Unix(stream) => {
                let _ = SockRef::from(stream).set_send_buffer_size(config.send_buffer.bytes());
                let _ = stream.set_nonblocking(true);
            }
        }
    }

    /// Writes a message ([`super::frame::ok`], [`super::frame::problem`]) to a session, if it is still there.
    pub fn answer(&self, session: SessionRef, message: String) {
        if session.cell() < self.shared.owners.len() {
            // Not written when the lane is full: whoever waits for it asks again.
            let _ = self.post(Note::Answer(session, message));
        }
    }

    /// A receipt that was found to be good.
    pub fn receipt(&self, number: Number, step: Step, user: UserNumber) {
        self.shared.collector.step(number, step, user);
    }

    /// The user is gone: their sessions end with 4003.
    pub fn erase(&self, user: UserNumber) {
        self.tell_all(|bulletin| {
            bulletin.erased.insert(user);
        });
    }

    /// A pass for a session of this token. Look at the token once more after this: a revocation from now on ends the session.
    pub fn issue(&self, token: &str, until: Option<Millis>) -> Pass {
        self.shared.passes.issue(token, until)
    }

    /// Sessions that came with a token that `is_over` end with 4001.
    pub fn revoke(&self, is_over: impl Fn(&str) -> bool) {
        if self.shared.passes.revoke(is_over) {
            self.tell_all(|_| {});
        }
    }

    /// Tells all sessions that this node has no leader (or has one again).
    pub fn set_degraded(&self, degraded: bool) {
        if self.shared.bulletin.lock().degraded != degraded {
            self.tell_all(|bulletin| bulletin.degraded = degraded);
        }
    }

    /// The other nodes' addresses for clients.
    pub fn set_others(&self, urls: Vec<String>) {
        self.shared.bulletin.lock().others = Arc::new(urls);
    }

    /// How full the other nodes are, told to sessions that come from now on.
    pub fn set_load(&self, load: Vec<Seats>) {
        self.shared.bulletin.lock().load = Arc::new(load);
    }

    fn tell_all(&self, change: impl FnOnce(&mut Bulletin)) {
        {
            let mut bulletin = self.shared.bulletin.lock();
            change(&mut bulletin);
            self.shared.version.fetch_add(1, Publish);
            // Last: whoever sees a new epoch finds that there is news, and waits here for it.
            self.shared.epoch.store(bulletin.epoch, Publish);
        }
        self.pool.ring();
    }

    /// Receipts and presence since the last call.
    pub fn take_report(&self) -> Report {
        self.shared.collector.take(self.head())
    }

    /// Puts a report back that could not be proposed; it is merged into the next.
    pub fn return_report(&self, report: Report) {
        self.shared.collector.put_back(report);
    }

    /// Everybody with a session here.
    pub fn present(&self) -> RoaringBitmap {
        self.shared.collector.present()
    }

    /// The history that the cursors of this node belong to.
    pub fn epoch(&self) -> u32 {
        self.shared.epoch.load(Acquire)
    }

    pub fn sessions(&self) -> usize {
        self.shared.sessions.load(Relaxed)
    }

    /// How many there may be.
    pub fn sessions_max(&self) -> usize {
        self.shared.config.sessions_max
    }

    /// Counts what stands between each cell's watermark and the head of the window. No release waits for the counting.
    pub fn queues(&self) -> PerPriority<QueueStatus> {
        let shared = &self.shared;
        let present = shared.collector.present();
        let head = shared.window.head();
        let marks: Vec<_> = (0..shared.owners.len())
            .map(|cell| shared.collector.watermark(cell, head))
            .collect();
        let now = clock::now();
        Priority::ALL.map(|priority| {
            let index = priority.index();
            let lowest = marks.iter().map(|marks| marks[index]).min().unwrap_or(0);
            let mut status = QueueStatus {
                written: METRICS.of_priority[index].written.get(),
                ..QueueStatus::default()
            };
            for entry in shared.window.copy_after(priority, lowest, STATUS_MAX) {
                let waits = |user: &u32| marks[shared.cell_of(*user)][index] < entry.position();
                let waiting = (&present & &*entry.release.recipients).iter().filter(waits).count() as u64;
                if waiting > 0 {
                    status.oldest = status.oldest.max(now.saturating_duration_since(entry.since));
                    status.in_flight = status.in_flight.max(waiting);
                }
                status.waiting += waiting;
            }
            status
        })
    }

    /// Says goodbye (1012, with a pause) to all sessions and ends the threads; waits `within` for what is owed.
    pub fn drain(&self, within: Duration) {
        let deadline = clock::now() + within;
        self.shared.draining.store(true, Publish);
        let head = self.head();
        let written = || self.shared.collector.lowest(head).iter().all(|mark| *mark >= head);
        wait(clock::now() + within / 2, || self.sessions() == 0 || written());
        self.tell_all(|bulletin| bulletin.goodbye = Some(RESTART));
        wait(deadline, || self.sessions() == 0);
        self.pool.stop();
        self.shared.asks.stop();
        if let Some(reader) = self.reader.lock().take() {
            let _ = reader.join();
        }
    }
}

/// Every node counts every release of the cluster.
fn count(release: &Release) {
    let series = &METRICS.of_priority[release.priority.index()];
    series.released.inc();
    match release.kind {
        ReleaseKind::Broadcast => {
            let broadcast = &release.broadcast;
            series.targeted.inc_by(broadcast.targeted.into());
            for (reason, count) in [("held", broadcast.held), ("skipped", broadcast.skipped)] {
                if count > 0 {
                    METRICS.set_aside.with_label_values(&[reason]).inc_by(count.into());
                }
            }
        }
        ReleaseKind::Retry => {
            let retries = METRICS.retries.with_label_values(&[release.priority.name()]);
            retries.inc_by(release.recipients.len());
        }
        ReleaseKind::Again | ReleaseKind::Retracted => {}
    }
}

/// Looks again and again until it is so, or the deadline has passed.
pub(super) fn wait(deadline: Instant, is_so: impl Fn() -> bool) {
    while !is_so() && clock::now() < deadline {
        #[allow(clippy::disallowed_methods)] // a stop may wait: it runs where nobody is held up
        std::thread::sleep(DRAIN_LOOK);
    }
}
