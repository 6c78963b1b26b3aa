//! The receipt ladder, and why somebody was not reached.

use serde::{Deserialize, Serialize};

/// A recipient's step; each implies the ones before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    Sent,
    Received,
    Read,
    Acknowledged,
}

impl Step {
    pub const ALL: [Self; 4] = [Self::Sent, Self::Received, Self::Read, Self::Acknowledged];

    pub const fn index(self) -> usize {
        self as usize
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Received => "received",
            Self::Read => "read",
            Self::Acknowledged => "acknowledged",
        }
    }
}

/// Why a recipient's step is no further: a closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    NoSession,
    OfflineSince,
    QuietHours,
    MutedCategory,
    CriticalOnly,
    Expired,
    WriteFailed,
    SentNotReceived,
    ReceivedNotRead,
    NotAcknowledged,
    Excluded,
}

impl Reason {
    pub const ALL: [Self; 11] = [
        Self::NoSession,
        Self::OfflineSince,
        Self::QuietHours,
        Self::MutedCategory,
        Self::CriticalOnly,
        Self::Expired,
        Self::WriteFailed,
        Self::SentNotReceived,
        Self::ReceivedNotRead,
        Self::NotAcknowledged,
        Self::Excluded,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::NoSession => "no_session",
            Self::OfflineSince => "offline_since",
            Self::QuietHours => "quiet_hours",
            Self::MutedCategory => "muted_category",
            Self::CriticalOnly => "critical_only",
            Self::Expired => "expired",
            Self::WriteFailed => "write_failed",
            Self::SentNotReceived => "sent_not_received",
            Self::ReceivedNotRead => "received_not_read",
            Self::NotAcknowledged => "not_acknowledged",
            Self::Excluded => "excluded",
        }
    }
}
