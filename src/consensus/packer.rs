//! Commands that wait together travel together: into one log entry on the leader, in one request to it from a follower. What
//! a follower has passed on stands in the leader's queue like its own, so that it shares entries too.
//!
//! No timer: an idle packer sends at once; what comes while entries are in flight shares the next one.

use super::Config;
use super::admission::{Standing, fullness, rows_share};
use super::handle::{Leadership, ProposeError, Proposed};
use super::line::{Admission, Group, Item, Lane, Line, Waiting};
use super::network::Peers;
use super::road::Road;
use super::room::Room;
use super::rpc::{Fate, Forward, Forwarded};
use super::state_machine::{PACK_VERSION, Shared};
use super::types::{Answer, Completion, Packed, Raft, Types};
use crate::base::clock;
use crate::metrics::METRICS;
use crate::model::{Millis, Priority};
use crate::queue::admission::{Fullness, admits};
use bytes::Bytes;
use openraft::raft::ClientWriteResult;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

/// Between tries of commands that found no leader.
const RETRY_EVERY: Duration = Duration::from_millis(20);
/// Room for a usual entry; a larger one grows.
const ENTRY_BYTES: usize = 4 << 10;
/// A command whose outcome is unknown is proposed again after this: publishes carry keys, the rest repeats harmlessly.
const UNKNOWN_AFTER: Duration = Duration::from_millis(50);

/// What shares one entry or one request: this node's own commands, then those of others.
#[derive(Default)]
struct Parcel {
    own: Vec<Waiting>,
    groups: Vec<Group>,
}

impl Parcel {
    fn push(&mut self, item: Item) {
        match item {
            Item::One(waiting) => self.own.push(waiting),
            Item::Group(group) => self.groups.push(group),
        }
    }

    /// Sends back what is not urgent enough for what is left of the room.
    fn turn_away(&mut self, fullness: Fullness) {
        if admits(Priority::Low, fullness) {
            return;
        }
        let own = std::mem::take(&mut self.own).into_iter();
        let (fits, back) = own.partition(|waiting| waiting.standing.fits(fullness));
        self.own = fits;
        refuse(back);
        for (command, admission) in self.groups.iter_mut().flat_map(|group| &mut group.commands) {
            if matches!(admission, Admission::Until(_)) && !Standing::of_encoded(command).fits(fullness) {
                *admission = Admission::Full;
            }
        }
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
    /// One for each line, so that nothing critical waits for answers to the rest.
    roads: [Road; 2],
    room: Arc<Room>,
    pub config: Config,
    pub leadership: watch::Receiver<Leadership>,
    /// What has to be tried again comes back through here.
    pub again: Line,
    time: Mutex<LogTime>,
}

impl Packer {
    pub fn new(
        raft: Raft,
        shared: Arc<Shared>,
        peers: Arc<Peers>,
        room: Arc<Room>,
        config: Config,
        leadership: watch::Receiver<Leadership>,
        again: Line,
    ) -> Arc<Self> {
        let time = Mutex::new(LogTime {
            term: 0,
            anchor: 0,
            since: clock::now(),
        });
        Arc::new(Self {
            raft,
            shared,
            roads: Lane::ALL.map(|_| Road::new(peers.clone())),
            room,
            config,
            leadership,
            again,
            time,
        })
    }

    /// Packs what waits in one of the lines, until every sender of `waiting` is gone.
    pub async fn run(self: Arc<Self>, lane: Lane, mut waiting: mpsc::Receiver<Item>) {
        let mut permits = self.permits();
        let mut leadership = self.leadership.clone();
        let mut held: Option<Item> = None;
        loop {
            let first = match held.take() {
                Some(first) => first,
                None => match waiting.recv().await {
                    Some(first) => {
                        self.again.taken(first.commands());
                        first
                    }
                    None => return,
                },
            };
            let permit = tokio::select! {
                biased;
                Ok(()) = leadership.changed() => {
                    // What is still under way to a leader of before must not hold up the way to this one.
                    permits = self.permits();
                    self.roads[lane.index()].leave().await;
                    held = Some(first);
                    continue;
                }
                permit = permits.clone().acquire_owned() => permit,
            };
            let Ok(permit) = permit else { return };
            let parcel = self.gather(first, &mut waiting, &mut held);
            self.send(lane, parcel, permit).await;
        }
    }

