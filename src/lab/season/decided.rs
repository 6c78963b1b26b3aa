//! The real decisions of scaling over a season's load, in virtual time: at the settings' interval, but only where something can change.
//! Between two broadcasts nothing changes but the rules' times, and these are known, so a year is some thousand looks and not thirty
//! million. Pure.
//!
//! It is one node that serves everybody, as when the other two are lost, and its cores are its own: what the machine was measured to
//! deliver is what it delivers.

use super::curve::{Curve, Work};
use super::foresight::{Outlook, day_of};
use crate::base::clock::{self, Millis};
use crate::scaling::calendar::Local;
use crate::scaling::{Capacity, Decision, History, Load, Moment, Profile, decide};
use std::collections::{BTreeMap, BTreeSet};

/// Looks of one season.
pub const LOOKS_MAX: u64 = 30_000_000;
/// How often the clocks on the walls are looked at: zones differ by whole quarters of an hour.
const QUARTER: Millis = 15 * 60_000;

#[derive(Debug, thiserror::Error)]
pub enum TooMuch {
    #[error("the season's decisions take more than {LOOKS_MAX} looks; ask for fewer weddings or less traffic")]
    Looks,
}

/// What a season is decided with.
pub struct Setting<'a> {
    pub profile: &'a Profile,
    pub capacity: &'a Capacity,
    pub cores: usize,
    /// The settings' interval.
    pub every: Millis,
    /// IANA names of the venues' zones.
    pub zones: Vec<&'a str>,
    /// From when to when.
    pub span: (Millis, Millis),
}

/// A change of the number of threads.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub at: Millis,
    pub before: usize,
    pub threads: usize,
    pub rule: String,
    pub reason: String,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decided {
    pub start: usize,
    pub bounds: (usize, usize),
    pub changes: Vec<Change>,
    /// How often each rule changed the number.
    pub by_rule: BTreeMap<String, u64>,
    /// Changes in the other direction than the one before, and the shortest time between two such.
    pub turns: u64,
    pub turned_soonest: Option<Millis>,
    /// When it was decided anew.
    pub looks: u64,
    /// The busiest look of the threads: a share of 1.
    pub busy_most: f64,
    /// Looks at whose end something waited, and the most that waited.
    pub late: u64,
    pub backlog_most: u64,
}

/// Whether a look could come to another decision than the one before.
#[derive(Clone, PartialEq)]
struct Inputs {
    holds: Vec<bool>,
    busy_percent: u64,
    critical: (u64, u64),
    forecast: usize,
    is_season: bool,
    is_weekend: bool,
}

/// Decides a whole season.
pub fn decided(curve: &Curve, outlooks: &[Outlook], setting: &Setting<'_>) -> Result<Decided, TooMuch> {
    let mut run = Run::new(curve, outlooks, setting);
    let mut known = run.times().into_iter().peekable();
    loop {
        let next = [known.peek().copied(), run.timers.first().copied(), run.again];
        let Some(at) = next.into_iter().flatten().min() else {
            break;
        };
        known.next_if_eq(&at);
        if run.again == Some(at) {
            run.again = None;
        }
        if at >= setting.span.1 {
            break;
        }
        run.look(at)?;
    }
    Ok(run.decided)
}

struct Run<'a> {
    curve: &'a Curve,
    outlooks: &'a [Outlook],
    setting: &'a Setting<'a>,
    history: History,
    threads: usize,
    last: Option<Inputs>,
    /// When a rule's time may be over.
    timers: BTreeSet<Millis>,
    /// The next look while something waits.
    again: Option<Millis>,
    queue: Queue,
    clocks: (bool, bool),
    clocks_at: Option<Millis>,
    decided: Decided,
}

/// What waits to be written.
#[derive(Debug, Default)]
struct Queue {
    deliveries: f64,
    releases: f64,
    critical: f64,
    critical_deliveries: f64,
    /// When the first look began that left something behind.
    since: Option<Millis>,
}

impl<'a> Run<'a> {
    fn new(curve: &'a Curve, outlooks: &'a [Outlook], setting: &'a Setting<'a>) -> Self {
        let threads = setting.profile.start(setting.cores);
        Self {
            curve,
            outlooks,
            setting,
            history: History::default(),
            threads,
            last: None,
            timers: BTreeSet::new(),
            again: None,
            queue: Queue::default(),
            clocks: (false, false),
            clocks_at: None,
            decided: Decided {
                start: threads,
                bounds: setting.profile.bounds(setting.cores),
                ..Decided::default()
            },
        }
    }

