//! The bookkeeping of a crowd: who read what, and when. Pure: it is told everything.
//!
//! A broadcast may be read before its publisher has the answer, so a delivery waits here until it is known when it was accepted. What
//! each user read is one bit for each broadcast to its group.

use super::orders::{Counts, Fate, Finished, Setup, Told};
use super::stamp::{EVERYBODY, Phase, Stamp};
use crate::lab::results::{Buckets, histogram};
use crate::model::{PerPriority, Priority};
use hdrhistogram::Histogram;

/// Of each kind, in words; the counts have the rest.
const FINDINGS_MAX: usize = 5;
/// Numbers and ordinals that a stamp of this run may have: what is more is no stamp of ours.
const NUMBER_MAX: u32 = 50_000_000;
const MICROS: u64 = 1_000;

/// One bit for each ordinal.
#[derive(Clone, Debug, Default)]
struct Bits(Vec<u64>);

impl Bits {
    /// Whether it is new.
    fn insert(&mut self, ordinal: u32) -> bool {
        let (word, bit) = (ordinal as usize / 64, 1 << (ordinal % 64));
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        let is_new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        is_new
    }

    fn contains(&self, ordinal: u32) -> bool {
        let word = self.0.get(ordinal as usize / 64).copied().unwrap_or_default();
        word & (1 << (ordinal % 64)) != 0
    }
}

/// What is known of the broadcasts to one group.
#[derive(Debug, Default)]
struct Broadcasts(Vec<Option<Told>>);

impl Broadcasts {
    fn put(&mut self, told: Told) {
        let at = told.ordinal as usize;
        if self.0.len() <= at {
            self.0.resize(at + 1, None);
        }
        self.0[at] = Some(told);
    }
}

/// What one subscriber got.
#[derive(Debug, Default)]
struct Member {
    own: Bits,
    everybody: Bits,
    /// The newest position of each priority on this connection.
    last: PerPriority<u64>,
    /// Connections so far.
    returns: u32,
}

/// Read, and not yet known when it was accepted.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    stamp: Stamp,
    at: u64,
}

#[derive(Debug)]
pub struct Tally {
    setup: Setup,
    members: Vec<Member>,
    groups: Vec<Broadcasts>,
    everybody: Broadcasts,
    /// When each number was accepted; 0 while that is not known.
    accepted_at: Vec<u64>,
    waiting: Vec<Waiting>,
    counts: PerPriority<Counts>,
    foreign: u64,
    early: u64,
    delivered: u64,
    last_read: u64,
    accepted: PerPriority<Histogram<u64>>,
    due: PerPriority<Histogram<u64>>,
    warm_up: Histogram<u64>,
    recent: Histogram<u64>,
    /// When each broadcast to everybody was read.
    heard_by_everybody: Vec<Vec<u64>>,
    findings: Vec<String>,
}

impl Tally {
    pub fn new(setup: Setup) -> Self {
        let members = (0..setup.count).map(|_| Member::default()).collect();
        let groups = (0..setup.groups).map(|_| Broadcasts::default()).collect();
        let histograms = || std::array::from_fn(|_| histogram());
        Self {
            setup,
            members,
            groups,
            everybody: Broadcasts::default(),
            accepted_at: Vec::new(),
            waiting: Vec::new(),
            counts: [Counts::default(); 4],
            foreign: 0,
            early: 0,
            delivered: 0,
            last_read: 0,
            accepted: histograms(),
            due: histograms(),
            warm_up: histogram(),
            recent: histogram(),
            heard_by_everybody: Vec::new(),
            findings: Vec::new(),
        }
    }

    /// First deliveries so far.
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// What was recorded since the last call.
    pub fn recent(&mut self) -> Buckets {
        let recent = Buckets::of(&self.recent);
        self.recent.reset();
        recent
    }

    /// A member is connected anew: order is promised within one connection.
    pub fn returned(&mut self, member: usize) {
        if let Some(member) = self.members.get_mut(member) {
            member.last = [0; 4];
            member.returns += 1;
        }
    }

