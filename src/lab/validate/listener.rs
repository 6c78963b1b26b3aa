//! Somebody who listens: everything that comes is kept, with when it was read.

use crate::base::clock;
use crate::lab::door::Door;
use crate::lab::stream::{Event, Stream, Transport};
use anyhow::{Context, Result, bail};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// From the first byte to the greeting.
const GREETED_MAX: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(5);

/// Whether this client promises to confirm what it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    Receipts,
    Nothing,
}

#[derive(Debug, Default)]
pub struct Heard {
    /// Every frame but the greeting.
    pub frames: Vec<(Value, Instant)>,
    pub cursor: Option<String>,
    /// Whether the cursor came behind the last frame that has a position: it ends each write, and covers what stands before it.
    pub is_covered: bool,
}

/// Ends when it is dropped.
pub struct Listener {
    heard: Arc<Mutex<Heard>>,
    reads: JoinHandle<()>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.reads.abort();
    }
}

/// Who listens, and where.
pub struct Seat<'a> {
    pub node: Door,
    pub transport: Transport,
    pub bearer: &'a str,
    pub user: Option<&'a str>,
    pub cursor: Option<&'a str>,
    pub promise: Promise,
}

impl Listener {
    /// Waits for the greeting.
    pub async fn start(seat: Seat<'_>) -> Result<Self> {
        let who = seat.user.unwrap_or("a token's user").to_owned();
        let (mut stream, cursor) = timeout(GREETED_MAX, greeted(seat))
            .await
            .with_context(|| format!("{who} was not greeted within {GREETED_MAX:?}"))?
            .with_context(|| format!("{who} wants to listen"))?;
        let heard = Arc::new(Mutex::new(Heard {
            cursor,
            is_covered: true,
            ..Heard::default()
        }));
        let kept = heard.clone();
        let reads = tokio::spawn(async move {
            // A stream that ends hears nothing more; whoever waits for something says so.
            while let Ok((event, at)) = stream.next().await {
                kept.lock().take(event, at);
            }
        });
        Ok(Self { heard, reads })
    }

    /// Whether it comes to hold within `limit`.
    pub async fn until(&self, limit: Duration, holds: impl Fn(&Heard) -> bool) -> bool {
        let end = clock::now() + limit;
        loop {
            if holds(&self.heard.lock()) {
                return true;
            }
            if clock::now() >= end {
                return false;
            }
            sleep(POLL).await;
        }
    }

    /// Whether that broadcast comes within `limit`.
    pub async fn gets(&self, id: &str, limit: Duration) -> bool {
        self.until(limit, |heard| !heard.of(id).is_empty()).await
    }

    pub fn look<T>(&self, at: impl FnOnce(&Heard) -> T) -> T {
        at(&self.heard.lock())
    }

    /// Ids of the broadcasts, as they came.
    pub fn ids(&self) -> Vec<String> {
        self.look(Heard::ids)
    }

    pub fn count(&self, event: &str) -> usize {
        self.look(|heard| heard.frames.iter().filter(|(frame, _)| frame["event"] == event).count())
    }
}

/// Opens it, makes its promise, and reads the greeting.
async fn greeted(seat: Seat<'_>) -> Result<(Stream, Option<String>)> {
    let mut stream = Stream::open_as(seat.node, seat.transport, (seat.bearer, seat.user), seat.cursor).await?;
    if seat.promise == Promise::Receipts {
        stream.send(&json!({"hello": {"receipts": true}})).await?;
    }
    match stream.next().await? {
        (Event::Frame(frame), _) if frame["event"] == "hello" => {
            Ok((stream, frame["cursor"].as_str().map(str::to_owned)))
        }
        (other, _) => bail!("the first frame is {other:?} and no hello"),
    }
}

impl Heard {
    fn take(&mut self, event: Event, at: Instant) {
        match event {
            Event::Frame(frame) => {
                self.is_covered &= frame["position"].is_null();
                self.frames.push((frame, at));
            }
            Event::Cursor(cursor) => {
                self.cursor = Some(cursor);
                self.is_covered = true;
            }
            Event::Closed(_) => {}
        }
    }

    /// Ids of the broadcasts, as they came.
    pub fn ids(&self) -> Vec<String> {
        self.broadcasts().map(|(frame, _)| text(frame, "id")).collect()
    }

    /// How often a broadcast came before another one did.
    pub fn before(&self, id: &str, other: &str) -> usize {
        let until = self.broadcasts().take_while(|(frame, _)| frame["id"] != other);
        until.filter(|(frame, _)| frame["id"] == id).count()
    }

    pub fn broadcasts(&self) -> impl Iterator<Item = &(Value, Instant)> {
        self.frames.iter().filter(|(frame, _)| frame["event"] == "broadcast")
    }

    /// Every time that a broadcast came.
    pub fn of(&self, id: &str) -> Vec<&(Value, Instant)> {
        self.broadcasts().filter(|(frame, _)| frame["id"] == id).collect()
    }

    pub fn retracted(&self, id: &str) -> usize {
        let all = self.frames.iter();
        all.filter(|(frame, _)| frame["event"] == "retracted" && frame["id"] == id)
            .count()
    }
}

pub fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::Heard;
    use crate::base::clock;
    use crate::lab::stream::Event;
    use serde_json::json;

    fn heard(events: impl IntoIterator<Item = Event>) -> Heard {
        let mut heard = Heard {
            is_covered: true,
            ..Heard::default()
        };
        for event in events {
            heard.take(event, clock::now());
        }
        heard
    }

    fn broadcast(id: &str) -> Event {
        Event::Frame(json!({"event": "broadcast", "id": id, "position": 7}))
    }

    #[test]
    fn a_cursor_covers_what_stands_before_it() {
        let cursor = || Event::Cursor("1".into());
        let ping = || Event::Frame(json!({"event": "ping"}));
        let check = |events: Vec<Event>, expected: bool| assert_eq!(heard(events).is_covered, expected);
        check(vec![], true);
        check(vec![broadcast("a")], false);
        check(vec![broadcast("a"), cursor(), ping()], true);
        // a second write has begun, and what ends it is still to come
        check(vec![broadcast("a"), cursor(), broadcast("b")], false);
        check(vec![broadcast("a"), cursor(), broadcast("b"), ping()], false);
        check(vec![broadcast("a"), cursor(), broadcast("b"), cursor()], true);
    }

    #[test]
    fn what_came_behind_a_broadcast_is_not_before_it() {
        let heard = heard(["a", "b", "a", "fence", "a"].map(broadcast));
        assert_eq!(heard.ids().len(), 5);
        assert_eq!((heard.before("a", "fence"), heard.before("b", "fence")), (2, 1));
        assert_eq!((heard.before("a", "a"), heard.before("c", "fence")), (0, 0));
    }
}
