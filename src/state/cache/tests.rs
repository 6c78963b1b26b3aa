//! The cache's index: what comes in, what ends, what goes for want of room, and what a start makes of the rows.

use super::{
    CacheChange, CacheEffect, CacheKey, ENTRY_BYTES, Fetch, Lifetime, Limits, Missed, Put, Renew, Value, Warm, Why,
};
use crate::model::Millis;
use crate::state::command::Tick;
use crate::state::{Command, Effect, Outcome, Refused, Row, RowKey, State};
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::BTreeMap;

const NOON: Millis = 1_800_000_000_000;
const MINUTE: u64 = 60_000;
const ROOMY: Limits = Limits {
    entries: 1_000,
    bytes: 1 << 20,
    all_entries: 10_000,
    all_bytes: 1 << 24,
};

struct Bench {
    state: State,
    index: u64,
    at: Millis,
    effects: Vec<CacheEffect>,
}

impl Bench {
    fn new() -> Self {
        Self {
            state: State::new(),
            index: 0,
            at: NOON,
            effects: Vec::new(),
        }
    }

    fn run(&mut self, command: Command) -> Outcome {
        self.index += 1;
        let mut effects = Vec::new();
        let outcomes = self.state.apply(self.index, self.at, vec![command], &mut effects);
        self.effects = effects
            .into_iter()
            .filter_map(|effect| match effect {
                Effect::Cache(effect) => Some(effect),
                _ => None,
            })
            .collect();
        outcomes.into_iter().next().unwrap()
    }

    fn change(&mut self, change: CacheChange) -> Outcome {
        self.run(Command::Cache(Box::new(change)))
    }

    fn put(&mut self, key: &str, body: &str) {
        assert_eq!(self.change(put(key, body)), Outcome::Done);
    }

    fn tick(&mut self) {
        self.run(Command::Tick(Tick {
            kept_ms: u64::MAX,
            missed_after_ms: 0,
            retry: crate::model::Retry::DEFAULT,
        }));
    }

    fn fetch(&mut self, key: &str, claim: u64) -> Outcome {
        self.change(CacheChange::Fetch(Fetch {
            at: at(key),
            node: claim,
            claim,
            for_ms: MINUTE,
            ahead_ms: 0,
        }))
    }

    /// Keys that are there, in their order.
    fn keys(&self) -> Vec<String> {
        self.state
            .cache()
            .iter()
            .map(|(namespace, key, _)| format!("{namespace}/{key}"))
            .collect()
    }

    fn dropped(&self) -> Vec<&str> {
        let dropped = self.effects.iter().filter_map(|effect| match effect {
            CacheEffect::Dropped(at) => Some(&*at.key),
            CacheEffect::Put { .. } | CacheEffect::Renewed { .. } | CacheEffect::Emptied(_) => None,
        });
        dropped.collect()
    }
}

fn at(key: &str) -> CacheKey {
    match key.split_once('/') {
        Some((namespace, key)) => CacheKey::new(namespace, key),
        None => CacheKey::new("teams", key),
    }
}

fn draft(key: &str, body: &str) -> Put {
    let value = Value {
        content_type: String::new(),
        body: Bytes::copy_from_slice(body.as_bytes()),
    };
    Put {
        at: at(key),
        digest: value.digest(),
        value,
        life: Lifetime {
            fresh_ms: MINUTE,
            stale_ms: 0,
        },
        validator: None,
        warm: Warm::WhereKnown,
        limits: ROOMY,
        claim: None,
    }
}

fn put(key: &str, body: &str) -> CacheChange {
    CacheChange::Put(draft(key, body))
}

fn restored(rows: &BTreeMap<RowKey, Bytes>, applied: u64) -> State {
    let mut state = State::new();
    rows.iter().for_each(|(key, value)| state.load(key, value).unwrap());
    state.loaded(applied);
    state
}

fn keep(rows: &mut BTreeMap<RowKey, Bytes>, taken: Vec<Row>) {
    for row in taken {
        match row.value {
            Some(value) => drop(rows.insert(row.key, value)),
            None => drop(rows.remove(&row.key)),
        }
    }
}

