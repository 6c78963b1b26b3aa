//! The state and its one door: `apply`.

use super::rows::Broken;
use super::{Command, Effect, Outcome, Release, Row, RowKey};
use crate::model::{Broadcast, Millis, Number};
use std::sync::Arc;

#[derive(Debug, Default)]
pub struct State {
    applied: u64,
}

impl State {
    /// The state before the first entry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies the entry at `index`. `at` is the leader's log time; it never goes back.
    pub fn apply(
        &mut self,
        index: u64,
        _at: Millis,
        commands: Vec<Command>,
        _effects: &mut Vec<Effect>,
    ) -> Vec<Outcome> {
        self.applied = index;
        commands.into_iter().map(|_| Outcome::Done).collect()
    }

    /// An entry without commands (a new leader's first, a change of members).
    pub fn skip(&mut self, index: u64) {
        self.applied = index;
    }

    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// The last entry's log time.
    pub fn log_time(&self) -> Millis {
        0
    }

    /// How many rows wait to be taken.
    pub fn dirty(&self) -> usize {
        0
    }

    /// The rows that changed since the last call, as they are now.
    pub fn take_rows(&mut self) -> Vec<Row> {
        Vec::new()
    }

    /// Start-up: one row from disk. Rows come in the order of their keys.
    pub fn load(&mut self, _key: &RowKey, _value: &[u8]) -> Result<(), Broken> {
        Ok(())
    }

    /// Start-up: all rows are in; `applied` is the entry they stand at.
    pub fn loaded(&mut self, applied: u64) {
        self.applied = applied;
    }

    /// A broadcast that is still in memory.
    pub fn broadcast(&self, _number: Number) -> Option<Arc<Broadcast>> {
        None
    }

    /// Reads a journal row: its releases in order.
    pub fn read_journal(_value: &[u8]) -> Result<Vec<Release>, Broken> {
        Ok(Vec::new())
    }

    /// A hash over all that is replicated: equal on all nodes at an equal applied index.
    pub fn hash(&self) -> u64 {
        0
    }
}
