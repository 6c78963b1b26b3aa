//! Commands that wait together travel together: into one log entry on the leader, in one request to it from a follower.
//!
//! No timer: an idle packer sends at once; what comes while entries are in flight shares the next one.

use super::Config;
use super::handle::{Leadership, ProposeError, Proposed};
use super::network::Peers;
use super::rpc::{self, Forward, Forwarded};
use super::state_machine::{PACK_VERSION, Shared};
use super::types::{Answer, Completion, Packed, Raft, Types};
use crate::base::clock;
use crate::metrics::METRICS;
use crate::model::Millis;
use bytes::Bytes;
use openraft::raft::ClientWriteResult;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

/// Between tries of commands that found no leader.
const RETRY_EVERY: Duration = Duration::from_millis(20);
/// A command whose outcome is unknown is proposed again after this: publishes carry keys, the rest repeats harmlessly.
const UNKNOWN_AFTER: Duration = Duration::from_millis(50);

/// A follower's request holds as much as this many entries.
const FORWARD_PACKS: usize = 4;

const WAITING: u8 = 0;
const PROPOSED: u8 = 1;
const ABANDONED: u8 = 2;

/// Where a command is, shared with whoever waits for it.
#[derive(Debug, Default)]
pub struct Progress(AtomicU8);

impl Progress {
    /// From now on the outcome may be unknown. `false`: its caller has left.
    fn propose(&self) -> bool {
        let moved = self
            .0
            .compare_exchange(WAITING, PROPOSED, Ordering::AcqRel, Ordering::Acquire);
        moved.is_ok() || moved == Err(PROPOSED)
    }

    /// It was not proposed after all.
    fn withdraw(&self) {
        let _ = self
            .0
            .compare_exchange(PROPOSED, WAITING, Ordering::AcqRel, Ordering::Acquire);
    }

    /// The caller leaves; `true` when it was never proposed and never will be.
    pub fn abandon(&self) -> bool {
        self.0
            .compare_exchange(WAITING, ABANDONED, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }
}

/// One command, encoded, and who waits for it.
pub struct Waiting {
    pub command: Bytes,
    pub deadline: Instant,
    pub progress: Arc<Progress>,
    pub reply: oneshot::Sender<Result<Proposed, ProposeError>>,
}

impl Waiting {
    fn is_due(&self, now: Instant) -> bool {
        self.deadline > now && !self.reply.is_closed()
    }
}

/// The leader's log time: its wall clock at election, moved on by the monotonic clock, never behind what was applied.
#[derive(Debug)]
struct LogTime {
    term: u64,
    anchor: Millis,
    since: Instant,
}

pub struct Packer {
    pub raft: Raft,
    pub shared: Arc<Shared>,
    pub peers: Arc<Peers>,
    pub config: Config,
    pub leadership: watch::Receiver<Leadership>,
    /// What has to be tried again comes back through here.
    pub again: mpsc::Sender<Waiting>,
    time: Mutex<LogTime>,
}

impl Packer {
    pub fn new(
        raft: Raft,
        shared: Arc<Shared>,
        peers: Arc<Peers>,
        config: Config,
        leadership: watch::Receiver<Leadership>,
        again: mpsc::Sender<Waiting>,
    ) -> Arc<Self> {
        let time = Mutex::new(LogTime {
            term: 0,
            anchor: 0,
            since: clock::now(),
        });
        Arc::new(Self {
            raft,
            shared,
            peers,
            config,
            leadership,
            again,
            time,
        })
    }

    /// Runs until every sender of `waiting` is gone.
    pub async fn run(self: Arc<Self>, mut waiting: mpsc::Receiver<Waiting>) {
        let mut permits = self.permits();
        let mut leadership = self.leadership.clone();
        let mut held: Option<Waiting> = None;
        loop {
            let first = match held.take() {
                Some(first) => first,
                None => match waiting.recv().await {
                    Some(first) => first,
                    None => return,
                },
            };
            let permit = tokio::select! {
                biased;
                Ok(()) = leadership.changed() => {
                    // What is still under way to a leader of before must not hold up the way to this one.
                    permits = self.permits();
                    held = Some(first);
                    continue;
                }
                permit = permits.clone().acquire_owned() => permit,
            };
            let Ok(permit) = permit else { return };
            let mut pack = vec![first];
            let mut bytes = pack[0].command.len();
            let room = if leadership.borrow().is_leader {
                1
            } else {
                FORWARD_PACKS
            };
            while pack.len() < self.config.pack_commands_max * room
                && let Ok(next) = waiting.try_recv()
            {
                bytes += next.command.len();
                if bytes > self.config.pack_bytes_max.bytes() * room {
                    held = Some(next);
                    break;
                }
                pack.push(next);
            }
            let now = clock::now();
            pack.retain(|waiting| waiting.is_due(now));
            if !pack.is_empty() {
                self.send(pack, permit).await;
            }
        }
    }

