//! A node's data folder, on one page, and how it is opened.
//!
//! ```text
//! DIR/
//! ├── lock           held while a process uses the folder
//! ├── reserve        blocks kept aside for a start on a full disk
//! ├── identity       which node, which cluster, what the rest is known to hold
//! ├── log/           the Raft log, vote and committed index
//! ├── state-N/       sled; N is named in the identity file
//! ├── snapshots/     the newest snapshot, and what is being received
//! └── quarantine/    folders that could not be used: never deleted by the program
//! ```
//! What is being written ends in `.part` until it is whole. Nothing here is deleted on doubt. A `lost+found` beside them is fine.

use super::Config;
use super::free::Volume;
use super::identity::IdentityFile;
use super::reserve::Reserve;
use super::sizes::bytes_in;
use super::snapshot_file;
use super::store::{StorageError, Store};
use crate::base::clock;
use crate::model::NodeId;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// A store is not rebuilt where less than this is free: what looks like damage may be the full disk, since sled fills up a segment
/// of 4 MiB when it opens; and a rebuilt store takes more room.
const REBUILD_BYTES_MIN: u64 = 8 << 20;

/// An opened data folder.
pub struct Layout {
    pub folder: PathBuf,
    pub reserve: Reserve,
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

    /// Bytes that the state in use takes on disk.
    pub fn state_bytes(&self) -> u64 {
        bytes_in(&self.state(self.identity.get().state))
    }

    /// Opens or creates a node's folder.
    pub fn open(folder: &Path, node: NodeId, config: &Config) -> Result<Self, StorageError> {
        fs::create_dir_all(folder).map_err(StorageError::io(folder))?;
        let lock = lock(folder)?;
        let reserve = Reserve::of(folder);
        reserve
            .release_when_needed(Volume::of(folder), config)
            .map_err(StorageError::io(folder))?;
        let path = folder.join("identity");
        let known = path.try_exists().map_err(StorageError::io(&path))?;
        if !known {
            refuse_strays(folder)?;
        }
        snapshot_file::remove_unfinished(&folder.join("snapshots"))?;
        let identity = if known {
            IdentityFile::open(&path, node)
        } else {
            IdentityFile::create(&path, node)
        }?;
        let (store, found) = open_state(folder, &identity, known, config)?;
        if found == Found::Kept {
            remove_cut_short(folder, identity.get().state)?;
        }
        Ok(Self {
            folder: folder.to_owned(),
            reserve,
            identity,
            store,
            found,
            _lock: lock,
        })
    }

    /// For a store that opened but cannot be read: it is put aside and filled anew, as at an opening that fails.
    pub fn rebuild(&mut self, why: String, config: &Config) -> Result<(), StorageError> {
        need_room(&self.folder, &why)?;
        put_aside(&self.folder, &self.state(self.identity.get().state))?;
        (self.store, self.found) = fill_next(&self.folder, &self.identity, why, config)?;
        Ok(())
    }
}

/// Data without an identity file is somebody's: a new node must not take it for its own.
fn refuse_strays(folder: &Path) -> Result<(), StorageError> {
    for entry in fs::read_dir(folder).map_err(StorageError::io(folder))? {
        let name = entry.map_err(StorageError::io(folder))?.file_name();
        let name = name.to_string_lossy();
        if name == "log" || name == "snapshots" || name.starts_with("state-") {
            let detail = format!(
                "there is {name:?} but no identity file, so nobody can tell whose it is; bring the file back, or give the node \
                 an empty folder and a new number"
            );
            return Err(StorageError::damaged(folder, detail));
        }
    }
    Ok(())
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
        Err(fs::TryLockError::WouldBlock) => Err(StorageError::InUse {
            path: folder.display().to_string(),
        }),
        Err(fs::TryLockError::Error(error)) => Err(StorageError::io(&path)(error)),
    }
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
    let found = if known { Found::Kept } else { Found::Fresh };
    let opened = if !there && now.stored > 0 {
        Err("the folder is missing".to_owned())
    } else {
        open_at(&path, now.stored, config)
    };
    match opened {
        Ok(store) => Ok((store, found)),
        Err(why) => {
            need_room(folder, &why)?;
            if there {
                put_aside(folder, &path)?;
            }
            fill_next(folder, identity, why, config)
        }
    }
}

/// A store that has all that it had; else, why not. sled opens some damaged files as an empty store, without an error.
fn open_at(path: &Path, stored: u64, config: &Config) -> Result<Store, String> {
    let open = || {
        let store = Store::open(path, config)?;
        Ok((store.applied()?, store))
    };
    match open() {
        Ok((index, store)) if index >= stored => Ok(store),
        Ok((index, _)) => Err(format!("it stands at index {index}, but held {stored} before")),
        Err(error) => Err(StorageError::to_string(&error)),
    }
}

