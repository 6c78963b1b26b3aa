//! TLS on the port for clients: the promises of streams hold through it, who does not speak it is told so, certificates change while
//! streams go on, and a stop says goodbye in all its layers.

use super::harness::http::{Answer, read_chunk, read_head};
use super::harness::load::draft;
use super::harness::stream::Connection;
use super::harness::tls::{self, Secure};
use super::harness::{Client, Cluster, Start, Transport, cluster, directory, until};
use super::{delivery, resume};
use serde_json::Value;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(20);
const WEBSOCKET: &str = "GET /v1/subscribe?user=door&from=now HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const SSE: &str =
    "GET /v1/subscribe?user=door&from=now HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n";
/// Counts those who found no place for their handshake.
const FULL: &str = "campanile_limits_hit_total{limit=\"tls.handshakes_max\"}";
const LIVEZ: &str = "GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";

#[test]
fn streams_keep_their_promises_through_tls() {
    let secure = cluster::beside_secure(3, &[]);
    delivery::check(&secure.cluster);
    delivery::check_long_poll(&secure.cluster);
    resume::check(&secure.cluster);
    receipts_come_back(&secure.cluster);
}

fn receipts_come_back(cluster: &Cluster) {
    let users = ["tls-receipts".to_owned()];
    let applied = directory::import_users(&mut cluster.client(0), &users);
    cluster.wait_applied(applied, SOON);
    let address = cluster.nodes[1].address;
    let mut stream = Connection::open(address, Transport::WebSocket, &users[0], &Start::Now).unwrap();
    stream.say(&serde_json::json!({"hello": {"receipts": true}})).unwrap();
    let sent = cluster
        .client(2)
        .post("/v1/broadcasts", &draft("high", "confirm it", &users));
    let id = sent.expect(201).json()["id"].clone();
    let end = Instant::now() + SOON;
    while stream.next(SOON).unwrap().is_none_or(|event| event["id"] != id) {
        assert!(Instant::now() < end, "it did not come");
    }
    stream.say(&serde_json::json!({"receipt": {"received": [id]}})).unwrap();
    resume::all_are(cluster, &[id.as_str().unwrap().to_owned()], "received");
}

/// A node with a door of its own, and somebody to be told something.
fn door(settings: &[&str]) -> cluster::SharedCluster {
    let secure = cluster::beside_secure(1, settings);
    directory::import_users(&mut secure.cluster.client(0), &["door".to_owned()]);
    secure
}

fn connect(cluster: &Cluster) -> BufReader<Secure> {
    let config = cluster.identity().believer();
    BufReader::new(tls::connect(cluster.nodes[0].listen, config, SOON).unwrap())
}

fn ask(stream: &mut BufReader<Secure>, request: &str) -> Answer {
    stream.get_mut().write_all(request.as_bytes()).unwrap();
    let mut answer = read_head(stream).unwrap();
    let length = answer.header("content-length").map(|text| text.parse().unwrap());
    answer.body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut answer.body).unwrap();
    answer
}

/// A counter's value; 0 where it is not there yet.
fn metric(cluster: &Cluster, series: &str) -> u64 {
    let text = cluster.client(0).get("/metrics").expect(200).text();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0, |value| value.parse::<f64>().unwrap() as u64)
}

fn handshakes(cluster: &Cluster, result: &str) -> u64 {
    metric(
        cluster,
        &format!("campanile_tls_handshakes_total{{result=\"{result}\"}}"),
    )
}

