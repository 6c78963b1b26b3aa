//! The first request head of a connection, read before hyper sees the socket, within a deadline and a size.
//!
//! A subscriber is answered by hand and its socket leaves HTTP; for every other request the bytes go to hyper through a
//! [`super::Rewind`]. What two readers could understand differently (two lengths, an unknown coding, bare line feeds) is
//! refused here: [`parse`] is strict where hyper is lenient. Later heads of a kept connection are hyper's: it takes bare line feeds,
//! one length told twice, and of a length and a coding the coding; what of the rest can still be seen, [`check_parsed`] refuses.

use bytes::{Bytes, BytesMut};
use http::header::TRANSFER_ENCODING;
use http::{HeaderMap, HeaderValue};
use httparse::Status;
use std::io;
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncReadExt};

pub const HEAD_BYTES_MAX: usize = 16 << 10;
pub const HEADERS_MAX: usize = 100;
/// How HTTP/2 starts.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";

#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    /// Nothing came, or a part: there is nobody to answer.
    #[error("the connection ended before the request's head")]
    Closed,
    #[error("the request's head took too long")]
    TooSlow,
    #[error("the request's head is larger than {HEAD_BYTES_MAX} bytes or {HEADERS_MAX} headers")]
    TooLarge,
    #[error("the request is malformed: {0}")]
    Malformed(&'static str),
    #[error("reading the request's head: {0}")]
    Io(#[from] io::Error),
}

/// How a connection opens; `read` is all that came, head included.
#[derive(Debug)]
pub enum Opening {
    /// `length` bytes of `read` are the head.
    Http1 {
        head: Head,
        length: usize,
        read: Bytes,
    },
    Http2 {
        read: Bytes,
    },
}

/// A request's head; header names are in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub method: String,
    /// Path and query, as sent.
    pub target: String,
    pub headers: Vec<(String, String)>,
    /// Whether a body follows.
    pub has_body: bool,
}

impl Head {
    /// The first header of this (lower case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// What follows the question mark, still encoded.
    pub fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// A request that may be answered by hand and leave HTTP.
    pub fn is_subscribe(&self) -> bool {
        self.method == "GET" && self.path() == "/v1/subscribe" && !self.has_body
    }
}

/// Reads until the head is whole. The deadline covers the first byte too. Dropping it loses what was read.
pub async fn read(stream: &mut (impl AsyncRead + Unpin), deadline: Instant) -> Result<Opening, HeadError> {
    let mut bytes = BytesMut::with_capacity(1 << 10);
    let whole = async {
        loop {
            let before = bytes.len();
            if stream.read_buf(&mut bytes).await? == 0 {
                return Err(HeadError::Closed);
            }
            if bytes.starts_with(PREFACE) {
                return Ok(None);
            }
            // A head that comes byte by byte is not parsed for each of them.
            let may_be_whole = before == 0 || bytes[before..].contains(&b'\n') || bytes.len() >= HEAD_BYTES_MAX;
            if !may_be_whole {
                continue;
            }
            if let Some(parsed) = parse(&bytes)? {
                return Ok(Some(parsed));
            }
        }
    };
    let parsed = tokio::time::timeout_at(deadline.into(), whole).await;
    let parsed = parsed.unwrap_or(Err(HeadError::TooSlow))?;
    let read = bytes.freeze();
    Ok(match parsed {
        Some((head, length)) => Opening::Http1 { head, length, read },
        None => Opening::Http2 { read },
    })
}

/// The head at the front of `bytes` and its length; `None` while it is not whole.
pub fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, HeadError> {
    let mut slots = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut slots);
    let length = match request.parse(bytes).map_err(fault)? {
        Status::Complete(length) if length <= HEAD_BYTES_MAX => length,
        Status::Partial if bytes.len() < HEAD_BYTES_MAX => return Ok(None),
        _ => return Err(HeadError::TooLarge),
    };
    if has_bare_line_feed(&bytes[..length]) {
        return Err(HeadError::Malformed("a line ends without a carriage return"));
    }
    let headers = request.headers.iter().map(owned).collect::<Result<Vec<_>, _>>()?;
    let has_body = check(&headers, request.version == Some(1))?;
    let head = Head {
        method: request.method.unwrap_or_default().to_owned(),
        target: request.path.unwrap_or_default().to_owned(),
        headers,
        has_body,
    };
    Ok(Some((head, length)))
}

