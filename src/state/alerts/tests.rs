//! Who is told when, by the time of the log.

use super::super::outbox::{CallResult, CallState, Called, Cause, Claim};
use super::{ALERTS_MAX, Broken, Event, RECENT_MAX, Report, Sighting};
use crate::model::alert::{Severity, Side, Unit};
use crate::model::{NodeId, Retry};
use crate::state::command::Tick;
use crate::state::{Command, Outcome, State};

const NOON: i64 = 1_800_000_000_000;
const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;

struct Bench {
    state: State,
    at: i64,
}

impl Bench {
    fn new() -> Self {
        Self {
            state: State::new(),
            at: NOON,
        }
    }

    fn run(&mut self, command: Command) -> Outcome {
        let index = self.state.applied() + 1;
        self.state
            .apply(index, self.at, vec![command], &mut Vec::new())
            .remove(0)
    }

    fn report(&mut self, report: Report) {
        assert_eq!(self.run(Command::Alert(Box::new(report))), Outcome::Done);
    }

    fn raise(&mut self, node: NodeId, value: f64) {
        let (rule, seen) = (rule("queue"), seen(self.at, value));
        self.report(Report::Raised { node, rule, seen });
    }

    fn clear(&mut self, node: NodeId) {
        let rule = "queue".into();
        self.report(Report::Cleared { node, rule });
    }

    /// Log time moves on, by ticks as a leader makes them: at what is due, and at the end.
    fn pass(&mut self, millis: i64) {
        let end = self.at + millis;
        while let Some(due) = self.state.next_due().filter(|due| *due < end) {
            self.at = due;
            self.tick();
        }
        self.at = end;
        self.tick();
    }

    fn tick(&mut self) {
        self.run(Command::Tick(Tick {
            kept_ms: 90 * 86_400_000,
            missed_after_ms: 60_000,
            retry: Retry::DEFAULT,
        }));
    }

    /// Every notice to the bell so far: when, in seconds since noon, what, and of how many nodes.
    fn notices(&self) -> Vec<(i64, Event, usize)> {
        let calls = self.state.outbox().iter();
        let bell = calls.filter(|(_, call)| call.output == "bell");
        bell.filter_map(|(_, call)| match &call.cause {
            Cause::Alert(notice) => Some(((notice.at - NOON) / SECOND, notice.event, notice.nodes.len())),
            Cause::Escalation { .. } => None,
        })
        .collect()
    }

    /// The bell takes what waits.
    fn deliver(&mut self) {
        let due: Vec<u64> = self
            .state
            .outbox()
            .iter()
            .filter(|(_, call)| call.is_open())
            .map(|(id, _)| id)
            .collect();
        for call in due {
            let attempts = self.state.outbox().get(call).unwrap().attempts;
            let claim = Claim {
                call,
                node: 1,
                attempts,
                for_ms: 100,
            };
            assert_eq!(self.run(Command::Claim(claim)), Outcome::Claimed(true));
            let called = Called {
                call,
                attempt: attempts + 1,
                result: CallResult::Delivered,
            };
            self.run(Command::Called(called));
        }
    }
}

fn rule(name: &str) -> Broken {
    Broken {
        name: name.into(),
        severity: Severity::Warning,
        unit: Unit::Count,
        side: Side::Above,
        bound: 5_000.0,
        cooldown_ms: 300_000,
        outputs: vec!["bell".into()],
    }
}

fn seen(since: i64, value: f64) -> Sighting {
    Sighting {
        since,
        value,
        reason: format!("waiting: {value}"),
    }
}

