//! The local tier: what was read lately, in memory, weighed in bytes.
//!
//! It must never serve what the state has replaced. Two things see to that. Whoever loads a value puts it here while the state
//! stands still, and only if the state still has that very entry ([`Loading::keep`]). And whatever changes an entry drops it here
//! before the change is answered ([`Local::note`]). So a loader that is late finds another entry, and keeps nothing.

use super::settings::Config;
use crate::model::Millis;
use crate::state::cache::{CacheEffect, CacheKey, Entry, Value, Warm};
use quick_cache::sync::{Cache, DefaultLifecycle, EntryAction, EntryResult, PlaceholderGuard};
use quick_cache::{DefaultHashBuilder, Equivalent, OptionsBuilder, Weighter};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// What a value takes in memory beside its names and bytes.
const HELD_BYTES: u64 = 256;
/// Independent parts: readers of different keys hold each other up less, and each part judges by a share of what was read only.
const SHARDS: usize = 4;

/// A value with what is known of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    pub entry: Arc<Entry>,
    pub value: Arc<Value>,
}

impl Kept {
    /// Whether the state has it, too: what an upstream gave and the log did not take is good for one answer.
    pub fn is_kept(&self) -> bool {
        self.entry.version != 0
    }
}

/// What is known here of a key, until when.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// `None`: the upstream has nothing under this key.
    pub kept: Option<Kept>,
    pub until: Millis,
}

/// A key that is only looked up: nothing is allocated for it.
struct Asked<'a> {
    namespace: &'a str,
    key: &'a str,
}

impl Hash for Asked<'_> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        // as `CacheKey` does
        self.namespace.hash(hasher);
        self.key.hash(hasher);
    }
}

impl Equivalent<CacheKey> for Asked<'_> {
    fn equivalent(&self, at: &CacheKey) -> bool {
        *self.key == *at.key && *self.namespace == *at.namespace
    }
}

/// Bytes, and never less than an item's share: so one capacity bounds bytes and items.
#[derive(Clone)]
struct Weigh {
    least: u64,
}

impl Weighter<CacheKey, Held> for Weigh {
    fn weight(&self, at: &CacheKey, held: &Held) -> u64 {
        let value = held.kept.as_ref().map_or(0, |kept| {
            kept.value.body.len() + kept.value.content_type.len() + kept.entry.validator.as_ref().map_or(0, String::len)
        });
        let bytes = HELD_BYTES + (at.namespace.len() + at.key.len() + value) as u64;
        bytes.max(self.least)
    }
}

type Tier = Cache<CacheKey, Held, Weigh, DefaultHashBuilder, DefaultLifecycle<CacheKey, Held>>;
type Guard<'a> = PlaceholderGuard<'a, CacheKey, Held, Weigh, DefaultHashBuilder, DefaultLifecycle<CacheKey, Held>>;

pub struct Local {
    tier: Tier,
    ttl_ms: u64,
}

/// Whether a read found something here, or has to load it for everybody who asks.
pub enum Turn<'a> {
    Held(Held),
    Load(Loading<'a>),
}

/// The turn to load a key: others wait until it is kept or dropped.
pub struct Loading<'a>(Guard<'a>);

impl Local {
    pub fn new(config: &Config) -> Self {
        let items = usize::try_from(config.local_items).unwrap_or(usize::MAX);
        let mut options = OptionsBuilder::new();
        options
            .estimated_items_capacity(items)
            .weight_capacity(config.local_bytes.0)
            .shards(SHARDS);
        let weigh = Weigh {
            least: config.local_bytes.0 / config.local_items.max(1),
        };
        let tier = match options.build() {
            Ok(options) => Cache::with_options(
                options,
                weigh,
                DefaultHashBuilder::default(),
                DefaultLifecycle::default(),
            ),
            // only a missing capacity is refused, and both are there
            Err(_) => Cache::with(
                items,
                config.local_bytes.0,
                weigh,
                DefaultHashBuilder::default(),
                DefaultLifecycle::default(),
            ),
        };
        Self {
            tier,
            ttl_ms: super::settings::millis(config.local_ttl),
        }
    }

    /// What is held of a key and still good.
    pub fn get(&self, namespace: &str, key: &str, now: Millis) -> Option<Held> {
        self.tier.get(&Asked { namespace, key }).filter(|held| now < held.until)
    }

