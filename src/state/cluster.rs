//! What the state knows of the nodes: addresses, incarnations, and how far each has delivered.

use crate::model::{NodeId, PerPriority, Position};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    pub incarnation: u64,
    /// Where clients reach it.
    pub url: String,
    pub version: String,
    /// All releases up to here were written to, or given up for, every session of the node.
    pub watermarks: PerPriority<Position>,
}

#[derive(Debug, Default)]
pub struct Nodes {
    pub(super) nodes: BTreeMap<NodeId, NodeRecord>,
}

impl Nodes {
    pub fn get(&self, node: NodeId) -> Option<&NodeRecord> {
        self.nodes.get(&node)
    }

    pub fn iter(&self) -> impl Iterator<Item = (NodeId, &NodeRecord)> {
        self.nodes.iter().map(|(node, record)| (*node, record))
    }
}