/// The next state folder, with the rows of the newest snapshot that is whole, or none.
fn fill_next(
    folder: &Path,
    identity: &IdentityFile,
    why: String,
    config: &Config,
) -> Result<(Store, Found), StorageError> {
    let next = identity.get().state + 1;
    let fresh = state(folder, next);
    let clear = || {
        if fresh.exists() {
            put_aside(folder, &fresh)
        } else {
            Ok(())
        }
    };
    clear()?;
    for snapshot in snapshot_file::list(&folder.join("snapshots"))? {
        let verified = snapshot_file::verify(&snapshot);
        if let Ok(header) = &verified {
            header.check_cluster(&snapshot, identity.get().cluster)?;
        }
        match verified.and_then(|_| snapshot_file::restore(&snapshot, &fresh, config)) {
            Ok((store, _)) => {
                let stored = store.applied()?;
                identity.update(|identity| (identity.state, identity.stored) = (next, stored));
                return Ok((store, Found::Restored { why }));
            }
            Err(error) => {
                tracing::error!(%error, "a snapshot cannot be used");
                clear()?;
            }
        }
    }
    let store = Store::open(&fresh, config)?;
    identity.update(|identity| (identity.state, identity.stored) = (next, 0));
    Ok((store, Found::Emptied { why }))
}

/// A full disk makes a good store unusable, and one that is put aside takes as much room again.
fn need_room(folder: &Path, why: &str) -> Result<(), StorageError> {
    if Volume::of(folder).is_none_or(|volume| volume.free >= REBUILD_BYTES_MIN) {
        return Ok(());
    }
    let detail = format!("the disk is full, and the store cannot be used ({why}): free some space and start again");
    Err(StorageError::io(folder)(io::Error::new(
        io::ErrorKind::StorageFull,
        detail,
    )))
}

/// What is left of a snapshot's installation that was cut short: before the switch its new folder, after it the old one. `used`
/// is in order, so neither is needed.
fn remove_cut_short(folder: &Path, used: u64) -> Result<(), StorageError> {
    let left = used.checked_sub(1).into_iter().chain([used + 1]);
    for path in left.map(|number| state(folder, number)).filter(|path| path.exists()) {
        tracing::warn!(folder = %path.display(), "the installation of a snapshot was cut short: what it left is removed");
        fs::remove_dir_all(&path).map_err(StorageError::io(&path))?;
    }
    Ok(())
}

