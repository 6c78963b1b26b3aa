//! What outputs were called, against what had to be: one call for each output of each step. Pure: it is told everything.
//!
//! A call that comes again with the same id is a repetition, which a receiver drops; another id for the same step is a second call.

use super::{afterwards::Shown, course::Course, findings::Findings};
use std::collections::{BTreeMap, BTreeSet};

/// One request that reached an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// By its address.
    pub output: String,
    /// `webhook-id`.
    pub id: String,
    /// `None` where the body tells of no step.
    pub told: Option<Told>,
    pub is_signed: bool,
}

/// What the body says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub broadcast: String,
    pub step: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    pub expected: u64,
    pub delivered: u64,
    /// With an id that the output has had.
    pub repeated: u64,
    /// Without a signature that holds.
    pub unsigned: u64,
    pub missing: u64,
    /// For no step that had to be taken, a second time with another id, or known to the cluster as something else than delivered.
    pub wrong: u64,
}

/// Broadcast, step, output.
type Key<'a> = (&'a str, u64, &'a str);

impl Calls {
    pub fn is_good(&self) -> bool {
        self.delivered == self.expected && self.missing + self.unsigned + self.wrong == 0
    }
}

/// `shown` is what the cluster says, by the id of the broadcast.
pub fn judge(
    courses: &[Course<'_>],
    calls: &[Call],
    shown: &BTreeMap<String, Shown>,
    findings: &mut Findings,
) -> Calls {
    let expected = expected(courses);
    let mut found = Calls {
        expected: expected.len() as u64,
        ..Calls::default()
    };
    let mut had: BTreeMap<Key<'_>, &str> = BTreeMap::new();
    for call in calls {
        let told = call.told.as_ref();
        let key = told.map(|told| (told.broadcast.as_str(), told.step, call.output.as_str()));
        let wrong = match key {
            _ if !call.is_signed => {
                found.unsigned += 1;
                Some("is not signed")
            }
            Some(key) if expected.contains(&key) => match had.get(&key) {
                None => {
                    had.insert(key, &call.id);
                    None
                }
                Some(first) if *first == call.id => {
                    found.repeated += 1;
                    None
                }
                Some(_) => Some("is the second one for its step"),
            },
            Some(_) => Some("is for a step that must not be taken"),
            None => Some("tells of no step"),
        };
        if let Some(why) = wrong {
            found.wrong += u64::from(call.is_signed);
            findings.add(|| format!("the call {} of {} {why}", call.id, call.output));
        }
    }
    found.delivered = had.len() as u64;
    for key in expected.iter().filter(|key| !had.contains_key(*key)) {
        found.missing += 1;
        findings.add(|| format!("{}: step {} did not call {}", reference(courses, key.0), key.1, key.2));
    }
    for (key, state) in unfinished(shown).filter(|(key, _)| had.contains_key(key)) {
        found.wrong += 1;
        let name = reference(courses, key.0);
        findings.add(|| format!("{name}: step {} called {}, and the cluster says {state}", key.1, key.2));
    }
    found
}

fn expected<'a>(courses: &[Course<'a>]) -> BTreeSet<Key<'a>> {
    let of_course = |course: &Course<'a>| {
        let id = course.id;
        let steps = course.steps.iter();
        steps.flat_map(move |step| step.outputs.iter().map(move |output| (id, step.index, output.as_str())))
    };
    courses.iter().flat_map(of_course).collect()
}

fn reference<'a>(courses: &[Course<'a>], id: &'a str) -> &'a str {
    let course = courses.iter().find(|course| course.id == id);
    course.map_or(id, |course| course.entry.reference.as_str())
}

/// Calls of which the cluster does not say that they were delivered.
fn unfinished(shown: &BTreeMap<String, Shown>) -> impl Iterator<Item = (Key<'_>, &str)> {
    shown.iter().flat_map(|(id, shown)| {
        shown.escalations.iter().flat_map(move |taken| {
            let calls = taken.outputs.iter().filter(|call| call.state != "delivered");
            calls.map(move |call| ((id.as_str(), taken.step, call.output.as_str()), call.state.as_str()))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::{Call, Calls, Told, judge};
    use crate::{
        base::clock,
        lab::{
            course::courses,
            findings::Findings,
            fixture::{entry, planned, shown, taken},
        },
    };

    fn call(id: &str, step: u64) -> Call {
        Call {
            output: "siren".into(),
            id: id.into(),
            told: Some(Told {
                broadcast: "a".into(),
                step,
            }),
            is_signed: true,
        }
    }

    /// Two steps call the siren; of the second the cluster says `state`.
    #[track_caller]
    fn check(calls: &[Call], state: &str, expected: Calls) {
        let entries = [entry(
            "a",
            vec![planned(0, 30, &[1], &[]), planned(1, 50, &[1], &[])],
            clock::now(),
        )];
        let mut second = taken(1, 50_000, 1, 0);
        second.outputs[0].state = state.into();
        let mut findings = Findings::default();
        let shown = shown(2, vec![taken(0, 30_000, 1, 0), second]);
        let found = judge(&courses(&entries), calls, &shown, &mut findings);
        assert_eq!(found, expected, "{findings:?}");
        assert_eq!(found.is_good(), findings.words().is_empty(), "{findings:?}");
    }

    #[test]
    fn each_step_calls_once_and_may_repeat_itself() {
        let all = Calls {
            expected: 2,
            delivered: 2,
            ..Calls::default()
        };
        let good = [call("x", 0), call("y", 1)];
        check(&good, "delivered", all);
        let twice = [call("x", 0), call("y", 1), call("x", 0)];
        check(&twice, "delivered", Calls { repeated: 1, ..all });
        let second = [call("x", 0), call("y", 1), call("z", 1)];
        check(&second, "delivered", Calls { wrong: 1, ..all });
        check(&good, "given_up", Calls { wrong: 1, ..all });
    }

    #[test]
    fn what_is_unsigned_missing_or_for_nothing_is_told() {
        let one = Calls {
            expected: 2,
            delivered: 1,
            missing: 1,
            ..Calls::default()
        };
        check(&[call("x", 0)], "waiting", one);
        let unsigned = Call {
            is_signed: false,
            ..call("y", 1)
        };
        check(&[call("x", 0), unsigned], "delivered", Calls { unsigned: 1, ..one });
        let elsewhere = Call {
            output: "radio".into(),
            ..call("y", 1)
        };
        let nothing = Call {
            told: None,
            ..call("z", 1)
        };
        let strange = [call("x", 0), elsewhere, nothing, call("w", 2)];
        check(&strange, "delivered", Calls { wrong: 3, ..one });
        let none = Calls {
            delivered: 0,
            missing: 2,
            ..one
        };
        check(&[], "waiting", none);
    }
}
