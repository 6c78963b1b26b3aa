//! `campanile status --watch`: follows a node's dashboard as it changes, and goes on with another node when that one is lost.

use super::screen::{Room, lines};
use super::shown;
use crate::base::clock;
use crate::cli::failure::Failure;
use crate::cli::nodes;
use crate::cli::output;
use crate::cli::sight::Sight;
use crate::cli::sight::ask::{Asker, Unseen, unseen};
use crate::cli::sight::line::{Line, Palette, Tone};
use crate::cli::sight::words;
use crate::net::client::no_body;
use crate::net::sse::Parser;
use crate::net::{Client, ClientError};
use http::Method;
use serde_json::Value;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

/// A node opens its stream within this.
const OPEN_WITHIN: Duration = Duration::from_secs(2);
/// A stream tells something every second; after this much silence the node is taken for lost.
const QUIET_MAX: Duration = Duration::from_secs(4);
/// The pause after all nodes had their turn in vain.
const PAUSE: Duration = Duration::from_millis(500);
/// That a node was lost stays on the screen for so long.
const TOLD_FOR: Duration = Duration::from_secs(60);
/// To the top left corner, without wiping what is overwritten anyway.
const HOME: &str = "\u{1b}[H";
const WIPE: &str = "\u{1b}[2J\u{1b}[H";
const END_OF_LINE: &str = "\u{1b}[K";
const BELOW: &str = "\u{1b}[J";

/// What was shown, and what has to be said beside it.
struct Watch {
    last: Sight,
    as_json: Json,
    lost: Option<Lost>,
    /// Nobody answers, since then.
    silent_since: Option<Instant>,
    is_begun: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Json {
    Lines,
    No,
}

/// A node was lost, and what is done about it.
struct Lost {
    at: Instant,
    what: String,
    why: String,
}

/// Shows the cluster until it is interrupted; the last look says how it ends.
pub async fn watch(asker: &mut Asker, first: Sight, as_json: bool) -> Result<Sight, Failure> {
    let mut watch = Watch {
        last: Sight::default(),
        as_json: if as_json { Json::Lines } else { Json::No },
        lost: None,
        silent_since: None,
        is_begun: false,
    };
    watch.see(first)?;
    let going = go_on(asker, &mut watch);
    let ended = tokio::select! {
        ended = going => ended,
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    ended.map(|()| watch.last)
}

async fn go_on(asker: &mut Asker, watch: &mut Watch) -> Result<(), Failure> {
    let mut in_vain = 0;
    loop {
        let mut told = 0;
        let why = follow(asker, watch, &mut told).await?;
        in_vain = if told == 0 { in_vain + 1 } else { 0 };
        let left = asker.url().to_owned();
        asker.turn();
        if in_vain < asker.count() {
            watch.lose(format!("{left} is lost; going on with {}", asker.url()), why);
        } else {
            watch.lose("no node answers; looking again".into(), why);
            watch.wait()?;
            sleep(PAUSE).await;
        }
    }
}

/// Follows one node, and tells how often it told something and why that ended.
async fn follow(asker: &mut Asker, watch: &mut Watch, told: &mut usize) -> Result<String, Failure> {
    let client = nodes::client(asker.url(), asker.target())?.with_deadline(OPEN_WITHIN);
    let mut lines = match open(&client).await {
        Ok(lines) => lines,
        Err(error) => match unseen(error) {
            Unseen::Later(failure) => return Ok(failure.what),
            Unseen::Final(failure) => return Err(failure),
        },
    };
    let mut parser = Parser::default();
    loop {
        let chunk = match timeout(QUIET_MAX, lines.chunk()).await {
            Ok(Ok(Some(chunk))) => chunk,
            Ok(Ok(None)) => return Ok(format!("{} ended the stream", asker.url())),
            Ok(Err(error)) => return Ok(error.to_string()),
            Err(_) => return Ok(format!("{} has said nothing for {QUIET_MAX:?}", asker.url())),
        };
        let mut events = Vec::new();
        if let Err(error) = parser.push(&chunk, &mut events) {
            return Ok(error.to_string());
        }
        // Of several that came together only the newest is worth a look.
        let mut boards = events.iter().rev().filter(|event| event.event == "board");
        let newest = boards.find_map(|event| serde_json::from_str::<Value>(&event.data).ok());
        let has_board = newest.is_some();
        if let Some(board) = newest {
            *told += 1;
            watch.see(asker.complete(board).await?)?;
        }
        // an old screen must not look like a live one
        if !has_board && events.iter().any(|event| event.event == "problem") {
            return Ok(format!("{} cannot tell how things are", asker.url()));
        }
        if events.iter().any(|event| event.event == "goodbye") {
            return Ok(format!("{} is stopping", asker.url()));
        }
    }
}

async fn open(client: &Client) -> Result<crate::net::client::Lines<'_>, ClientError> {
    let headers = [("accept", "text/event-stream")];
    let request = client.request(Method::GET, "/v1/dashboard", &headers, no_body())?;
    client.open(request).await
}

impl Watch {
    /// Says that a node was lost: on the screen, or on stderr where there is none.
    fn lose(&mut self, what: String, why: String) {
        if self.lost.as_ref().is_some_and(|known| known.what == what) {
            return;
        }
        if self.as_json == Json::Lines || !std::io::stdout().is_terminal() {
            output::notice(&format!("{what} ({why})"), self.as_json == Json::Lines);
        }
        let at = clock::now();
        self.lost = Some(Lost { at, what, why });
    }

