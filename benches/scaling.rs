//! Threads against load: what each number of threads does with everything it can get, what self-scaling makes of steps of load
//! beside fixed numbers, and whether the calendar has threads ready before a step. What comes meanwhile goes to standard error.
//! No target: figures are read.
//!
//! `cargo bench --bench scaling` runs all parts; `-- capacity`, `-- replay` and `-- calendar` run one, and `-- replay 1 2` the fixed
//! numbers that are named, once. With `--write PATH` the first part writes what this machine can do to a file that
//! `scaling.capacity` names.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods)] // its threads are its own
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a bench that cannot run says so

#[path = "scaling/calendar.rs"]
mod calendar;
#[path = "scaling/crowd.rs"]
mod crowd;
#[path = "scaling/replay.rs"]
mod replay;
#[path = "scaling/scaler.rs"]
mod scaler;
#[path = "common/sockets.rs"]
mod sockets;

use campanile::base::clock;
use campanile::lab::machine;
use campanile::lab::results::bench::Bench;
use campanile::lab::results::kept::Spread;
use campanile::lab::results::{Better, Table};
use campanile::model::Priority;
use campanile::scaling::Capacity;
use crowd::Crowd;
use sockets::median;
use std::process::ExitCode;
use std::time::Duration;

/// Numbers of threads: the prototype's and the origin's.
const COUNTS: [usize; 6] = [1, 2, 4, 8, 20, 50];
const RUNS: usize = 3;

/// Broadcasts to everybody in one run.
const BURST: usize = 40;
const CAPACITY_SESSIONS: usize = 2_000;

const PARTS: [&str; 3] = ["capacity", "replay", "calendar"];

fn main() -> ExitCode {
    let mut bench = Bench::new(
        "scaling",
        "Threads against load, with clients and server in one process: everything each number of threads can deliver, steps of load with fixed numbers and with self-scaling, and a load that the calendar knew of.",
    );
    let words = bench.words().to_vec();
    let is_named = |part: &&str| words.iter().any(|word| word == part);
    let named: Vec<&str> = PARTS.into_iter().filter(is_named).collect();
    let parts = if named.is_empty() { PARTS.to_vec() } else { named };
    bench.setting("parts", parts.join(", "));
    if parts.contains(&"capacity") {
        let capacity = capacity(&mut bench);
        if let Some(at) = words.iter().position(|word| word == "--write") {
            std::fs::write(&words[at + 1], serde_json::to_string_pretty(&capacity).unwrap()).unwrap();
        }
    }
    if parts.contains(&"replay") {
        let named: Vec<usize> = words.iter().filter_map(|word| word.parse().ok()).collect();
        if named.is_empty() {
            replay::replay(&mut bench, &COUNTS, RUNS);
        } else {
            replay::replay(&mut bench, &named, 1);
        }
    }
    if parts.contains(&"calendar") {
        calendar::calendar(&mut bench);
    }
    bench.end()
}

/// The median of what each round came to, with the extremes.
fn spread(values: &[f64]) -> String {
    let values: Vec<Option<f64>> = values.iter().copied().map(Some).collect();
    Spread::of(&values).map(|spread| spread.text()).unwrap_or_default()
}

fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// Broadcasts to everybody, each when all have read the one before; a number of threads after the other, three times.
fn capacity(bench: &mut Bench) -> Capacity {
    let crowd = Crowd::new(1, CAPACITY_SESSIONS);
    let everybody = crowd::group(0..CAPACITY_SESSIONS);
    let mut rates = vec![Vec::new(); COUNTS.len()];
    let mut costs = vec![Vec::new(); COUNTS.len()];
    for run in 0..=RUNS {
        for (index, threads) in COUNTS.into_iter().enumerate() {
            crowd.gateway.resize(threads).unwrap();
            crowd.quiet();
            let (cpu, begun, heard) = (crowd::server_cpu(), clock::now(), crowd.heard());
            let all = BURST * CAPACITY_SESSIONS;
            let mut missing = 0;
            for number in 1..=BURST {
                crowd.publish(Priority::Normal, &everybody);
                // one after the other, so that nothing is merged: what a broadcast to everybody takes
                missing = crowd.wait_for(heard + number * CAPACITY_SESSIONS, Duration::from_secs(20));
            }
            let seconds = begun.elapsed().as_secs_f64();
            let rate = (all - missing) as f64 / seconds;
            let cost = (crowd::server_cpu() - cpu) * 1e6 / all as f64;
            if run > 0 {
                rates[index].push(rate);
                costs[index].push(cost);
                eprintln!(
                    "{}",
                    serde_json::json!({"bench": "capacity", "run": run, "threads": threads, "deliveries_per_second": rate.round(),
                        "cpu_us_per_delivery": rounded(cost), "missing": missing})
                );
            }
        }
    }
    let mut rows = Vec::new();
    for (index, threads) in COUNTS.into_iter().enumerate() {
        rows.push(row(&[
            &threads.to_string(),
            &spread(&rates[index]),
            &spread(&costs[index]),
        ]));
    }
    let chosen = fewest_of_the_best(&rates);
    bench
        .setting("capacity: sessions", CAPACITY_SESSIONS)
        .setting("capacity: rounds", RUNS)
        .figure(
            "capacity.rate",
            "deliveries of the fewest threads among the best",
            "/s",
            median(rates[chosen].clone()),
            Better::Higher,
        )
        .figure(
            "capacity.threads",
            "those threads",
            "",
            COUNTS[chosen] as f64,
            Better::Neither,
        )
        .table(Table {
            title: "One broadcast to all sessions after the other".into(),
            heading: row(&["threads", "deliveries a second", "µs of server CPU a delivery"]),
            rows,
        });
    let place = machine::machine();
    Capacity {
        deliveries_per_second: median(rates[chosen].clone()).round(),
        threads: COUNTS[chosen],
        machine: format!("{} cores, {}, {}", place.cores, place.processor, place.system),
        commit: machine::COMMIT.unwrap_or("not named").into(),
        measured_at: clock::rfc3339(clock::wall()),
    }
}

/// The fewest threads whose runs reach into those of the fastest: a difference within the runs' own spread is none.
fn fewest_of_the_best(rates: &[Vec<f64>]) -> usize {
    let median_of = |index: &usize| median(rates[*index].clone());
    let best = (0..rates.len()).max_by(|a, b| median_of(a).total_cmp(&median_of(b)));
    let slowest = best.map_or(0.0, |best| rates[best].iter().copied().fold(f64::INFINITY, f64::min));
    let reaches = |runs: &Vec<f64>| runs.iter().any(|rate| *rate >= slowest);
    rates.iter().position(reaches).unwrap_or(0)
}