#[test]
fn all_nodes_together_give_one_notice_and_one_more_when_it_is_over_everywhere() {
    let mut bench = Bench::new();
    for node in 1..=3 {
        bench.raise(node, 6_000.0 + node as f64);
        bench.raise(node, 9_000.0); // told twice: nobody knew whether it had arrived
        bench.pass(SECOND);
    }
    assert_eq!(bench.notices(), [(0, Event::Raised, 1)]);
    let alert = bench.state.alerts().get("queue").unwrap();
    assert_eq!((alert.nodes.len(), alert.since), (3, NOON));
    assert_eq!(alert.worst().unwrap().reason, "waiting: 6003");
    bench.deliver();
    for node in [2, 1, 1, 3] {
        bench.pass(SECOND);
        bench.clear(node);
    }
    assert_eq!(bench.notices(), [(0, Event::Raised, 1), (7, Event::Cleared, 3)]);
    assert_eq!(bench.state.alerts().open().count(), 0);
    let past = &bench.state.alerts().recent()[0];
    assert_eq!((past.since, past.until, past.is_told), (NOON, NOON + 7 * SECOND, true));
}

#[test]
fn what_lasts_is_told_once_per_cooldown() {
    let mut bench = Bench::new();
    bench.raise(1, 6_000.0);
    for _ in 0..130 {
        bench.deliver();
        bench.pass(5 * SECOND);
    }
    let expected = [
        (0, Event::Raised, 1),
        (300, Event::Lasting, 1),
        (600, Event::Lasting, 1),
    ];
    assert_eq!(bench.notices(), expected);
}

#[test]
fn what_comes_and_goes_is_told_once_per_cooldown() {
    let mut bench = Bench::new();
    for _ in 0..20 {
        bench.raise(1, 6_000.0);
        bench.deliver();
        bench.pass(10 * SECOND);
        bench.clear(1);
        bench.deliver();
        bench.pass(10 * SECOND);
    }
    let expected = [
        (0, Event::Raised, 1),
        (10, Event::Cleared, 1),
        (300, Event::Raised, 1),
        (310, Event::Cleared, 1),
    ];
    assert_eq!(bench.notices(), expected);
    let told = bench.state.alerts().recent().iter().filter(|past| past.is_told);
    assert_eq!((told.count(), bench.state.alerts().recent().len()), (2, 20));
}

#[test]
fn what_begins_in_the_cooldown_and_stays_is_told_when_that_ends() {
    let mut bench = Bench::new();
    bench.raise(1, 6_000.0);
    bench.deliver();
    bench.pass(MINUTE);
    bench.clear(1);
    bench.deliver();
    bench.pass(MINUTE);
    bench.raise(2, 7_000.0);
    assert_eq!(bench.state.next_due(), Some(NOON + 5 * MINUTE));
    bench.pass(4 * MINUTE);
    let expected = [(0, Event::Raised, 1), (60, Event::Cleared, 1), (300, Event::Raised, 1)];
    assert_eq!(bench.notices(), expected);
}

#[test]
fn a_node_that_is_lost_keeps_nothing_open() {
    let mut bench = Bench::new();
    bench.raise(1, 6_000.0);
    bench.raise(3, 6_000.0);
    bench.deliver();
    bench.report(Report::Lost(3));
    assert_eq!(bench.state.alerts().open().count(), 1);
    bench.clear(1);
    assert!(!bench.state.alerts().recent()[0].is_lost);
    bench.deliver();
    bench.pass(5 * MINUTE);
    bench.raise(3, 6_000.0);
    bench.report(Report::Lost(3));
    bench.report(Report::Lost(3));
    assert!(bench.state.alerts().recent()[0].is_lost);
    assert_eq!((bench.state.alerts().open().count(), bench.notices().len()), (0, 4));
}

