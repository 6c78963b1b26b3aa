//! Refusals: whatever is wrong with a request has a code, a sender has caps, an event day keeps product news away; and what was accepted
//! in between comes all the same.

use super::listener::text;
use super::nouns::{draft, member, user, venue, wedding};
use super::proof::Proof;
use super::stage::{SOON, Stage};
use crate::base::clock;
use crate::lab::http::Answer;
use crate::lab::stream::Transport;
use crate::lab::tokens::bearer;
use anyhow::Result;
use serde_json::{Value, json};

const DAY_MS: i64 = 86_400_000;
/// One more than a body may have.
const BODY_KIB: usize = 257;
/// A cap that is higher is not tried.
const HOUR_MAX: u64 = 50;

pub async fn look(stage: &mut Stage, proof: &mut Proof) -> Result<()> {
    let place = Place::build(stage).await?;
    let listener = stage.listen(0, Transport::WebSocket, &place.dj).await?;
    let before = stage.publish(0, &place.draft()).await?;
    let (mut right, mut all) = (0, 0);
    for case in place.cases() {
        let answer = case.send(stage, all).await;
        all += 1;
        match answer {
            Ok(answer) if is_refused(&answer, case.expected) => right += 1,
            Ok(answer) => proof.wrong(format!(
                "{} was answered {} {}, not {:?}",
                case.what,
                answer.status,
                answer.code(),
                case.expected
            )),
            Err(error) => proof.wrong(format!("{} was not answered: {error:#}", case.what)),
        }
    }
    proof.exactly("bad requests refused with their code", all, right);
    let after = stage.publish(1, &place.draft()).await?;
    let mut accepted = vec![before.id, after.id];
    accepted.extend(capped(stage, &place, proof).await?);
    for id in &accepted {
        listener.gets(id, SOON).await;
    }
    let read = listener.ids();
    let missing = accepted.iter().filter(|id| !read.contains(*id)).count();
    proof.none("accepted broadcasts that did not come", missing);
    proof.none(
        "refused ones that came",
        read.iter().filter(|id| !accepted.contains(*id)).count(),
    );
    Ok(())
}

/// A problem document with that status and code, which says whether to try again.
fn is_refused(answer: &Answer, (status, code): (u16, &str)) -> bool {
    let is_problem = answer
        .header("content-type")
        .is_some_and(|kind| kind.starts_with("application/problem+json"));
    let body = answer.json().unwrap_or_default();
    let has_parts = body["title"].is_string() && body["retryable"].is_boolean() && body["status"] == status;
    answer.status == status && answer.code() == code && is_problem && has_parts
}

struct Place {
    wedding: String,
    dj: String,
}

struct Case {
    what: &'static str,
    method: &'static str,
    path: &'static str,
    kind: &'static str,
    body: Vec<u8>,
    expected: (u16, &'static str),
}

impl Case {
    async fn send(&self, stage: &Stage, at: usize) -> Result<Answer> {
        let headers = [("Content-Type", self.kind)];
        stage.ask(at, (self.method, self.path), &headers, &self.body).await
    }
}

fn publish(what: &'static str, body: impl Into<Vec<u8>>, expected: (u16, &'static str)) -> Case {
    Case {
        what,
        method: "POST",
        path: "/v1/broadcasts",
        kind: "application/json",
        body: body.into(),
        expected,
    }
}

impl Place {
    async fn build(stage: &mut Stage) -> Result<Self> {
        let barn = stage.name("refusals-barn");
        let place = Self {
            wedding: stage.name("refusals-wedding"),
            dj: stage.name("refusals-dj"),
        };
        let lines = [
            venue(&barn),
            wedding(&place.wedding, &barn, -1, 1),
            user(&place.dj, "dj"),
            member(&json!({"wedding": place.wedding}), &place.dj, "dj"),
        ];
        stage.import(&lines).await?;
        Ok(place)
    }

    fn audience(&self) -> Value {
        json!({"weddings": [self.wedding]})
    }

    fn draft(&self) -> Value {
        draft("normal", &self.audience(), "Good")
    }

