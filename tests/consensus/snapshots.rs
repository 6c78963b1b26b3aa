//! A node that was away for so long that the others have let the entries go that it lacks: it gets a snapshot, and whatever
//! happens meanwhile, it starts again from one state or the other (C6).

use super::nodes::{Nodes, until};
use campanile::base::clock;
use campanile::base::size::{Size, Span};
use campanile::storage::{Config, Store, snapshot_file};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

/// Long enough for the two snapshots that a purge waits for, on a busy machine.
const PURGED_WITHIN: Duration = Duration::from_secs(60);

/// Three nodes of which one is stopped, and another has let go of all that the stopped one lacks.
struct Left {
    nodes: Nodes,
    away: usize,
    /// Cannot send the entries any more. Not the leader, which keeps what it may still have to send.
    purged: usize,
    leader: usize,
    users: u64,
}

async fn one_left_behind() -> Left {
    let storage = Config {
        snapshot_log_bytes: Size::kib(16),
        write_behind_every: Span::millis(10),
        ..Config::default()
    };
    let mut nodes = Nodes::start(storage, Size::kib(8)).await;
    nodes.at(0).put("before").await;
    let leader = nodes.leader();
    let [away, purged] = [(leader + 1) % 3, (leader + 2) % 3];
    nodes.stop(away).await;
    nodes.at(purged).put("without it").await;
    // What the stopped node lacks begins in one of these files.
    let log = nodes.folder(purged).join("log");
    let files = || -> BTreeSet<PathBuf> {
        std::fs::read_dir(&log)
            .unwrap()
            .map(|file| file.unwrap().path())
            .collect()
    };
    let is_chunk = |file: &PathBuf| file.extension().is_some_and(|end| end == "wal");
    let had: BTreeSet<PathBuf> = files().into_iter().filter(is_chunk).collect();
    assert!(!had.is_empty());
    let mut users = 2;
    let deadline = clock::now() + PURGED_WITHIN;
    while !had.is_disjoint(&files()) {
        assert!(
            clock::now() < deadline,
            "the log keeps {:?}",
            had.intersection(&files())
        );
        nodes.at(leader).put(&format!("user-{users}-{}", "x".repeat(100))).await;
        users += 1;
    }
    Left {
        nodes,
        away,
        purged,
        leader,
        users,
    }
}

impl Left {
    /// Only the one without the entries is there, so that it leads as soon as the other is back.
    async fn leave_the_purged(&mut self) {
        self.nodes.stop(self.leader).await;
    }

    async fn come_back(&mut self) {
        self.nodes.again(self.away).await;
        let back = self.nodes.at(self.away);
        until("catching up", || back.users() == self.users).await;
        self.nodes.agree().await;
    }

    /// It follows, also after another start.
    async fn goes_on(&mut self) {
        let (away, purged) = (self.away, self.purged);
        self.nodes.at(purged).put("after the return").await;
        self.nodes.at(away).put("through the one that returned").await;
        self.nodes.agree().await;
        self.nodes.stop(away).await;
        self.nodes.again(away).await;
        assert!(self.nodes.at(away).users() > self.users, "it starts from what it had");
        self.nodes.at(away).put("after another start").await;
        self.nodes.again(self.leader).await;
        self.users += 3;
        let all = || self.nodes.running().all(|node| node.users() == self.users);
        until("all three being there", all).await;
        self.nodes.agree().await;
    }

    fn states(&self) -> BTreeSet<String> {
        let names = std::fs::read_dir(self.nodes.folder(self.away)).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("state-")).collect()
    }

    fn snapshot_of_the_purged(&self) -> PathBuf {
        let folder = self.nodes.folder(self.purged).join("snapshots");
        snapshot_file::list(&folder).unwrap().remove(0)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_whose_entries_are_gone_installs_a_snapshot_and_goes_on() {
    let mut left = one_left_behind().await;
    left.leave_the_purged().await;
    // It was killed while it installed one before: the folder is there, good to open and empty.
    let half = left.nodes.folder(left.away).join("state-1");
    drop(Store::open(&half, &left.nodes.storage).unwrap());
    let part = left
        .nodes
        .folder(left.away)
        .join("snapshots/0123456789abcdef.receiving.part");
    std::fs::create_dir_all(part.parent().unwrap()).unwrap();
    std::fs::write(&part, "half").unwrap();
    left.come_back().await;
    assert_eq!(left.nodes.at(left.away).watcher.installed(), 1);
    assert_eq!(left.states(), BTreeSet::from(["state-1".to_owned()]));
    assert!(!part.exists());
    left.goes_on().await;
    assert_eq!(
        left.nodes.at(left.away).watcher.installed(),
        0,
        "since it was started again"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_was_killed_right_after_the_switch_has_what_it_installed() {
    let mut left = one_left_behind().await;
    left.leave_the_purged().await;
    let snapshot = left.snapshot_of_the_purged();
    {
        let layout = left.nodes.layout(left.away).await;
        let (store, header) = snapshot_file::restore(&snapshot, &layout.state(1), &left.nodes.storage).unwrap();
        drop(store);
        layout
            .identity
            .update(|identity| (identity.state, identity.stored) = (1, header.applied));
    }
    assert_eq!(left.states().len(), 2);
    left.come_back().await;
    assert_eq!(left.states(), BTreeSet::from(["state-1".to_owned()]));
    left.goes_on().await;

    // The same folder in another cluster: its snapshots would replace everything.
    let purged = left.purged;
    left.nodes.stop(purged).await;
    let layout = left.nodes.layout(purged).await;
    layout.identity.update(|identity| identity.cluster ^= 1);
    drop(layout);
    let error = left.nodes.refused(purged).await;
    assert!(error.contains("this snapshot is of cluster"), "{error}");
}
