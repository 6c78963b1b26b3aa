//! What a run came to, as a report: every figure is a count or a difference of two readings; what could not be read is not measured. Pure.

use super::orders::Counts;
use super::run::Played;
use super::scenario::Scenario;
use super::sums::Sums;
use crate::lab::machine;
use crate::lab::results::{Build, FORMAT, Outcome, Report, Target, Verdict, shown};
use serde_json::json;

/// A process of the generator that uses more of a core than this cannot be sure to read or to send in time.
pub const BUSY_MAX: f64 = 0.85;
/// Later than this, at the 99th percentile, although a line was free: the publishers are too slow.
pub const LATE_MAX_MS: f64 = 20.0;

/// More cores than this in use by programs that have nothing to do with it are worth a word.
const OTHERS_MAX: f64 = 0.1;

/// What is the same however the run went.
pub struct Frame {
    pub command: String,
    pub seed: u64,
    pub at: String,
    pub took_s: f64,
}

pub fn report(scenario: &Scenario, played: &Played, frame: Frame) -> Report {
    let sums = Sums::of(played);
    let bottlenecks = sums.bottlenecks(scenario);
    let findings = sums.findings(played);
    let targets = sums.targets(scenario, played);
    let verdict = verdict(&findings, &targets);
    let mut figures = sums.figures(scenario);
    figures.extend(super::scenes::figures(scenario, played));
    Report {
        format: FORMAT,
        kind: "load".to_owned(),
        name: scenario.name.clone(),
        about: scenario.about.clone(),
        at: frame.at,
        took_s: (frame.took_s * 10.0).round() / 10.0,
        command: frame.command,
        seed: frame.seed,
        settings: json!(scenario),
        machine: machine::machine(),
        commit: played.served.commit().to_owned(),
        build: Build::own(),
        clock: "due, sent, accepted and read are all noted by the generator on one monotonic clock (CLOCK_MONOTONIC) of its machine; no \
                clock of a server is used"
            .to_owned(),
        verdict,
        headline: headline(verdict, &sums.counts, &targets, scenario),
        findings,
        notes: notes(&bottlenecks, sums.others(), scenario, played),
        targets,
        highlights: highlights(scenario),
        figures,
        distributions: sums.distributions(played),
        charts: super::charts::charts(played),
        tables: super::scenes::tables(scenario, played),
    }
}

fn verdict(findings: &[String], targets: &[Target]) -> Verdict {
    if !findings.is_empty() {
        Verdict::Bad
    } else if targets.iter().any(|target| target.outcome() == Outcome::Missed) {
        Verdict::Missed
    } else {
        Verdict::Good
    }
}

fn headline(verdict: Verdict, counts: &Counts, targets: &[Target], scenario: &Scenario) -> String {
    let missed = targets
        .iter()
        .filter(|target| target.outcome() == Outcome::Missed)
        .count();
    let what = if scenario.publish.is_some() {
        "every answer stands".to_owned()
    } else {
        format!(
            "every one of {} deliveries reached whom it was for, once",
            shown(counts.made as f64)
        )
    };
    match verdict {
        Verdict::Good => what,
        Verdict::Missed => format!("{what}; {missed} of {} targets missed", targets.len()),
        Verdict::Bad | Verdict::NotRun => format!(
            "{} missing, {} wrong, {} repeated, {} out of order, of {} deliveries",
            counts.missing, counts.wrong, counts.repeated, counts.disordered, counts.expected
        ),
    }
}

fn highlights(scenario: &Scenario) -> Vec<String> {
    let all: &[&str] = if scenario.publish.is_some() {
        &[
            "publish.per_second",
            "publish.p99",
            "publish.errors",
            "server.cpu_per_thousand",
        ]
    } else {
        &[
            "deliveries.per_second",
            "deliveries.missing",
            "latency.p95",
            "latency.due_p95",
            "publish.per_second",
            "server.cpu_per_million",
        ]
    };
    all.iter().map(|key| (*key).to_owned()).collect()
}

fn notes(bottlenecks: &[String], others: Option<f64>, scenario: &Scenario, played: &Played) -> Vec<String> {
    let mut notes = vec![format!(
        "The generator counts as the bottleneck when one of its processes used more than {:.0} % of a core, or when 1 % of its broadcasts \
         went out more than {LATE_MAX_MS} ms late although a connection was free.",
        BUSY_MAX * 100.0
    )];
    if bottlenecks.is_empty() {
        notes.push("It was not the bottleneck.".to_owned());
    } else {
        notes.extend(bottlenecks.iter().map(|why| format!("It was the bottleneck: {why}.")));
    }
    if let Some(others) = others.filter(|others| *others > OTHERS_MAX) {
        notes.push(format!(
            "Other programs used {others:.1} cores of this machine meanwhile: without them the figures would be better."
        ));
    }
    if scenario.reconnect.is_some() {
        notes.push("What came while somebody was away counts until they were back: latencies contain that.".to_owned());
    }
    notes.push(match played.served.note() {
        Some(note) => note,
        None => "Rate caps were off; generator and nodes shared this machine.".to_owned(),
    });
    notes.push(
        "Accepted to read: from when the publisher had read the 201 to when the subscriber had read the bytes; what is read earlier counts \
         as 0. Due to read: from when the broadcast was to be sent, which hides nothing that the publishers waited for."
            .to_owned(),
    );
    notes
}

#[cfg(test)]
mod tests {
    use super::{Frame, Played, Scenario, report};
    use crate::lab::load::orders::{Counts, Finished};
    use crate::lab::load::plan::Planned;
    use crate::lab::load::press::Job;
    use crate::lab::load::published::Published;
    use crate::lab::load::request::planned;
    use crate::lab::load::run::Step;
    use crate::lab::load::scenario;
    use crate::lab::load::stamp::Phase;
    use crate::lab::load::watch::{CacheReads, Mark};
    use crate::lab::results::{Buckets, Report, Verdict};
    use crate::lab::served::Served;
    use crate::model::Priority;

