//! How a node is reached: an address, and with TLS who is believed to stand behind it.

use crate::net::{Secure, Trust};
use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use tokio::net::TcpStream;

#[derive(Clone, Debug)]
pub struct Door {
    pub address: SocketAddr,
    pub lock: Option<Lock>,
}

/// What the certificate must be for, and whom to believe that.
#[derive(Clone, Debug)]
pub struct Lock {
    pub host: String,
    pub trust: Trust,
}

/// What another process needs to find the same doors.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Way {
    pub nodes: Vec<SocketAddr>,
    /// For each the host of its certificate; `None` in the clear.
    pub hosts: Vec<Option<String>>,
    /// Whom to believe, as PEM; empty: whom this machine believes.
    pub authority: String,
}

impl Way {
    pub fn doors(&self) -> Result<Vec<Door>> {
        ensure!(
            self.hosts.len() == self.nodes.len(),
            "there must be a host, or none, for each node"
        );
        let hosts = self.hosts.iter().cloned();
        let door = |(address, host): (&SocketAddr, Option<String>)| {
            let lock = host.map(|host| {
                let trust = if self.authority.is_empty() {
                    Trust::of_machine()
                } else {
                    Trust::of(self.authority.as_bytes())
                };
                trust.map(|trust| Lock { host, trust })
            });
            Ok(Door {
                address: *address,
                lock: lock.transpose()?,
            })
        };
        self.nodes.iter().zip(hosts).map(door).collect()
    }
}

impl From<SocketAddr> for Door {
    fn from(address: SocketAddr) -> Self {
        Self { address, lock: None }
    }
}

impl Door {
    /// For an epoll: the connection is under way.
    pub fn open(&self) -> io::Result<Wire> {
        Ok(Wire {
            socket: mio::net::TcpStream::connect(self.address)?,
            secure: self.begin()?,
        })
    }

    fn begin(&self) -> io::Result<Option<Box<Secure>>> {
        let begin = |lock: &Lock| lock.trust.begin(&lock.host).map(Box::new);
        self.lock.as_ref().map(begin).transpose()
    }

    /// For tokio: the connection stands.
    pub async fn enter(&self) -> io::Result<crate::net::Stream> {
        let socket = TcpStream::connect(self.address).await?;
        socket.set_nodelay(true)?;
        match self.begin()? {
            None => Ok(socket.into()),
            Some(secure) => crate::net::Stream::agreed(socket, secure).await,
        }
    }
}

/// A socket in an epoll, in the clear or with TLS.
#[derive(Debug)]
pub struct Wire {
    pub socket: mio::net::TcpStream,
    secure: Option<Box<Secure>>,
}

impl Wire {
    /// Whether a read that gave less than was asked for has emptied the socket.
    pub fn is_emptied_by_less(&self) -> bool {
        self.secure.is_none()
    }

    /// Brings a handshake on, and writes what of a record is left; true when requests can go out. To be called at every edge.
    pub fn advance(&mut self) -> io::Result<bool> {
        let Some(secure) = &mut self.secure else {
            return Ok(true);
        };
        secure.flush(&mut self.socket)?;
        while secure.is_handshaking() {
            match secure.take_in(&mut self.socket) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.secure {
            None => self.socket.read(buffer),
            Some(secure) => secure.read(&mut self.socket, buffer),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.advance()? {
            return Err(ErrorKind::WouldBlock.into());
        }
        let Some(secure) = &mut self.secure else {
            return self.socket.write(bytes);
        };
        match secure.write(&mut self.socket, bytes)? {
            0 if !bytes.is_empty() => Err(ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
