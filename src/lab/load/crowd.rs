//! A process full of subscribers: one thread, one epoll. It obeys the run over its standard input and tells it how things stand.
//!
//! A process holds as many sockets as its file limit allows; a run starts as many processes as it needs.

use super::orders::{Finished, Order, Progress, Word};
use super::session::{Close, Hands, Phase, Session};
use crate::base::clock;
use crate::net::files_max;
use anyhow::{Context, Result, bail};
use mio::{Events, Poll, Token, Waker};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{BufRead, Write};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// Files that a process needs besides its subscribers' sockets.
const FILES_SPARE: u64 = 200;
const FILES_UNLIMITED: u64 = 1 << 20;
/// Connections that are being opened at one time: more would only wait in the server's queue.
const OPENING_MAX: usize = 256;
const ORDERS_MAX: usize = 1_024;
const EVENTS_MAX: usize = 1_024;
const POLL: Duration = Duration::from_millis(20);
const TELL_EVERY: u64 = 200_000_000;
/// Whoever could not connect tries again after this, and up to twice of it.
const AGAIN: u64 = 100_000_000;
/// A connection that is not greeted within this is given up.
const GREETED_WITHIN: u64 = 10_000_000_000;
const MILLIS: u64 = 1_000_000;
const WOKEN: Token = Token(usize::MAX);

/// How many subscribers one process can hold.
pub fn sockets_max() -> u64 {
    files_max()
        .unwrap_or(FILES_UNLIMITED)
        .saturating_sub(FILES_SPARE)
        .max(1)
}

/// Lives until its standard input ends or it is told to finish.
pub fn run() -> Result<ExitCode> {
    sockets_max();
    match live() {
        Ok(finished) => say(&Word::Finished(Box::new(finished)))?,
        Err(error) => say(&Word::Failed(format!("{error:#}")))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn say(word: &Word) -> Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, word)?;
    out.write_all(b"\n")?;
    out.flush()?;
    Ok(())
}

fn live() -> Result<Finished> {
    let mut poll = Poll::new()?;
    let waker = Waker::new(poll.registry(), WOKEN)?;
    let (sender, orders) = sync_channel(ORDERS_MAX);
    std::thread::Builder::new()
        .name("orders".into())
        .spawn(move || listen(&sender, &waker))?;
    let Ok(Order::Begin(setup)) = orders.recv() else {
        bail!("the first order must say who is to listen");
    };
    let mut crowd = Crowd::new(Hands::new(*setup)?);
    let mut events = Events::with_capacity(EVENTS_MAX);
    loop {
        if let Obeyed::Finished = crowd.obey(&orders)? {
            return Ok(crowd.finish());
        }
        crowd.open(poll.registry(), clock::monotonic());
        match poll.poll(&mut events, Some(POLL)) {
            Err(error) if error.kind() != std::io::ErrorKind::Interrupted => return Err(error).context("epoll"),
            Ok(()) | Err(_) => {}
        }
        for event in events.iter().filter(|event| event.token() != WOKEN) {
            crowd.ready(event.token().0);
        }
        crowd.tell(clock::monotonic())?;
    }
}

/// Reads orders on a thread of its own: the epoll is for sockets.
fn listen(orders: &SyncSender<Order>, waker: &Waker) {
    for line in std::io::stdin().lock().lines() {
        let Some(order) = line.ok().and_then(|line| serde_json::from_str(&line).ok()) else {
            return;
        };
        if orders.send(order).is_err() {
            return;
        }
        let _ = waker.wake();
    }
}

enum Obeyed {
    GoOn,
    Finished,
}

struct Crowd {
    hands: Hands,
    sessions: Vec<Session>,
    /// Who is to connect, and not before when.
    waiting: BinaryHeap<Reverse<(u64, usize)>>,
    /// When each began to connect; 0 when it does not.
    opening: Vec<u64>,
    opening_count: usize,
    /// When everybody was dropped, and who is not back yet.
    dropped_at: u64,
    is_away: Vec<bool>,
    told_at: u64,
    progress: Progress,
    finished: Finished,
    random: SmallRng,
}

impl Crowd {
    fn new(hands: Hands) -> Self {
        let count = hands.setup.count as usize;
        Self {
            sessions: (0..count).map(|number| Session::new(number, &hands.setup)).collect(),
            waiting: (0..count).map(|number| Reverse((0, number))).collect(),
            opening: vec![0; count],
            opening_count: 0,
            dropped_at: 0,
            is_away: vec![false; count],
            told_at: 0,
            progress: Progress::default(),
            finished: Finished::default(),
            random: SmallRng::seed_from_u64(u64::from(hands.setup.run)),
            hands,
        }
    }