#[test]
fn a_value_is_there_until_it_ends_and_goes_with_a_tick() {
    let mut bench = Bench::new();
    let mut stale = draft("a", "1");
    stale.life.stale_ms = MINUTE;
    bench.change(CacheChange::Put(stale));
    bench.put("b", "2");
    let slot = bench.state.cache().get("teams", "a").unwrap().clone();
    assert!(slot.entry.is_fresh(NOON + 59_999) && !slot.entry.is_fresh(NOON + 60_000));
    assert!(!slot.entry.has_ended(NOON + 119_999) && slot.entry.has_ended(NOON + 120_000));
    bench.at = NOON + 60_000;
    bench.tick();
    assert_eq!((bench.keys(), bench.dropped()), (vec!["teams/a".into()], vec!["b"]));
    bench.at = NOON + 120_000;
    bench.tick();
    assert_eq!(bench.state.cache().size(), (0, 0));
}

#[test]
fn versions_grow_and_never_come_again() {
    let mut bench = Bench::new();
    let version = |bench: &Bench| bench.state.cache().get("teams", "a").unwrap().entry.version;
    bench.put("a", "1");
    let first = version(&bench);
    let both = ["1", "2"].map(|body| Command::Cache(Box::new(put("a", body))));
    bench.state.apply(2, NOON, both.into(), &mut Vec::new());
    bench.index = 2;
    let second = version(&bench);
    assert!(second > first + 1);
    bench.change(CacheChange::Invalidate(at("a")));
    // a node that starts anew has forgotten what was invalidated
    bench.state = restored(&BTreeMap::new(), 3);
    bench.put("a", "1");
    assert!(version(&bench) > second);
}

#[test]
fn what_ends_first_goes_first_and_what_has_just_come_stays() {
    let mut bench = Bench::new();
    let limited = |key: &str, fresh_ms: u64, limits: Limits| {
        CacheChange::Put(Put {
            life: Lifetime { fresh_ms, stale_ms: 0 },
            limits,
            ..draft(key, "12345678")
        })
    };
    let three = Limits { entries: 3, ..ROOMY };
    for (key, minutes) in [("a", 3), ("b", 1), ("c", 2)] {
        bench.change(limited(key, minutes * MINUTE, three));
    }
    bench.change(limited("d", 1, three));
    assert_eq!(bench.dropped(), ["b"], "d ends sooner, but it has just come");
    let bytes = bench.state.cache().get("teams", "a").unwrap().entry.bytes;
    assert_eq!(bytes, ENTRY_BYTES + 5 + 1 + 8);
    let narrow = Limits {
        bytes: 3 * bytes - 1,
        ..ROOMY
    };
    bench.change(limited("e", MINUTE, narrow));
    assert_eq!(bench.dropped(), ["d", "c"]);
    // another namespace has room of its own; all of them together have only so much
    let all = Limits {
        all_entries: 2,
        ..ROOMY
    };
    bench.change(limited("other/x", 9 * MINUTE, all));
    assert_eq!(bench.keys(), ["other/x", "teams/a"]);
}

#[test]
fn a_namespace_is_emptied_alone() {
    let mut bench = Bench::new();
    for key in ["a", "b", "other/a", "teams2/a"] {
        bench.put(key, "1");
    }
    bench.fetch("c", 7);
    bench.change(CacheChange::Empty("teams".into()));
    assert_eq!(bench.keys(), ["other/a", "teams2/a"]);
    assert_eq!(bench.effects, [CacheEffect::Emptied("teams".into())]);
    assert!(bench.state.cache().claims().is_empty());
    assert_eq!(bench.state.cache().size().0, 2);
}

