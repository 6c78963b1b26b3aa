//! What a sync is worth: its yes counts when the file system still answers behind it.
//!
//! ext4 says yes to an fdatasync that waits for the journal when the journal is aborted under it, as when the disk goes away: the
//! transaction is over, and nobody asks how it ended. The bytes are lost. From before that moment on every read of the file system
//! fails, so a read behind the sync tells a yes that counts from one that does not. It is answered from memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// fdatasync that can be believed.
pub fn sync_data(file: &File) -> io::Result<()> {
    file.sync_data()?;
    still_there(file)
}

/// Whether the file system of an open file still answers; any file of it will do, also an empty one.
pub fn still_there(file: &File) -> io::Result<()> {
    file.read_at(&mut [0], 0).map(drop)
}

#[cfg(test)]
mod tests {
    use super::{still_there, sync_data};
    use std::fs::File;

    #[test]
    fn a_sync_counts_only_where_a_read_behind_it_is_answered() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let file = File::create(&path).unwrap();
        file.sync_data().unwrap();
        assert!(sync_data(&file).is_err(), "this one cannot be read");
        assert!(still_there(&File::open(&path).unwrap()).is_ok(), "an empty one can");
    }
}
