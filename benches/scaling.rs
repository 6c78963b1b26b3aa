//! Threads against load: what each number of threads does with everything it can get, and what self-scaling makes of steps of
//! load beside fixed numbers. Prints a line of JSON for each run, then medians. Nothing is asserted: figures are read.
//!
//! `cargo bench --bench scaling` runs both parts; `-- capacity` and `-- replay` run one. With `--write PATH` the first part writes
//! what this machine can do to a file that `scaling.capacity` names.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods)] // its threads are its own
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a bench that cannot run says so

#[path = "scaling/crowd.rs"]
mod crowd;

use campanile::base::clock;
use campanile::config::Config;
use campanile::control::meter::Meter;
use campanile::lab::machine;
use campanile::model::Priority;
use campanile::scaling::{Capacity, History, Moment, Profile, decide};
use crowd::{Crowd, Samples};
use std::time::Duration;

/// Numbers of threads: the prototype's and the origin's.
const COUNTS: [usize; 6] = [1, 2, 4, 8, 20, 50];
const RUNS: usize = 3;

/// Broadcasts to everybody in one run.
const BURST: usize = 40;
const CAPACITY_SESSIONS: usize = 2_000;

/// The standard scenario: 100 broadcasts a second, each to a group of 200 of 5,000.
const SESSIONS: usize = 5_000;
const GROUP: usize = 200;
const RATE: usize = 100;
const STEPS: [usize; 4] = [1, 3, 10, 1];
const STEP: Duration = Duration::from_secs(4);
/// Of self-scaling, in this bench: shorter than a node's, so that a step has many.
const LOOK: Duration = Duration::from_millis(250);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let only = |name: &str| {
        !["capacity", "replay"]
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
        replay();
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

/// What one run of the replay came to: of each step the samples, the CPU time and the threads at its end.
struct Run {
    steps: Vec<Step>,
    /// Changes of direction within a step, at most.
    turns: usize,
}

struct Step {
    all_p95: f64,
    critical_p95: f64,
    cpu_us: f64,
    threads: usize,
    missing: usize,
}

fn replay() {
    let profile = Config::default().scaling_profile().unwrap();
    let variants: Vec<Option<usize>> = COUNTS.into_iter().map(Some).chain([None]).collect();
    let mut runs: Vec<Vec<Run>> = variants.iter().map(|_| Vec::new()).collect();
    for number in 1..=RUNS {
        for (index, fixed) in variants.iter().enumerate() {
            let run = replay_once(*fixed, &profile);
            for (step, factor) in run.steps.iter().zip(STEPS) {
                println!(
                    "{}",
                    serde_json::json!({"bench": "replay", "run": number, "threads": name(*fixed), "step": format!("{factor}x"),
                        "p95_ms": rounded(step.all_p95), "critical_p95_ms": rounded(step.critical_p95),
                        "cpu_us_per_delivery": rounded(step.cpu_us), "threads_at_end": step.threads, "missing": step.missing})
                );
            }
            runs[index].push(run);
        }
    }
    println!("medians of {RUNS} runs: p95 ms / p95 ms of critical / CPU us a delivery, by step {STEPS:?}");
    for (index, fixed) in variants.iter().enumerate() {
        let of = |step: usize, what: fn(&Step) -> f64| {
            median(runs[index].iter().map(|run| what(&run.steps[step])).collect())
        };
        let shown: Vec<String> = (0..STEPS.len())
            .map(|step| {
                format!(
                    "{:.1} / {:.1} / {:.2}",
                    of(step, |s| s.all_p95),
                    of(step, |s| s.critical_p95),
                    of(step, |s| s.cpu_us)
                )
            })
            .collect();
        let turns = runs[index].iter().map(|run| run.turns).max().unwrap_or(0);
        println!(
            "{:>6}: {}; changes of direction in a step: {turns}",
            name(*fixed),
            shown.join("; ")
        );
    }
}

fn name(fixed: Option<usize>) -> String {
    fixed.map_or_else(|| "self".into(), |threads| threads.to_string())
}

fn replay_once(fixed: Option<usize>, profile: &Profile) -> Run {
    let cores = campanile::workers::cores();
    let crowd = Crowd::new(fixed.unwrap_or_else(|| profile.start(cores)), SESSIONS);
    let groups: Vec<_> = (0..SESSIONS / GROUP)
        .map(|group| crowd::group(group * GROUP..(group + 1) * GROUP))
        .collect();
    let mut scaler = Scaler::new(fixed, cores);
    let mut steps = Vec::new();
    for factor in STEPS {
        steps.push(step(&crowd, &groups, factor, &mut scaler, profile));
    }
    Run {
        steps,
        turns: scaler.turns_max,
    }
}

/// Broadcasts at their due times; critical 5, high 10, normal 65, low 20 of 100.
fn step(crowd: &Crowd, groups: &[crowd::Group], factor: usize, scaler: &mut Scaler, profile: &Profile) -> Step {
    crowd.quiet();
    crowd.take_samples();
    let (cpu, begun, heard) = (crowd::server_cpu(), clock::now(), crowd.heard());
    let count = RATE * factor * STEP.as_secs() as usize;
    let mut look_at = begun;
    scaler.begin();
    for number in 0..count {
        let due = begun + STEP.mul_f64(number as f64 / count as f64);
        while clock::now() < due {
            if clock::now() >= look_at {
                look_at += LOOK;
                scaler.look(crowd, profile);
            }
            std::thread::sleep(
                due.saturating_duration_since(clock::now())
                    .min(Duration::from_millis(1)),
            );
        }
        let priority = match number * 37 % 100 {
            0..5 => Priority::Critical,
            5..15 => Priority::High,
            15..80 => Priority::Normal,
            _ => Priority::Low,
        };
        crowd.publish(priority, &groups[number % groups.len()]);
    }
    let missing = crowd.wait_for(heard + count * GROUP, Duration::from_secs(10));
    let cpu_us = (crowd::server_cpu() - cpu) * 1e6 / (count * GROUP) as f64;
    let Samples { mut all, mut critical } = crowd.take_samples();
    Step {
        all_p95: crowd::quantile(&mut all, 0.95),
        critical_p95: crowd::quantile(&mut critical, 0.95),
        cpu_us,
        threads: crowd.gateway.threads(),
        missing,
    }
}

/// The loop of `control::autoscaler` without a node: the same decisions, done at once.
struct Scaler {
    fixed: Option<usize>,
    cores: usize,
    meter: Meter,
    history: History,
    started: std::time::Instant,
    directions: Vec<bool>,
    turns_max: usize,
}

impl Scaler {
    fn new(fixed: Option<usize>, cores: usize) -> Self {
        Self {
            fixed,
            cores,
            meter: Meter::default(),
            history: History::default(),
            started: clock::now(),
            directions: Vec::new(),
            turns_max: 0,
        }
    }

    fn begin(&mut self) {
        self.directions.clear();
    }

    fn look(&mut self, crowd: &Crowd, profile: &Profile) {
        let load = self.meter.read(&crowd.gateway);
        if self.fixed.is_some() {
            return;
        }
        let threads = crowd.gateway.threads();
        let moment = Moment {
            now: self.started.elapsed().as_millis() as u64,
            cores: self.cores,
            threads,
            is_season: true,
            is_weekend: false,
            forecast: 0,
        };
        self.history.see(profile, &load, &moment);
        let decision = decide(profile, &load, &self.history, &moment);
        self.history.keep(&decision, &moment);
        if decision.threads != threads {
            crowd.gateway.resize(decision.threads).unwrap();
            self.directions.push(decision.threads > threads);
            let turns = self.directions.windows(2).filter(|pair| pair[0] != pair[1]).count();
            self.turns_max = self.turns_max.max(turns);
            println!(
                "self: {threads} to {} threads by {} ({})",
                decision.threads, decision.rule, decision.reason
            );
        }
    }
}
