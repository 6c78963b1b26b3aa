//! Who this folder belongs to, and what it is known to hold: a small file outside sled, in two checksummed slots that are
//! written in turn, so that a torn write leaves the other.

use super::durable;
use super::store::StorageError;
use super::write_behind::disk_failed;
use crate::model::NodeId;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Counts writes: the higher of two good slots is the newer.
    pub sequence: u64,
    pub format: u16,
    pub node: NodeId,
    /// Random, the same on all nodes; 0 until the cluster has started for the first time.
    pub cluster: u128,
    /// The state folder in use is `state-N`.
    pub state: u64,
    /// sled is known to hold the rows up to this index.
    pub stored: u64,
    /// The log is known to reach this index.
    pub logged: u64,
}

const MAGIC: &[u8; 8] = b"CAMPID01";
const SLOT_BYTES: u64 = 4096;
pub const FORMAT: u16 = 1;

/// The open file; every change is durable when the call returns.
#[derive(Debug)]
pub struct IdentityFile {
    file: File,
    now: Mutex<Identity>,
}

fn encode(identity: &Identity) -> Vec<u8> {
    let body = bincode::serialize(identity).unwrap_or_default();
    let mut slot = MAGIC.to_vec();
    slot.extend((body.len() as u32).to_le_bytes());
    slot.extend(crc32fast::hash(&body).to_le_bytes());
    slot.extend(body);
    slot
}

fn decode(slot: &[u8]) -> Option<Identity> {
    let rest = slot.strip_prefix(MAGIC)?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let body = rest.get(..u32::from_le_bytes(*length) as usize)?;
    (crc32fast::hash(body) == u32::from_le_bytes(*crc)).then(|| bincode::deserialize(body).ok())?
}

impl IdentityFile {
    /// The identity of a folder that has none. It gets its name when it is whole and durable, so that a power cut leaves either
    /// a good one or none.
    pub fn create(path: &Path, node: NodeId) -> Result<Self, StorageError> {
        let mut now = Identity {
            sequence: 0,
            format: FORMAT,
            node,
            cluster: 0,
            state: 0,
            stored: 0,
            logged: 0,
        };
        let temporary = path.with_extension("part");
        let mut open = || {
            let options = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .clone();
            let file = options.open(&temporary)?;
            file.set_len(2 * SLOT_BYTES)?;
            // Both slots get their blocks now: later changes write over them, also on a full disk.
            write(&file, &now)?;
            now.sequence = 1;
            write(&file, &now)?;
            file.sync_all()?;
            std::fs::rename(&temporary, path)?;
            super::snapshot_file::sync_folder(path)?;
            Ok(file)
        };
        let file = open().map_err(StorageError::io(path))?;
        let now = Mutex::new(now);
        Ok(Self { file, now })
    }

    /// The newer of the good slots; damage in both, another node or a newer format is refused.
    pub fn open(path: &Path, node: NodeId) -> Result<Self, StorageError> {
        let damaged = |detail: String| StorageError::damaged(path, detail);
        let file = File::options()
            .read(true)
            .write(true)
            .open(path)
            .map_err(StorageError::io(path))?;
        let read = |slot: u64| {
            let mut bytes = vec![0; SLOT_BYTES as usize];
            file.read_exact_at(&mut bytes, slot * SLOT_BYTES).ok()?;
            decode(&bytes)
        };
        let newest = [read(0), read(1)]
            .into_iter()
            .flatten()
            .max_by_key(|identity| identity.sequence);
        let now = newest.ok_or_else(|| {
            damaged(
                "neither slot can be read; put the folder aside and let the node copy everything from the others"
                    .into(),
            )
        })?;
        if now.node != node {
            let detail = format!(
                "it belongs to node {}, this is node {node}; give each node its own folder",
                now.node
            );
            return Err(damaged(detail));
        }
        if now.format > FORMAT {
            return Err(damaged(format!(
                "it has format {}, this program knows {FORMAT}; use the newer program",
                now.format
            )));
        }
        Ok(Self {
            file,
            now: Mutex::new(now),
        })
    }

    pub fn get(&self) -> Identity {
        self.now.lock().clone()
    }

    /// Changes the identity; durable when it returns. A disk that fails here ends the process.
    pub fn update(&self, change: impl FnOnce(&mut Identity)) {
        let mut now = self.now.lock();
        change(&mut now);
        now.sequence += 1;
        if let Err(error) = write(&self.file, &now) {
            disk_failed("writing the identity file", &error);
        }
    }
}

fn write(file: &File, identity: &Identity) -> io::Result<()> {
    file.write_all_at(&encode(identity), identity.sequence % 2 * SLOT_BYTES)?;
    durable::sync_data(file)
}

#[cfg(test)]
mod tests {
    use super::{IdentityFile, SLOT_BYTES};

    #[test]
    fn a_torn_write_leaves_the_slot_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity");
        let file = IdentityFile::create(&path, 3).unwrap();
        file.update(|identity| identity.cluster = 77);
        file.update(|identity| identity.stored = 5);
        let newest = file.get().sequence;
        let mut bytes = std::fs::read(&path).unwrap();
        let torn = (newest % 2 * SLOT_BYTES) as usize;
        bytes[torn + 20] ^= 0xFF;
        std::fs::write(&path, &bytes).unwrap();
        let again = IdentityFile::open(&path, 3).unwrap().get();
        assert_eq!((again.sequence, again.cluster, again.stored), (newest - 1, 77, 0));
        bytes[SLOT_BYTES as usize - torn] ^= 0xFF;
        std::fs::write(&path, &bytes).unwrap();
        assert!(IdentityFile::open(&path, 3).is_err());
    }

    #[test]
    fn any_cut_leaves_the_slot_before_or_the_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity");
        let file = IdentityFile::create(&path, 3).unwrap();
        let before = std::fs::read(&path).unwrap();
        file.update(|identity| identity.stored = 9);
        let after = std::fs::read(&path).unwrap();
        for cut in (0..after.len()).filter(|cut| cut % SLOT_BYTES as usize <= 100) {
            std::fs::write(&path, [&after[..cut], &before[cut..]].concat()).unwrap();
            let stored = IdentityFile::open(&path, 3).unwrap().get().stored;
            assert!(stored == 0 || stored == 9, "cut at {cut}");
        }
    }

    #[test]
    fn another_nodes_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity");
        drop(IdentityFile::create(&path, 3).unwrap());
        let error = IdentityFile::open(&path, 2).unwrap_err().to_string();
        assert!(error.contains("belongs to node 3"), "{error}");
    }
}
