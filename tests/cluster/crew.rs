//! The people who run a wedding do not all stay on one node: some are asked to move, nobody else is, and nothing is missed.

use super::cache::after;
use super::harness::directory::{import, member, user, venue, wedding};
use super::harness::stream::Seen;
use super::harness::{Start, Subscriber, Transport, cluster, until};
use serde_json::json;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(40);
const STAFF: [&str; 4] = ["dj", "band", "bar", "photographer"];

fn asked(seen: &Seen) -> bool {
    let mut goodbyes = seen.events("goodbye").into_iter();
    goodbyes.any(|goodbye| goodbye["reason"].as_str().unwrap_or_default().contains("staff"))
}

#[test]
fn some_of_a_weddings_staff_are_asked_to_move_when_all_are_on_one_node() {
    let shared = cluster::beside(3);
    let cluster = &*shared.cluster;
    let mut lines = vec![venue("v"), wedding("today", "v", &after(3_600), &after(20_000))];
    for name in STAFF.iter().chain(&["guest-1", "guest-2"]) {
        lines.push(user(name, "guest", "starter"));
        let role = name.split('-').next().unwrap();
        lines.push(member("wedding", "today", name, role));
    }
    let report = import(&mut cluster.client(0), &lines).expect(200).json();
    assert_eq!(report["faults"], json!([]));
    let addresses = cluster.addresses();
    let connect = |(at, name): (usize, &&str)| {
        let transport = Transport::ALL[at % Transport::ALL.len()];
        Subscriber::start(&addresses, 0, transport, name, Start::Now).ready()
    };
    let staff: Vec<Subscriber> = STAFF.iter().enumerate().map(connect).collect();
    let guests: Vec<Subscriber> = ["guest-1", "guest-2"].iter().enumerate().map(connect).collect();
    until("one of the staff is on another node", SOON, || {
        let moved = |person: &Subscriber| person.look(|seen| asked(seen) && seen.events("hello").len() == 2);
        staff.iter().any(moved).then_some(())
    });
    let moved = staff.iter().filter(|person| person.look(asked)).count();
    assert_eq!(moved, 1, "a third of four");
    assert!(
        guests
            .iter()
            .all(|guest| guest.look(|seen| seen.events("goodbye").is_empty()))
    );
    let metrics = cluster.client(0).get("/metrics").expect(200).text();
    assert!(metrics.contains(r#"campanile_moves_asked_total{reason="crew"} 1"#));
    // wherever they are now, each gets it
    let body = json!({"type": "timeline.changed", "title": "T", "body": "B", "audience": {"weddings": ["today"]}});
    let told = cluster.client(2).post("/v1/broadcasts", &body).expect(201).json();
    let id = told["id"].as_str().unwrap();
    for person in staff.iter().chain(&guests) {
        person.until("the broadcast", SOON, |seen| seen.has(id));
    }
}
