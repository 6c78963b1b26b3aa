//! Judges a history against the promises: nothing acknowledged is lost (I1), nothing is invented (I2), one order (I3),
//! nobody misses anything (I4), repeats carry the same id (I5), a key means one broadcast (I6), a no is a no (I12).

use super::Cluster;
use super::load::{Fate, Publish};
use super::stream::Seen;
use std::collections::{BTreeMap, BTreeSet};

/// What the whole run came to, for the record.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    pub ok: usize,
    pub unknown: usize,
    pub failed: usize,
    pub deliveries: usize,
    pub repeated: usize,
    pub faults: Vec<String>,
}

impl Verdict {
    /// Fails with the first faults, and prints the figures otherwise.
    pub fn assert(&self, what: &str) {
        let first: Vec<&String> = self.faults.iter().take(20).collect();
        assert!(
            self.faults.is_empty(),
            "{what}: {} faults, the first: {first:#?}; {self}",
            self.faults.len()
        );
        println!("{what}: {self}");
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} acknowledged, {} unknown, {} refused; {} deliveries, {} repeated",
            self.ok, self.unknown, self.failed, self.deliveries, self.repeated
        )
    }
}

/// All publishes that may exist, by body: tests give each its own.
struct Known<'a> {
    by_body: BTreeMap<&'a str, &'a Publish>,
}

/// Waits until each subscriber (name, what it sees) has all that it is owed, then judges. The subscribers must be running.
pub fn owed<'a>(history: &'a [Publish], user: &str) -> BTreeSet<&'a str> {
    let for_user = history
        .iter()
        .filter(|publish| publish.users.iter().any(|id| id == user));
    for_user
        .filter_map(|publish| match &publish.fate {
            Fate::Ok { id, .. } => Some(id.as_str()),
            Fate::Unknown | Fate::Failed(_) => None,
        })
        .collect()
}

/// Does this subscriber have everything it is owed?
pub fn has_all(history: &[Publish], user: &str, seen: &Seen) -> bool {
    let ids: BTreeSet<&str> = seen.ids().into_iter().collect();
    owed(history, user).is_subset(&ids)
}

/// Judges publishes and what each subscriber (user and what it saw) got.
pub fn judge(history: &[Publish], seen: &[(String, Seen)]) -> Verdict {
    let mut verdict = Verdict::default();
    let known = Known {
        by_body: history.iter().map(|publish| (publish.body.as_str(), publish)).collect(),
    };
    for publish in history {
        match publish.fate {
            Fate::Ok { .. } => verdict.ok += 1,
            Fate::Unknown => verdict.unknown += 1,
            Fate::Failed(_) => verdict.failed += 1,
        }
    }
    one_position_each(history, &mut verdict);
    let mut places: BTreeMap<u64, String> = BTreeMap::new();
    for (user, seen) in seen {
        verdict.deliveries += seen.deliveries.len();
        nothing_missed(history, user, seen, &mut verdict);
        nothing_invented(&known, user, seen, &mut verdict);
        one_order(user, seen, &mut places, &mut verdict);
        repeats_are_explained(user, seen, &mut verdict);
    }
    verdict
}

/// I3, I6: no two acknowledged publishes share an id or a position.
fn one_position_each(history: &[Publish], verdict: &mut Verdict) {
    let (mut ids, mut positions) = (BTreeMap::new(), BTreeMap::new());
    for publish in history {
        let Fate::Ok { id, position, .. } = &publish.fate else {
            continue;
        };
        if let Some(other) = ids.insert(id, &publish.body) {
            verdict
                .faults
                .push(format!("{other} and {} share the id {id}", publish.body));
        }
        if let Some(other) = positions.insert(position, &publish.body) {
            let body = &publish.body;
            verdict
                .faults
                .push(format!("{other} and {body} share the position {position}"));
        }
    }
}

/// I4.
fn nothing_missed(history: &[Publish], user: &str, seen: &Seen, verdict: &mut Verdict) {
    let ids: BTreeSet<&str> = seen.ids().into_iter().collect();
    for id in owed(history, user).difference(&ids) {
        verdict.faults.push(format!("{user} never got {id}"));
    }
    for gap in seen.events("gap") {
        verdict.faults.push(format!("{user} was told of a gap: {gap}"));
    }
}

/// I2, I12: what came was published, to this user, with this text, and not refused.
fn nothing_invented(known: &Known<'_>, user: &str, seen: &Seen, verdict: &mut Verdict) {
    for delivery in &seen.deliveries {
        let body = delivery.body.as_str();
        let Some(publish) = known.by_body.get(body) else {
            verdict
                .faults
                .push(format!("{user} got {body:?}, which nobody published"));
            continue;
        };
        let wrong = match &publish.fate {
            Fate::Ok { id, position, .. } => *id != delivery.id || *position != delivery.position,
            Fate::Unknown => false,
            Fate::Failed(_) => true,
        };
        if wrong || publish.priority != delivery.priority || !publish.users.iter().any(|id| id == user) {
            verdict.faults.push(format!(
                "{user} got {body:?} as {} at {}, but {publish:?}",
                delivery.id, delivery.position
            ));
        }
    }
}

/// I3: positions grow within a priority on each connection, and one position is one broadcast for everybody.
fn one_order(user: &str, seen: &Seen, places: &mut BTreeMap<u64, String>, verdict: &mut Verdict) {
    let mut last: BTreeMap<(usize, &str), u64> = BTreeMap::new();
    for delivery in &seen.deliveries {
        let key = (delivery.connection, delivery.priority.as_str());
        let before = last.insert(key, delivery.position).unwrap_or(0);
        if before >= delivery.position {
            verdict.faults.push(format!(
                "{user}, connection {}: {} {} came after {before}",
                delivery.connection, delivery.priority, delivery.position
            ));
        }
        let first = places.entry(delivery.position).or_insert_with(|| delivery.id.clone());
        if *first != delivery.id {
            let (id, position) = (&delivery.id, delivery.position);
            verdict.faults.push(format!("position {position} is {first} and {id}"));
        }
    }
}

/// I5: a repeat comes on another connection than the first.
fn repeats_are_explained(user: &str, seen: &Seen, verdict: &mut Verdict) {
    let mut first: BTreeMap<&str, usize> = BTreeMap::new();
    for delivery in &seen.deliveries {
        let Some(connection) = first.insert(&delivery.id, delivery.connection) else {
            continue;
        };
        verdict.repeated += 1;
        if connection == delivery.connection {
            verdict
                .faults
                .push(format!("{user} got {} twice on one connection", delivery.id));
        }
    }
}

/// I1: every acknowledged publish can be read on every node, at one position, with its text.
pub fn on_every_node(cluster: &Cluster, history: &[Publish], verdict: &mut Verdict) {
    for at in 0..cluster.nodes.len() {
        let mut client = cluster.client(at);
        for publish in history {
            let Fate::Ok { id, position, .. } = &publish.fate else {
                continue;
            };
            let answer = client.get(&format!("/v1/broadcasts/{id}"));
            if answer.status != 200 {
                verdict.faults.push(format!("node {at} has no {id}: {}", answer.status));
                continue;
            }
            let found = answer.json();
            if found["position"].as_u64() != Some(*position) || found["body"] != publish.body.as_str() {
                verdict.faults.push(format!("node {at} has {found} for {publish:?}"));
            }
        }
    }
}
