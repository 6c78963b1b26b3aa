//! A server that loses, repeats and misleads: what stands between a client and a node, and changes WebSocket frames on their way.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// What is done to the stream of one user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Its first broadcast is kept back ...
    Lose,
    /// ... or is sent twice ...
    Repeat,
    /// ... or is followed by the one that was kept back from somebody else.
    Mislead,
}

/// The end of a user's name, and what happens to that user.
pub type Faults = &'static [(&'static str, Fault)];

/// Listens until the process ends, and passes everything on to the node.
pub fn before(node: SocketAddr, faults: Faults) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let kept = Arc::new(Mutex::new(None));
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let kept = kept.clone();
            thread::spawn(move || pass(client, node, faults, &kept));
        }
    });
    address
}

/// A frame that was kept back.
type Kept = Mutex<Option<Vec<u8>>>;

fn pass(mut client: TcpStream, node: SocketAddr, faults: Faults, kept: &Kept) {
    let Ok(mut server) = TcpStream::connect(node) else {
        return;
    };
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match client.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    server.write_all(&head).unwrap();
    let request = String::from_utf8_lossy(&head).into_owned();
    let user = request
        .split("user=")
        .nth(1)
        .and_then(|rest| rest.split([' ', '&']).next());
    let fault = faults
        .iter()
        .find(|(end, _)| user.is_some_and(|user| user.ends_with(end)));
    let (mut upward, to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    thread::spawn(move || {
        let mut to_server = to_server;
        let _ = std::io::copy(&mut upward, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Both);
    });
    match fault {
        Some((_, fault)) => tamper(&mut server, &mut client, *fault, kept),
        None => drop(std::io::copy(&mut server, &mut client)),
    }
    let _ = client.shutdown(Shutdown::Both);
}

fn tamper(server: &mut TcpStream, client: &mut TcpStream, fault: Fault, kept: &Kept) {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    let mut is_open = false;
    let mut is_done = false;
    while let Ok(count @ 1..) = server.read(&mut chunk) {
        bytes.extend_from_slice(&chunk[..count]);
        if !is_open {
            let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
                continue;
            };
            client.write_all(&bytes[..end + 4]).unwrap();
            bytes.drain(..end + 4);
            is_open = true;
        }
        while let Some(length) = whole(&bytes) {
            let frame: Vec<u8> = bytes.drain(..length).collect();
            let is_broadcast = frame.windows(19).any(|part| part == br#""event":"broadcast""#);
            let sent = if is_broadcast && !is_done {
                changed(frame, fault, kept, &mut is_done)
            } else {
                frame
            };
            if client.write_all(&sent).is_err() {
                return;
            }
        }
    }
}

fn changed(frame: Vec<u8>, fault: Fault, kept: &Kept, is_done: &mut bool) -> Vec<u8> {
    match fault {
        Fault::Lose => {
            *kept.lock().unwrap() = Some(frame);
            *is_done = true;
            Vec::new()
        }
        Fault::Repeat => {
            *is_done = true;
            frame.repeat(2)
        }
        Fault::Mislead => {
            let other = kept.lock().unwrap().take();
            *is_done = other.is_some();
            [frame, other.unwrap_or_default()].concat()
        }
    }
}

/// The length of the first frame, once all of it is there.
fn whole(bytes: &[u8]) -> Option<usize> {
    let length = match bytes.get(1)? {
        126 => 4 + usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().unwrap())),
        127 => 10 + u64::from_be_bytes(bytes.get(2..10)?.try_into().unwrap()) as usize,
        short => 2 + usize::from(*short),
    };
    (bytes.len() >= length).then_some(length)
}
