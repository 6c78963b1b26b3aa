//! The cache: what a hit of the local tier costs, and how often the tiers have what is asked for. Prints one JSON line.
//!
//! `cargo bench --bench cache`. The floor of a hit is 200 ns; hit rates are asserted by a test beside `lab::cache`.

use campanile::base::clock;
use campanile::cache::local::Turn;
use campanile::cache::{Config, Kept, Local};
use campanile::lab::cache::{Trace, measure};
use campanile::state::cache::{CacheKey, Entry, Value};
use futures_util::FutureExt;
use std::sync::Arc;

const READS: u32 = 5_000_000;
const KEYS: usize = 1_000;
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

fn main() {
    let (local, keys) = filled();
    let mut found = 0u32;
    let start = clock::now();
    for key in keys.iter().cycle().take(READS as usize) {
        found += u32::from(local.get("teams", key, NOW).is_some());
    }
    let hit_ns = start.elapsed().as_secs_f64() * 1e9 / f64::from(READS);
    let rates = measure(Trace::default(), &Config::default());
    let line = serde_json::json!({
        "local_hit_ns": hit_ns,
        "local_hit_floor_ns": 200,
        "found": found,
        "hit_rates": rates,
        "of_best_static": rates.local / rates.best_static,
    });
    println!("{line}");
}
