//! Snapshots: built from sled while batches go on, sent as a file, installed into a fresh folder and switched over.

use super::rpc::Part;
use super::state_machine::{Replica, Shared, decode_meta};
use super::types::{SnapshotMeta, Types};
use crate::storage::free::is_full;
use crate::storage::snapshot_file::{self, Header, Origin};
use crate::storage::write_behind::disk_failed;
use crate::storage::{StorageError, Store};
use openraft::alias::SnapshotOf;
use openraft::storage::Snapshot;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

/// A snapshot that lies verified on this node's disk.
#[derive(Clone, Debug)]
pub struct SnapshotFile {
    pub path: PathBuf,
    pub header: Header,
    pub bytes: u64,
}

impl SnapshotFile {
    /// Verifies a file that must be of this cluster, and says what it holds.
    pub fn open(path: PathBuf, cluster: u128) -> Result<Self, StorageError> {
        let header = snapshot_file::verify(&path)?;
        header.check_cluster(&path, cluster)?;
        let bytes = fs::metadata(&path).map_or(0, |file| file.len());
        Ok(Self { path, header, bytes })
    }

    pub fn meta(&self) -> io::Result<SnapshotMeta> {
        let (_, last_log_id, last_membership) = decode_meta(&self.header.meta)?;
        Ok(SnapshotMeta {
            last_log_id,
            last_membership,
        })
    }

    pub fn describe(&self) -> io::Result<SnapshotOf<Types, Self>> {
        Ok(Snapshot {
            meta: self.meta()?,
            snapshot: self.clone(),
        })
    }
}

/// Builds a snapshot of what is in sled, after making that durable too: the log is purged only up to what both have.
pub fn build(shared: &Shared) -> io::Result<SnapshotOf<Types, SnapshotFile>> {
    shared.sync()?;
    let origin = Origin {
        cluster: shared.layout.identity.get().cluster,
        epoch: shared.replica.read().state.epoch(),
    };
    let built = shared.write_behind()?.snapshot(&shared.layout.snapshots(), origin);
    let info = match built {
        Ok(info) => info,
        Err(StorageError::NotNow(why)) => {
            tracing::warn!(why, "no snapshot was built");
            return nothing_new(shared, origin);
        }
        Err(error) => return Err(io::Error::other(error)),
    };
    let file = SnapshotFile::open(info.path, origin.cluster).map_err(io::Error::other)?;
    tracing::info!(applied = file.header.applied, bytes = file.bytes, "snapshot built");
    keep(shared, file.clone());
    file.describe()
}

/// Raft would take an error for a broken store. The snapshot of before, or one of nothing, tells it that there is no newer one.
fn nothing_new(shared: &Shared, origin: Origin) -> io::Result<SnapshotOf<Types, SnapshotFile>> {
    let known = shared.snapshot.lock().clone();
    let none = || SnapshotFile {
        path: PathBuf::new(),
        header: Header {
            format: snapshot_file::FORMAT,
            origin,
            applied: 0,
            meta: bytes::Bytes::new(),
        },
        bytes: 0,
    };
    known.unwrap_or_else(none).describe()
}

/// The newest snapshot stays; older ones go, now that it is durable.
fn keep(shared: &Shared, file: SnapshotFile) {
    let newest = file.path.clone();
    {
        let mut known = shared.snapshot.lock();
        if known
            .as_ref()
            .is_some_and(|known| known.header.applied > file.header.applied)
        {
            return; // a newer one was installed while this one was being built
        }
        *known = Some(file);
    }
    for path in snapshot_file::list(&shared.layout.snapshots()).unwrap_or_default() {
        if path < newest
            && let Err(error) = fs::remove_file(&path)
        {
            tracing::warn!(%error, path = %path.display(), "an old snapshot cannot be removed");
        }
    }
}

/// Takes in a part of a snapshot that a leader sends. There is one at a time: what came of another before it is removed.
pub fn receive(folder: &Path, part: &Part) -> io::Result<()> {
    if part.offset == 0 {
        fs::create_dir_all(folder)?;
        snapshot_file::remove_received(folder).map_err(io::Error::other)?;
    }
    let path = snapshot_file::receiving(folder, part.transfer);
    let write = || {
        let file = File::options()
            .create(true)
            .truncate(part.offset == 0)
            .write(true)
            .open(&path)?;
        file.write_all_at(&part.bytes, part.offset)
    };
    write().inspect_err(|error| {
        tracing::error!(%error, path = %path.display(), "a snapshot cannot be received");
        // On a full disk the half of it would stand in everybody's way.
        let _ = fs::remove_file(&path);
    })
}