/// However many there are: out of reach at once, and a slice at a time out of memory and rows.
#[test]
fn a_large_namespace_is_out_at_once_and_leaves_in_slices() {
    let many = 2 * super::SLICE + 10;
    let mut bench = Bench::new();
    let roomy = Limits {
        entries: 100_000,
        bytes: 1 << 30,
        all_entries: 100_000,
        all_bytes: 1 << 30,
    };
    let puts = (0..many).map(|number| {
        let put = Put {
            limits: roomy,
            life: Lifetime {
                fresh_ms: 60 * MINUTE,
                stale_ms: 0,
            },
            ..draft(&format!("k{number:05}"), "1")
        };
        Command::Cache(Box::new(CacheChange::Put(put)))
    });
    bench.index = 1;
    bench.state.apply(1, NOON, puts.collect(), &mut Vec::new());
    let mut rows = BTreeMap::new();
    keep(&mut rows, bench.state.take_rows());
    bench.change(CacheChange::Empty("teams".into()));
    assert_eq!(bench.effects, [CacheEffect::Emptied("teams".into())]);
    assert_eq!((bench.keys().len(), bench.state.cache().size()), (0, (0, 0)));
    assert!(bench.state.cache().get("teams", "k02000").is_none());
    assert_eq!(bench.state.cache().leaving("teams"), many - super::SLICE);
    // one that comes meanwhile is there to stay, on a node that starts anew in the midst of it as well
    bench.put("k02000", "2");
    keep(&mut rows, bench.state.take_rows());
    let again = restored(&rows, bench.index);
    assert_eq!(again.hash(), bench.state.hash());
    assert_eq!(again.cache().leaving("teams"), many - super::SLICE - 1);
    bench.state = again;
    let mut slices = 0;
    while bench.state.cache().leaving("teams") > 0 {
        bench.change(CacheChange::Sweep("teams".into()));
        slices += 1;
        keep(&mut rows, bench.state.take_rows());
    }
    assert_eq!((slices, bench.keys()), (2, vec!["teams/k02000".to_owned()]));
    let left = rows
        .keys()
        .filter(|key| matches!(key, RowKey::Cache(..) | RowKey::CacheValue(..) | RowKey::Emptied(_)));
    assert_eq!(left.count(), 2, "one entry with its value");
}

#[test]
fn a_namespace_that_was_emptied_and_left_alone_goes_with_the_ticks() {
    let mut bench = Bench::new();
    let puts = (0..3 * super::SLICE).map(|number| put(&format!("n{}/k{number}", number % 2), "1"));
    let unlimited = puts.map(|change| match change {
        CacheChange::Put(put) => {
            let limits = Limits {
                entries: 9_999,
                all_entries: 9_999,
                bytes: 1 << 30,
                all_bytes: 1 << 30,
            };
            let life = Lifetime {
                fresh_ms: 60 * MINUTE,
                stale_ms: 0,
            };
            Command::Cache(Box::new(CacheChange::Put(Put { life, limits, ..put })))
        }
        other => Command::Cache(Box::new(other)),
    });
    bench.index = 1;
    bench.state.apply(1, NOON, unlimited.collect(), &mut Vec::new());
    for name in ["n0", "n1"] {
        bench.change(CacheChange::Empty(name.into()));
    }
    let left = |bench: &Bench| ["n0", "n1"].map(|name| bench.state.cache().leaving(name));
    let half = super::SLICE / 2;
    assert_eq!(left(&bench), [half, half]);
    bench.tick();
    bench.tick();
    assert_eq!(left(&bench), [0, 0]);
}

#[test]
fn one_claim_stands_and_what_was_fetched_before_an_invalidation_does_not_come_in() {
    let mut bench = Bench::new();
    let fetched = |claim: u64, body: &str| {
        CacheChange::Put(Put {
            claim: Some(claim),
            ..draft("a", body)
        })
    };
    assert_eq!(bench.fetch("a", 1), Outcome::Claimed(true));
    assert_eq!(bench.fetch("a", 1), Outcome::Claimed(true), "the same again");
    assert_eq!(bench.fetch("a", 2), Outcome::Claimed(false));
    bench.change(CacheChange::Invalidate(at("a")));
    assert_eq!(bench.change(fetched(1, "old")), Outcome::Claimed(false));
    assert!(bench.keys().is_empty());
    assert_eq!(bench.fetch("a", 2), Outcome::Claimed(true));
    assert_eq!(bench.change(fetched(2, "new")), Outcome::Done);
    assert!(bench.state.cache().claims().is_empty());
    assert_eq!(bench.fetch("a", 3), Outcome::Claimed(false), "it is fresh");
    // a claim that nobody answers runs out
    bench.at += 60_000;
    assert_eq!(bench.fetch("a", 3), Outcome::Claimed(true));
    bench.at += 60_000;
    assert_eq!(bench.fetch("a", 4), Outcome::Claimed(true));
    assert_eq!(bench.change(fetched(3, "late")), Outcome::Claimed(false));
    bench.at += 60_000;
    bench.tick();
    assert!(bench.state.cache().claims().is_empty());
}