#[test]
fn what_could_not_be_told_while_it_lasted_is_told_once_afterwards() {
    let mut bench = Bench::new();
    bench.at = NOON + MINUTE;
    for (node, from, to) in [(1, 0, 23), (2, 1, 22), (1, 0, 23), (3, 20, 30)] {
        let report = Report::Passed {
            node,
            rule: rule("no_leader"),
            seen: seen(NOON + from * SECOND, 23_000.0),
            until: NOON + to * SECOND,
        };
        bench.report(report);
    }
    assert_eq!(bench.notices(), [(60, Event::Passed, 1)]);
    let recent = bench.state.alerts().recent();
    assert_eq!((recent.len(), recent[0].nodes.len()), (1, 3));
    assert_eq!((recent[0].since, recent[0].until), (NOON, NOON + 30 * SECOND));
    assert_eq!(bench.state.next_due(), None, "nothing is open");
    let again = Report::Passed {
        node: 1,
        rule: rule("no_leader"),
        seen: seen(NOON + 40 * SECOND, 9_000.0),
        until: NOON + 49 * SECOND,
    };
    bench.report(again);
    assert_eq!(
        (bench.notices().len(), bench.state.alerts().recent().len()),
        (1, 2),
        "the cooldown holds"
    );
}

/// Otherwise a pager could hear that something is over before it hears that it began, and never hear the end of it.
#[test]
fn a_later_notice_takes_the_place_of_one_that_did_not_arrive() {
    let mut bench = Bench::new();
    bench.raise(1, 6_000.0);
    bench.clear(1);
    let states = |bench: &Bench| -> Vec<bool> { bench.state.outbox().iter().map(|(_, call)| call.is_open()).collect() };
    assert_eq!(states(&bench), [false, true]);

    bench.deliver();
    bench.pass(5 * MINUTE);
    bench.raise(1, 6_000.0);
    let claim = Claim {
        call: 3,
        node: 1,
        attempts: 0,
        for_ms: 10_000,
    };
    assert_eq!(bench.run(Command::Claim(claim)), Outcome::Claimed(true));
    let until = bench.at + 10 * SECOND;
    bench.clear(1);
    let waiting = bench.state.outbox().get(4).unwrap();
    assert_eq!(
        (waiting.state, waiting.next_at),
        (CallState::Waiting, until),
        "one attempt is under way"
    );
    let failed = Called {
        call: 3,
        attempt: 1,
        result: CallResult::Failed {
            error: "no answer".into(),
            wait_ms: 1_000,
        },
    };
    bench.pass(SECOND);
    bench.run(Command::Called(failed));
    assert_eq!(states(&bench), [false, false, false, true]);
    let waiting = bench.state.outbox().get(4).unwrap();
    assert_eq!(waiting.next_at, bench.at, "it waits for nothing any more");
}

#[test]
fn what_is_kept_is_bounded() {
    let mut bench = Bench::new();
    for number in 0..2 * ALERTS_MAX {
        let rule = rule(&format!("rule_{number}"));
        let seen = seen(bench.at, 6_000.0);
        bench.report(Report::Raised { node: 1, rule, seen });
    }
    assert_eq!(bench.state.alerts().open().count(), ALERTS_MAX);
    for number in 0..2 * ALERTS_MAX {
        let rule = format!("rule_{number}");
        bench.report(Report::Cleared { node: 1, rule });
    }
    assert_eq!(bench.state.alerts().recent().len(), RECENT_MAX);
    bench.pass(5 * MINUTE);
    assert_eq!(bench.state.alerts().all().count(), 0, "their cooldowns are over");
}

#[test]
fn alerts_survive_a_restart() {
    let mut bench = Bench::new();
    bench.raise(1, 6_000.0);
    bench.raise(2, 7_000.0);
    bench.report(Report::Passed {
        node: 1,
        rule: rule("no_leader"),
        seen: seen(NOON - MINUTE, 23_000.0),
        until: NOON - SECOND,
    });
    let hash = bench.state.hash();
    let mut again = State::new();
    for row in bench.state.take_rows() {
        if let Some(value) = row.value {
            again.load(&row.key, &value).unwrap();
        }
    }
    again.loaded(bench.state.applied());
    assert_eq!(again.hash(), hash);
    assert_eq!(again.next_due(), bench.state.next_due());
    assert_eq!(again.alerts().recent(), bench.state.alerts().recent());
}
