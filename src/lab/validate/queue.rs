//! The queue: from the publisher's first byte to the last recipient's, in order, the urgent ones first; and a write that nobody confirms is
//! tried again after a real delay.

use super::listener::{Listener, Promise, text};
use super::nouns::draft;
use super::proof::Proof;
use super::stage::{Published, SOON, Stage};
use crate::base::clock;
use crate::base::size::Span;
use crate::lab::stream::{Event, Stream, Transport};
use crate::model::Priority;
use anyhow::{Result, bail};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::timeout;

/// The origin's target.
const MEAN_MAX_MS: f64 = 100.0;
const CRITICAL_MAX_MS: f64 = 5_000.0;
const PEOPLE: [&str; 6] = ["queue-0", "queue-1", "queue-2", "queue-3", "queue-4", "queue-5"];
const BROADCASTS: usize = 60;
/// Low ones that wait when a critical comes: far more than the kernel holds for one socket ...
const LOW: usize = 3_000;
/// ... which is what the critical cannot overtake any more.
const ON_THE_WIRE: f64 = LOW as f64 / 3.0;
const LOW_BODY: usize = 600;
const LINES_AT_ONCE: usize = 250;
const READ_MAX: Duration = Duration::from_secs(20);
/// The setting's own value, where a node does not say it.
const RETRY_FIRST: Span = Span::seconds(1);
/// Up to half of a wait is left out at random; a little is lost in rounding.
const RETRY_EARLIEST: f64 = 0.45;
const RETRY_LATE_MS: f64 = 2_000.0;

pub async fn look(stage: &mut Stage, proof: &mut Proof) -> Result<()> {
    let users = stage.people(&PEOPLE).await?;
    in_turn(stage, &users, proof).await?;
    overtaking(stage, proof).await?;
    tried_again(stage, proof).await
}

async fn in_turn(stage: &Stage, users: &[String], proof: &mut Proof) -> Result<()> {
    let mut listeners = Vec::new();
    for (at, user) in users.iter().enumerate() {
        let transport = if at % 2 == 0 {
            Transport::WebSocket
        } else {
            Transport::Sse
        };
        listeners.push(stage.listen(at, transport, user).await?);
    }
    let audience = json!({"users": users});
    let mut published: Vec<(Priority, Published)> = Vec::new();
    for number in 0..BROADCASTS {
        let priority = Priority::ALL[number % Priority::ALL.len()];
        let draft = draft(priority.name(), &audience, "One of sixty");
        published.push((priority, stage.publish(number, &draft).await?));
    }
    for listener in &listeners {
        listener
            .until(SOON, |heard| heard.broadcasts().count() >= BROADCASTS)
            .await;
    }
    let (mut waits, mut criticals) = (Vec::new(), Vec::new());
    let (mut missing, mut repeated) = (0, 0);
    for (priority, one) in &published {
        for listener in &listeners {
            let times: Vec<f64> = listener.look(|heard| {
                let read = heard.of(&one.id).into_iter();
                read.map(|(_, at)| at.duration_since(one.sent).as_secs_f64() * 1e3)
                    .collect()
            });
            missing += usize::from(times.is_empty());
            repeated += times.len().saturating_sub(1);
            waits.extend(times.first());
            if *priority == Priority::Critical {
                criticals.extend(times.first());
            }
        }
    }
    let mean = (!waits.is_empty()).then(|| waits.iter().sum::<f64>() / waits.len() as f64);
    proof.below("mean, first byte sent to read by a recipient", MEAN_MAX_MS, "ms", mean);
    let slowest = criticals.into_iter().reduce(f64::max);
    proof.below("slowest critical", CRITICAL_MAX_MS, "ms", slowest);
    proof.none("deliveries missing", missing);
    proof.none("deliveries repeated", repeated);
    proof.none("out of order within a priority", listeners.iter().map(disordered).sum());
    proof.saw(format!(
        "{BROADCASTS} broadcasts, a quarter of each priority, through each node in turn to {} people on {} nodes: {} deliveries timed",
        users.len(),
        stage.nodes.len(),
        waits.len()
    ));
    Ok(())
}

/// Broadcasts that came behind a later one of their priority.
fn disordered(listener: &Listener) -> usize {
    listener.look(|heard| {
        let each = Priority::ALL.map(|priority| {
            let own = heard
                .broadcasts()
                .filter(|(frame, _)| frame["priority"] == priority.name());
            let positions: Vec<Option<u64>> = own.map(|(frame, _)| frame["position"].as_u64()).collect();
            // One without a position has no place in any order.
            let unplaced = positions.iter().filter(|position| position.is_none()).count();
            unplaced + positions.windows(2).filter(|pair| pair[0] > pair[1]).count()
        });
        each.into_iter().sum()
    })
}

