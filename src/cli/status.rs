//! `campanile status`: who leads, how far each node is, and what waits.

use super::arguments::{Status, Target};
use super::failure::Failure;
use super::nodes::{self, Nodes};
use super::output::{self, BAD, DIM, GOOD, STRONG, Table};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::time::Duration;

/// A node that does not answer within this is shown as one that does not.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
const PRIORITIES: [&str; 4] = ["critical", "high", "normal", "low"];

pub async fn run(options: &Status, as_json: bool) -> Result<(), Failure> {
    let nodes = Nodes::new(&options.target)?;
    let mut cluster = answer(&nodes, "/v1/cluster").await?;
    ask_each(&mut cluster, &options.target).await;
    let queues = answer(&nodes, "/v1/queues").await?;
    // A node of an older version does not know it.
    let scaling = answer(&nodes, "/v1/scaling").await.unwrap_or_default();
    let leader = cluster.get("leader").and_then(Value::as_u64);
    if as_json {
        output::say(&json!({"cluster": cluster, "queues": queues, "scaling": scaling}).to_string())?;
    } else {
        for line in lines(&cluster, &queues, &scaling) {
            output::say(&line)?;
        }
    }
    match leader {
        Some(_) => Ok(()),
        None => Err(Failure::failed("this node has no leader")
            .hint("another node (--url); with two of three nodes down there is none until one returns")),
    }
}

async fn answer(nodes: &Nodes, path: &str) -> Result<Value, Failure> {
    let answer = nodes.get(path).await?;
    if !answer.is_success() {
        return Err(Failure::problem(answer.status, &answer.body));
    }
    answer
        .json()
        .map_err(|error| Failure::failed(format!("the answer to {path} is not JSON: {error}")))
}

/// Notes for each node what it says itself when it is asked whether it is ready: `ready`, the code of why not, or `no answer`.
async fn ask_each(cluster: &mut Value, target: &Target) {
    let nodes = cluster.get_mut("nodes").and_then(Value::as_array_mut);
    let asked = nodes.into_iter().flatten().map(|node| async {
        let url = node.get("url").and_then(Value::as_str).unwrap_or_default();
        let says = is_ready(url, target).await;
        node["says"] = json!(says);
    });
    join_all(asked).await;
}

async fn is_ready(url: &str, target: &Target) -> String {
    let Ok(client) = nodes::client(url, target) else {
        return "no address".into();
    };
    match client.with_deadline(ANSWER_WITHIN).get("/readyz").await {
        Ok(answer) if answer.is_success() => "ready".into(),
        Ok(answer) => {
            let problem: Value = answer.json().unwrap_or_default();
            let code = problem.get("code").and_then(Value::as_str);
            code.map_or_else(|| answer.status.to_string(), str::to_owned)
        }
        Err(_) => "no answer".into(),
    }
}

fn lines(cluster: &Value, queues: &Value, scaling: &Value) -> Vec<String> {
    let mut lines = vec![match cluster.get("leader").and_then(Value::as_u64) {
        Some(leader) => format!(
            "{GOOD}node {leader} leads{GOOD:#}{DIM} (term {}){DIM:#}",
            cell(cluster, "term")
        ),
        None => format!("{BAD}no leader{BAD:#}: nothing can be published through this node"),
    }];
    lines.push(String::new());
    let mut table = Table::new(&[
        "node", "says", "role", "address", "applied", "lag", "sessions", "version",
    ]);
    for node in cluster.get("nodes").and_then(Value::as_array).into_iter().flatten() {
        table.row(&[
            &cell(node, "node"),
            &cell(node, "says"),
            &cell(node, "role"),
            &cell(node, "url"),
            &cell(node, "applied"),
            &cell(node, "lag"),
            &cell(node, "sessions"),
            &cell(node, "version"),
        ]);
    }
    lines.extend(table.lines());
    lines.extend(threads(scaling));
    lines.push(format!("\n{STRONG}queues of the node that answered{STRONG:#}"));
    let mut table = Table::new(&["priority", "waiting", "oldest", "written/s", "in flight", "retries"]);
    for name in PRIORITIES {
        if let Some(queue) = queues.get(name) {
            let oldest = queue.get("oldest_seconds").and_then(Value::as_f64).unwrap_or_default();
            let rate = queue.get("rate").and_then(Value::as_f64).unwrap_or_default();
            table.row(&[
                &name,
                &cell(queue, "waiting"),
                &format!("{oldest:.1}s"),
                &output::count(rate.round() as u64),
                &cell(queue, "in_flight"),
                &cell(queue, "retries"),
            ]);
        }
    }
    lines.extend(table.lines());
    lines
}