    /// What waits, up to the bounds of an entry; what would go past them is `held` for the next.
    fn gather(&self, first: Item, waiting: &mut mpsc::Receiver<Item>, held: &mut Option<Item>) -> Parcel {
        let (mut commands, mut bytes) = (first.commands(), first.bytes());
        let mut parcel = Parcel::default();
        parcel.push(first);
        while commands < self.config.pack_commands_max
            && let Ok(next) = waiting.try_recv()
        {
            self.again.taken(next.commands());
            commands += next.commands();
            bytes += next.bytes();
            if commands > self.config.pack_commands_max || bytes > self.config.pack_bytes_max.bytes() {
                *held = Some(next);
                break;
            }
            parcel.push(next);
        }
        let now = clock::now();
        parcel.own.retain(|waiting| waiting.is_due(now));
        parcel
    }

    /// Entries, or requests to the leader, of one line that are under way. Both go in order, so that the lines of a batch keep theirs.
    fn permits(&self) -> Arc<Semaphore> {
        Arc::new(Semaphore::new(self.config.packs_in_flight_max))
    }

    async fn send(self: &Arc<Self>, lane: Lane, mut parcel: Parcel, permit: OwnedSemaphorePermit) {
        let leadership = self.leadership.borrow().clone();
        if leadership.is_leader && leadership.leader.is_some() {
            let rows = rows_share(&self.shared);
            parcel.turn_away(Fullness {
                rows,
                ..Fullness::default()
            });
            return self.propose(parcel, leadership.term, permit).await;
        }
        // Whoever passed these on finds the new leader by itself.
        answer_groups(parcel.groups, || Forwarded::NotLeader);
        if parcel.own.is_empty() {
            return;
        }
        let Some(leader) = leadership.leader else {
            return self.later(parcel.own, RETRY_EVERY);
        };
        self.forward(lane, leader, parcel.own, permit).await;
    }

    /// Leads: one entry for all of them.
    async fn propose(self: &Arc<Self>, mut parcel: Parcel, term: u64, permit: OwnedSemaphorePermit) {
        parcel.own.retain(|waiting| waiting.progress.propose());
        let now = clock::now();
        let own = parcel.own.iter().map(|waiting| &waiting.command);
        let others = parcel.groups.iter().flat_map(|group| &group.commands);
        let due = others
            .filter(|(_, admission)| admission.is_due(now))
            .map(|(command, _)| command);
        let (entry, count) = self.encode(term, own.chain(due));
        if count == 0 {
            return answer(parcel, 0, Answer(Vec::new()), now);
        }
        METRICS.pack_commands.observe(count as f64);
        let packer = self.clone();
        let completion = Completion::new(move |result: ClientWriteResult<Types>| {
            drop(permit);
            if let Ok(done) = result {
                METRICS.commit_seconds.observe(now.elapsed().as_secs_f64());
                answer(parcel, done.log_id.index, done.data, now);
            } else {
                // Not appended, or overwritten by another leader: it never will be applied.
                withdraw(&parcel.own);
                packer.later(parcel.own, RETRY_EVERY);
                answer_groups(parcel.groups, || Forwarded::NotLeader);
            }
        });
        // If raft has stopped, the replies are dropped with the closure: the callers see an unknown outcome.
        let _ = self.raft.client_write_ff(entry, Some(completion)).await;
    }

