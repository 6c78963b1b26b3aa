//! Out of the window: a session resumes, and reads until it stands where the window ends.

use crate::common::house::EPOCH;
use crate::common::{self, Cost, house, people};
use bytes::Bytes;
use campanile::base::clock;
use campanile::gateway::{From, Gateway, Transport};
use campanile::model::{Cursor, UserNumber};
use campanile::state::Release;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

/// Releases that the subscriber has missed; as many again are for others.
pub const MINE: usize = 200;
const USERS: u32 = 1_000;
const TEXT_BYTES: usize = 200;
const ROUNDS: usize = 60;
/// What a session may write at a time; the floor does as much.
const PIECE_BYTES: usize = 64 << 10;

/// Releases to each of two weddings in turn, and a user of the first. What has expired by the machine's clock would be passed over.
fn releases() -> (Vec<Arc<Release>>, UserNumber) {
    let mut state = people::state(USERS, 2);
    let notice = |number| people::publish(number, people::notice(number, 2, TEXT_BYTES));
    let commands = (0..2 * MINE as u64).map(notice);
    let (index, at) = (state.applied() + 1, clock::wall());
    let mut effects = Vec::new();
    state.apply(index, at, commands.collect(), &mut effects);
    let user = state.directory().user_number(&people::user_id(0)).unwrap();
    (house::released(effects).collect(), user)
}

/// One session from its start to the cursor behind all that it missed.
fn resume(gateway: &Gateway, user: UserNumber, from: Cursor, end: &[u8]) -> Duration {
    let mut got = Vec::new();
    let took = common::timed(|| {
        let mut client = house::connect(gateway, user, Transport::Lines, From::Cursor(from));
        let mut buffer = vec![0; PIECE_BYTES];
        while !got.ends_with(end) {
            let count = client.read(&mut buffer).unwrap();
            assert!(count > 0, "the stream ended");
            got.extend_from_slice(&buffer[..count]);
        }
        client
    });
    let lines = got.split(|byte| *byte == b'\n');
    let broadcasts = lines.filter(|line| line.starts_with(br#"{"event":"broadcast""#));
    assert_eq!(broadcasts.count(), MINE);
    while gateway.sessions() > 0 {
        std::thread::yield_now();
    }
    took
}

/// The same frames of the same releases, found by a walk and sent by one thread.
fn walk(releases: &[(Arc<Release>, Bytes)], user: UserNumber) -> Duration {
    common::timed(|| {
        let (mut client, mut server) = UnixStream::pair().unwrap();
        let mut buffer = vec![0; PIECE_BYTES];
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        let mut send = |piece: &mut Vec<u8>| {
            server.write_all(piece).unwrap();
            client.read_exact(&mut buffer[..piece.len()]).unwrap();
            piece.clear();
        };
        for (_, frame) in releases.iter().filter(|(release, _)| release.recipients.contains(user)) {
            if piece.len() + frame.len() > PIECE_BYTES {
                send(&mut piece);
            }
            piece.extend_from_slice(frame);
        }
        send(&mut piece);
    })
}

pub fn measure() -> Cost {
    let gateway = house::open();
    let (releases, user) = releases();
    let cursor = |position| Cursor {
        epoch: EPOCH,
        positions: [position; 4],
    };
    let start = cursor(releases.first().map_or(0, |first| first.position - 1));
    let mut end = Vec::new();
    let last = releases.last().map_or(0, |last| last.position);
    Transport::Lines.cursor(&mut end, cursor(last));
    let framed = releases
        .iter()
        .map(|release| (release.clone(), Transport::Lines.encode(release)));
    let framed: Vec<(Arc<Release>, Bytes)> = framed.collect();
    releases.into_iter().for_each(|release| gateway.release(release));
    let cost = common::in_turn(
        ROUNDS,
        MINE,
        || resume(&gateway, user, start, &end),
        || walk(&framed, user),
    );
    gateway.drain(Duration::from_secs(2));
    cost
}
