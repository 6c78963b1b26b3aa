//! Every recipient is in exactly one state, and the counts say the same as the people one by one, whatever happens to a broadcast.

use crate::api::counts::Counts;
use crate::api::recipients::known;
use crate::base::checks::checks;
use crate::model::broadcast::Escalate;
use crate::model::directory::{Preferences, QuietHours, TimeOfDay, User};
use crate::model::{Acknowledge, Audience, Clause, Draft, LocalTime, Priority, Retry, Step};
use crate::state::command::{
    Acknowledged, Cancel, Change, Found, Key, Presence, Promised, Publish, Receipts, Redeliver, Spans, Tick,
};
use crate::state::rights::Grant;
use crate::state::zones::ZoneTable;
use crate::state::{Command, State, dead};
use proptest::prelude::*;
use roaring::RoaringBitmap;
use std::collections::BTreeMap;

const NOON: i64 = 1_800_000_000_000;
const PEOPLE: u32 = 8;
const MINUTE: i64 = 60_000;
/// Zones of the first people, and how many minutes later a local time comes there than at UTC.
const LATER: [(&str, i32); 3] = [("Test/Seven", 7), ("Test/Zero", 0), ("Test/Forty", 40)];

#[derive(Clone, Debug)]
enum Event {
    Sent(Vec<u32>, Vec<u32>),
    Receipt(Step, Vec<u32>),
    Confirm(u32),
    Came(Vec<u32>, Vec<u32>),
    Wait(i64),
    Settle,
    Redeliver(Option<Vec<u32>>),
    Cancel,
    Replace(Vec<u32>),
}

fn some() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(0..PEOPLE, 0..5)
}

fn event() -> impl Strategy<Value = Event> {
    let step = prop::sample::select(vec![Step::Received, Step::Read]);
    prop_oneof![
        4 => (some(), some()).prop_map(|(sent, promised)| Event::Sent(sent, promised)),
        3 => (step, some()).prop_map(|(step, users)| Event::Receipt(step, users)),
        3 => (0..PEOPLE).prop_map(Event::Confirm),
        2 => (some(), some()).prop_map(|(came, went)| Event::Came(came, went)),
        6 => prop::sample::select(vec![1_000, 5_000, MINUTE, 7 * MINUTE, 40 * MINUTE]).prop_map(Event::Wait),
        3 => Just(Event::Settle),
        1 => prop::option::of(some()).prop_map(Event::Redeliver),
        1 => Just(Event::Cancel),
        1 => some().prop_map(Event::Replace),
    ]
}

/// Two of the people are quiet for ten minutes, one mutes, one takes only what is critical; a step calls in the last two.
fn draft(asks: bool, escalates: bool) -> Draft {
    let users = |from: u32, to: u32| Clause {
        users: (from..to).map(|number| format!("u-{number}")).collect(),
        ..Clause::default()
    };
    let audience = |clause| Audience {
        clauses: vec![clause],
        exclude: Vec::new(),
    };
    let step = Escalate {
        after_ms: 30_000,
        to: audience(users(PEOPLE - 2, PEOPLE)),
        priority: Some(Priority::High),
        outputs: vec!["siren".into()],
    };
    Draft {
        audience: audience(users(0, PEOPLE - 2)),
        acknowledge: asks.then(|| Acknowledge {
            within_ms: 15_000,
            answers: Vec::new(),
            need: Vec::new(),
            escalate: if escalates { vec![step] } else { Vec::new() },
        }),
        ..Draft::bare("venue.notice", "T", "B")
    }
}

struct Bench {
    state: State,
    at: i64,
    keys: u8,
}

impl Bench {
    fn new() -> Self {
        let mut bench = Self {
            state: State::new(),
            at: NOON,
            keys: 0,
        };
        bench.run(Command::Found(Found { epoch: 7, salt: 9 }));
        let user = |number: u32| {
            Change::PutUser(User {
                id: format!("u-{number}"),
                role: "guest".into(),
                tier: "starter".into(),
                locale: "en".into(),
                timezone: LATER.get(number as usize).map_or("UTC", |(zone, _)| zone).into(),
                attributes: Vec::new(),
            })
        };
        let table = |(zone, minutes): (&str, i32)| ZoneTable {
            name: zone.into(),
            offset: -60 * minutes,
            changes: Vec::new(),
            until: i64::MAX,
        };
        let mut changes: Vec<Change> = (0..PEOPLE).map(user).collect();
        changes.push(Change::KnowZones(LATER.map(table).to_vec()));
        let time = |at: i64| {
            let minute = ((NOON + at) / MINUTE).rem_euclid(24 * 60);
            TimeOfDay::parse(&format!("{:02}:{:02}", minute / 60, minute % 60)).unwrap()
        };
        let quiet = Preferences {
            quiet_hours: Some(QuietHours {
                start: time(-10 * MINUTE),
                end: time(10 * MINUTE),
                timezone: "UTC".into(),
            }),
            ..Preferences::default()
        };
        let mute = Preferences {
            muted_categories: vec!["venue".into()],
            ..Preferences::default()
        };
        for (number, preferences) in [(0, quiet.clone()), (6, quiet), (1, mute)] {
            changes.push(Change::PutPreferences(format!("u-{number}"), preferences));
        }
        bench.run(Command::Directory(changes));
        bench
    }

    fn run(&mut self, command: Command) {
        let index = self.state.applied() + 1;
        self.state.apply(index, self.at, vec![command], &mut Vec::new());
    }

    fn key(&mut self) -> Key {
        self.keys += 1;
        Key {
            fingerprint: [self.keys; 16],
            body: u64::from(self.keys),
            kept_ms: MINUTE as u64,
            table_bytes_max: 1 << 20,
        }
    }

