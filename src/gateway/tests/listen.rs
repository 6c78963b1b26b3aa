//! What clients say: receipts, acknowledgements, pings, and messages that break the rules.

use super::fixture::{Heard, PATIENCE, SALT, bitmap, config, draft, eventually, house, release, release_of};
use crate::base::clock;
use crate::base::size::Span;
use crate::gateway::{Config, From, Transport, frame};
use crate::model::Priority::Normal;
use crate::model::{BroadcastId, Step};
use std::io::Write;

#[test]
fn receipts_and_acknowledgements_are_heard_and_answered() {
    let mut house = house(&config(), 1, 2);
    let mut client = house.connect(3, Transport::WebSocket, From::Now);
    client.until("hello");
    house.publish(release(1, Normal, &[3]));
    let id = client.until("broadcast")["id"].as_str().unwrap().to_owned();
    client.send(r#"{"hello":{"receipts":true},"ref":1}"#);
    assert_eq!(client.until("ok")["ref"], 1);
    client.send(&format!(
        r#"{{"receipt":{{"received":["{id}"],"read":["{id}"]}},"ref":"r"}}"#
    ));
    assert_eq!(client.until("ok")["ref"], "r");
    let mut deltas = Vec::new();
    let report = |deltas: &mut Vec<_>| deltas.extend(house.gateway.take_report().deltas);
    let read = (1, Step::Read, bitmap(&[3]));
    while !deltas.contains(&read) {
        report(&mut deltas);
    }
    report(&mut deltas);
    deltas.sort_by_key(|(_, step, _)| *step);
    let steps: Vec<_> = deltas.iter().map(|(number, step, _)| (*number, *step)).collect();
    assert_eq!(steps, [(1, Step::Sent), (1, Step::Received), (1, Step::Read)]);

    client.send(&format!(r#"{{"acknowledge":{{"id":"{id}","answer":"ok"}},"ref":"a"}}"#));
    let request = house.requests.blocking_recv().unwrap();
    assert_eq!((request.user, request.reference.clone()), (3, Some("a".into())));
    assert_eq!(
        request.acknowledge,
        [(BroadcastId::parse(&id).unwrap(), "ok".to_owned())]
    );
    house
        .gateway
        .answer(request.session, frame::ok(request.reference.as_ref().unwrap()));
    assert_eq!(client.until("ok")["ref"], "a");

    client.send(r#"{"what":1,"ref":8}"#);
    let problem = client.until("problem");
    assert_eq!(
        (&problem["code"], &problem["ref"]),
        (&"MESSAGE_NOT_UNDERSTOOD".into(), &8.into())
    );
    client.send(r#"{"receipt":{"received":["x"]},"ref":9}"#);
    assert_eq!(client.until("problem")["ref"], 9);
}

#[test]
fn who_promises_after_the_first_frames_is_waited_for_all_the_same() {
    let house = house(&config(), 1, 4);
    let mut plain = house.connect(6, Transport::WebSocket, From::Now);
    let mut client = house.connect(5, Transport::WebSocket, From::Now);
    plain.until("hello");
    client.until("hello");
    house.publish(release(1, Normal, &[5, 6]));
    assert_eq!((client.broadcasts(1), plain.broadcasts(1)), (vec![1], vec![1]));
    client.send(r#"{"hello":{"receipts":true},"ref":1}"#);
    let mut promised = Vec::new();
    let deadline = clock::now() + PATIENCE;
    while promised.is_empty() && clock::now() < deadline {
        promised = house.gateway.take_report().promised;
        std::thread::yield_now();
    }
    assert_eq!(promised, [(1, bitmap(&[5]))]);
}

#[test]
fn receipts_that_the_window_does_not_know_to_be_good_are_looked_at_by_somebody_else() {
    let mut house = house(&config(), 1, 1);
    house.publish(release(1, Normal, &[3]));
    house.publish(release(2, Normal, &[4]));
    house.publish(release_of(3, draft(Normal, "over"), 1, &[3]));
    let mut client = house.connect(3, Transport::WebSocket, From::Now);
    client.until("hello");
    let id = |number| release(number, Normal, &[]).broadcast.id;
    let receipt = |id, reference| format!(r#"{{"receipt":{{"received":["{id}"]}},"ref":{reference}}}"#);
    // of another cluster
    client.send(&receipt(BroadcastId::new(1, SALT + 1, 1), 7));
    let problem = client.until("problem");
    assert_eq!((&problem["code"], &problem["ref"]), (&"NOT_FOUND".into(), &7.into()));
    // a later release may have been for this user, or may have prolonged it; the number of one, at another time; not there
    for id in [id(2), id(3), BroadcastId::new(1, SALT, 1), id(9)] {
        client.send(&receipt(id, 9));
        let request = house.requests.blocking_recv().unwrap();
        assert_eq!(request.receipts, [(id, Step::Received)]);
    }
    // Good ones count beside others.
    client.send(&format!(
        r#"{{"receipt":{{"received":["{}"],"read":["{}"]}}}}"#,
        id(1),
        id(2)
    ));
    assert_eq!(house.requests.blocking_recv().unwrap().receipts, [(id(2), Step::Read)]);
    client.send(&receipt(id(1), 8));
    let answer = loop {
        if let Heard::Event(answer) = client.next()
            && ["ok", "problem"].contains(&answer["event"].as_str().unwrap())
        {
            break answer;
        }
    };
    assert_eq!((&answer["event"], &answer["ref"]), (&"ok".into(), &8.into()));
    eventually("the good receipt", || {
        let deltas = house.gateway.take_report().deltas;
        let steps: Vec<_> = deltas.iter().map(|(number, step, _)| (*number, *step)).collect();
        assert!(steps.iter().all(|step| *step == (1, Step::Received)), "{steps:?}");
        !steps.is_empty()
    });
}

#[test]
fn requests_that_find_no_room_are_answered_with_try_again() {
    let house = house(&config(), 1, 1);
    let mut client = house.connect(3, Transport::WebSocket, From::Now);
    let id = BroadcastId::new(1, SALT, 1);
    for _ in 0..17 {
        client.send(&format!(r#"{{"acknowledge":{{"id":"{id}","answer":"ok"}},"ref":"a"}}"#));
    }
    let problem = client.until("problem");
    assert_eq!(
        (problem["code"].as_str(), problem["retryable"].as_bool()),
        (Some("TRY_AGAIN"), Some(true))
    );
}

/// What the client sends, and the code it is closed with.
fn check_closed(bytes: &[u8], code: u16) {
    let house = house(&config(), 1, 1);
    let mut client = house.connect(1, Transport::WebSocket, From::Now);
    client.until("hello");
    client.socket.write_all(bytes).unwrap();
    if client_code_has_event(code) {
        assert_eq!(client.until("goodbye")["code"], code);
    }
    assert_eq!(client.next(), Heard::Close(code));
    assert_eq!(client.next(), Heard::End);
    eventually("the session ends", || house.gateway.sessions() == 0);
}

fn client_code_has_event(code: u16) -> bool {
    code != 1000
}

#[test]
fn faults_end_the_session_with_a_code() {
    check_closed(&[0x81, 0x01, b'x'], 1002);
    check_closed(&[0x82, 0x80, 0, 0, 0, 0], 1007);
    check_closed(&[0x81, 0xFF, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0], 1009);
    check_closed(&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xE8], 1000);
    let pings = [0x89, 0x80, 0, 0, 0, 0].repeat(600);
    let parts = [[0x01, 0x80, 0, 0, 0, 0].to_vec(), [0x00, 0x80, 0, 0, 0, 0].repeat(600)].concat();
    for flood in [pings, parts] {
        let house = house(&config(), 1, 1);
        let mut client = house.connect(1, Transport::WebSocket, From::Now);
        client.until("hello");
        client.socket.write_all(&flood).unwrap();
        assert_eq!(client.until("goodbye")["code"], 1008);
    }
}

#[test]
fn pings_are_answered_and_what_was_read_behind_the_head_is_heard() {
    let house = house(&config(), 1, 1);
    let mut client = house.connect(1, Transport::WebSocket, From::Now);
    client.until("hello");
    client.socket.write_all(&[0x89, 0x82, 0, 0, 0, 0, b'h', b'i']).unwrap();
    while client.next() != Heard::Pong(b"hi".to_vec()) {}
}

#[test]
fn heartbeats_come_and_silent_peers_go() {
    let quick = Config {
        heartbeat: Span::millis(500),
        silent_max: Span::millis(1_000),
        ..config()
    };
    let house = house(&quick, 1, 2);
    let mut lines = house.connect(1, Transport::Lines, From::Now);
    lines.until("ping");
    let mut sse = house.connect(2, Transport::Sse, From::Now);
    sse.until("hello");
    while sse.next() != Heard::Comment {}
    let mut websocket = house.connect(3, Transport::WebSocket, From::Now);
    websocket.until("hello");
    while websocket.next() != Heard::Ping {}
    assert_eq!(websocket.until("goodbye")["code"], 4008);
    while websocket.next() != Heard::Close(4008) {}
}

#[test]
fn everybody_is_told_of_the_leader_of_the_end_and_of_their_own_end() {
    let house = house(&config(), 2, 4);
    house.gateway.set_others(vec!["http://other".into()]);
    let mut clients: Vec<_> = (0..8)
        .map(|user| house.connect(user, Transport::Sse, From::Now))
        .collect();
    for client in &mut clients {
        assert_eq!(client.until("hello")["nodes"][0], "http://other");
    }
    house.gateway.set_degraded(true);
    for client in &mut clients {
        assert_eq!(client.until("degraded")["nodes"][0], "http://other");
    }
    let mut late = house.connect(20, Transport::Sse, From::Now);
    late.until("degraded");
    house.gateway.set_degraded(false);
    late.until("restored");
    house.gateway.erase(2);
    assert_eq!(clients[2].until("goodbye")["code"], 4003);
    assert_eq!(clients[2].next(), Heard::End);
    let gateway = house.gateway.clone();
    #[allow(clippy::disallowed_methods)] // a test's own thread
    let drain = std::thread::spawn(move || gateway.drain(std::time::Duration::from_secs(5)));
    let goodbye = clients[0].until("goodbye");
    assert_eq!(
        (goodbye["code"].as_u64(), goodbye["reconnect_ms"].as_u64().is_some()),
        (Some(1012), true)
    );
    drop(clients);
    drop(late);
    drain.join().unwrap();
}

#[test]
fn a_session_ends_with_its_token() {
    let house = house(&config(), 2, 4);
    let now = clock::wall();
    for (user, transport) in (0..).zip([Transport::WebSocket, Transport::Sse, Transport::Lines]) {
        let connect = |user: u32, token: &str, until: Option<i64>| {
            let (mut client, mut subscriber) = house.meet(user, transport, From::Now);
            subscriber.pass = Some(house.gateway.issue(token, until));
            house.accept(subscriber);
            client.until("hello");
            client
        };
        let mut revoked = connect(user, "tok-1", None);
        let mut other = connect(user + 10, "tok-2", Some(now + 3_600_000));
        house.gateway.revoke(|token| token == "tok-1");
        let goodbye = revoked.until("goodbye");
        assert_eq!(
            (&goodbye["code"], &goodbye["reconnect_ms"]),
            (&4001.into(), &serde_json::Value::Null)
        );
        let mut expiring = connect(user + 20, "tok-3", Some(clock::wall() + 300));
        assert_eq!(expiring.until("goodbye")["code"], 4001);
        // one that was on its way when its token was revoked
        let (mut late, mut subscriber) = house.meet(user + 30, transport, From::Now);
        subscriber.pass = Some(house.gateway.issue("tok-4", None));
        house.gateway.revoke(|token| token == "tok-4");
        house.accept(subscriber);
        assert_eq!(late.until("goodbye")["code"], 4001);
        house.gateway.revoke(|token| token == "tok-2");
        assert_eq!(
            other.until("goodbye")["code"],
            4001,
            "it stayed until its own token ended"
        );
    }
    eventually("nobody is left", || house.gateway.sessions() == 0);
}

#[test]
fn a_long_poll_answers_at_once_when_there_is_something_else_after_the_wait() {
    let house = house(&config(), 1, 2);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let wait = std::time::Duration::from_millis(50);
    let nothing = runtime.block_on(house.gateway.poll(4, From::Backlog, wait)).unwrap();
    assert!(nothing.items.is_empty());
    let cursor = From::Cursor(crate::model::Cursor::parse(&nothing.cursor).unwrap());
    house.publish(release(1, Normal, &[4]));
    house.publish(release(2, Normal, &[5]));
    let one = runtime
        .block_on(house.gateway.poll(4, cursor, super::fixture::PATIENCE))
        .unwrap();
    assert_eq!(one.items.len(), 1);
    let cursor = From::Cursor(crate::model::Cursor::parse(&one.cursor).unwrap());
    assert!(
        runtime
            .block_on(house.gateway.poll(4, cursor, wait))
            .unwrap()
            .items
            .is_empty()
    );
    eventually("polls leave nobody behind", || house.gateway.sessions() == 0);
}
