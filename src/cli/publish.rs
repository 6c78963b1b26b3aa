//! `campanile publish`: one broadcast, once. While the outcome is unknown it is asked for again with the same key.

use super::arguments::Publish;
use super::failure::{Exit, Failure};
use super::nodes::Nodes;
use super::output::{self, DIM, GOOD, STRONG, WARN, count, plain};
use super::{broadcast, dry_run};
use crate::base::backoff::Backoff;
use crate::base::clock;
use crate::net::{Answer, ClientError};
use serde_json::{Value, json};
use std::time::Duration;

const BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(200),
    factor: 2.0,
    max: Duration::from_secs(3),
};
/// A node that asks for a longer pause than this is asked again after this; the key makes it safe.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// What one attempt came to.
enum Attempt {
    Done(Answer),
    /// It will never be published by this attempt, and another would end the same way.
    Refused(Failure),
    /// Worth another try. `unknown`: this one may have been published all the same.
    Again {
        failure: Failure,
        unknown: bool,
        pause: Option<Duration>,
    },
}

pub async fn run(options: &Publish, as_json: bool) -> Result<(), Failure> {
    let body = broadcast::body(options)?;
    let within = broadcast::span("--within", &options.within)?;
    let key = options
        .key
        .clone()
        .unwrap_or_else(|| format!("cli-{:032x}", rand::random::<u128>()));
    let nodes = Nodes::new(&options.target)?;
    if options.dry_run {
        return dry_run::run(&nodes, &body, as_json).await;
    }
    let notice = |text: &str| output::notice(text, as_json);
    let answer = until_known(&nodes, &body, &key, within.0, notice).await?;
    let published: Value = answer
        .json()
        .map_err(|error| Failure::failed(format!("the node's answer is not JSON: {error}")))?;
    let replayed = answer.header("idempotent-replayed") == Some("true");
    if as_json {
        return output::say(&with_key(published, &key, replayed).to_string());
    }
    for line in lines(&published, &key, options.key.is_none(), replayed) {
        output::say(&line)?;
    }
    Ok(())
}

/// An attempt is never cut short by `within`, only by the client's own deadline: a node that is about to say that it did not
/// publish would be left without a hearing.
async fn until_known(
    nodes: &Nodes,
    body: &Value,
    key: &str,
    within: Duration,
    notice: impl Fn(&str),
) -> Result<Answer, Failure> {
    let end = clock::now() + within;
    let body = body.to_string();
    let mut may_be_published = false;
    for attempt in 0u32.. {
        let client = nodes.turn(attempt as usize);
        let headers = [("idempotency-key", key)];
        let sent = client.post("/v1/broadcasts", body.clone(), &headers).await;
        let (mut failure, unknown, pause) = match judge(sent) {
            Attempt::Done(answer) => return Ok(answer),
            Attempt::Refused(failure) => return Err(failure),
            Attempt::Again {
                failure,
                unknown,
                pause,
            } => (failure, unknown, pause),
        };
        if may_be_published && !unknown {
            failure.what += ", but an attempt before may have published it";
        }
        may_be_published |= unknown;
        // Other nodes first; then a pause, longer each time.
        let round = attempt / nodes.count() as u32;
        let is_last_of_round = (attempt as usize + 1).is_multiple_of(nodes.count());
        let pause = match pause {
            _ if !is_last_of_round => Duration::ZERO,
            Some(asked) => asked.min(PAUSE_MAX),
            None => BACKOFF.delay(round, rand::random()),
        };
        if clock::left(end) <= pause {
            return Err(given_up(failure, may_be_published, key, within));
        }
        if attempt == 0 {
            notice(&format!("{}; trying again for {within:?} with key {key}", failure.what));
        }
        tokio::time::sleep(pause).await;
    }
    Err(Failure::failed("the attempts ran out"))
}

fn judge(sent: Result<Answer, ClientError>) -> Attempt {
    match sent {
        Ok(answer) if answer.is_success() => Attempt::Done(answer),
        Ok(answer) => refused(&answer),
        // Not sent: nothing can have happened.
        Err(error @ ClientError::Unreachable { .. }) => again(error.into(), false),
        Err(error @ (ClientError::Url { .. } | ClientError::Request { .. })) => Attempt::Refused(error.into()),
        Err(error) => again(error.into(), true),
    }
}

fn again(failure: Failure, unknown: bool) -> Attempt {
    Attempt::Again {
        failure,
        unknown,
        pause: None,
    }
}

