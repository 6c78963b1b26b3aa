//! A node's data folder, on one page, and how it is opened.
//!
//! ```text
//! DIR/
//! ├── lock           held while a process uses the folder
//! ├── identity       which node, which cluster, what the rest is known to hold
//! ├── log/           the Raft log, vote and committed index
//! ├── state-N/       sled; N is named in the identity file
//! ├── snapshots/     the newest snapshot, and what is being received
//! └── quarantine/    folders that could not be used: never deleted by the program
//! ```
//! Nothing here is deleted on doubt. A `lost+found` beside them is fine.

use super::Config;
use super::identity::IdentityFile;
use super::snapshot_file;
use super::store::{StorageError, Store};
use crate::base::clock;
use crate::model::NodeId;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// An opened data folder.
pub struct Layout {
    pub folder: PathBuf,
    pub identity: IdentityFile,
    pub store: Store,
    pub found: Found,
    /// Held for as long as the node runs.
    _lock: File,
}

/// What opening the folder came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// There was nothing: a new node.
    Fresh,
    /// Everything was in its place.
    Kept,
    /// sled could not be used; the rows are those of the snapshot.
    Restored { why: String },
    /// sled could not be used and there is no snapshot: the log has to start at its beginning.
    Emptied { why: String },
}

impl Layout {
    pub fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    pub fn snapshots(&self) -> PathBuf {
        self.folder.join("snapshots")
    }

    pub fn state(&self, number: u64) -> PathBuf {
        state(&self.folder, number)
    }

    /// Opens or creates a node's folder.
    pub fn open(folder: &Path, node: NodeId, config: &Config) -> Result<Self, StorageError> {
        fs::create_dir_all(folder).map_err(StorageError::io(folder))?;
        let lock = lock(folder)?;
        let path = folder.join("identity");
        let known = path.try_exists().map_err(StorageError::io(&path))?;
        if !known && folder.join("log").exists() {
            let detail = "there is a log but no identity file; somebody has removed it, so nothing here can be trusted";
            return Err(StorageError::damaged(folder, detail));
        }
        let identity = if known {
            IdentityFile::open(&path, node)
        } else {
            IdentityFile::create(&path, node)
        }?;
        let (store, found) = open_state(folder, &identity, known, config)?;
        Ok(Self {
            folder: folder.to_owned(),
            identity,
            store,
            found,
            _lock: lock,
        })
    }
}

fn state(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("state-{number}"))
}

fn lock(folder: &Path) -> Result<File, StorageError> {
    let path = folder.join("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(StorageError::io(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(StorageError::damaged(folder, "another process uses this folder")),
        Err(fs::TryLockError::Error(error)) => Err(StorageError::io(&path)(error)),
    }
}

/// The index a store stands at, as the front of its meta row says. Consensus writes it there first.
fn index_of(store: &Store) -> Result<u64, StorageError> {
    let meta = store.meta()?;
    let first = meta.as_ref().and_then(|meta| meta.first_chunk::<8>());
    Ok(first.map_or(0, |bytes| u64::from_le_bytes(*bytes)))
}

fn open_state(
    folder: &Path,
    identity: &IdentityFile,
    known: bool,
    config: &Config,
) -> Result<(Store, Found), StorageError> {
    let now = identity.get();
    let path = state(folder, now.state);
    let there = path.exists();
    let why = match (there, now.stored) {
        (false, 0) => None,
        (false, _) => Some("the folder is missing".to_owned()),
        (true, stored) => match Store::open(&path, config).and_then(|store| Ok((index_of(&store)?, store))) {
            Ok((index, store)) if index >= stored => {
                return Ok((store, if known { Found::Kept } else { Found::Fresh }));
            }
            Ok((index, _)) => Some(format!("it stands at index {index}, but held {stored} before")),
            Err(error) => Some(error.to_string()),
        },
    };
    let Some(why) = why else {
        return Ok((
            Store::open(&path, config)?,
            if known { Found::Kept } else { Found::Fresh },
        ));
    };
    if there {
        put_aside(folder, &path)?;
    }
    let next = now.state + 1;
    let fresh = state(folder, next);
    if fresh.exists() {
        put_aside(folder, &fresh)?;
    }
    for snapshot in snapshot_file::list(&folder.join("snapshots"))? {
        match snapshot_file::restore(&snapshot, &fresh, config) {
            Ok((store, _)) => {
                let stored = index_of(&store)?;
                identity.update(|identity| (identity.state, identity.stored) = (next, stored));
                return Ok((store, Found::Restored { why }));
            }
            Err(error) => {
                tracing::error!(%error, "a snapshot cannot be used");
                if fresh.exists() {
                    put_aside(folder, &fresh)?;
                }
            }
        }
    }
    let store = Store::open(&fresh, config)?;
    identity.update(|identity| (identity.state, identity.stored) = (next, 0));
    Ok((store, Found::Emptied { why }))
}

/// Moves a folder out of the way, where an operator can look at it.
fn put_aside(folder: &Path, path: &Path) -> Result<(), StorageError> {
    let quarantine = folder.join("quarantine");
    fs::create_dir_all(&quarantine).map_err(StorageError::io(&quarantine))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let aside = quarantine.join(format!("{}-{name}", clock::wall()));
    fs::rename(path, &aside).map_err(StorageError::io(path))?;
    tracing::warn!(folder = %path.display(), aside = %aside.display(), "put aside");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Found, Layout};
    use crate::state::{Row, RowKey};
    use crate::storage::Config;
    use bytes::Bytes;
    use std::path::Path;

    fn open(folder: &Path) -> Layout {
        Layout::open(folder, 1, &Config::default()).unwrap()
    }

    fn fill(layout: &Layout, index: u64) {
        let rows: Vec<Row> = (0..200)
            .map(|n| Row {
                key: RowKey::User(n),
                value: Some(Bytes::from(vec![n as u8; 1000])),
            })
            .collect();
        layout.store.write(&rows, &index.to_le_bytes()).unwrap();
        layout.store.sync().unwrap();
        layout.identity.update(|identity| identity.stored = index);
    }

    #[test]
    fn a_kept_folder_is_used_again() {
        let folder = tempfile::tempdir().unwrap();
        let layout = open(folder.path());
        assert_eq!(layout.found, Found::Fresh);
        fill(&layout, 7);
        drop(layout);
        let layout = open(folder.path());
        assert_eq!(layout.found, Found::Kept);
        assert!(layout.store.get(&RowKey::User(199)).unwrap().is_some());
    }

    #[test]
    fn two_processes_never_share_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let _held = open(folder.path());
        let error = Layout::open(folder.path(), 1, &Config::default())
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("another process"), "{error}");
    }

    #[test]
    fn a_store_that_opens_older_than_it_was_is_put_aside() {
        // sled opens a cut file as an empty database, without an error.
        let folder = tempfile::tempdir().unwrap();
        let layout = open(folder.path());
        fill(&layout, 7);
        drop(layout);
        let db = std::fs::File::options()
            .write(true)
            .open(folder.path().join("state-0/db"))
            .unwrap();
        db.set_len(100).unwrap();
        let layout = open(folder.path());
        assert!(matches!(layout.found, Found::Emptied { .. }), "{:?}", layout.found);
        assert_eq!(layout.identity.get().state, 1);
        assert_eq!(std::fs::read_dir(folder.path().join("quarantine")).unwrap().count(), 1);
    }

    #[test]
    fn a_missing_identity_beside_a_log_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("log")).unwrap();
        assert!(Layout::open(folder.path(), 1, &Config::default()).is_err());
    }
}
