//! The loop that watches the rules on this node: measures, asks [`crate::alerting`], and tells the log what has changed.
//!
//! The log is told only when a rule begins or ends to be broken here; who is told of it, and when, is decided by the state
//! ([`crate::state::alerts`]). What this node has raised is what the state says that it has, not what the loop remembers: so nothing is
//! lost or told twice over a change of leader, a restart, or an answer that never came.

use super::measuring::{Measuring, Sources};
use super::today::Today;
use crate::alerting::{Day, Finding, History, Measure, Moment, Phase, Rule, evaluate};
use crate::base::clock;
use crate::metrics::METRICS;
use crate::model::{Millis, NodeId};
use crate::state::Command;
use crate::state::alerts::{Broken, Report, Sighting};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// A node that starts waits this long at most for the first figure of a rule before it says that what it had raised is over.
const SETTLED_MS: u64 = 60_000;
/// The log takes a report within this, or it is made again at the next look.
const WITHIN: Duration = Duration::from_secs(2);

#[derive(Clone, Debug)]
pub struct Settings {
    pub rules: Vec<Rule>,
    pub every: Duration,
    /// On the days of weddings, and while something is wrong.
    pub every_enhanced: Duration,
    /// What a node has raised that nobody has heard of for so long is over.
    pub lost_after: Duration,
}

pub struct Alerter {
    pub node: NodeId,
    pub sources: Sources,
    pub settings: Settings,
    pub today: Arc<Today>,
    shown: Mutex<Vec<Shown>>,
}

/// What this node found of one rule at the last look.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// Its place in the settings.
    pub rule: usize,
    pub finding: Finding,
    /// When it went beyond its bound, if it is.
    pub since: Option<Millis>,
}

/// What the loop remembers between two looks.
#[derive(Default)]
struct Memory {
    measuring: Measuring,
    history: History,
    /// Rules that were measured since the start.
    measured: BTreeSet<String>,
    /// What is broken here and the log does not have yet.
    untold: BTreeMap<String, Untold>,
    /// Since when the leader hears nothing of nodes that have raised something.
    absent: BTreeMap<NodeId, Instant>,
}

/// What is still to be told of a rule.
struct Untold {
    sighting: Sighting,
    bound: f64,
    /// When it was over, if it is.
    until: Option<Millis>,
}

impl Alerter {
    pub fn new(node: NodeId, sources: Sources, today: Arc<Today>, settings: Settings) -> Arc<Self> {
        Arc::new(Self {
            node,
            sources,
            settings,
            today,
            shown: Mutex::default(),
        })
    }

