//! Metrics and spans in the words of OTLP 1: its protocol buffers as JSON. Whole numbers of 64 bits are texts, ids are hexadecimal.

use super::span::{Outcome, Span};
use crate::metrics::history::Spread;
use crate::metrics::sheet::Kind;
use crate::metrics::snapshot::{Measured, Series, Value};
use serde_json::{Value as Json, json};

/// Counts since the start, not since the last push.
const CUMULATIVE: u32 = 2;
const OK: u32 = 1;
const ERROR: u32 = 2;

/// Who speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    pub node: u64,
    pub version: &'static str,
    /// Nanoseconds since 1970: counters count from here.
    pub started: u64,
}

impl Resource {
    fn json(&self) -> Json {
        json!({"attributes": [
            attribute("service.name", "campanile"),
            attribute("service.version", self.version),
            attribute("service.instance.id", &format!("node-{}", self.node)),
        ]})
    }

    fn scope(&self) -> Json {
        json!({"name": "campanile", "version": self.version})
    }
}

fn attribute(key: &str, value: &str) -> Json {
    json!({"key": key, "value": {"stringValue": value}})
}

/// The body for `/v1/metrics`. `now`: nanoseconds since 1970.
pub fn metrics(resource: &Resource, measured: &[Measured], now: u64) -> Json {
    let each: Vec<Json> = measured.iter().map(|one| metric(resource, one, now)).collect();
    json!({"resourceMetrics": [{
        "resource": resource.json(),
        "scopeMetrics": [{"scope": resource.scope(), "metrics": each}],
    }]})
}

fn metric(resource: &Resource, measured: &Measured, now: u64) -> Json {
    let points: Vec<Json> = measured
        .series
        .iter()
        .map(|series| point(resource, series, measured.kind, now))
        .collect();
    let unit = match measured.unit {
        Some("seconds") => "s",
        Some("bytes") => "By",
        Some("ratio") | None => "1",
        Some(other) => other,
    };
    let (key, data) = match measured.kind {
        Kind::Counter => (
            "sum",
            json!({"aggregationTemporality": CUMULATIVE, "isMonotonic": true, "dataPoints": points}),
        ),
        Kind::Gauge => ("gauge", json!({"dataPoints": points})),
        Kind::Histogram => (
            "histogram",
            json!({"aggregationTemporality": CUMULATIVE, "dataPoints": points}),
        ),
    };
    json!({"name": measured.name, "description": measured.help, "unit": unit, key: data})
}

fn point(resource: &Resource, series: &Series, kind: Kind, now: u64) -> Json {
    let labels = series.labels.iter();
    let attributes: Vec<Json> = labels.map(|(name, value)| attribute(name, value)).collect();
    let mut point = match &series.value {
        Value::Number(value) => json!({"asDouble": value}),
        Value::Spread(spread) => spread_of(spread),
    };
    point["attributes"] = attributes.into();
    point["timeUnixNano"] = now.to_string().into();
    if kind != Kind::Gauge {
        point["startTimeUnixNano"] = resource.started.to_string().into();
    }
    point
}

/// Buckets count each for itself here, and the last one has no bound.
fn spread_of(spread: &Spread) -> Json {
    let bounds: Vec<f64> = spread.buckets.iter().map(|(bound, _)| *bound).collect();
    let seen = spread.buckets.iter().map(|(_, seen)| *seen).chain([spread.count]);
    let mut before = 0;
    let each = seen.map(|seen| {
        let own = seen.saturating_sub(before);
        before = seen.max(before);
        own.to_string()
    });
    json!({
        "count": spread.count.to_string(),
        "sum": spread.sum,
        "explicitBounds": bounds,
        "bucketCounts": each.collect::<Vec<String>>(),
    })
}

/// The body for `/v1/traces`.
pub fn spans(resource: &Resource, spans: &[Span]) -> Json {
    let each: Vec<Json> = spans.iter().map(span).collect();
    json!({"resourceSpans": [{
        "resource": resource.json(),
        "scopeSpans": [{"scope": resource.scope(), "spans": each}],
    }]})
}

fn span(span: &Span) -> Json {
    let attributes = span.attributes.iter();
    let attributes: Vec<Json> = attributes.map(|(key, value)| attribute(key, value)).collect();
    let id = |id: u64| format!("{id:016x}");
    let status = match &span.outcome {
        Outcome::Well => json!({"code": OK}),
        Outcome::Failed(why) => json!({"code": ERROR, "message": why}),
    };
    json!({
        "traceId": span.trace.id(),
        "spanId": id(span.trace.span()),
        "parentSpanId": span.parent.map(id).unwrap_or_default(),
        "name": span.name,
        "kind": span.kind as u32,
        "startTimeUnixNano": span.start.to_string(),
        "endTimeUnixNano": span.end.to_string(),
        "attributes": attributes,
        "status": status,
    })
}

