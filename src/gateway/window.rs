//! The releases in memory, once for all sessions: in each priority the newest ones in order, with their encoded frames.
//!
//! `release` puts them in, workers take copies of what comes after a position. An entry is forgotten only when its row is in
//! sled and the window is larger than its bound; who is further behind reads the rest through the backlog.

use super::Transport;
use crate::base::clock;
use crate::metrics::{METRICS, delivery};
use crate::model::{Millis, Number, PerPriority, Position, Priority, UserNumber};
use crate::state::{Release, ReleaseKind};
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use std::collections::VecDeque;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release as Publish};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// Entries looked at under one lock when a single session scans.
const SCAN_MAX: usize = 1024;

/// A release with its frames, each encoded when it is first needed.
#[derive(Debug)]
pub struct Entry {
    pub release: Arc<Release>,
    pub since: Instant,
    /// It is off: nobody gets it any more.
    withdrawn: AtomicBool,
    frames: [OnceLock<Bytes>; 3],
}

impl Entry {
    pub fn new(release: Arc<Release>) -> Self {
        Self {
            release,
            since: clock::now(),
            withdrawn: AtomicBool::new(false),
            frames: [const { OnceLock::new() }; 3],
        }
    }

    pub fn frame(&self, transport: Transport) -> &Bytes {
        self.frames[transport.index()].get_or_init(|| transport.encode(&self.release))
    }

    /// About what the release and one frame take.
    pub fn size(&self) -> usize {
        let draft = &self.release.broadcast.draft;
        let text = draft.title.len() + draft.body.len() + draft.data.as_ref().map_or(0, String::len);
        1024 + 2 * text
    }

    pub fn position(&self) -> Position {
        self.release.position
    }

    pub fn priority(&self) -> Priority {
        self.release.priority
    }

    /// Expired, or off: it is passed over.
    pub fn is_over(&self, now: Millis) -> bool {
        let is_over = || self.withdrawn.load(Relaxed) || self.release.broadcast.expires_at <= now;
        self.release.kind.is_broadcast() && is_over()
    }

    /// Only for sessions that promised receipts.
    pub fn is_retry(&self) -> bool {
        self.release.kind == ReleaseKind::Retry
    }

    /// The broadcast whose `sent` this frame makes.
    pub fn sent(&self) -> Option<Number> {
        self.release
            .kind
            .is_broadcast()
            .then_some(self.release.broadcast.number)
    }
}

/// What was asked for is below the window, which has what comes after this; the backlog has the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Below(pub Position);

#[derive(Debug)]
pub struct Window {
    /// Held by whoever changes anything, so that a release that comes while the window starts anew stands in it once. Readers do
    /// without.
    writing: Mutex<()>,
    lanes: PerPriority<RwLock<Lane>>,
    /// The last position of each priority.
    tails: PerPriority<AtomicU64>,
    /// The last position of all: everything at or below it is in its lane, or was forgotten.
    head: AtomicU64,
    stored: AtomicU64,
    /// What is at or below this is kept nowhere any more: a cursor from before it must be told so, even if its frames are still here.
    gone: AtomicU64,
    bytes: AtomicUsize,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Lane {
    entries: VecDeque<Arc<Entry>>,
    /// What is at or below this is not here.
    floor: Position,
}

impl Lane {
    /// The index of the first entry after `position`.
    fn after(&self, position: Position) -> usize {
        self.entries.partition_point(|entry| entry.position() <= position)
    }
}

impl Window {
    pub fn new(bytes_max: usize) -> Self {
        Self {
            writing: Mutex::new(()),
            lanes: std::array::from_fn(|_| RwLock::default()),
            tails: Default::default(),
            head: AtomicU64::new(0),
            stored: AtomicU64::new(0),
            gone: AtomicU64::new(0),
            bytes: AtomicUsize::new(0),
            bytes_max,
        }
    }

    pub fn head(&self) -> Position {
        self.head.load(Acquire)
    }

    pub fn tail(&self, priority: Priority) -> Position {
        self.tails[priority.index()].load(Acquire)
    }

    /// Positions come in order; one that is known already is ignored.
    pub fn push(&self, release: Arc<Release>) {
        let (position, index) = (release.position, release.priority.index());
        let _writing = self.writing.lock();
        if position <= self.head() {
            return;
        }
        let entry = Arc::new(Entry::new(release));
        self.bytes.fetch_add(entry.size(), Relaxed);
        self.lanes[index].write().entries.push_back(entry);
        self.tails[index].store(position, Publish);
        self.head.store(position, Publish);
        self.forget();
    }

    /// Rows up to here are in sled.
    pub fn stored(&self, position: Position) {
        let _writing = self.writing.lock();
        self.stored.fetch_max(position, Publish);
        self.forget();
    }

    /// Nothing at or below this position is kept any more.
    pub fn gone(&self, position: Position) {
        self.gone.fetch_max(position, Publish);
    }

