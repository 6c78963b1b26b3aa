//! The requests of a load as bytes, and its answers: one connection, one request after another. It shares no code with the server.

use super::plan::Planned;
use super::stamp::{EVERYBODY, Phase, Stamp};
use crate::model::{PerPriority, Priority};
use std::fmt::Write as _;
use std::net::SocketAddr;

const HEADERS_MAX: usize = 48;
/// The namespace of the cache in which an application keeps who is in a wedding's team.
const NAMESPACE: &str = "teams";
/// A critical body is cut to this: it is the length of a phone's alert.
const CRITICAL_BYTES_MAX: usize = 360;
/// What is said, by priority: each type may have that priority by the rules that are built in.
const TYPES: PerPriority<&str> = ["safety.notice", "timeline.changed", "venue.notice", "guest.guidance"];

/// What is the same for all requests of a run.
#[derive(Clone, Debug)]
pub struct Texts {
    pub run: u32,
    /// The `Authorization`; empty where none is asked for.
    pub bearer: String,
    /// A clause of JSON for each group.
    pub audiences: Vec<String>,
    pub everybody: String,
    pub message: String,
    pub is_drill: bool,
    pub expires_at: String,
}

impl Texts {
    pub fn publish(&self, host: SocketAddr, planned: &Planned, due: u64) -> Vec<u8> {
        let Self {
            run,
            message,
            is_drill,
            expires_at,
            ..
        } = self;
        let stamp = Stamp {
            run: *run,
            number: planned.number,
            group: planned.group,
            ordinal: planned.ordinal,
            priority: planned.priority,
            phase: planned.phase,
            due,
        };
        let audience = match planned.group {
            EVERYBODY => Some(&self.everybody),
            group => self.audiences.get(usize::from(group)),
        };
        let message = match planned.priority {
            Priority::Critical => message.get(..CRITICAL_BYTES_MAX).unwrap_or(message),
            Priority::High | Priority::Normal | Priority::Low => message,
        };
        let (kind, priority, title) = (TYPES[planned.priority.index()], planned.priority.name(), stamp.title());
        let body = format!(
            r#"{{"type":"{kind}","priority":"{priority}","audience":{},"title":"{title}","body":"{message}","drill":{is_drill},"expires_at":"{expires_at}"}}"#,
            audience.map_or("[]", String::as_str)
        );
        let key = format!(
            "Idempotency-Key: load-{run:08x}-{}\r\nContent-Type: application/json\r\n",
            planned.number
        );
        self.whole("POST", "/v1/broadcasts", host, &key, body.as_bytes())
    }

    pub fn read(&self, host: SocketAddr, group: u16) -> Vec<u8> {
        self.whole("GET", &self.cached(group), host, "", b"")
    }

    pub fn put(&self, host: SocketAddr, group: u16) -> Vec<u8> {
        self.whole(
            "PUT",
            &self.cached(group),
            host,
            "Content-Type: text/plain\r\n",
            self.message.as_bytes(),
        )
    }

    fn cached(&self, group: u16) -> String {
        format!("/v1/cache/{NAMESPACE}/load-{:08x}-{group}", self.run)
    }

    fn whole(&self, method: &str, path: &str, host: SocketAddr, headers: &str, body: &[u8]) -> Vec<u8> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{headers}");
        if !self.bearer.is_empty() {
            let _ = write!(head, "Authorization: {}\r\n", self.bearer);
        }
        if method != "GET" {
            let _ = write!(head, "Content-Length: {}\r\n", body.len());
        }
        head.push_str("\r\n");
        [head.as_bytes(), body].concat()
    }
}

/// A whole answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
    pub then: Then,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The connection takes the next request.
    Next,
    Close,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an answer that is no HTTP, or has no length")]
pub struct NoAnswer;

