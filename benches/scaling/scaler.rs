//! The loop of `control::autoscaler` without a node: the same decisions, done at once.

use crate::crowd::Crowd;
use campanile::base::clock;
use campanile::control::meter::Meter;
use campanile::scaling::{History, Moment, Profile, decide};
use std::time::{Duration, Instant};

/// As often as a node looks.
const LOOK: Duration = Duration::from_millis(250);

pub struct Scaler {
    /// `None`: a fixed number of threads, which is looked at and left alone.
    profile: Option<Profile>,
    cores: usize,
    meter: Meter,
    history: History,
    started: Instant,
    look_at: Instant,
    directions: Vec<bool>,
    pub turns_max: usize,
}

impl Scaler {
    pub fn new(profile: Option<Profile>) -> Self {
        Self {
            profile,
            cores: campanile::workers::cores(),
            meter: Meter::default(),
            history: History::default(),
            started: clock::now(),
            look_at: clock::now(),
            directions: Vec::new(),
            turns_max: 0,
        }
    }

    /// Changes of direction are counted from here.
    pub fn begin(&mut self) {
        self.directions.clear();
    }

    /// Looks if it is time to; `forecast` is the number of threads that the calendar asks for.
    pub fn look(&mut self, crowd: &Crowd, forecast: usize) {
        if clock::now() < self.look_at {
            return;
        }
        self.look_at = clock::now() + LOOK;
        let load = self.meter.read(&crowd.gateway);
        let Some(profile) = &self.profile else {
            return;
        };
        let threads = crowd.gateway.threads();
        let moment = Moment {
            now: self.started.elapsed().as_millis() as u64,
            cores: self.cores,
            threads,
            is_season: true,
            is_weekend: false,
            forecast,
        };
        self.history.see(profile, &load, &moment);
        let decision = decide(profile, &load, &self.history, &moment);
        self.history.keep(&decision, &moment);
        if decision.threads != threads {
            crowd.gateway.resize(decision.threads).unwrap();
            self.directions.push(decision.threads > threads);
            let turns = self.directions.windows(2).filter(|pair| pair[0] != pair[1]).count();
            self.turns_max = self.turns_max.max(turns);
            eprintln!(
                "after {:.1} s: {threads} to {} threads by {} ({})",
                self.started.elapsed().as_secs_f64(),
                decision.threads,
                decision.rule,
                decision.reason
            );
        }
    }
}
