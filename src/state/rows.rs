//! What the state keeps on disk: one typed key per row. `storage::schema` turns keys into bytes, [`State`] makes and reads values.
//!
//! A value's first byte is its version; the rest is bincode of a struct that is frozen once released.

use super::State;
use super::broadcasts::Hot;
use super::cache::CacheKey;
use super::journal::{self, JournalEntry};
use super::ledger::Ledger;
use super::presence::AtNode;
use crate::model::{Broadcast, Millis, NodeId, Number, Place, PlaceKind, Position, Priority, UserNumber};
use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// A row's key. The order of variants and fields is the order on disk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RowKey {
    /// Counters, epoch and salt: one row.
    Counters,
    Node(NodeId),
    /// Who is connected to a node.
    Presence(NodeId),
    /// Since when users without a session are gone: users of one chunk of 1,024 numbers.
    Offline(u32),
    Venue(String),
    Wedding(String),
    Segment(String),
    User(UserNumber),
    Preferences(UserNumber),
    /// Kind, the place's id, and the member's number.
    Member(PlaceKind, String, UserNumber),
    /// A broadcast that waits for its time: when that is, and what it says.
    Scheduled(Number),
    /// Where a broadcast that was scheduled stands.
    Moved(Number),
    /// An older broadcast that has to stay in memory: its first release.
    Pinned(Position),
    /// Called off and not expired yet: until when.
    Cancelled(Number),
    /// Releases of one priority, in order, from this position on; a block holds what one write-behind round found. These rows and
    /// the two kinds of ledgers are removed by storage, little by little, once their broadcasts are forgotten.
    Journal(Priority, Position),
    /// Who is meant by 256 positions in a row: a start without a cursor opens only blocks with the user's bit.
    Block(u64),
    /// Who got how far with the broadcast that stands at a position.
    Ledger(Position),
    /// A late receipt of a broadcast whose ledger has left memory; merged when read.
    LedgerLate(Position, u64),
    /// Idempotency keys taken by the log entries up to this index since the last such row.
    Keys(u64),
    /// What the clocks of a zone show.
    Zone(String),
    /// What a token's id stands for.
    Token(String),
    /// When a sender published within the last day.
    Rate(String),
    /// Who was refused or changed what, by number.
    Audit(u64),
    /// A call of an output, by its id.
    Call(u64),
    /// What is known of a cached value: namespace and key.
    Cache(String, String),
    /// The value itself.
    CacheValue(String, String),
    /// Who is fetching it.
    Fetch(String, String),
    /// What the directory has from it.
    Source(String, String),
    /// A namespace of the cache that was emptied, while its entries leave: the last version that is meant.
    Emptied(String),
    /// A rule that is broken somewhere, or was a short while ago, by its name.
    Alert(String),
    /// Alerts that are over: one row.
    AlertsPast,
}

/// A changed row; no value removes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub key: RowKey,
    pub value: Option<Bytes>,
}

/// A row on disk cannot be read: the store is damaged or from another version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("row {key} is broken: {detail}")]
pub struct Broken {
    pub key: String,
    pub detail: String,
}

/// The few numbers that the whole state hangs on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// The next broadcast's number and the next release's position; 0 is never given.
    pub next: u64,
    pub log_time: Millis,
    pub epoch: u32,
    pub salt: u16,
    /// The next user's number.
    pub users: UserNumber,
    /// Releases from here on are in memory.
    pub hot_from: Position,
    /// Everything at or below this position is no longer kept, though some of its rows may still be there.
    pub forgotten: Position,
    /// The last call of an output.
    pub calls: u64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            next: 1,
            log_time: 0,
            epoch: 0,
            salt: 0,
            users: 0,
            hot_from: 0,
            forgotten: 0,
            calls: 0,
        }
    }
}

impl Counters {
    /// Whether what stands at a position is kept. Nothing stands at 0.
    pub fn is_kept(&self, position: Position) -> bool {
        self.forgotten < position && position < self.next
    }
}

/// Versions of row values.
const VERSION: u8 = 4;

fn value(encoded: Vec<u8>) -> Bytes {
    let mut bytes = Vec::with_capacity(encoded.len() + 1);
    bytes.push(VERSION);
    bytes.extend_from_slice(&encoded);
    bytes.into()
}

