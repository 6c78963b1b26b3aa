//! The way back over HTTP: received, read, and a person's confirmation.

use super::access::Asking;
use super::context::Context;
use super::fields::{Faults, Fields, Path as Pointer};
use super::json::{self, Json};
use super::problem::{Code, Problem, code_of};
use super::request::{self, Path, Query};
use super::wire::{self, Page};
use crate::metrics::METRICS;
use crate::model::{Number, Step, UserNumber};
use crate::state::broadcasts::Hot;
use crate::state::command::{Acknowledged, Receipts};
use crate::state::outcome::Acknowledgement;
use crate::state::{Command, Outcome, Refused};
use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use std::sync::Arc;
use std::time::Instant;

/// Ids in one list of receipts.
const RECEIPTS_MAX: usize = 1000;
/// Ids in one bulk acknowledgement.
const ACKNOWLEDGED_MAX: usize = 50;
/// Characters of an answer.
const ANSWER_MAX: usize = 50;
const ID_MAX: usize = 26;
/// What somebody says who just confirms.
const DEFAULT_ANSWER: &str = "ok";

/// One id that got no receipt, and why.
#[derive(Serialize)]
struct Not {
    id: String,
    code: &'static str,
    detail: String,
}

/// `POST /v1/receipts`: what is answered is applied here, like every write.
pub async fn receipts(State(context): State<Arc<Context>>, request: Request) -> Result<Response, Problem> {
    #[derive(Serialize)]
    struct Taken {
        received: usize,
        read: usize,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        refused: Vec<Not>,
    }
    let asking = Asking::of(request.extensions())?;
    let (query, body, deadline) = body(&context, request).await?;
    let user = context.acting(asking.caller(), &query, deadline).await?;
    let lists = read_receipts(json::parse(&body, "")?)?;
    let mut counts = [0; 2];
    let mut refused = Vec::new();
    let mut is_expired = true;
    let mut deltas = Vec::new();
    for (list, step, count) in lists
        .into_iter()
        .zip([Step::Received, Step::Read])
        .zip(0..)
        .map(|((l, s), c)| (l, s, c))
    {
        for id in list {
            match take(&context, &id, user, deadline).await {
                Ok(number) => {
                    deltas.push((number, step, [user].into_iter().collect()));
                    counts[count] += 1;
                }
                Err(problem) if problem.status().is_server_error() => return Err(problem),
                Err(problem) => {
                    is_expired &= problem.code() == Code::Expired;
                    refused.push(Not {
                        id,
                        code: problem.code().text(),
                        detail: problem.detail().to_owned(),
                    });
                }
            }
        }
    }
    let [received, read] = counts;
    if received + read == 0 && !refused.is_empty() {
        let code = if is_expired { Code::Expired } else { Code::NotFound };
        return Err(Problem::new(
            code,
            "none of these broadcasts takes a receipt from this user",
        ));
    }
    let index = if deltas.is_empty() {
        0
    } else {
        for (_, step, _) in &deltas {
            METRICS.receipts.with_label_values(&[step.name()]).inc();
        }
        let receipts = Receipts {
            node: context.node,
            deltas,
            promised: None,
            watermarks: [0; 4], // nothing is said of this node's sessions
        };
        context
            .handle
            .propose(Command::Receipts(receipts), deadline)
            .await?
            .index
    };
    let taken = Taken {
        received,
        read,
        refused,
    };
    Ok(stamped(wire::json(StatusCode::OK, &taken), index))
}

fn read_receipts(body: Json<'_>) -> Result<[Vec<String>; 2], Problem> {
    let mut faults = Faults::default();
    let lists = Fields::open(body, &Pointer::ROOT, &["received", "read"], &mut faults).map(|mut fields| {
        if !fields.has("received") && !fields.has("read") {
            fields.missing("received");
        }
        ["received", "read"].map(|name| fields.words(name, RECEIPTS_MAX, ID_MAX).unwrap_or_default())
    });
    faults.or(lists)
}

/// The number of a broadcast that takes receipts of this user. Others' broadcasts are not there at all.
async fn take(context: &Arc<Context>, id: &str, user: UserNumber, deadline: Instant) -> Result<Number, Problem> {
    let hot = mine(context, id, user, deadline).await?;
    if context.handle.log_time() >= hot.broadcast.expires_at {
        return Err(Problem::new(Code::Expired, "the broadcast has expired"));
    }
    Ok(hot.broadcast.number)
}

