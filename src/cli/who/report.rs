//! Who is how far with a broadcast, grouped by what to do about them.

use super::options::State;
use super::person::{Asks, Person};
use super::sheet;
use crate::cli::output::plain;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// What to do about somebody, the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// Confirmed with something other than ok.
    Answered,
    NotConnected,
    NotReceived,
    NotConfirmed,
    Held,
    Skipped,
    Expired,
    Failed,
    Excluded,
    Done,
}

impl Group {
    pub const ALL: [Self; 10] = [
        Self::Answered,
        Self::NotConnected,
        Self::NotReceived,
        Self::NotConfirmed,
        Self::Held,
        Self::Skipped,
        Self::Expired,
        Self::Failed,
        Self::Excluded,
        Self::Done,
    ];

    /// For programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::NotConnected => "not_connected",
            Self::NotReceived => "not_received",
            Self::NotConfirmed => "not_confirmed",
            Self::Held => "held",
            Self::Skipped => "skipped",
            Self::Expired => "expired",
            Self::Failed => "failed",
            Self::Excluded => "excluded",
            Self::Done => "done",
        }
    }

    /// For people.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Answered => "said something other than ok",
            Self::NotConnected => "not connected",
            Self::NotReceived => "connected, not received",
            Self::NotConfirmed => "received, not confirmed",
            Self::Held => "held by quiet hours",
            Self::Skipped => "skipped by their own preferences",
            Self::Expired => "expired before they were done",
            Self::Failed => "failed",
            Self::Excluded => "excluded by the sender",
            Self::Done => "done",
        }
    }

    /// Whether it is still for somebody to do something.
    const fn waits(self) -> bool {
        match self {
            Self::NotConnected | Self::NotReceived | Self::NotConfirmed | Self::Held | Self::Expired | Self::Failed => {
                true
            }
            Self::Answered | Self::Skipped | Self::Excluded | Self::Done => false,
        }
    }

    /// Whether the broadcast is for these people at all.
    const fn is_meant(self) -> bool {
        match self {
            Self::Skipped | Self::Excluded => false,
            Self::Answered
            | Self::NotConnected
            | Self::NotReceived
            | Self::NotConfirmed
            | Self::Held
            | Self::Expired
            | Self::Failed
            | Self::Done => true,
        }
    }
}

/// Whom to name.
#[derive(Debug)]
pub enum Named {
    NotDone,
    All,
    In(Vec<State>),
}

impl Named {
    fn names(&self, group: Group, person: &Person) -> bool {
        match self {
            Self::NotDone => group != Group::Done,
            Self::All => true,
            Self::In(states) => states.iter().any(|state| state.name() == person.text("state")),
        }
    }
}

/// A broadcast and its people, in the order in which they want attention: by group, role and name.
#[derive(Debug)]
pub struct Report {
    broadcast: Value,
    asks: Asks,
    people: Vec<(Group, Person)>,
    /// A drill's.
    sheet: Option<Value>,
}

impl Report {
    /// From what the API says of a broadcast and of each recipient.
    pub fn of(broadcast: Value, items: Vec<Value>) -> Self {
        let is_asked = broadcast.get("acknowledge").is_some_and(|asked| !asked.is_null());
        let asks = if is_asked { Asks::ToConfirm } else { Asks::Nothing };
        let people = items.into_iter().map(Person);
        let mut people: Vec<_> = people.map(|person| (person.group(asks), person)).collect();
        people.sort_by_cached_key(|(group, person)| (*group, person.roles(), person.text("user").to_owned()));
        Self {
            broadcast,
            asks,
            people,
            sheet: None,
        }
    }

    #[must_use]
    pub fn with_sheet(mut self, sheet: Value) -> Self {
        self.sheet = Some(sheet);
        self
    }

    /// The sheet of a drill, in words.
    pub fn sheet(&self) -> Vec<String> {
        self.sheet.as_ref().map(sheet::lines).unwrap_or_default()
    }

    pub fn broadcast(&self) -> &Value {
        &self.broadcast
    }

