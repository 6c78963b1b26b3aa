//! The nodes that a client command may talk to, tried in turn.

use super::arguments::Target;
use super::failure::{Exit, Failure};
use crate::net::client::whole_body;
use crate::net::{Answer, Client, ClientError, Trust};
use http::Method;
use serde_json::Value;
use std::fmt::Write as _;
use std::path::Path;

pub struct Nodes {
    clients: Vec<Client>,
}

impl Nodes {
    pub fn new(target: &Target) -> Result<Self, Failure> {
        let clients = target.url.iter().map(|url| client(url, target));
        Ok(Self {
            clients: clients.collect::<Result<_, _>>()?,
        })
    }

    /// The node for the attempt with this number: all of them in turn.
    pub fn turn(&self, attempt: usize) -> &Client {
        &self.clients[attempt % self.clients.len()]
    }

    pub fn count(&self) -> usize {
        self.clients.len()
    }

    /// The answer of the first node that gives one; a refusal is an answer.
    pub async fn get(&self, path: &str) -> Result<Answer, Failure> {
        let mut last = None;
        for client in &self.clients {
            match client.get(path).await {
                Ok(answer) => return Ok(answer),
                Err(error) => last = Some(error),
            }
        }
        Err(last.map_or_else(|| Failure::usage("--url is empty"), Failure::from))
    }
}

impl Nodes {
    /// Sends a change to the first node that can be reached. What is under way may have happened: it is not sent again.
    pub async fn change(&self, method: Method, path: &str, json: &str) -> Result<Answer, Failure> {
        let mut last = None;
        for client in &self.clients {
            let headers = [("content-type", "application/json")];
            let request = client.request(method.clone(), path, &headers, whole_body(json.to_owned()))?;
            match client.send(request).await {
                // In both nothing was sent yet.
                Err(error @ (ClientError::Unreachable { .. } | ClientError::Tls { .. })) => last = Some(error),
                sent => return Ok(sent?),
            }
        }
        Err(last.map_or_else(|| Failure::usage("--url is empty"), Failure::from))
    }
}

pub fn client(url: &str, target: &Target) -> Result<Client, Failure> {
    check_authority(target.ca.as_deref(), url)?;
    let client = Client::new(url.trim(), target.token.clone())?;
    Ok(client.trusting(trust(target.ca.as_deref())?))
}

/// Whoever names an authority must not be taken to where it counts for nothing.
pub fn check_authority(file: Option<&Path>, url: &str) -> Result<(), Failure> {
    let is_clear = url.trim().to_ascii_lowercase().starts_with("http://");
    if file.is_some() && is_clear {
        return Err(
            Failure::usage(format!("{url} is in the clear, and --ca or CAMPANILE_CA asks for TLS"))
                .hint("write https://, or leave the authority away"),
        );
    }
    Ok(())
}

/// Whom a file vouches for; `None`: whom this machine believes.
pub fn trust(file: Option<&Path>) -> Result<Option<Trust>, Failure> {
    let Some(file) = file else { return Ok(None) };
    let wrong = |detail: String| Failure::usage(format!("--ca {}: {detail}", file.display()));
    let pem = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
    Trust::of(&pem).map(Some).map_err(|error| wrong(error.to_string()))
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let exit = match &error {
            ClientError::Refused(answer) => return Self::problem(answer.status, &answer.body),
            ClientError::Url { .. } | ClientError::Request { .. } => Exit::Usage,
            ClientError::Unreachable { .. } | ClientError::TooSlow { .. } => Exit::Unreachable,
            ClientError::Tls { .. } | ClientError::Untrusted { .. } => {
                return Self::new(Exit::Unreachable, error.to_string())
                    .hint("--ca or CAMPANILE_CA names a file with the authority that the node's certificate is from");
            }
            ClientError::Broken { .. } | ClientError::Cut { .. } | ClientError::Protocol { .. } => Exit::Failed,
        };
        let failure = Self::new(exit, error.to_string());
        match exit {
            Exit::Unreachable => failure
                .hint("is it running? `campanile dev` starts three nodes here; --url or CAMPANILE_URL names others"),
            _ => failure,
        }
    }
}

/// A good answer's JSON.
pub fn read(answer: &Answer) -> Result<Value, Failure> {
    if !answer.is_success() {
        return Err(Failure::problem(answer.status, &answer.body));
    }
    answer
        .json()
        .map_err(|error| Failure::failed(format!("the answer is not JSON: {error}")))
}

/// Text as part of a query.
pub fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{Nodes, Target, encoded};
    use crate::cli::failure::Exit;
    use crate::net::tls;

    #[test]
    fn an_authority_is_for_https_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, tls::make(&["localhost"]).unwrap().authority).unwrap();
        let open = |urls: &[&str], is_asked_for: bool| {
            Nodes::new(&Target {
                url: urls.iter().map(|url| (*url).to_owned()).collect(),
                token: None,
                ca: is_asked_for.then(|| file.clone()),
            })
        };
        let (plain, secure) = ("http://127.0.0.1:8205", "https://127.0.0.1:8215");
        for urls in [&[plain][..], &[secure, plain], &[" HTTP://127.0.0.1:8205"]] {
            let failure = open(urls, true).err().unwrap();
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.what.contains("in the clear"), "{}", failure.what);
        }
        assert_eq!(open(&[secure, secure], true).ok().unwrap().count(), 2);
        assert_eq!(open(&[plain, secure], false).ok().unwrap().count(), 2);
    }

    #[test]
    fn anything_fits_a_query() {
        assert_eq!(encoded("u-1"), "u-1");
        assert_eq!(encoded("Zoë & co?"), "Zo%C3%AB%20%26%20co%3F");
    }
}
