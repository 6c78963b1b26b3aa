//! Broadcasts that may still change: their recipients and receipt ladders, and the blocks that lead back to older ones.
//!
//! What has left memory is read from its rows. Which broadcasts are *hot* follows from the log alone (their sizes add up to
//! at most [`HOT_BYTES`]), so that every node decides alike.

use super::effect::{Release, ReleaseKind};
use super::outcome::Refused;
use super::rows::Broken;
use crate::model::broadcast::Status;
use crate::model::{Broadcast, Millis, NodeId, Number, Position, Priority, Step, UserNumber};
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Newest broadcasts whose ledgers stay in memory: about this many bytes of them. Unit tests get by with little, so that they meet
/// what has left memory; the nodes of a cluster are of one build.
pub const HOT_BYTES: u64 = if cfg!(test) { 1 << 20 } else { 96 << 20 };
/// Positions of one block.
pub const BLOCK: u64 = 256;
/// What a broadcast costs beside its texts and recipients.
const BASE_BYTES: u64 = 512;

/// What happened to some recipients at one time on one node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub at: Millis,
    pub node: NodeId,
    pub step: Step,
    pub users: RoaringBitmap,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    pub answer: String,
    pub at: Millis,
    pub node: NodeId,
    pub late: bool,
}

/// Who got how far. Each step's bitmap holds those of the later steps too.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    pub steps: [RoaringBitmap; 4],
    /// First and last time of each step.
    pub times: [Option<(Millis, Millis)>; 4],
    /// Per recipient, for critical and high: times and nodes.
    pub events: Vec<Event>,
    pub answers: BTreeMap<UserNumber, Answer>,
}

impl Ledger {
    /// Takes a step for `users` and the steps that it implies. Says whether anything is new.
    pub fn advance(&mut self, step: Step, users: &RoaringBitmap, at: Millis, node: NodeId, detailed: bool) -> bool {
        let mut changed = false;
        for implied in Step::ALL.into_iter().take(step.index() + 1) {
            let fresh = users - &self.steps[implied.index()];
            if fresh.is_empty() {
                continue;
            }
            changed = true;
            self.steps[implied.index()] |= &fresh;
            let times = self.times[implied.index()].get_or_insert((at, at));
            *times = (times.0.min(at), times.1.max(at));
            if detailed {
                self.events.push(Event {
                    at,
                    node,
                    step: implied,
                    users: fresh,
                });
            }
        }
        changed
    }

    pub fn count(&self, step: Step) -> u64 {
        self.steps[step.index()].len()
    }

    /// The last step somebody took.
    pub fn step(&self, user: UserNumber) -> Option<Step> {
        Step::ALL
            .into_iter()
            .rev()
            .find(|step| self.steps[step.index()].contains(user))
    }

    /// When and where somebody took a step, where that is kept.
    pub fn detail(&self, user: UserNumber, step: Step) -> Option<(Millis, NodeId)> {
        if step == Step::Acknowledged {
            return self.answers.get(&user).map(|answer| (answer.at, answer.node));
        }
        let event = self
            .events
            .iter()
            .find(|event| event.step == step && event.users.contains(user))?;
        Some((event.at, event.node))
    }

