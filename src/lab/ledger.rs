//! The bookkeeping of a rehearsal: what had to be accepted and delivered, what was, and the difference. Pure: it is told everything.
//! What had to follow when nobody confirmed is judged in [`super::alerts`], [`super::confirmed`] and [`super::called`].

use super::{
    findings::Findings,
    oracle::{Device, Recipients, plan::Plan},
};
use crate::model::{PerPriority, Priority};
use hdrhistogram::Histogram;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// A broadcast of the script and what came of it.
#[derive(Clone, Debug)]
pub struct Entry {
    pub reference: String,
    pub priority: Priority,
    pub title: String,
    /// By the oracle; empty when it is not to be sent.
    pub recipients: Recipients,
    /// Every recipient's device confirms it, at once or when it is alerted again.
    pub acknowledge: bool,
    /// What must follow from it.
    pub plan: Plan,
    pub lives: Duration,
    /// By the script.
    pub targeted: u64,
    /// The code that it must be refused with.
    pub refusal: Option<String>,
    pub verdict: Verdict,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Nobody has tried yet.
    NotSent,
    Accepted {
        id: String,
        targeted: u64,
        /// When the answer was read.
        at: Instant,
    },
    Refused {
        status: u16,
        code: String,
    },
    /// No node answered in time.
    NoAnswer,
}

/// A broadcast frame that a device read.
#[derive(Clone, Debug)]
pub struct Seen {
    pub id: String,
    pub title: String,
    pub priority: Option<Priority>,
    pub position: u64,
    pub at: Instant,
    /// Counts the device's connections: order is promised within one.
    pub connection: u32,
    /// The alert of a step, not a repetition.
    pub escalated: bool,
}

#[derive(Debug)]
pub struct Judgement {
    pub verdicts: Verdicts,
    pub deliveries: Deliveries,
    /// Publish accepted to bytes read by the device, in µs. What a device reads before the publisher has its answer counts as 0.
    pub latency: PerPriority<Histogram<u64>>,
    pub findings: Findings,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdicts {
    pub expected: u64,
    pub unexpected: u64,
    /// Of the unexpected: accepted, though a rule must refuse it.
    pub not_enforced: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deliveries {
    pub expected: u64,
    pub made: u64,
    pub repeated: u64,
    pub missing: u64,
    pub wrong: u64,
    /// Read after a later one of the same priority, on one connection.
    pub disordered: u64,
}

impl Judgement {
    pub fn is_good(&self) -> bool {
        let Deliveries {
            expected,
            made,
            repeated: _,
            missing,
            wrong,
            disordered,
        } = self.deliveries;
        made == expected && missing + wrong + disordered + self.verdicts.unexpected == 0
    }
}

/// Compares what had to happen with what the devices saw; `seen` is by device.
pub fn judge(entries: &[Entry], users: &[String], seen: &[Vec<Seen>]) -> Judgement {
    let mut judge = Judge::new(entries, users);
    judge.verdicts();
    for (device, seen) in seen.iter().enumerate() {
        judge.device(device, seen);
    }
    judge.missing();
    judge.judgement
}

struct Judge<'a> {
    entries: &'a [Entry],
    users: &'a [String],
    by_id: BTreeMap<&'a str, usize>,
    got: Vec<Recipients>,
    judgement: Judgement,
}

impl<'a> Judge<'a> {
    fn new(entries: &'a [Entry], users: &'a [String]) -> Self {
        let id = |entry: &'a Entry| match &entry.verdict {
            Verdict::Accepted { id, .. } => Some(id.as_str()),
            Verdict::NotSent | Verdict::Refused { .. } | Verdict::NoAnswer => None,
        };
        Self {
            entries,
            users,
            by_id: entries
                .iter()
                .zip(0..)
                .filter_map(|(entry, at)| Some((id(entry)?, at)))
                .collect(),
            got: vec![Recipients::new(); entries.len()],
            judgement: Judgement {
                verdicts: Verdicts::default(),
                deliveries: Deliveries::default(),
                latency: std::array::from_fn(|_| histogram()),
                findings: Findings::default(),
            },
        }
    }

