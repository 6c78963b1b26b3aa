//! What a drill came to: how many confirmed how fast, measured for each from when it went out to them, and a grade.
//!
//! The grades are ours: no rule that we know of names such figures. They ask for most people at once (a phone in the hand) and for
//! nearly all within a minute.

use super::aside::Aside;
use super::broadcasts::Hot;
use crate::model::{Millis, Step, UserNumber};
use roaring::RoaringBitmap;
use std::collections::BTreeMap;

/// At once: people look at their phones.
pub const FAST_MS: u64 = 15_000;
/// In time; what comes later does not count for the grade.
pub const IN_TIME_MS: u64 = 60_000;

/// The best grade first: of a hundred, how many must have confirmed within [`FAST_MS`], and within [`IN_TIME_MS`].
pub const GRADES: [(Grade, u64, u64); 4] = [
    (Grade::A, 90, 99),
    (Grade::B, 75, 95),
    (Grade::C, 50, 85),
    (Grade::D, 25, 60),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grade {
    A,
    B,
    C,
    D,
    F,
}

impl Grade {
    pub const fn name(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
            Self::C => "C",
            Self::D => "D",
            Self::F => "F",
        }
    }
}

/// What counts as confirming.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measured {
    /// A person said so.
    Acknowledged,
    /// Nobody was asked: a device has it.
    Received,
}

impl Measured {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Acknowledged => "acknowledged",
            Self::Received => "received",
        }
    }
}

/// A drill's graded sheet. Times are in milliseconds from when it went out to the person.
#[derive(Clone, Debug, PartialEq)]
pub struct Sheet {
    pub measured: Measured,
    /// All but those whom their preferences skip.
    pub targeted: u64,
    pub confirmed: u64,
    pub fast: u64,
    pub in_time: u64,
    pub median_ms: Option<u64>,
    pub p95_ms: Option<u64>,
    /// Who took longest of those who confirmed, and how long.
    pub slowest: Option<(UserNumber, u64)>,
    pub not_confirmed: RoaringBitmap,
    /// Of those, whom nothing was ever sent to.
    pub unreachable: RoaringBitmap,
    /// `None` where nobody was targeted.
    pub grade: Option<Grade>,
    /// The grade cannot change any more.
    pub is_final: bool,
}

/// The sheet of a drill as its ledger stands at `now`.
pub fn sheet(hot: &Hot, now: Millis) -> Sheet {
    let measured = match hot.broadcast.draft.acknowledge {
        Some(_) => Measured::Acknowledged,
        None => Measured::Received,
    };
    let targeted = targeted(hot);
    let confirmed = hot.done() & &targeted;
    let not_confirmed = &targeted - &confirmed;
    let mut took = took(hot, measured, &confirmed);
    took.sort_unstable();
    let within = |most: u64| took.iter().filter(|(took, _)| *took <= most).count() as u64;
    let (fast, in_time) = (within(FAST_MS), within(IN_TIME_MS));
    Sheet {
        measured,
        targeted: targeted.len(),
        confirmed: confirmed.len(),
        fast,
        in_time,
        median_ms: percentile(&took, 50),
        p95_ms: percentile(&took, 95),
        slowest: took.last().map(|(took, user)| (*user, *took)),
        grade: grade(targeted.len(), fast, in_time),
        is_final: not_confirmed.is_empty() && hot.broadcast.position.is_some() || is_over(hot, &targeted, now),
        unreachable: &not_confirmed - &hot.ledger.steps[Step::Sent.index()],
        not_confirmed,
    }
}

fn targeted(hot: &Hot) -> RoaringBitmap {
    let aside = hot.ledger.aside.as_deref();
    let skipped = aside.map(
        |Aside {
             muted, critical_only, ..
         }| muted | critical_only,
    );
    &*hot.recipients - skipped.unwrap_or_default()
}

/// How long each who confirmed took, where that is known.
fn took(hot: &Hot, measured: Measured, confirmed: &RoaringBitmap) -> Vec<(u64, UserNumber)> {
    let mut at: BTreeMap<UserNumber, Millis> = BTreeMap::new();
    match measured {
        Measured::Acknowledged => {
            let answers = hot.ledger.answers.iter();
            at.extend(answers.map(|(user, answer)| (*user, answer.at)));
        }
        Measured::Received => {
            let received = hot.ledger.events.iter().filter(|event| event.step == Step::Received);
            for event in received {
                for user in &event.users {
                    let first = at.entry(user).or_insert(event.at);
                    *first = event.at.min(*first);
                }
            }
        }
    }
    let known = confirmed.iter().filter_map(|user| Some((user, *at.get(&user)?)));
    known
        .map(|(user, at)| (at.saturating_sub(hot.out_at(user)).max(0).unsigned_abs(), user))
        .collect()
}

/// By nearest rank: so many of a hundred took no longer.
fn percentile(sorted: &[(u64, UserNumber)], percent: usize) -> Option<u64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).map(|(took, _)| *took)
}

fn grade(targeted: u64, fast: u64, in_time: u64) -> Option<Grade> {
    let is_met = |count: u64, percent: u64| count * 100 >= targeted * percent;
    let mut met = GRADES
        .into_iter()
        .filter(|(_, first, then)| is_met(fast, *first) && is_met(in_time, *then));
    let found = met.next().map_or(Grade::F, |(grade, ..)| grade);
    (targeted > 0).then_some(found)
}

/// Nobody can confirm in time any more.
fn is_over(hot: &Hot, targeted: &RoaringBitmap, now: Millis) -> bool {
    if hot.ledger.is_cancelled() || now >= hot.broadcast.expires_at {
        return true;
    }
    let is_still_to_go_out = hot.broadcast.position.is_none() || hot.held_times().next().is_some();
    let out = targeted.iter().filter(|user| hot.is_out_to(*user));
    let last = out.map(|user| hot.out_at(user)).max();
    let last = last.unwrap_or(hot.broadcast.released_at());
    !is_still_to_go_out && now > last.saturating_add_unsigned(IN_TIME_MS)
}

#[cfg(test)]
mod tests;
