//! The cache: what a change replaced is never served after its answer, a trace like real ones hits, and memory has its limit.

use super::hits::{trace, words};
use super::listener::text;
use super::proof::Proof;
use super::stage::{Stage, applied};
use anyhow::{Result, bail};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::Value;

/// The namespace that is taken where it can be.
const USUAL: &str = "teams";
/// The key of what is changed.
const CHANGING: &str = "changing";
const ROUNDS: usize = 60;
/// Each so many-th change takes the value away.
const TAKEN_AWAY: usize = 5;
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
    let names = plain(&stage.get(0, "/v1/config").await?);
    let Some(name) = names.iter().find(|name| *name == USUAL).or(names.first()) else {
        proof.not_run("the nodes have no namespace that is nothing but a store, and no upstream of theirs is asked");
        return Ok(());
    };
    let words = words().chain([CHANGING.to_owned()]);
    let paths: Vec<String> = words.map(|word| address(stage, name, &word)).collect();
    stage.owes(paths);
    coherence(stage, name, proof).await?;
    trace(stage, name, proof).await?;
    if stage.is_own() {
        filled(stage, &names, proof).await
    } else {
        proof.not_run("filling the local tier: the values of others would have to go");
        Ok(())
    }
}

pub fn address(stage: &Stage, namespace: &str, word: &str) -> String {
    format!("/v1/cache/{namespace}/{}", stage.name(word))
}

/// Namespaces that are nothing but a store: what is not there is asked of nobody, and nobody goes by what is put.
fn plain(config: &Value) -> Vec<String> {
    let all = config["cache"]["namespaces"].as_array().map_or(&[][..], Vec::as_slice);
    let is_plain = |one: &&Value| one["upstream"].is_null() && one["source_of"].is_null();
    all.iter().filter(is_plain).map(|one| text(one, "name")).collect()
}

/// A value is changed on one node after the other, and read at once on all of them.
async fn coherence(stage: &Stage, namespace: &str, proof: &mut Proof) -> Result<()> {
    let path = address(stage, namespace, CHANGING);
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

/// More than the local tier may hold is read on one node; then each namespace is invalidated as a whole.
async fn filled(stage: &Stage, names: &[String], proof: &mut Proof) -> Result<()> {
    if !has_room(&stage.get(0, "/v1/cache").await?, names) {
        proof.not_run("filling the local tier: the namespaces without an upstream take too little");
        return Ok(());
    }
    let address = |number: usize| address(stage, &names[number % names.len()], &format!("large-{number}"));
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

/// One alone may not hold as much as all of them; each gets its share.
fn has_room(status: &Value, names: &[String]) -> bool {
    let share = (VALUES.div_ceil(names.len().max(1)) * VALUE_BYTES) as u64;
    let all = status["namespaces"].as_array().map_or(&[][..], Vec::as_slice);
    let takes_its_share = |name: &String| {
        let mut own = all.iter().filter(|one| one["name"] == *name.as_str());
        own.any(|one| one["bytes_max"].as_u64().is_some_and(|bytes| bytes >= share))
    };
    names.iter().all(takes_its_share)
}

fn mib(bytes: &Value) -> Option<f64> {
    Some(bytes.as_u64()? as f64 / MIB)
}

#[cfg(test)]
mod tests {
    use super::{has_room, plain};
    use serde_json::json;

    #[test]
    fn what_an_upstream_or_the_directory_is_behind_is_left_alone() {
        let config = json!({"cache": {"namespaces": [
            {"name": "teams", "upstream": "https://app.example/***"},
            {"name": "segments", "source_of": "segments"},
            {"name": "delivery", "ttl": "5m"},
        ]}});
        assert_eq!(plain(&config), ["delivery"]);
        assert_eq!(plain(&json!({})), [""; 0]);
    }

    #[test]
    fn what_takes_too_little_is_not_filled() {
        let status = json!({"namespaces": [
            {"name": "a", "bytes_max": 32 << 20}, {"name": "b", "bytes_max": 32 << 20}, {"name": "c", "bytes_max": 1}]});
        let check = |names: &[&str], expected: bool| {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            assert_eq!(has_room(&status, &names), expected, "{names:?}");
        };
        check(&["a", "b"], true);
        check(&["a"], false);
        check(&["a", "b", "c"], false);
        check(&["a", "b", "unknown"], false);
    }
}
