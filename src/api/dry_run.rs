//! `POST /v1/broadcasts?dry_run=true`: what a publish would come to, and for whom it would not, with nothing stored.
//!
//! A sender looks before a critical broadcast goes out: who has no phone on, whom quiet hours hold, and whether an escalation has
//! anybody to turn to.

use super::context::Context;
use super::draft;
use super::person::Known;
use super::problem::Problem;
use super::publish::{notice, pointed, spans, superseded};
use super::rights::{self, Written};
use super::roles::Roles;
use super::wire::{self, At};
use crate::base::size::Span;
use crate::model::{Caller, Draft, Millis, Priority, Reason, Scope, UserNumber};
use crate::state::audiences::{Resolved, resolve};
use crate::state::command::Spans;
use crate::state::preferences::Sorted;
use crate::state::{Refused, State};
use axum::response::Response;
use http::StatusCode;
use roaring::RoaringBitmap;
use serde::Serialize;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

/// People who are named; the others are counted.
const NAMED_MAX: usize = 100;
/// People who are looked at before others get at the state again: apply must not wait for a sender's question.
const LOOKED_AT: usize = 2_000;

#[derive(Serialize)]
struct Would<'a> {
    dry_run: bool,
    priority: Priority,
    #[serde(rename = "type")]
    kind: &'a str,
    targeted: u64,
    connected: u64,
    excluded: u64,
    held: u64,
    skipped: u64,
    unknown: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<wire::Warning>,
    reasons: Reasons,
    not_reached: Vec<NotReached>,
    not_reached_more: u64,
    escalations: Vec<Escalation>,
}

/// How many it would not reach now, by reason.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Reasons {
    no_session: u64,
    offline_since: u64,
    quiet_hours: u64,
    muted_category: u64,
    critical_only: u64,
    excluded: u64,
}

/// Somebody whom it would not reach now.
#[derive(Serialize)]
struct NotReached {
    user: String,
    roles: Vec<String>,
    state: &'static str,
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<At>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<At>,
}

/// Whom a step would add to those before it.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Escalation {
    /// Its place in `acknowledge.escalate`, from 0 on.
    step: usize,
    after: Span,
    widens_by: u64,
    connected: u64,
}

pub async fn answer(
    context: &Arc<Context>,
    caller: &Caller,
    body: &[u8],
    deadline: Instant,
) -> Result<Response, Problem> {
    let now = context.handle.log_time();
    let draft: Draft = draft::read(body, &context.config, now)?;
    let written = Written { draft: &draft, body };
    let grant = rights::grant(context, caller, written, None, deadline).await?;
    let noticed = notice(context, &draft, deadline).await?;
    superseded(context, caller, &draft, deadline).await?;
    let outlook = context
        .handle
        .read(|state| Outlook::of(state, &draft, spans(&context.config)));
    let outlook = outlook.map_err(|refused| pointed(&refused, body))?;
    let told = tell(context, caller, &outlook).await;
    let targeted = outlook.all.recipients.len();
    let mut warnings = wire::warnings(targeted as u32, &draft, |output| context.outputs.has(output));
    warnings.extend(noticed);
    let mut response = wire::json(
        StatusCode::OK,
        &Would {
            dry_run: true,
            priority: draft.priority,
            kind: &draft.kind,
            targeted,
            connected: outlook.connected.len(),
            excluded: told.reasons.excluded,
            held: told.reasons.quiet_hours,
            skipped: told.reasons.muted_category + told.reasons.critical_only,
            unknown: outlook.all.unknown,
            warnings,
            not_reached_more: outlook.missed.len().saturating_sub(told.named.len() as u64),
            not_reached: told.named,
            reasons: told.reasons,
            escalations: outlook.escalations,
        },
    );
    let rate = grant.rate.map(|rate| rights::rate_headers(context, &rate, now));
    response.headers_mut().extend(rate.into_iter().flatten());
    Ok(response)
}

/// Whom a draft would reach now, as sets.
struct Outlook {
    all: Resolved,
    sorted: Sorted,
    /// Recipients with a session, held and skipped ones too.
    connected: RoaringBitmap,
    /// Recipients whom it would not reach now.
    missed: RoaringBitmap,
    /// The missed ones' roles.
    roles: Roles,
    escalations: Vec<Escalation>,
}