    /// A member has read a broadcast.
    pub fn read(&mut self, member: usize, stamp: Option<Stamp>, position: u64, at: u64) {
        let ours = stamp.filter(|stamp| stamp.run == self.setup.run && stamp.number.max(stamp.ordinal) < NUMBER_MAX);
        let Some(stamp) = ours else {
            self.foreign += 1;
            return;
        };
        let (group, user) = (self.group_of(member), self.user(member));
        let Some(state) = self.members.get_mut(member) else {
            return;
        };
        let counts = &mut self.counts[stamp.priority.index()];
        let seen = match stamp.group {
            EVERYBODY => &mut state.everybody,
            own if Some(own) == group => &mut state.own,
            other => {
                counts.wrong += 1;
                note(&mut self.findings, || {
                    format!("user {user} got number {} of group {other}", stamp.number)
                });
                return;
            }
        };
        let last = &mut state.last[stamp.priority.index()];
        if position < *last {
            counts.disordered += 1;
        }
        // on a connection that has just come back what was in flight comes again, once, in its order
        let comes_on = position > *last;
        *last = position.max(*last);
        if !seen.insert(stamp.ordinal) {
            if state.returns > 1 && comes_on {
                counts.resent += 1;
            } else {
                counts.repeated += 1;
                note(&mut self.findings, || {
                    format!("user {user} got number {} again", stamp.number)
                });
            }
            return;
        }
        counts.made += 1;
        self.delivered += 1;
        self.last_read = at;
        self.first(stamp, at);
    }

    fn first(&mut self, stamp: Stamp, at: u64) {
        if stamp.phase == Phase::Measured {
            let late = at.saturating_sub(stamp.due) / MICROS;
            self.due[stamp.priority.index()].saturating_record(late);
        }
        if stamp.group == EVERYBODY {
            let ordinal = stamp.ordinal as usize;
            if self.heard_by_everybody.len() <= ordinal {
                self.heard_by_everybody.resize(ordinal + 1, Vec::new());
            }
            self.heard_by_everybody[ordinal].push(at);
        }
        let one = Waiting { stamp, at };
        if self.still_waits(one) {
            self.waiting.push(one);
        }
    }

    fn record(&mut self, Waiting { stamp, at }: Waiting, accepted: u64) {
        let micros = at.saturating_sub(accepted) / MICROS;
        if at < accepted {
            self.early += 1;
        }
        self.recent.saturating_record(micros);
        match stamp.phase {
            Phase::Measured => self.accepted[stamp.priority.index()].saturating_record(micros),
            Phase::WarmUp => self.warm_up.saturating_record(micros),
        }
    }

    /// What became of publishes.
    pub fn told(&mut self, all: &[Told]) {
        for told in all {
            let at = told.number as usize;
            if self.accepted_at.len() <= at {
                self.accepted_at.resize(at + 1, 0);
            }
            if let Fate::Accepted(accepted) = told.fate {
                self.accepted_at[at] = accepted;
            }
            match told.group {
                EVERYBODY => self.everybody.put(*told),
                group => {
                    if let Some(broadcasts) = self.groups.get_mut(usize::from(group)) {
                        broadcasts.put(*told);
                    }
                }
            }
        }
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.retain(|one| self.still_waits(*one));
        self.waiting = waiting;
    }

    /// Records it when it is known by now when it was accepted.
    fn still_waits(&mut self, one: Waiting) -> bool {
        let accepted = self.accepted_at.get(one.stamp.number as usize).copied();
        match accepted {
            Some(accepted) if accepted > 0 => {
                self.record(one, accepted);
                false
            }
            Some(_) | None => true,
        }
    }

    /// Compares what had to come with what came.
    pub fn finish(mut self) -> Finished {
        for member in 0..self.members.len() {
            let group = self.group_of(member).map(usize::from);
            let own = group.and_then(|group| self.groups.get(group));
            let told = own
                .into_iter()
                .chain([&self.everybody])
                .flat_map(|broadcasts| broadcasts.0.iter().flatten());
            let state = &self.members[member];
            let user = self.user(member);
            let mut findings = Vec::new();
            let mut counts = self.counts;
            for told in told {
                let seen = if told.group == EVERYBODY {
                    &state.everybody
                } else {
                    &state.own
                };
                judge(*told, seen, &mut counts, user, &mut findings);
            }
            self.counts = counts;
            findings.truncate(FINDINGS_MAX.saturating_sub(self.findings.len()));
            self.findings.extend(findings);
        }
        self.whole()
    }

