//! `GET /v1/alerts`: what is wrong anywhere, what was, and how each rule stands on the node that answers.

use super::context::Context;
use super::problem::Problem;
use super::request::Query;
use super::wire::{self, At};
use crate::alerting::uptime::{DAY, HOUR};
use crate::alerting::{Day, Phase, Rule, Uptime};
use crate::base::clock::{self, Millis};
use crate::control::alerter::Shown;
use crate::model::NodeId;
use crate::model::alert::Severity;
use crate::state::State as Applied;
use crate::state::alerts::{Alert, Past};
use axum::extract::State;
use axum::response::Response;
use http::{StatusCode, Uri};
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Alerts that the dashboard shows, and those that are over.
const BOARD_ITEMS_MAX: usize = 20;
const BOARD_RECENT_MAX: usize = 5;

#[derive(Serialize)]
struct Answer {
    /// The node that answers.
    node: NodeId,
    /// The event window of some wedding is open: looks are closer, and bounds may be tighter.
    enhanced: bool,
    items: Vec<Item>,
    recent: Vec<PastView>,
    /// How each rule stands on this node.
    rules: Vec<RuleView>,
}

/// What the dashboard shows of alerts.
#[derive(Serialize)]
pub struct Board {
    firing: usize,
    /// The gravest first.
    items: Vec<Item>,
    recent: Vec<PastView>,
}

#[derive(Serialize)]
struct Item {
    rule: String,
    severity: Severity,
    /// `firing`, `clearing` (better, not for long enough), or `pending` on this node (worse, not for long enough).
    state: &'static str,
    /// The worst when it began.
    value: f64,
    /// On this node at its last look; null where it cannot be told.
    value_now: Option<f64>,
    bound: f64,
    /// `above` or `below`: where it is bad.
    side: &'static str,
    unit: &'static str,
    reason: String,
    since: At,
    nodes: Vec<NodeId>,
    outputs: Vec<String>,
    /// Somebody was told that it has begun.
    told: bool,
    last_notice: Option<At>,
    next_notice_after: Option<At>,
}

#[derive(Serialize)]
struct PastView {
    rule: String,
    severity: Severity,
    value: f64,
    bound: f64,
    side: &'static str,
    unit: &'static str,
    reason: String,
    since: At,
    until: At,
    nodes: Vec<NodeId>,
    told: bool,
    /// It ended because the last node that had it is lost.
    node_lost: bool,
}

#[derive(Serialize)]
struct RuleView {
    rule: String,
    measure: &'static str,
    severity: Severity,
    /// `quiet`, `pending`, `firing` or `clearing`.
    state: &'static str,
    value: Option<f64>,
    bound: f64,
    clear: f64,
    side: &'static str,
    unit: &'static str,
}

pub async fn list(State(context): State<Arc<Context>>, uri: Uri) -> Result<Response, Problem> {
    context.fresh(&Query::read(&uri, &[])?, context.deadline()).await?;
    let here = context.alerts.shown();
    let rules = &context.alerts.settings.rules;
    let answer = context.handle.read(|state| Answer {
        node: context.node,
        enhanced: is_enhanced(&context),
        items: items(state, context.node, rules, &here),
        recent: state.alerts().recent().iter().map(PastView::of).collect(),
        rules: rule_views(rules, &here),
    });
    Ok(wire::json(StatusCode::OK, &answer))
}

pub fn is_enhanced(context: &Context) -> bool {
    context.alerts.today.day() == Day::Event
}

/// The same for the dashboard, less of it.
pub fn board(context: &Context) -> Board {
    let here = context.alerts.shown();
    context.handle.read(|state| {
        let mut items = items(state, context.node, &context.alerts.settings.rules, &here);
        let firing = items.iter().filter(|item| item.state != Phase::PENDING).count();
        items.truncate(BOARD_ITEMS_MAX);
        let recent = state.alerts().recent().iter().take(BOARD_RECENT_MAX);
        Board {
            firing,
            items,
            recent: recent.map(PastView::of).collect(),
        }
    })
}

