//! `GET /v1/dashboard/series/{name}`: the last points of a series, as JSON or as a table of commas.

use crate::api::context::Context;
use crate::api::fields;
use crate::api::problem::Problem;
use crate::api::request::{Path, Query};
use crate::api::wire::{self, At};
use crate::base::clock;
use crate::base::size::Span;
use crate::metrics::history::{Point, share};
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderValue, StatusCode, Uri, header};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use std::fmt::Write as _;
use std::sync::Arc;

/// A column: its name, and its value of a point, where there was something to measure.
type Column = (&'static str, fn(&Point) -> Option<f64>);

struct Shape {
    name: &'static str,
    unit: &'static str,
    columns: &'static [Column],
}

const ALL: [Shape; 5] = [
    Shape {
        name: "latency",
        unit: "ms",
        columns: &[
            ("publish", |point| point.publish.mean.map(|seconds| seconds * 1e3)),
            ("delivery", |point| point.delivery.mean.map(|seconds| seconds * 1e3)),
        ],
    },
    Shape {
        name: "throughput",
        unit: "per_second",
        columns: &[
            ("broadcasts", |point| Some(point.rate(point.published))),
            ("writes", |point| Some(point.rate(point.written))),
        ],
    },
    Shape {
        name: "connections",
        unit: "sessions",
        columns: &[("sessions", |point| Some(point.sessions as f64))],
    },
    Shape {
        name: "errors",
        unit: "share",
        columns: &[
            ("requests", |point| {
                share(point.failed, point.requests.saturating_sub(point.failed))
            }),
            ("publishes", |point| share(point.not_taken, point.published)),
        ],
    },
    Shape {
        name: "cache",
        unit: "share",
        columns: &[
            ("hits", |point| point.cache.hit_rate()),
            ("local", |point| point.cache.local_hit_rate()),
        ],
    },
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Csv,
}

#[derive(Serialize)]
struct Series<'a> {
    name: &'static str,
    unit: &'static str,
    /// Between two points.
    every: Span,
    /// Oldest first.
    points: Vec<PointView<'a>>,
}

struct PointView<'a>(&'a Point, &'static [Column]);

impl Serialize for PointView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(point, columns) = self;
        let mut map = serializer.serialize_map(Some(columns.len() + 1))?;
        map.serialize_entry("at", &At(point.at))?;
        for (name, value) in *columns {
            map.serialize_entry(name, &value(point))?;
        }
        map.end()
    }
}

pub async fn get(State(context): State<Arc<Context>>, Path(name): Path<String>, uri: Uri) -> Result<Response, Problem> {
    let query = Query::read(&uri, &["format"])?;
    let format = |text: &str| match text {
        "json" => Some(Format::Json),
        "csv" => Some(Format::Csv),
        _ => None,
    };
    let format = query.parse("format", "json or csv", format)?.unwrap_or(Format::Json);
    let shape = ALL.iter().find(|shape| shape.name == name);
    let shape = shape.ok_or_else(|| Problem::absent("series", fields::shorten(&name)))?;
    let points = context.dashboard.history.lock().points();
    Ok(match format {
        Format::Csv => table(shape, &points),
        Format::Json => {
            let points = points.iter().map(|point| PointView(point, shape.columns));
            let series = Series {
                name: shape.name,
                unit: shape.unit,
                every: context.dashboard.config.sample_every,
                points: points.collect(),
            };
            wire::json(StatusCode::OK, &series)
        }
    })
}

/// An empty cell is what was not measured.
fn table(shape: &Shape, points: &[Point]) -> Response {
    let mut text = "at".to_owned();
    for (name, _) in shape.columns {
        let _ = write!(text, ",{name}_{}", shape.unit);
    }
    text.push('\n');
    for point in points {
        text.push_str(&clock::rfc3339(point.at));
        for (_, value) in shape.columns {
            let _ = match value(point) {
                Some(value) => write!(text, ",{value}"),
                None => write!(text, ","),
            };
        }
        text.push('\n');
    }
    let mut response = Response::new(Body::from(text));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/csv; charset=utf-8"),
    );
    let attached = format!("attachment; filename=\"campanile-{}.csv\"", shape.name);
    if let Ok(attached) = HeaderValue::from_str(&attached) {
        headers.insert(header::CONTENT_DISPOSITION, attached);
    }
    response
}
