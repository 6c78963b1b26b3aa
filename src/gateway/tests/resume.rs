//! Streams start and come back anywhere: owed, cursor, earliest, gaps.

use super::fixture::{EPOCH, House, PATIENCE, config, draft, eventually, house, release, release_of};
use crate::base::clock;
use crate::base::size::Size;
use crate::gateway::{Config, From, Transport};
use crate::model::Priority::{Critical, Low, Normal};
use crate::model::{Cursor, Priority};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

fn cursor(positions: [u64; 4]) -> From {
    From::Cursor(Cursor {
        epoch: EPOCH,
        positions,
    })
}

/// Small enough to forget most of what the tests publish.
fn forgetful() -> Config {
    Config {
        window_bytes_max: Size::kib(16),
        ..config()
    }
}

fn publish(house: &House, positions: std::ops::RangeInclusive<u64>, of: impl Fn(u64) -> Vec<u32>) {
    for position in positions {
        house.publish(release(position, Priority::ALL[position as usize % 4], &of(position)));
    }
}

#[test]
fn a_start_without_a_cursor_brings_what_is_owed_then_goes_live() {
    let few = Config {
        backlog_max: 3,
        ..config()
    };
    let house = house(&few, 1, 2);
    publish(&house, 1..=40, |position| vec![(position % 2) as u32]);
    let mut client = house.connect(1, Transport::WebSocket, From::Backlog);
    let hello = client.until("hello");
    assert_eq!(hello["backlog"], 14); // 20 of its own, none critical; the newest three of high and of low
    let start = Cursor::parse(hello["cursor"].as_str().unwrap()).unwrap();
    assert_eq!(start.positions[1], 28);
    let mut positions = client.broadcasts(6);
    positions.sort_unstable();
    assert_eq!(positions, [29, 31, 33, 35, 37, 39]);
    house.publish(release(41, Normal, &[1]));
    assert_eq!(client.broadcasts(1), [41]);
}

#[test]
fn what_left_the_window_is_read_from_the_backlog() {
    let house = house(&forgetful(), 1, 2);
    publish(&house, 1..=400, |_| vec![1]);
    house.gateway.stored(400);
    for from in [cursor([0; 4]), From::Earliest] {
        let mut client = house.connect(1, Transport::Lines, from);
        let mut positions = client.broadcasts(400);
        positions.sort_unstable();
        assert!(positions.iter().copied().eq(1..=400));
    }
}

/// A worker that sleeps, or has no time, finds the news and the newcomer at once.
#[test]
fn who_comes_as_a_history_gets_its_name_is_told_of_no_gap() {
    let house = house(&config(), 1, 2);
    for round in 1..=100 {
        let (mut client, subscriber) = house.meet(1, Transport::Lines, From::Now);
        house.gateway.reset(EPOCH + round, house.gateway.head(), Vec::new());
        house.accept(subscriber);
        let hello = client.next();
        assert_eq!(
            hello.cursor().map(|cursor| cursor.epoch),
            Some(EPOCH + round),
            "{hello:?}"
        );
        house.publish(release(u64::from(round), Critical, &[1]));
        assert_eq!(client.next().event(), "broadcast", "round {round}");
    }
}

#[test]
fn a_gap_says_what_is_gone_and_then_comes_all_that_is_kept() {
    let house = house(&forgetful(), 1, 2);
    publish(&house, 1..=400, |_| vec![1]);
    house.gateway.stored(400);
    *house.kept.forgotten.lock() = [100; 4];
    let foreign = From::Cursor(Cursor {
        epoch: EPOCH + 1,
        positions: [400; 4],
    });
    for (from, reason) in [
        (cursor([99, 400, 400, 400]), "no_longer_kept"),
        (foreign, "another_epoch"),
    ] {
        let mut client = house.connect(1, Transport::Lines, from);
        let hello = client.until("hello");
        let gap = client.until("gap");
        assert_eq!((gap["reason"].as_str(), &gap["to"]), (Some(reason), &hello["cursor"]));
        let expected = if reason == "another_epoch" { 300 } else { 75 };
        let positions = client.broadcasts(expected);
        assert!(positions.iter().all(|position| *position > 100));
    }
    let mut client = house.connect(1, Transport::Lines, cursor([100, 400, 400, 400]));
    client.until("hello");
    assert_eq!(client.next().event(), "broadcast");
}

#[test]
fn a_cursor_ahead_of_the_node_waits_for_it_and_not_for_long() {
    let house = house(&config(), 1, 2);
    publish(&house, 1..=4, |_| vec![1]);
    let mut patient = house.connect(1, Transport::Lines, cursor([6; 4]));
    patient.until("hello");
    publish(&house, 5..=8, |_| vec![1]);
    let mut positions = patient.broadcasts(2);
    positions.sort_unstable();
    assert_eq!(positions, [7, 8]);
    let mut vain = house.connect(1, Transport::Lines, cursor([100; 4]));
    assert_eq!(vain.until("goodbye")["code"], 1013);
}

