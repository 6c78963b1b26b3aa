//! Bodies of lines, read as they come: however long a body is, one chunk and one unfinished line are in memory.

use super::problem::{Code, Problem};
use crate::base::clock;
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use std::time::Duration;

/// One line and its number, counted from 1. A line that is too long comes as that problem, and the next one follows.
#[derive(Debug)]
pub struct Line {
    pub number: u64,
    pub text: Result<Bytes, Problem>,
}

/// How slowly a body may come.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Without a byte for this long it is given up.
    pub idle_max: Duration,
    /// Each time that it has been waited for so long in all, ...
    pub waited_max: Duration,
    /// ... it has brought so many bytes: a connection is not held open with one byte now and then.
    pub bytes_min: usize,
}

/// A sender who has one small line every ten seconds still passes.
pub const PATIENCE: Patience = Patience {
    idle_max: Duration::from_secs(10),
    waited_max: Duration::from_secs(60),
    bytes_min: 1 << 10,
};

pub struct Lines {
    body: Body,
    chunk: Bytes,
    /// The beginning of a line whose end has not come yet.
    started: BytesMut,
    /// The line is longer than allowed: its rest is thrown away.
    skipping: bool,
    number: u64,
    ended: bool,
    line_bytes_max: usize,
    patience: Patience,
    /// Since the last look at how fast it comes.
    waited: Duration,
    brought: usize,
}

impl Lines {
    pub fn new(body: Body, line_bytes_max: usize, patience: Patience) -> Self {
        Self {
            body,
            chunk: Bytes::new(),
            started: BytesMut::new(),
            skipping: false,
            number: 0,
            ended: false,
            line_bytes_max,
            patience,
            waited: Duration::ZERO,
            brought: 0,
        }
    }

    /// The next line that is not blank; `None` at the end. Dropping the future before it is ready loses nothing.
    pub async fn next(&mut self) -> Result<Option<Line>, Problem> {
        loop {
            while let Some(line) = self.cut() {
                let blank = line.text.as_ref().is_ok_and(|text| text.trim_ascii().is_empty());
                if !blank {
                    return Ok(Some(line));
                }
            }
            if self.ended {
                return Ok(None);
            }
            let began = clock::now();
            let frame = tokio::time::timeout(self.patience.idle_max, self.body.frame()).await;
            match frame.map_err(|_| Problem::new(Code::BodyTimeout, "the body stands still").closing())? {
                Some(Ok(frame)) => {
                    self.chunk = frame.into_data().unwrap_or_default();
                    self.check_pace(began.elapsed())?;
                }
                Some(Err(error)) => {
                    return Err(Problem::new(Code::MalformedRequest, format!("the body broke off: {error}")).closing());
                }
                None => self.ended = true,
            }
        }
    }

    /// Only time spent waiting for the sender counts.
    fn check_pace(&mut self, waited: Duration) -> Result<(), Problem> {
        self.waited += waited;
        self.brought += self.chunk.len();
        if self.waited < self.patience.waited_max {
            return Ok(());
        }
        let brought = std::mem::take(&mut self.brought);
        self.waited = Duration::ZERO;
        if brought >= self.patience.bytes_min {
            return Ok(());
        }
        let detail = format!(
            "the body comes too slowly: {brought} bytes, and at least {} are expected in {} s",
            self.patience.bytes_min,
            self.patience.waited_max.as_secs()
        );
        Err(Problem::new(Code::BodyTimeout, detail).closing())
    }

    /// One line from what is at hand.
    fn cut(&mut self) -> Option<Line> {
        let end = memchr(&self.chunk);
        let part = match end {
            Some(end) => {
                let part = self.chunk.split_to(end);
                let _newline = self.chunk.split_to(1);
                part
            }
            None => std::mem::take(&mut self.chunk),
        };
        if self.skipping || self.started.len() + part.len() > self.line_bytes_max {
            self.skipping = true;
            self.started.clear();
        } else if end.is_none() {
            self.started.extend_from_slice(&part);
        }
        let at_end = self.ended && (self.skipping || !self.started.is_empty());
        if end.is_none() && !at_end {
            return None;
        }
        self.number += 1;
        let too_long = std::mem::take(&mut self.skipping);
        let text = if too_long {
            Err(Problem::new(
                Code::TooLarge,
                format!("the line has more than {} bytes", self.line_bytes_max),
            ))
        } else if self.started.is_empty() {
            Ok(part)
        } else {
            if end.is_some() {
                self.started.extend_from_slice(&part);
            }
            Ok(self.started.split().freeze())
        };
        Some(Line {
            number: self.number,
            text,
        })
    }
}

fn memchr(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| *byte == b'\n')
}

#[cfg(test)]
mod tests {
    use super::{Lines, PATIENCE, Patience};
    use axum::body::Body;
    use futures_util::stream;
    use std::time::Duration;

    async fn check(chunks: &'static [&'static str], expected: &[(u64, &str)]) {
        let stream = stream::iter(chunks.iter().copied().map(Ok::<_, std::io::Error>));
        let mut lines = Lines::new(Body::from_stream(stream), 8, PATIENCE);
        let mut found = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            let text = line.text.map_or_else(
                |problem| problem.code().text().to_owned(),
                |text| String::from_utf8(text.to_vec()).unwrap(),
            );
            found.push((line.number, text));
        }
        let expected: Vec<(u64, String)> = expected
            .iter()
            .map(|(number, text)| (*number, (*text).to_owned()))
            .collect();
        assert_eq!(found, expected, "{chunks:?}");
    }

    #[tokio::test]
    async fn lines_come_whole_however_they_were_sent() {
        check(&[], &[]).await;
        check(&["\n\n"], &[]).await;
        check(&["a\nb\n"], &[(1, "a"), (2, "b")]).await;
        check(&["a", "b\n", "\nc", "", "d"], &[(1, "ab"), (3, "cd")]).await;
        check(&["12345678\n"], &[(1, "12345678")]).await;
        check(&["1234", "5678", "\nx"], &[(1, "12345678"), (2, "x")]).await;
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_does_not_take_the_next_with_it() {
        check(&["123456789\nb\n"], &[(1, "TOO_LARGE"), (2, "b")]).await;
        check(&["1234", "56789", "0123456789", "0\nb"], &[(1, "TOO_LARGE"), (2, "b")]).await;
        check(&["a\n", "123456789"], &[(1, "a"), (2, "TOO_LARGE")]).await;
    }

    /// A byte now and then, for ever.
    #[tokio::test]
    async fn a_body_that_dribbles_is_given_up() {
        let dribble = stream::unfold((), |()| async {
            tokio::task::yield_now().await;
            Some((Ok::<_, std::io::Error>("\n"), ()))
        });
        let patience = Patience {
            waited_max: Duration::from_millis(1),
            bytes_min: usize::MAX,
            ..PATIENCE
        };
        let mut lines = Lines::new(Body::from_stream(dribble), 8, patience);
        let problem = lines.next().await.unwrap_err();
        assert_eq!(problem.code().text(), "BODY_TIMEOUT");
        assert!(problem.detail().contains("too slowly"), "{}", problem.detail());
    }
}
