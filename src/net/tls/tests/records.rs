//! Two ends without a runtime: sockets that take little, peers that say too much, or what is no record.

use super::later;
use crate::base::clock;
use crate::net::tls::Secure;
use crate::net::tls::bench::{Bench, agree};
use crate::net::tls::secure::{FROM_CLIENT_MAX, READ_BYTES};
use std::io::{self, ErrorKind, Read, Write};

/// A socket in memory that takes so many bytes and no more.
#[derive(Default)]
struct Narrow {
    room: usize,
    taken: Vec<u8>,
    given: Vec<u8>,
}

impl Write for Narrow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(self.room);
        if count == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.room -= count;
        self.taken.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Narrow {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let count = buffer.len().min(self.given.len());
        buffer[..count].copy_from_slice(&self.given[..count]);
        self.given.drain(..count);
        Ok(count)
    }
}

/// Two ends that have agreed over real sockets; what they do next goes where the test wants it.
fn ends(bench: &Bench) -> (Secure, Secure) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    for socket in [&client, &server] {
        socket.set_nonblocking(true).unwrap();
    }
    let (theirs, mut ours) = agree(&bench.acceptor(), &bench.trust, &mut server, &mut client);
    // the ticket
    let deadline = later();
    while matches!(ours.take_in(&mut client), Err(error) if error.kind() == ErrorKind::WouldBlock) {
        assert!(clock::now() < deadline);
    }
    (theirs, ours)
}

#[test]
fn a_full_socket_leaves_one_record_at_most_and_loses_nothing() {
    let (mut server, mut client) = ends(&Bench::new());
    let text: Vec<u8> = (0..100_000_u32).map(|number| number as u8).collect();
    let (mut socket, mut sent, mut rounds) = (Narrow::default(), 0, 0);
    let mut read = Vec::new();
    while read.len() < text.len() {
        socket.room = 1_000;
        sent += server.write(&mut socket, &text[sent..]).unwrap();
        let mut other = Narrow {
            given: std::mem::take(&mut socket.taken),
            ..Narrow::default()
        };
        let mut buffer = vec![0; 50_000];
        match client.read(&mut other, &mut buffer) {
            Ok(count) => read.extend_from_slice(&buffer[..count]),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        assert!(
            sent <= read.len() + (4 << 10),
            "more than a record was taken and not written"
        );
        rounds += 1;
        assert!(rounds < 1_000);
    }
    assert_eq!(read, text);
    assert!(!server.has_unsent());
}

#[test]
fn an_idle_connection_holds_its_keys_and_no_buffers() {
    let (mut server, mut client) = ends(&Bench::new());
    let mut socket = Narrow {
        room: 100_000,
        ..Narrow::default()
    };
    assert_eq!(server.write(&mut socket, &vec![7; 50_000]).unwrap(), 50_000);
    let mut other = Narrow {
        given: std::mem::take(&mut socket.taken),
        ..Narrow::default()
    };
    let mut buffer = vec![0; 20_000];
    while client.read(&mut other, &mut buffer).is_ok() {}
    assert_eq!((server.buffered(), client.buffered()), (0, 0));
    assert!(size_of::<Secure>() <= 1_200, "{}", size_of::<Secure>());
}

#[test]
fn a_goodbye_waits_for_room_and_is_told_from_a_cut() {
    let (mut server, mut client) = ends(&Bench::new());
    let mut socket = Narrow::default();
    assert!(!server.end(&mut socket).unwrap());
    socket.room = 1_000;
    assert!(server.end(&mut socket).unwrap() && server.end(&mut socket).unwrap());
    let mut other = Narrow {
        given: std::mem::take(&mut socket.taken),
        ..Narrow::default()
    };
    assert_eq!(client.read(&mut other, &mut [0; 10]).unwrap(), 0);
    // the other direction just ends
    let cut = server.read(&mut Ended, &mut [0; 10]).unwrap_err();
    assert_eq!(cut.kind(), ErrorKind::UnexpectedEof);
}

struct Ended;

impl Read for Ended {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Ok(0)
    }
}

impl Write for Ended {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_client_that_begins_a_long_message_is_heard_for_no_longer_than_a_record() {
    let mut server = Bench::new().acceptor().begin().unwrap();
    // The first record of a hello that announces nearly as much as four of them, and the second.
    let mut record = vec![22, 3, 1, 0x40, 0];
    record.resize(record.len() + (16 << 10), 0);
    let mut hello = record.clone();
    hello[5..9].copy_from_slice(&[1, 0, 0xF0, 0]);
    let mut socket = Narrow {
        room: 1_000,
        given: [hello, record].concat(),
        ..Narrow::default()
    };
    let sent = socket.given.len();
    let error = loop {
        assert!(server.buffered() <= FROM_CLIENT_MAX + READ_BYTES + 1_000);
        match server.take_in(&mut socket) {
            Ok(count) => assert!(count <= READ_BYTES),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
    let heard = sent - socket.given.len();
    assert!(
        heard > FROM_CLIENT_MAX && heard <= FROM_CLIENT_MAX + READ_BYTES,
        "{heard}"
    );
}

#[test]
fn a_broken_record_is_told_once_and_is_the_end() {
    let (mut server, mut client) = ends(&Bench::new());
    let mut socket = Narrow {
        room: 100_000,
        ..Narrow::default()
    };
    client.write(&mut socket, b"one").unwrap();
    let last = socket.taken.len() - 1;
    socket.taken[last] ^= 1;
    client.write(&mut socket, b"another").unwrap();
    let mut other = Narrow {
        room: 100_000,
        given: std::mem::take(&mut socket.taken),
        ..Narrow::default()
    };
    let error = server.read(&mut other, &mut [0; 10]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    let alert = other.taken.len();
    assert!(alert > 0, "nothing tells the peer why");
    // Nothing of it is kept to be looked at again, and nothing is said any more.
    assert_eq!(server.buffered(), 0);
    assert_eq!(server.read(&mut other, &mut [0; 10]).unwrap(), 0);
    assert!(server.end(&mut other).unwrap());
    assert!(server.write(&mut other, b"more").is_err());
    assert_eq!(other.taken.len(), alert);
    // The alert is one that the peer understands.
    let mut back = Narrow {
        given: other.taken,
        ..Narrow::default()
    };
    let told = client.read(&mut back, &mut [0; 10]).unwrap_err();
    assert_eq!(told.kind(), ErrorKind::InvalidData);
    assert!(told.to_string().contains("BadRecordMac"), "{told}");
}