    fn publish(&mut self, draft: Draft) -> u64 {
        let number = self.state.next_position();
        let key = self.key();
        self.run(Command::Publish(Box::new(Publish {
            draft,
            superseded: None,
            grant: Grant::default(),
            sender: "administrator".into(),
            key,
            spans: Spans {
                expires_after_ms: 30 * MINUTE as u64,
                schedule_max_ms: 24 * 60 * MINUTE as u64,
            },
        })));
        number
    }

    fn happen(&mut self, number: u64, event: Event) {
        let bitmap = |users: &[u32]| users.iter().collect::<RoaringBitmap>();
        let receipts = |step, users: &[u32], promised: &[u32]| {
            Command::Receipts(Receipts {
                node: 1,
                deltas: vec![(number, step, bitmap(users))],
                promised: Some(Promised {
                    users: vec![(number, bitmap(promised))],
                    retry: Retry::DEFAULT,
                }),
                watermarks: [0; 4],
            })
        };
        match event {
            Event::Sent(sent, promised) => {
                let sent = [sent, promised.clone()].concat();
                self.run(receipts(Step::Sent, &sent, &promised));
            }
            Event::Receipt(step, users) => self.run(receipts(step, &users, &[])),
            Event::Confirm(user) => self.run(Command::Acknowledge(Acknowledged {
                user,
                node: 1,
                answers: vec![(number, "ok".into())],
            })),
            Event::Came(came, went) => self.run(Command::Presence(Presence {
                node: 1,
                incarnation: 1,
                all: false,
                came: bitmap(&came),
                went: bitmap(&went),
            })),
            Event::Wait(time) => {
                self.at += time;
                self.run(Command::Tick(Tick {
                    kept_ms: 90 * 86_400_000,
                    missed_after_ms: 60_000,
                    retry: Retry::DEFAULT,
                }));
            }
            Event::Settle => {
                if let Some((block, open, seen)) = self.state.settle_due(self.at) {
                    let hots: Vec<_> = self.state.broadcasts().from(0).cloned().collect();
                    let there = self.state.presence().there();
                    let plan = dead::plan(block, open, seen, &hots, &there, self.at);
                    plan.into_iter()
                        .for_each(|plan| self.run(Command::Settle(Box::new(plan))));
                }
            }
            Event::Redeliver(users) => {
                let key = self.key();
                self.run(Command::Redeliver(Box::new(Redeliver {
                    number,
                    users: users.map(|users| bitmap(&users)),
                    key,
                    cold: None,
                })));
            }
            Event::Cancel => self.run(Command::Cancel(Box::new(Cancel { number, cold: None }))),
            Event::Replace(users) => {
                let old = self.state.broadcast(number).unwrap().id;
                let clause = Clause {
                    users: users.iter().map(|user| format!("u-{user}")).collect(),
                    ..Clause::default()
                };
                let audience = Audience {
                    clauses: vec![clause],
                    exclude: Vec::new(),
                };
                let new = Draft {
                    supersedes: Some(old),
                    audience,
                    ..draft(false, false)
                };
                self.publish(new);
            }
        }
    }
}

/// The states of all recipients, each counted, and the dead letters by themselves.
fn check(bench: &Bench, number: u64) -> Result<(), TestCaseError> {
    let hot = bench.state.broadcasts().get(number).unwrap();
    let mut states: BTreeMap<&str, u64> = BTreeMap::new();
    for user in hot.recipients.iter() {
        let known = known(&bench.state, hot, user, bench.at, false);
        *states.entry(known.state()).or_default() += 1;
        let must_say_why = ["held", "skipped", "failed", "expired"].contains(&known.state());
        prop_assert!(!must_say_why || known.reason().is_some(), "{:?}", known);
    }
    let counts = Counts::of(hot, bench.at);
    let of = |state: &str| states.get(state).copied().unwrap_or(0);
    prop_assert_eq!(states.values().sum::<u64>(), counts.targeted);
    let beside = [of("held"), of("skipped"), of("expired"), of("failed")];
    let counted = [counts.held, counts.skipped, counts.expired, counts.failed];
    prop_assert_eq!(beside, counted, "{:?}", states);
    let ladder = [
        counts.targeted,
        counts.sent,
        counts.received,
        counts.read,
        counts.acknowledged,
    ];
    prop_assert!(ladder.is_sorted_by(|more, fewer| more >= fewer), "{:?}", ladder);
    prop_assert!(of("acknowledged") <= counts.acknowledged);
    if let Some(dead) = hot.dead() {
        let each: u64 = dead.letters.iter().map(|letters| letters.users.len()).sum();
        prop_assert_eq!(each, dead.users().len(), "one letter each");
    }
    let total: u64 = bench.state.broadcasts().blocks().dead_counts().values().sum();
    let known: u64 = bench
        .state
        .broadcasts()
        .from(0)
        .filter_map(|hot| hot.dead())
        .map(|dead| dead.users().len())
        .sum();
    prop_assert_eq!(total, known, "dead letters are counted once");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(checks(500)))]
    #[test]
    fn every_recipient_is_in_one_state(
        asks in any::<bool>(),
        escalates in any::<bool>(),
        shown in prop::option::of(Just("2027-01-15T08:00")),
        events in prop::collection::vec(event(), 0..40),
    ) {
        let mut bench = Bench::new();
        let number = bench.publish(Draft {
            deliver_at_local: shown.and_then(|shown| LocalTime::parse(shown).ok()),
            ..draft(asks, escalates)
        });
        check(&bench, number)?;
        for event in events {
            bench.happen(number, event);
            check(&bench, number)?;
        }
    }
}
