//! What the benches of the steps share. A cost is told beside its floor: a plain way to do the same, of the same bytes, in the same
//! run. Absolute figures do not travel from one machine to the next; the ratio nearly does.
#![allow(dead_code)] // each bench uses a part of it
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a bench that cannot run says so

pub mod disk;
pub mod house;
pub mod people;
pub mod sockets;

use campanile::base::clock;
use campanile::lab::results::bench::Bench;
use campanile::lab::results::{Better, Bound};
use std::hint::black_box;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

/// One round in so many is run before anything counts, and one at least.
const WARM_UP_SHARE: usize = 5;

/// What one operation takes, and the floor of it, in nanoseconds: medians over the rounds.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    pub measured_ns: f64,
    pub floor_ns: f64,
}

impl Cost {
    pub fn ratio(&self) -> f64 {
        self.measured_ns / self.floor_ns
    }

    /// Adds two figures and a target. `key` is their section; `what` is the one operation, which may take `most` times its floor.
    pub fn tell(&self, bench: &mut Bench, key: &str, what: &str, most: f64) {
        let micros = |ns: f64| ns / 1_000.0;
        bench
            .figure(
                &format!("{key}.cost_us"),
                what,
                "µs",
                micros(self.measured_ns),
                Better::Lower,
            )
            .figure(
                &format!("{key}.floor_us"),
                &format!("{what}: floor"),
                "µs",
                micros(self.floor_ns),
                Better::Lower,
            )
            .target(
                &format!("{what}: of its floor"),
                Bound::Below(most),
                "times",
                self.ratio(),
            );
    }
}

/// How many are run for so many that count.
pub const fn all_rounds(rounds: usize) -> usize {
    rounds + rounds / WARM_UP_SHARE + 1
}

/// Runs both ways in each round, one first and then the other, so that what slows the machine down meets both. Each says how long
/// it took, for what it prepares does not count. A round is so many `operations`.
pub fn in_turn(
    rounds: usize,
    operations: usize,
    mut measured: impl FnMut() -> Duration,
    mut floor: impl FnMut() -> Duration,
) -> Cost {
    let warm_up = all_rounds(rounds) - rounds;
    let (mut costs, mut floors) = (Vec::new(), Vec::new());
    for round in 0..warm_up + rounds {
        let (cost, bare) = if round % 2 == 0 {
            let cost = measured();
            (cost, floor())
        } else {
            let bare = floor();
            (measured(), bare)
        };
        if round >= warm_up {
            costs.push(cost);
            floors.push(bare);
        }
    }
    let each = |took: Vec<Duration>| median(took).as_secs_f64() * 1e9 / operations as f64;
    Cost {
        measured_ns: each(costs),
        floor_ns: each(floors),
    }
}

fn median(mut took: Vec<Duration>) -> Duration {
    took.sort_unstable();
    took.get(took.len() / 2).copied().unwrap_or_default()
}

/// How long it takes; what comes of it is let go afterwards.
pub fn timed<T>(act: impl FnOnce() -> T) -> Duration {
    let start = clock::now();
    let made = black_box(act());
    let took = start.elapsed();
    drop(made);
    took
}

/// A folder on the disk of the build, gone with the value: a temporary folder may be memory, which has no fdatasync to wait for.
pub fn folder() -> TempDir {
    let near = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(&near)
        .and_then(|()| tempfile::tempdir_in(&near))
        .unwrap_or_else(|error| panic!("no folder can be made in {}: {error}", near.display()))
}