    /// A leader has several entries under way, in order. A follower has one request at a time, with more in it: two could
    /// overtake each other, and the lines of a batch keep their order.
    fn permits(&self) -> Arc<Semaphore> {
        let leads = self.leadership.borrow().is_leader;
        Arc::new(Semaphore::new(if leads { self.config.packs_in_flight_max } else { 1 }))
    }

    async fn send(self: &Arc<Self>, mut pack: Vec<Waiting>, permit: OwnedSemaphorePermit) {
        let leadership = self.leadership.borrow().clone();
        match leadership.leader {
            None => self.later(pack, RETRY_EVERY),
            Some(_) if leadership.is_leader => {
                if self.shared.dirty() > self.shared.storage.write_behind_rows_max / 2 {
                    return refuse(pack);
                }
                pack.retain(|waiting| waiting.progress.propose());
                self.propose(pack, leadership.term, permit).await;
            }
            Some(leader) => {
                let packer = self.clone();
                tokio::spawn(async move {
                    packer.forward(leader, pack).await;
                    drop(permit);
                });
            }
        }
    }

    /// Leads: one entry for all of them.
    async fn propose(self: &Arc<Self>, pack: Vec<Waiting>, term: u64, permit: OwnedSemaphorePermit) {
        METRICS.pack_commands.observe(pack.len() as f64);
        let entry = self.encode(term, pack.iter().map(|waiting| &waiting.command));
        let packer = self.clone();
        let completion = Completion::new(move |result: ClientWriteResult<Types>| {
            drop(permit);
            if let Ok(done) = result {
                answer(pack, done.log_id.index, done.data);
            } else {
                // Not appended, or overwritten by another leader: it never will be applied.
                withdraw(&pack);
                packer.later(pack, RETRY_EVERY);
            }
        });
        // If raft has stopped, the replies are dropped with the closure: the callers see an unknown outcome.
        let _ = self.raft.client_write_ff(entry, Some(completion)).await;
    }

    /// Proposes commands that a follower passed on; `None` for those that had run out.
    pub async fn propose_forwarded(self: &Arc<Self>, forward: Forward) -> Forwarded {
        let leadership = self.leadership.borrow().clone();
        if !leadership.is_leader {
            return Forwarded::NotLeader;
        }
        if self.shared.dirty() > self.shared.storage.write_behind_rows_max / 2 {
            return Forwarded::Overloaded;
        }
        let due: Vec<bool> = forward.commands.iter().map(|(_, left)| *left > 0).collect();
        let commands = forward
            .commands
            .iter()
            .filter(|(_, left)| *left > 0)
            .map(|(command, _)| command);
        let entry = self.encode(leadership.term, commands);
        let (done, wait) = oneshot::channel();
        let completion = Completion::new(move |result: ClientWriteResult<Types>| {
            // The follower may have given up.
            let _ = done.send(result);
        });
        METRICS.pack_commands.observe(due.len() as f64);
        if self.raft.client_write_ff(entry, Some(completion)).await.is_err() {
            return Forwarded::Unknown;
        }
        match wait.await {
            Ok(Ok(written)) => {
                let index = written.log_id.index;
                let mut outcomes = written.data.0.into_iter();
                let each = due.into_iter().map(|due| {
                    if due {
                        outcomes.next().map(|outcome| (index, outcome))
                    } else {
                        None
                    }
                });
                Forwarded::Done(each.collect())
            }
            Ok(Err(_)) => Forwarded::NotLeader,
            Err(_) => Forwarded::Unknown,
        }
    }

    /// Follows: one request for all of them.
    async fn forward(self: &Arc<Self>, leader: u64, mut pack: Vec<Waiting>) {
        let Some(ways) = self.peers.get(leader).cloned() else {
            return self.later(pack, RETRY_EVERY);
        };
        let now = clock::now();
        pack.retain(|waiting| waiting.progress.propose());
        let Some(latest) = pack.iter().map(|waiting| waiting.deadline).max() else {
            return;
        };
        let left =
            |deadline: Instant| u32::try_from(deadline.saturating_duration_since(now).as_millis()).unwrap_or(u32::MAX);
        let commands = pack
            .iter()
            .map(|waiting| (waiting.command.clone(), left(waiting.deadline)))
            .collect();
        let cluster = self.peers.cluster();
        let forward = Forward { commands };
        let mut leadership = self.leadership.clone();
        let answered = tokio::select! {
            answered = ways.forward.call(rpc::PROPOSE, cluster, &forward, latest) => answered,
            // It may be cut off or stopped: nobody waits for it once another leads.
            Ok(_) = leadership.wait_for(|now| now.leader != Some(leader)) => return self.later(pack, RETRY_EVERY),
        };
        match answered {
            Ok(Forwarded::Done(outcomes)) => self.forwarded(pack, outcomes).await,
            Ok(Forwarded::Overloaded) => refuse(pack),
            Ok(Forwarded::NotLeader) => {
                withdraw(&pack);
                self.later(pack, RETRY_EVERY);
            }
            Ok(Forwarded::Unknown) | Err(_) => self.later(pack, UNKNOWN_AFTER),
        }
    }