    /// A broadcast is off: what of it is still here is passed over.
    pub fn withdraw(&self, number: Number) {
        for lane in &self.lanes {
            let lane = lane.read();
            let entries = lane.entries.iter();
            let of_it = entries.filter(|entry| entry.release.broadcast.number == number);
            of_it.for_each(|entry| entry.withdrawn.store(true, Relaxed));
        }
    }

    /// Starts anew: `releases` are the newest of each priority, `head` the last position of all.
    pub fn reset(&self, head: Position, releases: Vec<Arc<Release>>) {
        let mut lanes: PerPriority<Lane> = Default::default();
        let mut bytes = 0;
        let head = releases
            .iter()
            .map(|release| release.position)
            .max()
            .unwrap_or(0)
            .max(head);
        for release in releases {
            let entry = Arc::new(Entry::new(release));
            bytes += entry.size();
            lanes[entry.priority().index()].entries.push_back(entry);
        }
        let _writing = self.writing.lock();
        self.bytes.store(bytes, Relaxed);
        self.gone.store(0, Publish); // the lanes begin above what is gone
        for (index, mut lane) in lanes.into_iter().enumerate() {
            lane.entries.make_contiguous().sort_by_key(|entry| entry.position());
            lane.floor = lane.entries.front().map_or(head, |first| first.position() - 1);
            let tail = lane.entries.back().map_or(head, |last| last.position());
            *self.lanes[index].write() = lane;
            self.tails[index].store(tail, Publish);
        }
        self.head.store(head, Publish);
        self.forget();
    }

    /// Only while writing.
    fn forget(&self) {
        while self.bytes.load(Relaxed) > self.bytes_max && self.forget_oldest() {}
        if delivery::is_on() {
            METRICS.window_bytes.set(self.bytes.load(Relaxed) as i64);
        }
    }

    fn forget_oldest(&self) -> bool {
        let first = |index: usize| self.lanes[index].read().entries.front().map(|entry| entry.position());
        let oldest = (0..4).filter_map(|index| Some((first(index)?, index))).min();
        let Some((position, index)) = oldest.filter(|(position, _)| *position <= self.stored.load(Acquire)) else {
            return false;
        };
        let mut lane = self.lanes[index].write();
        if lane.entries.front().is_some_and(|entry| entry.position() == position)
            && let Some(entry) = lane.entries.pop_front()
        {
            lane.floor = position;
            self.bytes.fetch_sub(entry.size(), Relaxed);
        }
        true
    }

    /// Appends at most `max` of the entries after `after`; up to where the priority has been scanned by that.
    pub fn take(
        &self,
        priority: Priority,
        after: Position,
        max: usize,
        out: &mut Vec<Arc<Entry>>,
    ) -> Result<Position, Below> {
        let head = self.head(); // before the lane: all up to it is in there
        let lane = self.lanes[priority.index()].read();
        if after < lane.floor {
            return Err(Below(lane.floor));
        }
        let from = lane.after(after);
        let count = (lane.entries.len() - from).min(max);
        out.extend(lane.entries.range(from..from + count).cloned());
        let all = from + count == lane.entries.len();
        let last = lane.entries.back().map_or(0, |entry| entry.position());
        let scanned = if all {
            head.max(last)
        } else {
            lane.entries[from + count - 1].position()
        };
        Ok(scanned.max(after))
    }

    /// The first entry for `user` after `after` and at or before `until`, or up to where there is none.
    pub fn next_of(
        &self,
        priority: Priority,
        user: UserNumber,
        after: Position,
        until: Position,
    ) -> Result<Result<Arc<Entry>, Position>, Below> {
        let lane = self.lanes[priority.index()].read();
        if after < lane.floor && after < until {
            return Err(Below(lane.floor));
        }
        let mut scanned = after;
        let from = lane.after(after);
        for entry in lane.entries.range(from..).take(SCAN_MAX) {
            if entry.position() > until {
                return Ok(Err(until));
            }
            if entry.release.recipients.contains(user) {
                return Ok(Ok(entry.clone()));
            }
            scanned = entry.position();
        }
        let all = lane.entries.len() - from <= SCAN_MAX;
        Ok(Err(if all { until.max(after) } else { scanned }))
    }

    /// The entry at a position, if it is still here.
    pub fn find(&self, priority: Priority, position: Position) -> Option<Arc<Entry>> {
        let lane = self.lanes[priority.index()].read();
        let entry = lane.entries.get(lane.after(position.checked_sub(1)?))?;
        (entry.position() == position).then(|| entry.clone())
    }

    /// A broadcast by its first release's position, in whichever priority it is.
    pub fn find_any(&self, position: Position) -> Option<Arc<Entry>> {
        Priority::ALL
            .into_iter()
            .find_map(|priority| self.find(priority, position))
    }

    /// Nothing between these positions and now was forgotten.
    pub fn reaches(&self, positions: PerPriority<Position>) -> bool {
        let gone = self.gone.load(Acquire);
        let reaches = |(lane, position): (&RwLock<Lane>, Position)| position >= lane.read().floor.max(gone);
        self.lanes.iter().zip(positions).all(reaches)
    }

