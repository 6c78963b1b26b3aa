//! The loop that scales the threads: looks at the load every second, asks [`crate::scaling`], does what it says, and keeps why.

use super::meter::Meter;
use crate::base::clock;
use crate::consensus::Handle;
use crate::gateway::Gateway;
use crate::metrics::METRICS;
use crate::model::Millis;
use crate::scaling::calendar::Local;
use crate::scaling::{Capacity, Decision, Expected, Forecast, History, Load, Moment, Profile, decide, forecast};
use crate::state::State;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Decisions that are kept; equal ones in a row are one.
pub const DECISIONS_MAX: usize = 256;
/// The coming days that a forecast looks at.
pub const HORIZON: Millis = 7 * 24 * 3_600_000;
/// How often the directory is looked at.
const FORECAST_EVERY: Duration = Duration::from_secs(10);

/// What the loop goes by.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The profile's name, and the profile.
    pub name: String,
    pub profile: Profile,
    pub every: Duration,
    /// A number of threads that nothing changes.
    pub fixed: Option<usize>,
    pub capacity: Option<Capacity>,
    pub cores: usize,
}

/// A decision, and the time through which it was made again and again.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub from: Millis,
    pub until: Millis,
    pub times: u64,
    pub threads_before: usize,
    pub decision: Decision,
    /// What was seen when it was made first.
    pub load: Load,
}

/// What is shown of the loop.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    pub load: Load,
    pub threads: usize,
    pub is_season: bool,
    pub is_weekend: bool,
    pub forecast: Option<Forecast>,
    /// The newest first.
    pub entries: VecDeque<Entry>,
}

pub struct Autoscaler {
    handle: Handle,
    gateway: Arc<Gateway>,
    pub settings: Settings,
    shown: Mutex<Shown>,
}

/// What the loop remembers between two looks.
struct Memory {
    started: Instant,
    history: History,
    meter: Meter,
    forecast: Option<(Instant, Forecast)>,
}

impl Autoscaler {
    pub fn new(handle: Handle, gateway: Arc<Gateway>, settings: Settings) -> Arc<Self> {
        Arc::new(Self {
            handle,
            gateway,
            settings,
            shown: Mutex::default(),
        })
    }

    /// What was seen at the last look.
    pub fn load(&self) -> Load {
        self.shown.lock().load
    }

