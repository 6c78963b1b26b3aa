//! The report as a terminal shows it: the broadcast, the groups, and the total as the last line, where the eye is.

use super::clock::Clock;
use super::person::Person;
use super::report::{Group, Named, Report};
use crate::base::clock::parse_rfc3339;
use crate::cli::output::{BAD, DIM, GOOD, STRONG, WARN, plain, priority};
use anstyle::Style;
use std::fmt::Write as _;

pub fn lines(report: &Report, named: &Named, clock: &Clock) -> Vec<String> {
    let mut lines = head(report, clock);
    let groups = report.groups(named);
    let widths = Widths::of(groups.iter().flat_map(|(_, people)| people));
    for (group, people) in &groups {
        let style = style(*group);
        let advice = advice(*group);
        lines.push(format!(
            "\n{style}{}{style:#} {}{DIM}{advice}{DIM:#}",
            group.title(),
            people.len()
        ));
        lines.extend(people.iter().map(|person| widths.line(person, clock)));
    }
    lines.push(format!("\n{}", total(report)));
    lines.extend(report.needs());
    let sheet = report.sheet();
    if !sheet.is_empty() {
        lines.push(format!("\n{}", sheet.join("\n")));
    }
    lines
}

fn head(report: &Report, clock: &Clock) -> Vec<String> {
    let text = |name: &str| plain(report.text(name));
    let name = text("priority");
    let style = priority(&name);
    let mut first = format!(
        "{style}{}{style:#}  {}  {STRONG}{}{STRONG:#}: {}",
        name.to_uppercase(),
        text("type"),
        text("title"),
        text("body")
    );
    if report.is_drill() {
        let _ = write!(first, "  {WARN}[drill]{WARN:#}");
    }
    let second = format!(
        "{DIM}{}, {}; times of {}{DIM:#}",
        text("id"),
        course(report, clock),
        clock.zone()
    );
    vec![first, second]
}

/// `released 16:12:03, expires 16:42`
pub fn course(report: &Report, clock: &Clock) -> String {
    let time = |name: &str| parse_rfc3339(report.text(name));
    let mut text = plain(report.text("status"));
    if let Some(at) = time("released_at") {
        let _ = write!(text, ", out since {}", clock.second(at));
    } else if let Some(at) = time("deliver_at") {
        let _ = write!(text, " for {}", clock.second(at));
    }
    if let Some(at) = time("expires_at") {
        let _ = write!(text, ", expires {}", clock.minute(at));
    }
    text
}

pub fn total(report: &Report) -> String {
    let style = if report.is_settled() { GOOD } else { BAD };
    format!("{style}{}{style:#}", report.totals())
}

fn style(group: Group) -> Style {
    match group {
        Group::Answered => BAD,
        Group::NotConnected | Group::NotReceived | Group::NotConfirmed | Group::Expired | Group::Failed => WARN,
        Group::Held | Group::Skipped | Group::Excluded => STRONG,
        Group::Done => GOOD,
    }
}

/// What helps, where there is something.
const fn advice(group: Group) -> &'static str {
    match group {
        Group::Answered => ": see to them first",
        Group::NotConnected => ": nothing reaches their phones; go there, or call",
        Group::NotReceived => ": on its way; a phone that sleeps gets it when it wakes",
        Group::NotConfirmed => ": they have it and say nothing; go there, or call",
        Group::Held | Group::Skipped | Group::Expired | Group::Failed | Group::Excluded | Group::Done => "",
    }
}

/// How wide the columns are, over all groups.
struct Widths {
    roles: usize,
    user: usize,
}

impl Widths {
    fn of<'a>(people: impl Iterator<Item = &'a &'a Person> + Clone) -> Self {
        let widest = |text: fn(&Person) -> String| {
            let each = people.clone().map(|person| text(person).chars().count());
            each.max().unwrap_or_default()
        };
        Self {
            roles: widest(Person::roles),
            user: widest(Person::user),
        }
    }

    fn line(&self, person: &Person, clock: &Clock) -> String {
        let Self { roles, user } = self;
        format!(
            "  {:<roles$}  {:<user$}  {DIM}{}{DIM:#}",
            person.roles(),
            person.user(),
            person.why(clock)
        )
    }
}
