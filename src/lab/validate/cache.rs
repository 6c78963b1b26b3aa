//! The cache: what a change replaced is never served after its answer, a trace like real ones hits, and memory has its limit.

use super::listener::text;
use super::proof::Proof;
use super::stage::{Stage, applied};
use anyhow::{Context, Result, bail};
use futures_util::{StreamExt, TryStreamExt, stream};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

const NAMESPACE: &str = "teams";
const ROUNDS: usize = 60;
/// Each so many-th change takes the value away.
const TAKEN_AWAY: usize = 5;
/// The origin's target, in percent.
const HIT_RATE: f64 = 95.0;
const KEYS: usize = 30;
const READS: usize = 3_000;
const AT_ONCE: usize = 8;
/// Together more than the local tier may hold, each less than a value may have.
const VALUES: usize = 1_000;
const VALUE_BYTES: usize = 60 << 10;
const MIB: f64 = 1_048_576.0;
/// The origin's limit of memory; at the limit is within it.
const LOCAL_MAX_MIB: f64 = 50.0 + 1e-6;
/// With so much in it, the tier was near its limit; less, and nothing was tried.
const LOCAL_FILLED_MIB: f64 = 30.0;

pub async fn look(stage: &mut Stage, proof: &mut Proof) -> Result<()> {
    if stage.nodes.len() < 2 {
        proof.not_run("changes over nodes: only one was named");
    }
    let probe = stage.ask(0, ("GET", &address(stage, "probe")), &[], b"").await?;
    if probe.code() == "UNKNOWN_NAMESPACE" {
        proof.not_run(format!("the nodes have no namespace {NAMESPACE:?}"));
        return Ok(());
    }
    coherence(stage, proof).await?;
    trace(stage, proof).await?;
    if stage.is_own() {
        filled(stage, proof).await
    } else {
        proof.not_run("filling the local tier: the values of others would have to go");
        Ok(())
    }
}

fn address(stage: &Stage, key: &str) -> String {
    format!("/v1/cache/{NAMESPACE}/{}", stage.name(key))
}

/// A value is changed on one node after the other, and read at once on all of them.
async fn coherence(stage: &Stage, proof: &mut Proof) -> Result<()> {
    let path = address(stage, "changing");
    let (mut stale, mut reads) = (0, 0);
    for round in 0..ROUNDS {
        let value = round.to_string();
        let is_taken = round % TAKEN_AWAY == TAKEN_AWAY - 1;
        let answer = if is_taken {
            stage.ask(round, ("DELETE", &path), &[], b"").await?
        } else {
            stage.ask(round, ("PUT", &path), &[], value.as_bytes()).await?
        };
        if answer.status != 204 {
            bail!("a change of the cache was answered {} {}", answer.status, answer.code());
        }
        let read = format!("{path}?at_least={}", applied(&answer)?);
        for at in 0..stage.nodes.len() {
            let found = stage.ask(at, ("GET", &read), &[], b"").await?;
            let is_right = match found.status {
                200 => !is_taken && found.body == value.as_bytes(),
                404 => is_taken,
                other => bail!("a read of the cache was answered {other} {}", found.code()),
            };
            reads += 1;
            if !is_right {
                stale += 1;
                let shown = String::from_utf8_lossy(&found.body);
                proof.wrong(format!(
                    "node {} answered {} {shown:?} after change {round}",
                    at + 1,
                    found.status
                ));
            }
        }
    }
    proof.none("reads that found what was replaced", stale);
    proof.saw(format!(
        "{ROUNDS} changes through each node in turn, {reads} reads behind them"
    ));
    Ok(())
}

#[derive(Clone, Copy, Default)]
struct Found {
    local: usize,
    replicated: usize,
    other: usize,
}

/// Keys as often asked for as they are in real caches: the n-th a n-th as often as the first.
async fn trace(stage: &Stage, proof: &mut Proof) -> Result<()> {
    let before = counted(stage).await?;
    let mut dice = SmallRng::seed_from_u64(stage.seed);
    let nodes = stage.nodes.len();
    let plan: Vec<(usize, usize)> = (0..READS)
        .map(|_| (dice.random_range(0..nodes), zipf(&mut dice)))
        .collect();
    let read = async |(at, key): (usize, usize)| {
        let path = address(stage, &format!("key-{key}"));
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
        proof.exactly("reads that the nodes have counted", READS, counted);
    }
    proof.saw(format!(
        "{READS} reads of {KEYS} keys by Zipf's law, from nothing: {} from memory, {} from the replicated tier, {} not there yet",
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

/// More than the local tier may hold is read on one node; then each namespace is invalidated as a whole.
async fn filled(stage: &Stage, proof: &mut Proof) -> Result<()> {
    let names = namespaces(stage).await?;
    let address = |number: usize| {
        let (namespace, key) = (&names[number % names.len()], stage.name(&format!("large-{number}")));
        format!("/v1/cache/{namespace}/{key}")
    };
    let value = vec![b'x'; VALUE_BYTES];
    let put = async |number: usize| {
        let answer = stage.ask(number, ("PUT", &address(number)), &[], &value).await?;
        anyhow::Ok(usize::from(answer.status == 204))
    };
    let get = async |number: usize| {
        let answer = stage.ask(0, ("GET", &address(number)), &[], b"").await?;
        anyhow::Ok(usize::from(answer.status == 200 && answer.body.len() == VALUE_BYTES))
    };
    let kept: Vec<usize> = stream::iter(0..VALUES)
        .map(put)
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    let read: Vec<usize> = stream::iter(0..VALUES)
        .map(get)
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    let status = stage.get(0, "/v1/cache").await?;
    let bytes = mib(&status["local"]["bytes"]);
    proof.exactly(
        "large values kept and read again",
        VALUES,
        kept.iter().sum::<usize>().min(read.iter().sum()),
    );
    proof.below(
        "memory of the local tier when more was read",
        LOCAL_MAX_MIB,
        "MiB",
        bytes,
    );
    proof.at_least("and so much was really in it", LOCAL_FILLED_MIB, "MiB", bytes);
    let mut left = 0;
    for (number, name) in names.iter().enumerate() {
        let emptied = stage.ask(1, ("DELETE", &format!("/v1/cache/{name}")), &[], b"").await?;
        for at in 0..stage.nodes.len() {
            let path = format!("{}?at_least={}", address(number), applied(&emptied)?);
            left += usize::from(stage.ask(at, ("GET", &path), &[], b"").await?.status != 404);
        }
    }
    proof.none("values served after their namespace was emptied", left);
    proof.saw(format!(
        "{VALUES} values of {} KiB in {} namespaces were read on node 1: its local tier held {} items",
        VALUE_BYTES >> 10,
        names.len(),
        status["local"]["items"]
    ));
    Ok(())
}

/// One alone may not hold as much as all of them.
async fn namespaces(stage: &Stage) -> Result<Vec<String>> {
    let status = stage.get(0, "/v1/cache").await?;
    let all = status["namespaces"].as_array().map_or(&[][..], Vec::as_slice);
    let names: Vec<String> = all.iter().map(|one| text(one, "name")).collect();
    if names.is_empty() {
        bail!("/v1/cache names no namespaces");
    }
    Ok(names)
}

fn mib(bytes: &Value) -> Option<f64> {
    Some(bytes.as_u64()? as f64 / MIB)
}

#[cfg(test)]
mod tests {
    use super::{KEYS, zipf};
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
}
