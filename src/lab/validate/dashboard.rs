//! The dashboard: its data is built in under a second on every node, and its page comes whole from the binary, with nothing of elsewhere.

use super::links::{Link, links};
use super::proof::Proof;
use super::stage::Stage;
use crate::base::clock;
use anyhow::{Result, bail};
use std::collections::BTreeSet;

/// The origin's target.
const BUILT_WITHIN_MS: f64 = 1_000.0;
const LOOKS: usize = 20;
const PARTS: [&str; 14] = [
    "caller",
    "at",
    "version",
    "uptime",
    "alerts",
    "health",
    "cluster",
    "queues",
    "performance",
    "capacity",
    "weddings",
    "urgent",
    "broadcasts",
    "scheduled",
];
const SERIES: [&str; 5] = ["latency", "throughput", "connections", "errors", "cache"];
const POINTS_MAX: usize = 48;
/// Files of the page; there are some twenty.
const FILES_MAX: usize = 200;
pub async fn look(stage: &mut Stage, proof: &mut Proof) -> Result<()> {
    built(stage, proof).await?;
    series(stage, proof).await?;
    for at in 0..stage.nodes.len() {
        page(stage, at, proof).await?;
    }
    Ok(())
}

async fn built(stage: &Stage, proof: &mut Proof) -> Result<()> {
    let mut times = Vec::new();
    let mut missing = BTreeSet::new();
    for look in 0..LOOKS * stage.nodes.len() {
        let begun = clock::now();
        let board = stage.get(look, "/v1/dashboard").await?;
        times.push((clock::now() - begun).as_secs_f64() * 1e3);
        missing.extend(PARTS.into_iter().filter(|part| board.get(part).is_none()));
    }
    let slowest = times.iter().copied().reduce(f64::max);
    proof.below("slowest answer with all of it", BUILT_WITHIN_MS, "ms", slowest);
    proof.none("parts that are missing", missing.len());
    for part in missing {
        proof.wrong(format!("the dashboard's data has no {part}"));
    }
    let mean = times.iter().sum::<f64>() / times.len().max(1) as f64;
    proof.saw(format!(
        "{} looks, {mean:.1} ms in the mean, from asked to read",
        times.len()
    ));
    Ok(())
}

async fn series(stage: &Stage, proof: &mut Proof) -> Result<()> {
    let mut good = 0;
    for name in SERIES {
        let path = format!("/v1/dashboard/series/{name}");
        let json = stage.get(0, &path).await?;
        let points = json["points"].as_array().map(Vec::len);
        let csv = stage.ask(0, ("GET", &format!("{path}?format=csv")), &[], b"").await?;
        let is_table = csv.status == 200 && csv.body.starts_with(b"at,");
        if points.is_some_and(|points| points <= POINTS_MAX) && is_table {
            good += 1;
        } else {
            let head: String = String::from_utf8_lossy(&csv.body).chars().take(40).collect();
            proof.wrong(format!(
                "series {name}: {points:?} points, as a table {} {head:?}",
                csv.status
            ));
        }
    }
    proof.exactly("series, each as JSON and as a table", SERIES.len(), good);
    Ok(())
}

/// Follows every address from the first page on.
async fn page(stage: &Stage, at: usize, proof: &mut Proof) -> Result<()> {
    let mut waiting = vec!["/".to_owned()];
    let mut seen: BTreeSet<String> = waiting.iter().cloned().collect();
    let (mut bytes, mut broken, mut outside) = (0, 0, 0);
    while let Some(path) = waiting.pop() {
        let answer = stage.ask(at, ("GET", &path), &[], b"").await?;
        if answer.status != 200 || answer.body.is_empty() {
            broken += 1;
            proof.wrong(format!("{path} was answered {}", answer.status));
        }
        bytes += answer.body.len();
        let policy = answer.header("content-security-policy").unwrap_or_default();
        if path == "/" && !policy.contains("default-src 'none'") {
            proof.wrong(format!("the page's policy is {policy:?}"));
        }
        for link in links(&path, &String::from_utf8_lossy(&answer.body)) {
            match link {
                Link::Within(next) => {
                    if seen.insert(next.clone()) {
                        waiting.push(next);
                    }
                }
                Link::Elsewhere(address) => {
                    outside += 1;
                    proof.wrong(format!("{path} leads to {address}"));
                }
            }
        }
        if seen.len() > FILES_MAX {
            bail!("the page has more than {FILES_MAX} files");
        }
    }
    let node = at + 1;
    proof.none(&format!("files of the page that node {node} lacks"), broken);
    proof.none(&format!("outside addresses in what node {node} serves"), outside);
    proof.at_least(
        &format!("files of the page from node {node}"),
        3.0,
        "",
        seen.len() as f64,
    );
    if at == 0 {
        proof.saw(format!(
            "the page has {} files, {bytes} bytes, none from elsewhere",
            seen.len()
        ));
    }
    Ok(())
}
