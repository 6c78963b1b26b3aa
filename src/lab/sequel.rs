//! What followed from a day's broadcasts, against what had to: confirmations, steps, calls, and what must not be needed. Pure.

use super::{
    afterwards::Afterwards,
    alerts::{self, Escalations, Evidence},
    called::{self, Call, Calls},
    confirmed::{self, Confirmed},
    course::Course,
    findings::Findings,
};
use std::time::Instant;

/// What a day was played under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conditions {
    /// Nothing broke: nobody needs to be written to again, nothing to be called again.
    Calm,
    Faults,
}

#[derive(Debug)]
pub struct Sequel {
    pub confirmed: Confirmed,
    pub escalations: Escalations,
    pub calls: Calls,
    /// People who were written to again because their receipt did not come.
    pub retries: u64,
    /// `None` when something had expired by then: what becomes of that is known only a while later.
    pub dead_letters: Option<DeadLetters>,
    pub findings: Findings,
    conditions: Conditions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadLetters {
    pub expected: u64,
    pub found: u64,
}

/// `calls` are what the outputs heard; the cluster was asked at `asked_at`.
pub fn judge(
    courses: &[Course<'_>],
    evidence: &Evidence<'_>,
    calls: &[Call],
    (afterwards, asked_at): (&Afterwards, Instant),
    conditions: Conditions,
) -> Sequel {
    let mut findings = Findings::default();
    let Evidence {
        users,
        confirmations,
        shown,
        seen: _,
    } = evidence;
    let has_expired = courses.iter().any(|course| course.out + course.entry.lives <= asked_at);
    let dead_letters = DeadLetters {
        expected: 0,
        found: afterwards.dead_letters,
    };
    let mut sequel = Sequel {
        confirmed: confirmed::judge(courses, users, confirmations, shown, &mut findings),
        escalations: alerts::judge(courses, evidence, &mut findings),
        calls: called::judge(courses, calls, shown, &mut findings),
        retries: afterwards.retries,
        dead_letters: (!has_expired).then_some(dead_letters),
        findings,
        conditions,
    };
    sequel.tell_needless();
    sequel
}

impl Sequel {
    pub fn is_good(&self) -> bool {
        let is_quiet = self
            .dead_letters
            .is_none_or(|letters| letters.found == letters.expected);
        let is_calm = match self.conditions {
            Conditions::Calm => self.retries + self.calls.repeated == 0,
            Conditions::Faults => true,
        };
        self.confirmed.is_good() && self.escalations.is_good() && self.calls.is_good() && is_quiet && is_calm
    }

    fn tell_needless(&mut self) {
        let (retries, repeated) = (self.retries, self.calls.repeated);
        if self.conditions == Conditions::Calm && retries > 0 {
            self.findings
                .add(|| format!("{retries} people were written to again, and nothing was broken"));
        }
        if self.conditions == Conditions::Calm && repeated > 0 {
            self.findings
                .add(|| format!("{repeated} calls were made again, and nothing was broken"));
        }
        if let Some(DeadLetters { found: found @ 1.., .. }) = self.dead_letters {
            self.findings
                .add(|| format!("{found} dead letters, and nothing has expired"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Conditions, DeadLetters, judge};
    use crate::{
        base::clock,
        lab::{
            afterwards::Afterwards,
            alerts::Evidence,
            called::{Call, Told},
            confirmed::{Confirmation, Confirmations},
            course::courses,
            fixture::{entry, planned, shown, taken},
        },
    };
    use std::time::Duration;

    /// A step that alerts nobody calls the siren so many times; whether the day is good, its dead letters, and what is said of it.
    fn played(
        calls: usize,
        afterwards: Afterwards,
        asked: u64,
        conditions: Conditions,
    ) -> (bool, Option<DeadLetters>, String) {
        let out = clock::now();
        let entries = [entry("a", vec![planned(0, 30, &[], &[])], out)];
        let confirmation = Confirmation {
            begun: out,
            answered: Some(out),
        };
        let confirmations: Confirmations = [("a".into(), [(0, confirmation), (1, confirmation)].into())].into();
        let users = ["zero", "one"].map(str::to_owned);
        let evidence = Evidence {
            users: &users,
            seen: &[],
            confirmations: &confirmations,
            shown: &shown(2, vec![taken(0, 30_000, 0, 0)]),
        };
        let call = Call {
            output: "siren".into(),
            id: "x".into(),
            told: Some(Told {
                broadcast: "a".into(),
                step: 0,
            }),
            is_signed: true,
        };
        let asked_at = out + Duration::from_secs(asked);
        let sequel = judge(
            &courses(&entries),
            &evidence,
            &vec![call; calls],
            (&afterwards, asked_at),
            conditions,
        );
        (
            sequel.is_good(),
            sequel.dead_letters,
            sequel.findings.words().join("; "),
        )
    }

    #[test]
    fn what_is_written_or_called_again_is_wrong_when_nothing_broke() {
        for (calls, retries, in_calm) in [(1, 0, true), (1, 3, false), (2, 0, false)] {
            let afterwards = || Afterwards {
                retries,
                ..Afterwards::default()
            };
            let (is_good, _, findings) = played(calls, afterwards(), 60, Conditions::Calm);
            assert_eq!((is_good, findings.is_empty()), (in_calm, in_calm), "{findings}");
            let (is_good, _, findings) = played(calls, afterwards(), 60, Conditions::Faults);
            assert!(is_good && findings.is_empty(), "{findings}");
        }
    }

    #[test]
    fn a_dead_letter_is_wrong_unless_something_has_expired() {
        let afterwards = |dead_letters| Afterwards {
            dead_letters,
            ..Afterwards::default()
        };
        let none = DeadLetters { expected: 0, found: 0 };
        assert_eq!(played(1, afterwards(0), 60, Conditions::Calm).1, Some(none));
        let (is_good, letters, findings) = played(1, afterwards(2), 60, Conditions::Calm);
        assert_eq!(letters, Some(DeadLetters { found: 2, ..none }));
        assert!(!is_good && findings.starts_with("2 dead letters"), "{findings}");
        let (is_good, letters, _) = played(1, afterwards(2), 600, Conditions::Calm);
        assert_eq!((is_good, letters), (true, None));
    }
}
