//! The step *publish*: from the bytes of a request's body to a draft that is valid, let in, and allowed to its sender. Network and
//! log are other steps.
//!
//! `cargo bench --bench publish`. Floor: `serde_json` reads the same bytes into a `Value`, which checks nothing but the syntax.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a bench that cannot run says so

mod common;

use campanile::api::{self, draft};
use campanile::lab::results::bench::Bench;
use campanile::model::{Caller, Draft, Rules, Scope};
use campanile::queue::admission::{Fullness, admits};
use campanile::state::State;
use campanile::state::rights::{Grant, Question};
use common::people;
use serde_json::{Value, json};
use std::process::ExitCode;

const USERS: u32 = 10_000;
const WEDDINGS: u32 = 50;
const TEXT_BYTES: usize = 400;
/// The most that a broadcast may carry is 16 KiB.
const DATA_BYTES: usize = 15 << 10;
const ROUNDS: usize = 60;
const OPERATIONS: usize = 500;
/// 2.4 when it was set: a tree of the body that refuses duplicate names, every text looked at by its letters, then admission and the rules.
/// One more pass over the body comes to about 1.
const TEXT_MOST: f64 = 4.0;
/// 1.35 when it was set. `data` is kept as it stands, but it is checked like all else, duplicate names too.
const DATA_MOST: f64 = 2.5;

struct Desk {
    config: api::Config,
    rules: Rules,
    caller: Caller,
    state: State,
}

impl Desk {
    fn new() -> Self {
        let coordinator = (0..USERS)
            .find(|number| people::role(*number, WEDDINGS) == "coordinator")
            .unwrap();
        let caller = Caller {
            token: Some("t-1".into()),
            user: Some(people::user_id(coordinator)),
            role: "coordinator".into(),
            weddings: vec![people::wedding_id(coordinator % WEDDINGS)],
            venues: Vec::new(),
            scopes: [Scope::Publish].into_iter().collect(),
        };
        Self {
            config: api::Config::default(),
            rules: campanile::config::Config::default().rules().unwrap(),
            caller,
            state: people::state(USERS, WEDDINGS),
        }
    }

    /// What stands between the bytes and the proposal.
    fn publish(&self, body: &[u8]) -> (Draft, Grant) {
        let draft = draft::read(body, &self.config, people::NOW).unwrap();
        assert!(admits(draft.priority, Fullness::default()));
        let question = Question {
            rules: &self.rules,
            caller: &self.caller,
            draft: &draft,
            at: people::NOW,
        };
        let grant = self.state.judge(&question).unwrap();
        (draft, grant)
    }

    fn body(&self, data: Option<Value>) -> Vec<u8> {
        let mut body = json!({
            "type": "timeline.changed", "priority": "high",
            "audience": [{"weddings": self.caller.weddings, "roles": ["guests", "staff"]}],
            "title": "Dinner is half an hour later", "body": people::text(1, TEXT_BYTES),
            "texts": {"es": {"title": "La cena es media hora más tarde", "body": people::text(2, TEXT_BYTES)}},
            "action": {"label": "Map", "url": "/map"},
            "acknowledge": {"within": "5m", "answers": ["ok", "need_help"]},
        });
        if let Some(data) = data {
            body["data"] = data;
        }
        body.to_string().into_bytes()
    }
}

fn main() -> ExitCode {
    let mut bench = Bench::new(
        "publish",
        "From the bytes of a publish to a draft that is valid, let in and allowed.",
    );
    let desk = Desk::new();
    let lines: Vec<String> = (0..DATA_BYTES / 64).map(|line| people::text(line as u64, 60)).collect();
    let cases = [
        ("text", "A publish with two texts", desk.body(None), TEXT_MOST),
        (
            "data",
            "A publish with 15 KiB of data",
            desk.body(Some(json!({"lines": lines}))),
            DATA_MOST,
        ),
    ];
    for (key, what, body, most) in cases {
        let cost = common::in_turn(
            ROUNDS,
            OPERATIONS,
            || common::timed(|| (0..OPERATIONS).for_each(|_| drop(std::hint::black_box(desk.publish(&body))))),
            || {
                common::timed(|| {
                    (0..OPERATIONS)
                        .for_each(|_| drop(std::hint::black_box(serde_json::from_slice::<Value>(&body).unwrap())));
                })
            },
        );
        bench.setting(&format!("{key}_bytes"), body.len());
        cost.tell(&mut bench, key, what, most);
    }
    bench
        .setting("users", USERS)
        .note("The floor reads the same bytes into a `serde_json::Value`, which checks the syntax and nothing else.")
        .end()
}
