//! What the rules say to a publish, asked where it comes in, and how a no is told.
//!
//! The node that takes the request decides on the state that it has applied: it knows the settings, and a yes carries its caps
//! and what it rests on into the log, where apply looks at both again. A no may only mean that this node is a little behind (a
//! member was added elsewhere, the key was used elsewhere): it is asked again once this node has all that the leader has.

use super::access;
use super::context::Context;
use super::problem::{Code, Problem};
use super::publish::refusal;
use crate::model::{Caller, Draft, Millis, Rate, Scope};
use crate::state::State;
use crate::state::broadcasts::Hot;
use crate::state::command::Key;
use crate::state::keys::Known;
use crate::state::rates::Window;
use crate::state::rights::{Denied, Grant, Question};
use http::{HeaderName, HeaderValue};
use std::fmt::Write;
use std::time::{Duration, Instant};

/// A draft, and the body that it was read from: what is wrong is pointed to there.
#[derive(Clone, Copy)]
pub struct Written<'a> {
    pub draft: &'a Draft,
    pub body: &'a [u8],
}

/// The verdict on a publish. One that is only repeated is not judged again: its first answer stands.
pub async fn grant(
    context: &Context,
    caller: &Caller,
    written: Written<'_>,
    key: Option<&Key>,
    deadline: Instant,
) -> Result<Grant, Problem> {
    let at = context.handle.log_time();
    let look = |state: &State| {
        if key.is_some_and(|key| !matches!(state.keys().look(key), Known::No)) {
            return Ok(Grant::default());
        }
        state.judge(&Question {
            rules: &context.rules,
            caller,
            draft: written.draft,
            at,
        })
    };
    let mut verdict = context.handle.read(look);
    if verdict.as_ref().is_err_and(Denied::depends_on_state) {
        context
            .handle
            .linearizable(deadline)
            .await
            .map_err(|error| Problem::of_publish(&error))?;
        verdict = context.handle.read(look);
    }
    verdict.map_err(|denied| problem(context, caller, written, &denied, at))
}

/// Whether the caller may call a broadcast off, or put another in its place: its sender may, and whoever might have sent it.
pub async fn may_call_off(context: &Context, caller: &Caller, hot: &Hot, deadline: Instant) -> Result<(), Problem> {
    let broadcast = &hot.broadcast;
    if caller.may(Scope::Admin) || access::sender(caller) == broadcast.sender {
        return Ok(());
    }
    let at = context.handle.log_time();
    let look = |state: &State| {
        state.may_call_off(&Question {
            rules: &context.rules,
            caller,
            draft: &broadcast.draft,
            at,
        })
    };
    let mut verdict = context.handle.read(look);
    if verdict.as_ref().is_err_and(Denied::depends_on_state) {
        context.handle.linearizable(deadline).await?;
        verdict = context.handle.read(look);
    }
    let written = Written {
        draft: &broadcast.draft,
        body: b"{}",
    };
    verdict.map_err(|denied| problem(context, caller, written, &denied, at))
}

fn problem(context: &Context, caller: &Caller, written: Written<'_>, denied: &Denied, at: Millis) -> Problem {
    let code = match denied {
        Denied::State(refused) => {
            let rate = context.rules.rates.rate(caller, written.draft);
            return refusal(context, refused, written.body, rate.as_ref(), at);
        }
        Denied::CriticalType(_) => {
            return Problem::fault("/priority", Code::CriticalTypeNotAllowed, denied.to_string());
        }
        Denied::EventDay { .. } => Code::EventDayLock,
        Denied::CrossEvent(_) => Code::CrossEventTarget,
        Denied::Type { .. } => Code::ForbiddenTypeForRole,
    };
    Problem::new(code, denied.to_string())
}

/// What a sender has left, as the two headers that say so.
pub fn rate_headers(context: &Context, rate: &Rate, at: Millis) -> [(HeaderName, HeaderValue); 2] {
    headers(&context.handle.read(|state| state.rates().look(rate, at)))
}

fn headers(windows: &[Window]) -> [(HeaderName, HeaderValue); 2] {
    let (mut policy, mut left) = (String::new(), String::new());
    for Window {
        length,
        max,
        left: more,
        more_after,
    } in windows
    {
        let seconds = length / 1000;
        let name = if seconds == 3600 { "hour" } else { "day" };
        let comma = if policy.is_empty() { "" } else { ", " };
        let wait = Duration::from_millis(*more_after as u64).as_millis().div_ceil(1000);
        // writing to a text does not fail
        let _ = write!(policy, "{comma}\"{name}\";q={max};w={seconds}");
        let _ = write!(left, "{comma}\"{name}\";r={more};t={wait}");
    }
    let value = |text: String| HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
    [
        (HeaderName::from_static("ratelimit-policy"), value(policy)),
        (HeaderName::from_static("ratelimit"), value(left)),
    ]
}

#[cfg(test)]
mod tests {
    use super::{Window, headers};

    #[test]
    fn what_is_left_is_told_by_window() {
        let window = |length, max, left, more_after| Window {
            length,
            max,
            left,
            more_after,
        };
        let told = headers(&[window(3_600_000, 10, 3, 1_001), window(86_400_000, 50, 43, 0)]);
        let told = told.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
        assert_eq!(
            told,
            [
                r#"ratelimit-policy: "hour";q=10;w=3600, "day";q=50;w=86400"#,
                r#"ratelimit: "hour";r=3;t=2, "day";r=43;t=0"#,
            ]
        );
    }
}
