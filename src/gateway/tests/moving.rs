//! Cells move between workers under load, workers come and go, and no frame is lost, doubled or out of order.

use super::fixture::{Heard, House, config, draft, eventually, house, houses, release_of};
use crate::gateway::{From, Transport};
use crate::model::Priority;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

const USERS: u32 = 24;
const CELLS: usize = 6;

/// One change of who has what.
fn change(house: &House, random: &mut SmallRng, done: &AtomicBool) {
    let (cell, worker) = (random.random_range(0..CELLS), random.random_range(0..3));
    house.gateway.move_cell(cell, worker);
    while house.gateway.owner(cell) != worker && !done.load(Relaxed) {
        std::thread::yield_now();
    }
}

/// Threads come or go, or cells move on between those that are there.
fn resize(house: &House, random: &mut SmallRng) {
    let threads = random.random_range(1..=CELLS);
    if random.random_ratio(1, 4) {
        assert_eq!(house.gateway.resize(threads).unwrap(), threads);
        let workers = house.gateway.workers();
        assert_eq!(workers.len(), threads);
        assert_eq!(workers.last().unwrap().name, format!("worker-{}", threads - 1));
    } else {
        house.gateway.move_cell(random.random_range(0..CELLS), threads);
    }
}

/// Cells change hands by `change` while releases of all priorities flow, sessions come and go, and some read so slowly that they
/// fall behind.
fn check_moves(seed: u64, count: u64, change: impl Fn(&House, &mut SmallRng, &AtomicBool) + Sync) {
    for house in houses(&config(), 3, CELLS) {
        check_moves_of(&house, seed, count, &change);
    }
}

fn check_moves_of(house: &House, seed: u64, count: u64, change: &(impl Fn(&House, &mut SmallRng, &AtomicBool) + Sync)) {
    let everyone: Vec<u32> = (0..USERS).collect();
    let mut clients: Vec<_> = everyone
        .iter()
        .map(|user| house.connect(*user, Transport::ALL[*user as usize % 3], From::Now))
        .collect();
    for client in &mut clients {
        client.until("hello");
    }
    let done = AtomicBool::new(false);
    let body = "x".repeat(400);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = SmallRng::seed_from_u64(seed);
            while !done.load(Relaxed) {
                change(house, &mut random, &done);
                if random.random_ratio(1, 8) {
                    drop(house.connect(random.random_range(0..USERS), Transport::Lines, From::Backlog));
                }
                std::thread::yield_now();
            }
        });
        let readers: Vec<_> = clients
            .iter_mut()
            .enumerate()
            .map(|(user, client)| {
                scope.spawn(move || {
                    let mut positions: [Vec<u64>; 4] = Default::default();
                    while positions.iter().map(Vec::len).sum::<usize>() < count as usize {
                        let heard = client.next();
                        assert_ne!(heard, Heard::End);
                        if let Some(position) = heard.position() {
                            positions[position as usize % 4].push(position);
                        }
                    }
                    for (index, positions) in positions.iter().enumerate() {
                        let expected = (1..=count).filter(|position| *position as usize % 4 == index);
                        assert!(positions.iter().copied().eq(expected), "user {user}: {positions:?}");
                    }
                })
            })
            .collect();
        let mut random = SmallRng::seed_from_u64(seed + 1);
        for position in 1..=count {
            let priority = Priority::ALL[position as usize % 4];
            house.publish(release_of(position, draft(priority, &body), i64::MAX, &everyone));
            if random.random_ratio(1, 4) {
                std::thread::yield_now();
            }
        }
        for reader in readers {
            reader.join().unwrap();
        }
        done.store(true, Relaxed);
    });
    drop(clients);
    eventually("nobody is left", || {
        house.gateway.sessions() == 0 && house.gateway.present().is_empty()
    });
    eventually("all of it counts as written", || {
        house
            .gateway
            .take_report()
            .watermarks
            .iter()
            .all(|mark| *mark > count - 4)
    });
}