/// All parts are here: the file is made durable and verified before anything uses it, and from then on nobody removes it.
pub fn received(folder: &Path, transfer: u64, bytes: u64, cluster: u128) -> io::Result<SnapshotFile> {
    let path = snapshot_file::receiving(folder, transfer);
    let verify = || {
        let file = File::options().write(true).open(&path)?;
        if file.metadata()?.len() != bytes {
            return Err(io::Error::other("parts of the snapshot are missing"));
        }
        if let Err(error) = file.sync_all() {
            disk_failed("fsync of a received snapshot", &error);
        }
        SnapshotFile::open(path.clone(), cluster).map_err(io::Error::other)
    };
    let mut file = verify().inspect_err(|error| {
        tracing::error!(%error, "a received snapshot cannot be used");
        let _ = fs::remove_file(&path);
    })?;
    file.path = snapshot_file::whole(&path);
    fs::rename(&path, &file.path)?;
    Ok(file)
}

/// Replaces state and store by a received snapshot. Until the identity file names the new folder, the old one counts.
pub fn install(shared: &Shared, meta: &SnapshotMeta, file: &SnapshotFile) -> io::Result<()> {
    let installed = fill(shared, meta, file).and_then(|(store, replica)| switch(shared, store, replica, file));
    match &installed {
        Err(error) if is_full(error) => disk_failed("installing a snapshot", error),
        _ => installed,
    }
}

/// Fills a fresh folder, which nothing uses yet.
fn fill(shared: &Shared, meta: &SnapshotMeta, file: &SnapshotFile) -> io::Result<(Store, Replica)> {
    let identity = shared.layout.identity.get();
    file.header
        .check_cluster(&file.path, identity.cluster)
        .map_err(io::Error::other)?;
    let folder = shared.layout.state(identity.state + 1);
    if folder.exists() {
        fs::remove_dir_all(&folder)?; // an installation that was cut short: nothing has used it
    }
    let (store, header) = snapshot_file::restore(&file.path, &folder, &shared.storage).map_err(io::Error::other)?;
    let replica = Replica::load(&store)?;
    if replica.last != meta.last_log_id {
        return Err(io::Error::other(
            "the snapshot's rows do not stand where its sender says",
        ));
    }
    let epoch = replica.state.epoch();
    // One that was ordered before the history had its name may hold the name all the same.
    if header.origin.epoch != epoch && header.origin.epoch != 0 {
        return Err(io::Error::other(format!(
            "the snapshot is of epoch {}, but its rows are of epoch {epoch}",
            header.origin.epoch
        )));
    }
    Ok((store, replica))
}

/// From the identity's change on, the new folder counts.
fn switch(shared: &Shared, store: Store, replica: Replica, file: &SnapshotFile) -> io::Result<()> {
    let applied = file.header.applied;
    let number = shared.layout.identity.get().state + 1;
    shared.layout.identity.update(|identity| {
        // The log is another matter: raft lets it go up to here only after this.
        (identity.state, identity.stored) = (number, applied);
    });
    // The new state has nothing to write: batches that come from here on belong to the new store.
    let stored = replica.state.next_position().saturating_sub(1);
    *shared.replica.write() = replica;
    *shared.store.write() = store.clone();
    shared.stored_position.fetch_max(stored, Ordering::Release);
    shared
        .write_behind()?
        .replace(store, applied)
        .map_err(io::Error::other)?;
    fs::remove_dir_all(shared.layout.state(number - 1)).or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    })?;
    let kept = shared.layout.snapshots().join(format!("{applied:020}.snapshot"));
    if file.path != kept {
        fs::create_dir_all(shared.layout.snapshots())?;
        fs::rename(&file.path, &kept)?;
        snapshot_file::sync_folder(&kept)?;
    }
    keep(
        shared,
        SnapshotFile {
            path: kept,
            ..file.clone()
        },
    );
    shared.applied.send_replace(applied);
    if let Some(watcher) = shared.watcher.get() {
        watcher.installed();
    }
    tracing::info!(applied, "snapshot installed");
    Ok(())
}
