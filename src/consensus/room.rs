//! Whether this node's disk has room for what clients send: asked before anything that makes the files grow.
//!
//! The disk is looked at now and then. What was let in since is counted, so that a fast publisher is stopped where a slow one
//! is; receipts and acknowledgements are never stopped, and live on what is kept free.

use super::rpc::Forward;
use super::state_machine::Shared;
use crate::metrics::METRICS;
use crate::state::Command;
use crate::state::cache::CacheChange;
use crate::storage::free::{Volume, is_full};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How often the disk is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// What a byte of a command takes on disk, at most, until the next look: the log, the rows, and the rows that they replace.
const GROWTH: u64 = 4;

/// What is known of the disk; shared by all who ask.
#[derive(Debug)]
pub struct Room {
    /// What could be taken at the last look; 0 when the limit was reached.
    left: AtomicU64,
    /// All that was ever let in.
    admitted: AtomicU64,
    /// `admitted` as it was at the look before the last one: what came in after that may not be on disk yet.
    counted: AtomicU64,
    /// Free bytes at the last look.
    free: AtomicU64,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            left: AtomicU64::new(u64::MAX),
            admitted: AtomicU64::new(0),
            counted: AtomicU64::new(0),
            free: AtomicU64::new(u64::MAX),
        }
    }
}

impl Room {
    /// Lets `bytes` of commands in, if they fit.
    pub fn admit(&self, bytes: usize) -> bool {
        let fits = self.take(bytes);
        if !fits {
            count_refused();
        }
        fits
    }

    fn take(&self, bytes: usize) -> bool {
        let coming = self
            .admitted
            .load(Ordering::Relaxed)
            .saturating_sub(self.counted.load(Ordering::Relaxed))
            .saturating_add(bytes as u64);
        let fits = coming.saturating_mul(GROWTH) <= self.left.load(Ordering::Relaxed);
        if fits {
            self.admitted.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        fits
    }

    /// Lets a follower's commands in. Where they do not fit: the places of those that would make the disk fuller.
    pub fn refused(&self, forward: &Forward) -> Vec<usize> {
        let bytes = forward.commands.iter().map(|(command, _)| command.len()).sum();
        if self.take(bytes) {
            return Vec::new();
        }
        let mut refused = Vec::new();
        for (at, (command, _)) in forward.commands.iter().enumerate() {
            // What cannot be read stops the node where it is applied, as it would have in any case.
            if bincode::deserialize(command).is_ok_and(|command| grows(&command)) {
                refused.push(at);
                count_refused();
            }
        }
        refused
    }

    /// Whether a file of this size fits what is free, whatever is kept free of it.
    pub fn fits(&self, file_bytes: u64) -> bool {
        self.free.load(Ordering::Relaxed) >= file_bytes
    }

    /// What could be taken at the last look; `None` where the disk cannot be asked.
    pub fn left(&self) -> Option<u64> {
        let left = self.left.load(Ordering::Relaxed);
        (left != u64::MAX).then_some(left)
    }

    /// Takes in what a look found; `true` when the limit was reached or left since the look before.
    fn note(&self, free: u64, left: u64, admitted_before: u64) -> bool {
        self.free.store(free, Ordering::Relaxed);
        self.counted.store(admitted_before, Ordering::Relaxed);
        (self.left.swap(left, Ordering::Relaxed) == 0) != (left == 0)
    }
}

fn count_refused() {
    METRICS.limits_hit.with_label_values(&["storage.free_bytes_min"]).inc();
}

/// Whether a command makes the node's files grow for good. Erasing does too, a little: it goes with the rest of the directory.
pub fn grows(command: &Command) -> bool {
    match command {
        Command::Cache(change) => matches!(**change, CacheChange::Put(_) | CacheChange::PutSource(_)),
        Command::Publish(_) | Command::Directory(_) | Command::CreateToken(_) | Command::Audit(_) => true,
        // It leaves nothing behind, and has to be refused where a publish would be.
        Command::Probe(_) => true,
        Command::Found(_)
        | Command::Cancel(_)
        | Command::Redeliver(_)
        | Command::Settle(_)
        | Command::Claim(_)
        | Command::Called(_)
        | Command::Acknowledge(_)
        | Command::Receipts(_)
        | Command::Presence(_)
        | Command::NodeStarted(_)
        | Command::NodeLost { .. }
        | Command::Tick(_)
        | Command::Zones(_)
        | Command::Alert(_)
        | Command::RevokeToken(_) => false,
    }
}

/// Looks at the disk, and keeps the reserve filled.
pub struct Look {
    shared: Arc<Shared>,
    room: Arc<Room>,
    /// `admitted` at the last look.
    admitted: u64,
    reserve: Taken,
}

/// What became of the reserve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    Trying,
    /// This file system would not have it: it is not tried again until the next start.
    Refused,
}

