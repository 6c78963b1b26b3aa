//! Steps that were taken, and whom they alerted, against what had to be. Pure: it is told everything.
//!
//! Who must be alerted is whoever has not confirmed when the step is taken. When that was, in this machine's time, lies between when
//! the step was due and when the first device read its alert: somebody who confirmed just then may be alerted or not.

use super::{
    afterwards::{Shown, Taken},
    confirmed::Confirmations,
    course::Course,
    findings::Findings,
    ledger::Seen,
    oracle::{Recipients, plan::Planned},
};
use crate::{base::clock, model::Priority};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// The cluster's time and this clock may be so far apart.
const CLOCKS_APART: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Escalations {
    pub expected: u64,
    pub taken: u64,
    /// Taken though they must not be, twice, or before their time.
    pub wrong: u64,
    /// The longest time between when a step was due and when it was taken, as the cluster says.
    pub late_max: Duration,
    pub alerts: Alerts,
}

/// One for each device and step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alerts {
    pub expected: u64,
    pub made: u64,
    pub missing: u64,
    pub wrong: u64,
}

/// What is known of a day that is over.
pub struct Evidence<'a> {
    /// By device.
    pub users: &'a [String],
    /// By device.
    pub seen: &'a [Vec<Seen>],
    pub confirmations: &'a Confirmations,
    /// What the cluster says, by the id of the broadcast.
    pub shown: &'a BTreeMap<String, Shown>,
}

impl Escalations {
    pub fn is_good(&self) -> bool {
        self.taken == self.expected && self.alerts.made == self.alerts.expected && self.wrong + self.alerts.wrong == 0
    }
}

pub fn judge(courses: &[Course<'_>], evidence: &Evidence<'_>, findings: &mut Findings) -> Escalations {
    let mut judge = Judge {
        evidence,
        releases: releases(evidence.seen),
        findings,
        found: Escalations::default(),
    };
    for course in courses {
        judge.course(course);
    }
    judge.found
}

/// An alert as the devices read it: all that have one position.
struct Release {
    devices: Recipients,
    first_read: Instant,
    priorities: BTreeSet<Option<Priority>>,
}

/// By broadcast, in the order of their positions.
fn releases(seen: &[Vec<Seen>]) -> BTreeMap<&str, BTreeMap<u64, Release>> {
    let mut all: BTreeMap<&str, BTreeMap<u64, Release>> = BTreeMap::new();
    for (device, frames) in seen.iter().enumerate() {
        for frame in frames.iter().filter(|frame| frame.escalated) {
            let of_broadcast = all.entry(&frame.id).or_default();
            let release = of_broadcast.entry(frame.position).or_insert_with(|| Release {
                devices: Recipients::new(),
                first_read: frame.at,
                priorities: BTreeSet::new(),
            });
            release.devices.insert(device);
            release.first_read = release.first_read.min(frame.at);
            release.priorities.insert(frame.priority);
        }
    }
    all
}

struct Judge<'a> {
    evidence: &'a Evidence<'a>,
    releases: BTreeMap<&'a str, BTreeMap<u64, Release>>,
    findings: &'a mut Findings,
    found: Escalations,
}