    /// In the order of the rules; nothing before the first look.
    pub fn shown(&self) -> Vec<Shown> {
        self.shown.lock().clone()
    }

    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut leadership = self.sources.handle.watch_leadership();
        let mut memory = Memory::default();
        self.resume(&mut memory);
        loop {
            self.step(&mut memory).await;
            let wait = self.wait();
            tokio::select! {
                _ = stop.changed() => return,
                _ = leadership.changed() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Closer looks on the days of weddings, and as long as something is wrong.
    fn wait(&self) -> Duration {
        let is_well = self
            .shown
            .lock()
            .iter()
            .all(|shown| shown.finding.phase == Phase::Quiet);
        match self.today.day() {
            Day::Ordinary if is_well => self.settings.every,
            Day::Ordinary | Day::Event => self.settings.every.min(self.settings.every_enhanced),
        }
    }

    /// What this node had raised before it stopped counts on until it is known to be better.
    fn resume(&self, memory: &mut Memory) {
        let now = memory.measuring.now();
        let open = self.open_here();
        let known = self.settings.rules.iter().filter(|rule| open.contains(&rule.name));
        known.for_each(|rule| memory.history.resume(&rule.name, now));
    }

    /// The rules that the state has as broken here.
    fn open_here(&self) -> BTreeSet<String> {
        self.sources.handle.read(|state| {
            let open = state.alerts().open();
            let here = open.filter(|alert| alert.nodes.contains_key(&self.node));
            here.map(|alert| alert.rule.name.clone()).collect()
        })
    }

    /// One look.
    async fn step(&self, memory: &mut Memory) {
        let day = self.today.look(&self.sources.handle);
        let samples = memory.measuring.look(&self.sources).await;
        let now = memory.measuring.now();
        let rules = &self.settings.rules;
        let findings = evaluate(rules, &samples, &mut memory.history, Moment { now, day });
        let log_time = self.sources.handle.log_time();
        let past = |millis: u64| log_time.saturating_sub_unsigned(millis);
        let since = |rule: usize, finding: &Finding| {
            let ticks = finding.phase.since()?;
            // what is itself a length of time says when it began
            let is_length = rules.get(rule).is_some_and(|rule| rule.measure == Measure::NoLeader);
            let length = finding.value.filter(|length| is_length && *length > 0.0);
            Some(length.map_or_else(|| past(now.saturating_sub(ticks)), |length| past(length as u64)))
        };
        let shown: Vec<Shown> = findings
            .into_iter()
            .enumerate()
            .map(|(rule, finding)| Shown {
                rule,
                since: since(rule, &finding),
                finding,
            })
            .collect();
        self.shown.lock().clone_from(&shown);
        self.note_firing(&shown);
        self.tell(&shown, memory, log_time).await;
        self.close_lost(memory).await;
    }

    fn note_firing(&self, shown: &[Shown]) {
        let everywhere: BTreeSet<String> = self.sources.handle.read(|state| {
            let open = state.alerts().open();
            open.map(|alert| alert.rule.name.clone()).collect()
        });
        for (rule, shown) in self.settings.rules.iter().zip(shown) {
            let fires = shown.finding.phase.fires_since().is_some() || everywhere.contains(&rule.name);
            METRICS
                .alert_firing
                .with_label_values(&[&rule.name])
                .set(i64::from(fires));
        }
    }

    /// Brings the state to what was found here.
    async fn tell(&self, shown: &[Shown], memory: &mut Memory, now: Millis) {
        let mut open = self.open_here();
        for (rule, shown) in self.settings.rules.iter().zip(shown) {
            let is_open = open.remove(&rule.name);
            let fires = shown.finding.phase.fires_since().is_some();
            if shown.finding.value.is_some() {
                memory.measured.insert(rule.name.clone());
            }
            let is_known = memory.measured.contains(&rule.name) || memory.measuring.now() >= SETTLED_MS;
            if fires && !is_open {
                note_untold(memory, rule, shown, now);
            }
            match (fires, is_open) {
                (true, true) => drop(memory.untold.remove(&rule.name)),
                (true, false) => self.raise(rule, memory).await,
                // What is worse again, and not for long enough, is not over.
                (false, true) if !is_known || matches!(shown.finding.phase, Phase::Pending { .. }) => {}
                (false, true) => self.clear(&rule.name, memory).await,
                (false, false) => self.tell_passed(rule, memory, now).await,
            }
        }
        // rules that this node has no more
        for rule in open {
            self.clear(&rule, memory).await;
        }
    }

    async fn raise(&self, rule: &Rule, memory: &mut Memory) {
        let Some(seen) = memory.untold.get(&rule.name) else {
            return;
        };
        let report = Report::Raised {
            node: self.node,
            rule: broken(rule, seen.bound),
            seen: seen.sighting.clone(),
        };
        if self.report(report).await {
            tracing::warn!(
                rule = rule.name,
                reason = seen.sighting.reason,
                "an alert begins on this node"
            );
            memory.untold.remove(&rule.name);
        }
    }

    async fn clear(&self, rule: &str, memory: &mut Memory) {
        memory.untold.remove(rule);
        let report = Report::Cleared {
            node: self.node,
            rule: rule.to_owned(),
        };
        if self.report(report).await {
            tracing::info!(rule, "an alert is over on this node");
        }
    }

    async fn tell_passed(&self, rule: &Rule, memory: &mut Memory, now: Millis) {
        let Some(seen) = memory.untold.get_mut(&rule.name) else {
            return;
        };
        let until = *seen.until.get_or_insert(now);
        let report = Report::Passed {
            node: self.node,
            rule: broken(rule, seen.bound),
            seen: seen.sighting.clone(),
            until,
        };
        if self.report(report).await {
            memory.untold.remove(&rule.name);
        }
    }

    /// Whether the log has it.
    async fn report(&self, report: Report) -> bool {
        let handle = &self.sources.handle;
        if handle.leadership().leader.is_none() {
            return false;
        }
        let command = Command::Alert(Box::new(report));
        match handle.propose(command, clock::now() + WITHIN).await {
            Ok(_) => true,
            Err(error) => {
                tracing::debug!(%error, "a report of an alert waits for the next look");
                false
            }
        }
    }

    /// The leader closes what nodes have raised that cannot say any more whether it is over.
    async fn close_lost(&self, memory: &mut Memory) {
        let handle = &self.sources.handle;
        if !handle.leadership().is_leader {
            memory.absent.clear();
            return;
        }
        let heard: BTreeSet<NodeId> = handle
            .nodes()
            .into_iter()
            .filter_map(|status| status.lag.map(|_| status.node))
            .collect();
        let raised: BTreeSet<NodeId> = handle.read(|state| {
            let open = state.alerts().open();
            open.flat_map(|alert| alert.nodes.keys().copied()).collect()
        });
        memory
            .absent
            .retain(|node, _| raised.contains(node) && !heard.contains(node));
        for node in raised.difference(&heard) {
            let since = *memory.absent.entry(*node).or_insert_with(clock::now);
            if since.elapsed() >= self.settings.lost_after {
                self.report(Report::Lost(*node)).await;
            }
        }
    }
}

/// The worst that was seen since it began is what is told.
fn note_untold(memory: &mut Memory, rule: &Rule, shown: &Shown, now: Millis) {
    let finding = &shown.finding;
    let fresh = Untold {
        sighting: Sighting {
            since: shown.since.unwrap_or(now),
            value: finding.value.unwrap_or(finding.bounds.bound),
            reason: finding.reason.clone(),
        },
        bound: finding.bounds.bound,
        until: None,
    };
    match memory.untold.get_mut(&rule.name) {
        Some(known) => {
            // it is back before the log could be told that it was over
            known.until = None;
            let is_worse = rule
                .measure
                .side()
                .is_beyond(fresh.sighting.value, known.sighting.value);
            if is_worse {
                let since = known.sighting.since;
                *known = fresh;
                known.sighting.since = since;
            }
        }
        None => drop(memory.untold.insert(rule.name.clone(), fresh)),
    }
}

fn broken(rule: &Rule, bound: f64) -> Broken {
    Broken {
        name: rule.name.clone(),
        severity: rule.severity,
        unit: rule.measure.unit(),
        side: rule.measure.side(),
        bound,
        cooldown_ms: u64::try_from(rule.cooldown.as_millis()).unwrap_or(u64::MAX),
        outputs: rule.outputs.clone(),
    }
}