async fn mine(context: &Arc<Context>, id: &str, user: UserNumber, deadline: Instant) -> Result<Hot, Problem> {
    let hot = context.broadcast(id, deadline).await?;
    if hot.is_out_to(user) {
        Ok(hot)
    } else {
        Err(Problem::absent("broadcast", super::fields::shorten(id)))
    }
}

#[derive(Serialize)]
struct Confirmed<'a> {
    id: &'a str,
    /// The answer that stands.
    answer: &'a str,
    /// After `acknowledge.within`, or after the broadcast expired: kept, and marked.
    late: bool,
    /// The same person had confirmed before; the first answer stands.
    repeated: bool,
}

/// `POST /v1/broadcasts/{id}/acknowledge`
pub async fn acknowledge(
    State(context): State<Arc<Context>>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let asking = Asking::of(request.extensions())?;
    let (query, body, deadline) = body(&context, request).await?;
    let user = context.acting(asking.caller(), &query, deadline).await?;
    let answer = read_answer(&body)?;
    let hot = mine(&context, &id, user, deadline).await?;
    check_answer(&hot, &answer)?;
    let (mut each, index) = propose(&context, user, vec![(hot.broadcast.number, answer.clone())], deadline).await?;
    match each.pop() {
        Some(Ok(Acknowledgement { late, repeated, answer })) => {
            METRICS.receipts.with_label_values(&[Step::Acknowledged.name()]).inc();
            let confirmed = Confirmed {
                id: &id,
                answer: &answer,
                late,
                repeated,
            };
            Ok(stamped(wire::json(StatusCode::OK, &confirmed), index))
        }
        Some(Err(refused)) => Err(refusal(&refused, &id)),
        None => Err(Problem::new(Code::Internal, "a confirmation came to nothing")),
    }
}

/// An empty body just confirms.
fn read_answer(body: &[u8]) -> Result<String, Problem> {
    if body.is_empty() {
        return Ok(DEFAULT_ANSWER.to_owned());
    }
    let mut faults = Faults::default();
    let answer = Fields::open(json::parse(body, "")?, &Pointer::ROOT, &["answer"], &mut faults).map(|mut fields| {
        if fields.has("answer") {
            fields.text("answer", ANSWER_MAX)
        } else {
            None
        }
        .unwrap_or_else(|| DEFAULT_ANSWER.to_owned())
    });
    faults.or(answer)
}

/// The log checks this again for broadcasts in memory; older ones cannot change, so this check stands for it.
fn check_answer(hot: &Hot, answer: &str) -> Result<(), Problem> {
    let asked = hot
        .broadcast
        .draft
        .acknowledge
        .as_ref()
        .map(|asked| asked.answers.as_slice())
        .unwrap_or_default();
    if asked.is_empty() || asked.iter().any(|known| known == answer) {
        return Ok(());
    }
    Err(Problem::fault(
        "/answer",
        Code::UnknownAnswer,
        format!("must be one of {}", asked.join(", ")),
    ))
}

fn refusal(refused: &Refused, id: &str) -> Problem {
    match refused {
        Refused::UnknownAnswer(_) => Problem::fault("/answer", code_of(refused), refused.to_string()),
        Refused::UnknownBroadcast | Refused::NotARecipient => Problem::absent("broadcast", super::fields::shorten(id)),
        other => Problem::from(other),
    }
}

