//! What sessions did, on its way to the log: each worker gathers without a lock and hands over at most every few
//! milliseconds; the delivery loop takes all of it at once.

use crate::metrics::{METRICS, delivery};
use crate::model::{Number, PerPriority, Position, Step, UserNumber};
use parking_lot::Mutex;
use roaring::RoaringBitmap;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::gateway::Report;

/// A worker's own gathering: plain lists, turned into bitmaps when they are handed over.
#[derive(Debug, Default)]
pub struct Tally {
    steps: BTreeMap<(Number, Step), Vec<UserNumber>>,
    promised: BTreeMap<Number, Vec<UserNumber>>,
    came: RoaringBitmap,
    went: RoaringBitmap,
}

impl Tally {
    pub fn step(&mut self, number: Number, step: Step) -> &mut Vec<UserNumber> {
        self.steps.entry((number, step)).or_default()
    }

    /// Whose session is written to and has promised to confirm it.
    pub fn promised(&mut self, number: Number) -> &mut Vec<UserNumber> {
        self.promised.entry(number).or_default()
    }

    /// The user's first session here.
    pub fn came(&mut self, user: UserNumber) {
        if !self.went.remove(user) {
            self.came.insert(user);
        }
    }

    /// The user's last session here.
    pub fn went(&mut self, user: UserNumber) {
        if !self.came.remove(user) {
            self.went.insert(user);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.promised.is_empty() && self.came.is_empty() && self.went.is_empty()
    }
}

/// Where all workers hand over.
#[derive(Debug)]
pub struct Collector {
    gathered: Mutex<Gathered>,
    marks: Vec<Mark>,
}

/// Of a cell: up to where all of its sessions have been written.
#[derive(Debug, Default)]
struct Mark {
    positions: PerPriority<AtomicU64>,
    /// Up to where those have been written who keep up: a slow phone holds up nothing here.
    rounds: PerPriority<AtomicU64>,
    /// Nobody is there: nothing waits, however far the positions are behind.
    vacant: AtomicBool,
}

#[derive(Debug, Default)]
struct Gathered {
    steps: BTreeMap<(Number, Step), RoaringBitmap>,
    promised: BTreeMap<Number, RoaringBitmap>,
    came: RoaringBitmap,
    went: RoaringBitmap,
    present: RoaringBitmap,
}

impl Gathered {
    /// Comings and goings alternate, so that one of each is none.
    fn moved(&mut self, came: &RoaringBitmap, went: &RoaringBitmap) {
        let (came_before, went_before) = (std::mem::take(&mut self.came), std::mem::take(&mut self.went));
        self.came = (&came_before - went) | (came - &went_before);
        self.went = (&went_before - came) | (went - &came_before);
    }
}

impl Collector {
    pub fn new(cells: usize) -> Self {
        Self {
            gathered: Mutex::default(),
            marks: (0..cells).map(|_| Mark::default()).collect(),
        }
    }

    pub fn hand_over(&self, tally: &mut Tally) {
        if tally.is_empty() {
            return;
        }
        let tally = std::mem::take(tally);
        let mut gathered = self.gathered.lock();
        for (key, users) in tally.steps {
            let users = bitmap(users);
            if delivery::is_on() {
                METRICS.receipts.with_label_values(&[key.1.name()]).inc_by(users.len());
            }
            *gathered.steps.entry(key).or_default() |= users;
        }
        for (number, users) in tally.promised {
            *gathered.promised.entry(number).or_default() |= bitmap(users);
        }
        gathered.moved(&tally.came, &tally.went);
        gathered.present |= &tally.came;
        gathered.present -= &tally.went;
    }

    pub fn step(&self, number: Number, step: Step, user: UserNumber) {
        METRICS.receipts.with_label_values(&[step.name()]).inc();
        self.gathered
            .lock()
            .steps
            .entry((number, step))
            .or_default()
            .insert(user);
    }

    /// A session that resumes further back does not take it back.
    pub fn set_watermark(&self, cell: usize, positions: PerPriority<Position>) {
        let mark = &self.marks[cell];
        for (known, position) in mark.positions.iter().zip(positions) {
            known.fetch_max(position, Ordering::Relaxed);
        }
        mark.vacant.store(false, Ordering::Relaxed);
    }

    /// Where the cell's rounds are.
    pub fn set_rounds(&self, cell: usize, positions: PerPriority<Position>) {
        for (known, position) in self.marks[cell].rounds.iter().zip(positions) {
            known.store(position, Ordering::Relaxed);
        }
    }

    /// Where the rounds of the last cell are, for each priority.
    pub fn lowest_rounds(&self, head: Position) -> PerPriority<Position> {
        let occupied = self.marks.iter().filter(|mark| !mark.vacant.load(Ordering::Relaxed));
        occupied.fold([head; 4], |lowest, mark| {
            std::array::from_fn(|index| mark.rounds[index].load(Ordering::Relaxed).min(lowest[index]))
        })
    }

