//! openraft's own storage tests, run against the real log and the real state machine.

use super::handle::Applied;
use super::log_store::LogStore;
use super::start::open_state;
use super::state_machine::Machine;
use super::types::Types;
use crate::state::Effect;
use crate::storage::layout::Layout;
use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

struct Nobody;

impl Applied for Nobody {
    fn applied(&self, _index: u64, _effects: Vec<Effect>) {}
    fn installed(&self) {}
    fn stored(&self, _position: u64) {}
}

struct Builder;

impl StoreBuilder<Types, LogStore, Machine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, Machine), StorageError<Types>> {
        let folder = tempfile::tempdir().unwrap();
        let storage = crate::storage::Config::default();
        let layout = Layout::open(folder.path(), 1, &storage).unwrap();
        let fail = Box::new(|error: &std::io::Error| panic!("{error}"));
        let log = LogStore::open(&layout.log(), 1 << 20, Duration::ZERO, fail).unwrap();
        let machine = Machine(open_state(layout, storage, Arc::new(Nobody)).unwrap());
        Ok((folder, log, machine))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stores_keep_what_raft_relies_on() {
    Suite::test_all(Builder).await.unwrap();
}
