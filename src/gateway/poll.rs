//! A long poll: a short stream of lines, read here until there is something or the wait is over. It is the same road as any
//! other session, so that nothing about order, cursors or receipts has to be said twice.

use super::{From, Gateway, Socket, Subscriber, Transport};
use crate::base::clock;
use crate::model::UserNumber;
use bytes::Bytes;
use serde::Deserialize;
use std::io;
use std::os::unix::net::UnixStream;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};

/// What a long poll answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Polled {
    /// Frames as JSON: broadcasts, retractions, gaps.
    pub items: Vec<String>,
    /// To come back with.
    pub cursor: String,
}

/// Why a long poll was not answered.
#[derive(Debug, thiserror::Error)]
pub enum PollError {
    #[error("this node takes no more subscribers")]
    Refused,
    /// The stream said goodbye: its code and reason.
    #[error("the stream ended with {code}: {reason}")]
    Goodbye { code: u16, reason: String },
    #[error("the stream broke")]
    Broken(#[from] io::Error),
}

#[derive(Deserialize)]
struct Line<'a> {
    event: &'a str,
    #[serde(default)]
    cursor: Option<&'a str>,
    #[serde(default)]
    code: Option<u16>,
    #[serde(default)]
    reason: Option<String>,
}

impl Gateway {
    /// At once when there is something, else after `wait`.
    pub async fn poll(&self, user: UserNumber, from: From, wait: Duration) -> Result<Polled, PollError> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let subscriber = Subscriber {
            pass: None,
            socket: Socket::Unix(theirs),
            read: Bytes::new(),
            head: Bytes::new(),
            transport: Transport::Lines,
            user,
            from,
        };
        self.accept(subscriber).map_err(|_| PollError::Refused)?;
        let mut lines = BufReader::new(tokio::net::UnixStream::from_std(ours)?).lines();
        let deadline = clock::now() + wait;
        let mut polled = Polled::default();
        // hello comes in any case: without a cursor there is no answer
        greet(&mut lines, &mut polled).await?;
        loop {
            let Ok(line) = tokio::time::timeout(clock::left(deadline), lines.next_line()).await else {
                return Ok(over(polled));
            };
            if polled.take(&line?.ok_or_else(closed)?)? {
                return Ok(polled);
            }
        }
    }
}

/// The wait is over. Releases without the cursor behind them are not answered, the next poll brings them; a gap stands before
/// the cursor that the stream began with.
fn over(mut polled: Polled) -> Polled {
    polled.items.retain(|item| item.starts_with(r#"{"event":"gap""#));
    polled
}

fn closed() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}

async fn greet(lines: &mut Lines<BufReader<tokio::net::UnixStream>>, polled: &mut Polled) -> Result<(), PollError> {
    let line = lines.next_line().await?.ok_or_else(closed)?;
    polled.take(&line)?;
    Ok(())
}

impl Polled {
    /// True when the answer is whole: items, and the cursor behind them.
    fn take(&mut self, line: &str) -> Result<bool, PollError> {
        let Ok(frame) = serde_json::from_str::<Line<'_>>(line) else {
            return Ok(false);
        };
        match frame.event {
            "broadcast" | "retracted" | "gap" => self.items.push(line.to_owned()),
            "goodbye" => {
                return Err(PollError::Goodbye {
                    code: frame.code.unwrap_or(1000),
                    reason: frame.reason.unwrap_or_default(),
                });
            }
            _ => {}
        }
        let Some(cursor) = frame.cursor else { return Ok(false) };
        cursor.clone_into(&mut self.cursor);
        Ok(!self.items.is_empty())
    }
}
