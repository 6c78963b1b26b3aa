//! Everything the API can say no with: one table of codes, and the RFC 9457 document that carries one.

use crate::consensus::ProposeError;
use crate::model::Priority;
use crate::state::Refused;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use std::time::Duration;

/// Faults of one request that are listed; a body can hold no end of them.
pub const FAULTS_MAX: usize = 100;

macro_rules! codes {
    ($($name:ident $text:literal $status:literal $retryable:literal $title:literal;)*) => {
        /// What went wrong, as a word that programs compare.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $($name),* }

        impl Code {
    /// Those of refusals that are the node's fault, as text.
    pub fn of_the_node() -> Vec<&'static str> {
        let ours = Self::ALL.iter().filter(|code| code.status().is_server_error());
        ours.map(|code| code.text()).collect()
    }

            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The word, the HTTP status, whether the same request may succeed later, and a title for people.
            const fn row(self) -> (&'static str, u16, bool, &'static str) {
                match self { $(Self::$name => ($text, $status, $retryable, $title)),* }
            }
        }
    };
}

codes! {
    MalformedJson "MALFORMED_JSON" 400 false "The body is not valid JSON";
    InvalidUtf8 "INVALID_UTF8" 400 false "The body is not valid UTF-8";
    MalformedRequest "MALFORMED_REQUEST" 400 false "The request cannot be read";
    MissingToken "MISSING_TOKEN" 401 false "This address needs a token";
    InvalidToken "INVALID_TOKEN" 401 false "The token is not valid";
    TokenExpired "TOKEN_EXPIRED" 401 false "The token has expired";
    MissingScope "MISSING_SCOPE" 403 false "The token is not for this";
    OtherUser "OTHER_USER" 403 false "The token is for another user";
    NoUser "NO_USER" 403 false "The token is for no user";
    ForeignHost "FOREIGN_HOST" 403 false "This node does not answer to that host name";
    ForeignOrigin "FOREIGN_ORIGIN" 403 false "Web pages of that origin may not call this node";
    CrossEventTarget "CROSS_EVENT_TARGET" 403 false "The audience is outside of the sender's reach";
    NoSuchRoleInEvent "NO_SUCH_ROLE_IN_EVENT" 403 false "The sender's role is not held there";
    ForbiddenTypeForRole "FORBIDDEN_TYPE_FOR_ROLE" 403 false "The sender's role may not send this";
    NotFound "NOT_FOUND" 404 false "There is nothing here";
    UnknownNamespace "UNKNOWN_NAMESPACE" 404 false "The cache has no such namespace";
    MethodNotAllowed "METHOD_NOT_ALLOWED" 405 false "This address does not take that method";
    NotAcceptable "NOT_ACCEPTABLE" 406 false "No transport for subscribers fits the request";
    BodyTimeout "BODY_TIMEOUT" 408 true "The body did not arrive in time";
    KeyInProgress "KEY_IN_PROGRESS" 409 true "A request with this key is still running";
    VenueInUse "VENUE_IN_USE" 409 false "The venue still has weddings";
    NotADrill "NOT_A_DRILL" 409 false "The broadcast is not a drill";
    LeftMemory "LEFT_MEMORY" 409 true "The broadcast has just left memory";
    NotReleased "NOT_RELEASED" 409 false "The broadcast is not released yet";
    Cancelled "CANCELLED" 409 false "The broadcast was called off";
    Superseded "SUPERSEDED" 409 false "Another broadcast has taken its place";
    RedeliveredTooOften "REDELIVERED_TOO_OFTEN" 409 false "The broadcast was delivered again many times";
    Expired "EXPIRED" 410 false "The broadcast has expired";
    TooLarge "TOO_LARGE" 413 false "The body is too large";
    UnsupportedMediaType "UNSUPPORTED_MEDIA_TYPE" 415 false "The body has another media type than this address takes";
    UnsupportedEncoding "UNSUPPORTED_CONTENT_ENCODING" 415 false "The body is packed in a way that this address does not take";
    InvalidRequest "INVALID_REQUEST" 422 false "Several things in the request are wrong";
    UnknownField "UNKNOWN_FIELD" 422 false "A field is not known";
    UnknownParameter "UNKNOWN_PARAMETER" 422 false "A query parameter is not known";
    MissingField "MISSING_FIELD" 422 false "A required field is missing";
    WrongType "WRONG_TYPE" 422 false "A field has the wrong type";
    InvalidValue "INVALID_VALUE" 422 false "A field has a value that is not allowed";
    TooLong "TOO_LONG" 422 false "A field is too long";
    OutOfRange "OUT_OF_RANGE" 422 false "A value is out of range";
    ScheduleTooFar "SCHEDULE_TOO_FAR" 422 false "The time of delivery is too far ahead";
    EmptyAudience "EMPTY_AUDIENCE" 422 false "The audience names nobody";
    CriticalTypeNotAllowed "CRITICAL_TYPE_NOT_ALLOWED" 422 false "This type may not be critical";
    InvalidKey "INVALID_IDEMPOTENCY_KEY" 422 false "The idempotency key cannot be used";
    KeyReused "KEY_REUSED" 422 false "The key was used with another body";
    UnknownUser "UNKNOWN_USER" 422 false "A user is not known";
    UnknownWedding "UNKNOWN_WEDDING" 422 false "A wedding is not known";
    UnknownVenue "UNKNOWN_VENUE" 422 false "A venue is not known";
    UnknownSegment "UNKNOWN_SEGMENT" 422 false "A segment is not known";
    UnknownBroadcast "UNKNOWN_BROADCAST" 422 false "A broadcast is not known";
    NotARecipient "NOT_A_RECIPIENT" 422 false "The user was not among the recipients";
    UnknownAnswer "UNKNOWN_ANSWER" 422 false "The broadcast does not ask for this answer";
    EventDayLock "EVENT_DAY_LOCK" 423 false "Product news waits while an event is on";
    RateLimited "RATE_LIMITED" 429 true "This sender has published too much of late";
    HeadTooLarge "HEAD_TOO_LARGE" 431 false "The request's head is too large";
    Internal "INTERNAL" 500 true "Something broke inside the node";
    UpstreamFailed "UPSTREAM_FAILED" 502 true "The upstream has no usable answer";
    UpstreamTimedOut "UPSTREAM_TIMED_OUT" 504 true "The upstream did not answer in time";
    NoLeader "NO_LEADER" 503 true "This node has no leader";
    NoData "NO_DATA" 503 true "This node has no data and takes no part in its cluster";
    OverloadedLow "OVERLOADED_LOW" 429 true "Too much waits for broadcasts of low priority";
    OverloadedNormal "OVERLOADED_NORMAL" 429 true "Too much waits for broadcasts of normal priority";
    OverloadedHigh "OVERLOADED_HIGH" 429 true "Too much waits for broadcasts of high priority";
    Overloaded "OVERLOADED" 503 true "Too much waits already";
    TokensFull "TOKENS_FULL" 503 false "There are as many tokens as the settings allow";
    KeysFull "KEYS_FULL" 503 true "The table of idempotency keys is full";
    ScheduleFull "SCHEDULE_FULL" 503 true "Too many broadcasts wait for their time";
    TimedOut "TIMED_OUT" 503 true "There was no answer in time";
    Behind "BEHIND" 503 true "This node has not applied that much yet";
    Stopping "STOPPING" 503 true "This node is stopping";
    TooManySessions "TOO_MANY_SESSIONS" 503 true "This node takes no more subscribers";
    DiskFull "DISK_FULL" 507 true "The disk is nearly full";
}

