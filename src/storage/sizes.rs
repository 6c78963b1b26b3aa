//! What a data folder takes on disk.

use super::layout::Layout;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The unit that file systems count blocks in.
const BLOCK_BYTES: u64 = 512;

/// Bytes on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    pub log: u64,
    /// The rows in use.
    pub state: u64,
    pub snapshots: u64,
}

impl Layout {
    pub fn sizes(&self) -> Sizes {
        Sizes {
            log: bytes_in(&self.log()),
            state: self.state_bytes(),
            snapshots: bytes_in(&self.snapshots()),
        }
    }
}

/// Bytes that the files of a folder take; 0 where there is none.
pub fn bytes_in(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let files = files.flat_map(|file| file.metadata());
    files.map(|file| file.blocks() * BLOCK_BYTES).sum()
}

#[cfg(test)]
mod tests {
    use super::bytes_in;

    #[test]
    fn blocks_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(bytes_in(&folder.path().join("nowhere")), 0);
        std::fs::write(folder.path().join("a"), vec![1; 100_000]).unwrap();
        assert!(bytes_in(folder.path()) >= 100_000);
    }
}
