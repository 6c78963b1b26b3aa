//! The sender of a rehearsal: it keeps trying, on every node in turn and with one key, until the cluster has answered.

use super::door::Door;
use super::http::{self, Answer, Call};
use crate::base::{backoff::Backoff, clock};
use anyhow::{Context, Result, bail};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

/// A node answers within 5 s, or says that it cannot.
const TRY_MAX: Duration = Duration::from_secs(6);
/// After this long without an answer a publish is given up.
const PUBLISH_MAX: Duration = Duration::from_secs(60);
const IMPORT_MAX: Duration = Duration::from_secs(60);
const PAUSE: Backoff = Backoff {
    first: Duration::from_millis(10),
    factor: 2.0,
    max: Duration::from_millis(100),
};

/// What a sender was told in the end.
#[derive(Debug)]
pub struct Told {
    /// `None` when no node answered in time.
    pub answer: Option<Answer>,
    /// When the answer was read.
    pub at: Instant,
    /// From the first try to the answer: the cluster took nothing else from this sender meanwhile.
    pub took: Duration,
    pub tries: u32,
}

/// One publish.
#[derive(Clone, Copy)]
pub struct Post<'a> {
    /// The `Authorization` of its sender.
    pub bearer: &'a str,
    pub key: &'a str,
    pub body: &'a [u8],
}

/// Posts until there is an answer that stands, beginning at one of the nodes.
pub async fn post(nodes: &[SocketAddr], first: usize, post: Post<'_>) -> Told {
    let headers = [
        ("Content-Type", "application/json"),
        ("Authorization", post.bearer),
        ("Idempotency-Key", post.key),
    ];
    let call = Call {
        method: "POST",
        path: "/v1/broadcasts",
        headers: &headers,
        body: post.body,
    };
    let begun = clock::now();
    let end = begun + PUBLISH_MAX;
    let mut tries = 0;
    loop {
        let node = nodes[(first + tries as usize) % nodes.len()];
        let answer = http::call(node, &call, TRY_MAX.min(clock::left(end))).await.ok();
        let answer = answer.filter(|answer| stands(answer.status));
        let at = answer.as_ref().map_or_else(clock::now, |answer| answer.at);
        tries += 1;
        if answer.is_some() || at >= end {
            return Told {
                answer,
                at,
                took: at - begun,
                tries,
            };
        }
        tokio::time::sleep(PAUSE.delay(tries / nodes.len() as u32, rand::random())).await;
    }
}

/// Not now, still running, and what is broken on one node are asked again; the key makes that safe.
fn stands(status: u16) -> bool {
    !matches!(status, 409 | 429 | 500..)
}

/// Imports a directory, all lines or none.
pub async fn import(node: impl Into<Door>, bearer: &str, lines: &[u8]) -> Result<()> {
    let headers = [("Content-Type", "application/x-ndjson"), ("Authorization", bearer)];
    let call = Call {
        method: "POST",
        path: "/v1/import",
        headers: &headers,
        body: lines,
    };
    let answer = http::call(node, &call, IMPORT_MAX)
        .await
        .context("import the directory")?;
    if !matches!(answer.status, 200 | 201) {
        bail!("the import answered {} {}", answer.status, answer.code());
    }
    let faults = answer.json()?;
    let faults = faults
        .get("faults")
        .or(faults.get("errors"))
        .and_then(serde_json::Value::as_array);
    if let Some(fault) = faults.and_then(|faults| faults.first()) {
        bail!("the import refused a line: {fault}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Post, post, stands};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    #[test]
    fn what_may_pass_is_asked_again() {
        let again = [409, 429, 500, 503, 507].map(stands);
        assert_eq!((again, [200, 201, 400, 404, 422].map(stands)), ([false; 5], [true; 5]));
    }

    #[tokio::test]
    async fn a_post_goes_on_to_the_next_node_with_the_same_key() {
        let (busy, dead, good) = (
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
        );
        let nodes = [&busy, &dead, &good].map(|listener| listener.local_addr().unwrap());
        drop(dead);
        let answer = |listener: TcpListener, text: &'static str| async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"{}") {
                socket.read_buf(&mut request).await.unwrap();
            }
            socket.write_all(text.as_bytes()).await.unwrap();
            String::from_utf8(request).unwrap().contains("Idempotency-Key: k-1")
        };
        let sent = Post {
            bearer: "Bearer t",
            key: "k-1",
            body: b"{}",
        };
        let told = post(&nodes, 0, sent);
        let busy = answer(busy, "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n");
        let good = answer(good, "HTTP/1.1 201 Yes\r\nContent-Length: 2\r\n\r\n{}");
        let (told, busy, good) = tokio::join!(told, busy, good);
        assert!(busy && good);
        assert_eq!((told.answer.unwrap().status, told.tries), (201, 3));
    }
}
