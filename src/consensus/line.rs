//! The lines in which commands wait for their entry: this node's own, and on the leader those that followers have passed on. What is
//! critical has one of its own, all the way into the log: it overtakes whatever else waits.

use super::admission::Standing;
use super::handle::{ProposeError, Proposed};
use super::rpc::Forwarded;
use crate::model::Priority;
use crate::queue::admission::share;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::Instant;
use tokio::sync::{mpsc, oneshot};

const WAITING: u8 = 0;
const PROPOSED: u8 = 1;
const ABANDONED: u8 = 2;
/// It was proposed, and nobody knows what became of it: whatever happens to it later does not take that back.
const LOST: u8 = 3;

/// Where a command is, shared with whoever waits for it.
#[derive(Debug, Default)]
pub struct Progress(AtomicU8);

impl Progress {
    /// From now on the outcome may be unknown. `false`: its caller has left.
    pub fn propose(&self) -> bool {
        let moved = self
            .0
            .compare_exchange(WAITING, PROPOSED, Ordering::AcqRel, Ordering::Acquire);
        moved.is_ok() || matches!(moved, Err(PROPOSED | LOST))
    }

    /// This attempt was not proposed after all.
    pub fn withdraw(&self) {
        let _ = self
            .0
            .compare_exchange(PROPOSED, WAITING, Ordering::AcqRel, Ordering::Acquire);
    }

    /// What became of this attempt is not known.
    pub fn lose(&self) {
        let _ = self
            .0
            .compare_exchange(PROPOSED, LOST, Ordering::AcqRel, Ordering::Acquire);
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
    pub standing: Standing,
    pub progress: Arc<Progress>,
    pub reply: oneshot::Sender<Result<Proposed, ProposeError>>,
}

impl Waiting {
    pub fn is_due(&self, now: Instant) -> bool {
        self.deadline > now && !self.reply.is_closed()
    }

    /// This attempt was not proposed, for this reason; unless an earlier one may have been.
    pub fn sent_back(&self, why: ProposeError) -> ProposeError {
        self.progress.withdraw();
        if self.progress.abandon() {
            why
        } else {
            ProposeError::TimedOut { proposed: true }
        }
    }
}

/// Which of the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    Critical,
    Usual,
}

impl Lane {
    pub const ALL: [Self; 2] = [Self::Critical, Self::Usual];

    pub const fn of(standing: Standing) -> Self {
        match standing {
            Standing::Broadcast(Priority::Critical) | Standing::Urgent => Self::Critical,
            Standing::Broadcast(Priority::High | Priority::Normal | Priority::Low)
            | Standing::Needed
            | Standing::Patient => Self::Usual,
        }
    }

    pub const fn index(self) -> usize {
        match self {
            Self::Critical => 0,
            Self::Usual => 1,
        }
    }
}

/// Commands that a follower has passed on, in its order; they stay together. All are of one line there.
pub struct Group {
    pub lane: Lane,
    pub commands: Vec<(Bytes, Admission)>,
    pub reply: oneshot::Sender<Forwarded>,
}

/// Whether a command of a follower may be proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    Until(Instant),
    /// The disk is nearly full.
    NoRoom,
    /// Too much waits for one like it.
    Full,
}

impl Admission {
    pub fn is_due(self, now: Instant) -> bool {
        matches!(self, Self::Until(deadline) if deadline > now)
    }
}

/// What stands in the queue.
pub enum Item {
    One(Waiting),
    Group(Group),
}

impl Group {
    /// Commands that are let in: the others take no room, they only wait for their answer.
    pub fn admitted(&self) -> usize {
        let is_in = |(_, admission): &&(Bytes, Admission)| matches!(admission, Admission::Until(_));
        self.commands.iter().filter(is_in).count()
    }
}

impl Item {
    pub fn commands(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Group(group) => group.admitted(),
        }
    }

    fn lane(&self) -> Lane {
        match self {
            Self::One(waiting) => Lane::of(waiting.standing),
            Self::Group(group) => group.lane,
        }
    }

    pub fn bytes(&self) -> usize {
        match self {
            Self::One(waiting) => waiting.command.len(),
            Self::Group(group) => group.commands.iter().map(|(command, _)| command.len()).sum(),
        }
    }
}

/// The end of the lines that commands are put in at. Commands are counted, not items: a follower's request brings many.
#[derive(Clone)]
pub struct Line {
    lanes: [mpsc::Sender<Item>; 2],
    /// In both.
    commands: Arc<AtomicUsize>,
}

