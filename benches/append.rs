//! The step *append*: entries into the log of one node, on disk when it says so. The callers are told after the fdatasync.
//!
//! `cargo bench --bench append`. Floor: one write of the same bytes to a preallocated file in the same folder, and one fdatasync.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a bench that cannot run says so

mod common;

use bytes::Bytes;
use campanile::base::clock;
use campanile::consensus::Config;
use campanile::consensus::log_store::LogStore;
use campanile::consensus::types::{LogEntry, LogId, Packed};
use campanile::lab::results::bench::Bench;
use common::disk::Floor;
use common::people;
use openraft::entry::RaftEntry;
use openraft::impls::leader_id_std::LeaderId;
use openraft::storage::RaftLogStorageExt;
use openraft::vote::RaftLeaderId;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// About a publish of 400 letters.
const ENTRY_BYTES: usize = 600;
const BATCHES: [(usize, f64); 3] = [(1, SINGLE_MOST), (16, BATCH_MOST), (64, BATCH_MOST)];
const ROUNDS: usize = 300;
/// 1.6 when it was set: the log's file grows, so that fdatasync writes its length too, and the bytes go to a thread of the log and the
/// word back. A second fdatasync for an append would come to more than this; disks differ.
const SINGLE_MOST: f64 = 3.0;
/// 2.4 when it was set: a record, its checksum and a place in memory for each entry come to it.
const BATCH_MOST: f64 = 4.0;

/// The log as a node has it, and the next index.
struct Log {
    store: LogStore,
    next: u64,
    runtime: Runtime,
}

impl Log {
    fn open(folder: &Path) -> Self {
        let config = Config::default();
        let on_failure = Box::new(|error: &std::io::Error| panic!("the log failed: {error}"));
        let wait = Duration::from_micros(config.log_flush_wait_us);
        Self {
            store: LogStore::open(folder, config.log_chunk.bytes(), wait, on_failure).unwrap(),
            next: 1,
            runtime: Builder::new_current_thread().build().unwrap(),
        }
    }

    fn append(&mut self, data: &[Bytes]) -> Duration {
        let leader = LeaderId::<u64, u64>::new(1, 1).to_committed();
        let entries: Vec<LogEntry> = (self.next..)
            .zip(data)
            .map(|(index, data)| LogEntry::new_normal(LogId::new(leader, index), Packed(data.clone())))
            .collect();
        self.next += data.len() as u64;
        let start = clock::now();
        self.runtime.block_on(self.store.blocking_append(entries)).unwrap();
        let took = start.elapsed();
        assert_eq!(self.store.durable(), self.next - 1, "it said so before it was on disk");
        took
    }
}

fn main() -> ExitCode {
    let mut bench = Bench::new("append", "Entries into the log of one node, on disk when it says so.");
    let folder = common::folder();
    let mut log = Log::open(&folder.path().join("log"));
    let mut floor = Floor::create(folder.path());
    for (count, most) in BATCHES {
        let data: Vec<Bytes> = (0..count as u64)
            .map(|seed| people::text(seed, ENTRY_BYTES).into())
            .collect();
        let cost = common::in_turn(ROUNDS, 1, || log.append(&data), || floor.append(&data));
        let what = if count == 1 {
            "One entry".to_owned()
        } else {
            format!("{count} entries at once")
        };
        cost.tell(&mut bench, &format!("batch_{count}"), &what, most);
    }
    log.store.close();
    bench
        .setting("entry_bytes", ENTRY_BYTES)
        .note("The floor is one write of the same bytes to a preallocated file in the same folder, and one fdatasync.")
        .end()
}
