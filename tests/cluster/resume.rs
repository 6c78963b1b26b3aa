//! R2, the short form: streams break at every boundary and come back on another node with their cursor, while broadcasts flow.

use super::harness::load::{Fate, Load, Plan, draft, publish};
use super::harness::oracle::{has_all, judge, on_every_node, owed};
use super::harness::stream::{Connection, Seen};
use super::harness::wait::maybe;
use super::harness::{Cluster, PRIORITIES, Start, Subscriber, Transport, cluster, directory, until};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(20);
/// How long the hopping goes on.
const HOPPING: Duration = Duration::from_secs(6);
/// Fewer would not have tried enough boundaries.
const HOPS_MIN: usize = 60;

fn plans(name: &str, users: &[String]) -> Vec<Plan> {
    let halves = users.chunks(users.len() / 2).map(<[String]>::to_vec);
    let audiences: Vec<Vec<String>> = std::iter::once(users.to_vec()).chain(halves).collect();
    let plan = |n: usize| Plan {
        name: format!("{name}-{n}"),
        audiences: audiences.clone(),
        every: Duration::from_millis(15),
    };
    (0..2).map(plan).collect()
}

#[test]
fn nothing_is_skipped_wherever_a_stream_breaks() {
    check(&cluster::shared().cluster);
}

/// Of any cluster of three.
pub fn check(cluster: &Cluster) {
    let users: Vec<String> = (0..6).map(|n| format!("resume-{n}")).collect();
    let applied = directory::import_users(&mut cluster.client(0), &users);
    cluster.wait_applied(applied, SOON);
    let nodes = cluster.addresses();

    let start =
        |(n, user): (usize, &String)| Subscriber::start(&nodes, n, Transport::ALL[n % 3], user, Start::Now).ready();
    let hoppers: Vec<Subscriber> = users.iter().enumerate().map(start).collect();
    let load = Load::start(&nodes, plans("resume", &users));
    hop(&hoppers);
    let history = load.stop();
    for hopper in &hoppers {
        hopper.until("all of its own", SOON, |seen| has_all(&history, &hopper.user, seen));
    }
    let seen: Vec<(String, Seen)> = hoppers
        .into_iter()
        .map(|hopper| (hopper.user.clone(), hopper.stop()))
        .collect();
    let hops: usize = seen.iter().map(|(_, seen)| seen.connections.len() - 1).sum();
    assert!(hops >= HOPS_MIN, "only {hops} hops: not a test of resuming");
    let mut verdict = judge(&history, &seen);
    on_every_node(cluster, &history, &mut verdict);
    verdict.assert(&format!("{hops} resumes while publishing"));

    // Now every cursor that was ever handed out, on the node after the one that gave it, while more flows.
    let load = Load::start(&nodes, plans("more", &users));
    let mut tried = 0;
    for (user, seen) in &seen {
        let wanted = owed(&history, user);
        let step = seen.cursors.len().div_ceil(super::checks(120) / users.len()).max(1);
        for (cursor, before) in seen.cursors.iter().step_by(step) {
            let had: BTreeSet<&str> = seen.ids().into_iter().take(*before).collect();
            let rest = wanted.difference(&had).copied().collect();
            resume_once(cluster, tried, user, cursor, &rest);
            tried += 1;
        }
    }
    let more = load.stop();
    println!("{tried} cursors resumed; {} broadcasts flowed meanwhile", more.len());
}

/// Breaks each stream after one more delivery, then after two more, and so on up to seven, and again.
fn hop(hoppers: &[Subscriber]) {
    let end = Instant::now() + HOPPING;
    let mut last = vec![(0, 1); hoppers.len()];
    maybe(HOPPING, || {
        for (hopper, (count, step)) in hoppers.iter().zip(&mut last) {
            let now = hopper.look(|seen| seen.deliveries.len());
            if now >= *count + *step {
                hopper.hop();
                *count = now;
                *step = *step % 7 + 1;
            }
        }
        (Instant::now() >= end).then_some(())
    });
}

