//! P2: the disks of all three nodes lose power within 10 ms, under load; nothing acknowledged is lost, and all serve again.
//!
//! By turns the nodes run on when their disks are gone, and stand still before: a real cut stops both at once, the first finds a
//! node that believes a sync which it should not, the second ends every sync halfway.
//!
//! `CAMPANILE_POWER_CUT`: `auto` runs where it can and says `skipped` where not; `require` fails where it can't; `off` (the
//! default: this takes a minute and root) skips. `CAMPANILE_ROUNDS` is how often the power is cut (4);
//! with `CAMPANILE_KEEP` the logs of the nodes are kept, as they are after a failure.

use super::disk::{Disk, can_cut, cut};
use super::evidence::wait_for_all;
use super::harness::cluster::{SERVING_WITHIN, alone};
use super::harness::load::{Load, Plan, Publish};
use super::harness::oracle::{judge, on_every_node};
use super::harness::stream::Seen;
use super::harness::{Cluster, Start, Subscriber, Transport, directory};
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// When an entry was on disk, and when it was applied: without that nobody can tell afterwards who was at fault.
const LOG: &str = "log.level=info,openraft=error,campanile::consensus=debug";
const SOON: Duration = Duration::from_secs(30);
/// All disks within this: one after another would let the last node learn of the first's end, unless it stands still. A slower
/// cut loses nothing either, but does not count.
const CUT_WITHIN_MS: f64 = 10.0;

fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

/// Past the harness that captures output: a skipped run must be seen.
pub fn say(text: &str) {
    let mut error = std::io::stderr();
    let _ = writeln!(error, "power_cut: {text}");
}

/// Whether this run is to cut the power, and can: then everything else waits for as long as the guard lives.
pub fn asked_for() -> Option<impl Drop> {
    let wish = setting("CAMPANILE_POWER_CUT").unwrap_or_else(|| "off".into());
    if wish == "off" {
        say("skipped, NOT RUN: it is asked for with CAMPANILE_POWER_CUT=auto");
        return None;
    }
    match can_cut() {
        Ok(()) => Some(alone()),
        Err(why) if wish == "require" => panic!("cannot cut the power here: {why}"),
        Err(why) => {
            say(&format!("skipped, NOT RUN: {why}"));
            None
        }
    }
}

#[test]
fn power_cut_of_all_three_loses_nothing_acknowledged() {
    let Some(_alone) = asked_for() else { return };
    let rounds = setting("CAMPANILE_ROUNDS")
        .and_then(|text| text.parse().ok())
        .unwrap_or(4);
    rehearse(rounds);
    say(&format!("run: {rounds} cuts of three disks, nothing acknowledged lost"));
}

fn rehearse(rounds: usize) {
    let images = tempfile::tempdir().unwrap();
    let mut disks: Vec<Disk> = (1..=3)
        .map(|id| Disk::new(images.path(), &format!("node-{id}")).unwrap())
        .collect();
    let folders: Vec<PathBuf> = disks.iter().map(|disk| disk.mount.clone()).collect();
    let mut cluster = Cluster::start_in(tempfile::tempdir().unwrap(), folders, &[LOG]);
    if setting("CAMPANILE_KEEP").is_some() {
        say(&format!(
            "the logs of the nodes are kept in {}",
            cluster.keep().display()
        ));
    }
    let users: Vec<String> = (0..3).map(|n| format!("power-{n}")).collect();
    let applied = directory::import_users(&mut cluster.client(0), &users);
    cluster.wait_applied(applied, SOON);
    let nodes = cluster.addresses();
    let start = |(n, user): (usize, &String)| Subscriber::start(&nodes, n, Transport::ALL[n], user, Start::Now).ready();
    let subscribers: Vec<Subscriber> = users.iter().enumerate().map(start).collect();

    let mut history: Vec<Publish> = Vec::new();
    let (mut common, mut round) = (0, 0);
    while common < rounds {
        let load = load(&cluster, &users, round);
        pass_some(&subscribers, 30 + round * 7);
        let frozen = round % 2 == 1;
        if frozen {
            cluster.freeze_all();
        }
        let apart = cut(&disks).unwrap();
        cluster.kill_all();
        common += usize::from(frozen || apart <= CUT_WITHIN_MS);
        for disk in &mut disks {
            disk.unmount().unwrap();
            disk.mount().unwrap();
        }
        let up = Instant::now();
        for at in 0..3 {
            cluster.launch((at + round) % 3);
        }
        cluster.wait_writable(SERVING_WITHIN);
        say(&format!(
            "round {round}: cut within {apart} ms{}, serving again after {:?}",
            if frozen { " under nodes that stood still" } else { "" },
            up.elapsed()
        ));
        pass_some(&subscribers, 10);
        history.extend(load.stop());
        for subscriber in &subscribers {
            wait_for_all(&mut cluster, &history, subscriber);
        }
        let seen: Vec<(String, Seen)> = subscribers
            .iter()
            .map(|subscriber| (subscriber.user.clone(), subscriber.look(Clone::clone)))
            .collect();
        let mut verdict = judge(&history, &seen);
        on_every_node(&cluster, &history, &mut verdict);
        verdict.assert(&format!("power cut {round}"));
        say(&format!("round {round}: {verdict}"));
        round += 1;
        assert!(
            round < rounds * 8,
            "only {common} of {round} cuts were within {CUT_WITHIN_MS} ms"
        );
    }
    cluster.assert_sound();
    drop(subscribers);
    drop(cluster);
}

fn load(cluster: &Cluster, users: &[String], round: usize) -> Load {
    let plan = |n: usize| Plan {
        name: format!("round-{round}-{n}"),
        audiences: vec![users.to_vec()],
        every: Duration::from_millis(5),
    };
    Load::start(&cluster.addresses(), (0..8).map(plan).collect())
}

/// Waits until the load really flows.
fn pass_some(subscribers: &[Subscriber], count: usize) {
    for subscriber in subscribers {
        let before = subscriber.look(|seen| seen.deliveries.len());
        subscriber.until("the load flows", SOON, |seen| seen.deliveries.len() >= before + count);
    }
}
