//! What wants somebody's attention: alerts that fire, and what the health of the node that tells has to say.

use super::Sight;
use super::board::AlertItem as Item;
use super::line::Tone;
use super::words;
use crate::base::clock::{Millis, parse_rfc3339};

/// One of them, the way it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    pub name: String,
    /// `critical`, `error`, `warning`.
    pub severity: String,
    pub detail: String,
    pub since: Option<Millis>,
}

impl Alert {
    pub fn tone(&self) -> Tone {
        Tone::of_severity(&self.severity)
    }

    fn rank(&self) -> u8 {
        match self.severity.as_str() {
            "critical" => 0,
            "error" => 1,
            _ => 2,
        }
    }
}

/// Those that fire, the most urgent first; `None` where the node knows no alerts.
pub fn firing(sight: &Sight) -> Option<Vec<Alert>> {
    let told = sight.board.alerts.as_ref()?;
    // One that is pending is not for long enough yet.
    let each = told.items.iter().filter(|item| item.state != "pending").map(read);
    let mut alerts: Vec<Alert> = each.collect();
    alerts.sort_by_key(Alert::rank);
    Some(alerts)
}

fn read(item: &Item) -> Alert {
    let clears = if item.state == "clearing" { " (clearing)" } else { "" };
    Alert {
        name: item.rule.clone(),
        severity: item.severity.clone(),
        detail: format!("{}{clears}", item.reason),
        since: parse_rfc3339(&item.since),
    }
}

/// The same, with the concerns of the node's health, each name once.
pub fn all(sight: &Sight) -> Vec<Alert> {
    let mut alerts = firing(sight).unwrap_or_default();
    for concern in &sight.board.health.concerns {
        if alerts.iter().all(|alert| alert.name != concern.code) {
            alerts.push(Alert {
                name: concern.code.clone(),
                severity: concern.severity.clone(),
                detail: concern.detail.clone(),
                since: None,
            });
        }
    }
    alerts.sort_by_key(Alert::rank);
    alerts
}

/// The answer to "is all well?", in one sentence.
pub fn headline(sight: &Sight) -> (Tone, String) {
    let health = &sight.board.health;
    let firing = firing(sight).unwrap_or_default();
    if let Some(first) = health.concerns.first() {
        let text = emergency(sight).filter(|_| first.code == "emergency");
        return (
            Tone::of_severity(&first.severity),
            words::sentence(&text.unwrap_or_else(|| first.detail.clone())),
        );
    }
    if let Some(first) = firing.first() {
        let what = if first.detail.is_empty() {
            words::spaced(&first.name)
        } else {
            first.detail.clone()
        };
        return (first.tone(), words::sentence(&what));
    }
    if let Some(node) = sight.not_ready().first() {
        return (
            Tone::Warn,
            words::sentence(&format!("node {node} says {}", sight.says(*node))),
        );
    }
    match health.state.as_str() {
        "ok" => (Tone::Good, "All is well.".into()),
        "attention" => (Tone::Warn, "Something wants a look.".into()),
        _ => (Tone::Bad, "Something is wrong.".into()),
    }
}

/// A single one is named: what it is, and how many are missing.
fn emergency(sight: &Sight) -> Option<String> {
    let urgent = &sight.board.urgent;
    let row = urgent.items.first().filter(|_| urgent.emergencies == 1)?;
    let missing = row.missing();
    let people = if missing == 1 {
        "1 person has"
    } else {
        &format!("{} people have", words::number(Some(missing)))
    };
    let what = if row.not_confirmed.is_some() {
        "not confirmed"
    } else {
        "not received it"
    };
    Some(format!("{}: {people} {what}", row.title))
}

#[cfg(test)]
mod tests {
    use super::{all, firing, headline};
    use crate::cli::sight::line::Tone;
    use crate::cli::sight::{Sight, sample};
    use serde_json::json;

    fn with_alerts(mut sight: Sight, alerts: serde_json::Value) -> Sight {
        sight.board.alerts = Some(serde_json::from_value(alerts).unwrap());
        sight
    }

    #[test]
    fn the_headline_is_the_most_urgent() {
        assert_eq!(headline(&sample::calm()), (Tone::Good, "All is well.".into()));
        let told = headline(&sample::busy());
        assert_eq!(told, (Tone::Bad, "Go inside now: 31 people have not confirmed.".into()));
        let mut lost = sample::calm();
        lost.heard.remove(&3);
        assert_eq!(headline(&lost), (Tone::Warn, "Node 3 says not asked.".into()));
    }

    #[test]
    fn alerts_stand_before_concerns_and_by_severity() {
        let alerts = json!({"firing": 2, "items": [
            {"rule": "cache_hit_rate", "severity": "warning", "state": "clearing", "reason": "71 % (below 80 %)", "since": "2027-06-19T20:40:07Z"},
            {"rule": "queue_errors", "severity": "error", "state": "firing", "reason": "12 % (above 5 %)", "since": "2027-06-19T20:41:07Z"},
            {"rule": "memory", "severity": "warning", "state": "pending", "reason": "91 %", "since": "2027-06-19T20:42:07Z"}]});
        let sight = with_alerts(sample::busy(), alerts);
        let names: Vec<String> = all(&sight).into_iter().map(|alert| alert.name).collect();
        assert_eq!(names, ["emergency", "queue_errors", "cache_hit_rate", "node_lost"]);
        assert_eq!(all(&sight)[2].detail, "71 % (below 80 %) (clearing)");
        assert_eq!(firing(&sight).unwrap().len(), 2);
        let sight = with_alerts(sample::calm(), json!({"firing": 0, "items": []}));
        assert_eq!(firing(&sight), Some(Vec::new()));
        assert_eq!(firing(&sample::calm()), None);
    }
}
