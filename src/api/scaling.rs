//! `GET /v1/scaling`: what the node sees, what the directory lets expect, and what was decided and why.

use super::context::Context;
use super::problem::Problem;
use super::request::Query;
use super::wire;
use crate::base::clock;
use crate::control::autoscaler::{Entry, Settings, Shown};
use crate::model::Millis;
use crate::scaling::forecast::{Need, Outlook};
use crate::scaling::{Capacity, Forecast, Load};
use axum::extract::State;
use axum::response::Response;
use http::{StatusCode, Uri};
use serde::Serialize;
use std::sync::Arc;

#[derive(Serialize)]
struct Scaling {
    profile: String,
    /// Whether `workers.threads` fixes their number.
    fixed: bool,
    cores: usize,
    threads: usize,
    threads_min: usize,
    threads_max: usize,
    season: bool,
    weekend: bool,
    load: Load,
    forecast: Option<Expectation>,
    /// The newest first.
    decisions: Vec<Decided>,
}

#[derive(Serialize)]
struct Expectation {
    now: Need,
    peak: At,
    /// Each change of what is needed.
    steps: Vec<At>,
    /// What this machine was measured to do; null: not measured.
    capacity: Option<Capacity>,
    /// What the peak needs of the part of it that is counted on.
    share: Option<f64>,
    threads: usize,
    warning: Option<String>,
}

#[derive(Serialize)]
struct At {
    at: Option<String>,
    #[serde(flatten)]
    need: Need,
}

#[derive(Serialize)]
pub struct Decided {
    from: String,
    until: String,
    times: u64,
    threads_before: usize,
    threads: usize,
    rule: String,
    reason: String,
    load: Load,
}

pub async fn scaling(State(context): State<Arc<Context>>, uri: Uri) -> Result<Response, Problem> {
    Query::read(&uri, &[])?;
    let settings = &context.scaling.settings;
    let Shown {
        load,
        threads,
        is_season,
        is_weekend,
        forecast,
        entries,
    } = context.scaling.shown();
    let (threads_min, threads_max) = bounds(settings);
    let shown = Scaling {
        profile: settings.name.clone(),
        fixed: settings.fixed.is_some(),
        cores: settings.cores,
        threads,
        threads_min,
        threads_max,
        season: is_season,
        weekend: is_weekend,
        load,
        forecast: forecast.map(|forecast| expectation(forecast, settings.capacity.clone())),
        decisions: entries.into_iter().map(decided).collect(),
    };
    Ok(wire::json(StatusCode::OK, &shown))
}

/// The fewest and the most threads that there may be.
pub fn bounds(settings: &Settings) -> (usize, usize) {
    match settings.fixed {
        Some(threads) => (threads, threads),
        None => settings.profile.bounds(settings.cores),
    }
}

fn expectation(forecast: Forecast, capacity: Option<Capacity>) -> Expectation {
    let at = |at: Option<Millis>, need: Need| At {
        at: at.map(clock::rfc3339),
        need,
    };
    let step = |step: Outlook| at(Some(step.at), step.need);
    Expectation {
        now: forecast.now,
        peak: at(forecast.peak_at, forecast.peak),
        steps: forecast.steps.into_iter().map(step).collect(),
        capacity,
        share: forecast.share,
        threads: forecast.threads,
        warning: forecast.warning,
    }
}

pub fn decided(entry: Entry) -> Decided {
    Decided {
        from: clock::rfc3339(entry.from),
        until: clock::rfc3339(entry.until),
        times: entry.times,
        threads_before: entry.threads_before,
        threads: entry.decision.threads,
        rule: entry.decision.rule,
        reason: entry.decision.reason,
        load: entry.load,
    }
}
