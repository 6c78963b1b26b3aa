//! Who has a session on which node, and since when the others are gone.

use super::command::Presence as Delta;
use super::dead::There;
use super::rows::RowKey;
use crate::model::{Millis, NodeId, UserNumber};
use roaring::RoaringBitmap;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub struct Presence {
    pub(super) nodes: BTreeMap<NodeId, AtNode>,
    pub(super) gone_since: BTreeMap<UserNumber, Millis>,
}

#[derive(Debug, Default)]
pub struct AtNode {
    pub(super) incarnation: u64,
    pub(super) users: RoaringBitmap,
}

/// Users of one row of [`RowKey::Offline`].
pub const CHUNK: u32 = 1024;

impl Presence {
    /// The nodes where somebody has a session.
    pub fn nodes_of(&self, user: UserNumber) -> impl Iterator<Item = NodeId> + '_ {
        self.nodes
            .iter()
            .filter(move |(_, at)| at.users.contains(user))
            .map(|(node, _)| *node)
    }

    pub fn is_connected(&self, user: UserNumber) -> bool {
        self.nodes_of(user).next().is_some()
    }

    pub fn connected_at(&self, node: NodeId) -> u64 {
        self.nodes.get(&node).map_or(0, |at| at.users.len())
    }

    /// Those of these who have a session on a node.
    pub fn connected_there(&self, node: NodeId, users: &RoaringBitmap) -> RoaringBitmap {
        self.nodes.get(&node).map(|at| &at.users & users).unwrap_or_default()
    }

    /// When somebody's last session ended; `None` while there is one, or if there never was.
    pub fn gone_since(&self, user: UserNumber) -> Option<Millis> {
        self.gone_since.get(&user).copied()
    }

    /// How many of these have a session somewhere.
    pub fn connected_among(&self, users: &RoaringBitmap) -> u64 {
        self.connected_of(users).len()
    }

    /// Those of these who have a session somewhere.
    pub fn connected_of(&self, users: &RoaringBitmap) -> RoaringBitmap {
        let mut here = self.nodes.values().map(|at| &at.users & users);
        let first = here.next().unwrap_or_default();
        here.fold(first, |all, users| all | users)
    }

    /// Who has a session somewhere, and who had one before.
    pub fn there(&self) -> There {
        let all = self.nodes.values();
        There {
            connected: all.fold(RoaringBitmap::new(), |all, at| all | &at.users),
            gone: self.gone_since.keys().collect(),
        }
    }

    /// A node's sessions changed. Deltas of an incarnation that has ended are of no interest.
    pub fn change(&mut self, delta: Delta, at: Millis, rows: &mut BTreeSet<RowKey>) {
        let known = self.nodes.entry(delta.node).or_default();
        if delta.incarnation < known.incarnation {
            return;
        }
        let mut went = delta.went;
        if delta.all || delta.incarnation > known.incarnation {
            went |= std::mem::take(&mut known.users);
        }
        known.incarnation = delta.incarnation;
        known.users -= &went;
        known.users |= &delta.came;
        rows.insert(RowKey::Presence(delta.node));
        for user in &delta.came {
            if self.gone_since.remove(&user).is_some() {
                rows.insert(RowKey::Offline(user / CHUNK));
            }
        }
        self.leave(&went, at, rows);
    }

    /// All sessions of a node's incarnation are closed.
    pub fn lose(&mut self, node: NodeId, incarnation: u64, at: Millis, rows: &mut BTreeSet<RowKey>) {
        let Some(known) = self.nodes.get_mut(&node) else { return };
        if known.incarnation > incarnation || known.users.is_empty() {
            return;
        }
        let went = std::mem::take(&mut known.users);
        rows.insert(RowKey::Presence(node));
        self.leave(&went, at, rows);
    }

    /// Whoever has no session left is gone since `at`.
    fn leave(&mut self, went: &RoaringBitmap, at: Millis, rows: &mut BTreeSet<RowKey>) {
        for user in went {
            if !self.is_connected(user) {
                self.gone_since.insert(user, at);
                rows.insert(RowKey::Offline(user / CHUNK));
            }
        }
    }

    pub fn forget(&mut self, user: UserNumber, rows: &mut BTreeSet<RowKey>) {
        for (node, at) in &mut self.nodes {
            if at.users.remove(user) {
                rows.insert(RowKey::Presence(*node));
            }
        }
        if self.gone_since.remove(&user).is_some() {
            rows.insert(RowKey::Offline(user / CHUNK));
        }
    }

    pub(super) fn chunk(&self, chunk: u32) -> Vec<(UserNumber, Millis)> {
        let first = chunk.saturating_mul(CHUNK);
        let range = self.gone_since.range(first..=first.saturating_add(CHUNK - 1));
        range.map(|(user, since)| (*user, *since)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Delta, Presence};
    use std::collections::BTreeSet;

    fn delta(node: u64, incarnation: u64, all: bool, came: &[u32], went: &[u32]) -> Delta {
        Delta {
            node,
            incarnation,
            all,
            came: came.iter().collect(),
            went: went.iter().collect(),
        }
    }

    #[test]
    fn somebody_is_gone_when_the_last_session_anywhere_ends() {
        let (mut presence, mut rows) = (Presence::default(), BTreeSet::new());
        presence.change(delta(1, 1, false, &[7, 8], &[]), 10, &mut rows);
        presence.change(delta(2, 1, false, &[7], &[]), 11, &mut rows);
        presence.change(delta(1, 1, false, &[], &[7, 8]), 12, &mut rows);
        assert_eq!((presence.gone_since(7), presence.gone_since(8)), (None, Some(12)));
        presence.lose(2, 1, 20, &mut rows);
        assert_eq!(presence.gone_since(7), Some(20));
        presence.change(delta(2, 2, false, &[7], &[]), 30, &mut rows);
        assert_eq!((presence.gone_since(7), presence.is_connected(7)), (None, true));
    }

    #[test]
    fn an_ended_incarnation_says_nothing() {
        let (mut presence, mut rows) = (Presence::default(), BTreeSet::new());
        presence.change(delta(1, 5, true, &[1, 2], &[]), 0, &mut rows);
        presence.change(delta(1, 4, true, &[], &[]), 1, &mut rows);
        presence.lose(1, 4, 2, &mut rows);
        assert_eq!(presence.connected_at(1), 2);
        presence.change(delta(1, 6, false, &[3], &[]), 3, &mut rows);
        assert_eq!((presence.connected_at(1), presence.gone_since(1)), (1, Some(3)));
    }
}
