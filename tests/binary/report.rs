//! `campanile report --keep`: what goes into one file, and what is refused before anything is written.

use super::{campanile, err, json, out};
use serde_json::{Value, json};
use std::path::Path;

/// A run that was kept, with what a test wants to be otherwise.
fn run(folder: &Path, file: &str, otherwise: &Value) -> String {
    let mut kept = json!({
        "kept_format": 1, "kind": "bench", "name": "copy", "about": "What a copy costs.", "command": "cargo bench --bench copy",
        "settings": {"bytes": 64}, "commit": "abc", "build": "release",
        "machine": {"cores": 2, "processor": "a processor", "memory_mib": 1_024, "system": "a system"},
        "runs": [{"at": format!("2026-11-26T12:00:00.000Z of {file}"), "verdict": "good"}],
        "figures": [{"key": "copy.ns", "name": "a copy", "unit": "ns", "better": "lower", "values": [12.5]}],
    });
    for (name, value) in otherwise.as_object().unwrap() {
        kept[name] = value.clone();
    }
    let path = folder.join(file);
    std::fs::write(&path, kept.to_string()).unwrap();
    path.display().to_string()
}

#[test]
fn runs_of_one_thing_are_kept_in_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let one = run(folder.path(), "one.json", &json!({}));
    let other = run(folder.path(), "other.json", &json!({}));
    let file = folder.path().join("kept.json").display().to_string();
    let output = campanile(&["report", &one, &other, "--keep", &file, "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert_eq!(json(&out(&output))["runs"], 2);
    let kept = json(&std::fs::read_to_string(&file).unwrap());
    assert_eq!(kept["figures"][0]["values"], json!([12.5, 12.5]));
    let third = run(folder.path(), "third.json", &json!({}));
    let output = campanile(&["report", &third, "--keep", &file]);
    assert!(
        out(&output).ends_with("kept.json: 3 runs of bench copy\n"),
        "{}",
        out(&output)
    );
    let another = run(folder.path(), "another.json", &json!({"commit": "def"}));
    let output = campanile(&["report", &another, "--keep", &file]);
    assert!(!output.status.success() && out(&output).is_empty(), "{}", out(&output));
    for part in ["kept.json holds 3 runs", "--replace", "two commits"] {
        assert!(err(&output).contains(part), "{part}: {}", err(&output));
    }
    let output = campanile(&["report", &another, "--keep", &file, "--replace"]);
    assert!(
        out(&output).ends_with("kept.json: 1 run of bench copy\n"),
        "{}",
        out(&output)
    );
}

#[test]
fn what_does_not_belong_together_or_says_too_little_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = |file: &str, otherwise: Value| run(folder.path(), file, &otherwise);
    let good = at("good.json", json!({}));
    let unnamed = at("unnamed.json", json!({"commit": ""}));
    let debug = at("debug.json", json!({"build": "debug"}));
    let changed = at("changed.json", json!({"commit": "abc-dirty"}));
    let by_hand = at("by_hand.json", json!({"kept_by_hand": true}));
    let file = folder.path().join("kept.json");
    let path = file.display().to_string();
    let refused = |words: &[&str], why: &str| {
        let output = campanile(&[&["report"], words].concat());
        assert!(
            !output.status.success() && err(&output).contains(why),
            "{why}: {}",
            err(&output)
        );
        assert!(!file.exists(), "{why}");
    };
    refused(&[&unnamed, "--keep", &path], "CAMPANILE_COMMIT");
    refused(&[&debug, "--keep", &path], "debug build");
    refused(&[&changed, "--keep", &path], "in no commit");
    refused(&[&good, &debug, "--keep", &path, "--anyway"], "two builds");
    refused(&[&good, &by_hand, "--keep", &path], "by hand");
    refused(&[&good, &good, "--keep", &path], "twice");
    refused(&[&good, &good, &good], "--keep FILE");
    refused(&[&good, &good, "--anyway"], "--keep");
    refused(&[&good, &good, "--replace"], "--keep");
    refused(&[&good, "--keep", &path, "--out", "x.html"], "--out");
    let output = campanile(&["report", &unnamed, "--keep", &path, "--anyway"]);
    assert!(output.status.success() && file.exists(), "{}", err(&output));
}
