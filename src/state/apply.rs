//! The state and its one door: [`State::apply`].

use super::alerts::Alerts;
use super::audiences::{Remembered, Resolved, check_known, resolve};
use super::audit::{Audit, Entry};
use super::broadcasts::{Broadcasts, Moves};
use super::cache::Index;
use super::cluster::{NodeRecord, Nodes};
use super::command::{Change, NodeStarted, Tick};
use super::directory::{Directory, Touched};
use super::keys::Keys;
use super::ledger::Ledger;
use super::outbox::Outbox;
use super::presence::Presence;
use super::rates::Rates;
use super::retention::Kept;
use super::rows::Counters;
use super::tokens::Tokens;
use super::{Command, Effect, Outcome, Refused, RowKey};
use crate::model::{Broadcast, Draft, Millis, Number, Position};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Everything the cluster agrees on.
#[derive(Debug, Default)]
pub struct State {
    pub(super) applied: u64,
    pub(super) counters: Counters,
    pub(super) directory: Directory,
    pub(super) broadcasts: Broadcasts,
    pub(super) keys: Keys,
    pub(super) rates: Rates,
    pub(super) audit: Audit,
    pub(super) presence: Presence,
    pub(super) nodes: Nodes,
    pub(super) tokens: Tokens,
    pub(super) remembered: Remembered,
    /// What waits for its time: when, and which broadcast. Made anew from the rows at a start.
    pub(super) due: BTreeSet<(Millis, Number)>,
    /// When each of the released ones among them is.
    pub(super) waits: BTreeMap<Number, Millis>,
    pub(super) outbox: Outbox,
    pub(super) cache: Index,
    pub(super) alerts: Alerts,
    /// Rows to be made again before the next batch.
    pub(super) changed: BTreeSet<RowKey>,
    /// Receipts for broadcasts that have left memory, until the next batch: where each stands, and what came.
    pub(super) late: Vec<(Position, Ledger)>,
    /// Ledgers that have left memory with changes that no batch has had.
    pub(super) cooled: Vec<(Position, Arc<Ledger>)>,
}

impl State {
    /// The state before the first entry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies the entry at `index`. `at` is the leader's log time; it never goes back.
    pub fn apply(&mut self, index: u64, at: Millis, commands: Vec<Command>, effects: &mut Vec<Effect>) -> Vec<Outcome> {
        self.applied = index;
        self.counters.log_time = self.counters.log_time.max(at);
        self.changed.insert(RowKey::Counters);
        let at = self.counters.log_time;
        let changed = &mut self.changed;
        self.keys.forget(at, |row| {
            changed.insert(row);
        });
        self.rates.forget(at, |row| {
            changed.insert(row);
        });
        let outcomes = commands
            .into_iter()
            .map(|command| self.command(command, effects))
            .collect();
        self.cool();
        outcomes
    }

    fn cool(&mut self) {
        let mut moves = Moves::default();
        self.broadcasts.cool(self.counters.log_time, &mut moves);
        self.note_moves(moves);
    }

    /// The rows of what left memory with changes that no batch has had are not lost.
    pub(super) fn note_moves(&mut self, moves: Moves) {
        for (position, ledger) in moves.left {
            if self.changed.remove(&RowKey::Ledger(position)) {
                self.cooled.push((position, ledger));
            }
        }
        self.changed.extend(moves.pinned.into_iter().map(RowKey::Pinned));
    }

    /// An entry without commands (a new leader's first, a change of members).
    pub fn skip(&mut self, index: u64) {
        self.applied = index;
    }

    fn command(&mut self, command: Command, effects: &mut Vec<Effect>) -> Outcome {
        match command {
            Command::Found(found) => {
                if self.counters.epoch == 0 {
                    (self.counters.epoch, self.counters.salt) = (found.epoch, found.salt);
                    effects.push(Effect::Named(found.epoch));
                }
                Outcome::Done
            }
            Command::Publish(publish) => self.publish(*publish, effects).unwrap_or_else(Outcome::Refused),
            Command::Cancel(cancel) => self.cancel(&cancel, effects).unwrap_or_else(Outcome::Refused),
            Command::Redeliver(redeliver) => self.redeliver(&redeliver, effects).unwrap_or_else(Outcome::Refused),
            Command::Settle(settle) => self.settle(*settle),
            Command::Claim(claim) => self.claim(claim),
            Command::Called(called) => self.called(called),
            Command::Directory(changes) => self.directory_changes(changes, effects),
            Command::Acknowledge(acknowledged) => self.acknowledge(acknowledged),
            Command::Receipts(receipts) => self.receipts(receipts, effects),
            Command::Presence(delta) => {
                self.presence.change(delta, self.counters.log_time, &mut self.changed);
                Outcome::Done
            }
            Command::NodeStarted(started) => self.node_started(started, effects),
            Command::NodeLost { node, incarnation } => {
                self.presence
                    .lose(node, incarnation, self.counters.log_time, &mut self.changed);
                Outcome::Done
            }
            Command::Tick(tick) => self.tick(tick, effects),
            Command::Zones(tables) => {
                self.directory.zones.replace(tables, &mut self.changed);
                self.look_earlier();
                Outcome::Done
            }
            Command::CreateToken(new) => self.create_token(*new).unwrap_or_else(Outcome::Refused),
            Command::RevokeToken(id) => self.revoke_token(&id, effects).unwrap_or_else(Outcome::Refused),
            Command::Audit(entries) => self.note(entries),
            Command::Cache(change) => self.cache_change(*change, effects),
            Command::Alert(report) => self.take_report(*report),
            Command::Probe(_) => Outcome::Done,
        }
    }

