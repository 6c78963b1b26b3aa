//! How far the people of one broadcast are, step by step, and by name who is not done: what `campanile who` knows, with a bound on
//! how many people are asked for.

use super::order::has;
use crate::base::clock as time;
use crate::cli::failure::Failure;
use crate::cli::nodes::{Nodes, encoded, read};
use crate::cli::output;
use crate::cli::sight::board::Counts;
use crate::cli::sight::line::{Line, Tone};
use crate::cli::who::clock::Clock;
use crate::cli::who::options::State;
use crate::cli::who::report::{Group, Named, Report};
use crate::cli::who::screen::course;
use serde::Deserialize;
use serde_json::Value;

/// The most that a page of the API has.
const PAGE: usize = 100;
/// In these somebody is not done; the most telling first. Who has confirmed is asked for only where some said other than ok.
const NOT_DONE: [State; 7] = [
    State::Received,
    State::Read,
    State::Targeted,
    State::Sent,
    State::Held,
    State::Failed,
    State::Expired,
];
const OK: &str = "ok";

#[derive(Debug)]
pub struct Ladder {
    report: Report,
    counts: Counts,
    clock: Clock,
    /// What people answered, and how many.
    answers: Vec<(String, u64)>,
}

/// Somebody who is not done.
#[derive(Debug, PartialEq, Eq)]
pub struct Person {
    pub key: String,
    pub group: Group,
    pub roles: String,
    pub user: String,
    pub why: String,
}

/// Asks for a broadcast and at most so many of its people.
pub async fn ask(nodes: &Nodes, id: &str, rows_max: usize) -> Result<Ladder, Failure> {
    let path = format!("/v1/broadcasts/{}", encoded(id));
    let broadcast = read(&nodes.get(&path).await?)?;
    let clock = Clock::of(nodes, &broadcast, time::wall()).await;
    let mut people = Vec::new();
    if answers(&broadcast).iter().any(|(answer, _)| answer != OK) {
        let acknowledged = some(nodes, &path, State::Acknowledged, rows_max).await?;
        let is_other = |person: &Value| {
            person
                .get("answer")
                .and_then(Value::as_str)
                .is_some_and(|said| said != OK)
        };
        people.extend(acknowledged.into_iter().filter(is_other));
    }
    for state in NOT_DONE {
        let left = rows_max.saturating_sub(people.len());
        if left == 0 {
            break;
        }
        people.extend(some(nodes, &path, state, left).await?);
    }
    Ok(Ladder::of(broadcast, people, clock))
}

async fn some(nodes: &Nodes, path: &str, state: State, most: usize) -> Result<Vec<Value>, Failure> {
    let (mut people, mut after) = (Vec::new(), String::new());
    while people.len() < most {
        let limit = (most - people.len()).min(PAGE);
        let path = format!("{path}/recipients?state={}&limit={limit}{after}", state.name());
        let mut page = read(&nodes.get(&path).await?)?;
        if let Some(Value::Array(items)) = page.get_mut("items").map(Value::take) {
            people.extend(items);
        }
        match page.get("next").and_then(Value::as_str) {
            Some(next) => after = format!("&after={}", encoded(next)),
            None => break,
        }
    }
    Ok(people)
}

fn answers(broadcast: &Value) -> Vec<(String, u64)> {
    let told = broadcast.get("answers").and_then(Value::as_object);
    let each = told.into_iter().flatten();
    each.map(|(answer, count)| (answer.clone(), count.as_u64().unwrap_or_default()))
        .collect()
}

impl Ladder {
    pub fn of(broadcast: Value, people: Vec<Value>, clock: Clock) -> Self {
        Self {
            counts: Counts::deserialize(broadcast.get("counts").unwrap_or(&Value::Null)).unwrap_or_default(),
            answers: answers(&broadcast),
            report: Report::of(broadcast, people),
            clock,
        }
    }

    fn asks(&self) -> bool {
        self.report
            .broadcast()
            .get("acknowledge")
            .is_some_and(|asked| !asked.is_null())
    }

    /// For how many it is: all but those whom their preferences skip.
    fn meant(&self) -> u64 {
        self.counts.targeted.saturating_sub(self.counts.skipped)
    }

    /// What it is, and where it stands.
    pub fn head(&self) -> Vec<Line> {
        let text = |name: &str| self.report.text(name);
        let name = text("priority");
        let mut first = Line::new().with(Tone::of_priority(name), name.to_uppercase());
        if self.report.is_drill() {
            first.push(Tone::Warn, "  [drill]");
        }
        first.push(Tone::Strong, format!("  {}", text("title")));
        first.push(Tone::Dim, format!("  {}", text("type")));
        let zone = self.clock.zone();
        let about = format!("{}; times of {zone}", course(&self.report, &self.clock));
        vec![
            first,
            Line::new().with(Tone::Plain, text("body")),
            Line::new().with(Tone::Dim, about),
        ]
    }