    pub fn set_vacant(&self, cell: usize) {
        self.marks[cell].vacant.store(true, Ordering::Relaxed);
    }

    /// Another history starts here.
    pub fn reset_watermark(&self, cell: usize, positions: PerPriority<Position>) {
        for (known, position) in self.marks[cell].positions.iter().zip(positions) {
            known.store(position, Ordering::Relaxed);
        }
    }

    /// `head` is the last position of all: a cell without sessions stands there.
    pub fn watermark(&self, cell: usize, head: Position) -> PerPriority<Position> {
        let mark = &self.marks[cell];
        if mark.vacant.load(Ordering::Relaxed) {
            return [head; 4];
        }
        mark.positions.each_ref().map(|known| known.load(Ordering::Relaxed))
    }

    /// Of all cells, for each priority.
    pub fn lowest(&self, head: Position) -> PerPriority<Position> {
        let marks = (0..self.marks.len()).map(|cell| self.watermark(cell, head));
        marks.fold([head; 4], |lowest, mark| {
            std::array::from_fn(|index| mark[index].min(lowest[index]))
        })
    }

    pub fn take(&self, head: Position) -> Report {
        let watermarks = self.lowest(head);
        let mut gathered = self.gathered.lock();
        let steps = std::mem::take(&mut gathered.steps);
        let promised = std::mem::take(&mut gathered.promised);
        Report {
            deltas: steps
                .into_iter()
                .map(|((number, step), users)| (number, step, users))
                .collect(),
            promised: promised.into_iter().collect(),
            watermarks,
            came: std::mem::take(&mut gathered.came),
            went: std::mem::take(&mut gathered.went),
        }
    }

    /// A report that went nowhere: what happened since stands on top of it.
    pub fn put_back(&self, report: Report) {
        let mut gathered = self.gathered.lock();
        for (number, step, users) in report.deltas {
            *gathered.steps.entry((number, step)).or_default() |= users;
        }
        for (number, users) in report.promised {
            *gathered.promised.entry(number).or_default() |= users;
        }
        gathered.moved(&report.came, &report.went);
    }

    pub fn present(&self) -> RoaringBitmap {
        self.gathered.lock().present.clone()
    }
}

fn bitmap(mut users: Vec<UserNumber>) -> RoaringBitmap {
    users.sort_unstable();
    users.dedup();
    RoaringBitmap::from_sorted_iter(users).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{Collector, Tally};
    use crate::model::Step;
    use roaring::RoaringBitmap;

    fn hand_over(collector: &Collector, fill: impl FnOnce(&mut Tally)) {
        let mut tally = Tally::default();
        fill(&mut tally);
        collector.hand_over(&mut tally);
        assert!(tally.is_empty());
    }

    #[test]
    fn coming_and_going_is_nothing_whichever_report_has_it() {
        let collector = Collector::new(1);
        hand_over(&collector, |tally| {
            for user in [1, 2, 3] {
                tally.came(user);
            }
        });
        hand_over(&collector, |tally| tally.went(3));
        let report = collector.take(9);
        assert_eq!(
            (report.came.clone(), report.went.len()),
            (RoaringBitmap::from([1, 2]), 0)
        );
        hand_over(&collector, |tally| tally.went(2));
        collector.put_back(report);
        let report = collector.take(9);
        assert_eq!((report.came, report.went.len()), (RoaringBitmap::from([1]), 0));
        hand_over(&collector, |tally| {
            tally.went(1);
            tally.came(1);
        });
        let report = collector.take(9);
        assert_eq!((report.came.len(), report.went.len()), (0, 0));
        assert_eq!(collector.present(), RoaringBitmap::from([1]));
    }

    #[test]
    fn steps_are_merged_and_a_report_that_failed_comes_again() {
        let collector = Collector::new(2);
        hand_over(&collector, |tally| tally.step(7, Step::Sent).extend([5, 1, 5]));
        collector.step(7, Step::Sent, 2);
        collector.set_watermark(0, [4, 4, 4, 4]);
        collector.set_watermark(1, [3, 9, 9, 9]);
        let report = collector.take(9);
        assert_eq!(report.watermarks, [3, 4, 4, 4]);
        collector.set_vacant(0);
        assert_eq!(collector.lowest(8), [3, 8, 8, 8]);
        assert_eq!(report.deltas, [(7, Step::Sent, RoaringBitmap::from([1, 2, 5]))]);
        collector.put_back(report);
        assert_eq!(collector.take(9).deltas.len(), 1);
        assert!(collector.take(9).deltas.is_empty());
    }
}