impl Code {
    pub const fn text(self) -> &'static str {
        self.row().0
    }

    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.row().1).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    pub const fn retryable(self) -> bool {
        self.row().2
    }

    pub const fn title(self) -> &'static str {
        self.row().3
    }

    /// There is no room, whoever asks.
    pub const fn is_full(self) -> bool {
        matches!(
            self,
            Self::OverloadedLow | Self::OverloadedNormal | Self::OverloadedHigh | Self::Overloaded
        )
    }
}

/// One field that is wrong: where (a JSON pointer, or `?name` for a query parameter), what, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    pub pointer: String,
    #[serde(serialize_with = "as_text")]
    pub code: Code,
    pub detail: String,
}

// serde hands fields over by reference
#[allow(clippy::trivially_copy_pass_by_ref)]
fn as_text<S: serde::Serializer>(code: &Code, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(code.text())
}

impl Fault {
    pub fn new(pointer: &(impl ToString + ?Sized), code: Code, detail: impl Into<String>) -> Self {
        Self {
            pointer: pointer.to_string(),
            code,
            detail: detail.into(),
        }
    }
}

/// What a failed publish came to, as far as this node knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Published {
    Unknown,
    NotPublished,
}

/// An answer that says no. Boxed: the good road carries only a pointer for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem(Box<Inner>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Inner {
    code: Code,
    status: StatusCode,
    detail: String,
    errors: Vec<Fault>,
    retry_after: Option<Duration>,
    outcome: Option<Published>,
    allow: Option<HeaderValue>,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The rest of the request was not read: the connection cannot be used again.
    close: bool,
}