#[test]
fn a_failure_is_everybodys_until_it_has_rested_and_keeps_what_is_stale() {
    let mut bench = Bench::new();
    let mut stale = draft("a", "1");
    stale.life = Lifetime {
        fresh_ms: 0,
        stale_ms: MINUTE,
    };
    bench.change(CacheChange::Put(stale));
    let missed = |claim, why| {
        CacheChange::Missed(Missed {
            at: at("a"),
            claim,
            why,
            rest_ms: 5_000,
        })
    };
    bench.fetch("a", 1);
    assert_eq!(bench.change(missed(2, Why::TooSlow)), Outcome::Claimed(false));
    assert_eq!(bench.change(missed(1, Why::TooSlow)), Outcome::Done);
    assert_eq!(bench.fetch("a", 1), Outcome::Claimed(false), "it has been answered");
    assert_eq!(bench.fetch("a", 2), Outcome::Claimed(false), "it rests");
    let claim = bench.state.cache().claims().get(&at("a"), bench.at).cloned();
    assert_eq!(claim.unwrap().missed, Some(Why::TooSlow));
    assert_eq!(bench.keys(), ["teams/a"]);
    bench.at += 5_000;
    assert_eq!(bench.fetch("a", 2), Outcome::Claimed(true));
    assert_eq!(bench.change(missed(2, Why::Absent)), Outcome::Done);
    assert!(bench.keys().is_empty(), "the upstream has it no more");
    assert_eq!(bench.dropped(), ["a"]);
}

#[test]
fn there_are_only_so_many_claims() {
    let mut bench = Bench::new();
    for number in 0..super::claims::CLAIMS_MAX as u64 {
        assert_eq!(bench.fetch(&number.to_string(), number), Outcome::Claimed(true));
    }
    let full = Outcome::Refused(Refused::FetchesFull(super::claims::CLAIMS_MAX));
    assert_eq!(bench.fetch("one more", 1), full);
}

#[test]
fn a_renewed_value_is_the_same_and_lives_longer() {
    let mut bench = Bench::new();
    bench.put("a", "1");
    let before = bench.state.cache().get("teams", "a").unwrap().entry.clone();
    bench.at += 50_000;
    let ahead = Fetch {
        at: at("a"),
        node: 1,
        claim: 1,
        for_ms: MINUTE,
        ahead_ms: 10_000,
    };
    assert_eq!(
        bench.change(CacheChange::Fetch(ahead)),
        Outcome::Claimed(true),
        "it ends soon"
    );
    let renew = |version, claim| {
        CacheChange::Renew(Renew {
            at: at("a"),
            version,
            life: Lifetime {
                fresh_ms: MINUTE,
                stale_ms: 0,
            },
            claim,
        })
    };
    assert_eq!(bench.change(renew(before.version + 1, 1)), Outcome::Claimed(false));
    drop(bench.state.take_rows());
    assert_eq!(bench.change(renew(before.version, 1)), Outcome::Done);
    let after = bench.state.cache().get("teams", "a").unwrap().entry.clone();
    assert_eq!(after.version, before.version);
    assert_eq!(after.fresh_until, before.fresh_until + 50_000);
    let rows = bench.state.take_rows();
    assert!(rows.iter().all(|row| !matches!(row.key, RowKey::CacheValue(..))));
}

