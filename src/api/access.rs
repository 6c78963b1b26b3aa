//! Who asks, and may they be here at all: one step before every handler. What a caller may say to whom is decided later, where
//! the audience is known.

use super::audit;
use super::context::Context;
use super::problem::{Code, Problem};
use crate::gateway::Pass;
use crate::metrics::METRICS;
use crate::model::{Caller, Scope};
use crate::security::{Denied, Identity, Shown, token};
use crate::state::tokens::TokenHash;
use axum::extract::{FromRequestParts, Query as Pairs};
use http::{HeaderMap, Method, Uri, header};
use std::borrow::Cow;
use std::time::Duration;

/// The leader is asked about an unknown token for this long.
const ASK_WITHIN: Duration = Duration::from_secs(2);
/// Unknown tokens that the leader is asked about at once: guesses must not keep it busy.
pub const ASKING_MAX: usize = 16;
/// The address that browsers open without headers of their own.
const SUBSCRIBE: &str = "/v1/subscribe";

/// Who asks, as a handler gets it.
#[derive(Clone, Debug)]
pub struct Asking(pub Identity);

impl Asking {
    pub fn caller(&self) -> &Caller {
        &self.0.caller
    }

    /// From a request that has passed the gate.
    pub fn of(extensions: &http::Extensions) -> Result<Self, Problem> {
        let identity = extensions.get::<Identity>().cloned();
        identity
            .map(Self)
            .ok_or_else(|| Problem::new(Code::Internal, "the request came past the gate"))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Asking {
    type Rejection = Problem;

    async fn from_request_parts(head: &mut http::request::Parts, _: &S) -> Result<Self, Problem> {
        Self::of(&head.extensions)
    }
}

/// The scope that an address needs; `None`: it is open to all. What is not listed here needs `admin`.
pub fn needed(method: &Method, path: &str) -> Option<Scope> {
    let rest = path.strip_prefix("/v1/")?;
    let mut parts = rest.trim_end_matches('/').split('/');
    let (first, second, third) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    let reads = *method == Method::GET || *method == Method::HEAD;
    Some(match (first, second, third) {
        ("subscribe" | "inbox", None, None) if reads => Scope::Subscribe,
        ("receipts" | "acknowledgements", None, None) => Scope::Subscribe,
        ("broadcasts", Some(_), Some("acknowledge")) => Scope::Subscribe,
        // the handler lets a user at their own only
        ("users", Some(_), Some("preferences")) => Scope::Subscribe,
        ("broadcasts", ..) if *method == Method::POST => Scope::Publish,
        ("broadcasts" | "dead-letters", ..) if reads => Scope::Read,
        ("users" | "weddings" | "venues" | "segments" | "cache", ..) if reads => Scope::Read,
        ("cluster" | "queues" | "workers" | "outputs" | "scaling" | "alerts" | "dashboard", ..) if reads => Scope::Read,
        _ => Scope::Admin,
    })
}

/// Lets a request pass, or says why not. `None` for an address that asks nobody.
pub async fn admit(
    context: &Context,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Option<Identity>, Problem> {
    if let Some(anyone) = context.gate.anyone() {
        return Ok(Some(anyone.clone()));
    }
    let Some(scope) = needed(method, uri.path()) else {
        return Ok(None);
    };
    let unknown = |problem: Problem| {
        audit::denied(context, None, audit::TURNED_AWAY.into(), &problem);
        problem
    };
    let token = shown(uri, headers).map_err(unknown)?;
    let identity = identify(context, &token).await.map_err(unknown)?;
    if identity.caller.may(scope) {
        return Ok(Some(identity));
    }
    let detail = format!("this needs a token with the scope {}", scope.name());
    let problem = Problem::new(Code::MissingScope, detail);
    audit::denied(
        context,
        Some(&identity.caller),
        audit::action(method, uri.path()),
        &problem,
    );
    Err(problem)
}

/// The token that a request shows. A header wins; a browser's `EventSource` or `WebSocket` can only send an address.
fn shown<'h>(uri: &Uri, headers: &'h HeaderMap) -> Result<Cow<'h, str>, Problem> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    if let Some(value) = given.next() {
        if given.next().is_some() {
            return Err(Problem::new(
                Code::MalformedRequest,
                "there are two Authorization headers",
            ));
        }
        return bearer(value.to_str().unwrap_or_default()).map(Cow::Borrowed);
    }
    let in_query = || {
        let Pairs(pairs) = Pairs::<Vec<(String, String)>>::try_from_uri(uri).ok()?;
        let found = pairs.into_iter().find(|(name, _)| name == "token");
        found.map(|(_, token)| token).filter(|token| !token.is_empty())
    };
    let found = (uri.path() == SUBSCRIBE).then(in_query).flatten();
    found
        .map(Cow::Owned)
        .ok_or_else(|| Problem::new(Code::MissingToken, "send Authorization: Bearer TOKEN"))
}