/// The document's shape, in the order in which people read it.
#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    retryable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<Published>,
    #[serde(skip_serializing_if = "<[Fault]>::is_empty")]
    errors: &'a [Fault],
}

impl Problem {
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        let retry_after = matches!(code.row().1, 409 | 503 | 507).then_some(Duration::from_secs(1));
        Self(Box::new(Inner {
            code,
            status: code.status(),
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: retry_after.filter(|_| code.retryable()),
            outcome: None,
            allow: None,
            headers: Vec::new(),
            close: false,
        }))
    }

    /// 404, saying what is not there.
    pub fn absent(what: &str, id: &str) -> Self {
        Self::new(Code::NotFound, format!("no {what} has the id {id:?}"))
    }

    /// 422 with every fault that was found; its code is theirs when they agree.
    pub fn faults(mut faults: Vec<Fault>) -> Self {
        let code = match faults.first() {
            Some(first) if faults.iter().all(|fault| fault.code == first.code) => first.code,
            _ => Code::InvalidRequest,
        };
        let detail = match faults.as_slice() {
            [only] => format!("{}: {}", only.pointer, only.detail),
            all => format!("{} things are wrong; see errors", all.len()),
        };
        faults.truncate(FAULTS_MAX);
        let mut problem = Self::new(code, detail);
        problem.0.status = StatusCode::UNPROCESSABLE_ENTITY;
        problem.0.errors = faults;
        problem
    }

    pub fn fault(pointer: &(impl ToString + ?Sized), code: Code, detail: impl Into<String>) -> Self {
        Self::faults(vec![Fault::new(pointer, code, detail)])
    }

    #[must_use]
    pub fn with_outcome(mut self, outcome: Published) -> Self {
        self.0.outcome = Some(outcome);
        self
    }

    #[must_use]
    pub fn with_detail(mut self, detail: String) -> Self {
        self.0.detail = detail;
        self
    }

    #[must_use]
    pub fn with_allow(mut self, methods: Option<HeaderValue>) -> Self {
        self.0.allow = methods;
        self
    }

    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.0.retry_after = Some(after);
        self
    }

    #[must_use]
    pub fn with_headers(mut self, headers: impl IntoIterator<Item = (HeaderName, HeaderValue)>) -> Self {
        self.0.headers.extend(headers);
        self
    }

    #[must_use]
    pub fn closing(mut self) -> Self {
        self.0.close = true;
        self
    }

    pub fn code(&self) -> Code {
        self.0.code
    }

    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    pub fn errors(&self) -> &[Fault] {
        &self.0.errors
    }

    /// The document as one line of JSON.
    pub fn json(&self) -> Vec<u8> {
        let document = Document {
            r#type: format!("/problems/{}", self.0.code.text()),
            title: self.0.code.title(),
            status: self.0.status.as_u16(),
            detail: &self.0.detail,
            code: self.0.code.text(),
            retryable: self.0.code.retryable(),
            outcome: self.0.outcome,
            errors: &self.0.errors,
        };
        serde_json::to_vec(&document).unwrap_or_default()
    }

    /// Why a command has no outcome. A publish also says what is known of it: see [`Problem::of_publish`].
    pub fn of_proposal(error: &ProposeError) -> Self {
        let (code, retry_after) = match error {
            ProposeError::NoLeader { retry_after } => (Code::NoLeader, Some(*retry_after)),
            ProposeError::Overloaded { retry_after } => (Code::Overloaded, Some(*retry_after)),
            ProposeError::Shed { priority, retry_after } => (overloaded(*priority), Some(*retry_after)),
            ProposeError::DiskFull => (Code::DiskFull, Some(Duration::from_secs(10))),
            ProposeError::TimedOut { .. } => (Code::TimedOut, None),
            ProposeError::Stopping => (Code::Stopping, None),
        };
        let mut problem = Self::new(code, error.to_string());
        problem.0.retry_after = retry_after.or(problem.0.retry_after);
        problem
    }

    pub fn of_publish(error: &ProposeError) -> Self {
        let unknown = matches!(error, ProposeError::TimedOut { proposed: true });
        Self::of_proposal(error).with_outcome(if unknown {
            Published::Unknown
        } else {
            Published::NotPublished
        })
    }
}

