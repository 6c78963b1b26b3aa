//! What the outputs of a rehearsal lead to: a small HTTP server that verifies signatures with code of its own, remembers what it was
//! told, and answers that all is well.

use super::{
    called::{Call, Told},
    folder::{Folder, write_secret},
};
use crate::base::clock;
use anyhow::{Context, Result, bail};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac, Mac};
use parking_lot::Mutex;
use serde_json::Value;
use sha2::Sha256;
use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinHandle,
    time::{sleep, timeout},
};

const REQUEST_MAX: Duration = Duration::from_secs(10);
const CONNECTIONS_MAX: usize = 64;
/// After a connection that could not be taken.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
const HEAD_BYTES_MAX: usize = 16 << 10;
const BODY_BYTES_MAX: usize = 64 << 10;
const HEADERS_MAX: usize = 64;
/// A signature of another time is an old call, sent again by somebody.
const AGE_MAX_SECONDS: u64 = 300;
const TAKEN: &[u8] = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
const REFUSED: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// A call, and all that it said.
type Whole = (Call, Vec<u8>);

pub struct Sink {
    address: SocketAddr,
    names: BTreeSet<String>,
    folder: Folder,
    heard: Arc<Mutex<Vec<Whole>>>,
    listens: JoinHandle<()>,
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.listens.abort();
    }
}

/// One request as it came.
struct Request {
    path: String,
    id: String,
    timestamp: String,
    signatures: String,
    body: Vec<u8>,
}

impl Sink {
    /// Listens on this machine, for outputs of these names.
    pub async fn start(names: BTreeSet<String>) -> Result<Self> {
        let key: [u8; 32] = rand::random();
        let folder = Folder::temporary()?;
        write_secret(&folder.path().join("key"), &format!("whsec_{}", BASE64.encode(key)))?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("listen for outputs")?;
        let heard = Arc::default();
        Ok(Self {
            address: listener.local_addr()?,
            names,
            folder,
            listens: tokio::spawn(listen(listener, key, Arc::clone(&heard))),
            heard,
        })
    }

    /// Settings of a node whose outputs of these names all lead here.
    pub fn settings(&self) -> Vec<String> {
        if self.names.is_empty() {
            return Vec::new();
        }
        let secret = self.folder.path().join("key");
        let target = |name: &String| {
            let (address, secret) = (self.address, secret.display());
            format!(
                r#"{{ name = "{name}", url = "http://{address}/{name}", shape = "webhook", secret_file = "{secret}" }}"#
            )
        };
        let targets: Vec<String> = self.names.iter().map(target).collect();
        vec![
            format!("outputs.targets=[{}]", targets.join(", ")),
            r#"outputs.allow=["127.0.0.0/8"]"#.into(),
        ]
    }

    /// Every request so far, in the order in which they came.
    pub fn heard(&self) -> Vec<Call> {
        let heard = self.heard.lock();
        heard.iter().map(|(call, _)| call.clone()).collect()
    }

    /// The same with what each said, as far as it is JSON.
    pub fn bodies(&self) -> Vec<(Call, Value)> {
        let heard = self.heard.lock();
        let body = |bytes: &[u8]| serde_json::from_slice(bytes).unwrap_or_default();
        heard.iter().map(|(call, bytes)| (call.clone(), body(bytes))).collect()
    }

    /// How many ids were told so far.
    pub fn ids(&self) -> u64 {
        let heard = self.heard.lock();
        heard.iter().map(|(call, _)| &call.id).collect::<BTreeSet<_>>().len() as u64
    }
}

async fn listen(listener: TcpListener, key: [u8; 32], heard: Arc<Mutex<Vec<Whole>>>) {
    let turns = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Ok(turn) = turns.clone().acquire_owned().await {
        let Ok((socket, _)) = listener.accept().await else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let heard = heard.clone();
        tokio::spawn(async move {
            // who is silent, or dies within a request, has called nobody
            let _ = timeout(REQUEST_MAX, serve(socket, &key, &heard)).await;
            drop(turn);
        });
    }
}

