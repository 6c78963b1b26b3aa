//! What the cluster itself says of a day that is over: what each broadcast needed and what followed from it, how often people were
//! written to again, and who never got something.

use super::{
    course::Course,
    http::{self, Call},
};
use crate::{
    base::{backoff::Backoff, clock},
    model::Priority,
};
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;
use std::{collections::BTreeMap, net::SocketAddr, time::Duration};
use tokio::time::sleep;

const ASK_MAX: Duration = Duration::from_secs(6);
/// A call whose answer got lost is made once more when its claim has run out.
const SETTLED_MAX: Duration = Duration::from_secs(20);
const PAUSE: Backoff = Backoff {
    first: Duration::from_millis(20),
    factor: 2.0,
    max: Duration::from_millis(500),
};

#[derive(Debug, Default)]
pub struct Afterwards {
    /// By the id of the broadcast: those that ask for something.
    pub shown: BTreeMap<String, Shown>,
    /// People who were written to again, as the node counts that has seen most of them.
    pub retries: u64,
    pub dead_letters: u64,
}

/// A broadcast as `GET` shows it.
#[derive(Clone, Debug, Deserialize)]
pub struct Shown {
    pub released_at: String,
    pub needs: Vec<Need>,
    pub escalations: Vec<Taken>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Need {
    pub role: String,
    pub count: u64,
    pub confirmed: u64,
    pub met: bool,
}

/// A step that was taken.
#[derive(Clone, Debug, Deserialize)]
pub struct Taken {
    pub step: u64,
    pub at: String,
    pub alerted: u64,
    pub widened: u64,
    pub outputs: Vec<OutputCall>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct OutputCall {
    pub output: String,
    pub state: String,
}

impl Shown {
    /// Whether all its calls have come to an end.
    fn is_settled(&self) -> bool {
        let mut calls = self.escalations.iter().flat_map(|taken| &taken.outputs);
        calls.all(|call| !matches!(call.state.as_str(), "waiting" | "calling"))
    }
}

/// Asks as an administrator, on any node.
pub async fn ask(nodes: &[SocketAddr], admin: &str, courses: &[Course<'_>]) -> Result<Afterwards> {
    let mut afterwards = Afterwards::default();
    for course in courses.iter().filter(|course| course.entry.acknowledge) {
        let shown = shown(nodes, admin, course.id)
            .await
            .context(course.entry.reference.clone())?;
        afterwards.shown.insert(course.id.to_owned(), shown);
    }
    for node in nodes {
        let queues = get(std::slice::from_ref(node), admin, "/v1/queues").await?;
        afterwards.retries = afterwards.retries.max(retries(&queues)?);
    }
    let letters = get(nodes, admin, "/v1/dead-letters?limit=1&consistency=strong").await?;
    afterwards.dead_letters = letters["total"].as_u64().context("dead letters without their total")?;
    Ok(afterwards)
}

async fn shown(nodes: &[SocketAddr], admin: &str, id: &str) -> Result<Shown> {
    let path = format!("/v1/broadcasts/{id}?consistency=strong");
    let end = clock::now() + SETTLED_MAX;
    let mut looks = 0;
    loop {
        let shown: Shown = serde_json::from_value(get(nodes, admin, &path).await?)?;
        if shown.is_settled() || clock::now() >= end {
            return Ok(shown);
        }
        sleep(PAUSE.delay(looks, rand::random())).await;
        looks += 1;
    }
}

/// Asks one node after the other until one answers.
async fn get(nodes: &[SocketAddr], admin: &str, path: &str) -> Result<Value> {
    let call = Call {
        headers: &[("Authorization", admin)],
        ..Call::get(path)
    };
    let end = clock::now() + SETTLED_MAX;
    let mut tries = 0;
    loop {
        let node = nodes[tries as usize % nodes.len()];
        let trouble = match http::call(node, &call, ASK_MAX).await {
            Ok(answer) if answer.status == 200 => return answer.json(),
            Ok(answer) => format!("{} {}", answer.status, answer.code()),
            Err(error) => error.to_string(),
        };
        if clock::now() >= end {
            bail!("no node answers GET {path}: {trouble}");
        }
        sleep(PAUSE.delay(tries, rand::random())).await;
        tries += 1;
    }
}

/// Of all priorities, in the answer of `/v1/queues`.
fn retries(queues: &Value) -> Result<u64> {
    let each = Priority::ALL.into_iter().map(|priority| {
        let retries = queues[priority.name()]["retries"].as_u64();
        retries.with_context(|| format!("queues without the retries of {}", priority.name()))
    });
    each.sum()
}

#[cfg(test)]
mod tests {
    use super::{Shown, retries};
    use serde_json::json;

    #[test]
    fn retries_of_all_priorities_count_and_none_may_be_missing() {
        let queue = |retries: u64| json!({"waiting": 0, "retries": retries});
        let mut queues = json!({"critical": queue(1), "high": queue(0), "normal": queue(2), "low": queue(0)});
        assert_eq!(retries(&queues).unwrap(), 3);
        queues["low"] = json!({});
        assert!(retries(&queues).unwrap_err().to_string().contains("low"));
    }

    #[test]
    fn a_broadcast_is_settled_when_no_call_is_under_way() {
        let shown = |states: &[&str]| -> Shown {
            let outputs: Vec<_> = states
                .iter()
                .map(|state| json!({"output": "siren", "state": state}))
                .collect();
            let step = json!({"step": 0, "at": "", "alerted": 1, "widened": 0, "outputs": outputs});
            serde_json::from_value(json!({"released_at": "", "needs": [], "escalations": [step], "more": 1})).unwrap()
        };
        let settled = [
            &["delivered", "given_up"][..],
            &[],
            &["delivered", "calling"],
            &["waiting"],
        ]
        .map(|states| shown(states).is_settled());
        assert_eq!(settled, [true, true, false, false]);
    }
}
