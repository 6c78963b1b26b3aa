//! The step *catch up*: a subscriber comes back with a cursor and gets what it has missed: out of the window in memory, and out of
//! the journal on disk when the window no longer reaches back so far.
//!
//! `cargo bench --bench catch_up`. Floors: a walk over a slice of the same releases that writes the subscriber's frames through the
//! same kind of socket; and a bare sled scan of the same rows.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a bench that cannot run says so

mod common;
#[path = "catch_up/disk.rs"]
mod disk;
#[path = "catch_up/window.rs"]
mod window;

use campanile::lab::results::bench::Bench;
use std::process::ExitCode;

/// 3.7 when it was set: a session begins, a thread is woken twice, hello and cursor are written. A write for each frame would be more
/// than this.
const WINDOW_MOST: f64 = 7.0;
/// 6.7 when it was set: rows are unpacked, and every entry is made a broadcast again to see whom it is for; the floor sums up their
/// bytes.
const DISK_MOST: f64 = 12.0;

fn main() -> ExitCode {
    let mut bench = Bench::new(
        "catch_up",
        "A subscriber comes back with a cursor and gets what it has missed.",
    );
    window::measure().tell(&mut bench, "window", "A release out of the window", WINDOW_MOST);
    disk::measure().tell(&mut bench, "disk", "A release out of the journal", DISK_MOST);
    bench
        .setting("missed", window::MINE)
        .setting("publishes_on_disk", disk::PUBLISHES)
        .note("The window's floor walks a slice of the same releases and sends the frames through the same kind of socket.")
        .note("The journal's floor is a bare sled scan of the same rows, unpacked; one in 20 releases in them is the subscriber's.")
        .end()
}