async fn serve(mut socket: TcpStream, key: &[u8], heard: &Mutex<Vec<Whole>>) -> Result<()> {
    let request = match read(&mut socket).await {
        Ok(request) => request,
        Err(error) => {
            socket.write_all(REFUSED).await?;
            return Err(error);
        }
    };
    // remembered before it is answered: the answer means that it is
    heard.lock().push((request.call(key), request.body));
    socket.write_all(TAKEN).await?;
    Ok(())
}

async fn read(socket: &mut TcpStream) -> Result<Request> {
    let mut bytes = Vec::with_capacity(2048);
    let (mut request, head, length) = loop {
        if let Some(found) = parse(&bytes)? {
            break found;
        }
        if bytes.len() > HEAD_BYTES_MAX {
            bail!("the head is longer than {HEAD_BYTES_MAX} bytes");
        }
        more(socket, &mut bytes).await?;
    };
    if length > BODY_BYTES_MAX {
        bail!("the body is longer than {BODY_BYTES_MAX} bytes");
    }
    while bytes.len() < head + length {
        more(socket, &mut bytes).await?;
    }
    request.body = bytes[head..head + length].to_vec();
    Ok(request)
}

async fn more(socket: &mut TcpStream, bytes: &mut Vec<u8>) -> Result<()> {
    if socket.read_buf(bytes).await? == 0 {
        bail!("the connection ended within the request");
    }
    Ok(())
}

/// A request without its body, the length of its head, and that of its body; `None` while the head is not whole.
fn parse(bytes: &[u8]) -> Result<Option<(Request, usize, usize)>> {
    let mut slots = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut slots);
    let httparse::Status::Complete(head) = parsed.parse(bytes)? else {
        return Ok(None);
    };
    let header = |name: &str| {
        let found = parsed
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(name));
        found.map(|header| String::from_utf8_lossy(header.value).trim().to_owned())
    };
    if parsed.method != Some("POST") {
        bail!("the method is not POST");
    }
    let length = header("content-length").context("no length of the body")?.parse()?;
    let request = Request {
        path: parsed.path.unwrap_or_default().to_owned(),
        id: header("webhook-id").unwrap_or_default(),
        timestamp: header("webhook-timestamp").unwrap_or_default(),
        signatures: header("webhook-signature").unwrap_or_default(),
        body: Vec::new(),
    };
    Ok(Some((request, head, length)))
}

impl Request {
    fn call(&self, key: &[u8]) -> Call {
        Call {
            output: self.path.trim_start_matches('/').to_owned(),
            id: self.id.clone(),
            told: told(&self.body),
            is_signed: self.is_signed(key, clock::wall() / 1000),
        }
    }

    /// Whether one of its signatures holds, and is of about `now` in seconds since 1970.
    fn is_signed(&self, key: &[u8], now: i64) -> bool {
        let is_of_now = |at: i64| at.abs_diff(now) <= AGE_MAX_SECONDS;
        if !self.timestamp.parse().is_ok_and(is_of_now) {
            return false;
        }
        let Ok(mac) = Hmac::<Sha256>::new_from_slice(key) else {
            return false;
        };
        let signed = format!("{}.{}.", self.id, self.timestamp);
        let mac = mac.chain_update(signed).chain_update(&self.body);
        let mut signatures = self.signatures.split(' ').filter_map(|text| text.strip_prefix("v1,"));
        signatures.any(|text| {
            let signature = BASE64.decode(text);
            signature.is_ok_and(|signature| mac.clone().verify_slice(&signature).is_ok())
        })
    }
}

/// Which step a body tells of.
fn told(body: &[u8]) -> Option<Told> {
    let body: Value = serde_json::from_slice(body).ok()?;
    (body["type"] == "broadcast.escalated").then_some(())?;
    Some(Told {
        broadcast: body["data"]["group"].as_str()?.to_owned(),
        step: body["data"]["details"]["step"].as_u64()?,
    })
}

