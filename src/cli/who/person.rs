//! One recipient as the API names them, and what to say of them.

use super::clock::Clock;
use super::report::Group;
use crate::base::clock::{Millis, parse_rfc3339};
use crate::cli::output::plain;
use serde_json::Value;
use std::fmt::Write as _;

/// What needs nobody's attention.
const OK: &str = "ok";

/// What a broadcast asks of whoever has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    ToConfirm,
    Nothing,
}

/// An item of `GET /v1/broadcasts/{id}/recipients`.
#[derive(Debug)]
pub struct Person(pub Value);

impl Person {
    /// A member that is a text; empty where there is none.
    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    fn time(&self, name: &str) -> Option<Millis> {
        parse_rfc3339(self.text(name))
    }

    pub fn user(&self) -> String {
        plain(self.text("user"))
    }

    /// `dj, guest`; `-` for somebody without a role.
    pub fn roles(&self) -> String {
        let roles = self.0.get("roles").and_then(Value::as_array).into_iter().flatten();
        let roles: Vec<String> = roles.filter_map(Value::as_str).map(plain).collect();
        if roles.is_empty() { "-".into() } else { roles.join(", ") }
    }

    /// Where they stand.
    pub fn group(&self, asks: Asks) -> Group {
        match self.text("state") {
            "acknowledged" if !self.text("answer").is_empty() && self.text("answer") != OK => Group::Answered,
            "acknowledged" => Group::Done,
            "received" | "read" => match asks {
                Asks::ToConfirm => Group::NotConfirmed,
                Asks::Nothing => Group::Done,
            },
            "held" => Group::Held,
            "skipped" => Group::Skipped,
            "expired" => Group::Expired,
            "failed" => Group::Failed,
            "excluded" => Group::Excluded,
            _ if self.is_away() => Group::NotConnected,
            _ => Group::NotReceived,
        }
    }

    fn is_away(&self) -> bool {
        matches!(self.text("reason"), "no_session" | "offline_since") || self.time("since").is_some()
    }

    /// Why they are no further, and since when.
    pub fn why(&self, clock: &Clock) -> String {
        let mut text = self.reason(clock);
        if let Some(since) = self.time("since").filter(|_| self.text("reason") != "offline_since") {
            let _ = write!(text, ", no session since {}", clock.minute(since));
        }
        text
    }

    fn reason(&self, clock: &Clock) -> String {
        let at = self
            .time("at")
            .map(|at| format!(" {}", clock.second(at)))
            .unwrap_or_default();
        let until = |name: &str, word: &str| {
            let time = self.time(name).map(|time| format!(" {word} {}", clock.minute(time)));
            time.unwrap_or_default()
        };
        let late = if self.0.get("late") == Some(&Value::Bool(true)) {
            ", late"
        } else {
            ""
        };
        match (self.text("state"), self.text("reason")) {
            ("acknowledged", _) => match plain(self.text("answer")) {
                answer if answer.is_empty() || answer == OK => format!("confirmed{at}{late}"),
                answer => format!("said {answer}{at}{late}"),
            },
            (_, "offline_since") => format!("no session{}", until("since", "since")),
            (_, "no_session") => "no session so far".into(),
            (_, "quiet_hours") => format!("quiet hours{}", until("until", "until")),
            (_, "muted_category") => "mutes this category".into(),
            (_, "critical_only") => "takes critical ones only".into(),
            (_, "excluded") => "excluded".into(),
            (_, "expired") => "nothing went out in time".into(),
            (_, "sent_not_received") => format!("sent{at}, not received"),
            ("read", "not_acknowledged") => format!("read{at}, not confirmed"),
            (_, "not_acknowledged") => format!("received{at}, not confirmed"),
            ("read", _) => format!("read{at}"),
            (_, "received_not_read") | ("received", "") => format!("received{at}"),
            ("targeted", "") if self.time("until").is_some() => format!("their own time comes{}", until("until", "at")),
            (_, "") => "nothing sent yet".into(),
            (_, other) => plain(other).replace('_', " "),
        }
    }
}