#[test]
fn a_value_leaves_memory_once_its_row_is_on_disk() {
    let mut bench = Bench::new();
    let in_memory = |bench: &Bench| bench.state.cache().values_in_memory();
    bench.put("a", "1");
    bench.put("b", "1");
    let rows = bench.state.take_rows();
    assert_eq!(in_memory(&bench), 2, "the rows are only being written");
    bench.put("b", "2");
    drop(bench.state.take_rows());
    assert_eq!(in_memory(&bench), 1, "b is another one by now");
    drop(bench.state.take_rows());
    assert_eq!(in_memory(&bench), 0);
    let key = RowKey::CacheValue("teams".into(), "a".into());
    let row = rows.iter().find(|row| row.key == key).unwrap();
    let version = bench.state.cache().get("teams", "a").unwrap().entry.version;
    let read = |version| State::read_cached(&key, row.value.as_ref().unwrap(), version).unwrap();
    assert_eq!(read(version).unwrap().body, "1");
    assert_eq!(read(version + 1), None);
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, u16, u64),
    Invalidate(u8),
    Empty(u8),
    Sweep(u8),
    Fetch(u8),
    Missed(u8),
    Rows,
    Later(u64),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..12u8, 0..600u16, 0..2_000u64).prop_map(|(key, bytes, ms)| Step::Put(key, bytes, ms)),
        2 => (0..12u8).prop_map(Step::Invalidate),
        1 => (0..3u8).prop_map(Step::Empty),
        1 => (0..3u8).prop_map(Step::Sweep),
        2 => (0..12u8).prop_map(Step::Fetch),
        1 => (0..12u8).prop_map(Step::Missed),
        2 => Just(Step::Rows),
        2 => (0..1_500u64).prop_map(Step::Later),
        1 => Just(Step::Restart),
    ]
}

fn name(key: u8) -> String {
    format!("n{}/k{key}", key % 3)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::base::checks::checks(64)))]

    /// One node starts anew from its rows now and then, another never does: they stay the same, and within the limits.
    #[test]
    fn a_node_from_its_rows_is_like_one_that_never_stopped(steps in prop::collection::vec(step(), 1..60)) {
        let limits = Limits { entries: 3, bytes: 1_600, all_entries: 7, all_bytes: 4_000 };
        let (mut one, mut other) = (Bench::new(), Bench::new());
        let mut rows = BTreeMap::new();
        for step in steps {
            let change = match step {
                Step::Put(key, bytes, fresh_ms) => CacheChange::Put(Put {
                    limits,
                    life: Lifetime { fresh_ms, stale_ms: fresh_ms / 2 },
                    ..draft(&name(key), &"x".repeat(usize::from(bytes)))
                }),
                Step::Invalidate(key) => CacheChange::Invalidate(at(&name(key))),
                Step::Empty(number) => CacheChange::Empty(format!("n{number}").into()),
                Step::Sweep(number) => CacheChange::Sweep(format!("n{number}").into()),
                Step::Fetch(key) => CacheChange::Fetch(Fetch { at: at(&name(key)), node: 1, claim: 1, for_ms: 900, ahead_ms: 200 }),
                Step::Missed(key) => {
                    let why = if key % 2 == 0 { Why::Absent } else { Why::Unreachable };
                    CacheChange::Missed(Missed { at: at(&name(key)), claim: 1, why, rest_ms: 300 })
                }
                Step::Rows => {
                    keep(&mut rows, other.state.take_rows());
                    continue;
                }
                Step::Later(ms) => {
                    one.at += ms as Millis;
                    other.at = one.at;
                    one.tick();
                    other.tick();
                    continue;
                }
                Step::Restart => {
                    keep(&mut rows, other.state.take_rows());
                    other.state = restored(&rows, other.index);
                    continue;
                }
            };
            prop_assert_eq!(one.change(change.clone()), other.change(change));
            prop_assert_eq!(&one.effects, &other.effects);
            let (entries, bytes) = one.state.cache().size();
            prop_assert!(entries <= limits.all_entries && bytes <= limits.all_bytes.max(1_000));
            prop_assert_eq!(entries, one.state.cache().iter().count() as u64);
            prop_assert_eq!(bytes, one.state.cache().iter().map(|(_, _, slot)| slot.entry.bytes).sum::<u64>());
            prop_assert_eq!(one.state.hash(), other.state.hash());
        }
        keep(&mut rows, other.state.take_rows());
        let values = rows.keys().filter(|key| matches!(key, RowKey::CacheValue(..))).count() as u64;
        prop_assert_eq!(values, one.state.cache().size().0, "no value's row is left behind");
    }
}
