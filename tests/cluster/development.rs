//! `campanile dev`: three processes from one command, a line per node, children that stay dead, and data that lasts.

use super::harness::load::{Fate, draft, publish};
use super::harness::{Client, cluster, directory, until};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

struct Development {
    child: Child,
    nodes: Vec<(SocketAddr, u64)>,
    /// With `--auth`.
    admin_token: Option<String>,
    /// With `--tls`, the file.
    authority: Option<String>,
}

fn start(data: &Path, port: u16) -> Development {
    start_with(data, port, &[])
}

fn start_with(data: &Path, port: u16, more: &[&str]) -> Development {
    let mut child = cluster::binary()
        .args(["dev", "--json", "--data"])
        .arg(data)
        .args(["--port", &port.to_string()])
        .args(more)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut lines = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let admin_token = more
        .contains(&"--auth")
        .then(|| lines.next().unwrap()["admin_token"].as_str().unwrap().to_owned());
    let authority = more
        .contains(&"--tls")
        .then(|| lines.next().unwrap()["ca"].as_str().unwrap().to_owned());
    let scheme = if authority.is_some() { "https://" } else { "http://" };
    let node = |said: Value| {
        let url = said["url"].as_str().unwrap().strip_prefix(scheme).unwrap();
        (url.parse().unwrap(), said["pid"].as_u64().unwrap())
    };
    let nodes = lines.take(3).map(node).collect();
    Development {
        child,
        nodes,
        admin_token,
        authority,
    }
}

/// Signals go through the shell: the standard library has only SIGKILL for one's own children.
fn signal(name: &str, pid: u64) {
    let sent = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status();
    assert!(sent.unwrap().success(), "signal {name} to {pid}");
}

impl Development {
    fn stop(mut self) {
        signal("TERM", u64::from(self.child.id()));
        let status = until("dev ends on SIGTERM", Duration::from_secs(20), || {
            self.child.try_wait().unwrap()
        });
        assert!(status.success(), "dev ended with {status}");
        for (address, _) in &self.nodes {
            assert!(
                std::net::TcpStream::connect(address).is_err(),
                "{address} still listens"
            );
        }
    }
}

impl Drop for Development {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            signal("TERM", u64::from(self.child.id()));
            let _ = self.child.wait();
        }
    }
}

#[test]
fn dev_runs_three_nodes_and_goes_on_where_it_stopped() {
    let _others_wait = cluster::alone();
    let folder = tempfile::tempdir().unwrap();
    let port = cluster::free_ports(30)[0];
    let users = vec!["dev".to_owned()];

    let first = start(folder.path(), port);
    assert_eq!(first.nodes.len(), 3);
    let ports: Vec<u16> = first.nodes.iter().map(|(address, _)| address.port()).collect();
    assert_eq!(ports, [port, port + 10, port + 20]);
    let mut client = Client::new(first.nodes[0].0);
    directory::import_users(&mut client, &users);
    let before = draft("high", "before", &users);
    let (fate, answer) = publish(&mut client, &before, "dev-1");
    let Fate::Ok { id, .. } = fate else {
        panic!("{answer:?}")
    };

    // A child that is killed stays dead; the other two go on.
    signal("KILL", first.nodes[2].1);
    until("two nodes take a write", Duration::from_secs(15), || {
        let (fate, _) = publish(&mut client, &draft("high", "with two", &users), "dev-2");
        matches!(fate, Fate::Ok { .. }).then_some(())
    });
    until("the killed node is gone", Duration::from_secs(5), || {
        std::net::TcpStream::connect(first.nodes[2].0).is_err().then_some(())
    });
    first.stop();

    let second = start(folder.path(), port);
    for (address, _) in &second.nodes {
        let mut client = Client::new(*address);
        let found = client
            .get(&format!("/v1/broadcasts/{id}?consistency=strong"))
            .expect(200);
        assert_eq!(found.json()["body"], "before");
    }
    super::keys::assert_replayed(
        &mut Client::new(second.nodes[1].0),
        "dev-1",
        &before,
        &answer.unwrap().json(),
    );
    second.stop();
}

#[test]
fn dev_with_authentication_prints_the_way_in_and_keeps_it() {
    let _others_wait = cluster::alone();
    let folder = tempfile::tempdir().unwrap();
    let port = cluster::free_ports(30)[0];

    let first = start_with(folder.path(), port, &["--auth"]);
    let admin = first.admin_token.clone().unwrap();
    let address = first.nodes[1].0;
    assert_eq!(
        Client::new(address).get("/v1/cluster").expect(401).json()["code"],
        "MISSING_TOKEN"
    );
    Client::new(address).bearer(&admin).get("/v1/tokens").expect(200);
    let url = format!("http://{address}");
    let token = |words: &[&str]| {
        let output = cluster::binary()
            .args(["token"])
            .args(words)
            .args(["--url", &url])
            .env("CAMPANILE_TOKEN", &admin)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let secret = token(&["create", "--role", "venue_ops", "--scope", "read"]);
    let listed: Value = serde_json::from_str(&token(&["list", "--json"])).unwrap();
    Client::new(address)
        .bearer(secret.trim())
        .get("/v1/broadcasts")
        .expect(200);
    token(&["revoke", listed["id"].as_str().unwrap()]);
    Client::new(address)
        .bearer(secret.trim())
        .get("/v1/broadcasts")
        .expect(401);
    first.stop();

    let second = start_with(folder.path(), port, &["--auth"]);
    assert_eq!(second.admin_token.as_ref(), Some(&admin));
    second.stop();
}

#[test]
fn dev_with_tls_says_whom_to_believe_and_keeps_it() {
    let _others_wait = cluster::alone();
    let folder = tempfile::tempdir().unwrap();
    let port = cluster::free_ports(30)[0];
    let mut authorities = Vec::new();
    for _ in 0..2 {
        let development = start_with(folder.path(), port, &["--tls"]);
        let file = development.authority.clone().unwrap();
        let status = cluster::binary()
            .args([
                "status",
                "--json",
                "--url",
                &format!("https://{}", development.nodes[2].0),
            ])
            .args(["--ca", &file])
            .output()
            .unwrap();
        assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
        authorities.push(std::fs::read_to_string(file).unwrap());
        development.stop();
    }
    assert_eq!(authorities[0], authorities[1]);
}
