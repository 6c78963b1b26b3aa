//! Threads that sleep and wake, that come and go; lanes that are full, jobs that panic.

use super::mailbox::Mailbox;
use super::{Config, Job, Pool, Ready, THREADS_MAX, Unsent};
use crate::base::clock;
use crate::model::Priority;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(10);

/// Tells what it was called with; panics when told to.
struct Teller {
    said: Sender<&'static str>,
    panics_in_work: bool,
    has_sessions: bool,
    /// A thread that was told to leave stays meanwhile.
    holds: bool,
}

impl Job for Teller {
    type Note = &'static str;
    fn note(&mut self, note: &'static str) {
        match note {
            "panic" => panic!("told to"),
            "panic in work" => self.panics_in_work = true,
            "hold" => self.holds = true,
            "let go" => self.holds = false,
            other => self.said.send(other).unwrap(),
        }
    }
    fn ready(&mut self, _: Ready) {}
    fn work(&mut self, _: Instant) -> bool {
        assert!(!std::mem::take(&mut self.panics_in_work), "told to, in work");
        let _ = self.said.try_send("work");
        false
    }
    fn tick(&mut self, _: Instant) {}
    fn has_sessions(&self) -> bool {
        self.has_sessions
    }
    fn is_empty(&self) -> bool {
        !self.holds
    }
    fn rest(&mut self) {}
    fn recover(&mut self) {
        self.said.send("recover").unwrap();
    }
}

fn start(lane_max: usize) -> (std::sync::Arc<Pool<&'static str>>, Receiver<&'static str>) {
    start_with(lane_max, true)
}

fn start_with(lane_max: usize, has_sessions: bool) -> (std::sync::Arc<Pool<&'static str>>, Receiver<&'static str>) {
    let (said, heard) = bounded(10_000);
    let config = Config {
        threads: 1,
        lane_max,
        ..Config::default()
    };
    let pool = Pool::start(&config, move |_, _| Teller {
        said: said.clone(),
        panics_in_work: false,
        has_sessions,
        holds: false,
    })
    .unwrap();
    (pool, heard)
}

fn mailbox<N: Send + 'static>(pool: &Pool<N>) -> &Mailbox<N> {
    pool.mailbox(0).unwrap()
}

fn hear(heard: &Receiver<&'static str>, expected: &str) {
    let deadline = clock::now() + PATIENCE;
    while heard.recv_deadline(deadline).expect(expected) != expected {}
}

#[test]
fn a_sleeping_thread_wakes_for_lanes_notes_and_the_bell() {
    let (pool, heard) = start(4);
    hear(&heard, "work");
    let begun = clock::now();
    for _ in 0..100 {
        while heard.try_recv().is_ok() {}
        pool.wake(Priority::Low, 1);
        hear(&heard, "work");
        mailbox(&pool).try_note("note").unwrap();
        hear(&heard, "note");
        hear(&heard, "work");
        pool.ring();
        hear(&heard, "work");
    }
    // A thread that only its ticks wake would take a minute.
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    pool.stop();
}

#[test]
fn a_thread_without_sessions_sleeps_through_releases() {
    let (pool, heard) = start_with(4, false);
    hear(&heard, "work");
    while heard.recv_timeout(Duration::from_millis(200)).is_ok() {}
    for position in 0..100 {
        pool.wake(Priority::Critical, position);
    }
    assert!(heard.recv_timeout(Duration::from_millis(200)).is_err());
    mailbox(&pool).try_note("note").unwrap();
    hear(&heard, "note");
    hear(&heard, "work");
    pool.stop();
}

#[test]
fn a_full_lane_still_leads_to_work() {
    let (pool, heard) = start(1);
    for position in 0..1_000 {
        pool.wake(Priority::Critical, position);
    }
    while heard.try_recv().is_ok() {}
    pool.wake(Priority::Critical, 1_000);
    hear(&heard, "work");
    pool.stop();
}

#[test]
fn a_panic_is_caught_and_counted_and_the_thread_goes_on() {
    let (pool, heard) = start(4);
    for (count, note) in [(1, "panic"), (2, "panic in work")] {
        mailbox(&pool).try_note(note).unwrap();
        hear(&heard, "recover");
        mailbox(&pool).try_note("alive").unwrap();
        hear(&heard, "alive");
        assert_eq!(pool.gauges().next().unwrap().1.panics.load(Relaxed), count);
    }
    pool.stop();
}