/// What is open anywhere, and what this node alone knows yet; the gravest first, of these what fires, of these the oldest.
fn items(state: &Applied, node: NodeId, rules: &[Rule], here: &[Shown]) -> Vec<Item> {
    let mut all: BTreeMap<&str, Item> = BTreeMap::new();
    for alert in state.alerts().open() {
        all.insert(&alert.rule.name, Item::of(alert));
    }
    for shown in here {
        let Some(rule) = rules.get(shown.rule) else { continue };
        let (phase, known) = (shown.finding.phase, state.alerts().get(&rule.name));
        if let Some(item) = all.get_mut(rule.name.as_str()) {
            item.value_now = shown.finding.value;
            if item.nodes == [node] && matches!(phase, Phase::Clearing { .. }) {
                item.state = Phase::CLEARING;
            }
        } else if let Some(since) = shown.since {
            all.insert(&rule.name, Item::here(rule, shown, since, node, known));
        }
    }
    let mut items: Vec<Item> = all.into_values().collect();
    items.sort_by_key(|item| (Reverse(item.severity), item.state == Phase::PENDING, item.since.0));
    items
}

impl Item {
    fn of(alert: &Alert) -> Self {
        let (rule, worst) = (&alert.rule, alert.worst());
        Self {
            rule: rule.name.clone(),
            severity: rule.severity,
            state: Phase::FIRING,
            value: worst.map_or(rule.bound, |worst| worst.value),
            value_now: None,
            bound: rule.bound,
            side: rule.side.name(),
            unit: rule.unit.name(),
            reason: worst.map(|worst| worst.reason.clone()).unwrap_or_default(),
            since: At(alert.since),
            nodes: alert.nodes.keys().copied().collect(),
            outputs: rule.outputs.clone(),
            told: alert.is_told,
            last_notice: alert.last_notice.map(At),
            next_notice_after: alert.next_notice_after().map(At),
        }
    }

    /// The log does not have it: it is not for long enough, or there is no leader.
    fn here(rule: &Rule, shown: &Shown, since: Millis, node: NodeId, known: Option<&Alert>) -> Self {
        let (finding, measure) = (&shown.finding, rule.measure);
        Self {
            rule: rule.name.clone(),
            severity: rule.severity,
            state: finding.phase.name(),
            value: finding.value.unwrap_or(finding.bounds.bound),
            value_now: finding.value,
            bound: finding.bounds.bound,
            side: measure.side().name(),
            unit: measure.unit().name(),
            reason: finding.reason.clone(),
            since: At(since),
            nodes: vec![node],
            outputs: rule.outputs.clone(),
            told: false,
            last_notice: known.and_then(|alert| alert.last_notice).map(At),
            next_notice_after: known.and_then(Alert::next_notice_after).map(At),
        }
    }
}

impl PastView {
    fn of(past: &Past) -> Self {
        let rule = &past.rule;
        Self {
            rule: rule.name.clone(),
            severity: rule.severity,
            value: past.value,
            bound: rule.bound,
            side: rule.side.name(),
            unit: rule.unit.name(),
            reason: past.reason.clone(),
            since: At(past.since),
            until: At(past.until),
            nodes: past.nodes.iter().copied().collect(),
            told: past.is_told,
            node_lost: past.is_lost,
        }
    }
}

fn rule_views(rules: &[Rule], here: &[Shown]) -> Vec<RuleView> {
    let each = here.iter().filter_map(|shown| {
        let rule = rules.get(shown.rule)?;
        Some(RuleView {
            rule: rule.name.clone(),
            measure: rule.measure.name(),
            severity: rule.severity,
            state: shown.finding.phase.name(),
            value: shown.finding.value,
            bound: shown.finding.bounds.bound,
            clear: shown.finding.bounds.clear,
            side: rule.measure.side().name(),
            unit: rule.measure.unit().name(),
        })
    });
    each.collect()
}

/// How many of the probes of this node were answered in time.
#[derive(Serialize)]
pub struct UptimeView {
    /// `measured`, or `not_measured` before the first probe.
    state: &'static str,
    measured_since: Option<At>,
    hour: Probes,
    day: Probes,
    last_failure: Option<Failure>,
}

#[derive(Serialize)]
struct Probes {
    /// From 0 to 1; null where there was no probe.
    share: Option<f64>,
    answered: u64,
    all: u64,
}

#[derive(Serialize)]
struct Failure {
    at: At,
    why: String,
}

impl UptimeView {
    pub fn of(uptime: &Uptime) -> Self {
        let now = clock::wall();
        let probes = |within: Millis| {
            let (answered, all) = uptime.counts(now, within);
            Probes {
                share: uptime.share(now, within),
                answered,
                all,
            }
        };
        let since = uptime.measured_since();
        Self {
            state: if since.is_some() { "measured" } else { "not_measured" },
            measured_since: since.map(At),
            hour: probes(HOUR),
            day: probes(DAY),
            last_failure: uptime.last_failure().map(|(at, why)| Failure {
                at: At(*at),
                why: why.clone(),
            }),
        }
    }
}
