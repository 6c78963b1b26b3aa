//! D1: the disks fill up. Publishes are refused (507) while reads, deliveries and acknowledgements go on; a node starts on a full
//! disk; a disk that takes nothing more ends its node with 74 and nobody else; once there is room, all goes on and nothing
//! acknowledged is lost.
//!
//! `CAMPANILE_DISK_FULL`: `auto` runs where it can and says `skipped` where not; `require` fails where it can't; `off` (the
//! default: this takes half a minute and root) skips.

use super::disk::{Disk, can_mount};
use super::harness::cluster::SERVING_WITHIN;
use super::harness::load::{Fate, Publish, draft, publish};
use super::harness::oracle::{has_all, judge, on_every_node};
use super::harness::{Answer, Client, Cluster, Start, Subscriber, Transport, directory, until};
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Left above what nodes keep free for a fast publisher to fill.
const ROOM_BYTES: u64 = 24 << 20;
const BATCH_LINES: usize = 200;
const SOON: Duration = Duration::from_secs(15);
const DISK_BYTES: u64 = 256 << 20;
/// Snapshots and new files of the log are due all the time, on a full disk too.
const SMALL: [&str; 2] = ["storage.snapshot_log_bytes=1 MiB", "cluster.log_chunk=1 MiB"];
/// Nodes look at their disks several times a second.
const SEEN_WITHIN: Duration = Duration::from_secs(2);
/// What is promised: accepting again so soon after there is room.
const ACCEPTING_WITHIN: Duration = Duration::from_secs(10);
/// A disk that takes nothing more is noticed by the next write.
const ENDED_WITHIN: Duration = Duration::from_secs(10);
/// The exit code when the disk has failed.
const DISK_FAILED: i32 = 74;

/// Past the harness that captures output: a skipped run must be seen.
fn say(text: &str) {
    let mut error = std::io::stderr();
    let _ = writeln!(error, "disk_full: {text}");
}

#[test]
fn a_full_disk_stops_what_fills_it_and_nothing_else() {
    let wish = std::env::var("CAMPANILE_DISK_FULL").unwrap_or_default();
    if wish.is_empty() || wish == "off" {
        return say("skipped, NOT RUN: it is asked for with CAMPANILE_DISK_FULL=auto");
    }
    match can_mount() {
        Ok(()) => {}
        Err(why) if wish == "require" => panic!("cannot fill a disk here: {why}"),
        Err(why) => return say(&format!("skipped, NOT RUN: {why}")),
    }
    let begun = Instant::now();
    let mut venue = Venue::open();
    venue.the_leaders_disk_is_full();
    venue.all_disks_are_full();
    venue.all_start_on_full_disks();
    venue.there_is_room_again();
    venue.a_followers_disk_takes_nothing_more();
    venue.a_fast_publisher_fills_the_disks();
    venue.close();
    say(&format!("run: nothing acknowledged lost, in {:?}", begun.elapsed()));
}

struct Venue {
    // Before the disks that its nodes use, in the order that they are dropped.
    subscribers: Vec<Subscriber>,
    cluster: Cluster,
    disks: Vec<Disk>,
    _images: tempfile::TempDir,
    users: Vec<String>,
    history: Vec<Publish>,
}

impl Venue {
    fn open() -> Self {
        let images = tempfile::tempdir().unwrap();
        let disks: Vec<Disk> = (1..=3)
            .map(|id| Disk::of(images.path(), &format!("node-{id}"), DISK_BYTES).unwrap())
            .collect();
        let folders: Vec<PathBuf> = disks.iter().map(|disk| disk.mount.clone()).collect();
        let cluster = Cluster::start_in(tempfile::tempdir().unwrap(), folders, &SMALL);
        let users: Vec<String> = (0..4).map(|n| format!("full-{n}")).collect();
        let applied = directory::import_users(&mut cluster.client(0), &users);
        cluster.wait_applied(applied, SOON);
        let mut venue = Self {
            subscribers: Vec::new(),
            cluster,
            disks,
            _images: images,
            users,
            history: Vec::new(),
        };
        // The last user never listens.
        for n in 0..3 {
            venue.subscribe(n, Start::Now);
        }
        for at in 0..3 {
            venue.accepted(at);
            assert!(
                venue.reserve(at) >= reserve(&venue.disks[at]),
                "node {at} keeps a reserve"
            );
        }
        venue
    }

    fn subscribe(&mut self, n: usize, start: Start) {
        let nodes = self.cluster.addresses();
        let subscriber = Subscriber::start(&nodes, n, Transport::ALL[n], &self.users[n], start).ready();
        self.subscribers.push(subscriber);
    }

    fn reserve(&self, at: usize) -> u64 {
        std::fs::metadata(self.disks[at].mount.join("reserve")).map_or(0, |file| file.len())
    }

