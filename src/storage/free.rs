//! How much room the disk has, and how much of that is not for what clients send.

use super::Config;
use std::error::Error;
use std::io::{self, ErrorKind};
use std::path::Path;

/// What is kept free is a tenth of the volume at most.
const KEPT_FREE_PARTS: u64 = 10;
/// The reserve is a fiftieth of the volume at most.
const RESERVE_PARTS: u64 = 50;

/// A volume's size and what a process without privileges may still take, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Volume {
    pub total: u64,
    pub free: u64,
}

impl Volume {
    /// The volume that `path` lies on. `None` when it cannot be asked: it then counts as having room, and the first write that
    /// fails says otherwise.
    pub fn of(path: &Path) -> Option<Self> {
        let volume = rustix::fs::statvfs(path).ok()?;
        Some(Self {
            total: volume.f_blocks.saturating_mul(volume.f_frsize),
            free: volume.f_bavail.saturating_mul(volume.f_frsize),
        })
    }

    /// How large the reserve should be.
    pub fn reserve(self, config: &Config) -> u64 {
        config.reserve_bytes.0.min(self.total / RESERVE_PARTS)
    }

    /// What may still be taken before `config.free_bytes_min` is reached, given that the reserve holds `held`: what it lacks has
    /// to find room too.
    pub fn left(self, config: &Config, held: u64) -> u64 {
        let kept = config.free_bytes_min.0.min(self.total / KEPT_FREE_PARTS);
        let missing = self.reserve(config).saturating_sub(held);
        self.free.saturating_sub(kept.saturating_add(missing))
    }
}

/// Whether an error, or what caused it, is that nothing more fits the disk.
pub fn is_full(error: &(dyn Error + 'static)) -> bool {
    let full = |kind| matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
    let mut cause = Some(error);
    while let Some(error) = cause {
        let here = match (error.downcast_ref::<io::Error>(), error.downcast_ref::<sled::Error>()) {
            // An error of another kind may be wrapped in an `io::Error`, which then names the cause of that one as its own.
            (Some(error), _) => full(error.kind()) || error.get_ref().is_some_and(|inner| is_full(inner)),
            (_, Some(sled::Error::Io(inner))) => is_full(inner),
            _ => false,
        };
        if here {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::{Volume, is_full};
    use crate::base::size::Size;
    use crate::storage::{Config, StorageError};
    use std::io;
    use std::path::Path;

    const MIB: u64 = 1 << 20;

    #[test]
    fn what_is_left_is_counted_above_what_stays_free_and_what_the_reserve_lacks() {
        let config = Config::default();
        let left = |total: u64, free: u64, held: u64| {
            let volume = Volume {
                total: total * MIB,
                free: free * MIB,
            };
            (volume.reserve(&config) / MIB, volume.left(&config, held * MIB) / MIB)
        };
        // On a large volume the settings count, on a small one its parts.
        assert_eq!(left(100_000, 2_000, 64), (64, 2_000 - 512));
        assert_eq!(left(100_000, 2_000, 0), (64, 2_000 - 512 - 64));
        assert_eq!(left(250, 100, 5), (5, 75));
        assert_eq!(left(250, 100, 0), (5, 70));
        assert_eq!(left(250, 25, 5), (5, 0));
        assert_eq!(left(250, 0, 0), (5, 0));
        // A reserve that is larger than it need be gives nothing back.
        assert_eq!(left(250, 100, 60), (5, 75));
        let none = Config {
            free_bytes_min: Size(0),
            reserve_bytes: Size(0),
            ..config.clone()
        };
        let volume = Volume { total: 9, free: 7 };
        assert_eq!((volume.reserve(&none), volume.left(&none, 0)), (0, 7));
    }

    #[test]
    fn a_volume_that_cannot_be_asked_is_none() {
        assert!(Volume::of(Path::new("/")).is_some_and(|volume| volume.total > 0));
        assert_eq!(Volume::of(Path::new("/nowhere/at/all")), None);
    }

    #[test]
    fn a_full_disk_is_known_through_whatever_wraps_it() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let stored = || StorageError::io(Path::new("x"))(full());
        let sled = || StorageError::Sled(sled::Error::Io(full()));
        assert!(is_full(&full()) && is_full(&stored()) && is_full(&sled()));
        assert!(is_full(&io::Error::other(stored())) && is_full(&io::Error::other(sled())));
        assert!(is_full(&io::Error::other(io::Error::other(full()))));
        assert!(!is_full(&io::Error::from(io::ErrorKind::NotFound)));
        assert!(!is_full(&StorageError::damaged(Path::new("x"), "a bit")));
    }
}
