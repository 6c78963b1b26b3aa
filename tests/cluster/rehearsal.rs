//! `campanile rehearse` on a day of one's own: a few seconds that hold what the built-in day does not.

use super::harness::cluster;
use serde_json::{Value, json};
use std::path::Path;

/// Milliseconds of a day after its first broadcast.
fn at(millis: u64) -> String {
    format!("2027-06-19T15:00:{:02}.{:03}Z", millis / 1000, millis % 1000)
}

/// Ten people at a barn: three guests, and those who work there.
fn directory() -> Vec<Value> {
    let roles = [
        "guest",
        "guest",
        "guest",
        "dj",
        "security",
        "security",
        "venue_ops",
        "venue_ops",
        "first_aid",
        "parking",
    ];
    let mut lines = vec![json!({"kind": "venue", "id": "barn", "name": "Barn", "timezone": "UTC"})];
    for (number, role) in roles.iter().enumerate() {
        let user = format!("u-{number}");
        lines.push(json!({"kind": "user", "id": user, "role": role}));
        lines.push(json!({"kind": "member", "of": {"venue": "barn"}, "user": user, "role": role}));
    }
    lines
}

fn scripted(reference: &str, millis: u64, targeted: u64, publish: Value) -> Value {
    let mut whole = json!({"type": "medical.assist", "priority": "critical", "title": reference, "body": "Come."});
    whole
        .as_object_mut()
        .unwrap()
        .extend(publish.as_object().unwrap().clone());
    json!({"ref": reference, "at": at(millis), "sender": {"role": "venue_ops", "venue": "barn"}, "publish": whole,
        "expect": {"result": "accept", "targeted": targeted}})
}

fn staff(roles: &[&str]) -> Value {
    json!({"venues": ["barn"], "roles": roles})
}

/// Plays a day, and gives back how it ended and its report.
fn rehearse(broadcasts: &[Value]) -> (Option<i32>, Value) {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &Path, lines: &[Value]| {
        let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
        std::fs::write(path, lines.join("\n")).unwrap();
    };
    write(&folder.path().join("directory.ndjson"), &directory());
    write(&folder.path().join("broadcasts.ndjson"), broadcasts);
    let output = cluster::binary()
        .args(["rehearse", "--json", "--speed", "1"])
        .arg(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let report = serde_json::from_str(&said);
    let report = report.unwrap_or_else(|error| panic!("{error}: {said} {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), report)
}

#[test]
fn steps_call_in_more_people_raise_the_priority_and_stop_when_they_may() {
    let first_aid = json!({"audience": staff(&["first_aid"]), "acknowledge": {"within": "1s",
        "need": [{"role": "security", "count": 1}], "escalate": [
            {"after": "1500ms", "to": staff(&["venue_ops"]), "outputs": ["siren"]},
            {"after": "3s", "to": staff(&["security"]), "outputs": ["siren", "modem"]},
            {"after": "4500ms", "outputs": ["never"]}]}});
    let everybody = json!({"type": "venue.notice", "priority": "normal", "audience": {"venues": ["barn"]},
        "acknowledge": {"within": "1s", "escalate": [{"after": "2s", "priority": "high", "outputs": ["siren"]}]}});
    // there is one for parking: the need is never met, until another broadcast takes its place
    let parking = json!({"audience": staff(&["parking", "venue_ops"]), "acknowledge": {"within": "1s",
        "need": [{"role": "parking", "count": 2}], "escalate": [
            {"after": "1500ms", "outputs": ["siren"]}, {"after": "3500ms", "outputs": ["siren"]}]}});
    let instead = json!({"audience": staff(&["parking"]), "supersedes": "parking"});
    let (code, report) = rehearse(&[
        scripted("first aid", 0, 1, first_aid),
        scripted("everybody", 100, 10, everybody),
        scripted("parking", 200, 3, parking),
        scripted("instead", 2500, 1, instead),
    ]);
    assert_eq!((code, &report["findings"]), (Some(0), &json!([])), "{report}");
    let escalations = &report["escalations"];
    assert_eq!(
        (&escalations["expected"], &escalations["taken"]),
        (&json!(4), &json!(4)),
        "{report}"
    );
    // two of venue_ops, two of security, and all ten
    let alerts = json!({"expected": 14, "made": 14, "missing": 0, "wrong": 0});
    assert_eq!(escalations["alerts"], alerts, "{report}");
    assert_eq!(report["outputs"]["delivered"], 5, "{report}");
    assert_eq!(report["deliveries"]["made"], 15, "{report}");
    assert_eq!(
        report["acknowledgements"],
        json!({"expected": 18, "made": 18}),
        "{report}"
    );
    assert_eq!(report["needs"], json!({"expected": 1, "met": 1}), "{report}");
    assert_eq!(report["dead_letters"], json!({"expected": 0, "found": 0}), "{report}");
    let normal = report["time_to_confirm_ms"]["normal"]["p50"].as_f64().unwrap();
    assert!(normal >= 2000.0, "they waited for the step: {report}");
}

#[test]
fn a_day_that_does_not_go_as_its_script_says_fails() {
    let notice = json!({"audience": staff(&["dj"])});
    let (code, report) = rehearse(&[scripted("notice", 0, 2, notice)]);
    assert_eq!(
        (code, &report["verdicts"]["unexpected"]),
        (Some(1), &json!(1)),
        "{report}"
    );
}
