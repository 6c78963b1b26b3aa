//! The state as its callers see it: commands in, outcomes and rows out.

mod audiences;
mod directory;
mod escalation;
mod ladder;
mod local;
mod memory;
mod quiet;
mod retry;
mod schedule;
mod sources;
mod waiting;

use super::command::{Acknowledged, Change, Found, Key, NodeStarted, Presence, Publish, Receipts, Spans, Tick};
use super::ledger::Ledger;
use super::outcome::{Acknowledgement, Did};
use super::rights::Grant;
use super::{Command, Effect, Outcome, Refused, ReleaseKind, RowKey, State};
use crate::model::broadcast::{OnMissed, Status};
use crate::model::directory::{Segment, User, Venue, Wedding, WeddingStatus};
use crate::model::{Acknowledge, Audience, Clause, Draft, Place, PlaceKind, Priority, Step};
use proptest::prelude::*;
use std::collections::BTreeSet;

const NOON: i64 = 1_800_000_000_000;

fn user(id: &str, role: &str) -> User {
    User {
        id: id.into(),
        role: role.into(),
        tier: "starter".into(),
        locale: "en".into(),
        timezone: "UTC".into(),
        attributes: vec![("table".into(), id.len().to_string())],
    }
}

fn venue(id: &str) -> Venue {
    Venue {
        id: id.into(),
        name: id.into(),
        timezone: "UTC".into(),
        latitude_micro: None,
        longitude_micro: None,
    }
}

fn wedding(id: &str, venue: &str, starts_at: i64) -> Wedding {
    Wedding {
        id: id.into(),
        name: id.into(),
        venue: Some(venue.into()),
        timezone: "UTC".into(),
        starts_at,
        ends_at: starts_at + 8 * 3_600_000,
        guests_expected: 100,
        status: WeddingStatus::Planned,
    }
}

fn draft(clause: Clause) -> Draft {
    Draft {
        audience: Audience {
            clauses: vec![clause],
            exclude: Vec::new(),
        },
        ..Draft::bare("venue.notice", "Gates", "The north gate is open.")
    }
}

fn publish(draft: Draft, key: u8, body: u64) -> Command {
    let key = Key {
        fingerprint: [key; 16],
        body,
        kept_ms: 60_000,
        table_bytes_max: 1 << 20,
    };
    Command::Publish(Box::new(Publish {
        draft,
        superseded: None,
        grant: Grant::default(),
        sender: "administrator".into(),
        key,
        spans: Spans {
            expires_after_ms: 3_600_000,
            schedule_max_ms: 7 * 86_400_000,
        },
    }))
}

fn everyone() -> Clause {
    Clause {
        everyone: true,
        ..Clause::default()
    }
}

struct Bench {
    state: State,
    effects: Vec<Effect>,
    at: i64,
}

impl Bench {
    fn new(changes: Vec<Change>) -> Self {
        let mut bench = Self {
            state: State::new(),
            effects: Vec::new(),
            at: NOON,
        };
        bench.run(Command::Found(Found { epoch: 7, salt: 9 }));
        let outcome = bench.run(Command::Directory(changes));
        assert!(matches!(outcome, Outcome::Changed(_)), "{outcome:?}");
        bench
    }

    fn run(&mut self, command: Command) -> Outcome {
        let index = self.state.applied() + 1;
        self.state
            .apply(index, self.at, vec![command], &mut self.effects)
            .remove(0)
    }

    /// What went out since the last call: number, kind and users.
    fn released(&mut self) -> Vec<(u64, ReleaseKind, Vec<u32>)> {
        let effects = std::mem::take(&mut self.effects);
        let released = effects.into_iter().filter_map(|effect| match effect {
            Effect::Released(release) => Some((
                release.broadcast.number,
                release.kind,
                release.recipients.iter().collect(),
            )),
            Effect::Named(_)
            | Effect::Cache(_)
            | Effect::Revoked(_)
            | Effect::Cancelled(_)
            | Effect::Forgotten(_)
            | Effect::Erased(_)
            | Effect::Node(_) => None,
        });
        released.collect()
    }

    fn number(&mut self, command: Command) -> u64 {
        match self.run(command) {
            Outcome::Published { number, .. } => number,
            other => panic!("{other:?}"),
        }
    }
}

fn two_places() -> Vec<Change> {
    let members = |list: &[(&str, &str)]| {
        list.iter()
            .map(|(user, role)| ((*user).into(), (*role).into()))
            .collect()
    };
    let at = |kind, id: &str| Place { kind, id: id.into() };
    vec![
        Change::PutVenue(venue("barn")),
        Change::PutWedding(wedding("w-1", "barn", NOON)),
        Change::PutWedding(wedding("w-2", "barn", NOON + 40 * 86_400_000)),
        Change::PutUser(user("ann", "couple")),
        Change::PutUser(user("bob", "guest")),
        Change::PutUser(user("cat", "dj")),
        Change::PutUser(user("dan", "")),
        Change::PutUser(user("eve", "venue_ops")),
        Change::PutMembers(
            at(PlaceKind::Wedding, "w-1"),
            members(&[("ann", "couple"), ("bob", "guest"), ("cat", "dj")]),
        ),
        Change::PutMembers(
            at(PlaceKind::Wedding, "w-2"),
            members(&[("bob", "dj"), ("dan", "family")]),
        ),
        Change::PutMember(at(PlaceKind::Venue, "barn"), "eve".into(), "venue_ops".into()),
        Change::PutSegment(Segment {
            name: "short".into(),
            attributes: vec![("table".into(), vec!["3".into()])],
            ..Segment::default()
        }),
        Change::PutSegment(Segment {
            name: "soon".into(),
            wedding_within_days: Some(7),
            ..Segment::default()
        }),
    ]
}

fn strings(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

fn receipts(number: u64, step: Step, users: &[u32]) -> Command {
    let deltas = vec![(number, step, users.iter().collect())];
    Command::Receipts(Receipts {
        node: 1,
        deltas,
        promised: None,
        watermarks: [0; 4],
    })
}

/// Rows as a store would hold them.
#[derive(Default)]
struct Disk(std::collections::BTreeMap<RowKey, bytes::Bytes>);

fn reload(state: &mut State, disk: &mut Disk) -> State {
    for row in state.take_rows() {
        match row.value {
            Some(value) => drop(disk.0.insert(row.key, value)),
            None => drop(disk.0.remove(&row.key)),
        }
    }
    let mut again = State::new();
    for (key, value) in &disk.0 {
        again.load(key, value).unwrap();
    }
    again.loaded(state.applied());
    again
}