    fn obey(&mut self, orders: &Receiver<Order>) -> Result<Obeyed> {
        loop {
            match orders.try_recv() {
                Ok(Order::Told(told)) => self.hands.tally.told(&told),
                Ok(Order::Drop { spread_ms, seed }) => self.drop_all(spread_ms, seed),
                Ok(Order::Finish) => return Ok(Obeyed::Finished),
                Ok(Order::Begin(_)) => bail!("told to begin twice"),
                Err(std::sync::mpsc::TryRecvError::Empty) => return Ok(Obeyed::GoOn),
                Err(std::sync::mpsc::TryRecvError::Disconnected) => bail!("the run has gone"),
            }
        }
    }

    fn drop_all(&mut self, spread_ms: u64, seed: u64) {
        let now = clock::monotonic();
        self.dropped_at = now;
        self.is_away.fill(true);
        self.random = SmallRng::seed_from_u64(seed);
        self.waiting.clear();
        self.opening.fill(0);
        self.opening_count = 0;
        self.progress.connected = 0;
        for (number, session) in self.sessions.iter_mut().enumerate() {
            session.close(Close::Ordered);
            let back = now + self.random.random_range(0..=spread_ms) * MILLIS;
            self.waiting.push(Reverse((back, number)));
        }
    }

    /// Opens what is due, and gives up what took too long.
    fn open(&mut self, registry: &mio::Registry, now: u64) {
        while self.opening_count < OPENING_MAX {
            let Some(Reverse((due, number))) = self.waiting.peek().copied() else {
                break;
            };
            if due > now {
                break;
            }
            self.waiting.pop();
            self.opening[number] = now;
            self.opening_count += 1;
            if let Err(trouble) = self.sessions[number].open(registry, &self.hands.doors) {
                self.failed(number, &trouble.to_string());
            }
        }
    }

    fn give_up_late(&mut self, now: u64) {
        for number in 0..self.opening.len() {
            if self.opening[number] > 0 && now.saturating_sub(self.opening[number]) > GREETED_WITHIN {
                self.failed(number, "it was not greeted in time");
            }
        }
    }

    fn ready(&mut self, number: usize) {
        let Some(session) = self.sessions.get_mut(number) else {
            return;
        };
        let before = session.phase;
        if before == Phase::Away {
            return;
        }
        let read = session.ready(&mut self.hands);
        if before != Phase::Live && self.sessions[number].phase == Phase::Live {
            self.greeted(number);
        }
        if let Err(trouble) = read {
            self.failed(number, &trouble.to_string());
        }
    }

    fn greeted(&mut self, number: usize) {
        self.opened(number);
        self.progress.connected += 1;
        if std::mem::take(&mut self.is_away[number]) {
            self.finished
                .back_ms
                .push((clock::monotonic() - self.dropped_at) / MILLIS);
        }
    }

    fn opened(&mut self, number: usize) {
        if self.opening[number] > 0 {
            self.opening[number] = 0;
            self.opening_count -= 1;
        }
    }

    /// It comes back a little later.
    fn failed(&mut self, number: usize, trouble: &str) {
        let was_live = self.sessions[number].phase == Phase::Live;
        self.opened(number);
        if was_live {
            self.progress.connected -= 1;
            self.progress.lost += 1;
        } else {
            self.progress.failed += 1;
        }
        self.progress.trouble = Some(trouble.to_owned());
        self.sessions[number].close(Close::Trouble);
        let back = clock::monotonic() + AGAIN + self.random.random_range(0..AGAIN);
        self.waiting.push(Reverse((back, number)));
    }

    fn tell(&mut self, now: u64) -> Result<()> {
        if now.saturating_sub(self.told_at) < TELL_EVERY {
            return Ok(());
        }
        self.told_at = now;
        self.give_up_late(now);
        let progress = Progress {
            delivered: self.hands.tally.delivered(),
            recent: self.hands.tally.recent(),
            ..self.progress.clone()
        };
        say(&Word::Progress(progress))
    }

    fn finish(self) -> Finished {
        let mut back_ms = self.finished.back_ms;
        back_ms.sort_unstable();
        Finished {
            back_ms,
            gaps: self.sessions.iter().map(|session| session.gaps).sum(),
            lost: self.progress.lost,
            failed: self.progress.failed,
            trouble: self.progress.trouble,
            ..self.hands.tally.finish()
        }
    }
}