    /// Puts commands that a follower passed on into the queue, at once; the answer comes with their entry. Each is let in by itself:
    /// a leader whose disk is nearly full sends back what would fill it, and one that is past its capacity what is less urgent.
    pub fn take_forwarded(&self, forward: Forward) -> impl Future<Output = Forwarded> + use<> {
        let (reply, answer) = oneshot::channel();
        let refused = if self.leadership.borrow().is_leader {
            let first = forward
                .commands
                .first()
                .map(|(command, _)| Standing::of_encoded(command));
            let group = Group {
                lane: first.map_or(Lane::Usual, Lane::of),
                commands: self.admit(forward),
                reply,
            };
            if group.admitted() == 0 {
                // they need not wait for an entry to hear of it
                Some(Forwarded::Done(
                    group.commands.iter().filter_map(|(_, it)| refused(*it)).collect(),
                ))
            } else {
                let pushed = self.again.try_push(Item::Group(group));
                pushed.err().map(|_| Forwarded::Overloaded)
            }
        } else {
            Some(Forwarded::NotLeader)
        };
        async move {
            match refused {
                Some(refused) => refused,
                None => answer.await.unwrap_or(Forwarded::Unknown),
            }
        }
    }

    fn admit(&self, forward: Forward) -> Vec<(Bytes, Admission)> {
        let now = clock::now();
        let no_room = self.room.refused(&forward);
        let (full, mut admitted) = (fullness(&self.again, &self.shared, &self.raft), 0);
        let with = |full: Fullness, more: usize| Fullness {
            waiting: self.again.share_with(more),
            ..full
        };
        let each = forward.commands.into_iter().enumerate();
        each.map(|(at, (command, left))| {
            let admission = if no_room.contains(&at) {
                Admission::NoRoom
            } else if Standing::fits_encoded(&command, with(full, admitted)) {
                admitted += 1;
                Admission::Until(now + Duration::from_millis(left.into()))
            } else {
                Admission::Full
            };
            (command, admission)
        })
        .collect()
    }

    /// Follows: one request for all of them, behind those before it.
    async fn forward(self: &Arc<Self>, lane: Lane, leader: u64, mut pack: Vec<Waiting>, permit: OwnedSemaphorePermit) {
        let now = clock::now();
        pack.retain(|waiting| waiting.progress.propose());
        let Some(latest) = pack.iter().map(|waiting| waiting.deadline).max() else {
            return;
        };
        let left =
            |deadline: Instant| u32::try_from(deadline.saturating_duration_since(now).as_millis()).unwrap_or(u32::MAX);
        let commands = pack
            .iter()
            .map(|waiting| (waiting.command.clone(), left(waiting.deadline)));
        let forward = Forward {
            commands: commands.collect(),
        };
        let mut leadership = self.leadership.clone();
        let sent = tokio::select! {
            sent = self.roads[lane.index()].send(leader, &forward, latest) => sent,
            Ok(_) = leadership.wait_for(|now| now.leader != Some(leader)) => Err(std::io::ErrorKind::NotConnected.into()),
        };
        let Ok(answer) = sent else {
            return self.lost(pack, UNKNOWN_AFTER);
        };
        let packer = self.clone();
        tokio::spawn(async move {
            let answered = tokio::select! {
                answered = answer => answered,
                // It may be cut off or stopped: nobody waits for it once another leads.
                Ok(_) = leadership.wait_for(|now| now.leader != Some(leader)) => return packer.lost(pack, RETRY_EVERY),
            };
            // The leader has put these in order: more may go while this node catches up.
            drop(permit);
            match answered {
                Ok(Forwarded::Done(outcomes)) => packer.forwarded(pack, outcomes).await,
                Ok(Forwarded::Overloaded) => refuse(pack),
                Ok(Forwarded::NotLeader) => {
                    withdraw(&pack);
                    packer.later(pack, RETRY_EVERY);
                }
                Ok(Forwarded::Unknown) | Err(_) => packer.lost(pack, UNKNOWN_AFTER),
            }
        });
    }

