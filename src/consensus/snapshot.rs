//! Snapshots: built from sled while batches go on, sent as a file, installed into a fresh folder and switched over.

use super::state_machine::{Replica, Shared, decode_meta};
use super::types::{SnapshotMeta, Types};
use crate::storage::snapshot_file::{self, Header};
use openraft::alias::SnapshotOf;
use openraft::storage::Snapshot;
use std::fs;
use std::io;
use std::path::PathBuf;

/// A snapshot that lies verified on this node's disk.
#[derive(Clone, Debug)]
pub struct SnapshotFile {
    pub path: PathBuf,
    pub header: Header,
    pub bytes: u64,
}

impl SnapshotFile {
    /// Verifies a file and says what it holds.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        let header = snapshot_file::verify(&path).map_err(io::Error::other)?;
        let bytes = fs::metadata(&path)?.len();
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
    let info = shared
        .write_behind()?
        .snapshot(&shared.layout.snapshots())
        .map_err(io::Error::other)?;
    let file = SnapshotFile::open(info.path)?;
    tracing::info!(applied = file.header.applied, bytes = file.bytes, "snapshot built");
    keep(shared, file.clone());
    file.describe()
}

/// The newest snapshot stays; older ones go, now that it is durable.
fn keep(shared: &Shared, file: SnapshotFile) {
    let newest = file.path.clone();
    *shared.snapshot.lock() = Some(file);
    for path in snapshot_file::list(&shared.layout.snapshots()).unwrap_or_default() {
        if path < newest
            && let Err(error) = fs::remove_file(&path)
        {
            tracing::warn!(%error, path = %path.display(), "an old snapshot cannot be removed");
        }
    }
}

/// Replaces state and store by a received snapshot. Until the identity file names the new folder, the old one counts.
pub fn install(shared: &Shared, meta: &SnapshotMeta, file: &SnapshotFile) -> io::Result<()> {
    let number = shared.layout.identity.get().state + 1;
    let folder = shared.layout.state(number);
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
    shared.layout.identity.update(|identity| {
        // The log is another matter: raft lets it go up to here only after this.
        (identity.state, identity.stored) = (number, header.applied);
    });
    // The new state has nothing to write: batches that come from here on belong to the new store.
    *shared.replica.write() = replica;
    *shared.store.write() = store.clone();
    shared
        .write_behind()?
        .replace(store, header.applied)
        .map_err(io::Error::other)?;
    fs::remove_dir_all(shared.layout.state(number - 1)).or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    })?;
    let kept = shared
        .layout
        .snapshots()
        .join(format!("{:020}.snapshot", header.applied));
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
    shared.applied.send_replace(header.applied);
    if let Some(watcher) = shared.watcher.get() {
        watcher.installed();
    }
    tracing::info!(applied = header.applied, "snapshot installed");
    Ok(())
}