    /// The same; or else the turn to load it. Others who ask meanwhile wait, and get it when that one gives up.
    pub async fn turn(&self, at: &CacheKey, now: Millis) -> Turn<'_> {
        let look = |_: &CacheKey, held: &mut Held| {
            if now < held.until {
                EntryAction::Retain(held.clone())
            } else {
                EntryAction::ReplaceWithGuard
            }
        };
        loop {
            match self.tier.entry_async(at, look).await {
                EntryResult::Retained(held) => return Turn::Held(held),
                EntryResult::Vacant(guard) | EntryResult::Replaced(guard, _) => return Turn::Load(Loading(guard)),
                // neither is asked for above
                EntryResult::Removed(..) | EntryResult::Timeout => {}
            }
        }
    }

    /// For how long something read now is held.
    pub fn held(&self, kept: Option<Kept>, now: Millis, fresh_until: Millis) -> Held {
        let until = now.saturating_add_unsigned(self.ttl_ms).min(fresh_until);
        Held { kept, until }
    }

    /// An entry has changed: called in the order of the log, before the change is answered. `now` is log time.
    pub fn note(&self, effect: &CacheEffect, now: Millis) {
        match effect {
            CacheEffect::Put { at, entry, value, warm } => {
                let kept = Kept {
                    entry: entry.clone(),
                    value: value.clone(),
                };
                let held = self.held(Some(kept), now, entry.fresh_until);
                match warm {
                    Warm::Everywhere => self.tier.insert(at.clone(), held),
                    // where it is not known there is nothing to replace
                    Warm::WhereKnown => drop(self.tier.replace(at.clone(), held, true)),
                }
            }
            CacheEffect::Renewed { at, entry } => self.renew(at, entry, now),
            CacheEffect::Dropped(at) => drop(self.tier.remove(at)),
            CacheEffect::Emptied(namespace) => self.tier.retain(|at, _| at.namespace != *namespace),
        }
    }

    fn renew(&self, at: &CacheKey, entry: &Arc<Entry>, now: Millis) {
        let known = self.tier.peek(at).and_then(|held| held.kept);
        match known.filter(|kept| kept.entry.version == entry.version) {
            Some(Kept { value, .. }) => {
                let kept = Kept {
                    entry: entry.clone(),
                    value,
                };
                let held = self.held(Some(kept), now, entry.fresh_until);
                drop(self.tier.replace(at.clone(), held, true));
            }
            None => drop(self.tier.remove(at)),
        }
    }

    /// Another state has taken the place of this one.
    pub fn clear(&self) {
        self.tier.clear();
    }

    /// More goes in from now on, or what is too much goes.
    pub fn set_capacity(&self, bytes: u64) {
        self.tier.set_capacity(bytes);
    }

    pub fn capacity(&self) -> u64 {
        self.tier.capacity()
    }

    /// Items, and their weight in bytes.
    pub fn size(&self) -> (usize, u64) {
        (self.tier.len(), self.tier.weight())
    }
}

impl Loading<'_> {
    /// To be called while the state cannot change, and only with what it has now.
    pub fn keep(self, held: Held) {
        // Who waits has it in any case; a key that was changed meanwhile is not kept here.
        drop(self.0.insert(held));
    }
}

#[cfg(test)]
mod tests {
    use super::{Held, Kept, Local, Turn};
    use crate::base::size::{Size, Span};
    use crate::cache::Config;
    use crate::model::Millis;
    use crate::state::cache::{CacheEffect, CacheKey, Entry, Value, Warm};
    use bytes::Bytes;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const NOW: Millis = 1_000_000;

    fn local(bytes: Size, items: u64) -> Local {
        Local::new(&Config {
            local_bytes: bytes,
            local_items: items,
            local_ttl: Span::seconds(300),
            ..Config::default()
        })
    }

    fn kept(version: u64, bytes: usize) -> Kept {
        let value = Value {
            content_type: String::new(),
            body: Bytes::from(vec![7; bytes]),
        };
        let entry = Entry {
            version,
            digest: value.digest(),
            bytes: bytes as u64,
            put_at: NOW,
            fresh_until: NOW + 60_000,
            ends_at: NOW + 60_000,
            validator: None,
        };
        Kept {
            entry: Arc::new(entry),
            value: Arc::new(value),
        }
    }

    fn at(key: &str) -> CacheKey {
        CacheKey::new("teams", key)
    }

    fn put(key: &str, kept: Kept, warm: Warm) -> CacheEffect {
        CacheEffect::Put {
            at: at(key),
            entry: kept.entry,
            value: kept.value,
            warm,
        }
    }

    async fn load(local: &Local, key: &str, kept: Kept) {
        match local.turn(&at(key), NOW).await {
            Turn::Load(loading) => loading.keep(local.held(Some(kept.clone()), NOW, kept.entry.fresh_until)),
            Turn::Held(held) => panic!("{held:?}"),
        }
    }

    fn version(local: &Local, key: &str, now: Millis) -> Option<u64> {
        let held: Option<Held> = local.get("teams", key, now);
        held.map(|held| held.kept.unwrap().entry.version)
    }