    /// The looks at which the load, the forecast or a clock on a wall changes.
    fn times(&self) -> Vec<Millis> {
        let Setting { every, span, .. } = *self.setting;
        let work = self.curve.looks.keys().flat_map(|at| [at + every, at + 2 * every]);
        let connected = self.curve.connected.iter().map(|(at, _)| up(*at, every));
        let outlooks = self.outlooks.iter().map(|outlook| up(outlook.at, every));
        let quarters = (span.0.div_euclid(QUARTER)..=span.1.div_euclid(QUARTER)).map(|nth| nth * QUARTER);
        let mut times: Vec<Millis> = work.chain(connected).chain(outlooks).chain(quarters).collect();
        times.retain(|at| (span.0..span.1).contains(at));
        times.sort_unstable();
        times.dedup();
        times
    }

    fn look(&mut self, at: Millis) -> Result<(), TooMuch> {
        let load = self.load(at);
        let moment = self.moment(at);
        let inputs = self.inputs(&load, &moment);
        let is_due = self.timers.remove(&at);
        let is_new = self.last.as_ref() != Some(&inputs);
        if !is_due && !is_new {
            return Ok(());
        }
        self.last = Some(inputs);
        self.decided.looks += 1;
        if self.decided.looks > LOOKS_MAX {
            return Err(TooMuch::Looks);
        }
        let profile = self.setting.profile;
        self.history.see(profile, &load, &moment);
        let decision = decide(profile, &load, &self.history, &moment);
        self.history.keep(&decision, &moment);
        let is_changed = decision.threads != self.threads;
        if is_changed {
            self.change(at, decision);
        }
        if is_changed || is_new {
            self.set_timers(at);
        }
        if is_changed {
            // what held under the old number begins to hold again at the next look
            self.timers.insert(at + self.setting.every);
            self.set_timers(at + self.setting.every);
        }
        Ok(())
    }

    /// The times that count from now on.
    fn set_timers(&mut self, at: Millis) {
        let Setting { profile, every, .. } = *self.setting;
        let millis = |span: crate::base::size::Span| span.0.as_millis() as Millis;
        let rules = profile.rule.iter().flat_map(|rule| [rule.held, rule.cooldown]);
        for span in rules.chain([profile.settle]).map(millis).filter(|span| *span > 0) {
            self.timers.insert(up(at + span, every));
        }
    }

    fn change(&mut self, at: Millis, decision: Decision) {
        let decided = &mut self.decided;
        let is_out = decision.threads > self.threads;
        if let Some(last) = decided.changes.last()
            && is_out != (last.threads > last.before)
        {
            decided.turns += 1;
            let after = at - last.at;
            decided.turned_soonest = Some(decided.turned_soonest.map_or(after, |soonest| soonest.min(after)));
        }
        *decided.by_rule.entry(decision.rule.clone()).or_default() += 1;
        decided.changes.push(Change {
            at,
            before: self.threads,
            threads: decision.threads,
            rule: decision.rule,
            reason: decision.reason,
        });
        self.threads = decision.threads;
    }

    /// What the node sees when it looks: what came since the last look, against what its threads can write in that time.
    fn load(&mut self, at: Millis) -> Load {
        let every = self.setting.every;
        let rate = rate(self.setting.capacity, self.threads);
        let room = rate * every as f64 / 1_000.0;
        let work = self.curve.looks.get(&(at - every)).copied().unwrap_or_default();
        let queue = &mut self.queue;
        let total = queue.deliveries + work.deliveries as f64;
        let (done, releases) = queue.take(&work, room);
        if queue.deliveries > 0.0 {
            queue.since.get_or_insert(at - every);
            self.again = Some(at + every);
            self.decided.late += 1;
        } else {
            queue.since = None;
        }
        let age = queue.since.map_or(0, |since| (at - since).max(0) as u64);
        let busy = if room > 0.0 {
            (done / room * 100.0).ceil() / 100.0
        } else {
            0.0
        };
        self.decided.busy_most = self.decided.busy_most.max(busy);
        self.decided.backlog_most = self.decided.backlog_most.max(releases);
        let critical = queue.critical.ceil() as u64;
        Load {
            backlog: releases,
            oldest_ms: age,
            critical,
            critical_oldest_ms: if critical > 0 { age } else { 0 },
            busy,
            latency_ms: if rate > 0.0 { total / rate * 1_000.0 } else { 0.0 },
            connections: self.curve.connected_at(at),
            ..Load::default()
        }
    }

    fn moment(&mut self, at: Millis) -> Moment {
        let quarter = at - at.rem_euclid(QUARTER);
        if self.clocks_at != Some(quarter) {
            let clocks: Vec<Local> = self
                .setting
                .zones
                .iter()
                .filter_map(|zone| wall(zone, quarter))
                .collect();
            let profile = self.setting.profile;
            self.clocks = (profile.is_season(&clocks), profile.is_weekend(&clocks));
            self.clocks_at = Some(quarter);
        }
        let last = self.outlooks.partition_point(|outlook| outlook.at <= at).checked_sub(1);
        let (is_season, is_weekend) = self.clocks;
        Moment {
            now: (at - self.setting.span.0).max(0) as u64,
            cores: self.setting.cores,
            threads: self.threads,
            is_season,
            is_weekend,
            forecast: last
                .and_then(|last| self.outlooks.get(last))
                .map_or(0, |outlook| outlook.threads),
        }
    }

