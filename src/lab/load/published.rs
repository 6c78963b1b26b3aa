//! What became of the publishes: how many, how late, what went wrong, and whether the publishers themselves were late. Pure.

use super::press::Job;
use super::stamp::Phase;
use crate::lab::results::histogram;
use hdrhistogram::Histogram;
use std::collections::BTreeMap;

const MICROS: u64 = 1_000;
const SECOND: u64 = 1_000_000_000;
const FINDINGS_MAX: usize = 5;

#[derive(Debug)]
pub struct Published {
    begin: u64,
    /// Of what is measured, in µs: from the first sending, and from when it was due.
    pub from_sent: Histogram<u64>,
    pub from_due: Histogram<u64>,
    /// How late a broadcast went out although a line was free: the publishers' own fault, in µs.
    pub lateness: Histogram<u64>,
    /// Broadcasts for which no line was free when they were due.
    pub queued: u64,
    /// Of what is measured.
    pub attempts: u64,
    pub failures: u64,
    pub accepted: u64,
    /// All of them, the warm-up too.
    pub accepted_in_all: u64,
    pub refused: u64,
    pub unknown: u64,
    /// By code, the warm-up too.
    pub errors: BTreeMap<String, u64>,
    /// The longest time in which nothing was accepted, in µs; it begins and ends with an acceptance.
    pub gap_max: u64,
    /// When the last of what is measured was accepted.
    last: u64,
    pub cache_reads: u64,
    /// Accepted, by second since the beginning.
    pub per_second: Vec<u64>,
    pub findings: Vec<String>,
}

impl Published {
    pub fn new(begin: u64) -> Self {
        Self {
            begin,
            from_sent: histogram(),
            from_due: histogram(),
            lateness: histogram(),
            queued: 0,
            attempts: 0,
            failures: 0,
            accepted: 0,
            accepted_in_all: 0,
            refused: 0,
            unknown: 0,
            errors: BTreeMap::new(),
            gap_max: 0,
            last: 0,
            cache_reads: 0,
            per_second: Vec::new(),
            findings: Vec::new(),
        }
    }

    /// It goes out for the first time.
    pub fn sent(&mut self, job: &Job, had_to_wait: bool) {
        if job.planned.phase == Phase::WarmUp {
            return;
        }
        if had_to_wait {
            self.queued += 1;
        } else {
            self.lateness
                .saturating_record(job.sent.saturating_sub(job.due) / MICROS);
        }
    }

    pub fn accepted(&mut self, job: &Job, at: u64, is_for_whom_it_should: bool) {
        self.accepted_in_all += 1;
        let second = (at.saturating_sub(self.begin) / SECOND) as usize;
        if self.per_second.len() <= second {
            self.per_second.resize(second + 1, 0);
        }
        self.per_second[second] += 1;
        if !is_for_whom_it_should && self.findings.len() < FINDINGS_MAX {
            self.findings.push(format!(
                "number {} was accepted for another number of people",
                job.planned.number
            ));
        }
        if job.planned.phase == Phase::WarmUp {
            return;
        }
        if self.last > 0 {
            self.gap_max = self.gap_max.max(at.saturating_sub(self.last) / MICROS);
        }
        self.last = at;
        self.accepted += 1;
        self.attempts += 1;
        self.from_sent.saturating_record(at.saturating_sub(job.sent) / MICROS);
        self.from_due.saturating_record(at.saturating_sub(job.due) / MICROS);
    }

    /// An attempt that is made again.
    pub fn failed(&mut self, job: &Job, code: &str) {
        self.error(code);
        if job.planned.phase == Phase::Measured {
            self.attempts += 1;
            self.failures += 1;
        }
    }

    pub fn refused(&mut self, job: &Job, code: &str) {
        self.failed(job, code);
        self.refused += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings
                .push(format!("number {} was refused: {code}", job.planned.number));
        }
    }

    pub fn unknown(&mut self, job: &Job, code: &str) {
        self.failed(job, code);
        self.unknown += 1;
    }

    pub fn error(&mut self, code: &str) {
        *self.errors.entry(code.to_owned()).or_default() += 1;
    }

    /// Accepted a second, since the beginning of what is measured; `None` when there was nothing.
    pub fn rate(&self, measured_from: u64) -> Option<f64> {
        let seconds = self.last.saturating_sub(measured_from) as f64 / SECOND as f64;
        (seconds > 0.0).then(|| self.accepted as f64 / seconds)
    }

    /// Attempts that failed, of all; `None` when there were none.
    pub fn errors_percent(&self) -> Option<f64> {
        (self.attempts > 0).then(|| 100.0 * self.failures as f64 / self.attempts as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::{Job, Phase, Published};
    use crate::lab::load::request::planned;
    use crate::model::Priority;

    const MS: u64 = 1_000_000;

    fn job(due: u64, sent: u64, phase: Phase) -> Job {
        Job {
            planned: planned(0, (0, 0, Priority::Low), phase),
            due: due * MS,
            sent: sent * MS,
            attempts: 1,
        }
    }

    #[test]
    fn latency_counts_from_when_it_was_due_and_the_publishers_answer_for_themselves() {
        let mut published = Published::new(0);
        let late = job(100, 130, Phase::Measured);
        published.sent(&late, false);
        published.failed(&late, "NO_LEADER");
        published.accepted(&late, 150 * MS, true);
        let queued = job(140, 400, Phase::Measured);
        published.sent(&queued, true);
        published.accepted(&queued, 1_650 * MS, false);
        let warm = job(0, 0, Phase::WarmUp);
        published.sent(&warm, false);
        published.accepted(&warm, 1_700 * MS, true);
        assert_eq!((published.lateness.len(), published.lateness.max() / 100), (1, 300));
        assert_eq!(
            (published.queued, published.accepted, published.accepted_in_all),
            (1, 2, 3)
        );
        assert_eq!(
            (
                published.from_due.min().div_ceil(1_000),
                published.from_sent.min().div_ceil(1_000)
            ),
            (50, 20)
        );
        assert_eq!(published.per_second, [1, 2]);
        assert_eq!((published.gap_max, published.findings.len()), (1_500_000, 1));
        let percent = published.errors_percent().unwrap();
        assert!((percent - 33.3).abs() < 0.1, "{percent}");
        assert_eq!(published.errors["NO_LEADER"], 1);
        assert_eq!(
            (published.rate(650 * MS), published.rate(1_650 * MS)),
            (Some(2.0), None)
        );
        assert_eq!(Published::new(0).errors_percent(), None);
    }
}
