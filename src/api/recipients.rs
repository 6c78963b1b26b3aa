//! `GET /v1/broadcasts/{id}/recipients`: how far each recipient is, and why no further.

use super::context::Context;
use super::person::{Known, STATES};
use super::problem::Problem;
use super::request::{Path, Query};
use super::roles::Roles;
use super::wire::{self, At, Page};
use crate::base::clock::Millis;
use crate::model::{NodeId, Reason, UserNumber};
use crate::state::State as Applied;
use crate::state::broadcasts::Hot;
use axum::extract::State;
use axum::response::Response;
use http::{StatusCode, Uri};
use serde::Serialize;
use std::sync::Arc;

/// One recipient as the sender sees them.
#[derive(Serialize)]
struct Recipient {
    user: String,
    roles: Vec<String>,
    state: &'static str,
    reason: Option<&'static str>,
    at: Option<At>,
    node: Option<NodeId>,
    answer: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    late: bool,
    /// Since when somebody who is not done has no session any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<At>,
    /// Until when somebody is held, or has to wait for their own time.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<At>,
}

pub async fn recipients(
    State(context): State<Arc<Context>>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Response, Problem> {
    let (query, deadline) = (Query::read(&uri, &["limit", "after", "state"])?, context.deadline());
    context.fresh(&query, deadline).await?;
    let limit = query.limit()?;
    let known = |text: &str| STATES.into_iter().find(|state| *state == text);
    let wanted = query.parse("state", &format!("one of {}", STATES.join(", ")), known)?;
    let after = query.parse("after", "a number that a page ended with", |text| {
        text.parse::<UserNumber>().ok()
    })?;
    let hot = context.broadcast(&id, deadline).await?;
    let now = context.handle.log_time();
    let among = if wanted == Some("excluded") {
        &hot.excluded
    } else {
        &hot.recipients
    };
    let from = after.map_or(0, |after| after.saturating_add(1));
    let found: Vec<(UserNumber, Recipient)> = context.handle.read(|state| {
        let each = among.range(from..).filter_map(|user| {
            let shown = recipient(state, &hot, user, now, wanted == Some("excluded"))?;
            wanted
                .is_none_or(|wanted| wanted == shown.state)
                .then_some((user, shown))
        });
        let mut found: Vec<_> = each.take(limit + 1).collect();
        let users = found.iter().map(|(user, _)| *user).collect();
        let (draft, at) = (&hot.broadcast.draft, hot.broadcast.released_at());
        let roles = Roles::of(state.directory(), draft, at, &users);
        found
            .iter_mut()
            .for_each(|(user, shown)| shown.roles = roles.held_by(*user));
        found
    });
    let page = Page::cut(found, limit, |(user, _)| user.to_string());
    let items = page.items.into_iter().map(|(_, shown)| shown).collect();
    Ok(wire::json(StatusCode::OK, &Page { items, next: page.next }))
}

/// `None` for somebody who has been erased: their name is gone from every ledger.
fn recipient(state: &Applied, hot: &Hot, user: UserNumber, now: Millis, is_excluded: bool) -> Option<Recipient> {
    let name = state.directory().user_id(user)?.to_owned();
    let known = known(state, hot, user, now, is_excluded);
    let detail = known.step.and_then(|step| hot.ledger.detail(user, step));
    let answer = hot.ledger.answers.get(&user);
    let aside = hot.ledger.aside.as_deref();
    Some(Recipient {
        user: name,
        roles: Vec::new(), // told once for the whole page
        state: known.state(),
        reason: known.reason().map(Reason::name),
        at: detail.map(|(at, _)| At(at)),
        node: detail.map(|(_, node)| node),
        answer: answer.map(|answer| answer.answer.clone()),
        late: answer.is_some_and(|answer| answer.late),
        since: known.since().map(At),
        until: aside
            .and_then(|aside| aside.until(user))
            .filter(|_| !known.is_off)
            .map(At),
    })
}

/// What is known of somebody; the deciding is in [`super::person`].
pub(super) fn known(state: &Applied, hot: &Hot, user: UserNumber, now: Millis, is_excluded: bool) -> Known {
    let is_off = hot.ledger.is_cancelled();
    let is_expired = now >= hot.broadcast.expires_at && !hot.done().contains(user) && !is_off;
    let aside = hot.ledger.aside.as_deref();
    Known {
        step: hot.ledger.step(user),
        beside: aside.and_then(|aside| aside.reason(user)),
        has_time_ahead: aside.is_some_and(|aside| aside.awaits_local_time(user)),
        asks: hot.broadcast.draft.acknowledge.is_some(),
        has_failed: hot.has_failed(user) && !is_off,
        dead: hot.dead().and_then(|dead| dead.reason(user)).filter(|_| is_expired),
        is_expired,
        is_off,
        is_excluded,
        is_connected: state.presence().is_connected(user),
        gone_since: state.presence().gone_since(user),
    }
}
