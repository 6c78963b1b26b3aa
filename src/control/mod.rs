//! # Control
//!
//! What: what the leader looks after beside delivery: the clocks of the zones that the directory names.
//! Why: the log must not depend on the zone database of whichever node applies it, so somebody has to read it out beforehand.
//! Never: a socket, a request, or a change that does not go through the log.
//! Start: [`zones`].

pub mod zones;

#[cfg(test)]
mod tests;