    /// One publish to all, through one node; it goes into the history with its fate.
    fn publish(&mut self, at: usize) -> Option<Answer> {
        let body = format!("full {}", self.history.len());
        let draft = draft("high", &body, &self.users);
        let (mut fate, answer) = publish(&mut self.cluster.client(at), &draft, &body);
        let is_refused = |answer: &Answer| answer.status >= 500 && answer.json()["outcome"] == "not_published";
        if let Some(answer) = answer.as_ref().filter(|answer| is_refused(answer)) {
            // It says so itself: then it must never appear.
            fate = Fate::Failed(answer.status);
        }
        self.history.push(Publish::done(body, "high", self.users.clone(), fate));
        answer
    }

    fn accepted(&mut self, at: usize) {
        until(&format!("node {at} accepts"), ACCEPTING_WITHIN, || {
            (self.publish(at)?.status == 201).then_some(())
        });
    }

    /// Refused as it should be, soon and from then on.
    fn refused(&mut self, at: usize) {
        let answer = until(&format!("node {at} refuses"), SEEN_WITHIN, || {
            self.publish(at).filter(|answer| answer.status == 507)
        });
        let problem = answer.json();
        assert_eq!(problem["code"], "DISK_FULL", "{problem}");
        assert_eq!(problem["outcome"], "not_published", "{problem}");
        assert_eq!(problem["retryable"], true, "{problem}");
        let after = answer.header("retry-after").and_then(|text| text.parse::<u64>().ok());
        assert!(after.is_some_and(|seconds| seconds > 0), "{:?}", answer.headers);
        assert_eq!(self.publish(at).unwrap().status, 507);
        let user = json!({"role": "guest", "tier": "starter", "timezone": "UTC", "locale": "en"});
        assert_eq!(self.cluster.client(at).put("/v1/users/late", &user).status, 507);
    }

    fn known(&self) -> Vec<String> {
        let id = |publish: &Publish| match &publish.fate {
            Fate::Ok { id, .. } => Some(id.clone()),
            Fate::Unknown | Fate::Failed(_) => None,
        };
        self.history.iter().filter_map(id).collect()
    }

    /// Reads, deliveries and acknowledgements, through every running node.
    fn goes_on(&mut self, nodes: &[usize]) {
        let known = self.known();
        let newest = known.last().unwrap();
        for at in nodes {
            let mut client = self.cluster.client(*at);
            client.get(&format!("/v1/broadcasts/{newest}")).expect(200);
            client.get(&format!("/v1/inbox?user={}", self.users[0])).expect(200);
            let user = &self.users[3];
            let path = format!("/v1/broadcasts/{newest}/acknowledge?user={user}");
            let said = client.post(&path, &json!({"answer": "ok"}));
            assert!(said.status < 300, "node {at}: {} {}", said.status, said.text());
            let counts = client
                .get(&format!("/v1/broadcasts/{newest}?consistency=strong"))
                .expect(200)
                .json();
            assert_eq!(counts["acknowledged"], 1, "{counts}");
            // Somebody who comes only now gets what was accepted before.
            let addresses = [self.cluster.nodes[*at].address];
            let late = Subscriber::start(&addresses, 0, Transport::ALL[*at], user, Start::Earliest).ready();
            late.until("all that was accepted", SOON, |seen| {
                known.iter().all(|id| seen.has(id))
            });
        }
        for subscriber in &self.subscribers {
            let history = &self.history;
            subscriber.until("all of its own", SOON, |seen| has_all(history, &subscriber.user, seen));
        }
    }

    /// Followers have room, and still everything would have to pass through the leader.
    fn the_leaders_disk_is_full(&mut self) {
        let leader = self.cluster.leader();
        self.disks[leader].fill(kept_free(&self.disks[leader]) / 2);
        for at in [leader, (leader + 1) % 3, (leader + 2) % 3] {
            self.refused(at);
        }
        self.goes_on(&[0, 1, 2]);
        self.disks[leader].clear();
        self.accepted((leader + 1) % 3);
        say("the leader's disk was full: refused everywhere, and accepted again");
    }

    fn all_disks_are_full(&mut self) {
        for disk in &self.disks {
            disk.fill(kept_free(disk) / 2);
        }
        for at in 0..3 {
            self.refused(at);
        }
        self.goes_on(&[0, 1, 2]);
        say("all disks were full: reads, deliveries and acknowledgements went on");
    }

    /// Not a block is left but those of the reserve.
    fn all_start_on_full_disks(&mut self) {
        self.cluster.kill_all();
        for (at, disk) in self.disks.iter().enumerate() {
            disk.fill_up();
            assert!(self.reserve(at) >= reserve(disk), "node {at} has touched its reserve");
        }
        for at in 0..3 {
            self.cluster.launch(at);
        }
        self.cluster.wait_writable(SERVING_WITHIN);
        for at in 0..3 {
            assert_eq!(self.reserve(at), 0, "node {at} gave its reserve up to start");
            self.refused(at);
        }
        self.goes_on(&[0, 1, 2]);
        say("all started on full disks");
    }

    fn there_is_room_again(&mut self) {
        self.disks.iter().for_each(Disk::clear);
        let freed = Instant::now();
        for at in 0..3 {
            self.accepted(at);
        }
        say(&format!("accepted again {:?} after there was room", freed.elapsed()));
        for (at, disk) in self.disks.iter().enumerate() {
            until("the reserve is taken again", ACCEPTING_WITHIN, || {
                (self.reserve(at) >= reserve(disk)).then_some(())
            });
        }
    }

