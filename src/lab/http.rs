//! An HTTP client of the lab's own, as plain as can be: one request, one connection, one answer. It shares no code with the
//! server, so that a fault in how the server writes HTTP is seen here and not read past.

use super::door::Door;
use crate::base::clock;
use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;
use std::{
    fmt::Write as _,
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

const HEAD_BYTES_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 64;
const BODY_BYTES_MAX: usize = 16 << 20;
const CHUNK_LINE_MAX: usize = 64;

pub struct Call<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub headers: &'a [(&'a str, &'a str)],
    pub body: &'a [u8],
}

#[derive(Debug)]
pub struct Head {
    pub status: u16,
    headers: Vec<(String, String)>,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
    /// When its head was read.
    pub at: Instant,
    head: Head,
}

impl<'a> Call<'a> {
    pub fn get(path: &'a str) -> Self {
        Self {
            method: "GET",
            path,
            headers: &[],
            body: &[],
        }
    }

    /// The request's bytes. A subscription adds its own `Connection` header and leaves `close` out.
    pub fn encode(&self, host: SocketAddr, connection: &str) -> Vec<u8> {
        let mut head = format!(
            "{} {} HTTP/1.1\r\nHost: {host}\r\nConnection: {connection}\r\n",
            self.method, self.path
        );
        for (name, value) in self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        if self.method != "GET" {
            let _ = write!(head, "Content-Length: {}\r\n", self.body.len());
        }
        head.push_str("\r\n");
        [head.as_bytes(), self.body].concat()
    }
}

impl Head {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self
            .headers
            .iter()
            .filter(|(header, _)| header.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value.as_str())
    }

    pub fn is_chunked(&self) -> bool {
        self.header("transfer-encoding")
            .is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).context("the answer is no JSON")
    }

    /// The problem's code, or the first words of whatever came instead.
    pub fn code(&self) -> String {
        let code = self
            .json()
            .ok()
            .and_then(|json| Some(json.get("code")?.as_str()?.to_owned()));
        code.unwrap_or_else(|| String::from_utf8_lossy(&self.body).chars().take(80).collect())
    }
}

/// Sends one request and reads its answer, all within `limit`.
pub async fn call(node: impl Into<Door>, call: &Call<'_>, limit: Duration) -> Result<Answer> {
    let node = node.into();
    let road = async {
        let mut socket = node.enter().await?;
        socket.write_all(&call.encode(node.address, "close")).await?;
        let mut buffer = Vec::with_capacity(1024);
        let head = read_head(&mut socket, &mut buffer).await?;
        let at = clock::now();
        let body = read_body(&mut socket, &head, buffer).await?;
        Ok(Answer {
            status: head.status,
            body,
            at,
            head,
        })
    };
    let end = clock::now() + limit;
    let answer = timeout(clock::left(end), road).await;
    answer.map_err(|_| anyhow!("{} {} took longer than {limit:?}", call.method, call.path))?
}

/// Reads up to the empty line; what follows it stays in `buffer`.
pub async fn read_head(socket: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> Result<Head> {
    loop {
        if let Some((head, length)) = parse_head(buffer)? {
            buffer.drain(..length);
            return Ok(head);
        }
        if buffer.len() > HEAD_BYTES_MAX {
            bail!("the answer's head is longer than {HEAD_BYTES_MAX} bytes");
        }
        if socket.read_buf(buffer).await? == 0 {
            bail!("the connection ended before the answer");
        }
    }
}

fn parse_head(bytes: &[u8]) -> Result<Option<(Head, usize)>> {
    let mut slots = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut slots);
    let httparse::Status::Complete(length) = response.parse(bytes)? else {
        return Ok(None);
    };
    let text = |header: &httparse::Header<'_>| {
        (
            header.name.to_owned(),
            String::from_utf8_lossy(header.value).into_owned(),
        )
    };
    let head = Head {
        status: response.code.context("no status")?,
        headers: response.headers.iter().map(text).collect(),
    };
    Ok(Some((head, length)))
}

