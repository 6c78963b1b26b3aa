//! Steps of load, with each number of threads and with self-scaling, in turn.

use crate::crowd::{self, Crowd, Group, Samples};
use crate::scaler::Scaler;
use crate::{median, rounded, row, spread};
use campanile::base::clock;
use campanile::config::Config;
use campanile::lab::results::bench::Bench;
use campanile::lab::results::{Better, Table, shown};
use campanile::model::Priority;
use campanile::scaling::Profile;
use std::time::Duration;

/// The standard scenario: 100 broadcasts a second, each to a group of 200 of 5,000.
pub const SESSIONS: usize = 5_000;
const GROUP: usize = 200;
const RATE: usize = 100;
const STEPS: [usize; 4] = [1, 3, 10, 1];
const STEP: Duration = Duration::from_secs(10);

/// What one run came to, and the most changes of direction within a step.
struct Run {
    steps: Vec<Step>,
    whole: Step,
    turns: usize,
}

pub struct Step {
    pub all_p95: f64,
    pub critical_p95: f64,
    pub cpu_us: f64,
    pub missing: usize,
}

/// `None` scales itself.
fn name(fixed: Option<usize>) -> String {
    fixed.map_or_else(|| "self".into(), |threads| threads.to_string())
}

pub fn replay(bench: &mut Bench, counts: &[usize], times: usize) {
    let profile = Config::default().scaling_profile().unwrap();
    let variants: Vec<Option<usize>> = counts.iter().copied().map(Some).chain([None]).collect();
    let mut runs: Vec<Vec<Run>> = variants.iter().map(|_| Vec::new()).collect();
    for number in 1..=times {
        for (index, fixed) in variants.iter().enumerate() {
            let run = replay_once(*fixed, &profile);
            let steps = STEPS.map(|factor| format!("{factor}x")).into_iter().zip(&run.steps);
            for (step, seen) in steps.chain([("whole".to_owned(), &run.whole)]) {
                eprintln!(
                    "{}",
                    serde_json::json!({"bench": "replay", "run": number, "threads": name(*fixed), "step": step,
                        "p95_ms": rounded(seen.all_p95), "critical_p95_ms": rounded(seen.critical_p95),
                        "cpu_us_per_delivery": rounded(seen.cpu_us), "missing": seen.missing})
                );
            }
            runs[index].push(run);
        }
    }
    bench
        .setting(
            "replay: threads",
            variants.iter().copied().map(name).collect::<Vec<_>>().join(", "),
        )
        .setting("replay: rounds", times)
        .setting("replay: sessions", SESSIONS)
        .setting("replay: recipients", GROUP)
        .setting("replay: broadcasts a second", RATE)
        .setting("replay: seconds a step", STEP.as_secs());
    let pairs = || variants.iter().zip(&runs);
    bench
        .table(Table {
            title: "95th percentile in ms of all / of critical / µs of server CPU a delivery, by step (medians)".into(),
            heading: row(&["threads", "1x", "3x", "10x", "1x again", "whole", "steps alike"]),
            rows: pairs().map(|(fixed, runs)| by_step(*fixed, runs)).collect(),
        })
        .table(Table {
            title: "The whole: medians with the lowest and the highest".into(),
            heading: row(&[
                "threads",
                "all, ms",
                "critical, ms",
                "missing",
                "most changes of direction in a step",
            ]),
            rows: pairs().map(|(fixed, runs)| whole(*fixed, runs)).collect(),
        });
    for (fixed, runs) in pairs() {
        let of = |what: fn(&Step) -> f64| median(runs.iter().map(|run| what(&run.whole)).collect());
        let (key, name) = (|what: &str| format!("threads_{}.{what}", name(*fixed)), name(*fixed));
        bench
            .figure(
                &key("all"),
                &format!("{name}: p95 of the whole"),
                "ms",
                of(|s| s.all_p95),
                Better::Lower,
            )
            .figure(
                &key("critical"),
                &format!("{name}: the same of critical"),
                "ms",
                of(|s| s.critical_p95),
                Better::Lower,
            );
    }
}

fn by_step(fixed: Option<usize>, runs: &[Run]) -> Vec<String> {
    let mut cells = vec![name(fixed)];
    cells.extend((0..=STEPS.len()).map(|step| medians(runs, step)));
    let (all, critical) = (alike(runs, |s| s.all_p95), alike(runs, |s| s.critical_p95));
    cells.push(format!("{} / {}", shown(all), shown(critical)));
    cells
}

