//! A histogram as it travels between processes and is kept in a report: plain numbers that any program can read.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Values above this (five minutes, in µs) are counted as this.
const MICROS_MAX: u64 = 300_000_000;
const DIGITS: u8 = 3;

/// Each value that occurred, in µs to three digits, and how often.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Buckets(pub Vec<(u64, u64)>);

impl Buckets {
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let recorded = histogram.iter_recorded();
        Self(
            recorded
                .map(|value| (value.value_iterated_to(), value.count_at_value()))
                .collect(),
        )
    }

    pub fn add_to(&self, histogram: &mut Histogram<u64>) {
        for (value, count) in &self.0 {
            histogram.saturating_record_n(*value, *count);
        }
    }

    /// As one histogram.
    pub fn histogram(&self) -> Histogram<u64> {
        let mut whole = histogram();
        self.add_to(&mut whole);
        whole
    }
}

/// An empty one, of µs.
pub fn histogram() -> Histogram<u64> {
    #[allow(clippy::expect_used)] // bounds that are constants are either always good or never
    Histogram::new_with_max(MICROS_MAX, DIGITS).expect("a histogram of constants")
}

#[cfg(test)]
mod tests {
    use super::{Buckets, histogram};

    #[test]
    fn a_histogram_stays_itself_on_its_way() {
        let mut one = histogram();
        for value in [0, 1, 999, 12_345, 12_346, 299_999_999, 400_000_000] {
            one.saturating_record(value);
        }
        let other = Buckets::of(&one).histogram();
        assert_eq!((other.len(), other.max(), other.min()), (7, one.max(), 0));
        for quantile in [0.1, 0.5, 0.9, 1.0] {
            assert_eq!(other.value_at_quantile(quantile), one.value_at_quantile(quantile));
        }
        assert_eq!(Buckets::of(&other), Buckets::of(&one));
    }
}
