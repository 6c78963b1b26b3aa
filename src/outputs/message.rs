//! What an output is told.

use crate::model::{Millis, Priority};
use serde_json::Value;
use std::borrow::Cow;

/// One message; every attempt to send it sends the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// The same at every attempt: receivers drop an id that they have had. Visible ASCII letters.
    pub id: String,
    /// When it happened, not when it is sent.
    pub at: Millis,
    /// What happened, like `broadcast.escalated`.
    pub kind: String,
    /// One sentence for people.
    pub summary: String,
    pub priority: Priority,
    /// An exercise.
    pub drill: bool,
    /// What belongs together: the broadcast's id, or the alert's name.
    pub group: String,
    pub turn: Turn,
    /// Details for programs.
    pub data: Value,
}

/// Whether what belongs together begins or goes on with this, or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    Begins,
    Ends,
}

impl Message {
    /// The summary; an exercise says so before anything else.
    pub(super) fn headline(&self) -> Cow<'_, str> {
        if self.drill {
            Cow::Owned(format!("DRILL: {}", self.summary))
        } else {
            Cow::Borrowed(&self.summary)
        }
    }
}

/// At most `letters_max` letters, with `…` where something is missing.
pub(super) fn cut(text: &str, letters_max: usize) -> Cow<'_, str> {
    if text.chars().count() <= letters_max {
        return Cow::Borrowed(text);
    }
    let mut kept: String = text.chars().take(letters_max.saturating_sub(1)).collect();
    kept.push('…');
    Cow::Owned(kept)
}

#[cfg(test)]
pub(super) mod tests {
    use super::{Message, Turn, cut};
    use crate::model::Priority;
    use serde_json::json;

    /// What the golden tests of all shapes send.
    pub fn escalated() -> Message {
        Message {
            id: "out-01J8ZB-1".into(),
            at: 1_813_437_720_250,
            kind: "broadcast.escalated".into(),
            summary: "3 of <security> & venue_ops have not confirmed \"Go inside now\"".into(),
            priority: Priority::Critical,
            drill: false,
            group: "01J8ZB".into(),
            turn: Turn::Begins,
            data: json!({"step": 1, "missing": ["u-1", "u-2", "u-3"]}),
        }
    }

    pub fn drill() -> Message {
        Message {
            priority: Priority::Normal,
            drill: true,
            ..escalated()
        }
    }

    #[test]
    fn a_drill_says_so_first() {
        assert!(drill().headline().starts_with("DRILL: 3 of"));
        assert!(escalated().headline().starts_with("3 of"));
    }

    #[test]
    fn a_long_text_is_cut_between_letters() {
        assert_eq!(cut("wedding", 7), "wedding");
        assert_eq!(cut("wedding", 6), "weddi…");
        assert_eq!(cut("ééé", 2), "é…");
    }
}