impl Look {
    pub fn new(shared: Arc<Shared>, room: Arc<Room>) -> Self {
        Self {
            shared,
            room,
            admitted: 0,
            reserve: Taken::Trying,
        }
    }

    /// Looks for as long as the node runs.
    pub async fn run(mut self) {
        let mut every = tokio::time::interval(LOOK_EVERY);
        loop {
            every.tick().await;
            let looked = tokio::task::spawn_blocking(move || {
                self.look();
                self
            });
            match looked.await {
                Ok(again) => self = again,
                Err(error) => return tracing::error!(%error, "the disk is not looked at any more"),
            }
        }
    }

    /// One look. Blocks as long as the file system takes to say how full it is, or to allocate the reserve.
    pub fn look(&mut self) {
        let admitted = self.room.admitted.load(Ordering::Relaxed);
        let before = std::mem::replace(&mut self.admitted, admitted);
        let Some((free, left)) = self.measure() else {
            self.room.note(u64::MAX, u64::MAX, before);
            return;
        };
        if self.room.note(free, left, before) {
            if left == 0 {
                tracing::warn!(
                    free,
                    "the disk is nearly full: publishes and directory changes are refused (507)"
                );
            } else {
                tracing::info!(free, "the disk has room again");
            }
        }
    }

    /// What is free, and what may be taken of it; the reserve is filled first where it fits.
    fn measure(&mut self) -> Option<(u64, u64)> {
        let (layout, config) = (&self.shared.layout, &self.shared.storage);
        let volume = Volume::of(&layout.folder)?;
        let left = volume.left(config, self.held(volume));
        if self.held(volume) >= volume.reserve(config) || left == 0 {
            return Some((volume.free, left));
        }
        if let Err(error) = layout.reserve.take(volume.reserve(config))
            && !is_full(&error)
        {
            tracing::warn!(%error, "the reserve cannot be taken: on a full disk this node may not start again");
            self.reserve = Taken::Refused;
        }
        let volume = Volume::of(&layout.folder)?;
        Some((volume.free, volume.left(config, self.held(volume))))
    }

    /// What counts as held: where the file system refuses a reserve, the room for one is not waited for.
    fn held(&self, volume: Volume) -> u64 {
        match self.reserve {
            Taken::Trying => self.shared.layout.reserve.held(),
            Taken::Refused => volume.reserve(&self.shared.storage),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{GROWTH, Room, grows};
    use crate::consensus::rpc::Forward;
    use crate::state::Command;
    use crate::state::command::Tick;

    fn note(room: &Room, left: u64, admitted_before: u64) -> bool {
        room.note(left, left, admitted_before)
    }

    #[test]
    fn what_is_let_in_is_counted_until_it_has_been_looked_at_twice() {
        let room = Room::default();
        assert!(room.admit(usize::MAX / 8));
        let room = Room::default();
        note(&room, 100 * GROWTH, 0);
        assert!(room.admit(60) && room.admit(40) && !room.admit(1));
        // The next look may not have seen all of that yet.
        note(&room, 100 * GROWTH, 0);
        assert!(!room.admit(1));
        note(&room, 90 * GROWTH, 100);
        assert!(room.admit(90) && !room.admit(1));
        note(&room, 0, 190);
        assert!(!room.admit(1) && room.admit(0));
    }

    #[test]
    fn reaching_the_limit_and_leaving_it_are_each_told_once() {
        let room = Room::default();
        let told = [9, 0, 0, 7, 8, 0].map(|left| note(&room, left, 0));
        assert_eq!(told, [false, true, false, true, false, true]);
    }

    #[test]
    fn a_snapshot_may_take_what_is_kept_free() {
        let room = Room::default();
        assert!(room.fits(1 << 40));
        room.note(1_000, 0, 0);
        assert!(room.fits(1_000) && !room.fits(1_001));
    }

    #[test]
    fn only_what_grows_is_sent_back_to_a_follower() {
        let directory = Command::Directory(Vec::new());
        let tick = Command::Tick(Tick {
            kept_ms: 1,
            missed_after_ms: 1,
            retry: crate::model::Retry::DEFAULT,
        });
        assert!(grows(&directory) && !grows(&tick));
        let encode = |command: &Command| (bytes::Bytes::from(bincode::serialize(command).unwrap()), 1_000);
        let both = Forward {
            commands: vec![encode(&directory), encode(&tick)],
        };
        let room = Room::default();
        assert!(room.refused(&both).is_empty());
        note(&room, 0, 0);
        assert_eq!(room.refused(&both), [0]);
    }
}