fn fault(error: httparse::Error) -> HeadError {
    match error {
        httparse::Error::TooManyHeaders => HeadError::TooLarge,
        httparse::Error::HeaderName => HeadError::Malformed("a header's name"),
        httparse::Error::HeaderValue => HeadError::Malformed("a header's value"),
        httparse::Error::NewLine => HeadError::Malformed("a line's end"),
        httparse::Error::Version => HeadError::Malformed("the version"),
        _ => HeadError::Malformed("the request line"),
    }
}

fn has_bare_line_feed(head: &[u8]) -> bool {
    head.windows(2).any(|pair| pair[1] == b'\n' && pair[0] != b'\r')
}

fn owned(header: &httparse::Header<'_>) -> Result<(String, String), HeadError> {
    let value = std::str::from_utf8(header.value).map_err(|_| HeadError::Malformed("a header's value is not UTF-8"))?;
    Ok((header.name.to_ascii_lowercase(), value.to_owned()))
}

/// Refuses what two readers could frame differently; tells whether a body follows. Names are in lower case.
pub fn check(headers: &[(String, String)], is_http_1_1: bool) -> Result<bool, HeadError> {
    let all = |name: &'static str| {
        headers
            .iter()
            .filter(move |(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    };
    let hosts = all("host").count();
    if hosts > 1 || (is_http_1_1 && hosts == 0) {
        return Err(HeadError::Malformed("there must be one Host"));
    }
    let mut lengths = all("content-length");
    let mut codings = all("transfer-encoding");
    let (length, coding) = (lengths.next(), codings.next());
    if lengths.next().is_some() || codings.next().is_some() || (length.is_some() && coding.is_some()) {
        return Err(HeadError::Malformed("the body's length is told twice"));
    }
    if let Some(coding) = coding {
        if !is_http_1_1 || !coding.eq_ignore_ascii_case("chunked") {
            return Err(HeadError::Malformed("the transfer coding must be chunked"));
        }
        return Ok(true);
    }
    let Some(length) = length else { return Ok(false) };
    if length.is_empty() || length.len() > 19 || !length.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(HeadError::Malformed("the content length is not a number"));
    }
    Ok(length.bytes().any(|byte| byte != b'0'))
}

