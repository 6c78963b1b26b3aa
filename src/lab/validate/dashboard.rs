//! The dashboard: its data is built in under a second on every node, and its page comes whole from the binary, with nothing of elsewhere.

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
/// What stands before an address in HTML, CSS and JavaScript.
const BEFORE: [&str; 12] = [
    "src=\"",
    "href=\"",
    "from '",
    "from \"",
    "import '",
    "import \"",
    "import('",
    "url(",
    "url('",
    "url(\"",
    "fetch('",
    "action=\"",
];

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
        for found in addresses(&String::from_utf8_lossy(&answer.body)) {
            let Some(next) = within(&path, &found) else {
                outside += 1;
                proof.wrong(format!("{path} leads to {found}"));
                continue;
            };
            if !next.is_empty() && seen.insert(next.clone()) {
                waiting.push(next);
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

/// Everything that a text would load.
fn addresses(text: &str) -> Vec<String> {
    let ends = |letter: char| matches!(letter, '"' | '\'' | ')' | '`');
    let behind = |before: &str| {
        let all: Vec<String> = text
            .match_indices(before)
            .filter_map(|(at, _)| text.get(at + before.len()..)?.split(ends).next())
            .map(str::to_owned)
            .collect();
        all
    };
    BEFORE.into_iter().flat_map(behind).collect()
}

/// The path on this node; empty for what loads nothing, `None` for what is elsewhere.
fn within(from: &str, address: &str) -> Option<String> {
    let is_elsewhere = address.starts_with("//") || address.contains("://");
    if is_elsewhere {
        return None;
    }
    if let Some(rest) = address.strip_prefix("./") {
        let folder = from.rsplit_once('/').map_or("", |(folder, _)| folder);
        return Some(format!("{folder}/{rest}"));
    }
    let is_path = address.starts_with('/') && !address.starts_with("/v1/");
    Some(if is_path { address.to_owned() } else { String::new() })
}

#[cfg(test)]
mod tests {
    use super::{addresses, within};

    #[test]
    fn what_a_page_loads_is_found_and_what_is_elsewhere_is_known() {
        let text = r#"<a href="/x.css"><script src="https://cdn/x.js"> import { a } from './dom.js'; url(//fonts/x)"#;
        let found = addresses(text);
        assert_eq!(found, ["https://cdn/x.js", "/x.css", "./dom.js", "//fonts/x"]);
        let from = "/dashboard/7/app.js";
        assert_eq!(within(from, "./dom.js").as_deref(), Some("/dashboard/7/dom.js"));
        assert_eq!(within(from, "/x.css").as_deref(), Some("/x.css"));
        assert_eq!(within(from, "#main").as_deref(), Some(""));
        assert_eq!(
            (within(from, "https://cdn/x.js"), within(from, "//fonts/x")),
            (None, None)
        );
    }
}