    /// Merges what came after the ledger had left memory.
    pub fn merge(&mut self, late: &Self) {
        for step in Step::ALL {
            let index = step.index();
            self.steps[index] |= &late.steps[index];
            self.times[index] = match (self.times[index], late.times[index]) {
                (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
                (a, b) => a.or(b),
            };
        }
        self.events.extend(late.events.iter().cloned());
        for (user, answer) in &late.answers {
            self.answers.entry(*user).or_insert_with(|| answer.clone());
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        bincode::serialize(self).unwrap_or_default()
    }

    pub fn decode(value: &[u8]) -> Result<Self, Broken> {
        bincode::deserialize(value).map_err(|error| Broken {
            key: "ledger".into(),
            detail: error.to_string(),
        })
    }
}

/// A broadcast with its recipients and how far they are.
#[derive(Clone, Debug)]
pub struct Hot {
    pub broadcast: Arc<Broadcast>,
    pub recipients: Arc<RoaringBitmap>,
    /// In the audience, taken out again by `exclude`.
    pub excluded: Arc<RoaringBitmap>,
    pub ledger: Arc<Ledger>,
}

impl Hot {
    /// The broadcast's first release; `None` while it is scheduled.
    pub fn release(&self) -> Option<Release> {
        let broadcast = &self.broadcast;
        Some(Release {
            position: broadcast.position?,
            priority: broadcast.draft.priority,
            kind: ReleaseKind::Broadcast,
            escalated: false,
            released_at: broadcast.accepted_at,
            broadcast: broadcast.clone(),
            recipients: self.recipients.clone(),
        })
    }

    /// Why this answer of this user is not taken.
    pub fn refuses(&self, user: UserNumber, answer: &str) -> Option<Refused> {
        if !self.recipients.contains(user) {
            return Some(Refused::NotARecipient);
        }
        let asked = self.broadcast.draft.acknowledge.as_ref()?;
        let is_known = asked.answers.is_empty() || asked.answers.iter().any(|known| known == answer);
        (!is_known).then(|| Refused::UnknownAnswer(asked.answers.join(", ")))
    }

    /// Done: acknowledged where that was asked for, else received.
    pub fn done(&self) -> &RoaringBitmap {
        let step = if self.broadcast.draft.acknowledge.is_some() {
            Step::Acknowledged
        } else {
            Step::Received
        };
        &self.ledger.steps[step.index()]
    }

    pub fn status(&self, now: Millis) -> Status {
        if self.broadcast.position.is_none() {
            return Status::Scheduled;
        }
        let step = if self.broadcast.draft.acknowledge.is_some() {
            Step::Acknowledged
        } else {
            Step::Received
        };
        let complete = self.done().len() >= self.recipients.len();
        let last = self.ledger.times[step.index()].map_or(self.broadcast.accepted_at, |(_, last)| last);
        if complete && last <= self.broadcast.expires_at {
            Status::Completed
        } else if now >= self.broadcast.expires_at {
            Status::Expired
        } else {
            Status::Released
        }
    }

    /// Per-recipient times are kept for these.
    pub fn detailed(broadcast: &Broadcast) -> bool {
        broadcast.draft.acknowledge.is_some() || broadcast.draft.priority <= Priority::High
    }
}

/// One entry of the journal: a release, with its broadcast where it is the first of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JournalEntry {
    pub position: Position,
    pub priority: Priority,
    pub kind: ReleaseKind,
    pub escalated: bool,
    pub released_at: Millis,
    pub number: Number,
    pub broadcast: Option<Arc<Broadcast>>,
    pub recipients: Arc<RoaringBitmap>,
    pub excluded: Arc<RoaringBitmap>,
}

impl JournalEntry {
    /// The release, where the entry carries its broadcast.
    pub fn release(&self) -> Option<Release> {
        Some(Release {
            position: self.position,
            priority: self.priority,
            kind: self.kind,
            escalated: self.escalated,
            released_at: self.released_at,
            broadcast: self.broadcast.clone()?,
            recipients: self.recipients.clone(),
        })
    }

    fn bytes(&self) -> u64 {
        self.broadcast
            .as_ref()
            .map_or(0, |broadcast| size_of_broadcast(broadcast))
            + self.recipients.serialized_size() as u64
    }
}

fn size_of_broadcast(broadcast: &Broadcast) -> u64 {
    let draft = &broadcast.draft;
    let texts: usize = draft
        .texts
        .iter()
        .map(|(_, text)| text.title.len() + text.body.len())
        .sum();
    let data = draft.data.as_ref().map_or(0, String::len);
    BASE_BYTES + (draft.title.len() + draft.body.len() + texts + data) as u64
}

/// The people of 256 positions, and until when the last of these broadcasts is of interest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Block {
    pub union: RoaringBitmap,
    /// When the last of them has expired.
    pub expires_at: Millis,
    /// When the newest of them was released.
    pub newest_at: Millis,
}

#[derive(Debug, Default)]
pub struct Broadcasts {
    /// By number, newest last.
    pub(super) hot: BTreeMap<Number, Hot>,
    pub(super) hot_bytes: u64,
    /// Costs in the order of numbers, so that the oldest can be let go.
    pub(super) costs: VecDeque<(Number, u64)>,
    pub(super) blocks: BTreeMap<u64, Block>,
    /// Entries not yet given to the journal, by priority.
    new: [Vec<Arc<JournalEntry>>; 4],
}

/// A journal row holds about this much, below the size at which the store splits values.
const JOURNAL_ROW_BYTES: u64 = 48 << 10;

impl Broadcasts {
    pub fn get(&self, number: Number) -> Option<&Hot> {
        self.hot.get(&number)
    }

    /// In memory, from this number on, oldest first.
    pub fn from(&self, number: Number) -> impl Iterator<Item = &Hot> {
        self.hot.range(number..).map(|(_, hot)| hot)
    }

    /// Newest first.
    pub fn newest(&self) -> impl Iterator<Item = &Hot> {
        self.hot.values().rev()
    }

