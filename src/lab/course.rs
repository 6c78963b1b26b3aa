//! What had to follow from a day's broadcasts, given when each was out and when another one replaced it. Pure: it is told everything.

use super::{
    ledger::{Entry, Verdict},
    oracle::{Recipients, plan::Planned},
};
use std::time::{Duration, Instant};

/// For what must not happen a run waits so much longer at most.
const MUST_NOT_MAX: Duration = Duration::from_secs(60);

/// A broadcast that was accepted.
#[derive(Clone, Copy, Debug)]
pub struct Course<'a> {
    pub entry: &'a Entry,
    pub id: &'a str,
    /// When its publisher was told so.
    pub out: Instant,
    /// The steps that had to be taken.
    pub steps: &'a [Planned],
}

/// A moment at which a step is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due<'a> {
    pub reference: &'a str,
    pub at: Instant,
    pub fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Taken,
    /// All that is needed is there by then, or another broadcast stands in its place.
    NotTaken,
}

/// In the order of the script.
pub fn courses(entries: &[Entry]) -> Vec<Course<'_>> {
    entries.iter().filter_map(|entry| course(entries, entry)).collect()
}

fn course<'a>(entries: &[Entry], entry: &'a Entry) -> Option<Course<'a>> {
    let (id, out) = accepted(entry)?;
    let plan = &entry.plan;
    let replaced = plan.replaced_by.and_then(|at| entries.get(at)).and_then(accepted);
    let is_in_time = |step: &&Planned| replaced.is_none_or(|(_, at)| out + step.after < at);
    let taken = plan.steps.iter().take_while(is_in_time).count();
    Some(Course {
        entry,
        id,
        out,
        steps: &plan.steps[..taken],
    })
}

fn accepted(entry: &Entry) -> Option<(&str, Instant)> {
    match &entry.verdict {
        Verdict::Accepted { id, at, .. } => Some((id, *at)),
        Verdict::NotSent | Verdict::Refused { .. } | Verdict::NoAnswer => None,
    }
}

impl<'a> Course<'a> {
    /// Everybody whom it reaches: its recipients, and whom its steps call in.
    pub fn reached(&self) -> Recipients {
        let called_in = self.steps.iter().flat_map(|step| &step.widened);
        called_in.chain(&self.entry.recipients).copied().collect()
    }

    /// Who confirms it in the end.
    pub fn confirms(&self) -> Recipients {
        if self.entry.acknowledge {
            self.reached()
        } else {
            Recipients::new()
        }
    }

    fn dues(&self) -> impl Iterator<Item = Due<'a>> {
        let (reference, out, taken) = (self.entry.reference.as_str(), self.out, self.steps.len());
        let fate = move |turn: usize| if turn < taken { Fate::Taken } else { Fate::NotTaken };
        // whatever comes after the first that is not taken is not taken either
        let dues = self.entry.plan.dues.iter().zip(0..).take(taken + 1);
        dues.map(move |(after, turn)| Due {
            reference,
            at: out + *after,
            fate: fate(turn),
        })
    }
}

/// All that a run waits for, in its order.
pub fn dues<'a>(courses: &[Course<'a>]) -> Vec<Due<'a>> {
    let mut dues: Vec<Due<'a>> = courses.iter().flat_map(Course::dues).collect();
    dues.sort_by_key(|due| due.at);
    let last = dues
        .iter()
        .filter(|due| due.fate == Fate::Taken)
        .map(|due| due.at)
        .max();
    let last = last.or_else(|| courses.iter().map(|course| course.out).max());
    dues.retain(|due| last.is_some_and(|last| due.at <= last + MUST_NOT_MAX));
    dues
}

/// What a run waits for at `now`, in words; `None` when all that was due has been.
pub fn waiting(dues: &[Due<'_>], now: Instant) -> Option<String> {
    let ahead = |fate: Fate| dues.iter().find(move |due| due.fate == fate && due.at > now);
    let seconds = |due: &Due<'_>| (due.at - now).as_secs_f64().ceil();
    if let Some(due) = ahead(Fate::Taken) {
        return Some(format!("waiting {} s for {} to escalate", seconds(due), due.reference));
    }
    let due = ahead(Fate::NotTaken)?;
    Some(format!(
        "waiting {} s: {} must not escalate",
        seconds(due),
        due.reference
    ))
}

/// So much has come, or has to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Broadcasts that devices read for the first time.
    pub read: u64,
    /// Alerts of steps.
    pub alerted: u64,
    pub acknowledged: u64,
    /// Calls of outputs, a repeated one once.
    pub called: u64,
}

