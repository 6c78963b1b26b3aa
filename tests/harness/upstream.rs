//! An application that owns what is cached: it answers each path with a text that names it, or with what it was told to say; it
//! counts, and can be out of reach.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

#[derive(Default)]
struct Shared {
    /// Questions by path.
    asked: Mutex<BTreeMap<String, usize>>,
    /// What it says instead, by path.
    bodies: Mutex<BTreeMap<String, String>>,
    is_away: AtomicBool,
}

pub struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Upstream {
    /// It ends with the process: a thread that waits for a call costs nothing.
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let mine = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = mine.clone();
                // Who asks may have gone.
                std::thread::spawn(move || drop(serve(stream, &shared)));
            }
        });
        Self { address, shared }
    }

    /// A namespace in the settings whose values come from here.
    pub fn namespace(&self, name: &str, more: &str) -> String {
        format!(
            r#"{{ name = "{name}", upstream = "http://{}/{name}/{{key}}"{more} }}"#,
            self.address
        )
    }

    /// It answers this path with this from now on.
    pub fn say(&self, path: &str, body: &str) {
        self.shared.bodies.lock().unwrap().insert(path.into(), body.into());
    }

    /// Closes connections without an answer from now on, or not any more.
    pub fn set_away(&self, away: bool) {
        self.shared.is_away.store(away, Ordering::SeqCst);
    }

    pub fn asked(&self) -> BTreeMap<String, usize> {
        self.shared.asked.lock().unwrap().clone()
    }
}

fn serve(stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    *shared.asked.lock().unwrap().entry(path.clone()).or_default() += 1;
    if shared.is_away.load(Ordering::SeqCst) {
        return Ok(());
    }
    let body = shared.bodies.lock().unwrap().get(&path).cloned();
    let body = body.unwrap_or_else(|| format!("this is {path}"));
    let head = format!(
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    reader.get_mut().write_all(format!("{head}{body}").as_bytes())
}