pub(super) fn encode<T: Serialize>(row: &T) -> Bytes {
    // Writing to memory cannot fail, and every row type has a known length.
    value(bincode::serialize(row).unwrap_or_default())
}

/// The value behind the version byte.
pub fn payload<'a>(key: &RowKey, value: &'a [u8]) -> Result<&'a [u8], Broken> {
    match value.split_first() {
        Some((&VERSION, rest)) => Ok(rest),
        Some((version, _)) => Err(broken(key, format!("unknown version {version}"))),
        None => Err(broken(key, "no value".into())),
    }
}

pub(super) fn decode<T: DeserializeOwned>(key: &RowKey, value: &[u8]) -> Result<T, Broken> {
    bincode::deserialize(payload(key, value)?).map_err(|error| broken(key, error.to_string()))
}

fn broken(key: &RowKey, detail: String) -> Broken {
    Broken {
        key: format!("{key:?}"),
        detail,
    }
}

impl State {
    /// How many rows wait to be taken.
    pub fn dirty(&self) -> usize {
        self.changed.len() + self.late.len() + self.cooled.len() + self.broadcasts.waiting()
    }

    /// The rows that changed since the last call, as they are now.
    pub fn take_rows(&mut self) -> Vec<Row> {
        self.counters.hot_from = self.broadcasts.hot_from().unwrap_or(self.counters.next);
        self.broadcasts.blocks.unite();
        let mut rows: Vec<Row> = Vec::with_capacity(self.changed.len() + 8);
        for (priority, position, encoded) in self.broadcasts.take_journal() {
            rows.push(Row {
                key: RowKey::Journal(priority, position),
                value: Some(value(encoded)),
            });
        }
        for (order, (position, late)) in std::mem::take(&mut self.late).into_iter().enumerate() {
            let key = RowKey::LedgerLate(position, self.applied << 16 | order as u64);
            rows.push(Row {
                key,
                value: Some(value(late.encode())),
            });
        }
        for (position, ledger) in std::mem::take(&mut self.cooled) {
            rows.push(Row {
                key: RowKey::Ledger(position),
                value: Some(encode(&*ledger)),
            });
        }
        if self.keys.changed() {
            let encoded = self.keys.take_row(self.applied);
            rows.push(Row {
                key: RowKey::Keys(self.applied),
                value: Some(value(encoded)),
            });
        }
        self.cache.forget_values(self.changed.iter());
        for key in std::mem::take(&mut self.changed) {
            let value = self.row(&key);
            rows.push(Row { key, value });
        }
        rows
    }

    /// A row's value as it is now; `None` when there is no such thing any more.
    fn row(&self, key: &RowKey) -> Option<Bytes> {
        let directory = &self.directory;
        match key {
            RowKey::Counters => Some(encode(&self.counters)),
            RowKey::Node(node) => self.nodes.get(*node).map(encode),
            RowKey::Presence(node) => self
                .presence
                .nodes
                .get(node)
                .map(|at| encode(&(at.incarnation, &at.users))),
            RowKey::Offline(chunk) => Some(self.presence.chunk(*chunk))
                .filter(|users| !users.is_empty())
                .map(|users| encode(&users)),
            RowKey::Venue(id) => directory.venue(id).map(encode),
            RowKey::Wedding(id) => directory.wedding(id).map(encode),
            RowKey::Segment(name) => directory.segment(name).map(encode),
            RowKey::User(number) => directory.user(*number).map(|user| encode(&user)),
            RowKey::Preferences(number) => directory.preferred().own(*number).map(encode),
            RowKey::Member(kind, id, user) => directory
                .role_at(
                    &Place {
                        kind: *kind,
                        id: id.clone(),
                    },
                    *user,
                )
                .map(|role| encode(&role)),
            RowKey::Block(block) => self.broadcasts.blocks.get(*block).map(encode),
            RowKey::Ledger(position) => self.broadcasts.ledger_at(*position).map(encode),
            RowKey::Scheduled(number) => {
                let scheduled = self.broadcasts.scheduled.get(number);
                scheduled.map(|scheduled| encode(&(scheduled.at, &*scheduled.hot.broadcast)))
            }
            RowKey::Moved(number) => self.broadcasts.moved.get(number).map(encode),
            RowKey::Pinned(position) => {
                let pinned = self.broadcasts.pinned.get(position).and_then(Hot::entry);
                pinned.map(|entry| encode(&entry))
            }
            RowKey::Cancelled(number) => self.broadcasts.cancelled.get(number).map(encode),
            RowKey::Zone(name) => directory.zones().get(name).map(encode),
            RowKey::Token(id) => self.tokens.get(id).map(encode),
            RowKey::Rate(sender) => self.rates.row(sender).map(encode),
            RowKey::Audit(number) => self.audit.row(*number).map(encode),
            RowKey::Call(call) => self.outbox.get(*call).map(encode),
            RowKey::Cache(namespace, key) => self.cache.entry_row(namespace, key),
            RowKey::CacheValue(namespace, key) => self.cache.value_row(namespace, key),
            RowKey::Fetch(namespace, key) => self.cache.claim_row(namespace, key),
            RowKey::Source(namespace, key) => {
                let source = directory.source_at(&CacheKey::new(namespace, key));
                source.map(|source| encode(&source))
            }
            RowKey::Emptied(namespace) => self.cache.floor_row(namespace),
            RowKey::Alert(rule) => self.alerts.get(rule).map(encode),
            RowKey::AlertsPast => Some(encode(self.alerts.recent())),
            // These are never changed in place; a mark means that they are gone.
            RowKey::Journal(..) | RowKey::LedgerLate(..) | RowKey::Keys(_) => None,
        }
    }