/// A 4xx was not published; any 5xx may have been, unless it says that it was not.
fn refused(answer: &Answer) -> Attempt {
    let problem: Value = answer.json().unwrap_or_default();
    let failure = Failure::problem(answer.status, &answer.body);
    let is_server = answer.status >= 500;
    let retryable = problem
        .get("retryable")
        .and_then(Value::as_bool)
        .unwrap_or(matches!(answer.status, 409 | 429) || is_server);
    let not_published = problem.get("outcome").and_then(Value::as_str) == Some("not_published");
    let unknown = is_server && !not_published;
    if !retryable && !unknown {
        return Attempt::Refused(failure);
    }
    let pause = answer.header("retry-after").and_then(|text| text.parse().ok());
    Attempt::Again {
        failure,
        unknown,
        pause: pause.map(Duration::from_secs),
    }
}

fn given_up(last: Failure, may_be_published: bool, key: &str, within: Duration) -> Failure {
    if !may_be_published {
        return last;
    }
    let what = format!("the outcome is unknown after {within:?}: it may be published, now or later");
    let mut failure = Failure::new(Exit::Unknown, what)
        .details(vec![last.what])
        .hint(format!("the same command with --key {key}: it cannot publish twice"));
    failure.problem = last.problem;
    failure
}

fn with_key(mut published: Value, key: &str, replayed: bool) -> Value {
    if let Some(fields) = published.as_object_mut() {
        fields.insert("key".into(), json!(key));
        fields.insert("replayed".into(), json!(replayed));
    }
    published
}

fn lines(published: &Value, key: &str, is_key_ours: bool, replayed: bool) -> Vec<String> {
    let text = |name: &str| plain(published.get(name).and_then(Value::as_str).unwrap_or_default());
    let done = if replayed { "published before" } else { "published" };
    let mut lines = vec![format!(
        "{GOOD}{done}{GOOD:#} {STRONG}{}{STRONG:#} ({}, {})",
        text("id"),
        text("priority"),
        text("status")
    )];
    lines.extend(reached(published));
    if is_key_ours {
        lines.push(format!("{DIM}key {key}{DIM:#}"));
    }
    lines
}

/// Whom it is for, and what is odd about that.
pub fn reached(published: &Value) -> Vec<String> {
    let number = |name: &str| published.get(name).and_then(Value::as_u64).unwrap_or_default();
    let mut lines = vec![format!(
        "targeted {}, connected {}, held {}, skipped {}",
        count(number("targeted")),
        count(number("connected")),
        count(number("held")),
        count(number("skipped"))
    )];
    if number("unknown") > 0 {
        lines.push(format!(
            "{WARN}{} users of the audience are not known here{WARN:#}",
            count(number("unknown"))
        ));
    }
    for warning in published
        .get("warnings")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        lines.push(format!(
            "{WARN}warning: {}{WARN:#}",
            plain(warning.as_str().unwrap_or_default())
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::{Attempt, given_up, judge};
    use crate::cli::failure::{Exit, Failure};
    use crate::net::Answer;
    use std::time::Duration;

    fn answer(status: u16, body: &'static str) -> Answer {
        Answer {
            status,
            headers: [("retry-after", "7")]
                .into_iter()
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
                .collect(),
            body: body.into(),
        }
    }

    /// `done`, `refused`, `again` or `unknown`.
    fn check(status: u16, body: &'static str, expected: &str) {
        let came_to = match judge(Ok(answer(status, body))) {
            Attempt::Done(_) => "done",
            Attempt::Refused(_) => "refused",
            Attempt::Again {
                unknown: true, pause, ..
            } => {
                assert_eq!(pause, Some(Duration::from_secs(7)));
                "unknown"
            }
            Attempt::Again { .. } => "again",
        };
        assert_eq!(came_to, expected, "{status} {body}");
    }

    #[test]
    fn answers_are_judged_by_what_may_have_happened() {
        check(201, "{}", "done");
        check(422, r#"{"code": "INVALID", "retryable": false}"#, "refused");
        check(409, r#"{"retryable": true}"#, "again");
        check(429, "{}", "again");
        check(503, r#"{"retryable": true, "outcome": "not_published"}"#, "again");
        check(503, r#"{"retryable": true, "outcome": "unknown"}"#, "unknown");
        check(500, "boom", "unknown");
        check(507, r#"{"retryable": false, "outcome": "not_published"}"#, "refused");
    }

    #[test]
    fn unknown_is_not_failed() {
        let second = Duration::from_secs(1);
        let failure = given_up(Failure::failed("cut"), true, "k-1", second);
        assert_eq!(failure.exit, Exit::Unknown);
        assert!(failure.hint.unwrap().contains("--key k-1"));
        assert_eq!(
            given_up(Failure::failed("cut"), false, "k-1", second).exit,
            Exit::Failed
        );
    }
}
