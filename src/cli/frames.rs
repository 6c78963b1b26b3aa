//! A subscriber's frames as lines: what people read, or what the server sent.

use super::failure::Failure;
use super::output::{self, BAD, DIM, GOOD, WARN, plain, priority};
use serde_json::{Value, json};
use std::collections::{HashSet, VecDeque};
use std::fmt::Write as _;
use std::time::Duration;

/// Broadcasts remembered so that none is shown twice after a reconnect.
const SEEN_MAX: usize = 10_000;

/// What a frame asks of the command beyond being shown.
#[derive(Debug, PartialEq, Eq)]
pub enum Shown {
    /// Its id, to be confirmed.
    Broadcast(String),
    /// Addresses of other nodes.
    Nodes(Vec<String>),
    Goodbye {
        code: u16,
        reason: String,
        after: Option<Duration>,
    },
    Other,
}

pub struct Printer {
    as_json: bool,
    seen: HashSet<String>,
    order: VecDeque<String>,
    /// The cursor that was said last.
    cursor: String,
}

impl Printer {
    pub fn new(as_json: bool) -> Self {
        Self {
            as_json,
            seen: HashSet::new(),
            order: VecDeque::new(),
            cursor: String::new(),
        }
    }

    /// For programs, a line when the cursor has moved: everything before it has been printed, or was not for this user.
    pub fn cursor(&mut self, cursor: &str) -> Result<(), Failure> {
        if self.as_json && self.cursor != cursor {
            cursor.clone_into(&mut self.cursor);
            output::say(&json!({"event": "cursor", "cursor": cursor}).to_string())?;
        }
        Ok(())
    }

    /// The cursor at the end of the command.
    pub fn last_cursor(&mut self, cursor: &str) -> Result<(), Failure> {
        if !self.as_json {
            output::complain(&format!("{DIM}to go on from here: --cursor {cursor}{DIM:#}"));
        }
        self.cursor(cursor)
    }

    /// What the command does by itself.
    pub fn notice(&self, text: &str) {
        output::notice(text, self.as_json);
    }

    /// Shows a frame (JSON text) unless it is a broadcast that was shown before.
    pub fn show(&mut self, text: &str) -> Result<Shown, Failure> {
        let frame: Value = serde_json::from_str(text)
            .map_err(|error| Failure::failed(format!("the node sent a frame that is not JSON: {error}")))?;
        let field = |name: &str| frame.get(name).and_then(Value::as_str).unwrap_or_default();
        let is_broadcast = field("event") == "broadcast";
        if is_broadcast && !self.is_new(field("id"), frame.get("escalated") == Some(&Value::Bool(true))) {
            return Ok(Shown::Other);
        }
        if self.as_json {
            output::say(text.trim())?;
        } else if is_broadcast || field("event") == "retracted" {
            output::say(&line(&frame))?;
        } else if let Some(line) = notice(&frame) {
            output::complain(&line);
        }
        Ok(match field("event") {
            "broadcast" => Shown::Broadcast(field("id").to_owned()),
            "hello" | "degraded" => Shown::Nodes(nodes(&frame)),
            "goodbye" => Shown::Goodbye {
                code: frame
                    .get("code")
                    .and_then(Value::as_u64)
                    .and_then(|code| u16::try_from(code).ok())
                    .unwrap_or_default(),
                reason: field("reason").to_owned(),
                after: frame
                    .get("reconnect_ms")
                    .and_then(Value::as_u64)
                    .map(Duration::from_millis),
            },
            _ => Shown::Other,
        })
    }

    /// An escalated broadcast is meant to be seen again.
    fn is_new(&mut self, id: &str, escalated: bool) -> bool {
        let key = format!("{id}{}", if escalated { "+" } else { "" });
        if !self.seen.insert(key.clone()) {
            return false;
        }
        self.order.push_back(key);
        if self.order.len() > SEEN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        true
    }
}

fn nodes(frame: &Value) -> Vec<String> {
    let urls = frame.get("nodes").and_then(Value::as_array).into_iter().flatten();
    urls.filter_map(|url| url.as_str().map(str::to_owned)).collect()
}

