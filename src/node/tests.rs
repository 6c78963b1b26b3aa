//! History over one real node: what is in memory, what has left it, and what is forgotten.

use super::history::History;
use crate::base::clock;
use crate::consensus::{self, Applied, Handle, Running};
use crate::delivery::answers;
use crate::gateway::{Backlog, Gateway, Request, SessionRef};
use crate::model::directory::User;
use crate::model::{Audience, BroadcastId, Clause, Draft, Number, Position, Priority, Step};
use crate::state::broadcasts::Behind;
use crate::state::command::{Change, Found, Key, Publish, Receipts, Spans, Tick};
use crate::state::rights::Grant;
use crate::state::{Command, Effect, Outcome, RowKey, State};
use crate::storage::layout::Layout;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

const ANN: u32 = 0;
const HOUR_MS: u64 = 3_600_000;
/// So much beside the text that a test soon fills what is kept in memory.
const DATA_BYTES: usize = 16 << 10;

struct Nobody;

impl Applied for Nobody {
    fn applied(&self, _index: u64, _effects: Vec<Effect>) {}
    fn installed(&self) {}
    fn stored(&self, _position: Position) {}
}

struct Bench {
    handle: Handle,
    running: Running,
    history: History,
}

fn soon() -> Instant {
    clock::now() + Duration::from_secs(30)
}

impl Bench {
    async fn open(folder: &Path) -> Self {
        let storage = crate::storage::Config::default();
        let layout = Layout::open(folder, 1, &storage).unwrap();
        let cluster = consensus::Config {
            listen: "127.0.0.1:0".into(),
            ..consensus::Config::default()
        };
        let started = consensus::start(cluster, 1, layout, storage, Arc::new(Nobody)).await;
        let (handle, running) = started.unwrap();
        let store = handle.clone();
        Self {
            history: History::new(handle.clone(), Arc::new(move || store.store())),
            handle,
            running,
        }
    }

    /// A new history with ann and bob.
    async fn start(folder: &Path) -> Self {
        let bench = Self::open(folder).await;
        bench.run(Command::Found(Found { epoch: 7, salt: 9 })).await;
        let user = |id: &str| Change::PutUser(User::bare(id, "guest"));
        bench.run(Command::Directory(vec![user("ann"), user("bob")])).await;
        bench
    }

    async fn stop(self) {
        let Self {
            handle,
            running,
            history,
        } = self;
        drop((handle, history));
        running.stop().await;
    }

    async fn run(&self, command: Command) -> Outcome {
        self.handle.propose(command, soon()).await.unwrap().outcome
    }

    /// Publishes so many, of all priorities in turn, every third one to both users and the others to ann.
    async fn publish(&self, count: u64, expires_after_ms: u64) {
        for _ in 0..count {
            let next = self.handle.read(State::next_position);
            let outcome = self.run(publish(next, expires_after_ms)).await;
            let expected = Outcome::Published {
                number: next,
                replayed: false,
            };
            assert_eq!(outcome, expected);
        }
    }

    async fn step(&self, step: Step, numbers: impl Iterator<Item = Number>) {
        let deltas = numbers.map(|number| (number, step, [ANN].into_iter().collect()));
        let receipts = Receipts {
            node: 1,
            deltas: deltas.collect(),
            promised: None,
            watermarks: [0; 4],
        };
        assert_eq!(self.run(Command::Receipts(receipts)).await, Outcome::Done);
    }

    /// Ticks until everything up to `position` is forgotten: the log's time has to pass some expiry.
    async fn forget(&self, position: Position) {
        let deadline = soon();
        while self.handle.read(State::forgotten) < position {
            assert!(clock::now() < deadline, "not forgotten up to {position}");
            self.run(Command::Tick(Tick {
                kept_ms: 1,
                missed_after_ms: 1,
                retry: crate::model::Retry::DEFAULT,
            }))
            .await;
        }
    }

    fn oldest_hot(&self) -> Number {
        self.handle
            .read(|state| state.broadcasts().hot_from().unwrap_or(state.next_position()))
    }

    /// Everything applied so far is in sled.
    async fn stored(&self) {
        let applied = self.handle.applied();
        until("writing behind", || self.handle.stored() >= applied).await;
    }

    fn listed(&self, below: Number, max: usize) -> Vec<Number> {
        let mut found = Vec::new();
        self.history.newest(Behind::Released(below), |hot| {
            found.push(hot.broadcast.number);
            found.len() < max
        });
        found
    }

    fn inbox(&self, user: u32) -> Vec<Number> {
        let mut found = Vec::new();
        self.history.inbox(user, |hot| {
            found.push(hot.broadcast.number);
            true
        });
        found
    }

