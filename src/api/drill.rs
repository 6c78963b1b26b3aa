//! `GET /v1/broadcasts/{id}/drill`: the graded sheet of a drill.

use super::context::Context;
use super::problem::{Code, Problem};
use super::request::{Path, Query};
use super::roles::Roles;
use super::wire::{self, Text26};
use crate::model::UserNumber;
use crate::state::State as Applied;
use crate::state::broadcasts::Hot;
use crate::state::drill::{Grade, Sheet, sheet};
use axum::extract::State;
use axum::response::Response;
use http::{StatusCode, Uri};
use roaring::RoaringBitmap;
use serde::Serialize;
use std::sync::Arc;

/// People of a list who are named; `count` counts all of them.
const NAMED_MAX: usize = 100;

#[derive(Serialize)]
struct Shown<'a> {
    id: Text26,
    title: &'a str,
    status: &'static str,
    measured: &'static str,
    r#final: bool,
    grade: Option<&'static str>,
    targeted: u64,
    confirmed: u64,
    within_15s: Share,
    within_60s: Share,
    median_ms: Option<u64>,
    p95_ms: Option<u64>,
    slowest_ms: Option<u64>,
    slowest: Option<Named>,
    not_confirmed: List,
    unreachable: List,
}

#[derive(Serialize)]
struct Share {
    count: u64,
    /// Of those targeted, from 0 to 1; none of nobody.
    share: Option<f64>,
}

#[derive(Serialize)]
struct Named {
    user: String,
    roles: Vec<String>,
}

#[derive(Serialize)]
struct List {
    count: u64,
    people: Vec<Named>,
}

pub async fn get(State(context): State<Arc<Context>>, Path(id): Path<String>, uri: Uri) -> Result<Response, Problem> {
    let deadline = context.deadline();
    context.fresh(&Query::read(&uri, &[])?, deadline).await?;
    let hot = context.broadcast(&id, deadline).await?;
    if !hot.broadcast.draft.drill {
        return Err(Problem::new(
            Code::NotADrill,
            "only a broadcast with \"drill\": true has a sheet",
        ));
    }
    let now = context.handle.log_time();
    let sheet = sheet(&hot, now);
    let names = context.handle.read(|state| Names::of(state, &hot, &sheet));
    Ok(wire::json(
        StatusCode::OK,
        &Shown {
            id: Text26(hot.broadcast.id),
            title: &hot.broadcast.draft.title,
            status: hot.status(now).name(),
            measured: sheet.measured.name(),
            r#final: sheet.is_final,
            grade: sheet.grade.map(Grade::name),
            targeted: sheet.targeted,
            confirmed: sheet.confirmed,
            within_15s: share(sheet.fast, sheet.targeted),
            within_60s: share(sheet.in_time, sheet.targeted),
            median_ms: sheet.median_ms,
            p95_ms: sheet.p95_ms,
            slowest_ms: sheet.slowest.map(|(_, took)| took),
            slowest: names.slowest,
            not_confirmed: names.not_confirmed,
            unreachable: names.unreachable,
        },
    ))
}

/// A share with four digits behind the point.
fn share(count: u64, of: u64) -> Share {
    let share = (count as f64 / of as f64 * 10_000.0).round() / 10_000.0;
    Share {
        count,
        share: (of > 0).then_some(share),
    }
}

/// Who is named on a sheet; whoever has been erased is counted and not named.
struct Names {
    slowest: Option<Named>,
    not_confirmed: List,
    unreachable: List,
}

impl Names {
    fn of(state: &Applied, hot: &Hot, sheet: &Sheet) -> Self {
        let slowest = sheet.slowest.map(|(user, _)| user);
        let listed = |users: &RoaringBitmap| users.iter().take(NAMED_MAX).collect::<Vec<UserNumber>>();
        let (missing, unreachable) = (listed(&sheet.not_confirmed), listed(&sheet.unreachable));
        let all = slowest.iter().chain(&missing).chain(&unreachable).copied().collect();
        let (draft, at) = (&hot.broadcast.draft, hot.broadcast.released_at());
        let roles = Roles::of(state.directory(), draft, at, &all);
        let named = |user: UserNumber| {
            Some(Named {
                user: state.directory().user_id(user)?.to_owned(),
                roles: roles.held_by(user),
            })
        };
        let list = |users: Vec<UserNumber>, count| List {
            count,
            people: users.into_iter().filter_map(named).collect(),
        };
        Self {
            slowest: slowest.and_then(named),
            not_confirmed: list(missing, sheet.not_confirmed.len()),
            unreachable: list(unreachable, sheet.unreachable.len()),
        }
    }
}
