//! Who confirmed, how long that took, and whether what was needed is there, against what had to be. Pure: it is told everything.

use super::{
    afterwards::Shown,
    course::Course,
    findings::Findings,
    ledger::{histogram, record},
    oracle::Device,
};
use crate::model::PerPriority;
use hdrhistogram::Histogram;
use std::{collections::BTreeMap, time::Instant};

/// What devices have confirmed, by the id of the broadcast.
pub type Confirmations = BTreeMap<String, BTreeMap<Device, Confirmation>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmation {
    /// When it was sent first.
    pub begun: Instant,
    /// When its answer was read.
    pub answered: Option<Instant>,
}

#[derive(Debug)]
pub struct Confirmed {
    pub expected: u64,
    pub made: u64,
    pub needs: Needs,
    /// Publish accepted to the acknowledgement's answer, in µs.
    pub time: PerPriority<Histogram<u64>>,
}

/// So many of a role, for one broadcast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Those that are met when everybody has confirmed.
    pub expected: u64,
    pub met: u64,
    /// The cluster says something else of them than the oracle.
    pub wrong: u64,
}

impl Confirmed {
    pub fn is_good(&self) -> bool {
        self.made == self.expected && self.needs.met == self.needs.expected && self.needs.wrong == 0
    }
}

/// `shown` is what the cluster says, by the id of the broadcast.
pub fn judge(
    courses: &[Course<'_>],
    users: &[String],
    confirmations: &Confirmations,
    shown: &BTreeMap<String, Shown>,
    findings: &mut Findings,
) -> Confirmed {
    let mut found = Confirmed {
        expected: 0,
        made: 0,
        needs: Needs::default(),
        time: std::array::from_fn(|_| histogram()),
    };
    let none = BTreeMap::new();
    for course in courses {
        let confirmed = confirmations.get(course.id).unwrap_or(&none);
        found.count(course, users, confirmed, findings);
        found.needs.judge(course, shown.get(course.id), findings);
    }
    found
}

impl Confirmed {
    fn count(
        &mut self,
        course: &Course<'_>,
        users: &[String],
        confirmed: &BTreeMap<Device, Confirmation>,
        findings: &mut Findings,
    ) {
        let expected = course.confirms();
        self.expected += expected.len() as u64;
        let mut missing = Vec::new();
        for device in expected {
            match confirmed.get(&device).and_then(|confirmation| confirmation.answered) {
                Some(answered) => {
                    self.made += 1;
                    let time = &mut self.time[course.entry.priority.index()];
                    record(time, answered.saturating_duration_since(course.out));
                }
                None => missing.push(device),
            }
        }
        if let Some(device) = missing.first() {
            let (name, count, user) = (&course.entry.reference, missing.len(), &users[*device]);
            findings.add(|| format!("{name}: {count} devices could not confirm, {user} among them"));
        }
    }
}

impl Needs {
    fn judge(&mut self, course: &Course<'_>, shown: Option<&Shown>, findings: &mut Findings) {
        let confirm = course.confirms();
        for (turn, wanted) in course.entry.plan.needs.iter().enumerate() {
            let confirmed = wanted.holders.intersection(&confirm).count() as u64;
            let must_be_met = confirmed >= wanted.count;
            let said = shown.and_then(|shown| shown.needs.get(turn));
            self.expected += u64::from(must_be_met);
            self.met += u64::from(must_be_met && said.is_some_and(|said| said.met));
            let is_right = said.is_some_and(|said| {
                let says = (said.role.as_str(), said.count, said.confirmed, said.met);
                says == (wanted.role.as_str(), wanted.count, confirmed, must_be_met)
            });
            if !is_right {
                self.wrong += 1;
                let name = &course.entry.reference;
                let (count, role) = (wanted.count, &wanted.role);
                findings.add(|| format!("{name}: {confirmed} of {count} {role} confirm, the cluster says {said:?}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Confirmation, Confirmations, Needs, judge};
    use crate::{
        base::clock,
        lab::{
            afterwards::Shown,
            course::courses,
            findings::Findings,
            fixture::{entry, planned, shown},
        },
    };
    use std::{collections::BTreeMap, time::Duration};

    /// 0 and 1 have it and 2 is called in; all confirm but one who gets no answer; the cluster says `shown`.
    #[track_caller]
    fn check(unanswered: Option<usize>, shown: &BTreeMap<String, Shown>, made: u64, needs: Needs) {
        let out = clock::now();
        let times = |device: usize| Confirmation {
            begun: out,
            answered: (unanswered != Some(device)).then(|| out + Duration::from_secs(device as u64)),
        };
        let confirmations: Confirmations =
            [("a".into(), (0..3).map(|device| (device, times(device))).collect())].into();
        let entries = [entry("a", vec![planned(0, 30, &[1, 2], &[2])], out)];
        let users = ["zero", "one", "two"].map(str::to_owned);
        let mut findings = Findings::default();
        let found = judge(&courses(&entries), &users, &confirmations, shown, &mut findings);
        assert_eq!(
            (found.expected, found.made, found.needs),
            (3, made, needs),
            "{findings:?}"
        );
        assert_eq!(found.time[1].len(), made);
        assert_eq!(found.is_good(), findings.words().is_empty(), "{findings:?}");
    }

    #[test]
    fn everybody_confirms_and_the_cluster_knows_what_is_met() {
        let met = Needs {
            expected: 1,
            met: 1,
            wrong: 0,
        };
        check(None, &shown(3, Vec::new()), 3, met);
        check(Some(1), &shown(3, Vec::new()), 2, met);
        check(None, &shown(2, Vec::new()), 3, Needs { wrong: 1, ..met });
        let unmet = Needs {
            met: 0,
            wrong: 1,
            ..met
        };
        check(None, &shown(1, Vec::new()), 3, unmet);
        check(None, &BTreeMap::new(), 3, unmet);
    }

    #[test]
    fn the_time_to_confirm_is_from_the_publish_to_the_answer() {
        let out = clock::now();
        let answered = Some(out + Duration::from_secs(30));
        let confirmation = Confirmation { begun: out, answered };
        let confirmations: Confirmations = [("a".into(), [(0, confirmation)].into())].into();
        let entries = [entry("a", Vec::new(), out)];
        let users = ["zero", "one"].map(str::to_owned);
        let found = judge(
            &courses(&entries),
            &users,
            &confirmations,
            &shown(1, Vec::new()),
            &mut Findings::default(),
        );
        let seconds = found.time[1].max() as f64 / 1e6;
        assert!((seconds - 30.0).abs() < 0.1, "{seconds}");
    }
}
