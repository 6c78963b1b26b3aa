//! `campanile subscribe`: frames as they come; when a node goes, on to the next from the last cursor.

use super::arguments::{From, Subscribe, Transport};
use super::failure::Failure;
use super::frames::{Printer, Shown};
use super::nodes::{self, encoded};
use super::output::{DIM, WARN};
use crate::base::backoff::Backoff;
use crate::net::{self, ClientError, Subscription};
use std::time::Duration;
use tokio::time::{sleep, timeout};

const BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(250),
    factor: 2.0,
    max: Duration::from_secs(10),
};
/// A stream without even a heartbeat (every 15 s) for this long is taken for dead and opened anew, at its cursor.
const QUIET_MAX: Duration = Duration::from_secs(120);
/// How often the cursor is taken over while no frame comes: it moves on behind what is not ours, too.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Codes after which coming back would end the same way.
const FOR_GOOD: [u16; 7] = [1002, 1007, 1008, 1009, 4001, 4003, 4009];

/// Where the command stands between two connections.
struct Course {
    /// The nodes we were given, and those we were told of.
    urls: Vec<String>,
    at: usize,
    cursor: Option<String>,
    /// Attempts in a row that brought nothing.
    failures: u32,
    left: Option<u64>,
}

impl Course {
    fn moved_to(&mut self, cursor: Option<&str>) {
        if let Some(cursor) = cursor {
            self.cursor = Some(cursor.to_owned());
        }
    }
}

/// How a connection ended.
enum Ended {
    /// As many broadcasts as were asked for.
    Enough,
    /// The server, or the wire, ended it; come back after the pause.
    Cut {
        why: String,
        pause: Option<Duration>,
    },
    Quiet,
}

