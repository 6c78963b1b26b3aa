//! `campanile season` through the real binary: a season without a replay says what it did not measure, and a small day is played.

use super::harness::cluster;
use serde_json::Value;

struct Ran {
    code: Option<i32>,
    report: Value,
    folder: tempfile::TempDir,
}

impl Ran {
    fn value(&self, key: &str) -> f64 {
        let value = &self.report["values"][key];
        value.as_f64().unwrap_or_else(|| panic!("{key} is {value}"))
    }
}

fn season(words: &[&str]) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    let mut command = cluster::binary();
    command
        .args(["season", "--json", "--out"])
        .arg(folder.path().join("out"));
    let output = command.args(words).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let report = serde_json::from_str(&said);
    let report = report.unwrap_or_else(|error| panic!("{error}: {said} {}", String::from_utf8_lossy(&output.stderr)));
    Ran {
        code: output.status.code(),
        report,
        folder,
    }
}

#[test]
fn the_busiest_day_of_a_small_season_is_played_and_nothing_is_lost() {
    let ran = season(&[
        "--weddings",
        "1",
        "--seed",
        "3",
        "--replay",
        "busiest",
        "--replay-scale",
        "0.1",
        "--replay-speed",
        "14400",
    ]);
    assert_eq!(
        ran.code,
        Some(0),
        "{} {}",
        ran.report["headline"],
        ran.report["findings"]
    );
    let (expected, made) = (ran.value("replay.expected"), ran.value("replay.made"));
    assert!(expected > 50.0 && (made - expected).abs() < 0.5, "{made} of {expected}");
    assert!(ran.value("replay.missing") + ran.value("replay.wrong") < 0.5);
    assert!(ran.value("replay.probes") >= 2.0 && ran.value("replay.mean") > 0.0);
    // how fast it is on a busy machine is not judged here, but that it was measured
    assert!(ran.value("replay.score") >= 0.0 && ran.value("replay.uptime") >= 0.0);
    assert!(ran.value("replay.score_weighed") > 0.0);
    assert_ne!(ran.report["outcomes"]["score of the replayed day"], "not measured");
    let page = std::fs::read_to_string(ran.folder.path().join("out/index.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("Weddings of each day of the year"));
}

#[test]
fn a_season_is_the_same_again_and_measures_nothing_by_itself() {
    let words = [
        "--weddings",
        "200",
        "--profile",
        "origin",
        "--months",
        "5,6",
        "--seed",
        "5",
    ];
    let (one, same) = (season(&words), season(&words));
    assert_eq!(one.code, Some(0));
    for part in ["values", "tables", "charts", "settings", "headline"] {
        assert!(one.report[part] == same.report[part], "{part}");
    }
    assert_eq!(one.report["outcomes"]["uptime in the replayed day"], "not measured");
    assert!(one.report["values"]["scaling.decisions"].is_null());
    let months = one.report["tables"][0]["rows"].as_array().unwrap();
    let count = |month: usize| months[month][1].as_str().unwrap().parse::<u32>().unwrap();
    assert_eq!((count(4) + count(5), count(0)), (200, 0));
}

#[test]
fn a_measured_capacity_is_what_scaling_goes_by() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("capacity.json");
    let capacity =
        r#"{"deliveries_per_second": 120.0, "threads": 2, "machine": "a test", "commit": "x", "measured_at": "today"}"#;
    std::fs::write(&file, capacity).unwrap();
    let ran = season(&["--weddings", "150", "--capacity", file.to_str().unwrap()]);
    assert_eq!(ran.code, Some(0));
    assert!(ran.value("scaling.decisions") > 0.0 && ran.value("scaling.share") > 0.0);
    let tables = ran.report["tables"].as_array().unwrap();
    assert!(
        tables
            .iter()
            .any(|table| table["title"] == "What scaling decided, by rule")
    );
    assert!(ran.report["notes"].to_string().contains("120 a second with 2 threads"));
}