impl Outlook {
    fn of(state: &State, draft: &Draft, spans: Spans) -> Result<Self, Refused> {
        if let Some(old) = draft.supersedes {
            let is_known = state.is_kept(old.number()) && old.salt() == state.salt();
            is_known.then_some(()).ok_or(Refused::UnknownBroadcast)?;
        }
        let all = state.resolve(draft)?;
        let mut sorted = state.sort_first(draft, &all.recipients);
        state.times(draft, &sorted, spans)?;
        // whose own time is still to come is looked at as things are now
        let waiting = std::mem::take(&mut sorted.waiting);
        waiting.iter().for_each(|(_, users)| sorted.now |= users);
        let connected = state.presence().connected_of(&all.recipients);
        let missed = &*all.recipients - (&sorted.now & &connected);
        let roles = Roles::of(state.directory(), draft, state.log_time(), &missed);
        let escalations = escalations(state, draft, &all.recipients)?;
        Ok(Self {
            all,
            sorted,
            connected,
            missed,
            roles,
            escalations,
        })
    }

    /// Why somebody would be held or skipped, and until when.
    fn beside(&self, user: UserNumber) -> Option<(Reason, Option<Millis>)> {
        if self.sorted.muted.contains(user) {
            return Some((Reason::MutedCategory, None));
        }
        if self.sorted.critical_only.contains(user) {
            return Some((Reason::CriticalOnly, None));
        }
        let held = self.sorted.held.iter().find(|(_, users)| users.contains(user))?;
        Some((Reason::QuietHours, Some(held.0)))
    }

    /// One of the missed; `None` for somebody who has been erased meanwhile.
    fn person(&self, state: &State, user: UserNumber) -> Option<NotReached> {
        let name = state.directory().user_id(user)?;
        let beside = self.beside(user);
        let known = Known {
            beside: beside.map(|(reason, _)| reason),
            is_connected: self.connected.contains(user),
            gone_since: state.presence().gone_since(user),
            ..Known::default()
        };
        Some(NotReached {
            user: name.to_owned(),
            roles: self.roles.held_by(user),
            state: known.state(),
            reason: known.reason().map(Reason::name),
            since: known.since().map(At),
            until: beside.and_then(|(_, until)| until).map(At),
        })
    }
}

/// How many people each step adds to the audience and the steps before it.
fn escalations(state: &State, draft: &Draft, recipients: &RoaringBitmap) -> Result<Vec<Escalation>, Refused> {
    let mut before = recipients.clone();
    let steps = draft.acknowledge.iter().flat_map(|asked| &asked.escalate);
    let each = steps.zip(0..).map(|(asked, step)| {
        let reached = resolve(state.directory(), &asked.to, state.log_time())?.recipients;
        let more = &*reached - &before;
        before |= &more;
        Ok(Escalation {
            step,
            after: Span::millis(asked.after_ms),
            widens_by: more.len(),
            connected: state.presence().connected_among(&more),
        })
    });
    each.collect()
}

struct Told {
    reasons: Reasons,
    named: Vec<NotReached>,
}

/// Counts the missed, and names the first by role and user, to a caller who may look at recipients.
async fn tell(context: &Context, caller: &Caller, outlook: &Outlook) -> Told {
    let Sorted {
        now,
        held,
        muted,
        critical_only,
        waiting: _,
    } = &outlook.sorted;
    let mut reasons = Reasons {
        quiet_hours: held.iter().map(|(_, users)| users.len()).sum(),
        muted_category: muted.len(),
        critical_only: critical_only.len(),
        excluded: outlook.all.excluded.len(),
        ..Reasons::default()
    };
    let mut first = First {
        max: if caller.may(Scope::Read) { NAMED_MAX } else { 0 },
        people: BTreeSet::new(),
    };
    let mut missed = outlook.missed.iter();
    loop {
        let some: Vec<UserNumber> = missed.by_ref().take(LOOKED_AT).collect();
        if some.is_empty() {
            break;
        }
        context.handle.read(|state| {
            for user in some {
                match state.presence().gone_since(user) {
                    _ if !now.contains(user) => {}
                    Some(_) => reasons.offline_since += 1,
                    None => reasons.no_session += 1,
                }
                if let Some(name) = state.directory().user_id(user) {
                    first.offer(outlook.roles.first_of(user), name, user);
                }
            }
        });
        tokio::task::yield_now().await;
    }
    let users = first.people.iter().map(|(_, _, user)| *user);
    let named = context
        .handle
        .read(|state| users.filter_map(|user| outlook.person(state, user)).collect());
    Told { reasons, named }
}

/// The first people by role and name, so many at most.
struct First {
    max: usize,
    people: BTreeSet<(String, String, UserNumber)>,
}

impl First {
    fn offer(&mut self, role: &str, name: &str, user: UserNumber) {
        let is_behind = |(last_role, last_name, _): &(String, String, UserNumber)| {
            (role, name) >= (last_role.as_str(), last_name.as_str())
        };
        let is_full = self.people.len() >= self.max;
        if is_full && self.people.last().is_none_or(is_behind) {
            return;
        }
        self.people.insert((role.to_owned(), name.to_owned(), user));
        if is_full {
            self.people.pop_last();
        }
    }
}
