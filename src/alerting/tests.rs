//! Every rule of the built-in kind by a table: it fires after its time and not before, stays while it is not better, and clears.

use super::rule::Bounds;
use super::{Day, History, Measure, Moment, Phase, Rule, RuleFile, Sample, Samples, evaluate};
use crate::model::alert::{Severity, Side};
use serde_json::json;
use std::time::Duration;

const SECOND: u64 = 1_000;

fn rule(measure: Measure, bound: f64, clear: f64, held: u64) -> Rule {
    Rule {
        name: measure.name().into(),
        measure,
        bound,
        clear,
        event_bound: None,
        held: Duration::from_secs(held),
        least: 0,
        severity: Severity::Warning,
        cooldown: Duration::from_secs(60),
        outputs: Vec::new(),
    }
}

/// Looks once a second: each letter is what the measure is then (`b`eyond, be`t`ween, `g`ood, `-` not measured), and what must come
/// of it (`q`uiet, `p`ending, `f`iring, `c`learing).
#[track_caller]
fn check(rule: &Rule, day: Day, seen: &str, expected: &str) {
    let bounds = match day {
        Day::Ordinary => rule.ordinary(),
        Day::Event => rule.on_event_days(),
    };
    let worse = match rule.measure.side() {
        Side::Above => 1.0,
        Side::Below => -1.0,
    };
    let mut history = History::default();
    let mut found = String::new();
    for (second, letter) in (0..).zip(seen.chars()) {
        let mut samples = Samples::default();
        match letter {
            'b' => samples.set(rule.measure, bounds.bound + worse * 0.001),
            't' => samples.set(rule.measure, bounds.bound),
            'g' => samples.set(rule.measure, bounds.clear),
            _ => {}
        }
        let now = second * SECOND;
        let findings = evaluate(std::slice::from_ref(rule), &samples, &mut history, Moment { now, day });
        found.push_str(&findings[0].phase.name()[..1]);
    }
    assert_eq!(found, expected, "{}: {seen}", rule.name);
}

#[test]
fn every_measure_fires_after_its_time_and_clears_after_as_long() {
    for measure in Measure::ALL {
        let (bound, clear) = match measure.side() {
            Side::Above => (100.0, 50.0),
            Side::Below => (100.0, 150.0),
        };
        let held = rule(measure, bound, clear, 3);
        check(&held, Day::Ordinary, "gbbbbg", "qpppfc");
        check(&held, Day::Ordinary, "bbgbbbb", "ppqpppf");
        check(&held, Day::Ordinary, "bbbbttttbgggg", "pppffffffcccq");
        check(&held, Day::Ordinary, "bbbbggtgggg", "pppfccfcccq");
        check(&held, Day::Ordinary, "bbtbbbb", "ppqpppf");
        check(&held, Day::Ordinary, "bbbb----", "pppfcccq");
        let at_once = rule(measure, bound, clear, 0);
        check(&at_once, Day::Ordinary, "gtbtgb", "qqffqf");
    }
}

#[test]
fn inside_event_windows_the_other_bound_counts() {
    let tight = Rule {
        event_bound: Some(20.0),
        ..rule(Measure::QueueSize, 100.0, 50.0, 0)
    };
    assert_eq!((tight.on_event_days().bound, tight.on_event_days().clear), (20.0, 10.0));
    check(&tight, Day::Event, "gtbtg", "qqffq");
    let mut history = History::default();
    let mut samples = Samples::default();
    samples.set(Measure::QueueSize, 60.0);
    let mut look = |now, day| {
        evaluate(
            std::slice::from_ref(&tight),
            &samples,
            &mut history,
            Moment { now, day },
        )[0]
        .phase
    };
    assert_eq!(look(0, Day::Ordinary), Phase::Quiet);
    assert_eq!(look(1, Day::Event), Phase::Firing { since: 1 });
    assert_eq!(
        look(2, Day::Ordinary),
        Phase::Firing { since: 1 },
        "60 is no better than 50"
    );
    let from_zero = Rule {
        event_bound: Some(3.0),
        ..rule(Measure::NodesLost, 0.0, 0.0, 0)
    };
    assert_eq!(
        (from_zero.on_event_days().bound, from_zero.on_event_days().clear),
        (3.0, 3.0)
    );
}

#[test]
fn a_rate_of_little_says_nothing() {
    let rule = Rule {
        least: 20,
        ..rule(Measure::ErrorRate, 0.05, 0.03, 0)
    };
    let look = |of| {
        let mut samples = Samples::default();
        let sample = Sample {
            value: 0.5,
            of: Some(of),
            detail: "10 of them".into(),
        };
        samples.set(Measure::ErrorRate, sample);
        let moment = Moment {
            now: 0,
            day: Day::Ordinary,
        };
        evaluate(std::slice::from_ref(&rule), &samples, &mut History::default(), moment).remove(0)
    };
    assert_eq!((look(19).phase, look(19).value), (Phase::Quiet, None));
    let found = look(20);
    assert_eq!(found.phase, Phase::Firing { since: 0 });
    assert_eq!(found.reason, "publishes not taken: 50 % (above 5 %); 10 of them");
}

#[test]
fn what_was_raised_before_a_start_counts_on_until_it_is_better() {
    let rule = rule(Measure::Memory, 0.9, 0.8, 2);
    let mut history = History::default();
    history.resume("memory", 0);
    let mut look = |second: u64, value: Option<f64>| {
        let mut samples = Samples::default();
        value.into_iter().for_each(|value| samples.set(Measure::Memory, value));
        let moment = Moment {
            now: second * SECOND,
            day: Day::Ordinary,
        };
        evaluate(std::slice::from_ref(&rule), &samples, &mut history, moment)[0]
            .phase
            .name()
    };
    let seen = [None, Some(0.85), Some(0.7), None, None].into_iter().enumerate();
    let phases: Vec<&str> = seen.map(|(second, value)| look(second as u64, value)).collect();
    assert_eq!(phases, ["clearing", "firing", "clearing", "clearing", "quiet"]);
}

#[test]
fn figures_are_numbers_or_texts_of_their_unit() {
    let read = |measure: &str, bound: serde_json::Value| {
        let file = json!({"rule": [
            {"name": "r", "measure": measure, "bound": bound, "severity": "error", "cooldown": "1m"}]});
        let file: RuleFile = serde_json::from_value(file).unwrap();
        file.rules(&["bell".into()]).map(|rules| rules[0].clone())
    };
    let bounds = |measure: &str, bound: serde_json::Value| {
        let rule = read(measure, bound).unwrap();
        (rule.ordinary(), rule.held, rule.outputs)
    };
    let figure = |bound: f64| (Bounds { bound, clear: bound }, Duration::ZERO, vec!["bell".to_owned()]);
    assert_eq!(bounds("log_sync", json!("1s")), figure(1_000.0));
    assert_eq!(bounds("cache_memory", json!("1 KiB")), figure(1_024.0));
    assert_eq!(bounds("connections", json!(8000)), figure(8_000.0));
    let faults = read("cache_memory", json!("1s")).unwrap_err();
    assert_eq!(
        faults,
        ["rule r: bound is \"1s\"; it must be a size like \"45 MiB\", or a number of bytes"]
    );
}
