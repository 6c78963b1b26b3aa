//! Users, weddings, venues, members and segments, as the directory is told of them.

use super::Millis;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Where one can be a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlaceKind {
    Wedding,
    Venue,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    pub kind: PlaceKind,
    pub id: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    pub id: String,
    /// The profile role; may be empty.
    pub role: String,
    pub tier: String,
    pub locale: String,
    /// IANA name.
    pub timezone: String,
    /// Free attributes, sorted by name.
    pub attributes: Vec<(String, String)>,
}

impl User {
    /// On the smallest plan, in English, at UTC.
    pub fn bare(id: impl Into<String>, role: &str) -> Self {
        Self {
            id: id.into(),
            role: role.into(),
            tier: "starter".into(),
            locale: "en".into(),
            timezone: "UTC".into(),
            attributes: Vec::new(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeddingStatus {
    Planned,
    Active,
    Completed,
    Cancelled,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wedding {
    pub id: String,
    pub name: String,
    /// The venue's id; a wedding may have none yet.
    pub venue: Option<String>,
    pub timezone: String,
    pub starts_at: Millis,
    pub ends_at: Millis,
    pub guests_expected: u32,
    pub status: WeddingStatus,
}

/// The event window opens this long before the start ...
pub const WINDOW_BEFORE: Millis = 12 * 3_600_000;
/// ... and closes this long after the end.
pub const WINDOW_AFTER: Millis = 6 * 3_600_000;

impl Wedding {
    pub fn window_is_open(&self, at: Millis) -> bool {
        self.status != WeddingStatus::Cancelled
            && at >= self.starts_at - WINDOW_BEFORE
            && at <= self.ends_at + WINDOW_AFTER
    }
}

/// A position is kept in millionths of a degree: whole numbers compare alike on every node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Venue {
    pub id: String,
    pub name: String,
    pub timezone: String,
    pub latitude_micro: Option<i32>,
    pub longitude_micro: Option<i32>,
}

/// A named rule over users: every key that is given must hold (AND), any of its values (OR).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    pub name: String,
    pub roles: Vec<String>,
    pub tiers: Vec<String>,
    /// Attribute name and the values that match.
    pub attributes: Vec<(String, Vec<String>)>,
    /// Members of a wedding with one of these statuses ...
    pub wedding_status: Vec<WeddingStatus>,
    /// ... and a start within this many days from now.
    pub wedding_within_days: Option<u32>,
}

/// What a recipient allows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preferences {
    pub muted_categories: Vec<String>,
    pub critical_only: bool,
    pub quiet_hours: Option<QuietHours>,
    pub channels: Vec<String>,
}

/// When a recipient wants to be left alone: from `start` to `end` on the clocks of a zone, over midnight if `end` is before `start`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct QuietHours {
    pub start: TimeOfDay,
    pub end: TimeOfDay,
    /// IANA name.
    pub timezone: String,
}

/// What a clock on the wall shows: `00:00` to `23:59`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TimeOfDay {
    /// Minutes since midnight.
    minutes: u16,
}

impl TimeOfDay {
    /// Reads `HH:MM`, two digits each.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = |text: &str, below: u16| {
            let two = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|number: &u16| two && *number < below)
        };
        let (hour, minute) = text.split_once(':')?;
        Some(Self {
            minutes: digits(hour, 24)? * 60 + digits(minute, 60)?,
        })
    }

    /// Milliseconds since midnight.
    pub fn millis(self) -> Millis {
        Millis::from(self.minutes) * 60_000
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.minutes / 60, self.minutes % 60)
    }
}
