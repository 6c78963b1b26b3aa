//! A gateway with sessions on real sockets, and one thread that reads all of them and notes how late each frame is.

use crate::sockets;
pub use crate::sockets::Group;
use campanile::base::clock;
use campanile::gateway::Gateway;
use campanile::model::Priority;
use parking_lot::Mutex;
use std::net::TcpStream;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Every frame's body says when it was published, in microseconds since the start, behind this mark; `c` for critical.
const MARK: &[u8] = b"~~";
const DIGITS: usize = 12;
/// The clock of `/proc/self/stat`.
const TICKS_PER_SECOND: f64 = 100.0;

/// Milliseconds from publish to read.
#[derive(Default)]
pub struct Samples {
    pub all: Vec<f64>,
    pub critical: Vec<f64>,
}

pub fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (values.len() as f64 * share) as usize;
    values
        .get(at.min(values.len().saturating_sub(1)))
        .copied()
        .unwrap_or(0.0)
}

struct Heard {
    started: Instant,
    count: AtomicUsize,
    samples: Mutex<Samples>,
    stop: AtomicBool,
}

pub struct Crowd {
    pub gateway: Arc<Gateway>,
    heard: Arc<Heard>,
    position: AtomicU64,
    reader: Option<JoinHandle<()>>,
}

impl Crowd {
    pub fn new(threads: usize, sessions: usize) -> Self {
        let gateway = sockets::gateway(threads);
        let (clients, _) = sockets::connect(&gateway, 0..sessions, |_| ());
        while gateway.workers().iter().map(|worker| worker.sessions).sum::<usize>() < sessions {
            thread::yield_now();
        }
        let heard = Arc::new(Heard {
            started: clock::now(),
            count: AtomicUsize::new(0),
            samples: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let all = heard.clone();
        let reader = thread::Builder::new().name("clients".into());
        let reader = reader.spawn(move || listen(clients, &all)).unwrap();
        Self {
            gateway,
            heard,
            position: AtomicU64::new(1_000_000),
            reader: Some(reader),
        }
    }

    pub fn publish(&self, priority: Priority, recipients: &Group) {
        let position = self.position.fetch_add(1, Relaxed);
        let kind = if priority == Priority::Critical { 'c' } else { 'o' };
        let stamp = self.heard.started.elapsed().as_micros();
        let body = format!("~~{kind}{stamp:0DIGITS$}{}", "x".repeat(85));
        self.gateway
            .release(sockets::release(position, priority, body, recipients));
        self.gateway.stored(position);
    }

    /// Frames read so far.
    pub fn heard(&self) -> usize {
        self.heard.count.load(Relaxed)
    }

    /// Waits until so many were read; how many are missing when the time is over.
    pub fn wait_for(&self, count: usize, within: Duration) -> usize {
        let deadline = clock::now() + within;
        while self.heard() < count && clock::now() < deadline {
            thread::sleep(Duration::from_micros(200));
        }
        count.saturating_sub(self.heard())
    }

    /// Waits until nothing was read for a while.
    pub fn quiet(&self) {
        let mut last = (self.heard(), clock::now());
        while last.1.elapsed() < Duration::from_millis(100) {
            thread::sleep(Duration::from_millis(5));
            if self.heard() != last.0 {
                last = (self.heard(), clock::now());
            }
        }
    }

    pub fn take_samples(&self) -> Samples {
        std::mem::take(&mut self.heard.samples.lock())
    }
}

pub fn group(users: Range<usize>) -> Group {
    Arc::new(users.map(|user| user as u32).collect())
}

/// Seconds of CPU of this process without the clients' thread: publishing and delivering, also of threads that have ended.
pub fn server_cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: f64 = [11, 12]
        .into_iter()
        .map(|at: usize| fields[at].parse::<f64>().unwrap())
        .sum();
    ticks / TICKS_PER_SECOND - sockets::cpu("clients").unwrap_or(0) as f64 / 1e9
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.heard.stop.store(true, Relaxed);
        let _ = self.reader.take().map(JoinHandle::join);
        self.gateway.drain(Duration::from_secs(1));
    }
}

fn listen(clients: Vec<TcpStream>, heard: &Heard) {
    let mut rests = vec![Vec::new(); clients.len()];
    sockets::read_all(&clients, &heard.stop, |client, bytes| {
        note(bytes, &mut rests[client], heard);
    });
}

/// Counts the marks; one that was cut at the end of a read waits in `rest` for what follows.
fn note(bytes: &[u8], rest: &mut Vec<u8>, heard: &Heard) {
    rest.extend_from_slice(bytes);
    let now = heard.started.elapsed().as_micros() as f64;
    let whole = MARK.len() + 1 + DIGITS;
    let (mut at, mut count) = (0, 0);
    let mut samples = heard.samples.lock();
    while let Some(found) = rest[at..].windows(MARK.len()).position(|window| window == MARK) {
        let start = at + found;
        let Some(mark) = rest.get(start..start + whole) else {
            at = start;
            break;
        };
        let stamp: f64 = std::str::from_utf8(&mark[MARK.len() + 1..]).unwrap().parse().unwrap();
        let late = (now - stamp) / 1_000.0;
        samples.all.push(late);
        if mark[MARK.len()] == b'c' {
            samples.critical.push(late);
        }
        count += 1;
        at = start + whole;
    }
    drop(samples);
    let kept = rest.len().saturating_sub(at).min(whole - 1);
    rest.drain(..rest.len() - kept);
    heard.count.fetch_add(count, Relaxed);
}
