//! Out of the journal: what has left memory, read as the gateway's reader thread reads it.

use crate::common::{self, Cost, people};
use bytes::Bytes;
use campanile::base::clock;
use campanile::base::size::Size;
use campanile::consensus::{self, Applied, Config, Handle};
use campanile::gateway::Backlog;
use campanile::model::{Draft, PerPriority, Position, Priority, UserNumber};
use campanile::node::history::History;
use campanile::state::command::Found;
use campanile::state::{Command, Effect};
use campanile::storage;
use campanile::storage::layout::Layout;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// So many that the first third has left memory: a node keeps 96 MiB of the newest, of whatever size they are.
pub const PUBLISHES: u64 = 30_000;
const DATA_BYTES: usize = 4 << 10;
const TEXT_BYTES: usize = 200;
const USERS: u32 = 1_000;
const WEDDINGS: u32 = 20;
const CALLERS: u64 = 64;
const ROUNDS: usize = 15;
/// So that no value of the floor leaves the file.
const SEGMENT_BYTES: usize = 16 << 20;
const WITHIN: Duration = Duration::from_secs(60);
/// What a session asks for at a time.
const READ_BYTES: usize = 64 << 10;
/// Rows of the journal read at a time for the floor.
const ROWS: usize = 16;

struct Nobody;

impl Applied for Nobody {
    fn applied(&self, _index: u64, _effects: Vec<Effect>) {}
    fn installed(&self) {}
    fn stored(&self, _position: u64) {}
}

fn soon() -> Instant {
    clock::now() + WITHIN
}

fn draft(number: u64) -> Draft {
    Draft {
        data: Some(format!("\"{}\"", people::text(number, DATA_BYTES))),
        ..people::notice(number, WEDDINGS, TEXT_BYTES)
    }
}

async fn call(handle: Handle, next: Arc<AtomicU64>) {
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number > PUBLISHES {
            return;
        }
        handle
            .propose(people::publish(number, draft(number)), soon())
            .await
            .unwrap();
    }
}

/// A cluster of one that has published more than it keeps in memory, all of it on disk.
async fn fill(handle: &Handle) {
    let named = Command::Found(Found { epoch: 1, salt: 1 });
    handle.propose(named, soon()).await.unwrap();
    for command in people::import(USERS, WEDDINGS) {
        handle.propose(command, soon()).await.unwrap();
    }
    let next = Arc::new(AtomicU64::new(1));
    let calls: Vec<_> = (0..CALLERS)
        .map(|_| tokio::spawn(call(handle.clone(), next.clone())))
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    let last = handle.read(|state| state.next_position() - 1);
    let deadline = soon();
    while handle.stored_position() < last {
        assert!(clock::now() < deadline, "the rows are not written");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The rows of the journal below memory, as they are when they are unpacked.
fn journal(handle: &Handle, until: Position) -> BTreeMap<Position, Bytes> {
    let store = handle.store();
    let mut found = BTreeMap::new();
    let mut from = 1;
    while from < until {
        // the row that may hold the position comes first
        let rows = store.journal(Priority::Normal, from, ROWS).unwrap();
        let next = rows.last().map(|(first, _)| *first + 1);
        from = next.filter(|next| *next > from).unwrap_or(until);
        found.extend(rows.into_iter().filter(|(first, _)| *first < until));
    }
    found
}

/// Everything for a user from the start to where memory begins, read by read; how many releases that are.
fn catch_up(history: &History, user: UserNumber, until: Position) -> usize {
    let normal = Priority::Normal.index();
    // of the other priorities the subscriber has all
    let mut after: PerPriority<Position> = [Position::MAX - 1; 4];
    after[normal] = 0;
    let mut found = 0;
    while after[normal] < until {
        let read = history.read(user, after, READ_BYTES);
        assert!(
            read.scanned[normal] > after[normal],
            "it does not go on from {}",
            after[normal]
        );
        found += read.releases[normal].len();
        after[normal] = read.scanned[normal];
    }
    found
}

/// All bytes of all rows, so that none is left unread.
fn scan(bare: &sled::Db) -> u64 {
    let rows = bare.iter().values();
    rows.map(|row| row.unwrap().iter().map(|byte| u64::from(*byte)).sum::<u64>())
        .sum()
}

async fn start(folder: &Path) -> (Handle, consensus::Running) {
    let config = Config {
        listen: "127.0.0.1:0".into(),
        ..Config::default()
    };
    // no snapshot is taken while it is measured
    let storage = storage::Config {
        snapshot_log_bytes: Size::mib(4_096),
        ..storage::Config::default()
    };
    let layout = Layout::open(folder, 1, &storage).unwrap();
    consensus::start(config, 1, layout, storage, Arc::new(Nobody))
        .await
        .unwrap()
}

pub fn measure() -> Cost {
    let folder = common::folder();
    let runtime = Runtime::new().unwrap();
    let (handle, running) = runtime.block_on(start(&folder.path().join("node")));
    runtime.block_on(fill(&handle));
    let store = handle.clone();
    let history = History::new(handle.clone(), Arc::new(move || store.store()));
    let (user, until) = handle.read(|state| {
        let until = state.broadcasts().hot_from().expect("something is in memory");
        (state.directory().user_number(&people::user_id(0)).unwrap(), until - 1)
    });
    assert!(
        until > PUBLISHES / 10,
        "only {until} of {PUBLISHES} releases have left memory"
    );
    let bare = sled::Config::new()
        .path(folder.path().join("bare"))
        .segment_size(SEGMENT_BYTES)
        .cache_capacity(storage::Config::default().sled_cache.0)
        .flush_every_ms(None)
        .open()
        .unwrap();
    for (first, value) in journal(&handle, until) {
        bare.insert(first.to_be_bytes(), value.as_ref()).unwrap();
    }
    let found = catch_up(&history, user, until);
    assert!(found > 0, "nothing was found");
    let measured = || {
        let mut again = 0;
        let took = common::timed(|| again = catch_up(&history, user, until));
        assert_eq!(again, found);
        took
    };
    let cost = common::in_turn(ROUNDS, found, measured, || common::timed(|| scan(&bare)));
    runtime.block_on(running.stop());
    cost
}