    #[tokio::test]
    async fn a_value_is_held_until_it_is_not_fresh_or_was_held_long_enough() {
        let local = local(Size::mib(1), 100);
        load(&local, "a", kept(1, 10)).await;
        assert_eq!(version(&local, "a", NOW + 59_999), Some(1));
        assert_eq!(version(&local, "a", NOW + 60_000), None);
        let mut long = kept(2, 10);
        Arc::make_mut(&mut long.entry).fresh_until = Millis::MAX;
        load(&local, "b", long).await;
        assert_eq!(version(&local, "b", NOW + 299_999), Some(2));
        assert_eq!(version(&local, "b", NOW + 300_000), None);
        assert!(matches!(local.turn(&at("b"), NOW + 300_000).await, Turn::Load(_)));
        assert_eq!(local.get("other", "a", NOW), None, "another namespace");
    }

    #[tokio::test]
    async fn bytes_and_items_are_both_bounded() {
        let small = local(Size::mib(1), 100);
        for number in 0..1_000 {
            load(&small, &number.to_string(), kept(1, 10)).await;
        }
        assert!((60..=100).contains(&small.size().0), "{:?}", small.size());
        let large = local(Size::mib(1), 100);
        for number in 0..1_000 {
            load(&large, &number.to_string(), kept(1, 50_000)).await;
        }
        let (items, bytes) = large.size();
        assert!(bytes <= 1 << 20 && (12..=20).contains(&items), "{items} {bytes}");
        large.set_capacity(1 << 19);
        assert!(large.size().1 <= 1 << 19);
        assert_eq!(large.capacity(), 1 << 19);
    }

    #[tokio::test]
    async fn effects_replace_renew_and_drop() {
        let local = local(Size::mib(1), 100);
        for key in ["a", "b", "c", "d"] {
            load(&local, key, kept(1, 10)).await;
        }
        local.note(&put("a", kept(2, 10), Warm::WhereKnown), NOW);
        local.note(&put("x", kept(3, 10), Warm::WhereKnown), NOW);
        local.note(&put("y", kept(4, 10), Warm::Everywhere), NOW);
        local.note(&CacheEffect::Dropped(at("b")), NOW);
        let renewed = |version: u64| {
            let mut entry = kept(version, 10).entry;
            Arc::make_mut(&mut entry).fresh_until = NOW + 90_000;
            entry
        };
        local.note(
            &CacheEffect::Renewed {
                at: at("c"),
                entry: renewed(1),
            },
            NOW,
        );
        local.note(
            &CacheEffect::Renewed {
                at: at("d"),
                entry: renewed(2),
            },
            NOW,
        );
        let found = ["a", "b", "c", "d", "x", "y"].map(|key| version(&local, key, NOW));
        assert_eq!(found, [Some(2), None, Some(1), None, None, Some(4)]);
        assert_eq!(version(&local, "c", NOW + 89_999), Some(1));
        local.note(&CacheEffect::Emptied("other".into()), NOW);
        assert_eq!(version(&local, "a", NOW), Some(2));
        local.note(&CacheEffect::Emptied("teams".into()), NOW);
        assert_eq!(local.size().0, 0);
    }

    #[tokio::test]
    async fn who_loads_while_the_key_changes_keeps_nothing() {
        let local = local(Size::mib(1), 100);
        let Turn::Load(loading) = local.turn(&at("a"), NOW).await else {
            panic!("there is nothing yet")
        };
        local.note(&CacheEffect::Dropped(at("a")), NOW);
        loading.keep(local.held(Some(kept(1, 10)), NOW, NOW + 60_000));
        assert_eq!(version(&local, "a", NOW), None);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_of_many_loads_and_the_next_when_it_gives_up() {
        let local = Arc::new(local(Size::mib(1), 100));
        let loads = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<_> = (0..64)
            .map(|_| {
                let (local, loads) = (local.clone(), loads.clone());
                tokio::spawn(async move {
                    match local.turn(&at("cold"), NOW).await {
                        Turn::Held(held) => held.kept.unwrap().entry.version,
                        Turn::Load(loading) => {
                            tokio::task::yield_now().await;
                            if loads.fetch_add(1, Ordering::SeqCst) == 0 {
                                return 0; // it gives up
                            }
                            loading.keep(local.held(Some(kept(5, 10)), NOW, NOW + 60_000));
                            5
                        }
                    }
                })
            })
            .collect();
        let mut seen = Vec::new();
        for task in tasks {
            seen.push(task.await.unwrap());
        }
        assert_eq!(loads.load(Ordering::SeqCst), 2);
        assert_eq!(seen.iter().filter(|version| **version == 5).count(), 63);
    }
}
