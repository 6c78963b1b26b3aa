//! Asks for a [`Sight`]: the dashboard of a node that answers, then every node for itself. When a node is lost, the next one is asked.

use super::board::Board;
use super::node::Worker;
use super::{Heard, READY, Raw, Sight};
use crate::cli::arguments::Target;
use crate::cli::failure::Failure;
use crate::cli::nodes::{self, Nodes};
use crate::net::{Answer, Client, ClientError};
use futures_util::future::{join_all, join3};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// A node that does not answer within this is shown as one that does not.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// The dashboard itself; after that another node is asked.
const BOARD_WITHIN: Duration = Duration::from_secs(3);
/// More addresses than any cluster has.
const URLS_MAX: usize = 16;
const SILENT: &str = "no answer";

/// Who is asked, and through which node we look now.
pub struct Asker {
    target: Target,
    /// The nodes we were given, and those we were told of.
    urls: Vec<String>,
    at: usize,
    clients: BTreeMap<String, Client>,
}

impl Asker {
    /// A wrong address is told before anything is asked.
    pub fn new(target: &Target) -> Result<Self, Failure> {
        let urls: Vec<String> = target.url.iter().map(|url| base(url)).collect();
        for url in &urls {
            nodes::client(url, target)?;
        }
        if urls.is_empty() {
            return Err(Failure::usage("--url is empty"));
        }
        Ok(Self {
            target: target.clone(),
            urls,
            at: 0,
            clients: BTreeMap::new(),
        })
    }

    /// The node that is looked through now.
    pub fn url(&self) -> &str {
        self.urls.get(self.at).map_or("", String::as_str)
    }

    /// On to the next node.
    pub fn turn(&mut self) {
        self.at = (self.at + 1) % self.urls.len();
    }

    pub fn count(&self) -> usize {
        self.urls.len()
    }

    pub fn target(&self) -> &Target {
        &self.target
    }

    /// All nodes that are known, the one that is looked through first.
    pub fn nodes(&self) -> Result<Nodes, Failure> {
        let (before, from) = self.urls.split_at(self.at.min(self.urls.len()));
        Nodes::new(&Target {
            url: [from, before].concat(),
            token: self.target.token.clone(),
            ca: self.target.ca.clone(),
        })
    }

    /// A look through the first node that can tell, beginning with the present one. What it says no to, the others refuse as well.
    pub async fn look(&mut self) -> Result<Sight, Unseen> {
        let mut last = Failure::usage("--url is empty");
        for _ in 0..self.urls.len() {
            match self.board().await {
                Ok(board) => return self.complete(board).await.map_err(Unseen::Final),
                Err(Unseen::Later(failure)) => last = failure,
                Err(Unseen::Final(failure)) => return Err(Unseen::Final(failure)),
            }
            self.turn();
        }
        Err(Unseen::Later(last))
    }

    async fn board(&self) -> Result<Value, Unseen> {
        let client = nodes::client(self.url(), &self.target).map_err(Unseen::Final)?;
        match client.with_deadline(BOARD_WITHIN).get("/v1/dashboard").await {
            Ok(answer) if answer.is_success() => nodes::read(&answer).map_err(Unseen::Final),
            Ok(answer) => Err(unseen(ClientError::Refused(Box::new(answer)))),
            Err(error) => Err(unseen(error)),
        }
    }

    /// Adds to a dashboard what its node, and every node, is asked besides.
    pub async fn complete(&mut self, board: Value) -> Result<Sight, Failure> {
        let cluster = Board::deserialize(&board)
            .map(|board| board.cluster)
            .unwrap_or_default();
        let named = cluster
            .nodes
            .iter()
            .map(|node| (node.node, node.url.as_deref().map(base)));
        let named: Vec<(u64, Option<String>)> = named.collect();
        self.learn(named.iter().filter_map(|(_, url)| url.as_deref()));
        let own = self.clients.get(self.url());
        let each = named.iter().map(|(node, url)| {
            // The node that told may have another address for us than for the others.
            let known = url.as_ref().and_then(|url| self.clients.get(url));
            let client = if *node == cluster.node { own } else { known };
            async move { (*node, hear(client).await) }
        });
        let (heard, scaling, cache) =
            join3(join_all(each), optional(own, "/v1/scaling"), optional(own, "/v1/cache")).await;
        let raw = Raw { board, scaling, cache };
        Sight::of(self.url(), raw, heard.into_iter().collect())
    }

