//! Whether a check is passed, and whether all are. Pure, and strict in one direction: a pass needs a check that ran to its end, at least
//! one figure, every figure within its bound, and nothing left out. Whatever else happens is another word.

use super::proof::Proof;
use crate::lab::results::Outcome as Reached;
use std::time::Duration;

/// How a check came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It looked at all that it wanted to.
    Ran,
    /// It could not go on: the nodes did not do what every check needs.
    BrokeOff(String),
    TimedOut(Duration),
    /// The check itself is broken.
    Panicked,
    /// It was never begun.
    Skipped(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    Failed,
    NotRun,
}

impl Outcome {
    pub const fn words(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::NotRun => "not run",
        }
    }
}

/// Of one check. What was seen to be wrong stays wrong, however the check ended.
pub fn outcome(ending: &Ending, proof: &Proof) -> Outcome {
    let reached = |what: Reached| proof.targets().iter().any(|target| target.outcome() == what);
    let is_wrong = reached(Reached::Missed) || !proof.findings().is_empty();
    match ending {
        Ending::BrokeOff(_) | Ending::TimedOut(_) => Outcome::Failed,
        Ending::Ran | Ending::Panicked | Ending::Skipped(_) if is_wrong => Outcome::Failed,
        Ending::Panicked | Ending::Skipped(_) => Outcome::NotRun,
        Ending::Ran => {
            let has_gap = !proof.gaps().is_empty() || reached(Reached::NotMeasured);
            if has_gap || proof.targets().is_empty() {
                Outcome::NotRun
            } else {
                Outcome::Passed
            }
        }
    }
}

/// Of all checks together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whole {
    /// Every check there is has been passed.
    Validated,
    /// At least one failed, or something was made and could not be put away.
    Failed,
    /// None failed, and not all were run.
    NotValidated,
}

/// `all` is how many checks there are: one of which nothing is told was not run. What is `left` could not be put away.
pub fn whole(outcomes: impl IntoIterator<Item = Outcome>, all: usize, left: &[String]) -> Whole {
    let outcomes: Vec<Outcome> = outcomes.into_iter().collect();
    let count = |what: Outcome| outcomes.iter().filter(|outcome| **outcome == what).count();
    if count(Outcome::Failed) > 0 || !left.is_empty() {
        Whole::Failed
    } else if all > 0 && count(Outcome::Passed) == all && outcomes.len() == all {
        Whole::Validated
    } else {
        Whole::NotValidated
    }
}

#[cfg(test)]
mod tests {
    use super::Outcome::{Failed, NotRun, Passed};
    use super::{Ending, Outcome, Whole, outcome, whole};
    use crate::lab::validate::proof::Proof;
    use std::time::Duration;

    fn proof(fill: impl Fn(&mut Proof)) -> Proof {
        let mut proof = Proof::default();
        fill(&mut proof);
        proof
    }

    fn endings() -> [Ending; 5] {
        [
            Ending::Ran,
            Ending::BrokeOff("no answer".into()),
            Ending::TimedOut(Duration::from_secs(1)),
            Ending::Panicked,
            Ending::Skipped("--only".into()),
        ]
    }

    /// What comes of a proof by each ending, in the order of [`endings`].
    fn check(what: &str, fill: impl Fn(&mut Proof), expected: [Outcome; 5]) {
        let proof = proof(fill);
        let found = endings().map(|ending| outcome(&ending, &proof));
        assert_eq!(found, expected, "{what}");
    }

    #[test]
    fn only_a_check_that_ran_to_its_end_with_every_figure_within_its_bound_is_passed() {
        check("nothing measured", |_| {}, [NotRun, Failed, Failed, NotRun, NotRun]);
        check(
            "all within",
            |proof| {
                proof.below("mean", 100.0, "ms", 3.0);
                proof.none("lost", 0);
            },
            [Passed, Failed, Failed, NotRun, NotRun],
        );
        check(
            "words alone",
            |proof| proof.saw("it looks well"),
            [NotRun, Failed, Failed, NotRun, NotRun],
        );
        check(
            "one figure is missing",
            |proof| {
                proof.none("lost", 0);
                proof.below("mean", 100.0, "ms", None);
            },
            [NotRun, Failed, Failed, NotRun, NotRun],
        );
        check(
            "one is no number",
            |proof| proof.below("mean", 100.0, "ms", f64::NAN),
            [NotRun, Failed, Failed, NotRun, NotRun],
        );
        check(
            "a part was not looked at",
            |proof| {
                proof.none("lost", 0);
                proof.not_run("there is one node");
            },
            [NotRun, Failed, Failed, NotRun, NotRun],
        );
        check(
            "one missed, and a part not looked at",
            |proof| {
                proof.none("lost", 1);
                proof.not_run("there is one node");
            },
            [Failed; 5],
        );
        check(
            "words about what is wrong",
            |proof| {
                proof.none("lost", 0);
                proof.wrong("a name of somebody else");
            },
            [Failed; 5],
        );
    }

    #[test]
    fn at_a_bound_that_must_be_kept_below_it_is_missed_and_at_one_to_reach_it_is_passed() {
        let ran = |fill: fn(&mut Proof)| outcome(&Ending::Ran, &proof(fill));
        assert_eq!(ran(|proof| proof.below("mean", 100.0, "ms", 100.0)), Failed);
        assert_eq!(ran(|proof| proof.at_least("hits", 95.0, "%", 95.0)), Passed);
        assert_eq!(ran(|proof| proof.at_least("hits", 95.0, "%", 94.999)), Failed);
        assert_eq!(ran(|proof| proof.exactly("steps", 1, 2)), Failed);
    }

    #[test]
    fn the_whole_is_validated_only_when_every_check_there_is_was_passed() {
        for (outcomes, all, expected) in [
            (vec![Passed, Passed], 2, Whole::Validated),
            (vec![Passed], 2, Whole::NotValidated),
            (vec![Passed, NotRun], 2, Whole::NotValidated),
            (vec![NotRun, NotRun], 2, Whole::NotValidated),
            (vec![], 2, Whole::NotValidated),
            (vec![], 0, Whole::NotValidated),
            (vec![Passed, Failed], 2, Whole::Failed),
            (vec![NotRun, Failed], 2, Whole::Failed),
            (vec![Failed], 2, Whole::Failed),
            (vec![Passed, Passed, Passed], 2, Whole::NotValidated),
        ] {
            assert_eq!(whole(outcomes.clone(), all, &[]), expected, "{outcomes:?} of {all}");
            let left = ["/v1/users/u stays".to_owned()];
            assert_eq!(
                whole(outcomes.clone(), all, &left),
                Whole::Failed,
                "{outcomes:?} of {all}"
            );
        }
    }
}
