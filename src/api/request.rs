//! What a request carries beside its path: the body within its limit and time, the media type, the query.

use super::fields::{shorten, unknown};
use super::problem::{Code, Problem};
use crate::base::clock::{self, Millis};
use crate::model::Trace;
use axum::body::Body;
use axum::extract::{FromRequestParts, Path as Parts, Query as Pairs};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Uri, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use std::time::{Duration, Instant};

pub const JSON: &[&str] = &["application/json"];
pub const NDJSON: &[&str] = &["application/x-ndjson", "application/ndjson", "application/jsonl"];

/// Elements of one page of a list: what is given without `limit`, and the most.
pub const PAGE_DEFAULT: usize = 50;
pub const PAGE_MAX: usize = 100;
/// Of a body that was refused for its size, this much is read and thrown away.
const DISCARD_BYTES_MAX: usize = 16 << 20;
const DISCARD_TIME_MAX: Duration = Duration::from_secs(1);

/// The names in a request's path; a path that is no text is a problem like any other.
pub struct Path<T>(pub T);

impl<S: Send + Sync, T: serde::de::DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(head: &mut http::request::Parts, state: &S) -> Result<Self, Problem> {
        match Parts::from_request_parts(head, state).await {
            Ok(Parts(names)) => Ok(Self(names)),
            Err(rejection) => Err(Problem::new(Code::MalformedRequest, rejection.body_text())),
        }
    }
}

/// Refuses a body that is packed.
pub fn unpacked(headers: &HeaderMap) -> Result<(), Problem> {
    for coding in headers.get_all(header::CONTENT_ENCODING) {
        let coding = coding.to_str().unwrap_or_default().trim();
        if !coding.eq_ignore_ascii_case("identity") {
            let detail = format!("the body is {:?}; this takes bodies as they are", shorten(coding));
            return Err(Problem::new(Code::UnsupportedEncoding, detail).closing());
        }
    }
    Ok(())
}

/// Refuses a body of another kind than `accepted`, and one that is packed; one that does not say its kind passes.
pub fn media_type(headers: &HeaderMap, accepted: &[&str]) -> Result<(), Problem> {
    unpacked(headers)?;
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Ok(());
    };
    let essence = value
        .to_str()
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default()
        .trim();
    if accepted.iter().any(|kind| essence.eq_ignore_ascii_case(kind)) {
        return Ok(());
    }
    let detail = format!("the body is {:?}; this takes {}", shorten(essence), accepted.join(", "));
    Err(Problem::new(Code::UnsupportedMediaType, detail).closing())
}

/// The whole body, `bytes_max` at most. A larger one is refused at its announced length, or when it gets there, without reading on.
pub async fn body(mut body: Body, bytes_max: usize, deadline: Instant) -> Result<Bytes, Problem> {
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(too_large(body, bytes_max));
    }
    let read = async {
        let mut first = Bytes::new();
        let mut rest = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                Problem::new(Code::MalformedRequest, format!("the body broke off: {error}")).closing()
            })?;
            let Ok(data) = frame.into_data() else { continue };
            if first.len() + rest.len() + data.len() > bytes_max {
                return Err(Problem::new(Code::TooLarge, String::new()));
            }
            // nearly every body comes in one piece, which then is not copied
            if first.is_empty() && rest.is_empty() {
                first = data;
            } else {
                rest.extend_from_slice(&std::mem::take(&mut first));
                rest.extend_from_slice(&data);
            }
        }
        Ok(if rest.is_empty() { first } else { rest.freeze() })
    };
    match tokio::time::timeout_at(deadline.into(), read).await {
        Ok(Err(problem)) if problem.code() == Code::TooLarge => Err(too_large(body, bytes_max)),
        Ok(read) => read,
        Err(_) => Err(Problem::new(Code::BodyTimeout, "the body was not complete at the deadline").closing()),
    }
}

/// The answer goes out at once. What the client still sends is thrown away for a moment, or the connection's reset could
/// overtake the answer.
fn too_large(body: Body, bytes_max: usize) -> Problem {
    tokio::spawn(tokio::time::timeout(DISCARD_TIME_MAX, discard(body)));
    Problem::new(Code::TooLarge, format!("{bytes_max} bytes are allowed")).closing()
}