impl Judge<'_> {
    fn course(&mut self, course: &Course<'_>) {
        self.found.expected += course.steps.len() as u64;
        let shown = self.evidence.shown.get(course.id);
        let mut releases = self.releases.remove(course.id).unwrap_or_default().into_values();
        let mut left: Vec<&Planned> = course.steps.iter().collect();
        for taken in shown.iter().flat_map(|shown| &shown.escalations) {
            // a step that alerts nobody has no release
            let release = if taken.alerted > 0 { releases.next() } else { None };
            let Some(at) = left.iter().position(|planned| planned.index == taken.step) else {
                self.unexpected(course, taken, release);
                continue;
            };
            let planned = left.remove(at);
            self.found.taken += 1;
            self.time(course, planned, taken);
            self.alert(course, planned, Some(taken), release);
        }
        for planned in left {
            self.findings
                .add(|| format!("{}: step {} was not taken", course.entry.reference, planned.index));
            self.alert(course, planned, None, None);
        }
        for release in releases {
            self.findings
                .add(|| format!("{}: alerted once more than it has steps", course.entry.reference));
            self.found.alerts.wrong += release.devices.len() as u64;
        }
    }

    fn unexpected(&mut self, course: &Course<'_>, taken: &Taken, release: Option<Release>) {
        self.found.wrong += 1;
        self.found.alerts.wrong += release.map_or(0, |release| release.devices.len() as u64);
        let why = if course.steps.iter().any(|planned| planned.index == taken.step) {
            "was taken twice"
        } else {
            "was taken, and must not be"
        };
        self.findings
            .add(|| format!("{}: step {} {why}", course.entry.reference, taken.step));
    }

    /// By the cluster's own time: from when it went out to when the step was taken.
    fn time(&mut self, course: &Course<'_>, planned: &Planned, taken: &Taken) {
        let shown = self.evidence.shown.get(course.id);
        let out = shown.and_then(|shown| clock::parse_rfc3339(&shown.released_at));
        let after = out.zip(clock::parse_rfc3339(&taken.at)).map(|(out, at)| at - out);
        let due = planned.after.as_millis() as i64;
        match after {
            Some(after) if after >= due => {
                let late = Duration::from_millis((after - due) as u64);
                self.found.late_max = self.found.late_max.max(late);
            }
            after => {
                self.found.wrong += 1;
                self.findings.add(|| {
                    let (name, index) = (&course.entry.reference, planned.index);
                    format!("{name}: step {index} was due after {due} ms and taken after {after:?}")
                });
            }
        }
    }

    /// What the devices read of one step.
    fn alert(&mut self, course: &Course<'_>, planned: &Planned, taken: Option<&Taken>, release: Option<Release>) {
        let (must, may) = self.must_and_may(course, planned, release.as_ref());
        let (read, priorities) = release
            .map(|release| (release.devices, release.priorities))
            .unwrap_or_default();
        let alerts = &mut self.found.alerts;
        let (missing, wrong) = (&must - &read, &read - &may);
        alerts.expected += must.len() as u64;
        alerts.made += must.intersection(&read).count() as u64;
        alerts.missing += missing.len() as u64;
        alerts.wrong += wrong.len() as u64;
        let step = format!("{}: step {}", course.entry.reference, planned.index);
        for (devices, why) in [(missing, "did not alert"), (wrong, "alerted")] {
            if let Some(device) = devices.first() {
                let (user, more) = (&self.evidence.users[*device], devices.len() - 1);
                self.findings
                    .add(|| format!("{step} {why} {user}, and {more} more like this"));
            }
        }
        if priorities.iter().any(|priority| *priority != Some(planned.priority)) {
            self.found.alerts.wrong += 1;
            self.findings
                .add(|| format!("{step} alerted as {priorities:?}, not as {}", planned.priority.name()));
        }
        let (alerted, widened) = (must.len() as u64..=may.len() as u64, planned.widened.len() as u64);
        if taken.is_some_and(|taken| !alerted.contains(&taken.alerted) || taken.widened != widened) {
            self.found.wrong += 1;
            self.findings
                .add(|| format!("{step} had to alert {alerted:?} and to add {widened}, the cluster says {taken:?}"));
        }
    }

    /// Who had to be alerted, and who else may have been.
    fn must_and_may(
        &self,
        course: &Course<'_>,
        planned: &Planned,
        release: Option<&Release>,
    ) -> (Recipients, Recipients) {
        let (mut must, mut may) = (planned.alerted.clone(), planned.alerted.clone());
        let Some(release) = release else { return (must, may) };
        let none = BTreeMap::new();
        let confirmed = self.evidence.confirmations.get(course.id).unwrap_or(&none);
        let due = course.out + planned.after;
        let so_far = course.steps.iter().take_while(|step| step.after <= planned.after);
        let known = so_far.flat_map(|step| &step.widened).chain(&course.entry.recipients);
        for device in known.filter(|_| course.entry.acknowledge) {
            let confirmation = confirmed.get(device);
            if confirmation.is_none_or(|confirmation| confirmation.begun >= release.first_read) {
                must.insert(*device);
            }
            let answered = confirmation.and_then(|confirmation| confirmation.answered);
            if answered.is_none_or(|answered| answered + CLOCKS_APART >= due) {
                may.insert(*device);
            }
        }
        (must, may)
    }
}

#[cfg(test)]
mod tests {
    use super::{Alerts, Escalations, Evidence, judge};
    use crate::{
        base::clock,
        lab::{
            afterwards::Taken,
            confirmed::{Confirmation, Confirmations},
            course::courses,
            findings::Findings,
            fixture::{entry, planned, shown, taken},
            ledger::Seen,
        },
        model::Priority,
    };
    use std::time::{Duration, Instant};

    const USERS: [&str; 4] = ["zero", "one", "two", "three"];

    fn read(position: u64, at: Instant) -> Seen {
        Seen {
            id: "a".into(),
            title: "T".into(),
            priority: Some(Priority::High),
            position,
            at,
            connection: 1,
            escalated: true,
        }
    }

    /// Seconds after it was out at which a device sends its confirmation, and has the answer.
    type Times = (u64, Option<u64>);

    /// `a` goes to 0, who confirms, and 1, who is silent; after 30 s the step alerts 1 and calls in 2, and both read it after 31 s.
    struct Day {
        out: Instant,
        /// Device, position and seconds of each alert that was read.
        reads: Vec<(usize, u64, u64)>,
        confirmed: Vec<(usize, Times)>,
        taken: Vec<Taken>,
        priority: Priority,
    }

    impl Day {
        fn good() -> Self {
            Self {
                out: clock::now(),
                reads: vec![(1, 7, 31), (2, 7, 31)],
                confirmed: vec![(0, (0, Some(1))), (1, (31, Some(32))), (2, (31, Some(32)))],
                taken: vec![taken(0, 30_200, 2, 1)],
                priority: Priority::High,
            }
        }

