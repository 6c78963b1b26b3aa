//! `campanile validate` through the real binary: on nodes of its own everything is run; on nodes of others it says what was not, and is
//! not content; and a server that loses, repeats and misleads does not pass.

use super::harness::cluster::{self, Cluster};
use super::harness::tamper::{self, Fault};
use super::harness::wait::until;
use serde_json::Value;
use std::process::Stdio;
use std::time::Duration;

/// A run on a busy machine comes to some point, or to its end.
const WITHIN: Duration = Duration::from_secs(60);
const LOOPBACK: &str = r#"cache.allow=["127.0.0.0/8"]"#;

struct Ran {
    code: Option<i32>,
    report: Value,
    errors: String,
    folder: tempfile::TempDir,
}

impl Ran {
    fn checks(&self) -> &[Value] {
        self.report["checks"].as_array().unwrap()
    }

    fn check(&self, word: &str) -> &Value {
        let found = self.checks().iter().find(|check| check["check"] == word);
        found.unwrap_or_else(|| panic!("no check {word}: {}", self.report))
    }

    fn outcome(&self, word: &str) -> &str {
        self.check(word)["outcome"].as_str().unwrap()
    }

    /// What was measured of a check under that name.
    fn measured(&self, word: &str, name: &str) -> f64 {
        let targets = self.check(word)["targets"].as_array().unwrap();
        let target = targets.iter().find(|target| target["name"] == name);
        let target = target.unwrap_or_else(|| panic!("{word} has no {name}: {targets:?}"));
        target["measured"].as_f64().unwrap()
    }
}

fn validate(words: &[&str]) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    let mut command = cluster::binary();
    command
        .args(["validate", "--json", "--out"])
        .arg(folder.path().join("out"));
    let output = command.args(words).output().unwrap();
    let (said, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    let report = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said} {errors}"));
    Ran {
        code: output.status.code(),
        report,
        errors,
        folder,
    }
}

/// Everything of a run that a cluster has, beside so many values in the cache of a load.
fn left_on(cluster: &Cluster, of_a_load: u64) -> Vec<String> {
    let mut left = Vec::new();
    for what in ["users", "weddings", "venues", "segments"] {
        let path = format!("/v1/{what}?limit=100&after=validate");
        let page = cluster.client(0).get(&path).expect(200).json();
        let names = page["items"].to_string();
        left.extend(names.contains("validate-").then(|| format!("{what}: {names}")));
    }
    let cache = cluster.client(0).get("/v1/cache").expect(200).json();
    let kept = &cache["replicated"]["entries"];
    left.extend((*kept != of_a_load).then(|| format!("{kept} values in the cache")));
    left
}

/// Bounds on time belong to a release build on a quiet machine: whether they are kept is told by the exit code, and not asserted. All
/// that has nothing to do with the machine is.
#[test]
fn on_nodes_of_its_own_every_check_is_run_and_what_they_do_is_right() {
    let _others_wait = cluster::alone();
    let ran = validate(&["--quick"]);
    let mut all_passed = true;
    for check in ran.checks() {
        let (word, outcome) = (check["check"].as_str().unwrap(), check["outcome"].as_str().unwrap());
        println!("{word}: {outcome} {}", check["took_s"]);
        assert_ne!(outcome, "not run", "{check}");
        assert!(!check["targets"].as_array().unwrap().is_empty(), "{check}");
        all_passed &= outcome == "passed";
        let is_late = |target: &Value| target["unit"] == "ms";
        for target in check["targets"].as_array().unwrap() {
            assert!(target["measured"].is_number(), "{word}: {target}");
            assert!(
                target["outcome"] == "passed" || is_late(target),
                "{word}: {target} {check}"
            );
        }
        assert_eq!(check["findings"].as_array().map(Vec::len), Some(0), "{check}");
    }
    assert_eq!(ran.checks().len(), 16);
    assert_eq!(
        ran.code,
        Some(i32::from(!all_passed)),
        "{} {}",
        ran.report["headline"],
        ran.errors
    );
    assert_eq!(ran.report["whole"] == "validated", all_passed);
    // It is the figures that were measured that stand in the report, and these are no constants.
    assert!(ran.measured("performance", "connected all the time") >= 10_000.0);
    assert!(ran.measured("queue", "mean, first byte sent to read by a recipient") > 0.0);
    assert!(ran.measured("cache", "memory of the local tier when more was read") > 30.0);
    assert!(ran.measured("tokens", "requests for another user, refused") >= 6.0);
    let kept = std::fs::read_to_string(ran.folder.path().join("out/report.json")).unwrap();
    assert!(serde_json::from_str::<Value>(&kept).unwrap() == ran.report);
    let page = std::fs::read_to_string(ran.folder.path().join("out/index.html")).unwrap();
    assert!(page.contains("durability") && page.contains("Seen by queue"));
}

