//! The only place that reads a clock. Wall time is milliseconds since 1970 (UTC); everything that waits uses `Instant`.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970-01-01T00:00:00Z.
pub type Millis = i64;

/// The wall clock of this machine.
#[allow(clippy::disallowed_methods)] // the one home of clock reads
pub fn wall() -> Millis {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as Millis)
}

/// The monotonic clock of this machine.
#[allow(clippy::disallowed_methods)] // the one home of clock reads
pub fn now() -> Instant {
    Instant::now()
}

/// Nanoseconds on the monotonic clock. It is one clock for all processes of this machine, so they can compare what they noted.
pub fn monotonic() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The wall clock in nanoseconds since 1970, for those who ask for it so.
#[allow(clippy::disallowed_methods)] // the one home of clock reads
pub fn wall_nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// CPU time that this process has had.
pub fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// An RFC 3339 text in UTC with milliseconds, as every answer of the API carries it.
pub fn rfc3339(at: Millis) -> String {
    jiff::Timestamp::from_millisecond(at).map_or_else(|_| at.to_string(), |stamp| format!("{stamp:.3}"))
}

/// Reads an RFC 3339 text with a zone; `None` when it is not one.
pub fn parse_rfc3339(text: &str) -> Option<Millis> {
    text.parse::<jiff::Timestamp>()
        .ok()
        .map(jiff::Timestamp::as_millisecond)
}

/// Reads the date of an HTTP header (`Sun, 06 Nov 1994 08:49:37 GMT`); `None` when it is not one.
pub fn parse_http_date(text: &str) -> Option<Millis> {
    jiff::fmt::rfc2822::parse(text)
        .ok()
        .map(|date| date.timestamp().as_millisecond())
}

/// What the clocks of a zone (an IANA name) show then: `2027-06-19 16:42:00`; `None` for a zone that nobody knows.
pub fn shown_in(zone: &str, at: Millis) -> Option<String> {
    let stamp = jiff::Timestamp::from_millisecond(at).ok()?;
    Some(stamp.in_tz(zone).ok()?.strftime("%F %T").to_string())
}

/// When the clocks of a zone (an IANA name) show `2027-06-19T16:42:00`. What they show twice is the first of both, what they leave out
/// is as much later; `None` for a zone that nobody knows, or no date.
pub fn shown_at(zone: &str, local: &str) -> Option<Millis> {
    let local: jiff::civil::DateTime = local.parse().ok()?;
    Some(local.in_tz(zone).ok()?.timestamp().as_millisecond())
}

/// What is left until `deadline`; zero when it has passed.
pub fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(now())
}

#[cfg(test)]
mod tests {
    use super::{parse_http_date, parse_rfc3339, rfc3339, shown_at, shown_in};

    #[test]
    fn times_are_read_in_any_zone_and_written_in_utc() {
        let at = parse_rfc3339("2027-06-19T16:42:00-04:00").unwrap();
        assert_eq!(rfc3339(at), "2027-06-19T20:42:00.000Z");
        assert_eq!(parse_rfc3339("2027-06-19"), None);
        assert_eq!(parse_rfc3339("2027-06-19T16:42:00"), None);
    }

    #[test]
    fn dates_of_headers_are_read() {
        let check = |text: &str, expected| assert_eq!(parse_http_date(text), expected, "{text}");
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777_000));
        check("1994-11-06T08:49:37Z", None);
        check("7", None);
    }

    #[test]
    fn clocks_show_the_time_of_their_zone() {
        let at = parse_rfc3339("2027-06-19T20:42:00.900Z").unwrap();
        assert_eq!(shown_in("America/New_York", at).as_deref(), Some("2027-06-19 16:42:00"));
        assert_eq!(shown_in("Asia/Tokyo", at).as_deref(), Some("2027-06-20 05:42:00"));
        assert_eq!(shown_in("Nowhere/At_All", at), None);
        let at = parse_rfc3339("2027-06-19T20:42:00Z");
        assert_eq!(shown_at("America/New_York", "2027-06-19T16:42:00"), at);
        let twice = parse_rfc3339("2027-11-07T05:30:00Z");
        assert_eq!(shown_at("America/New_York", "2027-11-07T01:30:00"), twice);
        let never = parse_rfc3339("2027-03-14T07:30:00Z");
        assert_eq!(shown_at("America/New_York", "2027-03-14T02:30:00"), never);
        assert_eq!(shown_at("Nowhere/At_All", "2027-06-19T16:42:00"), None);
    }
}