/// Somebody who does not read while low ones pile up, and then reads everything.
async fn overtaking(stage: &mut Stage, proof: &mut Proof) -> Result<()> {
    let slow = stage.people(&["queue-slow"]).await?;
    let who = (stage.bearer.as_str(), slow.first().map(String::as_str));
    let mut stream = Stream::open_as(stage.node(0), Transport::WebSocket, who, None).await?;
    let (first, _) = timeout(SOON, stream.next()).await??;
    if !matches!(&first, Event::Frame(frame) if frame["event"] == "hello") {
        bail!("the first frame is {first:?} and no hello");
    }
    pile_up(stage, &slow).await?;
    let critical = draft("critical", &json!({"users": slow}), "Go inside");
    let critical = stage.publish(0, &critical).await?;
    let order = timeout(READ_MAX, read_all(&mut stream)).await??;
    let before = order.iter().position(|id| *id == critical.id);
    proof.below(
        "low ones read before a critical that came behind them",
        ON_THE_WIRE,
        "",
        before.map(|before| before as f64),
    );
    let each: BTreeSet<&String> = order.iter().collect();
    proof.exactly("read by who was slow", LOW + 1, each.len());
    proof.saw(format!(
        "{LOW} low ones waited for a WebSocket that did not read; {} of them came before the critical",
        before.map_or_else(|| "all".to_owned(), |before| before.to_string())
    ));
    Ok(())
}

async fn pile_up(stage: &Stage, users: &[String]) -> Result<()> {
    let mut low = draft("low", &json!({"users": users}), "One of many");
    low["body"] = json!("x".repeat(LOW_BODY));
    let headers = [("Content-Type", "application/x-ndjson")];
    let mut accepted = 0;
    for _ in 0..LOW / LINES_AT_ONCE {
        let body = format!("{low}\n").repeat(LINES_AT_ONCE);
        let answer = stage
            .ask(0, ("POST", "/v1/broadcasts/batch"), &headers, body.as_bytes())
            .await?;
        let lines = std::str::from_utf8(&answer.body)?.lines();
        let results = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
        accepted += results.filter(|result| result["id"].is_string()).count();
    }
    if accepted != LOW {
        bail!("{accepted} of {LOW} low ones were accepted");
    }
    Ok(())
}

async fn read_all(stream: &mut Stream) -> Result<Vec<String>> {
    let mut order = Vec::with_capacity(LOW + 1);
    while order.len() <= LOW {
        match stream.next().await? {
            (Event::Frame(frame), _) if frame["event"] == "broadcast" => order.push(text(&frame, "id")),
            (Event::Frame(frame), _) if frame["event"] == "goodbye" => bail!("goodbye: {frame}"),
            (Event::Closed(code), _) => bail!("closed with {code}"),
            (Event::Frame(_) | Event::Cursor(_), _) => {}
        }
    }
    Ok(order)
}

/// A session that promised receipts and gives none.
async fn tried_again(stage: &mut Stage, proof: &mut Proof) -> Result<()> {
    let silent = stage.people(&["queue-silent"]).await?;
    let Some(user) = silent.first() else { return Ok(()) };
    let config = stage.get(0, "/v1/config").await?;
    let first: Span = config["retry"]["first"]
        .as_str()
        .and_then(|text| text.parse().ok())
        .unwrap_or(RETRY_FIRST);
    let first = first.0.as_secs_f64() * 1e3;
    let listener = stage
        .listen_from(1, Transport::WebSocket, (user, None), Promise::Receipts)
        .await?;
    let draft = draft("normal", &json!({"users": silent}), "Nobody confirms this");
    let published = stage.publish(0, &draft).await?;
    let limit = Duration::from_secs_f64((first + RETRY_LATE_MS) / 1e3) + SOON;
    listener.until(limit, |heard| heard.of(&published.id).len() >= 2).await;
    let times: Vec<_> = listener.look(|heard| heard.of(&published.id).iter().map(|(_, at)| *at).collect());
    let wait = match times[..] {
        [first, second, ..] => Some(second.duration_since(first).as_secs_f64() * 1e3),
        _ => None,
    };
    let name = "wait before a write without a receipt is tried again";
    proof.at_least(name, first * RETRY_EARLIEST, "ms", wait);
    proof.below(name, first + RETRY_LATE_MS, "ms", wait);
    if wait.is_none() {
        proof.wrong(format!(
            "it was not tried again within {} s",
            clock::left(clock::now() + limit).as_secs()
        ));
    }
    Ok(())
}
