//! The gateway through its door: real sockets, a backlog in memory.

mod deliver;
pub mod fixture;
mod golden;
mod listen;
mod moving;
mod resume;
mod slow;