    /// The leader has answered: each caller hears of it when this node has applied the entry too.
    async fn forwarded(self: &Arc<Self>, pack: Vec<Waiting>, outcomes: Vec<Option<(u64, crate::state::Outcome)>>) {
        let last = outcomes.iter().flatten().map(|(index, _)| *index).max().unwrap_or(0);
        let mut applied = self.shared.applied.subscribe();
        let latest = pack
            .iter()
            .map(|waiting| waiting.deadline)
            .max()
            .unwrap_or_else(clock::now);
        let reached = tokio::time::timeout(clock::left(latest), applied.wait_for(|applied| *applied >= last)).await;
        if !matches!(reached, Ok(Ok(_))) {
            return; // the callers time out: proposed, outcome unknown
        }
        for (waiting, outcome) in pack.into_iter().zip(outcomes) {
            let result = match outcome {
                Some((index, outcome)) => Ok(Proposed { index, outcome }),
                None => Err(ProposeError::TimedOut { proposed: false }),
            };
            let _ = waiting.reply.send(result);
        }
    }

    /// Tries again after a while, those whose time has not run out.
    fn later(self: &Arc<Self>, pack: Vec<Waiting>, after: Duration) {
        let again = self.again.clone();
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            for waiting in pack {
                if waiting.is_due(clock::now()) && again.send(waiting).await.is_err() {
                    return;
                }
            }
        });
    }

    fn encode<'a>(&self, term: u64, commands: impl Iterator<Item = &'a Bytes>) -> Packed {
        // bincode of `Pack`: the time, a count of commands, the commands one behind the other.
        let mut entry = Vec::with_capacity(self.config.pack_bytes_max.bytes());
        entry.push(PACK_VERSION);
        entry.extend(self.log_time(term).to_le_bytes());
        entry.extend(0u64.to_le_bytes());
        let mut count = 0u64;
        for command in commands {
            entry.extend_from_slice(command);
            count += 1;
        }
        entry[9..17].copy_from_slice(&count.to_le_bytes());
        Packed(entry.into())
    }

    fn log_time(&self, term: u64) -> Millis {
        let applied = self.shared.replica.read().state.log_time();
        let mut time = self.time.lock();
        if time.term != term {
            *time = LogTime {
                term,
                anchor: applied.max(clock::wall()),
                since: clock::now(),
            };
        }
        applied.max(time.anchor + time.since.elapsed().as_millis() as Millis)
    }
}

/// Whoever gives up from now on knows that it never was proposed.
fn withdraw(pack: &[Waiting]) {
    for waiting in pack {
        waiting.progress.withdraw();
    }
}

fn answer(pack: Vec<Waiting>, index: u64, answer: Answer) {
    for (waiting, outcome) in pack.into_iter().zip(answer.0) {
        // Whoever waited may have left.
        let _ = waiting.reply.send(Ok(Proposed { index, outcome }));
    }
}

fn refuse(pack: Vec<Waiting>) {
    METRICS
        .limits_hit
        .with_label_values(&["storage.write_behind_rows_max"])
        .inc();
    for waiting in pack {
        let _ = waiting.reply.send(Err(ProposeError::Overloaded {
            retry_after: Duration::from_secs(1),
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::PACK_VERSION;
    use crate::state::Command;
    use crate::state::command::{Found, Pack, Tick};

    #[test]
    fn a_pack_is_its_commands_one_behind_the_other() {
        let commands = vec![
            Command::Tick(Tick { kept_ms: 7 }),
            Command::Found(Found { epoch: 1, salt: 2 }),
        ];
        let whole = bincode::serialize(&Pack {
            at: 42,
            commands: commands.clone(),
        })
        .unwrap();
        let mut parts = 42i64.to_le_bytes().to_vec();
        parts.extend(2u64.to_le_bytes());
        commands
            .iter()
            .for_each(|command| parts.extend(bincode::serialize(command).unwrap()));
        assert_eq!((whole, PACK_VERSION), (parts, 1));
    }
}