    fn inputs(&self, load: &Load, moment: &Moment) -> Inputs {
        let rules = self.setting.profile.rule.iter();
        let holds =
            rules.map(|rule| rule.when.includes(moment.is_season) && rule.r#if.iter().all(|one| one.holds(load)));
        Inputs {
            holds: holds.collect(),
            busy_percent: (load.busy * 100.0).round() as u64,
            critical: (load.critical, load.critical_oldest_ms),
            forecast: moment.forecast,
            is_season: moment.is_season,
            is_weekend: moment.is_weekend,
        }
    }
}

impl Queue {
    /// Adds what came and takes what there was room for: criticals first. Gives the deliveries made, and the releases that still wait.
    fn take(&mut self, work: &Work, room: f64) -> (f64, u64) {
        self.deliveries += work.deliveries as f64;
        self.releases += work.releases as f64;
        self.critical += work.critical as f64;
        self.critical_deliveries += work.critical_deliveries as f64;
        let done = self.deliveries.min(room);
        let left = |all: f64, done: f64| if all > 0.0 { ((all - done) / all).max(0.0) } else { 0.0 };
        let share = left(self.deliveries, done);
        let critical_share = left(self.critical_deliveries, room);
        self.deliveries *= share;
        self.releases *= share;
        self.critical *= critical_share;
        self.critical_deliveries *= critical_share;
        (done, self.releases.ceil() as u64)
    }
}

/// Deliveries a second with so many threads: more than did best bring nothing.
pub fn rate(capacity: &Capacity, threads: usize) -> f64 {
    let best = capacity.threads.max(1);
    capacity.deliveries_per_second / best as f64 * threads.min(best) as f64
}

/// What the clocks of a zone show.
fn wall(zone: &str, at: Millis) -> Option<Local> {
    let shown = clock::shown_in(zone, at)?;
    clock::parse_rfc3339(&format!("{}Z", shown.replace(' ', "T"))).map(Local)
}

/// The next look.
fn up(at: Millis, every: Millis) -> Millis {
    at + (-at).rem_euclid(every)
}

/// Days with something to deliver, on which as many threads as their busiest look needs ran before it; and for how long they had.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ready {
    pub days: usize,
    pub in_time: usize,
    /// Of those days, in their order by length.
    pub leads: Vec<Millis>,
}

pub fn ready(curve: &Curve, decided: &Decided, setting: &Setting<'_>) -> Ready {
    let mut most: BTreeMap<Millis, (Millis, u64)> = BTreeMap::new();
    for (at, work) in &curve.looks {
        let day = most.entry(day_of(*at)).or_insert((*at, 0));
        if work.deliveries > day.1 {
            *day = (*at, work.deliveries);
        }
    }
    let mut ready = Ready {
        days: most.len(),
        ..Ready::default()
    };
    let headroom = setting.profile.forecast.headroom;
    let of_one = rate(setting.capacity, 1) * headroom * setting.every as f64 / 1_000.0;
    for (at, deliveries) in most.into_values() {
        let needed = (deliveries as f64 / of_one.max(f64::MIN_POSITIVE)).ceil() as usize;
        let needed = needed.min(setting.capacity.threads);
        if let Some(since) = decided.enough_since(at, needed, setting.span.0) {
            ready.in_time += 1;
            ready.leads.push(at - since);
        }
    }
    ready.leads.sort_unstable();
    ready
}

impl Decided {
    /// Since when so many threads have run; `None` when they do not. `begun` is when the first ones started.
    fn enough_since(&self, at: Millis, needed: usize, begun: Millis) -> Option<Millis> {
        let before = self.changes.partition_point(|change| change.at <= at);
        let mut since = None;
        for change in self.changes.iter().take(before).rev() {
            if change.threads < needed {
                return since;
            }
            since = Some(change.at);
        }
        if self.start < needed { since } else { Some(begun) }
    }

    pub fn threads_most(&self) -> usize {
        self.changes
            .iter()
            .map(|change| change.threads)
            .fold(self.start, usize::max)
    }
}

/// Looks at every interval, whatever happens: what [`decided`] must come to.
#[cfg(test)]
pub fn exhaustively(curve: &Curve, outlooks: &[Outlook], setting: &Setting<'_>) -> Decided {
    let mut run = Run::new(curve, outlooks, setting);
    let mut at = up(setting.span.0, setting.every);
    while at < setting.span.1 {
        run.last = None;
        run.timers.clear();
        assert!(run.look(at).is_ok());
        at += setting.every;
    }
    run.decided
}
