//! What outputs call: a small HTTP server that remembers what it was told, and looks at the signatures.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

const SECRET: [u8; 32] = *b"a secret of thirty-two letters..";

/// One request.
#[derive(Clone, Debug)]
pub struct Taken {
    /// The output's name.
    pub output: String,
    pub path: String,
    pub id: String,
    pub body: String,
    pub is_signed: bool,
    pub traceparent: String,
    /// The header `X-Api-Key`.
    pub key: String,
}

#[derive(Default)]
struct Shared {
    taken: Mutex<Vec<Taken>>,
    /// Statuses of the next answers; afterwards all is well.
    answers: Mutex<VecDeque<u16>>,
    broken: AtomicBool,
}

pub struct Sink {
    address: SocketAddr,
    shared: Arc<Shared>,
    folder: tempfile::TempDir,
}

impl Sink {
    /// It ends with the process: a thread that waits for a call costs nothing.
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("secret");
        std::fs::write(&secret, format!("whsec_{}", STANDARD.encode(SECRET))).unwrap();
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
        let shared = Arc::new(Shared::default());
        let mine = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = mine.clone();
                std::thread::spawn(move || {
                    if serve(stream, &shared).is_err() {
                        shared.broken.store(true, Ordering::Relaxed);
                    }
                });
            }
        });
        Self {
            address,
            shared,
            folder,
        }
    }

    /// Settings of a node whose outputs of these names all lead here.
    pub fn settings(&self, names: &[&str]) -> Vec<String> {
        let webhooks: Vec<(&str, &str)> = names.iter().map(|name| (*name, "webhook")).collect();
        self.settings_in(&webhooks)
    }

    /// The same for outputs of these names and shapes.
    pub fn settings_in(&self, outputs: &[(&str, &str)]) -> Vec<String> {
        let secret = self.folder.path().join("secret");
        let target = |(name, shape): &(&str, &str)| {
            let secret = match *shape {
                "slack" => String::new(),
                _ => format!(r#", secret_file = "{}""#, secret.display()),
            };
            format!(
                r#"{{ name = "{name}", url = "http://{}/{name}", shape = "{shape}"{secret} }}"#,
                self.address
            )
        };
        let targets: Vec<String> = outputs.iter().map(target).collect();
        vec![
            format!("outputs.targets=[{}]", targets.join(", ")),
            r#"outputs.allow=["127.0.0.0/8"]"#.into(),
        ]
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A file beside the secret's.
    pub fn file(&self, name: &str, text: &str) -> std::path::PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    pub fn answer_next(&self, statuses: &[u16]) {
        self.shared.answers.lock().unwrap().extend(statuses);
    }

    pub fn taken(&self) -> Vec<Taken> {
        self.shared.taken.lock().unwrap().clone()
    }

    /// Nothing was said that it did not understand.
    pub fn is_well(&self) -> bool {
        !self.shared.broken.load(Ordering::Relaxed)
    }
}

fn serve(stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let lines: Vec<String> = reader
        .by_ref()
        .lines()
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty())
        .collect();
    if lines.is_empty() {
        return Ok(()); // whoever calls may die before a word is said
    }
    let header = |name: &str| {
        let named = |line: &String| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        };
        lines.iter().find_map(named).unwrap_or_default()
    };
    if !lines[0].starts_with("POST /") {
        return Err(std::io::ErrorKind::InvalidData.into());
    }
    let output = lines[0].split(['/', ' ']).nth(2).unwrap_or_default().to_owned();
    let length = header("content-length").parse().unwrap_or(0);
    let mut body = vec![0; length];
    if reader.read_exact(&mut body).is_err() {
        return Ok(());
    }
    let body = String::from_utf8_lossy(&body).into_owned();
    let (id, at) = (header("webhook-id"), header("webhook-timestamp"));
    let is_signed = header("webhook-signature") == signature(&id, &at, &body);
    let path = lines[0].split(' ').nth(1).unwrap_or_default().to_owned();
    shared.taken.lock().unwrap().push(Taken {
        output,
        path,
        id,
        body,
        is_signed,
        traceparent: header("traceparent"),
        key: header("x-api-key"),
    });
    let status = shared.answers.lock().unwrap().pop_front().unwrap_or(204);
    let answer = format!(
        "HTTP/1.1 {status} as told\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    );
    let _ = reader.get_mut().write_all(answer.as_bytes());
    Ok(())
}

fn signature(id: &str, at: &str, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(&SECRET).unwrap();
    mac.update(format!("{id}.{at}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}