#[test]
fn moving_cells_loses_doubles_and_reorders_nothing() {
    for seed in 0..3 {
        check_moves(seed, 600, change);
    }
}

#[test]
fn threads_that_come_and_go_lose_double_and_reorder_nothing() {
    for seed in 10..14 {
        check_moves(seed, 600, |house, random, _| resize(house, random));
    }
}

#[test]
fn some_sessions_are_asked_to_move_and_the_others_go_on() {
    const ASKED: usize = 7;
    let house = house(&config(), 2, CELLS);
    let everyone: Vec<u32> = (0..USERS).collect();
    let publish = |position| {
        let draft = draft(Priority::Normal, "to all");
        house.publish(release_of(position, draft, i64::MAX, &everyone));
    };
    let mut clients: Vec<_> = everyone
        .iter()
        .map(|user| house.connect(*user, Transport::ALL[*user as usize % 3], From::Now))
        .collect();
    for client in &mut clients {
        client.until("hello");
    }
    // whoever is still behind stays, so all are brought up to date
    for position in [1, 2] {
        publish(position);
        for client in &mut clients {
            assert_eq!(client.until("broadcast")["position"], position);
        }
    }
    assert_eq!(house.gateway.send_away(0), 0);
    assert_eq!(house.gateway.send_away(ASKED), ASKED);
    eventually("some have gone", || house.gateway.present().len() < USERS.into());
    publish(3);
    let mut gone = 0;
    for client in &mut clients {
        loop {
            match client.next() {
                Heard::Event(event) if event["event"] == "goodbye" => {
                    assert_eq!(event["code"], 1012, "{event}");
                    let pause = event["reconnect_ms"].as_u64();
                    assert!(pause.is_some_and(|pause| pause >= 500), "{event}");
                    gone += 1;
                    break;
                }
                heard if heard.position() == Some(3) => break,
                heard => assert_ne!(heard, Heard::End),
            }
        }
    }
    assert!((1..=ASKED).contains(&gone), "{gone} were sent away");
}

#[test]
fn named_users_are_asked_to_move_and_nobody_else() {
    const NAMED: [u32; 3] = [1, 4, 9];
    let house = house(&config(), 2, CELLS);
    let everyone: Vec<u32> = (0..12).collect();
    let mut clients: Vec<_> = everyone
        .iter()
        .map(|user| house.connect(*user, Transport::ALL[*user as usize % 3], From::Now))
        .collect();
    for client in &mut clients {
        client.until("hello");
    }
    let draft = draft(Priority::Normal, "to all");
    house.publish(release_of(1, draft, i64::MAX, &everyone));
    for client in &mut clients {
        assert_eq!(client.until("broadcast")["position"], 1);
    }
    let named = NAMED.into_iter().collect();
    eventually("those who were named have gone, when they were at rest", || {
        house.gateway.send_users_away(&named);
        house.gateway.present().is_disjoint(&named)
    });
    assert_eq!(house.gateway.present().len(), everyone.len() as u64 - 3);
    for user in NAMED {
        let goodbye = clients[user as usize].until("goodbye");
        assert!(goodbye["reason"].as_str().unwrap().contains("staff"), "{goodbye}");
    }
}

#[test]
fn threads_hold_cells_evenly_and_those_that_went_hold_none() {
    let house = house(&config(), 1, CELLS);
    for (threads, most) in [(4, 2), (6, 1), (2, 3), (50, 1), (0, 6)] {
        let there = house.gateway.resize(threads).unwrap();
        assert_eq!(there, threads.clamp(1, CELLS));
        eventually("every cell has arrived", || {
            let cells: Vec<usize> = house.gateway.workers().iter().map(|worker| worker.cells).collect();
            cells.len() == there && cells.iter().sum::<usize>() == CELLS && cells.iter().all(|cells| *cells <= most)
        });
    }
}
