//! What a node says on `/metrics` is what the page of the docs lists, and the figures are true.

use super::harness::load::draft;
use super::harness::{Start, Subscriber, Transport, cluster, directory, until};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);

/// One row of `docs/METRICS.md`.
struct Listed {
    kind: String,
    labels: Vec<String>,
}

fn listed() -> BTreeMap<String, Listed> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/METRICS.md");
    let page = std::fs::read_to_string(path).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let labels = cells[3].split(", ").map(|label| label.trim_matches('`').to_owned());
        let listed = Listed {
            kind: cells[1].into(),
            labels: labels.filter(|label| !label.is_empty()).collect(),
        };
        (cells[0].trim_matches('`').to_owned(), listed)
    })
    .collect()
}

/// Names and types of a text.
fn told(text: &str) -> BTreeMap<String, String> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types
        .map(|line| {
            let (name, kind) = line.split_once(' ').unwrap();
            (name.to_owned(), kind.to_owned())
        })
        .collect()
}

/// The value of a series, written as it stands in the text.
fn value(text: &str, series: &str) -> Option<f64> {
    let mut lines = text.lines().filter_map(|line| line.rsplit_once(' '));
    lines
        .find(|(name, _)| *name == series)
        .map(|(_, value)| value.parse().unwrap())
}

#[test]
fn the_page_lists_what_nodes_say_and_the_figures_are_true() {
    let shared = cluster::beside(3);
    let cluster = &*shared.cluster;
    let users: Vec<String> = ["meter-ann", "meter-bob"].map(String::from).to_vec();
    let applied = directory::import_users(&mut cluster.client(0), &users);
    cluster.wait_applied(applied, SOON);
    let ann = Subscriber::start(&cluster.addresses(), 0, Transport::WebSocket, "meter-ann", Start::Now).ready();
    let published = cluster
        .client(1)
        .post("/v1/broadcasts", &draft("high", "counted", &users));
    let id = published.expect(201).json()["id"].as_str().unwrap().to_owned();
    ann.until("it comes", SOON, |seen| seen.has(&id));

    let listed = listed();
    assert!(listed.len() > 60, "{}", listed.len());
    let series = |name: &str| format!("campanile_{name}");
    for at in 0..3 {
        let text = until("the node has counted it", SOON, || {
            let text = cluster.client(at).get("/metrics").expect(200).text();
            let released = value(&text, &series("released_total{priority=\"high\"}"))?;
            (released >= 1.0).then_some(text)
        });
        let told = told(&text);
        for (name, kind) in &told {
            let known = listed.get(name).unwrap_or_else(|| panic!("{name} is not on the page"));
            assert_eq!(&known.kind, kind, "{name}");
        }
        // a series with labels appears with its first event; one by priority is there from the start
        let is_there_always = |listed: &Listed| listed.labels.is_empty();
        for (name, _) in listed.iter().filter(|(_, listed)| is_there_always(listed)) {
            assert!(
                told.contains_key(name),
                "{name} is on the page, and node {at} says nothing of it"
            );
        }
        for (name, expected) in [
            ("targeted_total{priority=\"high\"}", 2.0),
            ("users", 2.0),
            ("has_leader", 1.0),
            ("queue_recipients{priority=\"high\"}", 0.0),
            ("users_connected", 1.0),
        ] {
            until(&format!("node {at}: {name} is {expected}"), SOON, || {
                let text = cluster.client(at).get("/metrics").expect(200).text();
                (value(&text, &series(name)) == Some(expected)).then_some(())
            });
        }
        assert!(value(&text, &series("process_resident_memory_bytes")).unwrap() > 1e6);
        assert!(value(&text, &series("process_cpu_seconds_total")).unwrap() > 0.0);
        assert!(value(&text, &series("disk_free_bytes")).unwrap() > 0.0);
        assert!(value(&text, &series("log_sync_seconds_count")).unwrap() >= 1.0);
        assert!(value(&text, &series("apply_seconds_count")).unwrap() >= 1.0);
        assert!(!text.contains("meter-"), "nobody is named");
    }
    let leader = cluster.leader();
    let text = cluster.client(leader).get("/metrics").expect(200).text();
    assert_eq!(value(&text, &series("is_leader")), Some(1.0));
    assert!(value(&text, &series("commit_seconds_count")).unwrap() >= 1.0);
    let lags = text
        .lines()
        .filter(|line| line.starts_with("campanile_replication_lag_entries{"));
    assert_eq!(lags.count(), 3, "{text}");
    let first = cluster.client(0).get("/metrics").expect(200).text();
    assert_eq!(
        value(&first, &series("queue_seconds_count{priority=\"high\"}")),
        Some(1.0)
    );
    assert_eq!(value(&first, &series("sessions")), Some(1.0));
}
