//! Keeping runs: put together, refused, read again.

use super::{BYTES_MAX, Before, Fitness, Kept, Spread, together};
use crate::lab::results::{Build, Outcome, Report, fixture, folder};
use std::path::PathBuf;

/// As a run of its own: runs differ in when they began.
fn report(number: u32, factor: f64) -> Report {
    Report {
        at: format!("2026-11-26T12:0{number}:00.000Z"),
        ..fixture::report("standard", factor)
    }
}

fn written(place: &tempfile::TempDir, name: &str, report: &Report) -> PathBuf {
    let path = place.path().join(name);
    folder::write(report, &path).unwrap();
    path
}

#[test]
fn a_spread_is_of_what_was_measured() {
    let check = |values: &[Option<f64>], text: Option<&str>| {
        assert_eq!(
            Spread::of(values).map(|spread| spread.text()).as_deref(),
            text,
            "{values:?}"
        );
    };
    check(&[Some(3.0), Some(1.0), Some(2.0)], Some("2 [1 to 3]"));
    check(&[Some(3.0), None, Some(1.0)], Some("1 to 3"));
    check(&[Some(12.0), Some(12.0)], Some("12"));
    check(&[Some(1.0), Some(2.0), Some(4.0), Some(9.0)], Some("3 [1 to 9]"));
    check(&[None], None);
    check(&[], None);
}

#[test]
fn runs_of_one_thing_become_one_file_and_a_further_one_is_put_behind() {
    let place = tempfile::tempdir().unwrap();
    let runs = [1.0, 2.0, 1.4].into_iter().zip(1..);
    let folders: Vec<_> = runs
        .map(|(factor, number)| written(&place, &number.to_string(), &report(number, factor)))
        .collect();
    let (first, all) = (place.path().join("first.json"), place.path().join("all.json"));
    together(&folders[..2], Fitness::Required)
        .unwrap()
        .write(&first)
        .unwrap();
    let kept = together(&[&first, &folders[2]], Fitness::Required).unwrap();
    kept.write(&all).unwrap();
    assert_eq!(Kept::read(&all).unwrap(), kept);
    assert_eq!(kept, together(&folders, Fitness::Required).unwrap());
    assert_eq!(kept.targets[0].values, [Some(1.0), Some(2.0), Some(1.4)]);
    assert_eq!(
        (kept.targets[0].outcome(), kept.targets[0].runs_missed()),
        (Outcome::Passed, 1)
    );
    assert_eq!(kept.targets[1].outcome(), Outcome::NotMeasured);
    assert_eq!(kept.latencies[0].quantiles["p50"], [Some(1.0), Some(2.0), Some(1.4)]);
    assert_eq!(kept.latencies[0].counts, [1_000; 3]);
    assert_eq!(kept.said(), ["user 3 never got number 7 (low)", "a note"]);
    assert_eq!(kept.always_noted(), ["a note"]);
    let mut kept = kept;
    kept.runs[1].notes.clear();
    assert!(kept.always_noted().is_empty());
    let twice = together(&[&all, &folders[2]], Fitness::Required).unwrap_err();
    assert!(format!("{twice:#}").contains("twice"), "{twice:#}");
}

#[test]
fn what_a_file_holds_is_lost_only_when_somebody_says_so() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("kept.json");
    let of = |number: u32| Kept::of(&report(number, 1.0));
    let count = || Kept::read(&path).unwrap().runs.len();
    of(1).keep(&path, Before::Stay).unwrap();
    of(2).keep(&path, Before::Stay).unwrap();
    assert_eq!(count(), 2);
    let whole = Kept::read(&path).unwrap().joined(of(3)).unwrap();
    assert_eq!(whole.keep(&path, Before::Stay).unwrap().runs.len(), 3);
    let twice = format!("{:#}", of(1).keep(&path, Before::Stay).unwrap_err());
    assert!(twice.contains("already") && !twice.contains("--replace"), "{twice}");
    let partly = Kept::of(&report(3, 1.0)).joined(of(4)).unwrap();
    assert!(partly.keep(&path, Before::Stay).is_err(), "the third is there");
    assert_eq!(count(), 3);
    let mut other = report(4, 1.0);
    other.commit = "def".into();
    let other = Kept::of(&other);
    assert!(Before::Stay.check(&path, &other).is_err());
    let fault = format!("{:#}", other.clone().keep(&path, Before::Stay).unwrap_err());
    assert!(fault.contains("--replace") && fault.contains("two commits"), "{fault}");
    assert_eq!(count(), 3);
    Before::Replaced.check(&path, &other).unwrap();
    other.keep(&path, Before::Replaced).unwrap();
    assert_eq!((count(), Kept::read(&path).unwrap().commit.as_str()), (1, "def"));
    std::fs::write(&path, "{").unwrap();
    assert!(
        of(1).keep(&path, Before::Stay).is_err(),
        "what cannot be read is not written over"
    );
}

