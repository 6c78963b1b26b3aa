//! How far one person is with a broadcast, and why no further, in the words of the API.
//!
//! One decision for whoever is looked at after a publish, and for whoever would be reached by one.

use crate::model::{Millis, Reason, Step};

/// The ladder and what stands beside it.
pub const STATES: [&str; 10] = [
    TARGETED,
    "sent",
    "received",
    "read",
    "acknowledged",
    HELD,
    SKIPPED,
    EXPIRED,
    FAILED,
    EXCLUDED,
];

const TARGETED: &str = "targeted";
const HELD: &str = "held";
const SKIPPED: &str = "skipped";
const EXPIRED: &str = "expired";
const FAILED: &str = "failed";
const EXCLUDED: &str = "excluded";

/// What is known of somebody and a broadcast.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    /// The last step that they took.
    pub step: Option<Step>,
    /// Why they are held or skipped.
    pub beside: Option<Reason>,
    /// The local time that the sender wished has still to come where they are.
    pub has_time_ahead: bool,
    /// People are to confirm it.
    pub asks: bool,
    /// They were written to as often as it is allowed, promised to say so, and did not.
    pub has_failed: bool,
    /// Why they are a dead letter: it was decided when it expired.
    pub dead: Option<Reason>,
    /// It was over before they were done.
    pub is_expired: bool,
    /// It was called off.
    pub is_off: bool,
    pub is_excluded: bool,
    pub is_connected: bool,
    /// When their last session ended.
    pub gone_since: Option<Millis>,
}

impl Known {
    pub fn state(&self) -> &'static str {
        match self.step {
            _ if self.is_excluded => EXCLUDED,
            _ if self.has_failed => FAILED,
            None if self.beside.is_some_and(|reason| reason != Reason::QuietHours) => SKIPPED,
            _ if self.is_expired => EXPIRED,
            None if self.beside.is_some() && !self.is_off => HELD,
            Some(step) => step.name(),
            None => TARGETED,
        }
    }

    /// Why somebody is no further; `None` for who is done, or who has just not had the time yet.
    pub fn reason(&self) -> Option<Reason> {
        match self.step {
            _ if self.is_excluded => Some(Reason::Excluded),
            _ if self.dead.is_some() => self.dead,
            Some(Step::Received | Step::Read) if self.asks => Some(Reason::NotAcknowledged),
            Some(Step::Acknowledged | Step::Read) => None,
            Some(Step::Received) => Some(Reason::ReceivedNotRead),
            Some(Step::Sent) => Some(Reason::SentNotReceived),
            None if self.beside.is_some() => self.beside,
            None if self.has_time_ahead => self.is_expired.then_some(Reason::Expired),
            None if !self.is_connected && self.gone_since.is_some() => Some(Reason::OfflineSince),
            None if !self.is_connected => Some(Reason::NoSession),
            None => self.is_expired.then_some(Reason::Expired),
        }
    }

    /// Since when somebody who is not done has no session any more: what was sent before may never have been seen.
    pub fn since(&self) -> Option<Millis> {
        self.gone_since.filter(|_| !self.is_connected && !self.is_done())
    }

    fn is_done(&self) -> bool {
        self.step >= Some(if self.asks { Step::Acknowledged } else { Step::Received })
    }
}

#[cfg(test)]
mod tests {
    use super::{Known, STATES};
    use crate::model::{Reason, Step};

    fn asked(step: Step) -> Known {
        Known {
            step: Some(step),
            asks: true,
            is_connected: true,
            ..Known::default()
        }
    }

    fn told(step: Step) -> Known {
        Known {
            asks: false,
            ..asked(step)
        }
    }

    /// Meant, and nothing was written to them.
    fn waiting() -> Known {
        Known::default()
    }

    #[track_caller]
    fn check(known: Known, state: &str, reason: Option<Reason>) {
        assert_eq!((known.state(), known.reason()), (state, reason), "{known:?}");
        assert!(STATES.contains(&state));
    }

    #[test]
    fn everybody_who_is_not_done_has_a_reason() {
        let gone = Known {
            gone_since: Some(1),
            ..waiting()
        };
        let there = Known {
            is_connected: true,
            ..waiting()
        };
        check(waiting(), "targeted", Some(Reason::NoSession));
        check(gone, "targeted", Some(Reason::OfflineSince));
        check(there, "targeted", None);
        check(told(Step::Sent), "sent", Some(Reason::SentNotReceived));
        check(told(Step::Received), "received", Some(Reason::ReceivedNotRead));
        check(told(Step::Read), "read", None);
        check(asked(Step::Received), "received", Some(Reason::NotAcknowledged));
        check(asked(Step::Read), "read", Some(Reason::NotAcknowledged));
        check(asked(Step::Acknowledged), "acknowledged", None);
    }

    #[test]
    fn what_is_over_off_or_not_for_them_is_told() {
        let over = |known| Known {
            is_expired: true,
            ..known
        };
        let off = |known| Known { is_off: true, ..known };
        let beside = |reason| Known {
            beside: Some(reason),
            ..waiting()
        };
        let there = Known {
            is_connected: true,
            ..waiting()
        };
        check(over(there), "expired", Some(Reason::Expired));
        check(over(asked(Step::Sent)), "expired", Some(Reason::SentNotReceived));
        check(beside(Reason::QuietHours), "held", Some(Reason::QuietHours));
        check(off(beside(Reason::QuietHours)), "targeted", Some(Reason::QuietHours));
        check(over(beside(Reason::QuietHours)), "expired", Some(Reason::QuietHours));
        check(
            over(beside(Reason::MutedCategory)),
            "skipped",
            Some(Reason::MutedCategory),
        );
        check(beside(Reason::CriticalOnly), "skipped", Some(Reason::CriticalOnly));
        let early = Known {
            has_time_ahead: true,
            ..waiting()
        };
        check(early, "targeted", None);
        check(off(early), "targeted", None);
        check(over(early), "expired", Some(Reason::Expired));
        let excluded = Known {
            is_excluded: true,
            ..waiting()
        };
        check(excluded, "excluded", Some(Reason::Excluded));
    }

    #[test]
    fn who_left_before_they_were_done_is_known() {
        let left = |known| Known {
            is_connected: false,
            gone_since: Some(7),
            ..known
        };
        for known in [waiting(), asked(Step::Sent), asked(Step::Read), told(Step::Sent)] {
            assert_eq!(left(known).since(), Some(7), "{known:?}");
        }
        for known in [asked(Step::Acknowledged), told(Step::Received)] {
            assert_eq!(left(known).since(), None, "{known:?}");
        }
        assert_eq!(asked(Step::Sent).since(), None);
    }
}