    pub fn shown(&self) -> Shown {
        self.shown.lock().clone()
    }

    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut look = tokio::time::interval(self.settings.every);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut memory = Memory {
            started: clock::now(),
            history: History::default(),
            meter: Meter::default(),
            forecast: None,
        };
        loop {
            tokio::select! {
                _ = stop.changed() => return,
                _ = look.tick() => {}
            }
            self.step(&mut memory).await;
        }
    }

    async fn step(&self, memory: &mut Memory) {
        let load = memory.meter.read(&self.gateway);
        let expected = self.expected(memory);
        let moment = self.moment(memory, &expected);
        let decision = self.decide(memory, &load, &moment);
        let entry = Entry {
            from: clock::wall(),
            until: clock::wall(),
            times: 1,
            threads_before: moment.threads,
            decision: decision.clone(),
            load,
        };
        {
            let mut shown = self.shown.lock();
            shown.load = load;
            shown.is_season = moment.is_season;
            shown.is_weekend = moment.is_weekend;
            shown.forecast = Some(expected);
            keep(&mut shown.entries, entry);
        }
        if decision.threads != moment.threads {
            self.resize(&decision, moment.threads).await;
        }
        let threads = self.gateway.threads();
        METRICS.worker_threads.set(i64::try_from(threads).unwrap_or(i64::MAX));
        self.shown.lock().threads = threads;
    }

    fn decide(&self, memory: &mut Memory, load: &Load, moment: &Moment) -> Decision {
        if let Some(threads) = self.settings.fixed {
            return Decision {
                threads: moment.threads,
                rule: "fixed".into(),
                reason: format!("workers.threads is {threads}"),
            };
        }
        let profile = &self.settings.profile;
        memory.history.see(profile, load, moment);
        let decision = decide(profile, load, &memory.history, moment);
        memory.history.keep(&decision, moment);
        decision
    }

    async fn resize(&self, decision: &Decision, before: usize) {
        let Decision { threads, rule, reason } = decision;
        tracing::info!(before, threads, rule, reason, "the number of worker threads changes");
        METRICS.scaling_decisions.with_label_values(&[rule]).inc();
        let (gateway, wanted) = (self.gateway.clone(), *threads);
        match tokio::task::spawn_blocking(move || gateway.resize(wanted)).await {
            Ok(Ok(there)) if there != wanted => {
                tracing::warn!(wanted, there, "not all threads could be started or ended in time");
            }
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, wanted, "threads cannot be started"),
            Err(error) => tracing::warn!(%error, "changing the number of threads failed"),
        }
    }

    /// What the directory lets expect; looked up anew every few seconds.
    fn expected(&self, memory: &mut Memory) -> Forecast {
        if let Some((at, known)) = &memory.forecast
            && at.elapsed() < FORECAST_EVERY
        {
            return known.clone();
        }
        let Settings {
            profile,
            capacity,
            cores,
            ..
        } = &self.settings;
        let now = self.time();
        let (from, until) = (now.saturating_sub(HORIZON), now.saturating_add(HORIZON));
        let weddings = self.handle.read(|state| state.directory().staffing(from, until));
        let expected: Vec<Expected> = weddings
            .iter()
            .map(|wedding| Expected {
                starts_at: wedding.starts_at,
                ends_at: wedding.ends_at,
                team: wedding.team,
                guests: wedding.guests,
            })
            .collect();
        let start = profile.start(*cores);
        let rules = &profile.forecast;
        let found = forecast::forecast(&expected, rules, capacity.as_ref(), (now, until), start);
        let warned = memory
            .forecast
            .as_ref()
            .is_some_and(|(_, known)| known.warning.is_some());
        if let Some(warning) = found.warning.as_ref().filter(|_| !warned) {
            tracing::warn!(warning, "the coming days need more than this machine can do");
        }
        memory.forecast = Some((clock::now(), found.clone()));
        found
    }

    /// Log time. This node's own clock stands in for it while there is no leader to keep it, or no history yet.
    fn time(&self) -> Millis {
        let is_kept = self.handle.leadership().leader.is_some() && self.handle.read(State::epoch) != 0;
        if is_kept { self.handle.log_time() } else { clock::wall() }
    }

    fn moment(&self, memory: &Memory, expected: &Forecast) -> Moment {
        let now = self.time();
        let offsets = self.handle.read(|state| state.directory().clocks(now));
        let clocks: Vec<Local> = offsets
            .into_iter()
            .map(|offset| Local(now + Millis::from(offset) * 1_000))
            .collect();
        Moment {
            now: u64::try_from(memory.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            cores: self.settings.cores,
            threads: self.gateway.threads(),
            is_season: self.settings.profile.is_season(&clocks),
            is_weekend: self.settings.profile.is_weekend(&clocks),
            forecast: expected.threads,
        }
    }
}

/// A decision that only repeats the last one makes that last longer.
fn keep(entries: &mut VecDeque<Entry>, entry: Entry) {
    let is_change = |entry: &Entry| entry.decision.threads != entry.threads_before;
    match entries.front_mut() {
        Some(last) if !is_change(last) && !is_change(&entry) && last.decision == entry.decision => {
            last.until = entry.until;
            last.times += 1;
        }
        Some(_) | None => {
            entries.truncate(DECISIONS_MAX - 1);
            entries.push_front(entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{DECISIONS_MAX, Decision, Entry, Load, keep};
    use std::collections::VecDeque;

    fn entry(at: i64, before: usize, threads: usize, rule: &str) -> Entry {
        Entry {
            from: at,
            until: at,
            times: 1,
            threads_before: before,
            decision: Decision {
                threads,
                rule: rule.into(),
                reason: String::new(),
            },
            load: Load::default(),
        }
    }

    #[test]
    fn equal_decisions_are_one_and_changes_are_each_kept() {
        let mut entries = VecDeque::new();
        for at in 0..3 {
            keep(&mut entries, entry(at, 1, 1, "steady"));
        }
        keep(&mut entries, entry(3, 1, 2, "busy"));
        keep(&mut entries, entry(4, 2, 4, "busy"));
        keep(&mut entries, entry(5, 4, 4, "steady"));
        let shown: Vec<_> = entries
            .iter()
            .map(|entry| (entry.from, entry.until, entry.times, entry.decision.threads))
            .collect();
        assert_eq!(shown, [(5, 5, 1, 4), (4, 4, 1, 4), (3, 3, 1, 2), (0, 2, 3, 1)]);
        for at in 0..1_000 {
            keep(&mut entries, entry(at, 4, 2 + (at as usize % 2), "busy"));
        }
        assert_eq!(entries.len(), DECISIONS_MAX);
        assert_eq!(entries[0].from, 999);
    }
}
