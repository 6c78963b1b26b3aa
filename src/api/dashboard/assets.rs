//! The page and what it is made of, out of the binary: no build step, no outside address, nothing inline.
//!
//! Everything but the page stands under a version that is a hash of all of it, so that browsers may keep it for ever and never
//! mix two builds.

use crate::api::context::Context;
use crate::api::fields;
use crate::api::hosts::origin_of;
use crate::api::problem::Problem;
use crate::api::request::Path;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

pub const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// Browsers ask again each time, and are told that nothing has changed.
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("no-cache");
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// Stands in the page for the version.
const VERSION_MARK: &str = "VERSION";
pub const PAGE: &str = include_str!("index.html");

/// Name, media type, content.
pub const ASSETS: [(&str, &str, &str); 15] = [
    ("style.css", CSS, include_str!("style.css")),
    ("icon.svg", SVG, include_str!("icon.svg")),
    ("app.js", SCRIPT, include_str!("app.js")),
    ("node.js", SCRIPT, include_str!("node.js")),
    ("dom.js", SCRIPT, include_str!("dom.js")),
    ("words.js", SCRIPT, include_str!("words.js")),
    ("panels.js", SCRIPT, include_str!("panels.js")),
    ("list.js", SCRIPT, include_str!("list.js")),
    ("detail.js", SCRIPT, include_str!("detail.js")),
    ("audience.js", SCRIPT, include_str!("audience.js")),
    ("people.js", SCRIPT, include_str!("people.js")),
    ("publish.js", SCRIPT, include_str!("publish.js")),
    ("charts.js", SCRIPT, include_str!("charts.js")),
    ("room.js", SCRIPT, include_str!("room.js")),
    ("alerts.js", SCRIPT, include_str!("alerts.js")),
];

static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut hash = Sha256::new();
    for (name, _, content) in ASSETS {
        hash.update(name);
        hash.update(content);
    }
    let digest = hash.finalize();
    digest.iter().take(6).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
});

/// The page, and its tag.
static SERVED: LazyLock<(Bytes, String)> = LazyLock::new(|| {
    let page = PAGE.replace(VERSION_MARK, &VERSION);
    let tag = format!("\"{:x}\"", Sha256::digest(&page));
    (page.into(), tag)
});

/// `GET /`.
pub async fn page(State(context): State<Arc<Context>>, headers: HeaderMap) -> Response {
    let (page, tag) = &*SERVED;
    let mut response = answer(&headers, HTML, tag, page.clone(), ASK_AGAIN);
    if let Ok(policy) = HeaderValue::from_str(&policy(&context)) {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    let more = [
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    for (name, value) in more {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// `GET /dashboard/{version}/{name}`. Another version is one of before an update: it gets what there is now, not to be kept.
pub async fn asset(Path((version, name)): Path<(String, String)>, headers: HeaderMap) -> Result<Response, Problem> {
    let found = ASSETS.iter().find(|(known, _, _)| *known == name);
    let (_, media_type, content) = found.ok_or_else(|| Problem::absent("file", fields::shorten(&name)))?;
    let kept = if version == *VERSION { FOR_EVER } else { ASK_AGAIN };
    let tag = format!("\"{}\"", *VERSION);
    Ok(answer(
        &headers,
        media_type,
        &tag,
        Bytes::from_static(content.as_bytes()),
        kept,
    ))
}

fn answer(asked: &HeaderMap, media_type: &'static str, tag: &str, content: Bytes, kept: HeaderValue) -> Response {
    let known = asked.get_all(header::IF_NONE_MATCH).iter();
    let is_known = known
        .filter_map(|value| value.to_str().ok())
        .flat_map(|tags| tags.split(','))
        .any(|known| known.trim().trim_start_matches("W/") == tag);
    let mut response = Response::new(if is_known { Body::empty() } else { Body::from(content) });
    if is_known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, kept);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(tag) = HeaderValue::from_str(tag) {
        headers.insert(header::ETAG, tag);
    }
    response
}

/// Only what is served here may run or be seen, and only the cluster's own nodes may be asked.
fn policy(context: &Context) -> String {
    let mut policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'; connect-src 'self'"
        .to_owned();
    let others = context.nodes.iter().filter(|(node, _)| *node != context.node);
    for origin in others.filter_map(|(_, url)| origin_of(url)) {
        policy.push(' ');
        policy.push_str(&origin);
    }
    policy
}