    /// The leader has answered: each caller hears of it when this node has applied the entry too.
    async fn forwarded(self: &Arc<Self>, pack: Vec<Waiting>, fates: Vec<Fate>) {
        let index = |fate: &Fate| if let Fate::Applied(index, _) = fate { *index } else { 0 };
        let last = fates.iter().map(index).max().unwrap_or(0);
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
        for (waiting, fate) in pack.into_iter().zip(fates) {
            let result = match fate {
                Fate::Applied(index, outcome) => Ok(Proposed { index, outcome }),
                Fate::TooLate => Err(waiting.sent_back(ProposeError::TimedOut { proposed: false })),
                Fate::NoRoom => Err(waiting.sent_back(ProposeError::DiskFull)),
                Fate::Full => Err(waiting.sent_back(waiting.standing.turned_away())),
            };
            let _ = waiting.reply.send(result);
        }
    }

    /// Tries again what may have been proposed.
    fn lost(self: &Arc<Self>, pack: Vec<Waiting>, after: Duration) {
        pack.iter().for_each(|waiting| waiting.progress.lose());
        self.later(pack, after);
    }

    /// Tries again after a while, those whose time has not run out.
    fn later(self: &Arc<Self>, pack: Vec<Waiting>, after: Duration) {
        let again = self.again.clone();
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            for waiting in pack {
                if waiting.is_due(clock::now()) && !again.push(Item::One(waiting)).await {
                    return;
                }
            }
        });
    }

    /// bincode of `Pack`: the time, a count of commands, the commands one behind the other. The entry, and the count.
    fn encode<'a>(&self, term: u64, commands: impl Iterator<Item = &'a Bytes>) -> (Packed, u64) {
        let mut entry = Vec::with_capacity(ENTRY_BYTES);
        entry.push(PACK_VERSION);
        entry.extend(self.log_time(term).to_le_bytes());
        entry.extend(0u64.to_le_bytes());
        let mut count = 0u64;
        for command in commands {
            entry.extend_from_slice(command);
            count += 1;
        }
        entry[9..17].copy_from_slice(&count.to_le_bytes());
        (Packed(entry.into()), count)
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

/// What becomes of a command that is not let in.
const fn refused(admission: Admission) -> Option<Fate> {
    match admission {
        Admission::Until(_) => None,
        Admission::NoRoom => Some(Fate::NoRoom),
        Admission::Full => Some(Fate::Full),
    }
}

/// Whoever gives up from now on knows that it never was proposed.
fn withdraw(pack: &[Waiting]) {
    for waiting in pack {
        waiting.progress.withdraw();
    }
}

/// Outcomes come in the order of the entry: this node's own, then those of each group that were due at `packed_at`.
fn answer(parcel: Parcel, index: u64, answer: Answer, packed_at: Instant) {
    let mut outcomes = answer.0.into_iter();
    for waiting in parcel.own {
        let Some(outcome) = outcomes.next() else { return };
        // Whoever waited may have left.
        let _ = waiting.reply.send(Ok(Proposed { index, outcome }));
    }
    for group in parcel.groups {
        let mut fates = Vec::with_capacity(group.commands.len());
        for (_, admission) in &group.commands {
            fates.push(match admission {
                Admission::NoRoom => Fate::NoRoom,
                Admission::Full => Fate::Full,
                due if due.is_due(packed_at) => match outcomes.next() {
                    Some(outcome) => Fate::Applied(index, outcome),
                    None => return, // an entry with fewer outcomes than commands: nobody knows whose is missing
                },
                Admission::Until(_) => Fate::TooLate,
            });
        }
        let _ = group.reply.send(Forwarded::Done(fates));
    }
}

/// Whoever passed these on may have left.
fn answer_groups(groups: Vec<Group>, with: impl Fn() -> Forwarded) {
    for group in groups {
        let _ = group.reply.send(with());
    }
}

/// Too much waits for commands like these.
fn refuse(pack: Vec<Waiting>) {
    for waiting in pack {
        let why = waiting.sent_back(waiting.standing.turned_away());
        // Whoever waited may have left.
        let _ = waiting.reply.send(Err(why));
    }
}

#[cfg(test)]
mod tests {
    use super::{Admission, Fate, Group, Lane, PACK_VERSION, Parcel, ProposeError, Waiting, answer};
    use crate::base::clock;
    use crate::consensus::admission::{RETRY_AFTER, Standing};
    use crate::consensus::rpc::Forwarded;
    use crate::consensus::types::Answer;
    use crate::model::{Draft, Priority};
    use crate::queue::admission::Fullness;
    use crate::state::command::{Found, Key, Pack, Publish, Spans, Tick};
    use crate::state::rights::Grant;
    use crate::state::{Command, Outcome};
    use bytes::Bytes;
    use std::time::Duration;
    use tokio::sync::oneshot;

    fn publish(priority: Priority) -> Command {
        let key = Key {
            fingerprint: [priority as u8; 16],
            body: 0,
            kept_ms: 1,
            table_bytes_max: 0,
        };
        Command::Publish(Box::new(Publish {
            draft: Draft {
                priority,
                ..Draft::bare("venue.notice", "T", "B")
            },
            sender: "s".into(),
            key,
            spans: Spans {
                expires_after_ms: 1,
                schedule_max_ms: 1,
            },
            superseded: None,
            grant: Grant::default(),
        }))
    }

    fn encoded(command: &Command) -> Bytes {
        bincode::serialize(command).unwrap().into()
    }

    /// Of what travels together only the less urgent stays behind, and each is told for itself.
    #[test]
    fn a_critical_goes_on_from_among_what_is_turned_away() {
        let deadline = clock::now() + Duration::from_secs(60);
        let mut parcel = Parcel::default();
        let mut told = Vec::new();
        for priority in [Priority::Low, Priority::Critical] {
            let command = publish(priority);
            let (reply, answer) = oneshot::channel();
            parcel.own.push(Waiting {
                command: encoded(&command),
                deadline,
                standing: Standing::of(&command),
                progress: std::sync::Arc::default(),
                reply,
            });
            told.push(answer);
        }
        let found = Command::Found(Found { epoch: 1, salt: 2 });
        let passed_on = [
            publish(Priority::Low),
            publish(Priority::Critical),
            publish(Priority::Normal),
            found,
        ];
        let commands = passed_on
            .iter()
            .map(|command| (encoded(command), Admission::Until(deadline)));
        let (reply, mut answered) = oneshot::channel();
        parcel.groups.push(Group {
            lane: Lane::Usual,
            commands: commands.collect(),
            reply,
        });
        let none = Fullness::default();
        parcel.turn_away(Fullness { rows: 0.4, ..none });
        assert_eq!(parcel.own.len(), 2, "there is room for all");
        parcel.turn_away(Fullness { rows: 0.8, ..none });
        let shed = ProposeError::Shed {
            priority: Priority::Low,
            retry_after: RETRY_AFTER,
        };
        assert_eq!(told[0].try_recv().unwrap(), Err(shed));
        assert_eq!(parcel.own.len(), 1);
        // outcomes of what went into the entry: the own critical, then the two of the group
        let outcomes = [true, false, true].map(|replayed| Outcome::Published { number: 1, replayed });
        answer(parcel, 9, Answer(outcomes.into()), clock::now());
        assert_eq!(told[1].try_recv().unwrap().unwrap().index, 9);
        let Forwarded::Done(fates) = answered.try_recv().unwrap() else {
            panic!("each has a fate of its own")
        };
        let applied = |fate: &Fate| matches!(fate, Fate::Applied(9, _));
        assert_eq!(
            fates.iter().map(applied).collect::<Vec<_>>(),
            [false, true, false, true]
        );
        assert!(matches!((&fates[0], &fates[2]), (Fate::Full, Fate::Full)));
    }

    #[test]
    fn a_pack_is_its_commands_one_behind_the_other() {
        let commands = vec![
            Command::Tick(Tick {
                kept_ms: 7,
                missed_after_ms: 8,
                retry: crate::model::Retry::DEFAULT,
            }),
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
        assert_eq!((whole, PACK_VERSION), (parts, 2));
    }
}