#[test]
fn on_nodes_of_others_it_says_what_was_not_run_and_is_not_content() {
    let shared = cluster::beside(3);
    let urls: Vec<String> = shared
        .cluster
        .addresses()
        .iter()
        .map(|address| format!("http://{address}"))
        .collect();
    let few = ["--connections", "200", "--scale", "0.04", "--for", "1s"];
    let only = "alerts,cache,tokens,durability,performance,keys,resume,confirming,schedule";
    let ran = validate(&[&["--url", &urls.join(","), "--only", only], &few[..]].concat());
    for (word, why) in [
        ("durability", "are not killed"),
        ("alerts", "provoking an alert"),
        ("cache", "filling the local tier"),
        ("tokens", "ask for no tokens"),
        ("performance", "10000 connections: 200 were tried"),
    ] {
        let check = ran.check(word);
        let is_late = check["outcome"] == "failed" && word == "performance";
        assert!(check["outcome"] == "not run" || is_late, "{check}");
        assert!(check["reasons"].to_string().contains(why), "{check}");
    }
    for word in ["keys", "resume", "confirming", "schedule"] {
        assert_ne!(ran.outcome(word), "not run", "{}", ran.check(word));
    }
    let has_failed = ran.checks().iter().any(|check| check["outcome"] == "failed");
    assert_eq!(
        ran.code,
        Some(if has_failed { 1 } else { 4 }),
        "{}",
        ran.report["headline"]
    );
    assert_ne!(ran.report["whole"], "validated");
    // Nobody was called about it: a critical that is no drill would have raised an alert.
    let published = all_published(&shared.cluster);
    let of_the_load = |one: &&Value| one["audience"].to_string().contains("load-");
    assert!(published.iter().filter(of_the_load).count() > 0 && published.len() > 20);
    let other = published.iter().find(|one| one["drill"] != true);
    assert!(other.is_none(), "{other:?}");
    // Nothing of it stays but what a load leaves: a value for its one group.
    assert_eq!(left_on(&shared.cluster, 1), [""; 0]);
}

/// Of all pages, newest first.
fn all_published(cluster: &Cluster) -> Vec<Value> {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let mut page = cluster
            .client(0)
            .get(&format!("/v1/broadcasts?limit=100{after}"))
            .expect(200)
            .json();
        all.append(page["items"].as_array_mut().unwrap());
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return all,
        }
    }
}