async fn read_body(socket: &mut (impl AsyncRead + Unpin), head: &Head, mut buffer: Vec<u8>) -> Result<Vec<u8>> {
    if head.is_chunked() {
        let mut chunks = Chunks::default();
        let mut body = Vec::new();
        loop {
            if chunks.decode(&mut buffer, &mut body)? {
                return Ok(body);
            }
            read_some(socket, &mut buffer, body.len()).await?;
        }
    }
    let length: usize = head.header("content-length").map_or(Ok(0), str::parse)?;
    while buffer.len() < length {
        let have = buffer.len();
        read_some(socket, &mut buffer, have).await?;
    }
    buffer.truncate(length);
    Ok(buffer)
}

async fn read_some(socket: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>, have: usize) -> Result<()> {
    if have > BODY_BYTES_MAX {
        bail!("the answer is longer than {BODY_BYTES_MAX} bytes");
    }
    if socket.read_buf(buffer).await? == 0 {
        bail!("the connection ended within the answer");
    }
    Ok(())
}

/// Where a chunked body stands between two reads.
#[derive(Debug, Default)]
pub struct Chunks {
    /// Of the chunk at hand, with its line end.
    left: usize,
}

impl Chunks {
    /// Moves what is whole from `raw` to `body`; true after the last chunk.
    pub fn decode(&mut self, raw: &mut Vec<u8>, body: &mut Vec<u8>) -> Result<bool> {
        loop {
            let taken = self.left.min(raw.len());
            let payload = self.left.saturating_sub(2).min(taken);
            body.extend_from_slice(&raw[..payload]);
            raw.drain(..taken);
            self.left -= taken;
            if self.left > 0 {
                return Ok(false);
            }
            let Some(end) = raw.windows(2).position(|pair| pair == b"\r\n") else {
                if raw.len() > CHUNK_LINE_MAX {
                    bail!("a chunk's size is longer than {CHUNK_LINE_MAX} bytes");
                }
                return Ok(false);
            };
            let size = std::str::from_utf8(&raw[..end])?.split(';').next().unwrap_or_default();
            let size = usize::from_str_radix(size.trim(), 16).context("a chunk's size")?;
            raw.drain(..end + 2);
            if size == 0 {
                return Ok(true);
            }
            self.left = size.checked_add(2).context("a chunk's size")?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Call, Chunks, parse_head};

    #[test]
    fn chunks_come_together_however_they_are_cut() {
        let wire = b"5\r\nhello\r\n7;x=y\r\n, world\r\n0\r\n\r\n";
        for cut in 1..wire.len() {
            let (mut chunks, mut raw, mut body) = (Chunks::default(), Vec::new(), Vec::new());
            let ended = wire.chunks(cut).any(|part| {
                raw.extend_from_slice(part);
                chunks.decode(&mut raw, &mut body).unwrap()
            });
            assert!(ended && body == b"hello, world", "cut at {cut}: {body:?}");
        }
        assert!(
            Chunks::default()
                .decode(&mut b"zz\r\n".to_vec(), &mut Vec::new())
                .is_err()
        );
        assert!(Chunks::default().decode(&mut vec![b'1'; 100], &mut Vec::new()).is_err());
    }

    #[test]
    fn heads_are_read_and_requests_written() {
        let wire = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}";
        assert!(parse_head(&wire[..30]).unwrap().is_none());
        let (head, length) = parse_head(wire).unwrap().unwrap();
        assert_eq!(
            (head.status, head.header("content-length"), &wire[length..]),
            (201, Some("2"), &b"{}"[..])
        );
        let call = Call {
            method: "POST",
            path: "/x",
            headers: &[("A", "b")],
            body: b"hi",
        };
        let bytes = call.encode("127.0.0.1:8205".parse().unwrap(), "close");
        let text =
            "POST /x HTTP/1.1\r\nHost: 127.0.0.1:8205\r\nConnection: close\r\nA: b\r\nContent-Length: 2\r\n\r\nhi";
        assert_eq!(String::from_utf8(bytes).unwrap(), text);
    }
}