pub async fn run(options: &Subscribe, as_json: bool) -> Result<(), Failure> {
    let mut course = Course {
        urls: options.target.url.clone(),
        at: 0,
        cursor: options.cursor.clone(),
        failures: 0,
        left: options.count,
    };
    let mut printer = Printer::new(as_json);
    let streaming = stream(options, &mut course, &mut printer);
    let ended = tokio::select! {
        ended = streaming => ended,
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    if let Some(cursor) = &course.cursor {
        printer.last_cursor(cursor)?;
    }
    ended
}

async fn stream(options: &Subscribe, course: &mut Course, printer: &mut Printer) -> Result<(), Failure> {
    loop {
        let url = course.urls[course.at % course.urls.len()].clone();
        let client = nodes::client(&url, &options.target)?;
        let query = query(options, course.cursor.is_some());
        let opened = Subscription::open(&client, wire(options.transport), &query, course.cursor.as_deref()).await;
        let ended = match opened {
            Ok(mut subscription) => {
                let ended = follow(&mut subscription, options.transport, course, printer).await?;
                course.moved_to(subscription.cursor());
                ended
            }
            Err(error) => refused(error)?,
        };
        match ended {
            Ended::Enough => return Ok(()),
            Ended::Quiet => {}
            Ended::Cut { why, pause } => {
                course.at += 1;
                // Another node may take us at once; only when all had their turn there is a pause.
                let all_had_a_turn = course.failures as usize >= course.urls.len();
                let pause = match pause {
                    Some(asked) if course.failures == 0 => asked,
                    _ if all_had_a_turn => BACKOFF.delay(course.failures, rand::random()),
                    _ => Duration::ZERO,
                };
                course.failures += 1;
                let next = &course.urls[course.at % course.urls.len()];
                printer.notice(&format!("{why}; going on at {next}"));
                sleep(pause).await;
            }
        }
    }
}

/// Reads one connection to its end.
async fn follow(
    subscription: &mut Subscription<'_>,
    transport: Transport,
    course: &mut Course,
    printer: &mut Printer,
) -> Result<Ended, Failure> {
    let confirms = transport == Transport::Ws;
    if confirms && let Err(error) = subscription.send(r#"{"hello":{"receipts":true}}"#).await {
        return Ok(cut(error.to_string()));
    }
    let mut pause = None;
    loop {
        let frame = match timeout(LOOK_EVERY, subscription.next()).await {
            Err(_) if subscription.heard().elapsed() > QUIET_MAX => return Ok(Ended::Quiet),
            Err(_) => {
                course.moved_to(subscription.cursor());
                if let Some(cursor) = &course.cursor {
                    printer.cursor(cursor)?;
                }
                continue;
            }
            Ok(Err(error)) => return Ok(cut(error.to_string())),
            Ok(Ok(None)) => {
                let closed = subscription.closed().map(|closed| (closed.code, closed.reason.clone()));
                let (code, reason) = closed.unwrap_or((0, "the stream ended".into()));
                for_good(code, &reason)?;
                return Ok(Ended::Cut { why: reason, pause });
            }
            Ok(Ok(Some(frame))) => frame,
        };
        course.failures = 0;
        let shown = printer.show(&frame.data)?;
        // What is printed is behind us, even if the next frame never comes; what is not printed never is.
        course.moved_to(subscription.cursor());
        match shown {
            Shown::Broadcast(id) => {
                if confirms {
                    let receipt = serde_json::json!({"receipt": {"received": [id]}}).to_string();
                    // A connection that is cut here says so at the next read.
                    let _ = subscription.send(&receipt).await;
                }
                if let Some(left) = &mut course.left {
                    *left = left.saturating_sub(1);
                    if *left == 0 {
                        return Ok(Ended::Enough);
                    }
                }
            }
            Shown::Nodes(others) => learn(&mut course.urls, others),
            Shown::Goodbye { code, reason, after } => {
                for_good(code, &reason)?;
                pause = after;
            }
            Shown::Other => {}
        }
    }
}

fn cut(why: String) -> Ended {
    Ended::Cut { why, pause: None }
}

fn for_good(code: u16, reason: &str) -> Result<(), Failure> {
    if FOR_GOOD.contains(&code) {
        return Err(Failure::failed(format!(
            "the node ended the stream for good: {reason} ({code})"
        )));
    }
    Ok(())
}

/// A node that says "later" or cannot be reached is one of several; what it says no to, the others refuse as well.
fn refused(error: ClientError) -> Result<Ended, Failure> {
    match &error {
        ClientError::Refused(answer) if answer.status < 500 && answer.status != 429 => Err(error.into()),
        ClientError::Url { .. } | ClientError::Request { .. } => Err(error.into()),
        ClientError::Refused(answer) => Ok(cut(Failure::problem(answer.status, &answer.body).what)),
        _ => Ok(cut(error.to_string())),
    }
}

fn learn(urls: &mut Vec<String>, others: Vec<String>) {
    /// More addresses than any cluster has.
    const URLS_MAX: usize = 16;
    for url in others {
        let url = url.trim_end_matches('/').to_owned();
        if urls.len() < URLS_MAX && !urls.contains(&url) {
            urls.push(url);
        }
    }
}

fn wire(transport: Transport) -> net::Transport {
    match transport {
        Transport::Ws => net::Transport::WebSocket,
        Transport::Sse => net::Transport::Sse,
        Transport::Ndjson => net::Transport::Lines,
    }
}

fn query(options: &Subscribe, has_cursor: bool) -> String {
    let mut parts = Vec::new();
    if let Some(user) = &options.user {
        parts.push(format!("user={}", encoded(user)));
    }
    match options.from.filter(|_| !has_cursor) {
        Some(From::Now) => parts.push("from=now".into()),
        Some(From::Earliest) => parts.push("from=earliest".into()),
        None => {}
    }
    parts.join("&")
}

/// Said when the command starts, so that silence is not taken for a fault.
pub fn greeting(options: &Subscribe) -> String {
    let user = options.user.as_deref().unwrap_or("this token's user");
    let url = options.target.url.first().map_or("", String::as_str);
    if options.user.is_none() && options.target.token.is_none() {
        return format!("{WARN}no --user and no --token: the node will ask whose broadcasts you want{WARN:#}");
    }
    format!("{DIM}listening for {user} at {url}; Ctrl-C ends it{DIM:#}")
}

#[cfg(test)]
mod tests {
    use super::{Subscribe, for_good, learn, query};
    use crate::cli::arguments::{Arguments, Command};
    use clap::Parser;

    fn subscribe(line: &[&str]) -> Subscribe {
        let words = ["campanile", "subscribe"].iter().chain(line);
        match Arguments::try_parse_from(words).unwrap().command {
            Command::Subscribe(options) => options,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_start_is_asked_for_once() {
        let options = subscribe(&["--user", "u 1", "--from", "earliest"]);
        assert_eq!(query(&options, false), "user=u%201&from=earliest");
        assert_eq!(query(&options, true), "user=u%201", "after a cut the cursor says where");
    }

    #[test]
    fn other_nodes_are_learnt_once() {
        let mut urls = vec!["http://a:1".to_owned()];
        learn(
            &mut urls,
            vec!["http://b:1/".into(), "http://a:1".into(), "http://b:1".into()],
        );
        assert_eq!(urls, ["http://a:1", "http://b:1"]);
    }

    #[test]
    fn some_goodbyes_are_for_good() {
        assert!(for_good(4003, "not allowed").is_err());
        assert!(for_good(1012, "restart").is_ok() && for_good(0, "").is_ok());
    }
}
