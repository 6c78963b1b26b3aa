//! Threads against load: what each number of threads does with everything it can get, what self-scaling makes of steps of load
//! beside fixed numbers, and whether the calendar has threads ready before a step. Prints a line of JSON for each run, then medians.
//! Nothing is asserted: figures are read.
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

use campanile::base::clock;
use campanile::lab::machine;
use campanile::model::Priority;
use campanile::scaling::Capacity;
use crowd::Crowd;
use std::time::Duration;

/// Numbers of threads: the prototype's and the origin's.
const COUNTS: [usize; 6] = [1, 2, 4, 8, 20, 50];
const RUNS: usize = 3;

/// Broadcasts to everybody in one run.
const BURST: usize = 40;
const CAPACITY_SESSIONS: usize = 2_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let only = |name: &str| {
        !["capacity", "replay", "calendar"]
            .iter()
            .any(|part| *part != name && arguments.iter().any(|a| a == part))
    };
    let write = arguments
        .iter()
        .position(|argument| argument == "--write")
        .map(|at| &arguments[at + 1]);
    if only("capacity") {
        let capacity = capacity();
        if let Some(path) = write {
            std::fs::write(path, serde_json::to_string_pretty(&capacity).unwrap()).unwrap();
        }
    }
    if only("replay") {
        let named: Vec<usize> = arguments.iter().filter_map(|argument| argument.parse().ok()).collect();
        if named.is_empty() {
            replay::replay(&COUNTS, RUNS);
        } else {
            replay::replay(&named, 1);
        }
    }
    if only("calendar") {
        calendar::calendar();
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// Broadcasts to everybody, each when all have read the one before; a number of threads after the other, three times.
fn capacity() -> Capacity {
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
                println!(
                    "{}",
                    serde_json::json!({"bench": "capacity", "run": run, "threads": threads, "deliveries_per_second": rate.round(),
                        "cpu_us_per_delivery": rounded(cost), "missing": missing})
                );
            }
        }
    }
    for (index, threads) in COUNTS.into_iter().enumerate() {
        let (rate, cost) = (median(rates[index].clone()), median(costs[index].clone()));
        println!("{threads:>2} threads: {rate:>8.0} deliveries a second, {cost:.2} us of CPU each (medians)");
    }
    let chosen = fewest_of_the_best(&rates);
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
