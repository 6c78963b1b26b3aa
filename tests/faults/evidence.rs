//! Waiting for as long as something still comes; and when nothing does, everything that helps to find out why.

use super::harness::load::{Fate, Publish};
use super::harness::oracle::owed;
use super::harness::stream::Seen;
use super::harness::wait::maybe;
use super::harness::{Client, Cluster, PRIORITIES, Subscriber};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::{Duration, Instant};

/// A subscriber that is owed something and gets nothing at all for this long will not get it any more. Longer than a session may
/// stall, a cursor may be ahead and a publisher may insist, all of them one after the other.
const STILL: Duration = Duration::from_secs(30);
/// However slow the machine is.
const AT_ALL: Duration = Duration::from_secs(300);
/// A wait of this length is told of.
const LONG: Duration = Duration::from_secs(5);
/// Missing broadcasts that are described.
const DESCRIBED_MAX: usize = 5;
/// Deliveries and cursors shown before and after a place.
const AROUND: usize = 6;
/// Lines of a story that are shown.
const STORY_MAX: usize = 60;

/// Waits until a subscriber has all that it is owed, as long as it gets on. Fails with the evidence.
pub fn wait_for_all(cluster: &mut Cluster, history: &[Publish], subscriber: &Subscriber) {
    let mut missing: BTreeSet<String> = owed(history, &subscriber.user).into_iter().map(str::to_owned).collect();
    let (begun, mut looked_at) = (Instant::now(), 0);
    let mut moved = begun;
    let mut progress = Vec::new();
    let ended = maybe(AT_ALL, || {
        let before = looked_at;
        subscriber.look(|seen| {
            for delivery in &seen.deliveries[before..] {
                missing.remove(&delivery.id);
            }
            looked_at = seen.deliveries.len();
        });
        if looked_at > before {
            moved = Instant::now();
            progress.push((begun.elapsed(), looked_at, missing.len()));
        }
        let still = moved.elapsed() >= STILL || subscriber.is_broken();
        (missing.is_empty() || still).then_some(())
    });
    if begun.elapsed() >= LONG {
        let steps = progress.iter().step_by(progress.len().div_ceil(20).max(1));
        let steps: Vec<String> = steps
            .map(|(at, count, left)| format!("{:.1} s: {count}, {left} missing", at.as_secs_f32()))
            .collect();
        super::power_cut::say(&format!(
            "{} waited {:?}: {}",
            subscriber.user,
            begun.elapsed(),
            steps.join("; ")
        ));
    }
    if missing.is_empty() {
        return;
    }
    let why = if ended.is_none() {
        "not yet"
    } else {
        "nothing comes any more"
    };
    let said = describe(cluster, history, subscriber, &missing);
    let folder = cluster.keep().to_owned();
    let file = folder.join("evidence.txt");
    let written = std::fs::write(&file, &said);
    panic!(
        "{} over {:?} has not got {} of what it is owed ({why}); node logs and this in {} ({written:?})\n{said}",
        subscriber.user,
        subscriber.transport,
        missing.len(),
        file.display(),
    );
}

fn describe(cluster: &Cluster, history: &[Publish], subscriber: &Subscriber, missing: &BTreeSet<String>) -> String {
    let seen = subscriber.look(Clone::clone);
    let mut said = String::new();
    if subscriber.is_broken() {
        said += "its thread has failed\n";
    }
    for publish in history {
        let Fate::Ok { id, position, .. } = &publish.fate else {
            continue;
        };
        if !missing.contains(id) {
            continue;
        }
        let _ = writeln!(said, "missing {id} at {position}, {}: {publish:?}", publish.priority);
    }
    let known = |publish: &&Publish| matches!(&publish.fate, Fate::Ok { id, .. } if missing.contains(id));
    for publish in history.iter().filter(known).take(DESCRIBED_MAX) {
        let Fate::Ok { id, position, .. } = &publish.fate else {
            continue;
        };
        on_the_nodes(cluster, id, &mut said);
        around(&seen, &publish.priority, *position, &mut said);
    }
    let _ = writeln!(said, "last of each priority:");
    for priority in PRIORITIES {
        let last = seen
            .deliveries
            .iter()
            .rev()
            .find(|delivery| delivery.priority == priority);
        let last = last.map(|last| (last.position, last.connection, last.at.elapsed()));
        let _ = writeln!(said, "  {priority}: {last:?} (position, connection, ago)");
    }
    let cursors = &seen.cursors[seen.cursors.len().saturating_sub(AROUND)..];
    let _ = writeln!(said, "{} deliveries, last cursors {cursors:?}", seen.deliveries.len());
    let from = seen.story.len().saturating_sub(STORY_MAX);
    for (at, what) in &seen.story[from..] {
        let _ = writeln!(said, "  {:.2} s ago: {what}", at.elapsed().as_secs_f32());
    }
    for node in &cluster.nodes {
        for path in ["/v1/cluster", "/v1/queues", "/v1/workers", "/metrics"] {
            let text = ask(&mut Client::new(node.address), path);
            let lines = text
                .lines()
                .filter(|line| !line.starts_with('#') && !line.contains("_bucket"));
            for line in lines {
                let _ = writeln!(said, "node {} {path}: {line}", node.id);
            }
        }
    }
    said
}

fn ask(client: &mut Client, path: &str) -> String {
    match client.send("GET", path, &[], b"") {
        Ok(answer) => format!("{} {}", answer.status, answer.text()),
        Err(error) => error.to_string(),
    }
}

fn on_the_nodes(cluster: &Cluster, id: &str, said: &mut String) {
    for node in &cluster.nodes {
        let mut client = Client::new(node.address);
        for path in [
            format!("/v1/broadcasts/{id}"),
            format!("/v1/broadcasts/{id}/recipients"),
        ] {
            let _ = writeln!(said, "node {} {path}: {}", node.id, ask(&mut client, &path));
        }
    }
}

/// What came of one priority before and after a position, and the cursors that step over it.
fn around(seen: &Seen, priority: &str, position: u64, said: &mut String) {
    let index = PRIORITIES.iter().position(|name| *name == priority).unwrap();
    let same: Vec<_> = seen
        .deliveries
        .iter()
        .filter(|delivery| delivery.priority == priority)
        .collect();
    let at = same.partition_point(|delivery| delivery.position < position);
    let range = at.saturating_sub(AROUND)..(at + AROUND).min(same.len());
    for delivery in &same[range] {
        let (at, connection, ago) = (delivery.position, delivery.connection, delivery.at.elapsed());
        let _ = writeln!(said, "  {priority} {at} came on connection {connection}, {ago:?} ago");
    }
    let scanned = |cursor: &str| {
        let parts = cursor.split('.').skip(1);
        parts.map(|part| part.parse().unwrap_or(0)).nth(index).unwrap_or(0u64)
    };
    let over = seen.cursors.iter().position(|(cursor, _)| scanned(cursor) >= position);
    let Some(over) = over else {
        let _ = writeln!(said, "  no cursor is past {position}");
        return;
    };
    let from = over.saturating_sub(AROUND);
    for (cursor, count) in &seen.cursors[from..(over + 2).min(seen.cursors.len())] {
        let behind = count.checked_sub(1).and_then(|last| seen.deliveries.get(last));
        let behind = behind.map(|last| (last.position, &last.priority, last.connection, last.at.elapsed()));
        let _ = writeln!(said, "  cursor {cursor} behind {count} deliveries, the last {behind:?}");
    }
}
