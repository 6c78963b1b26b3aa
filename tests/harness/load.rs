//! Publishers that never give up: every publish has a key and is repeated on the next node until its fate is known.

use super::PRIORITIES;
use super::http::{Answer, Client};
use super::wait::maybe;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What became of a publish, as its sender knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    Ok {
        id: String,
        position: u64,
        log_index: u64,
    },
    /// No answer, or a 5xx: it may be delivered, now or later.
    Unknown,
    /// A definite no: it must never appear.
    Failed(u16),
}

#[derive(Clone, Debug)]
pub struct Publish {
    pub key: String,
    pub priority: String,
    pub body: String,
    /// Users it was for, by id.
    pub users: Vec<String>,
    pub fate: Fate,
    /// When the final answer came.
    pub at: Instant,
}

impl Publish {
    /// Answered just now; its text names it, and is its key.
    pub fn done(body: String, priority: &str, users: Vec<String>, fate: Fate) -> Self {
        Self {
            key: body.clone(),
            priority: priority.into(),
            body,
            users,
            fate,
            at: Instant::now(),
        }
    }
}

/// One broadcast to people named by id.
pub fn draft(priority: &str, body: &str, users: &[String]) -> Value {
    json!({
        "type": if priority == "critical" { "weather.warning" } else { "timeline.changed" },
        "priority": priority, "title": "Load", "body": body, "audience": [{"users": users}],
    })
}

/// Publishes once; the answer says its fate.
pub fn publish(client: &mut Client, draft: &Value, key: &str) -> (Fate, Option<Answer>) {
    let key = key.replace(' ', "-");
    let headers = [("Idempotency-Key", key.as_str()), ("Content-Type", "application/json")];
    let Ok(answer) = client.send("POST", "/v1/broadcasts", &headers, draft.to_string().as_bytes()) else {
        return (Fate::Unknown, None);
    };
    let fate = match answer.status {
        201 => {
            let body = answer.json();
            Fate::Ok {
                id: body["id"].as_str().unwrap().to_owned(),
                position: body["position"].as_u64().unwrap(),
                log_index: body["log_index"].as_u64().unwrap(),
            }
        }
        409 | 500.. => Fate::Unknown,
        status => Fate::Failed(status),
    };
    (fate, Some(answer))
}

/// What one publisher does: whom it writes to, and how often.
#[derive(Clone, Debug)]
pub struct Plan {
    pub name: String,
    /// Audiences to take in turn.
    pub audiences: Vec<Vec<String>>,
    /// Between two publishes.
    pub every: Duration,
}

/// Publishers at work.
pub struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<Publish>>>,
}

impl Load {
    pub fn start(nodes: &[SocketAddr], plans: Vec<Plan>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let spawn = |(number, plan): (usize, Plan)| {
            let (nodes, stop) = (nodes.to_vec(), stop.clone());
            let builder = std::thread::Builder::new().name(plan.name.clone());
            builder.spawn(move || run(&nodes, number, &plan, &stop)).unwrap()
        };
        let threads = plans.into_iter().enumerate().map(spawn).collect();
        Self { stop, threads }
    }

    /// Lets every publisher finish what it has begun, and gives the whole history in the order of answers.
    pub fn stop(self) -> Vec<Publish> {
        self.stop.store(true, Ordering::Release);
        let mut all: Vec<Publish> = Vec::new();
        for thread in self.threads {
            all.extend(thread.join().unwrap());
        }
        all.sort_by_key(|publish| publish.at);
        all
    }
}

/// How long a publisher repeats one publish before it leaves it unknown.
const REPEAT_FOR: Duration = Duration::from_secs(30);

fn run(nodes: &[SocketAddr], number: usize, plan: &Plan, stop: &AtomicBool) -> Vec<Publish> {
    let mut clients: Vec<Client> = nodes.iter().map(|address| Client::new(*address)).collect();
    let mut done = Vec::new();
    let mut turn = number;
    while !stop.load(Ordering::Acquire) {
        let begun = Instant::now();
        let count = done.len();
        let users = plan.audiences[count % plan.audiences.len()].clone();
        let priority = PRIORITIES[(count + number) % PRIORITIES.len()];
        let body = format!("{}-{count}", plan.name);
        let draft = draft(priority, &body, &users);
        let fate = insist(&mut clients, &mut turn, &draft, &body);
        done.push(Publish::done(body, priority, users, fate));
        let rest = plan.every.saturating_sub(begun.elapsed());
        maybe(rest, || stop.load(Ordering::Acquire).then_some(()));
    }
    done
}

/// The same publish on one node after the other, until its fate is known.
fn insist(clients: &mut [Client], turn: &mut usize, draft: &Value, key: &str) -> Fate {
    let end = Instant::now() + REPEAT_FOR;
    loop {
        *turn += 1;
        let at = *turn % clients.len();
        let (fate, answer) = publish(&mut clients[at], draft, key);
        if fate != Fate::Unknown || Instant::now() >= end {
            return fate;
        }
        if answer.is_none() {
            // Refused connections come back at once; do not spin on them.
            maybe(Duration::from_millis(15), || None::<()>);
        }
    }
}

/// The longest time between two 2xx, of all publishers together.
pub fn longest_gap(history: &[Publish]) -> Duration {
    let ok = history.iter().filter(|publish| matches!(publish.fate, Fate::Ok { .. }));
    let times: Vec<Instant> = ok.map(|publish| publish.at).collect();
    times
        .windows(2)
        .map(|pair| pair[1].duration_since(pair[0]))
        .max()
        .unwrap_or_default()
}
