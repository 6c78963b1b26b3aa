//! Certificates that cannot be used, sockets that take little, and peers that do not finish.

use super::bench::{Bench, agree, renew};
use super::{Acceptor, Certificate, CertificateError, Config, Opened, Reloaded, Secure, Trust};
use crate::base::clock;
use crate::net::Stream;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

fn soon() -> Instant {
    clock::now() + Duration::from_millis(100)
}

fn later() -> Instant {
    clock::now() + Duration::from_secs(20)
}

fn check_refused(config: &Config, expected: &str) {
    let error = Certificate::read(config).unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn files_of_no_use_are_refused_in_words() {
    let bench = Bench::new();
    let config = &bench.config;
    assert!(Certificate::read(config).is_ok());
    let none = Config {
        certificate_file: "/nowhere.pem".into(),
        ..config.clone()
    };
    check_refused(&none, "tls.certificate_file /nowhere.pem: ");
    let swapped = Config {
        certificate_file: config.key_file.clone(),
        key_file: config.certificate_file.clone(),
        ..config.clone()
    };
    check_refused(&swapped, "it has no certificate in PEM");
    let twice = Config {
        key_file: config.certificate_file.clone(),
        ..config.clone()
    };
    check_refused(&twice, "it has no private key in PEM without a password");
    let other = Bench::new();
    let foreign = Config {
        key_file: other.config.key_file.clone(),
        ..config.clone()
    };
    assert!(matches!(
        Certificate::read(&foreign),
        Err(CertificateError::Foreign { .. })
    ));
    let whole = fs::read_to_string(&config.certificate_file).unwrap();
    fs::write(&config.certificate_file, whole.replacen("MII", "MIA", 1)).unwrap();
    check_refused(config, "its certificate 1 is broken");
}

#[test]
fn a_certificate_says_until_when_it_counts_and_for_whom() {
    let bench = Bench::new();
    let key = KeyPair::generate().unwrap();
    let write = |from: i32, until: i32| {
        let mut params = CertificateParams::new(vec!["node.example".into(), "10.0.0.1".into()]).unwrap();
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        fs::write(&bench.config.certificate_file, params.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(&bench.config.key_file, key.serialize_pem()).unwrap();
        Certificate::read(&bench.config).unwrap()
    };
    let certificate = write(2000, 2001);
    assert_eq!(
        certificate.expires_at().map(clock::rfc3339).as_deref(),
        Some("2001-01-01T00:00:00.000Z")
    );
    assert!(!certificate.is_early() && write(3000, 3001).is_early());
    let mut params = CertificateParams::new(vec!["node.example".into()]).unwrap();
    params.not_after = date_time_ymd(2001, 1, 1);
    // What some tools make when they are asked for no more than a certificate that signs itself.
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    fs::write(&bench.config.certificate_file, params.self_signed(&key).unwrap().pem()).unwrap();
    assert!(Certificate::read(&bench.config).unwrap().expires_at().is_some());
    for (host, expected) in [
        ("node.example", true),
        ("NODE.example", true),
        ("10.0.0.1", true),
        ("other.example", false),
        ("10.0.0.2", false),
        ("", false),
    ] {
        assert_eq!(certificate.is_for(host), expected, "{host}");
    }
}

#[test]
fn settings_come_in_pairs() {
    let set = |certificate: &str, key: &str| Config {
        certificate_file: certificate.into(),
        key_file: key.into(),
        ..Config::default()
    };
    assert!(set("", "").faults().is_empty() && set("a", "b").faults().is_empty());
    assert_eq!(
        set("a", "").faults(),
        ["tls.certificate_file is set; it must come with tls.key_file"]
    );
    assert_eq!(
        set("", "b").faults(),
        ["tls.key_file is set; it must come with tls.certificate_file"]
    );
    assert_eq!((set("", "").scheme(), set("a", "b").scheme()), ("http", "https"));
}

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

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (client, listener.accept().await.unwrap().0)
}

async fn connect(trust: &Trust, client: TcpStream) -> io::Result<Stream> {
    Stream::agreed(client, Box::new(trust.begin("localhost")?)).await
}

#[tokio::test]
async fn who_speaks_tls_comes_in_and_moves_with_what_was_begun() {
    let bench = Bench::new();
    let acceptor = bench.acceptor();
    let (client, server) = pair().await;
    let (opened, connected) = tokio::join!(acceptor.open(server, later()), connect(&bench.trust, client));
    let (Opened::Secure(mut server), mut client) = (opened, connected.unwrap()) else {
        panic!("not opened")
    };
    client.write_all(b"hello and more").await.unwrap();
    client.flush().await.unwrap();
    let mut read = [0; 5];
    server.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"hello");
    // Out of the runtime and into it again: what was decrypted and not yet read is still there.
    let mut server = Stream::attach(server.detach().unwrap()).unwrap();
    let mut rest = [0; 9];
    server.read_exact(&mut rest).await.unwrap();
    assert_eq!(&rest, b" and more");
    let long = vec![b'x'; 300_000];
    let (written, mut got) = (
        async { server.write_all(&long).await.and(server.shutdown().await) },
        Vec::new(),
    );
    let (written, count) = tokio::join!(written, client.read_to_end(&mut got));
    written.unwrap();
    assert_eq!((count.unwrap(), got == long), (300_000, true));
}

