//! How often the cache has what is asked for, on a trace that is like what a venue asks: few keys often, most of them rarely.
//!
//! The tiers are the real ones: the state takes each value in as a command, and its effects reach the local tier.

use crate::cache::{Config, Held, Kept, Local, local::Turn};
use crate::model::Millis;
use crate::state::cache::{CacheChange, CacheEffect, CacheKey, Lifetime, Limits, Put, Value, Warm};
use crate::state::{Command, Effect, State};
use bytes::Bytes;
use futures_util::FutureExt;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, HashMap};

/// A trace: how many keys there are and how it goes through them.
#[derive(Clone, Copy, Debug)]
pub struct Trace {
    pub keys: usize,
    pub steps: usize,
    /// Of a thousand steps, so many are writes.
    pub writes_per_mille: u32,
    pub seed: u64,
}

impl Default for Trace {
    fn default() -> Self {
        Self {
            keys: 20_000,
            steps: 1_000_000,
            writes_per_mille: 10,
            seed: 7,
        }
    }
}

/// Shares of all reads, cold misses among them.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct HitRates {
    pub local: f64,
    pub both: f64,
    /// A plain LRU of as many items, on the same trace.
    pub lru: f64,
    /// The most asked for keys, chosen beforehand.
    pub best_static: f64,
}

/// Keys by rank: the one of rank r is asked for 1/r as often as the first.
struct Zipf(Vec<f64>);

impl Zipf {
    #[allow(clippy::cast_precision_loss)] // ranks are small
    fn new(keys: usize) -> Self {
        let mut sum = 0.0;
        let sums = (1..=keys).map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        });
        Self(sums.collect())
    }

    fn total(&self) -> f64 {
        self.0.last().copied().unwrap_or_default()
    }

    fn pick(&self, random: &mut impl Rng) -> usize {
        let at = random.random::<f64>() * self.total();
        self.0.partition_point(|sum| *sum < at)
    }

    fn share_of_first(&self, count: usize) -> f64 {
        self.0.get(count.wrapping_sub(1)).map_or(1.0, |sum| sum / self.total())
    }
}

/// What everybody knows: the least recently used one goes.
struct Lru {
    items: usize,
    clock: u64,
    used: HashMap<usize, u64>,
    order: BTreeMap<u64, usize>,
}

impl Lru {
    /// Whether it is there; it is afterwards.
    fn touch(&mut self, key: usize) -> bool {
        self.clock += 1;
        let before = self.used.insert(key, self.clock);
        if let Some(before) = before {
            self.order.remove(&before);
        }
        self.order.insert(self.clock, key);
        if self.used.len() > self.items
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.used.remove(&oldest);
        }
        before.is_some()
    }
}

struct Tiers {
    state: State,
    local: Local,
    index: u64,
    now: Millis,
    limits: Limits,
}

impl Tiers {
    fn put(&mut self, at: &CacheKey) {
        let value = Value {
            content_type: String::new(),
            body: Bytes::from(self.index.to_le_bytes().to_vec()),
        };
        let put = Put {
            at: at.clone(),
            digest: value.digest(),
            value,
            life: Lifetime {
                fresh_ms: 3_600_000,
                stale_ms: 0,
            },
            validator: None,
            warm: Warm::WhereKnown,
            limits: self.limits,
            claim: None,
        };
        self.index += 1;
        let mut effects = Vec::new();
        let command = Command::Cache(Box::new(CacheChange::Put(put)));
        self.state.apply(self.index, self.now, vec![command], &mut effects);
        for effect in effects {
            if let Effect::Cache(effect) = effect {
                self.note(&effect);
            }
        }
    }

    fn note(&self, effect: &CacheEffect) {
        self.local.note(effect, self.now);
    }

    fn look(&self, at: &CacheKey) -> Option<Kept> {
        let slot = self.state.cache().get(&at.namespace, &at.key)?;
        let entry = slot.entry.clone();
        slot.value.clone().map(|value| Kept { entry, value })
    }

    /// Where a read finds its value: the local tier, the replicated one, or neither.
    fn read(&mut self, at: &CacheKey) -> Option<&'static str> {
        if self.local.get(&at.namespace, &at.key, self.now).is_some() {
            return Some("local");
        }
        let known = self.look(at);
        let found = known.is_some().then_some("replicated");
        let kept = known.or_else(|| {
            self.put(at);
            self.look(at)
        })?;
        let held: Held = self.local.held(Some(kept.clone()), self.now, kept.entry.fresh_until);
        if let Some(Turn::Load(loading)) = self.local.turn(at, self.now).now_or_never() {
            loading.keep(held);
        }
        found
    }
}

/// Goes through a trace.
#[allow(clippy::cast_precision_loss)] // shares
pub fn measure(trace: Trace, config: &Config) -> HitRates {
    let zipf = Zipf::new(trace.keys);
    let items = usize::try_from(config.local_items).unwrap_or(usize::MAX);
    let mut random = SmallRng::seed_from_u64(trace.seed);
    let mut tiers = Tiers {
        state: State::new(),
        local: Local::new(config),
        index: 0,
        now: 1_800_000_000_000,
        limits: Limits {
            entries: trace.keys as u64,
            bytes: u64::MAX,
            all_entries: u64::MAX,
            all_bytes: u64::MAX,
        },
    };
    let mut lru = Lru {
        items,
        clock: 0,
        used: HashMap::new(),
        order: BTreeMap::new(),
    };
    let keys: Vec<CacheKey> = (0..trace.keys)
        .map(|key| CacheKey::new("trace", &key.to_string()))
        .collect();
    let (mut reads, mut local, mut replicated, mut lru_hits) = (0u64, 0u64, 0u64, 0u64);
    for _ in 0..trace.steps {
        let key = zipf.pick(&mut random);
        let Some(at) = keys.get(key) else { continue };
        if random.random_range(0..1_000) < trace.writes_per_mille {
            tiers.put(at);
            lru.touch(key);
            continue;
        }
        reads += 1;
        match tiers.read(at) {
            Some("local") => local += 1,
            Some(_) => replicated += 1,
            None => {}
        }
        lru_hits += u64::from(lru.touch(key));
    }
    let share = |hits: u64| hits as f64 / reads.max(1) as f64;
    HitRates {
        local: share(local),
        both: share(local + replicated),
        lru: share(lru_hits),
        best_static: zipf.share_of_first(items),
    }
}

#[cfg(test)]
mod tests {
    use super::{HitRates, Trace, measure};
    use crate::cache::Config;

    /// Shares of one seed; others differ in the third digit.
    #[test]
    fn the_tiers_have_nearly_all_that_the_best_choice_would_have_and_more_than_a_plain_lru() {
        let found = measure(Trace::default(), &Config::default());
        let HitRates {
            local,
            both,
            lru,
            best_static,
        } = found;
        println!(
            "{found:?}, {:.1} % of the best static choice",
            100.0 * local / best_static
        );
        assert!((best_static - 0.868).abs() < 0.001, "{found:?}");
        assert!(local >= 0.97 * best_static, "{found:?}");
        assert!(local > lru, "{found:?}");
        assert!(both >= 0.95, "{found:?}");
    }
}