async fn discard(mut body: Body) {
    let mut bytes = 0;
    while bytes < DISCARD_BYTES_MAX
        && let Some(Ok(frame)) = body.frame().await
    {
        bytes += frame.data_ref().map_or(0, Bytes::len);
    }
}

/// The query's parameters. Those that every address takes are always known.
#[derive(Debug, Default)]
pub struct Query(Vec<(String, String)>);

const EVERYWHERE: [&str; 2] = ["consistency", "at_least"];

impl Query {
    pub fn read(uri: &Uri, known: &[&str]) -> Result<Self, Problem> {
        if uri.query().is_none_or(str::is_empty) {
            return Ok(Self::default());
        }
        let Pairs(pairs) = Pairs::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|error| Problem::new(Code::MalformedRequest, error.to_string()))?;
        for (at, (name, _)) in pairs.iter().enumerate() {
            let pointer = format!("?{}", shorten(name));
            if !known.contains(&name.as_str()) && !EVERYWHERE.contains(&name.as_str()) {
                return Err(Problem::fault(&pointer, Code::UnknownParameter, unknown(name, known)));
            }
            if pairs[..at].iter().any(|(earlier, _)| earlier == name) {
                return Err(Problem::fault(&pointer, Code::InvalidValue, "is given twice"));
            }
        }
        Ok(Self(pairs))
    }

    /// The value, unless it is missing or empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(parameter, _)| parameter == name)?;
        (!value.is_empty()).then_some(value)
    }

    /// A flag that is there without a value is set: `?dry_run` must never publish.
    pub fn flag(&self, name: &str) -> Result<bool, Problem> {
        let given = self.0.iter().find(|(parameter, _)| parameter == name);
        match given.map(|(_, value)| value.as_str()) {
            None | Some("false" | "0") => Ok(false),
            Some("" | "true" | "1") => Ok(true),
            Some(other) => Err(Self::invalid(name, other, "true or false")),
        }
    }

    /// A value read by `read`, which answers `None` for what is not `wanted`.
    pub fn parse<T>(
        &self,
        name: &str,
        wanted: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        match self.get(name) {
            None => Ok(None),
            Some(text) => read(text).map(Some).ok_or_else(|| Self::invalid(name, text, wanted)),
        }
    }

    /// A time; a plus sign that came as a blank is forgiven.
    pub fn time(&self, name: &str) -> Result<Option<Millis>, Problem> {
        self.parse(name, "a time like 2027-06-19T16:42:00Z", |text| {
            clock::parse_rfc3339(&text.replace(' ', "+"))
        })
    }

    /// How many elements a page has.
    pub fn limit(&self) -> Result<usize, Problem> {
        let Some(text) = self.get("limit") else {
            return Ok(PAGE_DEFAULT);
        };
        match text.parse() {
            Ok(limit) if (1..=PAGE_MAX).contains(&limit) => Ok(limit),
            Ok(_) => Err(Problem::fault(
                "?limit",
                Code::OutOfRange,
                format!("1 to {PAGE_MAX} is allowed"),
            )),
            Err(_) => Err(Self::invalid("limit", text, "a whole number")),
        }
    }

    fn invalid(name: &str, text: &str, wanted: &str) -> Problem {
        Problem::fault(
            &format!("?{name}"),
            Code::InvalidValue,
            format!("{:?} is not {wanted}", shorten(text)),
        )
    }
}

const TRACEPARENT: &str = "traceparent";

/// The trace that a request belongs to. What is no `traceparent`, or stands there twice, is ignored: the standard says so.
pub fn trace(headers: &HeaderMap) -> Option<Trace> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    Trace::parse(value.to_str().ok()?)
}

#[cfg(test)]
mod tests {
    use super::{JSON, Query, body, media_type, trace};
    use crate::api::problem::Code;
    use crate::base::clock;
    use axum::body::Body;
    use futures_util::stream;
    use std::time::Duration;

