//! Every route on one page, and what all of them have in common.

use super::access;
use super::context::Context;
use super::directory::{self, Noun};
use super::problem::{Code, Problem};
use super::{audit, batch, broadcasts, import, inbox, operate, publish, receipts, subscribe, tokens};
use crate::base::clock;
use crate::metrics::METRICS;
use crate::model::PlaceKind;
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post, put};
use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use tower_service::Service;

const PUBLISH: &str = "/v1/broadcasts";

pub fn router(context: Arc<Context>) -> Router {
    let routes = Router::new()
        .route(PUBLISH, post(publish::publish).get(broadcasts::list))
        .route("/v1/broadcasts/batch", post(batch::batch))
        .route("/v1/broadcasts/{id}", get(broadcasts::get))
        .route("/v1/broadcasts/{id}/recipients", get(broadcasts::recipients))
        .route("/v1/broadcasts/{id}/acknowledge", post(receipts::acknowledge))
        .route("/v1/acknowledgements", post(receipts::acknowledgements))
        .route("/v1/receipts", post(receipts::receipts))
        .route("/v1/inbox", get(inbox::inbox))
        .route("/v1/subscribe", get(subscribe::subscribe))
        .route("/v1/import", post(import::import))
        .route("/v1/users", list_of(Noun::User))
        .route("/v1/weddings", list_of(Noun::Wedding))
        .route("/v1/venues", list_of(Noun::Venue))
        .route("/v1/segments", list_of(Noun::Segment))
        .route("/v1/users/{id}", one_of(Noun::User))
        .route("/v1/weddings/{id}", one_of(Noun::Wedding))
        .route("/v1/venues/{id}", one_of(Noun::Venue))
        .route("/v1/segments/{id}", one_of(Noun::Segment))
        .route("/v1/weddings/{id}/members", members_of(PlaceKind::Wedding))
        .route("/v1/venues/{id}/members", members_of(PlaceKind::Venue))
        .route("/v1/weddings/{id}/members/{user}", member_of(PlaceKind::Wedding))
        .route("/v1/venues/{id}/members/{user}", member_of(PlaceKind::Venue))
        .route(
            "/v1/users/{id}/preferences",
            put(directory::put_preferences).get(directory::get_preferences),
        )
        .route("/v1/tokens", post(tokens::create).get(tokens::list))
        .route("/v1/tokens/{id}", delete(tokens::revoke))
        .route("/v1/cluster", get(operate::cluster))
        .route("/v1/queues", get(operate::queues))
        .route("/v1/workers", get(operate::workers))
        .route("/v1/config", get(operate::config))
        .route("/v1/audit", get(audit::list))
        .route("/livez", get(operate::livez))
        .route("/healthz", get(operate::livez))
        .route("/readyz", get(operate::readyz))
        .route("/metrics", get(operate::metrics))
        .route("/problems/{code}", get(operate::problem))
        .route("/", get(operate::page));
    routes
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(context.clone(), front))
        .with_state(context)
}

type Routes = MethodRouter<Arc<Context>>;

fn list_of(noun: Noun) -> Routes {
    get(move |state, uri| directory::list(noun, state, uri))
}

fn one_of(noun: Noun) -> Routes {
    put(move |state, path, request| directory::put(noun, state, path, request))
        .get(move |state, path, uri| directory::get(noun, state, path, uri))
        .delete(move |state, path, uri| directory::delete(noun, state, path, uri))
}

fn members_of(kind: PlaceKind) -> Routes {
    put(move |state, path, request| directory::put_members(kind, state, path, request))
        .get(move |state, path, uri| directory::members(kind, state, path, uri))
}

fn member_of(kind: PlaceKind) -> Routes {
    put(move |state, path, request| directory::put_member(kind, state, path, request))
        .get(move |state, path, uri| directory::get_member(kind, state, path, uri))
        .delete(move |state, path, uri| directory::delete_member(kind, state, path, uri))
}

async fn not_found() -> Problem {
    Problem::new(Code::NotFound, "there is no such address; the API is under /v1")
}

/// The router adds `Allow`.
async fn method_not_allowed() -> Problem {
    Problem::new(
        Code::MethodNotAllowed,
        "see the Allow header for the methods of this address",
    )
}

/// Answers a request. The one that is nearly all of a node's load goes to its handler directly: the router's layers were a
/// sixth of what answering it costs.
pub async fn answer(context: &Arc<Context>, router: &mut Router, request: Request) -> Response {
    if request.method() == Method::POST && request.uri().path() == PUBLISH {
        return pass(context, request, |request| async {
            publish::publish(State(context.clone()), request).await.into_response()
        })
        .await;
    }
    let Ok(response) = router.call(request).await;
    response
}

async fn front(State(context): State<Arc<Context>>, request: Request, next: Next) -> Response {
    pass(&context, request, |request| next.run(request)).await
}

/// What every request passes: names, origins, who asks, panics, the headers of every answer, the count.
async fn pass<F: Future<Output = Response>>(
    context: &Context,
    mut request: Request,
    handle: impl FnOnce(Request) -> F,
) -> Response {
    let started = clock::now();
    let (mut response, origin) = match context.hosts.check(request.uri(), request.headers()) {
        Err(problem) => (problem.into_response(), None),
        Ok(Some(origin)) if is_preflight(&request) => (StatusCode::NO_CONTENT.into_response(), Some(origin)),
        Ok(origin) => match access::admit(context, request.method(), request.uri(), request.headers()).await {
            Err(problem) => (problem.into_response(), origin),
            Ok(identity) => {
                let doing = audit::Doing::begin(identity.as_ref(), request.method(), request.uri().path());
                if let Some(identity) = identity {
                    request.extensions_mut().insert(identity);
                }
                let answered = AssertUnwindSafe(handle(request)).catch_unwind().await;
                let answered = answered.unwrap_or_else(|_| broken());
                if let Some(doing) = doing {
                    doing.end(context, &answered);
                }
                (answered, origin)
            }
        },
    };
    if let Some(code) = response
        .extensions()
        .get::<Code>()
        .copied()
        .filter(|code| access::is_denial(*code))
    {
        access::denied(code);
    }
    if let Some(origin) = origin {
        allow(response.headers_mut(), origin);
    }
    stamp(context, response.headers_mut());
    METRICS
        .http_requests
        .with_label_values(&[response.status().as_str()])
        .inc();
    METRICS.http_request_seconds.observe(started.elapsed().as_secs_f64());
    response
}

/// A handler panicked. The panic's own text is in the log.
fn broken() -> Response {
    Problem::new(Code::Internal, "the request broke something; the node goes on").into_response()
}

fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

pub fn allow(headers: &mut HeaderMap, origin: HeaderValue) {
    let all = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, PUT, DELETE"),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "authorization, content-type, idempotency-key, last-event-id, traceparent",
        ),
        (
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            "campanile-applied, campanile-node, idempotent-replayed, location, ratelimit, ratelimit-policy, retry-after, \
             www-authenticate",
        ),
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
        (header::VARY, "origin"),
    ];
    headers.extend(all.map(|(name, value)| (name, HeaderValue::from_static(value))));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
}

/// Which node answered, and how far it has applied the log; a write has said its own index already.
pub fn stamp(context: &Context, headers: &mut HeaderMap) {
    headers.insert("campanile-node", context.node_header.clone());
    if !headers.contains_key("campanile-applied") {
        headers.insert("campanile-applied", HeaderValue::from(context.handle.applied()));
    }
}
