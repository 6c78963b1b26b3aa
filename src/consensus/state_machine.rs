//! The replicated state behind openraft: entries in order into [`State::apply`], effects out, rows behind.
//!
//! The state, and the log position it stands at, change together under one lock, so that a batch of rows always carries the
//! position that it belongs to.

use super::handle::Applied;
use super::snapshot::{self, SnapshotFile};
use super::types::{Answer, LogId, Members, Packed, SnapshotMeta, Types};
use crate::base::clock;
use crate::metrics::METRICS;
use crate::model::{Millis, Position};
use crate::state::command::Pack;
use crate::state::{Effect, Outcome, State};
use crate::storage::layout::Layout;
use crate::storage::{Batch, Store, WriteBehind};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use openraft::alias::SnapshotOf;
use openraft::impls::EmptyNode;
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, Membership, OptionalSend, RaftSnapshotBuilder};
use parking_lot::{Mutex, RwLock};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The first byte of a packed entry.
pub const PACK_VERSION: u8 = 2;
/// How long apply pauses at a time while too many rows wait for sled.
const PAUSE: Duration = Duration::from_millis(5);

/// The state and where it stands.
#[derive(Default)]
pub struct Replica {
    pub state: State,
    pub last: Option<LogId>,
    pub members: Members,
    /// What the last batch of rows stood at.
    taken: Option<LogId>,
}

/// Shared by apply, the write-behind thread and the handle.
pub struct Shared {
    pub replica: RwLock<Replica>,
    pub layout: Layout,
    pub store: RwLock<Store>,
    pub write_behind: OnceLock<WriteBehind>,
    /// Releases up to here are in the store.
    pub stored_position: Arc<AtomicU64>,
    pub storage: crate::storage::Config,
    pub applied: watch::Sender<u64>,
    pub watcher: OnceLock<Arc<dyn Applied>>,
    /// The last applied log time, and when this node applied it.
    pub log_time: Mutex<(Millis, Instant)>,
    /// A snapshot is taking the state's place: apply waits for it.
    pub installing: AtomicBool,
    /// The newest durable snapshot.
    pub snapshot: Mutex<Option<SnapshotFile>>,
}

/// A clone shares the state.
#[derive(Clone)]
pub struct Machine(pub Arc<Shared>);

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Log id and members behind the applied index: what a batch carries beside its rows.
pub fn encode_meta(replica: &Replica) -> Bytes {
    let mut meta = replica.state.applied().to_le_bytes().to_vec();
    meta.extend(bincode::serialize(&(&replica.last, &replica.members)).unwrap_or_default());
    meta.into()
}

pub fn decode_meta(meta: &[u8]) -> io::Result<(u64, Option<LogId>, Members)> {
    if meta.is_empty() {
        return Ok((0, None, Members::default())); // nothing was ever applied
    }
    let (applied, rest) = meta
        .split_first_chunk::<8>()
        .ok_or_else(|| invalid("the meta row is too short"))?;
    let (last, members) = bincode::deserialize(rest).map_err(invalid)?;
    Ok((u64::from_le_bytes(*applied), last, members))
}

/// The commands of an entry. What this program does not know stops the node; it never skips.
fn unpack(bytes: &[u8]) -> io::Result<Pack> {
    match bytes.split_first() {
        Some((&PACK_VERSION, rest)) => bincode::deserialize(rest).map_err(invalid),
        Some((version, _)) => Err(invalid(format!(
            "entry of version {version}; this program knows {PACK_VERSION}"
        ))),
        None => Err(invalid("an entry without a version")),
    }
}

impl Replica {
    /// The state as a store's rows have it.
    pub fn load(store: &Store) -> io::Result<Self> {
        let mut state = State::new();
        let loaded = store.scan(|key, value| {
            state
                .load(&key, &value)
                .map_err(|broken| crate::storage::StorageError::Damaged {
                    path: store.folder().display().to_string(),
                    detail: broken.to_string(),
                })
        });
        loaded.map_err(io::Error::other)?;
        let (applied, last, members) = match store.meta().map_err(io::Error::other)? {
            Some(meta) => decode_meta(&meta)?,
            None => (0, None, Members::default()),
        };
        state.loaded(applied);
        Ok(Self {
            taken: last,
            state,
            last,
            members,
        })
    }