    fn cases(&self) -> Vec<Case> {
        let changed = |name: &str, value: Value| {
            let mut draft = self.draft();
            draft[name] = value;
            draft.to_string()
        };
        let mut without = self.draft();
        without.as_object_mut().and_then(|draft| draft.remove("title"));
        let mut long = draft("critical", &self.audience(), "Long");
        long["body"] = json!("x".repeat(361));
        let mut tip = draft("critical", &self.audience(), "No emergency");
        tip["type"] = json!("timeline.changed");
        let mut news = self.draft();
        news["type"] = json!("feature.released");
        let far = clock::rfc3339(clock::wall() + 8 * DAY_MS);
        let other = |what, method, path, expected| Case {
            what,
            method,
            path,
            kind: "application/json",
            body: Vec::new(),
            expected,
        };
        vec![
            publish("JSON that ends early", "{\"type\":", (400, "MALFORMED_JSON")),
            publish(
                "bytes that are no UTF-8",
                b"{\"title\": \"\xff\"}",
                (400, "INVALID_UTF8"),
            ),
            publish("an unknown field", changed("titel", json!("T")), (422, "UNKNOWN_FIELD")),
            publish("no title", without.to_string(), (422, "MISSING_FIELD")),
            publish("a number for a title", changed("title", json!(7)), (422, "WRONG_TYPE")),
            publish("no audience", changed("audience", json!([])), (422, "EMPTY_AUDIENCE")),
            publish(
                "a title of 201 letters",
                changed("title", json!("x".repeat(201))),
                (422, "TOO_LONG"),
            ),
            publish("a critical of 361 letters", long.to_string(), (422, "TOO_LONG")),
            publish(
                "a wedding that nobody knows",
                changed("audience", json!({"weddings": ["validate-none"]})),
                (422, "UNKNOWN_WEDDING"),
            ),
            publish(
                "a critical that is none",
                tip.to_string(),
                (422, "CRITICAL_TYPE_NOT_ALLOWED"),
            ),
            publish(
                "a time in eight days",
                changed("deliver_at", json!(far)),
                (422, "SCHEDULE_TOO_FAR"),
            ),
            publish("product news at a wedding", news.to_string(), (423, "EVENT_DAY_LOCK")),
            publish("a body of 257 KiB", vec![b' '; BODY_KIB << 10], (413, "TOO_LARGE")),
            Case {
                kind: "text/plain",
                ..publish(
                    "a body of another kind",
                    self.draft().to_string(),
                    (415, "UNSUPPORTED_MEDIA_TYPE"),
                )
            },
            other("an address that is not there", "GET", "/v1/nothing", (404, "NOT_FOUND")),
            other(
                "a method that is not taken",
                "PATCH",
                "/v1/broadcasts",
                (405, "METHOD_NOT_ALLOWED"),
            ),
            other(
                "a parameter that is misspelt",
                "GET",
                "/v1/users?limt=5",
                (422, "UNKNOWN_PARAMETER"),
            ),
        ]
    }
}

/// A sender publishes up to the cap and once more; gives what was accepted.
async fn capped(stage: &Stage, place: &Place, proof: &mut Proof) -> Result<Vec<String>> {
    let config = stage.get(0, "/v1/config").await?;
    let hour = config["rates"]["hour"].as_u64().filter(|hour| *hour <= HOUR_MAX);
    let is_on = config["rates"]["enabled"] == true && stage.has_tokens;
    let Some(hour) = hour.filter(|_| is_on) else {
        proof.not_run("a rate cap: the nodes have none for senders, or ask for no tokens");
        return Ok(Vec::new());
    };
    let wanted =
        json!({"user": place.dj, "role": "dj", "weddings": [place.wedding], "scopes": ["publish"], "ttl": "10m"});
    let made = stage.post(0, "/v1/tokens", &wanted).await?.json()?;
    let own = bearer(&text(&made, "token"));
    let mut cue = place.draft();
    cue["type"] = json!("cue.call");
    cue["drill"] = json!(false);
    let body = cue.to_string();
    let headers = [("Content-Type", "application/json")];
    let send = async |at: usize| {
        let what = (&headers[..], body.as_bytes());
        stage.ask_as(at, ("POST", "/v1/broadcasts"), &own, what).await
    };
    let mut accepted = Vec::new();
    for at in 0..hour as usize {
        let answer = send(at).await?;
        if answer.status == 201 {
            accepted.push(text(&answer.json()?, "id"));
        } else {
            proof.wrong(format!(
                "below the cap a sender was answered {} {}",
                answer.status,
                answer.code()
            ));
        }
    }
    let beyond = send(0).await?;
    let is_told = beyond.header("retry-after").is_some() && is_refused(&beyond, (429, "RATE_LIMITED"));
    proof.exactly(
        "accepted up to the cap, through all nodes",
        hour as usize,
        accepted.len(),
    );
    proof.exactly("refused beyond it, with when to come back", 1, usize::from(is_told));
    let path = format!("/v1/tokens/{}", text(&made, "id"));
    stage.ask(0, ("DELETE", &path), &[], b"").await?;
    Ok(accepted)
}