fn bearer(value: &str) -> Result<&str, Problem> {
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim()),
        _ => Err(Problem::new(
            Code::InvalidToken,
            "Authorization must be Bearer and a token",
        )),
    }
}

/// Whom a token stands for. One that is not known here may just have been made elsewhere: the leader is asked before a no.
async fn identify(context: &Context, text: &str) -> Result<Identity, Problem> {
    let hash = match context.gate.read(text, context.handle.log_time()) {
        Ok(Shown::Verified(identity)) => return Ok(identity),
        Ok(Shown::Token(hash)) => hash,
        Err(Denied::Expired) => return Err(expired()),
        Err(Denied::Invalid(detail)) => return Err(Problem::new(Code::InvalidToken, detail)),
    };
    if let Some(found) = look(context, &hash) {
        return found;
    }
    let Ok(_turn) = context.asking.try_acquire() else {
        METRICS.limits_hit.with_label_values(&["access.asking"]).inc();
        return Err(Problem::new(
            Code::Overloaded,
            "too many unknown tokens are asked about already",
        ));
    };
    context
        .handle
        .linearizable(context.deadline().min(crate::base::clock::now() + ASK_WITHIN))
        .await?;
    look(context, &hash).unwrap_or_else(|| Err(unknown()))
}

fn look(context: &Context, hash: &TokenHash) -> Option<Result<Identity, Problem>> {
    let now = context.handle.log_time();
    context.handle.read(|state| {
        let (_, token) = state.tokens().find(hash)?;
        if token.has_ended(now) {
            return Some(Err(expired()));
        }
        Some(Ok(Identity {
            caller: token.caller.clone(),
            until: token.expires_at,
        }))
    })
}

fn expired() -> Problem {
    Problem::new(Code::TokenExpired, "the token has expired")
}

fn unknown() -> Problem {
    Problem::new(Code::InvalidToken, "no such token was made here, or it was revoked")
}

/// What lets a session stay; `None` where nobody is authenticated. The token is looked at once more behind it: either the pass
/// was there when the token was revoked, or the revocation is seen here.
pub fn pass(context: &Context, identity: &Identity) -> Result<Option<Pass>, Problem> {
    let Some(id) = &identity.caller.token else {
        return Ok(None);
    };
    let pass = context.gateway.issue(id, identity.until);
    let is_gone = token::is_id(id) && context.handle.read(|state| state.tokens().get(id).is_none());
    if is_gone { Err(unknown()) } else { Ok(Some(pass)) }
}

/// Whether the caller may act for this user: it is their own, or they administer.
pub fn acts_for(caller: &Caller, user: &str) -> Result<(), Problem> {
    if caller.may(Scope::Admin) || caller.user.as_deref() == Some(user) {
        return Ok(());
    }
    Err(Problem::new(Code::OtherUser, "the token is for another user"))
}

/// Every request that was refused because of who asked comes by here, with its code.
pub fn denied(code: Code) {
    METRICS.denied.with_label_values(&[code.text()]).inc();
}