    /// In memory, below this number, newest first.
    pub fn below(&self, number: Number) -> impl Iterator<Item = &Hot> {
        self.hot.range(..number).rev().map(|(_, hot)| hot)
    }

    /// The oldest number whose ledger is in memory.
    pub fn oldest_hot(&self) -> Option<Number> {
        self.hot.first_key_value().map(|(number, _)| *number)
    }

    /// Blocks with something for a user that has not expired, newest first: the numbers of their first positions.
    pub fn blocks_for(&self, user: UserNumber, now: Millis) -> impl Iterator<Item = Position> + '_ {
        let found = self.blocks.iter().rev();
        found
            .filter(move |(_, block)| block.expires_at > now && block.union.contains(user))
            .map(|(first, _)| first * BLOCK)
    }

    /// The first position of the newest block that begins below a position.
    pub fn block_below(&self, position: Position) -> Option<Position> {
        let last = position.checked_sub(1)? / BLOCK;
        let (block, _) = self.blocks.range(..=last).next_back()?;
        Some(block * BLOCK)
    }

    /// All blocks with something for a user, newest first.
    pub fn blocks_with(&self, user: UserNumber) -> impl Iterator<Item = Position> + '_ {
        self.blocks
            .iter()
            .rev()
            .filter(move |(_, block)| block.union.contains(user))
            .map(|(first, _)| first * BLOCK)
    }

    pub(super) fn add(&mut self, entry: JournalEntry) -> Arc<JournalEntry> {
        let entry = Arc::new(entry);
        self.index(&entry);
        self.new[entry.priority.index()].push(entry.clone());
        entry
    }

    fn index(&mut self, entry: &JournalEntry) {
        self.keep(entry);
        let block = self.blocks.entry(entry.position / BLOCK).or_default();
        block.union |= &*entry.recipients;
        block.expires_at = block
            .expires_at
            .max(entry.broadcast.as_ref().map_or(0, |broadcast| broadcast.expires_at));
        block.newest_at = block.newest_at.max(entry.released_at);
    }

    fn keep(&mut self, entry: &JournalEntry) {
        let Some(broadcast) = &entry.broadcast else { return };
        let cost = entry.bytes();
        let hot = Hot {
            broadcast: broadcast.clone(),
            recipients: entry.recipients.clone(),
            excluded: entry.excluded.clone(),
            ledger: Arc::default(),
        };
        self.hot.insert(entry.number, hot);
        self.costs.push_back((entry.number, cost));
        self.hot_bytes += cost;
    }

    /// Lets the oldest go until the rest fits; `cooled` gets each one's ledger as it is then.
    pub(super) fn cool(&mut self, mut cooled: impl FnMut(Number, Arc<Ledger>)) {
        while self.hot_bytes > HOT_BYTES
            && let Some((number, cost)) = self.costs.pop_front()
        {
            self.hot_bytes -= cost;
            if let Some(hot) = self.hot.remove(&number) {
                cooled(number, hot.ledger);
            }
        }
    }

    pub(super) fn waiting(&self) -> usize {
        self.new.iter().map(Vec::len).sum()
    }

    /// Journal rows of what is new: first position and value, in blocks.
    pub(super) fn take_journal(&mut self) -> Vec<(Priority, Position, Vec<u8>)> {
        let mut rows = Vec::new();
        for priority in Priority::ALL {
            let entries = std::mem::take(&mut self.new[priority.index()]);
            let mut from = 0;
            let mut bytes = 0;
            for (at, entry) in entries.iter().enumerate() {
                bytes += entry.bytes();
                if bytes >= JOURNAL_ROW_BYTES || at + 1 == entries.len() {
                    let block = &entries[from..=at];
                    rows.push((priority, block[0].position, encode_journal(block)));
                    (from, bytes) = (at + 1, 0);
                }
            }
        }
        rows
    }

    /// Start-up: a journal row's entries that are still hot.
    pub(super) fn load(&mut self, entries: &[JournalEntry], hot_from: Number) {
        let hot = entries.iter().filter(|entry| entry.number >= hot_from);
        hot.for_each(|entry| self.keep(entry));
    }

    /// Start-up: rows come by priority, costs are wanted by number.
    pub(super) fn loaded(&mut self) {
        self.costs.make_contiguous().sort_unstable();
    }
}

fn encode_journal(entries: &[Arc<JournalEntry>]) -> Vec<u8> {
    bincode::serialize(entries).unwrap_or_default()
}

/// Reads a journal row.
pub fn decode_journal(value: &[u8]) -> Result<Vec<JournalEntry>, Broken> {
    bincode::deserialize(value).map_err(|error| Broken {
        key: "journal".into(),
        detail: error.to_string(),
    })
}