    /// A line per step, with a bar for its part of all who are meant.
    pub fn steps(&self, columns: usize) -> Vec<Line> {
        /// The name, a gap, the figure, a gap.
        const BEFORE: usize = 9 + 2 + 7 + 2;
        let counts = &self.counts;
        let mut steps = vec![
            ("meant", self.meant(), Tone::Plain),
            ("sent", counts.sent, Tone::Plain),
            ("received", counts.received, Tone::Plain),
            ("read", counts.read, Tone::Plain),
        ];
        if self.asks() {
            steps.push(("confirmed", counts.acknowledged, Tone::Good));
        }
        let all = self.meant().max(1) as f64;
        let room = columns.saturating_sub(BEFORE) as f64;
        let each = steps.into_iter().map(|(name, count, tone)| {
            let bar = (count as f64 / all * room).round().clamp(0.0, room) as usize;
            let line = Line::new().with(Tone::Plain, format!("{name:<9}  {:>7}  ", output::count(count)));
            line.with(tone, "█".repeat(bar))
        });
        each.collect()
    }

    /// What stands beside the ladder, and what people answered.
    pub fn beside(&self) -> Line {
        let counts = &self.counts;
        let named = [
            (counts.held, "held"),
            (counts.skipped, "skipped"),
            (counts.expired, "expired"),
            (counts.failed, "failed"),
        ];
        let mut parts: Vec<(Tone, String)> = named
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| (Tone::Plain, format!("{} {word}", output::count(count))))
            .collect();
        parts.extend(self.answers.iter().map(|(answer, count)| {
            let tone = if answer == OK { Tone::Good } else { Tone::Bad };
            (tone, format!("{} said {answer}", output::count(*count)))
        }));
        let taken = self.report.broadcast().get("escalations").and_then(Value::as_array);
        if let Some(taken) = taken.filter(|taken| !taken.is_empty()) {
            parts.push((Tone::Warn, format!("escalated {}", times(taken.len()))));
        }
        let mut line = Line::new();
        for (at, (tone, text)) in parts.into_iter().enumerate() {
            if at > 0 {
                line.push(Tone::Dim, " · ");
            }
            line.push(tone, text);
        }
        line
    }

    /// `31 of 237 have not confirmed`
    pub fn total(&self) -> Line {
        let (done, word) = if self.asks() {
            (self.counts.acknowledged, "confirmed")
        } else {
            (self.counts.received, "received it")
        };
        let (meant, missing) = (self.meant(), self.meant().saturating_sub(done));
        let of = output::count(meant);
        match (self.report.is_scheduled(), meant, missing) {
            (true, ..) => Line::new().with(Tone::Plain, format!("it has not gone out yet; it is for about {of}")),
            (false, 0, _) => Line::new().with(Tone::Plain, "it is for nobody"),
            (false, _, 0) => Line::new().with(Tone::Good, format!("all {of} have {word}")),
            (false, _, 1) => Line::new().with(Tone::Bad, format!("1 of {of} has not {word}")),
            (false, ..) => Line::new().with(Tone::Bad, format!("{} of {of} have not {word}", output::count(missing))),
        }
    }

    /// Those who are not done and were asked for, by what to do about them.
    pub fn people(&self, filter: &str) -> Vec<Person> {
        let groups = self.report.groups(&Named::NotDone).into_iter();
        let each = groups.flat_map(|(group, people)| {
            people.into_iter().map(move |person| Person {
                key: person.text("user").to_owned(),
                group,
                roles: person.roles(),
                user: person.user(),
                why: person.why(&self.clock),
            })
        });
        let is_shown = |person: &Person| {
            let texts = [&person.roles, &person.user, &person.why];
            filter.is_empty() || texts.into_iter().any(|text| has(text, filter))
        };
        each.filter(is_shown).collect()
    }

    /// How many are not done and were not asked for by name.
    pub fn more(&self) -> u64 {
        let done = if self.asks() {
            self.counts.acknowledged
        } else {
            self.counts.received
        };
        let missing = self.meant().saturating_sub(done);
        if self.report.is_scheduled() {
            return 0;
        }
        missing.saturating_sub(self.report.waiting() as u64)
    }
}

fn times(count: usize) -> String {
    if count == 1 {
        "once".into()
    } else {
        format!("{count} times")
    }
}