    const SECOND: u64 = 1_000_000_000;

    fn mark(at: u64, delivered: u64, cpu: f64, cache: Option<CacheReads>) -> Mark {
        Mark {
            at: at * SECOND,
            delivered,
            server_cpu: Some(cpu),
            resident: Some(at << 20),
            disk: None,
            generator_cpu: vec![Some(cpu / 10.0), Some(cpu / 2.0)],
            cores: None,
            cache,
        }
    }

    /// Ten seconds with 1,000 deliveries of 50 ms each, for which the nodes used four seconds of CPU.
    fn played(counts: Counts, cache: Option<CacheReads>) -> Played {
        let mut published = Published::new(0);
        let thrown: Planned = planned(0, (0, 0, Priority::Normal), Phase::Measured);
        let job = Job {
            planned: thrown,
            due: SECOND,
            sent: SECOND,
            attempts: 1,
        };
        published.sent(&job, false);
        published.accepted(&job, SECOND + 5_000_000, true);
        let mut finished = Finished {
            everybody: vec![vec![7_000, 9_000, 400_000]],
            last_read: 20 * SECOND,
            ..Finished::default()
        };
        finished.counts[2] = counts;
        finished.accepted[2] = Buckets(vec![(50_000, 1_000)]);
        Played {
            served: Served::Own,
            steps: vec![Step {
                publishers: 1,
                published,
                from: mark(10, 500, 1.0, cache.map(|_| CacheReads::default())),
                until: mark(21, 1_500, 5.0, cache),
                measured_from: 10 * SECOND,
            }],
            finished: vec![finished],
            samples: Vec::new(),
            seconds: Vec::new(),
            decisions: Vec::new(),
            resident: [Some(0), None],
            crowds: 1,
        }
    }

    fn judged(scenario: &Scenario, played: &Played) -> Report {
        let frame = Frame {
            command: String::new(),
            seed: 1,
            at: "2026-11-26T12:00:00.000Z".into(),
            took_s: 11.0,
        };
        report(scenario, played, frame)
    }

    const WHOLE: Counts = Counts {
        expected: 1_000,
        made: 1_000,
        missing: 0,
        repeated: 0,
        resent: 3,
        wrong: 0,
        disordered: 0,
    };

    #[test]
    fn figures_are_differences_of_two_readings_and_what_was_not_read_is_not_measured() {
        let standard = scenario::open("standard").unwrap();
        let cache = CacheReads { hits: 95, all: 100 };
        let report = judged(&standard, &played(WHOLE, Some(cache)));
        assert_eq!(
            (report.verdict, report.findings.len()),
            (Verdict::Good, 0),
            "{report:?}"
        );
        let json = report.json();
        for (key, value) in [
            ("server.cpu_per_million", 4_000.0),
            ("deliveries.per_second", 100.0),
            ("server.hit_rate", 95.0),
            ("generator.share", 20.0),
            ("everybody.last", 400.0),
            ("growth.memory", 11.0),
            ("growth.memory_end", 21.0),
        ] {
            assert_eq!(json["values"][key], value, "{key}");
        }
        for key in ["server.memory", "growth.disk", "growth.disk_end"] {
            assert_eq!(json["values"][key], serde_json::Value::Null, "{key}");
        }
        assert!(report.notes.iter().any(|note| note == "It was not the bottleneck."));
        let report = judged(&standard, &played(WHOLE, None));
        assert_eq!(report.json()["outcomes"]["cache hit rate"], "not measured");
        assert_eq!(report.verdict, Verdict::Good, "what was not measured is not missed");
    }

    #[test]
    fn what_is_lost_is_bad_and_what_is_slow_is_missed() {
        let standard = scenario::open("standard").unwrap();
        let lost = Counts {
            made: 999,
            missing: 1,
            ..WHOLE
        };
        let report = judged(&standard, &played(lost, None));
        assert_eq!(
            (report.verdict, report.findings),
            (Verdict::Bad, vec!["1 deliveries are missing".to_owned()])
        );
        let mut slow = played(WHOLE, None);
        slow.finished[0].accepted[2] = Buckets(vec![(150_000, 1_000)]);
        let report = judged(&standard, &slow);
        assert_eq!(
            (
                report.verdict,
                report.json()["outcomes"]["mean, accepted to read"].clone()
            ),
            (Verdict::Missed, "missed".into())
        );
        assert!(
            report.headline.ends_with("1 of 7 targets missed"),
            "{}",
            report.headline
        );
    }

    #[test]
    fn the_commit_is_that_of_the_nodes_and_not_of_the_generator() {
        let there = Played {
            served: Served::Told(vec!["0.1.0+abc".into()]),
            ..played(WHOLE, None)
        };
        let report = judged(&scenario::open("standard").unwrap(), &there);
        assert_eq!(report.commit, "abc");
        assert!(
            report.notes.contains(&there.served.note().unwrap()),
            "{:?}",
            report.notes
        );
    }

    #[test]
    fn a_generator_that_is_too_slow_says_so() {
        let mut busy = played(WHOLE, None);
        busy.steps[0].until.generator_cpu = vec![Some(0.2), Some(9.9)];
        let report = judged(&scenario::open("standard").unwrap(), &busy);
        assert!(
            report
                .notes
                .iter()
                .any(|note| note.contains("It was the bottleneck: one of its processes used 94 % of a core")),
            "{:?}",
            report.notes
        );
    }
}