    fn directory_changes(&mut self, changes: Vec<Change>, effects: &mut Vec<Effect>) -> Outcome {
        let mut touched = Touched::default();
        let leaving: Vec<String> = changes.iter().filter_map(Change::erases).map(str::to_owned).collect();
        match self.directory.change(changes, &mut touched) {
            Err(faults) => Outcome::NotChanged(faults),
            Ok(done) => {
                self.changed.append(&mut touched.rows);
                if touched.zones {
                    self.look_earlier();
                }
                for at in touched.cached {
                    self.cache_drop(&at, effects);
                }
                for at in touched.shortened {
                    self.cache_doubt(&at, effects);
                }
                for user in touched.erased {
                    self.presence.forget(user, &mut self.changed);
                    effects.push(Effect::Erased(user));
                }
                self.erase_names(&leaving);
                for user in leaving {
                    self.revoke_tokens_of(&user, effects);
                }
                self.counters.users = self.directory.next_number();
                Outcome::Changed(done)
            }
        }
    }

    fn note(&mut self, entries: Vec<Entry>) -> Outcome {
        let changed = &mut self.changed;
        for entry in entries {
            self.audit.add(entry, |row| {
                changed.insert(row);
            });
        }
        Outcome::Done
    }

    /// The names of users who are gone leave what is kept of senders, too.
    fn erase_names(&mut self, users: &[String]) {
        if users.is_empty() {
            return;
        }
        let changed = &mut self.changed;
        let mut touch = |row| {
            changed.insert(row);
        };
        self.audit.erase(users, &mut touch);
        users.iter().for_each(|user| self.rates.erase(user, &mut touch));
    }

    fn node_started(&mut self, started: NodeStarted, effects: &mut Vec<Effect>) -> Outcome {
        let NodeStarted {
            node,
            incarnation,
            url,
            version,
        } = started;
        let watermarks = self.nodes.get(node).map_or([0; 4], |record| record.watermarks);
        self.nodes.nodes.insert(
            node,
            NodeRecord {
                incarnation,
                url,
                version,
                watermarks,
            },
        );
        self.presence.lose(
            node,
            incarnation.saturating_sub(1),
            self.counters.log_time,
            &mut self.changed,
        );
        self.changed.insert(RowKey::Node(node));
        effects.push(Effect::Node(node));
        Outcome::Done
    }

    /// What is due happens; old broadcasts go, in the order of positions; a bounded number of both at a time.
    fn tick(&mut self, tick: Tick, effects: &mut Vec<Effect>) -> Outcome {
        self.fall_due(tick, effects);
        self.tidy();
        self.forget_calls();
        self.forget_tokens();
        self.alerts_due();
        self.end_cached(effects);
        let Counters {
            log_time: now,
            next,
            forgotten,
            ..
        } = self.counters;
        let since = now.saturating_sub_unsigned(tick.kept_ms);
        let position = self.broadcasts.forgettable(forgotten, next, Kept { now, since });
        if position > forgotten {
            self.counters.forgotten = position;
            let changed = &mut self.changed;
            self.broadcasts.forget(position, next, |row| {
                changed.insert(row);
            });
            effects.push(Effect::Forgotten(position));
        }
        Outcome::Done
    }

    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// The last entry's log time.
    pub fn log_time(&self) -> Millis {
        self.counters.log_time
    }

    /// Names this history: cursors of another one are of no use here.
    pub fn epoch(&self) -> u32 {
        self.counters.epoch
    }

    pub fn salt(&self) -> u16 {
        self.counters.salt
    }

    /// The position that the next release gets.
    pub fn next_position(&self) -> u64 {
        self.counters.next
    }

    /// Everything at or below this position is no longer kept.
    pub fn forgotten(&self) -> Position {
        self.counters.forgotten
    }

    /// Whether there is a broadcast of this number, in memory or on disk.
    pub fn is_kept(&self, number: Number) -> bool {
        self.broadcasts.scheduled.contains_key(&number) || self.place(number).is_some()
    }

    /// Where a broadcast that is kept stands; `None` while it is scheduled.
    pub fn place(&self, number: Number) -> Option<Position> {
        let position = self.broadcasts.place(number)?;
        self.counters.is_kept(position).then_some(position)
    }

    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    pub fn broadcasts(&self) -> &Broadcasts {
        &self.broadcasts
    }

    pub fn presence(&self) -> &Presence {
        &self.presence
    }

    pub fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    pub fn rates(&self) -> &Rates {
        &self.rates
    }

    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// A broadcast that is still in memory.
    pub fn broadcast(&self, number: Number) -> Option<Arc<Broadcast>> {
        self.broadcasts.get(number).map(|hot| hot.broadcast.clone())
    }

    /// Whom a draft would reach now.
    pub fn resolve(&self, draft: &Draft) -> Result<Resolved, Refused> {
        let resolved = resolve(&self.directory, &draft.audience, self.counters.log_time)?;
        self.check_escalations(draft)?;
        Ok(resolved)
    }

    /// Whom a step of an escalation reaches is found when it is due; that its places exist is the sender's to hear now.
    pub(super) fn check_escalations(&self, draft: &Draft) -> Result<(), Refused> {
        let steps = draft.acknowledge.iter().flat_map(|asked| &asked.escalate);
        steps
            .into_iter()
            .try_for_each(|step| check_known(&self.directory, &step.to))
    }
}