    /// All that a stream from the beginning brings, in the order of positions.
    fn read(&self, user: u32) -> Vec<Position> {
        let head = self.handle.read(|state| state.next_position() - 1);
        let (mut after, mut found) = ([0; 4], Vec::new());
        while after.iter().any(|position| *position < head) {
            let read = self.history.read(user, after, 100_000);
            assert_ne!(read.scanned, after, "a read that gets nowhere");
            after = read.scanned;
            found.extend(read.releases.iter().flatten().map(|release| release.position));
        }
        found.sort_unstable();
        found
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = soon();
    while !holds() {
        assert!(clock::now() < deadline, "not in time: {what}");
        tokio::task::yield_now().await;
    }
}

fn publish(number: Number, expires_after_ms: u64) -> Command {
    let users = if number.is_multiple_of(3) {
        &["ann", "bob"][..]
    } else {
        &["ann"]
    };
    let draft = Draft {
        priority: Priority::ALL[number as usize % 4],
        audience: Audience {
            clauses: vec![Clause {
                users: users.iter().map(|id| (*id).to_owned()).collect(),
                ..Clause::default()
            }],
            exclude: Vec::new(),
        },
        data: Some(format!("\"{}\"", "x".repeat(DATA_BYTES))),
        ..Draft::bare("venue.notice", "Gates", "The north gate is open.")
    };
    let mut fingerprint = [0; 16];
    fingerprint[..8].copy_from_slice(&number.to_le_bytes());
    let key = Key {
        fingerprint,
        body: number,
        kept_ms: 60_000,
        table_bytes_max: 0,
    };
    Command::Publish(Box::new(Publish {
        superseded: None,
        draft,
        sender: "administrator".into(),
        key,
        spans: Spans {
            expires_after_ms,
            schedule_max_ms: 7 * 86_400_000,
        },
        grant: Grant::default(),
    }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_left_memory_is_still_found_everywhere() {
    const COUNT: u64 = 300;
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::start(folder.path()).await;
    bench.publish(COUNT, HOUR_MS).await;
    bench.stored().await;
    let oldest = bench.oldest_hot();
    assert!(oldest > 100, "only up to {oldest} has left memory");

    let all: Vec<Number> = (1..=COUNT).rev().collect();
    assert_eq!(bench.listed(Number::MAX, usize::MAX), all);
    for (below, max) in [(oldest + 3, 7), (oldest, 5), (oldest - 1, 90), (257, 3), (2, 9)] {
        let expected: Vec<Number> = (1..below).rev().take(max).collect();
        assert_eq!(bench.listed(below, max), expected, "{max} below {below}");
    }
    assert!(bench.listed(1, 9).is_empty());

    let of_bob: Vec<Number> = all.iter().copied().filter(|number| number % 3 == 0).collect();
    assert_eq!((bench.inbox(ANN), bench.inbox(1)), (all.clone(), of_bob.clone()));
    assert_eq!(bench.read(ANN), (1..=COUNT).collect::<Vec<_>>());
    assert_eq!(bench.read(1), of_bob.into_iter().rev().collect::<Vec<_>>());
    for number in [1, oldest - 1, oldest, COUNT] {
        assert_eq!(bench.history.broadcast(number).unwrap().broadcast.number, number);
    }
    assert!(bench.history.broadcast(0).is_none() && bench.history.broadcast(COUNT + 1).is_none());
    // A cursor may claim anything.
    assert!(
        bench
            .history
            .read(ANN, [Position::MAX; 4], 9)
            .releases
            .iter()
            .all(Vec::is_empty)
    );
    bench.stop().await;
}

/// What no worker can judge: the window does not reach so far back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_confirms_what_left_memory_where_it_is_the_users() {
    const BOB: u32 = 1;
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::start(folder.path()).await;
    bench.publish(140, HOUR_MS).await;
    bench.stored().await;
    assert!(bench.oldest_hot() > 9);
    let (requests, _) = mpsc::channel(1);
    let workers = crate::workers::Config {
        threads: 1,
        ..crate::workers::Config::default()
    };
    let config = crate::gateway::Config::default();
    let backlog = Arc::new(bench.history.clone());
    let gateway = Gateway::start(&config, &workers, 1, 7, backlog, requests).unwrap();
    let (ask, asked) = mpsc::channel(1);
    let (_stop, stopping) = watch::channel(false);
    let kept = bench.history.clone();
    let find: answers::Find = Arc::new(move |number| kept.broadcast(number));
    let serving = tokio::spawn(answers::serve(
        1,
        bench.handle.clone(),
        gateway.clone(),
        find,
        asked,
        stopping,
    ));
    let id = |number| bench.history.broadcast(number).unwrap().broadcast.id;
    let receipts = vec![
        (id(4), Step::Received),                       // ann's alone
        (BroadcastId::new(1, 9, 6), Step::Received),   // the number of one, at another time
        (BroadcastId::new(1, 8, 9), Step::Received),   // of another cluster
        (BroadcastId::new(1, 9, 999), Step::Received), // never sent
        (id(139), Step::Read),                         // in memory, and not bob's either
        (id(3), Step::Received),
    ];
    let request = Request {
        session: SessionRef(0),
        user: BOB,
        reference: None,
        receipts,
        acknowledge: Vec::new(),
    };
    ask.send(request).await.unwrap();
    let told = parking_lot::Mutex::new(Vec::new());
    until("the good receipt, the last of them", || {
        let mut told = told.lock();
        told.extend(gateway.take_report().deltas);
        !told.is_empty()
    })
    .await;
    assert_eq!(told.into_inner(), [(3, Step::Received, [BOB].into_iter().collect())]);
    drop(ask);
    serving.await.unwrap();
    gateway.drain(Duration::ZERO);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_returning_cursor_confirms_what_was_sent_at_or_below_it() {
    const COUNT: u64 = 140;
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::start(folder.path()).await;
    bench.publish(COUNT, HOUR_MS).await;
    let oldest = bench.oldest_hot();
    assert!(oldest > 30, "only up to {oldest} has left memory");
    let unconfirmed = |up_to, max| bench.history.unconfirmed(ANN, up_to, max);
    assert!(unconfirmed([COUNT; 4], 9).is_empty(), "nothing was sent yet");

    // Sent but for every fifth; in memory and, as late receipts, behind it.
    let sent = |number: &u64| !number.is_multiple_of(5);
    bench.step(Step::Sent, (1..=COUNT).filter(sent)).await;
    bench.stored().await;
    let newest_first: Vec<Number> = (1..=COUNT).rev().filter(sent).collect();
    assert_eq!(unconfirmed([COUNT; 4], 1000), newest_first);
    assert_eq!(unconfirmed([COUNT; 4], 10), newest_first[..10]);
    // Each priority has a position of its own; high is 1 modulo 4.
    let high = unconfirmed([0, 41, 0, 0], 1000);
    assert_eq!(
        high,
        (1..=41)
            .rev()
            .filter(sent)
            .filter(|number| number % 4 == 1)
            .collect::<Vec<_>>()
    );
    assert!(
        bench.history.unconfirmed(1, [COUNT; 4], 9).is_empty(),
        "bob got nothing"
    );

    bench.step(Step::Received, 21..=COUNT).await;
    bench.stored().await;
    let left: Vec<Number> = (1..=20).rev().filter(sent).collect();
    assert_eq!(unconfirmed([COUNT; 4], 1000), left);
    bench.step(Step::Read, 1..=20).await;
    bench.stored().await;
    assert!(unconfirmed([COUNT; 4], 1000).is_empty());
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_forgotten_is_gone_from_memory_and_disk_also_after_a_restart() {
    // The first block has left memory in part and goes as a whole, those behind it one by one.
    const OLD: u64 = 280;
    const ALL: u64 = 300;
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::start(folder.path()).await;
    bench.publish(OLD, 1).await;
    bench.step(Step::Sent, 1..=OLD).await;
    bench.publish(ALL - OLD, HOUR_MS).await;
    let oldest = bench.oldest_hot();
    assert!((100..256).contains(&oldest), "up to {oldest} has left memory");
    bench.forget(OLD).await;
    check_forgotten(&bench, OLD, ALL);

    // Rows go a little later. The last one of each priority that began at or below stays until another one follows.
    bench.stored().await;
    let store = bench.handle.store();
    until("sweeping", || {
        let ledger = |number| store.get(&RowKey::Ledger(number)).unwrap().is_some();
        let late = |number| !store.ledger_late(number).unwrap().is_empty();
        let first = |priority| store.journal(priority, 0, 1).unwrap()[0].0;
        !(1..=OLD).any(|number| ledger(number) || late(number))
            && Priority::ALL.into_iter().all(|priority| first(priority) > OLD - 30)
    })
    .await;
    check_forgotten(&bench, OLD, ALL);
    // What comes back late to what is forgotten is dropped.
    bench.step(Step::Received, 1..=OLD).await;
    bench.stored().await;
    assert!(store.ledger_late(7).unwrap().is_empty());
    drop(store);
    let (applied, hash) = bench.handle.read(|state| (state.applied(), state.hash()));
    bench.stop().await;

    let bench = Bench::open(folder.path()).await;
    until("replaying", || bench.handle.applied() >= applied).await;
    assert_eq!(bench.handle.read(State::hash), hash);
    check_forgotten(&bench, OLD, ALL);
    bench.publish(3, 1).await;
    check_forgotten(&bench, OLD, ALL + 3);
    bench.stop().await;
}

fn check_forgotten(bench: &Bench, position: Position, head: Position) {
    let kept: Vec<Number> = (position + 1..=head).rev().collect();
    assert_eq!(bench.history.forgotten(), [position; 4]);
    assert_eq!(bench.listed(Number::MAX, usize::MAX), kept);
    assert_eq!(bench.listed(position + 2, 9), [position + 1]);
    assert!(bench.listed(position + 1, 9).is_empty());
    assert_eq!(bench.inbox(ANN), kept);
    assert_eq!(bench.read(ANN), kept.iter().rev().copied().collect::<Vec<_>>());
    for number in [1, position / 2, position] {
        assert!(bench.history.broadcast(number).is_none(), "{number} is still there");
    }
    assert!(bench.history.broadcast(position + 1).is_some());
    assert!(bench.history.unconfirmed(ANN, [position; 4], 9).is_empty());
}
