//! The thread that reads the backlog for sessions that ask for more than the window has. Workers never wait for it.

use super::backlog::{Backlog, Read};
use super::frame::{FOREIGN, FORGOTTEN, Gap};
use super::gateway::SessionRef;
use super::shared::Shared;
use crate::model::{Cursor, PerPriority, Position, Step, UserNumber};
use crate::state::Release;
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use tokio::sync::mpsc::{Receiver, Sender, channel as bounded};

/// Broadcasts that one returning cursor confirms.
const CONFIRMED_MAX: usize = 1024;

#[derive(Debug)]
pub struct Ask {
    pub session: SessionRef,
    pub user: UserNumber,
    pub question: Question,
}

#[derive(Debug)]
pub enum Question {
    /// Without a cursor.
    Start,
    Earliest,
    /// Of another epoch, or below the window.
    Cursor(Cursor),
    /// More, after these positions.
    Read(PerPriority<Position>),
    /// The client came back with this: it has what was sent at or below it. Nobody waits for it.
    Confirm(Cursor),
}

#[derive(Debug)]
pub enum Found {
    Start(Box<Started>),
    Read(Box<Read>),
    Failed,
}

/// Where a stream starts, and what it starts with.
#[derive(Debug, Default)]
pub struct Started {
    pub positions: PerPriority<Position>,
    pub owed: PerPriority<VecDeque<Arc<Release>>>,
    pub scanned: PerPriority<Position>,
    pub more_in_inbox: u64,
    pub gap: Option<Gap>,
}

/// The way to the reader. A session has one question at a time, so that the bound is never reached by those who wait. The channel
/// takes memory as it fills: one that reserves it held 13 MiB for questions that nobody asked.
pub struct Asks {
    sender: Sender<Option<Ask>>,
}

impl Asks {
    /// False when there are too many questions already.
    pub fn ask(&self, ask: Ask) -> bool {
        self.sender.try_send(Some(ask)).is_ok()
    }

    /// Ends the thread once it has looked at what waits.
    pub fn stop(&self) {
        // A full channel has a reader that is alive and hears of the end when the sender is gone.
        let _ = self.sender.try_send(None);
    }
}

pub fn channel(sessions_max: usize) -> (Asks, Receiver<Option<Ask>>) {
    let (sender, receiver) = bounded(2 * sessions_max.max(1));
    (Asks { sender }, receiver)
}

/// `tell` brings what was found to the worker that has the session.
pub fn start(
    shared: Arc<Shared>,
    mut asks: Receiver<Option<Ask>>,
    tell: impl Fn(SessionRef, Found) + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name("backlog-reader".into())
        .spawn(move || {
            while let Some(Some(ask)) = asks.blocking_recv() {
                let session = ask.session;
                let found = catch_unwind(AssertUnwindSafe(|| answer(&shared, &ask))).unwrap_or_else(|_| {
                    crate::metrics::METRICS.worker_panics.inc();
                    tracing::error!("reading the backlog panicked; the session is told to come back");
                    Some(Found::Failed)
                });
                if let Some(found) = found {
                    tell(session, found);
                }
            }
        })
}

fn answer(shared: &Shared, ask: &Ask) -> Option<Found> {
    let backlog = &*shared.backlog;
    let started = |started| Some(Found::Start(Box::new(started)));
    match ask.question {
        Question::Start => started(start_of(backlog, ask.user, shared.config.backlog_max)),
        Question::Earliest => {
            let positions = backlog.forgotten();
            started(at(positions, None))
        }
        Question::Cursor(cursor) => started(resume(backlog, cursor, shared.epoch.load(Relaxed))),
        Question::Read(after) => {
            let read = backlog.read(ask.user, after, shared.config.catch_up_bytes.bytes());
            Some(Found::Read(Box::new(read)))
        }
        Question::Confirm(cursor) => {
            for number in backlog.unconfirmed(ask.user, cursor.positions, CONFIRMED_MAX) {
                shared.collector.step(number, Step::Received, ask.user);
            }
            None
        }
    }
}

fn at(positions: PerPriority<Position>, gap: Option<Gap>) -> Started {
    Started {
        positions,
        scanned: positions,
        gap,
        ..Started::default()
    }
}

/// The cursor of a stream that starts with a backlog is just before the first that is owed.
fn start_of(backlog: &dyn Backlog, user: UserNumber, newest_max: usize) -> Started {
    let start = backlog.start(user, newest_max);
    let before_first = |index: usize| {
        let first = start.owed[index].first();
        first.map_or(start.scanned[index], |release| release.position.saturating_sub(1))
    };
    Started {
        positions: std::array::from_fn(before_first),
        scanned: start.scanned,
        more_in_inbox: start.more_in_inbox,
        owed: start.owed.map(VecDeque::from),
        gap: None,
    }
}

fn resume(backlog: &dyn Backlog, cursor: Cursor, epoch: u32) -> Started {
    let forgotten = backlog.forgotten();
    let gap = |positions, reason| {
        let to = Cursor { epoch, positions };
        Some(Gap {
            from: cursor,
            to,
            reason,
        })
    };
    if cursor.epoch != epoch {
        return at(forgotten, gap(forgotten, FOREIGN));
    }
    let positions = std::array::from_fn(|index| cursor.positions[index].max(forgotten[index]));
    let whole = positions == cursor.positions;
    at(positions, if whole { None } else { gap(positions, FORGOTTEN) })
}
