//! Every release reaches exactly its recipients, over every transport, urgent ones first.

use super::fixture::{House, PATIENCE, bitmap, config, draft, eventually, house, houses, release, release_of};
use crate::base::clock;
use crate::base::size::Span;
use crate::gateway::{Config, From, Transport};
use crate::model::Priority::{Critical, High, Low, Normal};
use crate::model::{Priority, Step};

/// Connects and reads the hello, so that what follows is live.
fn ready(house: &House, user: u32, transport: Transport) -> super::fixture::Client {
    let mut client = house.connect(user, transport, From::Now);
    client.until("hello");
    client
}

#[test]
fn exactly_the_recipients_get_it_on_every_transport() {
    houses(&config(), 2, 8).iter().for_each(check_recipients);
}

fn check_recipients(house: &House) {
    for transport in Transport::ALL {
        let base = 100 * (1 + transport.index() as u64);
        let mut clients: Vec<_> = (0..30).map(|user| ready(house, user, transport)).collect();
        for (offset, priority) in Priority::ALL.into_iter().enumerate() {
            let users: Vec<u32> = (0..30).filter(|user| user % 4 == offset as u32).collect();
            house.publish(release(base + offset as u64, priority, &users));
        }
        house.publish(release(base + 9, Critical, &(0..30).collect::<Vec<_>>()));
        for (user, client) in clients.iter_mut().enumerate() {
            let mut positions = client.broadcasts(2);
            positions.sort_unstable();
            assert_eq!(
                positions,
                [base + user as u64 % 4, base + 9],
                "user {user} on {transport:?}"
            );
        }
        drop(clients);
        eventually("all sessions end with their sockets", || house.gateway.sessions() == 0);
    }
}

#[test]
fn two_sessions_of_a_user_get_the_same_and_count_once() {
    let house = house(&config(), 1, 4);
    let mut clients = [ready(&house, 5, Transport::Lines), ready(&house, 5, Transport::Sse)];
    eventually("the user came", || house.gateway.present() == bitmap(&[5]));
    assert_eq!(house.gateway.take_report().came, bitmap(&[5]));
    house.publish(release(1, Normal, &[5, 6]));
    for client in &mut clients {
        assert_eq!(client.broadcasts(1), [1]);
    }
    let [first, second] = clients;
    drop(first);
    eventually("one session ends", || house.gateway.sessions() == 1);
    assert!(house.gateway.take_report().went.is_empty());
    drop(second);
    eventually("the user went", || house.gateway.present().is_empty());
    assert_eq!(house.gateway.take_report().went, bitmap(&[5]));
}

#[test]
fn sent_is_what_was_written_and_the_watermark_follows() {
    let house = house(&config(), 2, 8);
    let mut clients: Vec<_> = (0..20).map(|user| ready(&house, user, Transport::WebSocket)).collect();
    house.publish(release(3, High, &[1, 2, 3, 99]));
    house.publish(release(4, Low, &[2, 98]));
    for user in [1, 3] {
        assert_eq!(clients[user].broadcasts(1), [3]);
    }
    assert_eq!(clients[2].broadcasts(2), [3, 4]);
    let mut sent = std::collections::BTreeMap::new();
    let deadline = clock::now() + PATIENCE;
    loop {
        let report = house.gateway.take_report();
        for (number, step, users) in report.deltas {
            assert_eq!(step, Step::Sent);
            *sent.entry(number).or_insert_with(|| bitmap(&[])) |= users;
        }
        if report.watermarks[1..] == [4, 4, 4] || (report.watermarks[1] >= 3 && report.watermarks[3] >= 4) {
            break;
        }
        assert!(clock::now() < deadline, "watermarks stand at {:?}", report.watermarks);
    }
    let report = house.gateway.take_report();
    for (number, _, users) in report.deltas {
        *sent.entry(number).or_default() |= users;
    }
    assert_eq!(
        sent.into_iter().collect::<Vec<_>>(),
        [(3, bitmap(&[1, 2, 3])), (4, bitmap(&[2]))]
    );
    assert_eq!(house.gateway.queues().map(|queue| queue.waiting), [0; 4]);
}

#[test]
fn what_has_expired_is_not_written_and_the_cursor_moves_past_it() {
    let house = house(&config(), 1, 1);
    let mut client = ready(&house, 1, Transport::Lines);
    house.publish(release_of(1, draft(Normal, "late"), clock::wall() - 1, &[1]));
    house.publish(release(2, Normal, &[1]));
    assert_eq!(client.broadcasts(1), [2]);
}

#[test]
fn order_holds_within_a_priority_under_load() {
    let house = house(&config(), 2, 16);
    let mut clients: Vec<_> = (0..16).map(|user| ready(&house, user, Transport::WebSocket)).collect();
    let everyone: Vec<u32> = (0..16).collect();
    for position in 1..=400 {
        house.publish(release(position, Priority::ALL[position as usize % 4], &everyone));
    }
    for client in &mut clients {
        let positions = client.broadcasts(400);
        for priority in 0..4 {
            let own: Vec<_> = positions.iter().filter(|position| *position % 4 == priority).collect();
            assert!(own.is_sorted(), "{own:?}");
        }
    }
}

#[test]
fn critical_overtakes_what_waits() {
    let patient = Config {
        stall_max: Span::seconds(30),
        ..config()
    };
    houses(&patient, 1, 4).iter().for_each(check_overtaken);
}

fn check_overtaken(house: &House) {
    let count = 100;
    let everyone: Vec<u32> = (0..count).collect();
    let mut clients: Vec<_> = everyone
        .iter()
        .map(|user| ready(house, *user, Transport::Lines))
        .collect();
    let body = "x".repeat(900);
    for position in 1..=400 {
        house.publish(release_of(position, draft(Low, &body), i64::MAX, &everyone));
    }
    house.publish(release(401, Critical, &everyone));
    let mut before = 0;
    for client in &mut clients {
        let positions = client.broadcasts(401);
        before += positions.iter().position(|position| *position == 401).unwrap();
    }
    assert!(before < 400 * count as usize, "critical came last everywhere");
}

/// The labels of the metrics stand below the model and cannot ask it.
#[test]
fn metrics_know_the_priorities_by_their_names() {
    assert_eq!(
        crate::metrics::delivery::PRIORITIES,
        crate::model::Priority::ALL.map(crate::model::Priority::name)
    );
}
