//! Sockets that read slowly or not at all, and what that costs the others: nothing.

use super::fixture::{Heard, House, PATIENCE, config, draft, eventually, houses, release, release_of};
use crate::base::clock;
use crate::base::size::Span;
use crate::gateway::{Config, From, Transport};
use crate::model::Priority::{Critical, Low, Normal};
use std::collections::BTreeSet;

/// More than the kernel takes for a peer that does not read.
const COUNT: u64 = 3_000;
const BODY: usize = 3_000;

#[test]
fn who_stops_reading_is_cut_with_a_reason_and_resumes_without_a_hole() {
    houses(&config(), 1, 2).iter().for_each(check_cut);
}

fn check_cut(house: &House) {
    let mut slow = house.connect(1, Transport::WebSocket, From::Now);
    let mut other = house.connect(2, Transport::WebSocket, From::Now);
    slow.until("hello");
    other.until("hello");
    let body = "x".repeat(BODY);
    std::thread::scope(|scope| {
        scope.spawn(|| assert_eq!(other.broadcasts(COUNT as usize).len(), COUNT as usize));
        for position in 1..=COUNT {
            house.publish(release_of(position, draft(Normal, &body), i64::MAX, &[1, 2]));
        }
    });
    eventually("the slow one is cut", || house.gateway.present().len() == 1);
    let mut seen = BTreeSet::new();
    let mut from = From::Now;
    let mut told = false;
    loop {
        let heard = slow.next();
        seen.extend(heard.position());
        if let Some(cursor) = heard.cursor() {
            from = From::Cursor(cursor);
        }
        if let Heard::Event(value) = &heard
            && value["event"] == "goodbye"
        {
            assert_eq!(value["code"], 4008);
            assert!(value["reconnect_ms"].as_u64().is_some());
            told = true;
        }
        if heard == Heard::End || heard == Heard::Close(4008) {
            break;
        }
    }
    assert!(told, "no goodbye came");
    assert!(seen.len() < COUNT as usize);
    let mut again = house.connect(1, Transport::WebSocket, from);
    let deadline = clock::now() + PATIENCE;
    while seen.len() < COUNT as usize {
        assert!(clock::now() < deadline);
        seen.extend(again.next().position());
    }
    assert!(seen.into_iter().eq(1..=COUNT));
}

#[test]
fn who_reads_late_gets_everything_in_order_once_and_critical_first() {
    let patient = Config {
        stall_max: Span::seconds(30),
        ..config()
    };
    houses(&patient, 1, 1).iter().for_each(check_late);
}

fn check_late(house: &House) {
    let mut late = house.connect(1, Transport::Lines, From::Now);
    late.until("hello");
    let body = "x".repeat(BODY);
    for position in 1..=COUNT {
        house.publish(release_of(position, draft(Low, &body), i64::MAX, &[1]));
    }
    house.publish(release(COUNT + 1, Critical, &[1]));
    let positions = late.broadcasts(COUNT as usize + 1);
    let low: Vec<u64> = positions
        .iter()
        .copied()
        .filter(|position| *position <= COUNT)
        .collect();
    assert!(low.into_iter().eq(1..=COUNT), "lost, doubled or out of order");
    assert!(positions[COUNT as usize] != COUNT + 1, "critical came last");
}
