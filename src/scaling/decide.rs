//! The decision: load, forecast, rules, history and the time, to a number of threads with its reason.
//!
//! In this order, and the first that says something decides: the bounds, of which a crowd on the cores is one; a critical emergency; a
//! rule with a way out; the floor that weekend and forecast ask for; a rule with a way in, unless it would soon be taken back.

use super::load::Load;
use super::rule::{Crowd, Profile, Rule, Step};
use serde::Serialize;
use std::collections::BTreeMap;

/// When and where a decision is made.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Milliseconds on a clock that never goes back.
    pub now: u64,
    pub cores: usize,
    /// Threads that run.
    pub threads: usize,
    /// By the clocks of the venues.
    pub is_season: bool,
    pub is_weekend: bool,
    /// Threads that the forecast asks for; 0 when no wedding is near.
    pub forecast: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// Threads from now on.
    pub threads: usize,
    /// What decided: a rule of the file, or `bounds`, `crowd`, `emergency`, `weekend`, `forecast`, `steady`.
    pub rule: String,
    pub reason: String,
}

/// What decisions remember of each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Since when a rule's conditions hold.
    held: BTreeMap<String, u64>,
    /// When a rule last acted.
    acted: BTreeMap<String, u64>,
    /// The last way out, whatever took it; the start counts as one.
    out_at: Option<u64>,
    crowd: Crowded,
}

/// What is remembered of a crowd on the cores.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Crowded {
    /// While it lasts: the most threads that have a core.
    ceiling: Option<usize>,
    /// Since when enough of the machine is free.
    free_since: Option<u64>,
    /// When threads could last come back, and how often they were sent away soon after that.
    ended_at: Option<u64>,
    again: u32,
}

/// Each time that a crowd comes back soon, it must be gone twice as long before it counts as over; 64 times at most.
const AGAIN_MAX: u32 = 6;
/// What is soon: so many times the rest.
const SOON: u64 = 10;

impl Crowded {
    fn see(&mut self, rules: &Crowd, load: &Load, moment: &Moment) {
        let (now, rest) = (moment.now, millis(rules.rest) << self.again);
        let waits = load.busy > rules.busy && load.crowded.is_some_and(|waiting| waiting > rules.waiting);
        if waits && load.free.is_some_and(|free| free < rules.free_min) {
            if self.ceiling.is_none() {
                let soon = self.ended_at.is_some_and(|at| now.saturating_sub(at) < rest * SOON);
                self.again = if soon { (self.again + 1).min(AGAIN_MAX) } else { 0 };
            }
            self.ceiling = Some((moment.threads / 2).max(1));
            self.free_since = None;
        } else if self.ceiling.is_some() {
            self.rest(rules, load, (now, rest));
        }
    }

    /// Whether it is over: at once when much is free, later when there is something, and nobody has to wait for a core. Where the
    /// system has stopped to say how much is free, that counts as something.
    fn rest(&mut self, rules: &Crowd, load: &Load, (now, rest): (u64, u64)) {
        let is_much = load.free.is_some_and(|free| free > rules.free_again);
        let waits = load.crowded.is_some_and(|waiting| waiting > rules.waiting / 2.0);
        let is_some = load.free.is_none_or(|free| free > rules.free_min) && !waits;
        if !is_much && !is_some {
            self.free_since = None;
            return;
        }
        let since = *self.free_since.get_or_insert(now);
        let rest = if is_much { rest } else { rest * SOON };
        if now.saturating_sub(since) >= rest {
            (self.ceiling, self.ended_at) = (None, Some(now));
        }
    }
}

impl History {
    /// Looks which rules' conditions hold; before each decision.
    pub fn see(&mut self, profile: &Profile, load: &Load, moment: &Moment) {
        for rule in &profile.rule {
            let holds = rule.when.includes(moment.is_season) && rule.r#if.iter().all(|one| one.holds(load));
            if holds {
                self.held.entry(rule.name.clone()).or_insert(moment.now);
            } else {
                self.held.remove(&rule.name);
            }
        }
        self.out_at.get_or_insert(moment.now);
        if let Some(crowd) = &profile.crowd {
            self.crowd.see(crowd, load, moment);
        }
    }

    /// Keeps what was decided; after each decision.
    pub fn keep(&mut self, decision: &Decision, moment: &Moment) {
        if decision.threads == moment.threads {
            return;
        }
        self.acted.insert(decision.rule.clone(), moment.now);
        // What held under the old number says nothing about the new one.
        self.held.clear();
        if decision.threads > moment.threads {
            self.out_at = Some(moment.now);
        }
    }