    fn chunked(chunks: Vec<&'static [u8]>) -> Body {
        Body::from_stream(stream::iter(chunks.into_iter().map(Ok::<_, std::io::Error>)))
    }

    #[tokio::test]
    async fn bodies_end_at_their_limit() {
        let deadline = clock::now() + Duration::from_secs(5);
        assert_eq!(body(Body::from("12345678"), 8, deadline).await.unwrap(), "12345678");
        assert_eq!(
            body(chunked(vec![b"123", b"456", b"78"]), 8, deadline).await.unwrap(),
            "12345678"
        );
        for large in [Body::from("123456789"), chunked(vec![b"123", b"456", b"789"])] {
            assert_eq!(body(large, 8, deadline).await.unwrap_err().code(), Code::TooLarge);
        }
    }

    #[tokio::test]
    async fn a_body_that_never_ends_is_given_up() {
        let never = Body::from_stream(stream::pending::<Result<&'static [u8], std::io::Error>>());
        let problem = body(never, 8, clock::now() + Duration::from_millis(5))
            .await
            .unwrap_err();
        assert_eq!(problem.code(), Code::BodyTimeout);
    }

    #[test]
    fn media_types_are_compared_without_their_parameters() {
        let check = |value: &str, passes: bool| {
            let mut headers = http::HeaderMap::new();
            headers.insert("content-type", value.parse().unwrap());
            assert_eq!(media_type(&headers, JSON).is_ok(), passes, "{value}");
        };
        check("application/json", true);
        check("Application/JSON; charset=utf-8", true);
        check("application/x-www-form-urlencoded", false);
        check("", false);
        assert!(media_type(&http::HeaderMap::new(), JSON).is_ok());
    }

    #[test]
    fn a_traceparent_that_is_none_is_ignored() {
        let given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let check = |values: &[&str], expected: Option<&str>| {
            let mut headers = http::HeaderMap::new();
            for value in values {
                headers.append("traceparent", value.parse().unwrap());
            }
            let found = trace(&headers).map(|trace| trace.to_string());
            assert_eq!(found.as_deref(), expected, "{values:?}");
        };
        check(&[], None);
        check(&[given], Some(given));
        check(&[given, given], None);
        check(&["00-no"], None);
    }

    #[test]
    fn a_packed_body_is_refused() {
        let check = |values: &[&str], passes: bool| {
            let mut headers = http::HeaderMap::new();
            for value in values {
                headers.append("content-encoding", value.parse().unwrap());
            }
            let code = media_type(&headers, JSON).map_err(|problem| problem.code());
            let expected = if passes { Ok(()) } else { Err(Code::UnsupportedEncoding) };
            assert_eq!(code, expected, "{values:?}");
        };
        check(&[], true);
        check(&["Identity"], true);
        check(&["gzip"], false);
        check(&["identity, gzip"], false);
        check(&["identity", "br"], false);
        check(&[""], false);
    }

    #[test]
    fn queries_are_strict_about_names_and_values() {
        let read = |uri: &str| Query::read(&uri.parse().unwrap(), &["limit", "after", "since"]);
        assert_eq!(read("/x").unwrap().limit().unwrap(), 50);
        assert_eq!(read("/x?limit=7&after=a%2Fb").unwrap().get("after"), Some("a/b"));
        assert_eq!(read("/x?limt=7").unwrap_err().code(), Code::UnknownParameter);
        assert_eq!(read("/x?limit=7&limit=8").unwrap_err().code(), Code::InvalidValue);
        assert_eq!(
            read("/x?limit=0").unwrap().limit().unwrap_err().code(),
            Code::OutOfRange
        );
        assert_eq!(
            read("/x?limit=x").unwrap().limit().unwrap_err().code(),
            Code::InvalidValue
        );
        assert!(
            read("/x?since=2027-06-19T16:42:00+00:00")
                .unwrap()
                .time("since")
                .unwrap()
                .is_some()
        );
        assert!(read("/x?consistency=strong&at_least=1").is_ok());
    }
}