/// Moves a folder out of the way, where an operator can look at it.
fn put_aside(folder: &Path, path: &Path) -> Result<(), StorageError> {
    let quarantine = folder.join("quarantine");
    fs::create_dir_all(&quarantine).map_err(StorageError::io(&quarantine))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let aside = quarantine.join(format!("{}-{name}", clock::wall()));
    fs::rename(path, &aside)
        .and_then(|()| snapshot_file::sync_folder(path))
        .and_then(|()| snapshot_file::sync_folder(&aside))
        .map_err(StorageError::io(path))?;
    tracing::warn!(folder = %path.display(), aside = %aside.display(), "put aside");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Found, Layout};
    use crate::base::size::Span;
    use crate::state::{Row, RowKey};
    use crate::storage::snapshot_file::Origin;
    use crate::storage::{Config, WriteBehind};
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
        assert!(layout.state_bytes() >= 200 * 1000);
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
    fn data_without_an_identity_is_refused_and_a_lost_and_found_is_not() {
        for (name, good) in [
            ("log", false),
            ("state-0", false),
            ("snapshots", false),
            ("lost+found", true),
        ] {
            let folder = tempfile::tempdir().unwrap();
            std::fs::create_dir(folder.path().join(name)).unwrap();
            let opened = Layout::open(folder.path(), 1, &Config::default());
            assert_eq!(opened.is_ok(), good, "{name}");
        }
    }

    fn snapshot(layout: &Layout) -> std::path::PathBuf {
        let config = Config::default();
        let write_behind =
            WriteBehind::start(layout.store.clone(), &config, Box::new(|| None), Box::new(|_| {})).unwrap();
        let origin = Origin {
            cluster: layout.identity.get().cluster,
            epoch: 1,
        };
        let info = write_behind.snapshot(&layout.snapshots(), origin).unwrap();
        write_behind.stop();
        info.path
    }

    #[test]
    fn a_lost_store_comes_back_from_the_newest_whole_snapshot() {
        let folder = tempfile::tempdir().unwrap();
        let layout = open(folder.path());
        fill(&layout, 7);
        snapshot(&layout);
        fill(&layout, 9);
        let newest = snapshot(&layout);
        drop(layout);
        std::fs::write(folder.path().join("snapshots/cut.part"), "cut").unwrap();
        std::fs::remove_dir_all(folder.path().join("state-0")).unwrap();
        let mut layout = open(folder.path());
        assert!(matches!(layout.found, Found::Restored { .. }), "{:?}", layout.found);
        assert_eq!((layout.store.applied().unwrap(), layout.identity.get().stored), (9, 9));
        assert!(layout.store.get(&RowKey::User(199)).unwrap().is_some());
        assert!(!folder.path().join("snapshots/cut.part").exists());
        // The next time, the newest snapshot is damaged too.
        let mut bytes = std::fs::read(&newest).unwrap();
        bytes[100] ^= 1;
        std::fs::write(&newest, bytes).unwrap();
        layout
            .rebuild("a row cannot be read".into(), &Config::default())
            .unwrap();
        assert_eq!((layout.store.applied().unwrap(), layout.identity.get().state), (7, 2));
        assert_eq!(
            layout.found,
            Found::Restored {
                why: "a row cannot be read".into()
            }
        );
        drop(layout);
        assert_eq!(open(folder.path()).found, Found::Kept);
    }

    #[test]
    fn a_snapshot_of_another_cluster_is_never_used() {
        let folder = tempfile::tempdir().unwrap();
        let layout = open(folder.path());
        layout.identity.update(|identity| identity.cluster = 0xA);
        fill(&layout, 7);
        let foreign = snapshot(&layout);
        layout.identity.update(|identity| identity.cluster = 0xB);
        drop(layout);
        assert_eq!(open(folder.path()).found, Found::Kept, "nobody needs it");
        std::fs::remove_dir_all(folder.path().join("state-0")).unwrap();
        let refused = || Layout::open(folder.path(), 1, &Config::default()).err().unwrap();
        for _ in 0..2 {
            let error = refused().to_string();
            assert!(error.contains("of cluster 0000000000000000000000000000000a"), "{error}");
            assert!(error.contains(foreign.to_str().unwrap()), "{error}");
        }
        std::fs::remove_file(foreign).unwrap();
        assert!(matches!(open(folder.path()).found, Found::Emptied { .. }));
    }

    /// The machine stops while a received snapshot is filled in, or right after the switch.
    #[test]
    fn an_installation_that_was_cut_short_leaves_one_state() {
        let folder = tempfile::tempdir().unwrap();
        let layout = open(folder.path());
        fill(&layout, 7);
        let other = tempfile::tempdir().unwrap();
        copy(&layout.state(0), &other.path().join("state-0"));
        drop(layout);
        let states = || {
            let names = std::fs::read_dir(folder.path()).unwrap();
            let mut names: Vec<String> = names
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .filter(|name| name.starts_with("state-"))
                .collect();
            names.sort();
            names
        };
        // Half of it: sled would open it as an empty store.
        let next = folder.path().join("state-1");
        copy(&other.path().join("state-0"), &next);
        let db = std::fs::File::options().write(true).open(next.join("db")).unwrap();
        db.set_len(100).unwrap();
        let layout = open(folder.path());
        assert_eq!((&layout.found, states()), (&Found::Kept, vec!["state-0".to_owned()]));
        assert!(layout.store.get(&RowKey::User(199)).unwrap().is_some());
        // All of it, and the identity file names it: the old one was to go next.
        copy(&other.path().join("state-0"), &next);
        layout.identity.update(|identity| identity.state = 1);
        drop(layout);
        let layout = open(folder.path());
        assert_eq!((&layout.found, states()), (&Found::Kept, vec!["state-1".to_owned()]));
        assert!(layout.store.get(&RowKey::User(199)).unwrap().is_some());
    }

    /// Whatever happens to sled's file, a node opens within the deadline with all rows or knows that it has none.
    #[test]
    fn flipped_bits_and_cuts_in_sleds_file_are_survived() {
        let folder = tempfile::tempdir().unwrap();
        let layout = open(folder.path());
        (1..=40).for_each(|index| fill(&layout, index));
        drop(layout);
        let db = folder.path().join("state-0/db");
        let good = std::fs::read(&db).unwrap();
        let used = good.iter().rposition(|byte| *byte != 0).unwrap();
        let config = Config {
            open_deadline: Span::millis(1_000),
            ..Config::default()
        };
        for at in (0..used).step_by(used / 10) {
            let other = tempfile::tempdir().unwrap();
            copy(folder.path(), other.path());
            let mut bytes = good.clone();
            bytes[at] ^= 0x10;
            std::fs::write(other.path().join("state-0/db"), bytes).unwrap();
            let mut layout = Layout::open(other.path(), 1, &config).unwrap();
            let mut rows = 0;
            let read = layout.store.scan(|key, value| {
                let RowKey::User(number) = key else { panic!("{key:?}") };
                assert_eq!(value, vec![number as u8; 1000], "no wrong value is ever served");
                rows += 1;
                Ok(())
            });
            if let Err(error) = read {
                layout.rebuild(error.to_string(), &config).unwrap();
            } else if layout.found == Found::Kept {
                assert_eq!(rows, 200, "flipped at {at}");
            }
        }
    }

    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let target = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                copy(&entry.path(), &target);
            } else {
                std::fs::copy(entry.path(), &target).unwrap();
            }
        }
    }
}
