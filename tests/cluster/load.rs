//! `campanile load`: a short run of each scenario through the real binary, and one through a server that loses, repeats and misleads:
//! a count that cannot find anything proves nothing.

use super::harness::tamper::{self, Fault};
use super::harness::{Cluster, cluster};
use serde_json::Value;
use std::path::Path;

/// Two seconds of it, in small.
const SMALL: &str = "
about = 'small'
broadcasts_per_second = 40
groups = 3
recipients = 8
length = '1500ms'
warm_up = '300ms'
ramp = '100ms'
message_bytes = 60
publishers = 4
cache_reads = 1
[mix]
critical = 10
high = 20
normal = 40
low = 30
[targets]
critical_max_ms = 60000
hit_rate_percent = 1
";

struct Ran {
    code: Option<i32>,
    report: Value,
    folder: tempfile::TempDir,
}

impl Ran {
    fn value(&self, key: &str) -> f64 {
        let value = &self.report["values"][key];
        value
            .as_f64()
            .unwrap_or_else(|| panic!("{key} is {value}: {:?}", self.report["values"]))
    }

    /// A whole number.
    fn count(&self, key: &str) -> u64 {
        self.value(key).round() as u64
    }

    /// Everything that was to come came, and nothing else.
    fn assert_whole(&self) {
        let findings = &self.report["findings"];
        assert_eq!(
            (self.code, findings.as_array().map(Vec::len)),
            (Some(0), Some(0)),
            "{findings}"
        );
        let (expected, made) = (self.count("deliveries.expected"), self.count("deliveries.made"));
        assert!(expected > 0 && made == expected, "{made} of {expected}");
    }
}

/// Plays a scenario of the test's own; with nodes of its own, or at these.
fn run(scenario: &str, nodes: Option<String>, words: &[&str]) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("small.toml");
    std::fs::write(&file, scenario).unwrap();
    let mut command = cluster::binary();
    command.args(["load", "--json", "--scenario"]).arg(&file);
    command.arg("--out").arg(folder.path().join("out")).args(words);
    command.args(nodes.iter().flat_map(|url| ["--url", url]));
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let report = serde_json::from_str(&said);
    let report = report.unwrap_or_else(|error| panic!("{error}: {said} {}", String::from_utf8_lossy(&output.stderr)));
    Ran {
        code: output.status.code(),
        report,
        folder,
    }
}

fn urls(cluster: &Cluster) -> String {
    let each: Vec<String> = cluster
        .addresses()
        .iter()
        .map(|address| format!("http://{address}"))
        .collect();
    each.join(",")
}

#[test]
fn a_load_on_nodes_of_its_own_accounts_for_all_and_keeps_its_report() {
    let ran = run(SMALL, None, &["--receipts", "--set", "retry.first=1m"]);
    ran.assert_whole();
    assert!(ran.value("server.cpu_per_million") > 0.0 && ran.value("server.hit_rate") > 50.0);
    assert_eq!(ran.report["outcomes"]["slowest critical"], "passed");
    assert!(ran.value("latency.all.p50") <= ran.value("latency.all.max"));
    let out = ran.folder.path().join("out");
    let kept = |name: &str| std::fs::read_to_string(out.join(name)).unwrap();
    let again: Value = serde_json::from_str(&kept("report.json")).unwrap();
    assert!(again == ran.report && kept("index.html").contains("<svg") && kept("latency.csv").lines().count() > 10);
    compared(&out);
}

#[test]
fn a_load_with_tls_accounts_for_all() {
    run(SMALL, None, &["--receipts", "--tls", "--set", "retry.first=1m"]).assert_whole();
}

/// A report beside itself.
fn compared(out: &Path) {
    let page = out.join("compared.html");
    let output = cluster::binary()
        .args(["report", "--json"])
        .args([out, out])
        .arg("--out")
        .arg(&page)
        .output()
        .unwrap();
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(
        told["rows"]
            .as_array()
            .unwrap()
            .iter()
            .all(|row| row["change"] != "worse" && row["change"] != "better"),
        "{told}"
    );
    assert!(std::fs::read_to_string(page).unwrap().contains("<svg"));
}

#[test]
fn an_emergency_reaches_everybody_while_the_load_runs() {
    let shared = cluster::shared();
    let scenario = SMALL.replace("message_bytes", "bystanders = 20\nmessage_bytes")
        + "everybody_ms = 60000\n[emergency]\ntimes = 2\n";
    let ran = run(&scenario, Some(urls(&shared.cluster)), &[]);
    ran.assert_whole();
    let table = &ran.report["tables"][0]["rows"];
    assert_eq!(
        (table.as_array().unwrap().len(), &table[0][1], &table[1][1]),
        (2, &"44".into(), &"44".into())
    );
    assert_eq!(ran.report["outcomes"]["critical to everybody, last byte"], "passed");
    assert!(ran.value("everybody.first") <= ran.value("everybody.last"));
}

#[test]
fn all_who_were_dropped_come_back_and_miss_nothing() {
    let shared = cluster::shared();
    let scenario =
        SMALL.to_owned() + "[transports]\nwebsocket = 50\nsse = 50\n[reconnect]\nat_percent = 30\nspread = '700ms'\n";
    let ran = run(&scenario, Some(urls(&shared.cluster)), &[]);
    ran.assert_whole();
    assert_eq!(
        (ran.value("reconnect.back"), ran.value("connections.gaps")),
        (24.0, 0.0)
    );
    assert!(ran.value("reconnect.most") <= ran.value("reconnect.all"));
}

#[test]
fn a_closed_loop_takes_as_many_as_there_are_publishers() {
    let shared = cluster::shared();
    let scenario = SMALL.replace("broadcasts_per_second = 40\n", "") + "[publish]\nsteps = [1, 4]\n";
    let ran = run(&scenario, Some(urls(&shared.cluster)), &["--for", "600ms"]);
    assert_eq!(ran.code, Some(0), "{}", ran.report["findings"]);
    let steps = ran.report["tables"][0]["rows"].as_array().unwrap();
    assert_eq!((steps.len(), &steps[1][0]), (2, &"4".into()));
    assert!(ran.value("publish.per_second") > 1.0 && ran.value("publish_4.due.p50") > 0.0);
    assert_eq!(
        ran.report["outcomes"].get("slowest critical"),
        Some(&"not measured".into())
    );
}

#[test]
fn what_is_lost_repeated_or_misled_is_found() {
    let shared = cluster::shared();
    // user 0 of group 0 loses a broadcast that user 8 of group 1 gets instead
    let faults = &[("p0-0", Fault::Lose), ("p0-1", Fault::Repeat), ("p0-8", Fault::Mislead)];
    let node = tamper::before(shared.cluster.addresses()[0], faults);
    let scenario = SMALL.to_owned() + "[transports]\nwebsocket = 100\nsse = 0\n";
    let ran = run(&scenario, Some(format!("http://{node}")), &[]);
    assert_eq!(ran.code, Some(1), "{}", ran.report["headline"]);
    for key in ["deliveries.missing", "deliveries.repeated", "deliveries.wrong"] {
        assert_eq!(ran.count(key), 1, "{key}: {}", ran.report["findings"]);
    }
    assert_eq!(ran.count("deliveries.made") + 1, ran.count("deliveries.expected"));
    let findings = ran.report["findings"].to_string();
    for part in ["user 0 never got number", "user 1 got number", "user 8 got number"] {
        assert!(findings.contains(part), "{part}: {findings}");
    }
}