#[test]
fn what_only_some_runs_measured_keeps_its_place() {
    let bare = Report {
        figures: Vec::new(),
        distributions: Vec::new(),
        ..report(1, 1.0)
    };
    let joined = Kept::of(&bare).joined(Kept::of(&report(2, 1.0))).unwrap();
    assert_eq!(joined.figures[0].values, [None, Some(0.0)]);
    assert_eq!(joined.latencies[0].quantiles["p50"], [None, Some(1.0)]);
    let joined = Kept::of(&report(2, 1.0))
        .joined(Kept::of(&bare))
        .unwrap()
        .checked()
        .unwrap();
    assert_eq!(joined.latencies[0].counts, [1_000, 0]);
}

#[test]
fn runs_of_two_things_are_refused_with_what_they_differ_in() {
    let refused = |word: &str, change: &dyn Fn(&mut Report)| {
        let mut other = report(2, 1.0);
        change(&mut other);
        let error = Kept::of(&report(1, 1.0)).joined(Kept::of(&other)).unwrap_err();
        assert!(error.to_string().contains(word), "{word}: {error}");
    };
    refused("kinds", &|report| report.kind = "season".into());
    refused("names", &|report| report.name = "weekend".into());
    refused("commits", &|report| report.commit = "def".into());
    refused("machines", &|report| report.machine.cores += 1);
    refused("builds", &|report| report.build = Build::Debug);
    refused("settings", &|report| report.settings = serde_json::Value::Null);
    let mut by_hand = Kept::of(&report(1, 1.0));
    by_hand.kept_by_hand = true;
    assert!(by_hand.joined(Kept::of(&report(2, 1.0))).is_err());
}

#[test]
fn what_says_nothing_about_speed_or_itself_is_kept_only_when_somebody_insists() {
    let place = tempfile::tempdir().unwrap();
    let check = |word: &str, report: &Report| {
        let path = written(&place, word, report);
        let error = together(&[&path], Fitness::Required).unwrap_err();
        assert!(format!("{error:#}").contains(word), "{error:#}");
        together(&[&path], Fitness::Anyway).unwrap();
    };
    let mut debug = report(1, 1.0);
    debug.build = Build::Debug;
    check("debug", &debug);
    let mut unnamed = report(1, 1.0);
    unnamed.commit = String::new();
    check("commit", &unnamed);
    let mut changed = report(1, 1.0);
    changed.commit = "abc-dirty".into();
    check("changes", &changed);
}

#[test]
fn what_is_large_or_of_another_form_is_no_kept_file() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("kept.json");
    let mut kept = Kept::of(&report(1, 1.0));
    kept.runs[0].notes.push("x".repeat(BYTES_MAX));
    assert!(kept.write(&path).unwrap_err().to_string().contains("at most"));
    assert!(!path.exists());
    let mut kept = Kept::of(&report(1, 1.0));
    kept.kept_format += 1;
    kept.write(&path).unwrap();
    assert!(format!("{:#}", Kept::read(&path).unwrap_err()).contains("format"));
    let mut kept = Kept::of(&report(1, 1.0));
    kept.figures[0].values.push(None);
    kept.write(&path).unwrap();
    assert!(format!("{:#}", Kept::read(&path).unwrap_err()).contains("once for each"));
}
