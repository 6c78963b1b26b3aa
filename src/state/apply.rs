//! The state and its one door: [`State::apply`].

use super::audiences::{Remembered, Resolved, resolve};
use super::audit::{Audit, Entry};
use super::broadcasts::{Answer, Broadcasts, Hot, JournalEntry, Ledger};
use super::cluster::{NodeRecord, Nodes};
use super::command::{Acknowledged, Change, NodeStarted, Publish, Receipts, Tick};
use super::directory::{Directory, Touched};
use super::keys::{Keys, Known};
use super::outcome::Acknowledgement;
use super::presence::Presence;
use super::rates::Rates;
use super::retention::Kept;
use super::rights::{self, Grant};
use super::rows::Counters;
use super::tokens::Tokens;
use super::{Command, Effect, Outcome, Refused, ReleaseKind, RowKey};
use crate::model::{Audience, Broadcast, BroadcastId, Millis, Number, Position, Step};
use std::collections::BTreeSet;
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
    remembered: Remembered,
    /// Rows to be made again before the next batch.
    pub(super) changed: BTreeSet<RowKey>,
    /// Receipts for broadcasts that have left memory, until the next batch.
    pub(super) late: Vec<(Number, Ledger)>,
    /// Ledgers that have left memory with changes that no batch has had.
    pub(super) cooled: Vec<(Number, Arc<Ledger>)>,
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
        let (changed, left) = (&mut self.changed, &mut self.cooled);
        self.broadcasts.cool(|number, ledger| {
            if changed.remove(&RowKey::Ledger(number)) {
                left.push((number, ledger));
            }
        });
        outcomes
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
            Command::Directory(changes) => self.directory_changes(changes, effects),
            Command::Acknowledge(acknowledged) => self.acknowledge(acknowledged),
            Command::Receipts(receipts) => self.receipts(receipts),
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
            Command::CreateToken(new) => self.create_token(*new).unwrap_or_else(Outcome::Refused),
            Command::RevokeToken(id) => self.revoke_token(&id, effects).unwrap_or_else(Outcome::Refused),
            Command::Audit(entries) => self.note(entries),
        }
    }

    fn publish(&mut self, publish: Publish, effects: &mut Vec<Effect>) -> Result<Outcome, Refused> {
        let Publish {
            draft,
            sender,
            key,
            expires_after_ms,
            grant,
        } = publish;
        match self.keys.look(&key) {
            Known::Same(number) => return Ok(Outcome::Published { number, replayed: true }),
            Known::OtherBody => return Err(Refused::KeyReused),
            Known::No if !self.keys.fits(&key) => return Err(Refused::KeysFull(key.table_bytes_max)),
            Known::No => {}
        }
        let at = self.counters.log_time;
        if draft.deliver_at.is_some() || draft.deliver_at_local.is_some() {
            return Err(Refused::NotYet);
        }
        let expires_at = draft
            .expires_at
            .unwrap_or_else(|| at.saturating_add_unsigned(expires_after_ms));
        if expires_at <= at {
            return Err(Refused::ExpiresBeforeRelease);
        }
        self.still_granted(&grant)?;
        let resolved = self.remembered.resolve(&self.directory, &draft.audience, at)?;
        self.count(&grant);
        let number = self.counters.next;
        self.counters.next += 1;
        self.keys.take(&key, number, at);
        let broadcast = Arc::new(Broadcast {
            number,
            id: BroadcastId::new(at, self.counters.salt, number),
            sender,
            accepted_at: at,
            expires_at,
            position: Some(number),
            log_index: self.applied,
            targeted: resolved.recipients.len() as u32,
            connected: self.presence.connected_among(&resolved.recipients) as u32,
            held: 0,
            skipped: 0,
            unknown: resolved.unknown,
            draft,
        });
        let entry = self.broadcasts.add(JournalEntry {
            position: number,
            priority: broadcast.draft.priority,
            kind: ReleaseKind::Broadcast,
            escalated: false,
            released_at: at,
            number,
            broadcast: Some(broadcast),
            recipients: resolved.recipients,
            excluded: resolved.excluded,
        });
        self.changed.insert(RowKey::Block(number / super::broadcasts::BLOCK));
        effects.extend(entry.release().map(|release| Effect::Released(Arc::new(release))));
        Ok(Outcome::Published {
            number,
            replayed: false,
        })
    }

    /// The rules were asked before; only what may have changed since is looked at again.
    fn still_granted(&self, grant: &Grant) -> Result<(), Refused> {
        let at = self.counters.log_time;
        grant.rate.iter().try_for_each(|rate| self.rates.check(rate, at))?;
        let mut claims = grant.claim.iter();
        claims.try_for_each(|claim| rights::holds(&self.directory, claim, at))
    }

    /// Nothing can refuse the publish any more: it counts.
    fn count(&mut self, grant: &Grant) {
        if let Some(rate) = &grant.rate {
            let changed = &mut self.changed;
            self.rates.count(rate, self.counters.log_time, |row| {
                changed.insert(row);
            });
        }
    }

    fn directory_changes(&mut self, changes: Vec<Change>, effects: &mut Vec<Effect>) -> Outcome {
        let mut touched = Touched::default();
        let leaving: Vec<String> = changes.iter().filter_map(Change::erases).map(str::to_owned).collect();
        match self.directory.change(changes, &mut touched) {
            Err(faults) => Outcome::NotChanged(faults),
            Ok(done) => {
                self.changed.append(&mut touched.rows);
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

    fn acknowledge(&mut self, acknowledged: Acknowledged) -> Outcome {
        let Acknowledged { user, node, answers } = acknowledged;
        let each = answers.into_iter().map(|(number, answer)| {
            if !self.counters.is_kept(number) {
                return Err(Refused::UnknownBroadcast);
            }
            let at = self.counters.log_time;
            let Some(hot) = self.broadcasts.hot.get_mut(&number) else {
                return Ok(self.acknowledge_cold(
                    number,
                    user,
                    Answer {
                        answer,
                        at,
                        node,
                        late: false,
                    },
                ));
            };
            acknowledge_hot(
                hot,
                user,
                Answer {
                    answer,
                    at,
                    node,
                    late: false,
                },
            )
            .inspect(|_| {
                self.changed.insert(RowKey::Ledger(number));
            })
        });
        Outcome::Acknowledged(each.collect())
    }

    /// The broadcast has left memory: whoever proposed this has checked it against the row, which cannot change.
    fn acknowledge_cold(&mut self, number: Number, user: u32, answer: Answer) -> Acknowledgement {
        let mut late = Ledger::default();
        late.advance(
            Step::Acknowledged,
            &[user].into_iter().collect(),
            answer.at,
            answer.node,
            true,
        );
        let given = answer.answer.clone();
        late.answers.insert(user, answer);
        self.late.push((number, late));
        Acknowledgement {
            late: false,
            repeated: false,
            answer: given,
        }
    }

    fn receipts(&mut self, receipts: Receipts) -> Outcome {
        let at = self.counters.log_time;
        for (number, step, users) in receipts.deltas {
            if !self.counters.is_kept(number) || step == Step::Acknowledged {
                continue;
            }
            let Some(hot) = self.broadcasts.hot.get_mut(&number) else {
                let mut late = Ledger::default();
                late.advance(step, &users, at, receipts.node, true);
                self.late.push((number, late));
                continue;
            };
            let users = users & &*hot.recipients;
            let detailed = Hot::detailed(&hot.broadcast);
            if Arc::make_mut(&mut hot.ledger).advance(step, &users, at, receipts.node, detailed) {
                self.changed.insert(RowKey::Ledger(number));
            }
        }
        if let Some(record) = self.nodes.nodes.get_mut(&receipts.node) {
            for (known, told) in record.watermarks.iter_mut().zip(receipts.watermarks) {
                *known = told.max(*known);
            }
            self.changed.insert(RowKey::Node(receipts.node));
        }
        Outcome::Done
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

    /// Old broadcasts go, in the order of positions and a bounded number at a time.
    fn tick(&mut self, tick: Tick, effects: &mut Vec<Effect>) -> Outcome {
        self.forget_tokens();
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
            self.broadcasts.forget(position, next, |block| {
                changed.insert(RowKey::Block(block));
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
        self.counters.is_kept(number)
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

    /// Whom an audience would reach now.
    pub fn resolve(&self, audience: &Audience) -> Result<Resolved, Refused> {
        resolve(&self.directory, audience, self.counters.log_time)
    }
}

fn acknowledge_hot(hot: &mut Hot, user: u32, mut answer: Answer) -> Result<Acknowledgement, Refused> {
    if !hot.recipients.contains(user) {
        return Err(Refused::NotARecipient);
    }
    if let Some(asked) = &hot.broadcast.draft.acknowledge
        && !asked.answers.is_empty()
        && !asked.answers.contains(&answer.answer)
    {
        return Err(Refused::UnknownAnswer(asked.answers.join(", ")));
    }
    if let Some(first) = hot.ledger.answers.get(&user) {
        return Ok(Acknowledgement {
            late: first.late,
            repeated: true,
            answer: first.answer.clone(),
        });
    }
    let within = hot.broadcast.draft.acknowledge.as_ref().map(|asked| asked.within_ms);
    let due = within.map_or(hot.broadcast.expires_at, |within| {
        hot.broadcast.accepted_at.saturating_add_unsigned(within)
    });
    answer.late = answer.at > due.min(hot.broadcast.expires_at);
    let late = answer.late;
    let ledger = Arc::make_mut(&mut hot.ledger);
    ledger.advance(
        Step::Acknowledged,
        &[user].into_iter().collect(),
        answer.at,
        answer.node,
        true,
    );
    let given = answer.answer.clone();
    ledger.answers.insert(user, answer);
    Ok(Acknowledgement {
        late,
        repeated: false,
        answer: given,
    })
}
