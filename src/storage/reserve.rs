//! The reserve: a file that holds real blocks and nothing else, so that a node can start on a disk that others have filled.
//!
//! A running node does not touch it. One that starts and finds less room than this gives it up, opens its stores in what that
//! frees, and takes it again once there is room.

use super::Config;
use super::free::Volume;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What is written at a time where a file system cannot allocate.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

#[derive(Clone, Debug)]
pub struct Reserve {
    path: PathBuf,
}

impl Reserve {
    /// The reserve of a data folder, there or not.
    pub fn of(folder: &Path) -> Self {
        Self {
            path: folder.join("reserve"),
        }
    }

    /// Bytes it holds.
    pub fn held(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |file| file.len())
    }

    /// Makes it hold `bytes`. When that fails it holds nothing.
    pub fn take(&self, bytes: u64) -> io::Result<()> {
        let file = File::options()
            .create(true)
            .truncate(true)
            .write(true)
            .open(&self.path)?;
        let taken = allocate(&file, bytes);
        if taken.is_err() {
            file.set_len(0)?;
        }
        taken
    }

    /// Gives its blocks back; they are free when this returns.
    pub fn release(&self) -> io::Result<()> {
        let file = File::options().write(true).open(&self.path)?;
        file.set_len(0)?;
        file.sync_all()
    }

    /// Before the stores are opened: gives the blocks back where there is less room than they would make.
    pub(super) fn release_when_needed(&self, volume: Option<Volume>, config: &Config) -> io::Result<()> {
        let needs = |volume: &Volume| volume.free < volume.reserve(config);
        let Some(volume) = volume.filter(needs) else {
            return Ok(());
        };
        if self.held() == 0 {
            tracing::error!(
                free = volume.free,
                "the disk is full and the reserve is used up: free some space"
            );
            return Ok(());
        }
        tracing::warn!(
            free = volume.free,
            reserve = self.held(),
            "the disk is full: the reserve is given up to start; free some space"
        );
        self.release()
    }
}

/// Real blocks: a file with holes would hold nothing.
fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    match fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Err(rustix::io::Errno::OPNOTSUPP) => write_zeros(file, bytes),
        allocated => Ok(allocated?),
    }
}

fn write_zeros(mut file: &File, bytes: u64) -> io::Result<()> {
    let mut left = bytes;
    while left > 0 {
        let count = left.min(ZEROS.len() as u64);
        file.write_all(&ZEROS[..count as usize])?;
        left -= count;
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::{Reserve, Volume, write_zeros};
    use crate::storage::Config;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn it_holds_real_blocks_and_gives_them_back() {
        let folder = tempfile::tempdir().unwrap();
        let reserve = Reserve::of(folder.path());
        assert_eq!(reserve.held(), 0);
        let blocks = || std::fs::metadata(folder.path().join("reserve")).unwrap().blocks() * 512;
        for bytes in [3 << 20, 1 << 20, 5 << 20] {
            reserve.take(bytes).unwrap();
            assert_eq!(reserve.held(), bytes);
            assert!(blocks() >= bytes, "{} of {bytes}", blocks());
        }
        reserve.release().unwrap();
        assert_eq!((reserve.held(), blocks()), (0, 0));
        let file = std::fs::File::create(folder.path().join("zeros")).unwrap();
        write_zeros(&file, 200_001).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 200_001);
    }

    #[test]
    fn one_that_does_not_fit_holds_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let reserve = Reserve::of(folder.path());
        assert!(reserve.take(1 << 60).is_err());
        assert_eq!(reserve.held(), 0);
    }

    #[test]
    fn a_start_on_a_full_disk_gives_it_up_and_any_other_leaves_it() {
        const MIB: u64 = 1 << 20;
        let folder = tempfile::tempdir().unwrap();
        let reserve = Reserve::of(folder.path());
        reserve.take(MIB).unwrap();
        let config = Config::default();
        let volume = |free| {
            let total = 250 * MIB;
            Some(Volume { total, free })
        };
        for roomy in [volume(200 * MIB), volume(5 * MIB), None] {
            reserve.release_when_needed(roomy, &config).unwrap();
            assert_eq!(reserve.held(), MIB);
        }
        for full in [volume(5 * MIB - 1), volume(0), volume(MIB)] {
            reserve.release_when_needed(full, &config).unwrap();
            assert_eq!(reserve.held(), 0);
        }
    }
}
