//! What a node does when an entry is applied: hand releases to the gateway, nothing slow.

use crate::cache::Cache;
use crate::consensus::{Applied, Handle};
use crate::gateway::Gateway;
use crate::model::Position;
use crate::state::{Effect, Release, ReleaseKind};
use crate::telemetry::span::Kind;
use crate::telemetry::{Outcome, Tracer};
use std::sync::{Arc, OnceLock};

/// Filled in while the node starts: entries that are replayed before that reach the gateway through [`Watcher::refill`].
#[derive(Default)]
pub struct Watcher {
    gateway: OnceLock<Arc<Gateway>>,
    handle: OnceLock<Handle>,
    cache: OnceLock<Arc<Cache>>,
    tracer: OnceLock<Tracer>,
}

impl Watcher {
    pub fn watch(&self, handle: Handle, gateway: Arc<Gateway>, cache: Arc<Cache>, tracer: Tracer) {
        let _ = self.tracer.set(tracer);
        // All are set once, before anybody can read from the cache, by the script that starts the node.
        let _ = self.cache.set(cache);
        let _ = self.handle.set(handle);
        let _ = self.gateway.set(gateway);
    }

    /// A snapshot tells of no revocations: whoever came with a token that is not in it any more has to go.
    fn revoke_forgotten(&self) {
        let (Some(handle), Some(gateway)) = (self.handle.get(), self.gateway.get()) else {
            return;
        };
        handle.read(|state| {
            gateway.revoke(|held| crate::security::token::is_id(held) && state.tokens().get(held).is_none());
        });
    }

    /// Each node that applies a broadcast of a trace says when, and how long it took to hand it over.
    fn release(&self, gateway: &Gateway, release: Arc<Release>) {
        let trace = release.broadcast.draft.trace;
        let is_first = release.kind == ReleaseKind::Broadcast;
        let tracer = self.tracer.get().filter(|_| is_first && trace.is_some());
        let began = tracer.and_then(|tracer| tracer.within(trace, "applied", Kind::Internal));
        gateway.release(release);
        if let Some(tracer) = tracer {
            tracer.end(began, Outcome::Well, Vec::new());
        }
    }

    /// Fills the window from the state. The state cannot move meanwhile, and the window knows what it has already.
    pub fn refill(&self) {
        let (Some(handle), Some(gateway)) = (self.handle.get(), self.gateway.get()) else {
            return;
        };
        handle.read(|state| {
            let broadcasts = state.broadcasts();
            let newest = broadcasts.placed_from(0).rev().take(REFILL_MAX);
            let releases = newest.filter_map(|(_, placed)| placed.release());
            let mut releases: Vec<Arc<Release>> = releases.map(Arc::new).collect();
            releases.reverse();
            gateway.reset(state.epoch(), state.next_position() - 1, releases);
            broadcasts.cancelled().for_each(|number| gateway.withdraw(number));
        });
    }
}

/// Releases put into the window at a start; older ones are read from the journal.
const REFILL_MAX: usize = 20_000;

impl Applied for Watcher {
    fn applied(&self, _index: u64, effects: Vec<Effect>) {
        let Some(gateway) = self.gateway.get() else { return };
        for effect in effects {
            match effect {
                // Before the next entry is applied: nobody can be known, and subscribe, in a history without a name.
                Effect::Named(epoch) => gateway.reset(epoch, gateway.head(), Vec::new()),
                Effect::Released(release) => self.release(gateway, release),
                Effect::Cancelled(number) => gateway.withdraw(number),
                Effect::Forgotten(position) => gateway.gone(position),
                Effect::Erased(user) => gateway.erase(user),
                Effect::Node(_) => {}
                Effect::Cache(effect) => {
                    if let Some(cache) = self.cache.get() {
                        cache.note(&effect);
                    }
                }
                Effect::Revoked(token) => gateway.revoke(|held| held == token),
            }
        }
    }

    fn installed(&self) {
        if let Some(cache) = self.cache.get() {
            cache.forget();
        }
        self.refill();
        self.revoke_forgotten();
    }

    fn stored(&self, position: Position) {
        if let Some(gateway) = self.gateway.get() {
            gateway.stored(position);
        }
    }
}
