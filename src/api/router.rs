//! Every route on one page, and what all of them have in common.

use super::access;
use super::context::Context;
use super::directory::{self, Noun};
use super::problem::{Code, Problem};
use super::{
    alerts, audit, batch, broadcasts, cache, cancel, dashboard, dead_letters, drill, import, inbox, metrics, operate,
    outputs, publish, receipts, recipients, redeliver, scaling, subscribe, tokens,
};
use crate::base::clock;
use crate::metrics::METRICS;
use crate::model::PlaceKind;
use crate::net::head;
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

/// An address: what each of its methods does, in the words of `docs/API.md`, and what answers.
pub struct Route {
    pub path: &'static str,
    #[cfg_attr(not(test), expect(dead_code, reason = "read by the test that keeps docs/API.md"))]
    pub about: &'static [(&'static str, &'static str)],
    answers: Routes,
}

const fn route(path: &'static str, about: &'static [(&'static str, &'static str)], answers: Routes) -> Route {
    Route { path, about, answers }
}

/// Every route, in the order in which `docs/API.md` lists them.
pub fn routes() -> Vec<Route> {
    const LIST: &[(&str, &str)] = &[("GET", "list, by id")];
    const ONE: &[(&str, &str)] = &[("PUT", "create or replace"), ("GET", "one"), ("DELETE", "remove")];
    const MEMBERS: &[(&str, &str)] = &[("PUT", "replace all members"), ("GET", "list members, by user")];
    const MEMBER: &[(&str, &str)] = &[
        ("PUT", "add a member, or change the role"),
        ("GET", "the role"),
        ("DELETE", "remove from the place"),
    ];
    vec![
        route(
            PUBLISH,
            &[
                ("POST", "publish a broadcast"),
                ("GET", "list broadcasts, newest first"),
            ],
            post(publish::publish).get(broadcasts::list),
        ),
        route(
            "/v1/broadcasts/batch",
            &[("POST", "publish many, a line each")],
            post(batch::batch),
        ),
        route(
            "/v1/broadcasts/{id}",
            &[("GET", "a broadcast, its status and counts")],
            get(broadcasts::get),
        ),
        route(
            "/v1/broadcasts/{id}/recipients",
            &[("GET", "how far each recipient is, and why no further")],
            get(recipients::recipients),
        ),
        route(
            "/v1/broadcasts/{id}/drill",
            &[("GET", "a drill's graded sheet")],
            get(drill::get),
        ),
        route(
            "/v1/broadcasts/{id}/acknowledge",
            &[("POST", "a recipient confirms")],
            post(receipts::acknowledge),
        ),
        route(
            "/v1/broadcasts/{id}/cancel",
            &[("POST", "call a broadcast off")],
            post(cancel::cancel),
        ),
        route(
            "/v1/broadcasts/{id}/redeliver",
            &[("POST", "deliver once more to who has not got it")],
            post(redeliver::redeliver),
        ),
        route(
            "/v1/dead-letters",
            &[("GET", "who never got what has expired, and why")],
            get(dead_letters::list),
        ),
        route(
            "/v1/acknowledgements",
            &[("POST", "a recipient confirms several")],
            post(receipts::acknowledgements),
        ),
        route(
            "/v1/receipts",
            &[("POST", "a recipient has received or read")],
            post(receipts::receipts),
        ),
        route(
            "/v1/inbox",
            &[("GET", "a user's broadcasts, newest first")],
            get(inbox::inbox),
        ),
        route(
            "/v1/subscribe",
            &[("GET", "a user's broadcasts as they come")],
            get(subscribe::subscribe),
        ),
        route(
            "/v1/import",
            &[("POST", "load a directory, a line each")],
            post(import::import),
        ),
        route("/v1/users", LIST, list_of(Noun::User)),
        route("/v1/users/{id}", ONE, one_of(Noun::User)),
        route(
            "/v1/users/{id}/preferences",
            &[("PUT", "replace a user's preferences"), ("GET", "a user's preferences")],
            put(directory::put_preferences).get(directory::get_preferences),
        ),
        route("/v1/weddings", LIST, list_of(Noun::Wedding)),
        route("/v1/weddings/{id}", ONE, one_of(Noun::Wedding)),
        route("/v1/weddings/{id}/members", MEMBERS, members_of(PlaceKind::Wedding)),
        route(
            "/v1/weddings/{id}/members/{user}",
            MEMBER,
            member_of(PlaceKind::Wedding),
        ),
        route("/v1/venues", LIST, list_of(Noun::Venue)),
        route("/v1/venues/{id}", ONE, one_of(Noun::Venue)),
        route("/v1/venues/{id}/members", MEMBERS, members_of(PlaceKind::Venue)),
        route("/v1/venues/{id}/members/{user}", MEMBER, member_of(PlaceKind::Venue)),
        route("/v1/segments", LIST, list_of(Noun::Segment)),
        route("/v1/segments/{id}", ONE, one_of(Noun::Segment)),
        route(
            "/v1/cache",
            &[(
                "GET",
                "how full both tiers are, and how often they have what is asked for",
            )],
            get(cache::status),
        ),
        route(
            "/v1/cache/{namespace}",
            &[("DELETE", "invalidate all of a namespace")],
            delete(cache::empty),
        ),
        route(
            "/v1/cache/{namespace}/{key}",
            &[
                ("GET", "a value"),
                ("PUT", "keep a value"),
                ("DELETE", "invalidate a value"),
            ],
            get(cache::get).put(cache::put).delete(cache::delete),
        ),
        route(
            "/v1/cluster",
            &[("GET", "who leads, and how far each node is")],
            get(operate::cluster),
        ),
        route(
            "/v1/queues",
            &[("GET", "what waits on this node, by priority")],
            get(operate::queues),
        ),
        route(
            "/v1/outputs",
            &[("GET", "what can be called besides people, and the latest calls")],
            get(outputs::list),
        ),
        route(
            "/v1/workers",
            &[("GET", "the threads that write to subscribers")],
            get(operate::workers),
        ),
        route(
            "/v1/scaling",
            &[("GET", "how many threads there are, why, and what the coming days need")],
            get(scaling::scaling),
        ),
        route(
            "/v1/alerts",
            &[("GET", "what is wrong, what was, and how each rule stands")],
            get(alerts::list),
        ),
        route(
            "/v1/dashboard",
            &[("GET", "all that the dashboard shows, once or as a stream")],
            get(dashboard::board),
        ),
        route(
            "/v1/dashboard/series/{name}",
            &[("GET", "the last points of a series")],
            get(dashboard::series::get),
        ),
        route(
            "/v1/config",
            &[("GET", "this node's settings, secrets masked")],
            get(operate::config),
        ),
        route(
            "/v1/tokens",
            &[("POST", "make a token"), ("GET", "list tokens, without their secrets")],
            post(tokens::create).get(tokens::list),
        ),
        route(
            "/v1/tokens/{id}",
            &[("DELETE", "revoke a token")],
            delete(tokens::revoke),
        ),
        route(
            "/v1/audit",
            &[("GET", "who was refused what, and what administrators changed")],
            get(audit::list),
        ),
        route("/livez", &[("GET", "the process answers")], get(operate::livez)),
        route("/healthz", &[("GET", "the same as /livez")], get(operate::livez)),
        route("/readyz", &[("GET", "the node takes requests")], get(operate::readyz)),
        route("/metrics", &[("GET", "counters for Prometheus")], get(metrics::metrics)),
        route(
            "/problems/{code}",
            &[("GET", "what an error code means")],
            get(operate::problem),
        ),
        route("/", &[("GET", "the dashboard")], get(dashboard::assets::page)),
        route(
            "/dashboard/{version}/{name}",
            &[("GET", "what the dashboard is made of")],
            get(dashboard::assets::asset),
        ),
    ]
}

pub fn router(context: Arc<Context>) -> Router {
    routes()
        .into_iter()
        .fold(Router::new(), |router, route| router.route(route.path, route.answers))
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
    let is_work = request.uri().path().starts_with("/v1/");
    let checked = head::check_parsed(request.headers())
        .map_err(|error| Problem::new(Code::MalformedRequest, error.to_string()).closing())
        .and_then(|()| context.hosts.check(request.uri(), request.headers()));
    let (mut response, origin) = match checked {
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
    if is_work {
        METRICS.api_requests.inc();
        METRICS
            .api_failed
            .inc_by(u64::from(response.status().is_server_error()));
    }
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
            "authorization, cache-control, content-type, idempotency-key, if-none-match, last-event-id, traceparent",
        ),
        (
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            "age, campanile-applied, campanile-cache, campanile-node, etag, idempotent-replayed, location, ratelimit, ratelimit-policy, retry-after, \
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