/// The clients are so quick that the log has not heard yet of what they were sent, and the last is gone again by then.
#[test]
fn coming_back_with_a_cursor_is_a_receipt() {
    let house = house(&config(), 1, 1);
    publish(&house, 1..=4, |_| vec![1]);
    house.kept.unsettled.store(true, Ordering::Release);
    let mut client = house.connect(1, Transport::Lines, cursor([4, 1, 4, 4]));
    client.until("hello");
    drop(client);
    eventually("nobody is there", || house.gateway.sessions() == 0);
    house.kept.unsettled.store(false, Ordering::Release);
    let mut received = BTreeSet::new();
    let deadline = clock::now() + PATIENCE;
    while received.len() < 4 && clock::now() < deadline {
        for (number, step, _) in house.gateway.take_report().deltas {
            if step == crate::model::Step::Received {
                received.insert(number);
            }
        }
    }
    assert_eq!(received, BTreeSet::from([1, 2, 3, 4])); // 1 is high, and the cursor has it
}

#[test]
fn a_backlog_that_panics_ends_the_session_and_nothing_else() {
    let house = house(&config(), 1, 1);
    house.kept.panics.store(true, std::sync::atomic::Ordering::Relaxed);
    let mut unlucky = house.connect(1, Transport::Lines, From::Backlog);
    assert_eq!(unlucky.until("goodbye")["code"], 1013);
    let mut lucky = house.connect(2, Transport::Lines, From::Now);
    lucky.until("hello");
    house.publish(release(1, Critical, &[1, 2]));
    assert_eq!(lucky.broadcasts(1), [1]);
}

#[test]
fn another_history_is_a_gap_for_those_who_are_connected() {
    let house = house(&config(), 2, 4);
    publish(&house, 1..=8, |_| vec![1]);
    let mut client = house.connect(1, Transport::Lines, From::Now);
    client.until("hello");
    *house.kept.forgotten.lock() = [8; 4];
    house.gateway.reset(EPOCH + 1, 8, Vec::new());
    assert_eq!(client.until("gap")["reason"], "another_epoch");
    house.publish(release(9, Low, &[1]));
    assert_eq!(client.broadcasts(1), [9]);
}

/// Streams that break anywhere and resume with the last cursor they read, while releases come: every release of the user, at
/// least once; in order within a priority on each stream; nothing of others.
fn check_resumes(breaks: &[usize], transport: Transport, config: &Config, body: usize) {
    const COUNT: u64 = 300;
    let house = house(config, 2, 4);
    let body = "x".repeat(body);
    let everybody = [[1, 2].as_slice(), &[2], &[1], &[1, 3]];
    let user = 1;
    let own: BTreeSet<u64> = (1..=COUNT)
        .filter(|position| everybody[*position as usize % 4].contains(&user))
        .collect();
    let mut seen = BTreeSet::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for position in 1..=COUNT {
                let priority = Priority::ALL[(position * 7 / 3) as usize % 4];
                let recipients = everybody[position as usize % 4];
                house.publish(release_of(position, draft(priority, &body), i64::MAX, recipients));
                house.gateway.stored(position.saturating_sub(3));
                std::thread::yield_now();
            }
        });
        let mut from = cursor([0; 4]);
        let mut breaks = breaks.iter().copied().chain(std::iter::once(usize::MAX));
        while seen != own {
            let mut client = house.connect(user, transport, from);
            let mut last: [u64; 4] = [0; 4];
            let deadline = clock::now() + PATIENCE;
            for _ in 0..breaks.next().unwrap_or(usize::MAX) {
                assert!(clock::now() < deadline, "missing: {:?}", own.difference(&seen));
                let heard = client.next();
                if let Some(position) = heard.position() {
                    assert!(own.contains(&position), "{position} is not for this user");
                    let last = &mut last[(position * 7 / 3) as usize % 4];
                    assert!(position > *last, "{position} came after {last}");
                    *last = position;
                    seen.insert(position);
                }
                if let Some(cursor) = heard.cursor() {
                    from = From::Cursor(cursor);
                    for position in own
                        .iter()
                        .filter(|position| **position <= cursor.positions[(**position * 7 / 3) as usize % 4])
                    {
                        assert!(seen.contains(position), "the cursor claims {position}");
                    }
                }
                if seen == own {
                    break;
                }
            }
        }
    });
    eventually("closed streams are noticed", || house.gateway.sessions() <= 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn streams_that_break_anywhere_resume_exactly(
        breaks in proptest::collection::vec(1usize..60, 0..12),
        transport in prop_oneof![Just(Transport::WebSocket), Just(Transport::Sse), Just(Transport::Lines)],
        forgets in any::<bool>(),
        body in prop_oneof![Just(10usize), Just(3_000)],
    ) {
        let config = if forgets { forgetful() } else { config() };
        check_resumes(&breaks, transport, &config, body);
    }
}