/// Of a head that hyper has read: it undoes the last coding and passes on the ones before, which nobody here would undo.
pub fn check_parsed(headers: &HeaderMap) -> Result<(), HeadError> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let (coding, more) = (codings.next(), codings.next());
    let is_chunked = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    if more.is_some() || coding.is_some_and(|coding| !is_chunked(coding)) {
        return Err(HeadError::Malformed("the transfer coding must be chunked"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{HEAD_BYTES_MAX, HEADERS_MAX, HeadError, Opening, PREFACE, parse, read};
    use crate::base::clock;
    use std::time::Duration;
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    const SUBSCRIBE: &str = "GET /v1/subscribe?user=u-1 HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n";

    #[test]
    fn a_head_is_whole_only_at_its_end() {
        for cut in 0..SUBSCRIBE.len() {
            assert!(parse(&SUBSCRIBE.as_bytes()[..cut]).unwrap().is_none(), "cut at {cut}");
        }
        let more = format!("{SUBSCRIBE}more");
        let (head, length) = parse(more.as_bytes()).unwrap().unwrap();
        assert_eq!(length, SUBSCRIBE.len());
        assert!(head.is_subscribe());
        assert_eq!((head.path(), head.query()), ("/v1/subscribe", "user=u-1"));
        assert_eq!(
            (head.header("accept"), head.header("x")),
            (Some("text/event-stream"), None)
        );
    }

    #[test]
    fn only_a_plain_get_of_the_stream_is_a_subscription() {
        let check = |head: &str, expected: bool| {
            let (parsed, _) = parse(head.as_bytes()).unwrap().unwrap();
            assert_eq!(parsed.is_subscribe(), expected, "{head}");
        };
        check("GET /v1/subscribe HTTP/1.1\r\nHost: h\r\n\r\n", true);
        check("GET /v1/subscribe HTTP/1.0\r\n\r\n", true);
        check(
            "GET /v1/subscribe HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
            true,
        );
        check(
            "GET /v1/subscribe HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n",
            false,
        );
        check("GET /v1/subscribe/ HTTP/1.1\r\nHost: h\r\n\r\n", false);
        check("GET /v1/subscribers HTTP/1.1\r\nHost: h\r\n\r\n", false);
        check("POST /v1/subscribe HTTP/1.1\r\nHost: h\r\n\r\n", false);
    }

    #[test]
    fn what_could_be_read_two_ways_is_refused() {
        for bad in [
            "Host: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
            "Host: h\r\nContent-Length: 5\r\nContent-Length: 6",
            "Host: h\r\nContent-Length: 5\r\nContent-Length: 5",
            "Host: h\r\nContent-Length: 5, 5",
            "Host: h\r\nContent-Length: +5",
            "Host: h\r\nContent-Length: -1",
            "Host: h\r\nContent-Length: 0x5",
            "Host: h\r\nContent-Length:",
            "Host: h\r\nContent-Length: 99999999999999999999",
            "Host: h\r\nTransfer-Encoding: xchunked",
            "Host: h\r\nTransfer-Encoding: gzip, chunked",
            "Host: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity",
            "Host: h\r\nTransfer-Encoding : chunked",
            "Host: h\r\nTransfer-Encoding: chunked\r\n folded",
            "Host: h\r\nX: a\nY: b",
            "Host: h\r\nX: a\0b",
            "Host: h\r\nX: a\rb",
            "Host: h\r\nX\0: a",
            "Host: h\r\n: a",
            "Host: h\r\nHost: i",
            "Accept: text/plain",
        ] {
            let head = format!("POST / HTTP/1.1\r\n{bad}\r\n\r\n");
            let found = parse(head.as_bytes());
            assert!(matches!(found, Err(HeadError::Malformed(_))), "{bad:?} gives {found:?}");
        }
        for bad in [
            "GET / HTTP/1.1\nHost: h\n\n",
            "GET /\r\n\r\n",
            "GET / HTTP/3.0\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
            "G\0T / HTTP/1.1\r\nHost: h\r\n\r\n",
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            "\x16\x03\x01\x02\x00\x01",
        ] {
            let found = parse(bad.as_bytes());
            assert!(matches!(found, Err(HeadError::Malformed(_))), "{bad:?} gives {found:?}");
        }
        let latin = b"GET / HTTP/1.1\r\nHost: h\r\nX: \xFF\r\n\r\n";
        assert!(matches!(parse(latin), Err(HeadError::Malformed(_))));
    }

    #[test]
    fn size_and_number_are_bounded() {
        let long = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(HEAD_BYTES_MAX));
        assert!(matches!(parse(long.as_bytes()), Err(HeadError::TooLarge)));
        assert!(matches!(
            parse(&long.as_bytes()[..HEAD_BYTES_MAX]),
            Err(HeadError::TooLarge)
        ));
        let check = |extra: usize, good: bool| {
            let head = format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(extra));
            assert_eq!(parse(head.as_bytes()).is_ok(), good, "{extra}");
        };
        check(HEADERS_MAX - 1, true);
        check(HEADERS_MAX, false);
    }

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn a_silent_and_a_dribbling_client_meet_the_deadline() {
        let (mut client, mut server) = pair().await;
        let soon = clock::now() + Duration::from_millis(20);
        assert!(matches!(read(&mut server, soon).await, Err(HeadError::TooSlow)));
        client.write_all(b"GET / HT").await.unwrap();
        let soon = clock::now() + Duration::from_millis(20);
        assert!(matches!(read(&mut server, soon).await, Err(HeadError::TooSlow)));
        drop(client);
        let later = clock::now() + Duration::from_secs(5);
        assert!(matches!(read(&mut server, later).await, Err(HeadError::Closed)));
    }

    #[tokio::test]
    async fn both_versions_are_told_apart() {
        let (mut client, mut server) = pair().await;
        client.write_all(PREFACE).await.unwrap();
        let later = clock::now() + Duration::from_secs(5);
        assert!(matches!(read(&mut server, later).await, Ok(Opening::Http2 { read }) if read == PREFACE));
        let (mut client, mut server) = pair().await;
        client.write_all(SUBSCRIBE.as_bytes()).await.unwrap();
        client.write_all(b"rest").await.unwrap();
        let Ok(Opening::Http1 { head, length, read }) = read(&mut server, later).await else {
            panic!("no head")
        };
        assert!(head.is_subscribe() && read.starts_with(SUBSCRIBE.as_bytes()));
        assert_eq!(length, SUBSCRIBE.len());
    }
}