/// Values, people and a wedding that is on are there by then.
#[test]
fn who_interrupts_it_leaves_nothing_behind() {
    let shared = cluster::beside(1);
    let url = format!("http://{}", shared.cluster.addresses()[0]);
    let mut child = cluster::binary()
        .args([
            "validate",
            "--url",
            &url,
            "--only",
            "cache,scaling,escalation",
            "--json",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until("a wedding of it is on", WITHIN, || {
        let page = shared.cluster.client(0).get("/v1/weddings").expect(200).json();
        page["items"].to_string().contains("validate-").then_some(())
    });
    assert_eq!(
        left_on(&shared.cluster, 0).len(),
        4,
        "users, weddings, venues and the cache"
    );
    let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    until("it ends", WITHIN, || child.try_wait().unwrap());
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        errors.contains("interrupted") && !errors.contains("not all"),
        "{errors}"
    );
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{errors}");
    assert_eq!(left_on(&shared.cluster, 0), [""; 0]);
}

#[test]
fn a_node_that_is_named_twice_is_not_two() {
    let shared = cluster::beside(1);
    let url = format!("http://{}", shared.cluster.addresses()[0]);
    let twice = format!("{url},{url}/");
    let output = cluster::binary()
        .args(["validate", "--url", &twice, "--only", "performance", "--json"])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("name each node once"), "{errors}");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{errors}");
}

#[test]
fn an_upstream_of_others_is_not_asked() {
    let namespaces = r#"cache.namespaces=[{ name = "teams", upstream = "http://127.0.0.1:9/{key}" }]"#;
    let shared = cluster::beside_with(1, &[namespaces, LOOPBACK]);
    let url = format!("http://{}", shared.cluster.addresses()[0]);
    let ran = validate(&["--url", &url, "--only", "cache"]);
    let check = ran.check("cache");
    assert_eq!(check["outcome"], "not run", "{check}");
    assert!(
        check["reasons"].to_string().contains("no upstream of theirs is asked"),
        "{check}"
    );
    let status = shared.cluster.client(0).get("/v1/cache").expect(200).json();
    assert_eq!(status["reads"]["miss"], 0, "{status}");
}

#[test]
fn a_selection_is_not_the_whole() {
    let shared = cluster::beside(3);
    let url = format!("http://{}", shared.cluster.addresses()[0]);
    let ran = validate(&["--url", &url, "--only", "confirming,schedule"]);
    assert_eq!(
        (ran.outcome("confirming"), ran.outcome("schedule")),
        ("passed", "passed"),
        "{}",
        ran.report
    );
    assert_eq!(ran.outcome("queue"), "not run");
    assert!(ran.check("queue")["reasons"].to_string().contains("left out by --only"));
    assert_eq!((ran.code, &ran.report["whole"]), (Some(4), &"not validated".into()));
}

#[test]
fn a_server_that_loses_repeats_and_misleads_does_not_pass() {
    let shared = cluster::beside(1);
    // ana loses a broadcast, which gus gets instead; on each of its connections the first one comes twice to somebody else
    let faults = &[
        ("audience-ana", Fault::Lose),
        ("audience-gus", Fault::Mislead),
        ("resume-ws", Fault::Repeat),
    ];
    let node = tamper::before(shared.cluster.addresses()[0], faults);
    let url = format!("http://{node}");
    let ran = validate(&["--url", &url, "--only", "audience,resume,confirming"]);
    assert_eq!(
        (ran.code, &ran.report["whole"]),
        (Some(1), &"failed".into()),
        "{}",
        ran.report
    );
    assert_eq!((ran.outcome("audience"), ran.outcome("resume")), ("failed", "failed"));
    assert_eq!(ran.outcome("confirming"), "passed", "{}", ran.check("confirming"));
    for (word, name) in [
        ("audience", "broadcasts missing at those who were meant"),
        ("audience", "broadcasts at those who were not meant"),
        ("resume", "repeated, WebSocket"),
    ] {
        assert!(ran.measured(word, name) >= 1.0, "{word}: {name}");
    }
    assert!(
        ran.report["findings"].to_string().contains("gus got"),
        "{}",
        ran.report["findings"]
    );
}

#[test]
fn nodes_that_are_not_there_are_unreachable() {
    let output = cluster::binary()
        .args(["validate", "--url", "http://127.0.0.1:1", "--json"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    assert!(output.stdout.is_empty());
}
