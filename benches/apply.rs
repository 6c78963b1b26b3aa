//! The state alone: how fast commands apply, and what 400,000 users cost in memory.
//!
//! `cargo bench --bench apply`. Floor: the same commands made, encoded once and put into a map, which is the least that whoever keeps them
//! and writes them down has to do.

use campanile::base::clock;
use campanile::lab::results::bench::Bench;
use campanile::lab::results::{Better, Bound};
use campanile::model::directory::{User, Wedding, WeddingStatus};
use campanile::model::{Audience, Clause, Draft, Place, PlaceKind};
use campanile::state::command::{Change, Key, Publish, Spans};
use campanile::state::rights::Grant;
use campanile::state::{Command, Outcome, State};
use std::collections::BTreeMap;
use std::process::ExitCode;

const USERS: u32 = 400_000;
const WEDDINGS: u32 = 2_000;
const PUBLISHES: u32 = 100_000;
/// Resolving, the key, the ledger and two rows besides.
const PUBLISH_MOST: f64 = 20.0;

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

fn wedding(number: u32) -> Wedding {
    Wedding {
        id: format!("wed-{number}"),
        name: format!("Wedding {number}"),
        venue: None,
        timezone: "Europe/Berlin".into(),
        starts_at: 0,
        ends_at: 1,
        guests_expected: 200,
        status: WeddingStatus::Planned,
    }
}

fn user(number: u32) -> User {
    User {
        timezone: "Europe/Berlin".into(),
        ..User::bare(
            format!("user-{number:07}"),
            ["guest", "family", "dj"][number as usize % 3],
        )
    }
}

fn publish(number: u32) -> Command {
    let clause = Clause {
        weddings: vec![format!("wed-{}", number % WEDDINGS)],
        ..Clause::default()
    };
    let draft = Draft {
        audience: Audience {
            clauses: vec![clause],
            exclude: Vec::new(),
        },
        ..Draft::bare("venue.notice", "Gates", "x".repeat(400))
    };
    let mut fingerprint = [0; 16];
    fingerprint[..4].copy_from_slice(&number.to_be_bytes());
    let key = Key {
        fingerprint,
        body: 1,
        kept_ms: 86_400_000,
        table_bytes_max: 1 << 30,
    };
    Command::Publish(Box::new(Publish {
        draft,
        sender: "bench".into(),
        key,
        spans: Spans {
            expires_after_ms: 86_400_000,
            schedule_max_ms: 7 * 86_400_000,
        },
        superseded: None,
        grant: Grant::default(),
    }))
}

/// Seconds for as many as are applied.
fn floor() -> f64 {
    let start = clock::now();
    let mut kept = BTreeMap::new();
    for number in 0..PUBLISHES {
        let bytes = bincode::serialize(&publish(number)).unwrap_or_default();
        kept.insert(number, bytes);
    }
    std::hint::black_box(&kept);
    start.elapsed().as_secs_f64()
}

fn main() -> ExitCode {
    let mut bench = Bench::new(
        "apply",
        "The state machine alone, without log and disk: a directory of users, each a member of a wedding, then publishes.",
    );
    let mut state = State::new();
    let mut effects = Vec::new();
    let mut index = 0;
    let mut apply = |state: &mut State, commands| {
        index += 1;
        let outcomes = state.apply(index, i64::from(index as u32), commands, &mut effects);
        effects.clear();
        let refused = outcomes
            .iter()
            .find(|outcome| !matches!(outcome, Outcome::Published { .. } | Outcome::Changed(_)));
        assert!(refused.is_none(), "{refused:?} is not what is measured");
    };
    let before = resident_kib();
    let start = clock::now();
    apply(
        &mut state,
        vec![Command::Directory(
            (0..WEDDINGS).map(|n| Change::PutWedding(wedding(n))).collect(),
        )],
    );
    for chunk in 0..USERS / 1000 {
        let users = chunk * 1000..(chunk + 1) * 1000;
        let place = |n: u32| Place {
            kind: PlaceKind::Wedding,
            id: format!("wed-{}", n % WEDDINGS),
        };
        let mut changes: Vec<Change> = users.clone().map(|n| Change::PutUser(user(n))).collect();
        changes.extend(users.map(|n| Change::PutMember(place(n), user(n).id, "guest".into())));
        apply(&mut state, vec![Command::Directory(changes)]);
        drop(state.take_rows());
    }
    let import_seconds = start.elapsed().as_secs_f64();
    let users_mib = (resident_kib() - before) as f64 / 1024.0;
    let start = clock::now();
    let mut rows_seconds = 0.0;
    for pack in 0..PUBLISHES / 100 {
        apply(&mut state, (pack * 100..(pack + 1) * 100).map(publish).collect());
        if pack % 5 == 0 {
            let start = clock::now();
            drop(state.take_rows());
            rows_seconds += start.elapsed().as_secs_f64();
        }
    }
    let publish_seconds = start.elapsed().as_secs_f64();
    let rate = f64::from(PUBLISHES) / publish_seconds;
    let micros = |seconds: f64| seconds * 1e6 / f64::from(PUBLISHES);
    let resident = resident_kib() as f64 / 1024.0;
    drop(state);
    let floor_seconds = floor();
    bench
        .setting("users", USERS)
        .setting("weddings", WEDDINGS)
        .setting("publishes", PUBLISHES)
        .figure(
            "directory.seconds",
            "users and memberships applied",
            "s",
            import_seconds,
            Better::Lower,
        )
        .figure(
            "directory.mib",
            "resident memory they take",
            "MiB",
            users_mib,
            Better::Lower,
        )
        .figure("publish.rate", "publishes, rows included", "/s", rate, Better::Higher)
        .figure(
            "publish.rows_percent",
            "of that time for taking the rows",
            "%",
            100.0 * rows_seconds / publish_seconds,
            Better::Neither,
        )
        .figure(
            "publish.resident_mib",
            "resident at the end",
            "MiB",
            resident,
            Better::Lower,
        )
        .figure(
            "publish.cost",
            "a publish, rows included",
            "µs",
            micros(publish_seconds),
            Better::Lower,
        )
        .figure(
            "publish.floor",
            "made, encoded and put into a map",
            "µs",
            micros(floor_seconds),
            Better::Neither,
        )
        .target(
            "a publish applied, of one that is only kept",
            Bound::Below(PUBLISH_MOST),
            "times",
            publish_seconds / floor_seconds,
        )
        .end()
}