    /// Start-up: one row from disk. Rows come in the order of their keys.
    pub fn load(&mut self, key: &RowKey, value: &[u8]) -> Result<(), Broken> {
        let directory = &mut self.directory;
        match key {
            RowKey::Counters => {
                self.counters = decode(key, value)?;
                directory.reserve_numbers(self.counters.users);
            }
            RowKey::Node(node) => {
                self.nodes.nodes.insert(*node, decode(key, value)?);
            }
            RowKey::Presence(node) => {
                let (incarnation, users) = decode(key, value)?;
                self.presence.nodes.insert(*node, AtNode { incarnation, users });
            }
            RowKey::Offline(_) => self
                .presence
                .gone_since
                .extend(decode::<Vec<(UserNumber, Millis)>>(key, value)?),
            RowKey::Venue(_) => drop(directory.set_venue(decode(key, value)?)),
            RowKey::Wedding(_) => drop(directory.set_wedding(decode(key, value)?)),
            RowKey::Segment(name) => drop(directory.segments.insert(name.clone(), decode(key, value)?)),
            RowKey::User(number) => directory.set_user(*number, decode(key, value)?),
            RowKey::Preferences(number) => drop(directory.preferred.set(*number, decode(key, value)?)),
            RowKey::Member(kind, id, user) => {
                let role: String = decode(key, value)?;
                directory.set_member(
                    &Place {
                        kind: *kind,
                        id: id.clone(),
                    },
                    *user,
                    &role,
                );
            }
            RowKey::Scheduled(number) => {
                let (at, broadcast): (Millis, Broadcast) = decode(key, value)?;
                self.due.insert((at, *number));
                self.broadcasts.schedule(Arc::new(broadcast), at);
            }
            RowKey::Moved(number) => drop(self.broadcasts.moved.insert(*number, decode(key, value)?)),
            RowKey::Pinned(position) => {
                let entry: JournalEntry = decode(key, value)?;
                self.broadcasts
                    .pinned
                    .insert(*position, Hot::of(&entry, Arc::default()));
            }
            RowKey::Cancelled(number) => drop(self.broadcasts.cancelled.insert(*number, decode(key, value)?)),
            RowKey::Journal(..) => {
                let entries = journal::decode(payload(key, value)?)?;
                self.broadcasts.load(entries, self.counters.hot_from);
            }
            RowKey::Block(block) => self.broadcasts.blocks.load(*block, decode(key, value)?),
            RowKey::Ledger(position) => {
                if self.broadcasts.ledger_at(*position).is_some() {
                    self.broadcasts.load_ledger(*position, decode(key, value)?);
                }
            }
            // what stays in memory has all that came while it was not there
            RowKey::LedgerLate(position, _) => self.broadcasts.load_late(*position, &Self::read_ledger(key, value)?),
            RowKey::Keys(index) => self.keys.load_row(*index, payload(key, value)?)?,
            RowKey::Zone(_) => directory.zones.set(decode(key, value)?),
            RowKey::Token(id) => self.tokens.insert(id.clone(), decode(key, value)?),
            RowKey::Rate(sender) => self.rates.load(sender, decode(key, value)?),
            RowKey::Audit(number) => self.audit.load(*number, decode(key, value)?),
            RowKey::Call(call) => self.outbox.load(*call, decode(key, value)?),
            RowKey::Cache(namespace, name) => self.cache.load_entry(namespace, name, decode(key, value)?),
            RowKey::CacheValue(..) => {} // read when it is asked for
            RowKey::Fetch(namespace, name) => self.cache.load_claim(namespace, name, decode(key, value)?),
            RowKey::Source(namespace, name) => {
                directory.load_source(&CacheKey::new(namespace, name), decode(key, value)?);
            }
            RowKey::Emptied(namespace) => self.cache.load_floor(namespace, decode(key, value)?),
            RowKey::Alert(_) => self.alerts.load(decode(key, value)?),
            RowKey::AlertsPast => self.alerts.load_recent(decode(key, value)?),
        }
        Ok(())
    }

