//! What a wedding day needs is there before it is asked for: from some time before a wedding until it ends, the leader fetches
//! what is missing or about to end, and every node takes it into its local tier.

use super::fetch::{Fetched, Wanted};
use super::lookup::Cache;
use super::settings::{Namespace, Preload, millis};
use crate::base::clock;
use crate::model::directory::{Wedding, WeddingStatus};
use crate::model::{Millis, Number, Place, PlaceKind};
use crate::state::State;
use crate::state::cache::{CacheKey, Warm};
use futures_util::StreamExt;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Keys of one round, and how many of them are fetched at the same time.
const KEYS_MAX: usize = 512;
const AT_ONCE: usize = 8;
/// One of them takes so long at most.
const WITHIN: Duration = Duration::from_secs(10);
/// Fetched again when less than this share of its time is left.
const AHEAD_DIVISOR: u64 = 4;

/// Whether a wedding's day has come: its people are about to be written to.
fn is_near(wedding: &Wedding, now: Millis, ahead_ms: u64) -> bool {
    let is_on = match wedding.status {
        WeddingStatus::Planned | WeddingStatus::Active => true,
        WeddingStatus::Completed | WeddingStatus::Cancelled => false,
    };
    is_on && wedding.starts_at.saturating_sub_unsigned(ahead_ms) <= now && now < wedding.ends_at
}

/// How long before its end a value of this namespace is fetched again.
fn ahead(namespace: &Namespace) -> Duration {
    Duration::from_millis(millis(namespace.ttl) / AHEAD_DIVISOR)
}

/// The keys that are to be fetched now, each once, in a fixed order, `max` at most. What another fetch is under way for, or was
/// not there a moment ago, is left alone.
pub fn plan(state: &State, namespaces: &[Namespace], now: Millis, ahead_ms: u64, max: usize) -> Vec<CacheKey> {
    let directory = state.directory();
    let weddings = directory.places().filter_map(|(kind, id)| match kind {
        PlaceKind::Wedding => directory.wedding(id),
        PlaceKind::Venue => None,
    });
    let near: Vec<&Wedding> = weddings.filter(|wedding| is_near(wedding, now, ahead_ms)).collect();
    if near.is_empty() {
        return Vec::new();
    }
    let mut due = Vec::new();
    for namespace in namespaces.iter().filter(|namespace| namespace.upstream.is_some()) {
        let known = namespace.preload.map(|preload| keys(state, &near, preload));
        let mut keys: BTreeSet<String> = namespace.keys.iter().cloned().collect();
        keys.extend(known.into_iter().flatten());
        let keys = keys.iter().map(|key| CacheKey::new(&namespace.name, key));
        due.extend(keys.filter(|at| is_due(state, at, now, ahead(namespace))));
    }
    due.truncate(max);
    due
}

fn keys(state: &State, near: &[&Wedding], preload: Preload) -> BTreeSet<String> {
    let directory = state.directory();
    match preload {
        Preload::Weddings => near.iter().map(|wedding| wedding.id.clone()).collect(),
        Preload::Segments => {
            let rules = directory.segments_after(None, KEYS_MAX).into_iter();
            let listed = directory.sources().segments().map(str::to_owned);
            let scheduled = state.broadcasts().scheduled_below(Number::MAX);
            let audiences = scheduled.map(|hot| &hot.broadcast.draft.audience);
            let clauses = audiences.flat_map(|audience| audience.clauses.iter().chain(&audience.exclude));
            let named = clauses.flat_map(|clause| &clause.segments).cloned();
            rules.map(|rule| rule.name).chain(listed).chain(named).collect()
        }
        Preload::Members => {
            let members = near.iter().filter_map(|wedding| {
                directory.members(&Place {
                    kind: PlaceKind::Wedding,
                    id: wedding.id.clone(),
                })
            });
            members.flatten().map(|(user, _)| user).collect()
        }
    }
}

fn is_due(state: &State, at: &CacheKey, now: Millis, ahead: Duration) -> bool {
    let needed_until = now.saturating_add_unsigned(ahead.as_millis() as u64);
    let known = state.cache().get(&at.namespace, &at.key);
    !known.is_some_and(|slot| slot.entry.is_fresh(needed_until)) && state.cache().claims().get(at, now).is_none()
}

/// Looks and fetches for as long as the node runs; only the leader does.
pub async fn run(cache: Arc<Cache>, mut stop: watch::Receiver<bool>) {
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = stop.changed() => return,
            _ = look.tick() => {}
        }
        if cache.handle.leadership().is_leader {
            tokio::select! {
                _ = stop.changed() => return,
                () = cache.preload() => {}
            }
        }
    }
}

impl Cache {
    async fn preload(self: &Arc<Self>) {
        let (config, now) = (self.config(), self.handle.log_time());
        let ahead_ms = millis(config.preload_ahead);
        let due = self
            .handle
            .read(|state| plan(state, &config.namespaces, now, ahead_ms, KEYS_MAX));
        let fetches = due.into_iter().map(|at| self.warm(at));
        futures_util::stream::iter(fetches)
            .buffer_unordered(AT_ONCE)
            .for_each(|()| std::future::ready(()))
            .await;
    }

