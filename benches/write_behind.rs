//! The step *write behind*: the rows that publishes leave, into sled in one batch, as the thread of a node does it each tick.
//!
//! `cargo bench --bench write_behind`. Floor: a bare `apply_batch` of the same keys and values into another sled.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a bench that cannot run says so

mod common;

use bytes::Bytes;
use campanile::base::clock;
use campanile::base::size::Span;
use campanile::lab::results::bench::Bench;
use campanile::state::{Row, State};
use campanile::storage::{Batch, Config, Store, WriteBehind, schema};
use common::people;
use parking_lot::Mutex;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

const USERS: u32 = 10_000;
const WEDDINGS: u32 = 50;
const TEXT_BYTES: usize = 400;
/// What a tick of 100 ms has at 1,000 and at 10,000 publishes a second; and rounds.
const TICKS: [(usize, usize); 2] = [(100, 60), (1_000, 20)];
/// So that a batch that is there is written at once.
const EVERY: Span = Span::millis(1);
const WITHIN: Duration = Duration::from_secs(30);
/// As `storage` opens it.
const SEGMENT_BYTES: usize = 4 << 20;
/// 1.4 when it was set: each key is looked up before it is written (a value that was in parts must lose them), long values are packed,
/// and every row is followed by two reads that let sled free what the batch replaced. Packing takes bytes off as well.
const MOST: f64 = 2.5;

/// The thread of a node, given a batch at a time.
struct Writer {
    thread: WriteBehind,
    given: Arc<Mutex<Option<Batch>>>,
    written: Receiver<Duration>,
    applied: u64,
}

impl Writer {
    fn start(folder: &Path) -> Self {
        let config = Config {
            write_behind_every: EVERY,
            ..Config::default()
        };
        let store = Store::open(folder, &config).unwrap();
        let given: Arc<Mutex<Option<Batch>>> = Arc::default();
        let begun: Arc<Mutex<Option<Instant>>> = Arc::default();
        let (waiting, started) = (given.clone(), begun.clone());
        let (done, written) = sync_channel(1);
        // The thread asks, writes, and tells: between the two stands nothing but the writing.
        let take = move || {
            let batch = waiting.lock().take();
            *started.lock() = batch.as_ref().map(|_| clock::now());
            batch
        };
        let committed = move |_| {
            let took = begun.lock().take().map_or(Duration::ZERO, |start| start.elapsed());
            done.send(took).unwrap();
        };
        Self {
            thread: WriteBehind::start(store, &config, Box::new(take), Box::new(committed)).unwrap(),
            given,
            written,
            applied: 0,
        }
    }

    fn write(&mut self, rows: Vec<Row>) -> Duration {
        self.applied += 1;
        *self.given.lock() = Some(Batch {
            applied: self.applied,
            meta: Bytes::copy_from_slice(&self.applied.to_le_bytes()),
            rows,
            forgotten: 0,
        });
        self.written.recv_timeout(WITHIN).expect("the batch is written")
    }
}

/// The rows of so many publishes more.
fn rows(state: &mut State, count: usize) -> Vec<Row> {
    let from = state.applied() + 1;
    let notice = |number| people::publish(number, people::notice(number, WEDDINGS, TEXT_BYTES));
    let commands = (from..from + count as u64).map(notice);
    let last = from + count as u64 - 1;
    state.apply(last, people::NOW, commands.collect(), &mut Vec::new());
    state.take_rows()
}

fn write_bare(tree: &sled::Tree, rows: &[(Vec<u8>, Option<Bytes>)]) -> Duration {
    common::timed(|| {
        let mut batch = sled::Batch::default();
        for (key, value) in rows {
            match value {
                Some(value) => batch.insert(key.as_slice(), value.as_ref()),
                None => batch.remove(key.as_slice()),
            }
        }
        tree.apply_batch(batch).unwrap();
    })
}

fn main() -> ExitCode {
    let mut bench = Bench::new("write_behind", "The rows of publishes into sled, in one batch.");
    let folder = common::folder();
    let mut writer = Writer::start(&folder.path().join("state"));
    let other = sled::Config::new()
        .path(folder.path().join("bare"))
        .segment_size(SEGMENT_BYTES)
        .cache_capacity(Config::default().sled_cache.0)
        .flush_every_ms(None)
        .open()
        .unwrap();
    let tree = other.open_tree("rows").unwrap();
    let mut state = people::state(USERS, WEDDINGS);
    for (count, rounds) in TICKS {
        let batches: Vec<Vec<Row>> = (0..common::all_rounds(rounds))
            .map(|_| rows(&mut state, count))
            .collect();
        let bare_rows = |rows: &Vec<Row>| -> Vec<_> {
            rows.iter()
                .map(|row| (schema::encode(&row.key), row.value.clone()))
                .collect()
        };
        let mut bare = batches.iter().map(bare_rows).collect::<Vec<_>>().into_iter();
        let mut batches = batches.into_iter();
        let cost = common::in_turn(
            rounds,
            count,
            || writer.write(batches.next().expect("there are rows for each round")),
            || write_bare(&tree, &bare.next().expect("there are rows for each round")),
        );
        cost.tell(
            &mut bench,
            &format!("tick_{count}"),
            &format!("A publish of {count} in a tick"),
            MOST,
        );
    }
    writer.thread.stop();
    bench
        .setting("users", USERS)
        .setting("text_bytes", TEXT_BYTES)
        .note("The floor is one `apply_batch` of the same keys and values into another sled in the same folder. Neither is synced.")
        .end()
}
