//! How often the cache has what is asked for, by a trace like real ones.

use super::cache::address;
use super::proof::Proof;
use super::stage::Stage;
use anyhow::{Context, Result};
use futures_util::{StreamExt, TryStreamExt, stream};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// The origin's target, in percent.
const HIT_RATE: f64 = 95.0;
const KEYS: usize = 30;
/// For each node, so that its first look at each key weighs the same however many nodes there are: 1.5 % of them.
const READS_OF_NODE: usize = 2_000;
const AT_ONCE: usize = 8;

#[derive(Clone, Copy, Default)]
struct Found {
    local: usize,
    replicated: usize,
    other: usize,
}

/// What is kept under them; each misses once in every node's memory.
pub fn words() -> impl Iterator<Item = String> {
    (0..KEYS).map(word)
}

fn word(key: usize) -> String {
    format!("key-{key}")
}

/// Keys as often asked for as they are in real caches: the n-th a n-th as often as the first.
pub async fn trace(stage: &Stage, namespace: &str, proof: &mut Proof) -> Result<()> {
    let before = counted(stage).await?;
    let mut dice = SmallRng::seed_from_u64(stage.seed);
    let nodes = stage.nodes.len();
    let reads = READS_OF_NODE * nodes;
    let plan: Vec<(usize, usize)> = (0..reads)
        .map(|_| (dice.random_range(0..nodes), zipf(&mut dice)))
        .collect();
    let read = async |(at, key): (usize, usize)| {
        let path = address(stage, namespace, &word(key));
        let answer = stage.ask(at, ("GET", &path), &[], b"").await?;
        if answer.status == 404 {
            stage.ask(at, ("PUT", &path), &[], b"the team of a wedding").await?;
        }
        anyhow::Ok(answer.header("campanile-cache").unwrap_or_default().to_owned())
    };
    let tiers: Vec<String> = stream::iter(plan)
        .map(read)
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    let mut found = Found::default();
    for tier in &tiers {
        match tier.as_str() {
            "local" => found.local += 1,
            "replicated" => found.replicated += 1,
            _ => found.other += 1,
        }
    }
    let percent = |hits: usize| 100.0 * hits as f64 / tiers.len().max(1) as f64;
    proof.at_least(
        "hit rate, from either tier",
        HIT_RATE,
        "%",
        percent(found.local + found.replicated),
    );
    proof.at_least("hit rate, from memory", HIT_RATE, "%", percent(found.local));
    if stage.is_own() {
        let counted = counted(stage).await?.saturating_sub(before);
        proof.exactly("reads that the nodes have counted", reads, counted);
    }
    proof.saw(format!(
        "{reads} reads of {KEYS} keys by Zipf's law, from nothing: {} from memory, {} from the replicated tier, {} not there yet",
        found.local, found.replicated, found.other
    ));
    Ok(())
}

fn zipf(dice: &mut SmallRng) -> usize {
    let weight = |key: usize| 1.0 / (key + 1) as f64;
    let all: f64 = (0..KEYS).map(weight).sum();
    let mut left = dice.random::<f64>() * all;
    for key in 0..KEYS {
        left -= weight(key);
        if left <= 0.0 {
            return key;
        }
    }
    KEYS - 1
}

/// Reads of all nodes so far.
async fn counted(stage: &Stage) -> Result<usize> {
    let mut all = 0;
    for at in 0..stage.nodes.len() {
        let status = stage.get(at, "/v1/cache").await?;
        for name in ["local", "replicated", "stale", "miss"] {
            let count = status["reads"][name].as_u64();
            all += count.with_context(|| format!("/v1/cache without reads.{name}"))?;
        }
    }
    Ok(usize::try_from(all)?)
}

#[cfg(test)]
mod tests {
    use super::{HIT_RATE, KEYS, READS_OF_NODE, zipf};
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    #[test]
    fn the_first_key_is_asked_for_twice_as_often_as_the_second() {
        let mut dice = SmallRng::seed_from_u64(1);
        let mut counts = [0_u32; KEYS];
        (0..100_000).for_each(|_| counts[zipf(&mut dice)] += 1);
        let ratio = f64::from(counts[0]) / f64::from(counts[1]);
        assert!((1.9..2.1).contains(&ratio) && counts[KEYS - 1] > 0, "{counts:?}");
    }

    #[test]
    fn first_looks_alone_miss_no_target_however_many_nodes_there_are() {
        for nodes in [1, 3, 5, 7] {
            let (firsts, reads) = ((KEYS * nodes) as f64, (READS_OF_NODE * nodes) as f64);
            assert!(100.0 * (1.0 - firsts / reads) > HIT_RATE + 3.0, "{nodes} nodes");
        }
    }
}