/// Threads of this process that are called like the pool's last places, which no other test of this process reaches.
fn running() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    let numbers = names.filter_map(|name| name.trim().strip_prefix("worker-")?.parse::<usize>().ok());
    numbers.filter(|number| *number >= LAST_PLACES).count()
}

/// A thread names itself a moment after it was started, and is listed a moment after it was joined.
fn eventually_run(threads: usize) {
    let deadline = clock::now() + PATIENCE;
    while running() != threads {
        assert!(clock::now() < deadline, "{} run, not {threads}", running());
        std::thread::yield_now();
    }
}

/// Other tests of this process keep below.
const LAST_PLACES: usize = 40;

#[test]
fn threads_come_and_go_and_their_places_are_used_again() {
    let (pool, heard) = start(4);
    for _ in 0..3 {
        pool.grow(THREADS_MAX).unwrap();
        assert_eq!((pool.len(), pool.gauges().count()), (THREADS_MAX, THREADS_MAX));
        eventually_run(THREADS_MAX - LAST_PLACES);
        while heard.try_recv().is_ok() {}
        pool.mailbox(THREADS_MAX - 1).unwrap().try_note("last").unwrap();
        hear(&heard, "last");
        pool.close_beyond(2);
        assert_eq!(pool.len(), 2);
        assert_eq!(pool.end_beyond(clock::now() + PATIENCE), 2);
        assert_eq!((pool.len(), pool.gauges().count()), (2, 2));
        eventually_run(0);
        let late = pool.mailbox(THREADS_MAX - 1).unwrap();
        assert!(matches!(late.try_note("late"), Err(Unsent::Closed("late"))));
        assert_eq!(late.note("late"), Err("late"));
        pool.wake(Priority::Normal, 1);
        hear(&heard, "work");
    }
    pool.stop();
}

#[test]
fn a_thread_that_holds_something_stays_and_takes_notes_again() {
    let (pool, heard) = start(4);
    pool.grow(2).unwrap();
    let last = pool.mailbox(1).unwrap();
    last.try_note("hold").unwrap();
    last.try_note("held").unwrap();
    hear(&heard, "held");
    pool.close_beyond(1);
    assert_eq!(
        pool.end_beyond(clock::now() + Duration::from_millis(50)),
        2,
        "nothing is taken from it"
    );
    assert_eq!(pool.len(), 2);
    last.try_note("let go").unwrap();
    last.try_note("free").unwrap();
    hear(&heard, "free");
    pool.close_beyond(1);
    assert_eq!(pool.end_beyond(clock::now() + PATIENCE), 1);
    pool.stop();
}

/// Notes are sent all the time while their thread comes and goes: each is heard once, or was given back.
#[test]
fn no_note_is_lost_when_a_thread_ends() {
    const NOTES: usize = 5_000;
    let (pool, heard) = start(4);
    let taken = std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let (mut taken, mut sent) = (0, 0);
            let deadline = clock::now() + PATIENCE;
            // on a machine that is busy elsewhere they may all be given back before the thread first runs
            while sent < NOTES || (taken == 0 && clock::now() < deadline) {
                sent += 1;
                let last = pool.mailbox(1);
                taken += usize::from(last.is_some_and(|last| last.try_note("counted").is_ok()));
                std::thread::yield_now();
            }
            taken
        });
        while !sender.is_finished() {
            pool.grow(2).unwrap();
            pool.close_beyond(1);
            assert_eq!(pool.end_beyond(clock::now() + PATIENCE), 1);
        }
        sender.join().unwrap()
    });
    assert!(taken > 0);
    mailbox(&pool).try_note("over").unwrap();
    hear_all(&heard, taken);
    pool.stop();
}

fn hear_all(heard: &Receiver<&'static str>, expected: usize) {
    let deadline = clock::now() + PATIENCE;
    let mut counted = 0;
    loop {
        match heard.recv_deadline(deadline).unwrap() {
            "counted" => counted += 1,
            "over" => break,
            _ => {}
        }
    }
    assert_eq!(counted, expected);
}
