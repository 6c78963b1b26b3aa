//! The settings that rights follow from: who may send what, what may be critical, and how often. They are the same on every
//! node by agreement, not by the log: whoever decides with them is handed them.

use super::audience::NOT_STAFF_ROLES;
use super::caller::{ADMINISTRATOR, Caller};
use super::kinds::Kinds;
use super::{Draft, Priority};
use serde::{Deserialize, Serialize};

/// The role whose caps `rates.coordinators` multiplies.
pub const COORDINATOR: &str = "coordinator";
/// Stands in the table for every role but those of guests and couples.
const STAFF: &str = "staff";
/// News about the product itself, which no event wants to hear.
const PRODUCT_NEWS: [&str; 3] = ["maintenance.", "feature.", "tier."];

/// How far a sender reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// The weddings that the sender belongs to, and their venues.
    Own,
    /// The sender's venue, and the weddings held there.
    Venue,
    Any,
}

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sender {
    pub roles: Vec<String>,
    pub types: Vec<Kinds>,
    /// The most urgent priority.
    pub up_to: Priority,
    #[serde(rename = "scope")]
    pub reach: Reach,
}

impl Sender {
    fn names(&self, role: &str) -> bool {
        let is_staff = || !role.is_empty() && !NOT_STAFF_ROLES.contains(&role);
        self.roles
            .iter()
            .any(|named| named == role || (named == STAFF && is_staff()))
    }

    fn has(&self, kind: &str) -> bool {
        self.types.iter().any(|types| types.match_kind(kind))
    }
}

/// Who may send what. The first line that names the role and the type decides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Senders {
    #[serde(default)]
    sender: Vec<Sender>,
}

impl Senders {
    pub fn is_empty(&self) -> bool {
        self.sender.is_empty()
    }

    /// The line that decides about a type sent by a role.
    pub fn find(&self, role: &str, kind: &str) -> Option<&Sender> {
        self.sender.iter().find(|sender| sender.names(role) && sender.has(kind))
    }

    /// How far a role reaches with a type. Where no line decides, it is the furthest that the role reaches with any type, so
    /// that a type which is not theirs is told apart from a target which is not.
    pub fn reach(&self, role: &str, kind: &str) -> Reach {
        let decides = self.find(role, kind).map(|sender| sender.reach);
        let mut all = self.sender.iter().filter(|sender| sender.names(role));
        let furthest = || all.by_ref().map(|sender| sender.reach).max();
        decides.or_else(furthest).unwrap_or(Reach::Own)
    }
}

/// How many broadcasts one sender may send within an hour and within a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TypeRate {
    pub types: Kinds,
    pub hour: u32,
    pub day: u32,
}

/// Rate caps per sender.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateRules {
    pub enabled: bool,
    /// Broadcasts of one sender within any hour.
    pub hour: u32,
    /// Broadcasts of one sender within any day.
    pub day: u32,
    /// Administrators may send this many times as many.
    pub administrators: u32,
    /// Coordinators may send this many times as many.
    pub coordinators: u32,
    /// Caps of their own, counted by themselves; the first pattern that matches counts.
    pub types: Vec<TypeRate>,
}

impl Default for RateRules {
    fn default() -> Self {
        Self {
            enabled: true,
            hour: 10,
            day: 50,
            administrators: 3,
            coordinators: 2,
            types: Vec::new(),
        }
    }
}

/// What a publish counts towards: whose count, and its caps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// The sender, and the pattern of types where it has caps of its own.
    pub sender: String,
    pub hour_max: u32,
    pub day_max: u32,
}

impl Rate {
    /// How the names of a user's counts begin. No id has a line end in it.
    pub fn of_user(user: &str) -> String {
        format!("user\n{user}\n")
    }
}

impl RateRules {
    /// `None` for what is never limited: critical broadcasts, drills, and callers whom nobody asked who they are.
    pub fn rate(&self, caller: &Caller, draft: &Draft) -> Option<Rate> {
        let name = caller.name().filter(|_| !caller.is_unlimited())?;
        if !self.enabled || draft.drill || draft.priority == Priority::Critical {
            return None;
        }
        let own = self.types.iter().find(|rate| rate.types.match_kind(&draft.kind));
        let (hour, day) = own.map_or((self.hour, self.day), |own| (own.hour, own.day));
        let factor = match caller.role.as_str() {
            ADMINISTRATOR => self.administrators,
            COORDINATOR => self.coordinators,
            _ => 1,
        };
        let mut sender = match &caller.user {
            Some(user) => Rate::of_user(user),
            None => format!("token\n{name}\n"),
        };
        sender.push_str(own.map_or("", |own| own.types.text()));
        Some(Rate {
            sender,
            hour_max: hour.saturating_mul(factor),
            day_max: day.saturating_mul(factor),
        })
    }
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    pub senders: Senders,
    /// Only these types may be critical: a word that is used every day wakes nobody.
    pub critical: Vec<Kinds>,
    pub rates: RateRules,
}

impl Rules {
    pub fn may_be_critical(&self, kind: &str) -> bool {
        self.critical.iter().any(|types| types.match_kind(kind))
    }
}

/// Whether a type is news about the product, which waits while an event is on.
pub fn is_product_news(kind: &str) -> bool {
    PRODUCT_NEWS.iter().any(|start| kind.starts_with(start))
}
