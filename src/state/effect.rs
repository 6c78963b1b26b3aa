//! What a node does after an entry is applied: nothing that could fail or wait.

use super::cache::CacheEffect;
use crate::model::{Broadcast, Millis, NodeId, Number, Position, Priority, UserNumber};
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Clone, Debug)]
pub enum Effect {
    /// A new history has its name: the epoch that cursors carry.
    Named(u32),
    Released(Arc<Release>),
    /// It is off: what is not written yet is not written any more.
    Cancelled(Number),
    /// Everything at or below this position is no longer kept.
    Forgotten(Position),
    /// A user is gone: their sessions end.
    Erased(UserNumber),
    /// A node's address or incarnation changed.
    Node(NodeId),
    /// A token is worth nothing any more: sessions that were opened with it end.
    Revoked(String),
    /// What the local tier of the cache has to know.
    Cache(CacheEffect),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReleaseKind {
    /// The first one of a broadcast.
    Broadcast,
    /// The broadcast for those whose time has come later.
    Again,
    /// The broadcast for those whose sessions promised receipts and gave none; no other session of theirs gets it.
    Retry,
    /// It is off, for those who may have it.
    Retracted,
}

/// Something due to some people: a place in the order, and whom it is for. Whoever has the broadcast's id already drops it.
#[derive(Clone, Debug, PartialEq)]
pub struct Release {
    pub position: Position,
    pub priority: Priority,
    pub kind: ReleaseKind,
    pub escalated: bool,
    pub released_at: Millis,
    pub broadcast: Arc<Broadcast>,
    pub recipients: Arc<RoaringBitmap>,
}