/// How many threads the node that answered has, why, and whether the coming days need more than it can do.
fn threads(scaling: &Value) -> Vec<String> {
    let Some(last) = scaling.get("decisions").and_then(|all| all.get(0)) else {
        return Vec::new();
    };
    let of = |name| cell(scaling, name);
    let bounds = match scaling.get("fixed").and_then(Value::as_bool) {
        Some(true) => "fixed".to_owned(),
        Some(false) | None => format!(
            "{} to {}, profile {}",
            of("threads_min"),
            of("threads_max"),
            of("profile")
        ),
    };
    let mut lines = vec![format!(
        "\n{STRONG}{} threads{STRONG:#} ({bounds}){DIM}: {}, {}{DIM:#}",
        of("threads"),
        cell(last, "rule"),
        cell(last, "reason")
    )];
    let warning = scaling
        .get("forecast")
        .and_then(|forecast| forecast.get("warning")?.as_str());
    lines.extend(warning.map(|warning| format!("{BAD}the coming days{BAD:#}: {warning}")));
    lines
}

fn cell(value: &Value, name: &str) -> String {
    match value.get(name) {
        None | Some(Value::Null) => "-".into(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.as_u64().map_or_else(|| number.to_string(), output::count),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::lines;
    use serde_json::json;

    #[test]
    fn a_cluster_is_seen_at_a_glance() {
        let cluster = json!({"leader": 2, "term": 7, "nodes": [
            {"node": 1, "says": "no answer", "role": "follower", "url": "http://a:8205", "applied": 98123, "lag": null,
             "version": "0.1.0", "sessions": 12},
            {"node": 2, "says": "ready", "role": "leader", "url": "http://b:8205", "applied": 98123, "lag": 0, "version": "0.1.0", "sessions": 9},
            {"node": 3, "says": "no answer", "role": "unreachable", "url": "http://c:8205", "applied": null, "lag": null, "version": "0.1.0", "sessions": 0}]});
        let queues = json!({"critical":
            {"waiting": 3, "oldest_seconds": 0.25, "rate": 1999.6, "in_flight": 1, "retries": 0}});
        let scaling = json!({"threads": 2, "threads_min": 1, "threads_max": 4, "profile": "default", "fixed": false,
            "forecast": {"warning": "too many"}, "decisions": [{"rule": "busy", "reason": "busy 91.0 % (above 0.8)"}]});
        let told: Vec<String> = lines(&cluster, &queues, &scaling)
            .iter()
            .map(|line| anstream::adapter::strip_str(line).to_string())
            .collect();
        assert_eq!(told[0], "node 2 leads (term 7)");
        assert_eq!(
            told[3],
            "   1  no answer  follower     http://a:8205   98,123  -          12    0.1.0"
        );
        assert_eq!(
            told[5],
            "   3  no answer  unreachable  http://c:8205  -        -           0    0.1.0"
        );
        assert_eq!(
            told[told.len() - 1],
            "critical        3    0.2s      2,000          1        0"
        );
        let expected = "\n2 threads (1 to 4, profile default): busy, busy 91.0 % (above 0.8)";
        assert_eq!(told[6..8], [expected, "the coming days: too many"]);
        let without = lines(&json!({"leader": null, "nodes": []}), &json!({}), &json!({}));
        assert!(without[0].contains("no leader"));
    }
}