    /// It ends with a reason, starts from its reserve, ends again when that is gone too, and comes back whole.
    fn a_followers_disk_takes_nothing_more(&mut self) {
        let follower = self.cluster.follower();
        let others = [(follower + 1) % 3, (follower + 2) % 3];
        self.ends_of_a_full_disk(follower, others);
        self.cluster.launch(follower);
        self.cluster.wait_writable(SERVING_WITHIN);
        self.goes_on(&[0, 1, 2]);
        self.ends_of_a_full_disk(follower, others);
        self.cluster.launch(follower);
        self.ends_of_a_full_disk(follower, others);
        self.disks[follower].clear();
        self.cluster.launch(follower);
        self.cluster.wait_writable(SERVING_WITHIN);
        self.accepted(follower);
        say("a follower ended three times with 74 over its full disk, and the others went on");
    }

    fn ends_of_a_full_disk(&mut self, follower: usize, others: [usize; 2]) {
        self.disks[follower].fill_up();
        let full = Instant::now();
        while self.cluster.is_alive(follower) {
            assert!(full.elapsed() < ENDED_WITHIN, "it goes on, on a full disk");
            self.accepted(others[0]);
        }
        let code = self.cluster.ended(follower, ENDED_WITHIN);
        assert_eq!(code, Some(DISK_FAILED), "{}", self.cluster.log_tail(follower));
        let log = self.cluster.log_tail(follower);
        let reason = log
            .lines()
            .rfind(|line| line.contains("No space left on device") || line.contains("disk is full"));
        say(reason.unwrap_or_else(|| panic!("it gives no reason: {log}")));
        for at in others {
            self.accepted(at);
        }
        self.goes_on(&others);
    }

    /// What it sends between two looks at the disk is counted: nobody gets anywhere near the end.
    fn a_fast_publisher_fills_the_disks(&mut self) {
        for disk in &self.disks {
            disk.fill(kept_free(disk) + ROOM_BYTES);
        }
        let users = vec![self.users[3].clone()];
        let (mut accepted, mut refused) = (0, 0);
        let end = Instant::now() + SOON;
        for batch in 0.. {
            assert!(Instant::now() < end, "{accepted} accepted, and the disks are not full");
            let bodies: Vec<String> = (0..BATCH_LINES).map(|n| format!("large {batch} {n}")).collect();
            let lines = send_batch(&mut self.cluster.client(batch % 3), &bodies, &users);
            for (body, line) in bodies.into_iter().zip(lines) {
                let fate = fate_of(&line);
                let is_refused = fate == Fate::Failed(507);
                accepted += usize::from(!is_refused);
                refused += usize::from(is_refused);
                self.history.push(Publish::done(body, "low", users.clone(), fate));
            }
            // a snapshot may make room in between
            if refused >= BATCH_LINES {
                break;
            }
        }
        for (at, disk) in self.disks.iter().enumerate() {
            let (_, free) = disk.room();
            say(&format!(
                "after {accepted} large ones node {at} has {} KiB free",
                free >> 10
            ));
            assert!(self.reserve(at) >= reserve(disk), "node {at} has touched its reserve");
            assert!(free > kept_free(disk) / 2, "node {at}: {free}");
        }
    }

    fn close(mut self) {
        self.disks.iter().for_each(Disk::clear);
        self.accepted(0);
        self.goes_on(&[0, 1, 2]);
        let seen: Vec<_> = self
            .subscribers
            .iter()
            .map(|subscriber| (subscriber.user.clone(), subscriber.look(Clone::clone)))
            .collect();
        let mut verdict = judge(&self.history, &seen);
        on_every_node(&self.cluster, &self.history, &mut verdict);
        verdict.assert("full disks");
        say(&verdict.to_string());
        self.cluster.assert_sound();
    }
}

/// What nodes leave free on such a disk, and the size of their reserve.
fn kept_free(disk: &Disk) -> u64 {
    disk.room().0 / 10
}

fn reserve(disk: &Disk) -> u64 {
    disk.room().0 / 50
}

/// Of a line of a batch's answer.
fn fate_of(line: &serde_json::Value) -> Fate {
    if line["status"] == 507 {
        return Fate::Failed(507);
    }
    let number = |name: &str| line[name].as_u64().unwrap_or_else(|| panic!("{line}"));
    Fate::Ok {
        id: line["id"].as_str().unwrap().to_owned(),
        position: number("position"),
        log_index: number("log_index"),
    }
}

/// Large broadcasts, as many lines.
fn send_batch(client: &mut Client, bodies: &[String], users: &[String]) -> Vec<serde_json::Value> {
    let line = |body: &String| {
        let mut draft = draft("low", body, users);
        draft["data"] = json!({"filling": "x".repeat(15 << 10)});
        format!("{draft}\n")
    };
    let text: String = bodies.iter().map(line).collect();
    let headers = [("Content-Type", "application/x-ndjson")];
    client
        .must("POST", "/v1/broadcasts/batch", &headers, text.as_bytes())
        .expect(200)
        .lines()
}