/// Whether a refusal with this code is about who asked.
pub fn is_denial(code: Code) -> bool {
    matches!(code.status().as_u16(), 401 | 403)
}

/// Callers do not share idempotency keys. A user keeps theirs when they come with another token.
pub fn key_space(caller: &Caller) -> String {
    match (&caller.user, &caller.token) {
        (Some(user), _) => format!("user {user}"),
        (None, Some(token)) => format!("token {token}"),
        (None, None) => caller.role.clone(),
    }
}

/// Who stands as a broadcast's sender.
pub fn sender(caller: &Caller) -> &str {
    caller.name().unwrap_or(&caller.role)
}

#[cfg(test)]
mod tests {
    use super::{bearer, needed, shown};
    use crate::model::Scope;
    use http::{HeaderMap, Method, Uri};

    #[test]
    fn every_address_has_its_scope_and_an_unknown_one_is_for_administrators() {
        let check = |line: &str, expected: Option<Scope>| {
            let (method, path) = line.split_once(' ').unwrap();
            let found = needed(&method.parse::<Method>().unwrap(), path);
            assert_eq!(found, expected, "{line}");
        };
        for line in [
            "GET /",
            "GET /livez",
            "GET /readyz",
            "GET /healthz",
            "GET /metrics",
            "GET /openapi.json",
        ] {
            check(line, None);
        }
        for line in [
            "POST /v1/broadcasts",
            "POST /v1/broadcasts/batch",
            "POST /v1/broadcasts/1/cancel",
        ] {
            check(line, Some(Scope::Publish));
        }
        for line in [
            "GET /v1/subscribe",
            "GET /v1/inbox",
            "POST /v1/receipts",
            "POST /v1/acknowledgements",
            "POST /v1/broadcasts/1/acknowledge",
            "PUT /v1/users/u/preferences",
        ] {
            check(line, Some(Scope::Subscribe));
        }
        for line in [
            "GET /v1/broadcasts",
            "GET /v1/broadcasts/1/recipients",
            "GET /v1/users/u",
            "HEAD /v1/weddings",
            "GET /v1/cluster",
        ] {
            check(line, Some(Scope::Read));
        }
        for line in [
            "PUT /v1/users/u",
            "DELETE /v1/venues/v",
            "PUT /v1/weddings/w/members/u",
            "POST /v1/import",
            "GET /v1/config",
            "GET /v1/tokens",
            "POST /v1/tokens",
            "POST /v1/cluster/transfer",
            "GET /v1/backup",
            "GET /v1/audit",
            "GET /v1/nothing",
            "GET /v1/",
            "POST /v1/subscribe",
        ] {
            check(line, Some(Scope::Admin));
        }
    }

    #[test]
    fn a_token_stands_in_the_header_and_for_browsers_in_the_address() {
        let check = |target: &str, header: &str, expected: Result<&str, &str>| {
            let mut headers = HeaderMap::new();
            if !header.is_empty() {
                headers.insert("authorization", header.parse().unwrap());
            }
            let found = shown(&target.parse::<Uri>().unwrap(), &headers);
            let found = found.map_err(|problem| problem.code().text());
            assert_eq!(found.as_deref().map_err(|code| *code), expected, "{target} {header}");
        };
        check("/v1/inbox", "Bearer cmp_a", Ok("cmp_a"));
        check("/v1/inbox", "bearer cmp_a", Ok("cmp_a"));
        check("/v1/inbox", "", Err("MISSING_TOKEN"));
        check("/v1/inbox?token=cmp_a", "", Err("MISSING_TOKEN"));
        check("/v1/subscribe?user=u&token=cmp_a", "", Ok("cmp_a"));
        check("/v1/subscribe?token=cmp_a", "Bearer cmp_b", Ok("cmp_b"));
        check("/v1/subscribe?token=", "", Err("MISSING_TOKEN"));
        check("/v1/inbox", "Basic YTpi", Err("INVALID_TOKEN"));
        assert!(bearer("Bearer").is_err());
    }
}