    /// A text of the broadcast; empty where there is none.
    pub fn text(&self, name: &str) -> &str {
        self.broadcast.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    pub fn is_drill(&self) -> bool {
        self.broadcast.get("drill") == Some(&Value::Bool(true))
    }

    /// Each group that has somebody to name.
    pub fn groups(&self, named: &Named) -> Vec<(Group, Vec<&Person>)> {
        let each = Group::ALL.into_iter().map(|group| {
            let inside = self
                .people
                .iter()
                .filter(|(of, person)| *of == group && named.names(group, person));
            (group, inside.map(|(_, person)| person).collect::<Vec<_>>())
        });
        each.filter(|(_, people)| !people.is_empty()).collect()
    }

    fn count(&self, holds: impl Fn(Group) -> bool) -> usize {
        self.people.iter().filter(|(group, _)| holds(*group)).count()
    }

    /// Who is not done yet.
    pub fn waiting(&self) -> usize {
        self.count(Group::waits)
    }

    /// For how many it is: all but those whom their preferences skip.
    pub fn meant(&self) -> usize {
        self.count(Group::is_meant)
    }

    /// Who confirmed with something other than ok.
    pub fn answered(&self) -> usize {
        self.count(|group| group == Group::Answered)
    }

    /// Everybody is done and nobody wants anything: the exit code's question.
    pub fn is_settled(&self) -> bool {
        !self.is_scheduled() && self.waiting() == 0 && self.answered() == 0
    }

    pub fn is_scheduled(&self) -> bool {
        self.text("status") == "scheduled"
    }

    /// Nothing more is to be waited for.
    pub fn is_over(&self) -> bool {
        let is_ended = matches!(self.text("status"), "expired" | "cancelled");
        is_ended || !self.is_scheduled() && self.waiting() == 0
    }

    /// `31 of 237 have not confirmed (12 not connected, 19 received, not confirmed); 2 said something other than ok`
    pub fn totals(&self) -> String {
        let (waiting, meant) = (self.waiting(), self.meant());
        let done = match self.asks {
            Asks::ToConfirm => "confirmed",
            Asks::Nothing => "received it",
        };
        if self.is_scheduled() {
            return "it has not gone out yet".into();
        }
        if meant == 0 {
            return "it is for nobody".into();
        }
        let mut text = match waiting {
            0 => format!("all {meant} have {done}"),
            1 => format!("1 of {meant} has not {done}"),
            _ => format!("{waiting} of {meant} have not {done}"),
        };
        let waits = Group::ALL.into_iter().filter(|group| group.waits());
        let each = waits.map(|group| (group, self.count(|of| of == group)));
        let each = each.filter(|(_, count)| *count > 0);
        let each: Vec<String> = each
            .map(|(group, count)| format!("{count} {}", group.title()))
            .collect();
        if !each.is_empty() {
            let _ = write!(text, " ({})", each.join("; "));
        }
        if self.answered() > 0 {
            let _ = write!(text, "; {} said something other than ok", self.answered());
        }
        text
    }

    /// `needed: security 1 of 2; coordinator 1 of 1, enough`; `None` where everybody has to confirm.
    pub fn needs(&self) -> Option<String> {
        let needs = self.broadcast.get("needs")?.as_array()?;
        let number = |need: &Value, name: &str| need.get(name).and_then(Value::as_u64).unwrap_or_default();
        let each = needs.iter().map(|need| {
            let role = need.get("role").and_then(Value::as_str).unwrap_or_default();
            let is_met = need.get("met") == Some(&Value::Bool(true));
            let (confirmed, count) = (number(need, "confirmed"), number(need, "count"));
            format!(
                "{} {confirmed} of {count}{}",
                plain(role),
                if is_met { ", enough" } else { "" }
            )
        });
        let each: Vec<String> = each.collect();
        (!each.is_empty()).then(|| format!("needed: {}", each.join("; ")))
    }

    /// One value for programs; people stand in it as the API names them.
    pub fn json(&self, named: &Named) -> Value {
        let groups = self.groups(named).into_iter().map(|(group, people)| {
            let people: Vec<&Value> = people.into_iter().map(|person| &person.0).collect();
            json!({"group": group.name(), "people": people})
        });
        let mut shown = json!({
            "id": self.text("id"), "title": self.text("title"), "status": self.text("status"), "drill": self.is_drill(),
            "meant": self.meant(), "waiting": self.waiting(), "answered": self.answered(), "settled": self.is_settled(),
            "groups": groups.collect::<Vec<_>>(),
        });
        if let Some(needs) = self.broadcast.get("needs") {
            shown["needs"] = needs.clone();
        }
        if let Some(sheet) = &self.sheet {
            shown["sheet"] = sheet.clone();
        }
        shown
    }
}

#[cfg(test)]
mod tests;
