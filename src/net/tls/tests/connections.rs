//! Connections within a runtime: handshakes that come to an end or not, and what they cost the others.

use super::{later, soon};
use crate::base::clock;
use crate::net::stream::{Ready, Stream};
use crate::net::tls::acceptor::PATIENCE;
use crate::net::tls::bench::{Bench, renew};
use crate::net::tls::{Acceptor, Config, Opened, Reloaded, Secure, Trust, name_of};
use std::fs;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// The beginning of a hello.
const HALF: &[u8] = &[22, 3, 1, 2, 0, 1, 0];

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

/// An acceptor with so many places.
fn narrow(bench: &Bench, handshakes_max: usize) -> Acceptor {
    let config = Config {
        handshakes_max,
        ..bench.config.clone()
    };
    Acceptor::new(&config).unwrap()
}

#[tokio::test]
async fn who_does_not_finish_is_let_go() {
    let acceptor = Bench::new().acceptor();
    // One that says nothing, one that stops in the middle, and one that talks nonsense.
    let (_silent, server) = pair().await;
    assert!(matches!(acceptor.open(server, soon()).await, Opened::Closed));
    let (mut half, server) = pair().await;
    half.write_all(HALF).await.unwrap();
    assert!(matches!(acceptor.open(server, soon()).await, Opened::Closed));
    for nonsense in [&[22; 64][..], &[22, 3, 1, 0xFF, 0xFF], &[22, 3, 1, 0, 0]] {
        let (mut broken, server) = pair().await;
        broken.write_all(nonsense).await.unwrap();
        let deadline = later();
        assert!(matches!(acceptor.open(server, deadline).await, Opened::Closed));
        assert!(clock::now() < deadline, "{nonsense:?} was waited for");
    }
}

#[tokio::test]
async fn who_has_not_said_what_they_want_takes_no_place() {
    let bench = Bench::new();
    let acceptor = narrow(&bench, 1);
    let (mut half, first) = pair().await;
    half.write_all(HALF).await.unwrap();
    let (client, second) = pair().await;
    let mut waiting = std::pin::pin!(acceptor.open(first, later()));
    let meeting = async { tokio::join!(acceptor.open(second, later()), connect(&bench.trust, client)) };
    let (opened, connected) = tokio::select! {
        biased;
        _ = &mut waiting => panic!("the first one has said nothing"),
        met = meeting => met,
    };
    assert!(matches!(opened, Opened::Secure(_)), "{opened:?}");
    connected.unwrap();
    drop(half);
    assert!(matches!(waiting.await, Opened::Closed));
}

/// A client that has said hello, and nothing since.
async fn greeted(bench: &Bench, client: &TcpStream) -> Secure {
    let mut secure = bench.trust.begin("localhost").unwrap();
    while secure.has_unsent() {
        client.writable().await.unwrap();
        secure.flush(&mut Ready(client)).unwrap();
    }
    secure
}

#[tokio::test]
async fn who_keeps_a_place_waiting_gives_it_to_who_has_none() {
    let bench = Bench::new();
    let acceptor = narrow(&bench, 1);
    let (slow, first) = pair().await;
    let _secure = greeted(&bench, &slow).await;
    let deadline = later();
    let mut holding = std::pin::pin!(acceptor.open(first, deadline));
    // It has the place once it is answered.
    tokio::select! {
        biased;
        _ = &mut holding => panic!("the first one has not finished"),
        readable = slow.readable() => readable.unwrap(),
    }
    let (client, second) = pair().await;
    let meeting = async { tokio::join!(acceptor.open(second, deadline), connect(&bench.trust, client)) };
    let (held, (opened, connected)) = tokio::join!(holding, meeting);
    assert!(matches!(held, Opened::Closed));
    assert!(matches!(opened, Opened::Secure(_)), "{opened:?}");
    connected.unwrap();
    assert!(clock::now() < deadline, "it was its own deadline that ended it");
}