    fn whole(mut self) -> Finished {
        let everybody = self.heard_by_everybody.iter().enumerate().map(|(ordinal, heard)| {
            let told = self.everybody.0.get(ordinal).copied().flatten();
            let accepted = told.and_then(|told| match told.fate {
                Fate::Accepted(at) => Some(at),
                Fate::Refused | Fate::Unknown => None,
            });
            let mut micros: Vec<u64> = heard
                .iter()
                .map(|at| at.saturating_sub(accepted.unwrap_or(*at)) / MICROS)
                .collect();
            micros.sort_unstable();
            micros
        });
        Finished {
            everybody: everybody.collect(),
            counts: self.counts,
            foreign: self.foreign,
            accepted: self.accepted.each_ref().map(Buckets::of),
            due: self.due.each_ref().map(Buckets::of),
            warm_up: Buckets::of(&self.warm_up),
            early: self.early,
            last_read: self.last_read,
            findings: std::mem::take(&mut self.findings),
            ..Finished::default()
        }
    }

    fn group_of(&self, member: usize) -> Option<u16> {
        let group = self.user(member) / self.setup.recipients.max(1);
        (group < self.setup.groups).then_some(group as u16)
    }

    /// Its number among all users of the run.
    fn user(&self, member: usize) -> u32 {
        self.setup.first + member as u32
    }
}

fn judge(told: Told, seen: &Bits, counts: &mut PerPriority<Counts>, user: u32, findings: &mut Vec<String>) {
    let counts = &mut counts[told.priority.index()];
    let number = told.number;
    match (told.fate, seen.contains(told.ordinal)) {
        (Fate::Accepted(_), got) => {
            counts.expected += 1;
            if !got {
                counts.missing += 1;
                note(findings, || {
                    format!("user {user} never got number {number} ({})", told.priority.name())
                });
            }
        }
        (Fate::Refused, true) => {
            counts.wrong += 1;
            note(findings, || {
                format!("user {user} got number {number}, which was refused")
            });
        }
        (Fate::Refused, false) | (Fate::Unknown, _) => {}
    }
}

fn note(findings: &mut Vec<String>, finding: impl FnOnce() -> String) {
    if findings.len() < FINDINGS_MAX {
        findings.push(finding());
    }
}

/// By priority.
pub fn all_of(counts: &PerPriority<Counts>) -> Counts {
    Priority::ALL
        .into_iter()
        .fold(Counts::default(), |all, priority| all.plus(counts[priority.index()]))
}

#[cfg(test)]
mod tests {
    use super::{EVERYBODY, Fate, Phase, Setup, Stamp, Tally, Told, all_of};
    use crate::lab::door::Way;
    use crate::lab::load::orders::{Counts, Finished, Receipts};
    use crate::model::Priority;

    const MS: u64 = 1_000_000;

    fn setup() -> Setup {
        Setup {
            run: 7,
            first: 0,
            count: 5,
            groups: 2,
            recipients: 2,
            prefix: String::new(),
            bearers: Vec::new(),
            way: Way {
                nodes: Vec::new(),
                ..Way::default()
            },
            websocket_percent: 100,
            receipts: Receipts::None,
        }
    }

    /// Number n, the ordinal o of a group.
    fn stamp(number: u32, group: u16, ordinal: u32) -> Stamp {
        Stamp {
            run: 7,
            number,
            group,
            ordinal,
            priority: Priority::Normal,
            phase: Phase::Measured,
            due: 100 * MS,
        }
    }

    fn told(stamp: Stamp, fate: Fate) -> Told {
        Told {
            number: stamp.number,
            group: stamp.group,
            ordinal: stamp.ordinal,
            priority: stamp.priority,
            phase: stamp.phase,
            fate,
        }
    }