#[cfg(test)]
mod tests {
    use super::{Call, Request, Sink, Told, told};
    use std::os::unix::fs::PermissionsExt;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    /// The example of the signature's specification, with the 32 bytes from 0 to 31 for a key.
    fn example() -> (Request, Vec<u8>) {
        let request = Request {
            path: "/siren".into(),
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek".into(),
            timestamp: "1614265330".into(),
            signatures: "v1,AAAA v1,O4Gjv1HqPqsMrjmczoggs/sWA8gZD0VyHG+fLh4+ktI=".into(),
            body: br#"{"test": 2432232314}"#.to_vec(),
        };
        (request, (0..32).collect())
    }

    #[test]
    fn a_signature_holds_for_its_id_time_and_body_alone() {
        let (request, key) = example();
        let now = 1_614_265_330;
        assert!(request.is_signed(&key, now) && request.is_signed(&key, now + 300));
        assert!(!request.is_signed(&key, now + 301), "it is old");
        assert!(!request.is_signed(&key[1..], now), "another key");
        let broken: [fn(&mut Request); 4] = [
            |request| request.body.push(b' '),
            |request| request.id.push('x'),
            |request| request.timestamp = "1614265331".into(),
            |request| request.signatures = "v1,AAAA".into(),
        ];
        for change in broken {
            let (mut request, key) = example();
            change(&mut request);
            assert!(!request.is_signed(&key, now));
        }
    }

    #[test]
    fn a_body_tells_of_a_step_or_of_none() {
        let body = br#"{"type": "broadcast.escalated", "data": {"group": "01J", "details": {"step": 2}}}"#;
        let expected = Told {
            broadcast: "01J".into(),
            step: 2,
        };
        assert_eq!(told(body), Some(expected));
        assert_eq!(
            told(br#"{"type": "output.test", "data": {"group": "01J", "details": {"step": 2}}}"#),
            None
        );
        assert_eq!(told(b"siren"), None);
    }

    async fn say(sink: &Sink, text: &str) -> String {
        let mut socket = TcpStream::connect(sink.address).await.unwrap();
        socket.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn what_is_heard_is_remembered_and_what_is_no_call_is_refused() {
        let sink = Sink::start(["siren".to_owned()].into()).await.unwrap();
        let answer = say(
            &sink,
            "POST /siren HTTP/1.1\r\nContent-Length: 2\r\nWebhook-Id: a\r\n\r\n{}",
        )
        .await;
        assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
        for wrong in ["GET / HTTP/1.1\r\n\r\n", "POST / HTTP/1.1\r\n\r\n", "?\r\n\r\n"] {
            let answer = say(&sink, wrong).await;
            assert!(answer.starts_with("HTTP/1.1 400 "), "{wrong} {answer}");
        }
        let call = Call {
            output: "siren".into(),
            id: "a".into(),
            told: None,
            is_signed: false,
        };
        assert_eq!((sink.heard(), sink.ids()), (vec![call], 1));
    }

    #[tokio::test]
    async fn the_settings_are_ones_that_a_node_can_use() {
        let sink = Sink::start(["siren".to_owned(), "radio_bridge".to_owned()].into())
            .await
            .unwrap();
        let config = crate::config::load(None, std::iter::empty(), &sink.settings())
            .unwrap()
            .config;
        let outputs = crate::outputs::Outputs::new(&config.outputs).unwrap();
        assert_eq!(outputs.names().collect::<Vec<_>>(), ["radio_bridge", "siren"]);
        let secret = config.outputs.targets[0].secret_file.clone().unwrap();
        assert_eq!(std::fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
        drop(sink);
        assert!(!secret.exists(), "the secret goes with the sink");
        let nothing = Sink::start(std::collections::BTreeSet::new()).await.unwrap();
        assert_eq!(nothing.settings(), Vec::<String>::new());
    }
}
