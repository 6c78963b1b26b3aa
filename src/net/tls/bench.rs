//! For tests: an acceptor with a certificate of its own, a client that believes it, and two ends that have agreed.

use super::{Acceptor, Config, Secure, Trust, make};
use std::fs;
use std::io::{ErrorKind, Read, Write};

/// A folder with a certificate for this machine's own names.
pub struct Bench {
    pub folder: tempfile::TempDir,
    pub config: Config,
    pub trust: Trust,
}

impl Bench {
    #[allow(clippy::new_without_default)] // there is nothing ordinary about a key of one's own
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name).display().to_string();
        let config = Config {
            certificate_file: file("node.pem"),
            key_file: file("node.key"),
            ..Config::default()
        };
        let trust = renew(&config, &["localhost", "127.0.0.1"]);
        Self { folder, config, trust }
    }

    pub fn acceptor(&self) -> Acceptor {
        Acceptor::new(&self.config).unwrap()
    }
}

/// Writes a new certificate from a new authority, who is to be believed from now on.
pub fn renew(config: &Config, names: &[&str]) -> Trust {
    let made = make(names).unwrap();
    fs::write(&config.certificate_file, &made.certificate).unwrap();
    fs::write(&config.key_file, &made.key).unwrap();
    Trust::of(made.authority.as_bytes()).unwrap()
}

/// Both ends of a connection, agreed over these sockets, which must not block.
pub fn agree<S: Read + Write>(acceptor: &Acceptor, trust: &Trust, server: &mut S, client: &mut S) -> (Secure, Secure) {
    let (mut theirs, mut ours) = (acceptor.begin().unwrap(), trust.begin("127.0.0.1").unwrap());
    while theirs.is_handshaking() || ours.is_handshaking() {
        for (end, socket) in [(&mut ours, &mut *client), (&mut theirs, &mut *server)] {
            end.flush(socket).unwrap();
            match end.take_in(socket) {
                Err(error) if error.kind() != ErrorKind::WouldBlock => panic!("{error}"),
                Ok(_) | Err(_) => {}
            }
        }
    }
    theirs.flush(server).unwrap();
    (theirs, ours)
}