    fn is_due(&self, rule: &Rule, now: u64) -> bool {
        let since = |at: Option<&u64>| at.map(|at| now.saturating_sub(*at));
        let held = since(self.held.get(&rule.name)).is_some_and(|held| held >= millis(rule.held));
        held && since(self.acted.get(&rule.name)).is_none_or(|rested| rested >= millis(rule.cooldown))
    }
}

fn millis(span: crate::base::size::Span) -> u64 {
    u64::try_from(span.0.as_millis()).unwrap_or(u64::MAX)
}

/// The number of threads from now on. [`History::see`] comes first.
pub fn decide(profile: &Profile, load: &Load, history: &History, moment: &Moment) -> Decision {
    let (least, most) = profile.bounds(moment.cores);
    let threads = moment.threads;
    let most = history.crowd.ceiling.map_or(most, |ceiling| ceiling.clamp(least, most));
    if threads > most && history.crowd.ceiling.is_some() {
        let (busy, waiting) = (load.busy * 100.0, load.crowded.unwrap_or(0.0) * 100.0);
        let reason = format!("busy {busy:.0} %, and waiting for a core for {waiting:.0} % of it: {most} at most");
        return decision(most, "crowd", reason);
    }
    let bounded = threads.clamp(least, most);
    if bounded != threads {
        let reason = format!(
            "{threads} threads are outside of {least} to {most} on {} cores",
            moment.cores
        );
        return decision(bounded, "bounds", reason);
    }
    let floor = floor(profile, moment, (least, most));
    let out = || by_rule(profile, load, history, moment, Step::Out, (floor.threads, most));
    let inward = || by_rule(profile, load, history, moment, Step::In, (floor.threads, most));
    emergency(profile, load, threads, most)
        .or_else(out)
        .or_else(|| (floor.threads > threads).then(|| floor.clone()))
        .or_else(inward)
        .unwrap_or_else(|| decision(threads, "steady", "no rule asks for a change".into()))
}

fn decision(threads: usize, rule: &str, reason: String) -> Decision {
    Decision {
        threads,
        rule: rule.to_owned(),
        reason,
    }
}

fn emergency(profile: &Profile, load: &Load, threads: usize, most: usize) -> Option<Decision> {
    let limits = &profile.emergency;
    let many = load.critical >= limits.critical.max(1);
    let old = load.critical > 0 && load.critical_oldest_ms >= millis(limits.oldest);
    ((many || old) && threads < most).then(|| {
        let Load {
            critical,
            critical_oldest_ms,
            ..
        } = load;
        let reason =
            format!("{critical} critical waiting, the oldest for {critical_oldest_ms} ms: all threads at once");
        decision(most, "emergency", reason)
    })
}

/// The fewest threads that weekend and forecast allow, and which of them says so.
fn floor(profile: &Profile, moment: &Moment, (least, most): (usize, usize)) -> Decision {
    let weekend = if moment.is_weekend {
        (profile.start(moment.cores) as f64 * profile.weekend.factor).ceil() as usize
    } else {
        0
    };
    let weekend = weekend.min(most);
    let forecast = moment.forecast.min(most);
    if weekend > least && weekend >= forecast {
        let reason = format!(
            "a weekend starts with {} times as many: {weekend} at least",
            profile.weekend.factor
        );
        return decision(weekend, "weekend", reason);
    }
    let reason = format!("weddings are near: {forecast} at least");
    decision(forecast.max(least), "forecast", reason)
}

fn by_rule(
    profile: &Profile,
    load: &Load,
    history: &History,
    moment: &Moment,
    step: Step,
    (least, most): (usize, usize),
) -> Option<Decision> {
    let threads = moment.threads;
    let next = match step {
        Step::Out => (threads * 2).min(most),
        Step::In => (threads / 2).max(least),
    };
    let moves = match step {
        Step::Out => next > threads,
        Step::In => next < threads && may_go_in(profile, load, history, moment, next),
    };
    let mut rules = profile.rule.iter().filter(|rule| rule.step == step);
    let rule = rules.find(|rule| moves && history.is_due(rule, moment.now))?;
    let seen: Vec<String> = rule.r#if.iter().map(|one| one.shown(load)).collect();
    Some(decision(next, &rule.name, seen.join(", ")))
}

/// Not soon after a way out, and only if those that stay have room for all of it.
fn may_go_in(profile: &Profile, load: &Load, history: &History, moment: &Moment, next: usize) -> bool {
    let settled = history
        .out_at
        .is_none_or(|at| moment.now.saturating_sub(at) >= millis(profile.settle));
    let busy_after = load.busy * moment.threads as f64 / next.max(1) as f64;
    settled && busy_after <= profile.busy_after_max
}