/// `POST /v1/acknowledgements` `{"ids": [...], "answer": "ok"}`
pub async fn acknowledgements(State(context): State<Arc<Context>>, request: Request) -> Result<Response, Problem> {
    let asking = Asking::of(request.extensions())?;
    let (query, body, deadline) = body(&context, request).await?;
    let user = context.acting(asking.caller(), &query, deadline).await?;
    let (ids, answer) = read_bulk(json::parse(&body, "")?)?;
    let mut checked = Vec::with_capacity(ids.len());
    for id in &ids {
        let found = match mine(&context, id, user, deadline).await {
            Ok(hot) => check_answer(&hot, &answer).map(|()| hot.broadcast.number),
            Err(problem) if problem.status().is_server_error() => return Err(problem),
            Err(problem) => Err(problem),
        };
        checked.push(found);
    }
    let answers: Vec<_> = checked
        .iter()
        .filter_map(|found| Some((*found.as_ref().ok()?, answer.clone())))
        .collect();
    let (each, index) = if answers.is_empty() {
        (Vec::new(), 0)
    } else {
        propose(&context, user, answers, deadline).await?
    };
    let mut each = each.into_iter();
    let items = ids.iter().zip(checked).map(|(id, found)| {
        let outcome = found.and_then(|_| match each.next() {
            Some(Ok(done)) => Ok(done),
            Some(Err(refused)) => Err(refusal(&refused, id)),
            None => Err(Problem::new(Code::Internal, "a confirmation came to nothing")),
        });
        match outcome {
            Ok(Acknowledgement { late, repeated, answer }) => {
                METRICS.receipts.with_label_values(&[Step::Acknowledged.name()]).inc();
                serde_json::json!(Confirmed {
                    id,
                    answer: &answer,
                    late,
                    repeated
                })
            }
            Err(problem) => serde_json::json!(Not {
                id: id.clone(),
                code: problem.code().text(),
                detail: problem.detail().to_owned()
            }),
        }
    });
    let page = Page {
        items: items.collect(),
        next: None,
    };
    Ok(stamped(wire::json(StatusCode::OK, &page), index))
}

fn read_bulk(body: Json<'_>) -> Result<(Vec<String>, String), Problem> {
    let mut faults = Faults::default();
    let bulk = Fields::open(body, &Pointer::ROOT, &["ids", "answer"], &mut faults).and_then(|mut fields| {
        if !fields.has("ids") {
            fields.missing("ids");
        }
        let answer = if fields.has("answer") {
            fields.text("answer", ANSWER_MAX)?
        } else {
            DEFAULT_ANSWER.to_owned()
        };
        Some((fields.words("ids", ACKNOWLEDGED_MAX, ID_MAX)?, answer))
    });
    faults.or(bulk)
}

type Each = Vec<Result<Acknowledgement, Refused>>;

async fn propose(
    context: &Context,
    user: UserNumber,
    answers: Vec<(Number, String)>,
    deadline: Instant,
) -> Result<(Each, u64), Problem> {
    let command = Command::Acknowledge(Acknowledged {
        user,
        node: context.node,
        answers,
    });
    let proposed = context.handle.propose(command, deadline).await?;
    match proposed.outcome {
        Outcome::Acknowledged(each) => Ok((each, proposed.index)),
        Outcome::Refused(refused) => Err(Problem::from(&refused)),
        other => Err(Problem::new(
            Code::Internal,
            format!("a confirmation came to {other:?}"),
        )),
    }
}

async fn body(context: &Context, request: Request) -> Result<(Query, bytes::Bytes, Instant), Problem> {
    let deadline = context.deadline();
    let (parts, body) = request.into_parts();
    let query = Query::read(&parts.uri, &["user"])?;
    request::media_type(&parts.headers, request::JSON)?;
    let body = request::body(body, context.config.body_bytes_max.bytes(), deadline).await?;
    Ok((query, body, deadline))
}

fn stamped(mut response: Response, index: u64) -> Response {
    if index > 0 {
        response
            .headers_mut()
            .insert("campanile-applied", HeaderValue::from(index));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::{read_answer, read_bulk, read_receipts};
    use crate::api::json;

    #[test]
    fn an_empty_body_just_confirms() {
        assert_eq!(read_answer(b"").unwrap(), "ok");
        assert_eq!(read_answer(b"{}").unwrap(), "ok");
        assert_eq!(read_answer(br#"{"answer": "need_help"}"#).unwrap(), "need_help");
        assert_eq!(
            read_answer(br#"{"answer": 7}"#).unwrap_err().errors()[0].pointer,
            "/answer"
        );
        assert_eq!(
            read_answer(br#"{"answr": "ok"}"#).unwrap_err().code().text(),
            "UNKNOWN_FIELD"
        );
    }

    #[test]
    fn lists_are_bounded() {
        let ids = |count: usize| format!("{{\"ids\": [{}]}}", vec!["\"01J\""; count].join(","));
        assert_eq!(
            read_bulk(json::parse(ids(50).as_bytes(), "").unwrap()).unwrap().0.len(),
            50
        );
        assert_eq!(
            read_bulk(json::parse(ids(51).as_bytes(), "").unwrap())
                .unwrap_err()
                .code()
                .text(),
            "TOO_LONG"
        );
        assert_eq!(
            read_receipts(json::parse(b"{}", "").unwrap())
                .unwrap_err()
                .code()
                .text(),
            "MISSING_FIELD"
        );
    }
}