#[test]
fn who_does_not_speak_it_is_told_and_who_does_not_finish_is_let_go() {
    let secure = door(&["api.head_deadline=1500ms", "tls.handshakes_max=2"]);
    let cluster = &*secure.cluster;
    let listen = cluster.nodes[0].listen;
    let told = Client::new(listen).get("/livez").expect(400);
    assert!(
        told.json()["detail"].as_str().unwrap().contains("https://"),
        "{}",
        told.text()
    );
    let stuck = |said: &[u8]| {
        let mut stream = TcpStream::connect(listen).unwrap();
        stream.write_all(said).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream
    };
    let ends = |all: Vec<TcpStream>| {
        for mut stream in all {
            let end = stream.read_to_end(&mut Vec::new());
            assert!(end.is_ok() || end.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset));
        }
    };
    // More of them than there are places, in the middle of their first word: nobody is kept out.
    let halves: Vec<TcpStream> = (0..6).map(|_| stuck(&[22, 3, 1, 2, 0, 1, 0])).collect();
    assert_eq!(ask(&mut connect(cluster), LIVEZ).status, 200);
    ends(halves);
    assert_eq!(metric(cluster, FULL), 0);
    // And in the middle of a handshake: each goes in time, and others come in.
    let hello = tls::hello(cluster.identity().believer());
    ends((0..6).map(|_| stuck(&hello)).collect());
    let mut nonsense = TcpStream::connect(listen).unwrap();
    nonsense.write_all(&[22; 300]).unwrap();
    nonsense.set_read_timeout(Some(SOON)).unwrap();
    // an alert, then the end
    let _ = nonsense.read_to_end(&mut Vec::new());
    assert_eq!(ask(&mut connect(cluster), LIVEZ).status, 200);
    assert_eq!((handshakes(cluster, "plain"), handshakes(cluster, "slow")), (1, 12));
    assert_eq!(handshakes(cluster, "failed"), 1);
    assert!(metric(cluster, FULL) >= 4);
}

#[test]
fn a_request_has_its_whole_time_behind_a_slow_handshake() {
    const DEADLINE: Duration = Duration::from_secs(4);
    let secure = door(&["api.head_deadline=4s"]);
    let cluster = &*secure.cluster;
    let (listen, config) = (cluster.nodes[0].listen, cluster.identity().believer());
    let (stream, since) = tls::connect_slowly(listen, config, DEADLINE / 4, SOON).unwrap();
    let mut stream = BufReader::new(stream);
    // It says nothing more, and is told so, no earlier than one who has come with keys would be, and does not stay.
    assert_eq!(read_head(&mut stream).unwrap().status, 408);
    assert!(since.elapsed() >= DEADLINE, "{:?}", since.elapsed());
    stream.read_to_end(&mut Vec::new()).expect("close_notify");
}

#[test]
fn a_kept_connection_becomes_a_stream() {
    let secure = door(&[]);
    let cluster = &*secure.cluster;
    let mut sse = connect(cluster);
    let mut websocket = connect(cluster);
    for stream in [&mut sse, &mut websocket] {
        assert_eq!(ask(stream, LIVEZ).status, 200);
        assert_eq!(ask(stream, LIVEZ).status, 200, "the connection is kept");
    }
    assert_eq!(ask(&mut websocket, WEBSOCKET).status, 101);
    assert_eq!(ask(&mut sse, SSE).header("transfer-encoding"), Some("chunked"));
    let sent = cluster
        .client(0)
        .post("/v1/broadcasts", &draft("normal", "to both", &["door".to_owned()]));
    let id = sent.expect(201).json()["id"].as_str().unwrap().to_owned();
    let mut text = String::new();
    while !text.contains(&id) {
        text += &String::from_utf8(read_chunk(&mut sse).unwrap().expect("more of the stream")).unwrap();
    }
    read_until(&mut websocket, &id);
}

