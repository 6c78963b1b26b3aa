//! What an answer means: taken, never, or again later. Pure: the time is an argument.

use super::breaker::End;
use crate::base::clock::{Millis, parse_http_date};
use crate::net::{OutboundError, Reply};
use std::time::Duration;

/// `Retry-After` is believed up to this many times the longest wait between attempts.
pub const RETRY_AFTER_FACTOR: u32 = 10;

/// Why a message was not taken. Hosts may be named in it, paths and secrets never.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Failure {
    pub detail: String,
    /// Not before this, whatever the wait between attempts would be.
    pub retry_after: Option<Duration>,
    /// Another attempt would end alike.
    pub is_final: bool,
}

impl Failure {
    /// Another attempt may end better, though not before `retry_after`.
    pub fn again(detail: impl Into<String>, retry_after: Option<Duration>) -> Self {
        Self {
            detail: detail.into(),
            retry_after,
            is_final: false,
        }
    }

    /// It always ends like this.
    pub fn never(detail: impl Into<String>) -> Self {
        Self {
            detail: detail.into(),
            retry_after: None,
            is_final: true,
        }
    }
}

/// What one attempt came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// As the metric names it: one word of a closed set.
    pub result: &'static str,
    pub end: End,
    pub outcome: Result<(), Failure>,
}

/// `longest` is the longest wait between attempts.
pub(super) fn judge(reply: &Reply, now: Millis, longest: Duration) -> Verdict {
    let status = reply.status;
    let (end, outcome) = match status {
        200..=299 => (End::Alive, Ok(())),
        300..=399 => {
            let detail = format!("it answered {status}; redirects are not followed");
            (End::Failed, Err(Failure::again(detail, None)))
        }
        410 => (End::Alive, Err(Failure::never("it answered 410: it is gone"))),
        429 | 503 => {
            let wait = reply.retry_after.as_deref().and_then(|text| retry_after(text, now));
            let wait = wait.map(|wait| wait.min(longest * RETRY_AFTER_FACTOR));
            (End::Failed, Err(Failure::again(format!("it answered {status}"), wait)))
        }
        // It lives and does not want this message; others must not suffer from it.
        400..=407 | 409 | 411..=428 | 430..=499 => {
            (End::Alive, Err(Failure::again(format!("it answered {status}"), None)))
        }
        _ => (End::Failed, Err(Failure::again(format!("it answered {status}"), None))),
    };
    let result = match (&outcome, status) {
        (Ok(()), _) => "taken",
        (Err(_), 410) => "gone",
        (Err(_), _) => "refused",
    };
    Verdict { result, end, outcome }
}

/// The same for an attempt without an answer.
pub(super) fn judge_error(error: &OutboundError) -> Verdict {
    let result = match error {
        OutboundError::Unresolved { .. } | OutboundError::NoAddress { .. } => "unresolved",
        OutboundError::Forbidden { .. } => "forbidden",
        OutboundError::Unreachable { .. } => "unreachable",
        OutboundError::Tls { .. } => "tls",
        OutboundError::TooSlow { .. } => "slow",
        OutboundError::TooLarge { .. } | OutboundError::Broken { .. } => "broken",
    };
    Verdict {
        result,
        end: End::Failed,
        outcome: Err(Failure::again(error.to_string(), None)),
    }
}

/// Seconds, or a date (RFC 9110, 10.2.3).
fn retry_after(text: &str, now: Millis) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let left = parse_http_date(text)?.saturating_sub(now);
    Some(Duration::from_millis(u64::try_from(left).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::{Duration, End, Failure, Reply, Verdict, judge};

    const NOW: i64 = 784_111_777_000;

    fn verdict(status: u16, retry_after: &str) -> Verdict {
        let retry_after = Some(retry_after.to_owned()).filter(|text| !text.is_empty());
        judge(&Reply { status, retry_after }, NOW, Duration::from_secs(60))
    }

    #[test]
    fn a_status_is_taken_never_or_again() {
        let check = |status, result, end, is_final: Option<bool>| {
            let found = verdict(status, "");
            let found_final = found.outcome.err().map(|failure: Failure| failure.is_final);
            assert_eq!(
                (found.result, found.end, found_final),
                (result, end, is_final),
                "{status}"
            );
        };
        for status in [200, 201, 202, 204, 299] {
            check(status, "taken", End::Alive, None);
        }
        check(410, "gone", End::Alive, Some(true));
        for status in [400, 401, 403, 404, 409, 413, 422, 451] {
            check(status, "refused", End::Alive, Some(false));
        }
        for status in [101, 301, 302, 307, 308, 408, 429, 500, 502, 503, 504, 599, 600, 999] {
            check(status, "refused", End::Failed, Some(false));
        }
    }

    #[test]
    fn a_wait_is_believed_within_reason() {
        let check = |status, text: &str, expected: Option<u64>| {
            let failure = verdict(status, text).outcome.unwrap_err();
            assert_eq!(
                failure.retry_after,
                expected.map(Duration::from_secs),
                "{status} {text}"
            );
        };
        check(503, "", None);
        check(503, "7", Some(7));
        check(429, " 120 ", Some(120));
        check(429, "0", Some(0));
        check(503, "86400", Some(600));
        check(503, "99999999999999999999999", Some(600));
        check(503, "Sun, 06 Nov 1994 08:50:37 GMT", Some(60));
        check(503, "Sun, 06 Nov 1994 08:49:00 GMT", Some(0));
        check(503, "Sat, 06 Nov 2094 08:49:37 GMT", Some(600));
        check(503, "soon", None);
        check(503, "-5", None);
        check(503, "1.5", None);
        check(500, "7", None);
        check(301, "7", None);
    }
}
