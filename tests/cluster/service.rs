//! What a node tells systemd: that it is ready when it is, that it lives while it does, that it stops; and what it still answers then.

use super::harness::cluster::{START_WITHIN, binary, free_ports};
use super::harness::http::{connect, read_head};
use super::harness::{Client, until};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Stdio};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);
/// Long enough for a debug build on a busy machine, short enough to see it fed twice.
const WATCHDOG: Duration = Duration::from_secs(4);

/// A node as systemd would start it, and the socket that it talks to.
struct Service {
    child: Child,
    address: SocketAddr,
    heard: UnixDatagram,
    _folder: tempfile::TempDir,
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Service {
    /// With these settings besides its own folder and ports.
    fn start(with: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("notify");
        let heard = UnixDatagram::bind(&socket).unwrap();
        heard.set_nonblocking(true).unwrap();
        let ports = free_ports(2);
        let local = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let settings = [
            format!("node.data={}", folder.path().join("node").display()),
            format!("api.listen={}", local(ports[0])),
            format!("cluster.listen={}", local(ports[1])),
        ];
        let mut command = binary();
        command.arg("serve").stdin(Stdio::null());
        command.args(
            settings
                .iter()
                .map(String::as_str)
                .chain(with.iter().copied())
                .flat_map(|set| ["--set", set]),
        );
        command.stderr(std::fs::File::create(folder.path().join("log")).unwrap());
        command.env("NOTIFY_SOCKET", &socket);
        command.env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string());
        Self {
            child: command.spawn().unwrap(),
            address: local(ports[0]),
            heard,
            _folder: folder,
        }
    }

    /// The next word, if there is one.
    fn word(&self) -> Option<String> {
        let mut bytes = [0; 512];
        let count = self.heard.recv(&mut bytes).ok()?;
        Some(String::from_utf8(bytes[..count].to_vec()).unwrap())
    }

    fn says(&self, beginning: &str) -> String {
        let word = until(beginning, SOON, || self.word());
        assert!(word.starts_with(beginning), "{word}, and not {beginning}");
        word
    }

    fn status(&self, path: &str) -> Option<u16> {
        let mut client = Client::new(self.address).patience(Duration::from_secs(2));
        Some(client.send("GET", path, &[], b"").ok()?.status)
    }
}

#[test]
fn ready_comes_when_it_is_and_the_watchdog_is_fed_until_the_stop() {
    let mut service = Service::start(&[]);
    let ready = until("a first word", START_WITHIN, || service.word());
    assert!(ready.starts_with("READY=1\n"), "{ready}");
    assert_eq!(
        service.status("/readyz"),
        Some(200),
        "ready means that it takes requests"
    );
    for _ in 0..2 {
        assert_eq!(service.says("WATCHDOG=1"), "WATCHDOG=1");
    }
    let pid = rustix::process::Pid::from_child(&service.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let last = until("it says that it stops", SOON, || {
        service.word().filter(|word| word != "WATCHDOG=1")
    });
    assert!(last.starts_with("STOPPING=1\n"), "{last}");
    let ended = until("it ends", SOON, || service.child.try_wait().unwrap());
    assert!(ended.success(), "{ended}");
}

#[test]
fn a_node_that_cannot_take_requests_yet_is_not_ready() {
    let absent = free_ports(2).into_iter().enumerate().map(|(at, port)| {
        format!(
            r#"{{node={}, peer="127.0.0.1:{port}", url="http://127.0.0.1:{port}"}}"#,
            at + 2
        )
    });
    let others: Vec<String> = absent.collect();
    let own = r#"{node=1, peer="127.0.0.1:1", url="http://127.0.0.1:1"}"#;
    let peers = format!("cluster.peers=[{own}, {}]", others.join(", "));
    let service = Service::start(&[&peers]);
    until("it answers", START_WITHIN, || {
        service.status("/livez").filter(|status| *status == 200)
    });
    // it has looked many times by now whether it is ready
    for _ in 0..20 {
        assert_eq!(service.status("/readyz"), Some(503));
    }
    assert_eq!(service.word(), None, "nothing is said before it is ready");
}

#[test]
fn a_request_under_way_at_the_stop_is_answered() {
    const BODY: &[u8] = b"{}";
    let mut service = Service::start(&[]);
    until("a first word", START_WITHIN, || service.word());
    let mut request = connect(service.address, SOON).unwrap();
    let head = format!(
        "POST /v1/broadcasts HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Expect: 100-continue\r\n\r\n",
        service.address,
        BODY.len()
    );
    request.get_mut().write_all(head.as_bytes()).unwrap();
    // It waits for the body from here on.
    assert_eq!(read_head(&mut request).unwrap().status, 100);
    let pid = rustix::process::Pid::from_child(&service.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    until("nobody else comes in", SOON, || {
        connect(service.address, SOON).is_err().then_some(())
    });
    request.get_mut().write_all(BODY).unwrap();
    assert_eq!(read_head(&mut request).unwrap().status, 503);
    let ended = until("it ends", SOON, || service.child.try_wait().unwrap());
    assert!(ended.success(), "{ended}");
}
