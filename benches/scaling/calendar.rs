//! Whether the calendar has threads ready before the load is there: an hour of the calendar passes in a second, the wedding of all
//! sessions begins in four, and its load begins with it. Once with the calendar and once without, three times.

use crate::crowd::Crowd;
use crate::replay::{SESSIONS, groups, step};
use crate::scaler::Scaler;
use crate::{RUNS, median, rounded, row, spread};
use campanile::base::clock;
use campanile::config::Config;
use campanile::lab::results::bench::Bench;
use campanile::lab::results::{Better, Table};
use campanile::scaling::{Capacity, Expected, Profile, forecast};
use std::time::Duration;

const HOUR: i64 = 3_600_000;
const STARTS_AT: i64 = 4 * HOUR;
/// Times the standard scenario.
const FACTOR: usize = 3;
/// The first moments of the load are what preparing is for.
const SPAN: Duration = Duration::from_secs(1);

pub fn calendar(bench: &mut Bench) {
    let profile = Config::default().scaling_profile().unwrap();
    let mut late = [Vec::new(), Vec::new()];
    let mut ready = Vec::new();
    for run in 1..=RUNS {
        for (index, guests) in [0, SESSIONS as u64].into_iter().enumerate() {
            let seen = once(&profile, guests);
            eprintln!(
                "{}",
                serde_json::json!({"bench": "calendar", "run": run, "with_calendar": guests > 0, "threads_before": seen.before,
                    "threads_at_start": seen.at_start, "ready_hours_before": seen.ready.map(rounded), "p95_ms": rounded(seen.p95)})
            );
            late[index].push(seen.p95);
            ready.extend(seen.ready.filter(|_| guests > 0));
        }
    }
    let rows = ["without", "with it"].iter().zip(&late);
    let rows = rows.map(|(calendar, late)| row(&[calendar, &spread(late)])).collect();
    let in_time = ready.len() as f64;
    let [without, with] = late.map(median);
    bench
        .setting("calendar: rounds", RUNS)
        .figure(
            "calendar.without",
            "95th percentile of the load's first second without it",
            "ms",
            without,
            Better::Lower,
        )
        .figure("calendar.with", "the same with the calendar", "ms", with, Better::Lower)
        .figure(
            "calendar.in_time",
            "rounds in which a thread was there before the wedding",
            "",
            in_time,
            Better::Higher,
        )
        .figure(
            "calendar.ready",
            "hours before the wedding that it was there",
            "h",
            median(ready),
            Better::Neither,
        )
        .table(Table {
            title: "The load's first second by the calendar".into(),
            heading: row(&["calendar", "95th percentile in ms"]),
            rows,
        });
}

struct Seen {
    before: usize,
    at_start: usize,
    /// Hours of the calendar between the change and the wedding; `None`: there was no change before it.
    ready: Option<f64>,
    p95: f64,
}

fn once(profile: &Profile, guests: u64) -> Seen {
    let weddings = [Expected {
        starts_at: STARTS_AT,
        ends_at: STARTS_AT + 8 * HOUR,
        team: 0,
        guests,
    }];
    // half of what is expected, for a thread: the calendar must ask for two of them
    let capacity = Capacity {
        deliveries_per_second: SESSIONS as f64 / profile.forecast.headroom / 2.0,
        threads: 1,
        machine: "stated by this bench".into(),
        commit: "none".into(),
        measured_at: "never".into(),
    };
    let crowd = Crowd::new(1, SESSIONS);
    let mut scaler = Scaler::new(Some(profile.clone()));
    let begun = clock::now();
    let hours = || begun.elapsed().as_millis() as i64 * HOUR / 1_000;
    let expected =
        |at: i64| forecast::forecast(&weddings, &profile.forecast, Some(&capacity), (at, at + HOUR), 1).threads;
    let before = crowd.gateway.threads();
    let mut ready = None;
    while hours() < STARTS_AT {
        scaler.look(&crowd, expected(hours()));
        if ready.is_none() && crowd.gateway.threads() > before {
            ready = Some((STARTS_AT - hours()) as f64 / HOUR as f64);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let at_start = crowd.gateway.threads();
    let (seen, _) = step(&crowd, &groups(), (FACTOR, SPAN), |crowd| {
        scaler.look(crowd, expected(hours()));
    });
    Seen {
        before,
        at_start,
        ready,
        p95: seen.all_p95,
    }
}
