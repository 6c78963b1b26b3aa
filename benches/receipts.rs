//! The step *receipts*: what phones confirm on their sockets, read, gathered, merged into one command, and applied.
//!
//! `cargo bench --bench receipts`. Floor: the same users put into bare roaring bitmaps, and united with those that came before.
//! The worker's share is the CPU time of its thread, which the scheduler counts; merging and applying are timed.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods)] // it waits for threads of the program that it measures
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a bench that cannot run says so

mod common;

use campanile::base::clock;
use campanile::gateway::{From, Gateway, Report, Transport};
use campanile::lab::results::bench::Bench;
use campanile::model::{BroadcastId, Retry, Step, UserNumber};
use campanile::state::command::{Promised, Receipts};
use campanile::state::{Command, Effect, State};
use common::{house, people};
use roaring::RoaringBitmap;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

const SESSIONS: u32 = 1_000;
/// Broadcasts that each phone confirms in one message.
const BROADCASTS: usize = 8;
const TEXT_BYTES: usize = 100;
const ROUNDS: usize = 20;
/// In so many parts the receipts of a broadcast come for the floor, as they come in several ticks: all but the first find some there.
const PARTS: usize = 2;
const WITHIN: Duration = Duration::from_secs(20);
/// How often it is looked whether all have come; a node takes what came every 50 ms.
const TICK: Duration = Duration::from_millis(10);
/// 27 when it was set: a message is read from a socket, unmasked, parsed, and its ids looked up in the window, then the bit is set. A
/// system call for each receipt instead of each message would be more than this.
const MOST: f64 = 55.0;

/// A client's text frame, masked with zeros.
fn masked(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81];
    match text.len() {
        length @ 0..=125 => frame.push(0x80 | length as u8),
        length => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(text.as_bytes());
    frame
}

/// A node's gateway with phones, and the state that their receipts come to.
struct House {
    state: State,
    gateway: Arc<Gateway>,
    phones: Vec<UnixStream>,
    index: u64,
    published: u64,
}

impl House {
    fn open() -> Self {
        let gateway = house::open();
        let state = people::state(SESSIONS, 1);
        let users = (0..SESSIONS).map(|made| state.directory().user_number(&people::user_id(made)).unwrap());
        let phones = users.map(|user| connect(&gateway, user)).collect();
        while gateway.workers().iter().map(|worker| worker.sessions).sum::<usize>() < SESSIONS as usize {
            std::thread::yield_now();
        }
        let index = state.applied();
        Self {
            state,
            gateway,
            phones,
            index,
            published: 0,
        }
    }

    fn apply(&mut self, commands: Vec<Command>) -> Vec<Effect> {
        self.index += 1;
        let mut effects = Vec::new();
        // what has expired by the machine's clock is not written
        self.state.apply(self.index, clock::wall(), commands, &mut effects);
        effects
    }

    /// Broadcasts go out to everybody, who has them when this returns.
    fn deliver(&mut self) -> Vec<BroadcastId> {
        let published = self.published;
        self.published += BROADCASTS as u64;
        let notice = |number| people::publish(number + 1, people::notice(number, 1, TEXT_BYTES));
        let commands = (published..self.published).map(notice);
        let effects = self.apply(commands.collect());
        let mut ids = Vec::new();
        for release in house::released(effects) {
            ids.push(release.broadcast.id);
            self.gateway.release(release);
        }
        self.take_all(Step::Sent);
        self.phones.iter_mut().for_each(read_away);
        ids
    }

    /// Takes reports until everybody is at a step with everything, as a node does tick by tick; how long merging and applying took.
    fn take_all(&mut self, step: Step) -> Duration {
        let deadline = clock::now() + WITHIN;
        let mut missing = u64::from(SESSIONS) * BROADCASTS as u64;
        let mut took = Duration::ZERO;
        while missing > 0 {
            assert!(clock::now() < deadline, "{missing} receipts did not come");
            std::thread::sleep(TICK);
            let start = clock::now();
            let report = self.gateway.take_report();
            let came = report.deltas.iter().filter(|(_, at, _)| *at == step);
            missing = missing.saturating_sub(came.map(|(_, _, users)| users.len()).sum());
            self.apply(vec![command(report)]);
            took += start.elapsed();
        }
        took
    }

    fn confirm(&mut self) -> Duration {
        let ids = self.deliver();
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let message = masked(&serde_json::json!({"receipt": {"received": ids}}).to_string());
        let before = house::cpu();
        for phone in &mut self.phones {
            phone.write_all(&message).unwrap();
        }
        let merged = self.take_all(Step::Received);
        Duration::from_nanos(house::cpu() - before) + merged
    }
}

/// A phone that promises to confirm what it gets.
fn connect(gateway: &Gateway, user: UserNumber) -> UnixStream {
    let mut phone = house::connect(gateway, user, Transport::WebSocket, From::Now);
    phone.write_all(&masked(r#"{"hello":{"receipts":true}}"#)).unwrap();
    phone.set_nonblocking(true).unwrap();
    phone
}

/// What came to a phone; what is still on its way comes to it the next time.
fn read_away(phone: &mut UnixStream) {
    let mut buffer = [0; 16 << 10];
    loop {
        match phone.read(&mut buffer) {
            Ok(0) => panic!("a session has ended"),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => panic!("a phone cannot read: {error}"),
        }
    }
}

/// As `delivery::receipts` makes it.
fn command(report: Report) -> Command {
    Command::Receipts(Receipts {
        node: 1,
        deltas: report.deltas,
        promised: (!report.promised.is_empty()).then_some(Promised {
            users: report.promised,
            retry: Retry::DEFAULT,
        }),
        watermarks: report.watermarks,
    })
}

/// The same users in bare sets, a part after the other: gathered, and united with those that came before.
fn unite_bare(known: &mut [RoaringBitmap]) -> Duration {
    let took = common::timed(|| {
        for users in known.iter_mut() {
            for part in 0..PARTS as u32 {
                let mut came = RoaringBitmap::new();
                for user in (part..SESSIONS).step_by(PARTS) {
                    came.insert(user);
                }
                *users |= &came;
            }
        }
    });
    assert!(
        known.iter().all(|users| users.len() == u64::from(SESSIONS)),
        "the floor lost somebody"
    );
    took
}

fn main() -> ExitCode {
    let mut bench = Bench::new(
        "receipts",
        "What phones confirm, read, gathered, merged into one command, and applied.",
    );
    let mut house = House::open();
    let operations = SESSIONS as usize * BROADCASTS;
    let cost = common::in_turn(
        ROUNDS,
        operations,
        || house.confirm(),
        || {
            let mut known = vec![RoaringBitmap::new(); BROADCASTS];
            unite_bare(&mut known)
        },
    );
    cost.tell(&mut bench, "receipts", "A receipt", MOST);
    house.gateway.drain(Duration::from_secs(2));
    bench
        .setting("sessions", SESSIONS)
        .setting("ids_of_a_message", BROADCASTS)
        .note("The floor puts the same users into bare roaring bitmaps and unites them with those before.")
        .end()
}