/// The code of a publish that had to make room for what is more urgent.
pub const fn overloaded(priority: Priority) -> Code {
    match priority {
        Priority::Critical => Code::Overloaded,
        Priority::High => Code::OverloadedHigh,
        Priority::Normal => Code::OverloadedNormal,
        Priority::Low => Code::OverloadedLow,
    }
}

/// The code of what the state refused; `None` for what has no pointer of its own in a body.
pub fn code_of(refused: &Refused) -> Code {
    match refused {
        Refused::UnknownWedding(_) => Code::UnknownWedding,
        Refused::UnknownVenue(_) => Code::UnknownVenue,
        Refused::UnknownSegment(_) => Code::UnknownSegment,
        Refused::UnknownUser(_) => Code::UnknownUser,
        Refused::UnknownBroadcast => Code::UnknownBroadcast,
        Refused::NotARecipient => Code::NotARecipient,
        Refused::UnknownAnswer(_) => Code::UnknownAnswer,
        Refused::KeyReused => Code::KeyReused,
        Refused::KeysFull(_) => Code::KeysFull,
        Refused::ExpiresBeforeRelease | Refused::ExpiresBeforeDelivery => Code::OutOfRange,
        Refused::ScheduleFull(_) => Code::ScheduleFull,
        Refused::ScheduleTooFar(_) => Code::ScheduleTooFar,
        Refused::Expired => Code::Expired,
        Refused::LeftMemory => Code::LeftMemory,
        Refused::NotReleased => Code::NotReleased,
        Refused::IsCancelled => Code::Cancelled,
        Refused::RedeliveredTooOften(_) => Code::RedeliveredTooOften,
        Refused::VenueInUse(_) => Code::VenueInUse,
        Refused::UnknownToken(_) => Code::NotFound,
        Refused::TokenExists(_) => Code::KeyReused,
        Refused::TokensFull(_) => Code::TokensFull,
        Refused::FetchesFull(_) => Code::Overloaded,
        Refused::RateLimited { .. } => Code::RateLimited,
        Refused::Superseded => Code::Superseded,
        Refused::NoSuchRole { .. } => Code::NoSuchRoleInEvent,
    }
}

impl From<&ProposeError> for Problem {
    fn from(error: &ProposeError) -> Self {
        Self::of_proposal(error)
    }
}

impl From<ProposeError> for Problem {
    fn from(error: ProposeError) -> Self {
        Self::of_proposal(&error)
    }
}