#[cfg(test)]
mod tests {
    use super::{Resource, metrics, spans};
    use crate::metrics::history::Spread;
    use crate::metrics::sheet::Kind;
    use crate::metrics::snapshot::{Measured, Series, Value};
    use crate::model::Trace;
    use crate::telemetry::span::{self, Outcome, Span};
    use serde_json::json;

    const RESOURCE: Resource = Resource {
        node: 2,
        version: "9.9.9",
        started: 1_000,
    };

    fn measured(kind: Kind, unit: Option<&'static str>, value: Value) -> Measured {
        Measured {
            name: "campanile_x".into(),
            help: "X.".into(),
            unit,
            kind,
            series: vec![Series {
                labels: vec![("priority".into(), "low".into())],
                value,
            }],
        }
    }

    #[test]
    fn golden_metrics() {
        let spread = Spread {
            count: 9,
            sum: 1.5,
            buckets: vec![(0.1, 2), (0.2, 7)],
        };
        let all = [
            measured(Kind::Counter, None, Value::Number(3.0)),
            measured(Kind::Gauge, Some("bytes"), Value::Number(7.0)),
            measured(Kind::Histogram, Some("seconds"), Value::Spread(spread)),
        ];
        let priority = json!([{"key": "priority", "value": {"stringValue": "low"}}]);
        let expected = json!({"resourceMetrics": [{
            "resource": {"attributes": [
                {"key": "service.name", "value": {"stringValue": "campanile"}},
                {"key": "service.version", "value": {"stringValue": "9.9.9"}},
                {"key": "service.instance.id", "value": {"stringValue": "node-2"}},
            ]},
            "scopeMetrics": [{"scope": {"name": "campanile", "version": "9.9.9"}, "metrics": [
                {"name": "campanile_x", "description": "X.", "unit": "1", "sum": {
                    "aggregationTemporality": 2, "isMonotonic": true, "dataPoints": [
                        {"asDouble": 3.0, "attributes": priority, "timeUnixNano": "5000", "startTimeUnixNano": "1000"}]}},
                {"name": "campanile_x", "description": "X.", "unit": "By", "gauge": {"dataPoints": [
                    {"asDouble": 7.0, "attributes": priority, "timeUnixNano": "5000"}]}},
                {"name": "campanile_x", "description": "X.", "unit": "s", "histogram": {
                    "aggregationTemporality": 2, "dataPoints": [{
                        "count": "9", "sum": 1.5, "explicitBounds": [0.1, 0.2], "bucketCounts": ["2", "5", "2"],
                        "attributes": priority, "timeUnixNano": "5000", "startTimeUnixNano": "1000"}]}},
            ]}],
        }]});
        assert_eq!(metrics(&RESOURCE, &all, 5_000), expected);
    }

    #[test]
    fn golden_spans() {
        let trace = Trace::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
        let inner = Span {
            trace: trace.within(10),
            parent: Some(trace.span()),
            name: "propose",
            kind: span::Kind::Internal,
            start: 1_000,
            end: 3_000,
            attributes: vec![("campanile.priority", "high".into())],
            outcome: Outcome::Failed("NO_LEADER".into()),
        };
        let first = Span {
            parent: None,
            attributes: Vec::new(),
            outcome: Outcome::Well,
            ..inner.clone()
        };
        let said = spans(&RESOURCE, &[inner, first]);
        let told = &said["resourceSpans"][0]["scopeSpans"][0]["spans"];
        let expected = json!({
            "traceId": "4bf92f3577b34da6a3ce929d0e0e4736", "spanId": "000000000000000a", "parentSpanId": "00f067aa0ba902b7",
            "name": "propose", "kind": 1, "startTimeUnixNano": "1000", "endTimeUnixNano": "3000",
            "attributes": [{"key": "campanile.priority", "value": {"stringValue": "high"}}],
            "status": {"code": 2, "message": "NO_LEADER"},
        });
        assert_eq!(told[0], expected);
        assert_eq!(
            (&told[1]["parentSpanId"], &told[1]["status"]),
            (&json!(""), &json!({"code": 1}))
        );
    }
}