    fn see(&mut self, sight: Sight) -> Result<(), Failure> {
        self.last = sight;
        self.silent_since = None;
        if self.as_json == Json::Lines {
            return output::say(&self.last.json().to_string());
        }
        self.draw()
    }

    /// Nobody answers. What was seen last stays on a screen, and says that it is old; a pipe hears of it by the notice alone.
    fn wait(&mut self) -> Result<(), Failure> {
        self.silent_since.get_or_insert_with(clock::now);
        if self.as_json == Json::No && std::io::stdout().is_terminal() {
            self.draw()
        } else {
            Ok(())
        }
    }

    fn draw(&mut self) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        let is_terminal = out.is_terminal();
        let (begin, end_of_line, end) = match (is_terminal, self.is_begun) {
            (true, false) => (WIPE, END_OF_LINE, BELOW),
            (true, true) => (HOME, END_OF_LINE, BELOW),
            (false, _) => ("", "", "\n"),
        };
        let lines = if is_terminal {
            self.lines(room(), clock::now())
        } else {
            lines(&self.last, Room::ENDLESS)
        };
        let palette = Palette::of_stdout();
        let text: Vec<String> = lines
            .iter()
            .map(|line| shown(line, palette) + end_of_line + "\n")
            .collect();
        self.is_begun = true;
        out.write_all(format!("{begin}{}{end}", text.concat()).as_bytes())?;
        Ok(out.flush()?)
    }

    /// What fits a terminal of which the last row stays empty, and what has to be said besides.
    fn lines(&self, room: Room, now: Instant) -> Vec<Line> {
        let rows = room.rows.saturating_sub(1);
        let mut lines = lines(&self.last, Room { rows, ..room });
        let since = |at: Instant| words::span(now.saturating_duration_since(at).as_secs_f64());
        if let (Some(at), Some(first)) = (self.silent_since, lines.first_mut()) {
            let text = format!("No node answers, for {}. What was seen last:", since(at));
            *first = Line::new().with(Tone::Bad, text).fit(room.columns);
        }
        let news = |lost: &&Lost| now.saturating_duration_since(lost.at) < TOLD_FOR;
        if let Some(lost) = self.lost.as_ref().filter(news) {
            let line = Line::new().with(Tone::Warn, &lost.what);
            let line = line.with(Tone::Dim, format!(", {} ago ({})", since(lost.at), lost.why));
            let line = line.fit(room.columns);
            // Above the blank line below the head, or in its place; where there is none, at the end.
            match lines.iter().position(Line::is_empty) {
                Some(blank) if lines.len() < rows => lines.insert(blank, line),
                Some(blank) => lines[blank] = line,
                None => {
                    lines.truncate(rows.saturating_sub(1));
                    lines.push(line);
                }
            }
        }
        lines.truncate(rows);
        lines
    }
}

/// What the terminal has room for.
fn room() -> Room {
    crossterm::terminal::size().map_or(Room::ENDLESS, |(columns, rows)| Room {
        columns: usize::from(columns),
        rows: usize::from(rows),
    })
}

#[cfg(test)]
mod tests {
    use super::{Json, Lost, Room, Watch, clock};
    use crate::cli::sight::sample;
    use std::time::Duration;

    #[test]
    fn what_was_lost_is_said_wherever_there_is_room() {
        let begun = clock::now();
        let mut watch = Watch {
            last: sample::busy(),
            as_json: Json::No,
            lost: Some(Lost {
                at: begun,
                what: "http://a is lost; going on with http://b".into(),
                why: "refused".into(),
            }),
            silent_since: None,
            is_begun: false,
        };
        let shown = |watch: &Watch, rows: usize, later: u64| -> Vec<String> {
            let lines = watch.lines(Room { columns: 80, rows }, begun + Duration::from_secs(later));
            assert!(lines.len() < rows, "the last row stays empty");
            lines.iter().map(super::Line::text).collect()
        };
        let told = "http://a is lost; going on with http://b, 2 s ago (refused)";
        for rows in [40, 24, 20, 10] {
            assert!(shown(&watch, rows, 2).contains(&told.to_owned()), "{rows}");
        }
        assert!(
            !shown(&watch, 40, 61).iter().any(|line| line.contains("is lost")),
            "it is no news any more"
        );
        watch.silent_since = Some(begun);
        let first = shown(&watch, 24, 12).remove(0);
        assert_eq!(first, "No node answers, for 12 s. What was seen last:");
    }
}
