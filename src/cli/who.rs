//! `campanile who`: who has not got a broadcast or has not confirmed it, why, and since when.
//!
//! Somebody tired asks this in a storm: the answer is in groups by what to do, the most urgent first, and its total is the last line.

mod ascii;
pub mod clock;
pub mod options;
mod page;
pub mod person;
pub mod report;
pub mod screen;
mod sheet;

use super::failure::{Exit, Failure};
use super::nodes::{Nodes, encoded, read};
use super::output;
use crate::base::clock as time;
use clock::Clock;
use options::{State, Who};
use report::{Named, Report};
use serde_json::Value;
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::sleep;

/// The most that a page of the API has.
const PAGE: usize = 100;
/// Pages that are asked for at most: a million recipients.
const PAGES_MAX: usize = 10_000;
/// The pause of `--watch` between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Clears a terminal; into a pipe nothing of it comes.
const CLEAR: &str = "\u{1b}[2J\u{1b}[3J\u{1b}[H";

pub async fn run(options: &Who, as_json: bool) -> Result<ExitCode, Failure> {
    if options.print && as_json {
        return Err(Failure::usage(
            "--print is for paper and --json for programs: choose one",
        ));
    }
    let asking = Asking {
        nodes: Nodes::new(&options.target)?,
        id: &options.id,
        named: if options.all {
            Named::All
        } else if options.states.is_empty() {
            Named::NotDone
        } else {
            Named::In(options.states.clone())
        },
    };
    let report = asking.look().await?;
    let clock = Clock::of(&asking.nodes, report.broadcast(), time::wall()).await;
    if options.print {
        let pages = page::pages(&report, &asking.named, &clock, time::wall());
        output::say(&pages.join("\n\u{c}"))?;
        return Ok(code(&report));
    }
    let show = |report: &Report| {
        if as_json {
            report.json(&asking.named).to_string()
        } else {
            screen::lines(report, &asking.named, &clock).join("\n")
        }
    };
    if options.watch {
        return watch(&asking, report, show, as_json).await;
    }
    output::say(&show(&report))?;
    Ok(code(&report))
}

fn code(report: &Report) -> ExitCode {
    if report.is_settled() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(Exit::Waiting as u8)
    }
}

/// Shows what has changed until nothing more is to come.
async fn watch(
    asking: &Asking<'_>,
    first: Report,
    show: impl Fn(&Report) -> String,
    as_json: bool,
) -> Result<ExitCode, Failure> {
    let (mut report, mut shown) = (first, String::new());
    loop {
        let text = show(&report);
        if text != shown {
            let clear = if as_json { "" } else { CLEAR };
            output::say(&format!("{clear}{text}"))?;
            shown = text;
        }
        if report.is_over() {
            return Ok(code(&report));
        }
        report = again(asking, as_json).await?;
    }
}

/// The next look. A node that is lost is a reason to look once more, not to stop.
async fn again(asking: &Asking<'_>, as_json: bool) -> Result<Report, Failure> {
    let mut told = String::new();
    loop {
        sleep(LOOK_EVERY).await;
        match asking.look().await {
            Err(failure) if may_pass(&failure) => {
                if failure.what != told {
                    output::notice(&format!("{}; looking again", failure.what), as_json);
                }
                told = failure.what;
            }
            seen => return seen,
        }
    }
}

/// A node that is gone or asks for patience may be back at the next look.
fn may_pass(failure: &Failure) -> bool {
    let retryable = |problem: &Value| problem.get("retryable") == Some(&Value::Bool(true));
    failure.exit == Exit::Unreachable || failure.problem.as_deref().is_some_and(retryable)
}

/// What is asked of which nodes.
struct Asking<'a> {
    nodes: Nodes,
    id: &'a str,
    named: Named,
}

impl Asking<'_> {
    async fn look(&self) -> Result<Report, Failure> {
        let path = format!("/v1/broadcasts/{}", encoded(self.id));
        let broadcast = read(&self.nodes.get(&path).await?)?;
        let mut people = self.recipients(&path, "").await?;
        if let Named::In(states) = &self.named
            && states.contains(&State::Excluded)
        {
            people.extend(self.recipients(&path, "&state=excluded").await?);
        }
        let report = Report::of(broadcast, people);
        if !report.is_drill() {
            return Ok(report);
        }
        let sheet = read(&self.nodes.get(&format!("{path}/drill")).await?)?;
        Ok(report.with_sheet(sheet))
    }

    async fn recipients(&self, path: &str, filter: &str) -> Result<Vec<Value>, Failure> {
        let (mut people, mut after) = (Vec::new(), String::new());
        for _ in 0..PAGES_MAX {
            let path = format!("{path}/recipients?limit={PAGE}{filter}{after}");
            let mut page = read(&self.nodes.get(&path).await?)?;
            if let Some(Value::Array(items)) = page.get_mut("items").map(Value::take) {
                people.extend(items);
            }
            match page.get("next").and_then(Value::as_str) {
                Some(next) => after = format!("&after={}", encoded(next)),
                None => return Ok(people),
            }
        }
        Err(Failure::failed(format!(
            "the list of recipients has more than {PAGES_MAX} pages"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::may_pass;
    use crate::cli::failure::{Exit, Failure};

    #[test]
    fn a_watch_outlives_what_passes() {
        assert!(may_pass(&Failure::new(Exit::Unreachable, "gone")));
        assert!(may_pass(&Failure::problem(503, br#"{"retryable": true}"#)));
        assert!(!may_pass(&Failure::problem(404, br#"{"retryable": false}"#)));
        assert!(!may_pass(&Failure::failed("the answer is not JSON")));
    }
}
