//! What the kernel says of the machine's cores: how much of them nobody uses, and whether the threads that write wait for one.
//! Where it says nothing (another system, or a kernel without these figures), nothing is known, and no rule goes by it.

use std::collections::BTreeMap;
use std::fs;

/// Threads that ran and waited less than this between two looks say nothing about cores: 1 ms.
const WANTED_MIN: u64 = 1_000_000;

/// Remembers the last look.
#[derive(Debug, Default)]
pub struct Cores {
    machine: Option<Machine>,
    threads: BTreeMap<i32, Thread>,
}

/// Of all cores since the machine's start, in the kernel's ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Machine {
    idle: u64,
    all: u64,
}

/// Of one thread since its start, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Thread {
    ran: u64,
    waited: u64,
}

impl Cores {
    /// Since the last call: the share of the machine that was free, and the share of the threads' time that they waited for a core.
    pub fn read(&mut self, numbers: &[i32]) -> (Option<f64>, Option<f64>) {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let machine = machine(&text("/proc/stat"));
        let one = |number: &i32| Some((*number, thread(&text(&format!("/proc/self/task/{number}/schedstat")))?));
        let threads = numbers.iter().filter_map(one).collect();
        self.next(machine, threads)
    }

    fn next(&mut self, machine: Option<Machine>, threads: BTreeMap<i32, Thread>) -> (Option<f64>, Option<f64>) {
        let free = self.machine.zip(machine).and_then(|(before, now)| free(before, now));
        let crowded = crowded(&self.threads, &threads);
        (self.machine, self.threads) = (machine, threads);
        (free, crowded)
    }
}

/// The first line of `/proc/stat`: user, nice, system, idle, waiting for a disk, interrupts (two), stolen.
fn machine(stat: &str) -> Option<Machine> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line.split_whitespace().take(8).flat_map(str::parse).collect();
    let idle = ticks.get(3)? + ticks.get(4)?;
    Some(Machine {
        idle,
        all: ticks.iter().sum(),
    })
}

/// `/proc/self/task/NUMBER/schedstat`: ran, waited, turns.
fn thread(schedstat: &str) -> Option<Thread> {
    let mut figures = schedstat.split_whitespace().flat_map(str::parse);
    Some(Thread {
        ran: figures.next()?,
        waited: figures.next()?,
    })
}

fn free(before: Machine, now: Machine) -> Option<f64> {
    let all = now.all.checked_sub(before.all).filter(|all| *all > 0)?;
    Some((now.idle.saturating_sub(before.idle) as f64 / all as f64).min(1.0))
}

/// A thread that was not there at the last look counts from its start.
fn crowded(before: &BTreeMap<i32, Thread>, now: &BTreeMap<i32, Thread>) -> Option<f64> {
    let (mut ran, mut waited) = (0, 0);
    for (number, thread) in now {
        let earlier = before.get(number).copied().unwrap_or_default();
        ran += thread.ran.saturating_sub(earlier.ran);
        waited += thread.waited.saturating_sub(earlier.waited);
    }
    let wanted = ran + waited;
    (wanted >= WANTED_MIN).then(|| waited as f64 / wanted as f64)
}

#[cfg(test)]
mod tests {
    use super::{Cores, Machine, Thread, machine, thread};

    const MS: u64 = 1_000_000;

    #[test]
    fn the_kernels_figures_are_read() {
        let stat = "cpu  10 20 30 400 50 6 7 8 900 0\ncpu0 1 2 3 4 5 6 7 8 9 0\n";
        let expected = Machine { idle: 450, all: 531 };
        assert_eq!(machine(stat), Some(expected));
        let waited = Thread { ran: 12, waited: 34 };
        assert_eq!(thread("12 34 5\n"), Some(waited));
        assert_eq!((machine(""), machine("cpu  1 2"), thread("")), (None, None, None));
    }

    #[test]
    fn shares_are_of_the_time_between_two_looks() {
        let at = |idle, all| Some(Machine { idle, all });
        let of = |ran, waited| Thread {
            ran: ran * MS,
            waited: waited * MS,
        };
        let mut cores = Cores::default();
        assert_eq!(cores.next(at(100, 200), [(7, of(5, 5))].into()), (None, Some(0.5)));
        // the second thread is new: it counts from its start
        let threads = [(7, of(15, 15)), (8, of(40, 0))].into();
        assert_eq!(cores.next(at(175, 300), threads), (Some(0.75), Some(10.0 / 60.0)));
        // nothing ran, and no tick has gone by
        let same = [(7, of(15, 15)), (8, of(40, 0))].into();
        assert_eq!(cores.next(at(175, 300), same), (None, None));
        assert_eq!(cores.next(None, [].into()), (None, None));
    }

    #[test]
    fn this_system_says_something() {
        let mut cores = Cores::default();
        let own = rustix::thread::gettid().as_raw_nonzero().get();
        cores.read(&[own]);
        let begun = crate::base::clock::now();
        while begun.elapsed() < std::time::Duration::from_millis(50) {
            std::hint::spin_loop();
        }
        let (free, crowded) = cores.read(&[own]);
        assert!((0.0..=1.0).contains(&free.unwrap()));
        assert!((0.0..=1.0).contains(&crowded.unwrap()));
    }
}
