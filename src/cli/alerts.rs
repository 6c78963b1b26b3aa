//! `campanile alerts`: what is wrong, and what was.

use super::arguments::Alerts;
use super::failure::Failure;
use super::nodes::{self, Nodes};
use super::output::{self, BAD, DIM, GOOD, STRONG, Table, plain};
use crate::model::alert::Unit;
use serde_json::Value;

/// Alerts that are over and shown.
const RECENT_MAX: usize = 10;

pub async fn run(options: &Alerts, as_json: bool) -> Result<(), Failure> {
    let nodes = Nodes::new(&options.target)?;
    let alerts = nodes::read(&nodes.get("/v1/alerts").await?)?;
    if as_json {
        return output::say(&alerts.to_string());
    }
    lines(&alerts).iter().try_for_each(|line| output::say(line))
}

fn lines(alerts: &Value) -> Vec<String> {
    let list = |name: &str| alerts.get(name).and_then(Value::as_array).into_iter().flatten();
    let mut lines = Vec::new();
    let firing = list("items").filter(|item| text(item, "state") != "pending").count();
    lines.push(match firing {
        0 => format!("{GOOD}no alert{GOOD:#}"),
        1 => format!("{BAD}1 alert{BAD:#}"),
        many => format!("{BAD}{many} alerts{BAD:#}"),
    });
    if alerts.get("enhanced") == Some(&Value::Bool(true)) {
        lines.push(format!(
            "{DIM}a wedding's event window is open: bounds may be tighter{DIM:#}"
        ));
    }
    if list("items").next().is_some() {
        let mut table = Table::new(&["rule", "severity", "state", "since", "nodes", "told", "why"]);
        for item in list("items") {
            let told = if text(item, "told") == "true" { "yes" } else { "no" };
            table.row(&[
                &text(item, "rule"),
                &text(item, "severity"),
                &text(item, "state"),
                &text(item, "since"),
                &joined(item),
                &told,
                &text(item, "reason"),
            ]);
        }
        lines.push(String::new());
        lines.extend(table.lines());
    }
    if list("recent").next().is_some() {
        let mut table = Table::new(&["rule", "severity", "since", "until", "nodes", "why"]);
        for item in list("recent").take(RECENT_MAX) {
            table.row(&[
                &text(item, "rule"),
                &text(item, "severity"),
                &text(item, "since"),
                &text(item, "until"),
                &joined(item),
                &text(item, "reason"),
            ]);
        }
        lines.push(format!("\n{STRONG}over{STRONG:#}"));
        lines.extend(table.lines());
    }
    let mut table = Table::new(&["rule", "state here", "value", "bound", "clear"]);
    for rule in list("rules") {
        table.row(&[
            &text(rule, "rule"),
            &text(rule, "state"),
            &figure(rule, "value"),
            &format!("{} {}", text(rule, "side"), figure(rule, "bound")),
            &figure(rule, "clear"),
        ]);
    }
    lines.push(format!("\n{STRONG}rules, on node {}{STRONG:#}", text(alerts, "node")));
    lines.extend(table.lines());
    lines
}

fn text(value: &Value, name: &str) -> String {
    match value.get(name) {
        None | Some(Value::Null) => "-".into(),
        Some(Value::String(text)) => plain(text),
        Some(other) => other.to_string(),
    }
}

fn joined(value: &Value) -> String {
    let nodes = value.get("nodes").and_then(Value::as_array).into_iter().flatten();
    nodes.map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// In the unit of its rule; a unit that this program does not know shows the number.
fn figure(rule: &Value, name: &str) -> String {
    let unit = [Unit::Share, Unit::Milliseconds, Unit::Bytes, Unit::Count]
        .into_iter()
        .find(|unit| text(rule, "unit") == unit.name());
    match (rule.get(name).and_then(Value::as_f64), unit) {
        (Some(value), Some(unit)) => unit.shown(value),
        (Some(value), None) => value.to_string(),
        (None, _) => "-".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::lines;
    use serde_json::{Value, json};

    fn told(alerts: &Value) -> Vec<String> {
        let lines = lines(alerts);
        let lines = lines
            .iter()
            .flat_map(|line| line.split('\n').map(str::to_owned).collect::<Vec<_>>());
        lines
            .map(|line| anstream::adapter::strip_str(&line).to_string())
            .collect()
    }

    #[test]
    fn what_is_wrong_stands_first() {
        let seen = told(&json!({"node": 2, "enhanced": true,
            "items": [{"rule": "slow_response", "severity": "error", "state": "firing", "since": "2027-06-19T20:42:00.000Z",
                "nodes": [1, 3], "told": true, "reason": "a publish is answered after 612 ms (above 500 ms)"}],
            "recent": [],
            "rules": [{"rule": "slow_response", "state": "quiet", "value": 12.25, "bound": 500.0, "clear": 400.0,
                "side": "above", "unit": "ms"},
                {"rule": "memory", "state": "quiet", "value": null, "bound": 0.9, "clear": 0.85, "side": "above", "unit": "share"}]}));
        assert_eq!(seen[0], "1 alert");
        assert!(seen[1].starts_with("a wedding's event window is open"), "{seen:?}");
        let has = |words: &[&str]| seen.iter().any(|line| words.iter().all(|word| line.contains(word)));
        assert!(
            has(&["slow_response", "error", "firing", "1, 3", "yes", "612 ms"]),
            "{seen:?}"
        );
        assert!(
            has(&["slow_response", "quiet", "12.2 ms", "above 500 ms", "400 ms"]),
            "{seen:?}"
        );
        assert!(has(&["memory", "quiet", "-", "above 90 %", "85 %"]), "{seen:?}");
        assert!(seen.contains(&"rules, on node 2".to_owned()), "{seen:?}");
    }

    #[test]
    fn a_calm_cluster_says_so() {
        let seen = told(&json!({"node": 1, "enhanced": false, "items": [
            {"rule": "memory", "severity": "error", "state": "pending", "nodes": [1], "told": false}],
            "recent": [{"rule": "emergency", "severity": "critical", "since": "a", "until": "b", "nodes": [1, 2, 3], "reason": "r"}],
            "rules": []}));
        assert_eq!(seen[0], "no alert");
        assert!(seen.contains(&"over".to_owned()), "{seen:?}");
    }
}