    /// Remembers addresses of nodes; clients are kept for those that are in use.
    fn learn<'a>(&mut self, named: impl Iterator<Item = &'a str>) {
        for url in named {
            if self.urls.len() < URLS_MAX && self.urls.iter().all(|known| known != url) {
                self.urls.push(url.to_owned());
            }
        }
        self.clients.retain(|url, _| self.urls.contains(url));
        for url in &self.urls {
            if !self.clients.contains_key(url)
                && let Ok(client) = nodes::client(url, &self.target)
            {
                self.clients.insert(url.clone(), client.with_deadline(ANSWER_WITHIN));
            }
        }
    }
}

/// An address without blanks and the slash at its end.
fn base(url: &str) -> String {
    url.trim().trim_end_matches('/').to_owned()
}

/// Why nothing was seen.
#[derive(Debug)]
pub enum Unseen {
    /// A node that is gone or asks for patience may be back at the next look, and another one may tell meanwhile.
    Later(Failure),
    /// What other nodes would refuse as well.
    Final(Failure),
}

impl From<Unseen> for Failure {
    fn from(unseen: Unseen) -> Self {
        match unseen {
            Unseen::Later(failure) | Unseen::Final(failure) => failure,
        }
    }
}

/// What an error means for the next look.
pub fn unseen(error: ClientError) -> Unseen {
    let may_pass = match &error {
        ClientError::Url { .. } | ClientError::Request { .. } | ClientError::Untrusted { .. } => false,
        ClientError::Refused(answer) => {
            let problem: Value = answer.json().unwrap_or_default();
            problem.get("retryable") == Some(&Value::Bool(true))
        }
        ClientError::Unreachable { .. }
        | ClientError::Tls { .. }
        | ClientError::TooSlow { .. }
        | ClientError::Broken { .. }
        | ClientError::Cut { .. }
        | ClientError::Protocol { .. } => true,
    };
    let failure = Failure::from(error);
    if may_pass {
        Unseen::Later(failure)
    } else {
        Unseen::Final(failure)
    }
}

/// What a node says of itself.
async fn hear(client: Option<&Client>) -> Heard {
    #[derive(Default, Deserialize)]
    struct Workers {
        workers: Vec<Worker>,
    }
    let Some(client) = client else {
        return Heard {
            says: "no address".into(),
            ..Heard::default()
        };
    };
    let (says, queues, workers) = join3(
        is_ready(client),
        answer(client, "/v1/queues"),
        answer::<Workers>(client, "/v1/workers"),
    )
    .await;
    Heard {
        says,
        queues,
        workers: workers.unwrap_or_default().workers,
    }
}

/// `ready`, the code of why not, or that there is no answer.
async fn is_ready(client: &Client) -> String {
    match client.get("/readyz").await {
        Ok(answer) if answer.is_success() => READY.into(),
        Ok(answer) => {
            let problem: Value = answer.json().unwrap_or_default();
            let code = problem.get("code").and_then(Value::as_str);
            code.map_or_else(|| answer.status.to_string(), str::to_owned)
        }
        Err(_) => SILENT.into(),
    }
}

/// A good answer in the shape that is wanted.
async fn answer<T: DeserializeOwned>(client: &Client, path: &str) -> Option<T> {
    let answer = client.get(path).await.ok().filter(Answer::is_success)?;
    answer.json().ok()
}

async fn optional(client: Option<&Client>, path: &str) -> Value {
    match client {
        Some(client) => answer(client, path).await.unwrap_or_default(),
        None => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::{Unseen, base, unseen};
    use crate::net::{Answer, ClientError};

    fn refused(status: u16, body: &'static str) -> ClientError {
        ClientError::Refused(Box::new(Answer {
            status,
            headers: http::HeaderMap::new(),
            body: body.into(),
        }))
    }

    #[test]
    fn another_node_is_asked_when_this_one_cannot_tell() {
        let is_later = |error: ClientError| matches!(unseen(error), Unseen::Later(_));
        assert!(is_later(refused(503, r#"{"retryable": true, "title": "Later"}"#)));
        assert!(!is_later(refused(401, r#"{"retryable": false, "title": "Who?"}"#)));
        let gone = ClientError::Unreachable {
            url: "http://a".into(),
            source: std::io::Error::from(std::io::ErrorKind::ConnectionRefused),
        };
        assert!(is_later(gone));
        assert!(!is_later(ClientError::Url { url: "a".into() }));
    }

    #[test]
    fn an_address_is_known_however_it_is_written() {
        assert_eq!(base(" http://127.0.0.1:8205/ "), "http://127.0.0.1:8205");
    }
}