    /// At most `max` of the entries after `after`: for looks that take longer than a release may wait.
    pub fn copy_after(&self, priority: Priority, after: Position, max: usize) -> Vec<Arc<Entry>> {
        let lane = self.lanes[priority.index()].read();
        let from = lane.after(after);
        lane.entries.range(from..).take(max).cloned().collect()
    }

    /// Calls `each` with the entries after `after`, at most `max` of them.
    pub fn each_after(&self, priority: Priority, after: Position, max: usize, mut each: impl FnMut(&Entry)) {
        let lane = self.lanes[priority.index()].read();
        let from = lane.after(after);
        lane.entries.range(from..).take(max).for_each(|entry| each(entry));
    }
}

#[cfg(test)]
mod tests {
    use super::{Below, Entry, Window};
    use crate::gateway::tests::fixture::release;
    use crate::model::Priority::{Critical, Low};
    use std::sync::Barrier;
    use std::sync::atomic::Ordering;

    fn positions(window: &Window, after: u64, max: usize) -> Result<(Vec<u64>, u64), Below> {
        let mut out = Vec::new();
        let scanned = window.take(Low, after, max, &mut out)?;
        Ok((out.iter().map(|entry| entry.position()).collect(), scanned))
    }

    #[test]
    fn a_position_moves_on_past_what_was_not_there() {
        let window = Window::new(usize::MAX);
        for position in [2, 5, 9] {
            window.push(release(position, Low, &[1]));
        }
        window.push(release(12, Critical, &[1]));
        assert_eq!(positions(&window, 0, 10), Ok((vec![2, 5, 9], 12)));
        assert_eq!(positions(&window, 2, 1), Ok((vec![5], 5)));
        assert_eq!(positions(&window, 9, 10), Ok((vec![], 12)));
        assert_eq!(positions(&window, 20, 10), Ok((vec![], 20)));
    }

    #[test]
    fn a_user_finds_its_own_up_to_a_bound() {
        let window = Window::new(usize::MAX);
        for position in 1..=9 {
            window.push(release(position, Low, &[(position % 2) as u32]));
        }
        let next = |user, after, until| {
            window
                .next_of(Low, user, after, until)
                .map(|found| found.map(|entry| entry.position()))
        };
        assert_eq!(next(1, 1, 9), Ok(Ok(3)));
        assert_eq!(next(0, 4, 5), Ok(Err(5)));
        assert_eq!(next(7, 0, 9), Ok(Err(9)));
        assert_eq!(next(1, 9, 9), Ok(Err(9)));
    }

    #[test]
    fn only_what_is_stored_is_forgotten_oldest_first() {
        let window = Window::new(4_000);
        for position in 1..=20 {
            window.push(release(position, if position % 4 == 0 { Critical } else { Low }, &[1]));
        }
        assert_eq!(positions(&window, 0, 1), Ok((vec![1], 1)));
        window.stored(10);
        assert_eq!(positions(&window, 0, 1), Err(Below(10)));
        assert_eq!(positions(&window, 10, 1), Ok((vec![11], 11)));
        assert!(!window.reaches([8, 0, 0, 9]) && window.reaches([8, 0, 0, 10]));
        window.stored(20);
        assert!(window.bytes.load(Ordering::Relaxed) <= 4_000);
        window.gone(19);
        assert!(!window.reaches([20, 20, 18, 20]) && window.reaches([20, 19, 19, 20]));
    }

    /// A snapshot brings the release that apply is about to push: whoever comes first, it stands there once.
    #[test]
    fn a_release_that_comes_during_a_reset_stands_there_once() {
        let both = Barrier::new(2);
        for _ in 0..10_000 {
            let window = Window::new(usize::MAX);
            window.push(release(1, Low, &[1]));
            std::thread::scope(|threads| {
                threads.spawn(|| {
                    let known = (1..=3).map(|position| release(position, Low, &[1])).collect();
                    both.wait();
                    window.reset(3, known);
                });
                let (second, third) = (release(2, Low, &[1]), release(3, Low, &[1]));
                both.wait();
                window.push(second);
                window.push(third);
            });
            assert_eq!(positions(&window, 0, 10), Ok((vec![1, 2, 3], 3)));
            assert_eq!((window.tail(Low), window.head()), (3, 3));
            assert_eq!(window.bytes.load(Ordering::Relaxed), 3 * bytes_of_one());
        }
    }

    fn bytes_of_one() -> usize {
        Entry::new(release(1, Low, &[1])).size()
    }

    #[test]
    fn a_reset_starts_where_the_state_is() {
        let window = Window::new(usize::MAX);
        window.reset(40, vec![release(30, Low, &[1]), release(35, Low, &[1])]);
        assert_eq!(window.head(), 40);
        assert_eq!(positions(&window, 29, 10), Ok((vec![30, 35], 40)));
        assert_eq!(positions(&window, 28, 10), Err(Below(29)));
        assert!(window.reaches([40, 40, 40, 29]) && !window.reaches([39, 40, 40, 29]));
    }
}
