//! A season in numbers: what was drawn, what was decided, and what a replayed day was measured to do. Pure.

use super::foresight::median;
use super::replay::Replayed;
use super::score;
use super::simulated::{Scaled, Simulated};
use crate::base::clock::Millis;
use crate::lab::results::{Better, Figure, figure};
use crate::model::Priority;

const MINUTE: f64 = 60_000.0;
/// What is told as not measured when it was not; the rest of its section is left out then.
const OPEN: [&str; 9] = [
    "weddings.ratio_published",
    "forecast.lead_least",
    "scaling.decisions",
    "scaling.ready",
    "scaling.headroom",
    "replay.uptime",
    "replay.mean",
    "replay.score",
    "replay.missing",
];

/// In the order of their sections.
pub fn figures(simulated: &Simulated, replayed: Option<&Replayed>) -> Vec<Figure> {
    let mut all = drawn(simulated);
    all.extend(load(simulated));
    all.extend(foreseen(simulated));
    all.extend(scaled(simulated.scaled.as_ref()));
    all.extend(replay(simulated, replayed));
    all.retain(|figure| figure.value.is_some() || OPEN.contains(&figure.key.as_str()));
    all
}

fn counted(key: &str, name: &str, unit: &str, value: f64) -> Figure {
    figure(key, name, unit, Some(value), Better::Neither)
}

fn minutes(span: Option<Millis>) -> Option<f64> {
    span.map(|span| span as f64 / MINUTE)
}

fn drawn(simulated: &Simulated) -> Vec<Figure> {
    let count = simulated.weddings.len() as f64;
    let (_, most) = simulated.busiest_day();
    let mean = count / simulated.days_open().max(1) as f64;
    let (calendar, season) = (&simulated.calendar, &simulated.season);
    let is_whole = simulated.days_open() == calendar.days();
    let published = is_whole.then_some(season.busiest_over_mean);
    vec![
        counted("weddings.count", "weddings", "", count),
        counted("weddings.busiest", "on the busiest day", "", most as f64),
        figure(
            "weddings.ratio_drawn",
            "busiest day against the mean day",
            "x",
            (mean > 0.0).then(|| most as f64 / mean),
            Better::Neither,
        ),
        counted(
            "weddings.ratio_expected",
            "the same, as many seasons come to",
            "x",
            calendar.busiest_over_mean(),
        ),
        figure(
            "weddings.ratio_published",
            "the same, published (a whole year)",
            "x",
            published,
            Better::Neither,
        ),
        figure(
            "weddings.guests",
            "guests of a wedding, mean",
            "",
            simulated.guests_mean(),
            Better::Neither,
        ),
    ]
}

fn load(simulated: &Simulated) -> Vec<Figure> {
    let curve = &simulated.curve;
    let (_, hour) = curve.busiest_hour();
    let incidents: u64 = simulated.by_incident().values().sum();
    vec![
        counted("connections.peak", "connected at most", "", curve.peak().1 as f64),
        counted(
            "connections.back",
            "back within a minute after power cuts, at most",
            "",
            curve.back_most as f64,
        ),
        counted("broadcasts.count", "broadcasts", "", curve.broadcasts as f64),
        counted("broadcasts.critical", "critical ones", "", simulated.criticals() as f64),
        counted(
            "broadcasts.peak",
            "broadcasts in the busiest hour",
            "/h",
            hour.broadcasts as f64,
        ),
        counted(
            "deliveries.count",
            "to devices that are connected",
            "",
            curve.deliveries as f64,
        ),
        counted(
            "deliveries.later",
            "to devices that come back later",
            "",
            curve.later as f64,
        ),
        counted(
            "deliveries.peak_hour",
            "deliveries in the busiest hour",
            "/h",
            hour.deliveries as f64,
        ),
        counted(
            "deliveries.peak_look",
            "within the busiest look at the load",
            "",
            curve.busiest_look().1 as f64,
        ),
        counted("incidents.count", "incidents at weddings", "", incidents as f64),
    ]
}

fn foreseen(simulated: &Simulated) -> Vec<Figure> {
    let foresight = &simulated.foresight;
    vec![
        counted("forecast.days", "days with a wedding", "", foresight.days as f64),
        figure(
            "forecast.covered",
            "expected as many as came, before they came",
            "days",
            Some(foresight.covered as f64),
            Better::Higher,
        ),
        figure(
            "forecast.lead_least",
            "how much earlier, the least",
            "min",
            minutes(foresight.leads.first().copied()),
            Better::Higher,
        ),
        figure(
            "forecast.lead_median",
            "how much earlier, the median",
            "min",
            minutes(median(&foresight.leads)),
            Better::Higher,
        ),
        figure(
            "forecast.unforeseen",
            "connected at most while it expected nobody",
            "",
            Some(foresight.unforeseen as f64),
            Better::Lower,
        ),
    ]
}