#[test]
fn certificates_change_while_streams_go_on() {
    let secure = door(&["tls.reload_every=100ms"]);
    let cluster = &*secure.cluster;
    let identity = cluster.identity();
    let old = identity.believer();
    let mut stream = connect(cluster);
    assert_eq!(ask(&mut stream, WEBSOCKET).status, 101);

    // Files of no use change nothing.
    let good = std::fs::read(&identity.key).unwrap();
    std::fs::write(&identity.key, "half a fi").unwrap();
    let unusable = "campanile_tls_reloads_total{result=\"unusable\"}";
    until("the fault is counted", SOON, || {
        (metric(cluster, unusable) > 0).then_some(())
    });
    std::fs::write(&identity.key, good).unwrap();
    assert_eq!(metric(cluster, "campanile_tls_reloads_total{result=\"changed\"}"), 0);

    identity.renew();
    let meets = |config| {
        let mut stream = tls::connect(cluster.nodes[0].listen, config, SOON).unwrap();
        stream.write_all(LIVEZ.as_bytes()).is_ok()
    };
    until("the new certificate is shown", SOON, || {
        meets(identity.believer()).then_some(())
    });
    assert!(!meets(old), "the old authority does not vouch for it");
    // Who was there has noticed nothing. The harness came through the old authority: a new tunnel is needed to say something.
    let tunnels = tls::Tunnels::new(identity.believer());
    let mut client = Client::new(tunnels.to(cluster.nodes[0].listen));
    let sent = client.post("/v1/broadcasts", &draft("high", "still here", &["door".to_owned()]));
    let id = sent.expect(201).json()["id"].as_str().unwrap().to_owned();
    read_until(&mut stream, &id);
}

fn read_until(stream: &mut BufReader<Secure>, wanted: &str) {
    let mut bytes = Vec::new();
    while !String::from_utf8_lossy(&bytes).contains(wanted) {
        let part = stream.fill_buf().unwrap();
        assert!(!part.is_empty(), "the stream ended before {wanted}");
        bytes.extend_from_slice(part);
        let count = part.len();
        stream.consume(count);
    }
}

#[test]
fn a_stop_says_goodbye_in_every_layer() {
    let secure = door(&[]);
    let cluster = &*secure.cluster;
    let (mut websocket, mut sse) = (connect(cluster), connect(cluster));
    assert_eq!(ask(&mut websocket, WEBSOCKET).status, 101);
    assert_eq!(ask(&mut sse, SSE).status, 200);
    for stream in [&mut websocket, &mut sse] {
        read_until(stream, "\"hello\"");
    }
    cluster.ask_to_stop(0);
    for mut stream in [websocket, sse] {
        let mut rest = Vec::new();
        // A connection that ends without the goodbye of TLS is an error here.
        stream.read_to_end(&mut rest).expect("close_notify");
        assert!(String::from_utf8_lossy(&rest).contains("goodbye"), "no goodbye came");
    }
}

#[test]
fn the_command_line_believes_whom_it_is_told_to() {
    let secure = door(&[]);
    let cluster = &*secure.cluster;
    let url = format!("https://{}", cluster.nodes[0].listen);
    let run = |words: &[&str], authority: bool| {
        let mut command = cluster::binary();
        command.args(words).args(["--json", "--url", &url]);
        if authority {
            command.env("CAMPANILE_CA", &cluster.identity().authority);
        }
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, said, fault) = run(&["status"], true);
    assert_eq!(code, Some(0), "{fault}");
    assert!(serde_json::from_str::<Value>(&said).is_ok(), "{said}");
    let publish = [
        "publish",
        "--to",
        "user:door",
        "--type",
        "venue.notice",
        "--title",
        "t",
        "--body",
        "b",
    ];
    assert_eq!(run(&publish, true).0, Some(0));
    let subscribe = ["subscribe", "--user", "door", "--from", "earliest", "--count", "1"];
    for transport in ["ws", "sse", "ndjson"] {
        let words = [&subscribe[..], &["--transport", transport]].concat();
        let (code, said, fault) = run(&words, true);
        assert!(
            code == Some(0) && said.contains("venue.notice"),
            "{transport}: {said} {fault}"
        );
    }
    let plain = format!("http://{}", cluster.nodes[0].listen);
    for word in ["status", "load", "validate"] {
        let mut command = cluster::binary();
        command
            .args([word, "--url", &plain, "--ca"])
            .arg(&cluster.identity().authority);
        let output = command.output().unwrap();
        let fault = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.code() == Some(2) && fault.contains("is in the clear"),
            "{word}: {fault}"
        );
    }
    let (code, _, fault) = run(&["status"], false);
    assert!(
        code == Some(69) && fault.contains("no TLS with https://"),
        "{code:?} {fault}"
    );
}