fn whole(fixed: Option<usize>, runs: &[Run]) -> Vec<String> {
    let of = |what: fn(&Step) -> f64| runs.iter().map(|run| what(&run.whole)).collect::<Vec<_>>();
    let missing: usize = runs.iter().map(|run| run.whole.missing).sum();
    let turns = runs.iter().map(|run| run.turns).max().unwrap_or(0);
    row(&[
        &name(fixed),
        &spread(&of(|s| s.all_p95)),
        &spread(&of(|s| s.critical_p95)),
        &missing.to_string(),
        &turns.to_string(),
    ])
}

/// The geometric mean over the steps: the whole is counted by deliveries, of which two in three are of the step of 10x.
fn alike(runs: &[Run], what: fn(&Step) -> f64) -> f64 {
    let of_run = |run: &Run| {
        let logs = run.steps.iter().map(|step| what(step).max(f64::MIN_POSITIVE).ln());
        (logs.sum::<f64>() / run.steps.len() as f64).exp()
    };
    median(runs.iter().map(of_run).collect())
}

/// Of a step, or of the whole behind the last step.
fn medians(runs: &[Run], step: usize) -> String {
    let of = |what: fn(&Step) -> f64| {
        median(
            runs.iter()
                .map(|run| what(run.steps.get(step).unwrap_or(&run.whole)))
                .collect(),
        )
    };
    let (all, critical, cpu) = (of(|s| s.all_p95), of(|s| s.critical_p95), of(|s| s.cpu_us));
    format!("{all:.1} / {critical:.1} / {cpu:.1}")
}

fn replay_once(fixed: Option<usize>, profile: &Profile) -> Run {
    let start = fixed.unwrap_or_else(|| profile.start(campanile::workers::cores()));
    let crowd = Crowd::new(start, SESSIONS);
    let groups = groups();
    let mut scaler = Scaler::new(fixed.is_none().then(|| profile.clone()));
    let mut steps = Vec::new();
    let mut whole = Samples::default();
    let cpu = crowd::server_cpu();
    for factor in STEPS {
        let (step, samples) = step(&crowd, &groups, (factor, STEP), |crowd| scaler.look(crowd, 0));
        steps.push(step);
        scaler.begin();
        whole.all.extend(samples.all);
        whole.critical.extend(samples.critical);
    }
    let missing = steps.iter().map(|step| step.missing).sum();
    let count = whole.all.len().max(1);
    Run {
        whole: Step {
            all_p95: crowd::quantile(&mut whole.all, 0.95),
            critical_p95: crowd::quantile(&mut whole.critical, 0.95),
            cpu_us: (crowd::server_cpu() - cpu) * 1e6 / count as f64,
            missing,
        },
        steps,
        turns: scaler.turns_max,
    }
}

pub fn groups() -> Vec<Group> {
    let groups = 0..SESSIONS / GROUP;
    groups
        .map(|group| crowd::group(group * GROUP..(group + 1) * GROUP))
        .collect()
}

/// Broadcasts at their due times; critical 5, high 10, normal 65, low 20 of 100. `meanwhile` is called about every millisecond.
pub fn step(
    crowd: &Crowd,
    groups: &[Group],
    (factor, span): (usize, Duration),
    mut meanwhile: impl FnMut(&Crowd),
) -> (Step, Samples) {
    crowd.quiet();
    crowd.take_samples();
    let (cpu, begun, heard) = (crowd::server_cpu(), clock::now(), crowd.heard());
    let count = (RATE * factor) * span.as_millis() as usize / 1_000;
    for number in 0..count {
        let due = begun + span.mul_f64(number as f64 / count as f64);
        while clock::now() < due {
            meanwhile(crowd);
            let rest = due.saturating_duration_since(clock::now());
            std::thread::sleep(rest.min(Duration::from_millis(1)));
        }
        let priority = match number * 37 % 100 {
            0..5 => Priority::Critical,
            5..15 => Priority::High,
            15..80 => Priority::Normal,
            _ => Priority::Low,
        };
        crowd.publish(priority, &groups[number % groups.len()]);
        meanwhile(crowd);
    }
    let missing = crowd.wait_for(heard + count * GROUP, Duration::from_secs(10));
    let cpu_us = (crowd::server_cpu() - cpu) * 1e6 / (count * GROUP) as f64;
    let mut samples = crowd.take_samples();
    let step = Step {
        all_p95: crowd::quantile(&mut samples.all, 0.95),
        critical_p95: crowd::quantile(&mut samples.critical, 0.95),
        cpu_us,
        missing,
    };
    (step, samples)
}
