//! How long a session may stay: until its token ends or is revoked. One mark for each token, shared by all sessions that came
//! with it, so that a revocation reaches those too that are still on their way to a worker.

use crate::model::Millis;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::{Arc, Weak};

/// Marks of sessions that are gone are swept out when there are this many, and again at twice what is left.
const SWEPT_AT_LEAST: usize = 256;

/// What a session was let in with.
#[derive(Clone, Debug)]
pub struct Pass {
    revoked: Arc<AtomicBool>,
    /// Log time; `None`: the token has no end.
    until: Option<Millis>,
}

impl Pass {
    pub fn holds(&self, now: Millis) -> bool {
        !self.revoked.load(Acquire) && self.until.is_none_or(|until| now < until)
    }
}

/// The marks in use, by the tokens' ids.
#[derive(Debug)]
pub struct Passes(Mutex<Marks>);

#[derive(Debug)]
struct Marks {
    by_token: HashMap<String, Weak<AtomicBool>>,
    sweep_at: usize,
}

impl Default for Passes {
    fn default() -> Self {
        Self(Mutex::new(Marks {
            by_token: HashMap::new(),
            sweep_at: SWEPT_AT_LEAST,
        }))
    }
}

impl Passes {
    /// A pass for a session of this token. Look at the token once more after this: a revocation from now on marks the pass.
    pub fn issue(&self, token: &str, until: Option<Millis>) -> Pass {
        let mut marks = self.0.lock();
        let known = marks.by_token.get(token).and_then(Weak::upgrade);
        let revoked = known.unwrap_or_else(|| {
            let mark = Arc::new(AtomicBool::new(false));
            marks.by_token.insert(token.to_owned(), Arc::downgrade(&mark));
            mark
        });
        if marks.by_token.len() >= marks.sweep_at {
            marks.by_token.retain(|_, mark| mark.strong_count() > 0);
            marks.sweep_at = (marks.by_token.len() * 2).max(SWEPT_AT_LEAST);
        }
        Pass { revoked, until }
    }

    /// Marks the passes of every token that `is_over`; whether there were any.
    pub fn revoke(&self, is_over: impl Fn(&str) -> bool) -> bool {
        let mut marks = self.0.lock();
        let before = marks.by_token.len();
        marks.by_token.retain(|token, mark| {
            let over = is_over(token);
            if over && let Some(mark) = mark.upgrade() {
                mark.store(true, Release);
            }
            !over
        });
        marks.by_token.len() < before
    }
}

#[cfg(test)]
mod tests {
    use super::{Passes, SWEPT_AT_LEAST};

    #[test]
    fn a_pass_holds_until_its_end_or_its_tokens() {
        let passes = Passes::default();
        let (first, second) = (passes.issue("t-1", Some(10)), passes.issue("t-1", None));
        let other = passes.issue("t-2", None);
        assert!(first.holds(9) && !first.holds(10) && second.holds(10));
        assert!(passes.revoke(|token| token == "t-1"));
        assert!(!first.holds(9) && !second.holds(9) && other.holds(9));
        assert!(!passes.revoke(|token| token == "t-1"));
        assert!(
            passes.issue("t-1", None).holds(9),
            "a mark is for those who came before"
        );
    }

    #[test]
    fn marks_without_sessions_are_swept_out() {
        let passes = Passes::default();
        let kept = passes.issue("kept", None);
        for number in 0..3 * SWEPT_AT_LEAST {
            passes.issue(&format!("t-{number}"), None);
        }
        assert!(passes.0.lock().by_token.len() <= SWEPT_AT_LEAST);
        passes.revoke(|token| token == "kept");
        assert!(!kept.holds(0));
    }
}
