//! A report for tests of what is made of one.

use super::{Better, Bound, Buckets, Build, Chart, Distribution, FORMAT, Line, Report, Table, Target, Verdict, figure};
use crate::lab::machine;
use serde_json::json;

/// All latencies times `factor`.
pub fn report(name: &str, factor: f64) -> Report {
    let micros = |value: f64| (value * factor) as u64;
    let target = |name: &str, bound, measured| Target {
        name: name.to_owned(),
        bound,
        unit: "ms".to_owned(),
        measured,
    };
    Report {
        format: FORMAT,
        kind: "load".into(),
        name: name.into(),
        about: "100 broadcasts a second <to> 25 groups".into(),
        at: "2026-11-26T12:00:00.000Z".into(),
        took_s: 75.0,
        command: format!("campanile load --scenario {name}"),
        seed: 1,
        settings: json!({"groups": 25}),
        machine: machine::machine(),
        commit: "abc".into(),
        build: Build::Release,
        clock: "one monotonic clock".into(),
        verdict: Verdict::Missed,
        headline: "nothing lost; 1 of 2 targets missed".into(),
        findings: vec!["user 3 never got number 7 (low)".into()],
        notes: vec!["a note".into()],
        targets: vec![
            target("mean", Bound::Below(1.5), Some(factor)),
            target("hit rate", Bound::Above(90.0), None),
        ],
        highlights: vec!["deliveries.missing".into(), "deliveries.rate".into()],
        figures: vec![
            figure("deliveries.missing", "missing", "", Some(0.0), Better::Lower),
            figure(
                "deliveries.rate",
                "deliveries",
                "/s",
                Some(20_000.0 / factor),
                Better::Higher,
            ),
            figure("server.cpu", "CPU", "s", None, Better::Lower),
        ],
        distributions: vec![Distribution {
            key: "latency.critical".into(),
            group: "accepted to read".into(),
            name: "critical".into(),
            buckets: Buckets(vec![
                (micros(1_000.0), 900),
                (micros(5_000.0), 90),
                (micros(20_000.0), 10),
            ]),
        }],
        charts: vec![Chart {
            key: "deliveries".into(),
            title: "Deliveries".into(),
            unit: "/s".into(),
            lines: vec![
                Line {
                    name: "delivered".into(),
                    points: (0..60)
                        .map(|second| (f64::from(second), 20_000.0 + f64::from(second % 7) * 300.0))
                        .collect(),
                },
                Line {
                    name: "waiting".into(),
                    points: Vec::new(),
                },
            ],
        }],
        tables: vec![Table {
            title: "Decisions".into(),
            heading: vec!["rule".into(), "threads".into()],
            rows: vec![vec!["busy & <hot>".into(), "1 to 2".into()]],
        }],
    }
}
