//! What only some scenarios have: everybody at once, all dropped, steps of publishers. Pure.

use super::run::Played;
use super::scenario::Scenario;
use crate::lab::results::{Better, Figure, Table, figure, millis, shown};

/// One critical to everybody.
pub struct Everybody {
    pub heard: usize,
    pub first_ms: f64,
    pub median_ms: f64,
    pub p99_ms: f64,
    pub last_ms: f64,
}

pub fn everybody(played: &Played) -> Vec<Everybody> {
    let times = played
        .finished
        .iter()
        .map(|finished| finished.everybody.len())
        .max()
        .unwrap_or(0);
    let one = |ordinal: usize| {
        let heard = played
            .finished
            .iter()
            .filter_map(|finished| finished.everybody.get(ordinal));
        let mut all: Vec<u64> = heard.flatten().copied().collect();
        all.sort_unstable();
        Some(Everybody {
            heard: all.len(),
            first_ms: millis(*all.first()?),
            median_ms: millis(at(&all, 0.5)),
            p99_ms: millis(at(&all, 0.99)),
            last_ms: millis(*all.last()?),
        })
    };
    (0..times).filter_map(one).collect()
}

/// The value that this share of all does not exceed; 0 of none.
fn at(sorted: &[u64], share: f64) -> u64 {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// From the moment at which all were dropped until they were back, in ms; as many as came back.
fn back(played: &Played) -> Vec<u64> {
    let mut all: Vec<u64> = played
        .finished
        .iter()
        .flat_map(|finished| &finished.back_ms)
        .copied()
        .collect();
    all.sort_unstable();
    all
}

pub fn figures(scenario: &Scenario, played: &Played) -> Vec<Figure> {
    let mut all = Vec::new();
    let each = everybody(played);
    if !each.is_empty() {
        let most = |of: fn(&Everybody) -> f64| each.iter().map(of).reduce(f64::max);
        all.extend([
            figure(
                "everybody.first",
                "to the first of all, slowest time",
                "ms",
                most(|one| one.first_ms),
                Better::Lower,
            ),
            figure(
                "everybody.median",
                "to half of them",
                "ms",
                most(|one| one.median_ms),
                Better::Lower,
            ),
            figure(
                "everybody.p99",
                "to 99 % of them",
                "ms",
                most(|one| one.p99_ms),
                Better::Lower,
            ),
            figure(
                "everybody.last",
                "to the last byte of the last one",
                "ms",
                most(|one| one.last_ms),
                Better::Lower,
            ),
        ]);
    }
    if scenario.reconnect.is_some() {
        let (back, wanted) = (back(played), scenario.subscribers() as usize);
        // The time at which so many of all were back; nobody knows it while fewer are.
        let until = |count: usize| back.get(count.saturating_sub(1)).map(|ms| *ms as f64 / 1_000.0);
        all.extend([
            figure(
                "reconnect.back",
                "came back",
                "",
                Some(back.len() as f64),
                Better::Neither,
            ),
            figure(
                "reconnect.most",
                "until 99 % were back",
                "s",
                until((wanted * 99).div_ceil(100)),
                Better::Lower,
            ),
            figure(
                "reconnect.all",
                "until all were back",
                "s",
                until(wanted),
                Better::Lower,
            ),
        ]);
    }
    all
}

pub fn tables(scenario: &Scenario, played: &Played) -> Vec<Table> {
    let mut all = Vec::new();
    let each = everybody(played);
    if !each.is_empty() {
        let row = |(number, one): (usize, &Everybody)| {
            let ms = |value: f64| format!("{value:.2}");
            vec![
                (number + 1).to_string(),
                one.heard.to_string(),
                ms(one.first_ms),
                ms(one.median_ms),
                ms(one.p99_ms),
                ms(one.last_ms),
            ]
        };
        all.push(Table {
            title: "A critical to everybody, ms from accepted to read".to_owned(),
            heading: ["", "heard by", "first", "median", "p99", "last"]
                .map(str::to_owned)
                .to_vec(),
            rows: each.iter().enumerate().map(row).collect(),
        });
    }
    if scenario.publish.is_some() {
        let row = |step: &super::run::Step| {
            let published = &step.published;
            let quantile = |quantile: f64| format!("{:.2}", millis(published.from_due.value_at_quantile(quantile)));
            let cpu = step
                .until
                .server_cpu
                .zip(step.from.server_cpu)
                .map(|(until, from)| until - from);
            let each = cpu.map_or_else(
                || "not measured".to_owned(),
                |cpu| shown(cpu * 1e6 / published.accepted.max(1) as f64),
            );
            vec![
                step.publishers.to_string(),
                published
                    .rate(step.measured_from)
                    .map_or_else(|| "not measured".to_owned(), shown),
                quantile(0.5),
                quantile(0.99),
                quantile(1.0),
                published
                    .errors_percent()
                    .map_or_else(|| "not measured".to_owned(), shown),
                each,
            ]
        };
        let heading = [
            "publishers",
            "accepted/s",
            "p50 ms",
            "p99 ms",
            "max ms",
            "errors %",
            "CPU of the nodes, µs each",
        ];
        all.push(Table {
            title: "Publishers at one time".to_owned(),
            heading: heading.map(str::to_owned).to_vec(),
            rows: played.steps.iter().map(row).collect(),
        });
    }
    if !played.decisions.is_empty() {
        let row = |decision: &super::watch::Decision| {
            vec![
                decision.node.to_string(),
                decision.from.clone(),
                decision.threads.clone(),
                decision.rule.clone(),
                decision.reason.clone(),
            ]
        };
        all.push(Table {
            title: "What scaling decided".to_owned(),
            heading: ["node", "from", "threads", "rule", "reason"]
                .map(str::to_owned)
                .to_vec(),
            rows: played.decisions.iter().map(row).collect(),
        });
    }
    all
}