/// The answer in the bytes, once it is whole.
pub fn answer(bytes: &[u8]) -> Result<Option<Answer>, NoAnswer> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = response.parse(bytes).map_err(|_| NoAnswer)? else {
        return Ok(None);
    };
    let header = |name: &str| {
        let found = response
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(name));
        found.map(|header| String::from_utf8_lossy(header.value))
    };
    let status = response.code.ok_or(NoAnswer)?;
    let length = match header("content-length") {
        Some(length) => length.parse().map_err(|_| NoAnswer)?,
        None if matches!(status, 204 | 304) => 0,
        None => return Err(NoAnswer),
    };
    let closes = header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    let body = bytes.get(head..).unwrap_or_default();
    Ok((body.len() >= length).then(|| Answer {
        status,
        body: body[..length].to_vec(),
        then: if closes { Then::Close } else { Then::Next },
    }))
}

impl Answer {
    /// The problem's code, or the bare status.
    pub fn code(&self) -> String {
        let code = super::reading::text(&self.body, b"\"code\":\"");
        code.map_or_else(
            || self.status.to_string(),
            |code| String::from_utf8_lossy(code).into_owned(),
        )
    }

    /// How many the broadcast is for.
    pub fn targeted(&self) -> Option<u64> {
        super::reading::number(&self.body, b"\"targeted\":")
    }
}

/// For tests and closed loops: a broadcast as the dice have it.
pub fn planned(number: u32, thrown: (u16, u32, Priority), phase: Phase) -> Planned {
    let (group, ordinal, priority) = thrown;
    Planned {
        number,
        at: std::time::Duration::ZERO,
        group,
        ordinal,
        priority,
        phase,
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, EVERYBODY, Phase, Priority, Texts, Then, answer, planned};

    fn texts() -> Texts {
        Texts {
            run: 7,
            bearer: "Bearer t".into(),
            audiences: vec![r#"{"weddings":["w-0"]}"#.into()],
            everybody: r#"{"venues":["all"]}"#.into(),
            message: "x".repeat(400),
            is_drill: true,
            expires_at: "2027-01-01T00:00:00Z".into(),
        }
    }

    #[test]
    fn a_publish_names_its_audience_and_can_be_sent_again() {
        let host = "127.0.0.1:8205".parse().unwrap();
        for (group, clause) in [
            (0, r#""audience":{"weddings":["w-0"]}"#),
            (EVERYBODY, r#""audience":{"venues":["all"]}"#),
        ] {
            let planned = planned(3, (group, 1, Priority::Critical), Phase::Measured);
            let text = String::from_utf8(texts().publish(host, &planned, 9)).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(
                head.contains("Idempotency-Key: load-00000007-3\r\n") && head.contains("Authorization: Bearer t"),
                "{head}"
            );
            assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{head}");
            let json: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!(
                (json["body"].as_str().map(str::len), &json["drill"]),
                (Some(360), &true.into())
            );
            assert!(body.contains(clause) && json["type"] == "safety.notice", "{body}");
        }
        let read = String::from_utf8(texts().read(host, 4)).unwrap();
        assert!(
            read.starts_with("GET /v1/cache/teams/load-00000007-4 HTTP/1.1\r\n") && !read.contains("Length"),
            "{read}"
        );
    }

    #[test]
    fn answers_are_read_once_they_are_whole() {
        let wire = b"HTTP/1.1 201 Created\r\nContent-Length: 16\r\n\r\n{\"targeted\": 12}";
        for cut in 0..wire.len() {
            assert_eq!(answer(&wire[..cut]), Ok(None), "{cut}");
        }
        let whole = answer(wire).unwrap().unwrap();
        assert_eq!((whole.status, whole.then), (201, Then::Next));
        let targeted = Answer {
            body: br#"{"targeted":12,"code":"X"}"#.to_vec(),
            ..whole
        };
        assert_eq!((targeted.targeted(), targeted.code()), (Some(12), "X".into()));
        let empty = answer(b"HTTP/1.1 204 No\r\nConnection: close\r\n\r\n")
            .unwrap()
            .unwrap();
        assert_eq!((empty.then, empty.code()), (Then::Close, "204".into()));
        assert!(answer(b"nonsense\r\n\r\n").is_err() && answer(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
