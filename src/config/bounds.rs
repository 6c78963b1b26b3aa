//! The range of every setting that is a number, a duration or a size, on one page. A test finds what is missing here.

use super::check::whole;
use super::rules::RATE_MAX;
use crate::base::size::{Size, Span};
use std::fmt::Display;
use toml::Value;

/// From and to, both allowed.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    Count(u64, u64),
    Time(Span, Span),
    Bytes(Size, Size),
}

use Bound::{Bytes, Count, Time};

const GIB: u64 = 1024;
const DAY: u64 = 24 * 3600;

/// The lower ends are what still works; the upper ones are what a typing error would exceed.
pub const BOUNDS: &[(&str, Bound)] = &[
    ("node.id", Count(1, u64::MAX)),
    ("node.drain", Time(Span::millis(0), Span::seconds(300))),
    ("api.deadline", Time(Span::millis(100), Span::seconds(300))),
    ("api.body_bytes_max", Bytes(Size::kib(1), Size::mib(64))),
    ("api.import_line_bytes_max", Bytes(Size::kib(1), Size::mib(16))),
    ("api.head_deadline", Time(Span::millis(100), Span::seconds(300))),
    ("api.connections_max", Count(1, 1_000_000)),
    ("api.expires_default", Time(Span::seconds(1), Span::seconds(366 * DAY))),
    ("api.expires_max", Time(Span::seconds(1), Span::seconds(366 * DAY))),
    ("api.schedule_max", Time(Span::millis(0), Span::seconds(366 * DAY))),
    ("api.keys_kept", Time(Span::seconds(1), Span::seconds(30 * DAY))),
    ("api.keys_bytes_max", Bytes(Size::mib(1), Size::mib(64 * GIB))),
    ("tls.handshakes_max", Count(1, 1_000_000)),
    ("tls.reload_every", Time(Span::millis(100), Span::seconds(DAY))),
    ("auth.tokens_max", Count(1, 10_000_000)),
    (
        "auth.token_ttl_default",
        Time(Span::seconds(1), Span::seconds(3660 * DAY)),
    ),
    ("auth.token_ttl_max", Time(Span::seconds(1), Span::seconds(3660 * DAY))),
    ("auth.jwt_leeway", Time(Span::millis(0), Span::seconds(600))),
    (
        "cluster.election_timeout_min",
        Time(Span::millis(20), Span::seconds(60)),
    ),
    (
        "cluster.election_timeout_max",
        Time(Span::millis(40), Span::seconds(120)),
    ),
    ("cluster.heartbeat", Time(Span::millis(5), Span::seconds(30))),
    ("cluster.log_flush_wait_us", Count(0, 100_000)),
    ("cluster.log_chunk", Bytes(Size::mib(1), Size::mib(4 * GIB))),
    ("cluster.pack_commands_max", Count(1, 100_000)),
    ("cluster.pack_bytes_max", Bytes(Size::kib(1), Size::mib(16))),
    ("cluster.packs_in_flight_max", Count(1, 1_000)),
    ("cluster.waiting_max", Count(1, 10_000_000)),
    ("storage.write_behind_every", Time(Span::millis(1), Span::seconds(60))),
    ("storage.write_behind_rows_max", Count(1_000, 100_000_000)),
    ("storage.sled_cache", Bytes(Size::mib(1), Size::mib(64 * GIB))),
    ("storage.open_deadline", Time(Span::millis(100), Span::seconds(3600))),
    ("storage.snapshot_log_bytes", Bytes(Size::mib(1), Size::mib(64 * GIB))),
    ("storage.free_bytes_min", Bytes(Size(0), Size::mib(1024 * GIB))),
    ("storage.reserve_bytes", Bytes(Size(0), Size::mib(1024 * GIB))),
    ("gateway.window_bytes_max", Bytes(Size::mib(1), Size::mib(64 * GIB))),
    ("gateway.sessions_max", Count(1, 1_000_000)),
    ("gateway.heartbeat", Time(Span::millis(100), Span::seconds(600))),
    ("gateway.silent_max", Time(Span::millis(200), Span::seconds(3600))),
    ("gateway.stall_max", Time(Span::millis(100), Span::seconds(600))),
    ("gateway.send_buffer", Bytes(Size::kib(4), Size::mib(16))),
    ("gateway.unsent_max", Bytes(Size::kib(1), Size::mib(16))),
    ("gateway.catch_up_bytes", Bytes(Size::kib(1), Size::mib(16))),
    ("gateway.backlog_max", Count(1, 10_000)),
    ("gateway.message_bytes_max", Bytes(Size(128), Size::mib(1))),
    ("gateway.moved_per_second", Count(0, 10_000)),
    ("workers.threads", Count(0, 50)),
    ("workers.cells", Count(1, 4_096)),
    ("workers.lane_max", Count(1, 1_000_000)),
    ("workers.slice_min", Count(1, 10_000)),
    ("workers.slice_max", Count(1, 10_000)),
    ("scaling.every", Time(Span::millis(100), Span::seconds(60))),
    ("delivery.receipts_every", Time(Span::millis(1), Span::seconds(10))),
    ("delivery.node_lost_after", Time(Span::millis(500), Span::seconds(3600))),
    ("retry.critical", Count(1, 20)),
    ("retry.high", Count(1, 20)),
    ("retry.normal", Count(1, 20)),
    ("retry.low", Count(1, 20)),
    ("retry.first", Time(Span::millis(100), Span::seconds(3600))),
    ("retry.longest", Time(Span::millis(100), Span::seconds(3600))),
    ("schedule.missed_after", Time(Span::seconds(1), Span::seconds(7 * DAY))),
    ("retention.broadcasts", Time(Span::seconds(1), Span::seconds(366 * DAY))),
    ("rates.hour", Count(1, RATE_MAX as u64)),
    ("rates.day", Count(1, RATE_MAX as u64)),
    ("rates.administrators", Count(1, 10)),
    ("rates.coordinators", Count(1, 10)),
    ("outputs.timeout", Time(Span::millis(100), Span::seconds(120))),
    ("outputs.in_flight_max", Count(1, 256)),
    ("outputs.breaker_failures", Count(1, 1_000)),
    ("outputs.breaker_open", Time(Span::millis(100), Span::seconds(3600))),
    ("outputs.retry_first", Time(Span::millis(10), Span::seconds(3600))),
    ("outputs.retry_most", Time(Span::millis(10), Span::seconds(DAY))),
    ("outputs.give_up_after", Time(Span::seconds(1), Span::seconds(30 * DAY))),
    ("alerts.every", Time(Span::millis(50), Span::seconds(600))),
    ("alerts.every_enhanced", Time(Span::millis(50), Span::seconds(600))),
    ("alerts.over", Time(Span::millis(500), Span::seconds(3600))),
    ("alerts.lost_after", Time(Span::millis(500), Span::seconds(3600))),
    ("probe.interval", Time(Span::millis(0), Span::seconds(3600))),
    ("probe.interval_enhanced", Time(Span::millis(0), Span::seconds(3600))),
    ("probe.within", Time(Span::millis(50), Span::seconds(60))),
    ("cache.entries_max", Count(1, 1_000_000)),
    ("cache.bytes_max", Bytes(Size::mib(1), Size::mib(64 * GIB))),
    ("cache.local_bytes", Bytes(Size::mib(1), Size::mib(64 * GIB))),
    ("cache.local_bytes_min", Bytes(Size::mib(1), Size::mib(64 * GIB))),
    ("cache.local_items", Count(64, 10_000_000)),
    ("cache.local_ttl", Time(Span::millis(0), Span::seconds(DAY))),
    ("cache.upstream_timeout", Time(Span::millis(50), Span::seconds(60))),
    ("cache.preload_ahead", Time(Span::millis(0), Span::seconds(7 * DAY))),
    ("cache.memory_max", Bytes(Size(0), Size::mib(1024 * GIB))),
    ("cache.upstream_rest", Time(Span::millis(100), Span::seconds(3600))),
    ("dashboard.sample_every", Time(Span::millis(100), Span::seconds(3600))),
    (
        "dashboard.sample_every_enhanced",
        Time(Span::millis(100), Span::seconds(3600)),
    ),
    ("dashboard.streams_max", Count(1, 10_000)),
    ("otlp.every", Time(Span::seconds(1), Span::seconds(3600))),
    ("otlp.timeout", Time(Span::millis(100), Span::seconds(120))),
    ("otlp.spans_max", Count(16, 1_000_000)),
];