    /// Start-up: all rows are in; `applied` is the entry they stand at.
    pub fn loaded(&mut self, applied: u64) {
        self.applied = applied;
        self.broadcasts.loaded();
        self.cache.loaded();
        self.broadcasts
            .pending()
            .into_iter()
            .for_each(|number| self.wait_for(number));
    }

    /// Reads a journal row's entries.
    pub fn read_journal(key: &RowKey, value: &[u8]) -> Result<Vec<JournalEntry>, Broken> {
        journal::decode(payload(key, value)?)
    }

    /// Reads a ledger row, early or late.
    pub fn read_ledger(key: &RowKey, value: &[u8]) -> Result<Ledger, Broken> {
        Ledger::decode(payload(key, value)?)
    }

    /// A hash over what is replicated: equal on all nodes at an equal applied index.
    pub fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        bincode::serialize(&self.counters_without_memory())
            .unwrap_or_default()
            .hash(&mut hasher);
        for user in self.directory.everyone.iter() {
            self.row(&RowKey::User(user)).hash(&mut hasher);
            self.row(&RowKey::Preferences(user)).hash(&mut hasher);
        }
        for zone in self.directory.zones().iter() {
            self.row(&RowKey::Zone(zone.name.clone())).hash(&mut hasher);
        }
        for (kind, id) in self.directory.places() {
            for (user, role) in self
                .directory
                .members(&Place {
                    kind,
                    id: id.to_owned(),
                })
                .into_iter()
                .flatten()
            {
                (id, user, role).hash(&mut hasher);
            }
        }
        for (position, placed) in &self.broadcasts.hot {
            let broadcast = placed.broadcast();
            (position, broadcast.number, broadcast.log_index, broadcast.targeted).hash(&mut hasher);
            let ledger = placed.first().map(|hot| hot.ledger.encode());
            ledger.hash(&mut hasher);
        }
        for (number, scheduled) in &self.broadcasts.scheduled {
            (number, scheduled.at).hash(&mut hasher);
        }
        (&self.broadcasts.moved, &self.broadcasts.cancelled).hash(&mut hasher);
        self.broadcasts
            .pinned
            .iter()
            .for_each(|(position, hot)| (position, hot.ledger.encode()).hash(&mut hasher));
        for (node, record) in self.nodes.iter() {
            (node, &record.url, record.watermarks).hash(&mut hasher);
        }
        self.keys.len().hash(&mut hasher);
        for (id, _) in self.tokens.iter() {
            self.row(&RowKey::Token(id.to_owned())).hash(&mut hasher);
        }
        let newest = self
            .audit
            .below(None)
            .next()
            .map(|(number, entry)| (number, encode(entry)));
        newest.hash(&mut hasher);
        for (sender, times) in self.rates.iter() {
            (sender, times).hash(&mut hasher);
        }
        for (id, call) in self.outbox.iter() {
            (id, encode(call)).hash(&mut hasher);
        }
        self.cache.hash_into(&mut hasher);
        for at in self.directory.source_places() {
            (at, self.directory.source_at(at).map(|source| encode(&source))).hash(&mut hasher);
        }
        for alert in self.alerts.all() {
            encode(alert).hash(&mut hasher);
        }
        encode(self.alerts.recent()).hash(&mut hasher);
        hasher.finish()
    }

    fn counters_without_memory(&self) -> Counters {
        Counters {
            hot_from: 0,
            ..self.counters.clone()
        }
    }
}