#[tokio::test]
async fn one_who_has_no_place_makes_one_of_the_slow_ones_go() {
    let bench = Bench::new();
    let acceptor = narrow(&bench, 2);
    let deadline = later();
    let ((one, first), (two, second)) = (pair().await, pair().await);
    let (_one, _two) = (greeted(&bench, &one).await, greeted(&bench, &two).await);
    let mut both =
        std::pin::pin!(async { tokio::join!(acceptor.open(first, deadline), acceptor.open(second, deadline)) });
    // They have their places once they are answered, and after this no patience.
    let patience = async {
        one.readable().await.unwrap();
        two.readable().await.unwrap();
        tokio::time::sleep(PATIENCE + Duration::from_millis(200)).await;
    };
    tokio::select! {
        biased;
        _ = &mut both => panic!("nobody waits"),
        () = patience => {}
    }
    let (client, third) = pair().await;
    let meeting = async { tokio::join!(acceptor.open(third, deadline), connect(&bench.trust, client)) };
    let (opened, connected) = tokio::select! {
        biased;
        _ = &mut both => panic!("both had to go"),
        met = meeting => met,
    };
    assert!(matches!(opened, Opened::Secure(_)), "{opened:?}");
    connected.unwrap();
    let still = tokio::time::timeout(Duration::from_millis(300), &mut both).await;
    assert!(still.is_err(), "the other one had to go, too");
    assert!(clock::now() < deadline, "it was their own deadline that ended them");
}

#[tokio::test]
async fn who_is_slow_has_all_its_time_where_nobody_waits() {
    let bench = Bench::new();
    let acceptor = narrow(&bench, 1);
    let (slow, server) = pair().await;
    let secure = greeted(&bench, &slow).await;
    let mut opening = std::pin::pin!(acceptor.open(server, later()));
    let patience = tokio::time::timeout(PATIENCE + Duration::from_millis(500), &mut opening).await;
    assert!(patience.is_err(), "it was let go");
    let (opened, connected) = tokio::join!(opening, Stream::agreed(slow, Box::new(secure)));
    assert!(matches!(opened, Opened::Secure(_)), "{opened:?}");
    connected.unwrap();
}

/// Both ends of a connection within the runtime.
async fn met(bench: &Bench) -> (Stream, Stream) {
    let (client, server) = pair().await;
    let acceptor = bench.acceptor();
    let (opened, connected) = tokio::join!(acceptor.open(server, later()), connect(&bench.trust, client));
    let Opened::Secure(server) = opened else {
        panic!("not opened")
    };
    (server, connected.unwrap())
}

#[tokio::test]
async fn the_largest_records_of_a_client_are_heard() {
    let bench = Bench::new();
    let acceptor = bench.acceptor();
    let (client, server) = pair().await;
    let connector = bench.trust.connector();
    let connecting = connector.connect(name_of("localhost").unwrap(), client);
    let (opened, connected) = tokio::join!(acceptor.open(server, later()), connecting);
    let (Opened::Secure(mut server), mut client) = (opened, connected.unwrap()) else {
        panic!("not opened")
    };
    // Other clients than ours fill their records.
    let text: Vec<u8> = (0..200_000_u32).map(|number| number as u8).collect();
    let mut read = vec![0; text.len()];
    let write = async { client.write_all(&text).await.and(client.flush().await) };
    let (written, heard) = tokio::join!(write, server.read_exact(&mut read));
    written.unwrap();
    heard.unwrap();
    assert!(read == text);
}

/// How often something is done in one poll of a task until it is put off; `most` when it never is.
async fn in_one_poll(most: usize, mut act: impl FnMut(&mut Context<'_>) -> Poll<io::Result<()>>) -> usize {
    std::future::poll_fn(|context| {
        for count in 0..most {
            match act(context) {
                Poll::Ready(done) => done.unwrap(),
                Poll::Pending => return Poll::Ready(count),
            }
        }
        Poll::Ready(most)
    })
    .await
}

#[tokio::test]
async fn who_always_has_something_lets_others_have_a_turn() {
    const MOST: usize = 1_000;
    let (mut server, mut client) = met(&Bench::new()).await;
    client.write_all(&vec![b'x'; MOST + 1]).await.unwrap();
    client.flush().await.unwrap();
    // From here on all of it is decrypted: there is always something to read, a byte at a time.
    server.read_exact(&mut [0]).await.unwrap();
    let mut read = 0;
    while read < MOST {
        let count = in_one_poll(MOST, |context| {
            let mut byte = [0];
            Pin::new(&mut server).poll_read(context, &mut ReadBuf::new(&mut byte))
        })
        .await;
        assert!(count < MOST, "one peer had the thread for itself");
        read += count;
        if count == 0 {
            tokio::task::yield_now().await;
        }
    }
    tokio::task::yield_now().await;
    // And a socket that takes all that it is given.
    let count = in_one_poll(MOST, |context| {
        Pin::new(&mut server)
            .poll_write(context, b"x")
            .map_ok(|count| assert_eq!(count, 1))
    })
    .await;
    assert!((1..MOST).contains(&count), "{count}");
    tokio::task::yield_now().await;
    server.write_all(b"x").await.unwrap();
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
    assert_eq!(acceptor.reload().unwrap(), Reloaded::Settling);
    assert!(meet(&bench.trust).await && !meet(&new).await);
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
