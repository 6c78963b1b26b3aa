//! Certificates that cannot be used, sockets that take little, and peers that do not finish.

mod connections;
mod files;
mod records;

use crate::base::clock;
use std::time::{Duration, Instant};

fn soon() -> Instant {
    clock::now() + Duration::from_millis(100)
}

fn later() -> Instant {
    clock::now() + Duration::from_secs(20)
}
