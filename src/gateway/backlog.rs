//! The port to what a session missed: implemented by `node` over the state and the store. Called on a reader thread, never
//! on a worker.

use crate::model::{Number, PerPriority, Position, UserNumber};
use crate::state::Release;
use std::sync::Arc;

pub trait Backlog: Send + Sync + 'static {
    /// Without a cursor: what of the user's is neither expired nor received, oldest first in each priority: at most
    /// `newest_max` of each (all of critical), and how many more the inbox has.
    fn start(&self, user: UserNumber, newest_max: usize) -> Start;

    /// The user's releases after `after` in each priority, oldest first, about `bytes_max` of them; and up to where each
    /// priority has been scanned by that.
    fn read(&self, user: UserNumber, after: PerPriority<Position>, bytes_max: usize) -> Read;

    /// Releases at or below these positions are no longer kept.
    fn forgotten(&self) -> PerPriority<Position>;

    /// Broadcasts that were sent to this user at or below these positions, and not received yet: a client that comes back with
    /// that cursor has them. About `max` of them at most.
    fn unconfirmed(&self, _user: UserNumber, _up_to: PerPriority<Position>, _max: usize) -> Vec<Number> {
        Vec::new()
    }
}

#[derive(Clone, Debug, Default)]
pub struct Start {
    pub owed: PerPriority<Vec<Arc<Release>>>,
    /// Scanned up to here when `owed` is written.
    pub scanned: PerPriority<Position>,
    pub more_in_inbox: u64,
}

#[derive(Clone, Debug, Default)]
pub struct Read {
    pub releases: PerPriority<Vec<Arc<Release>>>,
    pub scanned: PerPriority<Position>,
}
