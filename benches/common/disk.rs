//! The floor of whatever must be on disk before it is answered.

use bytes::Bytes;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

/// Longer than all that a run writes.
const FILE_BYTES: usize = 64 << 20;

/// One write and one fdatasync, in a file that has its blocks and its length already: the least that any log has to do.
pub struct Floor {
    file: File,
    at: u64,
}

impl Floor {
    pub fn create(folder: &Path) -> Self {
        let file = File::create(folder.join("floor")).unwrap();
        file.write_all_at(&vec![0; FILE_BYTES], 0).unwrap();
        file.sync_all().unwrap();
        Self { file, at: 0 }
    }

    pub fn append(&mut self, data: &[Bytes]) -> Duration {
        let bytes = data.concat();
        let at = self.at;
        self.at += bytes.len() as u64;
        assert!(self.at <= FILE_BYTES as u64, "the file of the floor is too short");
        super::timed(|| {
            self.file.write_all_at(&bytes, at).unwrap();
            self.file.sync_data().unwrap();
        })
    }
}
