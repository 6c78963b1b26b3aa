//! Threads that sleep and wake, lanes that are full, jobs that panic.

use super::{Config, Job, Pool, Ready};
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
}

impl Job for Teller {
    type Note = &'static str;
    fn note(&mut self, note: &'static str) {
        match note {
            "panic" => panic!("told to"),
            "panic in work" => self.panics_in_work = true,
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
    let pool = Pool::start(&config, |_, _| Teller {
        said: said.clone(),
        panics_in_work: false,
        has_sessions,
    })
    .unwrap();
    (pool, heard)
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
        pool.mailbox(0).try_note("note").unwrap();
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
    pool.mailbox(0).try_note("note").unwrap();
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
        pool.mailbox(0).try_note(note).unwrap();
        hear(&heard, "recover");
        pool.mailbox(0).try_note("alive").unwrap();
        hear(&heard, "alive");
        assert_eq!(pool.gauges()[0].panics.load(Relaxed), count);
    }
    pool.stop();
}
