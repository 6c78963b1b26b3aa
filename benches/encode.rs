//! The step *encode*: a release's frame, made once for all sessions of a transport.
//!
//! `cargo bench --bench encode`. Floor: `serde_json::to_vec` of the same frame, read back as a `Value`.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a bench that cannot run says so

mod common;

use campanile::gateway::{Transport, frame};
use campanile::lab::results::bench::Bench;
use campanile::model::{Acknowledge, Action, Draft, Priority};
use campanile::state::Release;
use common::{house, people};
use serde_json::{Value, json};
use std::process::ExitCode;
use std::sync::Arc;

const WEDDINGS: u32 = 10;
const USERS: u32 = 1_000;
const TEXT_BYTES: usize = 400;
const DATA_LINES: u64 = 64;
const ROUNDS: usize = 60;
const OPERATIONS: usize = 1_000;
/// 1.9 when it was set: two times are written out and an id, which the floor has as texts already, and the frame is copied once.
const TEXT_MOST: f64 = 3.0;
/// 1.5 when it was set: `data` is looked through, and copied as it stands; the floor writes it value by value.
const DATA_MOST: f64 = 2.5;

/// What a publish releases.
fn release(data: Option<String>) -> Arc<Release> {
    let mut state = people::state(USERS, WEDDINGS);
    let draft = Draft {
        priority: Priority::High,
        audience: people::to_wedding(1),
        data,
        action: Some(Action {
            label: "Map".into(),
            url: "/map".into(),
        }),
        acknowledge: Some(Acknowledge {
            within_ms: 300_000,
            answers: vec!["ok".into(), "need_help".into()],
            need: Vec::new(),
            escalate: Vec::new(),
        }),
        ..Draft::bare(
            "timeline.changed",
            "Dinner is half an hour later",
            people::text(1, TEXT_BYTES),
        )
    };
    let mut effects = Vec::new();
    state.apply(
        u64::from(USERS),
        people::NOW,
        vec![people::publish(1, draft)],
        &mut effects,
    );
    house::released(effects).next().expect("a publish releases")
}

fn measure(bench: &mut Bench, release: &Release, transport: Transport, (key, what, most): (&str, &str, f64)) {
    let (_, text) = frame::release(release);
    let same: Value = serde_json::from_slice(&text).unwrap();
    let cost = common::in_turn(
        ROUNDS,
        OPERATIONS,
        || common::timed(|| (0..OPERATIONS).for_each(|_| drop(std::hint::black_box(transport.encode(release))))),
        || {
            common::timed(|| {
                (0..OPERATIONS).for_each(|_| drop(std::hint::black_box(serde_json::to_vec(&same).unwrap())));
            })
        },
    );
    bench.setting(&format!("{key}_bytes"), transport.encode(release).len());
    cost.tell(bench, key, what, most);
}

fn main() -> ExitCode {
    let mut bench = Bench::new(
        "encode",
        "A release's frame, made once for all sessions of a transport.",
    );
    let plain = release(None);
    let lines: Vec<String> = (0..DATA_LINES).map(|line| people::text(line, 60)).collect();
    let with_data = release(Some(json!({"lines": lines}).to_string()));
    for (transport, case) in [
        (Transport::WebSocket, ("websocket", "A frame for WebSockets", TEXT_MOST)),
        (Transport::Sse, ("sse", "A frame for server-sent events", TEXT_MOST)),
        (Transport::Lines, ("lines", "A frame for streams of lines", TEXT_MOST)),
    ] {
        measure(&mut bench, &plain, transport, case);
    }
    measure(
        &mut bench,
        &with_data,
        Transport::WebSocket,
        ("data", "A frame with 4 KiB of data", DATA_MOST),
    );
    bench
        .note("The floor writes the same frame with `serde_json::to_vec`, from a `Value` that has every field as it will stand.")
        .end()
}
