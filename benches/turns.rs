//! The step *turns*: which priority is written next. The decision is made before each frame of a session, so it has to cost next to
//! nothing.
//!
//! `cargo bench --bench turns`. Floor: the same numbers popped from one queue, without a choice.
#![forbid(unsafe_code)]

mod common;

use campanile::lab::results::bench::Bench;
use campanile::model::PerPriority;
use campanile::queue::Turns;
use std::collections::VecDeque;
use std::process::ExitCode;

/// Critical 5, high 10, normal 65, low 20 of 100.
const MIX: PerPriority<u64> = [5, 10, 65, 20];
const ITEMS: usize = 100_000;
const ROUNDS: usize = 60;
/// 4.5 when it was set: a handful of comparisons beside a pop of a nanosecond.
const MOST: f64 = 9.0;

fn lanes() -> PerPriority<VecDeque<u64>> {
    MIX.map(|share| (0..share * ITEMS as u64 / 100).collect())
}

/// All items in their turns; a sum, so that nothing is left out.
fn take_in_turns(lanes: &mut PerPriority<VecDeque<u64>>) -> u64 {
    let mut turns = Turns::default();
    let mut sum = 0;
    while let Some(next) = turns.next(lanes.each_ref().map(|lane| !lane.is_empty())) {
        sum += lanes[next.index()].pop_front().unwrap_or_default();
    }
    sum
}

fn take_all(queue: &mut VecDeque<u64>) -> u64 {
    let mut sum = 0;
    while let Some(item) = queue.pop_front() {
        sum += item;
    }
    sum
}

fn main() -> ExitCode {
    let mut bench = Bench::new("turns", "Which of four priorities is written next, and taking it.");
    let cost = common::in_turn(
        ROUNDS,
        ITEMS,
        || {
            let mut lanes = lanes();
            common::timed(|| take_in_turns(&mut lanes))
        },
        || {
            let mut queue = lanes().into_iter().flatten().collect();
            common::timed(|| take_all(&mut queue))
        },
    );
    cost.tell(&mut bench, "turns", "One turn", MOST);
    bench
        .setting("items", ITEMS)
        .note("The floor pops the same numbers from one queue, without a choice.")
        .end()
}
