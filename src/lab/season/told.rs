//! A season as a report. What was drawn and decided is simulated and says so; what a replayed day came to was measured. Pure.

use super::Options;
use super::replay::Replayed;
use super::score;
use super::simulated::Simulated;
use crate::lab::machine;
use crate::lab::results::{Bound, Build, Distribution, FORMAT, Outcome, Report, Target, Verdict, shown};
use crate::scaling::Capacity;
use serde_json::json;

/// A day is passed with so many points and so much of its time up, at least.
const SCORE_MIN: f64 = 85.0;
const UPTIME_MIN: f64 = 99.5;
/// With fewer weddings than this on a mean day, chance makes the busiest one.
const FEW_A_DAY: usize = 30;
/// A bound that is to be reached is written as one to be above by a hair.
const HAIR: f64 = 1e-9;

pub struct Frame {
    pub at: String,
    pub took_s: f64,
}

pub fn report(
    options: &Options,
    simulated: &Simulated,
    capacity: Option<&Capacity>,
    replayed: Option<&Replayed>,
    frame: Frame,
) -> Report {
    let targets = targets(replayed);
    let findings: Vec<String> = replayed
        .iter()
        .flat_map(|replayed| replayed.report.findings())
        .cloned()
        .collect();
    let is_bad = replayed.is_some_and(|replayed| !replayed.report.is_good());
    let verdict = if is_bad {
        Verdict::Bad
    } else if targets.iter().any(|target| target.outcome() == Outcome::Missed) {
        Verdict::Missed
    } else {
        Verdict::Good
    };
    let (day, most) = simulated.busiest_day();
    Report {
        format: FORMAT,
        kind: "season".to_owned(),
        name: simulated.season.name.to_owned(),
        about: simulated.season.about.clone(),
        at: frame.at,
        took_s: (frame.took_s * 10.0).round() / 10.0,
        command: options.command.clone(),
        seed: options.seed,
        settings: settings(options, simulated, capacity),
        machine: machine::machine(),
        commit: machine::COMMIT.unwrap_or_default().to_owned(),
        build: Build::own(),
        clock: "the season's times are virtual; a replayed day is timed on the monotonic clock of this process, as in a rehearsal"
            .to_owned(),
        verdict,
        headline: headline(simulated, replayed, (&simulated.calendar.date(day), most)),
        findings,
        notes: notes(options, simulated, capacity, replayed),
        targets,
        highlights: highlights(replayed),
        figures: super::figured::figures(simulated, replayed),
        distributions: distributions(replayed),
        charts: super::plots::charts(simulated),
        tables: super::plots::tables(simulated),
    }
}

fn settings(options: &Options, simulated: &Simulated, capacity: Option<&Capacity>) -> serde_json::Value {
    json!({
        "weddings": options.weddings,
        "traffic": options.traffic,
        "months": options.months,
        "profile": simulated.season.name,
        "scaling_profile": simulated.season.scaling,
        "year": simulated.season.year,
        "capacity": capacity,
        "replay": options.replay,
        "replay_scale": options.replay_scale,
        "replay_speed": options.replay_speed,
        "figures": simulated.season.used,
    })
}

fn headline(simulated: &Simulated, replayed: Option<&Replayed>, (date, most): (&str, usize)) -> String {
    let season = format!(
        "{} weddings, {most} of them on {date}; {} connected at most",
        shown(simulated.weddings.len() as f64),
        shown(simulated.curve.peak().1 as f64)
    );
    let Some(replayed) = replayed else {
        return format!("{season}; uptime, latency and score not measured (--replay busiest)");
    };
    let deliveries = replayed.report.judgement.deliveries;
    let words = replayed.day().map_or_else(
        || "nothing to score".to_owned(),
        |day| {
            let points = score::ours(&day);
            format!("score {} ({})", shown(points), score::grade(points))
        },
    );
    format!(
        "{season}; {} replayed: {} of {} deliveries, {} missing, {} wrong, {words}",
        replayed.date, deliveries.made, deliveries.expected, deliveries.missing, deliveries.wrong
    )
}

fn targets(replayed: Option<&Replayed>) -> Vec<Target> {
    let day = replayed.and_then(Replayed::day);
    let target = |name: &str, least: f64, unit: &str, measured: Option<f64>| Target {
        name: name.to_owned(),
        bound: Bound::Above(least - HAIR),
        unit: unit.to_owned(),
        measured,
    };
    vec![
        target(
            "score of the replayed day",
            SCORE_MIN,
            "",
            day.map(|day| score::ours(&day)),
        ),
        target("uptime in the replayed day", UPTIME_MIN, "%", day.map(|day| day.uptime)),
    ]
}

fn highlights(replayed: Option<&Replayed>) -> Vec<String> {
    let keys: &[&str] = if replayed.is_some() {
        &[
            "replay.score",
            "replay.uptime",
            "replay.mean",
            "replay.missing",
            "connections.peak",
            "deliveries.peak_hour",
        ]
    } else {
        &[
            "weddings.ratio_drawn",
            "weddings.ratio_published",
            "connections.peak",
            "deliveries.peak_hour",
            "forecast.covered",
            "scaling.headroom",
        ]
    };
    keys.iter().map(|key| (*key).to_owned()).collect()
}

fn distributions(replayed: Option<&Replayed>) -> Vec<Distribution> {
    let latency = replayed.map(Replayed::latency).unwrap_or_default();
    let of = |(priority, buckets): (crate::model::Priority, _)| Distribution {
        key: format!("replay.{}", priority.name()),
        group: "accepted to read, in the replayed day".to_owned(),
        name: priority.name().to_owned(),
        buckets,
    };
    latency.into_iter().map(of).collect()
}

fn notes(
    options: &Options,
    simulated: &Simulated,
    capacity: Option<&Capacity>,
    replayed: Option<&Replayed>,
) -> Vec<String> {
    let year = simulated.season.year;
    let mut notes = vec![format!(
        "Drawn, not measured: weddings, broadcasts, incidents and connections come from figures with their kinds and sources, on the \
         calendar of {year}. Incidents come on top of a day's broadcasts."
    )];
    let days = simulated.days_open();
    if simulated.weddings.len() < FEW_A_DAY * days {
        notes.push(format!(
            "With fewer than {FEW_A_DAY} weddings a day the busiest day is mostly luck: what was drawn says little about a ratio."
        ));
    }
    notes.push(match capacity {
        Some(capacity) => format!(
            "Scaling and forecast are the real ones, in virtual time, on one node that serves everybody. It can deliver {} a second \
             with {} threads, measured at {} on {}. Cores that are free or crowded are unknown in virtual time; rules that ask for them \
             do not act.",
            shown(capacity.deliveries_per_second),
            capacity.threads,
            capacity.measured_at,
            capacity.machine
        ),
        None => "Scaling is not decided: this machine was not measured. `cargo bench --bench scaling -- capacity --write capacity.json` \
                 measures it, and --capacity capacity.json names the file."
            .to_owned(),
    });
    match replayed {
        Some(replayed) => notes.push(format!(
            "{} was played with {} of its people, its pauses {} times shorter and its power cuts as reconnects of everybody; rate caps \
             were off. Uptime is the share of publishes to nobody, one a second, that a node took within a second. In a score an \
             incident is a time without any: what goes wrong at a wedding is no fault of the server. What a device reads before the \
             publisher has its answer counts as 0 ms.",
            replayed.date,
            if replayed.scale < 1.0 { shown(replayed.scale) } else { "all".to_owned() },
            shown(options.replay_speed)
        )),
        None => notes.push("Uptime, latency and score need a replay; without one they are not measured.".to_owned()),
    }
    notes
}