    /// Fetches a key before anybody asks, for all nodes.
    async fn warm(self: &Arc<Self>, at: CacheKey) {
        let Some(space) = self.spaces.get(&*at.namespace).cloned() else {
            return;
        };
        let wanted = Wanted {
            known: self.look(&at).map(|(entry, _)| entry),
            ahead: ahead(&space.settings),
            warm: Warm::Everywhere,
            at,
        };
        match self.fetch(&space, wanted, clock::now() + WITHIN).await {
            Fetched::Look | Fetched::Brought(_) | Fetched::Absent => {}
            Fetched::Failed(error) => tracing::debug!(%error, "what a wedding needs waits for the next round"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::plan;
    use crate::cache::Namespace;
    use crate::cache::settings::Preload;
    use crate::model::directory::{Segment, User, Wedding, WeddingStatus};
    use crate::model::{Millis, Place, PlaceKind};
    use crate::state::cache::{CacheChange, CacheKey, Lifetime, Limits, Put, Value, Warm};
    use crate::state::command::Change;
    use crate::state::{Command, State};

    const START: Millis = 1_813_435_200_000;
    const HOUR: Millis = 3_600_000;
    const AHEAD: u64 = 2 * 3_600_000;

    fn wedding(id: &str, starts_at: Millis, status: WeddingStatus) -> Change {
        Change::PutWedding(Wedding {
            id: id.into(),
            name: id.into(),
            venue: None,
            timezone: "UTC".into(),
            starts_at,
            ends_at: starts_at + 6 * HOUR,
            guests_expected: 10,
            status,
        })
    }

    fn state() -> State {
        let member = |wedding: &str, user: &str| {
            let place = Place {
                kind: PlaceKind::Wedding,
                id: wedding.into(),
            };
            Change::PutMember(place, user.into(), "guest".into())
        };
        let segment = Segment {
            name: "vip".into(),
            ..Segment::default()
        };
        let changes = vec![
            Change::PutUser(User::bare("ann", "guest")),
            Change::PutUser(User::bare("bob", "guest")),
            wedding("today", START, WeddingStatus::Planned),
            wedding("later", START + 5 * HOUR, WeddingStatus::Planned),
            wedding("off", START, WeddingStatus::Cancelled),
            Change::PutSegment(segment),
            member("today", "ann"),
            member("later", "bob"),
        ];
        let mut state = State::new();
        state.apply(1, START - 10 * HOUR, vec![Command::Directory(changes)], &mut Vec::new());
        state
    }

    fn namespaces() -> Vec<Namespace> {
        let all = [
            ("teams", Some(Preload::Weddings)),
            ("segments", Some(Preload::Segments)),
            ("preferences", Some(Preload::Members)),
            ("other", None),
        ];
        let each = all.map(|(name, preload)| Namespace {
            name: name.into(),
            preload,
            upstream: Some("http://app/{key}".into()),
            ..Namespace::default()
        });
        each.into()
    }

    fn check(state: &State, now: Millis, expected: &[&str]) {
        let planned = plan(state, &namespaces(), now, AHEAD, 100);
        let planned: Vec<String> = planned
            .iter()
            .map(|at| format!("{}/{}", at.namespace, at.key))
            .collect();
        assert_eq!(planned, expected);
    }

    #[test]
    fn two_hours_before_a_wedding_and_until_its_end_all_it_needs_is_due() {
        let state = state();
        check(&state, START - 2 * HOUR - 1, &[]);
        check(
            &state,
            START - 2 * HOUR,
            &["teams/today", "segments/vip", "preferences/ann"],
        );
        let both = [
            "teams/later",
            "teams/today",
            "segments/vip",
            "preferences/ann",
            "preferences/bob",
        ];
        check(&state, START + 4 * HOUR, &both);
        check(
            &state,
            START + 6 * HOUR,
            &["teams/later", "segments/vip", "preferences/bob"],
        );
        check(&state, START + 11 * HOUR, &[]);
        assert_eq!(plan(&state, &namespaces(), START, AHEAD, 2).len(), 2);
        let without: Vec<Namespace> = namespaces()
            .into_iter()
            .map(|namespace| Namespace {
                upstream: None,
                ..namespace
            })
            .collect();
        assert!(
            plan(&state, &without, START, AHEAD, 100).is_empty(),
            "there is nobody to ask"
        );
    }

    #[test]
    fn what_is_fresh_for_long_enough_is_not_due() {
        let mut state = state();
        let value = Value {
            content_type: String::new(),
            body: "x".into(),
        };
        let put = Put {
            at: CacheKey::new("teams", "today"),
            digest: value.digest(),
            value,
            life: Lifetime {
                fresh_ms: 300_000,
                stale_ms: 0,
            },
            validator: None,
            warm: Warm::Everywhere,
            limits: Limits {
                entries: 9,
                bytes: 1 << 20,
                all_entries: 9,
                all_bytes: 1 << 20,
            },
            claim: None,
        };
        let command = Command::Cache(Box::new(CacheChange::Put(put)));
        state.apply(2, START, vec![command], &mut Vec::new());
        // five minutes, fetched again in the last quarter of them
        check(&state, START + 224_000, &["segments/vip", "preferences/ann"]);
        check(
            &state,
            START + 226_000,
            &["teams/today", "segments/vip", "preferences/ann"],
        );
    }
}