        fn judged(&self) -> (Escalations, Vec<String>) {
            let seconds = |count: u64| self.out + Duration::from_secs(count);
            let mut seen = vec![Vec::new(); USERS.len()];
            for (device, position, at) in &self.reads {
                let frame = Seen {
                    priority: Some(self.priority),
                    ..read(*position, seconds(*at))
                };
                seen[*device].push(frame);
            }
            let confirmation = |(device, (begun, answered)): &(usize, Times)| {
                let times = Confirmation {
                    begun: seconds(*begun),
                    answered: answered.map(seconds),
                };
                (*device, times)
            };
            let confirmations: Confirmations = [("a".into(), self.confirmed.iter().map(confirmation).collect())].into();
            let users = USERS.map(str::to_owned);
            let evidence = Evidence {
                users: &users,
                seen: &seen,
                confirmations: &confirmations,
                shown: &shown(2, self.taken.clone()),
            };
            let entries = [entry("a", vec![planned(0, 30, &[1, 2], &[2])], self.out)];
            let mut findings = Findings::default();
            let found = judge(&courses(&entries), &evidence, &mut findings);
            (found, findings.words().to_vec())
        }
    }

    fn good() -> Escalations {
        Escalations {
            expected: 1,
            taken: 1,
            wrong: 0,
            late_max: Duration::from_millis(200),
            alerts: Alerts {
                expected: 2,
                made: 2,
                missing: 0,
                wrong: 0,
            },
        }
    }

    /// The good day, changed.
    #[track_caller]
    fn check(change: impl FnOnce(&mut Day), expected: impl FnOnce(&mut Escalations)) {
        let (mut day, mut wanted) = (Day::good(), good());
        change(&mut day);
        expected(&mut wanted);
        let (found, findings) = day.judged();
        assert_eq!(found, wanted, "{findings:?}");
        assert_eq!(found.is_good(), findings.is_empty(), "{findings:?}");
    }

    #[test]
    fn a_step_that_alerts_whom_it_must_is_good_however_often_they_read_it() {
        check(|_| {}, |_| {});
        check(|day| day.reads.push((1, 7, 40)), |_| {});
    }

    #[test]
    fn who_was_not_alerted_is_missing_and_who_had_confirmed_is_wrong() {
        check(
            |day| day.reads.truncate(1),
            |found| (found.alerts.made, found.alerts.missing) = (1, 1),
        );
        check(|day| day.reads.push((0, 7, 31)), |found| found.alerts.wrong = 1);
        check(|day| day.reads.push((3, 7, 31)), |found| found.alerts.wrong = 1);
        check(|day| day.priority = Priority::Low, |found| found.alerts.wrong = 1);
    }

    #[test]
    fn who_did_not_confirm_in_time_must_be_alerted_too_and_in_between_may_be() {
        let alerted = |day: &mut Day| {
            day.reads.push((0, 7, 31));
            day.taken[0].alerted = 3;
        };
        let confirms = |times: Times| move |day: &mut Day| day.confirmed[0].1 = times;
        for times in [(31, Some(33)), (40, None)] {
            check(
                |day| {
                    confirms(times)(day);
                    alerted(day);
                },
                |found| (found.alerts.expected, found.alerts.made) = (3, 3),
            );
            check(confirms(times), |found| {
                (found.alerts.expected, found.alerts.missing, found.wrong) = (3, 1, 1);
            });
        }
        for times in [(29, Some(30)), (29, Some(35)), (10, None)] {
            check(confirms(times), |_| {});
            check(
                |day| {
                    confirms(times)(day);
                    alerted(day);
                },
                |_| {},
            );
        }
    }

    #[test]
    fn a_step_is_taken_once_in_its_time_or_it_is_wrong() {
        check(
            |day| (day.reads, day.taken) = (Vec::new(), Vec::new()),
            |found| {
                (found.taken, found.late_max) = (0, Duration::ZERO);
                (found.alerts.made, found.alerts.missing) = (0, 2);
            },
        );
        check(
            |day| {
                day.taken.push(taken(0, 30_200, 1, 0));
                day.reads.push((1, 8, 31));
            },
            |found| (found.wrong, found.alerts.wrong) = (1, 1),
        );
        check(|day| day.taken.push(taken(1, 31_000, 0, 0)), |found| found.wrong = 1);
        check(|day| day.reads.push((1, 8, 31)), |found| found.alerts.wrong = 1);
        check(
            |day| day.taken[0] = taken(0, 29_999, 2, 1),
            |found| (found.wrong, found.late_max) = (1, Duration::ZERO),
        );
    }

    #[test]
    fn the_cluster_must_count_what_the_devices_saw() {
        check(|day| day.taken[0].alerted = 5, |found| found.wrong = 1);
        check(|day| day.taken[0].widened = 0, |found| found.wrong = 1);
        check(
            |day| day.taken[0].at = "never".into(),
            |found| {
                (found.wrong, found.late_max) = (1, Duration::ZERO);
            },
        );
    }
}
