//! Ten times more low and normal broadcasts at once than the cluster takes, from many clients at all nodes: every critical is accepted and
//! arrives in time, what was accepted is delivered, and who is turned away hears when to come again. Low goes first.

use super::checks;
use super::harness::load::draft;
use super::harness::wait::maybe;
use super::harness::{Client, Start, Subscriber, Transport, cluster, directory};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

/// So few commands may wait that a few dozen clients fill each node, and only eight travel at a time.
const NARROW: [&str; 3] = [
    "cluster.waiting_max=32",
    "cluster.pack_commands_max=8",
    "cluster.packs_in_flight_max=1",
];
/// At each node, half of them low and half of them normal; all together more than ten times what travels at a time.
const CLIENTS: usize = 40;
/// What is offered for each that is accepted, at least: most of it is turned away.
const TIMES: usize = 3;
/// A critical is with its people within this, whatever else goes on.
const IN_TIME: Duration = Duration::from_secs(5);
const SOON: Duration = Duration::from_secs(90);

/// What became of the broadcasts of one priority.
#[derive(Default)]
struct Tally {
    offered: AtomicUsize,
    refused: AtomicUsize,
}

impl Tally {
    fn accepted(&self) -> usize {
        self.offered.load(SeqCst) - self.refused.load(SeqCst)
    }

    fn accepted_share(&self) -> f64 {
        self.accepted() as f64 / self.offered.load(SeqCst) as f64
    }
}

/// Who is turned away comes again two hundred times sooner than told: the faster the machine, the more it takes to be too much.
const IMPATIENT: Duration = Duration::from_millis(5);

/// Publishes until it is over; the ids of what was accepted.
fn flood(address: SocketAddr, priority: &str, users: &[String], tally: &Tally, is_over: &AtomicBool) -> Vec<String> {
    let mut client = Client::new(address);
    let mut accepted = Vec::new();
    let body = draft(priority, "too much", users);
    let full = format!("OVERLOADED_{}", priority.to_uppercase());
    while !is_over.load(SeqCst) {
        let answer = client.post("/v1/broadcasts", &body);
        tally.offered.fetch_add(1, SeqCst);
        if answer.status == 201 {
            accepted.push(answer.json()["id"].as_str().unwrap().to_owned());
            continue;
        }
        tally.refused.fetch_add(1, SeqCst);
        let problem = answer.json();
        let (status, code) = (answer.status, problem["code"].as_str().unwrap());
        assert!(
            answer.header("retry-after").is_some() && problem["retryable"] == true,
            "{problem}"
        );
        match (status, code) {
            (429, shed) if shed == full => assert_eq!(problem["outcome"], "not_published"),
            (503, "OVERLOADED") => assert_eq!(problem["outcome"], "not_published"),
            // it was let in and has waited too long: it says whether it may still come
            (503, "TIMED_OUT") => assert!(problem["outcome"].is_string(), "{problem}"),
            (_, _) => panic!("{status} {problem}"),
        }
        maybe(IMPATIENT, || is_over.load(SeqCst).then_some(()));
    }
    accepted
}

/// Publishes one critical after the other; each id, and when it was sent.
fn call(address: SocketAddr, users: &[String], count: usize) -> Vec<(String, Instant)> {
    let mut client = Client::new(address);
    let publish = |number: usize| {
        let sent = Instant::now();
        let answer = client.post(
            "/v1/broadcasts",
            &draft("critical", &format!("go inside {number}"), users),
        );
        (answer.expect(201).json()["id"].as_str().unwrap().to_owned(), sent)
    };
    (0..count).map(publish).collect()
}

#[test]
fn ten_times_too_much_sheds_low_first_and_never_a_critical() {
    let own = cluster::own_with(3, &NARROW);
    let addresses = own.cluster.addresses();
    let users: Vec<String> = (0..3).map(|n| format!("crowded-{n}")).collect();
    directory::import_users(&mut own.cluster.client(0), &users);
    let people: Vec<Subscriber> = (users.iter().zip(Transport::ALL).enumerate())
        .map(|(at, (user, transport))| Subscriber::start(&addresses, at, transport, user, Start::Now).ready())
        .collect();
    let (low, normal, is_over) = (Tally::default(), Tally::default(), AtomicBool::new(false));
    let rounds = checks(12);
    let (criticals, accepted) = std::thread::scope(|scope| {
        let floods: Vec<_> = (0..CLIENTS * addresses.len())
            .map(|number| {
                let (priority, tally) = if number % 2 == 0 {
                    ("low", &low)
                } else {
                    ("normal", &normal)
                };
                let (address, users, is_over) = (addresses[number % addresses.len()], &users, &is_over);
                scope.spawn(move || flood(address, priority, users, tally, is_over))
            })
            .collect();
        let is_full = || [&low, &normal].iter().all(|tally| tally.refused.load(SeqCst) > 0);
        let filled = maybe(SOON, || is_full().then_some(()));
        let calls: Vec<_> = addresses
            .iter()
            .map(|address| {
                let (address, users) = (*address, &users);
                scope.spawn(move || call(address, users, rounds))
            })
            .collect();
        let criticals: Vec<_> = calls.into_iter().map(ScopedJoinHandle::join).collect();
        let offered = || low.offered.load(SeqCst) + normal.offered.load(SeqCst);
        let accepted = || low.accepted() + normal.accepted();
        let enough = maybe(SOON, || (offered() >= TIMES * accepted()).then_some(()));
        is_over.store(true, SeqCst);
        let ids: Vec<_> = floods.into_iter().map(ScopedJoinHandle::join).collect();
        println!("{} offered, {} accepted", offered(), accepted());
        assert!(
            filled.is_some() && enough.is_some(),
            "{} offered, {} accepted",
            offered(),
            accepted()
        );
        let criticals: Vec<(String, Instant)> = criticals.into_iter().flat_map(Result::unwrap).collect();
        let ids: BTreeSet<String> = ids.into_iter().flat_map(Result::unwrap).collect();
        (criticals, ids)
    });
    assert_eq!(criticals.len(), rounds * addresses.len());
    let shares = [&low, &normal].map(Tally::accepted_share);
    println!("accepted of low {:.3}, of normal {:.3}", shares[0], shares[1]);
    assert!(shares[0] < shares[1], "low is shed first: {shares:?}");
    for person in &people {
        person.until("all that was accepted is there", SOON, |seen| {
            let seen: BTreeSet<&str> = seen.ids().into_iter().collect();
            accepted.iter().all(|id| seen.contains(id.as_str()))
                && criticals.iter().all(|(id, _)| seen.contains(id.as_str()))
        });
        person.look(|seen| {
            for (id, sent) in &criticals {
                let delivery = seen.deliveries.iter().find(|delivery| delivery.id == *id).unwrap();
                let took = delivery.at.saturating_duration_since(*sent);
                assert!(took < IN_TIME, "{} got a critical after {took:?}", person.user);
            }
        });
    }
}