    fn apply(&mut self, log_id: LogId, content: Content) -> (Vec<Outcome>, Vec<Effect>) {
        let index = log_id.index;
        let mut effects = Vec::new();
        let outcomes = match content {
            Content::Nothing => {
                self.state.skip(index);
                Vec::new()
            }
            Content::Commands(Pack { at, commands }) => self.state.apply(index, at, commands, &mut effects),
            Content::Members(members) => {
                self.members = Members::new(Some(log_id), members);
                self.state.skip(index);
                Vec::new()
            }
        };
        self.last = Some(log_id);
        (outcomes, effects)
    }
}

/// What an entry carries, read before the state is locked.
enum Content {
    Nothing,
    Commands(Pack),
    Members(Membership<u64, EmptyNode>),
}

impl Content {
    fn read(payload: EntryPayload<Packed, u64, EmptyNode>) -> io::Result<Self> {
        Ok(match payload {
            EntryPayload::Blank => Self::Nothing,
            EntryPayload::Normal(packed) => Self::Commands(unpack(&packed.0)?),
            EntryPayload::Membership(members) => Self::Members(members),
        })
    }
}

impl Shared {
    /// What changed since the last batch, and the last position in it: called by the write-behind thread.
    pub fn take(&self) -> Option<(Batch, Position)> {
        let mut replica = self.replica.write();
        // Entries without rows count too: members travel in the meta row.
        if replica.last == replica.taken {
            return None;
        }
        replica.taken = replica.last;
        let rows = replica.state.take_rows();
        let batch = Batch {
            applied: replica.state.applied(),
            meta: encode_meta(&replica),
            rows,
            forgotten: replica.state.forgotten(),
        };
        Some((batch, replica.state.next_position() - 1))
    }

    pub fn dirty(&self) -> usize {
        self.replica.read().state.dirty()
    }

    pub fn write_behind(&self) -> io::Result<&WriteBehind> {
        self.write_behind
            .get()
            .ok_or_else(|| io::Error::other("write-behind has not started"))
    }

    fn apply(&self, log_id: LogId, content: Content) -> (Vec<Outcome>, Vec<Effect>) {
        let mut replica = self.replica.write();
        let applied = replica.apply(log_id, content);
        *self.log_time.lock() = (replica.state.log_time(), clock::now());
        applied
    }

    /// Makes all rows durable and writes down how far they reach.
    pub fn sync(&self) -> io::Result<u64> {
        let stored = self.write_behind()?.sync().map_err(io::Error::other)?;
        if self.layout.identity.get().stored < stored {
            self.layout.identity.update(|identity| identity.stored = stored);
        }
        Ok(stored)
    }

    /// Writes down how far the log is known to reach. Only committed entries count, since others may rightly go again; and only
    /// those on this disk (`durable`), since what a majority has may be applied here first.
    pub fn mark(&self, durable: u64) {
        let logged = durable.min(self.replica.read().state.applied());
        if self.layout.identity.get().logged < logged {
            self.layout.identity.update(|identity| identity.logged = logged);
        }
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, Members)> {
        let replica = self.0.replica.read();
        Ok((replica.last, replica.members.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        let shared = &self.0;
        while let Some(entry) = entries.next().await {
            let (entry, responder) = entry?;
            let index = entry.log_id.index;
            tracing::debug!(index, term = entry.log_id.leader_id.term, "applying");
            while shared.dirty() > shared.storage.write_behind_rows_max {
                METRICS
                    .limits_hit
                    .with_label_values(&["storage.write_behind_rows_max"])
                    .inc();
                tokio::time::sleep(PAUSE).await;
            }
            let began = clock::now();
            let (outcomes, effects) = shared.apply(entry.log_id, Content::read(entry.payload)?);
            METRICS.apply_seconds.observe(began.elapsed().as_secs_f64());
            if let Some(watcher) = shared.watcher.get() {
                watcher.applied(index, effects);
            }
            shared.applied.send_replace(index);
            if let Some(responder) = responder {
                responder.send(Answer(outcomes));
            }
            METRICS.applied_index.set(index as i64);
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, file: SnapshotFile) -> io::Result<()> {
        let (shared, meta) = (self.0.clone(), meta.clone());
        self.0.installing.store(true, Ordering::Relaxed);
        let installed = tokio::task::spawn_blocking(move || snapshot::install(&shared, &meta, &file)).await;
        self.0.installing.store(false, Ordering::Relaxed);
        installed.map_err(io::Error::other)?
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf<Types, SnapshotFile>>> {
        self.0.snapshot.lock().as_ref().map(SnapshotFile::describe).transpose()
    }
}

impl RaftSnapshotBuilder<Types> for Machine {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<Types, SnapshotFile>> {
        let shared = self.0.clone();
        tokio::task::spawn_blocking(move || snapshot::build(&shared))
            .await
            .map_err(io::Error::other)?
    }
}