    fn verdicts(&mut self) {
        for entry in self.entries {
            let oracle = entry.recipients.len() as u64;
            let wrong = match &entry.verdict {
                Verdict::Refused { code, .. } if entry.refusal.as_ref() == Some(code) => {
                    self.judgement.verdicts.expected += 1;
                    continue;
                }
                Verdict::Accepted { .. } if entry.refusal.is_some() => {
                    self.judgement.verdicts.not_enforced += 1;
                    format!(
                        "accepted; it must be refused with {}",
                        entry.refusal.as_deref().unwrap_or_default()
                    )
                }
                Verdict::Accepted { targeted, .. } if [*targeted, oracle] == [entry.targeted; 2] => {
                    self.judgement.verdicts.expected += 1;
                    continue;
                }
                Verdict::Accepted { targeted, .. } => {
                    format!(
                        "targeted {targeted}, the oracle finds {oracle}, the script says {}",
                        entry.targeted
                    )
                }
                Verdict::Refused { status, code } => format!("answered {status} {code}"),
                Verdict::NoAnswer => "no node took it in time".into(),
                Verdict::NotSent => "never sent".into(),
            };
            self.judgement.verdicts.unexpected += 1;
            self.judgement.findings.add(|| format!("{}: {wrong}", entry.reference));
        }
    }

    fn device(&mut self, device: Device, seen: &[Seen]) {
        let mut known = BTreeSet::new();
        let mut last = BTreeMap::new();
        for frame in seen {
            let first_time = known.insert(frame.id.as_str());
            match self.by_id.get(frame.id.as_str()).copied() {
                Some(at) if self.entries[at].recipients.contains(&device) && self.entries[at].title == frame.title => {
                    if first_time {
                        self.made(at, device, frame.at);
                    } else if !frame.escalated {
                        self.judgement.deliveries.repeated += 1;
                    }
                }
                // whom a step calls in is no recipient of the first alert
                Some(at) if self.entries[at].plan.calls_in(device) && self.entries[at].title == frame.title => {}
                at => {
                    let name = at.map_or(frame.id.as_str(), |at| self.entries[at].reference.as_str());
                    self.judgement.deliveries.wrong += 1;
                    self.judgement.findings.add(|| {
                        format!(
                            "{} read {name} {:?}, which is not for it",
                            self.users[device], frame.title
                        )
                    });
                }
            }
            let before = last.insert((frame.connection, frame.priority), frame.position);
            if first_time && before.is_some_and(|before| before >= frame.position) {
                self.judgement.deliveries.disordered += 1;
                self.judgement.findings.add(|| {
                    format!(
                        "{} read position {} after {before:?}",
                        self.users[device], frame.position
                    )
                });
            }
        }
    }

    fn made(&mut self, at: usize, device: Device, read: Instant) {
        let entry = &self.entries[at];
        self.got[at].insert(device);
        self.judgement.deliveries.made += 1;
        if let Verdict::Accepted { at: accepted, .. } = entry.verdict {
            record(
                &mut self.judgement.latency[entry.priority.index()],
                read.saturating_duration_since(accepted),
            );
        }
    }

    fn missing(&mut self) {
        for (at, entry) in self.entries.iter().enumerate() {
            self.judgement.deliveries.expected += entry.recipients.len() as u64;
            let missing = &entry.recipients - &self.got[at];
            self.judgement.deliveries.missing += missing.len() as u64;
            if let Some(device) = missing.first() {
                let (count, user) = (missing.len(), self.users[*device].clone());
                self.judgement
                    .findings
                    .add(|| format!("{}: {count} devices did not get it, {user} among them", entry.reference));
            }
        }
    }
}

/// Microseconds at three digits.
pub fn histogram() -> Histogram<u64> {
    #[allow(clippy::expect_used)] // three digits are always accepted
    Histogram::new(3).expect("a histogram of three digits")
}

pub fn record(histogram: &mut Histogram<u64>, length: Duration) {
    // It grows by itself; only a length of centuries is refused.
    let _ = histogram.record(length.as_micros() as u64);
}

#[cfg(test)]
mod tests {
    use super::{Deliveries, Entry, Plan, Seen, Verdict, Verdicts, histogram, judge, record};
    use crate::{
        base::clock,
        lab::oracle::{Recipients, plan::Planned},
        model::Priority,
    };
    use std::time::{Duration, Instant};

    fn entry(id: &str, recipients: &[usize], at: Instant) -> Entry {
        let targeted = recipients.len() as u64;
        Entry {
            reference: format!("ref-{id}"),
            priority: Priority::High,
            title: id.to_uppercase(),
            recipients: recipients.iter().copied().collect(),
            acknowledge: false,
            plan: Plan::default(),
            lives: Duration::from_secs(60),
            targeted,
            refusal: None,
            verdict: Verdict::Accepted {
                id: id.into(),
                targeted,
                at,
            },
        }
    }

    fn seen(id: &str, position: u64, at: Instant) -> Seen {
        Seen {
            id: id.into(),
            title: id.to_uppercase(),
            priority: Some(Priority::High),
            position,
            at,
            connection: 1,
            escalated: false,
        }
    }