    /// Users 0 and 1 are group 0, 2 and 3 are group 1, 4 is a bystander. Each reading is (user, broadcast).
    fn check(readings: &[(usize, Stamp)], fates: &[(Stamp, Fate)], expected: Counts) -> Finished {
        let mut tally = Tally::new(setup());
        for (member, stamp) in readings {
            tally.read(*member, Some(*stamp), u64::from(stamp.number), 110 * MS);
        }
        let told: Vec<Told> = fates.iter().map(|(stamp, fate)| told(*stamp, *fate)).collect();
        tally.told(&told);
        let finished = tally.finish();
        assert_eq!(all_of(&finished.counts), expected, "{readings:?}");
        finished
    }

    #[test]
    fn each_delivery_is_expected_missing_repeated_or_wrong() {
        let (one, two, all) = (stamp(0, 0, 0), stamp(1, 1, 0), stamp(2, EVERYBODY, 0));
        let accepted = Fate::Accepted(105 * MS);
        let fates = [(one, accepted), (two, accepted), (all, accepted)];
        let whole = [
            (0, one),
            (1, one),
            (2, two),
            (3, two),
            (0, all),
            (1, all),
            (2, all),
            (3, all),
            (4, all),
        ];
        let good = Counts {
            expected: 9,
            made: 9,
            ..Counts::default()
        };
        let finished = check(&whole, &fates, good);
        assert_eq!(finished.findings, Vec::<String>::new());
        assert_eq!(finished.everybody, [vec![5_000; 5]]);
        let sum = |buckets: &[super::Buckets; 4]| {
            buckets
                .iter()
                .flat_map(|buckets| &buckets.0)
                .map(|(_, count)| count)
                .sum::<u64>()
        };
        assert_eq!((sum(&finished.accepted), sum(&finished.due)), (9, 9));

        let lost = check(
            &whole[1..],
            &fates,
            Counts {
                made: 8,
                missing: 1,
                ..good
            },
        );
        assert_eq!(lost.findings, ["user 0 never got number 0 (normal)"]);
        let twice = [&whole[..], &[(4, all)]].concat();
        check(&twice, &fates, Counts { repeated: 1, ..good });
        let astray = [&whole[..], &[(2, one)]].concat();
        check(&astray, &fates, Counts { wrong: 1, ..good });
        let bystander = [&whole[..], &[(4, one)]].concat();
        check(&bystander, &fates, Counts { wrong: 1, ..good });
    }

    #[test]
    fn what_was_refused_must_not_come_and_what_is_unknown_may() {
        let (refused, unknown) = (stamp(0, 0, 0), stamp(1, 0, 1));
        let fates = [(refused, Fate::Refused), (unknown, Fate::Unknown)];
        let made = |made, wrong| Counts {
            made,
            wrong,
            ..Counts::default()
        };
        check(&[], &fates, made(0, 0));
        check(&[(0, unknown)], &fates, made(1, 0));
        check(&[(0, refused)], &fates, made(1, 1));
    }

    #[test]
    fn order_holds_within_a_connection_and_repeats_after_one_are_no_fault() {
        let mut tally = Tally::new(setup());
        tally.returned(0);
        for (number, position) in [(0, 5), (1, 9), (2, 7)] {
            tally.read(0, Some(stamp(number, 0, number)), position, 1);
        }
        tally.returned(0);
        tally.read(0, Some(stamp(2, 0, 2)), 7, 1);
        tally.read(0, None, 8, 1);
        tally.read(
            0,
            Some(Stamp {
                run: 8,
                ..stamp(3, 0, 3)
            }),
            8,
            1,
        );
        let finished = tally.finish();
        let expected = Counts {
            made: 3,
            resent: 1,
            disordered: 1,
            ..Counts::default()
        };
        assert_eq!((all_of(&finished.counts), finished.foreign), (expected, 2));
    }

    #[test]
    fn a_delivery_waits_until_it_is_known_when_it_was_accepted() {
        let mut tally = Tally::new(setup());
        tally.read(0, Some(stamp(0, 0, 0)), 1, 110 * MS);
        assert_eq!(tally.recent().0, []);
        tally.told(&[told(stamp(0, 0, 0), Fate::Accepted(109 * MS))]);
        assert_eq!(tally.recent().0, [(1_000, 1)]);
        tally.read(1, Some(stamp(0, 0, 0)), 1, 108 * MS);
        let finished = tally.finish();
        assert_eq!((finished.early, finished.counts[2].missing), (1, 0));
    }
}
