//! `POST /v1/broadcasts/batch`: a broadcast a line in, a result or a problem a line out, in order, while both stream.
//!
//! Lines are proposed side by side so that the leader packs them. A client that sends everything before it reads
//! anything is served too, as long as its answers fit [`ANSWER_BYTES_MAX`].

use super::access::Asking;
use super::context::Context;
use super::lines::{Line, Lines, PATIENCE};
use super::problem::{Code, Problem};
use super::publish::{self, accept};
use super::request::{self, Query};
use crate::model::{Caller, Trace};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::{self, FuturesOrdered};
use http::{HeaderValue, header};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Lines proposed and not yet answered.
const LINES_IN_FLIGHT_MAX: usize = 256;
/// Their bytes.
const BYTES_IN_FLIGHT_MAX: usize = 4 << 20;
/// Answers that wait for the client to read; beyond, no further line is read.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// Pieces of answer between this and the connection.
const PIECES_MAX: usize = 4;

pub async fn batch(State(context): State<Arc<Context>>, request: Request) -> Result<Response, Problem> {
    let caller = Asking::of(request.extensions())?.0.caller;
    let (parts, body) = request.into_parts();
    Query::read(&parts.uri, &[])?;
    let key: Option<Arc<str>> = publish::idempotency_key(&parts.headers)?.map(Arc::from);
    request::media_type(&parts.headers, request::NDJSON)?;
    if context.is_draining() {
        return Err(Problem::new(Code::Stopping, "this node is stopping"));
    }
    let lines = Lines::new(body, context.config.body_bytes_max.bytes(), PATIENCE);
    let (sender, receiver) = mpsc::channel(PIECES_MAX);
    let of_all = OfAll {
        context,
        caller,
        key,
        trace: request::trace(&parts.headers),
    };
    tokio::spawn(run(of_all, lines, sender));
    let pieces = stream::unfold(receiver, |mut receiver| async {
        let piece: Bytes = receiver.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(piece), receiver))
    });
    let mut response = Response::new(Body::from_stream(pieces));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    Ok(response)
}

/// What all lines have in common.
#[derive(Clone)]
struct OfAll {
    context: Arc<Context>,
    caller: Arc<Caller>,
    key: Option<Arc<str>>,
    trace: Option<Trace>,
}

/// Ends when all lines are answered, or when nobody reads the answers any more.
async fn run(of_all: OfAll, mut lines: Lines, sender: mpsc::Sender<Bytes>) {
    let mut pending = FuturesOrdered::new();
    let mut bytes_in_flight = 0;
    let mut answers = BytesMut::new();
    let mut reading = true;
    while reading || !pending.is_empty() || !answers.is_empty() {
        let room = pending.len() < LINES_IN_FLIGHT_MAX
            && bytes_in_flight < BYTES_IN_FLIGHT_MAX
            && answers.len() < ANSWER_BYTES_MAX;
        tokio::select! {
            // what is ready is gathered, then sent, then more is read: pieces grow under load by themselves
            biased;
            Some((bytes, answer)) = pending.next(), if !pending.is_empty() => {
                bytes_in_flight -= bytes;
                append(&mut answers, answer);
            }
            permit = sender.reserve(), if !answers.is_empty() => match permit {
                Ok(permit) => permit.send(answers.split().freeze()),
                Err(_) => return,
            },
            line = lines.next(), if reading && room => match line {
                Ok(Some(line)) => {
                    let bytes = line.text.as_ref().map_or(0, Bytes::len);
                    bytes_in_flight += bytes;
                    pending.push_back(one(of_all.clone(), line, bytes));
                }
                Ok(None) => reading = false,
                Err(problem) => {
                    reading = false;
                    pending.push_back(one(of_all.clone(), Line { number: 0, text: Err(problem) }, 0));
                }
            },
        }
    }
}

async fn one(of_all: OfAll, line: Line, bytes: usize) -> (usize, Result<Bytes, Problem>) {
    let OfAll {
        context,
        caller,
        key,
        trace,
    } = of_all;
    let answer = async {
        let text = line.text?;
        let key = key.map(|key| format!("{key}/{}", line.number));
        let done = accept(&context, &caller, key.as_deref(), &text, context.deadline(), trace).await?;
        Ok(done.answer)
    };
    (bytes, answer.await)
}

fn append(answers: &mut BytesMut, answer: Result<Bytes, Problem>) {
    match answer {
        Ok(answer) => answers.extend_from_slice(&answer),
        Err(problem) => answers.extend_from_slice(&problem.json()),
    }
    answers.extend_from_slice(b"\n");
}
