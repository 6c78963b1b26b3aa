//! One connection of a publisher: a request, its answer, and the next.

use super::press::Ask;
use super::request::{self, Answer};
use crate::lab::door::{Door, Wire};
use mio::{Interest, Registry, Token};
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;

/// A node answers within 5 s, or says that it cannot.
const ANSWER_WITHIN: u64 = 8_000_000_000;
/// After a failure the line rests: a node that is gone refuses faster than anything.
const REST: u64 = 100_000_000;
const READ_BYTES: usize = 16 << 10;

#[derive(Debug)]
pub enum Turn {
    Nothing,
    Answered(Ask, Answer),
    /// The connection is gone, and with it the answer to what was asked.
    Broken(Option<Ask>),
}

#[derive(Debug)]
pub struct Line {
    number: usize,
    door: Door,
    wire: Option<Wire>,
    asked: Option<(Ask, u64)>,
    output: Vec<u8>,
    input: Vec<u8>,
    rests_until: u64,
}

impl Line {
    pub fn new(number: usize, door: Door) -> Self {
        Self {
            number,
            door,
            wire: None,
            asked: None,
            output: Vec::new(),
            input: Vec::with_capacity(READ_BYTES),
            rests_until: 0,
        }
    }

    pub fn node(&self) -> SocketAddr {
        self.door.address
    }

    pub fn is_free(&self) -> bool {
        self.asked.is_none()
    }

    pub fn is_usable(&self, now: u64) -> bool {
        self.is_free() && now >= self.rests_until
    }

    pub fn hang_up(&mut self) {
        self.wire = None;
        self.input.clear();
        self.output.clear();
    }

    /// Sends a request, on a new connection where there is none.
    pub fn ask(&mut self, registry: &Registry, ask: Ask, request: &[u8], now: u64) -> Turn {
        self.asked = Some((ask, now));
        self.output.extend_from_slice(request);
        if self.wire.is_none() {
            match self.connect(registry) {
                Ok(wire) => self.wire = Some(wire),
                Err(_) => return self.broken(now),
            }
        }
        match self.flush() {
            Ok(()) => Turn::Nothing,
            Err(_) => self.broken(now),
        }
    }

    fn connect(&self, registry: &Registry) -> std::io::Result<Wire> {
        let mut wire = self.door.open()?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut wire.socket, Token(self.number), interest)?;
        Ok(wire)
    }

    /// What was asked too long ago.
    pub fn expire(&mut self, now: u64) -> Option<Ask> {
        let is_late = self
            .asked
            .as_ref()
            .is_some_and(|(_, at)| now.saturating_sub(*at) > ANSWER_WITHIN);
        if !is_late {
            return None;
        }
        self.hang_up();
        self.asked.take().map(|(ask, _)| ask)
    }

    /// The socket takes something or has something.
    pub fn ready(&mut self) -> Turn {
        if self.wire.is_none() {
            return Turn::Nothing;
        }
        match self.flush().and_then(|()| self.read()) {
            Ok(Some(answer)) => match self.asked.take() {
                Some((ask, _)) => Turn::Answered(ask, answer),
                None => self.broken(0),
            },
            Ok(None) => Turn::Nothing,
            // An idle connection that the server closed is no failure.
            Err(_) if self.asked.is_none() => {
                self.hang_up();
                Turn::Nothing
            }
            Err(_) => self.broken(crate::base::clock::monotonic()),
        }
    }

    fn broken(&mut self, now: u64) -> Turn {
        self.hang_up();
        self.rests_until = now + REST;
        Turn::Broken(self.asked.take().map(|(ask, _)| ask))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let Some(wire) = &mut self.wire else { return Ok(()) };
        match wire.advance() {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(()),
            Err(error) => return Err(error),
        }
        while !self.output.is_empty() {
            match wire.write(&self.output) {
                Ok(count) => drop(self.output.drain(..count)),
                // Not connected yet says the same.
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn read(&mut self) -> std::io::Result<Option<Answer>> {
        let mut chunk = [0; READ_BYTES];
        loop {
            let Some(wire) = &mut self.wire else {
                return Ok(None);
            };
            match wire.read(&mut chunk) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.input.extend_from_slice(&chunk[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.input.is_empty() {
            return Ok(None);
        }
        let answer = request::answer(&self.input).map_err(|_| std::io::Error::from(ErrorKind::InvalidData))?;
        if answer.is_some() {
            self.input.clear();
        }
        Ok(answer)
    }
}