fn scaled(scaled: Option<&Scaled>) -> Vec<Figure> {
    let of = |value: fn(&Scaled) -> Option<f64>| scaled.and_then(value);
    let one = |key: &str, name: &str, unit: &str, better: Better, value: fn(&Scaled) -> Option<f64>| {
        figure(&format!("scaling.{key}"), name, unit, of(value), better)
    };
    let (lower, higher, neither) = (Better::Lower, Better::Higher, Better::Neither);
    vec![
        one("decisions", "changes of the number of threads", "", neither, |scaled| {
            Some(scaled.decided.changes.len() as f64)
        }),
        one("turns", "changes of direction", "", lower, |scaled| {
            Some(scaled.decided.turns as f64)
        }),
        one(
            "turned_soonest",
            "the soonest after the change before",
            "min",
            higher,
            |scaled| minutes(scaled.decided.turned_soonest),
        ),
        one("threads_most", "threads at most", "", neither, |scaled| {
            Some(scaled.decided.threads_most() as f64)
        }),
        one(
            "looks",
            "looks that could have changed something",
            "",
            neither,
            |scaled| Some(scaled.decided.looks as f64),
        ),
        one("busy_most", "the threads' busiest look", "%", lower, |scaled| {
            Some(scaled.decided.busy_most * 100.0)
        }),
        one("late", "looks that left something waiting", "", lower, |scaled| {
            Some(scaled.decided.late as f64)
        }),
        one("days", "days with something to deliver", "", neither, |scaled| {
            Some(scaled.ready.days as f64)
        }),
        one(
            "ready",
            "had enough threads before their busiest look",
            "days",
            higher,
            |scaled| Some(scaled.ready.in_time as f64),
        ),
        one("ready_least", "for how long, the least", "min", higher, |scaled| {
            minutes(scaled.ready.leads.first().copied())
        }),
        one(
            "share",
            "the busiest look, of the capacity counted on",
            "%",
            lower,
            |scaled| Some(scaled.share * 100.0),
        ),
        one(
            "headroom",
            "capacity counted on, against the busiest look",
            "x",
            higher,
            |scaled| (scaled.share > 0.0).then(|| 1.0 / scaled.share),
        ),
        one("warnings", "weeks of which the forecast warns", "", lower, |scaled| {
            Some(scaled.warnings as f64)
        }),
    ]
}

fn replay(simulated: &Simulated, replayed: Option<&Replayed>) -> Vec<Figure> {
    let of = |value: &dyn Fn(&Replayed) -> Option<f64>| replayed.and_then(value);
    let one = |key: &str, name: &str, unit: &str, better: Better, value: &dyn Fn(&Replayed) -> Option<f64>| {
        figure(&format!("replay.{key}"), name, unit, of(value), better)
    };
    let (lower, higher, neither) = (Better::Lower, Better::Higher, Better::Neither);
    let deliveries = |replayed: &Replayed| replayed.report.judgement.deliveries;
    let weighted =
        |replayed: &Replayed| score::weighted(&simulated.season.score, &replayed.weighed(), &replayed.day()?);
    vec![
        one("people", "people with a device", "", neither, &|r| {
            Some(r.people as f64)
        }),
        one("broadcasts", "broadcasts", "", neither, &|r| Some(r.broadcasts as f64)),
        one("expected", "deliveries that had to be made", "", neither, &|r| {
            Some(deliveries(r).expected as f64)
        }),
        one("made", "deliveries made", "", neither, &|r| {
            Some(deliveries(r).made as f64)
        }),
        one("missing", "missing", "", lower, &|r| Some(deliveries(r).missing as f64)),
        one("wrong", "wrong", "", lower, &|r| Some(deliveries(r).wrong as f64)),
        one("repeated", "repeated", "", lower, &|r| {
            Some(deliveries(r).repeated as f64)
        }),
        one("probes", "probes", "", neither, &|r| {
            Some(r.report.uptime.as_ref()?.probes as f64)
        }),
        one("outages", "outages", "", lower, &|r| {
            Some(r.report.uptime.as_ref()?.outages as f64)
        }),
        one("uptime", "uptime", "%", higher, &|r| Some(r.day()?.uptime)),
        one("mean", "accepted to read, mean", "ms", lower, &Replayed::mean_ms),
        one("p99_critical", "accepted to read, critical, p99", "ms", lower, &|r| {
            r.p99_ms(Priority::Critical)
        }),
        one("gap", "longest wait for an answer to a publish", "ms", lower, &|r| {
            Some(r.report.publish_gap_max.as_secs_f64() * 1_000.0)
        }),
        one("score_origin", "score by the origin's formula", "", higher, &|r| {
            Some(score::origin(&r.day()?))
        }),
        one("score", "score (0 if anything was lost or wrong)", "", higher, &|r| {
            Some(score::ours(&r.day()?))
        }),
        one(
            "score_weighted",
            "score by weights, of what was measured",
            "",
            higher,
            &|r| Some(weighted(r)?.0),
        ),
        one(
            "score_weighed",
            "so much of the weights was measured",
            "%",
            neither,
            &|r| Some(weighted(r)?.1 * 100.0),
        ),
    ]
}
