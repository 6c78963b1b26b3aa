//! How often each tier had what was asked for, by namespace, on this node.

use crate::metrics::{CacheCounters, METRICS};
use std::sync::atomic::{AtomicU64, Ordering};

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    Local,
    Replicated,
    /// From the replicated tier, past its time: the upstream gave nothing.
    Stale,
    /// From the upstream, or nowhere.
    Miss,
}

impl Tier {
    pub const ALL: [Self; 4] = [Self::Local, Self::Replicated, Self::Stale, Self::Miss];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Replicated => "replicated",
            Self::Stale => "stale",
            Self::Miss => "miss",
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::Local => 0,
            Self::Replicated => 1,
            Self::Stale => 2,
            Self::Miss => 3,
        }
    }
}

/// Reads of one namespace since the node started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    pub local: u64,
    pub replicated: u64,
    pub stale: u64,
    pub miss: u64,
}

impl Counted {
    pub fn all(&self) -> u64 {
        self.local + self.replicated + self.stale + self.miss
    }

    /// The share of reads that the local tier answered; `None` before the first read.
    pub fn local_rate(&self) -> Option<f64> {
        rate(self.local, self.all())
    }

    /// The share that either tier answered, stale ones too.
    pub fn rate(&self) -> Option<f64> {
        rate(self.all() - self.miss, self.all())
    }

    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            local: self.local + other.local,
            replicated: self.replicated + other.replicated,
            stale: self.stale + other.stale,
            miss: self.miss + other.miss,
        }
    }
}

#[allow(clippy::cast_precision_loss)] // a share for people
fn rate(part: u64, all: u64) -> Option<f64> {
    (all > 0).then(|| part as f64 / all as f64)
}

pub struct Counts {
    own: [AtomicU64; 4],
    shown: CacheCounters,
}

impl Counts {
    pub fn new(namespace: &str) -> Self {
        Self {
            own: Default::default(),
            shown: METRICS.cache_counters(namespace, Tier::ALL.map(Tier::name)),
        }
    }

    pub fn add(&self, tier: Tier) {
        let at = tier.index();
        self.own[at].fetch_add(1, Ordering::Relaxed);
        self.shown.reads[at].inc();
    }

    pub fn read(&self) -> Counted {
        let [local, replicated, stale, miss] = self.own.each_ref().map(|count| count.load(Ordering::Relaxed));
        Counted {
            local,
            replicated,
            stale,
            miss,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Counts, Tier};

    #[test]
    fn rates_are_shares_of_all_reads() {
        let counts = Counts::new("counts-test");
        assert_eq!(counts.read().rate(), None);
        for tier in [Tier::Local, Tier::Local, Tier::Replicated, Tier::Stale, Tier::Miss] {
            counts.add(tier);
        }
        let read = counts.read();
        assert_eq!((read.local_rate(), read.rate()), (Some(0.4), Some(0.8)));
        assert_eq!(read.plus(&read).local, 4);
    }
}