    /// Two broadcasts, `a` to devices 0 and 1 and `b` to device 1; what each device saw as words like `a1 b2`, a `!` for an escalation.
    #[track_caller]
    fn check(words: [&str; 2], expected: Deliveries) {
        let at = clock::now();
        let entries = [entry("a", &[0, 1], at), entry("b", &[1], at)];
        let read = |word: &str| {
            let mut frame = seen(&word[..1], word[1..2].parse().unwrap(), at + Duration::from_millis(2));
            frame.escalated = word.ends_with('!');
            frame
        };
        let seen = words.map(|words| words.split_whitespace().map(read).collect());
        let judgement = judge(&entries, &["zero".into(), "one".into()], &seen);
        assert_eq!(judgement.deliveries, expected, "{:?}", judgement.findings);
        let good = Deliveries {
            repeated: 0,
            ..expected
        } == Deliveries {
            expected: 3,
            made: 3,
            ..Deliveries::default()
        };
        assert_eq!(judgement.is_good(), good);
        assert_eq!(judgement.latency[1].len(), expected.made);
    }

    #[test]
    fn every_delivery_is_made_missing_wrong_or_repeated() {
        let all = Deliveries {
            expected: 3,
            made: 3,
            ..Deliveries::default()
        };
        check(["a1", "a1 b2"], all);
        check(["a1 a1", "a1 b2 a1"], Deliveries { repeated: 2, ..all });
        check(["a1 a3!", "a1 b2"], all);
        check(
            ["a1", "a1"],
            Deliveries {
                made: 2,
                missing: 1,
                ..all
            },
        );
        check(
            ["", ""],
            Deliveries {
                made: 0,
                missing: 3,
                ..all
            },
        );
        check(["a1 b2", "a1 b2"], Deliveries { wrong: 1, ..all });
        check(["a1 x2", "a1 b2"], Deliveries { wrong: 1, ..all });
        check(["a1", "b2 a1"], Deliveries { disordered: 1, ..all });
    }

    #[test]
    fn whom_a_step_calls_in_is_no_stranger_and_everybody_else_is() {
        let at = clock::now();
        let mut entry = entry("a", &[0], at);
        entry.plan.steps.push(Planned {
            index: 0,
            after: Duration::from_secs(30),
            alerted: Recipients::new(),
            widened: [1].into(),
            priority: Priority::High,
            outputs: std::collections::BTreeSet::new(),
        });
        let escalated = Seen {
            escalated: true,
            ..seen("a", 2, at)
        };
        let other_words = Seen {
            title: "other".into(),
            ..escalated.clone()
        };
        let users = ["zero", "one", "two"].map(str::to_owned);
        let judged = |seen: [Vec<Seen>; 3]| judge(std::slice::from_ref(&entry), &users, &seen).deliveries;
        let all = Deliveries {
            expected: 1,
            made: 1,
            ..Deliveries::default()
        };
        let first = seen("a", 1, at);
        assert_eq!(judged([vec![first.clone()], vec![escalated.clone()], vec![]]), all);
        let wrong = Deliveries { wrong: 2, ..all };
        assert_eq!(judged([vec![first], vec![other_words], vec![escalated]]), wrong);
    }

    #[test]
    fn long_waits_are_kept_as_long_as_they_were() {
        let mut histogram = histogram();
        record(&mut histogram, Duration::from_secs(90));
        assert!(histogram.max() >= 90_000_000);
    }

    #[test]
    fn verdicts_are_counted_against_script_and_oracle() {
        let at = clock::now();
        let with = |verdict| Entry {
            verdict,
            ..entry("a", &[0], at)
        };
        let refused = Verdict::Refused {
            status: 422,
            code: "X".into(),
        };
        let mut off_by_one = entry("b", &[0], at);
        off_by_one.targeted = 2;
        let entries = [
            entry("a", &[0], at),
            Entry {
                refusal: Some("X".into()),
                ..with(refused.clone())
            },
            Entry {
                refusal: Some("Y".into()),
                ..with(refused.clone())
            },
            Entry {
                refusal: Some("Y".into()),
                ..entry("c", &[0], at)
            },
            with(refused),
            with(Verdict::NoAnswer),
            with(Verdict::NotSent),
            off_by_one,
        ];
        let judgement = judge(&entries, &["zero".into()], &[Vec::new()]);
        assert_eq!(
            judgement.verdicts,
            Verdicts {
                expected: 2,
                unexpected: 6,
                not_enforced: 1
            }
        );
        assert!(
            judgement.findings.words().iter().any(|line| line.contains("422 X")),
            "{:?}",
            judgement.findings
        );
    }
}
