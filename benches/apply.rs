//! The state alone: how fast commands apply, and what 400,000 users cost in memory.
//!
//! `cargo bench --bench apply`. Floor: the same commands made, encoded once and put into a map, which is the least that whoever keeps them
//! and writes them down has to do.

mod common;

use campanile::base::clock;
use campanile::lab::results::bench::Bench;
use campanile::lab::results::{Better, Bound};
use campanile::state::{Command, Outcome, State};
use common::people;
use std::collections::BTreeMap;
use std::process::ExitCode;

const USERS: u32 = 400_000;
const WEDDINGS: u32 = 2_000;
const PUBLISHES: u32 = 100_000;
const TEXT_BYTES: usize = 400;
/// Resolving, the key, the ledger and two rows besides.
const PUBLISH_MOST: f64 = 20.0;

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

fn publish(number: u32) -> Command {
    let number = u64::from(number);
    people::publish(number, people::notice(number, WEDDINGS, TEXT_BYTES))
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
        let outcomes = state.apply(index, people::NOW, commands, &mut effects);
        effects.clear();
        let refused = outcomes
            .iter()
            .find(|outcome| !matches!(outcome, Outcome::Published { .. } | Outcome::Changed(_)));
        assert!(refused.is_none(), "{refused:?} is not what is measured");
    };
    let before = resident_kib();
    let start = clock::now();
    for command in people::import(USERS, WEDDINGS) {
        apply(&mut state, vec![command]);
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
        .setting("text_bytes", TEXT_BYTES)
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