/// There is no place for this, or nobody who would take it.
pub enum NotTaken {
    Full,
    Closed,
}

impl Line {
    /// Lines of so many places each, in the order of [`Lane::ALL`]; one item takes one, however many commands it has.
    pub fn new(places: usize) -> (Self, [mpsc::Receiver<Item>; 2]) {
        let (critical, first) = mpsc::channel(places);
        let (usual, second) = mpsc::channel(places);
        let line = Self {
            lanes: [critical, usual],
            commands: Arc::new(AtomicUsize::new(0)),
        };
        (line, [first, second])
    }

    fn lane(&self, item: &Item) -> &mpsc::Sender<Item> {
        let [critical, usual] = &self.lanes;
        match item.lane() {
            Lane::Critical => critical,
            Lane::Usual => usual,
        }
    }

    pub fn try_push(&self, item: Item) -> Result<(), NotTaken> {
        let commands = item.commands();
        // Counted first: whoever takes it out may be quicker than this.
        self.commands.fetch_add(commands, Ordering::Relaxed);
        self.lane(&item).try_send(item).map_err(|error| {
            self.taken(commands);
            match error {
                mpsc::error::TrySendError::Full(_) => NotTaken::Full,
                mpsc::error::TrySendError::Closed(_) => NotTaken::Closed,
            }
        })
    }

    /// Waits for a place; `false` when nobody takes anything any more.
    pub async fn push(&self, item: Item) -> bool {
        let Ok(place) = self.lane(&item).reserve().await else {
            return false;
        };
        self.commands.fetch_add(item.commands(), Ordering::Relaxed);
        place.send(item);
        true
    }

    /// So many commands have left it.
    pub fn taken(&self, commands: usize) {
        self.commands.fetch_sub(commands, Ordering::Relaxed);
    }

    /// Commands in it.
    pub fn waiting(&self) -> usize {
        self.commands.load(Ordering::Relaxed)
    }

    /// How full it is, were there so many more commands in it.
    pub fn share_with(&self, more: usize) -> f64 {
        let [critical, _] = &self.lanes;
        share(self.waiting() + more, critical.max_capacity())
    }
}

#[cfg(test)]
mod tests {
    use super::{Admission, Group, Item, Lane, Line, NotTaken, Progress};
    use crate::base::clock;
    use bytes::Bytes;
    use tokio::sync::oneshot;

    fn group(lane: Lane, commands: usize) -> Item {
        let (reply, _) = oneshot::channel();
        let until = Admission::Until(clock::now());
        let mut commands = vec![(Bytes::from_static(b"x"), until); commands];
        // what is turned away takes no room
        commands.push((Bytes::from_static(b"x"), Admission::Full));
        Item::Group(Group { lane, commands, reply })
    }

    #[tokio::test]
    async fn a_line_is_as_full_as_the_commands_in_it() {
        let usual = |commands| group(Lane::Usual, commands);
        let (line, [mut urgent, mut waiting]) = Line::new(2);
        let is = |share: f64| assert!((line.share_with(0) - share).abs() < 1e-9, "{}", line.share_with(0));
        is(0.0);
        assert!(line.try_push(usual(3)).is_ok() && line.push(usual(1)).await);
        is(2.0);
        assert!(matches!(line.try_push(usual(9)), Err(NotTaken::Full)));
        is(2.0);
        // what is critical has a place where the others have none, and is taken first
        assert!(line.try_push(group(Lane::Critical, 1)).is_ok());
        is(2.5);
        assert_eq!(urgent.try_recv().map(|item| item.commands()).ok(), Some(1));
        line.taken(1);
        let first = waiting.recv().await.unwrap();
        line.taken(first.commands());
        is(0.5);
        drop(waiting);
        assert!(matches!(line.try_push(usual(9)), Err(NotTaken::Closed)));
        assert!(!line.push(usual(9)).await);
        is(0.5);
    }

    #[test]
    fn what_may_have_been_proposed_stays_so_whatever_a_later_attempt_comes_to() {
        let progress = Progress::default();
        assert!(progress.propose());
        progress.withdraw();
        assert!(progress.propose());
        progress.lose();
        assert!(progress.propose());
        progress.withdraw();
        assert!(!progress.abandon(), "the lost attempt may still be applied");
        let never = Progress::default();
        assert!(never.propose());
        never.withdraw();
        assert!(never.abandon() && !never.propose());
    }
}
