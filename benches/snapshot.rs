//! The step *snapshot*: all rows of a node's store into one checksummed file, durable under its name.
//!
//! `cargo bench --bench snapshot`. Floor: zstd of the same bytes from memory into a file in the same folder, and fdatasync.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a bench that cannot run says so

mod common;

use bytes::Bytes;
use campanile::lab::results::bench::Bench;
use campanile::state::{Row, State};
use campanile::storage::snapshot_file::{Origin, rows};
use campanile::storage::{Batch, Config, Store, WriteBehind};
use common::people;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

const USERS: u32 = 50_000;
const WEDDINGS: u32 = 500;
const PUBLISHES: u64 = 20_000;
/// Publishes of one batch of rows.
const TICK: u64 = 1_000;
const TEXT_BYTES: usize = 800;
const ROUNDS: usize = 7;
/// As the snapshot is packed.
const LEVEL: i32 = 1;
/// As the snapshot is written.
const BUFFER_BYTES: usize = 1 << 16;
/// 2.3 when it was set: rows are read from sled page by page, unpacked, looked at for what was kept aside, packed, and summed up. A
/// second pass over the rows would be about 1 more.
const MOST: f64 = 4.0;

/// The state's rows, as a node writes them: what is there, then publishes by the tick.
fn all_rows() -> Vec<Vec<Row>> {
    let mut state = State::new();
    let mut batches = Vec::new();
    let mut index = 0;
    for command in people::import(USERS, WEDDINGS) {
        index += 1;
        state.apply(index, people::NOW, vec![command], &mut Vec::new());
        batches.push(state.take_rows());
    }
    for tick in 0..PUBLISHES / TICK {
        let notice = |number| people::publish(number, people::notice(number, WEDDINGS, TEXT_BYTES));
        let commands = (tick * TICK..(tick + 1) * TICK).map(notice);
        index += 1;
        state.apply(index, people::NOW, commands.collect(), &mut Vec::new());
        batches.push(state.take_rows());
    }
    batches
}

/// A node's store with all of them.
fn filled(folder: &Path) -> WriteBehind {
    let config = Config::default();
    let store = Store::open(folder, &config).unwrap();
    let mut left = all_rows().into_iter();
    let mut applied = 0u64;
    let take = move || {
        applied += 1;
        left.next().map(|rows| Batch {
            applied,
            meta: Bytes::copy_from_slice(&applied.to_le_bytes()),
            rows,
            forgotten: 0,
        })
    };
    let writer = WriteBehind::start(store, &config, Box::new(take), Box::new(|_| {})).unwrap();
    // Each sync takes a batch; when nothing comes any more, all are in.
    let mut before = None;
    while before != Some(writer.stored()) || before == Some(0) {
        before = Some(writer.stored());
        writer.sync().unwrap();
    }
    writer
}

/// What stands in a snapshot, as it is packed.
fn unpacked(path: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    let each = |key: Vec<u8>, value: Vec<u8>| {
        all.extend_from_slice(&(key.len() as u32).to_le_bytes());
        all.extend_from_slice(&(value.len() as u32).to_le_bytes());
        all.extend_from_slice(&key);
        all.extend_from_slice(&value);
        Ok(())
    };
    rows(path, each).unwrap();
    all
}

fn pack_bare(path: &Path, bytes: &[u8]) -> Duration {
    let took = common::timed(|| {
        let file = BufWriter::with_capacity(BUFFER_BYTES, File::create(path).unwrap());
        let mut packer = zstd::Encoder::new(file, LEVEL).unwrap();
        packer.write_all(bytes).unwrap();
        let file = packer.finish().unwrap().into_inner().unwrap();
        file.sync_data().unwrap();
    });
    std::fs::remove_file(path).unwrap();
    took
}

fn main() -> ExitCode {
    let mut bench = Bench::new(
        "snapshot",
        "All rows of a node's store into one checksummed file, durable.",
    );
    let folder = common::folder();
    let writer = filled(&folder.path().join("state"));
    let snapshots = folder.path().join("snapshots");
    let first = writer.snapshot(&snapshots, Origin::default()).unwrap();
    let bytes = unpacked(&first.path);
    let mib = bytes.len() as f64 / f64::from(1 << 20);
    let cost = common::in_turn(
        ROUNDS,
        1,
        || {
            std::fs::remove_file(&first.path).unwrap();
            common::timed(|| writer.snapshot(&snapshots, Origin::default()).unwrap())
        },
        || pack_bare(&folder.path().join("floor"), &bytes),
    );
    let each = common::Cost {
        measured_ns: cost.measured_ns / mib,
        floor_ns: cost.floor_ns / mib,
    };
    each.tell(&mut bench, "snapshot", "A MiB of rows", MOST);
    writer.stop();
    bench
        .setting("users", USERS)
        .setting("publishes", PUBLISHES)
        .note(format!(
            "The rows are {mib:.1} MiB, and {:.1} MiB as a file.",
            first.bytes as f64 / f64::from(1 << 20)
        ))
        .note(
            "The floor packs the same bytes from memory into a file in the same folder with zstd, and calls fdatasync.",
        )
        .end()
}
