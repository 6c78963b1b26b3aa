//! The cache: what a hit of the local tier costs, and how often the tiers have what is asked for.
//!
//! `cargo bench --bench cache`. Hit rates are asserted by a test beside `lab::cache`.

use campanile::base::clock;
use campanile::cache::local::Turn;
use campanile::cache::{Config, Kept, Local};
use campanile::lab::cache::{Trace, measure};
use campanile::lab::results::bench::Bench;
use campanile::lab::results::{Better, Bound};
use campanile::state::cache::{CacheKey, Entry, Value};
use futures_util::FutureExt;
use std::process::ExitCode;
use std::sync::Arc;

const READS: u32 = 5_000_000;
const KEYS: usize = 1_000;
/// What a hit may take: a fraction of what any socket costs.
const HIT_NS_MAX: f64 = 200.0;
const NOW: i64 = 1_800_000_000_000;

fn filled() -> (Local, Vec<String>) {
    let local = Local::new(&Config::default());
    let keys: Vec<String> = (0..KEYS).map(|key| format!("wedding-{key:04}")).collect();
    for key in &keys {
        let value = Value {
            content_type: "application/json".into(),
            body: vec![b'x'; 1_000].into(),
        };
        let entry = Entry {
            version: 1,
            digest: value.digest(),
            bytes: 1_000,
            put_at: NOW,
            fresh_until: i64::MAX,
            ends_at: i64::MAX,
            validator: None,
        };
        let kept = Kept {
            entry: Arc::new(entry),
            value: Arc::new(value),
        };
        let at = CacheKey::new("teams", key);
        if let Some(Turn::Load(loading)) = local.turn(&at, NOW).now_or_never() {
            loading.keep(local.held(Some(kept), NOW, i64::MAX));
        }
    }
    (local, keys)
}

fn main() -> ExitCode {
    let mut bench = Bench::new(
        "cache",
        "A hit of the local tier, and what share of reads the tiers have on a trace of Zipf(1.0) with writes in it.",
    );
    let (local, keys) = filled();
    let mut found = 0u32;
    let start = clock::now();
    for key in keys.iter().cycle().take(READS as usize) {
        found += u32::from(local.get("teams", key, NOW).is_some());
    }
    assert_eq!(found, READS, "what misses is no hit");
    let hit_ns = start.elapsed().as_secs_f64() * 1e9 / f64::from(READS);
    let trace = Trace::default();
    bench
        .setting("reads", READS)
        .setting("keys of the trace", trace.keys)
        .setting("steps of the trace", trace.steps)
        .setting("writes per mille", trace.writes_per_mille);
    let rates = measure(trace, &Config::default());
    let percent = |share: f64| 100.0 * share;
    bench
        .figure("hit.ns", "a hit of the local tier", "ns", hit_ns, Better::Lower)
        .figure(
            "hit.found",
            "reads that found their value",
            "",
            f64::from(found),
            Better::Higher,
        )
        .figure(
            "rate.local",
            "hits of the local tier",
            "%",
            percent(rates.local),
            Better::Higher,
        )
        .figure(
            "rate.best_static",
            "hits of the best static choice",
            "%",
            percent(rates.best_static),
            Better::Neither,
        )
        .figure(
            "rate.of_best_static",
            "local tier by best static choice",
            "%",
            percent(rates.local / rates.best_static),
            Better::Higher,
        )
        .figure(
            "rate.lru",
            "hits of a plain LRU of that size",
            "%",
            percent(rates.lru),
            Better::Neither,
        )
        .figure(
            "rate.both",
            "hits of both tiers, cold misses included",
            "%",
            percent(rates.both),
            Better::Higher,
        )
        .target("a hit of the local tier", Bound::Below(HIT_NS_MAX), "ns", hit_ns)
        .end()
}