#[tokio::test]
async fn the_first_byte_tells_who_does_not_speak_it() {
    let acceptor = Bench::new().acceptor();
    let (mut client, server) = pair().await;
    client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let Opened::Plain(mut server) = acceptor.open(server, later()).await else {
        panic!("not seen as plain")
    };
    let mut first = [0; 3];
    server.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"GET");
}

#[tokio::test]
async fn who_does_not_finish_is_let_go_and_keeps_few_places() {
    let bench = Bench::new();
    let narrow = Config {
        handshakes_max: 1,
        ..bench.config.clone()
    };
    let acceptor = Acceptor::new(&narrow).unwrap();
    // One that says nothing, one that stops in the middle, and one that talks nonsense.
    let (_silent, server) = pair().await;
    assert!(matches!(acceptor.open(server, soon()).await, Opened::Closed));
    let (mut half, server) = pair().await;
    half.write_all(&[22, 3, 1, 2, 0, 1, 0]).await.unwrap();
    assert!(matches!(acceptor.open(server, soon()).await, Opened::Closed));
    let (mut broken, server) = pair().await;
    broken.write_all(&[22; 64]).await.unwrap();
    assert!(matches!(acceptor.open(server, later()).await, Opened::Closed));
    // One in the middle of it holds the only place: the next waits for that, and for no longer than its own deadline.
    let (mut half, server) = pair().await;
    half.write_all(&[22, 3, 1, 2, 0, 1, 0]).await.unwrap();
    let (client, second) = pair().await;
    let holding = acceptor.open(server, clock::now() + Duration::from_millis(300));
    let waiting = async {
        let opened = acceptor.open(second, later()).await;
        assert!(matches!(opened, Opened::Secure(_)), "{opened:?}");
    };
    let (held, (), connected) = tokio::join!(holding, waiting, connect(&bench.trust, client));
    assert!(matches!(held, Opened::Closed));
    connected.unwrap();
}

#[tokio::test]
async fn a_changed_certificate_is_shown_and_a_bad_one_is_not() {
    let bench = Bench::new();
    let acceptor = bench.acceptor();
    assert_eq!(acceptor.reload().unwrap(), Reloaded::Same);
    let new = renew(&bench.config, &["localhost"]);
    let good = fs::read(&bench.config.key_file).unwrap();
    fs::write(&bench.config.key_file, "half a fi").unwrap();
    assert!(acceptor.reload().is_err());
    let meet = async |trust: &Trust| {
        let (client, server) = pair().await;
        let (_, connected) = tokio::join!(acceptor.open(server, later()), connect(trust, client));
        connected.is_ok()
    };
    assert!(meet(&bench.trust).await && !meet(&new).await);
    fs::write(&bench.config.key_file, good).unwrap();
    assert_eq!(acceptor.reload().unwrap(), Reloaded::Changed);
    assert!(meet(&new).await);
    let never = renew(&bench.config, &["localhost"]);
    assert!(!meet(&never).await, "nobody has looked yet");
}

#[tokio::test]
async fn who_comes_back_resumes() {
    let bench = Bench::new();
    let acceptor = bench.acceptor();
    let mut resumed = Vec::new();
    for _ in 0..2 {
        let (client, server) = pair().await;
        let talk = async {
            let Opened::Secure(mut server) = acceptor.open(server, later()).await else {
                panic!("not opened")
            };
            server.write_all(b"x").await.unwrap();
            match server {
                Stream::Secure(_, secure) => secure.is_resumed(),
                Stream::Plain(_) => panic!("in the clear"),
            }
        };
        let listen = async {
            let mut client = connect(&bench.trust, client).await.unwrap();
            // the ticket came before it
            client.read_exact(&mut [0]).await.unwrap();
        };
        resumed.push(tokio::join!(talk, listen).0);
    }
    assert_eq!(resumed, [false, true]);
}
