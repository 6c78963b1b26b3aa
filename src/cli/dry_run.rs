//! `campanile publish --dry-run`: whom a broadcast would reach now and whom it would not, in words.

use super::failure::Failure;
use super::nodes::{Nodes, read};
use super::output::{self, DIM, STRONG, WARN, count, plain};
use super::publish::reached;
use super::who::clock::Clock;
use super::who::person::Person;
use crate::base::clock;
use http::Method;
use serde_json::Value;

/// The reasons of the API, and what they say of so many people.
const REASONS: [(&str, &str); 6] = [
    ("no_session", "without a session so far"),
    ("offline_since", "without a session any more"),
    ("quiet_hours", "in quiet hours: they get it when those end"),
    ("muted_category", "muting this category"),
    ("critical_only", "taking critical ones only"),
    ("excluded", "taken out by --except"),
];

pub async fn run(nodes: &Nodes, body: &Value, as_json: bool) -> Result<(), Failure> {
    let path = "/v1/broadcasts?dry_run=true";
    let answer = nodes.change(Method::POST, path, &body.to_string()).await?;
    let would = read(&answer)?;
    if as_json {
        return output::say(&would.to_string());
    }
    let clock = Clock::of(nodes, body, clock::wall()).await;
    output::say(&lines(&would, &clock).join("\n"))
}

fn lines(would: &Value, clock: &Clock) -> Vec<String> {
    let mut lines = vec![format!(
        "{STRONG}nothing was published{STRONG:#}; it would be allowed, with"
    )];
    lines.extend(reached(would));
    lines.extend(missed(would, clock));
    lines.extend(list(would, "escalations").map(escalation));
    lines
}

fn list<'v>(value: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> {
    value.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn number(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or_default()
}

/// Whom it would not reach now: how many for each reason, then by name.
fn missed(would: &Value, clock: &Clock) -> Vec<String> {
    let reasons = would.get("reasons").unwrap_or(&Value::Null);
    let counted = REASONS.into_iter().map(|(name, words)| (number(reasons, name), words));
    let counted = counted.filter(|(people, _)| *people > 0);
    let mut lines: Vec<String> = counted
        .map(|(people, words)| format!("  {:>5} {words}", count(people)))
        .collect();
    if lines.is_empty() {
        return lines;
    }
    lines.insert(0, format!("{WARN}it would not reach now{WARN:#}"));
    let people: Vec<Person> = list(would, "not_reached").cloned().map(Person).collect();
    let widest = |text: fn(&Person) -> String| people.iter().map(|person| text(person).chars().count()).max();
    let (roles, user) = (
        widest(Person::roles).unwrap_or_default(),
        widest(Person::user).unwrap_or_default(),
    );
    if !people.is_empty() {
        lines.push(format!("{DIM}by role; times of {}{DIM:#}", plain(clock.zone())));
    }
    lines.extend(people.iter().map(|person| {
        let (role, name, why) = (person.roles(), person.user(), person.why(clock));
        format!("  {role:<roles$}  {name:<user$}  {DIM}{why}{DIM:#}")
    }));
    match number(would, "not_reached_more") {
        0 => {}
        more => lines.push(format!("  and {} more", count(more))),
    }
    lines
}

/// `escalation 1 after 30s would add 4 people, 3 of them connected`
fn escalation(step: &Value) -> String {
    let after = plain(step.get("after").and_then(Value::as_str).unwrap_or_default());
    let (adds, connected) = (number(step, "widens_by"), number(step, "connected"));
    let what = match adds {
        0 => format!("{WARN}would add nobody{WARN:#}"),
        1 => "would add 1 person".to_owned(),
        _ => format!("would add {} people", count(adds)),
    };
    let who = match (adds, connected) {
        (0, _) => String::new(),
        (1, 1) => ", who is connected".to_owned(),
        (_, 0) => format!(", {WARN}none of them connected{WARN:#}"),
        _ => format!(", {} of them connected", count(connected)),
    };
    format!("escalation {} after {after} {what}{who}", number(step, "step"))
}

#[cfg(test)]
mod tests {
    use super::lines;
    use crate::base::clock::parse_rfc3339;
    use crate::cli::who::clock::Clock;
    use serde_json::{Value, json};

    fn told(would: &Value) -> String {
        let clock = Clock::new(None, parse_rfc3339("2027-06-19T20:14:00Z").unwrap());
        anstream::adapter::strip_str(&lines(would, &clock).join("\n")).to_string()
    }

    #[test]
    fn whom_it_would_not_reach_is_named_with_the_reason() {
        let would = json!({
            "targeted": 1240, "connected": 5, "held": 1, "skipped": 0, "unknown": 0, "not_reached_more": 1233,
            "reasons": {"no_session": 1233, "offline_since": 1, "quiet_hours": 1, "muted_category": 0, "critical_only": 0, "excluded": 2},
            "not_reached": [
                {"user": "bea", "roles": ["bar"], "state": "held", "reason": "quiet_hours", "until": "2027-06-20T07:00:00.000Z"},
                {"user": "ah-dj-01", "roles": ["dj"], "state": "targeted", "reason": "offline_since", "since": "2027-06-19T14:05:00.000Z"},
            ],
            "escalations": [
                {"step": 1, "after": "30s", "widens_by": 4, "connected": 3}, {"step": 2, "after": "1m", "widens_by": 1, "connected": 1},
                {"step": 3, "after": "2m", "widens_by": 2, "connected": 0}, {"step": 4, "after": "3m", "widens_by": 0, "connected": 0},
            ],
        });
        let expected = "\
nothing was published; it would be allowed, with
targeted 1,240, connected 5, held 1, skipped 0
it would not reach now
  1,233 without a session so far
      1 without a session any more
      1 in quiet hours: they get it when those end
      2 taken out by --except
by role; times of UTC
  bar  bea       quiet hours until 06-20 07:00
  dj   ah-dj-01  no session since 14:05
  and 1,233 more
escalation 1 after 30s would add 4 people, 3 of them connected
escalation 2 after 1m would add 1 person, who is connected
escalation 3 after 2m would add 2 people, none of them connected
escalation 4 after 3m would add nobody";
        assert_eq!(told(&would), expected);
    }

    #[test]
    fn nothing_is_said_of_nobody() {
        let would =
            json!({"targeted": 2, "connected": 2, "reasons": {"no_session": 0}, "not_reached": [], "escalations": []});
        let expected = "nothing was published; it would be allowed, with\ntargeted 2, connected 2, held 0, skipped 0";
        assert_eq!(told(&would), expected);
    }
}