pub fn holds(bound: &Bound, value: &Value) -> bool {
    match bound {
        Count(from, to) => whole(value).is_some_and(|count| (*from..=*to).contains(&count)),
        Time(from, to) => parsed::<Span>(value).is_some_and(|span| (*from..=*to).contains(&span)),
        Bytes(from, to) => parsed::<Size>(value).is_some_and(|size| (*from..=*to).contains(&size)),
    }
}

fn parsed<T: std::str::FromStr>(value: &Value) -> Option<T> {
    value.as_str()?.parse().ok()
}

/// `be between 1 MiB and 64 GiB`.
pub fn rule(bound: &Bound) -> String {
    let between = |from: &dyn Display, to: &dyn Display| format!("be between {from} and {to}");
    match bound {
        Count(from, u64::MAX) => format!("be at least {from}"),
        Count(from, to) => between(from, to),
        Time(from, to) => between(from, to),
        Bytes(from, to) => between(from, to),
    }
}

#[cfg(test)]
mod tests {
    use super::{BOUNDS, Bytes, Count, Size, Span, Time, Value};
    use crate::config::layers::defaults;

    #[test]
    fn every_number_has_a_range_of_its_kind() {
        for (section, keys) in defaults() {
            for (key, value) in keys.as_table().unwrap() {
                let name = format!("{section}.{key}");
                let found = BOUNDS.iter().find(|(known, _)| *known == name).map(|(_, bound)| bound);
                let is_time = value.as_str().is_some_and(|text| text.parse::<Span>().is_ok());
                let is_size = value.as_str().is_some_and(|text| text.parse::<Size>().is_ok());
                let right = match value {
                    Value::Integer(_) => matches!(found, Some(Count(..))),
                    _ if is_time => matches!(found, Some(Time(..))),
                    _ if is_size => matches!(found, Some(Bytes(..))),
                    _ => found.is_none(),
                };
                assert!(right, "{name} = {value} has the bound {found:?}");
            }
        }
    }

    #[test]
    fn no_range_is_for_nothing() {
        let known = defaults();
        for (name, _) in BOUNDS {
            let (section, key) = name.split_once('.').unwrap();
            assert!(known.get(section).and_then(|keys| keys.get(key)).is_some(), "{name}");
        }
    }
}