impl From<&Refused> for Problem {
    fn from(refused: &Refused) -> Self {
        Self::new(code_of(refused), refused.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(axum::body::Body::from(self.json()));
        *response.status_mut() = self.0.status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(after) = self.0.retry_after {
            headers.insert(
                header::RETRY_AFTER,
                HeaderValue::from(after.as_millis().div_ceil(1000).max(1) as u64),
            );
        }
        if let Some(methods) = self.0.allow {
            headers.insert(header::ALLOW, methods);
        }
        if let Some(challenge) = challenge(self.0.code) {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        headers.extend(self.0.headers);
        if self.0.close {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response.extensions_mut().insert(self.0.code);
        response
    }
}

/// What RFC 6750 says to whoever comes without the right token.
const fn challenge(code: Code) -> Option<&'static str> {
    match code {
        Code::MissingToken => Some("Bearer realm=\"campanile\""),
        Code::InvalidToken => Some("Bearer realm=\"campanile\", error=\"invalid_token\""),
        Code::TokenExpired => {
            Some("Bearer realm=\"campanile\", error=\"invalid_token\", error_description=\"the token has expired\"")
        }
        Code::MissingScope => Some("Bearer realm=\"campanile\", error=\"insufficient_scope\""),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Code, Fault, Problem, code_of};
    use crate::consensus::ProposeError;
    use crate::model::Priority;
    use crate::state::Refused;
    use axum::response::IntoResponse;
    use std::{collections::HashSet, time::Duration};

    #[test]
    fn every_code_has_its_own_word_and_a_real_status() {
        let words: HashSet<&str> = Code::ALL.iter().map(|code| code.text()).collect();
        assert_eq!(words.len(), Code::ALL.len());
        for code in Code::ALL {
            assert!(
                code.status().is_client_error() || code.status().is_server_error(),
                "{code:?}"
            );
            assert!(
                code.text()
                    .chars()
                    .all(|c| c.is_ascii_uppercase() || c == '_' || c.is_ascii_digit())
            );
        }
    }

    #[test]
    fn a_document_has_all_its_members() {
        let problem = Problem::fault("/title", Code::TooLong, "has 201 characters; 200 are allowed");
        let json: serde_json::Value = serde_json::from_slice(&problem.json()).unwrap();
        let expected = serde_json::json!({
            "type": "/problems/TOO_LONG", "title": "A field is too long", "status": 422,
            "detail": "/title: has 201 characters; 200 are allowed", "code": "TOO_LONG", "retryable": false,
            "errors": [{"pointer": "/title", "code": "TOO_LONG", "detail": "has 201 characters; 200 are allowed"}],
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn faults_that_disagree_make_an_invalid_request() {
        let faults = vec![
            Fault::new("/a", Code::UnknownField, "a"),
            Fault::new("/b", Code::WrongType, "b"),
        ];
        assert_eq!(Problem::faults(faults).code(), Code::InvalidRequest);
    }

    fn check_proposal(error: &ProposeError, status: u16, outcome: &str, retry_after: Option<&str>) {
        let problem = Problem::of_publish(error);
        let json: serde_json::Value = serde_json::from_slice(&problem.json()).unwrap();
        assert_eq!(json["outcome"], outcome, "{error}");
        let response = problem.into_response();
        assert_eq!(response.status().as_u16(), status, "{error}");
        let header = response
            .headers()
            .get("retry-after")
            .map(|value| value.to_str().unwrap());
        assert_eq!(header, retry_after, "{error}");
    }

    #[test]
    fn a_failed_publish_says_what_is_known_and_when_to_come_back() {
        let wait = Duration::from_millis(1200);
        check_proposal(
            &ProposeError::NoLeader { retry_after: wait },
            503,
            "not_published",
            Some("2"),
        );
        check_proposal(
            &ProposeError::Overloaded { retry_after: wait },
            503,
            "not_published",
            Some("2"),
        );
        let shed = ProposeError::Shed {
            priority: Priority::Low,
            retry_after: wait,
        };
        check_proposal(&shed, 429, "not_published", Some("2"));
        assert_eq!(Problem::of_publish(&shed).code(), Code::OverloadedLow);
        check_proposal(&ProposeError::DiskFull, 507, "not_published", Some("10"));
        check_proposal(&ProposeError::TimedOut { proposed: true }, 503, "unknown", Some("1"));
        check_proposal(
            &ProposeError::TimedOut { proposed: false },
            503,
            "not_published",
            Some("1"),
        );
        check_proposal(&ProposeError::Stopping, 503, "not_published", Some("1"));
    }

    #[test]
    fn what_the_state_refuses_has_a_code() {
        assert_eq!(code_of(&Refused::UnknownWedding("w".into())), Code::UnknownWedding);
        assert_eq!(Problem::from(&Refused::KeyReused).status().as_u16(), 422);
        assert_eq!(Problem::from(&Refused::KeysFull(1)).status().as_u16(), 503);
    }
}
