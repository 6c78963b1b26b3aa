//! A season over time, and its tables. Pure.

use super::calendar::DAY;
use super::curve::HOUR;
use super::incidents::Incident;
use super::model::WEEKDAYS;
use super::simulated::Simulated;
use crate::base::clock::{self, Millis};
use crate::lab::results::{Chart, Line, Table};

const QUARTER: Millis = HOUR / 4;
const WEEK_DAYS: usize = 7;
/// Decisions that are listed; the counts are of all.
const LISTED_MAX: usize = 30;
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

pub fn charts(simulated: &Simulated) -> Vec<Chart> {
    let days = simulated.by_day();
    let per_day = days
        .iter()
        .enumerate()
        .map(|(day, count)| (day as Millis * DAY, *count as f64));
    let week = simulated.busiest_week();
    let steps = || (week.0..week.1).step_by(QUARTER as usize);
    let since = |at: Millis| at - week.0;
    let connected = steps().map(|at| (since(at), simulated.curve.connected_at(at) as f64));
    let outlook = |at: Millis| {
        let last = simulated
            .outlooks
            .partition_point(|outlook| outlook.at <= at)
            .checked_sub(1);
        last.and_then(|last| simulated.outlooks.get(last))
    };
    let expected = steps().map(|at| (since(at), outlook(at).map_or(0.0, |outlook| outlook.connections)));
    let hours = (week.0..week.1).step_by(HOUR as usize).map(|at| {
        let hour = simulated.curve.hours.get(&at).copied().unwrap_or_default();
        (since(at), hour.deliveries as f64)
    });
    let mut all = vec![
        chart(
            "weddings",
            "Weddings of each day of the year",
            vec![line("weddings", per_day)],
        ),
        chart(
            "connections",
            "Connections in the busiest week",
            vec![line("connected", connected), line("expected by the forecast", expected)],
        ),
        chart(
            "deliveries",
            "Deliveries an hour in the busiest week",
            vec![line("deliveries", hours)],
        ),
    ];
    if let Some(scaled) = &simulated.scaled {
        let asked = steps().map(|at| (since(at), outlook(at).map_or(0.0, |outlook| outlook.threads as f64)));
        let threads = steps().map(|at| {
            let changes = &scaled.decided.changes;
            let last = changes.partition_point(|change| change.at <= at).checked_sub(1);
            let threads = last.and_then(|last| changes.get(last)).map(|change| change.threads);
            (since(at), threads.unwrap_or(scaled.decided.start) as f64)
        });
        all.push(chart(
            "threads",
            "Threads in the busiest week",
            vec![line("threads", threads), line("asked for by the forecast", asked)],
        ));
    }
    all.push(incidents(simulated));
    all
}

fn incidents(simulated: &Simulated) -> Chart {
    let weeks = simulated.calendar.days().div_ceil(WEEK_DAYS);
    let mut counts = [vec![0.0; weeks], vec![0.0; weeks]];
    for wedding in &simulated.weddings {
        for happened in &wedding.incidents {
            let week = wedding.day / WEEK_DAYS;
            counts[0][week] += 1.0;
            let words = happened.incident.words(simulated.season.all_clear);
            let is_critical = words
                .iter()
                .any(|word| word.priority == crate::model::Priority::Critical);
            counts[1][week] += f64::from(u8::from(is_critical));
        }
    }
    let named = ["all", "with a critical broadcast"].into_iter().zip(counts);
    let lines = named.map(|(name, counts)| {
        let points = counts.into_iter().enumerate();
        line(
            name,
            points.map(|(week, count)| ((week * WEEK_DAYS) as Millis * DAY, count)),
        )
    });
    chart("incidents", "Incidents of each week of the year", lines.collect())
}

fn chart(key: &str, title: &str, lines: Vec<Line>) -> Chart {
    Chart {
        key: key.to_owned(),
        title: title.to_owned(),
        unit: String::new(),
        lines,
    }
}

fn line(name: &str, points: impl Iterator<Item = (Millis, f64)>) -> Line {
    Line {
        name: name.to_owned(),
        points: points.map(|(at, value)| (at as f64 / 1_000.0, value)).collect(),
    }
}

pub fn tables(simulated: &Simulated) -> Vec<Table> {
    let (calendar, season) = (&simulated.calendar, &simulated.season);
    let of_day = |of: &dyn Fn(usize) -> usize, slots: usize| {
        let mut counts = vec![0; slots];
        simulated
            .weddings
            .iter()
            .for_each(|wedding| counts[of(wedding.day)] += 1);
        counts
    };
    let mut all = vec![
        shares(
            "Weddings by month",
            &MONTHS,
            &of_day(&|day| calendar.month(day), MONTHS.len()),
            &season.months,
        ),
        shares(
            "Weddings by weekday",
            &WEEKDAYS,
            &of_day(&|day| calendar.weekday(day), WEEKDAYS.len()),
            &season.weekdays,
        ),
        table("Incidents", ["incident", "weddings"], happened(simulated)),
    ];
    all.extend(decisions(simulated));
    let used = season.used.iter().map(|used| {
        vec![
            used.name.to_owned(),
            used.kind.to_string(),
            used.source.join(" "),
            used.pointer.clone(),
        ]
    });
    all.push(table(
        "Figures it was drawn from (data/seasons/figures.json)",
        ["figure", "kind", "sources", "place"],
        used.collect(),
    ));
    all
}

fn happened(simulated: &Simulated) -> Vec<Vec<String>> {
    let counts = simulated.by_incident();
    let row = |incident: Incident| {
        let count = counts.get(&incident).copied().unwrap_or_default();
        vec![incident.name().replace('_', " "), count.to_string()]
    };
    let kinds = simulated.season.incidents.iter().map(|(incident, _)| *incident);
    kinds.chain([Incident::Delay]).map(row).collect()
}

fn decisions(simulated: &Simulated) -> Vec<Table> {
    let Some(scaled) = &simulated.scaled else {
        return Vec::new();
    };
    let counts = scaled.decided.by_rule.iter();
    let (from, to) = simulated.busiest_week();
    let changes = scaled
        .decided
        .changes
        .iter()
        .filter(|change| (from..to).contains(&change.at));
    let listed = changes.take(LISTED_MAX).map(|change| {
        vec![
            clock::rfc3339(change.at).chars().take(19).collect(),
            format!("{} to {}", change.before, change.threads),
            change.rule.clone(),
            change.reason.clone(),
        ]
    });
    vec![
        table(
            "What scaling decided, by rule",
            ["rule", "changes"],
            counts
                .map(|(rule, count)| vec![rule.clone(), count.to_string()])
                .collect(),
        ),
        table(
            &format!("The first {LISTED_MAX} changes of the busiest week (UTC)"),
            ["at", "threads", "rule", "reason"],
            listed.collect(),
        ),
    ]
}

fn shares(title: &str, names: &[&str], counts: &[usize], expected: &[f64]) -> Table {
    let all: usize = counts.iter().sum();
    let rows = names.iter().zip(counts).zip(expected).map(|((name, count), expected)| {
        let share = *count as f64 / all.max(1) as f64;
        vec![
            (*name).to_owned(),
            count.to_string(),
            format!("{:.1} %", share * 100.0),
            format!("{:.1} %", expected * 100.0),
        ]
    });
    table(title, ["", "weddings", "share", "share by the figures"], rows.collect())
}

fn table<const N: usize>(title: &str, heading: [&str; N], rows: Vec<Vec<String>>) -> Table {
    Table {
        title: title.to_owned(),
        heading: heading.iter().map(|name| (*name).to_owned()).collect(),
        rows,
    }
}