impl Tally {
    /// What has to come.
    pub fn of(courses: &[Course<'_>]) -> Self {
        let mut tally = Self::default();
        for course in courses {
            tally.read += course.reached().len() as u64;
            tally.acknowledged += course.confirms().len() as u64;
            tally.alerted += course.steps.iter().map(|step| step.alerted.len() as u64).sum::<u64>();
            tally.called += course.steps.iter().map(|step| step.outputs.len() as u64).sum::<u64>();
        }
        tally
    }

    pub fn covers(&self, wanted: &Self) -> bool {
        let have = [self.read, self.alerted, self.acknowledged, self.called];
        let wanted = [wanted.read, wanted.alerted, wanted.acknowledged, wanted.called];
        have.into_iter().zip(wanted).all(|(have, wanted)| have >= wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::{Due, Fate, Tally, courses, dues, waiting};
    use crate::{
        base::clock,
        lab::{
            fixture::{devices, entry, planned},
            ledger::{Entry, Verdict},
        },
    };
    use std::time::{Duration, Instant};

    const fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    /// One with steps after 30 and 50 s, and what takes its place after so many seconds.
    fn replaced_after(out: Instant, after: u64) -> [Entry; 2] {
        let mut first = entry("a", vec![planned(0, 30, &[1], &[]), planned(1, 50, &[2], &[2])], out);
        first.plan.replaced_by = Some(1);
        [first, entry("b", Vec::new(), out + seconds(after))]
    }

    #[test]
    fn what_is_replaced_takes_no_further_step() {
        let out = clock::now();
        for (after, steps) in [(29, 0), (30, 0), (31, 1), (51, 2)] {
            let entries = replaced_after(out, after);
            assert_eq!(courses(&entries)[0].steps.len(), steps, "after {after} s");
        }
        let mut entries = replaced_after(out, 1);
        entries[1].verdict = Verdict::NoAnswer;
        let alone = courses(&entries);
        assert_eq!(
            (alone.len(), alone[0].steps.len()),
            (1, 2),
            "what was not accepted replaces nothing"
        );
    }

    #[test]
    fn whom_it_reaches_are_its_recipients_and_whom_its_steps_call_in() {
        let out = clock::now();
        let mut entries = replaced_after(out, 60);
        let reached = courses(&entries)[0].reached();
        assert_eq!(reached, devices(&[0, 1, 2]));
        let wanted = Tally {
            read: 5,
            alerted: 2,
            acknowledged: 5,
            called: 2,
        };
        assert_eq!(Tally::of(&courses(&entries)), wanted);
        assert!(wanted.covers(&wanted) && !Tally { called: 1, ..wanted }.covers(&wanted));
        entries[1].acknowledge = false;
        assert!(courses(&entries)[1].confirms().is_empty());
        assert_eq!(courses(&replaced_after(out, 31))[0].reached(), devices(&[0, 1]));
    }

    #[test]
    fn a_run_waits_for_what_must_happen_and_a_little_for_what_must_not() {
        let out = clock::now();
        let entries = replaced_after(out, 31);
        let courses = courses(&entries);
        let due = |after: u64, fate: Fate| Due {
            reference: "ref-a",
            at: out + seconds(after),
            fate,
        };
        let all = dues(&courses);
        assert_eq!(all, [due(30, Fate::Taken), due(50, Fate::NotTaken)]);
        let words = |after: u64| waiting(&all, out + Duration::from_millis(after));
        assert_eq!(words(9_500).as_deref(), Some("waiting 21 s for ref-a to escalate"));
        assert_eq!(words(30_000).as_deref(), Some("waiting 20 s: ref-a must not escalate"));
        assert_eq!(words(50_000), None);
    }

    #[test]
    fn nobody_waits_long_for_what_must_not_happen() {
        let out = clock::now();
        let mut long = entry("a", Vec::new(), out);
        long.plan.dues = vec![seconds(61)];
        let short = |after: u64| entry("b", vec![planned(0, after, &[1], &[])], out);
        assert_eq!(dues(&courses(std::slice::from_ref(&long))), []);
        assert_eq!(dues(&courses(&[long, short(1)])).len(), 2);
    }
}