/// `20:42:00  CRITICAL  weather.warning  Go inside now: Go inside the barn.  01J...`
fn line(frame: &Value) -> String {
    let field = |name: &str| plain(frame.get(name).and_then(Value::as_str).unwrap_or_default());
    let at = field("released_at");
    let time = at.get(11..19).unwrap_or_default();
    let is_drill = frame.get("drill") == Some(&Value::Bool(true));
    if field("event") == "retracted" {
        let drill = if is_drill { "  [drill]" } else { "" };
        return format!("{DIM}{time}  retracted {}{drill}{DIM:#}", field("id"));
    }
    let name = field("priority");
    let style = priority(&name);
    let mut text = format!(
        "{DIM}{time}{DIM:#}  {style}{:<8}{style:#}  {}  {style}{}{style:#}",
        name.to_uppercase(),
        field("type"),
        field("title")
    );
    if !field("body").is_empty() {
        let _ = write!(text, ": {}", field("body"));
    }
    if is_drill {
        let _ = write!(text, "  {WARN}[drill]{WARN:#}");
    }
    if frame.get("escalated") == Some(&Value::Bool(true)) {
        let _ = write!(text, "  {BAD}[not yet confirmed]{BAD:#}");
    }
    if let Some(asked) = frame.get("acknowledge").filter(|asked| !asked.is_null()) {
        let answers = asked.get("answers").and_then(Value::as_array).into_iter().flatten();
        let answers: Vec<String> = answers.filter_map(|answer| answer.as_str().map(plain)).collect();
        let within = asked.get("within").and_then(Value::as_str).unwrap_or_default();
        let _ = write!(
            text,
            "  {WARN}[confirm within {}: {}]{WARN:#}",
            plain(within),
            answers.join(" or ")
        );
    }
    let _ = write!(text, "  {DIM}{}{DIM:#}", field("id"));
    text
}

/// What the stream says about itself, for stderr.
fn notice(frame: &Value) -> Option<String> {
    let field = |name: &str| plain(frame.get(name).and_then(Value::as_str).unwrap_or_default());
    let number = |name: &str| frame.get(name).and_then(Value::as_u64).unwrap_or_default();
    Some(match frame.get("event")?.as_str()? {
        "hello" => {
            let more = match number("backlog") {
                0 => String::new(),
                more => format!("; {} older ones are in the inbox", output::count(more)),
            };
            format!("{GOOD}connected{GOOD:#}{DIM} to node {}{more}{DIM:#}", number("node"))
        }
        "gap" => format!(
            "{BAD}gap{BAD:#}: what came between {} and {} cannot be replayed ({})",
            field("from"),
            field("to"),
            field("reason")
        ),
        "degraded" => format!("{WARN}this node has no leader; the stream stays open{WARN:#}"),
        "restored" => format!("{GOOD}this node has a leader again{GOOD:#}"),
        "goodbye" => format!("{DIM}goodbye: {} ({}){DIM:#}", field("reason"), number("code")),
        "problem" => format!("{WARN}{}: {}{WARN:#}", field("code"), field("detail")),
        "ok" | "cursor" | "ping" => return None,
        other => format!("{DIM}{}: {}{DIM:#}", plain(other), plain(&frame.to_string())),
    })
}

#[cfg(test)]
mod tests {
    use super::{Printer, Shown, line};
    use serde_json::json;
    use std::time::Duration;

    fn told(frame: &serde_json::Value) -> String {
        anstream::adapter::strip_str(&line(frame)).to_string()
    }

    #[test]
    fn a_broadcast_is_one_line() {
        let frame = json!({"event": "broadcast", "id": "01J", "priority": "critical", "type": "weather.warning",
            "title": "Go inside", "body": "Now.\nReally.", "released_at": "2027-06-19T20:42:00.000Z", "drill": true,
            "acknowledge": {"within": "15s", "answers": ["ok", "need_help"]}});
        assert_eq!(
            told(&frame),
            "20:42:00  CRITICAL  weather.warning  Go inside: Now. Really.  [drill]  \
             [confirm within 15s: ok or need_help]  01J"
        );
        let frame = json!({"event": "retracted", "id": "01J", "released_at": "2027-06-19T20:43:00.000Z"});
        assert_eq!(told(&frame), "20:43:00  retracted 01J");
        let frame =
            json!({"event": "retracted", "id": "01J", "released_at": "2027-06-19T20:43:00.000Z", "drill": true});
        assert_eq!(told(&frame), "20:43:00  retracted 01J  [drill]");
    }

    #[test]
    fn repeats_are_not_shown_and_escalations_are() {
        let mut printer = Printer::new(false);
        assert!(printer.is_new("a", false));
        assert!(!printer.is_new("a", false));
        assert!(printer.is_new("a", true));
        assert!(!printer.is_new("a", true));
    }

    #[test]
    fn a_goodbye_says_when_to_come_back() {
        let mut printer = Printer::new(false);
        let shown = printer.show(r#"{"event":"goodbye","code":1012,"reason":"restart","reconnect_ms":900,"nodes":[]}"#);
        let goodbye = Shown::Goodbye {
            code: 1012,
            reason: "restart".into(),
            after: Some(Duration::from_millis(900)),
        };
        assert_eq!(shown.unwrap(), goodbye);
        let hello = printer.show(r#"{"event":"hello","node":1,"nodes":["http://b:1"],"backlog":0}"#);
        assert_eq!(hello.unwrap(), Shown::Nodes(vec!["http://b:1".into()]));
        assert!(printer.show("no").is_err());
    }
}
