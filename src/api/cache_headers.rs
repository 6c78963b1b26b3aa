//! What HTTP says about caching (RFC 9110 and 9111), in the few words that are understood here.

use super::fields::shorten;
use super::problem::{Code, Problem};
use crate::cache::Found;
use crate::model::Millis;
use crate::state::cache::Digest;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use std::fmt::Write as _;

const TIER: HeaderName = HeaderName::from_static("campanile-cache");
/// The longest that a client may ask for.
const SECONDS_MAX: u64 = 30 * 24 * 3600;

/// How long a client wants something kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Directives {
    pub max_age_ms: Option<u64>,
    pub stale_if_error_ms: Option<u64>,
}

impl Directives {
    /// From `Cache-Control`; words that mean nothing here are passed over, as the standard asks.
    pub fn read(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut found = Self::default();
        for value in headers.get_all(header::CACHE_CONTROL) {
            for directive in value.to_str().unwrap_or_default().split(',') {
                let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
                let name = name.trim();
                if name.eq_ignore_ascii_case("max-age") {
                    found.max_age_ms = Some(millis(name, value)?);
                } else if name.eq_ignore_ascii_case("stale-if-error") {
                    found.stale_if_error_ms = Some(millis(name, value)?);
                }
            }
        }
        Ok(found)
    }
}

fn millis(name: &str, value: &str) -> Result<u64, Problem> {
    let seconds = value.trim().trim_matches('"').parse::<u64>();
    let seconds = seconds.ok().filter(|seconds| *seconds <= SECONDS_MAX);
    seconds.map(|seconds| seconds * 1000).ok_or_else(|| {
        let detail = format!(
            "Cache-Control: {} is {:?}; it must be 0 to {SECONDS_MAX} seconds",
            shorten(name),
            shorten(value)
        );
        Problem::new(Code::InvalidValue, detail).closing()
    })
}

pub fn etag(digest: &Digest) -> HeaderValue {
    let mut text = String::with_capacity(2 + 2 * digest.len());
    text.push('"');
    digest.iter().for_each(|byte| {
        // writing to a text cannot fail
        let _ = write!(text, "{byte:02x}");
    });
    text.push('"');
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("\"\""))
}

/// Whether the client has this very value: `If-None-Match` names it, weakly or not, or is `*`.
pub fn knows(headers: &HeaderMap, digest: &Digest) -> bool {
    let own = etag(digest);
    let own = own.to_str().unwrap_or_default();
    let named = headers.get_all(header::IF_NONE_MATCH).iter();
    named
        .flat_map(|value| value.to_str().unwrap_or_default().split(','))
        .map(|tag| tag.trim().trim_start_matches("W/"))
        .any(|tag| tag == "*" || tag == own)
}

pub fn tier(name: &'static str) -> (HeaderName, HeaderValue) {
    (TIER, HeaderValue::from_static(name))
}

/// What goes with a value, whole or not modified.
pub fn of(found: &Found, now: Millis) -> HeaderMap {
    let entry = &found.kept.entry;
    let seconds = |from: Millis, to: Millis| to.saturating_sub(from).max(0) / 1000;
    let left = seconds(now, entry.fresh_until);
    let stale = seconds(entry.fresh_until.max(now), entry.ends_at);
    let control = if stale > 0 {
        format!("max-age={left}, stale-if-error={stale}")
    } else {
        format!("max-age={left}")
    };
    let (name, value) = tier(found.tier.name());
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(name, value);
    headers.insert(header::ETAG, etag(&entry.digest));
    headers.insert(header::AGE, HeaderValue::from(seconds(entry.put_at, now)));
    // its letters are all visible
    headers.extend(
        HeaderValue::from_str(&control)
            .ok()
            .map(|value| (header::CACHE_CONTROL, value)),
    );
    headers
}

#[cfg(test)]
mod tests {
    use super::{Directives, etag, knows};
    use http::HeaderMap;

    fn headers(name: &'static str, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn lifetimes_are_read_and_other_words_passed_over() {
        let check = |values: &[&str], max_age: Option<u64>, stale: Option<u64>| {
            let found = Directives::read(&headers("cache-control", values)).unwrap();
            assert_eq!(
                (found.max_age_ms, found.stale_if_error_ms),
                (max_age, stale),
                "{values:?}"
            );
        };
        check(&[], None, None);
        check(&["max-age=60"], Some(60_000), None);
        check(
            &["public, Max-Age=\"5\" , stale-if-error=10"],
            Some(5_000),
            Some(10_000),
        );
        check(&["no-cache", "max-age=0"], Some(0), None);
        for wrong in ["max-age", "max-age=-1", "max-age=soon", "stale-if-error=99999999999"] {
            assert!(
                Directives::read(&headers("cache-control", &[wrong])).is_err(),
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_client_knows_what_it_names() {
        let digest = [0xab; 16];
        let own = etag(&digest).to_str().unwrap().to_owned();
        let check =
            |tag: &str, known: bool| assert_eq!(knows(&headers("if-none-match", &[tag]), &digest), known, "{tag}");
        check(&own, true);
        check(&format!("\"x\", W/{own}"), true);
        check("*", true);
        check("\"x\"", false);
        assert!(!knows(&HeaderMap::new(), &digest));
    }
}