/// From this cursor on, all of `rest` comes, in order, and nothing that is not this user's.
fn resume_once(cluster: &Cluster, turn: usize, user: &str, cursor: &str, rest: &BTreeSet<&str>) {
    let transport = Transport::ALL[turn / 3 % 3];
    let start = Start::Cursor(cursor.to_owned());
    let mut connection = Connection::open(cluster.nodes[turn % 3].address, transport, user, &start).unwrap();
    let mut missing = rest.clone();
    let mut last = std::collections::BTreeMap::new();
    let end = Instant::now() + SOON;
    while !missing.is_empty() {
        assert!(
            Instant::now() < end,
            "{user} from {cursor} over {transport:?}: never got {missing:?}"
        );
        let Some(event) = connection.next(Duration::from_millis(200)).unwrap() else {
            continue;
        };
        assert!(
            event["event"] != "gap" && event["event"] != "goodbye",
            "{user} from {cursor}: {event}"
        );
        if event["event"] != "broadcast" {
            continue;
        }
        missing.remove(event["id"].as_str().unwrap());
        let (priority, position) = (event["priority"].to_string(), event["position"].as_u64().unwrap());
        let before = last.insert(priority, position).unwrap_or(0);
        assert!(
            before < position,
            "{user} from {cursor}: {position} came after {before}"
        );
    }
}

/// R3, the short form: a cursor of another history is answered with a gap, then with all that is kept.
#[test]
fn a_foreign_cursor_is_told_so() {
    let shared = cluster::shared();
    let cluster = &*shared.cluster;
    let users = vec!["foreign".to_owned()];
    directory::import_users(&mut cluster.client(0), &users);
    let load = Load::start(
        &cluster.addresses(),
        plans("foreign", &[users.clone(), users.clone()].concat()),
    );
    let earliest = Subscriber::start(&cluster.addresses(), 0, Transport::Sse, "foreign", Start::Earliest);
    earliest.until("some", SOON, |seen| seen.deliveries.len() >= 10);
    let history = load.stop();
    let cursor = earliest.look(Seen::cursor).unwrap();
    let (epoch, rest) = cursor.split_once('.').unwrap();
    let other = if epoch.starts_with('0') { "1" } else { "0" };
    let foreign = format!("{other}{}.{rest}", &epoch[1..]);
    // Ahead of the leader too: it is of no history that is known.
    let ahead = format!("{epoch}.9999999.9999999.9999999.9999999");
    let cursors = [foreign, ahead]
        .into_iter()
        .flat_map(|cursor| Transport::ALL.map(|transport| (cursor.clone(), transport)));
    for (at, (cursor, transport)) in cursors.enumerate() {
        let start = Start::Cursor(cursor);
        let stream = Subscriber::start(&cluster.addresses(), at % 3, transport, "foreign", start);
        stream.until("a gap", SOON, |seen| !seen.events("gap").is_empty());
        stream.until("all that is kept", SOON, |seen| has_all(&history, "foreign", seen));
    }
}

/// A subscriber that confirms nothing has what its cursor says, and the ladder learns of it when it comes back.
#[test]
fn coming_back_with_a_cursor_is_a_receipt() {
    let shared = cluster::shared();
    let cluster = &*shared.cluster;
    for (at, transport) in Transport::ALL.into_iter().enumerate() {
        let user = format!("returning-{at}");
        let users = [user.clone()];
        directory::import_users(&mut cluster.client(0), &users);
        let stream = Subscriber::start(&cluster.addresses(), at, transport, &user, Start::Now).ready();
        let mut ids = Vec::new();
        for priority in PRIORITIES {
            let body = format!("{user} {priority}");
            let (fate, _) = publish(&mut cluster.client(at), &draft(priority, &body, &users), &body);
            let Fate::Ok { id, .. } = fate else { panic!("{fate:?}") };
            ids.push(id);
        }
        let behind_all = |seen: &Seen| seen.cursors.last().is_some_and(|(_, before)| *before == ids.len());
        stream.until("all, and a cursor behind them", SOON, behind_all);
        stream.hop(); // at once: the log need not have heard of what was sent
        all_are(cluster, &ids, "received");
        let seen = stream.stop();
        assert_eq!(seen.connections.len(), 2, "it came back once");
        assert!(seen.events("gap").is_empty() && seen.deliveries.len() == ids.len());
    }
}

/// Every node soon says of each of these that its one recipient has come this far.
pub fn all_are(cluster: &Cluster, ids: &[String], state: &str) {
    for at in 0..3 {
        let mut client = cluster.client(at);
        for id in ids {
            until(&format!("node {at} says that {id} was {state}"), SOON, || {
                let path = format!("/v1/broadcasts/{id}/recipients");
                let answer = client.get(&path).expect(200).json();
                (answer["items"][0]["state"] == state).then_some(())
            });
        }
    }
}
