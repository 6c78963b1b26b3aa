//! A run over time. Pure.

use super::figures::MIB;
use super::run::{Played, Second};
use super::watch::Sample;
use crate::lab::results::{Chart, Line};

pub fn charts(played: &Played) -> Vec<Chart> {
    let chart = |key: &str, title: &str, unit: &str, lines: Vec<Line>| Chart {
        key: key.to_owned(),
        title: title.to_owned(),
        unit: unit.to_owned(),
        lines,
    };
    let mut all = Vec::new();
    if !played.finished.is_empty() {
        let latency = |of: fn(&Second) -> Option<u64>| {
            played
                .seconds
                .iter()
                .filter_map(move |second| Some((second.at, of(second)? as f64 / 1_000.0)))
        };
        let connected = played
            .seconds
            .iter()
            .map(|second| (second.at, f64::from(second.connected)));
        all.extend([
            chart(
                "deliveries",
                "Deliveries",
                "/s",
                vec![line("delivered", rates(&played.seconds))],
            ),
            chart(
                "latency",
                "Latency over time, accepted to read",
                "ms",
                vec![
                    line("p50", latency(|second| second.p50_us).collect()),
                    line("p99", latency(|second| second.p99_us).collect()),
                ],
            ),
            chart(
                "connections",
                "Connections",
                "",
                vec![line("connected", connected.collect())],
            ),
        ]);
    }
    let accepted = played.steps.iter().map(|step| {
        let name = if played.steps.len() > 1 {
            format!("{} publishers", step.publishers)
        } else {
            "accepted".to_owned()
        };
        let points = step.published.per_second.iter().zip(0_u32..);
        line(
            &name,
            points
                .map(|(count, second)| (f64::from(second), *count as f64))
                .collect(),
        )
    });
    all.push(chart("accepted", "Broadcasts accepted", "/s", accepted.collect()));
    let waiting = played
        .samples
        .iter()
        .filter_map(|sample| Some((sample.at, sample.waiting? as f64)));
    all.push(chart(
        "waiting",
        "Waiting in the queues of all nodes",
        "",
        vec![line("waiting", waiting.collect())],
    ));
    all.push(chart(
        "threads",
        "Threads that write",
        "",
        by_node(&played.samples, |sample, node| {
            Some((*sample.threads.get(node)?)? as f64)
        }),
    ));
    all.push(chart("cores", "Cores in use", "", cores(&played.samples)));
    let mib = |bytes: Option<&Option<u64>>| Some((*bytes?)? as f64 / MIB);
    all.push(chart(
        "memory",
        "Memory",
        "MiB",
        by_node(&played.samples, |sample, node| mib(sample.resident.get(node))),
    ));
    all.push(chart(
        "disk",
        "Disk",
        "MiB",
        by_node(&played.samples, |sample, node| mib(sample.disk.get(node))),
    ));
    all
}

fn line(name: &str, points: Vec<(f64, f64)>) -> Line {
    Line {
        name: name.to_owned(),
        points,
    }
}

/// Differences of a count, over the time between.
fn rates(seconds: &[Second]) -> Vec<(f64, f64)> {
    let pairs = seconds.iter().zip(seconds.iter().skip(1));
    let rate = |(before, now): (&Second, &Second)| {
        let over = now.at - before.at;
        (over > 0.0).then(|| (now.at, now.delivered.saturating_sub(before.delivered) as f64 / over))
    };
    pairs.filter_map(rate).collect()
}

fn by_node(samples: &[Sample], of: impl Fn(&Sample, usize) -> Option<f64>) -> Vec<Line> {
    let nodes = samples
        .iter()
        .map(|sample| sample.threads.len().max(sample.cpu_seconds.len()))
        .max()
        .unwrap_or(0);
    let one = |node: usize| {
        let points = samples.iter().filter_map(|sample| Some((sample.at, of(sample, node)?)));
        line(&format!("node {}", node + 1), points.collect())
    };
    (0..nodes).map(one).collect()
}

fn cores(samples: &[Sample]) -> Vec<Line> {
    let mut lines = by_node(samples, |sample, node| *sample.cpu_seconds.get(node)?);
    for line in &mut lines {
        let pairs = line.points.iter().zip(line.points.iter().skip(1));
        line.points = pairs
            .filter(|(before, now)| now.0 > before.0)
            .map(|(before, now)| (now.0, (now.1 - before.1) / (now.0 - before.0)))
            .collect();
    }
    lines
}
